"""Tensors without storage, made so that no mode gets to see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import TypeAlias

import torch

Shape: TypeAlias = Sequence[int]


def empty(shape: Shape, dtype: torch.dtype) -> torch.Tensor:
    """A contiguous tensor without storage, which no mode gets to see being made."""
    with torch._C._DisableTorchDispatch():
        return torch.empty(shape, dtype=dtype, device="meta")


def like(x: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor | None:
    """A tensor with the shape of ``x`` and its axes in the same order; None where elements share a place."""
    dtype = dtype or x.dtype
    if x.is_contiguous():
        return empty(x.shape, dtype)
    strides = _packed(x)
    if strides is None:
        return None
    with torch._C._DisableTorchDispatch():
        return torch.empty_strided(x.shape, strides, dtype=dtype, device="meta")


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
