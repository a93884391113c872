"""Fields over which a mask lies, kept as the field and the mask until something asks for the ends of every element.

A score of attention sees where its query lies and where its key lies. Each is a short array; a mask over both makes
them as large as all scores, for nothing: what is read of the scores are rows, of which a mask leaves few different
patterns of keys. So a row is worked out once for each pattern. All else is left to `intervals`, on arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import reduce
from math import prod
from typing import Any, NamedTuple, TypeVar

import numpy as np

from rfcalc import reads
from rfcalc.analyses.field import arrays, intervals
from rfcalc.analyses.field.arrays import spread
from rfcalc.analyses.field.intervals import NOTHING, Array, Intervals, distinct
from rfcalc.analyses.field.motion import Motion, after_reshape, telling, veiled

T = TypeVar("T")


class _Patterns(NamedTuple):
    """The different matrices of a mask, and the different rows of each."""

    kinds: Array  #: which of the tables each matrix has, by its leading axes
    tables: Sequence[tuple[Array | None, Array]]  #: different rows, None where all see all; which of them each row is


class Shade:
    """Which elements of a tensor see anything, as a boolean array with extent 1 along axes that do not matter.

    It remembers what is made of it, for all fields and source axes that it lies over.
    """

    __slots__ = ("known", "seen")

    def __init__(self, seen: Array) -> None:
        self.seen = seen
        self.known: dict[Hashable, Any] = {}

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What has been made of this shade under the key."""
        if key not in self.known:
            self.known[key] = make()
        found: T = self.known[key]
        return found

    @property
    def axes(self) -> frozenset[int]:
        """The axes that matter."""
        return _wide(self.seen.shape)

    def also(self, other: Shade) -> Shade:
        """Both, one over the other."""
        return self if other is self else self.remembered(other, lambda: Shade(_least(self.seen & other.seen)))

    def after(self, step: reads.Permute | reads.Reshape) -> Shade:
        """After a step that puts every element in another place."""
        return self.remembered(step, lambda: Shade(_moved(self.seen, step)))

    def anywhere(self, axes: tuple[int, ...]) -> Array:
        """Whether anything is seen along the axes, which keep extent 1."""
        return self.remembered(axes, lambda: np.logical_or.reduce(self.seen, axis=axes, keepdims=True))

    def different(self, extents: tuple[int, ...]) -> Array:
        """The different ones of what is seen along the axes of extent 1, side by side along a last axis."""
        return self.remembered(("different", extents), lambda: self._different(extents))

    def _different(self, extents: tuple[int, ...]) -> Array:
        own = [axis for axis, extent in enumerate(extents) if extent > 1]
        if not own:
            return np.array([True, False]).reshape(*extents, 2)
        others = [axis for axis, extent in enumerate(extents) if extent == 1]
        seen = self.seen.transpose(*others, *own).reshape(-1, prod([extents[axis] for axis in own]))
        found: Array = seen[distinct(np.packbits(seen, axis=1))[0]].T.reshape(*extents, -1)
        return found

    def leaves(self, lo: Array, hi: Array) -> tuple[Array, Array]:
        """What each row sees of ends along the last axis, which has extent 1 then."""
        low, high = self._in_order(lo, hi) or self._by_patterns(lo, hi)
        return low[..., None], high[..., None]

    def _in_order(self, lo: Array, hi: Array) -> tuple[Array, Array] | None:
        """lo of the first and hi of the last key that a row leaves; None where not all see one line, ever later."""
        if lo.size != lo.shape[-1] or not all((end[..., 1:] >= end[..., :-1]).all() for end in (lo, hi)):
            return None
        first, last, none = self.remembered("ends", self._ends)
        low, high = (np.broadcast_to(end.reshape(-1), self.seen.shape[-1]) for end in (lo, hi))
        return np.where(none, NOTHING, low[first]), np.where(none, -NOTHING, high[last])

    def _ends(self) -> tuple[Array, Array, Array]:
        """The first and the last element that each row leaves, and whether it leaves none."""
        last = self.seen.shape[-1] - 1 - self.seen[..., ::-1].argmax(-1)
        return self.seen.argmax(-1), last, ~np.logical_or.reduce(self.seen, axis=-1)

    def _by_patterns(self, lo: Array, hi: Array) -> tuple[Array, Array]:
        kinds, tables = self.remembered("patterns", lambda: _patterns(self.seen))
        lead, (rows, keys) = np.broadcast_shapes(kinds.shape, lo.shape[:-2]), self.seen.shape[-2:]
        which = spread(kinds, lead).reshape(-1)
        ends = np.stack([spread(end[..., 0, :], (*lead, keys)).reshape(-1, keys) for end in (lo, -hi)])
        made = np.empty((2, len(which), rows), dtype=np.int64)
        for kind, (patterns, row) in enumerate(tables):
            here = np.flatnonzero(which == kind)
            if patterns is None:
                made[:, here] = ends[:, here].min(-1, keepdims=True)
            else:
                made[:, here] = np.where(patterns, ends[:, here, None], NOTHING).min(-1)[..., row]
        return made[0].reshape(*lead, rows), -made[1].reshape(*lead, rows)

    def each(self, lo: Array, hi: Array) -> tuple[Array, Array]:
        """What each row sees of keys (axis -2) of which what is seen differs along a last axis, too."""
        kinds, tables = self.remembered("few patterns", lambda: _few(_patterns(self.seen)))
        lead, keys, last = np.broadcast_shapes(kinds.shape, lo.shape[:-2]), self.seen.shape[-1], lo.shape[-1]
        which = spread(kinds, lead).reshape(-1)
        ends = np.stack([spread(end, (*lead, keys, last)).reshape(-1, keys, last) for end in (lo, -hi)])
        rows = max([len(row) for _, row in tables])
        made = np.empty((2, len(which), rows, last), dtype=np.int64)
        for kind, (patterns, row) in enumerate(tables):
            here = np.flatnonzero(which == kind)
            if patterns is None:
                made[:, here] = ends[:, here].min(-2, keepdims=True)
            else:
                made[:, here] = _least_of(ends[:, here], patterns)[:, :, row]
        return made[0].reshape(*lead, rows, last), -made[1].reshape(*lead, rows, last)


class Shades(dict[int, Array]):
    """The masks of a graph, and the shade of each that lies over tensors of a rank."""

    def __init__(self, masks: Mapping[int, Array]) -> None:
        super().__init__(masks)
        self._found: dict[tuple[int, int, bool], Shade] = {}

    def extents(self, mask: int, rank: int) -> tuple[int, ...]:
        """The mask's shape over a tensor of that rank."""
        return (1,) * (rank - self[mask].ndim) + self[mask].shape

    def over(self, mask: int, rank: int, *, least: bool = True) -> Shade:
        """What the mask leaves; ``least`` without the axes that turn out not to matter."""
        key = mask, rank, least
        if key not in self._found:
            extents = self.extents(mask, rank)
            seen = ~self[mask].reshape(extents)
            shade = Shade(_least(seen)) if least else self.over(mask, rank)
            self._found[key] = shade if least or shade.seen.shape == extents else Shade(seen)
        return self._found[key]


class Masked(Intervals):
    """Fields that together are this one where the shade leaves anything of them.

    What it leaves depends on all axes that it depends on, and these are more than those of any of the fields. Arrays of
    all elements are made when something asks for them.
    """

    __slots__ = ("_different", "below", "shade")

    def __init__(
        self, shape: tuple[int, ...], below: tuple[Intervals, ...], shade: Shade, motions: Mapping[int, Motion]
    ) -> None:
        self.shape, self.places = shape, None
        self.below = below
        self.shade = shade
        self._different: Intervals | None = None
        self.motions = telling(motions, shade.seen.shape, shape)

    def __getattr__(self, name: str) -> Array:
        if name not in ("lo", "hi"):
            raise AttributeError(name)
        lo, hi = self._together()
        self.lo, self.hi = np.where(self.shade.seen, lo, NOTHING), np.where(self.shade.seen, hi, -NOTHING)
        made: Array = getattr(self, name)
        return made

    @property
    def extents(self) -> tuple[int, ...]:
        return self.shade.seen.shape

    def over(self, below: tuple[Intervals, ...], motions: Mapping[int, Motion]) -> Masked:
        """The same shade over other fields."""
        return Masked(self.shape, below, self.shade, motions)

    def different(self) -> Intervals:
        """The same elements, each different one once: the last axis stands for those that only the shade is about."""
        if self._different is None:
            extents = np.broadcast_shapes(*[part.extents for part in self.below])
            seen = self.shade.different(extents)
            lo, hi = self._together()
            lo, hi = np.where(seen, lo[..., None], NOTHING), np.where(seen, hi[..., None], -NOTHING)
            self._different = Intervals(lo.shape, lo, hi, {})
        return self._different

    def sees_nothing(self) -> bool:
        return False  # or there would be no shade

    def sees_everywhere(self) -> bool:
        return False

    def covers(self, extent: int) -> bool:
        return False

    def arrays(self) -> list[Array]:
        return [self.shade.seen, *[array for part in self.below for array in part.arrays()]]

    @property
    def held(self) -> int:
        return sum([part.held for part in self.below])

    def is_short(self) -> bool:
        return all(part.is_short() for part in self.below)

    def likeness(self) -> tuple[Any, ...]:
        return (id(self),)

    def _together(self) -> tuple[Array, Array]:
        """The ends of what is below the shade."""
        lo, hi = [part.lo for part in self.below], [part.hi for part in self.below]
        return reduce(np.minimum, lo), reduce(np.maximum, hi)


# --- steps ------------------------------------------------------------------------------------------------------------


def apply(field: Intervals, step: reads.Step, shades: Shades) -> Intervals | None:
    """The field after a step that is about a mask or comes after one; None where it takes arrays of all elements."""
    match step:
        case reads.Blocked(mask):
            return _blocked(field, mask, shades)
        case reads.Contract(mask):
            return _contracted(field, mask, shades)
    if not isinstance(field, Masked):
        return None
    match step:
        case reads.Permute():
            motions = {step.axes.index(axis): moved for axis, moved in field.motions.items()}
            return _moved_field(field, step, tuple([field.shape[axis] for axis in step.axes]), motions)
        case reads.Reshape():
            motions = after_reshape(field.extents, field.motions, step.shape_in, step.shape_out)
            return _moved_field(field, step, step.shape_out, motions) if 0 not in step.shape_in else None
        case reads.Reduce():
            return _reduced(field, step.axes)
    return None


def broadcast(field: Masked, shape: tuple[int, ...]) -> Masked:
    """As `intervals.broadcast`."""
    kept = {axis: moved for axis, moved in field.motions.items() if field.shape[axis] == shape[axis]}
    return Masked(shape, field.below, field.shade, kept)


def _laid(
    shape: tuple[int, ...], below: tuple[Intervals, ...], shade: Shade, motions: Mapping[int, Motion]
) -> Masked | None:
    """A shade over fields, where it depends on more than they do, and what it leaves of them on all that it does."""
    axes = shade.axes
    if len(axes) < 2 or not all(_wide(part.extents) < axes for part in below):
        return None
    sees = reduce(np.logical_or, [part.lo <= part.hi for part in below])
    if not sees.all() and _least(sees & shade.seen).shape != shade.seen.shape:
        return None
    return Masked(shape, below, shade, motions)


def _blocked(field: Intervals, mask: int, shades: Shades) -> Intervals | None:
    if 0 in field.shape:
        return None
    field = field.opened()
    shade, extents = shades.over(mask, field.rank), shades.extents(mask, field.rank)
    motions = veiled(field.motions, extents, field.shape)
    if isinstance(field, Masked):
        return _laid(field.shape, field.below, field.shade.also(shade), motions)
    made = _laid(field.shape, (field,), shade, motions)
    if made is None and shade.seen.shape != extents:  # the mask says the same with fewer elements
        lo, hi = np.where(shade.seen, field.lo, NOTHING), np.where(shade.seen, field.hi, -NOTHING)
        return intervals.shrunk(Intervals(field.shape, lo, hi, motions))
    return made


def _contracted(field: Intervals, mask: int, shades: Shades) -> Intervals | None:
    rank = field.rank
    shade, extents = shades.over(mask, rank, least=False), shades.extents(mask, rank)
    if 0 in field.shape or 0 in extents:
        return None
    field = field.opened()
    if field.extents[-2] == 1:  # all keys see the same
        seen = shade.remembered("anywhere", lambda: _least(shade.anywhere((rank - 1,))))
        lo, hi = np.where(seen, field.lo, NOTHING), np.where(seen, field.hi, -NOTHING)
    elif field.extents[-1] == 1:
        lo, hi = shade.leaves(field.lo.swapaxes(-1, -2), field.hi.swapaxes(-1, -2))
    else:
        lo, hi = shade.each(field.lo, field.hi)
    return arrays.contracted(field, extents, lo, hi)


def _moved_field(
    field: Masked, step: reads.Permute | reads.Reshape, shape: tuple[int, ...], motions: Mapping[int, Motion]
) -> Masked | None:
    below = tuple([arrays.apply(part, step, {}, free=False) for part in field.below])
    return _laid(shape, below, field.shade.after(step), motions)


def _reduced(field: Masked, axes: tuple[int, ...]) -> Intervals | None:
    """The field with everything along the axes seen, which keep extent 1."""
    ends = [_along(part, field.shade, axes) for part in field.below]
    if None in ends:
        return None
    lo, hi = zip(*[end for end in ends if end is not None], strict=True)
    low, high = reduce(np.minimum, lo), reduce(np.maximum, hi)
    shape = tuple([1 if axis in axes else extent for axis, extent in enumerate(field.shape)])
    motions = {axis: moved for axis, moved in field.motions.items() if axis not in axes}
    return Intervals(shape, low, high, telling(motions, low.shape, shape))


def _along(part: Intervals, shade: Shade, axes: tuple[int, ...]) -> tuple[Array, Array] | None:
    """What is seen of a field below a shade along axes, None where it takes all elements to tell."""
    if all(part.extents[axis] == 1 for axis in axes):
        seen = shade.anywhere(axes)
        if seen.all():
            return part.lo, part.hi
        return np.where(seen, part.lo, NOTHING), np.where(seen, part.hi, -NOTHING)
    if axes == (part.rank - 1,) and part.extents[-2] == 1:
        return shade.leaves(part.lo, part.hi)
    return None


# --- arrays -----------------------------------------------------------------------------------------------------------


def _wide(extents: Sequence[int]) -> frozenset[int]:
    return frozenset([axis for axis, extent in enumerate(extents) if extent > 1])


def _least(seen: Array) -> Array:
    """The array with extent 1 along every axis that does not matter."""
    for axis, extent in enumerate(seen.shape):
        head = seen[(*(slice(None),) * axis, slice(0, 1))]
        if extent > 1 and intervals.repeats(seen, head, axis):
            seen = head
    return seen


def _moved(seen: Array, step: reads.Permute | reads.Reshape) -> Array:
    if isinstance(step, reads.Permute):
        return seen.transpose(step.axes)
    wide, extents, _ = arrays.regrouped(seen.shape, step.shape_in, step.shape_out)
    return _least(spread(seen, wide).reshape(extents))


def _patterns(seen: Array) -> _Patterns:
    matrices = seen.reshape(-1, *seen.shape[-2:])
    first, kinds = distinct(np.packbits(matrices.reshape(len(matrices), -1), axis=1))
    tables: list[tuple[Array | None, Array]] = []
    for matrix in matrices[first]:
        rows, row = distinct(np.packbits(matrix, axis=1))
        tables.append((None if matrix.all() else matrix[rows], row))
    return _Patterns(kinds.reshape(seen.shape[:-2]), tables)


def _few(patterns: _Patterns) -> _Patterns:
    """The same with one matrix where all are alike, and one row where those of each are."""
    kinds, tables = patterns
    if all(len({*row.tolist()}) == 1 for _, row in tables):
        tables = [(rows, row[:1]) for rows, row in tables]
    return _Patterns(_least(kinds), tables)


def _least_of(ends: Array, patterns: Array) -> Array:
    """The least of the ends (..., keys, last) that each pattern of keys leaves, NOTHING where it leaves none."""
    made = np.full((*ends.shape[:-2], len(patterns), ends.shape[-1]), NOTHING, dtype=np.int64)
    for number, pattern in enumerate(patterns):
        if pattern.any():
            made[..., number, :] = ends[..., pattern, :].min(-2)
    return made
