"""Convolutions, and what they share with pooling: padding on either side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.onnx.rules import Op, ints, rule
from rfcalc.sources.onnx.rules.movement import padded

T = torch.Tensor

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


@dataclass(frozen=True)
class Window:
    """A sliding window: kernel, strides, dilations, and the padding before and after, by spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def even(self) -> bool:
        """Whether there is as much padding before as after."""
        return self.before == self.after

    def around(self, x: T, number: float = 0) -> T:
        """The tensor with the padding around its last axes."""
        rest = x.ndim - len(self.kernel)
        return padded(x, [0] * rest + list(self.before), [0] * rest + list(self.after), "constant", number)


def window_of(op: Op, kernel: Sequence[int], extents: Sequence[int]) -> Window:
    """The window that an op's attributes describe."""
    rank = len(kernel)
    strides = tuple(op.get("strides") or [1] * rank)
    dilations = tuple(op.get("dilations") or [1] * rank)
    pads = list(op.get("pads") or [0] * 2 * rank)
    auto = op.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        reaches = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
        totals = [
            max(0, (-(-n // s) - 1) * s + reach - n) for n, s, reach in zip(extents, strides, reaches, strict=True)
        ]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = small + large if auto == "SAME_UPPER" else large + small
    elif auto == "VALID":
        pads = [0] * 2 * rank
    return Window(tuple(kernel), strides, dilations, tuple(pads[:rank]), tuple(pads[rank:]))


@rule("Conv")
def conv(op: Op, x: T, weight: T, bias: T | None = None) -> T:
    """A convolution over any number of axes."""
    rank = x.ndim - 2
    window = window_of(op, op.get("kernel_shape") or weight.shape[2:], x.shape[2:])
    if rank not in _CONV:
        raise ValueError(f"a convolution over {rank} axes; torch has them over 1 to 3")
    padding: Any = window.before
    if not window.even or min(window.before) < 0:
        x, padding = window.around(x), 0
    return _CONV[rank](x, weight, bias, window.strides, padding, window.dilations, op.get("group", 1))


@rule("ConvTranspose")
def conv_transpose(op: Op, x: T, weight: T, bias: T | None = None) -> T:
    """A transposed convolution; what is over at the ends is cut, where a size is asked for, to that size."""
    rank = x.ndim - 2
    if rank not in _TRANSPOSED:
        raise ValueError(f"a transposed convolution over {rank} axes; torch has them over 1 to 3")
    kernel = tuple(op.get("kernel_shape") or weight.shape[2:])
    strides = tuple(op.get("strides") or [1] * rank)
    dilations = tuple(op.get("dilations") or [1] * rank)
    more = list(op.get("output_padding") or [0] * rank)
    pads = list(op.get("pads") or [0] * 2 * rank)
    full = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(x.shape[2:], strides, dilations, kernel, strict=True)]
    auto = op.get("auto_pad", "NOTSET")
    wanted = op.get("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    if wanted is not None:
        lacks = [w - f for f, w in zip(full, wanted[-rank:], strict=True)]
        more = [max(m, lack) for m, lack in zip(more, lacks, strict=True)]
        over = [max(0, m - lack) for m, lack in zip(more, lacks, strict=True)]
        small, large = [o // 2 for o in over], [o - o // 2 for o in over]
        pads = large + small if auto == "SAME_LOWER" else small + large
    elif auto == "VALID":
        pads = [0] * 2 * rank
    before, after = pads[:rank], pads[rank:]
    group = op.get("group", 1)
    run = _TRANSPOSED[rank]
    fits = all(m < max(s, d) for m, s, d in zip(more, strides, dilations, strict=True))
    if before == after and min(before) >= 0 and fits:
        return run(x, weight, bias, strides, tuple(before), tuple(more), group, dilations)
    found = run(x, weight, bias, strides, 0, 0, group, dilations)
    spare = [m - a for m, a in zip(more, after, strict=True)]
    return padded(found, [0, 0, *(-b for b in before)], [0, 0, *spare])


@rule("DeformConv")
def deform_conv(op: Op, x: T, weight: T, offset: T, bias: T | None = None, mask: T | None = None) -> T:
    """A convolution whose taps are moved by offsets that are data."""
    from torchvision.ops import deform_conv2d

    window = window_of(op, weight.shape[2:], x.shape[2:])
    found: T = deform_conv2d(
        window.around(x), offset, weight, bias, window.strides, (0, 0), window.dilations, mask=mask
    )
    return found


@rule("Col2Im")
def col2im(op: Op, x: T, extents: T, block: T) -> T:
    """Columns added up where their blocks lie."""
    sizes, kernel = ints(extents), ints(block)
    window = window_of(op, kernel, sizes)
    if len(sizes) == 2 and window.even:
        return functional.fold(x, tuple(sizes), tuple(kernel), window.dilations, window.before, window.strides)
    return _added(x, sizes, window)


def _added(x: T, sizes: Sequence[int], window: Window) -> T:
    """The same over any number of axes: for each element of a column its place, and the sum over those of a place."""
    rank = len(sizes)
    wide = [s + a + b for s, a, b in zip(sizes, window.before, window.after, strict=True)]
    places = torch.zeros([1] * 2 * rank, dtype=torch.int64)  # the taps of the axes, then their steps
    for at in range(rank):
        reach = window.dilations[at] * (window.kernel[at] - 1) + 1
        taps = torch.arange(window.kernel[at]) * window.dilations[at]
        steps = torch.arange(0, wide[at] - reach + 1, window.strides[at])
        view = [1] * 2 * rank
        view[at], view[rank + at] = len(taps), len(steps)
        places = places * wide[at] + (taps[:, None] + steps).reshape(view)
    channels = x.shape[1] // prod(window.kernel)
    taken = x.reshape(x.shape[0], channels, -1)
    out = torch.zeros(x.shape[0], channels, prod(wide), dtype=x.dtype, device=x.device)
    flat = places.flatten().to(x.device).expand(taken.shape)
    summed = out.scatter_add(2, flat, taken).reshape(x.shape[0], channels, *wide)
    return padded(summed, [0, 0, *(-b for b in window.before)], [0, 0, *(-a for a in window.after)])


@rule("CausalConvWithState")
def causal_conv(op: Op, x: T, weight: T, bias: T | None = None, past: T | None = None) -> tuple[T, T]:
    """A depthwise convolution over what came before, with the last steps of the part before as state."""
    keep = weight.shape[-1] - 1
    past = torch.zeros(*x.shape[:2], keep, dtype=x.dtype, device=x.device) if past is None else past
    whole = torch.cat([past.to(x.dtype), x], -1)
    found = functional.conv1d(whole, weight, bias, groups=x.shape[1])
    if op.get("activation", "none") in ("silu", "swish"):
        found = functional.silu(found)
    return found, whole.narrow(-1, whole.shape[-1] - keep, keep)
