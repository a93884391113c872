"""JSON and CSV: exact numbers for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from rfcalc.report.document import Report
from rfcalc.report.text import clean

#: Control characters that a quoted cell may hold.
_IN_QUOTES = "\t\r\n"
#: What a cell begins with that a spreadsheet takes for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def render_json(report: Report) -> str:
    """The report's JSON document."""
    return json.dumps(report.data, indent=2, allow_nan=False) + "\n"


def render_csv(report: Report, spreadsheet: bool = False) -> str:
    """The report's records; nothing for None, ``true`` and ``false`` as in JSON.

    For a ``spreadsheet``, texts that one takes for formulas begin with an apostrophe.
    """
    if not report.records:
        return ""
    rows = [list(report.records[0]), *(list(record.values()) for record in report.records)]
    return "".join(_line([_cell(value, spreadsheet) for value in row]) for row in rows)


def _line(cells: Sequence[Any]) -> str:
    """One line. The writer of Python quotes a carriage return only where it ends its own lines by one."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any, spreadsheet: bool) -> Any:
    """A value as a cell has it; of control characters only those that a quoted cell may hold stay."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    text = "".join([char if char in _IN_QUOTES else clean(char) for char in value])
    return f"'{text}" if spreadsheet and text.startswith(_FORMULA) else text
