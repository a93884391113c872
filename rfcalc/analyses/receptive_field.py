"""Receptive fields of layers as records: what each layer sees of a source, along the axes of that source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import ceil, floor
from typing import NamedTuple

import numpy as np

from rfcalc.analyses.field import keeping, lines, merging, walk
from rfcalc.analyses.field.states import Sight, State
from rfcalc.analyses.field.walk import Clash
from rfcalc.analyses.field.windows import Window, span_of, window_of
from rfcalc.analyses.results import Misalignment, Number, Reach, ReceptiveField, Region
from rfcalc.graph import LayerGraph, Node, Ref


@dataclass(frozen=True, slots=True)
class Source:
    """A tensor that fields are measured in, and its axes by name."""

    name: str
    ref: Ref
    axes: Mapping[str, int]


class AxisSummary(NamedTuple):
    """What the first output of one node sees along one source axis."""

    size: int
    size_min: int
    whole: bool
    window: Window | None
    varies: frozenset[int]  #: the tensor's axes along which the local field differs
    local: int
    samples: int | None  #: how many indices of the window are really read
    places: bool  #: whether units lie in different places
    context: int
    inexact: int
    misaligned: int
    masked: int


_NOWHERE: frozenset[int] = frozenset()
_UNSEEN = AxisSummary(0, 0, False, None, _NOWHERE, 0, None, False, 0, 0, 0, 0)


@dataclass(frozen=True)
class SourceFields:
    """The summaries of all nodes in one source, by axis name and node."""

    source: Source
    axes: Mapping[str, Mapping[int, AxisSummary]]
    clashes: Mapping[str, Mapping[int, Clash]]
    graph: LayerGraph

    def field(self, ident: int) -> ReceptiveField:
        """The receptive field of one node."""
        rows = [self.axes[name].get(ident, _UNSEEN) for name in self.source.axes]
        windows = separate_windows(rows)
        faces = [
            _face(*window[1:], extent) if window else _Face(row.size, row.size_min)
            for row, window, extent in zip(rows, windows, self._extents, strict=True)
        ]
        has_window = any(windows)
        context = inexact = misaligned = masked = 0
        for row in rows:
            masked |= row.masked
            context |= row.context
            inexact |= row.inexact
            misaligned |= row.misaligned
        return ReceptiveField(
            source=self.source.name,
            axes=self._names,
            status="upper_bound" if inexact else "exact",
            whole_input=bool(rows) and all(row.whole for row in rows),
            size=tuple([face.size for face in faces]),
            size_min=tuple([face.size_min for face in faces]),
            stride=tuple([face.stride for face in faces]) if has_window else None,
            start=tuple([face.start for face in faces]) if has_window else None,
            center=tuple([face.center for face in faces]) if has_window else None,
            samples=tuple([row.samples if window else None for row, window in zip(rows, windows, strict=True)])
            if has_window
            else None,
            local_size=tuple([row.local if row.context else face.size for row, face in zip(rows, faces, strict=True)]),
            period=tuple([face.period for face in faces]),
            context=tuple([record.name for record in self._flagged(context)]) if context else (),
            reasons=tuple([f"{one.name}: {one.inexact}" for one in self._flagged(inexact)]) if inexact else (),
            misaligned=self._misaligned(rows) if misaligned else (),
            masked=bool(masked & self._masking),
            leans=self._leans(masked),
            places=any(row.places for row in rows),
            reach=tuple([face.reach for face in faces]) if has_window else None,
        )

    def tensor_axes(self, ident: int) -> dict[str, int]:
        """The axes of the node's tensor along which its position in the source shows, by name.

        Those that move with a source axis carry its name. Where not all source axes have such a partner (tokens,
        windows), all axes along which units differ count.
        """
        rows = {name: self.axes[name].get(ident, _UNSEEN) for name in self.source.axes}
        moving = {name: row.window.axis for name, row in rows.items() if row.window is not None}
        if len(set(moving.values())) == len(rows):
            return moving
        differing = sorted({axis for row in rows.values() for axis in row.varies} | set(moving.values()))
        if len(rows) == len(differing) == 1:
            return dict(zip(rows, differing, strict=True))
        return {f"axis{axis}": axis for axis in differing}

    def varies(self, ident: int) -> frozenset[int]:
        """The axes of the node's tensor along which its local field differs from position to position."""
        rows = (self.axes[name].get(ident, _UNSEEN) for name in self.source.axes)
        return frozenset(axis for row in rows for axis in row.varies)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(self.source.axes)

    @cached_property
    def _extents(self) -> tuple[int, ...]:
        shape = self.graph[self.source.ref.node].outputs[self.source.ref.output].shape
        return tuple([shape[axis] for axis in self.source.axes.values()])

    @cached_property
    def _masking(self) -> int:
        """The nodes in which a mask decides what is read, as a bit set."""
        return sum([1 << record.id for record in self.graph if record.masked])

    @cached_property
    def _leaning(self) -> int:
        """The nodes in which numbers of a buffer do."""
        return sum([1 << record.id for record in self.graph if record.leans])

    def _leans(self, flags: int) -> tuple[str, ...]:
        """The buffers whose numbers decide in the nodes of a bit set."""
        found = self._flagged(flags & self._leaning)
        return tuple(dict.fromkeys([name for record in found for name in record.leans]))

    def _flagged(self, flags: int) -> list[Node]:
        """The nodes in a bit set, in execution order."""
        return [self.graph[ident] for ident in walk.bits(flags)]

    def _misaligned(self, rows: Sequence[AxisSummary]) -> tuple[Misalignment, ...]:
        return tuple(
            [
                self._misalignment(axis, ident)
                for axis, row in zip(self.source.axes, rows, strict=True)
                for ident in walk.bits(row.misaligned)
            ]
        )

    def _misalignment(self, axis: str, ident: int) -> Misalignment:
        """What is not aligned at a join: made once, for all layers that come after it."""
        found = self._joins.get((axis, ident))
        if found is None:
            windows = self.clashes[axis][ident].windows
            branches = tuple([(_number(stride), _number(offset)) for stride, offset in windows])
            found = self._joins[axis, ident] = Misalignment(self.graph[ident].name, axis, branches)  # type: ignore[arg-type]
        return found

    @cached_property
    def _joins(self) -> dict[tuple[str, int], Misalignment]:
        return {}


def analyse_source(
    graph: LayerGraph, source: Source, wanted: Callable[[Node], bool], keep: Collection[int] | None = None
) -> SourceFields:
    """The fields of the wanted nodes in one source; ``keep`` are the nodes to go through, all without."""
    return analyse_sources(graph, [source], wanted, keep)[0]


def analyse_sources(
    graph: LayerGraph,
    sources: Sequence[Source],
    wanted: Callable[[Node], bool],
    keep: Collection[int] | None = None,
) -> tuple[SourceFields, ...]:
    """The fields of the wanted nodes in each source.

    All axes are gone along at once, so that those of equal extent share their lines as long as these are needed.
    """
    every = [(source, name, axis) for source in sources for name, axis in source.axes.items()]
    made: list[dict[int, AxisSummary]] = [{} for _ in every]
    extents = [graph[source.ref.node].outputs[source.ref.output].shape[axis] for source, _, axis in every]
    places = list(zip(made, extents, strict=True))
    clashes: Sequence[Mapping[int, Clash]] = [{} for _ in every]
    along = [(source.ref, tuple(source.axes.values())) for source in sources]
    key, memory = keeping.taken(graph.masks)
    for record, rows, noted in walk.trace_sources(graph, along, keep, memory):
        clashes = noted
        if not rows or not wanted(record):
            continue
        for state, (found, extent) in zip(rows[0], places, strict=True):
            if state is not None:
                found[record.id] = summarise(state, extent)
    keeping.give_back(key, memory)
    return tuple(
        [
            SourceFields(
                source,
                {name: found for (of, name, _), found in zip(every, made, strict=True) if of is source},
                {name: found for (of, name, _), found in zip(every, clashes, strict=True) if of is source},
                graph,
            )
            for source in sources
        ]
    )


def summarise(state: State, extent: int) -> AxisSummary:
    """The facts of one state that reports need; worked out once for a state that is handed on."""
    if state.summary is None:
        state.summary = _summary(state, extent)
    found: AxisSummary = state.summary
    return found


def _summary(state: State, extent: int) -> AxisSummary:
    sight = state.sight
    found: AxisSummary | None = sight.facts.get("summary")
    if found is None:
        found = sight.facts["summary"] = _seen(sight, extent)
    return found._replace(
        window=None if state.context else found.window,
        context=state.context,
        inexact=state.inexact,
        misaligned=state.misaligned,
        masked=state.masked,
    )


def _seen(sight: Sight, extent: int) -> AxisSummary:
    """What a summary says of the fields."""
    full = lines.kinds(sight.full)
    size, size_min = full.sizes()
    local, window, varies = 0, None, _NOWHERE
    if sight.local:
        varies = frozenset([k for part in sight.local for k, length in enumerate(part.extents) if length > 1])
        if len(sight.local) == 1 or merging.moves(sight.local):
            window = window_of(merging.whole(sight.local))
        if window is not None:
            local = max(window.sizes)
        else:
            local = span_of(full if sight.local is sight.full else lines.kinds(sight.local), extent)
    places = any(part.shape[axis] > 1 for part in sight.local for axis in part.motions)
    pattern = lines.pattern_of(sight.local) if window else None
    samples = pattern.count if pattern else None
    return AxisSummary(size, size_min, full.covers(extent), window, varies, local, samples, places, 0, 0, 0, 0)


def regions(graph: LayerGraph, source: Source, ident: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The exact clipped regions of one node: for each source axis, arrays of the first and last index seen.

    The arrays have the rank of the node's output, extent 1 along axes that do not matter; first > last means nothing.
    """
    keep = graph.ancestors([ident]) | {ident}
    for record, rows, _ in walk.trace_axes(graph, source.ref, tuple(source.axes.values()), keep):
        if record.id == ident:
            return {name: _arrays(record, state) for name, state in zip(source.axes, rows[0], strict=True)}
    return {}


def _arrays(record: Node, state: State | None) -> tuple[np.ndarray, np.ndarray]:
    if state is None:
        shape = (1,) * len(record.shape)
        return np.full(shape, 1, dtype=np.int64), np.full(shape, 0, dtype=np.int64)
    full = merging.combined(state.full)
    nothing = full.lo > full.hi
    return np.where(nothing, 1, full.lo), np.where(nothing, 0, full.hi)


def affected(graph: LayerGraph, source: Source, at: Sequence[int]) -> dict[int, np.ndarray]:
    """For each node that one place of the source can change: which elements of its first output, broadcastable."""
    position = dict(zip(source.axes.values(), at, strict=True))
    found: dict[int, np.ndarray] = {}
    for record, states in walk.trace_point(graph, source.ref, position):
        if states and states[0] is not None:
            hit = merging.combined(states[0].full)
            found[record.id] = hit.lo <= hit.hi
    return found


def hull(hit: np.ndarray, axis: int, extent: int) -> Region:
    """First and last position along one axis that is marked anywhere; the mark may broadcast along it."""
    if not hit.any():
        return None
    if hit.shape[axis] == 1:
        return 0, extent - 1
    seen = np.flatnonzero(hit.any(axis=tuple(k for k in range(hit.ndim) if k != axis)))
    return int(seen[0]), int(seen[-1])


def unit_region(lo: np.ndarray, hi: np.ndarray, position: Mapping[int, int]) -> Region:
    """The region of one position (tensor axis to index), as the hull over all other axes."""
    for axis, at in position.items():
        index = 0 if lo.shape[axis] == 1 else at
        lo, hi = lo.take([index], axis), hi.take([index], axis)
    seen = lo <= hi
    if not seen.any():
        return None
    return int(lo[seen].min()), int(hi[seen].max())


def separate_windows(rows: Sequence[AxisSummary]) -> list[Window | None]:
    """The windows by source axis; two source axes that move with one tensor axis (tokens) have none."""
    return [row.window if row.window is not None and _is_alone(rows, row.window, row) else None for row in rows]


def _is_alone(rows: Sequence[AxisSummary], window: Window, own: AxisSummary) -> bool:
    """Whether along no other source axis anything is told apart along the axis of the window."""
    for row in rows:
        if row is not own and (window.axis in row.varies or (row.window and row.window.axis == window.axis)):
            return False
    return True


def _number(value: Fraction | None) -> Number | None:
    return int(value) if value is not None and value.denominator == 1 else value


class _Face(NamedTuple):
    """What a receptive field says along one axis."""

    size: int
    size_min: int
    stride: Number | None = None
    start: int | None = None
    center: Number | None = None
    period: int = 1
    reach: Reach | None = None


@lru_cache(maxsize=4096)
def _face(lo: tuple[int, ...], hi: tuple[int, ...], shift: int, sizes: tuple[int, ...], extent: int) -> _Face:
    """What a window over a source of that extent says; most often along two axes."""
    period = len(lo)
    stride: Number | None = shift if period == 1 else _number(Fraction(shift, period))
    if not sizes[0]:
        return _Face(max(sizes), min(sizes), stride, period=period)
    double = lo[0] + hi[0]
    center: Number = Fraction(double, 2) if double % 2 else double // 2
    if period == 1 and shift > 0:  # most layers
        return _Face(sizes[0], sizes[0], stride, lo[0], center, 1, (max(0, -lo[0]), max(0, hi[0] + 1 - shift)))
    reach = reach_of([(u, lo[u], hi[u]) for u in range(period) if sizes[u]], Fraction(shift, period), extent)
    return _Face(max(sizes), min(sizes), stride, lo[0], center, period, reach)


def reach_of(units: Sequence[tuple[int, int, int]], stride: Fraction, extent: int) -> Reach:
    """How many indices units (number, first, last) of one period see before and after their own places.

    Unit u of a layer with stride s has its place on the indices that [s*u, s*(u + 1)) touches; where the stride is
    negative, counted from the other end of a source of that extent.
    """
    if stride < 0:
        mirrored = [(u, extent - 1 - last, extent - 1 - first) for u, first, last in units]
        after, before = reach_of(mirrored, -stride, extent)
        return before, after
    before = max([floor(stride * u) - first for u, first, _ in units])
    after = max([last + 1 - ceil(stride * (u + 1)) for u, _, last in units])
    return max(0, before), max(0, after)
