"""GitHub's workflow commands: one annotation for each finding, beside the line that it is about."""

from __future__ import annotations

from rfcalc.report.findings import CheckReport, Finding


def render(report: CheckReport) -> str:
    """``::error file=...,line=...,title=...::message``; a notice where there is nothing to complain of."""
    if not report.findings:
        return f"::notice title=rfcalc::{_data(report.title)}\n"
    return "".join(f"{_command(finding)}\n" for finding in report.findings)


def _command(finding: Finding) -> str:
    places = {"file": finding.file, "line": str(finding.line or ""), "title": finding.title}
    given = ",".join(f"{key}={_property(value)}" for key, value in places.items() if value)
    return f"::error {given}::{_data(finding.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
