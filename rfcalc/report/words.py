"""The words of a table, explained under a table that has them; docs/definitions.md has the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rfcalc.report import text
from rfcalc.report.columns import COLUMNS
from rfcalc.report.document import Column, Table

#: What a word of a column of fields means, in the order in which it is said.
VALUES = {
    "whole": "whole: each unit sees all of it, wherever the unit is",
    "(whole)": "(whole): at this size of the input, the window of each unit covers it",
    "none": "none: nothing of it reaches the layer",
}
#: Where nothing is said, by column.
_ABSENT = {
    "stride": "- under stride, start: no window moves from unit to unit",
    "share": "- under share: there are no multiply-adds to have a share of",
}
_FIELDS = frozenset({"field", "local"})


def legend(tables: Iterable[Table | None]) -> list[str]:
    """A line for each word that the tables hold; the field's stride is told from that of a kernel."""
    known = [table for table in tables if table is not None]
    return list(dict.fromkeys(line for table in known for line in _lines(table)))


def glossary() -> list[str]:
    """All columns of the table of layers with what they are and their other names, and the words within them."""
    size = max(map(len, COLUMNS))
    lines = []
    for name, found in COLUMNS.items():
        others = f"; or {', '.join(found.aliases)}" if found.aliases else ""
        lines.append(f"{name:<{size}}  {found.helps}{others}")
    return [*lines, "", *VALUES.values(), *_ABSENT.values()]


def _lines(table: Table) -> Iterator[str]:
    titles = {_word(column) for column in table.columns}
    if "stride" in titles:
        offset = "; start: its offset, the first index that unit 0 reads" if "start" in titles else ""
        yield f"stride: the field's jump from unit to unit, not a kernel's{offset}"
    texts = zip(*table.texts(), strict=True) if table.rows else ()
    cells = [(_word(column), set(has)) for column, has in zip(table.columns, texts, strict=False)]
    shown = {part for word, has in cells if word in _FIELDS for one in has for part in one.split()}
    yield from (line for word, line in VALUES.items() if word in shown)
    against = next((column.title.partition(" vs ") for column in table.columns if " vs " in column.title), None)
    if against is not None:
        yield f"- under vs {against[2]}: the row that the others are measured against"
    absent = {word for word, has in cells if text.NOTHING in has}
    yield from (line for word, line in _ABSENT.items() if word in absent)


def _word(column: Column) -> str:
    """The title without the input that it is about."""
    return column.title.partition(" in ")[0]
