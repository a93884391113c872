"""Layers as flat rows for CSV: exact integers, one column for each axis, the same columns in every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.analyses.results import Layer, ReceptiveField, plain
from rfcalc.errors import UsageError

_PER_AXIS = ("size", "size_min", "stride", "start", "center", "samples", "local_size", "period")


def layer_records(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """One record a layer. With several sources the columns of a field carry its source's name, ``left.size_H``."""
    axes: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        for name, field in layer.receptive_fields.items():
            axes[name] = axes.get(name) or field.axes
    fields = [field for layer in layers for field in layer.receptive_fields.values()]
    spans = [name for name in ("region", "affects") if any(getattr(field, name) is not None for field in fields)]
    patches = any(layer.reads is not None for layer in layers)
    return [_record(layer, axes, spans, patches) for layer in layers]


def dataframe(records: Sequence[Mapping[str, Any]]) -> Any:
    """The records as a `pandas.DataFrame`. Raises `UsageError` where pandas is not installed."""
    try:
        import pandas
    except ImportError:
        raise UsageError("to_dataframe needs pandas, which is not installed: pip install pandas") from None
    return pandas.DataFrame([dict(record) for record in records])


def _record(layer: Layer, axes: Mapping[str, tuple[str, ...]], spans: Sequence[str], patches: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "index": layer.index,
        "name": layer.name,
        "kind": layer.kind,
        "op": layer.op,
        "module": layer.module,
        "inputs": _joined(layer.inputs),
        "output_shape": _shape(layer.output_shape),
        "params": layer.params,
        "trainable_params": layer.trainable_params,
        "macs": layer.macs,
        "flops": layer.flops,
        "formula": layer.formula,
    }
    for name, names in axes.items():
        prefix = f"{name}." if len(axes) > 1 else ""
        columns = _field(layer.receptive_fields.get(name), names, spans)
        record.update({prefix + key: value for key, value in columns.items()})
    if patches:
        record["reads"] = _joined([f"{patch.name}:{_shape(patch.size)}" for patch in layer.reads or ()])
    record["folded"] = _joined(layer.folded)
    record["notes"] = _joined(layer.notes)
    # Columns that came later stand last, so that those before keep their places for who reads by position.
    record["unmasked_macs"] = layer.unmasked_macs
    record["backward_macs"] = layer.backward_macs
    return record


def _field(field: ReceptiveField | None, axes: Sequence[str], spans: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "status": field and field.status,
        "whole_input": None if field is None else field.whole_input,
    }
    for name in _PER_AXIS:
        values = getattr(field, name, None) or ()
        for place, axis in enumerate(axes):
            row[f"{name}_{axis}"] = plain(values[place]) if place < len(values) else None
    for place, axis in enumerate(axes):
        reach = (field.reach[place] if field and field.reach and place < len(field.reach) else None) or (None, None)
        row[f"reach_before_{axis}"], row[f"reach_after_{axis}"] = reach
    for kind in spans:
        found = (getattr(field, kind) if field else None) or ()
        for place, axis in enumerate(axes):
            first, last = (found[place] if place < len(found) else None) or (None, None)
            row[f"{kind}_first_{axis}"] = first
            row[f"{kind}_last_{axis}"] = last
    row["context"] = _joined(field.context if field else ())
    row["reasons"] = _joined(field.reasons if field else ())
    return row


def _joined(names: Sequence[str]) -> str:
    return ";".join(names)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(str(extent) for extent in shape)
