"""Unions of fields: what several branches see together, and concatenations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import attrgetter
from typing import TypeAlias

import numpy as np

from rfcalc.analyses.field.intervals import NOTHING, Array, Intervals, Places, by_rows, distinct, shrunk, tidy
from rfcalc.analyses.field.masked import Masked
from rfcalc.analyses.field.motion import Digit, Motion, Piece, is_known, rate_of, still, together, unknown
from rfcalc.reads import Place

#: The union of several fields, kept apart where each depends on axes that another does not (scores of attention see the
#: query's patch and the key's patch): every step distributes over the union, and the parts stay small.
Parts: TypeAlias = tuple[Intervals, ...]


def union(fields: Sequence[Intervals]) -> Intervals:
    """What fields of one shape see together."""
    rows = [field.in_rows() for field in fields]
    return _below_one_shade(fields) or _by_rows(rows) or _of_arrays([field.opened() for field in fields])


def _by_rows(fields: Sequence[Intervals]) -> Intervals | None:
    """The union of fields of which one at least is kept by its rows; None where others depend on several axes."""
    found = _side_by_side(fields)
    if found is None:
        return None
    places, ends = found
    lo, hi = _hull(ends)
    extents = tuple([rows if place is None else len(place) for place, rows in zip(places, lo.shape, strict=True)])
    motions = common_motions(fields, fields[0].shape)
    for field, (low, high) in zip(fields, ends, strict=True):
        if field.motions != motions and field.extents == extents and (low == lo).all() and (high == hi).all():
            motions = dict(field.motions)
    return tidy(fields[0].shape, lo, hi, places, motions)


def _hull(ends: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    return reduce(np.minimum, [lo for lo, _ in ends]), reduce(np.maximum, [hi for _, hi in ends])


def _side_by_side(fields: Sequence[Intervals]) -> tuple[Places, list[tuple[Array, Array]]] | None:
    """The ends of each field with rows for all that any tells apart, and which of them each position is."""
    if all(field.places is None for field in fields) or not all(map(_has_rows, fields)):
        return None
    parts = [by_rows(field) if field.places is None else field for field in fields]
    of_axes = [_joint([_place(part, axis) for part in parts]) for axis in range(parts[0].rank)]
    ends = []
    for number, part in enumerate(parts):
        lo, hi = part.lo, part.hi
        for axis, (_, rows) in enumerate(of_axes):
            own = rows[number]
            lo, hi = (lo, hi) if own is None else (lo.take(own, axis), hi.take(own, axis))
        ends.append((lo, hi))
    return tuple([place for place, _ in of_axes]), ends


def _has_rows(field: Intervals) -> bool:
    return field.places is not None or len([extent for extent in field.extents if extent > 1]) < 2


def _place(field: Intervals, axis: int) -> Array | None:
    place, rows = field.place(axis), field.lo.shape[axis]
    return np.arange(rows) if place is None and rows > 1 else place


def _joint(places: Sequence[Array | None]) -> tuple[Array | None, Places]:
    """Which different combination of rows of several fields each position is, and the rows in each."""
    known = [place for place in places if place is not None]
    if not known:
        return None, tuple(places)
    code = np.zeros(1, dtype=np.int64)
    for place in known:
        code = np.unique(code * (place.max() + 1) + place, return_inverse=True)[1].reshape(-1)
    first = np.unique(code, return_index=True)[1]
    return code, tuple([None if place is None else place[first] for place in places])


def _of_arrays(fields: Sequence[Intervals]) -> Intervals:
    lo, hi = fields[0].lo, fields[0].hi
    for field in fields[1:]:
        if field.lo is not lo or field.hi is not hi:
            lo, hi = np.minimum(lo, field.lo), np.maximum(hi, field.hi)
    motions = common_motions(fields, fields[0].shape)
    for field in fields:  # one of them may see all that they see together, and then its pattern is theirs
        if field.motions != motions and np.array_equal(lo, field.lo) and np.array_equal(hi, field.hi):
            motions = dict(field.motions)
    return Intervals(fields[0].shape, lo, hi, motions)


def _below_one_shade(fields: Sequence[Intervals]) -> Masked | None:
    """The union of fields with one mask over them; None where they have others, or none."""
    masked = [field for field in fields if isinstance(field, Masked)]
    if len(masked) < len(fields) or any(field.shade is not masked[0].shade for field in masked):
        return None
    motions = common_motions(fields, fields[0].shape)
    if any(is_known(motion) and motions[axis] != motion for field in fields for axis, motion in field.motions.items()):
        return None
    return masked[0].over(merge(tuple([part for field in masked for part in field.below])), motions)


def common_motions(fields: Sequence[Intervals], shape: Sequence[int], across: int = -1) -> dict[int, Motion]:
    """The motions of a union: along each axis but one where all fields move at one rate, over a common period."""
    first = fields[0].motions
    if across not in first and all(field.motions == first for field in fields):
        return dict(first)
    axes = sorted({axis for field in fields for axis in field.motions if axis != across})
    found = {axis: together([field.motions.get(axis) for field in fields], shape[axis]) for axis in axes}
    return {axis: motion for axis, motion in found.items() if motion is not None}


def concatenate(fields: Sequence[tuple[Intervals, Place]], shape: tuple[int, ...], axis: int) -> Intervals:
    """The fields in their places along the axis; where several lie, their union, where none does, nothing is seen."""
    fields = [(field.opened(), place) for field, place in fields]
    wide = [max(extents) for extents in zip(*(field.lo.shape for field, _ in fields), strict=True)]
    wide[axis] = shape[axis]
    lo = np.full(wide, NOTHING, dtype=np.int64)
    hi = np.full(wide, -NOTHING, dtype=np.int64)
    for field, place in fields:
        where = (*(slice(None),) * axis, slice(place.offset, place.offset + place.size))
        lo[where], hi[where] = np.minimum(lo[where], field.lo), np.maximum(hi[where], field.hi)
    motions = common_motions([field for field, _ in fields], shape, axis)
    if any(axis in field.motions for field, _ in fields):
        found = [(place, field.motions.get(axis) or (still(place.size),)) for field, place in fields]
        pieces = sorted([Piece(place.offset, motion) for place, motion in found], key=attrgetter("start"))
        motions[axis] = (Digit(shape[axis], 0, 0, pieces=tuple(pieces)),)
    elif lie_apart([span(field) for field, _ in fields]):
        motions[axis] = unknown(shape[axis])
    return shrunk(Intervals(shape, lo, hi, motions), (axis,))


def merge(parts: Parts, *, local: bool = False) -> Parts:
    """The same union in as few parts as possible without making any array larger than the largest of them.

    Of a local field, parts that lie in different places along different axes stay apart even where a mask makes all of
    them depend on all axes: a reduction over the keys brings in the keys, and leaves the query where it is.
    """
    if len(parts) < 2:
        return parts
    by_axes: dict[tuple[frozenset[int], frozenset[int]], list[Intervals]] = {}
    for part in parts:
        axes = frozenset(k for k, extent in enumerate(part.extents) if extent > 1)
        by_axes.setdefault((axes, axes.intersection(part.motions) if local else axes), []).append(part)
    kept: dict[tuple[frozenset[int], frozenset[int]], list[Intervals]] = {}
    for axes, places in sorted(by_axes, key=lambda key: (len(key[0]), len(key[1])), reverse=True):
        home = next((other for other in kept if axes <= other[0] and places <= other[1]), (axes, places))
        kept.setdefault(home, []).extend(by_axes[axes, places])
    return tuple(union(group) if len(group) > 1 else group[0] for group in kept.values())


#: The first and the last index that any element sees, (NOTHING, -NOTHING) where none sees any.
Span: TypeAlias = tuple[int, int]


def span(field: Intervals) -> Span:
    """What all elements see together."""
    field = field.different()
    return int(field.lo.min()), int(field.hi.max())


def lie_apart(spans: Sequence[Span]) -> bool:
    """Whether one of several tensors side by side lies where another one sees nothing: patches, not channels."""
    seen = [found for found in spans if found[0] <= found[1]]
    return bool(seen) and max([first for first, _ in seen]) > min([last for _, last in seen])


def combined(parts: Parts) -> Intervals:
    """All parts as one field, with arrays of all elements that differ."""
    return whole(parts).opened()


def whole(parts: Parts) -> Intervals:
    """All parts as one field."""
    return parts[0] if len(parts) == 1 else union(parts)


def moves(parts: Parts) -> bool:
    """Whether all parts move together along one axis, so that their union may have a window.

    Where they do along several, it has none unless one part sees all that they see together, and moves as it does.
    """
    motions = common_motions(parts, parts[0].shape)
    if not any((rate_of(motion) or (0, 0))[1] for motion in motions.values()):
        return False
    if len(motions) == 1 or any(isinstance(part, Masked) for part in parts):
        return True
    extents = [part.extents for part in parts]
    return tuple(map(max, zip(*extents, strict=True))) in extents


def kinds(parts: Parts) -> Intervals:
    """All parts as one field, at one position of each kind: what no part tells apart stands there once.

    Sizes are those of the whole field. Scores of attention over n positions have n x n elements but few kinds.
    """
    if len(parts) == 1:
        return parts[0].different()
    found = _side_by_side(parts)
    if found is None:
        return _kinds([part.opened() for part in parts])
    lo, hi = _hull(found[1])
    return Intervals(lo.shape, lo, hi, {})


def _kinds(parts: Sequence[Intervals]) -> Intervals:
    arrays = [array for part in parts for array in (part.lo, part.hi)]
    for axis in range(parts[0].rank):
        moving = [array.swapaxes(axis, 0) for array in arrays if array.shape[axis] > 1]
        if moving:
            rows = np.concatenate([array.reshape(len(array), -1) for array in moving], axis=1)
            first = _different(rows)
            arrays = [array.take(first, axis) if array.shape[axis] > 1 else array for array in arrays]
    lo, hi = reduce(np.minimum, arrays[::2]), reduce(np.maximum, arrays[1::2])
    return Intervals(lo.shape, lo, hi, {})


def _different(rows: np.ndarray) -> np.ndarray:
    """Where each different row comes first; most often equal ones are neighbours, as those of the heads of a window."""
    new = np.ones(len(rows), dtype=bool)
    np.logical_or.reduce(rows[1:] != rows[:-1], axis=1, out=new[1:])
    first = np.flatnonzero(new)
    found: np.ndarray = first[distinct(rows[first])[0]]
    return found
