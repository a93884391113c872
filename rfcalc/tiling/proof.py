"""The proof: the whole against its tiles in float64, on real numbers, and halos that are as small as can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch

from rfcalc.checking import device as devices
from rfcalc.checking.subject import Subject, failed, map_tensors
from rfcalc.checking.twins import Inputs, Twins
from rfcalc.errors import RfcalcError, UsageError
from rfcalc.graph import LayerGraph
from rfcalc.tiling.layout import pieces
from rfcalc.tiling.making import with_layout
from rfcalc.tiling.plan import Tile, Tiling
from rfcalc.tiling.sizes import Sizes
from rfcalc.tracing.arguments import tensors_in
from rfcalc.tracing.lazy import shaped

#: How large the numbers are that a pixel is exchanged for, in turn, until a unit changes.
_SIZES = (1.0, 30.0, 1000.0)


@dataclass(frozen=True, slots=True)
class Equal:
    """One output: the largest difference between the whole and its tiles, and what rounding may make of it."""

    layer: str
    difference: float
    bound: float

    @property
    def agree(self) -> bool:
        return self.difference <= self.bound

    def to_dict(self) -> dict[str, Any]:
        return {"layer": self.layer, "difference": self.difference, "bound": self.bound, "agree": self.agree}


@dataclass(frozen=True, slots=True)
class Least:
    """One side of a halo: ``calm`` says that what lies farther out changes no bit of the part that is kept, ``needed``
    that the outermost pixel of the halo changes some."""

    layer: str
    axis: str
    side: str
    halo: int
    calm: bool
    needed: bool

    @property
    def agree(self) -> bool:
        return self.calm and self.needed

    def to_dict(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "axis": self.axis,
            "side": self.side,
            "halo": self.halo,
            "calm": self.calm,
            "needed": self.needed,
        }


@dataclass(frozen=True)
class Proof:
    """What came of running the whole and its tiles."""

    image: Mapping[str, int]
    tile: Mapping[str, int]
    tiles: int
    outputs: tuple[Equal, ...]
    sides: tuple[Least, ...]
    device: str

    @property
    def agree(self) -> bool:
        """Whether the tiles are as the whole, and no halo could be smaller."""
        return all(item.agree for item in self.outputs) and all(item.agree for item in self.sides)

    def to_dict(self) -> dict[str, Any]:
        return {
            "agree": self.agree,
            "image": dict(self.image),
            "tile": dict(self.tile),
            "tiles": self.tiles,
            "outputs": [item.to_dict() for item in self.outputs],
            "sides": [item.to_dict() for item in self.sides],
            "device": self.device,
        }


def prove(plan: Tiling, sizes: Sizes, *, device: str = "auto", seed: int = 0) -> Proof:
    """Run the whole and its tiles in float64 on random numbers, and compare.

    The image is the plan's, or, without a plan, one of three of the shortest tiles along each axis. An output agrees
    where no element differs by more than 2^-52 x (terms of all sums that it goes through) x (its largest value): tiles
    add up the same numbers, perhaps in another order. For the halo the same tile is computed again with other pixels,
    which has to give the same bits or not. Raises `UsageError` where tiles cannot be exact.
    """
    if plan.layers is not None:
        raise UsageError("--verify compares the outputs of the model: leave out --layer")
    chosen, _ = devices.choose(device)
    if chosen.type == "mps":
        raise UsageError("--verify compares in float64, which mps does not have: take --device cpu")
    if plan.layout is None:
        plan = _small(plan, sizes)
    layout = plan.layout
    assert layout is not None
    with devices.random_state(chosen):
        passes = _Passes(sizes, layout.image, chosen, seed)
        tiles = list(plan.slices())
        whole = passes.outputs(passes.values)
        tiled = [
            torch.full_like(one, float("nan")) if one.is_floating_point() else torch.zeros_like(one) for one in whole
        ]
        for tile in tiles:
            for target, part, crop, write in zip(
                tiled, passes.outputs(passes.cut(tile)), tile.crops, tile.writes, strict=True
            ):
                target[write] = part[crop]
        terms = _terms(passes.subject.graph)
        equal = tuple(
            Equal(item.layer, _difference(a, b), 2.0**-52 * terms * _largest(a))
            for item, a, b in zip(plan.outputs, whole, tiled, strict=True)
        )
        sides = tuple(_sides(plan, passes, tiles, seed))
    return Proof(dict(layout.image), dict(layout.tile), len(tiles), equal, sides, devices.describe(chosen))


def _small(plan: Tiling, sizes: Sizes) -> Tiling:
    """The plan for an image that is small, and still has a tile with neighbours on both sides along each axis."""
    image, tile, rows = {}, {}, {}
    for axis, grid in plan.grids.items():
        tile[axis] = grid.least
        image[axis] = max(grid.least + 2 * grid.align, grid.least + 2)
        image[axis] += (sizes.extents[axis] - image[axis]) % grid.align
        while len(pieces(axis, grid, tile[axis], image[axis])) < 3:
            image[axis] += grid.align
        rows[axis] = pieces(axis, grid, tile[axis], image[axis])
    return with_layout(plan, sizes, image, tile, rows)


def _difference(whole: torch.Tensor, tiled: torch.Tensor) -> float:
    if not whole.numel():
        return 0.0
    gap = (whole.double() - tiled.double()).abs() if not whole.is_complex() else (whole - tiled).abs()
    gap = torch.where(whole == tiled, torch.zeros_like(gap), gap)
    largest = float(gap.max())
    return float("inf") if largest != largest else largest


def _largest(values: torch.Tensor) -> float:
    finite = values.abs().double() if not values.is_complex() else values.abs()
    return float(finite[finite.isfinite()].max()) if values.numel() and bool(finite.isfinite().any()) else 0.0


def _terms(graph: LayerGraph) -> int:
    """How many numbers are added up on the way to an output, at most: of each op as many as one of its elements has."""
    total = 0
    for record in graph:
        elements = max(1, prod(record.shape))
        total += max(1, -(-(record.macs or 0) // elements)) + sum(record.flops.values()) // elements
    return total


class _Passes:
    """A double of the model on float64 twins, and the inputs of the whole."""

    def __init__(self, sizes: Sizes, image: Mapping[str, int], device: torch.device, seed: int) -> None:
        graph = sizes.at(image).graph
        args, kwargs = sizes.call(image)
        loaded = replace(sizes.loaded, model=shaped(sizes.loaded.model, sizes.args, sizes.kwargs))
        self.subject = Subject(loaded, args, kwargs, graph, sizes.training)
        self.twins = Twins(self.subject, device, seed, wide=True, anew=False)
        self._inputs = Inputs(self.subject, device, seed, wide=True)
        self.values = self._inputs.values
        self.names = [item.name for item in graph.inputs]

    def outputs(self, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The outputs for these inputs."""
        changed = dict(enumerate(values))
        try:
            with torch.no_grad(), devices.honest(), self.twins.installed() as (double, _):
                args, kwargs = map_tensors(self._inputs.arguments(changed), lambda tensor: tensor, double.of)
                found = double.model(*args, **kwargs)
        except RfcalcError:
            raise
        except Exception as error:
            raise failed(self.subject, self.twins.device, error) from error
        tensors = list({id(tensor): tensor for tensor in tensors_in(found)}.values())
        if len(tensors) != len(self.subject.graph.outputs):
            raise UsageError(
                f"{self.subject.loaded.name} gives {len(tensors)} tensors, of which {len(self.subject.graph.outputs)}"
                " depend on its inputs: --verify cannot tell which"
            )
        return tensors

    def cut(self, tile: Tile) -> list[torch.Tensor]:
        """The inputs of one tile."""
        return [
            value[tile.reads[name]] if name in tile.reads else value
            for name, value in zip(self.names, self.values, strict=True)
        ]


def _sides(plan: Tiling, passes: _Passes, tiles: Sequence[Tile], seed: int) -> list[Least]:
    """Each side of each halo, looked at in a tile that has it."""
    found = []
    assert plan.layout is not None
    for axis, row in plan.layout.pieces.items():
        for before in (True, False):
            has = [piece for piece in row if (piece.start > 0 if before else piece.stop < plan.layout.image[axis])]
            if not has:
                continue
            piece = has[len(has) // 2] if len(has) > 2 else has[0 if before else -1]
            at = plan.input.axes[axis]
            inside = [one for one in tiles if (one.read[at].start, one.read[at].stop) == (piece.start, piece.stop)]
            tile = inside[len(inside) // 2]
            cut = piece.first - piece.start if before else piece.last - piece.start
            for number, output in enumerate(plan.outputs):
                sides, witness = output.axes[axis].halo, output.axes[axis].witnesses[0 if before else 1]
                halo = sides[0 if before else 1] if sides else 0
                border = witness is not None and witness.border
                if halo and not border:
                    found.append(_side(plan, passes, tile, number, axis, cut, halo, before, piece.length, seed))
    return found


def _side(
    plan: Tiling,
    passes: _Passes,
    tile: Tile,
    number: int,
    axis: str,
    cut: int,
    halo: int,
    before: bool,
    length: int,
    seed: int,
) -> Least:
    values = passes.cut(tile)
    kept = passes.outputs(values)[number][tile.crops[number]]
    beyond = range(cut - halo) if before else range(cut + halo, length)
    outermost = range(cut - halo, cut - halo + 1) if before else range(cut + halo - 1, cut + halo)

    def same(spoiled: range, size: float) -> bool:
        other = [
            _spoiled(plan, name, one, axis, spoiled, size, seed) for name, one in zip(passes.names, values, strict=True)
        ]
        return bool(torch.equal(passes.outputs(other)[number][tile.crops[number]], kept))

    calm = not len(beyond) or all(same(beyond, size) for size in _SIZES)
    needed = any(not same(outermost, size) for size in _SIZES)
    return Least(plan.outputs[number].layer, axis, "before" if before else "after", halo, calm, needed)


def _spoiled(
    plan: Tiling, name: str, values: torch.Tensor, axis: str, spoiled: range, size: float, seed: int
) -> torch.Tensor:
    """An input of a tile with other numbers in the rows that belong to some pixels of the main input."""
    if name not in plan.ratios or axis not in plan.ratios[name] or not values.is_floating_point():
        return values
    ratio = plan.ratios[name][axis]
    at = next(item for item in plan.inputs if item.name == name).axes[axis]
    start, stop = -((-spoiled.start * ratio) // 1), -((-spoiled.stop * ratio) // 1)
    made = values.clone()
    if stop > made.shape[at]:  # what a halo that is too large asks for beyond the tile
        return made
    part = made.narrow(at, int(start), int(stop - start))
    noise = np.random.default_rng(seed + 1).standard_normal(tuple(part.shape))
    part += size * torch.as_tensor(noise, dtype=part.dtype).to(part.device)
    return made
