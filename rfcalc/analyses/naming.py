"""Which ops of an analysis a text names, and which of them are the model's results."""

from __future__ import annotations

import difflib
import fnmatch
from typing import TYPE_CHECKING

from rfcalc.errors import UsageError

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis
    from rfcalc.graph import Node


def idents(analysis: Analysis, text: str) -> list[int]:
    """The ops meant by a name, a module's name (its last op) or a glob over names.

    Raises `UsageError` with the nearest names, and for a module that does nothing.
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
    idle = next((call for call in analysis.layer_graph.calls if call.module == text), None)
    if idle is not None:
        kind = idle.types[0].rpartition(".")[2] if idle.types else "a module"
        given = "x".join(map(str, idle.outputs[0])) if idle.outputs else "no tensor"
        raise UsageError(
            f"{text} ({kind}) does nothing in this pass: what it gives is what it got, {given}; --training traces what"
            " only training does"
        )
    names = [record.name for record in records]
    near = [name for name in names if name.startswith(text)][:3] or difflib.get_close_matches(text, names, 3, 0.5)
    hint = f"nearest: {', '.join(near)}" if near else f"numbers run from 1 to {len(analysis.layers)}"
    raise UsageError(f"there is no layer {text!r} in {analysis.model}; {hint}")


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
