"""Receptive fields of layers as records: what each layer sees of a source, along the axes of that source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from operator import or_

import numpy as np

from rfcalc.analyses import fields, joins, lines
from rfcalc.analyses.fields import Clash, State, Window
from rfcalc.analyses.results import Misalignment, Number, ReceptiveField, Region
from rfcalc.analyses.samples import sample_counts, single
from rfcalc.graph import LayerGraph, Node, Ref


@dataclass(frozen=True, slots=True)
class Source:
    """A tensor that fields are measured in, and its axes by name."""

    name: str
    ref: Ref
    axes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AxisSummary:
    """What the first output of one node sees along one source axis."""

    size: int
    size_min: int
    whole: bool
    window: Window | None
    varies: frozenset[int]  #: the tensor's axes along which the local field differs
    local: int
    context: int
    inexact: int
    misaligned: int
    masked: int


_UNSEEN = AxisSummary(0, 0, False, None, frozenset(), 0, 0, 0, 0, 0)


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
        pairs = list(zip(rows, windows, strict=True))
        sizes = [w.sizes if w else (row.size, row.size_min) for row, w in pairs]
        has_window = any(windows)
        return ReceptiveField(
            source=self.source.name,
            axes=tuple(self.source.axes),
            status="upper_bound" if any(row.inexact for row in rows) else "exact",
            whole_input=bool(rows) and all(row.whole for row in rows),
            size=tuple([max(both) for both in sizes]),
            size_min=tuple([min(both) for both in sizes]),
            stride=tuple([_stride(w) for w in windows]) if has_window else None,
            start=tuple([_start(w) for w in windows]) if has_window else None,
            center=tuple([_center(w) for w in windows]) if has_window else None,
            samples=self._samples(ident, windows),
            local_size=tuple([row.local for row in rows]),
            period=tuple([w.period if w else 1 for w in windows]),
            context=tuple([record.name for record in self._flagged([row.context for row in rows])]),
            reasons=tuple([f"{one.name}: {one.inexact}" for one in self._flagged([row.inexact for row in rows])]),
            misaligned=self._misaligned(rows) if any(row.misaligned for row in rows) else (),
            masked=any(row.masked for row in rows),
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

    def _samples(self, ident: int, windows: Sequence[Window | None]) -> tuple[int | None, ...] | None:
        if not any(windows):
            return None
        pairs = zip(self.source.axes, windows, strict=True)
        return tuple([self._counts[name].get(ident) if window else None for name, window in pairs])

    @cached_property
    def _counts(self) -> dict[str, dict[int, int]]:
        start, ref = single(), self.source.ref
        return {name: sample_counts(self.graph, ref, axis, start) for name, axis in self.source.axes.items()}

    def _flagged(self, flags: Iterable[int]) -> list[Node]:
        """The nodes in any of the bit sets, in execution order."""
        return [self.graph[ident] for ident in fields.bits(reduce(or_, flags, 0))]

    def _misaligned(self, rows: Sequence[AxisSummary]) -> tuple[Misalignment, ...]:
        found = []
        for axis, row in zip(self.source.axes, rows, strict=True):
            for ident in fields.bits(row.misaligned):
                clash = self.clashes[axis][ident]
                branches = tuple((_number(stride), _number(offset)) for stride, offset in clash.windows)
                found.append(Misalignment(self.graph[ident].name, axis, branches))  # type: ignore[arg-type]
        return tuple(found)


def analyse_source(
    graph: LayerGraph, source: Source, wanted: Callable[[Node], bool], keep: Collection[int] | None = None
) -> SourceFields:
    """The fields of the wanted nodes in one source; ``keep`` are the nodes to go through, all without.

    All axes are gone along at once, so that those of equal extent share their lines as long as these are needed.
    """
    shape = graph[source.ref.node].outputs[source.ref.output].shape
    axes: dict[str, dict[int, AxisSummary]] = {name: {} for name in source.axes}
    clashes: dict[str, Mapping[int, Clash]] = {name: {} for name in source.axes}
    for step in zip(*_walks(graph, source, keep), strict=True):
        for (name, axis), (record, states, clashed) in zip(source.axes.items(), step, strict=True):
            clashes[name] = clashed
            if states and states[0] is not None and wanted(record):
                axes[name][record.id] = summarise(states[0], shape[axis])
    return SourceFields(source, axes, clashes, graph)


def _walks(graph: LayerGraph, source: Source, keep: Collection[int] | None) -> list[fields.Walk]:
    shape = graph[source.ref.node].outputs[source.ref.output].shape
    starts = {shape[axis]: lines.source_line(shape[axis]) for axis in source.axes.values()}
    return [fields.trace_axis(graph, source.ref, axis, keep, starts[shape[axis]]) for axis in source.axes.values()]


def summarise(state: State, extent: int) -> AxisSummary:
    """The facts of one state that reports need; worked out once for a state that is handed on."""
    if state.summary is None:
        state.summary = _summary(state, extent)
    found: AxisSummary = state.summary
    return found


def _summary(state: State, extent: int) -> AxisSummary:
    full = lines.kinds(state.full)
    size, size_min = fields.largest_region(full)
    local, window = 0, None
    varies: frozenset[int] = frozenset()
    if state.local:
        varies = frozenset(axis for part in state.local for axis, length in enumerate(part.extents) if length > 1)
        window = fields.window_of(joins.combined(state.local)) if joins.moves(state.local) else None
        local = max(window.sizes) if window is not None else fields.span_of(lines.kinds(state.local), extent)
    return AxisSummary(
        size,
        size_min,
        fields.covers(full, extent),
        None if state.context else window,
        varies,
        local,
        state.context,
        state.inexact,
        state.misaligned,
        state.masked,
    )


def regions(graph: LayerGraph, source: Source, ident: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The exact clipped regions of one node: for each source axis, arrays of the first and last index seen.

    The arrays have the rank of the node's output, extent 1 along axes that do not matter; first > last means nothing.
    """
    keep = graph.ancestors([ident]) | {ident}
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, axis in source.axes.items():
        for record, states, _ in fields.trace_axis(graph, source.ref, axis, keep):
            if record.id == ident:
                found[name] = _arrays(record, states[0])
    return found


def _arrays(record: Node, state: State | None) -> tuple[np.ndarray, np.ndarray]:
    if state is None:
        shape = (1,) * len(record.shape)
        return np.full(shape, 1, dtype=np.int64), np.full(shape, 0, dtype=np.int64)
    full = joins.combined(state.full)
    nothing = full.lo > full.hi
    return np.where(nothing, 1, full.lo), np.where(nothing, 0, full.hi)


def affected(graph: LayerGraph, source: Source, at: Sequence[int]) -> dict[int, np.ndarray]:
    """For each node that one place of the source can change: which elements of its first output, broadcastable."""
    position = dict(zip(source.axes.values(), at, strict=True))
    found: dict[int, np.ndarray] = {}
    for record, states in fields.trace_point(graph, source.ref, position):
        if states and states[0] is not None:
            hit = joins.combined(states[0].full)
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


def _stride(window: Window | None) -> Number | None:
    if window is None:
        return None
    return window.shift if window.period == 1 else _number(window.stride)


def _start(window: Window | None) -> int | None:
    return window.lo[0] if window is not None and window.sizes[0] else None


def _center(window: Window | None) -> Number | None:
    if window is None or not window.sizes[0]:
        return None
    double = window.lo[0] + window.hi[0]
    return Fraction(double, 2) if double % 2 else double // 2
