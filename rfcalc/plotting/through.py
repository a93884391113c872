"""A field through the layers on the way, beside one another: layer 3's 5x5 of the input through layer 2's 3x3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.receptive_field import Source
from rfcalc.analyses.results import Layer
from rfcalc.errors import UsageError
from rfcalc.plotting.scenes import MOST_CELLS, Box, Mark, Panel, Scene, checked, choose, layer_label, mark
from rfcalc.plotting.units import Span, reach
from rfcalc.report import text

MOST_PANELS = 6


@dataclass(frozen=True, slots=True)
class Link:
    """One unit in a panel and what it reads of the panel before: ``colour`` is that of the unit's layer."""

    panel: int  #: of the unit; what it reads lies in panel - 1
    unit: Box
    reads: Box
    colour: int


@dataclass(frozen=True, slots=True)
class Through:
    """Layers beside one another, the source first: the patch of each that one unit of the last layer uses."""

    scene: Scene
    links: tuple[Link, ...]


def through_scene(analysis: Analysis, layer: str | int, through: str | int, at: Sequence[int] | None = None) -> Through:
    """The layers on the way from a source to one layer, and which units of each of them one of its units uses.

    ``through`` is a number, a name or a glob of earlier layers; ``at`` a position in the layer, else its middle.
    Raises `UsageError` where there is no such layer on the way, or too many, and for layers without two axes.
    """
    chosen = choose(analysis, [layer])
    if len(chosen) > 1:
        raise UsageError(f"--layer {layer} names {len(chosen)} layers; with --through it must name one")
    last = chosen[0]
    source = _first_source(analysis, last)
    stages = [_stage_of(analysis, source), *_between(analysis, source, last, through)]
    position = reach(analysis, last, source).middle if at is None else checked(analysis, last, at)
    views = [Analysis(analysis.layer_graph, stage.name) for stage in stages]  # a name may look like a number
    panels = [_panel(view, stage, last, position, len(stages)) for view, stage in zip(views, stages, strict=True)]
    own = _own(analysis, last, source, position, len(stages))
    links = [_link(views[number - 1], stages[number], panels[number], number) for number in range(1, len(stages))]
    links.append(Link(len(stages), _patch(own), _patch(panels[-1]), len(stages)))
    title = f"{text.clean(analysis.model)}: {layer_label(last)}, unit {text.comma(position)}"
    legend = [(link.colour, _read(stages[link.panel], stages[link.panel - 1], link)) for link in links[:-1]]
    uses = " and ".join(f"{_extent(_patch(panel))} of {layer_label(stage)}" for panel, stage in _pairs(panels, stages))
    legend.append((len(stages), f"one unit of {layer_label(last)} uses {uses}"))
    return Through(Scene(title, (*panels, own), tuple(legend)), tuple(links))


def _first_source(analysis: Analysis, layer: Layer) -> Source:
    for source in analysis.sources:
        if any(layer.receptive_fields[source.name].size):
            return source
    raise UsageError(f"nothing to draw: {layer.name} of {analysis.model}: no field along any axis")


def _stage_of(analysis: Analysis, source: Source) -> Layer:
    numbered = [layer for layer in analysis.layers if layer.node == source.ref.node]
    return numbered[0] if numbered else next(row for row in analysis.ops if row.node == source.ref.node)


def _between(analysis: Analysis, source: Source, last: Layer, through: str | int) -> list[Layer]:
    """The layers asked for that lie between the source and the last one."""
    before = analysis.layer_graph.ancestors([last.node])
    asked = analysis.select(through)
    found = [
        item
        for item in asked
        if item.node in before
        and item.node != source.ref.node
        and source.ref.node in analysis.layer_graph.ancestors([item.node])
    ]
    if not found:
        raise UsageError(f"--through {through}: no such layer lies between {source.name} and {last.name}")
    if len(found) + 2 > MOST_PANELS:
        raise UsageError(
            f"--through {through} names {len(found)} layers before {last.name}; a drawing shows {MOST_PANELS - 2} at"
            " most: name fewer"
        )
    return sorted(found, key=lambda item: item.node)


def _panel(view: Analysis, stage: Layer, last: Layer, position: tuple[int, ...], colour: int) -> Panel:
    """The plane of a layer on the way, with what the last layer's unit uses of it."""
    rows, cols = _two(view, stage, reach(view, last, view.sources[0]).at(position))
    patch = mark(rows, cols, last.name, colour)
    box = patch.hull
    if box is None:
        raise UsageError(f"nothing to draw: {last.name} sees nothing of {stage.name}")
    around = Box(_around(box.rows, rows.extent), _around(box.cols, cols.extent))
    small = all(high - low < MOST_CELLS for low, high in (around.rows, around.cols))
    title = f"{layer_label(stage)}\n{_extent(box)}"
    return Panel(title, (rows.axis, cols.axis), (rows.extent, cols.extent), around, (patch,), small)


def _own(analysis: Analysis, last: Layer, source: Source, position: tuple[int, ...], colour: int) -> Panel:
    """The plane of the last layer with its unit."""
    places = reach(analysis, last, source).places
    if len(places) != 2:
        raise UsageError(f"--through draws planes: units of {last.name} are counted along {len(places)} axes, not 2")
    extents = last.output_shape[places[0]], last.output_shape[places[1]]
    box = Box((position[0], position[0]), (position[1], position[1]))
    around = Box(_around(box.rows, extents[0]), _around(box.cols, extents[1]))
    names = tuple(source.axes)
    unit = Mark(last.name, colour, box, None, ((position[0],), (position[1],)))
    title = f"{layer_label(last)}\n1 unit"
    return Panel(title, (names[0], names[1]), extents, around, (unit,), True)


def _two(view: Analysis, stage: Layer, spans: tuple[Span, ...]) -> tuple[Span, Span]:
    if len(spans) != 2:
        names = ", ".join(view.sources[0].axes) or "none"
        raise UsageError(f"--through draws planes: fields in {stage.name} have {len(spans)} axes ({names}), not 2")
    return spans[0], spans[1]


def _around(span: tuple[int, int], extent: int) -> tuple[int, int]:
    """The span with one index more on each side; beyond the border there is padding only."""
    return min(span[0], max(span[0] - 1, -1)), max(span[1], min(span[1] + 1, extent))


def _link(before: Analysis, stage: Layer, panel: Panel, number: int) -> Link:
    """The first unit of the patch in a panel, and what it reads of the panel before."""
    patch = _patch(panel)
    corner = max(patch.rows[0], 0), max(patch.cols[0], 0)
    rows, cols = reach(before, stage, before.sources[0]).at(corner)
    seen = mark(rows, cols, stage.name, number)
    found = seen.hull
    unit = Box((corner[0], corner[0]), (corner[1], corner[1]))
    return Link(number, unit, found or unit, number)


def _read(stage: Layer, before: Layer, link: Link) -> str:
    return f"one unit of {layer_label(stage)} reads {_extent(link.reads)} of {layer_label(before)}"


def _pairs(panels: Sequence[Panel], stages: Sequence[Layer]) -> list[tuple[Panel, Layer]]:
    """Panels and their layers, the nearest to the last layer first."""
    return list(zip(reversed(panels), reversed(stages), strict=True))


def _extent(box: Box) -> str:
    return f"{box.rows[1] - box.rows[0] + 1}x{box.cols[1] - box.cols[0] + 1}"


def _patch(panel: Panel) -> Box:
    found = panel.marks[0].hull
    assert found is not None  # a panel without a patch is not made
    return found
