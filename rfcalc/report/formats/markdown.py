"""Markdown as GitHub reads it."""

from __future__ import annotations

import re

from tabulate import tabulate

from rfcalc.report.document import Report, Section, Table
from rfcalc.report.text import clean

# An underscore or a # inside a word means nothing to Markdown; escaping it would only make the text hard to read.
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")


def render(report: Report) -> str:
    """A heading, the sections, the notes as a list."""
    blocks = [f"# {escape(report.title)}"]
    for section in report.sections:
        blocks += _section(section)
    if report.notes:
        blocks.append("\n".join(f"- {escape(note)}" for note in report.notes))
    return "\n\n".join(blocks) + "\n"


def _section(section: Section) -> list[str]:
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
