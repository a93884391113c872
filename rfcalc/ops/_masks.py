"""What is known of single elements: those far below zero (``blocked``) and those exactly 0 (``zero``), see `Arg`.

A mask is a boolean array that broadcasts over its tensor, or None where nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np

from rfcalc import reads
from rfcalc.ops.registry import Arg, numel

Mask: TypeAlias = np.ndarray | None

#: e^-88 is below float32's smallest normal number: a softmax turns such an element into nothing.
LOWEST = -88.0

#: A number below is about as low as its type goes: what is added to it is lost in rounding, and never makes it large.
_BOTTOM = {"float16": -3e4}
_BOTTOM_OF_OTHERS = -1e30


class Finite(IntEnum):
    """What numbers block, in the order of what may be said of them: of several, the largest holds."""

    NEVER = 0  #: minus infinity alone
    LOWEST = 1  #: or numbers about as low as their type goes, which are never the largest of a row either
    LOW = 2  #: or others, which are nothing beside what a softmax keeps


def finite_of(numbers: Any, dtype: str) -> Finite:
    """Of which kind those of some numbers are that are so low that a softmax blocks them."""
    values = np.asarray(numbers, dtype=np.float64)
    low = values[(values <= LOWEST) & np.isfinite(values)]
    if not low.size:
        return Finite.NEVER
    return Finite.LOWEST if low.max() <= _BOTTOM.get(dtype, _BOTTOM_OF_OTHERS) else Finite.LOW


def everywhere(rank: int) -> np.ndarray:
    """The mask of a tensor all of whose elements are known."""
    return np.ones((1,) * rank, dtype=bool)


def known_zero(operand: Any) -> Mask:
    """Where a tensor argument, or a number, is known to be exactly 0."""
    if not isinstance(operand, Arg):
        return everywhere(0) if operand is not None and operand == 0 else None
    if operand.zero is not None:
        return operand.zero
    value = operand.value()
    if value is None and operand.anew is not None:
        return _zero_anyhow(operand.numbers(), operand.anew())
    return None if value is None else _zeros_of(value)


def _zeros_of(value: Any) -> Mask:
    """Where numbers are 0; in one element where all are, so that what is made of it stays small."""
    found = _some(value == 0)
    return everywhere(found.ndim) if found is not None and found.all() else found


def _zero_anyhow(numbers: Mask, others: Mask) -> Mask:
    """Where a constant is 0 whatever the floating-point numbers of buffers are."""
    return None if numbers is None or others is None else _some((numbers == 0) & (others == 0))


def known_true(operand: Any) -> Mask:
    """Where a boolean tensor argument is known to be true."""
    if not isinstance(operand, Arg) or operand.dtype != "bool":
        return None
    if operand.true is not None:
        return operand.true
    value = operand.value()
    return None if value is None else _some(value)


def known_blocked(operand: Any, factor: float = 1) -> Mask:
    """Where ``factor`` x a tensor argument is known to be blocked.

    A number, or a tensor of one element, moves all elements alike, which a softmax does not see: it blocks none.
    """
    if not isinstance(operand, Arg) or operand.numel == 1:
        return None
    if operand.blocked is not None:
        return operand.blocked if factor >= 1 else None
    value = operand.numbers()
    if value is None or value.dtype.kind not in "fiu" or not factor or not np.isfinite(factor):
        return None  # 0 times infinity is no number, and 0 times another is 0
    limit = np.float64(LOWEST / factor)  # not the product, which may be too large for what holds it
    low = value <= limit if factor > 0 else value >= limit
    operand.finite = max(operand.finite, finite_of(factor * value[low].astype(np.float64), operand.dtype))
    return leant_on(operand, _some(low))


def leant_on(operand: Any, mask: Mask) -> Mask:
    """A mask that follows from the numbers of an argument, which takes note if they could be a weight's."""
    if isinstance(operand, Arg) and operand.anew is not None and mask is not None and mask.any():
        operand.leant_on = True
    return mask


def union(rank: int, *masks: Mask) -> Mask:
    """Where any of the masks holds, aligned to a tensor of that rank."""
    found: Mask = None
    for mask in masks:
        if mask is not None:
            mask = _aligned(mask, rank)
            found = mask if found is None else found | mask
    return found


def common(rank: int, left: Mask, right: Mask) -> Mask:
    """Where both masks hold, aligned to a tensor of that rank."""
    return None if left is None or right is None else _some(_aligned(left, rank) & _aligned(right, rank))


def carry(mask: Mask, shape: Sequence[int], steps: reads.Steps) -> Mask:
    """The mask of a tensor of that shape after steps that only move its elements (none known after any other step)."""
    if mask is None:
        return None
    moved = _aligned(mask, len(shape))
    for step in steps:
        match step:
            case reads.Reshape(before, after):
                moved = _reshaped(moved, before, after)
            case reads.Permute(axes):
                moved = moved.transpose(axes)
            case reads.Slice(axis, start, stride, out):
                moved = _taken(moved, axis, start + stride * np.arange(out))
            case reads.Take(axis, indices):
                moved = _taken(moved, axis, np.array(indices, dtype=int))
            case reads.Place(axis, size, offset, out, stride):
                source = np.full(out, -1)
                source[offset + stride * np.arange(size)] = np.arange(size)
                moved = _taken(moved, axis, source)
            case reads.Erase(shape, box):
                moved = moved & ~_box(shape, box)
            case _:
                return None
    return _some(moved)


def _some(mask: Any) -> Mask:
    found = np.asarray(mask, dtype=bool)
    return found if found.any() else None


def _aligned(mask: np.ndarray, rank: int) -> np.ndarray:
    return mask.reshape((1,) * (rank - mask.ndim) + mask.shape)


def _taken(mask: np.ndarray, axis: int, indices: np.ndarray) -> np.ndarray:
    inside = indices >= 0
    if mask.shape[axis] == 1 and inside.all():
        return mask
    taken = np.take(mask, np.maximum(indices, 0) if mask.shape[axis] > 1 else np.zeros_like(indices), axis)
    return taken & inside.reshape([-1 if k == axis else 1 for k in range(mask.ndim)])


def _box(shape: Sequence[int], box: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    inside = everywhere(len(shape))
    for axis, size, offset, stride in box:
        row = np.zeros(shape[axis], dtype=bool)
        row[offset + stride * np.arange(size)] = True
        inside = inside & row.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return inside


def _reshaped(mask: np.ndarray, before: Sequence[int], after: Sequence[int]) -> np.ndarray:
    """Reshape, but keep extent 1 on the runs of axes over which the mask is constant: masks of attention are small."""
    if not numel(before):
        return np.zeros((1,) * len(after), dtype=bool)
    full, target = list(mask.shape), [1] * len(after)
    i = j = 0
    while i < len(before) or j < len(after):
        first, start = i, j
        left = right = 1
        while True:
            if i < len(before) and left <= right:
                left, i = left * before[i], i + 1
            elif j < len(after):
                right, j = right * after[j], j + 1
            else:
                break
            if left == right:
                break
        if any(extent > 1 for extent in mask.shape[first:i]):
            full[first:i] = before[first:i]
            target[start:j] = after[start:j]
    return np.broadcast_to(mask, full).reshape(target)
