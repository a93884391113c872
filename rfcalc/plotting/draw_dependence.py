"""The dependence of an output on time, drawn with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfcalc.plotting.canvas import COLOURS, INK, new_figure, words
from rfcalc.plotting.dependence import Dependence

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_dependence(found: Dependence) -> Figure:
    """Units downwards, positions of the source to the right: what is read up to a unit's own hop, and after it."""
    figure = new_figure(7.0, 5.0)
    axes = figure.add_subplot()
    seen = [unit for unit in found.units if unit.first <= unit.last]
    rows = [unit.number for unit in seen]
    past = [min(unit.last, unit.end) + 1 for unit in seen]
    axes.fill_betweenx(
        rows, [unit.first for unit in seen], past, color=COLOURS[0], alpha=0.45, linewidth=0, label="reads"
    )
    if not found.causal:
        ahead = [max(unit.last, unit.end) + 1 for unit in seen]
        starts = [min(unit.end + 1, later) for unit, later in zip(seen, ahead, strict=True)]
        axes.fill_betweenx(
            rows, starts, ahead, color=COLOURS[1], alpha=0.7, linewidth=0, label="reads ahead of its hop"
        )
    numbers = [unit.number for unit in found.units]
    axes.plot([unit.end + 1 for unit in found.units], numbers, color=INK, linewidth=1, label="end of its own hop")
    axes.set_xlim(0, found.extent)
    axes.set_ylim(found.count - 0.5, -0.5)
    axes.set_xlabel(words(f"position along {found.axis} of {found.source}"))
    axes.set_ylabel(words(f"unit of {found.layer}"))
    axes.set_title(words(found.model), fontsize=10, loc="left", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.05), ncols=3)
    return figure
