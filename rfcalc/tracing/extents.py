"""Results with other extents than their arguments, as `rfcalc.tracing.shapes` gives them: windows, sizes, repetitions.

Each takes the arguments of an op whose first one is contiguous and floating-point, and gives None where it is not
certain of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rfcalc.tracing.storageless import Shape, empty


def _each(value: Any, count: int) -> Sequence[int] | None:
    """A setting of a convolution or of pooling for every axis."""
    if len(value) == count:
        return value  # type: ignore[no-any-return]
    return tuple(value) * count if len(value) == 1 else None


def _slid(extents: Shape, kernel: Shape, stride: Any, padding: Any, dilation: Any) -> tuple[int, ...] | None:
    """How many positions a window has along each axis; None where it has none, or a setting is odd."""
    steps, pads, spreads = (_each(value, len(extents)) for value in (stride, padding, dilation))
    if steps is None or pads is None or spreads is None:
        return None
    out = []
    for extent, size, step, pad, spread in zip(extents, kernel, steps, pads, spreads, strict=True):
        room = extent + 2 * pad - spread * (size - 1) - 1
        if room < 0 or step < 1 or pad < 0 or spread < 1 or size < 1:
            return None
        out.append(room // step + 1)
    return tuple(out)


def _spread(
    extents: Shape, kernel: Shape, stride: Any, padding: Any, dilation: Any, more: Any
) -> tuple[int, ...] | None:
    """How many positions a transposed convolution has along each axis; None where a setting is odd."""
    steps, pads, spreads, rests = (_each(value, len(extents)) for value in (stride, padding, dilation, more))
    if steps is None or pads is None or spreads is None or rests is None:
        return None
    out = []
    for extent, size, step, pad, spread, rest in zip(extents, kernel, steps, pads, spreads, rests, strict=True):
        if extent < 1 or size < 1 or step < 1 or pad < 0 or spread < 1 or not 0 <= rest < max(step, spread):
            return None
        out.append((extent - 1) * step - 2 * pad + spread * (size - 1) + rest + 1)
    return tuple(out) if min(out) > 0 else None


def convolution(args: Sequence[Any]) -> torch.Tensor | None:
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args
    if weight.ndim < 3 or x.ndim != weight.ndim or not weight.is_contiguous() or not weight.is_meta:
        return None
    if weight.dtype != x.dtype or groups < 1 or weight.shape[0] % groups:
        return None
    if transposed:
        read, channels = weight.shape[0], weight.shape[1] * groups
        out = _spread(x.shape[2:], weight.shape[2:], stride, padding, dilation, output_padding)
    else:
        read, channels = weight.shape[1] * groups, weight.shape[0]
        out = _slid(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    if read != x.shape[1] or (bias is not None and (tuple(bias.shape) != (channels,) or bias.dtype != x.dtype)):
        return None
    if out is None or min(x.shape[0], x.shape[1], channels) < 1:
        return None
    return empty((x.shape[0], channels, *out), x.dtype)


def _wide(padding: int, kernel: int) -> bool:
    """Whether there is more padding than torch lets a pooling window have."""
    return 2 * padding > kernel


def _pooled(rank: int, args: Sequence[Any]) -> tuple[int, ...] | None:
    """The extents of a pooled image: without a batch axis left out, ceil_mode, or padding that torch refuses."""
    x = args[0]
    if x.ndim != rank + 2 or min(x.shape) < 1:
        return None
    kernel = _each(args[1], rank)
    stride = args[2] if len(args) > 2 and args[2] else args[1]
    padding = args[3] if len(args) > 3 else (0,)
    halves = _each(padding, rank)
    if kernel is None or halves is None or any(map(_wide, halves, kernel)):
        return None
    return _slid(x.shape[2:], kernel, stride, padding, (1,))


def max_pool(rank: int, args: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor] | None:
    plain = (len(args) < 5 or all(spread == 1 for spread in args[4])) and (len(args) < 6 or not args[5])
    out = _pooled(rank, args) if plain else None
    if out is None:
        return None
    shape = (*args[0].shape[:2], *out)
    return empty(shape, args[0].dtype), empty(shape, torch.int64)


def avg_pool(rank: int, args: Sequence[Any]) -> torch.Tensor | None:
    out = None if len(args) > 4 and args[4] else _pooled(rank, args)
    return None if out is None else empty((*args[0].shape[:2], *out), args[0].dtype)


def adaptive(args: Sequence[Any]) -> torch.Tensor | None:
    """Pooling, or interpolation, to a size."""
    x, size = args[0], args[1]
    if size is None or len(size) != x.ndim - 2 or min(*size, *x.shape) < 1:
        return None
    return empty((*x.shape[:2], *size), x.dtype)


def adaptive_max(args: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The largest numbers, and where they are."""
    values = adaptive(args)
    return None if values is None else (values, empty(values.shape, torch.int64))


def padded(args: Sequence[Any]) -> torch.Tensor | None:
    """Padding by what is inside: less than there is."""
    x, widths = args
    rank = len(widths) // 2
    if x.ndim != rank + 2 or min(x.shape) < 1 or min(widths) < 0:
        return None
    extents = list(x.shape)
    for at in range(rank):
        before, after = widths[2 * at : 2 * at + 2]
        if max(before, after) >= x.shape[-1 - at]:
            return None
        extents[-1 - at] += before + after
    return empty(extents, x.dtype)


def shuffled(args: Sequence[Any]) -> torch.Tensor | None:
    """Channels as pixels."""
    x, factor = args
    if x.ndim != 4 or factor < 1 or x.shape[1] % factor**2 or min(x.shape) < 1:
        return None
    count, channels, height, width = x.shape
    return empty((count, channels // factor**2, height * factor, width * factor), x.dtype)


def repeated(args: Sequence[Any]) -> torch.Tensor | None:
    """A tensor several times along its axes."""
    x, times = args
    if len(times) < x.ndim or min(times, default=0) < 1:
        return None
    extents = [1] * (len(times) - x.ndim) + list(x.shape)
    return empty([own * many for own, many in zip(extents, times, strict=True)], x.dtype)


def stacked(args: Sequence[Any]) -> torch.Tensor | None:
    """Tensors of one shape along a new axis."""
    parts, axis = args[0], args[1] if len(args) > 1 else 0
    first = parts[0] if parts else None
    if first is None or not -first.ndim - 1 <= axis <= first.ndim:
        return None
    if any(p.dtype != first.dtype or p.shape != first.shape or not p.is_contiguous() or not p.is_meta for p in parts):
        return None
    axis %= first.ndim + 1
    return empty((*first.shape[:axis], len(parts), *first.shape[axis:]), first.dtype)


def gathered(args: Sequence[Any]) -> torch.Tensor | None:
    """Elements that indices name along one axis."""
    x, axis, index = args[:3]
    if len(args) > 3 or x.ndim != index.ndim or not -x.ndim <= axis < x.ndim:
        return None
    if index.dtype != torch.int64 or index.device != x.device:
        return None
    axis %= x.ndim
    fits = all(own <= its for at, (own, its) in enumerate(zip(index.shape, x.shape, strict=True)) if at != axis)
    return empty(index.shape, x.dtype) if fits and index.is_contiguous() else None


def reduced(args: Sequence[Any]) -> torch.Tensor | None:
    """Reduction over axes: without some named, over all."""
    x, axes, keep = args[0], args[1] if len(args) > 1 else None, bool(args[2]) if len(args) > 2 else False
    if len(args) == 1:
        return empty((), x.dtype) if x.numel() else None
    axes = [axes] if isinstance(axes, int) else axes
    if not axes or any(not -x.ndim <= axis < x.ndim for axis in axes):
        return None
    gone = {axis % x.ndim for axis in axes}
    if len(gone) < len(axes) or not x.numel():
        return None
    extents = [1 if axis in gone else extent for axis, extent in enumerate(x.shape) if keep or axis not in gone]
    return empty(extents, x.dtype)


def norm(args: Sequence[Any]) -> torch.Tensor | None:
    """A norm over axes."""
    return reduced((args[0], *args[2:])) if len(args) in (3, 4) and type(args[1]) in (int, float) else None
