"""Making a table fit a terminal: columns are left out in a fixed order, long texts are cut, nothing wraps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rfcalc.report.document import Column, Table
from rfcalc.report.text import clean

GAP = 2  #: spaces between columns
_ROOM, _LEAST = 24, 12  #: a text is cut no shorter than the first, and in a very narrow terminal than the second


@dataclass(frozen=True)
class Fitted:
    """The columns that are left with their texts, and the titles of those left out."""

    columns: tuple[Column, ...]
    rows: list[list[str]]
    left_out: tuple[str, ...] = ()

    @property
    def widths(self) -> list[int]:
        """The width of each column, its title included."""
        lines = [[column.title for column in self.columns], *self.rows]
        return [max(len(text) for text in texts) for texts in zip(*lines, strict=True)]


def fit(table: Table, width: int | None) -> Fitted:
    """The table cut down to the width; None is no limit. A width too small for any table gets the smallest one."""
    texts = [[clean(text) for text in row] for row in table.texts()]
    for level, least in _plans(table):
        fitted = _without(table, texts, level)
        if width is None:
            break
        fitted = _shortened(fitted, width, level, least)
        if _total(fitted.widths) <= width:
            break
    return fitted


def _plans(table: Table) -> Iterator[tuple[int, int]]:
    """How far to go, from nothing to everything: the level of what may happen, and how short a text may become."""
    levels = sorted({0, *(column.drop for column in table.columns), *(column.shorten for column in table.columns)})
    yield from ((level, _ROOM) for level in levels)
    yield levels[-1], _LEAST


def _total(widths: list[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _without(table: Table, texts: list[list[str]], level: int) -> Fitted:
    """The table without the columns that go at this level."""
    kept = [place for place, column in enumerate(table.columns) if not 0 < column.drop <= level]
    gone = tuple(column.title for column in table.columns if 0 < column.drop <= level)
    return Fitted(
        tuple(table.columns[place] for place in kept), [[row[place] for place in kept] for row in texts], gone
    )


def _shortened(fitted: Fitted, width: int, level: int, least: int) -> Fitted:
    """The table with the longest texts cut as far as the width asks, in the columns that may be cut at this level."""
    widths = fitted.widths
    open_to_cuts = [place for place, column in enumerate(fitted.columns) if 0 < column.shorten <= level]
    limits = list(widths)
    while open_to_cuts and _total(limits) > width:
        longest = max(open_to_cuts, key=lambda place: limits[place])
        if limits[longest] <= max(least, len(fitted.columns[longest].title)):
            break
        limits[longest] -= 1
    rows = [
        [cut(text, limit, column.prose) for text, limit, column in zip(row, limits, fitted.columns, strict=True)]
        for row in fitted.rows
    ]
    return Fitted(fitted.columns, rows, fitted.left_out)


def cut(text: str, limit: int, prose: bool = False) -> str:
    """The text with dots where something was cut: the end of prose, the middle of a name, whose end says the most."""
    if len(text) <= limit:
        return text
    head = limit - 2 if prose else (limit - 2) // 3
    tail = text[len(text) - (limit - 2 - head) :] if not prose else ""
    return f"{text[:head].rstrip('. ')}..{tail.lstrip('.')}"
