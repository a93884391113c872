"""Plain text for a terminal, never wider than it as long as a table can be cut down to it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rfcalc.report.document import Fact, Report, Section, Table, Word
from rfcalc.report.fit import GAP, fit
from rfcalc.report.text import clean

_LEAST = 20  #: prose is not wrapped narrower than this


def render(report: Report, width: int | None = None, bold: bool = False) -> str:
    """Title, sections and notes, a blank line between them."""
    left_out: list[str] = []
    blocks = [_strong(_wrap(clean(report.title), width), bold)]
    for section in report.sections:
        blocks += _section(section, width, bold, left_out)
    seen = [note for note in report.notes if not isinstance(note, Word) or not note.titles.issubset(left_out)]
    notes = [clean(note) for note in seen]
    if left_out:
        notes.append(f"columns left out at this width: {', '.join(dict.fromkeys(left_out))}")
    if notes:
        blocks.append("\n".join(_wrap(note, width, "  ") for note in notes))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: Section, width: int | None, bold: bool, left_out: list[str]) -> list[str]:
    head = [_strong(_wrap(clean(section.title), width), bold)] if section.title else []
    if section.facts:
        head.append(_facts(section.facts, width, "  " if section.title else ""))
    blocks = ["\n".join(head)] if head else []
    if section.table is not None:
        text, dropped = _grid(section.table, width, bold)
        left_out += dropped
        blocks.append(textwrap.indent(text, "  ") if section.title and width is None else text)
    return blocks


def _grid(table: Table, width: int | None, bold: bool) -> tuple[str, Sequence[str]]:
    fitted = fit(table, width)
    titles = [column.title for column in fitted.columns]
    sizes = fitted.widths
    rules = ["-" * size for size in sizes]
    pads = [str.rjust if column.right else str.ljust for column in fitted.columns]
    first, *rest = (
        (" " * GAP).join(pad(cell, size) for pad, cell, size in zip(pads, row, sizes, strict=True)).rstrip()
        for row in (titles, rules, *fitted.rows)
    )
    return "\n".join([_strong(first, bold), *rest]), fitted.left_out


def _facts(facts: Sequence[Fact], width: int | None, indent: str) -> str:
    size = max(len(clean(label)) for label, _ in facts)
    lines = [f"{indent}{clean(label):<{size}}  {clean(value)}" for label, value in facts]
    return "\n".join(_wrap(line, width, " " * (len(indent) + size + 2)) for line in lines)


def _wrap(line: str, width: int | None, indent: str = "") -> str:
    if width is None or len(line) <= width:
        return line
    return textwrap.fill(
        line,
        max(width, _LEAST),
        subsequent_indent=indent if width - len(indent) >= _LEAST else "    ",
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _strong(line: str, bold: bool) -> str:
    return f"\x1b[1m{line}\x1b[0m" if bold else line
