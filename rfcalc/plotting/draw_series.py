"""Charts of numbers drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import TYPE_CHECKING, Any

from rfcalc.plotting.canvas import FAINT, INK, MARKERS, colour, new_figure, words
from rfcalc.plotting.series import Bubble, Cost, Costs, Series, part
from rfcalc.report import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED = 60  #: layers whose names have room below a chart
_APART = 0.04  #: of the largest field, by which two words must lie apart
_HEADROOM = 1.12  #: of the largest value, for the legend
_WIDE = 10.0  #: as many times as large: an axis is logarithmic
_FEW = 12  #: models whose names have room beside their bubbles
_LARGEST, _SMALLEST = 2400.0, 12.0  #: areas of bubbles, in points squared


def draw_growth(found: Sequence[Series]) -> Figure:
    """Fields against depth: a line along the largest sliding windows, hollow marks for layers that see everything."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(8.0, 5.0)
    axes = figure.add_subplot()
    _frame(axes, "weight layers on the way from the input", "field along one axis, in pixels of the input")
    for number, series in enumerate(found):
        _line(axes, series, number)
    _inputs(axes, found)
    if any(point.whole for series in found for point in series.points):
        told = "hollow: sees the whole input"
        axes.plot([], [], marker="o", color=INK, markerfacecolor="white", linestyle="none", label=told)
    faint = any(len([p for p in series.points if not p.whole]) > len(series.outline) for series in found)
    if faint:
        told = "faint: a smaller field at that depth"
        axes.plot([], [], marker="o", color=INK, alpha=0.5, linestyle="none", label=told)
    if any(point.bound for series in found for point in series.points):
        axes.plot([], [], marker="x", color=INK, linestyle="none", label="an upper bound")
    axes.set_ylim(0, _HEADROOM * max(axes.get_ylim()[1], *(series.extent for series in found)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="upper left")
    return figure


def _inputs(axes: Axes, found: Sequence[Series]) -> None:
    """A line at the extent of each input; those that lie close together share their words."""
    extents = sorted({series.extent for series in found})
    apart = _APART * max(point.size for series in found for point in series.points)
    named: list[list[int]] = []
    for extent in extents:
        axes.axhline(extent, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
        if named and extent - named[-1][-1] < apart:
            named[-1].append(extent)
        else:
            named.append([extent])
    for group in named:
        line = f"input: {', '.join(map(str, group))}"
        axes.annotate(line, (1, sum(group) / len(group)), xycoords=("axes fraction", "data"), **_BESIDE)


_BESIDE: dict[str, Any] = {
    "xytext": (3, 0),
    "textcoords": "offset points",
    "va": "center",
    "fontsize": 8,
    "color": INK,
    "annotation_clip": False,
}


def _line(axes: Axes, series: Series, number: int) -> None:
    ink, shape = colour(number), MARKERS[number % len(MARKERS)]
    outline = series.outline
    style: dict[str, Any] = {"color": ink, "marker": shape, "markersize": 4}
    axes.plot([x for x, _ in outline], [y for _, y in outline], **style, linewidth=1.5, label=words(series.label))
    windows = [point for point in series.points if not point.whole]
    axes.plot([p.depth for p in windows], [p.size for p in windows], **style, linestyle="none", alpha=0.5)
    whole = sorted({(point.depth, point.size) for point in series.points if point.whole})
    axes.plot([x for x, _ in whole], [y for _, y in whole], **style, linestyle="none", markerfacecolor="white")
    bounds = [point for point in series.points if point.bound]
    axes.plot([p.depth for p in bounds], [p.size for p in bounds], color=INK, marker="x", linestyle="none", zorder=3)


def _frame(axes: Axes, across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)


def draw_costs(found: Costs) -> Figure:
    """Parameters above, multiply-adds below: a bar for each layer, and a line for their sum so far."""
    figure = new_figure(min(max(7.0, 0.22 * len(found.layers) + 2), 60), 6.4)
    above, below = figure.subplots(2, 1, sharex=True)
    _bars(above, found.layers, [row.params for row in found.layers], [row.params_sum for row in found.layers], 0)
    above.set_title(f"parameters: {text.count_and_short(found.params)}", fontsize=10, loc="left", color=INK)
    macs = [row.macs for row in found.layers]
    _bars(below, found.layers, macs, [row.macs_sum for row in found.layers], 1)
    bound = "" if found.complete else "at least "
    total = f"multiply-adds: {bound}{text.count_and_short(found.macs)}"
    below.set_title(total, fontsize=10, loc="left", color=INK)
    _layer_ticks(below, found.layers)
    figure.suptitle(words(found.model), fontsize=12, color=INK)
    return figure


def _bars(axes: Axes, layers: Sequence[Cost], values: Sequence[int | None], sums: Sequence[int], number: int) -> None:
    from matplotlib.ticker import EngFormatter, PercentFormatter

    places = [row.index for row in layers]
    axes.bar(places, [value or 0 for value in values], color=colour(number), width=0.8, label="each layer")
    for place, value in zip(places, values, strict=True):
        if value is None:
            axes.annotate("?", (place, 0), xytext=(0, 2), textcoords="offset points", ha="center", color=INK)
    axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.spines[["top"]].set_visible(False)
    axes.set_xlim(places[0] - 0.8, places[-1] + 0.8)
    beside = axes.twinx()
    beside.step(places, [float(part(value, sums[-1])) for value in sums], color=INK, linewidth=1.2, where="mid")
    beside.set_ylim(0, 1.05)
    beside.yaxis.set_major_formatter(PercentFormatter(1.0))
    beside.set_ylabel("sum so far")
    beside.spines[["top"]].set_visible(False)


def _layer_ticks(axes: Axes, layers: Sequence[Cost]) -> None:
    step = -(-len(layers) // _NAMED)  # of more layers than have room, every second, third, ... is named
    named = layers[::step]
    axes.set_xticks([row.index for row in named], [words(row.layer, 28) for row in named], rotation=90, fontsize=7)
    if step > 1:
        axes.set_xlabel(f"layers; 1 of {step} is named")


def draw_bubbles(found: Sequence[Bubble]) -> Figure:
    """Multiply-adds across, parameters up, bubbles as large as fields; with names, and a list of all beside them."""
    from matplotlib.ticker import EngFormatter

    figure = new_figure(10.5, max(5.2, 1.2 + 0.34 * len(found)))
    axes, aside = figure.subplots(1, 2, width_ratios=(3, 2))
    _frame(axes, "multiply-adds", "parameters")
    largest = max(item.size for item in found) or 1
    for number, item in enumerate(sorted(found, key=lambda item: -item.size)):
        area = max(_LARGEST * (item.size / largest) ** 2, _SMALLEST)
        axes.scatter(item.macs, item.params, s=area, color=colour(number), alpha=0.5, edgecolor=INK)
        beside = (area / pi) ** 0.5 + 1  # points from the middle to the edge
        style: dict[str, Any] = {
            "xytext": (beside, 0),
            "textcoords": "offset points",
            "ha": "left",
            "va": "center",
            "fontsize": 9,
        }
        named = f"{number + 1} {words(item.model, 24)}" if len(found) <= _FEW else f"{number + 1}"
        axes.annotate(named, (item.macs, item.params), color=INK, **style)
    for axis, scale, values in (
        (axes.xaxis, axes.set_xscale, [item.macs for item in found]),
        (axes.yaxis, axes.set_yscale, [item.params for item in found]),
    ):
        if min(values) > 0 and max(values) > _WIDE * min(values):
            scale("log")
        axis.set_major_formatter(EngFormatter(sep=" "))
    axes.margins(0.18)
    axes.set_title("area of a bubble: that of the field of the last spatial layer", fontsize=9, color=INK)
    _listed(aside, sorted(found, key=lambda item: -item.size))
    return figure


def _listed(axes: Axes, found: Sequence[Bubble]) -> None:
    axes.axis("off")
    step = 1 / max(len(found), 12)
    for number, item in enumerate(found):
        high = 1 - (number + 0.5) * step
        axes.plot([0.02], [high], marker="o", markersize=8, color=colour(number), alpha=0.6, markeredgecolor=INK)
        least = "" if item.complete else "at least "
        macs = text.short(item.macs) or text.count(item.macs)
        params = text.short(item.params) or text.count(item.params)
        lines = (
            f"{number + 1}  {words(item.model, 40)}: field {item.field}",
            f"     {least}{macs} multiply-adds, {params} parameters",
        )
        axes.annotate("\n".join(lines), (0.07, high), va="center", fontsize=8, color=INK, annotation_clip=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
