"""The report of a check: what any report has, and what only programs of a CI system ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rfcalc.report.document import Report


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to show beside a line of a file; ``line`` is 0 where no line is meant. Messages may have lines."""

    file: str
    line: int
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that was checked: of which model, and what came out; "" is well."""

    model: str
    name: str
    failure: str = ""
    error: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a model, the smaller the better."""

    name: str
    unit: str
    value: int


@dataclass(frozen=True)
class CheckReport(Report):
    """A report with annotations, test cases and metrics."""

    findings: Sequence[Finding] = ()
    cases: Sequence[Case] = ()
    metrics: Sequence[Metric] = ()
