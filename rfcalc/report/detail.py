"""The block of a single layer: what it is, what it sees, what it costs, and what it uses of each earlier layer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rfcalc.analyses.results import Layer, Patch, ReceptiveField
from rfcalc.report import text
from rfcalc.report.document import Column, Fact, Section, Table

if TYPE_CHECKING:
    from rfcalc.analyses.costs.backward import Backward


def block(layer: Layer, at: Sequence[int] | None = None, *, backward: bool = False) -> Section:
    """Everything known of one layer; ``at`` is the unit whose region was asked for."""
    facts = [*_identity(layer)]
    for name, field in layer.receptive_fields.items():
        facts += field_facts(name, field, at)
    facts += _costs(layer)
    if backward:
        facts += backward_facts(layer.backward)
    facts += [("note", note) for note in layer.notes]
    return Section(heading(layer), tuple(facts), reads_table(layer.reads) if layer.reads else None)


def heading(layer: Layer) -> str:
    """``layer 3: conv1_2 (conv, Conv2d)``."""
    what = ", ".join(part for part in (layer.kind, layer.module) if part)
    label = "op" if layer.index is None else f"layer {layer.index}"
    return f"{label}: {layer.name} ({what})" if what else f"{label}: {layer.name}"


def _identity(layer: Layer) -> list[Fact]:
    facts = [("op", layer.op)]
    if layer.attrs:
        facts.append(("settings", text.attributes(layer.attrs)))
    if layer.inputs:
        facts.append(("reads", ", ".join(layer.inputs)))
    facts.append(("output", text.cross(layer.output_shape)))
    return facts


def field_facts(name: str, field: ReceptiveField, at: Sequence[int] | None = None) -> list[Fact]:
    """The field in one source, with everything that qualifies it."""
    facts = [(f"field in {name}", text.size(field))]
    if not field.axes:
        return facts
    if field.stride is not None:
        facts += [("jump (stride)", text.stride(field)), ("offset (start)", text.start(field))]
        facts.append(("center", text.comma(field.center)))
        facts.append(("reach", text.reach(field)))
    elif text.is_irregular(field):
        facts.append(
            ("jump (stride)", "none: no fixed window slides over the source; the size is that of the largest region")
        )
    if any(length > 1 for length in field.period):
        varies = "start" if field.size == field.size_min else "size"
        facts.append(("period", f"{text.cross(field.period)}: the {varies} varies with the position"))
    if any(number is not None for number in field.samples or ()):
        facts.append(("samples", _samples(field)))
    if field.region is not None:
        facts.append((f"region at {text.comma(at)}" if at else "region", _region(field)))
    if field.affects is not None:
        facts.append(("affected", f"{text.affects(field)}: the positions that the chosen pixel can change"))
    facts.append(("status", _status(field)))
    if field.context:
        facts.append(("whole axis by", text.listed(field.context, 8)))
    facts += [("not aligned", text.misaligned(item)) for item in text.apart(field)]
    if field.masked:
        facts.append(("masked", "reads that a mask blocks are left out"))
    if field.leans:
        facts.append(("leans on", f"the numbers of {text.listed(field.leans, 8)}"))
    return facts


def _samples(field: ReceptiveField) -> str:
    if field.samples == field.size:
        return f"{text.cross(field.samples)}, every index"
    return f"{text.cross(field.samples)} of the {text.cross(field.size)} indices are read"


def _region(field: ReceptiveField) -> str:
    parts = []
    for axis, interval in zip(field.axes, field.region or (), strict=True):
        if interval is None:
            parts.append(f"{axis} nothing")
        else:
            first, last = interval
            parts.append(f"{axis} {first}..{last} ({last - first + 1})")
    return ", ".join(parts) or text.NOTHING


def _status(field: ReceptiveField) -> str:
    word = field.status.replace("_", " ")
    return f"{word}: {'; '.join(field.reasons)}" if field.reasons else word


def _costs(layer: Layer) -> list[Fact]:
    params = text.count(layer.params)
    if layer.trainable_params != layer.params:
        params += f", of which {text.count(layer.trainable_params)} trainable"
    facts = [("parameters", params), ("multiply-adds", multiply_adds(layer))]
    if layer.unknown_mask:
        facts.append(("unmasked", f"not known: {layer.unknown_mask}"))
    elif layer.closed_macs:
        facts.append(("unmasked", f"{text.count(layer.unmasked_macs)} multiply-adds, without pairs that a mask closes"))
    operations = text.count(layer.flops)
    others = [f"{name} {text.count(value)}" for name, value in layer.flops_by.items() if value]
    if len(others) > 1:
        operations += f": {', '.join(others)}"
    facts.append(("operations", operations))
    if layer.folded:
        facts.append(("included", text.listed(layer.folded, 8)))
    return facts


def backward_facts(found: Backward | None, unknown: Iterable[str] = ()) -> list[Fact]:
    """What the backward pass takes: gradients of inputs and of weights, and what is run once more."""
    if found is None:
        ops = text.listed(list(unknown), 8)
        return [("backward", f"not known: no rule says what going back through {ops or 'its op'} takes")]
    parts = [("gradients of inputs", found.inputs), ("of weights", found.weights), ("run once more", found.again)]
    told = ", ".join(f"{name} {text.count(count)}" for name, count in parts if count)
    return [("backward", f"{text.count_and_short(found.macs)} multiply-adds{': ' if told else ''}{told}")]


def multiply_adds(layer: Layer) -> str:
    """``(224x224x64) x (3x3x64) = 1,849,688,064``, where the formula gives the whole of it."""
    if layer.macs is None or not layer.formula:
        return text.count(layer.macs)
    if product(layer.formula) in (layer.macs, None):
        return f"{layer.formula} = {text.count(layer.macs)}"
    return f"{text.count(layer.macs)}, of which {layer.formula} = {text.count(product(layer.formula))}"


def product(formula: str) -> int | None:
    """What a formula of factors and sums amounts to, None if it holds anything else."""
    if not re.fullmatch(r"[0-9x+() ]+", formula):
        return None
    return sum(math.prod(int(factor) for factor in re.findall(r"[0-9]+", term)) for term in formula.split("+"))


def reads_table(patches: Sequence[Patch]) -> Table:
    """The patch of each earlier layer that one unit uses."""
    columns = (
        Column("one unit uses", text.cross, right=True),
        Column("of layer", right=True),
        Column("name", shorten=1),
    )
    return Table(columns, tuple((patch.size, patch.index, patch.name) for patch in patches))
