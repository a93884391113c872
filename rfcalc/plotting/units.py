"""What single units of a layer read of a source: the span along each axis, cut at the borders, the indices in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.field import lines, merging, walk
from rfcalc.analyses.field.samples import Pattern
from rfcalc.analyses.field.states import State
from rfcalc.analyses.field.windows import Window
from rfcalc.analyses.receptive_field import Source, separate_windows, summarise, unit_region
from rfcalc.analyses.results import Layer, Region


@dataclass(frozen=True, slots=True)
class Span:
    """What one unit reads along one axis of a source, as indices of that axis, first and last included.

    ``region`` is cut at the borders, None where nothing is seen. ``window`` is not cut, and leaves out what comes in
    through the whole axis; None where no window slides. ``indices`` are those of the window that are really read,
    also outside the source, where padding is; None where they are not known.
    """

    axis: str
    extent: int
    region: Region
    window: Region
    indices: tuple[int, ...] | None

    @property
    def is_cut(self) -> bool:
        """Whether the window reaches beyond a border, or less than what is seen."""
        return self.window is not None and self.window != self.region

    @property
    def hull(self) -> Region:
        """The window, or the region where there is none."""
        return self.region if self.window is None else self.window

    @property
    def middle(self) -> Fraction:
        """The middle of the window, or of what is seen; of the source where that is nothing."""
        first, last = self.hull or (0, self.extent - 1)
        return Fraction(first + last, 2)


@dataclass(frozen=True, slots=True)
class _Axis:
    name: str
    extent: int
    lo: np.ndarray
    hi: np.ndarray
    window: Window | None
    pattern: Pattern | None

    def span(self, place: dict[int, int]) -> Span:
        """What the unit at a place, tensor axis to index, reads."""
        window = None
        if self.window is not None:
            turns, phase = divmod(place[self.window.axis], self.window.period)
            base = turns * self.window.shift
            if self.window.sizes[phase]:
                window = self.window.lo[phase] + base, self.window.hi[phase] + base
        return Span(self.name, self.extent, unit_region(self.lo, self.hi, place), window, self._indices(place))

    def _indices(self, place: dict[int, int]) -> tuple[int, ...] | None:
        if self.window is None or self.pattern is None:
            return None
        return self.pattern.indices(place[self.window.axis])


@dataclass(frozen=True)
class Reach:
    """What the units of one layer read of one source. A position has one number for each of ``places``."""

    layer: Layer
    source: Source
    places: tuple[int, ...]  #: axes of the layer's output
    axes: tuple[_Axis, ...]

    def at(self, position: Sequence[int]) -> tuple[Span, ...]:
        """The spans of one unit, one for each axis of the source."""
        place = dict(zip(self.places, position, strict=True))
        return tuple(axis.span(place) for axis in self.axes)

    @cached_property
    def extents(self) -> tuple[int, ...]:
        """How many positions there are along each of ``places``."""
        return tuple(self.layer.output_shape[axis] for axis in self.places)

    @property
    def middle(self) -> tuple[int, ...]:
        """The position in the middle of the layer's output."""
        return tuple(extent // 2 for extent in self.extents)

    def nearest(self, spans: Sequence[Span]) -> tuple[int, ...]:
        """The position whose field lies nearest to the middle of the given spans."""
        found = dict(zip(self.places, self.middle, strict=True))
        for axis, span in zip(self.axes, spans, strict=True):
            if axis.window is not None and axis.window.offset is not None and axis.window.stride:
                place = round((span.middle - axis.window.offset) / axis.window.stride)
                found[axis.window.axis] = min(max(place, 0), self.layer.output_shape[axis.window.axis] - 1)
        return tuple(found.values())

    def neighbours(self, number: int, position: Sequence[int]) -> list[tuple[int, Span]]:
        """Along one axis of the source the units of one period from a position on, with their spans; [] without phases.

        A unit is given by its place along the layer's axis that moves with that of the source.
        """
        window = self.axes[number].window
        if window is None or window.period == 1:
            return []
        where = self.places.index(window.axis)
        first = min(position[where], max(0, self.extents[where] - window.period))
        found = []
        for place in range(first, min(first + window.period, self.extents[where])):
            moved = (*position[:where], place, *position[where + 1 :])
            found.append((place, self.at(moved)[number]))
        return found


def reach(analysis: Analysis, layer: Layer, source: Source) -> Reach:
    """What the units of a layer read of one of the analysis's sources."""
    graph, ident = analysis.layer_graph, layer.face
    keep = graph.ancestors([ident]) | {ident}
    shape = graph[source.ref.node].outputs[source.ref.output].shape
    traced = walk.trace_axes(graph, source.ref, tuple(source.axes.values()), keep)
    row = next((rows[0] for record, rows, _ in traced if record.id == ident and rows), [None] * len(source.axes))
    states = dict(zip(source.axes, row, strict=True))
    places = analysis.position_axes(layer, source.name)
    windows = _windows(list(states.values()), [shape[axis] for axis in source.axes.values()])
    axes = []
    for (name, axis), window in zip(source.axes.items(), windows, strict=True):
        lo, hi = _regions(states[name], len(layer.output_shape))
        own = window if window is not None and window.axis in places else None
        state = states[name]
        pattern = None if own is None or state is None else lines.pattern_of(state.local)
        axes.append(_Axis(name, shape[axis], lo, hi, own, pattern))
    return Reach(layer, source, places, tuple(axes))


def _windows(states: Sequence[State | None], extents: Sequence[int]) -> list[Window | None]:
    """The window along each axis, free of what comes in through whole axes."""
    rows = []
    for state, extent in zip(states, extents, strict=True):
        if state is None:
            return [None] * len(extents)
        rows.append(summarise(State(state.sight), extent))
    return separate_windows(rows)


def _regions(state: State | None, rank: int) -> tuple[np.ndarray, np.ndarray]:
    if state is None:
        return np.ones((1,) * rank, dtype=np.int64), np.zeros((1,) * rank, dtype=np.int64)
    full = merging.combined(state.full)
    return full.lo, full.hi
