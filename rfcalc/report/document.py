"""A report as data: a title, sections of facts and tables, notes, and the same content for machines.

Values stay what they are until a renderer asks a column to show them, so that one report serves every format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Fact = tuple[str, str]  #: label and text


class Math(str):
    """A text of a table that is a formula: as it reads elsewhere, and how LaTeX writes it inside of dollar signs."""

    __slots__ = ("latex",)
    latex: str

    def __new__(cls, text: str, latex: str) -> Math:
        """The text and its LaTeX."""
        made = super().__new__(cls, text)
        made.latex = latex
        return made


class Word(str):
    """A note about what stands in columns of these ``titles``; where all of them are left out, so is the note."""

    __slots__ = ("titles",)
    titles: frozenset[str]

    def __new__(cls, text: str, titles: Iterable[str]) -> Word:
        """The text, and the columns that it is about."""
        made = super().__new__(cls, text)
        made.titles = frozenset(titles)
        return made


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, how a value of it is shown, and what may happen to it when space is short.

    For a narrow terminal a table goes through levels 1, 2, 3, ... until it fits: at level ``drop`` the column is left
    out, from level ``shorten`` on its texts may be cut (``prose`` at the end, a name in the middle); 0 is never.
    """

    title: str
    show: Callable[[Any], str] = str
    right: bool = False
    drop: int = 0
    shorten: int = 0
    prose: bool = False


@dataclass(frozen=True)
class Table:
    """Columns and rows; each row has one value for each column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]

    def texts(self) -> list[list[str]]:
        """The rows as strings."""
        return [[column.show(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]


@dataclass(frozen=True)
class Section:
    """A part of a report: an optional title, labelled facts, then at most one table.

    A ``folded`` one, which needs a title, is opened by the reader where a format can do that.
    """

    title: str = ""
    facts: tuple[Fact, ...] = ()
    table: Table | None = None
    folded: bool = False


@dataclass(frozen=True)
class Report:
    """What one command has to say. ``data`` is its JSON document, ``records`` its CSV rows (all with the same keys)."""

    title: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    records: Sequence[Mapping[str, Any]] = ()
    comments: tuple[str, ...] = ()  #: what only a format with comments says
