"""Sums and other reductions, running sums, sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rfcalc.sources.onnx.rules import Op, axes_of, forward_axes, one, rule

T = torch.Tensor


def _reduced(name: str, function: Callable[[T, list[int], bool], T], empty: Callable[[T], T] | None = None) -> None:
    def run(op: Op, x: T, axes: T | None = None) -> T:
        chosen = axes_of(op, axes)
        if not chosen:
            if op.get("noop_with_empty_axes", 0):
                return empty(x) if empty is not None else x
            chosen = list(range(x.ndim))
        if x.ndim == 0:
            return empty(x) if empty is not None else x
        return function(x, forward_axes(chosen, x.ndim), bool(op.get("keepdims", 1)))

    rule(name)(run)


def _prod(x: T, axes: list[int], keep: bool) -> T:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
    return x


def _extreme(function: Any, limit: int) -> Callable[[T, list[int], bool], T]:
    def run(x: T, axes: list[int], keep: bool) -> T:
        if x.dtype == torch.bool:
            return run(x.to(torch.uint8), axes, keep).to(torch.bool)
        if x.numel() == 0:
            shape = [1 if at in axes else n for at, n in enumerate(x.shape)]
            lowest = torch.finfo if x.is_floating_point() else torch.iinfo
            worst: Any = limit * float("inf") if x.is_floating_point() else getattr(lowest(x.dtype), _WORST[limit])
            filled = torch.full(shape, worst, dtype=x.dtype, device=x.device)
            return filled if keep else filled.reshape([n for at, n in enumerate(x.shape) if at not in axes])
        found: T = function(x, axes, keep)
        return found

    return run


_WORST = {1: "max", -1: "min"}


def _sum(x: T, axes: list[int], keep: bool) -> T:
    return torch.sum(x, axes, keepdim=keep, dtype=x.dtype)


_reduced("ReduceSum", _sum)
_reduced("ReduceMean", lambda x, axes, keep: torch.mean(x, axes, keepdim=keep))
_reduced("ReduceMax", _extreme(torch.amax, -1))
_reduced("ReduceMin", _extreme(torch.amin, 1))
_reduced("ReduceProd", _prod)
_reduced("ReduceSumSquare", lambda x, axes, keep: _sum(x * x, axes, keep), torch.square)
_reduced("ReduceL1", lambda x, axes, keep: _sum(torch.abs(x), axes, keep), torch.abs)
_reduced("ReduceL2", lambda x, axes, keep: torch.sqrt(_sum(x * x, axes, keep)), torch.abs)
_reduced("ReduceLogSum", lambda x, axes, keep: torch.log(_sum(x, axes, keep)), torch.log)
_reduced("ReduceLogSumExp", lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep))


def _place(op: Op, x: T, function: Any) -> T:
    axis, keep = op.get("axis", 0), bool(op.get("keepdims", 1))
    if not op.get("select_last_index", 0):
        first: T = function(x, axis, keepdim=keep)
        return first
    last: T = x.shape[axis] - 1 - function(torch.flip(x, [axis]), axis, keepdim=keep)
    return last


@rule("ArgMax")
def argmax(op: Op, x: T) -> T:
    """The place of the largest element along an axis, the first or the last of them."""
    return _place(op, x, torch.argmax)


@rule("ArgMin")
def argmin(op: Op, x: T) -> T:
    """The place of the smallest element along an axis, the first or the last of them."""
    return _place(op, x, torch.argmin)


def _running(op: Op, x: T, axis: T, function: Any, start: float) -> T:
    at = int(one(axis))
    backwards, exclusive = op.get("reverse", 0), op.get("exclusive", 0)
    if backwards:
        x = torch.flip(x, [at])
    found: T = function(x, at, dtype=x.dtype)
    if exclusive:
        first = torch.full_like(found.narrow(at, 0, 1), start)
        found = torch.cat([first, found.narrow(at, 0, found.shape[at] - 1)], at)
    return torch.flip(found, [at]) if backwards else found


@rule("CumSum")
def cumsum(op: Op, x: T, axis: T) -> T:
    """Running sums, forwards or backwards, with or without the element itself."""
    return _running(op, x, axis, torch.cumsum, 0)


@rule("CumProd")
def cumprod(op: Op, x: T, axis: T) -> T:
    """Running products, forwards or backwards, with or without the element itself."""
    return _running(op, x, axis, torch.cumprod, 1)


@rule("TopK")
def topk(op: Op, x: T, k: T | None = None) -> tuple[T, T]:
    """The k largest or smallest elements along an axis, and their places; of equal ones the first come first."""
    count = int(one(k)) if k is not None else op.get("k")
    axis = op.get("axis", -1)
    largest, in_order = bool(op.get("largest", 1)), bool(op.get("sorted", 1))
    if x.is_floating_point() or not in_order:
        found = torch.topk(x, count, axis, largest, in_order)
        return found.values, found.indices
    values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count)


@rule("Unique")
def unique(op: Op, x: T) -> tuple[T, T, T, T]:
    """The distinct elements or slices, where each is first, which each element is, and how often each is there."""
    axis = op.get("axis")
    if axis is None:
        x, axis = x.flatten(), 0
    values, inverse, counts = torch.unique(x, sorted=True, return_inverse=True, return_counts=True, dim=axis)
    inverse = inverse.flatten()
    total = inverse.shape[0]
    first = torch.full((counts.shape[0],), total, dtype=torch.int64, device=x.device)
    first = first.scatter_reduce(0, inverse, torch.arange(total, device=x.device), "amin")
    if not op.get("sorted", 1):
        order = torch.argsort(first)
        values, counts, first = values.index_select(axis, order), counts[order], first[order]
        inverse = torch.argsort(order)[inverse]
    return values, first, inverse, counts


@rule("Det")
def det(op: Op, x: T) -> T:
    """The determinant of matrices."""
    return torch.linalg.det(x)
