"""Which ops of an analysis a text names, and which of them are the model's results."""

from __future__ import annotations

import difflib
import fnmatch
from typing import TYPE_CHECKING

from rfcalc.analyses.results import Layer
from rfcalc.errors import UsageError

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis
    from rfcalc.graph import ModuleCall, Node


def idents(analysis: Analysis, text: str) -> list[int]:
    """The ops meant by a name, a module's name (its last op) or a glob over names.

    Raises `UsageError` with the nearest names, and for a module that runs no op.
    """
    records = list(analysis.layer_graph)
    exact = [record.id for record in records if record.name == text]
    if exact:
        return exact
    if any(mark in text for mark in "*?["):
        numbered = [layer.node for layer in analysis.layers if fnmatch.fnmatchcase(layer.name, text)]
        found = numbered or [record.id for record in records if fnmatch.fnmatchcase(record.name, text)]
        if found:
            return found
    else:
        inside = [record.id for record in records if record.name.startswith((f"{text}/", f"{text}."))]
        if inside:
            return inside[-1:]
    if any(call.module == text for call in analysis.layer_graph.calls):
        raise UsageError(f"{text} runs no op in this pass; --training traces what only training does")
    names = [record.name for record in records]
    near = [name for name in names if name.startswith(text)][:3] or difflib.get_close_matches(text, names, 3, 0.5)
    hint = f"nearest: {', '.join(near)}" if near else f"numbers run from 1 to {len(analysis.layers)}"
    raise UsageError(f"there is no layer {text!r} in {analysis.model}; {hint}")


def idle(analysis: Analysis, text: str) -> list[Layer]:
    """The rows of modules that hand on what they were given, as Identity does, and Dropout in inference.

    They have the field and the shape of what is handed on, and no costs. None are meant where the text means an op.
    """
    graph = analysis.layer_graph

    def is_meant(name: str) -> bool:
        return name == text or (any(mark in text for mark in "*?[") and fnmatch.fnmatchcase(name, text))

    found = {call.module: call for call in graph.calls if is_meant(call.module) and _is_row(call)}
    if not found or any(is_meant(record.name) or record.name.startswith((f"{text}/", f"{text}.")) for record in graph):
        return []
    return [_handing_on(analysis, call) for call in found.values()]


def _is_row(call: ModuleCall) -> bool:
    """Whether what is handed on is the output of an op with one, which has a field in rows."""
    return call.handed_on is not None and call.handed_on.output == 0


def _handing_on(analysis: Analysis, call: ModuleCall) -> Layer:
    assert call.handed_on is not None
    source = analysis.single(analysis.layer_graph[call.handed_on.node])
    return Layer(
        index=None,
        name=call.module,
        kind="identity",
        op="none",
        module=call.types[0].rpartition(".")[2] if call.types else "",
        inputs=(source.name,),
        output_shape=call.outputs[0],
        params=0,
        trainable_params=0,
        macs=0,
        flops=0,
        flops_by={},
        formula="",
        attrs={},
        receptive_fields=source.receptive_fields,
        notes=("hands on what it is given; --training traces what only training does",),
        node=source.node,
        face=source.face,
    )


def beside_layers(analysis: Analysis) -> list[Node]:
    """The ops whose results the model gives back with another shape than that of the row that they fold into."""
    graph = analysis.layer_graph
    found = []
    for ident in dict.fromkeys(ref.node for ref in graph.outputs):
        record = graph[ident]
        row = analysis.layers_by_node.get(record.owner)
        if record.index is None and row is not None and row.output_shape != record.shape and not record.params:
            found.append(record)
    return found
