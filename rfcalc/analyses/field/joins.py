"""Unions and concatenations of lines: where all fields are lines along one axis, so is what they see together.

Of anything else `merging` makes arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

from rfcalc.analyses.field import merging, samples
from rfcalc.analyses.field.intervals import Intervals
from rfcalc.analyses.field.lines import Even, Line, Lined, Runs, lined, narrowed, span
from rfcalc.analyses.field.merging import Parts
from rfcalc.analyses.field.motion import Motion
from rfcalc.reads import Place


def merge(parts: Parts, *, local: bool = False) -> Parts:
    """As `merging.merge`."""
    if len(parts) < 2:
        return parts
    across = max([part.across for part in parts if isinstance(part, Lined)], default=-1)
    axis = _common_axis(parts, across)
    if axis is None:
        return tuple(narrowed(part) for part in merging.merge(parts, local=local))
    shape, extent = parts[0].shape, parts[0].shape[axis] if axis >= 0 else 1
    channels = shape[across] if across >= 0 else 1
    own = [part.runs if part.across >= 0 else ((channels, part.line),) for part in parts if isinstance(part, Lined)]
    runs = []
    for count, found in side_by_side(own):
        runs.append((count, united([line.along(extent) if line.is_constant else line for line in found])))
    return (_in_one(shape, axis, across, joined(runs), parts),)


def merge_both(full: Parts, local: Parts) -> tuple[Parts, Parts]:
    """The parts of a full and of a local field merged, once where both are the same."""
    own = merge(local, local=True)
    if full != local:
        return merge(full), own
    alike = len(own) == 1 or all(part.sees_everywhere() for part in own)
    return (own if alike else merge(full)), own


def united(lines: Sequence[Line]) -> Line:
    """What lines over one extent see together."""
    first, *others = dict.fromkeys(lines)
    if not others:
        return first
    return first.remembered(("union", *others), lambda own: _union(own, others))


def _union(first: Line, others: Sequence[Line]) -> Line:
    pattern = samples.united([line.pattern for line in (first, *others)])
    if pattern is not None and all(isinstance(line, Even) and line.motion == first.motion for line in (first, *others)):
        return Even(first.shape[0], pattern)
    made = merging.union((first, *others))
    return Line(first.shape[0], made.lo, made.hi, made.motions.get(0), pattern)


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


def concatenate(fields: Sequence[tuple[Intervals, Place]], shape: tuple[int, ...], axis: int) -> Intervals:
    """As `merging.concatenate`."""
    made = _in_runs(fields, shape, axis)
    return narrowed(merging.concatenate(fields, shape, axis)) if made is None else made


def _in_runs(fields: Sequence[tuple[Intervals, Place]], shape: tuple[int, ...], across: int) -> Lined | None:
    """The concatenation of lines as runs; None where fields or places are of another kind."""
    moving = _common_axis([field for field, _ in fields], across)
    if moving is None or moving == across or not _is_gapless([place for _, place in fields], shape[across]):
        return None
    if moving < 0:
        same = [field.line for field, _ in fields if isinstance(field, Lined)]
        return lined(shape, -1, same[0]) if all(line.sees_as(same[0]) for line in same) else None
    runs: list[tuple[int, Line]] = []
    for field, place in fields:
        assert isinstance(field, Lined)
        runs += field.runs if field.across >= 0 else ((place.size, field.runs[0][1]),)
    if merging.lie_apart([span(line) for line in {line for _, line in runs}]):
        return None
    return _in_one(shape, moving, across, runs, tuple([field for field, _ in fields]))


def _in_one(shape: tuple[int, ...], axis: int, across: int, runs: Sequence[tuple[int, Line]], of: Parts) -> Lined:
    """Runs of lines as one field, made of these."""
    if len({(line.motion, line.length) for _, line in runs}) > 1:
        runs = _of_one_kind(runs, merging.common_motions(of, shape).get(axis), shape[axis])
    alike = joined(runs)
    return Lined(shape, axis, across if len(alike) > 1 else -1, alike)


def side_by_side(fields: Sequence[Runs]) -> list[tuple[int, tuple[Line, ...]]]:
    """The runs of several fields, cut where any of them is: how many channels, and the line of each field."""
    found, left = [], [list(reversed(runs)) for runs in fields]
    while left[0]:
        count = min([runs[-1][0] for runs in left])
        found.append((count, tuple([runs[-1][1] for runs in left])))
        for runs in left:
            rest, line = runs.pop()
            if rest > count:
                runs.append((rest - count, line))
    return found


def _of_one_kind(runs: Sequence[tuple[int, Line]], moved: Motion | None, extent: int) -> list[tuple[int, Line]]:
    """The runs with as many positions stored in each, and with one motion."""
    wide = [(count, line.along(extent) if line.is_constant else line) for count, line in runs]
    length = max([line.length for _, line in wide])
    return [(count, line.stored(length, moved)) for count, line in wide]


def _is_gapless(places: Sequence[Place], extent: int) -> bool:
    end = 0
    for place in places:
        if place.offset != end or place.step != 1 or not place.size:
            return False
        end += place.size
    return end == extent


def joined(runs: Sequence[tuple[int, Line]]) -> Runs:
    """The runs with equal neighbours as one."""
    made = [runs[0]]
    for count, line in runs[1:]:
        before, last = made[-1]
        if line.sees_as(last):
            made[-1] = before + count, last
        else:
            made.append((count, line))
    return tuple(made)
