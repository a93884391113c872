"""The report of `rfcalc tile`: the verdict of each output, the tiles of an image, and the proof."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfcalc.report import text
from rfcalc.report.document import Column, Fact, Report, Section, Table

if TYPE_CHECKING:
    from rfcalc.tiling.least import Least
    from rfcalc.tiling.plan import Layout, Tiling
    from rfcalc.tiling.proof import Proof
    from rfcalc.tiling.results import AxisTile, OutputTile, Sides, Witness

_SHOWN = 8  #: reasons that a table names
_LISTED = 8  #: tiles along an axis that a table lists
_AXIS = ("reach", "align", "halo", "margin", "scale", "min_tile", "min_output", "local_halo")


def tiling_report(found: Tiling) -> Report:
    """A tiling in every format."""
    shape = text.cross(found.input.shape)
    title = f"{found.model}: exact tiles of {found.main} {shape}" if found.exact else f"{found.model}: no exact tiles"
    sections = [_section(item, several=len(found.outputs) > 1) for item in found.outputs]
    if found.layout is not None:
        sections.append(Section("plan", tuple(_plan(found.layout)), _pieces(found.layout)))
    if found.proof is not None:
        sections.append(Section("proof", tuple(_proof(found.proof))))
    return Report(title, tuple(sections), found.notices, found.to_dict(), _records(found))


def _section(item: OutputTile, several: bool) -> Section:
    facts: list[Fact] = [("output", f"{item.layer} {text.cross(item.shape)}")]
    if item.exact:
        facts.append(("tiles", "exact: equal to a run on the whole"))
    else:
        facts.append(("tiles", "impossible: they would differ from a run on the whole"))
        facts += [("because of", reason) for reason in item.reasons[:_SHOWN]]
        if len(item.reasons) > _SHOWN:
            facts.append(("because of", f"{text.count(len(item.reasons) - _SHOWN)} more reasons"))
    facts += [(f"halo along {name}", _witness(axis)) for name, axis in item.axes.items() if any(axis.witnesses)]
    return Section(item.layer if several else "", tuple(facts), _axes(item))


def _axes(item: OutputTile) -> Table:
    columns = [Column("axis"), Column("reach"), Column("align", right=True), Column("halo"), Column("margin")]
    columns += [Column("scale", right=True), Column("smallest tile", right=True), Column("gives", right=True)]
    rows = []
    for name, axis in item.axes.items():
        row = [name, _sides(axis.reach), text.number(axis.align), _sides(axis.halo), _sides(axis.margin)]
        row += [text.number(axis.scale), text.number(axis.min_tile), text.number(axis.min_output)]
        rows.append((*row, _sides(axis.local_halo)) if not item.exact else tuple(row))
    if not item.exact:
        columns.append(Column("halo without them, approximate"))
    return Table(tuple(columns), tuple(rows))


def _sides(sides: Sides | None) -> str:
    return text.NOTHING if sides is None else f"{sides[0]}, {sides[1]}"


def _witness(axis: AxisTile) -> str:
    """The units that a smaller halo would spoil."""
    shown = [_seen(item) for item in axis.witnesses if item is not None]
    return f"as small as can be: {'; '.join(shown)}"


def _seen(item: Witness) -> str:
    if item.border:
        return f"unit {item.unit} of a tile cut at {item.cut} would be spoiled by the tile's border"
    return f"unit {item.unit} of a tile cut at {item.cut} reads pixel {item.pixel}"


def _plan(layout: Layout) -> Iterator[Fact]:
    costs = layout.costs
    yield "image", text.cross(layout.image.values())
    yield "tiles", f"{text.count(layout.count)} of {text.cross(layout.tile.values())}"
    yield "a tile gives", ", ".join(text.cross(shape) for shape in layout.tile_shapes)
    yield "multiply-adds", f"{text.count_and_short(costs.tile_macs)} a tile, {text.count_and_short(costs.macs)} in all"
    if costs.overhead is not None:
        yield "computed twice", f"{text.share(costs.overhead)} more than the whole at once"
    yield "memory", f"{text.count_and_short(costs.peak)} bytes for a tile at its peak, weights included"


def _pieces(layout: Layout) -> Table:
    columns = (Column("axis"), Column("tile", right=True), Column("reads", right=True), Column("writes", right=True))
    rows: list[tuple[Any, ...]] = []
    for name, row in layout.pieces.items():
        listed = [
            (name, number, f"{piece.start}..{piece.stop - 1}", f"{piece.first}..{piece.last - 1}")
            for number, piece in enumerate(row)
        ]
        left_out = len(listed) > _LISTED
        rows += [*listed[: _LISTED - 3], (name, "...", "", ""), *listed[-2:]] if left_out else listed
    return Table(columns, tuple(rows))


def _proof(proof: Proof) -> Iterator[Fact]:
    yield "device", proof.device
    for trial in proof.trials:
        image, tile = text.cross(trial.image.values()), text.cross(trial.tile.values())
        yield "image", f"{image} in {text.count(trial.tiles)} tiles of {tile}"
        for item in trial.outputs:
            verdict = "equal" if item.agree else "DIFFERENT"
            yield item.layer, f"{verdict}: largest difference {item.difference:.3g}, rounding allows {item.bound:.3g}"
    for side in proof.sides:
        yield f"halo {side.side} along {side.axis}", _least(side)
    shown = f"agrees; {text.count(proof.not_shown)} halos are not shown to be least" if proof.not_shown else "agrees"
    yield "result", shown if proof.agree else "DISAGREES"


def _least(side: Least) -> str:
    if not side.calm:
        return f"WRONG: pixels beyond {side.halo} change what is kept"
    if side.needed:
        return f"{side.halo} is enough, {side.halo - 1} is not ({side.how})"
    if not side.agree:
        return (
            f"TOO LARGE: {side.halo - 1} is enough, for what stands in pixel {side.halo} reaches nothing that is kept"
        )
    return f"{side.halo} is enough; no number tried shows that {side.halo - 1} is not"


def _records(found: Tiling) -> Sequence[Mapping[str, Any]]:
    """One row for each output and axis."""
    rows = []
    for item in found.outputs:
        for name, axis in item.axes.items():
            told = axis.to_dict()
            row: dict[str, Any] = {"model": found.model, "layer": item.layer, "axis": name, "exact": item.exact}
            for key in _AXIS:
                value = told[key]
                if key in ("reach", "halo", "margin", "local_halo"):
                    before, after = value or (None, None)
                    row |= {f"{key}_before": before, f"{key}_after": after}
                else:
                    row[key] = value
            rows.append({**row, "reasons": "; ".join(item.reasons)})
    return rows


__all__ = ["tiling_report"]
