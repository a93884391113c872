"""What a lock holds of a model: one record a layer, JSON data inside, the same from run to run and torch to torch.

Left out is what the same model may give differently: names of aten ops, views, casts and copies, versions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis
    from rfcalc.analyses.results import Layer
    from rfcalc.baseline.streams import Flow
    from rfcalc.graph import LayerGraph, Node, Place

#: Version of what is counted and how (docs/definitions.md, docs/flops.md); to be raised when a count changes for a
#: model that did not, so that a lock is not compared with numbers of another meaning.
CONVENTION = 1

#: Ops that fold into a row and are part of what the model is.
_KEPT = frozenset({"norm", "activation", "dropout", "elementwise", "reduction", "pad"})

#: Settings of folded ops that follow from the module and its weights.
_FOLLOWS = frozenset({"foldable", "num_features"})
#: How torch runs an op, not what it is.
_RUN = frozenset({"kernels", "mask"})

Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Op:
    """An op that folds into a layer: a norm, an activation. ``module`` is the class, or the function's plain name."""

    name: str
    kind: str
    module: str
    attrs: Data = field(default_factory=dict)
    weights: Mapping[str, list[int]] = field(default_factory=dict)

    @property
    def what(self) -> tuple[Any, ...]:
        """The op without its name."""
        return self.kind, self.module, self.attrs, self.weights


@dataclass(frozen=True, slots=True)
class Row:
    """One layer. ``weights`` are the shapes of its parameters, ``tied`` those that another parameter lends it.

    ``fields`` has for each source the field's ``status``, ``size``, ``stride`` and ``start``, and where they say more
    than these ``size_min``, ``local_size`` and ``whole_input``; as in the JSON output. Counts are None where unknown.
    """

    name: str
    kind: str
    module: str = ""
    attrs: Data = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    output: tuple[int, ...] = ()
    dtype: str = ""
    weights: Mapping[str, list[int]] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    folded: tuple[Op, ...] = ()
    params: int = 0
    frozen_params: int = 0
    macs: int | None = 0
    flops: int | None = 0
    activation_bytes: int | None = 0
    closed_macs: int | None = 0  #: of ``macs``, those of pairs that a mask closes; None where that is not known
    fields: Mapping[str, Data] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    """One input: axes are those along which fields are measured."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    axes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the model. ``params`` holds those that are frozen and those that the forward pass never uses, too."""

    params: int
    frozen_params: int
    unused_params: int
    buffers: int
    macs: int
    flops: int
    activation_bytes: int | None
    status: str
    closed_macs: int | None = 0  #: of ``macs``, those of pairs that a mask closes; None where that is not known

    @property
    def unmasked_macs(self) -> int | None:
        """The multiply-adds of pairs that no mask closes."""
        return None if self.closed_macs is None else self.macs - self.closed_macs


@dataclass(frozen=True, slots=True)
class Entry:
    """One model in a lock. ``model`` is how it is named for tracing, None if a test of the user's traces it.

    ``spatial`` is the layer whose fields are the model's: the last whose units see different places, "" for none.
    ``places`` are the lines of code that call its layers, which are known of a model that was just traced; no lock has
    them.
    """

    name: str
    model: str | None
    training: bool
    inputs: tuple[Input, ...]
    totals: Totals
    spatial: str
    layers: tuple[Row, ...]
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)
    flow: Flow | None = field(default=None, compare=False, repr=False)  #: while limits are held that need the graph
    footprint: Mapping[str, Any] = field(default_factory=dict)  #: what limits ask beyond the graph; in no lock


def entry_of(graph: LayerGraph, name: str, model: str | None) -> Entry:
    """What the lock holds of a traced model."""
    from rfcalc.analyses.analysis import Analysis
    from rfcalc.analyses.memory import activation_bytes, used_outputs
    from rfcalc.analyses.summary import last_spatial_layer

    analysis = Analysis(graph)
    totals = analysis.totals
    spatial = last_spatial_layer(analysis.layers)
    return Entry(
        name,
        model,
        bool(graph.meta.get("training", False)),
        tuple(Input(item.name, item.shape, item.dtype, dict(item.axes)) for item in analysis.inputs),
        Totals(
            params=totals.params,
            frozen_params=totals.params - totals.trainable_params,
            unused_params=sum(totals.unused_params.values()),
            buffers=totals.buffers,
            macs=totals.macs,
            flops=totals.flops,
            activation_bytes=activation_bytes(graph, used_outputs(graph)),
            status=totals.status,
            closed_macs=None if totals.unknown_masks else totals.closed_macs,
        ),
        spatial.name if spatial is not None else "",
        tuple(_rows(analysis)),
        {layer.name: place for layer in analysis.layers if (place := graph[layer.node].place) is not None},
    )


def _rows(analysis: Analysis) -> Iterable[Row]:
    from rfcalc.analyses.memory import used_outputs

    members: dict[int, list[Node]] = {}
    for record in analysis.layer_graph:
        members.setdefault(record.owner, []).append(record)
    used = used_outputs(analysis.layer_graph)
    params = {param.name: param for param in analysis.layer_graph.params}
    for layer in analysis.layers:
        yield _row(layer, members[layer.node], used, params)


def _row(layer: Layer, records: list[Node], used: set[Any], params: Mapping[str, Any]) -> Row:
    from rfcalc.analyses.memory import activation_bytes

    main = next(record for record in records if record.id == layer.node)
    kept = [record for record in records if record is not main and (record.kind in _KEPT or record.params)]
    names = [name for record in records for name in record.params]
    return Row(
        name=layer.name,
        kind=layer.kind,
        module=layer.module if layer.kind != "input" else "",
        attrs=_plain({key: value for key, value in layer.attrs.items() if key not in _RUN}),
        inputs=layer.inputs,
        output=layer.output_shape,
        dtype=main.outputs[0].dtype if main.outputs else "",
        weights=_weights(main, params),
        tied={name: params[name].shared_with for name in sorted(names) if params[name].shared_with},
        folded=tuple(_op(record, params) for record in kept),
        params=layer.params,
        frozen_params=layer.params - layer.trainable_params,
        macs=layer.macs,
        closed_macs=None if layer.unknown_mask else layer.closed_macs,
        flops=layer.flops,
        activation_bytes=activation_bytes(records, used),
        fields={name: _field(item.to_dict()) for name, item in sorted(layer.receptive_fields.items())},
    )


def _op(record: Node, params: Mapping[str, Any]) -> Op:
    module = record.module or record.name.rpartition("/")[2].partition("#")[0]
    attrs = {key: value for key, value in record.attrs.items() if key not in _FOLLOWS}
    return Op(record.name, record.kind, module, _plain(attrs), _weights(record, params))


def _weights(record: Node, params: Mapping[str, Any]) -> dict[str, list[int]]:
    """Shapes by the parameters' names within the module, so that renaming the module leaves them as they are."""
    within = f"{record.scope}."
    return {name.removeprefix(within): list(params[name].shape) for name in sorted(record.params)}


def _field(data: Data) -> dict[str, Any]:
    """A field as in the JSON output, without what follows from the rest."""
    row = {key: data[key] for key in ("status", "size", "stride", "start")}
    row |= {key: data[key] for key in ("size_min", "local_size") if data[key] not in (None, data["size"])}
    return {**row, "whole_input": True} if data["whole_input"] else row


def _plain(value: Any) -> Any:
    """JSON data with keys in order; JSON has no word for infinity."""
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


# --- JSON -------------------------------------------------------------------------------------------------------------


def to_data(record: Any) -> dict[str, Any]:
    """A record as JSON data; what is at its default is left out."""
    row = {}
    for item in fields(record):
        value = getattr(record, item.name)
        if item.compare and value != _default(item):
            row[item.name] = _encoded(value)
    return row


def _default(item: Any) -> Any:
    """What a field holds unless told; something no value equals where it has to be told."""
    if callable(item.default_factory):
        return item.default_factory()
    return item.default


def _encoded(value: Any) -> Any:
    if isinstance(value, Op | Input | Totals | Row):
        return to_data(value)
    if isinstance(value, tuple):
        return [_encoded(item) for item in value]
    return value


def entry_from(name: str, data: Data) -> Entry:
    """The record that `to_data` made data of. Raises KeyError, TypeError or ValueError for anything else."""
    return Entry(
        name=name,
        model=data.get("model"),
        training=bool(data["training"]),
        inputs=tuple(Input(**{**row, "shape": tuple(row["shape"])}) for row in data["inputs"]),
        totals=Totals(**data["totals"]),
        spatial=data["spatial"],
        layers=tuple(_row_from(row) for row in data["layers"]),
    )


def _row_from(data: Data) -> Row:
    known = {**data, "folded": tuple(Op(**op) for op in data.get("folded", ()))}
    for key in ("inputs", "output"):
        known[key] = tuple(data.get(key, ()))
    return Row(**known)


def digest(entry: Entry) -> str:
    """A checksum of an entry's content, whatever its layout."""
    text = json.dumps(to_data(entry), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
