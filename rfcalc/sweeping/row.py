"""One model, one flat record. Whatever goes wrong with a model is a row, too."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rfcalc.analyses.results import Layer, Number, ReceptiveField, plain
from rfcalc.errors import RfcalcError

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis

SCHEMA = "rfcalc-sweep/1"

_TUPLES = ("axes", "size", "size_min", "stride", "local_size", "reasons", "notes")
_SLIDING = ("conv", "pool", "upsample")


@dataclass(frozen=True)
class Row:
    """What a sweep says of one model; None where it is not known or there is none.

    ``input`` is the shape that was asked for, as typed after --input, and ``inputs`` the shapes that the model got.
    ``status`` is that of the totals, "complete" or "lower_bound", or "failed" or "timed_out" with ``error``.
    ``field_status`` is "exact" if every layer's field in every input is, else "upper_bound", with one of ``reasons``
    for each cause. ``source`` is the first input with ``axes`` to measure fields along. ``layer_index`` to
    ``whole_input`` are the last spatial layer and its field there: the last numbered layer whose field has a window
    along every axis, or that convolves, pools or resizes and has a local field. ``whole_index`` and ``whole_layer`` are
    the first numbered layer whose field covers the whole input. ``notes`` are those of the tracer. ``seconds`` is the
    time to build, trace and analyse the model; the first one of a process also pays for the imports.
    """

    model: str
    input: str | None = None
    status: str = "failed"
    params: int | None = None
    trainable_params: int | None = None
    macs: int | None = None
    flops: int | None = None
    layers: int | None = None
    ops: int | None = None
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    source: str | None = None
    axes: tuple[str, ...] | None = None
    layer_index: int | None = None
    layer: str | None = None
    size: tuple[int, ...] | None = None
    size_min: tuple[int, ...] | None = None
    stride: tuple[Number | None, ...] | None = None
    local_size: tuple[int, ...] | None = None
    whole_input: bool | None = None
    whole_index: int | None = None
    whole_layer: str | None = None
    field_status: str | None = None
    reasons: tuple[str, ...] = ()
    unknown_ops: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str | None = None

    @property
    def key(self) -> tuple[str, str | None]:
        """What was asked: rows with the same key answer the same question."""
        return self.model, self.input

    @property
    def failed(self) -> bool:
        """Whether there are no numbers."""
        return self.status in ("failed", "timed_out")

    @property
    def strict(self) -> bool:
        """Whether every number is exact and complete."""
        return self.status == "complete" and self.field_status == "exact"

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Row:
        """The row that `to_dict` gave. Raises ValueError where it is none."""
        kept = {name: value for name, value in values.items() if name != "schema"}
        if set(kept) != {item.name for item in fields(cls)}:
            raise ValueError("the keys are not those of a row")
        for name in _TUPLES:
            kept[name] = None if kept[name] is None else tuple(kept[name])
        if kept["stride"] is not None:
            kept["stride"] = tuple(Fraction(step) if isinstance(step, str) else step for step in kept["stride"])
        kept["inputs"] = {name: tuple(shape) for name, shape in kept["inputs"].items()}
        return cls(**kept)

    def line(self) -> str:
        """The row as a line of JSON, which says what it is, without its line break."""
        return json.dumps({"schema": SCHEMA, **self.to_dict()}, allow_nan=False)


def survey(spec: str, inputs: Any = None) -> Row:
    """The row of the model that a text names; ``inputs`` are as for `rfcalc.analyze`. Only an interrupt is raised."""
    return examine(spec, lambda: (spec, inputs), asked(inputs))


def examine(name: str, find: Callable[[], tuple[Any, Any]], wanted: str | None = None) -> Row:
    """The row, called ``name``, of the model and the input that ``find`` gives.

    ``wanted`` is the input as it was asked for. What the model's code prints goes to stderr.
    """
    from rfcalc import api

    started = time.perf_counter()

    def seconds() -> float:
        return round(time.perf_counter() - started, 3)

    try:
        with redirect_stdout(sys.stderr):
            model, inputs = find()
            found = facts(api.analyze(model, inputs))
        return Row(name, wanted, seconds=seconds(), **found)
    except (Exception, SystemExit) as error:
        return Row(name, wanted, seconds=seconds(), error=one_line(error))


def one_line(error: BaseException) -> str:
    """An error as a line; one that rfcalc did not raise on purpose with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        return f"its code called sys.exit({error.code!r}); a model must load without"
    if isinstance(error, RfcalcError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def asked(inputs: Any) -> str | None:
    """Shapes as they are typed after --input."""
    if inputs is None:
        return None
    if isinstance(inputs, Mapping):
        return ",".join(f"{name}={_cross(shape)}" for name, shape in inputs.items())
    return _cross(inputs)


def _cross(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def facts(analysis: Analysis) -> dict[str, Any]:
    """What a row takes from an analysis, by the row's names."""
    totals = analysis.totals
    every = [item for layer in analysis.layers for item in layer.receptive_fields.values()]
    source = next((item.name for item in analysis.inputs if item.axes), None)
    return {
        "status": totals.status,
        "params": totals.params,
        "trainable_params": totals.trainable_params,
        "macs": totals.macs,
        "flops": totals.flops,
        "layers": len(analysis.layers),
        "ops": analysis.graph.number_of_nodes(),
        "inputs": {item.name: tuple(item.shape) for item in analysis.inputs},
        "field_status": "exact" if all(item.status == "exact" for item in every) else "upper_bound",
        "reasons": _causes(every),
        "unknown_ops": dict(totals.unknown_ops),
        "notes": analysis.notices,
        **(_spatial(analysis.layers, source) if source is not None else {}),
    }


def _causes(every: Sequence[ReceptiveField]) -> tuple[str, ...]:
    """For each cause of a bound the first op that has it."""
    first: dict[str, str] = {}
    for reason in dict.fromkeys(reason for item in every for reason in item.reasons):
        first.setdefault(reason.partition(": ")[2], reason)
    return tuple(first.values())


def _spatial(layers: Sequence[Layer], source: str) -> dict[str, Any]:
    """The field at the last spatial layer, and the first layer that sees everything."""
    seen = [(layer, layer.receptive_fields[source]) for layer in layers if source in layer.receptive_fields]
    whole = next((layer for layer, item in seen if item.whole_input), None)
    found: dict[str, Any] = {"source": source}
    if whole is not None:
        found |= {"whole_index": whole.index, "whole_layer": whole.name}
    for layer, item in reversed(seen):
        if _is_spatial(layer, item):
            names = ("axes", "size", "size_min", "stride", "local_size", "whole_input")
            return found | {"layer_index": layer.index, "layer": layer.name} | {n: getattr(item, n) for n in names}
    return found


def _is_spatial(layer: Layer, item: ReceptiveField) -> bool:
    if layer.kind == "input" or not item.axes:
        return False
    windowed = item.stride is not None and None not in item.stride
    return windowed or (layer.kind in _SLIDING and all(item.local_size or (0,)))
