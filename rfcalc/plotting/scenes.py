"""What a drawing of fields shows, as plain data: panels with the fields of units as boxes and bars of indices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.receptive_field import Source
from rfcalc.analyses.results import Layer, Region
from rfcalc.analyses.summary import last_spatial_layer
from rfcalc.errors import UsageError
from rfcalc.plotting.units import Reach, Span, reach
from rfcalc.report import text

MOST_LAYERS = 8  #: as many as there are colours
MOST_CELLS = 48  #: of a panel along an axis in which single indices can be told apart
_MOST_CLOSE = 16  #: of a field that is shown closely although it has no holes
_MOST_UNITS = 8  #: of one period that are drawn
_BEYOND = 2  #: extents of the source that a panel shows at most, the source and its surroundings


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of indices, (first, last) along rows and columns."""

    rows: tuple[int, int]
    cols: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mark:
    """The field of one unit in a panel.

    ``region`` is what it sees, ``window`` its field where that is not cut at the borders and differs; ``cells`` are the
    rows and the columns that are read, None where they are not known. ``colour`` counts the layers of a drawing.
    """

    label: str
    colour: int
    region: Box | None
    window: Box | None = None
    cells: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @property
    def hull(self) -> Box | None:
        """The window, or the region where they are the same."""
        return self.region if self.window is None else self.window

    @property
    def has_holes(self) -> bool:
        """Whether rows or columns inside are not read."""
        return self.cells is not None and any(len(found) <= found[-1] - found[0] for found in self.cells if found)


@dataclass(frozen=True, slots=True)
class Panel:
    """A plane of indices: a source, or two axes of one; ``view`` is the part of it and its surroundings that is shown.

    ``cells`` says that single indices are drawn, ``picture`` that an image may lie under it.
    """

    title: str
    axes: tuple[str, str]
    extents: tuple[int, int]
    view: Box
    marks: tuple[Mark, ...]
    cells: bool = False
    picture: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """The field of one unit along one axis."""

    label: str
    colour: int
    region: Region
    window: Region
    indices: tuple[int, ...] | None

    @property
    def has_holes(self) -> bool:
        """Whether indices inside are not read."""
        return bool(self.indices) and len(self.indices or ()) <= (self.indices or (0,))[-1] - (self.indices or (0,))[0]


@dataclass(frozen=True, slots=True)
class Bars:
    """Fields along one axis of a source, one below the other."""

    title: str
    axis: str
    extent: int
    view: tuple[int, int]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawing of fields: its panels from left to right, and what the colours mean."""

    title: str
    panels: tuple[Panel | Bars, ...]
    legend: tuple[tuple[int, str], ...]


def field_scene(analysis: Analysis, layers: Sequence[str | int] = (), at: Sequence[int] | None = None) -> Scene:
    """The fields of one unit of each layer in every source.

    ``layers`` are numbers, names or globs; without any it is the last layer whose units see different places. ``at`` is
    a position in the deepest of them, else its middle; of the others the unit is taken that lies nearest to its field.

    Raises `UsageError` for layers and positions that do not exist, too many layers, and fields without axes.
    """
    chosen = choose(analysis, layers)
    position = None if at is None else checked(analysis, chosen[-1], at)
    panels: list[Panel | Bars] = []
    legend: list[tuple[int, str]] = []
    for source in analysis.sources:
        units = nested(analysis, chosen, source, position)
        seen = [unit for unit in units if any(unit[0].layer.receptive_fields[source.name].size)]
        place = f" of {text.clean(source.name)}" if len(analysis.sources) > 1 else ""
        legend += [(chosen.index(found.layer), legend_label(found, spot) + place) for found, spot in seen]
        panels += _panels(source, seen, chosen, analysis.of is None)
    if not panels:
        sources = text.listed([source.name for source in analysis.sources])
        raise UsageError(f"nothing to draw: {_names(chosen)} of {analysis.model}: no field along any axis of {sources}")
    title = f"{text.titled(analysis.model)}: what one unit sees"
    return Scene(title, tuple(panels), tuple(legend))


def choose(analysis: Analysis, layers: Sequence[str | int]) -> list[Layer]:
    """The layers asked for in execution order. Raises `UsageError` for too many of them."""
    if not layers:
        return [last_spatial_layer(analysis.layers) or analysis.layers[-1]]
    found = {layer.node: layer for name in layers for layer in analysis.select(name)}
    if len(found) > MOST_LAYERS:
        raise UsageError(
            f"--layer {','.join(map(str, layers))} names {len(found)} layers, and a drawing shows {MOST_LAYERS} at"
            " most: name fewer"
        )
    return [found[ident] for ident in sorted(found)]


def checked(analysis: Analysis, layer: Layer, at: Sequence[int]) -> tuple[int, ...]:
    """The position. Raises `UsageError` if the layer has no unit there."""
    analysis.with_region((layer,), at)
    return tuple(at)


def nested(
    analysis: Analysis, layers: Sequence[Layer], source: Source, at: Sequence[int] | None
) -> list[tuple[Reach, tuple[int, ...]]]:
    """What each layer reads of a source, and a unit of each: the last one's at the position, the others' within it."""
    last = reach(analysis, layers[-1], source)
    position = last.middle if at is None else tuple(at)
    spans = last.at(position)
    others = [reach(analysis, layer, source) for layer in layers[:-1]]
    return [*((other, other.nearest(spans)) for other in others), (last, position)]


# --- panels -----------------------------------------------------------------------------------------------------------

Unit = tuple[Reach, tuple[int, ...]]


def _panels(source: Source, units: Sequence[Unit], chosen: Sequence[Layer], is_input: bool) -> Iterator[Panel | Bars]:
    if not source.axes or not units:
        return
    if len(source.axes) > 3:
        names = ", ".join(source.axes)
        raise UsageError(
            f"fields in {source.name} have {len(source.axes)} axes ({names}): name three at most in --axes"
        )
    if len(source.axes) == 1:
        yield _layers_along(source, units, chosen)
    for pair in combinations(range(len(source.axes)), 2):
        whole = _plane(source, pair, units, chosen, picture=is_input and len(source.axes) == 2)
        yield whole
        close = _close(whole)
        if close is not None:
            yield close
    yield from _phases(source, *units[-1], chosen)


def _plane(
    source: Source, pair: tuple[int, int], units: Sequence[Unit], chosen: Sequence[Layer], picture: bool
) -> Panel:
    """The source, or a slice of it through the unit, with the field of each layer's unit."""
    marks = []
    for found, position in units:
        spans = found.at(position)
        marks.append(mark(spans[pair[0]], spans[pair[1]], text.clean(found.layer.name), chosen.index(found.layer)))
    spans = units[0][0].at(units[0][1])
    extents = spans[pair[0]].extent, spans[pair[1]].extent
    names = spans[pair[0]].axis, spans[pair[1]].axis
    view = Box(*(_view(extent, [box[axis] for box in _boxes(marks)]) for axis, extent in enumerate(extents)))
    title = text.clean(source.name) + (f", {names[0]} and {names[1]}" if len(source.axes) > 2 else "")
    return Panel(title, names, extents, view, tuple(marks), _is_small(view), picture)


def mark(rows: Span, cols: Span, label: str, colour: int) -> Mark:
    """The field of a unit along two axes."""
    region = Box(rows.region, cols.region) if rows.region and cols.region else None
    window = Box(rows.hull, cols.hull) if rows.hull and cols.hull and (rows.is_cut or cols.is_cut) else None
    known = rows.indices is not None and cols.indices is not None
    return Mark(label, colour, region, window, (rows.indices or (), cols.indices or ()) if known else None)


def _boxes(marks: Sequence[Mark]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    return [(box.rows, box.cols) for item in marks for box in (item.region, item.window) if box is not None]


def _view(extent: int, spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The source and the windows around it, within reason."""
    first = min([0, *(span[0] for span in spans)])
    last = max([extent - 1, *(span[1] for span in spans)])
    return max(first, -_BEYOND * extent), min(last, (_BEYOND + 1) * extent - 1)


def _is_small(view: Box, most: int = MOST_CELLS) -> bool:
    return all(last - first < most for first, last in (view.rows, view.cols))


def _close(panel: Panel) -> Panel | None:
    """The neighbourhood of fields small enough to show each index; None where the panel does so anyway."""
    if panel.cells:
        return None
    small = [item for item in panel.marks if _is_worth_a_look(item)]
    if not small:
        return None
    spans = list(zip(*_boxes(small), strict=True))
    view = Box(*((min(s[0] for s in axis) - 1, max(s[1] for s in axis) + 1) for axis in spans))
    if not _is_small(view):  # fields of several layers that do not lie together
        return None
    return Panel(f"{panel.title}, close", panel.axes, panel.extents, view, tuple(small), True, panel.picture)


def _is_worth_a_look(item: Mark) -> bool:
    box = item.hull
    return box is not None and _is_small(box, MOST_CELLS if item.has_holes else _MOST_CLOSE)


def _layers_along(source: Source, units: Sequence[Unit], chosen: Sequence[Layer]) -> Bars:
    bars = [
        bar(found.at(position)[0], text.clean(found.layer.name), chosen.index(found.layer)) for found, position in units
    ]
    return _bars(text.clean(source.name), units[0][0].at(units[0][1])[0], bars)


def _phases(source: Source, found: Reach, position: tuple[int, ...], chosen: Sequence[Layer]) -> Iterator[Bars]:
    """The units of one period, whose fields differ in size; axes along which they are the same share the bars."""
    alike: dict[tuple[Bar, ...], list[tuple[Span, int]]] = {}
    for number in range(len(source.axes)):
        units = found.neighbours(number, position)
        bars = tuple(bar(span, f"unit {at}", chosen.index(found.layer)) for at, span in units[:_MOST_UNITS])
        if bars:
            alike.setdefault(bars, []).append((units[0][1], len(units)))
    for bars, along in alike.items():
        axes, (span, period) = " and ".join(span.axis for span, _ in along), along[0]
        shown = f"{_MOST_UNITS} of {period}" if period > _MOST_UNITS else str(period)
        title = f"{text.clean(source.name)}, {axes}: {shown} neighbouring units of {text.clean(found.layer.name)}"
        yield _bars(title, replace(span, axis=axes), bars, near=True)


def bar(span: Span, label: str, colour: int) -> Bar:
    """The field of a unit along one axis."""
    return Bar(label, colour, span.region, span.window, span.indices)


def _bars(title: str, span: Span, bars: Sequence[Bar], near: bool = False) -> Bars:
    """The whole axis, or the neighbourhood of the bars."""
    spans = [part for item in bars for part in (item.region, item.window) if part is not None]
    close = near and spans
    view = (min(s[0] for s in spans) - 1, max(s[1] for s in spans) + 1) if close else _view(span.extent, spans)
    return Bars(title, span.axis, span.extent, view, tuple(bars))


# --- words ------------------------------------------------------------------------------------------------------------


def layer_label(layer: Layer) -> str:
    """``layer 3, conv1_2``; only the name for an op that is no numbered layer."""
    name = text.clean(layer.name)
    return name if layer.index is None else f"layer {layer.index}, {name}"


def legend_label(found: Reach, position: tuple[int, ...]) -> str:
    """``layer 3, conv1_2: 5x5; unit 7,7 sees 5..9 x 5..9``."""
    field = found.layer.receptive_fields[found.source.name]
    spans = found.at(position)
    where = f"unit {text.comma(position)} sees " if position else "a unit sees "
    seen = text.intervals([span.region for span in spans])
    return f"{layer_label(found.layer)}: {text.size(field)}; {where}{seen}"


def _names(layers: Sequence[Layer]) -> str:
    return text.listed([layer.name for layer in layers])
