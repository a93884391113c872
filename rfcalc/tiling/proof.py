"""The proof of a verdict: the whole and its tiles on real numbers in float64, and halos that are as small as can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from rfcalc.checking import device as devices
from rfcalc.errors import TraceError, UsageError
from rfcalc.graph import LayerGraph
from rfcalc.tiling.cuts import outputs_of
from rfcalc.tiling.layout import pieces
from rfcalc.tiling.least import NOT_SHOWN, Least, sides
from rfcalc.tiling.passes import Coarsest, Passes
from rfcalc.tiling.plan import Costs, Layout, Tiling
from rfcalc.tiling.sizes import Sizes
from rfcalc.tiling.verdict import others_of

#: An image of no more positions than this is cut along all axes at once, a larger one along one axis after the other.
_AT_ONCE = 1 << 14


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


@dataclass(frozen=True)
class Trial:
    """One image that was run whole and in tiles."""

    image: Mapping[str, int]
    tile: Mapping[str, int]
    tiles: int
    outputs: tuple[Equal, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "image": dict(self.image),
            "tile": dict(self.tile),
            "tiles": self.tiles,
            "outputs": [item.to_dict() for item in self.outputs],
        }


@dataclass(frozen=True)
class Proof:
    """What came of running the whole and its tiles."""

    trials: tuple[Trial, ...]
    sides: tuple[Least, ...]
    device: str

    @property
    def agree(self) -> bool:
        """Whether the tiles are as the whole, and nothing was seen against any halo."""
        equal = all(item.agree for trial in self.trials for item in trial.outputs)
        return equal and all(item.agree for item in self.sides)

    @property
    def not_shown(self) -> int:
        """The sides of which no number tried shows that a smaller halo would not do."""
        return sum(item.least == NOT_SHOWN for item in self.sides)

    def to_dict(self) -> dict[str, Any]:
        return {
            "agree": self.agree,
            "not_shown": self.not_shown,
            "trials": [item.to_dict() for item in self.trials],
            "sides": [item.to_dict() for item in self.sides],
            "device": self.device,
        }


def prove(plan: Tiling, sizes: Sizes, *, device: str = "auto", seed: int = 0) -> Proof:
    """Run the whole and its tiles in float64 on random numbers, and compare.

    The image is the plan's, or, without a plan, one of three of the shortest tiles along each axis; where that is
    large, one for each axis, which is three tiles long and else short. An output agrees where no element differs by
    more than epsilon (2^-52) x (terms of all sums that it goes through) x (its largest value): tiles add up the same
    numbers, perhaps in another order. Where the model itself computes in a smaller type, it is the epsilon of that.
    Halos are looked at by `rfcalc.tiling.least`. Raises `UsageError` where tiles cannot be exact.
    """
    if plan.layers is not None:
        raise UsageError("--verify compares the outputs of the model: leave out --layer")
    chosen, _ = devices.choose(device)
    if chosen.type == "mps":
        raise UsageError("--verify compares in float64, which mps does not have: take --device cpu")
    plans = [plan] if plan.layout is not None else _small(plan, sizes)
    trials: list[Trial] = []
    found: list[Least] = []
    with devices.random_state(chosen):
        for one in plans:
            assert one.layout is not None
            passes, trial = _tried(one, one.layout, sizes, chosen, seed)
            trials.append(trial)
            found += sides(one, passes, list(one.slices()), seed)
    return Proof(tuple(trials), tuple(found), devices.describe(chosen))


def _tried(plan: Tiling, layout: Layout, sizes: Sizes, device: torch.device, seed: int) -> tuple[Passes, Trial]:
    """In float64, or, where the model itself goes back to float32 on the way, as it is."""
    passes = Passes(sizes, layout.image, device, seed)
    try:
        return passes, _trial(plan, layout, passes)
    except TraceError:
        passes = Passes(sizes, layout.image, device, seed, wide=False)
        return passes, _trial(plan, layout, passes)


def _trial(plan: Tiling, layout: Layout, passes: Passes) -> Trial:
    """The whole against its tiles."""
    with Coarsest(passes.wide) as seen:
        whole = passes.outputs(passes.values)
    tiled = [torch.full_like(one, float("nan")) if one.is_floating_point() else torch.zeros_like(one) for one in whole]
    for tile in plan.slices():
        parts = passes.outputs(passes.cut(tile))
        for target, part, crop, write in zip(tiled, parts, tile.crops, tile.writes, strict=True):
            target[write] = part[crop]
    terms = _terms(passes.subject.graph)
    equal = tuple(
        Equal(item.layer, _difference(a, b), seen.epsilon * terms * _largest(a))
        for item, a, b in zip(plan.outputs, whole, tiled, strict=True)
    )
    return Trial(dict(layout.image), dict(layout.tile), layout.count, equal)


def _small(plan: Tiling, sizes: Sizes) -> list[Tiling]:
    """Plans for images that are small, and still have a tile with neighbours on both sides along each axis."""
    image, tile = {}, {}
    for axis, grid in plan.grids.items():
        tile[axis] = grid.least
        image[axis] = max(grid.least + 2 * grid.align, grid.least + 2)
        image[axis] += (sizes.extents[axis] - image[axis]) % grid.align
        while len(pieces(axis, grid, tile[axis], image[axis])) < 3:
            image[axis] += grid.align
    if len(image) == 1 or prod(image.values()) <= _AT_ONCE:
        return [_with(plan, sizes, image, tile)]
    found = []
    for axis in image:
        others = others_of(sizes, axis)
        found.append(_with(plan, sizes, {**others, axis: image[axis]}, {**others, axis: tile[axis]}))
    return found


def _with(plan: Tiling, sizes: Sizes, image: Mapping[str, int], tile: Mapping[str, int]) -> Tiling:
    """The plan for an image, without its costs."""
    order = list(plan.grids)
    rows = {axis: pieces(axis, plan.grids[axis], tile[axis], image[axis]) for axis in order}
    whole = sizes.at(image)
    pairs = outputs_of(sizes.base, whole, plan.layers)
    assert pairs is not None
    shapes = tuple(whole.graph[ref.node].outputs[ref.output].shape for _, ref in pairs)
    lengths = {axis: image[axis] for axis in order}, {axis: tile[axis] for axis in order}
    return replace(plan, layout=Layout(*lengths, rows, shapes, Costs(0, 0, 0, 0)))


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
