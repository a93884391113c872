"""One model, one flat record. Whatever goes wrong with a model is a row, too."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

from rfcalc.analyses.results import Layer, Number, ReceptiveField, plain
from rfcalc.errors import RfcalcError

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis

SCHEMA = "rfcalc-sweep/1"

Key: TypeAlias = tuple[str, str | None]  #: a model and the input that was asked for

#: What rows have only where bytes were asked for.
LATER = frozenset({"peak_bytes", "moved_bytes", "saved_bytes", "training_peak_bytes"})
_TUPLES = ("axes", "size", "size_min", "stride", "local_size", "reasons", "notes")


@dataclass(frozen=True)
class Row:
    """What a sweep says of one model; None where it is not known or there is none.

    ``input`` is the shape that was asked for, as typed after --input, and ``inputs`` the shapes that the model got.
    ``status`` is that of the totals, "complete" or "lower_bound", or "failed" or "timed_out" with ``error``.
    ``field_status`` is "exact" if every layer's field in every input is, else "upper_bound", with one of ``reasons``
    for each cause. ``layer_index`` to ``whole_input`` are the last spatial layer (`rfcalc.analyses.summary` says which
    that is) and its field in ``source``, the first input that it sees; ``whole_index`` and ``whole_layer`` are the
    first layer that sees the whole input. ``notes`` are those of the tracer. ``seconds`` is the time to build, trace
    and analyse the model. ``peak_bytes`` to ``training_peak_bytes`` are as in `rfcalc.memory` where they were asked
    for, those of training None for a model that cannot be trained.
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
    peak_bytes: int | None = None
    moved_bytes: int | None = None
    saved_bytes: int | None = None
    training_peak_bytes: int | None = None

    @property
    def key(self) -> Key:
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
        """As in the JSON output; bytes only where they were asked for."""
        left_out = LATER if self.peak_bytes is None else ()
        return {item.name: plain(getattr(self, item.name)) for item in fields(self) if item.name not in left_out}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Row:
        """The row that `to_dict` gave. Raises ValueError where it is none."""
        kept = {name: value for name, value in values.items() if name != "schema"}
        if set(kept) | LATER != {item.name for item in fields(cls)}:
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


def examine(name: str, find: Callable[[], tuple[Any, Any]], wanted: str | None = None, *, memory: bool = False) -> Row:
    """The row, called ``name``, of the model and the input that ``find`` gives.

    ``wanted`` is the input as it was asked for, ``memory`` whether bytes were. What the model's code prints goes to
    stderr. Everything is traced, for the time of the row is that of tracing.
    """
    from rfcalc import api
    from rfcalc.sources import stored

    started = time.perf_counter()

    def seconds() -> float:
        return round(time.perf_counter() - started, 3)

    try:
        with redirect_stdout(sys.stderr), stored.using("nothing"):
            model, inputs = find()
            found = facts(api.analyze(model, inputs))
            if memory:
                found |= api.few_bytes(model, inputs)
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


def _cross(shape: Any) -> str:
    return "x".join(map(str, shape)) if isinstance(shape, list | tuple) else str(shape)


def facts(analysis: Analysis) -> dict[str, Any]:
    """What a row takes from an analysis, by the row's names."""
    from rfcalc.analyses.summary import summary

    found = summary(analysis)
    every = [item for layer in analysis.layers for item in layer.receptive_fields.values()]
    values: dict[str, Any] = {
        "status": found.status,
        "params": found.params,
        "trainable_params": found.trainable_params,
        "macs": found.macs,
        "flops": found.flops,
        "layers": found.layers,
        "ops": len(analysis.layer_graph),
        "inputs": {name: tuple(shape) for name, shape in found.inputs.items()},
        "field_status": "upper_bound" if found.bounds else "exact",
        "reasons": _causes(every),
        "unknown_ops": dict(analysis.totals.unknown_ops),
        "notes": analysis.notices,
    }
    if found.whole is not None:
        values |= {"whole_index": found.whole.index, "whole_layer": found.whole.name}
    return values | (_field(found.spatial) if found.spatial is not None else {})


def _field(layer: Layer) -> dict[str, Any]:
    """The layer's field in the first input that it sees."""
    item = next(item for item in layer.receptive_fields.values() if any(item.size))
    names = ("source", "axes", "size", "size_min", "stride", "local_size", "whole_input")
    return {"layer_index": layer.index, "layer": layer.name} | {name: getattr(item, name) for name in names}


def _causes(every: Sequence[ReceptiveField]) -> tuple[str, ...]:
    """For each cause of a bound the first op that has it."""
    first: dict[str, str] = {}
    for reason in dict.fromkeys(reason for item in every for reason in item.reasons):
        first.setdefault(reason.partition(": ")[2], reason)
    return tuple(first.values())
