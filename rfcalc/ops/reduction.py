"""Reductions over axes, and cumulative ops. An average over the positions of a feature map is a pooling layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rfcalc.ops import _masks
from rfcalc.ops._linear import except_at, ranked
from rfcalc.ops.common import align, drop_axes, positive
from rfcalc.ops.pointwise import aten, binary
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Prefix, Reduce, Reshape, Step

#: Operations per input element, by op; what a result takes on top stands in _PER_RESULT.
_PER_ELEMENT = {
    1: """sum nansum mean amax amin max min argmax argmin prod any all median nanmedian mode kthvalue _is_all_true
        _is_any_true""",
    2: "count_nonzero aminmax _aminmax nanmean",
    4: "var std var_mean std_mean logsumexp special_logsumexp",
}
_PER_RESULT = {1: "std std_mean", 2: "logsumexp special_logsumexp"}
#: What a finite mask blocks is nothing in a sum of exponentials; minus infinity is never the largest.
_SOFT = frozenset(aten("logsumexp special_logsumexp logcumsumexp _logcumsumexp"))
_LARGEST = frozenset(aten("amax max cummax"))
_CUMULATIVE = {
    1: "cumsum cumsum_ cumprod cumprod_ cummax cummin",
    4: "logcumsumexp _logcumsumexp",
}


def _counts(table: dict[int, str]) -> dict[str, int]:
    return {op: count for count, names in table.items() for op in aten(names)}


_ELEMENT = _counts(_PER_ELEMENT)
_RESULT = _counts(_PER_RESULT)
_CUMULATED = _counts(_CUMULATIVE)


@rule(*(op for op in _ELEMENT if op not in ("aten.max", "aten.min")))
def reduction(call: Call) -> Effect:
    """A reduction: everything along its axes; 1 operation per input element (variance, logsumexp 4)."""
    x: Arg = call["self"]
    axes = _axes(call, x)
    keepdim = bool(call["keepdim"])
    kind = "pool" if call.op in ("aten.mean", "aten.amax") and _pools(x, axes, keepdim) else "reduction"
    flops = _ELEMENT[call.op] * x.numel + _RESULT.get(call.op, 0) * numel(call.out.shape)
    skipped = _skipped(call.op, x, axes)
    _, steps = _reduced(x, axes, call.out.shape)
    return Effect(
        kind,
        [(x, (*except_at(call, skipped), *steps))],
        masked=skipped is not None,
        zero=_sum_of_zeros(x, axes, call.out.shape) if call.op in ("aten.sum", "aten.mean") else None,
        flops={"pooling" if kind == "pool" else "reduction": flops},
        attrs={"dim": list(axes), "keepdim": keepdim},
    )


def _skipped(op: str, x: Arg, axes: Sequence[int]) -> _masks.Mask:
    """The elements that a maximum, or the logarithm of a sum of exponentials, does not see.

    What is about as low as its type goes is the largest only of a row in which nothing else is.
    """
    if x.blocked is None or op not in _SOFT | _LARGEST:
        return None
    if op in _SOFT or not x.finite:
        return x.blocked
    if x.finite > _masks.Finite.LOWEST or not axes:
        return None
    sizes = [x.shape[axis] if axis in axes else size for axis, size in enumerate(ranked(x.blocked, x.ndim).shape)]
    blocked = np.broadcast_to(ranked(x.blocked, x.ndim), sizes)
    kept: np.ndarray = blocked & ~blocked.all(axis=tuple(axes), keepdims=True)
    return kept if kept.any() else None


def _sum_of_zeros(x: Arg, axes: Sequence[int], out: Sequence[int]) -> _masks.Mask:
    """Where a sum has zeros only."""
    if x.zero is None or not x.ndim:
        return None
    zero = ranked(x.zero, x.ndim).all(axis=tuple(axes), keepdims=True)
    kept = [size for axis, size in enumerate(zero.shape) if len(out) == x.ndim or axis not in axes]
    return zero.reshape(kept) if zero.any() else None


@rule("aten.max", "aten.min")
def extremum(call: Call) -> Effect:
    """Largest or smallest along an axis, of everything, or of two tensors by position; 1 operation per element."""
    return reduction(call) if call["other"] is None else _of_two(call)


def _of_two(call: Call) -> Effect:
    same = {"aten.max": "aten.maximum", "aten.min": "aten.minimum"}
    return binary(Call(same[call.op], call.args, call.outs))


@rule(*aten("quantile nanquantile"))
def quantile(call: Call) -> Effect:
    """Quantiles: everything along the axis, for each probability; 1 operation per input element."""
    x: Arg = call["self"]
    wanted = call["q"]
    out = call.out.shape
    inner = out[wanted.ndim :] if isinstance(wanted, Arg) else out
    _, steps = _reduced(x, positive(call["dim"], x.ndim) if x.ndim else (), inner)
    reads: list[ArgRead] = [(x, (*steps, *align(inner, len(out))))]
    if isinstance(wanted, Arg):
        reads.append((wanted, (Reshape(wanted.shape, (*wanted.shape, *(1,) * len(inner))),)))
    return Effect("reduction", reads, flops={"reduction": x.numel})


@rule(*_CUMULATED)
def cumulative(call: Call) -> Effect:
    """A cumulative op: everything up to the position along an axis; 1 operation per element (logcumsumexp 4)."""
    x: Arg = call["self"]
    axis = call["dim"] % x.ndim if x.ndim else 0
    steps: tuple[Step, ...] = (Prefix(axis, x.shape[axis]),) if x.ndim else ()
    skipped = _skipped(call.op, x, ())
    return Effect(
        "reduction",
        [(x, (*except_at(call, skipped), *steps))],
        flops={"reduction": _CUMULATED[call.op] * x.numel},
        attrs={"dim": axis},
        masked=skipped is not None,
        zero=_sum_so_far(x, axis) if "cumsum" in call.op else None,
    )


def _sum_so_far(x: Arg, axis: int) -> _masks.Mask:
    """Where a cumulative sum has seen zeros only."""
    if x.zero is None or not x.ndim:
        return None
    zero = ranked(x.zero, x.ndim)
    zero = zero if zero.shape[axis] == 1 else np.logical_and.accumulate(zero, axis=axis)
    return zero if zero.any() else None


def _axes(call: Call, x: Arg) -> tuple[int, ...]:
    dim: Sequence[int] | int | None = call.get("dim", -1 if call.op in ("aten.mode", "aten.kthvalue") else None)
    if not x.ndim or (call.op in ("aten.any", "aten.all") and _empty(dim)):
        return ()
    return positive(dim, x.ndim)


def _empty(dim: Any) -> bool:
    """For any and all an empty list names no axis; for every other op it means all of them."""
    return not isinstance(dim, int) and dim is not None and not len(dim)


def _reduced(x: Arg, axes: Sequence[int], out: Sequence[int]) -> ArgRead:
    if not axes:
        return x, ()
    steps: tuple[Step, ...] = (Reduce(tuple(axes)),)
    return x, steps if len(out) == x.ndim else (*steps, *drop_axes(x.shape, axes))


def _pools(x: Arg, axes: tuple[int, ...], keepdim: bool) -> bool:
    """Whether batch and channels stay and all positions go: channels before them, or channels last.

    One last axis alone, kept with extent 1, is the statistic of a norm written by hand, not a pooling.
    """
    if x.ndim < 3 or "float" not in x.dtype or not axes:
        return False
    if axes == tuple(range(1, x.ndim - 1)):
        return True
    trailing = axes == tuple(range(x.ndim - len(axes), x.ndim)) and x.ndim - len(axes) >= 2
    return trailing and not (keepdim and len(axes) == 1)
