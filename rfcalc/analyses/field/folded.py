"""Large fields along each axis of which few positions differ, kept as what these see and which of them each one is.

Tensors written in part (relative positions added to the scores of all tokens but the first) depend on all axes by
which the part is cut out, and are as large as all scores. Their rows are of few kinds, and so are their columns: a
table has one of each. All else is left to `intervals`, on arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from math import prod

import numpy as np

from rfcalc import reads
from rfcalc.analyses.field import intervals
from rfcalc.analyses.field.intervals import NOTHING, Array, Intervals
from rfcalc.analyses.field.motion import Motion, after_reshape, picked, placed, rate_of, runs_of, telling, veiled

#: Elements from which on arrays are worth folding.
LARGE = 1 << 14
#: For each axis which row of the table each position is, None along an axis of extent 1 in the arrays.
Places = tuple[Array | None, ...]


class Folded(Intervals):
    """A field as a table of its different positions. Arrays of all elements are made when something asks for them."""

    __slots__ = ("places", "table")

    def __init__(self, shape: tuple[int, ...], table: Intervals, places: Places, tags: Mapping[int, Motion]) -> None:
        self.shape = shape
        self.table = table
        self.places = places
        self.tags = tags

    def __getattr__(self, name: str) -> Array:
        if name not in ("lo", "hi"):
            raise AttributeError(name)
        made: Array = getattr(self.table, name)[self.at(self.places)]
        setattr(self, name, made)
        return made

    @property
    def extents(self) -> tuple[int, ...]:
        return tuple([1 if place is None else len(place) for place in self.places])

    @staticmethod
    def at(places: Places) -> tuple[Array, ...]:
        """The index of a table that gives the elements at these places."""
        return np.ix_(*[np.zeros(1, dtype=np.int64) if place is None else place for place in places])

    def start(self) -> int:
        """lo of the first element."""
        return int(self.table.lo[tuple([0 if place is None else int(place[0]) for place in self.places])])

    def different(self) -> Intervals:
        """The table, with two rows at least along each axis that the arrays have: some may turn out not to matter."""
        counts = zip(self.extents, self.table.shape, strict=True)
        at = np.ix_(*[np.arange(max(kinds, min(extent, 2))) % kinds for extent, kinds in counts])
        return Intervals(self.shape, self.table.lo[at], self.table.hi[at], self.tags)


def _tidy(
    shape: tuple[int, ...], lo: Array, hi: Array, places: Sequence[Array | None], tags: Mapping[int, Motion]
) -> Folded:
    """A folded field without rows of the table that no position is, or that are as others."""
    kept = {axis: place for axis, place in enumerate(places) if place is not None}
    for axis, place in kept.items():  # before any are found to be alike: rows may differ only in what no position is
        used, numbers = np.unique(place, return_inverse=True)
        lo, hi, kept[axis] = lo.take(used, axis), hi.take(used, axis), numbers.reshape(-1)
    for axis, place in kept.items():
        rows = np.concatenate([array.swapaxes(axis, 0).reshape(lo.shape[axis], -1) for array in (lo, hi)], axis=1)
        first, kinds = np.unique(rows, axis=0, return_index=True, return_inverse=True)[1:]
        lo, hi, kept[axis] = lo.take(first, axis), hi.take(first, axis), kinds.reshape(-1)[place]
    return Folded(shape, Intervals(lo.shape, lo, hi, {}), tuple([kept.get(axis) for axis in range(len(shape))]), tags)


def folded(field: Intervals) -> Folded | None:
    """The field folded, None where it depends on several axes and is not."""
    if isinstance(field, Folded):
        return field
    wide = [axis for axis, extent in enumerate(field.extents) if extent > 1]
    if len(wide) > 1:
        return None
    places: list[Array | None] = [None] * field.rank
    for axis in wide:
        places[axis] = np.arange(field.extents[axis])
    return _tidy(field.shape, field.lo, field.hi, places, field.tags)


def union(fields: Sequence[Intervals], tags: Mapping[int, Motion]) -> Folded | None:
    """What fields see together, with these tags or those of one that sees it all; None where none is folded."""
    found = _side_by_side(fields)
    if found is None:
        return None
    places, tables = found
    extents = tuple([1 if place is None else len(place) for place in places])
    lo, hi = _ends(tables)
    for field, table in zip(fields, tables, strict=True):
        sees_all = field.extents == extents and (table.lo == lo).all() and (table.hi == hi).all()
        if field.tags != tags and sees_all:
            tags = field.tags
    return _tidy(fields[0].shape, lo, hi, places, tags)


def kinds(fields: Sequence[Intervals]) -> Intervals | None:
    """As `merging.kinds`; None where no field is folded."""
    found = _side_by_side(fields)
    if found is None:
        return None
    lo, hi = _ends(found[1])
    return Intervals(lo.shape, lo, hi, {})


def _ends(tables: Sequence[Intervals]) -> tuple[Array, Array]:
    return reduce(np.minimum, [table.lo for table in tables]), reduce(np.maximum, [table.hi for table in tables])


def _side_by_side(fields: Sequence[Intervals]) -> tuple[Places, list[Intervals]] | None:
    """A table for each field with rows for all that any tells apart, and which of them each position is."""
    if not any(isinstance(field, Folded) for field in fields):
        return None
    parts = [part for field in fields if (part := folded(field)) is not None]
    if len(parts) < len(fields):
        return None
    places, rows = zip(*[_joint([part.places[axis] for part in parts]) for axis in range(parts[0].rank)], strict=True)
    at = [Folded.at(row) for row in zip(*rows, strict=True)]
    tables = [(part.table.lo[index], part.table.hi[index]) for part, index in zip(parts, at, strict=True)]
    return places, [Intervals(lo.shape, lo, hi, {}) for lo, hi in tables]


def _joint(places: Sequence[Array | None]) -> tuple[Array | None, Places]:
    """Which different combination of rows of several tables each position is, and the rows in each."""
    known = [place for place in places if place is not None]
    if not known:
        return None, tuple(places)
    code = np.zeros(1, dtype=np.int64)
    for place in known:
        code = np.unique(code * (place.max() + 1) + place, return_inverse=True)[1].reshape(-1)
    first = np.unique(code, return_index=True)[1]
    return code, tuple([None if place is None else place[first] for place in places])


# --- steps ------------------------------------------------------------------------------------------------------------


def apply(field: Intervals, step: reads.Step) -> Intervals | None:
    """The field after a step that cuts out, writes or moves a part; None where arrays of all elements do as well."""
    if isinstance(field, Folded):
        return _applied(field, step)
    match step:
        case reads.Place(axis, size, _, out):
            box = [(axis, out)] if size < out and not field.depends(axis) else []
        case reads.Erase(shape, restricted):
            box = [(axis, shape[axis]) for axis, *_ in restricted]
        case _:
            return None
    extents = dict(enumerate(field.extents)) | dict(box)
    small = not box or prod(extents.values()) < LARGE
    start = None if small or len([axis for axis in extents if extents[axis] > 1]) < 2 else folded(field)
    return None if start is None else _applied(start, step)


def _applied(field: Folded, step: reads.Step) -> Intervals | None:
    match step:
        case reads.Place(axis, size, offset, out, stride):
            index = np.full(out, -1)
            index[offset : offset + (size - 1) * stride + 1 : stride] = np.arange(size)
            moved = field.tags.get(axis)
            if moved is not None and stride > 1 and rate_of(moved) is not None:
                return None
            made = _taken(field, axis, index)
            if moved is not None and stride == 1:
                made.tags = {**made.tags, axis: placed(moved, offset, out)}
            return made
        case reads.Slice(axis, start, stride, out):
            return _taken(field, axis, start + stride * np.arange(out))
        case reads.Erase():
            return _erased(field, step)
        case reads.Reduce(axes):
            return _reduced(field, axes)
        case reads.Permute(axes):
            tags = {axes.index(axis): tag for axis, tag in field.tags.items()}
            table = intervals.apply(field.table, step, {}, free=False)
            shape = tuple([field.shape[axis] for axis in axes])
            return Folded(shape, table, tuple([field.places[axis] for axis in axes]), tags)
        case reads.Reshape(shape_in, shape_out):
            return _reshaped(field, shape_in, shape_out)
    return None


def broadcast(field: Folded, shape: tuple[int, ...]) -> Folded:
    """As `intervals.broadcast`."""
    kept = {axis: tag for axis, tag in field.tags.items() if field.shape[axis] == shape[axis]}
    return Folded(shape, field.table, field.places, kept)


def _taken(field: Folded, axis: int, indices: Array) -> Folded:
    """Position u of an axis reads ``indices[u]``, nothing where that is -1."""
    extent, lo, hi, places = len(indices), field.table.lo, field.table.hi, list(field.places)
    shape = (*field.shape[:axis], extent, *field.shape[axis + 1 :])
    tags = {key: value for key, value in field.tags.items() if key != axis}
    moved = picked(field.tags.get(axis), indices.tolist())
    if moved is not None:
        tags[axis] = moved
    if not field.depends(axis) and (indices >= 0).all():
        return Folded(shape, field.table, field.places, tags)
    place = places[axis]
    before = np.zeros(field.shape[axis], dtype=np.int64) if place is None else place
    places[axis] = np.where(indices < 0, lo.shape[axis], before[indices])
    widths = [(0, int(k == axis)) for k in range(field.rank)]
    lo, hi = np.pad(lo, widths, constant_values=NOTHING), np.pad(hi, widths, constant_values=-NOTHING)
    return _tidy(shape, lo, hi, places, tags)


def _erased(field: Folded, step: reads.Erase) -> Folded:
    places, lo, hi = list(field.places), field.table.lo, field.table.hi
    gone = np.ones((1,) * field.rank, dtype=bool)
    for axis, size, offset, stride in step.box:
        inside = np.zeros(step.shape[axis], dtype=np.int64)
        inside[offset : offset + (size - 1) * stride + 1 : stride] = 1
        place = places[axis]
        places[axis] = inside if place is None else 2 * place + inside  # each row of the table, outside and inside
        marked = np.tile([False, True], lo.shape[axis])
        gone = gone & marked.reshape([-1 if k == axis else 1 for k in range(field.rank)])
        lo, hi = lo.repeat(2, axis), hi.repeat(2, axis)
    cut = [2 if axis in {axis for axis, *_ in step.box} else 1 for axis in range(field.rank)]
    made = _tidy(
        field.shape,
        np.where(gone, NOTHING, lo),
        np.where(gone, -NOTHING, hi),
        places,
        veiled(field.tags, cut, field.shape),
    )
    return _shrunk(made)


def _shrunk(field: Folded) -> Folded:
    """As `intervals.shrunk`: the field without axes that turn out not to matter."""
    kinds, shape = field.table.shape, field.shape
    places = tuple([None if kinds[axis] == 1 else place for axis, place in enumerate(field.places)])
    return Folded(shape, field.table, places, telling(field.tags, kinds, shape))


def _reduced(field: Folded, axes: Sequence[int]) -> Folded:
    table = intervals.reduce(field.table, axes)
    shape = tuple([1 if axis in axes else extent for axis, extent in enumerate(field.shape)])
    places = [None if axis in axes else place for axis, place in enumerate(field.places)]
    return _tidy(shape, table.lo, table.hi, places, {k: tag for k, tag in field.tags.items() if k not in axes})


def _reshaped(field: Folded, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> Folded | None:
    """The field after a reshape that leaves all axes that matter alone."""
    if 0 in shape_in or intervals.regrouped(field.extents, shape_in, shape_out)[2]:
        return None
    kinds = intervals.regrouped(field.table.shape, shape_in, shape_out)[1]
    places: list[Array | None] = [None] * len(shape_out)
    for left, right in runs_of(shape_in, shape_out):
        if len(left) == len(right) == 1:
            places[right[0]] = field.places[left[0]]
    table = Intervals(kinds, field.table.lo.reshape(kinds), field.table.hi.reshape(kinds), {})
    return Folded(tuple(shape_out), table, tuple(places), after_reshape(field.extents, field.tags, shape_in, shape_out))
