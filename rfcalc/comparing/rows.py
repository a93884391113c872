"""Models side by side: one row each, and the ratios to one of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.results import Layer, ReceptiveField, plain
from rfcalc.analyses.summary import summary
from rfcalc.comparing.aligned import Alignment, align
from rfcalc.comparing.formulas import TOTALS, Formulas, Irregular, Range, formulas
from rfcalc.comparing.polynomial import Count, Polynomial, Quotient, Ratio, ratio
from rfcalc.comparing.symbols import family, parse_symbols
from rfcalc.errors import UsageError
from rfcalc.graph import layered
from rfcalc.sources import stack
from rfcalc.sources.naming.symbols import Size, parse_size

SCHEMA = "rfcalc-compare/1"

#: The counts of a row, which have ratios.
COUNTS = ("layers", "depth", *TOTALS)
#: What can be said of a model's memory: alive at the peak, moved, kept for the way back, and the peak in training.
BYTES = ("peak_bytes", "moved_bytes", "saved_bytes", "training_peak_bytes")
_LOWER_BOUNDS = ("macs", "unmasked_macs", "flops")


@dataclass(frozen=True)
class Term:
    """What one layer brings into the sums of its row. ``formula`` is that of its multiply-adds, "" with symbols."""

    index: int | None
    layer: str
    formula: str
    params: Count
    macs: Count

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        names = {"index": self.index, "layer": self.layer, "formula": self.formula}
        return {**names, "params": json_count(self.params), "macs": json_count(self.macs)}


@dataclass(frozen=True)
class Row:
    """One model on one input. A count is a number, or a formula in the symbols of ``ranges``; None if neither is known.

    ``number`` is the model's among those named, from 1. ``kind`` are the axes that fields are measured along, by input.
    ``spatial`` is the last spatial layer, whose fields papers quote for a model, ``whole`` the first layer that sees
    the whole input (`rfcalc.analyses.summary.Summary`); None where there is none, or not the same at all sizes.
    ``exact`` says that every count is complete, and every field exact. ``terms`` are the layers that have parameters or
    multiply-adds. ``varying`` is what is not the same at all sizes ("windows" for the fields of the last spatial
    layer), ``irregular`` the counts that are no polynomials.
    """

    number: int
    model: str
    inputs: Mapping[str, tuple[Count, ...]]
    kind: Mapping[str, tuple[str, ...]]
    layers: Count
    depth: Count
    params: Count
    trainable_params: Count
    param_bytes: Count
    buffers: Count
    macs: Count
    unmasked_macs: Count
    flops: Count
    status: str
    exact: bool
    spatial: Layer | None
    whole: Layer | None
    terms: tuple[Term, ...]
    ranges: tuple[Range, ...] = ()
    varying: tuple[str, ...] = ()
    irregular: tuple[Irregular, ...] = ()
    notes: tuple[str, ...] = ()
    analyses: tuple[Analysis, ...] = field(default=(), repr=False, compare=False)  #: the model's, without symbols
    #: Bytes by name, of `BYTES`; empty where they were not asked for, None where one is not known.
    memory: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def fields(self) -> Mapping[str, ReceptiveField]:
        """The fields of the last spatial layer, by source."""
        return {} if self.spatial is None else self.spatial.receptive_fields

    @property
    def axes(self) -> frozenset[str]:
        """The axes that fields are measured along, in any input."""
        return frozenset(axis for axes in self.kind.values() for axis in axes)

    def formula(self) -> dict[str, Polynomial]:
        """The counts that are formulas."""
        return {name: value for name in COUNTS if isinstance(value := getattr(self, name), Polynomial)}

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output; a formula stands under ``formula``, its count is null."""
        numbers = {name: None if name in self.formula() else getattr(self, name) for name in COUNTS}
        fields = {name: field.to_dict() for name, field in self.fields.items()}
        return {
            "model": self.model,
            "inputs": [
                {"name": name, "shape": [json_count(extent) for extent in shape], "axes": list(self.kind[name])}
                for name, shape in self.inputs.items()
            ],
            **numbers,
            "status": self.status,
            "exact": self.exact,
            "formula": {name: str(value) for name, value in self.formula().items()},
            "spatial_layer": _named(self.spatial),
            "receptive_field": next(iter(fields.values())) if len(fields) == 1 else None,
            "receptive_fields": fields,
            "whole_input_from": _named(self.whole),
            "symbols": [item.to_dict() for item in self.ranges],
            "irregular": [item.to_dict() for item in self.irregular],
            "terms": [term.to_dict() for term in self.terms],
            "notes": list(self.notes),
            **({"memory": dict(self.memory)} if self.memory else {}),
        }


@dataclass(frozen=True)
class Comparison:
    """Rows of models, and the one that ratios are to; ``aligned`` are the layers of two models, if asked for."""

    rows: tuple[Row, ...]
    reference: Row
    aligned: Alignment | None = None

    def ratio(self, row: Row, count: str) -> Ratio:
        """One of `COUNTS` over that of the reference, exactly; None where it is not known or a lower bound."""
        if count in _LOWER_BOUNDS and {row.status, self.reference.status} != {"complete"}:
            return None
        return ratio(getattr(row, count), getattr(self.reference, count))

    def alike(self, row: Row) -> bool:
        """Whether fields of the row are along the axes of those of the reference, so that they can be compared."""
        return bool(row.axes) and row.axes == self.reference.axes

    def with_memory(self, found: Sequence[Mapping[str, int | None]]) -> Comparison:
        """The same rows with bytes of each."""
        rows = tuple(replace(row, memory=one) for row, one in zip(self.rows, found, strict=True))
        return replace(self, rows=rows, reference=rows[self.rows.index(self.reference)])

    def sorted(self, by: str) -> Comparison:
        """The same rows in ascending order of one of `COUNTS` or of ``model``; ``-macs`` in descending order.

        Formulas are ordered by their ratios to the reference, what is not known comes last. Raises `UsageError` for
        other names, and for formulas whose order depends on the sizes.
        """
        name = by.removeprefix("-")
        if name not in ("model", *COUNTS):
            raise UsageError(f"cannot sort by {name!r}: one of model, {', '.join(COUNTS)}, with a - for descending")
        known = [(self._sort_key(row, name), row) for row in self.rows]
        ordered = sorted((item for item in known if item[0] is not None), key=lambda item: item[0], reverse=name != by)
        return replace(self, rows=tuple(row for _, row in [*ordered, *(item for item in known if item[0] is None)]))

    def _sort_key(self, row: Row, name: str) -> Any:
        value = getattr(row, name)
        if not any(isinstance(getattr(other, name), Polynomial) for other in self.rows):
            return value
        found = self.ratio(row, name)
        if isinstance(found, Polynomial | Quotient):
            raise UsageError(f"--sort {name}: the order of {row.model} and {self.reference.model} depends on the sizes")
        return found

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        rows = []
        for row in self.rows:
            ratios = {count: self.ratio(row, count) for count in COUNTS}
            rows.append({**row.to_dict(), "ratio": {name: _json_ratio(value) for name, value in ratios.items()}})
        data = {"schema": SCHEMA, "relative_to": self.reference.model, "rows": rows}
        return data if self.aligned is None else {**data, "layers": self.aligned.to_dict()}

    def to_dataframe(self) -> Any:
        """A `pandas.DataFrame` with the columns of the CSV output, a row for each model.

        Raises `UsageError` where pandas is not installed.
        """
        from rfcalc.report.comparison import comparison_frame

        return comparison_frame(self)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, model: str | int) -> Row:
        """A row by the model's name, or by its number from 1. Raises KeyError."""
        for row in self.rows:
            if model in (row.model, row.number):
                return row
        raise KeyError(f"there is no model {model!r}: {', '.join(row.model for row in self.rows)}")

    def __str__(self) -> str:
        from rfcalc.report.comparison import comparison_text

        return comparison_text(self)

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(row.model for row in self.rows)}>"

    def _repr_html_(self) -> str:
        from rfcalc.report.comparison import comparison_html

        return comparison_html(self)


def compare(
    models: Sequence[Any] | Mapping[str, Any],
    inputs: Any = None,
    *,
    channels: int | str | None = None,
    relative_to: int | str | None = None,
    symbols: str | Iterable[str] | Mapping[str, int] = (),
    per_layer: bool = False,
    axes: Any = None,
    training: bool = False,
    dtype: str | None = None,
) -> Comparison:
    """One row for each model; see `rfcalc.compare`."""
    if not models:
        raise UsageError("nothing to compare: name models")
    labels, models = _labelled(models)
    size = _channels(channels, models)
    names, starts = parse_symbols(symbols)
    asked = [name for name in names if name not in starts]
    made = [
        _row(model, inputs, channels=size, starts=starts, asked=asked, axes=axes, training=training, dtype=dtype)
        for model in models
    ]
    found = [
        (replace(row, number=number, model=label), analysis)
        for number, (label, (row, analysis)) in enumerate(zip(labels, made, strict=True), 1)
    ]
    rows = tuple(row for row, _ in found)
    for name in starts:
        if not any(name == item.symbol for row in rows for item in row.ranges):
            raise UsageError(f"no model has a size {name}: write it into a stack, into the input, or as an argument")
    aligned = align([(row.model, analysis) for row, analysis in found]) if per_layer else None
    return Comparison(rows, rows[_position(rows, relative_to)], aligned)


def calls(models: Sequence[Any] | Mapping[str, Any], inputs: Any, channels: int | str | None) -> list[tuple[Any, Any]]:
    """Each model without symbols as it is traced, and its inputs: a stack has the channels that were given."""
    listed = list(models.values() if isinstance(models, Mapping) else models)
    size = _channels(channels, listed)
    made = [family(model, inputs, channels=size) for model in listed]
    return [(one.spec, one.given) for one in made]


# --- rows -------------------------------------------------------------------------------------------------------------


def _row(model: Any, inputs: Any, **asked: Any) -> tuple[Row, Analysis | None]:
    """The row of one model, and its analysis if it has no symbols; ``asked`` goes to `family`."""
    if isinstance(model, Analysis):
        return numbers_row(model), model
    found = family(model, inputs, **asked)
    if found.symbols:
        return formulas_row(formulas(found)), None
    analysis = found.at({})
    return numbers_row(analysis), analysis


def numbers_row(analysis: Analysis) -> Row:
    """The row of a model whose sizes are numbers."""
    short = summary(analysis)
    terms = [
        Term(layer.index, layer.name, layer.formula, layer.params, layer.macs)
        for layer in analysis.layers
        if layer.params or layer.macs != 0
    ]
    return Row(
        1,
        analysis.model,
        dict(short.inputs),
        _kind(analysis.inputs),
        **{name: getattr(short, name) for name in COUNTS},
        status=short.status,
        exact=short.exact,
        spatial=short.spatial,
        whole=short.whole,
        terms=tuple(terms),
        notes=analysis.notices,
        analyses=(analysis,),
    )


def formulas_row(found: Formulas) -> Row:
    """The row of a model with symbols."""
    short, varying = found.base, found.varying
    terms = [
        Term(layer.index, layer.name, "", found.layer_count(layer, "params"), found.layer_count(layer, "macs"))
        for layer in found.analysis.layers
        if layer.params or layer.macs != 0
    ]
    return Row(
        1,
        found.analysis.model,
        found.inputs,
        _kind(found.analysis.inputs),
        **{name: found.count(name) for name in TOTALS},
        layers=None if "layers" in varying else short.layers,
        depth=None if "depth" in varying else short.depth,
        status=short.status,
        exact=short.exact,
        spatial=found.spatial,
        whole=None if "whole_from" in varying else short.whole,
        terms=tuple(terms),
        ranges=found.ranges,
        varying=varying,
        irregular=found.irregular,
        notes=found.analysis.notices,
        analyses=(),
        memory={},
    )


def _kind(inputs: Iterable[Any]) -> dict[str, tuple[str, ...]]:
    return {item.name: tuple(item.axes) for item in inputs}


def _named(layer: Layer | None) -> dict[str, Any] | None:
    return None if layer is None else {"index": layer.index, "name": layer.name}


def json_count(value: Count) -> int | str | None:
    """A count as JSON data; a formula is a string."""
    return str(value) if isinstance(value, Polynomial) else value


def _json_ratio(value: Ratio) -> Any:
    return str(value) if isinstance(value, Polynomial | Quotient) else plain(value)


# --- what was asked ---------------------------------------------------------------------------------------------------


def _labelled(models: Sequence[Any] | Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    """What models are to be called, and the models: by the keys of a mapping, or by what they are."""
    if isinstance(models, Mapping):
        return list(models), list(models.values())
    return _labels(models), list(models)


def _labels(models: Sequence[Any]) -> list[str]:
    """What the user called the models; a second of one name gets ``#2``."""
    names: list[str] = []
    for model in models:
        if isinstance(model, str):
            name = model
        elif isinstance(model, Analysis):
            name = model.model
        else:
            graph = layered(model)
            name = graph.model if graph is not None else type(model).__name__
        number = sum(known == name or known.startswith(f"{name}#") for known in names)
        names.append(f"{name}#{number + 1}" if number else name)
    return names


def _channels(given: int | str | None, models: Sequence[Any]) -> Size | None:
    """The channels for stacks that leave theirs out. Raises `UsageError` if no stack does."""
    if given is None:
        return None
    size = parse_size(str(given))
    if size is None or size == 0 or str(size).startswith("0"):
        raise UsageError(f"--channels {given!r}: write a number, 64, or a symbol in capitals, C")
    texts = [model for model in models if isinstance(model, str) and stack.matches(model)]
    if not any(stack.first_channels(stack.parse(text)) is None for text in texts):
        raise UsageError(
            f"--channels {given}: no model here leaves its channels open; write a stack without :IN-OUT, as in 3x3"
        )
    return size


def _position(rows: Sequence[Row], wanted: int | str | None) -> int:
    """The position of the row that was named, or numbered from 1."""
    if wanted is None:
        return 0
    names = [row.model for row in rows]
    if wanted in names:
        return names.index(str(wanted))
    text = str(wanted)
    if text.isdecimal() and 1 <= int(text) <= len(rows):
        return int(text) - 1
    near = difflib.get_close_matches(text, names, 1, 0) or names[:1]
    raise UsageError(
        f"there is no row {text!r} to compare with: rows are numbered from 1 to {len(rows)}; nearest name: {near[0]!r}"
    )
