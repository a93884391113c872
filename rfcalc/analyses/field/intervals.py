"""Interval arrays: which span of one source axis each element of a tensor sees, and how the read steps change it.

An `Intervals` holds integer arrays ``lo`` and ``hi`` of the tensor's rank, with extent 1 along every axis that they do
not depend on. A unit that sees nothing has ``lo > hi``. Where few positions of a large field differ, the arrays have a
row for each kind, and ``places`` says which row each position is: scores of attention to which something is added but
for the first token depend on queries and keys, and are of few kinds along both. There are two readings of the same
steps (`field.arrays`):

- *clipped*: positions outside a tensor hold nothing. This gives the exact region of every unit.
- *free*: the pattern of an axis is continued beyond its ends, as if the tensor had no borders. ``motions`` says how,
  for each axis along which positions lie in different places (`field.motion`). This gives the window that papers quote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from rfcalc.analyses.field import motion
from rfcalc.analyses.field.motion import Motion, telling

#: lo of a unit that sees nothing; its hi is -NOTHING. Larger than any coordinate, far from overflow.
NOTHING = 1 << 40

Array: TypeAlias = np.ndarray
#: For each axis which row of the arrays each position is, None where rows are positions, or all are alike.
Places: TypeAlias = tuple[Array | None, ...]
#: Elements from which on fields that are written in part are kept by their rows.
LARGE = 1 << 14
#: Elements of arrays that something may be remembered with.
SHORT = 1 << 13


class Intervals:
    """Spans of one source axis, by tensor element; ``shape`` is the tensor's own. Never changed once made."""

    __slots__ = ("hi", "lo", "motions", "places", "shape")

    def __init__(
        self,
        shape: tuple[int, ...],
        lo: Array,
        hi: Array,
        motions: Mapping[int, Motion],
        places: Places | None = None,
    ) -> None:
        self.shape = shape
        self.lo = lo
        self.hi = hi
        self.motions = motions
        self.places = places

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def extents(self) -> tuple[int, ...]:
        """The shape of arrays of all elements that differ."""
        if self.places is None:
            return self.lo.shape
        pairs = zip(self.places, self.lo.shape, strict=True)
        return tuple([rows if place is None else len(place) for place, rows in pairs])

    def depends(self, axis: int) -> bool:
        """Whether what is seen depends on the position along the axis."""
        return self.extents[axis] > 1 or axis in self.motions

    def different(self) -> Intervals:
        """A field that sees all that this one does, where it is kept so without one of as many elements."""
        return self

    def place(self, axis: int) -> Array | None:
        """Which row of the arrays each position of an axis is, None where these are positions, or all are alike."""
        return None if self.places is None else self.places[axis]

    def in_rows(self) -> Intervals:
        """The same, or kept by its rows where arrays would be large."""
        return self

    def sees_nothing(self) -> bool:
        """Whether no element sees anything."""
        lo, hi = self.lo, self.hi
        return not lo.size or bool(lo.flat[0] > hi.flat[0] and (lo > hi).all())

    def sees_everywhere(self) -> bool:
        """Whether every element sees something."""
        return bool((self.lo <= self.hi).all())

    def covers(self, extent: int) -> bool:
        """Whether every element sees the whole source axis."""
        lo, hi = self.lo, self.hi
        ends = lo.flat[0] <= 0 and hi.flat[0] >= extent - 1  # most fields miss an end at the first unit
        return bool(ends and (lo <= 0).all() and (hi >= extent - 1).all())

    def sizes(self) -> tuple[int, int]:
        """Sizes of the largest and the smallest region, as hulls over channels where a position has several."""
        found = np.maximum(self.hi - self.lo + 1, 0)
        return int(found.max()), int(found.min())

    def start(self) -> int:
        """lo of the first element."""
        if self.places is None:
            return int(self.lo.flat[0])
        return int(self.lo[tuple([0 if place is None else int(place[0]) for place in self.places])])

    def arrays(self) -> list[Array]:
        """The arrays that it keeps in memory, beside those of lines."""
        return [array for array in (self.lo, self.hi, *(self.places or ())) if array is not None]

    @property
    def held(self) -> int:
        """How many numbers its arrays and lines hold, shared ones too."""
        return self.lo.size + self.hi.size

    def is_short(self) -> bool:
        """Whether it takes little enough memory to be remembered for long."""
        return self.places is None and self.lo.size + self.hi.size <= SHORT

    def likeness(self) -> tuple[Any, ...]:
        """What another field must have in common with this to be known to be the same, beside how it moves."""
        return id(self.lo), id(self.hi), id(self.places)

    def opened(self, axes: Iterable[int] | None = None) -> Intervals:
        """The same with a row for each position of these axes, or of all."""
        if self.places is None:
            return self
        lo, hi, places = self.lo, self.hi, list(self.places)
        for axis in range(self.rank) if axes is None else axes:
            place = places[axis]
            if place is not None:
                lo, hi, places[axis] = lo.take(place, axis), hi.take(place, axis), None
        return Intervals(self.shape, lo, hi, self.motions, any_of(places))


def any_of(places: Sequence[Array | None]) -> Places | None:
    return tuple(places) if any(place is not None for place in places) else None


def source(shape: Sequence[int], axis: int) -> Intervals:
    """What a source's own elements see of its axis: themselves."""
    extents = [1] * len(shape)
    extents[axis] = shape[axis]
    row = np.arange(shape[axis], dtype=np.int64).reshape(extents)
    return Intervals(tuple(shape), row, row, {axis: motion.even(shape[axis], 1)})


def point(shape: Sequence[int], position: Mapping[int, int]) -> Intervals:
    """One place of a source: its own elements see index 0 of it, all others nothing."""
    lo = np.zeros((1,) * len(shape), dtype=np.int64)
    hit = np.ones((1,) * len(shape), dtype=bool)
    for axis, at in position.items():
        row = np.zeros(shape[axis], dtype=bool)
        row[at] = True
        hit = hit & row.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return Intervals(tuple(shape), np.where(hit, lo, NOTHING), np.where(hit, lo, -NOTHING), {})


def everything(shape: Sequence[int], extent: int) -> Intervals:
    """Every unit sees the whole source axis."""
    lo = np.zeros((1,) * len(shape), dtype=np.int64)
    return Intervals(tuple(shape), lo, lo + (extent - 1), {})


def tidy(
    shape: tuple[int, ...], lo: Array, hi: Array, places: Sequence[Array | None], motions: Mapping[int, Motion]
) -> Intervals:
    """A field without rows that no position is, or that are as others."""
    kept = {axis: place for axis, place in enumerate(places) if place is not None}
    for axis, place in kept.items():  # before any are found to be alike: rows may differ only in what no position is
        used = np.bincount(place, minlength=lo.shape[axis]) > 0
        if not used.all():
            numbers = np.flatnonzero(used)
            lo, hi, kept[axis] = lo.take(numbers, axis), hi.take(numbers, axis), (np.cumsum(used) - 1)[place]
    for axis, place in kept.items():
        rows = np.concatenate([array.swapaxes(axis, 0).reshape(lo.shape[axis], -1) for array in (lo, hi)], axis=1)
        first, kinds = ordered(rows)
        lo, hi, kept[axis] = lo.take(first, axis), hi.take(first, axis), kinds[place]
    return Intervals(shape, lo, hi, motions, any_of([kept.get(axis) for axis in range(len(shape))]))


def distinct(rows: Array) -> tuple[Array, Array]:
    """Where each different row of a matrix comes first, and which of these each row is."""
    found = _told_apart(rows) if len(rows) > 64 and rows.dtype == np.int64 else None
    if found is not None:
        return found
    codes = np.ascontiguousarray(rows).view(f"V{rows.shape[1] * rows.itemsize}").ravel().tolist()
    first: dict[bytes, int] = {}
    places = [first.setdefault(code, at) for at, code in enumerate(codes)]
    number = {at: kind for kind, at in enumerate(first.values())}
    return np.array([*first.values()]), np.array([number[at] for at in places])


def _told_apart(rows: Array) -> tuple[Array, Array] | None:
    """The same by one number for each row; None where different rows have the same number."""
    codes = rows @ _weights(rows.shape[1])  # goes round
    first, kinds = np.unique(codes, return_index=True, return_inverse=True)[1:]
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    first, kinds = first[order], place[kinds.reshape(-1)]
    return (first, kinds) if np.array_equal(rows[first][kinds], rows) else None


@lru_cache(maxsize=64)
def _weights(length: int) -> Array:
    """Odd numbers without a pattern."""
    return np.random.default_rng(0).integers(-(1 << 62), 1 << 62, length) * 2 + 1


def ordered(rows: Array) -> tuple[Array, Array]:
    """The same, in the order of the rows' numbers."""
    first, kinds = distinct(rows)
    if len(first) == 1:
        return first, kinds
    few = (rows[first].view(np.uint64) ^ np.uint64(1 << 63)).astype(">u8")  # bytes in the order of the numbers
    order = sorted(range(len(first)), key=[row.tobytes() for row in few].__getitem__)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return first[order], place[kinds]


def by_rows(field: Intervals) -> Intervals:
    """A field that depends on one axis at most, kept by its rows."""
    places: list[Array | None] = [np.arange(extent) if extent > 1 else None for extent in field.extents]
    if not any(place is not None for place in places):
        places[0] = np.zeros(field.shape[0], dtype=np.int64)
    return tidy(field.shape, field.lo, field.hi, places, field.motions)


def rows_of(field: Intervals, axis: int) -> Array:
    """Which row of the arrays each position is."""
    place = field.place(axis)
    if place is not None:
        return place
    return np.arange(field.shape[axis]) if field.lo.shape[axis] > 1 else np.zeros(field.shape[axis], dtype=np.int64)


def shrunk(field: Intervals, axes: Sequence[int] | None = None) -> Intervals:
    """The field with every axis that turns out not to matter (of the given ones) at extent 1."""
    lo, hi = field.lo, field.hi
    for axis in range(field.rank) if axes is None else axes:
        if lo.shape[axis] > 1:
            head = cut(axis, 0, 1)
            if all(repeats(array, array[head], axis) for array in (lo, hi)):
                lo, hi = lo[head], hi[head]
    if field.places is None:
        return Intervals(field.shape, lo, hi, telling(field.motions, lo.shape, field.shape))
    places = any_of([None if lo.shape[axis] == 1 else place for axis, place in enumerate(field.places)])
    return Intervals(field.shape, lo, hi, telling(field.motions, lo.shape, field.shape), places)


def repeats(array: Array, head: Array, axis: int) -> bool:
    """Whether the head stands everywhere along the axis; most often its last place tells that it does not."""
    return bool((array[cut(axis, array.shape[axis] - 1, array.shape[axis])] == head).all() and (array == head).all())


def broadcast(field: Intervals, shape: Sequence[int]) -> Intervals:
    """The field of a tensor repeated to a larger shape: along a repeated axis the position does not matter."""
    if field.shape == tuple(shape):
        return field
    kept = {axis: moved for axis, moved in field.motions.items() if field.shape[axis] == shape[axis]}
    return Intervals(tuple(shape), field.lo, field.hi, kept, field.places)


def cut(axis: int, start: int, stop: int, step: int = 1) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(start, stop, step))
