"""Receptive fields on a layer graph: every op applies its read steps to interval arrays, along each source axis.

For each tensor two fields are carried side by side: *full*, the clipped regions with everything read, and *local*,
free of borders and without what comes in through a reduction over the whole axis (DESIGN section 3). Work grows with
the number of reads and the extents of the axes, not with paths or pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from operator import attrgetter
from typing import NamedTuple, TypeAlias

import numpy as np

from rfcalc import reads
from rfcalc.analyses import along, intervals, lines, travel
from rfcalc.analyses.intervals import Intervals
from rfcalc.analyses.joins import Parts, combined
from rfcalc.analyses.lines import Lined
from rfcalc.analyses.states import Sight, State, Turn, Turned, can_turn
from rfcalc.graph import LayerGraph, Node, Ref


class Window(NamedTuple):
    """The free field of a layer along one source axis, over one period of positions."""

    axis: int  #: the tensor's axis that moves with the source axis
    lo: tuple[int, ...]
    hi: tuple[int, ...]
    shift: int
    sizes: tuple[int, ...]

    @property
    def period(self) -> int:
        return len(self.lo)

    @property
    def stride(self) -> Fraction:
        return Fraction(self.shift, self.period)

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
Paces: TypeAlias = tuple[Pace, ...]


@dataclass(frozen=True, slots=True)
class Clash:
    """A join whose branches are not aligned: the window of each branch along one source axis."""

    node: int
    windows: Paces


#: What one output sees along each of several axes.
Row: TypeAlias = tuple[State | None, ...]
#: What reaches an output along one axis: the state of one input and the steps by which it is read.
Found: TypeAlias = tuple[State, reads.Steps]
#: Each node with the states of its outputs, and all clashes up to there.
Walk: TypeAlias = Iterator[tuple[Node, tuple[State | None, ...], Mapping[int, Clash]]]
#: The same along several axes.
Walks: TypeAlias = Iterator[tuple[Node, tuple[Row, ...], Sequence[Mapping[int, Clash]]]]


def trace_axis(graph: LayerGraph, source: Ref, axis: int, keep: Collection[int] | None = None) -> Walk:
    """Each node after the source with the state of its outputs, in execution order.

    A state is None where the output sees nothing of the source at all. Tensors are forgotten once nothing reads them
    any more. ``keep`` restricts the walk to these nodes.
    """
    for record, made, clashes in trace_axes(graph, source, (axis,), keep):
        yield record, tuple([row[0] for row in made]), clashes[0]


def trace_axes(graph: LayerGraph, source: Ref, axes: Sequence[int], keep: Collection[int] | None = None) -> Walks:
    """As `trace_axis`, along several axes of the source at once, which share what they work out."""
    shape = graph[source.node].outputs[source.output].shape
    extents = [shape[axis] for axis in axes]
    starts: dict[int, State] = {}
    row: list[State] = []
    for axis, extent in zip(axes, extents, strict=True):
        if extent in starts:
            row.append(Turned(starts[extent], (axes[extents.index(extent)], axis)))
        else:
            start = lines.lined(shape, axis, lines.source_line(extent))
            row.append(starts.setdefault(extent, State(Sight((start,), (start,)))))
    return _Walk(graph, source, row, extents, keep).run()


def trace_point(
    graph: LayerGraph, source: Ref, position: Mapping[int, int]
) -> Iterator[tuple[Node, tuple[State | None, ...]]]:
    """Each node with the states of its outputs, in which exactly the elements that one place can change see anything.

    ``position`` gives an index for each axis of the source that the place is fixed along.
    """
    start = intervals.point(graph[source.node].outputs[source.output].shape, position)
    for record, made, _ in _Walk(graph, source, [State(Sight((start,), ()))], [2], None).run():
        yield record, tuple([row[0] for row in made])


class _Walk:
    """All nodes in execution order, with what their outputs see along several axes of one source."""

    def __init__(
        self,
        graph: LayerGraph,
        source: Ref,
        starts: Sequence[State],
        extents: list[int],
        keep: Collection[int] | None,
    ) -> None:
        self.graph = graph
        self.source = source
        self.keep = keep
        self.start = [tuple(starts)]  # taken at the source, so that it is forgotten like all others
        self.nothing: Row = (None,) * len(starts)
        self.plans = along.Plans(graph.masks)
        self.axes = [_Axis(extent, self.plans) for extent in extents]
        self.leads = [extents.index(extent) for extent in extents]  # the first axis that may be seen alike

    def run(self) -> Walks:
        records = [record for record in self.graph if self.keep is None or record.id in self.keep]
        ends = _ends(records)
        rows: dict[int, tuple[Row, ...]] = {}
        clashes = [axis.clashes for axis in self.axes]
        for record in records:
            made = tuple([self._output(record, number, rows) for number in range(len(record.outputs))])
            if made.count(self.nothing) < len(made):
                rows[record.id] = made
            yield record, made, clashes
            for done in ends.get(record.id, ()):
                rows.pop(done, None)
            self.plans.forget()

    def _output(self, record: Node, number: int, rows: Mapping[int, tuple[Row, ...]]) -> Row:
        if record.id == self.source.node and number == self.source.output:
            return self.start.pop()
        told = record.reads[number] if number < len(record.reads) else ()
        held = []
        for read in told:
            ref = record.inputs[read.input]
            if ref.node in rows:
                held.append((rows[ref.node][ref.output], read.steps))
        shape = record.outputs[number].shape
        alone = len(told) == 1
        if not held or 0 in shape:  # without elements none sees anything
            return self.nothing
        if alone and not held[0][1] and not (record.inexact or record.masked):
            row = held[0][0]
            if _have_shape(row, shape):
                return row
        made: list[State | None] = []
        for at, (axis, lead) in enumerate(zip(self.axes, self.leads, strict=True)):
            like = self._turned(held, at, lead, made[lead], shape) if lead < at else None
            if like is not None:
                if record.id in self.axes[lead].clashes:
                    axis.clashes[record.id] = self.axes[lead].clashes[record.id]
                made.append(like)
                continue
            found = [(state, steps) for row, steps in held if (state := row[at]) is not None]
            made.append(axis.output(record, found, shape, alone) if found else None)
        return tuple(made) if any(made) else self.nothing

    def _turned(
        self,
        held: Sequence[tuple[Row, reads.Steps]],
        at: int,
        lead: int,
        like: State | None,
        shape: tuple[int, ...],
    ) -> State | None:
        """The state along one axis where it is that along the leading one, turned; None where it is not known to be."""
        turn: Turn | None = None
        for row, steps in held:
            own = row[at]
            if not isinstance(own, Turned) or own.like is not row[lead]:
                return None
            after = self.plans.turned(steps, own.shape, own.turn)
            if after is None or turn not in (None, after):
                return None
            turn = after
        if like is None or turn is None or shape[turn[0]] != shape[turn[1]] or not can_turn(like, turn):
            return None
        return Turned(like, turn)


def _have_shape(row: Row, shape: tuple[int, ...]) -> bool:
    """Whether all states are of a tensor of that shape: then an op that reads each element in place hands them on."""
    return {state.shape for state in row if state is not None} == {shape}


def _ends(records: Sequence[Node]) -> dict[int, list[int]]:
    """For each node the ones that nothing reads any more after it."""
    last_use = {ref.node: record.id for record in records for ref in record.inputs}
    ends: dict[int, list[int]] = {}
    for ident, last in last_use.items():
        ends.setdefault(last, []).append(ident)
    return ends


class _Axis:
    """How states become those of the next node, along one axis of the source."""

    def __init__(self, extent: int, plans: along.Plans) -> None:
        self.extent = extent
        self.plans = plans
        self.clashes: dict[int, Clash] = {}
        self.everything = lines.line_of(intervals.everything((1,), extent))

    def output(self, record: Node, found: Sequence[Found], shape: tuple[int, ...], alone: bool) -> State | None:
        """The state of an output of that shape; ``alone`` where it reads one tensor only."""
        if len(found) > 1:
            together = self._concatenated(record, found, shape)
            if together is not None:
                return together
        arrived: dict[State, None] = {}
        for state, steps in found:
            after = self._through(record, state, steps, shape, alone)
            if not after.sight.is_blind:
                arrived[after] = None
        if len(arrived) > 1:
            return self._joined(record, list(arrived))
        return next(iter(arrived), None)

    def _concatenated(self, record: Node, found: Sequence[Found], shape: tuple[int, ...]) -> State | None:
        """The state of a concatenation, put together once for all inputs; None where the reads are no such thing."""
        places = [steps[-1] for _, steps in found if steps and isinstance(steps[-1], reads.Place)]
        if len(places) < len(found) or any(item.axis != places[0].axis or item.step != 1 for item in places):
            return None
        axis = places[0].axis
        shapes = {size: (*shape[:axis], size, *shape[axis + 1 :]) for size in {place.size for place in places}}
        arrived = [
            self._through(record, state, self.plans.without_last(steps), shapes[place.size], False)
            for (state, steps), place in zip(found, places, strict=True)
        ]
        if any(len(state.full) > 1 or len(state.local) > 1 for state in arrived):
            return None
        pairs = list(zip(arrived, places, strict=True))
        full = self._merged((lines.concatenate([(state.full[0], place) for state, place in pairs], shape, axis),))
        own = [(state.local[0], place) for state, place in pairs if state.local]
        local = (lines.concatenate(own, shape, axis),) if own else ()
        return self._flagged(record, arrived, Sight(full, local), _clash([state.sight for state in arrived]))

    def _through(self, record: Node, state: State, steps: reads.Steps, shape: tuple[int, ...], alone: bool) -> State:
        """The state of one input after the steps by which it is read, as a part of an output of that shape."""
        if not (steps or record.inexact or record.masked) and state.shape == shape:
            return state
        bit, sight = 1 << record.id, state.sight
        made, mixes = self._remembered(record, sight, steps, shape, alone)
        context = state.context | bit if mixes else state.context
        inexact = state.inexact | bit if record.inexact else state.inexact
        masked = state.masked | bit if record.masked else state.masked
        if made is None and (context, inexact, masked) == (state.context, state.inexact, state.masked):
            return state
        return State(made or sight, context, inexact, state.misaligned, masked)

    def _remembered(
        self, record: Node, sight: Sight, steps: reads.Steps, shape: tuple[int, ...], alone: bool
    ) -> tuple[Sight | None, bool]:
        """As `_seen`, worked out once for steps that do the same."""
        key = (id(steps), shape, alone)
        known: tuple[Sight | None, bool] | None = sight.known.get(key)
        if known is None:
            cut = steps and type(steps[0]) is reads.Slice
            same = self.plans.same(sight.full + sight.local, steps) if cut else steps
            known = (self._seen if same is steps else self._remembered)(record, sight, same, shape, alone)
            if known[0] is None or known[0].is_short:
                sight.known[key] = known
        return known

    def _seen(
        self, record: Node, sight: Sight, steps: reads.Steps, shape: tuple[int, ...], alone: bool
    ) -> tuple[Sight | None, bool]:
        """What is seen after steps, None where that is the same, and whether they bring in the whole axis."""
        full, local, mixes = sight.full, sight.local, False
        settled = self.plans.stay(full, steps)
        for stretch in self.plans.stretches(steps):
            full = full if settled else self._stepped(full, stretch)
            if local and type(stretch[0]) in along.MIXING:
                left = tuple([part for part in local if not self._takes_whole_axis(part, stretch[0], full)])
                if len(left) < len(local):
                    local, mixes = left, True
            if local:
                local = self._stepped(local, stretch, free=True, alone=alone)
        if not settled and full[0].rank != len(shape):
            raise AssertionError(f"rule of {record.op}: reads have rank {full[0].rank}, the output {len(shape)}")
        wide = _broadcast(full, shape)
        local = wide if local == full else _broadcast(local, shape)
        return sight.after(self._merged(wide), local), mixes

    def _stepped(self, parts: Parts, steps: reads.Steps, free: bool = False, alone: bool = False) -> Parts:
        if len(parts) == 1:
            return (self.plans.after(parts[0], steps, free, alone),)
        return tuple([self.plans.after(part, steps, free, alone) for part in parts])

    def _merged(self, parts: Parts) -> Parts:
        """The parts of a full field, merged; one in which every unit sees the whole axis will not change any more."""
        merged = lines.merge(parts) if len(parts) > 1 else parts
        for part in merged:
            if isinstance(part, Lined) and part.runs[0][1] is self.everything:
                return (part,)
            if lines.covers(part, self.extent):
                return (lines.lined(part.shape, 0, self.everything),)
        return merged

    def _takes_whole_axis(self, before: Intervals, step: reads.Step, full: Parts) -> bool:
        """Whether the step reads all positions of a moving axis and leaves every unit with the whole source axis."""
        gone = step.axes if isinstance(step, reads.Reduce) else (before.rank - 2,)
        if not any(before.depends(axis) for axis in gone) or not self._cover(full):
            return False
        if any(moves(before, axis, self.extent) for axis in range(before.rank) if axis not in gone):
            return False
        return any(moves(before, axis, self.extent) for axis in gone)

    def _cover(self, full: Parts) -> bool:
        """Whether every unit sees the whole source axis in all parts together; most often the first unit does not."""
        if any(lines.covers(part, self.extent) for part in full):
            return True
        if len(full) == 1 or min([lines.start(part) for part in full]) > 0:
            return False
        return lines.covers(combined(full), self.extent)

    def _joined(self, record: Node, arrived: list[State]) -> State:
        sights = [state.sight for state in arrived]
        oldest = min(sights, key=_age)
        key = tuple([None if sight is oldest else sight for sight in sights])
        joined: tuple[Sight | int, Paces] | None = oldest.known.get(key)
        if joined is None:
            joined = self._union(sights)
            if isinstance(joined[0], int) or joined[0].is_short:
                oldest.known[key] = joined
        made, clash = joined
        return self._flagged(record, arrived, sights[made] if isinstance(made, int) else made, clash)

    def _union(self, sights: Sequence[Sight]) -> tuple[Sight | int, Paces]:
        """What is seen together, or the number of the oldest sight that has it all, and paces that differ."""
        every = lines.distinct(tuple([part for sight in sights for part in sight.full]))
        own = lines.distinct(tuple([part for sight in sights for part in sight.local]))
        merged, local = lines.merge_both(every, own)
        full = self._merged(merged)
        alike = [number for number, sight in enumerate(sights) if sight.is_as(full, local)]
        made = min(alike, key=lambda number: sights[number].age) if alike else Sight(full, local)
        return made, _clash(sights)

    def _flagged(self, record: Node, arrived: Sequence[State], sight: Sight, clash: Paces) -> State:
        """The state with what is known of the branches it joins."""
        context = inexact = misaligned = masked = 0
        for state in arrived:
            context |= state.context
            inexact |= state.inexact
            misaligned |= state.misaligned
            masked |= state.masked
        if clash:
            self.clashes[record.id] = Clash(record.id, clash)
            misaligned |= 1 << record.id
        return State(sight, context, inexact, misaligned, masked)


_age = attrgetter("age")


def _clash(sights: Sequence[Sight]) -> Paces:
    """The paces of branches that do not move alike; () where all do."""
    branches = [sight.local[0] for sight in sights if len(sight.local) == 1]
    if len(branches) < 2 or lines.are_in_step(branches) or len(lines.distinct(tuple(branches))) < 2:
        return ()
    paces = tuple([pace for item in branches if (pace := pace_of(item)) is not None])
    return paces if len(set(paces)) > 1 else ()


# --- what a state says ------------------------------------------------------------------------------------------------


def moves(local: Intervals, axis: int, extent: int) -> bool:
    """Whether the positions of an axis lie in different places: `travel.moves`."""
    if not isinstance(local, Lined):
        return travel.moves(local, axis, extent)
    if axis not in (local.axis, local.across):
        return False
    if local.across >= 0:
        return travel.moves(local.condensed(), axis, extent)
    return local.line.remembered(("moves", extent), lambda own: travel.moves(own, 0, extent))


def _broadcast(parts: Parts, shape: tuple[int, ...]) -> Parts:
    if not parts or (len(parts) == 1 and parts[0].shape == shape):
        return parts
    return tuple([along.broadcast(part, shape) for part in parts])


def window_of(local: Intervals) -> Window | None:
    """The window of a free field: None where it does not move along exactly one axis in a repeating pattern."""
    if isinstance(local, Lined):
        line = local.line if local.across < 0 else lines.hull(local)
        if line.tag is None or not line.tag[1]:
            return None
        found: tuple[Window | None] = line.remembered("window", _window_of_line)
        return found[0] and Window(local.axis, *found[0][1:])
    moving = [axis for axis, tag in local.tags.items() if tag[1]]
    return _window_along(local, moving[0]) if len(moving) == 1 else None


def _window_of_line(line: lines.Line) -> tuple[Window | None]:
    if isinstance(line, lines.Even):
        return (_window(0, (line.first,), (line.last,), line.shift),)
    return (_window_along(line, 0),)


def _window(axis: int, lo: tuple[int, ...], hi: tuple[int, ...], shift: int) -> Window:
    return Window(axis, lo, hi, shift, tuple([max(0, b - a + 1) for a, b in zip(lo, hi, strict=True)]))


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
    return _window(axis, tuple(map(int, lo[:period])), tuple(map(int, hi[:period])), shift)


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
    "span_of",
    "trace_axes",
    "trace_axis",
    "trace_point",
    "window_of",
]
