"""Results of ops on tensors without storage from their shapes alone.

torch runs these ops on the meta device through Python references, which import its compiler: that takes longer, and
more memory, than a whole trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rfcalc.tracing.schema import Schema

_ACTIVATIONS = ("relu", "gelu", "silu", "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu")
#: Activations whose result has the shape, strides and dtype of their argument.
LIKE_THEIR_INPUT = frozenset(f"aten.{name}{end}" for name in _ACTIVATIONS for end in ("", "_"))


def like_input(schema: Schema, args: Sequence[Any]) -> torch.Tensor | None:
    """The result of an activation, None of any other op."""
    if schema.name not in LIKE_THEIR_INPUT or not args or not args[0].is_floating_point():
        return None
    x: torch.Tensor = args[0]
    return x if schema.writes else torch.empty_like(x)


def linear(named: Mapping[str, Any]) -> torch.Tensor | None:
    """The result of a linear layer, None where its arguments do not fit and torch is to say what is wrong."""
    x, weight, bias = named.get("input"), named.get("weight"), named.get("bias")
    if x is None or weight is None or weight.ndim != 2 or x.ndim < 2:
        return None
    if x.shape[-1] != weight.shape[1] or x.dtype != weight.dtype:
        return None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    return torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device="meta")
