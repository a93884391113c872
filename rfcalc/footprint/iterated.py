"""How torch's kernels of pointwise ops lay out what they give: the rules of its TensorIterator.

The order in which axes lie follows from the strides of all operands; functions that say it for fake tensors take short
cuts, or see ties otherwise. Source: `TensorIteratorBase::build` of torch's ATen (fast setup, reorder_dimensions,
allocate_or_resize_outputs), as of torch 2.11 to 2.15.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

Strides = tuple[int, ...]


def strides(shape: Sequence[int], operands: Sequence[torch.Tensor], *, number: bool) -> Strides:
    """The strides of a result of this shape. ``number``: one operand is a number, which has no axes."""
    if not number and all(one.shape == torch.Size(shape) for one in operands):
        if all(one.is_contiguous() for one in operands):
            return _made(shape, torch.contiguous_format)
        if len(shape) == 4 and all(one.is_contiguous(memory_format=torch.channels_last) for one in operands):
            return _made(shape, torch.channels_last)
        first = operands[0].stride()
        if all(one.stride() == first for one in operands) and is_dense(operands[0]):
            return first
    rows = [_aligned(shape, one) for one in operands]
    order = list(range(len(shape) - 1, -1, -1))  # the axis that lies closest first
    for start in range(1, len(order)):
        moved = start
        for at in range(start - 1, -1, -1):
            sign = _compared(shape, rows, order[at], order[moved])
            if sign > 0:
                order[at], order[moved] = order[moved], order[at]
                moved = at
            elif sign < 0:
                break
    if order == list(range(len(shape) - 1, -1, -1)):
        return _made(shape, torch.contiguous_format)
    found, stride = [0] * len(shape), 1
    for axis in order:
        found[axis] = stride
        stride *= shape[axis]
    return tuple(found)


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor's elements lie side by side, in whatever order of axes, and none lies where another does."""
    expected = 1
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if extent > 1:
            if stride != expected:
                return False
            expected *= extent
    return True


def _made(shape: Sequence[int], form: torch.memory_format) -> Strides:
    with torch._C._DisableTorchDispatch():
        return torch.empty(tuple(shape), device="meta", memory_format=form).stride()


def _aligned(shape: Sequence[int], operand: torch.Tensor) -> list[int]:
    """Strides along the axes of the result; 0 along those over which an operand is spread."""
    ahead = len(shape) - operand.ndim
    own = zip(operand.shape, operand.stride(), shape[ahead:], strict=True)
    return [0] * ahead + [0 if extent == 1 and wide != 1 else stride for extent, stride, wide in own]


def _compared(shape: Sequence[int], rows: Sequence[Sequence[int]], one: int, other: int) -> int:
    """Positive where the second axis lies closer than the first, negative where it does not, 0 where nothing tells."""
    for row in rows:
        if not row[one] or not row[other]:
            continue
        if row[one] != row[other]:
            return row[one] - row[other]
        if shape[one] > shape[other]:
            return 1
    return 0


__all__ = ["is_dense", "strides"]
