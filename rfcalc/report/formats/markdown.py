"""Markdown as GitHub reads it."""

from __future__ import annotations

import re
from dataclasses import replace

from tabulate import tabulate

from rfcalc.report.document import Report, Section, Table
from rfcalc.report.text import clean

# An underscore or a # inside a word means nothing to Markdown; escaping it would only make the text hard to read.
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")
_ROW = 40  #: characters of a table's row, about
_CUT = "\n\n(the rest is left out: it is too long)\n"


def render(report: Report) -> str:
    """A heading, the sections, the notes as a list."""
    blocks = [f"# {escape(report.title)}"]
    for section in report.sections:
        blocks += _section(section)
    if report.notes:
        blocks.append("\n".join(f"- {escape(note)}" for note in report.notes))
    return "\n\n".join(blocks) + "\n"


def render_within(report: Report, limit: int) -> str:
    """The same in fewer characters than the limit: the ends of long tables are left out, and their rows counted."""
    longest = max((len(part.table.rows) for part in report.sections if part.table is not None), default=0)
    text = render(report)
    if len(text) < limit:
        return text
    least, most = 0, min(longest, limit // _ROW)
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if len(render(_shortened(report, middle))) < limit else (least, middle - 1)
    text = render(_shortened(report, least))
    return text if len(text) < limit else text[: limit - len(_CUT) - 1] + _CUT


def _shortened(report: Report, rows: int) -> Report:
    """The report with no more than so many rows in any table."""
    return replace(report, sections=tuple(_first_rows(section, rows) for section in report.sections))


def _first_rows(section: Section, rows: int) -> Section:
    table = section.table
    if table is None or len(table.rows) <= rows:
        return section
    left_out = ("left out", f"the last {len(table.rows) - rows:,} of {len(table.rows):,} rows of this table")
    return replace(section, facts=(*section.facts, left_out), table=replace(table, rows=table.rows[:rows]))


def _section(section: Section) -> list[str]:
    if section.folded:
        inner = "\n\n".join(_section(replace(section, title="", folded=False)))
        return [f"<details><summary>{escape(section.title)}</summary>", inner, "</details>"]
    blocks = [f"## {escape(section.title)}"] if section.title else []
    if section.facts:
        blocks.append("\n".join(f"- {escape(label)}: {escape(value)}" for label, value in section.facts))
    if section.table is not None:
        blocks.append(_table(section.table))
    return blocks


def _table(table: Table) -> str:
    grid = tabulate(
        [[escape(text) for text in row] for row in table.texts()],
        headers=[escape(column.title) for column in table.columns],
        tablefmt="pipe",
        colalign=["right" if column.right else "left" for column in table.columns],
        disable_numparse=True,
    )
    return str(grid)


def escape(text: str) -> str:
    """The text with everything that Markdown or HTML would take for markup made plain."""
    plain = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda match: "\\" + match[0], plain)
