"""The words of a table, explained under a table that has them; docs/definitions.md has the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rfcalc.report import text
from rfcalc.report.columns import COLUMNS
from rfcalc.report.document import Table, Word

#: What columns of fields are, where another meaning is near: a layer has the stride of its kernel, too.
FIELDS = {
    "stride": "stride: the field's jump from unit to unit, not a kernel's",
    "start": "start: the field's offset, the first index that unit 0 reads",
}
#: What a word within a column of fields means, in the order in which it is said.
VALUES = {
    "whole": "whole: each unit sees all of it, wherever the unit is",
    "(whole)": "(whole): at this size of the input, the window of each unit covers it",
    "none": "none: nothing of it reaches the layer",
}
#: Where nothing is said, by column.
ABSENT = {
    "stride": "- under stride, start: no window moves from unit to unit",
    "share": "- under share: there are no multiply-adds to have a share of",
}
_SIZES = ("field", "local")
_WRITTEN_OUT = ("docs/definitions.md: formulas and worked examples; docs/flops.md: what is counted, op by op",)


def legend(tables: Iterable[Table | None]) -> list[Word]:
    """A line for each word that the tables hold and that could be misread."""
    known = [table for table in tables if table is not None]
    return list(dict.fromkeys(line for table in known for line in _lines(table)))


def glossary() -> list[str]:
    """All columns of the table of layers with what they are and their other names, and the words within them."""
    size = max(map(len, COLUMNS))
    lines = []
    for name, found in COLUMNS.items():
        others = f"; or {', '.join(found.aliases)}" if found.aliases else ""
        lines.append(f"{name:<{size}}  {found.helps}{others}")
    return [*lines, "", *VALUES.values(), *ABSENT.values(), "", *_WRITTEN_OUT]


def meanings() -> list[tuple[str, str]]:
    """The words that stand in columns of fields, each with what it means."""
    return [(word, line.removeprefix(f"{word}: ")) for word, line in VALUES.items()]


def _lines(table: Table) -> Iterator[Word]:
    titles: dict[str, list[str]] = {}  #: by the word before the input that a column is about
    cells: dict[str, set[str]] = {}
    for column, texts in zip(table.columns, zip(*table.texts(), strict=True), strict=False):
        word = column.title.partition(" in ")[0]
        titles.setdefault(word, []).append(column.title)
        cells.setdefault(word, set()).update(texts)
    for word, line in FIELDS.items():
        if word in titles:
            yield Word(line, titles[word])
    sizes = [title for word in _SIZES for title in titles.get(word, ())]
    shown = {part for word in _SIZES for one in cells.get(word, ()) for part in one.split()}
    yield from (Word(line, sizes) for word, line in VALUES.items() if word in shown)
    ratios = [title for title in titles if " vs " in title]
    if ratios:
        other = ratios[0].partition(" vs ")[2]
        yield Word(f"- under vs {other}: the row that the others are measured against", ratios)
    yield from (Word(line, titles[word]) for word, line in ABSENT.items() if text.NOTHING in cells.get(word, ()))
