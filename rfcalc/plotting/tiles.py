"""A tile of an image, its halo and what it writes, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rfcalc.analyses.results import Region
from rfcalc.errors import UsageError
from rfcalc.plotting.scenes import Bar, Bars, Box, Mark, Panel, Scene
from rfcalc.report import text
from rfcalc.tiling.layout import Piece
from rfcalc.tiling.plan import Layout, Tiling

_PARTS = ("reads", "halo", "writes")


@dataclass(frozen=True)
class TileScene:
    """What a drawing of a tile shows. ``cuts`` are the places along each axis at which the image is cut into parts that
    tiles write, ``pieces`` the tile that is drawn."""

    scene: Scene
    cuts: Mapping[str, tuple[int, ...]]
    pieces: Mapping[str, Piece]


def tile_scene(plan: Tiling, at: Sequence[int] | None = None) -> TileScene:
    """The tile that writes the pixel ``at``, by default one in the middle, over the plane of the last two axes.

    Raises `UsageError` where there is no plan, and for a pixel outside the image.
    """
    layout = plan.planned()
    pieces = _chosen(plan, layout, at)
    names = list(layout.pieces)
    spans = {name: _spans(plan, name, piece, layout.image[name]) for name, piece in pieces.items()}
    panels: list[Panel | Bars] = []
    if len(names) > 1:
        rows, cols = names[-2:]
        marks = [
            Mark(part, number, Box(spans[rows][number], spans[cols][number])) for number, part in enumerate(_PARTS)
        ]
        extents = layout.image[rows], layout.image[cols]
        view = Box((0, extents[0] - 1), (0, extents[1] - 1))
        panels.append(Panel(text.clean(plan.main), (rows, cols), extents, view, tuple(marks), picture=True))
    for name in names[:-2] if len(names) > 1 else names:
        bars = [Bar(part, number, spans[name][number], None, None) for number, part in enumerate(_PARTS)]
        extent = layout.image[name]
        panels.append(Bars(f"{text.clean(plan.main)}, {name}", name, extent, (0, extent - 1), tuple(bars)))
    title = f"{plan.model}: one of {text.count(layout.count)} tiles"
    legend = [(number, f"{_WORDS[part]} {_where(spans, number)}") for number, part in enumerate(_PARTS)]
    cuts = {name: tuple(piece.first for piece in row[1:]) for name, row in layout.pieces.items()}
    return TileScene(Scene(title, tuple(panels), tuple(legend)), cuts, pieces)


_WORDS = {
    "reads": "reads, up to the grid:",
    "halo": "needs for what it writes:",
    "writes": "writes:",
}


def _where(spans: Mapping[str, Sequence[Region]], number: int) -> str:
    return text.intervals([row[number] for row in spans.values()])


def _chosen(plan: Tiling, layout: Layout, at: Sequence[int] | None) -> dict[str, Piece]:
    extents = layout.image
    if at is None:
        return {name: row[len(row) // 2] for name, row in layout.pieces.items()}
    if len(at) != len(extents) or any(not 0 <= one < extent for one, extent in zip(at, extents.values(), strict=True)):
        raise UsageError(
            f"--at {text.comma(at)}: a pixel of {plan.main} has one number for each of {', '.join(extents)}, below"
            f" {text.cross(extents.values())}"
        )
    return {
        name: next(piece for piece in row if piece.first <= place < piece.last)
        for (name, row), place in zip(layout.pieces.items(), at, strict=True)
    }


def _spans(plan: Tiling, name: str, piece: Piece, extent: int) -> tuple[tuple[int, int], ...]:
    """What a tile reads, what its writes need, and what it writes, first and last along one axis."""
    halos = [output.axes[name].halo or (0, 0) for output in plan.outputs]
    before, after = (max(sides) for sides in zip(*halos, strict=True))
    needed = max(0, piece.first - before), min(extent, piece.last + after) - 1
    return (piece.start, piece.stop - 1), needed, (piece.first, piece.last - 1)
