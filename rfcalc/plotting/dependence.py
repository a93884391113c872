"""The dependence of an output on time, as plain data: which positions of the source each unit reads."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.views import views
from rfcalc.errors import UsageError
from rfcalc.graph import Ref
from rfcalc.streaming.measure import checked, timeline
from rfcalc.streaming.places import Place, along, own, place_of

MOST_UNITS = 1200  #: that a drawing tells apart


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit: the first and last position that it reads (first > last: none), and those of its own hop."""

    number: int
    first: int
    last: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Dependence:
    """The units of one layer along one axis of an input of ``extent`` positions, in order; some of very many."""

    model: str
    layer: str
    source: str
    axis: str
    extent: int
    count: int
    units: tuple[Unit, ...]

    @property
    def causal(self) -> bool:
        """Whether no unit drawn reads beyond its own hop."""
        return all(unit.last <= unit.end for unit in self.units)


def dependence(
    analysis: Analysis,
    layer: str | int | None = None,
    axis: str | None = None,
    source: str | None = None,
    align: str = "start",
) -> Dependence:
    """What each unit of a layer, by default of the first output, reads along time.

    ``axis``, ``source`` and ``align`` are as for `rfcalc.stream`. Raises `UsageError` for a layer that is not one, and
    for one whose units follow no order in time.
    """
    graph = analysis.layer_graph
    line = timeline(graph, axis, source)
    ref = graph.outputs[0]
    if layer is not None:
        ref = Ref(analysis.select(layer)[-1].face)
    name = graph[ref.node].name if layer is None else analysis.select(layer)[-1].name
    keep = graph.ancestors([ref.node]) | {ref.node}
    for record, seen in views(graph, Ref(line.source.node), line.axis, keep):
        view = seen[ref.output] if record.id == ref.node else None
        place = None if view is None else place_of(view, line.extent, checked(align))
        if view is None or place is None or place.axis is None or place.hop is None:
            continue
        first, last = along(view, place.axis)
        count = record.outputs[ref.output].shape[place.axis]
        if len(first) < count:
            first, last = first.repeat(count), last.repeat(count)
        chosen = sorted(
            {at * (count - 1) // max(1, min(count, MOST_UNITS) - 1) for at in range(min(count, MOST_UNITS))}
        )
        units = [Unit(at, int(first[at]), int(last[at]), *_own(at, place)) for at in chosen]
        return Dependence(graph.model, name, line.source.name, line.label, line.extent, count, tuple(units))
    raise UsageError(
        f"the units of {name} follow no order in time along {line.name} of {line.source.name}: name another layer"
    )


def _own(unit: int, place: Place) -> tuple[int, int]:
    """First and last position of a unit's own hop."""
    begin, end = own(np.array(unit), place.hop or Fraction(1), place.offset)
    return int(begin), int(end)
