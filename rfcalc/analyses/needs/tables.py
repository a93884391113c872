"""Steps along one axis, backwards: which indices of the axis before a step are read by stretches of positions after it.

A `Table` has the first and the last index that each position reads, cut at the borders, and as a rule that goes on
beyond them where there is one. What a stretch of positions reads lies between the least of the first and the greatest
of the last.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from rfcalc import reads
from rfcalc.analyses.needs.spans import GONE, Array, Ends, Free, Rule, Span, same, slid


class Table:
    """What positions after one step along an axis read of the axis before it, which has that extent."""

    def __init__(self, step: Any, extent: int, alone: bool) -> None:
        self.step = step
        self.extent = extent
        self.rule = _rule(step, extent, alone)
        #: the positions of a piece of what is put together, inside of which it is read in order
        self.inside = None if alone or not isinstance(step, reads.Place) or step.step > 1 else _inside(step)

    @cached_property
    def first(self) -> _Least:
        return _Least(self._ends[0])

    @cached_property
    def last(self) -> _Least:
        return _Least(-self._ends[1])

    @cached_property
    def seam(self) -> int | None:
        """Where what is read in order goes round: positions from there on go on elsewhere. None for no such place."""
        jumps = np.flatnonzero(np.abs(np.diff(self._ends[0])) > 1) + 1
        if self.first.rises or len(jumps) != 1 or self.leaves_out:
            return None
        return int(jumps[0])

    @cached_property
    def leaves_out(self) -> bool:
        """Whether a position reads nothing."""
        return bool((self._ends[0] > self._ends[1]).any())

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        first, last = _ends(self.step, self.extent)
        gone = first > last
        return np.where(gone, GONE, first), np.where(gone, -GONE, last)

    def read_by(self, span: Span) -> Span | None:
        """What is read by the positions that units use; None where none of them reads anything."""
        if span.is_same:
            return self._by_all(*span.ends)
        free, rule = span.free, self.rule
        if free is not None and self.inside is not None:
            lo, hi = span.ends
            if int(lo.min()) >= self.inside[0] and int(hi.max()) <= self.inside[1]:
                rule = Rule(1, (-self.inside[0],), (-self.inside[0],))
        pattern = None if free is None or rule is None else slid(free.pattern, rule)
        return span.derived(self._by_each, None if pattern is None or free is None else Free(free.axis, pattern))

    def _by_all(self, first: int, last: int) -> Span | None:
        quick = _quickly(self.step, self.extent, first, last)
        if quick is None:
            lo, hi = self._by_each((np.asarray(first), np.asarray(last)))
            quick = int(lo), int(hi)
        return None if quick[0] > quick[1] else same(*quick)

    def _by_each(self, ends: Ends) -> Ends:
        lo, hi = ends
        gone = lo > hi
        if gone.any():
            lo, hi = np.where(gone, 0, lo), np.where(gone, 0, hi)
            first, last = self.first.between(lo, hi), -self.last.between(lo, hi)
            return np.where(gone, GONE, first), np.where(gone, -GONE, last)
        return self.first.between(lo, hi), -self.last.between(lo, hi)


class _Least:
    """The least of the numbers in stretches of a row."""

    def __init__(self, row: Array) -> None:
        self.row = row
        self.rises = bool((row[1:] >= row[:-1]).all())
        self.falls = not self.rises and bool((row[1:] <= row[:-1]).all())

    @cached_property
    def _doubled(self) -> Array:
        """Row k has the least of the 2**k numbers from each place on."""
        rows = [self.row]
        while 1 << len(rows) <= len(self.row):
            half, before = 1 << (len(rows) - 1), rows[-1]
            after = before.copy()
            after[:-half] = np.minimum(before[:-half], before[half:])
            rows.append(after)
        return np.stack(rows)

    def between(self, first: Array, last: Array) -> Array:
        """The least from each first to its last place."""
        if self.rises or self.falls:
            return np.asarray(self.row[first if self.rises else last])
        first, last = np.broadcast_arrays(first, last)
        level = np.frexp(last - first + 1)[1] - 1
        return np.asarray(np.minimum(self._doubled[level, first], self._doubled[level, last + 1 - (1 << level)]))


@lru_cache(maxsize=1 << 13)
def table(step: Any, extent: int, alone: bool) -> Table:
    """The table of a step; ``alone`` where what is placed is all that is read, which is padding."""
    return Table(step, extent, alone)


def _quickly(step: Any, extent: int, first: int, last: int) -> tuple[int, int] | None:
    """What positions first to last read, where that needs no table: first > last for nothing, None if not known."""
    match step:
        case reads.Window(_, kernel, stride, dilation, before, _):
            lo, hi = stride * first - before, stride * last - before + dilation * (kernel - 1)
            if lo >= 0 and hi < extent:
                return lo, hi
            if dilation == 1 and stride <= kernel and hi >= 0 and lo < extent:
                return max(lo, 0), min(hi, extent - 1)
        case reads.Slice(_, start, stride, _):
            lo, hi = start + stride * first, start + stride * last
            return (lo, hi) if stride > 0 else (hi, lo)
        case reads.Place(_, size, offset, _, 1):
            lo, hi = max(first, offset), min(last, offset + size - 1)
            return lo - offset, hi - offset
        case reads.Prefix(_, size, reverse):
            return (first, size - 1) if reverse else (0, last)
        case reads.Group(_, groups, out):
            width = extent // groups
            return first * groups // out * width, last * groups // out * width + width - 1
    return None


def _inside(step: reads.Place) -> tuple[int, int]:
    return step.offset, step.offset + step.size - 1


# --- cut at the borders -----------------------------------------------------------------------------------------------


def _ends(step: Any, extent: int) -> tuple[Array, Array]:
    """The first and the last index that each position reads; first > last where it reads none."""
    match step:
        case reads.Window(_, kernel, stride, dilation, before, out):
            start = stride * np.arange(out) - before
            end = start + dilation * (kernel - 1)
            first = start + dilation * np.maximum(0, -(start // dilation))
            last = end - dilation * np.maximum(0, -((extent - 1 - end) // dilation))
            return first, np.where(first < extent, last, -1)
        case reads.Transposed():
            return _transposed(step, extent)
        case reads.Spans(_, first, last):
            return np.asarray(first, dtype=np.int64), np.asarray(last, dtype=np.int64)
        case reads.Prefix(_, size, reverse):
            own, rim = np.arange(size), np.zeros(size, dtype=np.int64)
            return (own, rim + size - 1) if reverse else (rim, own)
        case reads.Group(_, groups, out):
            start = np.arange(out) * groups // out * (extent // groups)
            return start, start + extent // groups - 1
    index = _index(step, extent)
    return np.where(index < 0, GONE, index), index


def _transposed(step: reads.Transposed, extent: int) -> tuple[Array, Array]:
    place = np.arange(step.out) + step.before
    first, last = np.full(step.out, GONE), np.full(step.out, -GONE)
    for tap in range(step.kernel):
        index, rest = np.divmod(place - step.dilation * tap, step.stride)
        hit = (rest == 0) & (index >= 0) & (index < extent)
        first, last = np.minimum(first, np.where(hit, index, GONE)), np.maximum(last, np.where(hit, index, -GONE))
    return first, last


def _index(step: Any, extent: int) -> Array:
    """The one index that each position reads, -1 for none."""
    match step:
        case reads.Slice(_, start, stride, out):
            return start + stride * np.arange(out)
        case reads.Take(_, indices):
            return np.asarray(indices, dtype=np.int64)
        case reads.Pad(_, size, before, after, mode):
            kept = np.arange(max(0, -before), size - max(0, -after))
            widths = max(0, before), max(0, after)
            if mode == "zero":
                return np.pad(kept, widths, constant_values=-1)
            names = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
            return np.pad(kept, widths, names[mode])  # type: ignore[call-overload, no-any-return]
        case reads.Place(_, size, offset, out, stride):
            index = np.full(out, -1)
            index[offset : offset + (size - 1) * stride + 1 : stride] = np.arange(size)
            return index
        case reads.Erase(_, ((_, size, offset, stride),)):
            index = np.arange(extent)
            index[offset : offset + (size - 1) * stride + 1 : stride] = -1
            return index
    raise TypeError(f"{step!r} is no step along one axis")


# --- beyond the borders -----------------------------------------------------------------------------------------------


def _rule(step: Any, extent: int, alone: bool) -> Rule | None:
    """What positions read wherever they are; None where it is not known to repeat."""
    match step:
        case reads.Window(_, kernel, stride, dilation, before, _):
            return Rule(stride, (-before,), (-before + dilation * (kernel - 1),))
        case reads.Transposed(_, kernel, stride, dilation, before, _):
            return _scattered(kernel, stride, dilation, before)
        case reads.Spans(_, _, _, period, shift, free_first, free_last) if period:
            return Rule(shift, free_first, free_last)
        case reads.Slice(_, start, stride, _):
            return Rule(stride, (start,), (start,))
        case reads.Take(_, indices):
            return counted(indices)
        case reads.Pad(_, _, before, _, _):
            return Rule(1, (-before,), (-before,))
        case reads.Place(_, _, offset, _, stride) if alone or stride > 1:
            return _scattered(1, stride, 1, -offset)
        case reads.Erase(_, ((_, size, offset, stride),)) if offset < stride and offset + size * stride >= extent:
            own = [GONE if phase == offset else phase for phase in range(stride)]
            return Rule(stride, tuple(own), tuple([-GONE if phase == GONE else phase for phase in own]))
    return None


def _scattered(kernel: int, stride: int, dilation: int, before: int) -> Rule:
    first, last = [], []
    for phase in range(stride):
        taps = [phase + before - dilation * tap for tap in range(kernel)]
        read = [tap // stride for tap in taps if tap % stride == 0]
        first.append(min(read, default=GONE))
        last.append(max(read, default=-GONE))
    return Rule(1, tuple(first), tuple(last))


def counted(indices: tuple[int, ...]) -> Rule | None:
    """Indices that are a sum of two digits, ``a*i + b*j``, as a rule; None where they are not."""
    if not indices or min(indices) < 0:
        return None
    row = np.asarray(indices)
    if len(row) == 1:
        return Rule(1, (indices[0],), (indices[0],))
    other = np.flatnonzero(np.diff(row) != row[1] - row[0])
    if not len(other):
        return Rule(int(row[1] - row[0]), (indices[0],), (indices[0],))
    inner = int(other[0]) + 1
    if len(row) % inner:
        return None
    rows = row.reshape(-1, inner)
    moves = rows - rows[:1]
    shift = int(moves[1, 0]) if len(rows) > 1 else 0
    even = (moves == (np.arange(len(rows)) * shift)[:, None]).all()
    if not even or (inner > 1 and shift * int(row[1] - row[0]) < 0):
        return None
    return Rule(shift, tuple(indices[:inner]), tuple(indices[:inner]))
