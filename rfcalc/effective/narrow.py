"""On the way back from one unit most of a gradient is 0: convolutions are differentiated where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rfcalc.tracing.modes import DispatchMode

_BACKWARD: Any = torch.ops.aten.convolution_backward.default


class Narrow(DispatchMode):  # type: ignore[no-untyped-call]
    """Takes the gradient of a convolution's input from the box of its output's gradient that is not 0.

    The sums are those of the whole gradient without products of 0, so where the gradient is 0 or not stays as it is.
    Gradients of weights, and of transposed convolutions, are left to torch.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is _BACKWARD and list(args[10]) == [True, False, False] and not args[7] and args[0].ndim > 2:
            narrowed = _input_gradient(*args)
            if narrowed is not None:
                return narrowed, None, None
        return func(*args, **(kwargs or {}))


def _input_gradient(
    coming: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    sizes: Any,
    strides: Sequence[int],
    padding: Sequence[int],
    dilations: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    mask: Sequence[bool],
) -> torch.Tensor | None:
    """The gradient of a convolution's input; None where the box is all of it, or a number is not finite."""
    box = _box(coming)
    axes = range(2, coming.ndim)
    if box is None or all(box[axis - 2] == (0, coming.shape[axis] - 1) for axis in axes):
        return None
    found = torch.zeros_like(x)
    part, into, seen = coming, found, []
    for at, (axis, (first, last)) in enumerate(zip(axes, box, strict=True)):
        stride, pad = _of(strides, at), _of(padding, at)
        reach = (weight.shape[axis] - 1) * _of(dilations, at) + 1
        begin, length = first * stride - pad, (last - first) * stride + reach
        low, high = max(0, begin), min(x.shape[axis], begin + length)
        part = part.narrow(axis, first, last - first + 1)
        into = into.narrow(axis, low, max(0, high - low))
        seen.append((axis, length, low - begin, max(0, high - low)))
    shape = [*x.shape[:2], *(length for _, length, _, _ in seen)]
    still = [0] * len(seen)
    given = torch.ops.aten.convolution_backward(
        *(part.contiguous(), x.new_empty(shape), weight, sizes),
        *(list(strides), still, list(dilations), transposed, still, groups, list(mask)),
    )[0]
    for axis, _, begin, length in seen:
        given = given.narrow(axis, begin, length)
    into.copy_(given)
    return found


def _of(values: Sequence[int], at: int) -> int:
    """A setting of one axis; one may stand for all."""
    return values[at] if len(values) > 1 else values[0]


def _box(values: torch.Tensor) -> list[tuple[int, int]] | None:
    """First and last place along each axis after the first two that is not 0; None where all is 0, or some is NaN."""
    size = values.abs()
    for axis in (0, 1):
        size = size.amax(axis, keepdim=True)
    if bool(size.isnan().any()):
        return None
    found = []
    for axis in range(2, values.ndim):
        others = [other for other in range(values.ndim) if other != axis]
        places = size.amax(others).nonzero().flatten().tolist()
        if not places:
            return None
        found.append((places[0], places[-1]))
    return found
