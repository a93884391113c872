"""Receptive fields on a layer graph: every op applies its read steps to interval arrays, along each source axis.

For each tensor two fields are carried side by side: *full*, the clipped regions with everything read, and *local*,
free of borders and without what comes in through a reduction over the whole axis (DESIGN section 3). Work grows with
the number of reads and the extents of the axes, not with paths or pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeAlias

from rfcalc import reads
from rfcalc.analyses.field import intervals, joins, lines, motion, stepping
from rfcalc.analyses.field.intervals import Intervals
from rfcalc.analyses.field.keeping import Kept, Memory, Settled
from rfcalc.analyses.field.lines import Lined
from rfcalc.analyses.field.merging import Parts, whole
from rfcalc.analyses.field.states import Sight, State
from rfcalc.analyses.field.windows import Pace, Paces, pace_of
from rfcalc.graph import LayerGraph, Node, Ref


@dataclass(frozen=True, slots=True)
class Clash:
    """A join whose branches are not aligned: the window of each branch along one source axis."""

    node: int
    windows: Paces


#: What one output sees along each of several axes.
Row: TypeAlias = tuple[State | None, ...]
#: What reaches an output along one axis: the state of one input and the steps by which it is read.
Found: TypeAlias = tuple[State, reads.Steps]
#: Each node with what its outputs see along several axes, and all clashes up to there.
Walks: TypeAlias = Iterator[tuple[Node, tuple[Row, ...], Sequence[Mapping[int, Clash]]]]


def trace_axes(graph: LayerGraph, source: Ref, axes: Sequence[int], keep: Collection[int] | None = None) -> Walks:
    """Each node with what its outputs see along axes of the source, and all clashes up to there, in execution order.

    A state is None where the output sees nothing of the source at all. Tensors are forgotten once nothing reads them
    any more. ``keep`` restricts the walk to these nodes. The axes share what they work out.
    """
    return trace_sources(graph, [(source, axes)], keep, Memory(graph.masks))


def trace_sources(
    graph: LayerGraph, sources: Sequence[tuple[Ref, Sequence[int]]], keep: Collection[int] | None, memory: Memory
) -> Walks:
    """As `trace_axes`, along axes of several sources, those of one after those of another, with what is kept."""
    extents: list[int] = []
    starts: dict[Ref, dict[int, State]] = {}
    for source, axes in sources:
        shape = graph[source.node].outputs[source.output].shape
        for axis in axes:
            starts.setdefault(source, {})[len(extents)] = State(memory.start(shape, axis))
            extents.append(shape[axis])
    return _Walk(graph, starts, extents, keep, memory).run()


def trace_point(
    graph: LayerGraph, source: Ref, position: Mapping[int, int]
) -> Iterator[tuple[Node, tuple[State | None, ...]]]:
    """Each node with the states of its outputs, in which exactly the elements that one place can change see anything.

    ``position`` gives an index for each axis of the source that the place is fixed along.
    """
    start = intervals.point(graph[source.node].outputs[source.output].shape, position)
    started = {source: {0: State(Sight((start,), ()))}}
    for record, made, _ in _Walk(graph, started, [2], None, Memory(graph.masks)).run():
        yield record, tuple([row[0] for row in made])


class _Walk:
    """All nodes in execution order, with what their outputs see along axes of one source or of several.

    ``starts`` are the states of the sources by the numbers of their axes.
    """

    def __init__(
        self,
        graph: LayerGraph,
        starts: dict[Ref, dict[int, State]],
        extents: list[int],
        keep: Collection[int] | None,
        memory: Memory,
    ) -> None:
        self.graph = graph
        self.keep = keep
        self.starts = starts  # taken at the sources, so that they are forgotten like all others
        self.nothing: Row = (None,) * len(extents)
        self.memory = memory
        self.plans = memory.plans
        self.axes = [_Axis(extent, self.plans, memory.settled(extent), memory.kept) for extent in extents]

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
            self.memory.let_go()

    def _output(self, record: Node, number: int, rows: Mapping[int, tuple[Row, ...]]) -> Row:
        started = self.starts.pop(Ref(record.id, number), None) if self.starts else None
        if started is not None:
            return tuple([started.get(at) for at in range(len(self.axes))])
        told = record.reads[number] if number < len(record.reads) else ()
        held = []
        for read in told:
            ref = record.inputs[read.input]
            if ref.node in rows:
                held.append((rows[ref.node][ref.output], read.steps, read.input in record.sure))
        shape = record.outputs[number].shape
        alone = len(told) == 1
        if not held or 0 in shape:  # without elements none sees anything
            return self.nothing
        if alone and not held[0][1] and not (record.inexact or record.decided):
            row = held[0][0]
            if _have_shape(row, shape):
                return row
        made: list[State | None] = []
        for at, axis in enumerate(self.axes):
            found = [(state, steps) for row, steps, _ in held if (state := row[at]) is not None]
            seen = axis.output(record, found, shape, alone) if found else None
            if seen is not None and record.sure and seen.inexact >> record.id & 1:
                parts = [(state, steps, is_sure) for row, steps, is_sure in held if (state := row[at]) is not None]
                seen = axis.settled(record, seen, parts, alone)
            made.append(seen)
        return tuple(made) if any(made) else self.nothing


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

    def __init__(self, extent: int, plans: stepping.Plans, alike: Settled, kept: Kept) -> None:
        self.extent = extent
        self.plans = plans
        self.kept = kept
        self.clashes: dict[int, Clash] = {}
        self.alike = alike

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
            return self._joined(record, list(arrived), branches=len({id(state) for state, _ in found}) > 1)
        return next(iter(arrived), None)

    def settled(self, record: Node, made: State, held: Sequence[tuple[State, reads.Steps, bool]], alone: bool) -> State:
        """The state of an output that picks by computed indices, of which ``held`` says what it reads in any case.

        It is exact where all that it could pick sees the same, and what is read in any case sees as much as all does.
        """
        sure = [(state, steps) for state, steps, is_sure in held if is_sure]
        if not sure or any(_differs(part, steps) for state, steps in sure for part in state.full + state.local):
            return made
        if len(sure) < len(held):
            after = [self._remembered(record, state.sight, steps, made.shape, alone)[0] for state, steps in sure]
            sights = [one or state.sight for one, (state, _) in zip(after, sure, strict=True)]
            union = self._union(sights)[0]
            if not (sights[union] if isinstance(union, int) else union).is_as(made.full, made.local):
                return made
        inexact = made.inexact & ~(1 << record.id)
        return State(made.sight, made.context, inexact, made.misaligned, made.masked)

    def _concatenated(self, record: Node, found: Sequence[Found], shape: tuple[int, ...]) -> State | None:
        """The state of a concatenation, put together once for all inputs; None where the reads are no such thing."""
        places = [steps[-1] for _, steps in found if steps and isinstance(steps[-1], reads.Place)]
        if len(places) < len(found) or any(item.axis != places[0].axis or item.step != 1 for item in places):
            return None
        axis = places[0].axis
        shapes = {size: (*shape[:axis], size, *shape[axis + 1 :]) for size in {place.size for place in places}}
        plain = not (record.inexact or record.decided)
        arrived = [
            state
            if plain and len(steps) == 1 and state.sight.full[0].shape == shapes[place.size]
            else self._through(record, state, self.plans.without_last(steps), shapes[place.size], False)
            for (state, steps), place in zip(found, places, strict=True)
        ]
        if any(len(state.sight.full) > 1 or len(state.sight.local) > 1 for state in arrived):
            return None
        pairs = list(zip(arrived, places, strict=True))
        full = self._merged((joins.concatenate([(state.full[0], place) for state, place in pairs], shape, axis),))
        own = [(state.local[0], place) for state, place in pairs if state.local]
        local = (joins.concatenate(own, shape, axis),) if own else ()
        sight = self.alike.one(Sight(full, local))
        return self._flagged(record, arrived, sight, _clash([state.sight for state in arrived]))

    def _through(self, record: Node, state: State, steps: reads.Steps, shape: tuple[int, ...], alone: bool) -> State:
        """The state of one input after the steps by which it is read, as a part of an output of that shape."""
        if not (steps or record.inexact or record.decided) and state.shape == shape:
            return state
        bit, sight = 1 << record.id, state.sight
        made, mixes = self._remembered(record, sight, steps, shape, alone)
        context = state.context | bit if mixes else state.context
        inexact = state.inexact | bit if record.inexact else state.inexact
        masked = state.masked | bit if record.decided else state.masked
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
            self.plans.held[id(steps)] = steps
            same = self.plans.same(sight.full + sight.local, steps)
            if same is steps:
                known = self._seen(record, sight, steps, shape, alone)
                self.kept.keep(sight, key, known, known[0])
            else:
                known = self._remembered(record, sight, same, shape, alone)
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
            if local and type(stretch[0]) in stepping.MIXING:
                left = tuple([part for part in local if not self._takes_whole_axis(part, stretch[0], full)])
                if len(left) < len(local):
                    local, mixes = left, True
            if local:
                local = self._stepped(local, stretch, free=True, alone=alone)
        if not settled and full[0].rank != len(shape):
            raise AssertionError(f"rule of {record.op}: reads have rank {full[0].rank}, the output {len(shape)}")
        wide = _broadcast(full, shape)
        local = wide if local == full else _broadcast(local, shape)
        made = sight.after(self._merged(wide), local)
        return made and self.alike.one(made), mixes

    def _stepped(self, parts: Parts, steps: reads.Steps, free: bool = False, alone: bool = False) -> Parts:
        if len(parts) == 1:
            return (self.plans.after(parts[0], steps, free, alone),)
        return tuple([self.plans.after(part, steps, free, alone) for part in parts])

    def _merged(self, parts: Parts) -> Parts:
        """The parts of a full field, merged; one in which every unit sees the whole axis will not change any more."""
        merged = joins.merge(parts) if len(parts) > 1 else parts
        for part in merged:
            if isinstance(part, Lined) and part.runs[0][1] is self.alike.everything:
                return (part,)
            if part.covers(self.extent):
                return (lines.lined(part.shape, 0, self.alike.everything),)
        return merged

    def _takes_whole_axis(self, before: Intervals, step: reads.Step, full: Parts) -> bool:
        """Whether the step reads all positions of a moving axis and leaves every unit with the whole source axis."""
        gone = step.axes if isinstance(step, reads.Reduce) else (before.rank - 2,)
        moving = {axis: moved for axis, moved in before.motions.items() if before.shape[axis] > 1}
        taken = [moved for axis, moved in moving.items() if axis in gone]
        left = [moved for axis, moved in moving.items() if axis not in gone]
        return bool(taken) and all(motion.is_within(own, taken) for own in left) and self._cover(full)

    def _cover(self, full: Parts) -> bool:
        """Whether every unit sees the whole source axis in all parts together; most often the first unit does not."""
        if any(part.covers(self.extent) for part in full):
            return True
        if len(full) == 1 or min([part.start() for part in full]) > 0:
            return False
        return whole(full).covers(self.extent)

    def _joined(self, record: Node, arrived: list[State], branches: bool) -> State:
        """What is seen by several ways; those that begin at one tensor are no branches that could be out of line."""
        sights = [state.sight for state in arrived]
        oldest = min(sights, key=_age)
        key = tuple([None if sight is oldest else sight for sight in sights])
        joined: tuple[Sight | int, Paces] | None = oldest.known.get(key)
        if joined is None:
            joined = self._union(sights)
            self.kept.keep(oldest, key, joined, None if isinstance(joined[0], int) else joined[0])
        made, clash = joined[0], joined[1] if branches else ()
        return self._flagged(record, arrived, sights[made] if isinstance(made, int) else made, clash)

    def _union(self, sights: Sequence[Sight]) -> tuple[Sight | int, Paces]:
        """What is seen together, or the number of the oldest sight that has it all, and paces that differ."""
        every = lines.distinct(tuple([part for sight in sights for part in sight.full]))
        own = lines.distinct(tuple([part for sight in sights for part in sight.local]))
        merged, local = joins.merge_both(every, own)
        full = self._merged(merged)
        alike = [number for number, sight in enumerate(sights) if sight.is_as(full, local)]
        made = min(alike, key=lambda number: sights[number].age) if alike else self.alike.one(Sight(full, local))
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


def _differs(part: Intervals, steps: reads.Steps) -> bool:
    """Whether elements among which the steps pick may see different things."""
    moved = False
    for step in steps:
        if isinstance(step, reads.Reduce):
            if moved or any(part.depends(axis) for axis in step.axes):
                return True
        else:
            moved |= not isinstance(step, reads.Slice | reads.Pad)
    return False


def _clash(sights: Sequence[Sight]) -> Paces:
    """The paces of branches that do not move alike along one axis; () where all do."""
    branches = [sight.local[0] for sight in sights if len(sight.local) == 1]
    if len(branches) < 2 or lines.are_in_step(branches) or len(lines.distinct(tuple(branches))) < 2:
        return ()
    by_axis: dict[int, list[Pace]] = {}
    for found in [pace_of(item) for item in branches]:
        if found is not None:
            by_axis.setdefault(found[0], []).append(found[1])
    return next((tuple(paces) for paces in by_axis.values() if len(set(paces)) > 1), ())


def _broadcast(parts: Parts, shape: tuple[int, ...]) -> Parts:
    if not parts or (len(parts) == 1 and parts[0].shape == shape):
        return parts
    return tuple([stepping.broadcast(part, shape) for part in parts])


def bits(flags: int) -> Iterator[int]:
    """The node ids of a bit set, ascending."""
    while flags:
        low = flags & -flags
        yield low.bit_length() - 1
        flags ^= low
