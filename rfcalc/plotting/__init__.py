"""Pictures of analyses: plain data of what is drawn, and figures of matplotlib, which is imported when one is drawn.

`draw` makes a figure and `render` a file of it. What they show is data first: `field_scene`, `through_scene`,
`growth_series`, `cost_series`, `bubbles` and `diagram`. `dot` and `mermaid` need no matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfcalc.analyses.analysis import Analysis
from rfcalc.errors import UsageError
from rfcalc.plotting.canvas import FORMATS, need_matplotlib, render, settings
from rfcalc.plotting.dependence import dependence
from rfcalc.plotting.images import Picture, open_picture
from rfcalc.plotting.markup import dot, mermaid
from rfcalc.plotting.network import diagram, usual_depth
from rfcalc.plotting.scenes import Panel, Scene, field_scene
from rfcalc.plotting.series import bubbles, cost_series, growth_series
from rfcalc.plotting.through import through_scene
from rfcalc.plotting.tiles import TileScene, tile_scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rfcalc.tiling.plan import Tiling

KINDS = ("field", "growth", "cost", "compare", "graph", "stream")


def draw(
    model: Analysis | Sequence[Analysis] | Mapping[str, Analysis],
    kind: str = "field",
    *,
    layers: Sequence[str | int] = (),
    at: Sequence[int] | None = None,
    through: str | int | None = None,
    image: str | Picture | None = None,
    depth: int | None = None,
    axis: str | None = None,
    source: str | None = None,
    align: str = "start",
) -> Figure:
    """A matplotlib figure, in inches, of one analysis or, with ``growth`` and ``compare``, of several.

    A mapping names several models for ``compare``.

    ``field``: what the unit ``at`` of the deepest of ``layers`` sees of each input, the other layers' fields nested in
    it; over ``image``, a file; or, with ``through``, by way of earlier layers. ``growth``: fields against depth.
    ``cost``: parameters and multiply-adds along the layers. ``compare``: a bubble for each model. ``graph``: the layers
    as boxes, folded to modules whose names have ``depth`` parts. ``stream``: which positions along time, the ``axis``
    of an input, ``source``, each unit of a layer reads, with its hop told from one end (``align``, as for
    `rfcalc.stream`).

    Raises `UsageError` where matplotlib is missing, and for a drawing that makes no sense.
    """
    analyses = [model] if isinstance(model, Analysis) else list(model.values() if isinstance(model, Mapping) else model)
    names = list(model) if isinstance(model, Mapping) else [analysis.model for analysis in analyses]
    if kind not in KINDS:
        raise UsageError(f"there is no kind {kind!r} of picture: ask one of {', '.join(KINDS)}")
    if not analyses or (len(analyses) > 1 and kind not in ("growth", "compare")):
        raise UsageError(f"a picture of kind {kind} shows one model, got {len(analyses)}")
    if kind == "field" and through is None:
        return draw_scene(field_scene(analyses[0], layers, at), image)
    with settings():
        if kind == "field":
            return _through(analyses[0], layers, through, at, image)
        if kind == "stream":
            return _stream(analyses[0], layers, axis, source, align)
        return _chart(analyses, names, kind, depth)


def draw_scene(scene: Scene, image: str | Picture | None = None) -> Figure:
    """The figure of what `field_scene` found, over an image if there is one. Raises `UsageError` as `draw` does."""
    with settings():
        from rfcalc.plotting import draw_fields

        if image is None:
            return draw_fields.draw_scene(scene)
        extents = picture_extents(scene)
        picture = open_picture(image) if isinstance(image, str) else image
        return draw_fields.draw_scene(scene, picture.fitted(*extents))


def tile_plan(
    model: Any, inputs: Any = None, tile: Sequence[int] | None = None, *, axes: Any = None, training: bool = False
) -> Tiling:
    """The tiles of the input for `tile_scene`, by default of the shortest; see `rfcalc.tiling.making.drawable`."""
    from rfcalc.tiling.making import drawable

    return drawable(model, inputs, tile, axes=axes, training=training)


def draw_tile(found: TileScene, image: str | Picture | None = None) -> Figure:
    """The figure of what `tile_scene` found, over an image if there is one. Raises `UsageError` as `draw` does."""
    with settings():
        from rfcalc.plotting import draw_tiles

        if image is None:
            return draw_tiles.draw_tile(found)
        extents = picture_extents(found.scene)
        picture = open_picture(image) if isinstance(image, str) else image
        return draw_tiles.draw_tile(found, picture.fitted(*extents))


def picture_extents(scene: Scene) -> tuple[int, int]:
    """Rows and columns of the only input that a picture can lie under. Raises `UsageError` where there is none."""
    found = {panel.extents for panel in scene.panels if isinstance(panel, Panel) and panel.picture}
    if len(found) != 1:
        raise UsageError(
            "a picture is drawn under the one input with two axes: there is none, or inputs of several sizes"
        )
    return found.pop()


def _through(
    analysis: Analysis, layers: Sequence[str | int], through: Any, at: Sequence[int] | None, image: Any
) -> Figure:
    from rfcalc.plotting.draw_fields import draw_through

    if image is not None:
        raise UsageError("a picture lies under the input, not under the layers on the way: leave image or through out")
    if len(layers) != 1:
        raise UsageError(f"a drawing through layers is that of one layer, got {len(layers)}: name it with --layer")
    return draw_through(through_scene(analysis, layers[0], through, at))


def _stream(
    analysis: Analysis, layers: Sequence[str | int], axis: str | None, source: str | None, align: str
) -> Figure:
    from rfcalc.plotting.draw_dependence import draw_dependence

    if len(layers) > 1:
        raise UsageError(f"a picture of a stream shows one layer, got {len(layers)}: name one with --layer")
    return draw_dependence(dependence(analysis, layers[0] if layers else None, axis, source, align))


def _chart(analyses: Sequence[Analysis], names: Sequence[str], kind: str, depth: int | None) -> Figure:
    from rfcalc.plotting import draw_network, draw_series

    if kind == "growth":
        return draw_series.draw_growth(growth_series(analyses))
    if kind == "cost":
        return draw_series.draw_costs(cost_series(analyses[0]))
    if kind == "compare":
        return draw_series.draw_bubbles(bubbles(analyses, names))
    return draw_network.draw_network(diagram(analyses[0], depth))


__all__ = [
    "FORMATS",
    "KINDS",
    "Picture",
    "bubbles",
    "cost_series",
    "dependence",
    "diagram",
    "dot",
    "draw",
    "draw_scene",
    "draw_tile",
    "field_scene",
    "growth_series",
    "mermaid",
    "need_matplotlib",
    "open_picture",
    "picture_extents",
    "render",
    "through_scene",
    "tile_plan",
    "tile_scene",
    "usual_depth",
]
