"""The read steps on lines (`analyses.lines`): each in one dimension, once for all that see the same.

What steps do to a field of lines depends on where the lines lie: most steps of an op are about another axis, and change
no line. `Plans` finds that out once for all equal reads, so that a layer is one look at a plan and one at a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rfcalc import reads
from rfcalc.analyses.field import arrays, intervals, masked, samples
from rfcalc.analyses.field.intervals import NOTHING, Array, Intervals
from rfcalc.analyses.field.joins import joined
from rfcalc.analyses.field.lines import Even, Line, Lined, Runs, hull, line_of, narrowed
from rfcalc.analyses.field.masked import Masked, Shades
from rfcalc.analyses.field.merging import Parts
from rfcalc.analyses.field.motion import of_rate, rate_of, runs_of, strided
from rfcalc.analyses.field.samples import Pattern
from rfcalc.reads import Place

Shape: TypeAlias = tuple[int, ...]

#: Those of the steps that know the pattern beyond the borders.
_CONTINUED = frozenset({reads.Window, reads.Transposed, reads.Spans, reads.Pad, reads.Place})


#: Steps after which what is the same everywhere is so still, whatever else they say.
_HARMLESS = frozenset({reads.Reshape, reads.Permute, reads.Reduce, reads.Group})
#: Steps that read several positions along an axis wherever they are.
MIXING = frozenset({reads.Reduce, reads.Contract})


class Act:
    """What one step does to a line. There is one object for all equal ones, which is their key."""

    __slots__ = ("alone", "free", "kind", "values")

    def __init__(self, kind: type, values: tuple[Any, ...], free: bool, alone: bool) -> None:
        self.kind = kind
        self.values = values
        self.free = free
        self.alone = alone

    def freed(self, alone: bool) -> Act:
        """The same beyond the borders, as far as the pattern is known there."""
        return _act(self.kind, self.values, True, alone and self.kind is Place) if self.kind in _CONTINUED else self


_act = lru_cache(maxsize=1 << 16)(Act)
#: Everything along a line, and what several lines in runs see together.
_ACROSS = -1  #: in place of the extent of an axis, where runs are cut out
_REDUCED, _HULL = Act(reads.Reduce, (), False, False), Act(reads.Group, (), False, False)


class _Moved(NamedTuple):
    """Where lines lie after one step, and what it does to them."""

    shape: Shape
    axis: int
    across: int
    acts: tuple[Act, ...] = ()
    extent: int = 0  #: of the axis that they act along, before
    everywhere: bool = True  #: whether all positions of an axis that does not matter read something


class _Plan(NamedTuple):
    """Where lines lie after steps, and what these do to them: (extent before, act)."""

    shape: Shape
    axis: int
    across: int
    acts: tuple[tuple[int, Act], ...]
    end: int  #: the step before which it ends: the last, or one that is no matter of single lines
    everywhere: bool  #: whether lines lie so without borders too

    def freed(self, alone: bool) -> _Plan:
        """The same without borders."""
        return self._replace(acts=tuple([(extent, act.freed(alone)) for extent, act in self.acts]))


class Plans:
    """Makes steps, and remembers by the id of a read's steps what they do: for as long as these live, as in a graph."""

    def __init__(self, masks: Mapping[int, Array]) -> None:
        self.masks = Shades(masks)
        self.held: dict[int, reads.Steps] = {}  #: all steps that something is remembered of, so that ids stay theirs
        self._stretches: dict[int, tuple[reads.Steps, Sequence[reads.Steps]]] = {}  # keeps the steps, so that ids stay
        self._harmless: dict[int, bool] = {}
        self._continued: dict[int, bool] = {}
        self._heads: dict[int, tuple[reads.Steps, reads.Steps]] = {}
        self._firsts: dict[tuple[Any, ...], reads.Steps] = {}
        self._alike: dict[int, tuple[reads.Steps, reads.Steps]] = {}
        self._plans: dict[tuple[int, int, Shape, int, int, bool, bool], _Plan] = {}
        self._arrays: dict[tuple[int, int, bool, bool], tuple[Intervals, reads.Step, Intervals]] = {}

    def after(self, field: Intervals, steps: reads.Steps, free: bool, alone: bool = False) -> Intervals:
        """The field after steps; ``alone`` as in `arrays.place_alone`."""
        at, end, free = 0, len(steps), free and self._continue(steps)
        while at < end:
            before = at
            if isinstance(field, Lined):
                field, at = self._on_lines(field, steps, at, free, alone)
            if at == before:
                field, at = self._on_array(field, steps[at], free, alone), at + 1
        return field

    def stretches(self, steps: reads.Steps) -> Sequence[reads.Steps]:
        """The steps in runs; those that mix several positions stand by themselves."""
        found = self._stretches.get(id(steps))
        if found is None:
            parts = reads.runs(steps, lambda kind: kind not in MIXING)
            found = self._stretches[id(steps)] = steps, parts if len(parts) > 1 else [steps] * len(parts)
        return found[1]

    def stay(self, parts: Parts, steps: reads.Steps) -> bool:
        """Whether all elements see the same, before and after steps, so that these need not be made."""
        first = parts[0]
        if len(parts) > 1 or not isinstance(first, Lined) or not first.is_constant or 0 in first.shape:
            return False
        found = self._harmless.get(id(steps))
        if found is None:
            found = self._harmless[id(steps)] = _HARMLESS.issuperset(map(type, steps))
        return found

    def same(self, parts: Parts, steps: reads.Steps) -> reads.Steps:
        """Steps that do as these to the fields: the first that are equal or cut as much out of an axis that does not
        matter, wherever. Queries, keys and values are cut out so, and masks lie over blocks."""
        first: Any = steps[0] if steps else None
        if type(first) is reads.Slice and not any(part.depends(first.axis) for part in parts):
            return self._firsts.setdefault((first.axis, first.out, steps[1:]), steps)
        found = self._alike.get(id(steps))
        if found is None:
            found = self._alike[id(steps)] = steps, self._firsts.setdefault(steps, steps)
        return found[1]

    def without_last(self, steps: reads.Steps) -> reads.Steps:
        """All steps but the last, one object for one read."""
        found = self._heads.get(id(steps))
        if found is None:
            found = self._heads[id(steps)] = steps, steps[:-1]
        return found[1]

    def forget(self) -> None:
        """Forget what was made of arrays, which are large."""
        if self._arrays:
            self._arrays.clear()

    def _continue(self, steps: reads.Steps) -> bool:
        """Whether any of the steps knows the pattern beyond the borders."""
        found = self._continued.get(id(steps))
        if found is None:
            found = self._continued[id(steps)] = not _CONTINUED.isdisjoint(map(type, steps))
        return found

    def _on_lines(self, field: Lined, steps: reads.Steps, at: int, free: bool, alone: bool) -> tuple[Intervals, int]:
        """The field after as many steps as are a matter of single lines, and the number of the next."""
        key = (id(steps), at, field.shape, field.axis, field.across, free, alone)
        plan = self._plans.get(key)
        if plan is None:
            clipped = self._plans.get((*key[:-2], False, False)) if free else None
            known = clipped is not None and clipped.everywhere
            plan = clipped.freed(alone) if clipped and known else _plan(steps, at, field, free, alone)
            self._plans[key] = plan
        shape, axis, across, acts, end = plan[:5]
        if field.across >= 0:
            runs = _acted(field, acts)
            return (field, at) if runs is None else (Lined(shape, axis, across if len(runs) > 1 else -1, runs), end)
        if not acts:
            return (field if shape == field.shape and axis == field.axis else Lined(shape, axis, -1, field.runs)), end
        line = field.runs[0][1]
        for extent, act in acts:
            if act.kind is reads.Erase:
                return Lined(shape, axis, across, _in_parts(line, act.values)), end
            line = _after(line.along(extent), act)
        return Lined(shape, axis, -1, ((1, line),)), end

    def _on_array(self, field: Intervals, step: reads.Step, free: bool, alone: bool) -> Intervals:
        alone = alone and type(step) is Place
        free = free and type(step) in _CONTINUED
        key = (id(field), id(step), free, alone)
        found = self._arrays.get(key)
        if found is None:
            found = self._arrays[key] = field, step, narrowed(self._on_elements(field, step, free, alone))
        return found[2]

    def _on_elements(self, field: Intervals, step: reads.Step, free: bool, alone: bool) -> Intervals:
        if alone:
            return arrays.place_alone(field, step)  # type: ignore[arg-type]
        return masked.apply(field, step, self.masks) or arrays.apply(field, step, self.masks, free=free)


# --- plans ------------------------------------------------------------------------------------------------------------


def _plan(steps: reads.Steps, at: int, field: Lined, free: bool, alone: bool) -> _Plan:
    """What the steps from ``at`` on do to lines that lie as the field's; to runs, up to what first changes them."""
    shape, axis, across = field.shape, field.axis, field.across
    acts: list[tuple[int, Act]] = []
    end, everywhere = at, True
    for step in steps[at:]:
        moved = _moved(step, shape, axis, across, free, alone)
        if moved is None:
            break
        end += 1
        shape, axis, across = moved.shape, moved.axis, moved.across
        everywhere = everywhere and moved.everywhere
        acts += [(moved.extent, act) for act in moved.acts]
        if acts and (field.across >= 0 or across >= 0):
            break
    else:
        return _Plan(shape, axis, across, tuple(acts), end, everywhere)
    return _Plan(shape, axis, across, tuple(acts), end, False)


def _moved(step: reads.Step, shape: Shape, axis: int, across: int, free: bool, alone: bool) -> _Moved | None:
    """What one step does to lines along an axis of a tensor; None where that is no matter of single lines."""
    kind: type = type(step)
    if kind in reads.ALONG:
        act = _act(kind, reads.ALONG[kind](step), free and kind in _CONTINUED, alone and kind is Place)
        return _along(step, shape, axis, across, act)
    match step:
        case reads.Reduce(axes):
            return _reduced(shape, axis, across, axes)
        case reads.Group(where, groups, out):
            return _grouped(_resized(shape, where, out), axis, across, where, groups)
        case reads.Permute(axes):
            return _Moved(tuple([shape[k] for k in axes]), _index(axes, axis), _index(axes, across))
        case reads.Reshape(shape_in, shape_out):
            return _reshaped(axis, across, shape_in, shape_out)
    return None


def _index(axes: Sequence[int], axis: int) -> int:
    return axes.index(axis) if axis >= 0 else -1


def _along(step: Any, shape: Shape, axis: int, across: int, act: Act) -> _Moved | None:
    where = step.axis
    if where == across:
        cut = type(step) is reads.Slice and step.out > 0
        return _Moved(_resized(shape, where, step.out), axis, across, (act,), _ACROSS) if cut else None
    extent, everywhere = _reached(shape[where], act)
    after = _resized(shape, where, extent)
    if where == axis:
        return _Moved(after, axis, across, (act,), shape[where])
    if everywhere:
        return _Moved(after, axis, across)
    if axis >= 0 and across < 0:  # channels that are put beside others, or beside nothing
        parts = Act(reads.Erase, _seeing(shape[where], act), False, False)
        return _Moved(after, axis, where, (parts,), shape[where], False)
    return _Moved(after, where, -1, (act,), shape[where], False) if axis < 0 and across < 0 else None


@lru_cache(maxsize=4096)
def _reached(extent: int, act: Act) -> tuple[int, bool]:
    """The extent after a step along an axis that does not matter, and whether every position reads something."""
    nowhere = np.zeros(1, dtype=np.int64)
    made = _made(Line(extent, nowhere, nowhere, None), act)
    return made.shape[0], made.is_constant and bool(made.lo[0] <= made.hi[0])


@lru_cache(maxsize=4096)
def _seeing(extent: int, act: Act) -> tuple[tuple[int, bool], ...]:
    """Runs of positions after such a step: how many, and whether they read anything."""
    nowhere = np.zeros(1, dtype=np.int64)
    made = _made(Line(extent, nowhere, nowhere, None), act)
    return tuple([(len([*run]), seen) for seen, run in groupby((made.lo <= made.hi).tolist())])


def _in_parts(line: Line, parts: Sequence[tuple[int, bool]]) -> Runs:
    """Runs of a line and of one that sees nothing."""
    return tuple([(count, line if seen else line.remembered("hidden", _hidden)) for count, seen in parts])


def _hidden(line: Line) -> Line:
    """A line that sees nothing, beside one that it says nothing else of."""
    lo = np.full(line.length, NOTHING)
    pattern = line.pattern and Pattern(line.pattern.shift, ((0, 0),) * line.pattern.period)
    return Line(line.shape[0], lo, -lo, line.motion, pattern)


def _resized(shape: Shape, axis: int, extent: int) -> Shape:
    return shape if shape[axis] == extent else (*shape[:axis], extent, *shape[axis + 1 :])


def _reduced(shape: Shape, axis: int, across: int, axes: Sequence[int]) -> _Moved | None:
    after = tuple([1 if k in axes else extent for k, extent in enumerate(shape)])
    if axis not in axes:
        return _Moved(after, axis, -1, (_HULL,)) if across in axes else _Moved(after, axis, across)
    if across >= 0 and across not in axes:
        return None
    acts = (_REDUCED,) if across < 0 else (_HULL, _REDUCED)
    return _Moved(after, -1, -1, acts, shape[axis])


def _grouped(shape: Shape, axis: int, across: int, where: int, groups: int) -> _Moved | None:
    if where not in (axis, across):
        return _Moved(shape, axis, across)
    return _Moved(shape, axis, -1, (_HULL,)) if where == across and groups == 1 else None


@lru_cache(maxsize=4096)
def _kept(shape_in: Shape, shape_out: Shape) -> dict[int, int]:
    """Where the axes lie that a reshape neither splits nor merges; -1 stays -1."""
    runs = runs_of(shape_in, shape_out)
    return {-1: -1, **{left[0]: right[0] for left, right in runs if len(left) == len(right) == 1}}


def _reshaped(axis: int, across: int, shape_in: Shape, shape_out: Shape) -> _Moved | None:
    if 0 in shape_in or 0 in shape_out:
        return None
    places = _kept(shape_in, shape_out)
    if axis not in places or across not in places:
        return None
    return _Moved(shape_out, places[axis], places[across])


# --- on lines ---------------------------------------------------------------------------------------------------------


def _acted(field: Lined, acts: Sequence[tuple[int, Act]]) -> Runs | None:
    """The runs after what one step does; None where they are alike no longer."""
    runs = field.runs
    for extent, act in acts:
        if act is _HULL:
            runs = ((1, hull(field)),)
        elif extent == _ACROSS:
            runs = _cut_out(runs, *act.values)
        else:
            runs = tuple([(count, _after(line, act)) for count, line in runs])
    first = runs[0][1].motion
    return runs if all(line.motion == first for _, line in runs) else None


def _cut_out(runs: Runs, start: int, step: int, out: int) -> Runs:
    """The runs of every ``step``-th channel from ``start`` on."""
    ends = np.cumsum([count for count, _ in runs])
    numbers = np.searchsorted(ends, start + step * np.arange(out), side="right").tolist()
    return joined([(1, runs[number][1]) for number in numbers])


def _after(line: Line, act: Act) -> Line:
    found: Line | None = line.known.get(act)
    if found is None:
        found = line.known[act] = _made(line, act)
    return found


def _made(line: Line, act: Act) -> Line:
    kind, values, free = act.kind, act.values, act.free
    if kind is reads.Reduce:
        return line_of(arrays.reduce(line, (0,)))
    step = kind(0, *values)
    if kind is reads.Window:
        if values == (1, 1, step.dilation, 0, line.shape[0]):
            return line
        if isinstance(line, Even):
            pattern = samples.after(line.pattern, step, alone=False) if free else None
            if pattern is not None:
                return Even(step.out, pattern)
            if _stays_inside(step, line.shape[0]):
                return _after(line, _act(kind, values, True, False))
        if not free and not line.is_constant:
            return _slid(line, *values)
    made = arrays.place_alone(line, step) if act.alone else arrays.apply(line, step, {}, free=free)
    if made is line:
        return line
    known = line.pattern is not None and (free or kind is reads.Slice)
    pattern = samples.after(line.pattern, step, alone=act.alone) if known and line.pattern else None
    return Line(made.shape[0], made.lo, made.hi, made.motions.get(0), pattern)


def _stays_inside(step: reads.Window, extent: int) -> bool:
    last = step.stride * (step.out - 1) + step.dilation * (step.kernel - 1) - step.before
    return step.before <= 0 and last < extent


def _slid(line: Line, kernel: int, stride: int, dilation: int, before: int, out: int) -> Line:
    """After a window beyond the ends of which is nothing: as `arrays.apply` has it, on both ends in one array."""
    reach = stride * (out - 1) + 1
    length, extent = reach + dilation * (kernel - 1), line.shape[0]
    wide = np.full((2, length), NOTHING, dtype=np.int64)  # lo, and hi with its sign turned, so that both are minima
    start, stop = max(0, before), max(0, min(length, extent + before))
    if start < stop:
        inner = slice(start - before, stop - before)
        wide[0, start:stop] = line.lo[inner]
        np.negative(line.hi[inner], out=wide[1, start:stop])
    ends = wide[:, :reach:stride]
    for j in range(dilation, dilation * kernel, dilation):
        ends = np.minimum(ends, wide[:, j : j + reach : stride])
    moved = None if line.motion is None else of_rate(out, strided(rate_of(line.motion), stride))
    return Line(out, ends[0], -ends[1], moved)


def broadcast(field: Intervals, shape: tuple[int, ...]) -> Intervals:
    """As `intervals.broadcast`."""
    if field.shape == shape:
        return field
    if isinstance(field, Masked):
        return masked.broadcast(field, shape)
    if not isinstance(field, Lined):
        return narrowed(intervals.broadcast(field, shape))
    for axis in (field.axis, field.across):
        if axis >= 0 and field.shape[axis] != shape[axis]:
            return narrowed(intervals.broadcast(field, shape))
    return field.with_shape(shape)
