"""Reports of what rfcalc knows: its own architectures, the ops with a rule, and those a model lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rfcalc.report import text
from rfcalc.report.document import Column, Report, Section, Table

if TYPE_CHECKING:
    from rfcalc.ops.registry import Registered
    from rfcalc.zoo import Entry


def zoo_report(entries: Iterable[Entry]) -> Report:
    """The zoo, one row an architecture; papers are numbered and follow as notes."""
    listed = list(entries)
    papers = {paper: place for place, paper in enumerate(dict.fromkeys(entry.paper for entry in listed), start=1)}
    columns = (
        Column("name"),
        Column("title", shorten=1, prose=True, drop=4),
        Column("year", right=True, drop=3),
        Column("input", text.cross, right=True),
        Column("paper", lambda number: f"[{number}]", right=True, drop=2),
    )
    rows = tuple((entry.name, entry.title, entry.year, entry.input_shape, papers[entry.paper]) for entry in listed)
    records: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "title": entry.title,
            "year": entry.year,
            "input_shape": list(entry.input_shape),
            "paper": entry.paper,
        }
        for entry in listed
    ]
    return Report(
        f"{text.plural(len(listed), 'architecture')} of rfcalc's own",
        (Section(table=Table(columns, rows)),),
        tuple(f"[{number}] {paper}" for paper, number in papers.items()),
        {"schema": "rfcalc-list/1", "models": records},
        [{**record, "input_shape": text.cross(record["input_shape"])} for record in records],
    )


def ops_report(registered: Mapping[str, Registered]) -> Report:
    """Every op that has a rule."""
    columns = (Column("op", shorten=3), Column("family", drop=2), Column("rule", shorten=1, prose=True, drop=3))
    rows = tuple((op, item.family, item.summary) for op, item in registered.items())
    records: list[dict[str, Any]] = [dict(zip(("op", "family", "summary"), row, strict=True)) for row in rows]
    return Report(
        f"{text.plural(len(rows), 'op')} with a rule",
        (Section(table=Table(columns, rows)),),
        (),
        {"schema": "rfcalc-ops/1", "ops": records},
        records,
    )


def missing_report(model: str, calls: Mapping[str, int]) -> Report:
    """The ops of a model that have no rule, with the number of their calls."""
    records = [{"op": op, "calls": number} for op, number in calls.items()]
    data = {"schema": "rfcalc-missing/1", "model": model, "missing": records}
    if not calls:
        return Report(f"{model}: every op has a rule", (), (), data, records)
    table = Table((Column("op", shorten=1), Column("calls", text.count, right=True)), tuple(calls.items()))
    return Report(
        f"{model}: {text.plural(len(calls), 'op')} without a rule", (Section(table=table),), (), data, records
    )
