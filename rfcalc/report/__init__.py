"""From an analysis to text: reports as data, and one renderer for each format. No torch here.

What a command prints is loaded when it is asked for: an answer should not wait for the formats that it is not in.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfcalc.report.catalog import missing_report, ops_report, zoo_report
    from rfcalc.report.document import Column, Report, Section, Table
    from rfcalc.report.formats import FORMATS, Style, render
    from rfcalc.report.layers import analysis_html, details, overview

__all__ = [
    "FORMATS",
    "Column",
    "Report",
    "Section",
    "Style",
    "Table",
    "analysis_html",
    "details",
    "missing_report",
    "ops_report",
    "overview",
    "render",
    "zoo_report",
]

_HOMES = {
    "catalog": ("missing_report", "ops_report", "zoo_report"),
    "document": ("Column", "Report", "Section", "Table"),
    "formats": ("FORMATS", "Style", "render"),
    "layers": ("analysis_html", "details", "overview"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"rfcalc.report.{home}"), name)
    raise AttributeError(f"module 'rfcalc.report' has no attribute {name!r}")
