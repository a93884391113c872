"""From an analysis to text: reports as data, and one renderer for each format. No torch here."""

from __future__ import annotations

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
