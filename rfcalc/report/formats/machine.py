"""JSON and CSV: exact numbers for programs."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from rfcalc.report.document import Report


def render_json(report: Report) -> str:
    """The report's JSON document."""
    return json.dumps(report.data, indent=2, allow_nan=False) + "\n"


def render_csv(report: Report) -> str:
    """The report's records; nothing for None, ``true`` and ``false`` as in JSON."""
    if not report.records:
        return ""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(report.records[0])
    writer.writerows([_cell(value) for value in record.values()] for record in report.records)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
