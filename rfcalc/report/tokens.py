"""The report of what one token costs: a row for each part of the model, and the parameters that a token meets."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rfcalc.report import text
from rfcalc.report.document import Column, Fact, Report, Section, Table
from rfcalc.report.layers import title

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis
    from rfcalc.analyses.costs.parts import Part, Tokens


def tokens_report(analysis: Analysis, found: Tokens) -> Report:
    """What a token costs, by part."""
    sections = (Section(table=_table(found)), Section(facts=tuple(_facts(found))))
    records = [_record(found, part) for part in found.parts]
    return Report(title(analysis.model, analysis.inputs), sections, tuple(_notes(found)), found.to_dict(), records)


def _table(found: Tokens) -> Table:
    columns = (
        Column("part"),
        Column("parameters", text.count, right=True),
        Column("active", share, right=True),
        Column("multiply-adds", share, right=True),
        Column("unmasked", share, right=True, drop=1),
        Column("backward", share, right=True, drop=2),
    )
    rows = [
        (part.name, part.params, part.active, *map(found.each, (part.macs, part.unmasked, part.backward)))
        for part in found.parts
    ]
    whole = found.params, found.active, *map(found.each, (found.macs, found.unmasked, found.backward))
    return Table(columns, (*rows, ("a token", *whole)))


def share(value: Fraction | None) -> str:
    """The share of one token, exactly: ``1,024``, ``2,113/2``; ``?`` where it is not known."""
    if value is None:
        return text.UNKNOWN
    return text.count(value.numerator) + ("" if value.denominator == 1 else f"/{text.count(value.denominator)}")


def _facts(found: Tokens) -> Iterator[Fact]:
    yield "tokens", text.count(found.tokens)
    active = f"{text.count(found.params)}, of which a token meets {share(found.active)}"
    if found.embeddings:
        active += f"; {text.count(found.embeddings)} are tables of embeddings, looked up"
    yield "parameters", active
    step = None if found.backward is None else found.macs + found.backward
    yield "a token", f"{share(found.each(found.macs))} multiply-adds, {share(found.each(step))} in training"


def _notes(found: Tokens) -> Iterator[str]:
    if found.unmasked is None:
        yield "unmasked: data decides which pairs are closed"
    if found.backward is None:
        yield "backward: an op has no rule for the backward pass"


def _record(found: Tokens, part: Part) -> dict[str, Any]:
    row = next(row for row in found.to_dict()["parts"] if row["name"] == part.name)
    return {"part": part.name, **{key: value for key, value in row.items() if key != "name"}}
