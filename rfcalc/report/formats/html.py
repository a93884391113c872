"""A small HTML page that needs nothing else, or the fragment inside it (for notebooks)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape as escape_markup

from tabulate import tabulate

from rfcalc.report.document import Report, Section, Table, Word
from rfcalc.report.text import clean

_STYLE = """\
body { font-family: system-ui, sans-serif; margin: 2rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid #ddd; text-align: left; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; }
dt { color: #555; }
dd { margin: 0; }"""


def render(report: Report) -> str:
    """A page of its own."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n"
        f"<body>\n{fragment(report)}</body>\n</html>\n"
    )


def fragment(report: Report) -> str:
    """The report without a page around it."""
    blocks = [f"<h1>{escape(report.title)}</h1>"]
    words = {title: anchor(note) for note in reversed(report.notes) if isinstance(note, Word) for title in note.titles}
    for section in report.sections:
        blocks += _section(section, words)
    if report.notes:
        blocks.append("\n".join(("<ul>", *map(_note, report.notes), "</ul>")))
    return "\n".join(blocks) + "\n"


def anchor(note: Word) -> str:
    """What a link to the meaning of a word leads to: the same for the same word in all reports of one notebook."""
    return "rfcalc-" + "-".join(re.findall(r"\w+", note.partition(":")[0]))


def _note(note: str) -> str:
    return f'<li id="{anchor(note)}">{escape(note)}</li>' if isinstance(note, Word) else f"<li>{escape(note)}</li>"


def _section(section: Section, words: Mapping[str, str]) -> list[str]:
    blocks = [f"<h2>{escape(section.title)}</h2>"] if section.title else []
    if section.facts:
        rows = "\n".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in section.facts)
        blocks.append(f"<dl>\n{rows}\n</dl>")
    if section.table is not None:
        blocks.append(_table(section.table, words))
    return blocks


def _table(table: Table, words: Mapping[str, str]) -> str:
    """A table in which the title of a column leads to what it means, where that is told below."""

    def head(title: str) -> str:
        return f'<a href="#{words[title]}">{escape(title)}</a>' if title in words else escape(title)

    return str(
        tabulate(
            [[escape(text) for text in row] for row in table.texts()],
            headers=[head(column.title) for column in table.columns],
            tablefmt="unsafehtml",
            colalign=["right" if column.right else "left" for column in table.columns],
            disable_numparse=True,
        )
    )


def escape(text: str) -> str:
    """The text with markup made plain."""
    return escape_markup(clean(text))
