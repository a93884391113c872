"""The meaning of every step, spelled out slowly, and rules held against a poisoned call of the real op.

`support` follows steps on explicit sets: a boolean array with one last axis over all elements of the source. It shares
nothing with the interval arithmetic of `rfcalc.analyses`. `check_op` runs the real torch op with one input element set
to NaN at a time and compares which outputs become NaN with what the rule says is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rfcalc import reads
from rfcalc.graph import TensorInfo
from rfcalc.ops import Arg, Call, Effect
from rfcalc.ops import effect_of as ruled


def support(shape: Sequence[int], steps: reads.Steps, masks: Mapping[int, np.ndarray] | None = None) -> np.ndarray:
    """Which elements of a tensor of that shape are read: a boolean array of the result's shape + (numel,)."""
    count = math.prod(shape)
    sets = np.eye(count, dtype=bool).reshape(*shape, count)
    for step in steps:
        sets = _apply(sets, step, masks or {})
    return sets


def _gather(sets: np.ndarray, axis: int, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Along the axis, position u becomes the union of the positions in rows[u] (those outside are dropped)."""
    extent = sets.shape[axis]
    moved = np.moveaxis(sets, axis, 0)
    out = np.zeros((len(rows), *moved.shape[1:]), dtype=bool)
    for u, row in enumerate(rows):
        for i in row:
            if 0 <= i < extent:
                out[u] |= moved[i]
    return np.moveaxis(out, 0, axis)


def _apply(sets: np.ndarray, step: reads.Step, masks: Mapping[int, np.ndarray]) -> np.ndarray:
    match step:
        case reads.Window(axis, kernel, stride, dilation, before, out):
            rows = [[stride * u - before + dilation * j for j in range(kernel)] for u in range(out)]
            return _gather(sets, axis, rows)
        case reads.Transposed(axis, kernel, stride, dilation, before, out):
            extent = sets.shape[axis]
            hit = {(stride * i - before + dilation * j, i) for i in range(extent) for j in range(kernel)}
            return _gather(sets, axis, [[i for i in range(extent) if (u, i) in hit] for u in range(out)])
        case reads.Spans(axis, first, last):
            return _gather(sets, axis, [range(a, b + 1) for a, b in zip(first, last, strict=True)])
        case reads.Reduce(axes):
            return sets.any(axis=axes, keepdims=True) if axes else sets
        case reads.Group(axis, groups, out):
            size = sets.shape[axis] // groups
            return _gather(sets, axis, [[c // (out // groups) * size + k for k in range(size)] for c in range(out)])
        case reads.Reshape(shape_in, shape_out):
            return np.broadcast_to(sets, (*shape_in, sets.shape[-1])).reshape(*shape_out, -1)
        case reads.Permute(axes):
            return sets.transpose(*axes, len(axes))
        case reads.Slice(axis, start, stride, out):
            return _gather(sets, axis, [[start + stride * u] for u in range(out)])
        case reads.Take(axis, indices):
            return _gather(sets, axis, [[i] for i in indices])
        case reads.Pad(axis, size, before, after, mode):
            names = {"zero": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
            keep = np.arange(max(0, -before), size - max(0, -after))
            widths = (max(0, before), max(0, after))
            extra: dict[str, Any] = {"constant_values": -1} if mode == "zero" else {}
            return _gather(sets, axis, [[i] for i in np.pad(keep, widths, names[mode], **extra)])
        case reads.Place(axis, size, offset, out, stride):
            return _gather(
                sets, axis, [[(u - offset) // stride] if _placed(u, size, offset, stride) else [] for u in range(out)]
            )
        case reads.Erase(shape, box):
            gone = np.ones(shape, dtype=bool)
            for axis, size, offset, stride in box:
                row = np.array([_placed(u, size, offset, stride) for u in range(shape[axis])])
                gone &= row.reshape([-1 if k == axis else 1 for k in range(len(shape))])
            return np.broadcast_to(sets, (*shape, sets.shape[-1])) & ~gone[..., None]
        case reads.Prefix(axis, size, reverse):
            rows = [range(u, size) if reverse else range(u + 1) for u in range(size)]
            return _gather(sets, axis, rows)
        case reads.Blocked(mask):
            return sets & ~masks[mask][..., None]
        case reads.Contract(mask):
            open_ = ~masks[mask]  # (..., i, k)
            return (open_[..., :, :, None, None] & sets[..., None, :, :, :]).any(axis=-3)
    raise AssertionError(step)


def _placed(u: int, size: int, offset: int, stride: int) -> bool:
    return 0 <= u - offset < size * stride and (u - offset) % stride == 0


def bind(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of an aten overload by schema name, defaults filled in."""
    named = dict(kwargs)
    for position, argument in enumerate(op._schema.arguments):
        if position < len(args):
            named[argument.name] = args[position]
        elif argument.name not in named and argument.has_default_value():
            named[argument.name] = argument.default_value
    return named


def effect_of(
    name: str, named: Mapping[str, Any], outs: Sequence[torch.Tensor], const: Sequence[torch.Tensor] = ()
) -> tuple[Effect, dict[int, np.ndarray], dict[int, torch.Tensor]]:
    """The rule's effect on a real call, its masks, and the tensor behind every `Arg` (by id of the Arg)."""
    masks: dict[int, np.ndarray] = {}
    tensors: dict[int, torch.Tensor] = {}
    keep: list[Arg] = []

    def intern(mask: np.ndarray) -> int:
        masks[len(masks)] = mask
        return len(masks) - 1

    def convert(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            fixed = any(value is item for item in const)
            arg = Arg(
                tuple(value.shape),
                str(value.dtype).removeprefix("torch."),
                "const" if fixed else "data",
                load=(lambda: value.numpy()) if fixed else None,
            )
            tensors[id(arg)] = value
            keep.append(arg)
            return arg
        if isinstance(value, list | tuple):
            return tuple(convert(item) for item in value)
        return value

    infos = [TensorInfo(tuple(out.shape), str(out.dtype).removeprefix("torch.")) for out in outs]
    effect = ruled(Call(name, {key: convert(value) for key, value in named.items()}, infos, intern))
    assert effect is not None, f"{name} has no rule"
    effect.attrs["_keep"] = keep  # type: ignore[index]  # keeps ids valid while the caller compares
    return effect, masks, tensors


def check_op(
    op: Any, *args: Any, const: Sequence[torch.Tensor] = (), outputs: int | None = None, **kwargs: Any
) -> Effect:
    """Hold the rule of an aten overload against a poisoned call; returns the effect for checks of its costs.

    Poisons every element of every floating-point tensor argument that is not in ``const``, one at a time, and compares
    with the rule's reads: equal, or (where the effect is ``inexact``) contained in them. ``outputs``: check only the
    first ones.
    """
    named = bind(op, args, kwargs)
    outs = _tuple(op(*args, **kwargs))
    name = "aten." + op._schema.name.removeprefix("aten::")
    return check_call(name, named, outs, lambda: _tuple(op(*args, **kwargs)), const, outputs)


def check_call(
    name: str,
    named: Mapping[str, Any],
    outs: Sequence[torch.Tensor],
    again: Any,
    const: Sequence[torch.Tensor] = (),
    outputs: int | None = None,
) -> Effect:
    """As `check_op`, for any callable ``again`` (a composite function) recorded under ``name``."""
    effect, masks, tensors = effect_of(name, named, outs, const)
    assert all(not steps or arg is not None for o in range(len(outs)) for arg, steps in effect.reads_of(o))
    probed = {id(t): t for t in tensors.values() if t.is_floating_point() and not any(t is c for c in const)}
    for tensor in probed.values():
        seen = _poisoned(tensor, again, len(outs))
        for o, out in enumerate(outs[:outputs]):
            if not out.is_floating_point():
                continue
            told = np.zeros((*out.shape, tensor.numel()), dtype=bool)
            for arg, steps in effect.reads_of(o):
                if tensors[id(arg)] is tensor:
                    found = support(arg.shape, steps, masks)
                    assert found.ndim == told.ndim, f"{name}: reads of output {o} end at rank {found.ndim - 1}"
                    told |= np.broadcast_to(found, told.shape)
            if effect.inexact:
                assert not (seen[o] & ~told).any(), f"{name}: output {o} reads more than the rule says"
            else:
                np.testing.assert_array_equal(told, seen[o], err_msg=f"{name}: output {o}")
    del effect.attrs["_keep"]  # type: ignore[attr-defined]
    return effect


def _poisoned(tensor: torch.Tensor, again: Any, count: int) -> list[np.ndarray]:
    flat = tensor.view(-1)
    hits: list[list[np.ndarray]] = [[] for _ in range(count)]
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
        for i in range(flat.numel()):
            kept = flat[i].clone()
            flat[i] = math.nan
            for o, out in enumerate(again()):
                hits[o].append(torch.isnan(out).numpy() if out.is_floating_point() else np.zeros(out.shape, bool))
            flat[i] = kept
    return [np.stack(rows, axis=-1) if rows else np.zeros((0,)) for rows in hits]


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)
