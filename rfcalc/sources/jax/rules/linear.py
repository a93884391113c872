"""Products of matrices, and convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.jax.rules import Op, Value, ints, rule, tensors
from rfcalc.sources.jax.rules.movement import cut, padded

T = torch.Tensor


# --- products ---------------------------------------------------------------------------------------------------------


@rule("dot_general")
def dot_general(op: Op, x: Value, y: Value) -> T:
    """Sums of products over some axes, for each place along those that both have in common."""
    (over_x, over_y), (batch_x, batch_y) = op["dimension_numbers"]
    x, y = (value.to(op.out.dtype) for value in tensors(op, (x, y)))
    left = _Side(x, ints(batch_x), ints(over_x))
    right = _Side(y, ints(batch_y), ints(over_y))
    if not left.batch and left.over:
        if op.weights[1]:
            return functional.linear(left.rows(), right.rows().reshape(-1, left.depth)).reshape(op.out.shape)
        if op.weights[0]:
            found = functional.linear(right.rows(), left.rows().reshape(-1, left.depth))
            return _first(found.reshape(*right.free_shape, *left.free_shape), len(right.free_shape))
    return torch.matmul(left.matrix(), right.matrix().transpose(-1, -2)).reshape(op.out.shape)


def _first(x: T, count: int) -> T:
    """The axes after the first so many, and then those."""
    return x.permute(*range(count, x.ndim), *range(count)) if count and x.ndim > count else x


@dataclass(frozen=True)
class _Side:
    """One factor: the axes in common, those that are summed over, and the others."""

    x: T
    batch: list[int]
    over: list[int]

    @property
    def free(self) -> list[int]:
        return [at for at in range(self.x.ndim) if at not in self.batch and at not in self.over]

    @property
    def free_shape(self) -> list[int]:
        return [self.x.shape[at] for at in self.free]

    @property
    def depth(self) -> int:
        """How many products a sum has."""
        return prod(self.x.shape[at] for at in self.over)

    def _ordered(self) -> T:
        order = [*self.batch, *self.free, *self.over]
        return self.x if order == list(range(self.x.ndim)) else self.x.permute(order)

    def rows(self) -> T:
        """The axes in common, the others, and one axis of what is summed over."""
        x = self._ordered()
        return x if len(self.over) == 1 else x.reshape(*x.shape[: x.ndim - len(self.over)], self.depth)

    def matrix(self) -> T:
        """The same with one axis for the others."""
        x = self._ordered()
        shape = (*x.shape[: len(self.batch)], prod(self.free_shape), self.depth)
        return x if tuple(x.shape) == shape else x.reshape(shape)


@rule("ragged_dot", "ragged_dot_general")
def ragged_dot(op: Op, x: T, y: T, sizes: T) -> T:
    """Rows in groups, each by the matrix of its group; which group a row is in, only data tells."""
    numbers = op.params.get("ragged_dot_dimension_numbers")
    if numbers is not None:
        (over_x, over_y), (batch_x, batch_y) = numbers.dot_dimension_numbers
        usual = [*over_x] == [1] and [*over_y] == [1] and not [*batch_x, *batch_y]
        if not usual or [*numbers.lhs_ragged_dimensions] != [0] or [*numbers.rhs_group_dimensions] != [0]:
            raise ValueError("groups along other axes than the first")
    ends = torch.cumsum(sizes, 0)
    groups = (torch.arange(x.shape[0])[:, None] >= ends[None]).sum(1).clamp(max=y.shape[0] - 1)
    return torch.matmul(x.unsqueeze(1), y[groups]).squeeze(1)


# --- convolutions -----------------------------------------------------------------------------------------------------

_CONV: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED: dict[int, Any] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@rule("conv_general_dilated")
def conv(op: Op, x: Value, weight: Value) -> T:
    """A convolution: any order of axes, padding, strides, steps in the kernel, zeros between elements of the input."""
    numbers = op["dimension_numbers"]
    x, weight = (value.to(op.out.dtype) for value in tensors(op, (x, weight)))
    x, weight = _permuted(x, ints(numbers.lhs_spec)), _permuted(weight, ints(numbers.rhs_spec))
    rank, lone = x.ndim - 2, x.ndim == 2
    if lone:  # no axis to slide along
        x, weight = x.unsqueeze(-1), weight.unsqueeze(-1)
    if rank > 3:
        raise ValueError(f"a convolution over {rank} axes; torch has them over 1 to 3")
    found = _grouped(x, weight, _Window.of(op, max(rank, 1)), op["feature_group_count"], op["batch_group_count"])
    found = found.squeeze(-1) if lone else found
    spec = ints(numbers.out_spec)
    back = [spec.index(at) for at in range(len(spec))]
    return _permuted(found, back)


def _permuted(x: T, order: Sequence[int]) -> T:
    return x if list(order) == list(range(x.ndim)) else x.permute(*order)


@dataclass(frozen=True)
class _Window:
    """How the kernel slides, by axis."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    apart: tuple[int, ...]  #: steps from element to element of the input, zeros between
    dilation: tuple[int, ...]

    @classmethod
    def of(cls, op: Op, rank: int) -> _Window:
        ones = (1,) * rank
        return cls(
            tuple(ints(op["window_strides"])) or ones,
            tuple((int(a), int(b)) for a, b in op["padding"]) or ((0, 0),) * rank,
            tuple(ints(op["lhs_dilation"])) or ones,
            tuple(ints(op["rhs_dilation"])) or ones,
        )


def _grouped(x: T, weight: T, window: _Window, features: int, batches: int) -> T:
    """With the batch in groups, each of which has its own filters (what a gradient of a grouped convolution is)."""
    if batches == 1:
        return _slid(x, weight, window, features)
    n, c = x.shape[:2]
    beside = x.reshape(batches, n // batches, c, *x.shape[2:]).transpose(0, 1).reshape(-1, batches * c, *x.shape[2:])
    return _slid(beside, weight, window, batches)


def _slid(x: T, weight: T, window: _Window, groups: int) -> T:
    rank = x.ndim - 2
    if any(step > 1 for step in window.apart):
        return _transposed(x, weight, window, groups)
    even = all(before == after >= 0 for before, after in window.padding)
    if not even:
        x = padded(x, [(0, 0, 0)] * 2 + [(before, after, 0) for before, after in window.padding], 0)
    padding = [before if even else 0 for before, _ in window.padding]
    return _CONV[rank](x, weight, None, window.strides, padding, window.dilation, groups)


def _transposed(x: T, weight: T, window: _Window, groups: int) -> T:
    """With zeros between the elements of the input: the transposed convolution with the kernel turned around."""
    rank = x.ndim - 2
    out, into = weight.shape[:2]
    turned = weight.reshape(groups, out // groups, into, *weight.shape[2:]).transpose(1, 2)
    turned = turned.reshape(groups * into, out // groups, *weight.shape[2:])
    axes = [at for at in range(2, weight.ndim) if weight.shape[at] > 1]
    turned = torch.flip(turned, axes) if axes else turned
    reaches = [d * (k - 1) for k, d in zip(weight.shape[2:], window.dilation, strict=True)]
    cuts = [(reach - a, reach - b) for reach, (a, b) in zip(reaches, window.padding, strict=True)]
    # A tail of zeros beyond what the kernel reaches is what torch calls output padding.
    tails = [a - b for a, b in cuts]
    fits = all(
        a >= 0 and 0 <= tail < max(s, d)
        for (a, _), tail, s, d in zip(cuts, tails, window.apart, window.dilation, strict=True)
    )
    run = _TRANSPOSED[rank]
    if fits:
        found = run(x, turned, None, window.apart, [a for a, _ in cuts], tails, groups, window.dilation)
    else:
        found = run(x, turned, None, window.apart, 0, 0, groups, window.dilation)
        found = padded(found, [(0, 0, 0)] * 2 + [(-a, -b, 0) for a, b in cuts], 0)
    if any(step > 1 for step in window.strides):
        found = cut(found, [slice(None)] * 2 + [slice(None, None, step) for step in window.strides])
    return found
