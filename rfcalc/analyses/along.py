"""The read steps on lines (`analyses.lines`): each in one dimension, once for all that see the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import numpy as np

from rfcalc import reads
from rfcalc.analyses import intervals
from rfcalc.analyses.intervals import NOTHING, Array, Intervals, runs_of
from rfcalc.analyses.joins import Parts
from rfcalc.analyses.lines import Even, Line, Lined, hull, line_of, lined, narrowed
from rfcalc.reads import Place

#: Steps along one axis: what else they say.
_ALONG: Mapping[type, Callable[[Any], Any]] = {
    reads.Window: attrgetter("kernel", "stride", "dilation", "before", "out"),
    reads.Transposed: attrgetter("kernel", "stride", "dilation", "before", "out"),
    reads.Spans: attrgetter("first", "last", "period", "shift", "free_first", "free_last"),
    reads.Slice: attrgetter("start", "step", "out"),
    reads.Take: lambda step: (step.indices,),
    reads.Pad: attrgetter("size", "before", "after", "mode"),
    reads.Place: attrgetter("size", "offset", "out", "step"),
    reads.Prefix: attrgetter("size", "reverse"),
}


def apply(
    field: Intervals, step: reads.Step, masks: Mapping[int, Array], *, free: bool, alone: bool = False
) -> Intervals:
    """The field after one step; ``alone`` as in `intervals.place_alone`."""
    made = _applied(field, step, free, alone) if isinstance(field, Lined) else None
    if made is not None:
        return made
    if alone and isinstance(step, Place):
        return narrowed(intervals.place_alone(field, step))
    return narrowed(intervals.apply(field, step, masks, free=free))


def _applied(field: Lined, step: reads.Step, free: bool, alone: bool) -> Lined | None:
    """The field after one step; None where that is no matter of single lines."""
    kind = type(step)
    if kind in _ALONG:
        return _along(field, step, free, alone and kind is Place)
    match step:
        case reads.Reduce(axes):
            return _reduced(field, axes)
        case reads.Group(axis, groups, out):
            return _grouped(field, axis, groups, out)
        case reads.Permute(axes):
            shape = tuple(field.shape[axis] for axis in axes)
            return Lined(shape, _index(axes, field.axis), _index(axes, field.across), field.runs)
        case reads.Reshape(shape_in, shape_out):
            return _reshaped(field, shape_in, shape_out)
    return None


def _index(axes: Sequence[int], axis: int) -> int:
    return axes.index(axis) if axis >= 0 else -1


def _along(field: Lined, step: Any, free: bool, alone: bool) -> Lined | None:
    axis, kind = step.axis, type(step)
    values = _ALONG[kind](step)
    if axis == field.axis:
        runs = tuple((count, _stepped(line, kind, values, free, alone)) for count, line in field.runs)
        first = runs[0][1]
        if len(runs) > 1 and any(line.tags != first.tags for _, line in runs):
            return None
        return Lined(_resized(field.shape, axis, first.shape[0]), axis, field.across, runs)
    if axis == field.across:
        return None
    extent, everywhere = _reached(field.shape[axis], kind, values, free, alone)  # type: ignore[arg-type]
    shape = _resized(field.shape, axis, extent)
    if everywhere:
        return field.with_shape(shape)
    if field.axis >= 0 or field.across >= 0:
        return None
    return lined(shape, axis, _stepped(field.line.along(field.shape[axis]), kind, values, free, alone))


def _stepped(line: Line, kind: type, values: tuple[Any, ...], free: bool, alone: bool) -> Line:
    key = (kind, values, free, alone)
    found: Line | None = line.known.get(key)
    if found is None:
        found = line.known[key] = _made(line, kind, values, free, alone)
    return found


def _made(line: Line, kind: type, values: tuple[Any, ...], free: bool, alone: bool) -> Line:
    step = kind(0, *values)
    if kind is reads.Window and values == (1, 1, step.dilation, 0, line.shape[0]):
        return line
    if kind is reads.Window and isinstance(line, Even):
        if free:
            return line.slid(*values)
        if _stays_inside(step, line.shape[0]):
            return _stepped(line, kind, values, True, False)
    if kind is reads.Window and not free and not line.is_constant:
        return _slid(line, *values)
    if alone:
        return line_of(intervals.place_alone(line, step))
    return line_of(intervals.apply(line, step, {}, free=free))


def _stays_inside(step: reads.Window, extent: int) -> bool:
    last = step.stride * (step.out - 1) + step.dilation * (step.kernel - 1) - step.before
    return step.before <= 0 and last < extent


def _slid(line: Line, kernel: int, stride: int, dilation: int, before: int, out: int) -> Line:
    """After a window beyond the ends of which is nothing: as `intervals.apply` has it, on both ends in one array."""
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
    period, shift = line.tags.get(0, (0, 0))
    after = intervals.tag_after((period, shift), stride) if period else None
    return Line(out, ends[0], -ends[1], after if after is not None and after[0] <= out else None)


@lru_cache(maxsize=4096)
def _reached(extent: int, kind: Any, values: tuple[Any, ...], free: bool, alone: bool) -> tuple[int, bool]:
    """The extent after a step along an axis that does not matter, and whether every position reads something."""
    nowhere = np.zeros(1, dtype=np.int64)
    made = _made(Line(extent, nowhere, nowhere, None), kind, values, free, alone)
    return made.shape[0], made.is_constant and bool(made.lo[0] <= made.hi[0])


def _resized(shape: tuple[int, ...], axis: int, extent: int) -> tuple[int, ...]:
    return shape if shape[axis] == extent else (*shape[:axis], extent, *shape[axis + 1 :])


def _reduced(field: Lined, axes: Sequence[int]) -> Lined | None:
    shape = tuple(1 if axis in axes else extent for axis, extent in enumerate(field.shape))
    line, across = field.line, field.across
    if across in axes:
        line, across = hull(field), -1
    elif across >= 0:
        return None if field.axis in axes else field.with_shape(shape)
    if field.axis in axes:
        line = line.remembered(reads.Reduce, lambda own: line_of(intervals.reduce(own, (0,))))
    return lined(shape, field.axis, line)


def _grouped(field: Lined, axis: int, groups: int, out: int) -> Lined | None:
    shape = _resized(field.shape, axis, out)
    if axis not in (field.axis, field.across):
        return field.with_shape(shape)
    return lined(shape, field.axis, hull(field)) if axis == field.across and groups == 1 else None


@lru_cache(maxsize=4096)
def _kept(shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> dict[int, int]:
    """Where the axes lie that a reshape neither splits nor merges; -1 stays -1."""
    runs = runs_of(shape_in, shape_out)
    return {-1: -1, **{left[0]: right[0] for left, right in runs if len(left) == len(right) == 1}}


def _reshaped(field: Lined, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> Lined | None:
    if 0 in shape_in or 0 in shape_out:
        return None
    places = _kept(shape_in, shape_out)
    if field.axis not in places or field.across not in places:
        return None
    return Lined(shape_out, places[field.axis], places[field.across], field.runs)


def broadcast(field: Intervals, shape: tuple[int, ...]) -> Intervals:
    """As `intervals.broadcast`."""
    if field.shape == shape:
        return field
    if not isinstance(field, Lined) or any(
        axis >= 0 and field.shape[axis] != shape[axis] for axis in (field.axis, field.across)
    ):
        return narrowed(intervals.broadcast(field, shape))
    return field.with_shape(shape)


#: Steps after which what is the same everywhere is so still, whatever else they say.
_HARMLESS = frozenset({reads.Reshape, reads.Permute, reads.Reduce, reads.Group})


def stays(parts: Parts, steps: reads.Steps) -> bool:
    """Whether all elements see the same, before and after steps, so that these need not be made."""
    first = parts[0]
    if len(parts) > 1 or not isinstance(first, Lined) or not first.is_constant or 0 in first.shape:
        return False
    return all(type(step) in _HARMLESS for step in steps)
