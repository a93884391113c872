"""Results of ops on tensors without storage from their shapes alone.

torch runs many ops on the meta device through Python references, some of which import its compiler: that takes longer,
and more memory, than a whole trace. A rule here gives None wherever it is not certain of the result's shape, strides
and dtype; torch then does it, and says what is wrong if something is. What is wrong where skips do not meet is said
here, for sizes at which they do not are tried often.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

import torch

from rfcalc.tracing.schema import Schema

Shape: TypeAlias = Sequence[int]


def empty(shape: Shape, dtype: torch.dtype) -> torch.Tensor:
    """A contiguous tensor without storage, which no mode gets to see being made."""
    with torch._C._DisableTorchDispatch():
        return torch.empty(shape, dtype=dtype, device="meta")


def like(x: torch.Tensor) -> torch.Tensor | None:
    """A tensor with the shape and dtype of ``x`` and its axes in the same order; None where elements share a place."""
    if x.is_contiguous():
        return empty(x.shape, x.dtype)
    strides = _packed(x)
    if strides is None:
        return None
    with torch._C._DisableTorchDispatch():
        return torch.empty_strided(x.shape, strides, dtype=x.dtype, device="meta")


def broadcast_size(tensors: Sequence[torch.Tensor]) -> int:
    """The elements that tensors have when each is repeated to the shape of all."""
    return math.prod(map(max, zip_longest(*(tensor.shape[::-1] for tensor in tensors), fillvalue=1)))


def _packed(x: torch.Tensor) -> list[int] | None:
    """The strides of a dense tensor whose axes lie in the order of those of ``x``; None where that is not certain."""
    strides, filled, before = [1] * x.ndim, 1, 0
    for stride, axis in sorted((stride, axis) for axis, stride in enumerate(x.stride()) if x.shape[axis] > 1):
        if stride == before:
            return None
        strides[axis], filled, before = filled, filled * x.shape[axis], stride
    return strides if filled == x.numel() else None


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
    if other.dtype != x.dtype or other.ndim > x.ndim or not other.is_contiguous():
        return False
    if not x.is_contiguous() and other.numel() > max(other.shape, default=1):
        return False  # two orders of axes: torch decides which one the result has
    return all(mine in (1, whole) for mine, whole in zip(reversed(other.shape), reversed(x.shape), strict=False))


def _binary(args: Sequence[Any]) -> torch.Tensor | None:
    """Arithmetic where one of the operands has the shape of the result."""
    if len(args) != 2:
        return None
    x, other = args
    if _fits(x, other):
        return like(x)
    return like(other) if isinstance(other, torch.Tensor) and _fits(other, x) else None


def _softmax(args: Sequence[Any]) -> torch.Tensor | None:
    return like(args[0]) if len(args) < 3 or args[2] in (False, None) else None


def _mean(args: Sequence[Any]) -> torch.Tensor | None:
    x, axes, keep = args[0], args[1] if len(args) > 1 else None, bool(args[2]) if len(args) > 2 else False
    if not axes or any(not -x.ndim <= axis < x.ndim for axis in axes):
        return None
    gone = {axis % x.ndim for axis in axes}
    if len(gone) < len(axes):
        return None
    extents = (1 if axis in gone else extent for axis, extent in enumerate(x.shape) if keep or axis not in gone)
    return empty(tuple(extents), x.dtype)


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


def _each(value: Any, count: int) -> Sequence[int] | None:
    """A setting of a convolution or of pooling for every axis."""
    if len(value) == count:
        return value  # type: ignore[no-any-return]
    return tuple(value) * count if len(value) == 1 else None


def _slid(extents: Shape, kernel: Shape, stride: Any, padding: Any, dilation: Any) -> tuple[int, ...] | None:
    """How many positions a window has along each axis; None where it has none, or a setting is odd."""
    steps, pads, spreads = (_each(value, len(extents)) for value in (stride, padding, dilation))
    if steps is None or pads is None or spreads is None:
        return None
    out = []
    for extent, size, step, pad, spread in zip(extents, kernel, steps, pads, spreads, strict=True):
        room = extent + 2 * pad - spread * (size - 1) - 1
        if room < 0 or step < 1 or pad < 0 or spread < 1 or size < 1:
            return None
        out.append(room // step + 1)
    return tuple(out)


def _convolution(args: Sequence[Any]) -> torch.Tensor | None:
    x, weight, bias, stride, padding, dilation, transposed, _, groups = args
    if transposed or weight.ndim < 3 or x.ndim != weight.ndim or not weight.is_contiguous() or not weight.is_meta:
        return None
    if weight.dtype != x.dtype or groups < 1 or weight.shape[1] * groups != x.shape[1] or weight.shape[0] % groups:
        return None
    if bias is not None and (tuple(bias.shape) != (weight.shape[0],) or bias.dtype != x.dtype):
        return None
    out = _slid(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    if out is None or x.shape[0] < 1 or x.shape[1] < 1:
        return None
    return empty((x.shape[0], weight.shape[0], *out), x.dtype)


def _wide(padding: int, kernel: int) -> bool:
    """Whether there is more padding than torch lets a pooling window have."""
    return 2 * padding > kernel


def _pooled(args: Sequence[Any]) -> tuple[int, ...] | None:
    """The extents of a pooled image: without ceil_mode, and with padding that torch accepts."""
    x, kernel = args[0], _each(args[1], 2)
    stride = args[2] if len(args) > 2 and args[2] else args[1]
    padding = args[3] if len(args) > 3 else (0, 0)
    halves = _each(padding, 2)
    if x.ndim != 4 or kernel is None or halves is None or any(map(_wide, halves, kernel)):
        return None
    return _slid(x.shape[2:], kernel, stride, padding, (1, 1))


def _max_pool(args: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor] | None:
    plain = (len(args) < 5 or all(spread == 1 for spread in args[4])) and (len(args) < 6 or not args[5])
    out = _pooled(args) if plain else None
    if out is None:
        return None
    shape = (*args[0].shape[:2], *out)
    return empty(shape, args[0].dtype), empty(shape, torch.int64)


def _avg_pool(args: Sequence[Any]) -> torch.Tensor | None:
    out = None if len(args) > 4 and args[4] else _pooled(args)
    return None if out is None else empty((*args[0].shape[:2], *out), args[0].dtype)


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


def _bilinear(args: Sequence[Any]) -> torch.Tensor | None:
    x, size = args[0], args[1]
    if x.ndim != 4 or size is None or len(size) != 2 or min(*size, *x.shape) < 1:
        return None
    return empty((*x.shape[:2], *size), x.dtype)


_ACTIVATIONS = ("relu", "gelu", "silu", "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu")
_ARITHMETIC = ("add", "sub", "mul", "div")

_OPS: dict[str, Callable[..., Any]] = {
    **{f"aten.{name}": _unary for name in _ACTIVATIONS},
    **{f"aten.{name}_": _itself for name in (*_ACTIVATIONS, "fill", "zero")},
    **{f"aten.{name}": _binary for name in _ARITHMETIC},
    **{f"aten.{name}_": _in_place for name in _ARITHMETIC},
    "aten.clone": _clone,
    "aten.new_zeros": _of_a_size,
    "aten._unsafe_view": _unsafe_view,
    "aten.index": _indexed,
    "aten._softmax": _softmax,
    "aten._safe_softmax": _softmax,
    "aten.mean": _mean,
    "aten.cat": _cat,
    "aten.convolution": _convolution,
    "aten.max_pool2d_with_indices": _max_pool,
    "aten.avg_pool2d": _avg_pool,
    "aten.mm": _product,
    "aten.bmm": _product,
    "aten._grouped_mm": _grouped_mm,
    "aten.addmm": _addmm,
    "aten.roll": _roll,
    "aten.masked_fill": _masked_fill,
    "aten.upsample_bilinear2d": _bilinear,
}

#: Those that take arguments of any layout: products and zeros are contiguous, the others follow their first argument.
_ANY_LAYOUT = frozenset(
    {f"aten.{name}{end}" for name in (*_ACTIVATIONS, *_ARITHMETIC) for end in ("", "_")}
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
