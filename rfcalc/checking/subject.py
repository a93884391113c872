"""What is checked: the module, the arguments of its forward, and the graph that the tracer made of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nested._internal.nested_tensor import NestedTensor
from torch.nn.utils.rnn import PackedSequence

from rfcalc import sources
from rfcalc.checking import device as devices
from rfcalc.errors import TraceError
from rfcalc.graph import LayerGraph, Node
from rfcalc.sources.loaded import Loaded
from rfcalc.tracing.lazy import shaped
from rfcalc.tracing.nested import over


@dataclass(frozen=True, eq=False)
class Subject:
    """A module, the arguments of one call, and the graph of that call."""

    loaded: Loaded
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    graph: LayerGraph
    training: bool

    @property
    def model(self) -> nn.Module:
        return self.loaded.model

    @property
    def records(self) -> list[Node]:
        """The nodes in execution order."""
        return list(self.graph)

    @property
    def leaned_on(self) -> tuple[str, ...]:
        """The buffers whose numbers decide what is read, or what forward does."""
        leaning = [name for record in self.graph for name in record.leans]
        return tuple(dict.fromkeys([*leaning, *self.graph.meta.get("asked", ())]))

    def name_of(self, module: str) -> str:
        """A module's qualified name as the graph writes it."""
        return module.replace(".", self.loaded.separator)


def resolve(model: Any, inputs: Any, *, axes: Any, training: bool) -> Subject:
    """The subject that `rfcalc.verify` was given; arguments as for `rfcalc.trace`.

    Raises `UsageError` for a saved graph, which has no module that could run.
    """
    nothing = "a saved graph cannot be verified: it has nothing to run; name the model it was traced from"
    known = sources.runnable(model, "verify", nothing)
    graph, args, kwargs = sources.traced(known, inputs, axes=axes, training=training)
    known = replace(known, model=shaped(known.model, args, kwargs))
    return Subject(known, args, kwargs, graph, training)


def _same(value: Any) -> Any:
    return value


def map_tensors(value: Any, change: Callable[[torch.Tensor], Any], copied: Callable[[Any], Any] = _same) -> Any:
    """Nested arguments with every tensor changed, in the order in which the tracer declares inputs.

    ``copied`` makes what is handed on in place of anything else.
    """
    if isinstance(value, NestedTensor):
        rows = change(value._values)
        return over(rows, value._offsets, value) if isinstance(rows, torch.Tensor) else rows
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, PackedSequence):
        return PackedSequence(change(value.data), *value[1:])
    if isinstance(value, list | tuple):
        items = [map_tensors(item, change, copied) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: map_tensors(item, change, copied) for key, item in value.items()}
    return copied(value)


def failed(subject: Subject, device: torch.device, error: BaseException) -> TraceError:
    """The failure of a real pass as one line."""
    name = subject.loaded.name
    if devices.is_out_of_memory(error):
        return TraceError(
            f"{name} does not fit into the memory of {device}: give a smaller --input or another --device"
        )
    text = (str(error).splitlines() or [""])[0]
    return TraceError(f"{name} was traced, but its forward pass on {device} failed: {type(error).__name__}: {text}")
