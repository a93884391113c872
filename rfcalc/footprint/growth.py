"""How memory grows with the batch, the size of the input or an argument: exact formulas, by passes at several sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rfcalc.comparing.fitting import Key, RefusedError, Sample, Sizes, fit
from rfcalc.comparing.formulas import Irregular, Range, ranges, refused
from rfcalc.comparing.polynomial import Count, require_sympy, simplest
from rfcalc.comparing.rows import json_count
from rfcalc.comparing.symbols import asked_symbols, family
from rfcalc.footprint.measure import memory
from rfcalc.footprint.results import Memory

SCHEMA = "rfcalc-memory-growth/1"

#: What is told of inference, and what of training beside; the first of each decide which sizes are looked at.
_INFERENCE = ("moved_bytes", "params_bytes", "buffers_bytes", "inputs_bytes", "activation_elements", "peak_bytes")
_DECODING = ("decode_peak_bytes", "decode_moved_bytes")
_TRAINING = ("saved_bytes", "gradients_bytes", "optimizer_bytes")
_PHASES = ("forward", "backward", "step")


@dataclass(frozen=True)
class MemoryGrowth:
    """Bytes of a model as formulas in the symbols of ``ranges``; None for what is no polynomial (see ``irregular``).

    A peak is the largest of many sums: it has a formula where one op has it at all sizes, which ``at`` names; None
    there where it changes. ``base`` is the memory at the sizes that were looked at first.
    """

    model: str
    inputs: Mapping[str, tuple[Count, ...]]
    ranges: tuple[Range, ...]
    formula: Mapping[str, Count]
    at: Mapping[str, str | None]
    irregular: tuple[Irregular, ...]
    fitted: tuple[Sizes, ...]
    confirmed: tuple[Sizes, ...]
    base: Memory

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "inputs": [
                {"name": name, "shape": [json_count(extent) for extent in shape]} for name, shape in self.inputs.items()
            ],
            "symbols": [item.to_dict() for item in self.ranges],
            "formula": {name: json_count(value) for name, value in self.formula.items()},
            "at": dict(self.at),
            "irregular": [item.to_dict() for item in self.irregular],
            "fitted": [dict(sizes) for sizes in self.fitted],
            "confirmed": [dict(sizes) for sizes in self.confirmed],
            "notices": list(self.base.notices),
        }

    def __repr__(self) -> str:
        return f"<Growth of the memory of {self.model}: {self.formula['peak_bytes']} bytes at the peak of inference>"

    def _repr_html_(self) -> str:
        from rfcalc.report.memory_growth import memory_growth_html

        return memory_growth_html(self)


def memory_growth(
    model: Any,
    inputs: Any = None,
    *,
    symbols: str | Iterable[str] | Mapping[str, int],
    axes: Any = None,
    **asked: Any,
) -> MemoryGrowth:
    """The bytes of a model as formulas in sizes; ``symbols`` are as for `rfcalc.growth`, ``asked`` for `memory`.

    Raises `UsageError` for a size that the model does not have or that cannot change, and what `memory` raises.
    """
    require_sympy()
    names, starts = asked_symbols(symbols)
    made = family(model, inputs, starts=starts, asked=names, axes=axes)
    first: list[Memory] = []

    def measure(sizes: Sizes) -> Sample:
        found = memory(*made.call(sizes), axes=axes, **asked)
        if not first:
            first.append(found)
        return Sample(_counts(found), lambda: _places(found))

    training = bool(asked.get("training"))
    essential = ("moved_bytes", *(("saved_bytes",) if training else ()))
    try:
        found = fit(measure, made.guesses, essential)
    except RefusedError as error:
        raise refused(made, first[0].model, error) from error
    told = [
        *_INFERENCE,
        *(_DECODING if asked.get("decode") else ()),
        *(_TRAINING if training else ()),
        *(_phases(first[0]) if training else ()),
    ]

    def count(key: Key) -> Count:
        one = found.polynomials.get(key)
        return None if one is None else simplest(one)

    return MemoryGrowth(
        made.spec if isinstance(made.spec, str) else first[0].model,
        {
            one.name: tuple(count(("input", one.name, axis)) for axis in range(len(one.shape)))
            for one in first[0].inputs
        },
        ranges(made, found),
        {name: count(name) for name in told},
        {str(name): _named(found.facts.get(name)) for name in _places(first[0])},
        tuple(Irregular(name, found.irregular[name], ()) for name in told if name in found.irregular),
        found.fitted,
        found.confirmed,
        first[0],
    )


def _counts(found: Memory) -> dict[Key, int]:
    counts: dict[Key, int] = {name: getattr(found, name) for name in _INFERENCE}
    for one in found.inputs:
        counts.update({("input", one.name, axis): extent for axis, extent in enumerate(one.shape)})
    if found.decode is not None:
        counts.update({"decode_peak_bytes": found.decode.peak_bytes, "decode_moved_bytes": found.decode.moved_bytes})
    if found.training is not None:
        counts.update({name: getattr(found.training, name) for name in _TRAINING})
        counts.update({f"{phase}_peak_bytes": found.training.phases[phase] for phase in found.training.phases})
    return counts


def _phases(found: Memory) -> list[str]:
    return [f"{phase}_peak_bytes" for phase in _PHASES if found.training is not None and phase in found.training.phases]


def _places(found: Memory) -> dict[Key, str]:
    """Where the peaks are."""
    places: dict[Key, str] = {"peak_bytes": found.peak.at}
    if found.training is not None:
        places["training_peak_bytes"] = f"{found.training.peak.phase}: {found.training.peak.at}"
    return places


def _named(fact: Any) -> str | None:
    return None if fact is None else str(fact)


__all__ = ["SCHEMA", "MemoryGrowth", "memory_growth"]
