"""Receptive fields on a layer graph: every op applies its read steps to interval arrays, one source axis at a time.

For each tensor two fields are carried side by side: *full*, the clipped regions with everything read, and *local*,
free of borders and without what comes in through a reduction over the whole axis (DESIGN section 3). Work grows with
the number of reads and the extents of the axes, not with paths or pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from rfcalc import reads
from rfcalc.analyses import along, intervals, lines
from rfcalc.analyses.intervals import Intervals
from rfcalc.analyses.joins import Parts, combined
from rfcalc.analyses.lines import Line, Lined
from rfcalc.graph import LayerGraph, Node, Read, Ref


@dataclass(slots=True, eq=False)
class State:
    """What one tensor sees of one source axis, ``local`` () where that is nothing; the flags are sets of node ids.

    Never changed once made: an op that reads each element where it stands hands the same state on.
    """

    full: Parts
    local: Parts
    context: int = 0
    inexact: int = 0
    misaligned: int = 0
    masked: int = 0
    summary: Any = field(default=None, init=False, repr=False)  #: what `receptive_field.summarise` made of it

    def shared(self) -> State:
        """The same state, with one field for both where they are equal, so that steps are made once."""
        if self.local is not self.full and lines.are_as(self.full, self.local):
            self.local = self.full
        return self


@dataclass(frozen=True, slots=True)
class Window:
    """The free field of a layer along one source axis, over one period of positions."""

    axis: int  #: the tensor's axis that moves with the source axis
    lo: tuple[int, ...]
    hi: tuple[int, ...]
    shift: int

    @property
    def period(self) -> int:
        return len(self.lo)

    @property
    def stride(self) -> Fraction:
        return Fraction(self.shift, self.period)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(max(0, hi - lo + 1) for lo, hi in zip(self.lo, self.hi, strict=True))

    @property
    def offset(self) -> Fraction | None:
        """Mean distance of the centres from an even grid that starts at source pixel 0."""
        seen = [u for u, size in enumerate(self.sizes) if size]
        if not seen:
            return None
        doubled = sum([self.lo[u] + self.hi[u] for u in seen])
        return Fraction(doubled, 2 * len(seen)) - self.stride * Fraction(sum(seen), len(seen))


#: How a field moves: source pixels per position, and where its centres begin.
Pace: TypeAlias = tuple[Fraction, Fraction | None]


@dataclass(frozen=True, slots=True)
class Clash:
    """A join whose branches are not aligned: the window of each branch along one source axis."""

    node: int
    windows: tuple[Pace, ...]


#: Each node with the states of its outputs, and all clashes up to there.
Walk: TypeAlias = Iterator[tuple[Node, tuple[State | None, ...], Mapping[int, Clash]]]


def trace_axis(
    graph: LayerGraph, source: Ref, axis: int, keep: Collection[int] | None = None, line: Line | None = None
) -> Walk:
    """Each node after the source with the state of its outputs, in execution order.

    A state is None where the output sees nothing of the source at all. Tensors are forgotten once nothing reads them
    any more. ``keep`` restricts the walk to these nodes. Walks that start from one ``line`` share what they work out.
    """
    shape = graph[source.node].outputs[source.output].shape
    start = lines.lined(shape, axis, lines.source_line(shape[axis]) if line is None else line)
    return _Walk(graph, source, State((start,), (start,)), shape[axis], keep).run()


def trace_point(
    graph: LayerGraph, source: Ref, position: Mapping[int, int]
) -> Iterator[tuple[Node, tuple[State | None, ...]]]:
    """Each node with the states of its outputs, in which exactly the elements that one place can change see anything.

    ``position`` gives an index for each axis of the source that the place is fixed along.
    """
    start = intervals.point(graph[source.node].outputs[source.output].shape, position)
    for record, states, _ in _Walk(graph, source, State((start,), ()), 2, None).run():
        yield record, states


#: Steps that read several positions along an axis wherever they are.
_MIXING = frozenset({reads.Reduce, reads.Contract})
#: Steps that do the same with borders and without.
_BORDERLESS = _MIXING | {reads.Reshape, reads.Permute, reads.Group, reads.Slice, reads.Take, reads.Erase, reads.Blocked}

#: What reaches an output: the state of one input and the steps by which it is read.
Found: TypeAlias = tuple[State, reads.Steps]


def _held(record: Node, read: Read, states: Mapping[int, tuple[State | None, ...]]) -> State | None:
    ref = record.inputs[read.input]
    held = states.get(ref.node)
    return held[ref.output] if held is not None else None


class _Walk:
    def __init__(self, graph: LayerGraph, source: Ref, start: State, extent: int, keep: Collection[int] | None) -> None:
        self.graph = graph
        self.masks: Mapping[int, np.ndarray] = graph.masks
        self.source = source
        self.extent = extent
        self.start = [start]  # taken at the source, so that it is forgotten like all others
        self.keep = keep
        self.clashes: dict[int, Clash] = {}
        self.everything = lines.line_of(intervals.everything((1,), extent))
        self._seen: dict[tuple[int, int, bool, bool], tuple[Intervals, reads.Step, Intervals]] = {}

    def run(self) -> Walk:
        records = [record for record in self.graph if self.keep is None or record.id in self.keep]
        last_use: dict[int, int] = {}
        for record in records:
            for ref in record.inputs:
                last_use[ref.node] = record.id
        states: dict[int, tuple[State | None, ...]] = {}
        ends: dict[int, list[int]] = {}
        for ident, last in last_use.items():
            ends.setdefault(last, []).append(ident)
        for record in records:
            made = tuple([self._output(record, number, states) for number in range(len(record.outputs))])
            if any(made):
                states[record.id] = made
            yield record, made, self.clashes
            for done in ends.get(record.id, ()):
                states.pop(done, None)
            if self._seen:
                self._seen.clear()

    def _output(self, record: Node, number: int, states: Mapping[int, tuple[State | None, ...]]) -> State | None:
        if record.id == self.source.node and number == self.source.output:
            return self.start.pop()
        rows = record.reads[number] if number < len(record.reads) else ()
        shape = record.outputs[number].shape
        if len(rows) == 1 and not rows[0].steps and not (record.inexact or record.masked):
            state = _held(record, rows[0], states)
            if state is None or state.full[0].shape == shape:
                return state
        if 0 in shape:  # no element, so none that sees anything
            return None
        found = [(state, read.steps) for read in rows if (state := _held(record, read, states)) is not None]
        if len(found) > 1:
            together = self._concatenated(record, found, shape)
            if together is not None:
                return together
        alone = len(rows) == 1
        arrived = [self._through(record, state, steps, shape, alone=alone) for state, steps in found]
        arrived = [state for state in arrived if not all(sees_nothing(part) for part in state.full)]
        return self._joined(record, arrived) if arrived else None

    def _concatenated(self, record: Node, found: Sequence[Found], shape: tuple[int, ...]) -> State | None:
        """The state of a concatenation, put together once for all inputs; None where the reads are no such thing."""
        places = [steps[-1] for _, steps in found if steps and isinstance(steps[-1], reads.Place)]
        if len(places) < len(found) or any(item.axis != places[0].axis or item.step != 1 for item in places):
            return None
        axis = places[0].axis
        arrived = []
        for (state, steps), place in zip(found, places, strict=True):
            before = (*shape[:axis], place.size, *shape[axis + 1 :])
            arrived.append(self._through(record, state, steps[:-1], before, alone=False))
        if any(len(state.full) > 1 or len(state.local) > 1 for state in arrived):
            return None
        pairs = list(zip(arrived, places, strict=True))
        full = self._merged((lines.concatenate([(state.full[0], place) for state, place in pairs], shape, axis),))
        own = [(state.local[0], place) for state, place in pairs if state.local]
        local = (lines.concatenate(own, shape, axis),) if own else ()
        return self._flagged(record, arrived, full, local)

    def _through(self, record: Node, state: State, steps: reads.Steps, shape: tuple[int, ...], alone: bool) -> State:
        """The state of one input after the steps by which it is read, as a part of an output of that shape."""
        if not (steps or record.inexact or record.masked) and state.full[0].shape == shape:
            return state
        full, local, context = state.full, state.local, state.context
        bit = 1 << record.id
        settled = along.stays(full, steps)
        for step in steps:
            before, full = full, full if settled else self._stepped(full, step, free=False)
            if type(step) in _MIXING:
                left = tuple([part for part in local if not self._takes_whole_axis(part, step, full)])
                if len(left) < len(local):
                    local, context = left, context | bit
            if local == before and type(step) in _BORDERLESS and not settled:
                local = full
            elif local:
                local = self._stepped(local, step, free=True, alone=alone)
        if full[0].rank != len(shape) and not settled:
            raise AssertionError(f"rule of {record.op}: reads have rank {full[0].rank}, the output {len(shape)}")
        full, local = self._merged(_broadcast(full, shape)), _broadcast(local, shape)
        inexact = state.inexact | (bit if record.inexact else 0)
        masked = state.masked | (bit if record.masked else 0)
        changed = (context, inexact, masked) != (state.context, state.inexact, state.masked)
        if not changed and lines.are_as(full, state.full) and lines.are_as(local, state.local):
            return state
        return State(full, local, context, inexact, state.misaligned, masked).shared()

    def _stepped(self, parts: Parts, step: reads.Step, *, free: bool, alone: bool = False) -> Parts:
        if len(parts) == 1:
            return (self._step(parts[0], step, free, alone),)
        return tuple([self._step(part, step, free, alone) for part in parts])

    def _step(self, held: Intervals, step: reads.Step, free: bool, alone: bool) -> Intervals:
        if isinstance(held, Lined):
            return along.apply(held, step, self.masks, free=free, alone=alone)
        key = (id(held), id(step), free, alone)
        found = self._seen.get(key)
        if found is None:
            found = (held, step, along.apply(held, step, self.masks, free=free, alone=alone))
            self._seen[key] = found
        return found[2]

    def _merged(self, parts: Parts) -> Parts:
        """The parts of a full field, merged; one in which every unit sees the whole axis will not change any more."""
        merged = lines.merge(parts)
        for part in merged:
            if isinstance(part, Lined) and part.line is self.everything:
                return (part,)
            if covers(part, self.extent):
                return (lines.lined(part.shape, 0, self.everything),)
        return merged

    def _takes_whole_axis(self, before: Intervals, step: reads.Step, full: Parts) -> bool:
        """Whether the step reads all positions of a moving axis and leaves every unit with the whole source axis."""
        gone = step.axes if isinstance(step, reads.Reduce) else (before.rank - 2,)
        if not any(moves(before, axis, self.extent) for axis in gone):
            return False
        if any(moves(before, axis, self.extent) for axis in range(before.rank) if axis not in gone):
            return False
        return any(covers(part, self.extent) for part in full) or covers(combined(full), self.extent)

    def _joined(self, record: Node, arrived: list[State]) -> State:
        arrived = list(dict.fromkeys(arrived))
        if len(arrived) == 1:
            return arrived[0]
        full = self._merged(tuple(part for state in arrived for part in state.full))
        local = lines.merge(tuple(part for state in arrived for part in state.local), local=True)
        return self._flagged(record, arrived, full, local)

    def _flagged(self, record: Node, arrived: Sequence[State], full: Parts, local: Parts) -> State:
        """The state with what is known of the branches it joins."""
        misaligned = 0 if self._aligned(record, arrived) else 1 << record.id
        flags = [0, 0, misaligned, 0]
        for state in arrived:
            for at, seen in enumerate((state.context, state.inexact, state.misaligned, state.masked)):
                flags[at] |= seen
        return State(full, local, *flags).shared()

    def _aligned(self, record: Node, arrived: Sequence[State]) -> bool:
        """Whether all branches move alike; otherwise the clash is noted."""
        branches = [state.local[0] for state in arrived if len(state.local) == 1]
        if len(branches) < 2 or all(item is branches[0] for item in branches):
            return True
        if lines.are_in_step(branches):
            return True
        paces = [pace for item in branches if (pace := pace_of(item)) is not None]
        if len(set(paces)) <= 1:
            return True
        self.clashes[record.id] = Clash(record.id, tuple(paces))
        return False


# --- what a state says ------------------------------------------------------------------------------------------------


def moves(local: Intervals, axis: int, extent: int) -> bool:
    """Whether the positions of an axis lie in different places: `intervals.moves`."""
    if not isinstance(local, Lined):
        return intervals.moves(local, axis, extent)
    if axis not in (local.axis, local.across):
        return False
    if local.across >= 0:
        return intervals.moves(local, axis, extent)
    return local.line.remembered(("moves", extent), lambda own: intervals.moves(own, 0, extent))


def _broadcast(parts: Parts, shape: tuple[int, ...]) -> Parts:
    if all(part.shape == shape for part in parts):
        return parts
    return tuple([along.broadcast(part, shape) for part in parts])


def covers(full: Intervals, extent: int) -> bool:
    """Whether every unit sees the whole axis."""
    if isinstance(full, Lined):
        return all(line.remembered(("covers", extent), partial(_covers, extent)) for _, line in full.runs)
    return _covers(extent, full)


def _covers(extent: int, full: Intervals) -> bool:
    first, last = full.lo.flat[0] <= 0, full.hi.flat[0] >= extent - 1  # most fields miss an end at the first unit
    return bool(first and last and (full.lo <= 0).all() and (full.hi >= extent - 1).all())


def sees_nothing(full: Intervals) -> bool:
    """Whether no unit sees anything."""
    if isinstance(full, Lined):
        return all(line.remembered("nothing", intervals.is_nothing) for _, line in full.runs)
    return intervals.is_nothing(full)


def largest_region(full: Intervals) -> tuple[int, int]:
    """Sizes of the largest and the smallest clipped region, as hulls over channels where a position has several."""
    if isinstance(full, Lined):
        found = [line.remembered("regions", _largest_region) for _, line in full.runs]
        return max(size for size, _ in found), min(size for _, size in found)
    return _largest_region(full)


def _largest_region(full: Intervals) -> tuple[int, int]:
    sizes = np.maximum(full.hi - full.lo + 1, 0)
    return int(sizes.max()), int(sizes.min())


def window_of(local: Intervals) -> Window | None:
    """The window of a free field: None where it does not move along exactly one axis in a repeating pattern."""
    moving = [axis for axis, tag in local.tags.items() if tag[1]]
    if len(moving) != 1:
        return None
    axis = moving[0]
    if isinstance(local, Lined):
        line = lines.hull(local)
        if isinstance(line, lines.Even):
            return Window(axis, (line.first,), (line.last,), line.shift)
        found: tuple[Window | None] = line.remembered("window", lambda own: (_window_along(own, 0),))
        return found[0] and Window(axis, found[0].lo, found[0].hi, found[0].shift)
    return _window_along(local, axis)


def pace_of(local: Intervals) -> Pace | None:
    """How the window of a free field moves, None without window."""
    if isinstance(local, Lined):
        found: tuple[Pace | None] = lines.hull(local).remembered("pace", lambda own: (_pace(window_of(local)),))
        return found[0]
    return _pace(window_of(local))


def _pace(window: Window | None) -> Pace | None:
    return None if window is None else (window.stride, window.offset)


def _window_along(local: Intervals, axis: int) -> Window | None:
    period, shift = local.tags[axis]
    others = tuple(k for k in range(local.rank) if k != axis)
    lo, hi = local.lo.min(axis=others)[:period], local.hi.max(axis=others)[:period]
    if len(lo) < period:  # one stored position stands for all of them
        return None
    period, shift = _least_period(lo, hi, shift)
    return Window(axis, tuple(map(int, lo[:period])), tuple(map(int, hi[:period])), shift)


def _least_period(lo: np.ndarray, hi: np.ndarray, shift: int) -> tuple[int, int]:
    full = len(lo)
    for period in range(1, full):
        if full % period or shift * period % full:
            continue
        part = shift * period // full
        if all(
            (row[period:] - row[:-period] == part).all() and row[:period][-1] - row[-1] + shift == part
            for row in (lo, hi)
        ):
            return period, part
    return full, shift


def span_of(local: Intervals, extent: int) -> int:
    """The largest local field of a layer without window; clipped to the source where its pattern is not known."""
    if isinstance(local, Lined) and local.across < 0:
        return local.line.remembered(("span", extent), partial(_span_of, extent))
    return _span_of(extent, local)


def _span_of(extent: int, local: Intervals) -> int:
    lo, hi = local.lo, local.hi
    if not all(axis in local.tags for axis, length in enumerate(lo.shape) if length > 1):
        lo, hi = np.maximum(lo, 0), np.minimum(hi, extent - 1)
    return int(np.maximum(hi - lo + 1, 0).max())


def bits(flags: int) -> Iterator[int]:
    """The node ids of a bit set, ascending."""
    while flags:
        low = flags & -flags
        yield low.bit_length() - 1
        flags ^= low


__all__ = [
    "Clash",
    "State",
    "Window",
    "bits",
    "covers",
    "largest_region",
    "span_of",
    "trace_axis",
    "trace_point",
    "window_of",
]
