"""Fields that depend on one axis of a tensor only, worked out in one dimension, and once where they are equal.

In a network of convolutions what a unit sees of the source's rows depends on its own row. Such a field is a *line*, an
interval array of one axis, put along an axis of the tensor; where channels differ (after a concatenation), runs of
channels have a line each. A step along that axis is a step of the lines; one along another axis changes nothing as long
as every position reads something. A line remembers what has been made of it: layers, branches and source axes that see
the same share one array. All else is left to `intervals` and `joins`, which know any field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, TypeAlias, TypeVar

import numpy as np

from rfcalc.analyses import joins
from rfcalc.analyses.intervals import Array, Intervals, Tag
from rfcalc.analyses.joins import Parts
from rfcalc.reads import Place

T = TypeVar("T")


class Line(Intervals):
    """The field of a tensor of one axis; ``known`` holds what has been made of it."""

    __slots__ = ("is_constant", "known")

    def __init__(self, extent: int, lo: Array, hi: Array, tag: Tag | None) -> None:
        super().__init__((extent,), lo, hi, {} if tag is None else {0: tag})
        self.known: dict[Any, Any] = {}
        self.is_constant = tag is None and len(lo) == 1  #: whether all positions see the same

    def remembered(self, key: Any, make: Callable[[Line], T]) -> T:
        """What has been made of this line under the key."""
        found: T | None = self.known.get(key)
        if found is None:
            found = self.known[key] = make(self)
        return found

    def sees_as(self, other: Line) -> bool:
        """Whether both see the same everywhere."""
        if self is other:
            return True
        key = ("same", other)
        found: bool | None = self.known.get(key)
        if found is None:
            found = self.known[key] = np.array_equal(self.lo, other.lo) and np.array_equal(self.hi, other.hi)
        return found

    def along(self, extent: int) -> Line:
        """A constant line over another extent."""
        if self.shape[0] == extent:
            return self
        return self.remembered(("along", extent), lambda line: Line(extent, line.lo, line.hi, None))

    def stored(self, length: int, tag: Tag | None) -> Line:
        """The same line with so many positions stored, and with another tag."""
        if self.tags.get(0) == tag and self.extents == (length,):
            return self
        return self.remembered(("stored", length, tag), lambda line: line._stored(length, tag))

    def _stored(self, length: int, tag: Tag | None) -> Line:
        return Line(self.shape[0], np.broadcast_to(self.lo, length), np.broadcast_to(self.hi, length), tag)


class Even(Line):
    """A line that moves by ``shift`` from each position to the next: position u sees ``first + shift*u`` to ``last +
    shift*u``. It is as short for any extent: the arrays are made when something asks for them."""

    __slots__ = ("first", "last", "shift")

    def __init__(self, extent: int, first: int, last: int, shift: int) -> None:
        self.shape = (extent,)
        self.tags = {0: (1, shift)}
        self.known = {}
        self.is_constant = False
        self.first = first
        self.last = last
        self.shift = shift

    def __getattr__(self, name: str) -> Array:
        if name not in ("lo", "hi"):
            raise AttributeError(name)
        made = self.shift * np.arange(self.shape[0]) + (self.first if name == "lo" else self.last)
        setattr(self, name, made)
        return made

    @property
    def extents(self) -> tuple[int, ...]:
        return self.shape

    def sees_as(self, other: Line) -> bool:
        if isinstance(other, Even):
            return (self.first, self.last, self.shift) == (other.first, other.last, other.shift)
        return super().sees_as(other)

    def slid(self, kernel: int, stride: int, dilation: int, before: int, out: int) -> Even:
        """After a window that knows no borders."""
        ends = 0, self.shift * dilation * (kernel - 1)
        start = self.shift * before
        return Even(out, self.first + min(ends) - start, self.last + max(ends) - start, self.shift * stride)


def line_of(field: Intervals) -> Line:
    """An interval array of one axis as a line."""
    if isinstance(field, Line):
        return field
    return Line(field.shape[0], field.lo, field.hi, field.tags.get(0))


def source_line(extent: int) -> Line:
    """What the positions of a source axis see of it: themselves."""
    return Even(extent, 0, 0, 1)


#: Lines of consecutive runs of channels: how many channels, and what they see.
Runs: TypeAlias = tuple[tuple[int, Line], ...]


class Lined(Intervals):
    """A field that is a line along ``axis`` (-1 where it is the same everywhere), or several in runs along ``across``.

    ``across`` is -1 where there is one line only. Lines of several runs store equally many positions and have one tag.
    The arrays are made when something asks for them.
    """

    __slots__ = ("across", "axis", "runs")

    def __init__(self, shape: tuple[int, ...], axis: int, across: int, runs: Runs) -> None:
        line = runs[0][1]
        self.shape = shape
        self.runs = runs
        self.across = across
        self.axis = -1 if across < 0 and line.is_constant else axis
        self.tags = {self.axis: line.tags[0]} if line.tags else {}

    def __getattr__(self, name: str) -> Array:
        if name not in ("lo", "hi"):
            raise AttributeError(name)
        extents = self.extents
        if self.across < 0:
            made: Array = getattr(self.line, name).reshape(extents)
        else:
            table = np.stack([getattr(line, name) for _, line in self.runs])
            table = np.repeat(table, [count for count, _ in self.runs], axis=0)
            made = (table if self.across < self.axis else table.T).reshape(extents)
        setattr(self, name, made)
        return made

    @property
    def line(self) -> Line:
        """The only line, or the first."""
        return self.runs[0][1]

    @property
    def extents(self) -> tuple[int, ...]:
        extents = [1] * len(self.shape)
        if self.axis >= 0:
            extents[self.axis] = self.line.extents[0]
        if self.across >= 0:
            extents[self.across] = self.shape[self.across]
        return tuple(extents)

    @property
    def is_constant(self) -> bool:
        """Whether all elements see the same."""
        return self.axis < 0 and self.across < 0

    def with_shape(self, shape: tuple[int, ...]) -> Lined:
        """The same along other axes that do not matter."""
        return Lined(shape, self.axis, self.across, self.runs)


def lined(shape: tuple[int, ...], axis: int, line: Line) -> Lined:
    """A line along an axis of a tensor."""
    return Lined(shape, axis, -1, ((1, line),))


def narrowed(field: Intervals) -> Intervals:
    """The field as a line where it depends on one axis at most."""
    if isinstance(field, Lined) or field.lo.shape != field.hi.shape:
        return field
    wide = {axis for axis, extent in enumerate(field.lo.shape) if extent > 1} | set(field.tags)
    if len(wide) > 1 or not field.shape:
        return field
    axis = wide.pop() if wide else 0
    lo, hi = field.lo.reshape(-1), field.hi.reshape(-1)
    if len(lo) == 1:  # a view would keep the array that it is cut from
        lo, hi = lo.copy(), hi.copy()
    return lined(field.shape, axis, Line(field.shape[axis], lo, hi, field.tags.get(axis)))


# --- unions -----------------------------------------------------------------------------------------------------------


def are_as(parts: Parts, others: Parts) -> bool:
    """Whether both are known to be the same field, which they are where one line lies along one axis."""
    if parts is others:
        return True
    if not len(parts) == len(others) == 1:
        return False
    one, other = parts[0], others[0]
    if not isinstance(one, Lined) or not isinstance(other, Lined) or one.shape != other.shape:
        return False
    return one.axis == other.axis and one.across == other.across and one.runs == other.runs


def hull(field: Lined) -> Line:
    """What all runs of channels see together."""
    found = field.line
    for _, line in field.runs[1:]:
        if line is not found:
            found = found.remembered(("hull", line), partial(_hull, line))
    return found


def _hull(other: Line, one: Line) -> Line:
    """What two lines of one tag see together."""
    if isinstance(one, Even) and isinstance(other, Even):
        return Even(one.shape[0], min(one.first, other.first), max(one.last, other.last), one.shift)
    lo, hi = np.minimum(one.lo, other.lo), np.maximum(one.hi, other.hi)
    for line in (one, other):
        if np.array_equal(lo, line.lo) and np.array_equal(hi, line.hi):
            return line
    return Line(one.shape[0], lo, hi, one.tags.get(0))


def _common_axis(fields: Sequence[Intervals], across: int = -1) -> int | None:
    """The axis that all fields are lines along, -1 where all are the same everywhere, None where there is no such.

    Runs of channels may lie along ``across``.
    """
    axis = -1
    for field in fields:
        if not isinstance(field, Lined) or field.across not in (-1, across):
            return None
        if field.axis >= 0:
            if axis not in (-1, field.axis):
                return None
            axis = field.axis
    return axis


def merge(parts: Parts, *, local: bool = False) -> Parts:
    """As `joins.merge`."""
    if len(parts) < 2:
        return parts
    axis = _common_axis(parts)
    if axis is None:
        return tuple(narrowed(part) for part in joins.merge(parts, local=local))
    shape = parts[0].shape
    extent = shape[axis] if axis >= 0 else 1
    lines = [part.line.along(extent) if part.axis < 0 else part.line for part in parts if isinstance(part, Lined)]
    return (lined(shape, axis, united(lines)),)


def united(lines: Sequence[Line]) -> Line:
    """What lines over one extent see together."""
    first, *others = dict.fromkeys(lines)
    if not others:
        return first
    return first.remembered(("union", *others), lambda own: _union(own, others))


def _union(first: Line, others: Sequence[Line]) -> Line:
    even = [line for line in (first, *others) if isinstance(line, Even) and line.tags == first.tags]
    if len(even) == len(others) + 1:
        return Even(first.shape[0], min(line.first for line in even), max(line.last for line in even), even[0].shift)
    return line_of(joins.union((first, *others)))


def kinds(parts: Parts) -> Intervals:
    """As `joins.kinds`."""
    if len(parts) == 1:
        return parts[0]
    found = [part for part in parts if isinstance(part, Lined) and part.across < 0]
    if len(found) < len(parts) or len({part.axis for part in found}) < len(parts):
        return joins.kinds(parts)
    lo, hi = zip(*[_kinds_along(part) for part in found], strict=True)
    low, high = reduce(np.minimum, lo), reduce(np.maximum, hi)
    return Intervals(low.shape, low, high, {})


def _kinds_along(field: Lined) -> tuple[Array, Array]:
    """The different ends of one line, along its axis."""
    line = field.line
    rows = line.remembered("kinds", lambda own: np.unique(np.stack([own.lo, own.hi]), axis=1))
    extents = [1] * field.rank
    extents[field.axis] = -1  # any axis will do for a field that is the same everywhere
    return rows[0].reshape(extents), rows[1].reshape(extents)


def are_in_step(fields: Sequence[Intervals]) -> bool:
    """Whether fields are known to have their centres in the same places: one line, or lines that move evenly."""
    found = {hull(field) if isinstance(field, Lined) else None for field in fields}
    if len(found) == 1:
        return None not in found
    return len({(line.shift, line.first + line.last) if isinstance(line, Even) else line for line in found}) == 1


def concatenate(fields: Sequence[tuple[Intervals, Place]], shape: tuple[int, ...], axis: int) -> Intervals:
    """As `joins.concatenate`."""
    made = _in_runs(fields, shape, axis)
    return narrowed(joins.concatenate(fields, shape, axis)) if made is None else made


def _in_runs(fields: Sequence[tuple[Intervals, Place]], shape: tuple[int, ...], across: int) -> Lined | None:
    """The concatenation of lines as runs; None where fields or places are of another kind."""
    moving = _common_axis([field for field, _ in fields], across)
    if moving is None or moving == across or not _is_gapless([place for _, place in fields], shape[across]):
        return None
    if moving < 0:
        same = [field.line for field, _ in fields if isinstance(field, Lined)]
        return lined(shape, -1, same[0]) if all(line.sees_as(same[0]) for line in same) else None
    tag = joins.common_tags([field for field, _ in fields], shape).get(moving)
    runs: list[tuple[int, Line]] = []
    for field, place in fields:
        assert isinstance(field, Lined)
        for count, line in field.runs if field.across >= 0 else ((place.size, field.line),):
            runs.append((count, line.along(shape[moving]) if line.is_constant else line))
    length = max([line.extents[0] for _, line in runs])
    runs = _joined([(count, line.stored(length, tag)) for count, line in runs])
    return Lined(shape, moving, across if len(runs) > 1 else -1, tuple(runs))


def _is_gapless(places: Sequence[Place], extent: int) -> bool:
    end = 0
    for place in places:
        if place.offset != end or place.step != 1 or not place.size:
            return False
        end += place.size
    return end == extent


def _joined(runs: Sequence[tuple[int, Line]]) -> list[tuple[int, Line]]:
    """The runs with equal neighbours as one."""
    made = [runs[0]]
    for count, line in runs[1:]:
        before, last = made[-1]
        if line.sees_as(last):
            made[-1] = before + count, last
        else:
            made.append((count, line))
    return made
