"""The diagram of a network drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from rfcalc.errors import UsageError
from rfcalc.plotting.canvas import INK, colour, new_figure, words
from rfcalc.plotting.network import Arrow, Diagram, Item, Layout, label, layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path

_BOX = 2.15, 0.62  #: inches
_CELL = 2.45, 1.05  #: inches from one box to the next
_ASIDE = 0.7  #: inches from the middle of a box, where arrows back begin and end
_KINDS = {"input": 6, "conv": 0, "conv_transpose": 0, "pool": 2, "linear": 4, "matmul": 4, "attention": 1, "module": 5}
_OTHER = 7  #: the colour of other kinds


def draw_network(found: Diagram) -> Figure:
    """Boxes with names and fields in rows from the input down, arrows between them.

    Raises `UsageError` for a network that is too large for one picture.
    """
    if not found.items:
        raise UsageError(f"nothing to draw: {found.model} has no layers")
    places = layout(found)
    left, right = places.columns
    figure = new_figure((right - left + 1) * _CELL[0] + 0.4, places.rows * _CELL[1] + 0.6)
    axes = figure.add_subplot()
    axes.axis("off")
    axes.set_xlim((left - 0.55) * _CELL[0], (right + 0.55) * _CELL[0])
    axes.set_ylim((places.rows - 0.4) * _CELL[1], -0.6 * _CELL[1])
    axes.set_aspect("equal")
    for arrow in found.arrows:
        _draw_arrow(axes, arrow, places)
    for item in found.items:
        _draw_item(axes, item, places.places[item.id])
    axes.set_title(words(found.model), fontsize=12, color=INK)
    return figure


def _draw_item(axes: Axes, item: Item, place: tuple[float, float]) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = place[0] * _CELL[0], place[1] * _CELL[1]
    ink = colour(_KINDS.get(item.kind, _OTHER))
    style = "round,pad=0,rounding_size=0.06"
    corner = x - _BOX[0] / 2, y - _BOX[1] / 2
    for face, alpha in (("white", 1.0), (ink, 0.16)):
        axes.add_patch(
            FancyBboxPatch(corner, *_BOX, boxstyle=style, facecolor=face, alpha=alpha, edgecolor="none", zorder=2)
        )
    axes.add_patch(
        FancyBboxPatch(corner, *_BOX, boxstyle=style, facecolor="none", edgecolor=ink, linewidth=1, zorder=3)
    )
    name, *rest = label(item)
    above = 0.19 if len(rest) > 2 else 0.16
    axes.text(
        x, y - above, words(name, 30), ha="center", va="center", fontsize=8, fontweight="bold", color=INK, zorder=4
    )
    lines = "\n".join(words(line, 44) for line in rest)
    axes.text(x, y + 0.08, lines, ha="center", va="center", fontsize=6.2, color=INK, linespacing=1.15, zorder=4)


def _draw_arrow(axes: Axes, arrow: Arrow, places: Layout) -> None:
    """From the lower edge of a box to the upper edge of another, past the boxes between them."""
    from matplotlib.patches import FancyArrowPatch

    down, aside = (-1, _ASIDE) if arrow.back else (1, 0.0)
    start, end = places.places[arrow.tail], places.places[arrow.head]
    bends = [
        (x * _CELL[0], y * _CELL[1] + side * _BOX[1] / 2)
        for x, y in places.bends[arrow.tail, arrow.head]
        for side in (-1, 1)
    ]
    first = start[0] * _CELL[0] + aside, start[1] * _CELL[1] + down * _BOX[1] / 2
    last = end[0] * _CELL[0] + aside, end[1] * _CELL[1] - down * _BOX[1] / 2
    axes.add_patch(
        FancyArrowPatch(
            path=_way([first, *bends, last]),
            arrowstyle="-|>,head_length=3,head_width=1.6",
            linewidth=0.9,
            linestyle=(0, (3, 2)) if arrow.back else "-",
            color="#666666",
            zorder=1,
        )
    )


def _way(points: Sequence[tuple[float, float]]) -> Path:
    """A smooth line through the points that passes each of them upright."""
    from matplotlib.path import Path

    corners, codes = [points[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        corners += [(x0, middle), (x1, middle), (x1, y1)]
        codes += [Path.CURVE4] * 3
    return Path(corners, codes)
