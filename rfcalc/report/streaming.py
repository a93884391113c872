"""The report of a stream: how far outputs and layers look, what breaks causality, what chunks carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rfcalc.analyses.results import Number
from rfcalc.report import text
from rfcalc.report.document import Column, Fact, Report, Section, Table
from rfcalc.report.formats import html

if TYPE_CHECKING:
    from rfcalc.streaming.results import Border, Break, Delay, State, Stream, Streaming

UNBOUNDED = "all"


def streaming_report(found: Streaming) -> Report:
    """A stream in every format."""
    title = f"{found.model}: stream along {found.axis} of {found.source} {text.cross(found.shape)}"
    sections = [
        Section(facts=tuple(_facts(found))),
        Section("outputs", table=_streams(found.outputs, found.rate, False)),
    ]
    blamed = {one: None for output in found.outputs for one in output.breaks}
    if blamed:
        sections.append(Section("what looks ahead", table=_breaks(list(blamed), found.rate)))
    edges = [(output, border) for output in found.outputs for border in output.borders]
    if edges:
        sections.append(Section("at the borders", table=_borders(edges, found.rate)))
    sections.append(Section("layers", table=_streams(found.layers, found.rate, True)))
    if found.state:
        sections.append(Section("state from chunk to chunk", table=_state(found.state)))
    if found.delays:
        sections.append(Section("branches that wait for their siblings", table=_delays(found.delays)))
    if found.trial is not None:
        sections.append(Section("held against real numbers", facts=tuple(_trial(found)), table=_probes(found)))
    return Report(title, tuple(sections), found.notices, found.to_dict(), _records(found))


def streaming_html(found: Streaming) -> str:
    """The report as an HTML fragment for notebooks."""
    return html.fragment(streaming_report(found))


def verdict(found: Streaming) -> str:
    """Whether the outputs are causal, in words."""
    late = [one for one in found.outputs if not one.causal]
    if not late:
        return "yes: no output sees a position after its own hop"
    if any(one.causal is None for one in late):
        return "not known: the units of an output follow no order in time"
    chunks = {one.chunk for one in late}
    if None not in chunks and not any(border.look_ahead for one in late for border in one.borders):
        sizes = [text.count(size) for size in sorted({one.chunk or 0 for one in late})]
        return f"in chunks of {text.listed(sizes)}, not by single positions"
    blamed = list(dict.fromkeys(one.layer for output in late for one in output.breaks))
    return f"no: {text.listed(blamed)} {'looks' if len(blamed) == 1 else 'look'} ahead" if blamed else "no"


def length(positions: Number | None, rate: Number | None = None, frames: Number | None = None) -> str:
    """``320 (2 frames, 20 ms)``, each where it is told; "all" where nothing bounds it."""
    if positions is None:
        return UNBOUNDED
    shown = f"{positions:,}" if isinstance(positions, int) else str(positions)
    others = []
    if frames is not None:
        others.append(f"{text.number(frames)} {'frame' if frames == 1 else 'frames'}")
    if rate is not None:
        others.append(f"{milliseconds(Fraction(1000 * positions) / Fraction(rate))} ms")
    return f"{shown} ({', '.join(others)})" if others else shown


def milliseconds(value: Fraction) -> str:
    """Milliseconds with as many decimals as they have, four at most."""
    return f"{float(value):.4f}".rstrip("0").rstrip(".")


def _facts(found: Streaming) -> Iterator[Fact]:
    chunk = found.chunk
    if found.rate is not None:
        yield "rate", f"{text.number(found.rate)} positions a second"
    if found.align == "end":
        yield "places", "from the end: the last unit's hop ends with the last position that is read"
    yield "causal", verdict(found)
    yield "chunks", f"multiples of {length(chunk.least, found.rate)}"
    if chunk.size != chunk.least:
        yield "chunk asked for", f"{length(chunk.size, found.rate)}: {_works(found)}"
    yield "latency", f"{length(chunk.latency, found.rate)} in chunks of {text.count(chunk.size)}"
    before, after = (length(side) for side in chunk.halo)
    yield "halo", f"{before} before and {after} after a chunk, where no state is kept"
    kept = found.totals
    if kept["elements"] is None:
        grows = any(one.growth for one in (*found.state,)) and all(one.kind != "whole" for one in found.state)
        yield "state", "grows with the stream" if grows else "the whole signal"
    else:
        yield "state", f"{text.plural(kept['elements'], 'element')}, {text.count(kept['bytes'])} bytes"


def _works(found: Streaming) -> str:
    chunk = found.chunk
    if chunk.works:
        return f"works, {text.comma(chunk.units)} units of the output at a time"
    if chunk.size % chunk.least:
        return f"does not work, it is no multiple of {text.count(chunk.least)}"
    return "does not work: an output waits for the whole signal"


def _streams(rows: Sequence[Stream], rate: Number | None, numbered: bool) -> Table:
    columns = (
        *((Column("#", lambda index: text.NOTHING if index is None else str(index), right=True),) if numbered else ()),
        Column("layer" if numbered else "output", text.clean, shorten=2),
        Column("shape", text.cross, drop=3),
        Column("hop", lambda value: text.number(value), right=True),
        Column("look-back", lambda pair: _length(pair, rate), right=True, drop=4),
        Column("look-ahead", lambda pair: _length(pair, rate), right=True),
        Column("delay", lambda pair: _length(pair, rate), right=True),
        Column("first after", lambda value: length(value, rate), right=True, drop=1),
        Column("causal", _yes),
    )
    return Table(columns, tuple(_row(one, numbered) for one in rows))


def _row(one: Stream, numbered: bool) -> tuple[Any, ...]:
    known = one.causal is not None
    ahead = one.frames(one.look_ahead) if one.look_ahead and one.hop != 1 else None
    told = ((one.look_back, None), (one.look_ahead, ahead), (one.delay, None))
    lengths = [(known, value, one.status, frames) for value, frames in told]
    head = (one.index,) if numbered else ()
    return (*head, one.layer, one.shape, one.hop, *lengths, one.first if known else None, one)


def _length(value: tuple[bool, int | None, str, Number | None], rate: Number | None) -> str:
    known, positions, status, frames = value
    if not known:
        return text.NOTHING
    shown = length(positions, rate, frames)
    return f"<={shown}" if status == "upper_bound" and positions is not None else shown


def _yes(one: Stream) -> str:
    if one.causal is None:
        return text.NOTHING
    if one.causal:
        return "yes"
    if one.chunk is not None and not any(border.look_ahead for border in one.borders):
        return f"in chunks of {text.count(one.chunk)}"
    return "not at the start" if one.look_ahead == 0 else "no"


def _breaks(blamed: Sequence[Break], rate: Number | None) -> Table:
    columns = (
        Column("layer", text.clean, shorten=2),
        Column("adds", lambda value: length(value, rate), right=True),
        Column("why", str, shorten=1, prose=True),
    )
    return Table(columns, tuple((one.layer, one.amount, one.reason) for one in blamed))


def _borders(edges: Sequence[tuple[Stream, Border]], rate: Number | None) -> Table:
    columns = (
        Column("output", text.clean, shorten=2),
        Column("border"),
        Column("units", text.count, right=True),
        Column("look-back", lambda value: length(value, rate), right=True),
        Column("look-ahead", lambda value: length(value, rate), right=True),
    )
    return Table(columns, tuple((a.layer, b.side, b.units, b.look_back, b.look_ahead) for a, b in edges))


def _state(kept: Sequence[State]) -> Table:
    columns = (
        Column("layer", text.clean, shorten=2),
        Column("keeps"),
        Column("of", text.clean, shorten=2, drop=2),
        Column("positions", lambda value: length(value), right=True, drop=1),
        Column("elements", lambda one: _elements(one), right=True),
        Column("bytes", lambda value: length(value), right=True),
    )
    return Table(columns, tuple((one.layer, one.kind, one.of, one.positions, one, one.bytes) for one in kept))


def _elements(one: State) -> str:
    if one.elements is not None:
        return text.count(one.elements)
    return f"{text.count(one.growth)} a position" if one.growth and one.kind != "whole" else UNBOUNDED


def _delays(delays: Sequence[Delay]) -> Table:
    columns = (
        Column("layer", text.clean, shorten=2),
        Column("branch", text.clean, shorten=2),
        Column("waits for", text.clean, shorten=2, drop=1),
        Column("positions", lambda value: length(value), right=True),
        Column("elements", lambda value: length(value), right=True),
    )
    return Table(columns, tuple((one.layer, one.branch, one.sibling, one.samples, one.elements) for one in delays))


def _trial(found: Streaming) -> Iterator[Fact]:
    if found.trial is not None:
        yield "verified", "yes" if found.trial.agree else "NO"
        yield "numbers", f"{found.trial.dtype}, seed {found.trial.seed}"
        for note in found.trial.notes:
            yield "note", note


def _probes(found: Streaming) -> Table:
    columns = (
        Column("claim", str, shorten=1, prose=True),
        Column("tried", text.count, right=True),
        Column("seen", str, shorten=1, prose=True),
    )
    probes = () if found.trial is None else found.trial.probes
    return Table(
        columns, tuple((one.claim, one.tried, "as predicted" if one.agree else f"WRONG: {one.seen}") for one in probes)
    )


def _records(found: Streaming) -> list[Mapping[str, Any]]:
    """One row for each output and each layer."""
    rows: list[Mapping[str, Any]] = []
    for kind, group in (("output", found.outputs), ("layer", found.layers)):
        for one in group:
            rows.append(
                {
                    "model": found.model,
                    "kind": kind,
                    "layer": one.layer,
                    "causal": one.causal,
                    "look_ahead": one.look_ahead,
                    "look_back": one.look_back,
                    "hop": None if one.hop is None else str(one.hop),
                    "delay": one.delay,
                    "first": one.first,
                    "chunk": one.chunk,
                    "breaks": " ".join(item.layer for item in one.breaks),
                    "status": one.status,
                }
            )
    return rows


__all__ = ["streaming_html", "streaming_report"]
