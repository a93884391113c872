"""Why other counters print other numbers: one row a tool, or the way from rfcalc's number to that of one tool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfcalc.report import text
from rfcalc.report.document import Column, Fact, Report, Section, Table

if TYPE_CHECKING:
    from rfcalc.conventions.records import Explanation, Tally, Term

_BRIEF = 3  #: terms of a tool that the overview names; --tool shows all
_NONE, _OURS = "none", "rfcalc's"


def explanation_report(found: Explanation) -> Report:
    """Every tool's number, the difference from rfcalc's, and its largest terms."""
    sections = [Section("", _facts(found))]
    for unit in dict.fromkeys(tally.unit for tally in found.tallies):
        tallies = [tally for tally in found.tallies if tally.unit == unit]
        sections.append(Section(f"{unit.capitalize()} of each tool", (), _overview(unit, tallies)))
    records = [_record(tally) for tally in found.tallies]
    return Report(
        f"{found.model}: why other counters print other numbers",
        tuple(sections),
        (*_notes(found), *_faults(found.tallies)),
        found.to_dict(),
        records,
    )


def tool_report(found: Explanation, every: bool) -> Report:
    """The full way to each tool's number, term by term, and with ``every`` layer by layer."""
    sections: list[Section] = []
    for tally in found.tallies:
        sections.append(Section(tally.tool, _tool_facts(tally), None if tally.refused else _terms(tally)))
        if every and not tally.refused and tally.terms:
            sections.append(Section(f"{tally.tool}, layer by layer", (), _layers(tally)))
    names = ", ".join(tally.tool for tally in found.tallies)
    return Report(
        f"{found.model}: from rfcalc's number to that of {names}",
        (Section("", _facts(found)), *sections),
        (*_notes(found), *_faults(found.tallies)),
        found.to_dict(),
        [row for tally in found.tallies for row in (_part_records(tally) if every else _term_records(tally))],
    )


def _facts(found: Explanation) -> tuple[Fact, ...]:
    inputs = ", ".join(f"{name} {text.cross(shape)}" for name, shape in found.inputs.items())
    told = "not known: a mask is data"
    if found.unmasked is not None:
        told = f"{text.count_and_short(found.unmasked)} multiply-adds, without pairs that a mask closes"
    left = () if found.unmasked == found.macs else (("unmasked", told),)
    return (
        ("input", inputs),
        ("multiply-adds", text.count_and_short(found.macs)),
        *left,
        ("parameters", text.count_and_short(found.params)),
    )


def _notes(found: Explanation) -> Iterator[str]:
    if found.unknown_ops:
        yield f"rfcalc's own number is a lower bound: no rule for {', '.join(found.unknown_ops)}"
    for tally in found.tallies:
        if tally.factor != 1 and not tally.refused:
            yield f"{tally.tool} prints {tally.prints}: {text.count(tally.printed)}"


def _faults(tallies: Sequence[Tally]) -> Iterator[str]:
    faults = (fault for tally in tallies if not tally.refused for fault in tally.faults)
    return (f"fault: {fault}" for fault in dict.fromkeys(faults))


# --- all tools --------------------------------------------------------------------------------------------------------


def _overview(unit: str, tallies: Sequence[Tally]) -> Table:
    columns = (
        Column("tool"),
        Column("version", drop=3, shorten=2),
        Column(unit, lambda total: _NONE if total is None else text.count(total), right=True),
        Column("difference", _signed, right=True),
        Column("why", shorten=1, prose=True),
    )
    return Table(columns, tuple(_row(tally) for tally in tallies))


def _row(tally: Tally) -> tuple[Any, ...]:
    if tally.refused:
        return tally.tool, tally.version, None, None, tally.refused
    return tally.tool, tally.version, tally.total, tally.total - tally.base, _why(tally)


def _why(tally: Tally) -> str:
    """The largest terms in brief."""
    terms = sorted(tally.terms, key=lambda term: -abs(term.amount))
    brief = [f"{_signed(term.amount)} {_short(term)}" for term in terms[:_BRIEF]]
    more = len(terms) - len(brief)
    return "; ".join([*brief, *([f"{more} more"] if more else [])]) or "the same"


def _short(term: Term) -> str:
    """The label up to its rule, and whether it is a fault."""
    return term.label.partition(":")[0].partition(",")[0] + (" (fault)" if term.fault else "")


def _signed(amount: int | None) -> str:
    if amount is None:
        return text.NOTHING
    return f"+{text.count(amount)}" if amount > 0 else text.count(amount)


# --- one tool ---------------------------------------------------------------------------------------------------------


def _tool_facts(tally: Tally) -> tuple[Fact, ...]:
    facts = [("version", tally.version), ("as in", tally.call), ("prints", tally.prints)]
    more = [("no number", tally.refused)] if tally.refused else []
    return (*facts, *more, *([("besides", tally.caveat)] if tally.caveat else []))


def _terms(tally: Tally) -> Table:
    columns = (
        Column("term", shorten=1, prose=True),
        Column("layers", lambda number: "" if number is None else text.count(number), right=True, drop=2),
        Column(tally.unit, right=True),
    )
    rows: list[tuple[Any, ...]] = [(f"{_OURS} {tally.unit}", None, text.count(tally.base))]
    for term in tally.terms:
        rows.append((term.label + (" (fault)" if term.fault else ""), term.layers, _signed(term.amount)))
    rows.append((f"= {tally.tool}'s", None, text.count(tally.total)))
    if tally.factor != 1:
        rows.append((f"x {tally.factor} = {tally.prints}", None, text.count(tally.printed)))
    return Table(columns, tuple(rows))


def _layers(tally: Tally) -> Table:
    columns = (Column("layer", shorten=1), Column("term", shorten=1, prose=True), Column(tally.unit, right=True))
    rows = ((part.layer, term.label, _signed(part.amount)) for term in tally.terms for part in term.parts)
    return Table(columns, tuple(rows))


# --- for machines -----------------------------------------------------------------------------------------------------


def _record(tally: Tally) -> Mapping[str, Any]:
    return {
        "tool": tally.tool,
        "version": tally.version,
        "unit": tally.unit,
        "rfcalc": tally.base,
        "total": None if tally.refused else tally.total,
        "difference": None if tally.refused else tally.total - tally.base,
        "printed": None if tally.refused else tally.printed,
        "prints": tally.prints,
        "faults": "; ".join(tally.faults),
        "refused": tally.refused,
    }


def _term_records(tally: Tally) -> list[Mapping[str, Any]]:
    """One row a term, after one for rfcalc's number: those of a tool add up to its total."""
    rows = [(_OURS, None, tally.base, ""), *((t.label, t.layers, t.amount, t.fault) for t in tally.terms)]
    return [
        {"tool": tally.tool, "term": label, "layers": layers, "unit": tally.unit, "amount": amount, "fault": fault}
        for label, layers, amount, fault in rows
    ]


def _part_records(tally: Tally) -> list[Mapping[str, Any]]:
    """One row a term and layer."""
    return [
        {
            "tool": tally.tool,
            "term": term.label,
            "layer": part.layer,
            "unit": tally.unit,
            "amount": part.amount,
            "fault": term.fault,
        }
        for term in tally.terms
        for part in term.parts
    ]
