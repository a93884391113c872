"""The report of how memory grows: formulas of bytes, and where the peaks are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rfcalc.report import formula, text
from rfcalc.report.document import Column, Fact, Report, Section, Table
from rfcalc.report.formats import html
from rfcalc.report.memory import size

if TYPE_CHECKING:
    from rfcalc.footprint.growth import MemoryGrowth

_NAMES = {
    "params_bytes": "parameters",
    "buffers_bytes": "buffers",
    "inputs_bytes": "inputs",
    "activation_elements": "activations (elements)",
    "peak_bytes": "peak",
    "moved_bytes": "bytes moved",
    "decode_peak_bytes": "peak of decoding",
    "decode_moved_bytes": "bytes moved by decoding",
    "saved_bytes": "saved",
    "gradients_bytes": "gradients",
    "optimizer_bytes": "optimizer",
    "forward_peak_bytes": "peak of forward",
    "backward_peak_bytes": "peak of backward",
    "step_peak_bytes": "peak of step",
}


def memory_growth_report(found: MemoryGrowth) -> Report:
    """The growth of a model's memory in every format."""
    shapes = ", ".join(f"{name} {formula.extents(shape)}" for name, shape in found.inputs.items()) or "no input"
    rows = tuple((_NAMES[name], value) for name, value in found.formula.items())
    table = Table((Column("bytes of"), Column("formula", formula.count, right=True)), rows)
    sections = (Section(facts=tuple(_facts(found))), Section("growth", table=table))
    records = [{"quantity": name, "formula": str(value)} for name, value in found.formula.items() if value is not None]
    return Report(f"{found.model}: memory, {shapes}", sections, tuple(_notes(found)), found.to_dict(), records)


def memory_growth_html(found: MemoryGrowth) -> str:
    """The report as an HTML fragment, for notebooks."""
    return html.fragment(memory_growth_report(found))


def _facts(found: MemoryGrowth) -> Iterator[Fact]:
    for item in found.ranges:
        yield item.symbol, f"{item.meaning}: {formula.ranges([item]).removeprefix(item.symbol).strip()}"
    start = ", ".join(f"{item.symbol} = {item.start:,}" for item in found.ranges)
    yield f"at {start}", f"{size(found.base.peak_bytes)} at the peak of inference"
    for name, place in found.at.items():
        word = "in training" if name.startswith("training") else "of inference"
        yield f"peak {word}", f"at {place}" if place else "at another op from some size on"


def _notes(found: MemoryGrowth) -> Iterator[str]:
    yield from formula.irregular(found.irregular, found.ranges, _NAMES)
    yield (
        f"found by passes at {text.plural(len(found.fitted), 'size')}, confirmed at"
        f" {text.plural(len(found.confirmed), 'other')}"
    )
    yield from found.base.notices


__all__ = ["memory_growth_html", "memory_growth_report"]
