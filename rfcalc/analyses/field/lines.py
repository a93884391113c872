"""Fields that depend on one axis of a tensor only, worked out in one dimension, and once where they are equal.

In a network of convolutions what a unit sees of the source's rows depends on its own row. Such a field is a *line*, an
interval array of one axis, put along an axis of the tensor; where channels differ (after a concatenation), runs of
channels have a line each. A step along that axis is a step of the lines; one along another axis changes nothing as long
as every position reads something. A line remembers what has been made of it: layers, branches and source axes that see
the same share one array. All else is left to `intervals` and `merging`, which know any field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import Any, TypeAlias, TypeVar

import numpy as np

from rfcalc.analyses.field import merging, samples
from rfcalc.analyses.field.intervals import LARGE, Array, Intervals
from rfcalc.analyses.field.masked import Masked
from rfcalc.analyses.field.merging import Parts
from rfcalc.analyses.field.motion import Motion, even
from rfcalc.analyses.field.samples import Pattern, single

T = TypeVar("T")


class Line(Intervals):
    """The field of a tensor of one axis; ``known`` holds what has been made of it.

    ``pattern`` is what is really read between the ends, of a free line where it is known.
    """

    __slots__ = ("is_constant", "known", "length", "motion", "pattern")

    def __init__(self, extent: int, lo: Array, hi: Array, moved: Motion | None, pattern: Pattern | None = None) -> None:
        super().__init__((extent,), lo, hi, {} if moved is None else {0: moved})
        self.pattern = pattern
        self.known: dict[Any, Any] = {}
        self.motion = moved
        self.length = len(lo)  #: positions stored
        self.is_constant = moved is None and self.length == 1  #: whether all positions see the same

    def remembered(self, key: Any, make: Callable[[Line], T]) -> T:
        """What has been made of this line."""
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
            alike = np.array_equal(self.lo, other.lo) and np.array_equal(self.hi, other.hi)
            found = self.known[key] = alike and self.reads_as(other)
        return found

    def reads_as(self, other: Line) -> bool:
        """Whether both read the same between their ends."""
        if self.pattern is None or other.pattern is None:
            return self.pattern is other.pattern
        return self.pattern.same(other.pattern)

    def along(self, extent: int) -> Line:
        """A constant line over another extent."""
        if self.shape[0] == extent:
            return self
        return self.remembered(("along", extent), lambda line: Line(extent, line.lo, line.hi, None))

    def sees_nothing(self) -> bool:
        """Whether no position sees anything."""
        return self.remembered("nothing", Intervals.sees_nothing)

    def covers(self, extent: int) -> bool:
        """Whether every position sees the whole source axis."""
        found: bool | None = self.known.get(extent)
        if found is None:
            found = self.known[extent] = super().covers(extent)
        return found

    def sizes(self) -> tuple[int, int]:
        """Sizes of the largest and the smallest region."""
        return self.remembered("sizes", Intervals.sizes)

    def stored(self, length: int, moved: Motion | None) -> Line:
        """The same line with so many positions stored, and with another motion."""
        if self.motion == moved and self.length == length:
            return self
        return self.remembered(("stored", length, moved), lambda own: own._stored(length, moved))

    def _stored(self, length: int, moved: Motion | None) -> Line:
        lo, hi = np.broadcast_to(self.lo, length), np.broadcast_to(self.hi, length)
        return Line(self.shape[0], lo, hi, moved, self.pattern)


class Even(Line):
    """A line that moves by ``shift`` from each position to the next: position u sees ``first + shift*u`` to ``last +
    shift*u``, the pattern's ends. It is as short for any extent: the arrays are made when something asks for them."""

    __slots__ = ("first", "last", "shift")
    pattern: Pattern

    def __init__(self, extent: int, pattern: Pattern) -> None:
        ((first, bits),), shift = pattern.phases, pattern.shift
        self.shape, self.places = (extent,), None
        self.pattern = pattern
        self.motion = even(extent, shift)
        self.motions = {0: self.motion}
        self.known = {}
        self.length = extent
        self.is_constant = False
        self.first = first
        self.last = first + samples.length(bits) - 1
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
            return self.pattern.same(other.pattern)
        return super().sees_as(other)

    def sees_nothing(self) -> bool:
        return self.first > self.last

    def covers(self, extent: int) -> bool:
        if self.first > 0 or self.last < extent - 1:
            return False
        travel = self.shift * (self.shape[0] - 1)
        return self.first + travel <= 0 and self.last + travel >= extent - 1

    def sizes(self) -> tuple[int, int]:
        size = max(0, self.last - self.first + 1)
        return size, size


def line_of(field: Intervals) -> Line:
    """An interval array of one axis as a line."""
    if isinstance(field, Line):
        return field
    return Line(field.shape[0], field.lo, field.hi, field.motions.get(0))


def source_line(extent: int) -> Line:
    """What the positions of a source axis see of it: themselves."""
    return Even(extent, single())


#: Lines of consecutive runs of channels: how many channels, and what they see.
Runs: TypeAlias = tuple[tuple[int, Line], ...]


class Lined(Intervals):
    """A field that is a line along ``axis`` (-1 where it is the same everywhere), or several in runs along ``across``.

    ``across`` is -1 where there is one line only. Lines of several runs store equally many positions and have one
    motion. The arrays are made when something asks for them.
    """

    __slots__ = ("across", "axis", "runs")

    def __init__(self, shape: tuple[int, ...], axis: int, across: int, runs: Runs) -> None:
        self.shape, self.places = shape, None
        self.runs = runs
        self.across = across
        self.axis = -1 if across < 0 and runs[0][1].is_constant else axis

    def __getattr__(self, name: str) -> Any:
        if name == "motions":
            self.motions = {} if self.line.motion is None else {self.axis: self.line.motion}
            return self.motions
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
            extents[self.axis] = self.line.length
        if self.across >= 0:
            extents[self.across] = self.shape[self.across]
        return tuple(extents)

    @property
    def is_constant(self) -> bool:
        """Whether all elements see the same."""
        return self.axis < 0 and self.across < 0

    @property
    def held(self) -> int:
        """How many numbers the lines hold."""
        return 2 * sum([line.length for _, line in self.runs])

    def depends(self, axis: int) -> bool:
        return axis in (self.axis, self.across)

    def sees_nothing(self) -> bool:
        return all(line.sees_nothing() for _, line in self.runs)

    def covers(self, extent: int) -> bool:
        return self.line.covers(extent) and all(line.covers(extent) for _, line in self.runs[1:])

    def sizes(self) -> tuple[int, int]:
        found = [line.sizes() for _, line in self.runs]
        return max([size for size, _ in found]), min([size for _, size in found])

    def arrays(self) -> list[Array]:
        return []

    def is_short(self) -> bool:
        return True

    def likeness(self) -> tuple[Any, ...]:
        return self.axis, self.across, self.runs

    def condensed(self) -> Lined:
        """The same with one channel of each run, of a field in runs."""
        shape = (*self.shape[: self.across], len(self.runs), *self.shape[self.across + 1 :])
        return Lined(shape, self.axis, self.across, tuple([(1, line) for _, line in self.runs]))

    def in_rows(self) -> Intervals:
        """The same with one row for each run, where arrays of all positions would be large."""
        if self.across < 0 or prod(self.extents) < LARGE:
            return self
        few = self.condensed()
        places: list[Array | None] = [None] * self.rank
        places[self.across] = np.repeat(np.arange(len(self.runs)), [count for count, _ in self.runs])
        return Intervals(self.shape, few.lo, few.hi, dict(self.motions), tuple(places))

    def with_shape(self, shape: tuple[int, ...]) -> Lined:
        """The same along other axes that do not matter."""
        return Lined(shape, self.axis, self.across, self.runs)


def lined(shape: tuple[int, ...], axis: int, line: Line) -> Lined:
    """A line along an axis of a tensor."""
    return Lined(shape, axis, -1, ((1, line),))


def narrowed(field: Intervals) -> Intervals:
    """The field as a line where it depends on one axis at most."""
    if isinstance(field, Lined | Masked) or not field.shape:
        return field
    wide = [axis for axis, extent in enumerate(field.extents) if extent > 1]
    if len(wide) > 1 or len(field.motions) > 1 or len({*wide, *field.motions}) > 1 or field.lo.shape != field.hi.shape:
        return field
    axis, field = [*wide, *field.motions, 0][0], field.opened()
    lo, hi = field.lo.reshape(-1), field.hi.reshape(-1)
    if len(lo) == 1:  # a view would keep the array that it is cut from
        lo, hi = lo.copy(), hi.copy()
    return lined(field.shape, axis, Line(field.shape[axis], lo, hi, field.motions.get(axis)))


# --- unions -----------------------------------------------------------------------------------------------------------


def are_as(parts: Parts, others: Parts) -> bool:
    """Whether both are known to be the same field."""
    return parts is others or (are_alike(parts, others) and all(map(_have_one_shape, parts, others)))


def are_alike(parts: Parts, others: Parts) -> bool:
    """Whether both are known to be the same but for the extents of axes that do not matter."""
    if len(parts) == len(others) == 1:
        return _is_like(parts[0], others[0])
    return len(parts) == len(others) and all(map(_is_like, parts, others))


def _have_one_shape(one: Intervals, other: Intervals) -> bool:
    return one.shape == other.shape


def _is_like(one: Intervals, other: Intervals) -> bool:
    return one is other or (one.likeness() == other.likeness() and _move_alike(one, other))


def _move_alike(one: Intervals, other: Intervals) -> bool:
    """Whether two fields with as much in common are the same; lines say how they move."""
    return isinstance(one, Lined) or one.motions == other.motions


def distinct(parts: Parts) -> Parts:
    """The parts of one shape without those that are known to be as one before."""
    kept: list[Intervals] = []
    found: dict[tuple[Any, ...], list[Intervals]] = {}
    for part in parts:
        alike = found.setdefault(part.likeness(), [])
        if not any(_move_alike(other, part) for other in alike):
            alike.append(part)
            kept.append(part)
    return tuple(kept) if len(kept) < len(parts) else parts


def hull(field: Lined) -> Line:
    """What all runs of channels see together."""
    found = field.line
    for _, line in field.runs[1:]:
        if line is not found:
            found = found.known.get(line) or _hull(found, line)
    return found


def pattern_of(parts: Parts) -> Pattern | None:
    """What a free field really reads, as hulls over channels; None where it is not known."""
    own = parts[0] if len(parts) == 1 else None
    return hull(own).pattern if isinstance(own, Lined) else None


def _hull(one: Line, other: Line) -> Line:
    """What two lines of one motion see together, which the first remembers under the other."""
    made = one.known[other] = _together(one, other)
    return made


def _together(one: Line, other: Line) -> Line:
    pattern = samples.united((one.pattern, other.pattern))
    if pattern is not None and isinstance(one, Even) and isinstance(other, Even):
        return Even(one.shape[0], pattern)
    lo, hi = np.minimum(one.lo, other.lo), np.maximum(one.hi, other.hi)
    for line in (one, other):
        if line.pattern is pattern and np.array_equal(lo, line.lo) and np.array_equal(hi, line.hi):
            return line
    return Line(one.shape[0], lo, hi, one.motions.get(0), pattern)


def kinds(parts: Parts) -> Intervals:
    """As `merging.kinds`."""
    if len(parts) == 1:
        return merging.kinds(parts)
    found = [part for part in parts if isinstance(part, Lined) and part.across < 0]
    if len(found) < len(parts) or len({part.axis for part in found}) < len(parts):
        return merging.kinds(parts)
    lo, hi = zip(*[_kinds_along(part) for part in found], strict=True)
    low, high = reduce(np.minimum, lo), reduce(np.maximum, hi)
    return Intervals(low.shape, low, high, {})


def _kinds_along(field: Lined) -> tuple[Array, Array]:
    """The different ends of one line, along its axis."""
    line = field.line
    rows = line.remembered("kinds", lambda own: np.array([*{*zip(own.lo.tolist(), own.hi.tolist(), strict=True)}]).T)
    extents = [1] * field.rank
    extents[field.axis] = -1  # any axis will do for a field that is the same everywhere
    return rows[0].reshape(extents), rows[1].reshape(extents)


def are_in_step(fields: Sequence[Intervals]) -> bool:
    """Whether fields are known to have their centres in the same places: one line, or lines that move evenly."""
    found = {hull(field) if isinstance(field, Lined) else None for field in fields}
    if len(found) == 1:
        return None not in found
    return len({(line.shift, line.first + line.last) if isinstance(line, Even) else line for line in found}) == 1


def span(line: Line) -> merging.Span:
    """What all positions see together."""
    if isinstance(line, Even):
        ends = 0, line.shift * (line.shape[0] - 1)
        return line.first + min(ends), line.last + max(ends)
    return line.remembered("span all", merging.span)
