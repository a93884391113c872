"""The report of an analysis: the table of its layers, or a block for each layer asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rfcalc.analyses.results import Layer, ReceptiveField, Totals
from rfcalc.report import text
from rfcalc.report.columns import ASKED, DEFAULT, record_of, table_columns
from rfcalc.report.detail import backward_facts, block
from rfcalc.report.document import Fact, Report, Section, Table
from rfcalc.report.records import layer_records
from rfcalc.report.words import legend

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis
    from rfcalc.analyses.costs.scans import Scan
    from rfcalc.graph import InputInfo

_NOTES = 4  #: how many notes of one sort before the rest is only counted


def overview(
    analysis: Analysis, layers: Sequence[Layer], columns: Sequence[str] | None = None, *, backward: bool = False
) -> Report:
    """One table row for each layer, and the model's totals; with ``backward`` those of the backward pass too.

    ``columns`` are names of `rfcalc.report.columns`.
    """
    table = layer_table(layers, analysis, columns, backward=backward)
    sections = (Section(table=table), Section(facts=totals_facts(analysis.totals, backward=backward)))
    records = layer_records(layers)
    if columns is not None:
        records = [record_of(columns, analysis, layer, full) for layer, full in zip(layers, records, strict=True)]
    return Report(
        title(analysis.model, analysis.inputs),
        sections,
        (
            *_axes_note(analysis),
            *_unread_notes(analysis),
            *legend([table]),
            *field_notes(layers),
            *scan_notes(analysis.scans),
        ),
        analysis.to_dict(layers),
        records,
    )


def details(
    analysis: Analysis, layers: Sequence[Layer], at: Sequence[int] | None = None, *, backward: bool = False
) -> Report:
    """A block for each of the layers, and the model's totals; with ``backward`` those of the backward pass too."""
    blocks = tuple(block(layer, at, backward=backward) for layer in layers)
    totals = Section("whole model", facts=totals_facts(analysis.totals, backward=backward))
    return Report(
        title(analysis.model, analysis.inputs),
        (*blocks, totals),
        (),
        analysis.to_dict(layers),
        layer_records(layers),
    )


def analysis_html(analysis: Analysis) -> str:
    """The overview of all layers as an HTML fragment with a picture of their fields, for notebooks."""
    from rfcalc.report.showing import as_html

    return as_html(analysis)


def title(model: str, inputs: Sequence[InputInfo]) -> str:
    """``vgg16: input 1x3x224x224 (batch 1)``."""
    shapes = ", ".join(f"{item.name} {text.cross(item.shape)}" for item in inputs) or "no input"
    batches = {item.batch for item in inputs} - {None}
    if len(batches) == 1:
        return f"{model}: {shapes} (batch {batches.pop()})"
    return f"{model}: {shapes}"


def sources(layers: Iterable[Layer]) -> list[str]:
    """The names of all sources that the layers have fields in, in order of appearance."""
    return list(dict.fromkeys(name for layer in layers for name in layer.receptive_fields))


def layer_table(
    layers: Sequence[Layer],
    analysis: Analysis | None = None,
    columns: Sequence[str] | None = None,
    *,
    backward: bool = False,
) -> Table:
    """The table of layers: number, name, kind, shape, one field for each source, parameters and multiply-adds.

    ``columns`` asks for others. Without an analysis there are no shares of the whole.
    """
    names = _usual(layers, analysis, backward) if columns is None else columns
    cells = table_columns(names, sources(layers))
    rows = tuple(tuple(value(analysis, layer) for _, value in cells) for layer in layers)
    return Table(tuple(column for column, _ in cells), rows)


def _usual(layers: Sequence[Layer], analysis: Analysis | None, backward: bool) -> list[str]:
    """The default columns.

    With answers for single units after the fields where they were asked for, and after the multiply-adds those that no
    mask closes, where masks are, and those of the backward pass.
    """
    fields = [field for layer in layers for field in layer.receptive_fields.values()]
    asked = [name for name in ASKED if any(getattr(field, name) is not None for field in fields)]
    more = ["unmasked_macs"] if any(layer.closed_macs or layer.unknown_mask for layer in layers) else []
    more += ["backward_macs"] if backward else []
    names = []
    for name in DEFAULT:
        names.append(name)
        names += asked if name == "start" else more if name == "macs" else []
    return names if analysis is not None else [name for name in names if name != "share"]


#: Bytes of a parameter where nothing is said of them.
_FLOAT_BYTES = 4


def totals_facts(totals: Totals, *, backward: bool = False) -> tuple[Fact, ...]:
    """The model's sums, each with its unit, and whether they are complete."""
    atleast = "" if totals.status == "complete" else "at least "
    params = ("at least " if totals.unknown_params else "") + text.count_and_short(totals.params)
    if totals.trainable_params != totals.params:
        params += f", of which {text.count(totals.trainable_params)} trainable"
    if totals.complex_params:
        numbers = text.count(totals.params + totals.complex_params)
        params += f", of which {text.count(totals.complex_params)} complex: {numbers} real numbers"
    if totals.param_bytes not in (0, _FLOAT_BYTES * totals.params):
        params += f", stored in {text.count(totals.param_bytes)} bytes"
    facts = [("parameters", params)]
    if totals.buffers:
        facts.append(("buffers", f"{text.count(totals.buffers)} elements"))
    facts.append(("multiply-adds", atleast + text.count_and_short(totals.macs)))
    if totals.closed_macs or totals.unknown_masks:
        known = atleast if totals.unmasked_macs is not None else ""
        facts.append(("unmasked", known + _unmasked(totals)))
    if backward:
        facts += backward_facts(totals.backward, totals.no_backward)
        if totals.backward is not None:
            step = totals.macs + totals.backward.macs
            told = f"{text.count_and_short(step)} multiply-adds, forward and backward"
            facts.append(("training step", atleast + told))
    others = totals.flops - 2 * totals.macs
    other = "FLOPs, 2 for each multiply-add" + (f", and {text.count(others)} others" if others else "")
    facts.append(("operations", f"{atleast}{text.count_and_short(totals.flops)}: {other}"))
    facts.append(("status", _status(totals)))
    if totals.unused_params:
        elements = text.count(sum(totals.unused_params.values()))
        names = text.listed(list(totals.unused_params))
        facts.append(("unused", f"{elements} of the parameters, which the forward pass never uses: {names}"))
    return tuple(facts)


def _unmasked(totals: Totals) -> str:
    """The multiply-adds that no mask closes, or for which layers that is not known."""
    if totals.unmasked_macs is not None:
        return f"{text.count_and_short(totals.unmasked_macs)} multiply-adds, without pairs that a mask closes"
    reasons: dict[str, list[str]] = {}
    for name, why in totals.unknown_masks.items():
        reasons.setdefault(why, []).append(name)
    told = "; ".join(f"{why} ({text.listed(names)})" for why, names in reasons.items())
    return f"not known which pairs are closed: {told}"


def _status(totals: Totals) -> str:
    if totals.status == "complete":
        return "complete: every op is counted or declared free"
    calls = [f"{op} ({text.plural(calls, 'call')})" for op, calls in totals.unknown_ops.items()]
    gaps = [f"no rule for {text.listed(calls, 8)}"] if calls else []
    gaps += [f"{name}: {why}" for name, why in list(totals.unknown_params.items())[:_NOTES]]
    return f"lower bound: {'; '.join(gaps)}"


def scan_notes(scans: Sequence[Scan]) -> list[str]:
    """What scans cost as they are written, and step by step."""
    told = []
    for scan in scans:
        unit, counts = "multiply-adds", (scan.macs, scan.recurrent_macs)
        if not scan.macs or scan.flops != 2 * scan.macs:
            unit, counts = "operations", (scan.flops, scan.recurrent_flops)
        written, recurrent = map(text.count, counts)
        steps = text.count(scan.length)
        told.append(f"{scan.layer}: {written} {unit} as {scan.form}, {recurrent} as a recurrence of {steps} steps")
    return _first("scan ", told)


def _axes_note(analysis: Analysis) -> list[str]:
    """That there are no fields, where no input has an axis to measure them along."""
    if not analysis.inputs or any(info.axes for info in analysis.inputs) or analysis.of is not None:
        return []
    shapes = " and ".join(f"{info.name} {text.cross(info.shape)}" for info in analysis.inputs)
    first = len(analysis.inputs[0].shape) - 1
    return [
        f"no axis of {shapes} was found to count positions, so there are no receptive fields: name the axes, as in"
        f" --axes L={max(first, 1)}"
    ]


def _unread_notes(analysis: Analysis) -> list[str]:
    """What no output reads at the end of each input."""
    notes = []
    for info in analysis.inputs:
        counts = analysis.unread.get(info.name, {})
        parts = [f"the last {count} of {info.shape[info.axes[axis]]} along {axis}" for axis, count in counts.items()]
        if parts:
            notes.append(f"never read of {info.name}: {' and '.join(parts)}; windows leave them over")
    return notes


def field_notes(layers: Sequence[Layer]) -> list[str]:
    """What the fields of the table need said: contexts, bounds and their reasons, branches not aligned, masks."""
    fields = [field for layer in layers for field in layer.receptive_fields.values()]
    return [
        *_irregular_note(fields),
        *_context_note(fields),
        *_bound_notes(fields),
        *_misaligned_notes(fields),
        *_causal_note(fields),
        *_masked_note(layers),
        *_leaning_note(layers),
    ]


def _irregular_note(fields: Sequence[ReceptiveField]) -> list[str]:
    found = any(text.is_irregular(field) for field in fields)
    return ["largest: no fixed window slides over the source; the size is that of the largest region"] if found else []


def _context_note(fields: Sequence[ReceptiveField]) -> list[str]:
    names = list(dict.fromkeys(name for field in fields if text.has_local(field) for name in field.context))
    if not names:
        return []
    return [f"local: the field without what comes in through layers that see a whole axis: {text.listed(names, 3)}"]


def _bound_notes(fields: Sequence[ReceptiveField]) -> list[str]:
    bounds = [field for field in fields if field.status == "upper_bound"]
    reasons = list(dict.fromkeys(reason for field in bounds for reason in field.reasons))
    return _first("<= is an upper bound: ", reasons or ["no reason recorded"] * bool(bounds))


def _misaligned_notes(fields: Sequence[ReceptiveField]) -> list[str]:
    items = list(dict.fromkeys(item for field in fields for item in text.apart(field)))
    return _first("branches not aligned at ", [text.misaligned(item) for item in items])


def _causal_note(fields: Sequence[ReceptiveField]) -> list[str]:
    """That branches of a causal model end at one index, which is what aligns them, and begin at several."""
    told = {item for field in fields for item in text.apart(field)}
    joins = {item.layer for field in fields for item in field.misaligned if item not in told}
    where = text.plural(len(joins), "layer")
    return [f"causal: the branches that meet in {where} end at the same index"] if joins else []


def _masked_note(layers: Sequence[Layer]) -> list[str]:
    names = [layer.name for layer in layers if any(field.masked for field in layer.receptive_fields.values())]
    return [f"masked reads left out in {text.listed(names)}"] if names else []


def _leaning_note(layers: Sequence[Layer]) -> list[str]:
    fields = [field for layer in layers for field in layer.receptive_fields.values()]
    names = list(dict.fromkeys(name for field in fields for name in field.leans))
    buffers = "buffers" if len(names) > 1 else "buffer"
    return [f"fields lean on the numbers of {buffers} {text.listed(names)}"] if names else []


def _first(prefix: str, notes: Sequence[str]) -> list[str]:
    shown = [prefix + note for note in notes[:_NOTES]]
    more = len(notes) - len(shown)
    return [*shown, f"{text.count(more)} more of the same sort (see the JSON output)"] if more else shown
