"""The output formats, each one function from a report to text. A new format is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfcalc.report.document import Report
    from rfcalc.report.findings import CheckReport


@dataclass(frozen=True)
class Style:
    """What shows a report allows: the terminal's width (None: no limit), whether it shows bold, and whether CSV is for
    a spreadsheet, which takes some texts for formulas."""

    width: int | None = None
    bold: bool = False
    spreadsheet: bool = False


def _by(module: str, function: str = "render") -> Callable[..., str]:
    """A function of one of the modules here, which is imported when it is called."""

    def call(*args: Any) -> str:
        text: str = getattr(import_module(f"rfcalc.report.formats.{module}"), function)(*args)
        return text

    return call


FORMATS: dict[str, Callable[[Report, Style], str]] = {
    "table": lambda report, style: _by("table")(report, style.width, style.bold),
    "json": lambda report, style: _by("machine", "render_json")(report),
    "csv": lambda report, style: _by("machine", "render_csv")(report, style.spreadsheet),
    "markdown": lambda report, style: _by("markdown")(report),
    "latex": lambda report, style: _by("latex")(report),
    "html": lambda report, style: _by("html")(report),
}


def render(report: Report, name: str = "table", style: Style | None = None) -> str:
    """The report as text, with one line break at its end."""
    return FORMATS[name](report, style or Style())


#: GitHub takes no comment of so many characters.
COMMENT_LIMIT = 65_536

#: What the report of a check can be besides; comments on GitHub are the use of its Markdown.
CHECK_FORMATS: dict[str, Callable[[CheckReport, Style], str]] = {
    **FORMATS,
    "markdown": lambda report, style: _by("markdown", "render_within")(report, COMMENT_LIMIT),
    "github": lambda report, style: _by("github")(report),
    "junit": lambda report, style: _by("junit")(report),
    "benchmark": lambda report, style: _by("benchmark")(report),
}


def render_check(report: CheckReport, name: str = "table", style: Style | None = None) -> str:
    """The report of a check as text."""
    return CHECK_FORMATS[name](report, style or Style())
