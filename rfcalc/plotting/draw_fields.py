"""Scenes of fields drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rfcalc.plotting.canvas import FAINT, INK, OUTSIDE, colour, new_figure, words
from rfcalc.plotting.scenes import Bar, Bars, Box, Mark, Panel, Scene
from rfcalc.plotting.through import Link, Through

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch, Rectangle

_SIDE = 4.2  #: inches of a panel
_PER_ROW = 3
_TITLE = 100  #: characters
_LONG = 4  #: sides of a plane that are drawn true to scale
_MOST_INDICES = 120  #: of a bar in which single ones can be told apart
_ROOM = 0.06  #: of a panel's height that a label takes


def draw_scene(scene: Scene, picture: Any = None) -> Figure:
    """The panels beside one another, bars below, and the legend. ``picture`` is an array (rows, columns, 3)."""
    panels = [panel for panel in scene.panels if isinstance(panel, Panel)]
    bars = [panel for panel in scene.panels if isinstance(panel, Bars)]
    columns = min(len(panels), _PER_ROW) or 1
    rows = [panels[at : at + columns] for at in range(0, len(panels), columns)]
    heights = [_SIDE] * len(rows) + [0.9 + 0.3 * len(item.bars) for item in bars]
    figure = new_figure(max(columns * _SIDE, 6.5), sum(heights) + 0.6 + 0.2 * len(scene.legend))
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for number, row in enumerate(rows):
        for column, panel in enumerate(row):
            axes = figure.add_subplot(grid[number, column])
            _draw_panel(axes, panel, picture if panel.picture else None)
    for number, item in enumerate(bars, len(rows)):
        _draw_bars(figure.add_subplot(grid[number, :]), item)
    figure.suptitle(words(scene.title, _TITLE), fontsize=12, color=INK)
    _legend(figure, scene)
    return figure


def draw_through(found: Through) -> Figure:
    """The layers beside one another with lines from a unit to what it reads."""
    panels = [panel for panel in found.scene.panels if isinstance(panel, Panel)]
    widths = [min(max(panel.view.cols[1] - panel.view.cols[0] + 1, 4), 14) for panel in panels]
    figure = new_figure(min(0.42 * sum(widths), 16) + 1.1 * len(panels), 4.4)
    several = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
    for axes, panel in zip(several, panels, strict=True):
        _draw_panel(axes, panel, None)
        axes.set(xlabel="", ylabel="")
    several[-1].yaxis.tick_right()  # lines come in from the left
    for link in found.links:
        _draw_link(figure, several[link.panel - 1], several[link.panel], link)
    figure.suptitle(words(found.scene.title, _TITLE), fontsize=12, color=INK)
    _legend(figure, found.scene)
    return figure


# --- planes -----------------------------------------------------------------------------------------------------------


def _draw_panel(axes: Axes, panel: Panel, picture: Any) -> None:
    _plane(axes, panel)
    whole = Box((0, panel.extents[0] - 1), (0, panel.extents[1] - 1))
    if picture is None:
        axes.add_patch(_rectangle(whole, facecolor="white", edgecolor="none", zorder=0.5))
    else:
        _picture(axes, panel, picture)
    if panel.cells:
        axes.add_patch(_cells(*_every(panel.view, panel.extents), facecolor="none", edgecolor=FAINT, linewidth=0.4))
    axes.add_patch(_rectangle(whole, facecolor="none", edgecolor=INK, linewidth=1.2, zorder=1.5))
    marks = sorted(panel.marks, key=_area, reverse=True)
    for mark in marks:
        for patch in _patches(mark, panel.cells, picture is None):
            axes.add_patch(patch)
    if len(marks) > 1:
        _names(axes, panel, marks)


def _plane(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    rows, cols = panel.view.rows, panel.view.cols
    margin = 0.15 if panel.cells else 0.02 * max(rows[1] - rows[0], cols[1] - cols[0])
    axes.set_xlim(cols[0] - 0.5 - margin, cols[1] + 0.5 + margin)
    axes.set_ylim(rows[1] + 0.5 + margin, rows[0] - 0.5 - margin)
    tall, wide = rows[1] - rows[0] + 1, cols[1] - cols[0] + 1
    axes.set_aspect("equal" if max(tall, wide) <= _LONG * min(tall, wide) else "auto")
    axes.set_facecolor(OUTSIDE)
    axes.set_title(words(panel.title), fontsize=10, color=INK)
    axes.set_ylabel(words(panel.axes[0]))
    axes.set_xlabel(words(panel.axes[1]))
    _tidy(axes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(7, integer=True))


def _tidy(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(length=2, color=FAINT, labelsize=8)


def _picture(axes: Axes, panel: Panel, picture: Any) -> None:
    """The part of the picture that the panel shows."""
    (top, bottom), (left, right) = (
        (max(first, 0), min(last, extent - 1))
        for (first, last), extent in zip((panel.view.rows, panel.view.cols), panel.extents, strict=True)
    )
    place = (left - 0.5, right + 0.5, bottom + 0.5, top - 0.5)
    part = picture[top : bottom + 1, left : right + 1]
    axes.imshow(part, extent=place, interpolation="none", aspect=axes.get_aspect(), zorder=0.6)


def _patches(mark: Mark, cells: bool, filled: bool) -> Iterator[Rectangle | PathPatch]:
    ink = colour(mark.colour)
    if mark.region is not None:
        if filled:
            alpha = 0.08 if cells and mark.cells is not None else 0.2
            yield _rectangle(mark.region, facecolor=ink, alpha=alpha, edgecolor="none", zorder=2)
        yield _rectangle(mark.region, facecolor="none", edgecolor="white", linewidth=3.2, alpha=0.8, zorder=3.9)
        yield _rectangle(mark.region, facecolor="none", edgecolor=ink, linewidth=2, zorder=4)
    if cells and mark.cells is not None:
        yield _cells(*mark.cells, facecolor=ink, alpha=0.45 if filled else 0.3, edgecolor=ink, linewidth=0.6, zorder=3)
    if mark.window is not None:
        yield _rectangle(mark.window, facecolor="none", edgecolor=ink, linewidth=1.4, linestyle=(0, (4, 3)), zorder=3.5)


def _rectangle(box: Box, **style: Any) -> Rectangle:
    from matplotlib.patches import Rectangle

    corner = box.cols[0] - 0.5, box.rows[0] - 0.5
    return Rectangle(corner, box.cols[1] - box.cols[0] + 1, box.rows[1] - box.rows[0] + 1, **style)


def _cells(rows: Sequence[int], cols: Sequence[int], **style: Any) -> PathPatch:
    """A square for each row and column, as one path."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)]
    points = [(col + x, row + y) for row in rows for col in cols for x, y in corners]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(rows) * len(cols))
    return PathPatch(Path(points, codes), **style)


def _every(view: Box, extents: tuple[int, int]) -> tuple[list[int], list[int]]:
    """The rows and columns of a view that lie in the source."""
    rows, cols = (
        [index for index in range(first, last + 1) if 0 <= index < extent]
        for (first, last), extent in zip((view.rows, view.cols), extents, strict=True)
    )
    return rows, cols


def _area(mark: Mark) -> int:
    box = mark.hull
    return 0 if box is None else (box.rows[1] - box.rows[0] + 1) * (box.cols[1] - box.cols[0] + 1)


def _names(axes: Axes, panel: Panel, marks: Sequence[Mark]) -> None:
    """The name of each field inside its upper edge, where there is room below the one before."""
    tall = panel.view.rows[1] - panel.view.rows[0] + 1
    free = float("-inf")
    for mark in marks:
        box = mark.region
        if box is None or box.rows[0] < free or box.rows[1] - box.rows[0] < _ROOM * tall:
            continue
        free = box.rows[0] + _ROOM * tall
        style = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.2}
        axes.annotate(
            words(mark.label, 24),
            (box.cols[0] - 0.5, box.rows[0] - 0.5),
            xytext=(3, -3),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=colour(mark.colour),
            bbox=style,
            zorder=6,
        )


def _draw_link(figure: Figure, before: Axes, after: Axes, link: Link) -> None:
    """The unit's box, what it reads, and lines from corner to corner."""
    from matplotlib.patches import ConnectionPatch

    ink = colour(link.colour)
    after.add_patch(_rectangle(link.unit, facecolor="none", edgecolor=ink, linewidth=2, zorder=5))
    before.add_patch(_rectangle(link.reads, facecolor="none", edgecolor=ink, linewidth=2, zorder=5))
    for side in (0, 1):
        shift = side - 0.5
        start = link.reads.cols[1] + 0.5, link.reads.rows[side] + shift
        end = link.unit.cols[0] - 0.5, link.unit.rows[side] + shift
        line = ConnectionPatch(
            start, end, "data", "data", axesA=before, axesB=after, color=ink, linewidth=1.1, zorder=6
        )
        line.set_in_layout(False)
        figure.add_artist(line)


# --- bars and legend --------------------------------------------------------------------------------------------------


def _draw_bars(axes: Axes, panel: Bars) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_facecolor(OUTSIDE)
    axes.set_title(words(panel.title), fontsize=10, color=INK)
    axes.set_xlim(panel.view[0] - 0.5, panel.view[1] + 0.5)
    axes.set_ylim(len(panel.bars) - 0.4, -0.6)
    axes.axvspan(-0.5, panel.extent - 0.5, facecolor="white", edgecolor=INK, linewidth=0.8, zorder=0.5)
    axes.set_yticks(range(len(panel.bars)), [words(item.label) for item in panel.bars])
    axes.set_xlabel(words(panel.axis))
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    _tidy(axes)
    single = panel.view[1] - panel.view[0] < _MOST_INDICES
    for row, item in enumerate(panel.bars):
        for patch in _bar_patches(item, row, single):
            axes.add_patch(patch)


def _bar_patches(item: Bar, row: int, single: bool) -> Iterator[Any]:
    from matplotlib.patches import Rectangle

    ink = colour(item.colour)
    if item.region is not None:
        first, last = item.region
        holes = single and item.indices is not None
        style: dict[str, Any] = {"facecolor": ink, "alpha": 0.15 if holes else 0.35, "edgecolor": ink}
        yield Rectangle((first - 0.5, row - 0.35), last - first + 1, 0.7, **style)
    if item.window is not None and item.window != item.region:
        first, last = item.window
        style = {"facecolor": "none", "edgecolor": ink, "linestyle": (0, (4, 3))}
        yield Rectangle((first - 0.5, row - 0.35), last - first + 1, 0.7, **style)
    if single and item.indices is not None:
        for index in item.indices:
            yield Rectangle((index - 0.42, row - 0.27), 0.84, 0.54, facecolor=ink, edgecolor="none", alpha=0.75)


def _legend(figure: Figure, scene: Scene) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour(number), alpha=0.6, edgecolor=colour(number)) for number, _ in scene.legend]
    labels = [words(line, 140) for _, line in scene.legend]
    for handle, line in _explained(scene):
        handles.append(handle)
        labels.append(line)
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=9)


def _explained(scene: Scene) -> Iterator[tuple[Any, str]]:
    """What lines and squares mean, where there are any."""
    from matplotlib.patches import Patch

    planes = [panel for panel in scene.panels if isinstance(panel, Panel)]
    bars = [item for panel in scene.panels if isinstance(panel, Bars) for item in panel.bars]
    marks = [mark for panel in planes for mark in panel.marks]
    if any(mark.window for mark in marks) or any(bar.window not in (None, bar.region) for bar in bars):
        style: dict[str, Any] = {"facecolor": "none", "edgecolor": INK, "linestyle": (0, (3, 2))}
        yield Patch(**style), "dashed: the sliding window, not cut at the borders"
    if any(mark.has_holes for mark in marks) or any(bar.has_holes for bar in bars):
        yield Patch(facecolor=INK, alpha=0.5), "filled squares: rows and columns that are read; the others are skipped"
