"""What github-action-benchmark draws with ``tool: customSmallerIsBetter``."""

from __future__ import annotations

import json

from rfcalc.report.findings import CheckReport


def render(report: CheckReport) -> str:
    """One entry for each number of each model."""
    rows = [{"name": item.name, "unit": item.unit, "value": item.value} for item in report.metrics]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
