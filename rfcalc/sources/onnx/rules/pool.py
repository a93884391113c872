"""Pooling."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.onnx.rules import Op, ints, rule
from rfcalc.sources.onnx.rules.conv import Window, window_of
from rfcalc.sources.onnx.rules.movement import padded

T = torch.Tensor

_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _counts(window: Window, extents: tuple[int, ...], ceil: bool) -> list[int]:
    """How many windows there are along each axis; one that would begin in the padding after is left out."""
    found = []
    for at, extent in enumerate(extents):
        reach = window.dilations[at] * (window.kernel[at] - 1) + 1
        room = extent + window.before[at] + window.after[at] - reach
        count = (-(-room // window.strides[at]) if ceil else room // window.strides[at]) + 1
        if ceil and (count - 1) * window.strides[at] >= extent + window.before[at]:
            count -= 1
        found.append(count)
    return found


def _plain(window: Window) -> bool:
    """Whether torch's pooling takes the padding as it is."""
    return window.even and all(0 <= 2 * p <= k for p, k in zip(window.before, window.kernel, strict=True))


def _filled(x: T, window: Window, counts: list[int], number: float) -> T:
    """The tensor padded so that the last of so many windows is whole."""
    rank = len(counts)
    after = []
    for at in range(rank):
        reach = window.dilations[at] * (window.kernel[at] - 1) + 1
        needed = (counts[at] - 1) * window.strides[at] + reach
        after.append(max(window.after[at], needed - x.shape[2 + at] - window.before[at]))
    return padded(x, [0, 0, *window.before], [0, 0, *after], "constant", number)


@rule("MaxPool")
def max_pool(op: Op, x: T) -> T | tuple[T, T]:
    """The largest element of each window, and its place in the whole tensor."""
    rank = x.ndim - 2
    window = window_of(op, op.get("kernel_shape"), x.shape[2:])
    ceil = bool(op.get("ceil_mode", 0))
    given = x
    if not x.is_floating_point():
        x = x.to(torch.float32)
    shift = (0,) * rank
    if not _plain(window):
        x = _filled(x, window, _counts(window, tuple(x.shape[2:]), ceil), -torch.inf)
        shift, padding, ceil = window.before, (0,) * rank, False
    else:
        padding = window.before
    pool: Any = _MAX[rank]
    if op.outputs == 1:
        found: T = pool(x, window.kernel, window.strides, padding, window.dilations, ceil)
        return found.to(given.dtype)
    values, places = pool(x, window.kernel, window.strides, padding, window.dilations, ceil, return_indices=True)
    return values.to(given.dtype), _numbered(op, given, x, places, shift)


def _numbered(op: Op, given: T, pooled: T, places: T, shift: tuple[int, ...]) -> T:
    """Places in one sample's channel of the padded tensor, as places in the whole tensor before that."""
    parts = []
    for extent in reversed(pooled.shape[2:]):
        parts.append(places % extent)
        places = torch.div(places, extent, rounding_mode="floor")
    parts = [part - moved for part, moved in zip(reversed(parts), shift, strict=True)]
    order = range(len(parts)) if not op.get("storage_order", 0) else range(len(parts) - 1, -1, -1)
    flat = torch.zeros_like(parts[0])
    for at in order:
        flat = flat * given.shape[2 + at] + parts[at]
    n, c = given.shape[:2]
    plane = prod(given.shape[2:])
    first = torch.arange(n * c, device=given.device).reshape(n, c, *(1 for _ in parts)) * plane
    return flat + first


@rule("MaxUnpool")
def max_unpool(op: Op, x: T, places: T, to: T | None = None) -> T:
    """Elements back where they were the largest, zeros elsewhere."""
    window = window_of(op, op.get("kernel_shape"), x.shape[2:])
    usual = [
        (n - 1) * s + k - a - b
        for n, s, k, a, b in zip(x.shape[2:], window.strides, window.kernel, window.before, window.after, strict=True)
    ]
    shape = [*x.shape[:2], *usual]
    flat = torch.zeros(prod(shape), dtype=x.dtype, device=x.device)
    found = flat.scatter(0, places.flatten(), x.flatten()).reshape(shape)
    if to is None:
        return found
    return padded(found, [0] * len(shape), [w - n for w, n in zip(ints(to), shape, strict=True)])


@rule("AveragePool")
def average_pool(op: Op, x: T) -> T:
    """The mean of each window, with or without the padding."""
    rank = x.ndim - 2
    window = window_of(op, op.get("kernel_shape"), x.shape[2:])
    ceil, whole = bool(op.get("ceil_mode", 0)), bool(op.get("count_include_pad", 0))
    pool: Any = _AVERAGE[rank]
    if _plain(window) and set(window.dilations) == {1}:
        found: T = pool(x, window.kernel, window.strides, window.before, ceil, whole)
        return found
    counts = _counts(window, tuple(x.shape[2:]), ceil)
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    if whole:
        rest = [0, 0]
        ones = padded(ones, [*rest, *window.before], [*rest, *window.after], "constant", 1)
        held = Window(window.kernel, window.strides, window.dilations, (0,) * rank, (0,) * rank)
        number = _summed(_filled(ones, held, counts, 0), window, counts)
    else:
        number = _summed(_filled(ones, window, counts, 0), window, counts)
    return _summed(_filled(x, window, counts, 0), window, counts) / number


def _summed(x: T, window: Window, counts: list[int], combine: Callable[[T, T], T] = torch.add) -> T:
    """The sum over each window of a tensor that is padded already."""
    if set(window.dilations) == {1} and combine is torch.add:
        pool: Any = _AVERAGE[len(counts)]
        found: T = pool(x, window.kernel, window.strides) * prod(window.kernel)
        return found[(slice(None), slice(None), *(slice(n) for n in counts))]
    total: T | None = None
    for taps in product(*map(range, window.kernel)):
        cut: list[Any] = [slice(None), slice(None)]
        for at, tap in enumerate(taps):
            first = tap * window.dilations[at]
            cut.append(slice(first, first + (counts[at] - 1) * window.strides[at] + 1, window.strides[at]))
        part = x[tuple(cut)]
        total = part if total is None else combine(total, part)
    assert total is not None
    return total


@rule("LpPool")
def lp_pool(op: Op, x: T) -> T:
    """The p-norm of each window."""
    window = window_of(op, op.get("kernel_shape"), x.shape[2:])
    power = op.get("p", 2)
    counts = _counts(window, tuple(x.shape[2:]), bool(op.get("ceil_mode", 0)))
    raised = torch.abs(x) ** power
    return _summed(_filled(raised, window, counts, 0), window, counts) ** (1 / power)


def _everywhere(x: T) -> list[int]:
    return list(range(2, x.ndim))


@rule("GlobalAveragePool")
def global_average_pool(op: Op, x: T) -> T:
    """The mean over all positions."""
    return functional.adaptive_avg_pool2d(x, 1) if x.ndim == 4 else torch.mean(x, _everywhere(x), keepdim=True)


@rule("GlobalMaxPool")
def global_max_pool(op: Op, x: T) -> T:
    """The largest of all positions."""
    return torch.amax(x, _everywhere(x), keepdim=True)


@rule("GlobalLpPool")
def global_lp_pool(op: Op, x: T) -> T:
    """The p-norm over all positions."""
    power = op.get("p", 2)
    return torch.sum(torch.abs(x) ** power, _everywhere(x), keepdim=True) ** (1 / power)
