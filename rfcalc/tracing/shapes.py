"""Results of ops on tensors without storage from their shapes alone.

torch runs these ops on the meta device through Python references, which import its compiler: that takes longer, and
more memory, than a whole trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from rfcalc.tracing.schema import Schema

_ACTIVATIONS = ("relu", "gelu", "silu", "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu")
#: Activations whose result has the shape, strides and dtype of their argument.
LIKE_THEIR_INPUT = frozenset(f"aten.{name}{end}" for name in _ACTIVATIONS for end in ("", "_"))


#: Arithmetic whose result, where the first argument holds the whole shape, is like that argument.
_ARITHMETIC = frozenset(f"aten.{name}{end}" for name in ("add", "sub", "mul", "div") for end in ("", "_"))


def like_input(schema: Schema, args: Sequence[Any]) -> torch.Tensor | None:
    """The result of an activation, or of arithmetic that is as large as its first argument; None of any other op."""
    if not args or not isinstance(args[0], torch.Tensor) or not args[0].is_floating_point():
        return None
    x: torch.Tensor = args[0]
    if schema.name not in LIKE_THEIR_INPUT and not (schema.name in _ARITHMETIC and _fits(x, args[1:])):
        return None
    return x if schema.writes else torch.empty_like(x)


def _fits(x: torch.Tensor, others: Sequence[Any]) -> bool:
    """Whether the other operand of arithmetic is a number, or a tensor that is repeated over ``x`` at most."""
    if len(others) != 1 or not x.is_contiguous():
        return False
    other = others[0]
    if not isinstance(other, torch.Tensor):
        return type(other) in (int, float)
    if other.dtype != x.dtype or other.ndim > x.ndim or not other.is_contiguous():
        return False
    return all(mine in (1, whole) for mine, whole in zip(reversed(other.shape), reversed(x.shape), strict=False))


# --- composite functions ----------------------------------------------------------------------------------------------


def composite(name: str, named: Mapping[str, Any]) -> Any:
    """The result of a composite function; None where there is no such shortcut, or torch is to say what is wrong."""
    shortcut = _COMPOSITES.get(name)
    return None if shortcut is None else shortcut(named)


def _linear(named: Mapping[str, Any]) -> torch.Tensor | None:
    x, weight, bias = named.get("input"), named.get("weight"), named.get("bias")
    if x is None or weight is None or weight.ndim != 2 or x.ndim < 2:
        return None
    if x.shape[-1] != weight.shape[1] or x.dtype != weight.dtype:
        return None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    return torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device="meta")


def _norm(x: Any, affine: Sequence[Any], shape: Sequence[int]) -> torch.Tensor | None:
    """A contiguous result like ``x``, where every tensor of ``affine`` has its dtype and the given shape."""
    if x is None or not x.is_contiguous() or not x.is_floating_point():
        return None
    if any(item is not None and (tuple(item.shape) != tuple(shape) or item.dtype != x.dtype) for item in affine):
        return None
    return torch.empty_like(x)


def _layer_norm(named: Mapping[str, Any]) -> torch.Tensor | None:
    x, shape = named.get("input"), named.get("normalized_shape")
    if x is None or not isinstance(shape, list | tuple) or tuple(x.shape[-len(shape) :]) != tuple(shape):
        return None
    return _norm(x, (named.get("weight"), named.get("bias")), shape)


def _group_norm(named: Mapping[str, Any]) -> torch.Tensor | None:
    x, groups = named.get("input"), named.get("num_groups")
    if x is None or x.ndim < 2 or not isinstance(groups, int) or groups < 1 or x.shape[1] % groups:
        return None
    return _norm(x, (named.get("weight"), named.get("bias")), x.shape[1:2])


def _batch_norm(named: Mapping[str, Any]) -> torch.Tensor | None:
    x = named.get("input")
    if x is None or x.ndim < 2 or named.get("training") or named.get("running_mean") is None:
        return None
    return _norm(x, [named.get(key) for key in ("running_mean", "running_var", "weight", "bias")], x.shape[1:2])


def _attention(named: Mapping[str, Any]) -> torch.Tensor | None:
    query, key, value = (named.get(name) for name in ("query", "key", "value"))
    if query is None or key is None or value is None or query.ndim < 3 or named.get("enable_gqa"):
        return None
    same_lead = query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    same_type = query.dtype == key.dtype == value.dtype
    if not same_lead or not same_type or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        return None
    mask = named.get("attn_mask")
    if mask is not None:
        scores = (*query.shape[:-1], key.shape[-2])
        fits = zip(reversed(mask.shape), reversed(scores), strict=False)
        typed = mask.dtype in (torch.bool, query.dtype)
        if mask.ndim > len(scores) or not typed or not all(mine in (1, whole) for mine, whole in fits):
            return None
    return torch.empty((*query.shape[:-1], value.shape[-1]), dtype=query.dtype, device="meta")


def _recurrent(named: Mapping[str, Any]) -> tuple[torch.Tensor, ...] | None:
    """The sequence and the last states of a recurrent layer, one step of which takes torch many small ops."""
    x, hx, weights = named.get("input"), named.get("hx"), named.get("params")
    states = tuple(hx) if isinstance(hx, list | tuple) else (hx,)
    if x is None or x.ndim != 3 or any(state is None or state.ndim != 3 for state in states) or not weights:
        return None
    first, ways = (0 if named.get("batch_first") else 1), 2 if named.get("bidirectional") else 1
    lead = (ways * int(named["num_layers"]), x.shape[first])
    if weights[0].shape[1] != x.shape[2] or any(tuple(state.shape[:2]) != lead for state in states):
        return None
    wide = ways * states[0].shape[2]
    sequence = torch.empty((x.shape[1 - first], x.shape[first], wide), dtype=x.dtype, device="meta")
    return (sequence.transpose(0, 1) if first == 0 else sequence, *(torch.empty_like(state) for state in states))


_COMPOSITES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "torch.linear": _linear,
    "torch.layer_norm": _layer_norm,
    "torch.group_norm": _group_norm,
    "torch.batch_norm": _batch_norm,
    "torch.scaled_dot_product_attention": _attention,
    "torch.lstm": _recurrent,
    "torch.gru": _recurrent,
    "torch.rnn_tanh": _recurrent,
    "torch.rnn_relu": _recurrent,
}
