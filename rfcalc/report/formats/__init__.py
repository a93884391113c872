"""The output formats, each one function from a report to text. A new format is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rfcalc.report.document import Report
from rfcalc.report.findings import CheckReport
from rfcalc.report.formats import benchmark, github, html, junit, latex, machine, markdown, table


@dataclass(frozen=True)
class Style:
    """What the terminal allows: its width (None: no limit) and whether it shows bold."""

    width: int | None = None
    bold: bool = False


FORMATS: dict[str, Callable[[Report, Style], str]] = {
    "table": lambda report, style: table.render(report, style.width, style.bold),
    "json": lambda report, style: machine.render_json(report),
    "csv": lambda report, style: machine.render_csv(report),
    "markdown": lambda report, style: markdown.render(report),
    "latex": lambda report, style: latex.render(report),
    "html": lambda report, style: html.render(report),
}


def render(report: Report, name: str = "table", style: Style | None = None) -> str:
    """The report as text, with one line break at its end."""
    return FORMATS[name](report, style or Style())


#: GitHub takes no comment of so many characters.
COMMENT_LIMIT = 65_536

#: What the report of a check can be besides; comments on GitHub are the use of its Markdown.
CHECK_FORMATS: dict[str, Callable[[CheckReport, Style], str]] = {
    **FORMATS,
    "markdown": lambda report, style: markdown.render_within(report, COMMENT_LIMIT),
    "github": lambda report, style: github.render(report),
    "junit": lambda report, style: junit.render(report),
    "benchmark": lambda report, style: benchmark.render(report),
}


def render_check(report: CheckReport, name: str = "table", style: Style | None = None) -> str:
    """The report of a check as text."""
    return CHECK_FORMATS[name](report, style or Style())
