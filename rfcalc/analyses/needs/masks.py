"""What a mask leaves of boxes: for each unit, from the first to the last place along each axis that is not blocked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rfcalc.analyses.field.intervals import distinct
from rfcalc.analyses.needs.spans import GONE, Array, Digits, Span, halves, same

#: So many different boxes are looked at one by one, at most; what is left out of more stays in.
MOST = 1 << 14
_NUMBERS = 1 << 12


class Masks:
    """The masks of a graph: what is not blocked, and what that leaves of boxes; worked out once for each."""

    def __init__(self, blocked: Mapping[int, Array]) -> None:
        self._blocked = blocked
        self._free: dict[tuple[int, int], Array] = {}
        self._grids: dict[tuple[int, int], tuple[Array, int]] = {}

    def shape(self, mask: int) -> tuple[int, ...]:
        """The shape of a stored mask."""
        return self._blocked[mask].shape

    def free(self, mask: int, rank: int) -> Array:
        """Where a stored mask does not block, as an array of that rank."""
        found = self._free.get((mask, rank))
        if found is None:
            blocked = self._blocked[mask]
            found = self._free[mask, rank] = np.logical_not(
                blocked.reshape((1,) * (rank - blocked.ndim) + blocked.shape)
            )
        return found

    def left(self, axes: Sequence[Digits], free: Array) -> tuple[tuple[Digits, ...], bool] | None:
        """The boxes without what is not free, and whether one of several is empty; None where all are.

        ``free`` has the rank of the tensor, with extent 1 along axes that it does not depend on.
        """
        if free.all():
            return tuple(axes), False
        told = [axis for axis, extent in enumerate(free.shape) if extent > 1]
        if not told:
            return None
        cut = list(axes)
        for axis in told:
            cut[axis] = self._gridded(axes[axis], free, axis)
        places = [(axis, at) for axis in told for at in range(len(cut[axis]))]
        digits = [cut[axis][at] for axis, at in places]
        free = free.reshape([extent for extent, _ in digits])
        found = _hulls(free, [span.ends for _, span in digits])
        if found is None:  # too many to be told apart
            return tuple(cut), False
        lo, hi = found
        gone = np.greater(lo[0], hi[0])
        if gone.all():
            return None
        made = [list(own) for own in cut]
        for (axis, at), first, last in zip(places, lo, hi, strict=True):
            made[axis][at] = (made[axis][at][0], _span(first, last))
        return tuple([tuple(own) for own in made]), bool(gone.any())

    def _gridded(self, digits: Digits, free: Array, axis: int) -> Digits:
        """The axis in two digits, where what is free along it is no stretch but a rectangle of them: rows and columns
        of an image, of which the axis has one after the other."""
        if len(digits) > 1 or not digits[0][1].is_same:
            return digits
        known = self._grids.get((id(free), axis))
        if known is None:
            known = self._grids[id(free), axis] = free, _inner_digit(free, axis)
        inner = known[1]
        if inner < 2:
            return digits
        extent, span = digits[0]
        outer, within = halves(span, inner)
        return ((extent // inner, outer), (inner, within))


def _inner_digit(free: Array, axis: int) -> int:
    """The extent of the inner digit, if all that is free along the axis are rectangles of two; 1 for stretches."""
    extent = free.shape[axis]
    rows = np.moveaxis(free, axis, -1).reshape(-1, extent)
    steps = np.diff(rows.astype(np.int8), axis=1)
    if np.less_equal(np.equal(steps, 1).sum(axis=1) + rows[:, 0], 1).all():
        return 1
    for inner in sorted(range(2, extent), key=lambda inner: abs(inner * inner - extent)):
        if extent % inner:
            continue
        grid = rows.reshape(len(rows), extent // inner, inner)
        if np.array_equal(grid, np.logical_and(grid.any(2, keepdims=True), grid.any(1, keepdims=True))):
            return inner
    return 1


def _span(lo: Array, hi: Array) -> Span:
    if lo.size == 1 or ((lo == lo.flat[0]).all() and (hi == hi.flat[0]).all()):
        return same(int(lo.flat[0]), int(hi.flat[0]))
    return Span(None, ends=(lo, hi))


def _hulls(free: Array, ends: Sequence[tuple[Array, Array]]) -> tuple[list[Array], list[Array]] | None:
    """The least box of each unit that has all that is free in its box."""
    every = np.broadcast_arrays(*[part for pair in ends for part in pair])
    shape = every[0].shape
    lo, hi = [part.ravel() for part in every[::2]], [part.ravel() for part in every[1::2]]
    wide = [at for at in range(len(lo)) if (lo[at] != hi[at]).any()]
    gone = np.zeros(lo[0].shape, dtype=bool)
    for first, last in zip(lo, hi, strict=True):
        gone |= first > last
    lo, hi = [np.where(gone, 0, part) for part in lo], [np.where(gone, 0, part) for part in hi]
    if len(wide) <= 1:
        lo, hi = _along_one(free, lo, hi, wide[0] if wide else 0)
    else:
        kinds, kind = _kinds(free, [at for at in range(len(lo)) if at not in wide], lo)
        columns = np.stack([kind, *[lo[at] for at in wide], *[hi[at] for at in wide]])
        first, which = _different(columns)
        if len(first) > MOST:
            return None
        found = [_hull(kinds[box[0]], box[1:]) for box in columns[:, first].T.tolist()]
        hulls = np.array(found).T[:, which]
        for at, low, high in zip(wide, hulls, hulls[len(wide) :], strict=False):
            lo[at], hi[at] = low, high
    gone |= lo[wide[0] if wide else 0] > hi[wide[0] if wide else 0]
    return (
        [np.where(gone, GONE, part).reshape(shape) for part in lo],
        [np.where(gone, -GONE, part).reshape(shape) for part in hi],
    )


def _kinds(free: Array, alone: Sequence[int], places: Sequence[Array]) -> tuple[Array, Array]:
    """The different ones of what is free at places along these axes, and which of them each box meets."""
    extents = [free.shape[axis] for axis in alone]
    others = [axis for axis in range(free.ndim) if axis not in alone]
    turned = free.transpose(*alone, *others).reshape(-1, *[free.shape[axis] for axis in others])
    first, kinds = distinct(np.packbits(turned.reshape(len(turned), -1), axis=1))
    at = np.zeros_like(places[0])
    for axis, extent in zip(alone, extents, strict=True):
        at = at * extent + places[axis]
    return turned[first], kinds[at]


def _along_one(free: Array, lo: list[Array], hi: list[Array], axis: int) -> tuple[list[Array], list[Array]]:
    """For boxes that are single places along all axes but one."""
    extent = free.shape[axis]
    own = np.arange(extent).reshape([-1 if k == axis else 1 for k in range(free.ndim)])
    turn = (*(slice(None),) * axis, slice(None, None, -1))
    after = np.minimum.accumulate(np.where(free, own, GONE)[turn], axis)[turn]
    before = np.maximum.accumulate(np.where(free, own, -GONE), axis)
    first, last = after[tuple(lo)], before[(*lo[:axis], hi[axis], *lo[axis + 1 :])]
    gone = first > last
    low = [np.where(gone, GONE, first if at == axis else part) for at, part in enumerate(lo)]
    high = [np.where(gone, -GONE, last if at == axis else part) for at, part in enumerate(hi)]
    return low, high


def _different(boxes: Array) -> tuple[Array, Array]:
    """The columns that hold different boxes, and for each column which of those it is."""
    number, count = np.zeros(boxes.shape[1], dtype=np.int64), 1
    for row in boxes:
        least = int(row.min())
        extent = int(row.max()) - least + 1
        number, count = number * extent + (row - least), count * extent
        if count > 4 * len(number) + _NUMBERS:  # most differ in few ways
            _, number = np.unique(number, return_inverse=True)
            count = int(number.max()) + 1
    last = np.full(count, -1)
    last[number] = np.arange(len(number))
    first = last[last >= 0]
    order = np.cumsum(last >= 0) - 1
    return first, order[number]


def _hull(free: Array, box: Sequence[int]) -> list[int]:
    rank = free.ndim
    inside = free[tuple([slice(box[at], box[rank + at] + 1) for at in range(rank)])]
    if not inside.any():
        return [GONE] * rank + [-GONE] * rank
    lo, hi = [], []
    for axis in range(rank):
        seen = np.flatnonzero(inside.any(axis=tuple([k for k in range(rank) if k != axis])))
        lo.append(int(box[axis] + seen[0]))
        hi.append(int(box[axis] + seen[-1]))
    return lo + hi
