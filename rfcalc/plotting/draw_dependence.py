"""The dependence of an output on time, drawn with matplotlib."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from rfcalc.plotting.canvas import COLOURS, INK, new_figure, words
from rfcalc.plotting.dependence import Dependence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")


def draw_dependence(found: Dependence) -> Figure:
    """Units downwards, positions of the source to the right: what is read up to a unit's own hop, and after it."""
    figure = new_figure(7.0, 5.0)
    axes = figure.add_subplot()
    tops, bottoms = _rows(found)
    rows = [row for pair in zip(tops, bottoms, strict=True) for row in pair]

    def bars(begins: list[int], ends: list[int], colour: str, alpha: float, label: str) -> None:
        shown = [first < last for first, last in zip(begins, ends, strict=True)]
        axes.fill_betweenx(
            *(rows, _twice(begins), _twice(ends), _twice(shown)), color=colour, alpha=alpha, linewidth=0, label=label
        )

    units = found.units
    bars([unit.first for unit in units], [min(unit.last, unit.end) + 1 for unit in units], COLOURS[0], 0.45, "reads")
    if not found.causal:
        starts = [max(unit.first, unit.end + 1) for unit in units]
        bars(starts, [unit.last + 1 for unit in units], COLOURS[1], 0.7, "reads ahead of its hop")
    axes.plot(_twice([unit.end + 1 for unit in units]), rows, color=INK, linewidth=1, label="end of its own hop")
    axes.set_xlim(0, found.extent)
    axes.set_ylim(found.count - 0.5, -0.5)
    axes.set_xlabel(words(f"position along {found.axis} of {found.source}"))
    axes.set_ylabel(words(f"unit of {found.layer}"))
    axes.set_title(words(found.model), fontsize=10, loc="left", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.05), ncols=3)
    return figure


def _rows(found: Dependence) -> tuple[list[float], list[float]]:
    """Where the bar of each unit begins and ends: half way to its neighbours."""
    numbers = [unit.number for unit in found.units]
    between = [(one + two) / 2 for one, two in itertools.pairwise(numbers)]
    return [numbers[0] - 0.5, *between], [*between, numbers[-1] + 0.5]


def _twice(values: Iterable[T]) -> list[T]:
    """Each value at both ends of its bar."""
    return [value for value in values for _ in range(2)]
