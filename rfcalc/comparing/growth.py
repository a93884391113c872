"""How the cost of one model grows with the size of its input, its batch, or an argument; which layers bring what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.results import Layer, plain
from rfcalc.comparing.fitting import Sizes
from rfcalc.comparing.formulas import OF_PARTS, TOTALS, Formulas, Irregular, Range, formulas
from rfcalc.comparing.polynomial import Count, Polynomial
from rfcalc.comparing.rows import json_count
from rfcalc.comparing.symbols import asked_symbols, family
from rfcalc.errors import UsageError

SCHEMA = "rfcalc-growth/1"


@dataclass(frozen=True)
class LayerGrowth:
    """What one layer costs as formulas; ``layer`` is the layer at the sizes that were looked at first."""

    layer: Layer
    params: Count
    macs: Count

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        names = {"index": self.layer.index, "name": self.layer.name, "kind": self.layer.kind}
        return {**names, "params": json_count(self.params), "macs": json_count(self.macs)}


@dataclass(frozen=True)
class Part:
    """One term of the multiply-adds: its share of them at the first sizes, and the layers that bring it, most first."""

    term: Polynomial
    share: Fraction
    layers: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {"term": str(self.term), "share": plain(self.share), "layers": list(self.layers)}


@dataclass(frozen=True)
class Growth:
    """Costs of a model as formulas in the symbols of ``ranges``; None for what is no polynomial (see ``irregular``).

    ``fitted`` are the sizes at which the model was traced to find the formulas, ``confirmed`` others at which they
    held. ``layers`` are those at the first sizes, of which ``analysis`` is; ``varying`` holds "layers" where the model
    has not the same ones at all sizes.
    """

    model: str
    inputs: Mapping[str, tuple[Count, ...]]
    ranges: tuple[Range, ...]
    params: Count
    trainable_params: Count
    param_bytes: Count
    buffers: Count
    macs: Count
    unmasked_macs: Count
    flops: Count
    status: str
    layers: tuple[LayerGrowth, ...]
    irregular: tuple[Irregular, ...]
    varying: tuple[str, ...]
    fitted: tuple[Sizes, ...]
    confirmed: tuple[Sizes, ...]
    notes: tuple[str, ...]
    analysis: Analysis = field(repr=False, compare=False)
    by_part: Mapping[str, tuple[Count, ...]] = field(default_factory=dict)  #: multiply-adds, those not masked, backward
    training_macs: Count = None  #: multiply-adds of a training step, of a model of token ids

    @property
    def start(self) -> dict[str, int]:
        """The sizes at which the model was looked at first."""
        return {item.symbol: item.start for item in self.ranges}

    def parts(self) -> tuple[Part, ...]:
        """The terms of the multiply-adds, the highest degree first."""
        if not isinstance(self.macs, Polynomial):
            return ()
        whole = self.macs.at(self.start)
        found = []
        for exponents in sorted(self.macs.terms, key=lambda key: (-sum(key), [-power for power in key])):
            term = Polynomial(self.macs.symbols, {exponents: self.macs.terms[exponents]})
            brought = {item.layer.name: _coefficient(item.macs, exponents) for item in self.layers}
            names = sorted((name for name, factor in brought.items() if factor), key=lambda name: -brought[name])
            found.append(Part(term, term.at(self.start) / whole, tuple(names)))
        return tuple(found)

    def select(self, text: str | int) -> tuple[LayerGrowth, ...]:
        """The layers meant by a number, a name or a pattern. Raises `UsageError` where that is no numbered layer."""
        wanted = {layer.index for layer in self.analysis.select(text)} - {None}
        if not wanted:
            raise UsageError(f"{text!r} has no row of its own, and formulas are by row: name a numbered layer")
        return tuple(item for item in self.layers if item.layer.index in wanted)

    def to_dict(self, layers: Iterable[LayerGrowth] | None = None) -> dict[str, Any]:
        """The JSON document, with all layers or the given ones."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "inputs": [
                {"name": name, "shape": [json_count(extent) for extent in shape]} for name, shape in self.inputs.items()
            ],
            "symbols": [item.to_dict() for item in self.ranges],
            "formula": {name: json_count(getattr(self, name)) for name in TOTALS},
            "status": self.status,
            "parts": [part.to_dict() for part in self.parts()],
            **({} if self.training_macs is None else {"training_macs": json_count(self.training_macs)}),
            "by_part": {
                name: dict(zip(OF_PARTS, map(json_count, counts), strict=True)) for name, counts in self.by_part.items()
            },
            "layers": [item.to_dict() for item in (self.layers if layers is None else layers)],
            "irregular": [item.to_dict() for item in self.irregular],
            "fitted": [dict(sizes) for sizes in self.fitted],
            "confirmed": [dict(sizes) for sizes in self.confirmed],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return f"<Growth of {self.model}: {self.params} parameters, {self.macs} multiply-adds>"

    def _repr_html_(self) -> str:
        from rfcalc.report.growth import growth_html

        return growth_html(self)


def growth(
    model: Any,
    inputs: Any = None,
    *,
    symbols: str | Iterable[str] | Mapping[str, int],
    axes: Any = None,
    training: bool = False,
) -> Growth:
    """The costs of a model as formulas; see `rfcalc.growth`."""
    names, starts = asked_symbols(symbols)
    made = family(model, inputs, starts=starts, asked=names, axes=axes, training=training)
    return grown(formulas(made))


def grown(found: Formulas) -> Growth:
    """The growth that formulas say."""
    rows = [
        LayerGrowth(item, found.layer_count(item, "params"), found.layer_count(item, "macs"))
        for item in found.analysis.layers
    ]
    return Growth(
        found.model,
        found.inputs,
        found.ranges,
        **{name: found.count(name) for name in TOTALS},
        status=found.base.status,
        layers=tuple(rows),
        irregular=found.irregular,
        varying=found.varying,
        fitted=found.fit.fitted,
        confirmed=found.fit.confirmed,
        notes=found.analysis.notices,
        analysis=found.analysis,
        by_part=found.by_part,
        training_macs=found.count(("training", "macs")),
    )


def _coefficient(count: Count, exponents: tuple[int, ...]) -> Fraction:
    """The factor that a count has before these powers of the symbols."""
    if isinstance(count, Polynomial):
        return count.terms.get(exponents, Fraction(0))
    return Fraction(count or 0) if not any(exponents) else Fraction(0)
