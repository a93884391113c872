"""The report of a cross-check: the verdict, what was compared, every disagreement, then time and notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rfcalc.report import text
from rfcalc.report.document import Column, Fact, Report, Section, Table

if TYPE_CHECKING:
    from rfcalc.checking.results import Check, Timing, Verification

_SLOWEST = 10  #: layers in the table of times; JSON has all

_TITLES = {
    "shapes": "output shapes",
    "params": "parameters and buffers",
    "macs": "multiply-adds",
    "backward_macs": "multiply-adds, backward",
    "receptive_fields": "receptive fields",
    "own_pass": "outputs of JAX's own pass",
}


def verification_report(found: Verification) -> Report:
    """A verification in every format."""
    differing = sum(len(check.differences) for check in found.checks)
    verdict = "agrees with a real forward pass" if found.agree else text.plural(differing, "disagreement")
    sections = [Section("", _facts(found), _checks(found.checks))]
    if differing:
        sections.append(Section("Disagreements", (), _differences(found.checks)))
    if found.timing is not None:
        sections.append(Section("Time", _time_facts(found.timing), _times(found.timing)))
    notes = [f"{_TITLES.get(check.what, check.what)}: {note}" for check in found.checks for note in check.notes]
    return Report(
        f"{found.model}: {verdict}", tuple(sections), (*found.notices, *notes), found.to_dict(), _records(found.checks)
    )


def _facts(found: Verification) -> tuple[Fact, ...]:
    inputs = ", ".join(f"{name} {text.cross(shape)}" for name, shape in found.inputs.items())
    mode = "training" if found.training else "inference"
    return (
        ("input", inputs),
        ("device", found.device),
        ("versions", ", ".join(f"{name} {version}" for name, version in found.versions.items())),
        ("run", f"{mode}, {found.weights} weights, {found.probes} probes an axis, seed {found.seed}"),
    )


def _checks(checks: tuple[Check, ...]) -> Table:
    columns = (
        Column("what", lambda what: _TITLES.get(what, what)),
        Column("compared", text.count, right=True),
        Column("agree", text.count, right=True),
        Column("differ", text.count, right=True),
    )
    return Table(columns, tuple((c.what, c.compared, c.agree, len(c.differences)) for c in checks))


def _differences(checks: tuple[Check, ...]) -> Table:
    columns = (
        Column("what", lambda what: _TITLES.get(what, what), drop=1),
        Column("layer", shorten=True),
        Column("expected", _value, shorten=True),
        Column("seen", _value, shorten=True),
    )
    rows = tuple((c.what, d.layer, d.expected, d.seen) for c in checks for d in c.differences)
    return Table(columns, rows)


def _value(value: Any) -> str:
    if isinstance(value, int):
        return text.count(value)
    if isinstance(value, list | tuple) and all(isinstance(item, int) for item in value):
        return text.cross(value)
    return str(value)


def _time_facts(timing: Timing) -> tuple[Fact, ...]:
    rate = f"{timing.tflops_per_s:.3g} TFLOP/s (2 FLOPs a multiply-add) in {timing.precision}"
    if timing.peak_tflops_per_s:
        used = timing.tflops_per_s / timing.peak_tflops_per_s
        rate += f", {used:.1%} of the device's peak {timing.peak_tflops_per_s:g}"
    facts = [("forward", f"{timing.forward_ms:.3f} ms, median of {timing.runs} runs"), ("rate", rate)]
    if timing.peak_memory_bytes is not None:
        facts.append(("peak memory", f"{text.count(timing.peak_memory_bytes)} bytes"))
    return tuple(facts)


def _times(timing: Timing) -> Table:
    slowest = sorted(timing.layers, key=lambda layer: -layer[1])[:_SLOWEST]
    columns = (Column("slowest modules", shorten=True), Column("ms", lambda ms: f"{ms:.3f}", right=True))
    return Table(columns, tuple(slowest))


def _records(checks: tuple[Check, ...]) -> list[Mapping[str, Any]]:
    """One row a check, and one for each of its differences."""
    rows: list[Mapping[str, Any]] = []
    for check in checks:
        head = {"what": check.what, "compared": check.compared, "agree": check.agree}
        rows.append({**head, "layer": None, "expected": None, "seen": None})
        for item in check.differences:
            rows.append({**head, "layer": item.layer, "expected": _value(item.expected), "seen": _value(item.seen)})
    return rows
