"""Sums and other reductions, running sums, sorting, buckets and segments."""

from __future__ import annotations

from typing import Any

import torch

from rfcalc.sources.tflite.rules import Op, as_onnx, ints, one, rule

T = torch.Tensor


def _reduced(name: str, known: str, moves: bool = False) -> None:
    def run(op: Op, x: T, axes: T) -> T:
        chosen = torch.tensor([axis % max(x.ndim, 1) for axis in ints(axes)], dtype=torch.int64)
        given = x.to(torch.uint8) if x.dtype == torch.bool else x
        if not chosen.numel() or not x.ndim:
            return x
        found = as_onnx(known, given, chosen, keepdims=int(op.get("KeepDims", False)))
        return found.to(x.dtype)

    rule(name, moves=moves)(run)


_reduced("SUM", "ReduceSum")
_reduced("MEAN", "ReduceMean")
_reduced("REDUCE_PROD", "ReduceProd")
_reduced("REDUCE_MAX", "ReduceMax", moves=True)
_reduced("REDUCE_MIN", "ReduceMin", moves=True)
_reduced("REDUCE_ANY", "ReduceMax")
_reduced("REDUCE_ALL", "ReduceMin")


@rule("ARG_MAX")
def argmax(op: Op, x: T, axis: T) -> T:
    """The place of the first of the largest elements along an axis."""
    return torch.argmax(x, int(one(axis))).to(op.dtype)


@rule("ARG_MIN")
def argmin(op: Op, x: T, axis: T) -> T:
    """The place of the first of the smallest elements along an axis."""
    return torch.argmin(x, int(one(axis))).to(op.dtype)


@rule("CUMSUM")
def cumsum(op: Op, x: T, axis: T) -> T:
    """Running sums, forwards or backwards, with or without the element itself."""
    settings = {"exclusive": int(op.get("Exclusive", False)), "reverse": int(op.get("Reverse", False))}
    return as_onnx("CumSum", x, axis, **settings)


@rule("TOPK_V2", moves=True)
def topk(op: Op, x: T, k: T) -> tuple[T, T]:
    """The largest elements of the last axis in order, and their places."""
    values, places = as_onnx("TopK", x, k, axis=-1)
    return values, places.to(torch.int32)


@rule("UNIQUE")
def unique(op: Op, x: T) -> tuple[T, T]:
    """The distinct elements in the order in which they come, and which each element is."""
    values, _, inverse, _ = as_onnx("Unique", x, sorted=0)
    return values, inverse.to(torch.int32)


@rule("WHERE")
def where(op: Op, x: T) -> T:
    """The places of what is not zero, one a row."""
    return torch.nonzero(x)


@rule("BUCKETIZE")
def bucketize(op: Op, x: T) -> T:
    """Which of the ranges between given limits each element lies in."""
    limits = torch.tensor([float(n) for n in op.get("Boundaries", [])], device=x.device)
    return torch.bucketize(x, limits, right=True).to(torch.int32)


# --- segments ---------------------------------------------------------------------------------------------------------

_STARTS: dict[str, tuple[str, float]] = {
    "UNSORTED_SEGMENT_SUM": ("sum", 0),
    "UNSORTED_SEGMENT_PROD": ("prod", 1),
    "UNSORTED_SEGMENT_MAX": ("amax", -torch.inf),
    "UNSORTED_SEGMENT_MIN": ("amin", torch.inf),
}


def _segmented(x: T, segments: T, count: int, how: str, start: float) -> T:
    rest = x.shape[segments.ndim :]
    rows = x.reshape(-1, *rest)
    places = segments.flatten().to(torch.int64)
    if how == "sum":
        return torch.zeros((count, *rest), dtype=x.dtype, device=x.device).index_add(0, places, rows)
    empty: Any = start
    if not x.is_floating_point() and start not in (0, 1):
        limits = torch.iinfo(x.dtype)
        empty = limits.min if start < 0 else limits.max
    filled = torch.full((count, *rest), empty, dtype=x.dtype, device=x.device)
    view = places.reshape(-1, *(1 for _ in rest)).expand(rows.shape)
    return filled.scatter_reduce(0, view, rows, how, include_self=True)


@rule(*_STARTS)
def unsorted_segments(op: Op, x: T, segments: T, count: T) -> T:
    """Rows of the same segment combined."""
    how, start = _STARTS[op.type]
    return _segmented(x, segments, int(one(count)), how, start)


@rule("SEGMENT_SUM")
def segment_sum(op: Op, x: T, segments: T) -> T:
    """Rows of the same segment added up; segments are in order."""
    return _segmented(x, segments, max(ints(segments), default=-1) + 1, "sum", 0)
