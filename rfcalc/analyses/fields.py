"""Receptive fields on a layer graph: every op applies its read steps to interval arrays, one source axis at a time.

For each tensor two fields are carried side by side: *full*, the clipped regions with everything read, and *local*,
free of borders and without what comes in through a reduction over the whole axis (DESIGN section 3). Work grows with
the number of reads and the extents of the axes, not with paths or pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from rfcalc import reads
from rfcalc.analyses import intervals, joins
from rfcalc.analyses.intervals import Intervals
from rfcalc.analyses.joins import Parts, combined, merge
from rfcalc.graph import LayerGraph, Node, Read, Ref


@dataclass(frozen=True, slots=True)
class State:
    """What one tensor sees of one source axis, ``local`` () where that is nothing; the flags are sets of node ids."""

    full: Parts
    local: Parts
    context: int = 0
    inexact: int = 0
    misaligned: int = 0
    masked: int = 0


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
        return sum((Fraction(self.lo[u] + self.hi[u], 2) - self.stride * u for u in seen), Fraction(0)) / len(seen)


@dataclass(frozen=True, slots=True)
class Clash:
    """A join whose branches are not aligned: the window of each branch along one source axis."""

    node: int
    windows: tuple[tuple[Fraction, Fraction | None], ...]


def trace_axis(
    graph: LayerGraph, source: Ref, axis: int, keep: Collection[int] | None = None
) -> Iterator[tuple[Node, tuple[State | None, ...], Mapping[int, Clash]]]:
    """Each node after the source with the state of its outputs, in execution order.

    A state is None where the output sees nothing of the source at all. Tensors are forgotten once nothing reads them
    any more. ``keep`` restricts the walk to these nodes.
    """
    shape = graph[source.node].outputs[source.output].shape
    start = intervals.source(shape, axis)
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


#: What reaches an output: the state of one input and the steps by which it is read.
Found: TypeAlias = tuple[State, reads.Steps]


def _held(record: Node, read: Read, states: Mapping[int, tuple[State | None, ...]]) -> State | None:
    ref = record.inputs[read.input]
    held = states.get(ref.node)
    return held[ref.output] if held is not None else None


class _Walk:
    def __init__(
        self, graph: LayerGraph, source: Ref, start: State, extent: int, keep: Collection[int] | None
    ) -> None:
        self.graph = graph
        self.masks: Mapping[int, np.ndarray] = graph.masks
        self.source = source
        self.extent = extent
        self.start = start
        self.keep = keep
        self.clashes: dict[int, Clash] = {}
        self._seen: dict[tuple[int, int, bool], tuple[Intervals, reads.Step, Intervals]] = {}

    def run(self) -> Iterator[tuple[Node, tuple[State | None, ...], Mapping[int, Clash]]]:
        idents = [ident for ident in self.graph.records if self.keep is None or ident in self.keep]
        last_use: dict[int, int] = {}
        for ident in idents:
            for ref in self.graph[ident].inputs:
                last_use[ref.node] = ident
        states: dict[int, tuple[State | None, ...]] = {}
        ends: dict[int, list[int]] = {}
        for ident, last in last_use.items():
            ends.setdefault(last, []).append(ident)
        for ident in idents:
            record = self.graph[ident]
            made = tuple(self._output(record, number, states) for number in range(len(record.outputs)))
            if any(state is not None for state in made):
                states[ident] = made
            yield record, made, self.clashes
            for done in ends.get(ident, ()):
                states.pop(done, None)
            self._seen.clear()

    def _output(self, record: Node, number: int, states: Mapping[int, tuple[State | None, ...]]) -> State | None:
        if record.id == self.source.node and number == self.source.output:
            return self.start
        arrived: list[State] = []
        rows = record.reads[number] if number < len(record.reads) else ()
        shape = record.outputs[number].shape
        if 0 in shape:  # no element, so none that sees anything
            return None
        found = [(state, read.steps) for read in rows if (state := _held(record, read, states)) is not None]
        if len(found) > 1:
            together = self._concatenated(record, found, shape)
            if together is not None:
                return together
        for state, steps in found:
            arrived.append(self._through(record, state, steps, shape, alone=len(rows) == 1))
        arrived = [state for state in arrived if not all(intervals.is_nothing(part) for part in state.full)]
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
        full = self._merged((joins.concatenate([(state.full[0], place) for state, place in pairs], shape, axis),))
        own = [(state.local[0], place) for state, place in pairs if state.local]
        local = (joins.concatenate(own, shape, axis),) if own else ()
        return self._flagged(record, arrived, full, local)

    def _through(self, record: Node, state: State, steps: reads.Steps, shape: Sequence[int], alone: bool) -> State:
        full, local, context = state.full, state.local, state.context
        bit = 1 << record.id
        for step in steps:
            full = tuple(self._step(part, step, free=False) for part in full)
            kept = []
            for part in local:
                if alone and isinstance(step, reads.Place):
                    kept.append(intervals.place_alone(part, step))
                    continue
                after = self._step(part, step, free=True)
                if self._takes_whole_axis(part, step, full):
                    context |= bit
                else:
                    kept.append(after)
            local = tuple(kept)
        if full[0].rank != len(shape):
            raise AssertionError(f"rule of {record.op}: reads have rank {full[0].rank}, the output {len(shape)}")
        return State(
            self._merged(tuple(intervals.broadcast(part, shape) for part in full)),
            tuple(intervals.broadcast(part, shape) for part in local),
            context,
            state.inexact | (bit if record.inexact else 0),
            state.misaligned,
            state.masked | (bit if record.masked else 0),
        )

    def _step(self, held: Intervals, step: reads.Step, *, free: bool) -> Intervals:
        key = (id(held), id(step), free)
        found = self._seen.get(key)
        if found is None:
            found = (held, step, intervals.apply(held, step, self.masks, free=free))
            self._seen[key] = found
        return found[2]

    def _merged(self, parts: Parts) -> Parts:
        """The parts of a full field, merged; one in which every unit sees the whole axis will not change any more."""
        merged = merge(parts)
        for part in merged:
            if part.lo.flat[0] <= 0 and part.hi.flat[0] >= self.extent - 1 and covers(part, self.extent):
                return (intervals.everything(part.shape, self.extent),)
        return merged

    def _takes_whole_axis(self, before: Intervals, step: reads.Step, full: Parts) -> bool:
        """Whether the step reads all positions of a moving axis and leaves every unit with the whole source axis."""
        match step:
            case reads.Reduce(axes):
                gone = set(axes)
            case reads.Contract():
                gone = {before.rank - 2}
            case _:
                return False
        if not any(intervals.moves(before, axis, self.extent) for axis in gone):
            return False
        if any(intervals.moves(before, axis, self.extent) for axis in range(before.rank) if axis not in gone):
            return False
        return any(covers(part, self.extent) for part in full) or covers(combined(full), self.extent)

    def _joined(self, record: Node, arrived: list[State]) -> State:
        if len(arrived) == 1:
            return arrived[0]
        full = self._merged(tuple(part for state in arrived for part in state.full))
        return self._flagged(record, arrived, full, merge(tuple(part for state in arrived for part in state.local)))

    def _flagged(self, record: Node, arrived: Sequence[State], full: Parts, local: Parts) -> State:
        """The state with what is known of the branches it joins."""
        misaligned = 0 if self._aligned(record, arrived) else 1 << record.id
        flags = [0, 0, misaligned, 0]
        for state in arrived:
            for at, seen in enumerate((state.context, state.inexact, state.misaligned, state.masked)):
                flags[at] |= seen
        return State(full, local, *flags)

    def _aligned(self, record: Node, arrived: Sequence[State]) -> bool:
        """Whether all branches move alike; otherwise the clash is noted."""
        fields = [state.local[0] for state in arrived if len(state.local) == 1]
        if len(fields) < 2 or all(item.lo is fields[0].lo and item.hi is fields[0].hi for item in fields):
            return True
        windows = [window for item in fields if (window := window_of(item)) is not None]
        facts = tuple((window.stride, window.offset) for window in windows)
        if len(set(facts)) <= 1:
            return True
        self.clashes[record.id] = Clash(record.id, facts)
        return False


# --- what a state says ------------------------------------------------------------------------------------------------


def covers(full: Intervals, extent: int) -> bool:
    """Whether every unit sees the whole axis."""
    return bool((full.lo <= 0).all() and (full.hi >= extent - 1).all())


def largest_region(full: Intervals) -> tuple[int, int]:
    """Sizes of the largest and the smallest clipped region, as hulls over channels where a position has several."""
    sizes = np.maximum(full.hi - full.lo + 1, 0)
    return int(sizes.max()), int(sizes.min())


def window_of(local: Intervals) -> Window | None:
    """The window of a free field: None where it does not move along exactly one axis in a repeating pattern."""
    moving = [axis for axis, tag in local.tags.items() if tag[1]]
    if len(moving) != 1:
        return None
    axis = moving[0]
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
