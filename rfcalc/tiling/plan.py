"""The plan: which tiles there are, what each reads and writes, and what they cost against the whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

from rfcalc.errors import UsageError
from rfcalc.graph import InputInfo
from rfcalc.tiling.layout import Grid, Piece
from rfcalc.tiling.results import SCHEMA, OutputTile

if TYPE_CHECKING:
    from rfcalc.tiling.proof import Proof

Slices: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile. ``reads`` are slices of each input that is cut, by name; ``crops`` are what is kept of each output of
    the tile, ``writes`` where it goes in the whole output. ``read``, ``crop`` and ``write`` are those of the main input
    and of the first output.
    """

    number: int
    reads: Mapping[str, Slices]
    crops: tuple[Slices, ...]
    writes: tuple[Slices, ...]
    main: str

    @property
    def read(self) -> Slices:
        return self.reads[self.main]

    @property
    def crop(self) -> Slices:
        return self.crops[0]

    @property
    def write(self) -> Slices:
        return self.writes[0]


@dataclass(frozen=True)
class Costs:
    """What tiles cost: multiply-adds of the largest tile, of all tiles, and of the whole at once; bytes at the
    peak of the tile that needs most."""

    tile_macs: int
    macs: int
    whole_macs: int
    peak: int
    complete: bool = True

    @property
    def overhead(self) -> Fraction | None:
        """How much more is computed than for the whole at once."""
        return Fraction(self.macs, self.whole_macs) - 1 if self.whole_macs else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "tile_macs": self.tile_macs,
            "macs": self.macs,
            "whole_macs": self.whole_macs,
            "overhead": None if self.overhead is None else float(self.overhead),
            "peak_bytes": self.peak,
        }


@dataclass(frozen=True)
class Layout:
    """The tiles of one image. ``pieces`` by axis of the main input; a tile is one piece of each."""

    image: Mapping[str, int]
    tile: Mapping[str, int]
    pieces: Mapping[str, tuple[Piece, ...]]
    output_shapes: tuple[tuple[int, ...], ...]
    costs: Costs
    tile_shapes: tuple[tuple[int, ...], ...] = ()  #: of the outputs of one tile

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return prod(len(row) for row in self.pieces.values())


@dataclass(frozen=True)
class Tiling:
    """Whether and how a model can be run in tiles with the result of a run on the whole.

    ``outputs`` has the verdict of each output, ``grids`` what all of them together ask of tiles, by axis, and
    ``layout`` the tiles of one image, None where no size of tiles was asked for or they cannot be exact.
    """

    model: str
    inputs: tuple[InputInfo, ...]
    main: str
    ratios: Mapping[str, Mapping[str, Fraction]]
    outputs: tuple[OutputTile, ...]
    grids: Mapping[str, Grid]
    layout: Layout | None = None
    proof: Proof | None = None
    notices: tuple[str, ...] = ()
    layers: tuple[str, ...] | None = field(default=None, repr=False)
    training: bool = False

    @property
    def exact(self) -> bool:
        """Whether tiles give what the whole gives, in every output."""
        return all(item.exact for item in self.outputs)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The layers to blame where they do not."""
        return tuple(dict.fromkeys(text for item in self.outputs for text in item.reasons))

    @property
    def max_halo(self) -> int | None:
        """The largest halo of all, in pixels; None where there is none that is exact."""
        sides = [side for item in self.outputs for axis in item.axes.values() for side in axis.halo or ()]
        return max(sides, default=0) if self.exact else None

    @cached_property
    def input(self) -> InputInfo:
        """The input that is cut."""
        return next(item for item in self.inputs if item.name == self.main)

    def slices(self) -> Iterator[Tile]:
        """The tiles in order, as slices of the inputs, of a tile's outputs and of the whole outputs.

        ``for tile in plan.slices(): y[tile.write] = model(x[tile.read])[tile.crop]``. Raises `UsageError` where there
        is no plan.
        """
        layout = self.planned()
        for number, row in enumerate(itertools.product(*layout.pieces.values())):
            yield self._tile(number, dict(zip(layout.pieces, row, strict=True)), layout)

    def planned(self) -> Layout:
        """The tiles. Raises `UsageError` where there are none."""
        self._must_be_exact()
        if self.layout is None:
            raise UsageError(f"no tiles are planned for {self.model}: ask rfcalc.tile for a tile, or a memory limit")
        return self.layout

    def run(self, model: Any, *inputs: Any, **settings: Any) -> Any:
        """Run a model in tiles: see `rfcalc.tiling.run.run`."""
        from rfcalc.tiling.run import run

        return run(self, model, *inputs, **settings)

    def bioimageio(self) -> dict[str, Any]:
        """The fields of a bioimage.io model description (format 0.5): ``min`` and ``step`` of the input's sizes, and
        the ``halo`` of the first output, which that format has the same on both sides."""
        self._must_be_exact()
        first = self.outputs[0]
        inputs, outputs = [], []
        for name, grid in self.grids.items():
            axis = first.axes[name]
            scale = axis.scale or Fraction(1)
            inputs.append({"id": name.lower(), "size": {"min": grid.least, "step": grid.align}})
            size = {"tensor_id": self.main, "axis_id": name.lower()}
            outputs.append(
                {
                    "id": name.lower(),
                    "scale": float(1 / scale),
                    "size": size,
                    "halo": int(max(grid.before, grid.after) * scale),
                }
            )
        return {"inputs": [{"id": self.main, "axes": inputs}], "outputs": [{"id": first.layer, "axes": outputs}]}

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "inputs": [{"name": one.name, "shape": list(one.shape), "axes": dict(one.axes)} for one in self.inputs],
            "input": self.main,
            "exact": self.exact,
            "outputs": [item.to_dict() for item in self.outputs],
            "plan": None if self.layout is None else self._plan(self.layout),
            **({} if self.proof is None else {"proof": self.proof.to_dict()}),
            "notices": list(self.notices),
        }

    def __repr__(self) -> str:
        if not self.exact:
            return f"<Tiling of {self.model}: impossible, for {self.reasons[0]}>"
        halo = ", ".join(f"{name} {grid.before}+{grid.after} on {grid.align}" for name, grid in self.grids.items())
        tiles = "" if self.layout is None else f", {self.layout.count} tiles of {_cross(self.layout.tile)}"
        return f"<Tiling of {self.model}: exact, margins {halo}{tiles}>"

    # --- inside -------------------------------------------------------------------------------------------------------

    def _plan(self, layout: Layout) -> dict[str, Any]:
        return {
            "image": dict(layout.image),
            "tile": dict(layout.tile),
            "tiles": layout.count,
            "axes": {name: [piece.to_dict() for piece in row] for name, row in layout.pieces.items()},
            "tile_outputs": [list(shape) for shape in layout.tile_shapes],
            **layout.costs.to_dict(),
            "bioimageio": self.bioimageio(),
        }

    def _must_be_exact(self) -> None:
        if not self.exact:
            raise UsageError(f"{self.model} cannot be run in tiles exactly: {self.reasons[0]}")

    def _tile(self, number: int, row: Mapping[str, Piece], layout: Layout) -> Tile:
        reads = {}
        for item in self.inputs:
            if item.name in self.ratios:
                cut = {item.axes[name]: (ratio, row[name]) for name, ratio in self.ratios[item.name].items()}
                reads[item.name] = tuple(
                    slice(int(cut[axis][1].start * cut[axis][0]), int(cut[axis][1].stop * cut[axis][0]))
                    if axis in cut
                    else slice(None)
                    for axis in range(len(item.shape))
                )
        crops, writes = [], []
        for output, shape in zip(self.outputs, layout.output_shapes, strict=True):
            crop, write = [slice(None)] * len(shape), [slice(None)] * len(shape)
            for name, piece in row.items():
                place, scale = output.places[name], output.axes[name].scale
                assert place is not None
                assert scale is not None
                start, first = int(piece.start * scale), int(piece.first * scale)
                last = shape[place] if piece.last == layout.image[name] else int(piece.last * scale)
                write[place], crop[place] = slice(first, last), slice(first - start, last - start)
            crops.append(tuple(crop))
            writes.append(tuple(write))
        return Tile(number, reads, tuple(crops), tuple(writes), self.main)


def _cross(extents: Mapping[str, int]) -> str:
    return "x".join(map(str, extents.values()))
