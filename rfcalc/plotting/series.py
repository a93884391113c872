"""What charts of numbers show, as plain data: fields against depth, costs along the layers, models as bubbles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.results import Layer, ReceptiveField
from rfcalc.analyses.summary import depths, summary
from rfcalc.errors import UsageError
from rfcalc.report import text

MOST_SERIES = 8  #: as many as there are colours


@dataclass(frozen=True, slots=True)
class Point:
    """A layer: how many weight layers lie before its output, and its field along one axis.

    ``whole`` says that its units see the whole axis wherever they are; ``size`` is then the axis's extent. ``bound``
    says that the size is an upper bound.
    """

    depth: int
    size: int
    layer: str
    whole: bool = False
    bound: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """The layers of one model along one axis, or several with the same fields; ``extent`` is that of the input."""

    label: str
    extent: int
    points: tuple[Point, ...]

    @property
    def outline(self) -> tuple[tuple[int, int], ...]:
        """For each depth the largest field of a sliding window."""
        largest: dict[int, int] = {}
        for point in self.points:
            if not point.whole:
                largest[point.depth] = max(point.size, largest.get(point.depth, 0))
        return tuple(sorted(largest.items()))


@dataclass(frozen=True, slots=True)
class Cost:
    """What one numbered layer costs; ``macs`` is None where an op of it has no rule. The sums are those so far."""

    index: int
    layer: str
    params: int
    macs: int | None
    params_sum: int
    macs_sum: int


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs along a model; ``macs`` is a lower bound where not all of them are known."""

    model: str
    layers: tuple[Cost, ...]
    params: int
    macs: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Bubble:
    """One model: its costs, and the largest side of the field of its last spatial layer as ``size`` (0 if none)."""

    model: str
    params: int
    macs: int
    size: int
    field: str
    complete: bool


def growth_series(analyses: Sequence[Analysis]) -> tuple[Series, ...]:
    """The fields of each model against depth, by source and axis; axes with the same fields share a series.

    Raises `UsageError` for more series than can be told apart, and where no model has an axis.
    """
    found = [series for analysis in analyses for series in _series(analysis)]
    if not found:
        raise UsageError(f"nothing to draw: no input of {_models(analyses)} has an axis to measure fields along")
    if len(found) > MOST_SERIES:
        raise UsageError(
            f"{len(found)} lines cannot be told apart: name models with {MOST_SERIES} inputs and axes at most"
        )
    return tuple(found)


def _series(analysis: Analysis) -> list[Series]:
    graph = analysis.layer_graph
    deep = depths(graph)
    found = []
    for source in analysis.sources:
        shape = graph[source.ref.node].outputs[source.ref.output].shape
        by_points: dict[tuple[int, tuple[Point, ...]], list[str]] = {}
        for number, (axis, place) in enumerate(source.axes.items()):
            points = _points(analysis, source.name, number, deep, shape[place])
            if points:
                by_points.setdefault((shape[place], points), []).append(axis)
        for (extent, points), axes in by_points.items():
            parts = [text.titled(analysis.model)]
            parts += [text.clean(source.name)] if len(analysis.sources) > 1 else []
            parts += [",".join(axes)] if len(by_points) > 1 else []
            found.append(Series(" ".join(parts), extent, points))
    return found


def _points(analysis: Analysis, source: str, number: int, deep: dict[int, int], extent: int) -> tuple[Point, ...]:
    points = []
    for layer in analysis.layers:
        field = layer.receptive_fields[source]
        if field.size[number]:
            size, whole = _size(field, number, extent)
            points.append(Point(deep[layer.face], size, text.clean(layer.name), whole, field.status != "exact"))
    return tuple(points)


def _size(field: ReceptiveField, number: int, extent: int) -> tuple[int, bool]:
    """The size of the window, and of what is seen where there is none; whether that is the whole axis."""
    window = field.stride is not None and field.stride[number] is not None
    return field.size[number], not window and field.size_min[number] >= extent


def cost_series(analysis: Analysis) -> Costs:
    """Parameters and multiply-adds of each numbered layer, what folds into it included, and their sums so far."""
    layers = [layer for layer in analysis.layers if layer.index is not None]
    params = accumulate(layer.params for layer in layers)
    macs = accumulate(layer.macs or 0 for layer in layers)
    rows = tuple(
        Cost(layer.index or 0, text.clean(layer.name), layer.params, layer.macs, params_sum, macs_sum)
        for layer, params_sum, macs_sum in zip(layers, params, macs, strict=True)
    )
    totals = analysis.totals
    return Costs(text.titled(analysis.model), rows, totals.params, totals.macs, totals.status == "complete")


def bubbles(analyses: Sequence[Analysis], names: Sequence[str] = ()) -> tuple[Bubble, ...]:
    """Each model's costs and field, under its name."""
    called = names or [analysis.model for analysis in analyses]
    return tuple(_bubble(analysis, name) for analysis, name in zip(analyses, called, strict=True))


def _bubble(analysis: Analysis, name: str) -> Bubble:
    found = summary(analysis)
    field = _only(found.spatial)
    sides = () if field is None else (field.local_size or ()) if text.has_local(field) else field.size
    words = "no window" if field is None else text.size(field)
    model = text.titled(name)
    return Bubble(model, found.params, found.macs, max(sides, default=0), words, found.status == "complete")


def _only(layer: Layer | None) -> ReceptiveField | None:
    """The largest of a layer's fields in the sources."""
    if layer is None:
        return None
    return max(layer.receptive_fields.values(), key=lambda field: max(field.size, default=0))


def part(value: int, total: int) -> Fraction:
    """A share of a whole, 0 of nothing."""
    return Fraction(value, total) if total else Fraction(0)


def _models(analyses: Sequence[Analysis]) -> str:
    return text.listed([analysis.model for analysis in analyses])
