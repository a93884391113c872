"""Reductions over sliding windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf, prod
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.jax.rules import Op, ints, rule
from rfcalc.sources.jax.rules.movement import cut, padded

T = torch.Tensor

_MAX: dict[int, Any] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE: dict[int, Any] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@dataclass(frozen=True)
class _Windows:
    """The windows of an op, by axis."""

    extents: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    apart: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(cls, op: Op) -> _Windows:
        return cls(
            tuple(ints(op["window_dimensions"])),
            tuple(ints(op["window_strides"])),
            tuple((int(a), int(b)) for a, b in op["padding"]),
            tuple(ints(op["base_dilation"])),
            tuple(ints(op["window_dilation"])),
        )

    @property
    def sliding(self) -> list[int]:
        """The axes along which there is anything to do."""
        plain = (1, 1, (0, 0), 1)
        each = zip(self.extents, self.strides, self.padding, self.apart, strict=True)
        return [at for at, entry in enumerate(each) if entry != plain]

    def along(self, axes: Sequence[int], name: str) -> list[Any]:
        held = getattr(self, name)
        return [held[at] for at in axes]


@rule("reduce_window_max")
def window_max(op: Op, x: T) -> T:
    """The largest of each window."""
    return _pooled(x, _Windows.of(op), _MAX, -inf if x.is_floating_point() else torch.iinfo(x.dtype).min, torch.maximum)


@rule("reduce_window_min")
def window_min(op: Op, x: T) -> T:
    """The smallest of each window."""
    highest = inf if x.is_floating_point() else torch.iinfo(x.dtype).max
    return _pooled(x, _Windows.of(op), None, highest, torch.minimum)


@rule("reduce_window_sum")
def window_sum(op: Op, x: T) -> T:
    """The sum of each window."""
    return _pooled(x, _Windows.of(op), _AVERAGE, 0, torch.add)


@rule("reduce_window")
def window(op: Op, x: T, first: Any) -> T:
    """A reduction of each window by a function of the program's, where it is a sum, a product or an extreme."""
    inner = op["jaxpr"] if hasattr(op["jaxpr"], "eqns") else op["jaxpr"].jaxpr
    names = [equation.primitive.name for equation in inner.eqns]
    combine: dict[str, Any] = {"add": torch.add, "max": torch.maximum, "min": torch.minimum, "mul": torch.mul}
    combine |= {"and": torch.logical_and, "or": torch.logical_or}
    if len(names) != 1 or names[0] not in combine or isinstance(first, T):
        raise ValueError(f"windows reduced by {' '.join(names)}; sums, products and extremes are known")
    return _pooled(x, _Windows.of(op), None, first, combine[names[0]])


def _pooled(x: T, windows: _Windows, pool: dict[int, Any] | None, number: Any, combine: Callable[[T, T], T]) -> T:
    axes = windows.sliding
    if not axes:
        return x
    config = [(a, b, d - 1) for (a, b), d in zip(windows.padding, windows.apart, strict=True)]
    if pool is None or len(axes) > 3 or not x.is_floating_point():
        return _combined(padded(x, config, number), windows, combine)
    dilated = any(d > 1 for d in windows.along(axes, "dilation"))
    if dilated and pool is _AVERAGE:
        return _combined(padded(x, config, number), windows, combine)
    kernel, strides = windows.along(axes, "extents"), windows.along(axes, "strides")
    pads = windows.along(axes, "padding")
    even = all(a == b and 0 <= 2 * a <= k for (a, b), k in zip(pads, kernel, strict=True))
    padding = [a if even else 0 for a, _ in pads]
    x = padded(x, [(0, 0, d) if even else (a, b, d) for a, b, d in config], number)
    front = [at for at in range(x.ndim) if at not in axes]
    moved = x.permute(*front, *axes)
    flat = (
        moved
        if len(front) in (1, 2)
        else moved.reshape(1, prod(x.shape[at] for at in front), *moved.shape[len(front) :])
    )
    if pool is _AVERAGE:
        found = pool[len(axes)](flat, kernel, strides, padding, False, True) * prod(kernel)
    else:
        found = pool[len(axes)](flat, kernel, strides, padding, windows.along(axes, "dilation"))
    found = found.reshape(*moved.shape[: len(front)], *found.shape[-len(axes) :])
    order = [*front, *axes]
    return found.permute(*[order.index(at) for at in range(x.ndim)])


def _combined(x: T, windows: _Windows, combine: Callable[[T, T], T]) -> T:
    """The elements of each window, one place in it after the other."""
    spans = zip(x.shape, windows.extents, windows.strides, windows.dilation, strict=True)
    counts = [(extent - (d * (k - 1) + 1)) // s + 1 for extent, k, s, d in spans]
    total: T | None = None
    for taps in product(*map(range, windows.extents)):
        parts = []
        for at, tap in enumerate(taps):
            first = tap * windows.dilation[at]
            parts.append(slice(first, first + (counts[at] - 1) * windows.strides[at] + 1, windows.strides[at]))
        part = cut(x, parts)
        total = part if total is None else combine(total, part)
    assert total is not None
    return total
