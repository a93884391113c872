"""Reductions, running sums, sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rfcalc.sources.jax.rules import Op, Value, ints, rule, tensor, tensors

T = torch.Tensor


def _over(x: T, axes: list[int], reduce: Callable[[T, int], T]) -> T:
    """One axis after the other, from the last on."""
    for axis in sorted(axes, reverse=True):
        x = reduce(x, axis)
    return x


@rule("reduce_sum")
def reduce_sum(op: Op, x: Value) -> T:
    """Sums over axes."""
    axes = ints(op["axes"])
    x = tensor(x, op.takes[0])
    return torch.sum(x, axes, dtype=x.dtype) if axes else x


@rule("reduce_max")
def reduce_max(op: Op, x: T) -> T:
    """The largest over axes."""
    axes = ints(op["axes"])
    return torch.amax(x, axes) if axes else x


@rule("reduce_min")
def reduce_min(op: Op, x: T) -> T:
    """The smallest over axes."""
    axes = ints(op["axes"])
    return torch.amin(x, axes) if axes else x


@rule("reduce_prod")
def reduce_prod(op: Op, x: T) -> T:
    """Products over axes."""
    return _over(x, ints(op["axes"]), lambda part, axis: torch.prod(part, axis, dtype=x.dtype))


@rule("reduce_and")
def reduce_and(op: Op, x: T) -> T:
    """Whether all are true, over axes."""
    _only_truth(op, x)
    return _over(x, ints(op["axes"]), torch.all)


@rule("reduce_or")
def reduce_or(op: Op, x: T) -> T:
    """Whether any is true, over axes."""
    _only_truth(op, x)
    return _over(x, ints(op["axes"]), torch.any)


def _only_truth(op: Op, x: T) -> None:
    if x.dtype is not torch.bool:
        raise ValueError(f"{op.name} of bits of whole numbers; torch reduces truth values so")


@rule("reduce_xor")
def reduce_xor(op: Op, x: T) -> T:
    """Whether an odd number is true, over axes."""
    _only_truth(op, x)
    return torch.sum(x, ints(op["axes"])) % 2 == 1


@rule("argmax")
def argmax(op: Op, x: T) -> T:
    """Where the largest is along an axis."""
    (axis,) = ints(op["axes"])
    return torch.argmax(x, axis)


@rule("argmin")
def argmin(op: Op, x: T) -> T:
    """Where the smallest is along an axis."""
    (axis,) = ints(op["axes"])
    return torch.argmin(x, axis)


# --- running ----------------------------------------------------------------------------------------------------------


def _running(op: Op, x: Value, run: Callable[[T, int], T]) -> T:
    x, axis = tensor(x, op.takes[0]), op["axis"]
    return torch.flip(run(torch.flip(x, [axis]), axis), [axis]) if op["reverse"] else run(x, axis)


@rule("cumsum")
def cumsum(op: Op, x: Value) -> T:
    """The sum of all up to each place."""
    return _running(op, x, lambda part, axis: torch.cumsum(part, axis, dtype=part.dtype))


@rule("cumprod")
def cumprod(op: Op, x: Value) -> T:
    """The product of all up to each place."""
    return _running(op, x, lambda part, axis: torch.cumprod(part, axis, dtype=part.dtype))


@rule("cummax")
def cummax(op: Op, x: Value) -> T:
    """The largest of all up to each place."""
    return _running(op, x, lambda part, axis: torch.cummax(part, axis).values)


@rule("cummin")
def cummin(op: Op, x: Value) -> T:
    """The smallest of all up to each place."""
    return _running(op, x, lambda part, axis: torch.cummin(part, axis).values)


@rule("cumlogsumexp")
def cumlogsumexp(op: Op, x: Value) -> T:
    """The logarithm of the sum of exponentials of all up to each place."""
    return _running(op, x, torch.logcumsumexp)


# --- order ------------------------------------------------------------------------------------------------------------


@rule("sort")
def sort(op: Op, *values: Value) -> list[T]:
    """Tensors in the order of the first of them, or of the first few, along an axis."""
    held, axis = tensors(op, values), op["dimension"]
    if len(held) == 1:
        return [torch.sort(held[0], dim=axis, stable=bool(op["is_stable"])).values]
    places: Any = None
    for key in reversed(held[: op["num_keys"]]):  # by the last key first, and those before it keep that order
        now = key if places is None else torch.gather(key, axis, places)
        order = torch.sort(now, dim=axis, stable=True).indices
        places = order if places is None else torch.gather(places, axis, order)
    return [torch.gather(part, axis, places) for part in held]


@rule("top_k")
def top_k(op: Op, x: T) -> list[T]:
    """The largest along an axis, and where they are."""
    found = torch.topk(x, op["k"], op.params.get("axis", -1))
    return [found.values, found.indices]


@rule("approx_top_k")
def approx_top_k(op: Op, x: T) -> list[T]:
    """The same, or the smallest; on most devices only nearly so."""
    found = torch.topk(x, op["k"], op["reduction_dimension"], largest=bool(op["is_max_k"]))
    return [found.values, found.indices]


@rule("softmax")
def softmax(op: Op, x: T) -> T:
    """Exponentials over their sum along an axis."""
    return torch.softmax(x, op["axis"])
