"""LaTeX, a fragment to include; tables need the package booktabs."""

from __future__ import annotations

from tabulate import tabulate

from rfcalc.report.document import Fact, Math, Report, Section, Table
from rfcalc.report.text import clean

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "^": r"\^{}",
    "~": r"\textasciitilde{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "·": r"\ensuremath{\cdot}",
    **{char: rf"\textsuperscript{{{digit}}}" for digit, char in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}


def render(report: Report) -> str:
    """The title in bold, tables with booktabs rules, the notes as paragraphs."""
    blocks = ["\n".join(["% \\usepackage{booktabs}", *(f"% {clean(line)}" for line in report.comments)])]
    if report.title:
        blocks.append(rf"\noindent\textbf{{{escape(report.title)}}}")
    for section in report.sections:
        blocks += _section(section)
    blocks += [rf"\noindent {escape(note)}" for note in report.notes]
    return "\n\n".join(blocks) + "\n"


def _section(section: Section) -> list[str]:
    blocks = [rf"\noindent\textbf{{{escape(section.title)}}}"] if section.title else []
    if section.facts:
        blocks.append(_facts(section.facts))
    if section.table is not None:
        blocks.append(_table(section.table))
    return blocks


def _facts(facts: tuple[Fact, ...]) -> str:
    rows = "\n".join(rf"{escape(label)} & {escape(value)} \\" for label, value in facts)
    return f"\\noindent\\begin{{tabular}}{{lp{{0.7\\linewidth}}}}\n{rows}\n\\end{{tabular}}"


def _table(table: Table) -> str:
    # tabulate's format with booktabs rules would escape formulas too.
    grid = tabulate(
        [[escape(text) for text in row] for row in table.texts()],
        headers=[escape(column.title) for column in table.columns],
        tablefmt="latex_raw",
        colalign=["right" if column.right else "left" for column in table.columns],
        disable_numparse=True,
    )
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        grid = grid.replace("\n\\hline", f"\n{rule}", 1)
    return rf"\noindent{grid}"


def escape(text: str) -> str:
    """The text with LaTeX's special characters made plain; a formula as LaTeX writes it."""
    if isinstance(text, Math):
        return f"${text.latex}$"
    return "".join(_ESCAPES.get(char, char) for char in clean(text))
