"""Results of ops on tensors without storage from their shapes alone.

torch runs many ops on the meta device through Python references, some of which import its compiler: that takes longer,
and more memory, than a whole trace. A rule here gives None wherever it is not certain of the result's shape, strides
and dtype; torch then does it, and says what is wrong if something is. What is wrong where skips do not meet is said
here, for sizes at which they do not are tried often.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from rfcalc.tracing import extents, strides
from rfcalc.tracing.schema import Schema
from rfcalc.tracing.storageless import empty, like

# --- ops of the dispatcher --------------------------------------------------------------------------------------------


def result(schema: Schema, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of an op; None where there is no such shortcut, or it does not fit."""
    shortcut = _OPS.get(schema.name)
    if shortcut is None or not args:
        return None
    if shortcut is _clone:
        return _clone(args[0], **kwargs)
    if kwargs and kwargs != {"pin_memory": False}:  # the default, which some functions write down
        return None
    if shortcut is _itself:
        return _itself(args)
    if shortcut is _chosen:
        return _chosen(args)
    x = args[0]
    if isinstance(x, torch.Tensor):
        plain = x.dtype.is_floating_point and (schema.name in _ANY_LAYOUT or x.is_contiguous())
        return shortcut(args) if plain else None
    return shortcut(args)


def _itself(args: Sequence[Any]) -> torch.Tensor:
    """An op in place gives back its argument, of whatever dtype and layout."""
    x: torch.Tensor = args[0]
    return x


def _of_a_size(args: Sequence[Any]) -> torch.Tensor | None:
    return empty(args[1], args[0].dtype) if len(args) == 2 and min(args[1], default=0) >= 0 else None


def _unary(args: Sequence[Any]) -> torch.Tensor | None:
    return like(args[0])


def _clone(x: Any, memory_format: torch.memory_format = torch.preserve_format) -> torch.Tensor | None:
    if isinstance(x, torch.Tensor) and memory_format in (torch.contiguous_format, torch.preserve_format):
        return empty(x.shape, x.dtype) if memory_format == torch.contiguous_format or x.is_contiguous() else None
    return None


def _unsafe_view(args: Sequence[Any]) -> torch.Tensor | None:
    x, shape = args
    return empty(shape, x.dtype) if min(shape, default=0) >= 0 and math.prod(shape) == x.numel() else None


def _in_place(args: Sequence[Any]) -> torch.Tensor | None:
    return args[0] if len(args) == 2 and _fits(args[0], args[1]) else None


def _indexed(args: Sequence[Any]) -> torch.Tensor | None:
    """The rows of a table that one tensor of indices names."""
    x, indices = args
    if len(indices) != 1 or not isinstance(indices[0], torch.Tensor) or not indices[0].is_contiguous() or not x.ndim:
        return None
    plain = indices[0].dtype in (torch.int64, torch.int32)
    return empty((*indices[0].shape, *x.shape[1:]), x.dtype) if plain else None


def _fits(x: torch.Tensor, other: Any) -> bool:
    """Whether the other operand of arithmetic is a number, or a tensor that is repeated over ``x`` at most."""
    if not isinstance(other, torch.Tensor):
        return type(other) in (int, float)
    if other.dtype != x.dtype or other.ndim > x.ndim:
        return False
    if not x.is_contiguous() and (other.numel() > max(other.shape, default=1) or not other.is_contiguous()):
        return False  # two orders of axes: torch decides which one the result has
    if not other.is_contiguous() and not _in_order(other):
        return False
    return all(mine in (1, whole) for mine, whole in zip(reversed(other.shape), reversed(x.shape), strict=False))


def _in_order(x: torch.Tensor) -> bool:
    """Whether the axes lie in memory from the outermost to the innermost, wherever elements do not share a place."""
    strides = [stride for stride, extent in zip(x.stride(), x.shape, strict=True) if extent > 1 and stride]
    return all(outer > inner for outer, inner in pairwise(strides))


def _binary(args: Sequence[Any]) -> torch.Tensor | None:
    """Arithmetic where one of the operands has the shape of the result."""
    if len(args) != 2:
        return None
    x, other = args
    if _fits(x, other):
        return like(x)
    return like(other) if isinstance(other, torch.Tensor) and _fits(other, x) else None


def _compared(args: Sequence[Any]) -> torch.Tensor | None:
    made = _binary(args)
    return None if made is None else like(made, torch.bool)


def _power(args: Sequence[Any]) -> torch.Tensor | None:
    """A tensor to a power, or a number to those of a tensor."""
    if len(args) == 2 and type(args[0]) in (int, float) and isinstance(args[1], torch.Tensor):
        return empty(args[1].shape, args[1].dtype) if args[1].dtype.is_floating_point else None
    return _binary(args) if isinstance(args[0], torch.Tensor) else None


def _clamped(args: Sequence[Any]) -> torch.Tensor | None:
    """Between numbers, of which one may be None."""
    numbers = [bound for bound in args[1:] if bound is not None]
    return like(args[0]) if numbers and all(type(bound) in (int, float) for bound in numbers) else None


def _chosen(args: Sequence[Any]) -> torch.Tensor | None:
    """``where`` of contiguous tensors of one dtype, one of which has the shape of the result."""
    if len(args) != 3 or not all(isinstance(item, torch.Tensor) and item.is_contiguous() for item in args):
        return None
    mask, x, other = args
    if mask.dtype != torch.bool or x.dtype != other.dtype or not x.dtype.is_floating_point:
        return None
    wide = max(args, key=lambda item: (item.ndim, item.numel()))
    fits = all(
        mine in (1, whole)
        for item in args
        for mine, whole in zip(reversed(item.shape), reversed(wide.shape), strict=False)
    )
    return empty(wide.shape, x.dtype) if fits and wide.is_meta else None


def _softmax(args: Sequence[Any]) -> torch.Tensor | None:
    return like(args[0]) if len(args) < 3 or args[2] in (False, None) else None


def _cat(args: Sequence[Any]) -> torch.Tensor | None:
    parts, axis = args[0], args[1] if len(args) > 1 else 0
    first = parts[0] if parts else None
    if first is None or first.ndim < 2 or not -first.ndim <= axis < first.ndim:
        return None
    axis %= first.ndim
    around = (first.shape[:axis], first.shape[axis + 1 :])
    for part in parts:
        if part.dtype != first.dtype or not part.is_contiguous() or not part.is_meta:
            return None
        if part.ndim != first.ndim:
            return None
    for number, part in enumerate(parts):
        if (part.shape[:axis], part.shape[axis + 1 :]) != around:  # torch says the same, once its compiler is loaded
            other = next(at for at in range(first.ndim) if at != axis and part.shape[at] != first.shape[at])
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {axis}. Expected {first.shape[other]} in dimension"
                f" {other} but got {part.shape[other]} for tensor number {number} in the list"
            )
    return empty((*around[0], sum(part.shape[axis] for part in parts), *around[1]), first.dtype)


def _product(args: Sequence[Any]) -> torch.Tensor | None:
    """``mm`` and ``bmm``."""
    x, other = args
    if x.ndim != other.ndim or x.dtype != other.dtype or not other.is_meta:
        return None
    if x.shape[-1] != other.shape[-2] or x.shape[:-2] != other.shape[:-2]:
        return None
    return empty((*x.shape[:-1], other.shape[-1]), x.dtype)


def _addmm(args: Sequence[Any]) -> torch.Tensor | None:
    bias, *factors = args
    if len(factors) != 2 or any(factor.ndim != 2 for factor in factors):
        return None
    made = _product(factors)
    return made if made is not None and bias.dtype == made.dtype and tuple(bias.shape) == made.shape[1:] else None


def _grouped_mm(args: Sequence[Any]) -> torch.Tensor | None:
    """A product of matrices in groups, rows by the offsets of the groups; torch's own for this device wants bfloat16.

    torch rounds the rows in memory up to 16 bytes, and takes no others.
    """
    x, other, offsets, bias, dtype = (*args, None, None, None)[:5]
    if x.dtype != other.dtype or bias is not None or x.shape[-1] != other.shape[-2]:
        return None
    for tensor in (x, other):
        if any(step > 1 and step * tensor.element_size() % 16 for step in tensor.stride()):
            return None
    ranks = x.ndim, other.ndim
    if (offsets is None) != (ranks == (3, 3)) or not set(ranks) <= {2, 3}:
        return None
    rows, columns = x.shape[-2], other.shape[-1]
    groups = x.shape[0] if ranks == (3, 3) else offsets.shape[0]
    shape = (rows, columns) if ranks in ((2, 3), (3, 2)) else (groups, rows, columns)
    dtype = dtype or x.dtype
    unit = max(1, 16 // dtype.itemsize)
    wide = -(-columns // unit) * unit
    strides = (wide, 1) if len(shape) == 2 else (rows * wide, wide, 1)
    with torch._C._DisableTorchDispatch():
        return torch.empty_strided(shape, strides, dtype=dtype, device="meta")


def _roll(args: Sequence[Any]) -> torch.Tensor | None:
    x, shifts, axes = (*args, (), ())[:3]
    return like(x) if len(shifts) == len(axes) > 0 and all(-x.ndim <= axis < x.ndim for axis in axes) else None


def _masked_fill(args: Sequence[Any]) -> torch.Tensor | None:
    x, mask, value = args
    if isinstance(value, torch.Tensor) or mask.dtype != torch.bool or mask.ndim > x.ndim:
        return None
    fits = all(mine in (1, whole) for mine, whole in zip(reversed(mask.shape), reversed(x.shape), strict=False))
    return like(x) if fits else None


_FUNCTIONS = (
    *("exp", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "abs", "neg", "sin", "cos", "erf", "floor", "round"),
    *("mish", "softplus", "threshold", "hardshrink"),
)
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_ACTIVATIONS = ("relu", "gelu", "silu", "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu")
_ARITHMETIC = ("add", "sub", "mul", "div")

_OPS: dict[str, Callable[..., Any]] = {
    **{f"aten.{name}": _unary for name in _ACTIVATIONS},
    **{f"aten.{name}": _unary for name in _FUNCTIONS},
    **{f"aten.{name}_": _itself for name in (*_ACTIVATIONS, "fill", "zero")},
    **{f"aten.{name}": _compared for name in _COMPARISONS},
    "aten.rsub": _binary,
    "aten.pow": _power,
    **{f"aten.{name}": _clamped for name in ("clamp", "clamp_min", "clamp_max")},
    "aten.where": _chosen,
    **{f"aten.{name}": _binary for name in _ARITHMETIC},
    **{f"aten.{name}_": _in_place for name in _ARITHMETIC},
    "aten.clone": _clone,
    "aten.new_zeros": _of_a_size,
    "aten._unsafe_view": _unsafe_view,
    "aten.index": _indexed,
    "aten._softmax": _softmax,
    "aten._safe_softmax": _softmax,
    "aten._log_softmax": _softmax,
    **{f"aten.{name}": extents.reduced for name in ("mean", "sum", "amax", "amin")},
    **{f"aten.{name}": extents.norm for name in ("norm", "linalg_vector_norm")},
    "aten.cat": _cat,
    "aten.stack": extents.stacked,
    "aten.repeat": extents.repeated,
    "aten.gather": extents.gathered,
    "aten.pixel_shuffle": extents.shuffled,
    **{f"aten.{kind}_pad{rank}d": extents.padded for kind in ("reflection", "replication") for rank in (1, 2, 3)},
    "aten.convolution": extents.convolution,
    **{f"aten.max_pool{rank}d_with_indices": partial(extents.max_pool, rank) for rank in (2, 3)},
    **{f"aten.avg_pool{rank}d": partial(extents.avg_pool, rank) for rank in (2, 3)},
    **{f"aten._adaptive_avg_pool{rank}d": extents.adaptive for rank in (2, 3)},
    **{f"aten.adaptive_max_pool{rank}d": extents.adaptive_max for rank in (2, 3)},
    **{f"aten.upsample_nearest{rank}d": extents.adaptive for rank in (1, 2, 3)},
    **{f"aten.upsample_{kind}": extents.adaptive for kind in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")},
    "aten.mm": _product,
    "aten.bmm": _product,
    "aten._grouped_mm": _grouped_mm,
    "aten.addmm": _addmm,
    "aten.roll": _roll,
    "aten.masked_fill": _masked_fill,
}

#: Those that take arguments of any layout: products and zeros are contiguous, the others follow their first argument.
_ANY_LAYOUT = frozenset(
    {f"aten.{name}{end}" for name in (*_ACTIVATIONS, *_FUNCTIONS, *_ARITHMETIC) for end in ("", "_")}
    | {f"aten.{name}" for name in (*_COMPARISONS, "rsub", "pow", "clamp", "clamp_min", "clamp_max")}
    | {"aten.mm", "aten.bmm", "aten.addmm", "aten._grouped_mm", "aten.new_zeros"}
)

#: Ops of the dispatcher that have a shortcut.
COVERED = frozenset(_OPS)

#: Arithmetic whose result has the shape that its arguments broadcast to.
ARITHMETIC = frozenset(
    f"aten.{name}" for name in (*_ARITHMETIC, "eq", "ne", "lt", "gt", "le", "ge", "masked_fill", "rsub", "neg", "abs")
)


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
    return empty((*x.shape[:-1], weight.shape[0]), x.dtype)


def _matmul(named: Mapping[str, Any]) -> torch.Tensor | None:
    a, b = named["self"], named["other"]
    if a.dtype != b.dtype or a.shape[-1] != b.shape[-2] or not (a.is_floating_point() or a.is_complex()):
        return None
    return empty((*a.shape[:-1], b.shape[-1]), a.dtype)


def _typed(x: torch.Tensor, affine: Sequence[Any], shape: Sequence[int]) -> bool:
    """Whether every tensor of ``affine`` has the dtype of ``x`` and the given shape."""
    return all(item is None or (tuple(item.shape) == tuple(shape) and item.dtype == x.dtype) for item in affine)


def _norm(x: Any, affine: Sequence[Any], shape: Sequence[int]) -> torch.Tensor | None:
    """A contiguous result like ``x``, where every tensor of ``affine`` has its dtype and the given shape."""
    if x is None or not x.is_contiguous() or not x.is_floating_point() or not _typed(x, affine, shape):
        return None
    return empty(x.shape, x.dtype)


def _layer_norm(named: Mapping[str, Any]) -> torch.Tensor | None:
    x, shape = named.get("input"), named.get("normalized_shape")
    if x is None or not isinstance(shape, list | tuple) or tuple(x.shape[-len(shape) :]) != tuple(shape):
        return None
    if not x.is_floating_point() or not _typed(x, (named.get("weight"), named.get("bias")), shape):
        return None
    return empty(x.shape, x.dtype)  # contiguous, whatever x is: that is how torch's kernels write it


def _rms_norm(named: Mapping[str, Any]) -> torch.Tensor | None:
    x, shape = named.get("input"), named.get("normalized_shape")
    if x is None or not isinstance(shape, list | tuple) or tuple(x.shape[-len(shape) :]) != tuple(shape):
        return None
    return _norm(x, (named.get("weight"),), shape)


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
    fused = strides.attention(named)
    if fused is not None:
        return fused
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
    return empty((*query.shape[:-1], value.shape[-1]), query.dtype)


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
    sequence = empty((x.shape[1 - first], x.shape[first], wide), x.dtype)
    last = (empty(state.shape, state.dtype) for state in states)
    return (sequence.transpose(0, 1) if first == 0 else sequence, *last)


_COMPOSITES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "torch.linear": _linear,
    "torch.matmul": _matmul,
    "torch.layer_norm": _layer_norm,
    "torch.rms_norm": _rms_norm,
    "torch.group_norm": _group_norm,
    "torch.batch_norm": _batch_norm,
    "torch.scaled_dot_product_attention": _attention,
    "torch.lstm": _recurrent,
    "torch.gru": _recurrent,
    "torch.rnn_tanh": _recurrent,
    "torch.rnn_relu": _recurrent,
}
