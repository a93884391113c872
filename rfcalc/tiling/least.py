"""Whether a halo is as small as can be: by real numbers, by derivatives, and by what NaN reaches.

What lies beyond a halo may change no bit of what is kept of a tile, and the derivative of what is kept by it is 0. The
outermost row of the halo has to change it. Numbers alone do not always show that: far pixels count little, and of a
ReLU or a maximum the ways may be closed at the weights at hand. So a derivative that is not 0 is taken, too, then the
same with positive weights, and inputs that rise toward the row. Where all of that shows nothing, NaN decides: it passes
what numbers do not, so that a row whose NaN reaches nothing that is kept is not needed. What NaN reaches and no number
is left as not shown, and so is what integers or comparisons are made of on the way, for they hold no NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rfcalc.checking.standins import StandIns
from rfcalc.tiling.passes import Passes, Swallowed, no_numbers, other_numbers, rows_of
from rfcalc.tiling.plan import Tile, Tiling

#: How large the numbers are that pixels beyond the halo are exchanged for.
_BEYOND = (1.0, 1000.0)
#: And those of its outermost row, in turn, until a unit changes.
_SIZES = (1.0, 30.0, 1000.0)
#: The same as a last resort, for what is rounded on the way.
_LARGE = (1e6, 1e9, 1e12)
#: What a layer of positive weights makes of the size of its inputs, in turn: some functions are flat far from 0.
_SCALES = (1.0, 0.3, 2.0)

NEEDED, NOT_SHOWN, TOO_LARGE = "needed", "not shown", "too large"


@dataclass(frozen=True, slots=True)
class Least:
    """One side of a halo: ``calm`` says that what lies farther out changes nothing of the part that is kept, ``least``
    whether its outermost row does: "needed", "not shown" or "too large". ``how`` says what showed it."""

    layer: str
    axis: str
    side: str
    halo: int
    calm: bool
    least: str
    how: str

    @property
    def needed(self) -> bool:
        """Whether a real difference was seen with one pixel less."""
        return self.least == NEEDED

    @property
    def agree(self) -> bool:
        """Whether nothing was seen against it."""
        return self.calm and self.least != TOO_LARGE

    def to_dict(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "axis": self.axis,
            "side": self.side,
            "halo": self.halo,
            "calm": self.calm,
            "least": self.least,
            "how": self.how,
        }


@dataclass(frozen=True)
class _Side:
    """What is asked of one output on one side of a tile along an axis, in pixels of the tile."""

    number: int
    axis: str
    before: bool
    halo: int
    beyond: range
    outermost: range


def sides(plan: Tiling, passes: Passes, tiles: Sequence[Tile], seed: int) -> list[Least]:
    """Each side of each halo, looked at in a tile that has it."""
    asked: dict[tuple[int, int], list[_Side]] = {}
    every = {tile.number: tile for tile in tiles}
    for tile, side in _asked(plan, tiles):
        asked.setdefault((tile.number, side.number), []).append(side)
    found: dict[tuple[int, str, bool], Least] = {}
    for (at, number), items in asked.items():
        for item, least in zip(items, _Look(plan, passes, every[at], number, seed).at(items), strict=True):
            found[number, item.axis, not item.before] = least
    return [found[key] for key in sorted(found, key=lambda key: (key[0], list(plan.grids).index(key[1]), key[2]))]


def _asked(plan: Tiling, tiles: Sequence[Tile]) -> list[tuple[Tile, _Side]]:
    found = []
    assert plan.layout is not None
    inner = {tile.number: _neighbours(plan, tile) for tile in tiles}
    for axis in plan.layout.pieces:
        for before in (True, False):
            has = [tile for tile in tiles if (axis, before) in inner[tile.number]]
            if not has:
                continue
            tile = max(has, key=lambda one: len(inner[one.number]))
            for number, output in enumerate(plan.outputs):
                halo, witness = output.axes[axis].halo, output.axes[axis].witnesses[0 if before else 1]
                if halo and halo[0 if before else 1] and not (witness is not None and witness.border):
                    found.append((tile, _side(plan, tile, number, axis, before, halo[0 if before else 1])))
    return found


def _neighbours(plan: Tiling, tile: Tile) -> set[tuple[str, bool]]:
    """The sides of a tile that do not lie at the border of the image."""
    assert plan.layout is not None
    found = set()
    for axis, extent in plan.layout.image.items():
        read = tile.read[plan.input.axes[axis]]
        found |= {(axis, True)} if read.start > 0 else set()
        found |= {(axis, False)} if read.stop < extent else set()
    return found


def _side(plan: Tiling, tile: Tile, number: int, axis: str, before: bool, halo: int) -> _Side:
    assert plan.layout is not None
    read = tile.read[plan.input.axes[axis]]
    piece = next(one for one in plan.layout.pieces[axis] if (one.start, one.stop) == (read.start, read.stop))
    if before:
        cut = piece.first - piece.start
        return _Side(number, axis, before, halo, range(max(0, cut - halo)), range(cut - halo, cut - halo + 1))
    cut = piece.last - piece.start
    return _Side(number, axis, before, halo, range(cut + halo, piece.length), range(cut + halo - 1, cut + halo))


class _Look:
    """One output of one tile."""

    def __init__(self, plan: Tiling, passes: Passes, tile: Tile, number: int, seed: int) -> None:
        self.plan, self.passes, self.number, self.seed = plan, passes, number, seed
        self.layer = plan.outputs[number].layer
        self.kept = tile.crops[number]
        self.values = passes.cut(tile)
        # A mask of -100 leaves a derivative of e^-100, and kernels of other devices may sum by way of a transform.
        self._exact = passes.device.type == "cpu" and not passes.subject.graph.masks

    def at(self, asked: Sequence[_Side]) -> list[Least]:
        """These sides of it."""
        steep = self.passes.gradients(self.values, self.number, self.kept)
        still = self._part(self.values)
        together: dict[str, list[range]] = {}
        for side in asked:
            together.setdefault(side.axis, []).append(side.beyond)
        calm = all(self._same(together, size, still, self.values) for size in _BEYOND)
        found = []
        for side in asked:
            own = calm or all(self._same({side.axis: [side.beyond]}, size, still, self.values) for size in _BEYOND)
            own = own and not (self._exact and self._any(steep, side.axis, side.beyond))
            how = "derivative" if self._any(steep, side.axis, side.outermost) else self._shown(side, still)
            least, how = (NEEDED, how) if how else self._by_nan(side)
            found.append(Least(self.layer, side.axis, "before" if side.before else "after", side.halo, own, least, how))
        return found

    def _shown(self, side: _Side, still: torch.Tensor) -> str:
        """What shows that the outermost row matters; "" where nothing does."""
        if any(not self._same({side.axis: [side.outermost]}, size, still, self.values) for size in _SIZES):
            return "numbers"
        rising = self._rising(side)
        for turn, scale in enumerate(_SCALES):
            standins = self.passes.positive(self.seed + turn, scale)
            if self._any(
                self.passes.gradients(rising, self.number, self.kept, standins), side.axis, side.outermost
            ) or not self._same({side.axis: [side.outermost]}, 1000.0, None, rising, standins):
                return "positive weights"
        if any(not self._same({side.axis: [side.outermost]}, size, still, self.values) for size in _LARGE):
            return "numbers"
        return ""

    def _by_nan(self, side: _Side) -> tuple[str, str]:
        other = self.passes.changed(self.plan, self.values, {side.axis: [side.outermost]}, no_numbers)
        pairs = list(zip(other, self.values, strict=True))
        if all(one is value for one, value in pairs):
            return TOO_LARGE, "no such row in a tile"
        if not any(one is not value and one.is_floating_point() for one, value in pairs):
            return NOT_SHOWN, ""
        with Swallowed() as seen:
            reached = bool(self._part(other).isnan().any())
        return (NOT_SHOWN, "") if reached or seen.any else (TOO_LARGE, "NaN")

    def _rising(self, side: _Side) -> list[torch.Tensor]:
        """Positive inputs that rise toward the outermost row."""
        made = []
        generator = torch.Generator().manual_seed(self.seed + 2)
        for name, value in zip(self.passes.names, self.values, strict=True):
            if not value.is_floating_point() or side.axis not in self.plan.ratios.get(name, {}):
                made.append(value)
                continue
            at = next(item for item in self.plan.inputs if item.name == name).axes[side.axis]
            ramp = torch.linspace(2.0, 0.5, value.shape[at], dtype=value.dtype, device=value.device)
            ramp = ramp if side.before else ramp.flip(0)
            noise = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value.device, value.dtype)
            made.append(ramp.reshape([-1 if axis == at else 1 for axis in range(value.ndim)]) + 1e-4 * noise)
        return made

    def _part(self, values: Sequence[torch.Tensor], standins: StandIns | None = None) -> torch.Tensor:
        return self.passes.outputs(values, standins)[self.number][self.kept]

    def _same(
        self,
        spoiled: Mapping[str, Sequence[range]],
        size: float,
        still: torch.Tensor | None,
        values: Sequence[torch.Tensor],
        standins: StandIns | None = None,
    ) -> bool:
        """Whether other numbers there change no bit of what is kept."""
        other = self.passes.changed(self.plan, values, spoiled, other_numbers(size, self.seed))
        if all(one is value for one, value in zip(other, values, strict=True)):
            return True
        against = self._part(values, standins) if still is None else still
        return bool(torch.equal(self._part(other, standins), against))

    def _any(self, steep: Sequence[torch.Tensor | None] | None, axis: str, part: range) -> bool:
        """Whether any derivative by some rows is a number other than 0."""
        for name, found, value in zip(self.passes.names, steep or (), self.values, strict=steep is not None):
            rows = None if found is None else rows_of(self.plan, name, axis, part, value.shape)
            if found is not None and rows is not None:
                at, start, stop = rows
                inner = found.narrow(at, start, stop - start)
                if bool(((inner != 0) & inner.isfinite()).any()):
                    return True
        return False
