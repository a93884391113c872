"""The arguments of a forward pass: their names, and the tensors among them as inputs of the graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nested._internal.nested_tensor import NestedTensor
from torch.nn.utils.rnn import PackedSequence

from rfcalc.errors import UsageError
from rfcalc.graph import InputInfo, Node, Ref
from rfcalc.tracing.layout import find_axes
from rfcalc.tracing.nested import over, refuse_given
from rfcalc.tracing.recorder import Recorder
from rfcalc.tracing.stored import on_cpu
from rfcalc.tracing.values import LARGEST_CONSTANT, Value


def named(model: nn.Module, args: Sequence[Any]) -> list[tuple[str, Any]]:
    """Positional arguments of forward with the names of its parameters, ``input3`` where it has none."""
    try:
        names = [p.name for p in inspect.signature(model.forward).parameters.values() if p.kind < p.KEYWORD_ONLY]
    except (TypeError, ValueError):
        names = []
    names += [f"input{number}" for number in range(len(names), len(args))]
    return list(zip(names, args, strict=False))


class Inputs:
    """Declares the tensors among the arguments of one pass to its recorder, in order.

    ``names`` are those of the tensors, where the caller has some. ``convert`` makes the tensor of the pass out of the
    one that was given, ``copied`` a copy of anything else, so that the pass does not write into what was given.
    """

    def __init__(
        self,
        recorder: Recorder,
        names: Sequence[str],
        convert: Callable[[torch.Tensor], torch.Tensor],
        copied: Callable[[Any], Any],
    ) -> None:
        self.declared: list[tuple[str, Ref]] = []
        self.unvalued: set[str] = set()  #: inputs of whole numbers that were given without values
        self._recorder, self._names, self._convert, self._copied = recorder, names, convert, copied

    def all(self, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """All arguments with their tensors converted and declared. An only tensor is called ``input``."""
        alone = len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor)
        positional = [("input", args[0])] if alone else named(model, args)
        return (
            [self._one(name, value) for name, value in positional],
            {name: self._one(name, value) for name, value in kwargs.items()},
        )

    def _one(self, name: str, value: Any) -> Any:
        if isinstance(value, NestedTensor):
            return self._rows(name, value)
        if isinstance(value, torch.Tensor):
            refuse_given(value, name)
            tensor = self._convert(value)
            name = self._names[len(self.declared)] if len(self.declared) < len(self._names) else name
            self.declared.append((name, self._recorder.input(name, tensor, self._numbers(value, tensor))))
            if value.is_meta and not (value.is_floating_point() or value.is_complex()):
                self.unvalued.add(name)
            return tensor
        if isinstance(value, PackedSequence):
            return PackedSequence(self._one(f"{name}.data", value.data), *value[1:])
        if isinstance(value, list | tuple):
            items = [self._one(f"{name}.{at}", item) for at, item in enumerate(value)]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if isinstance(value, dict):
            return {key: self._one(f"{name}.{key}", item) for key, item in value.items()}
        return self._copied(value)

    def _rows(self, name: str, value: NestedTensor) -> NestedTensor:
        """Rows of different lengths: what they hold is the input, and where each begins is known."""
        values, starts = self._one(name, value._values), value._offsets.detach()
        offsets = starts.to(values.device, copy=True)
        if not starts.is_meta:
            self._recorder.bind(offsets, Value("const", real=on_cpu(starts)))
        return over(values, offsets, value)

    def _numbers(self, given: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor | None:
        """What an input's values are known to be: those of whole numbers and truth values count, others are data."""
        if given.is_floating_point() or given.is_complex() or given.numel() > LARGEST_CONSTANT:
            return None
        if not tensor.is_meta:
            return tensor
        return None if given.is_meta else on_cpu(given)


def input_info(
    nodes: Sequence[Node], name: str, ref: Ref, axes: Mapping[str, Mapping[str, int]], batched: bool
) -> InputInfo:
    """A declared input as the graph has it. Raises `UsageError` for axes that it does not have."""
    out = nodes[ref.node].outputs[0]
    chosen = axes.get(name, axes.get("", None))
    if chosen is None:
        chosen = find_axes(nodes, ref.node)
    for axis, number in chosen.items():
        if not 0 <= number < len(out.shape):
            shape = "x".join(map(str, out.shape)) or "a scalar"
            raise UsageError(f"input {name!r} has shape {shape}: there is no axis {number} to call {axis}")
    return InputInfo(name, ref.node, out.shape, out.dtype, dict(chosen), batched)


#: Objects within objects of a result are looked into so deep.
_DEEPEST = 8


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors in a nested result, in order: in containers, and in the attributes of objects (a distribution's)."""
    return _tensors_in(value, set(), 0)


def _tensors_in(value: Any, met: set[int], depth: int) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, _CLOSED) or id(value) in met or depth > _DEEPEST:
        return []
    met.add(id(value))
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    else:
        members = [held for kind in type(value).__mro__ for held in vars(kind).items()]
        slots = [name for name, held in members if isinstance(held, MemberDescriptorType)]
        parts = [*getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in slots)]
    return [tensor for part in parts for tensor in _tensors_in(part, met, depth + 1)]


#: What holds no results: the model's own parts, and what is one value.
_CLOSED = (
    *(nn.Module, type, ModuleType, FunctionType, MethodType, BuiltinFunctionType),
    *(str, bytes, int, float, complex, type(None), torch.dtype, torch.device, np.ndarray),
)
