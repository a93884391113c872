"""The report of what a model takes: totals, the peak and what is alive there, and where memory goes by module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rfcalc.report import text
from rfcalc.report.document import Column, Fact, Report, Section, Table
from rfcalc.report.formats import html

if TYPE_CHECKING:
    from rfcalc.footprint.results import Fit, Held, Memory, Peak, Row, Training, Witnessed

_UNITS = (("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30), ("TiB", 2**40))
_SHOWN = 10  #: storages at the peak, and modules, that a table shows without being asked for all
_ROLES = {
    "parameter": "parameters",
    "buffer": "buffers",
    "input": "inputs",
    "gradient": "gradients",
    "optimizer": "optimizer",
    "saved": "saved for backward",
    "other": "others",
}


def size(count: int | None) -> str:
    """Bytes, exactly, and in a unit where they are many: ``53,821,248 (51.33 MiB)``."""
    if count is None:
        return text.UNKNOWN
    return f"{count:,} ({in_unit(count)})" if count >= 2**10 else f"{count:,}"


def in_unit(count: int) -> str:
    """Bytes in two decimals of the largest unit that is not larger."""
    if count < 2**10:
        return f"{count} B"
    unit, scale = next(((unit, scale) for unit, scale in reversed(_UNITS) if count >= scale), _UNITS[0])
    hundredths = round(Fraction(100 * count, scale))
    return f"{hundredths // 100:,}.{hundredths % 100:02d} {unit}"


def memory_report(found: Memory, *, everything: bool = False) -> Report:
    """A footprint in every format; ``everything`` shows all modules and storages in tables."""
    shapes = ", ".join(f"{one.name} {text.cross(one.shape)}" for one in found.inputs)
    title = f"{found.model}: memory, {shapes}"
    return Report(title, tuple(_sections(found, everything)), found.notices, found.to_dict(), _records(found))


def memory_html(found: Memory) -> str:
    """The report as an HTML fragment for notebooks."""
    return html.fragment(memory_report(found))


def _sections(found: Memory, everything: bool) -> Iterator[Section]:
    yield Section(facts=tuple(_facts(found)))
    if found.fit is not None:
        yield Section("what fits", _fit_facts(found.fit))
    yield _peak_section("inference", found.peak, everything)
    if found.training is not None:
        yield Section("training", tuple(_training_facts(found.training)))
        yield _peak_section("training", found.training.peak, everything)
    if found.kv_cache:
        yield _cache_section(found)
    if found.decode is not None:
        facts = (("peak", f"{size(found.decode.peak_bytes)} at {found.decode.peak.at or 'rest'}"),)
        yield Section("one more token of each sequence", (*facts, ("bytes moved", size(found.decode.moved_bytes))))
        yield _peak_section("decoding", found.decode.peak, everything)
    yield _layers_section(found, everything)
    if found.witness is not None:
        yield _witness_section(found.witness)


def _facts(found: Memory) -> Iterator[Fact]:
    yield "parameters", size(found.params_bytes)
    if found.weights is not None:
        less = found.params_bytes - found.weights.plain + found.weights.nbytes
        what = text.plural(found.weights.matrices, "weight")
        yield f"in {found.weights.bits} bits", f"{size(less)}, with {what} in {found.weights.bits} bits without scales"
    yield "buffers", size(found.buffers_bytes)
    yield "inputs", size(found.inputs_bytes)
    yield "activations", f"{text.count_and_short(found.activation_elements)} elements, {size(found.activation_bytes)}"
    yield "peak", f"{size(found.peak_bytes)} at {found.peak.at or 'rest'}"
    yield "bytes moved", size(found.moved_bytes)
    if found.intensity is not None:
        yield "intensity", f"{float(found.intensity):.1f} operations for each byte that is moved"
    chosen = [f"{name} {value}" for name, value in found.settings.items() if value and name in ("dtype", "autocast")]
    if chosen:
        yield "types", ", ".join(chosen)


def _training_facts(found: Training) -> Iterator[Fact]:
    yield "saved", f"{size(found.saved_bytes)} for the way back"
    yield "gradients", size(found.gradients_bytes)
    yield "optimizer", f"{size(found.optimizer_bytes)} ({found.optimizer})"
    for phase, count in found.phases.items():
        yield f"peak of {phase}", size(count)


def _fit_facts(found: Fit) -> tuple[Fact, ...]:
    facts = [("limit", size(found.limit))]
    facts.append((f"largest {found.what}", text.count(found.largest) if found.largest else "none fits"))
    if found.peak_bytes is not None:
        facts.append(("its peak", size(found.peak_bytes)))
    following = f"{found.what} {found.largest + found.step}" if found.largest else "the smallest that runs"
    if found.next_bytes is not None:
        facts.append((following, f"{size(found.next_bytes)}, too much"))
    elif found.largest and not found.endless:
        facts.append((following, "the model refuses it"))
    return tuple(facts)


def _peak_section(word: str, peak: Peak, everything: bool) -> Section:
    facts = tuple((_ROLES[role], size(count)) for role, count in peak.by_role.items())
    phase = f" of {peak.phase}" if word == "training" else ""
    at = f" at {peak.at}" if peak.at else ""
    title = f"alive at the peak of {word}: {in_unit(peak.nbytes)}{phase}{at}"
    return Section(title, facts, _held_table(peak, everything))


def _held_table(peak: Peak, everything: bool) -> Table | None:
    rows = peak.held if everything else peak.held[:_SHOWN]
    if not rows:
        return None
    columns = (
        Column("what", shorten=2),
        Column("layer", shorten=1),
        Column("shape", text.cross, drop=2),
        Column("dtype", drop=1),
        Column("bytes", text.count, right=True),
    )
    return Table(columns, tuple((_what(one), one.layer, one.shape, one.dtype, one.nbytes) for one in rows))


def _what(one: Held) -> str:
    made = one.name or one.op
    return made if one.role == "other" else f"{one.role} {made}"


def _layers_section(found: Memory, everything: bool) -> Section:
    trained = found.training is not None
    rows = found.layers if everything else _largest(found.layers, trained)
    columns = [
        Column("layer", shorten=1),
        Column("ops", text.count, right=True, drop=3),
        Column("made", text.count, right=True),
        *([Column("saved", text.count, right=True)] if trained else []),
        Column("moved", text.count, right=True, drop=2),
        Column("op/B", _ratio, right=True, drop=2),
        Column("alive", text.count, right=True, drop=1),
    ]
    body = tuple(
        (row.layer or "(model)", row.ops, row.made, *_saved(row, trained), row.moved, row.intensity, row.alive)
        for row in rows
    )
    less = f", the {len(rows)} largest of {len(found.layers)}" if len(rows) < len(found.layers) else ""
    return Section(f"bytes by module{less}", table=Table(tuple(columns), body))


def _saved(row: Row, trained: bool) -> tuple[int | None, ...]:
    return (row.saved,) if trained else ()


def _largest(rows: tuple[Row, ...], trained: bool) -> list[Row]:
    """The modules that save most, or that make most, in the order in which they run."""
    weights = {row.layer: (row.saved or 0) if trained else row.made for row in rows}
    chosen = set(sorted(weights, key=lambda name: -weights[name])[:_SHOWN])
    return [row for row in rows if row.layer in chosen]


def _ratio(value: Fraction | None) -> str:
    return text.NOTHING if value is None else f"{float(value):.1f}"


def _cache_section(found: Memory) -> Section:
    rows = found.kv_cache
    columns = (
        Column("layer", right=True),
        Column("bytes", text.count, right=True),
        Column("held", text.count, right=True, drop=1),
        Column("one more token", text.count, right=True),
        Column("shapes", lambda shapes: ", ".join(map(text.cross, shapes)), shorten=1),
    )
    nbytes, held = sum(row.nbytes for row in rows), sum(row.held for row in rows)
    each = [row.per_token for row in rows if row.per_token is not None]
    facts = (
        ("cache", size(nbytes)),
        ("one more token", size(sum(each) if len(each) == len(rows) else None)),
        *((("storages", f"{size(held)}: views hold what they were cut from"),) if held != nbytes else ()),
    )
    table = Table(columns, tuple((row.layer, row.nbytes, row.held, row.per_token, row.shapes) for row in rows))
    return Section("key-value cache", facts, table)


def _witness_section(found: Witnessed) -> Section:
    columns = (
        Column("what", shorten=1),
        Column("compared", text.count, right=True, drop=1),
        Column("expected", text.count, right=True),
        Column("seen", text.count, right=True),
        Column("differ", text.count, right=True),
    )
    rows = tuple((one.what, one.compared, one.expected, one.seen, len(one.differences)) for one in found.checks)
    word = "agrees" if found.agree else "DISAGREES"
    facts = [("device", found.device), *((name, size(count)) for name, count in found.allocator.items())]
    facts += [("note", note) for note in found.notes]
    for one in found.checks:
        for row in one.differences[:3]:
            facts.append(("differs", f"{one.what}: op {row['op']} has {row['seen']}, expected {row['expected']}"))
    return Section(f"{word} with a real run", tuple(facts), Table(columns, rows))


def _records(found: Memory) -> list[Mapping[str, Any]]:
    """One row for each module."""
    return [{"model": found.model, **row.to_dict()} for row in found.layers]


__all__ = ["in_unit", "memory_html", "memory_report", "size"]
