"""Windows: convolution, transposed convolution, pooling, interpolation, padding, unfold and fold."""

from __future__ import annotations

from random import Random

import torch
from torch import nn
from torch.nn import functional as F

from tests.randomnets.kinds import Fn, axis_of, divisors, kind, one_each

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_PADDING = ("reflect", "replicate", "circular")


def _spatial(x: torch.Tensor) -> int:
    """Number of axes after batch and channels, 0 where no spatial op applies."""
    return x.ndim - 2 if 3 <= x.ndim <= 5 else 0


def _groups(rng: Random, channels: int) -> tuple[int, int]:
    """A number of groups and of output channels."""
    groups = rng.choice(divisors(channels)) if rng.random() < 0.4 else 1
    return groups, groups * rng.randint(1, max(1, 4 // groups))


def _tokens(x: torch.Tensor) -> torch.Tensor:
    """The last axis to the place of the channels, as channels-last models do before a convolution."""
    return x.movedim(-1, 1)


def _conv(rng: Random, x: torch.Tensor, mode: str = "zeros") -> nn.Module | None:
    n = _spatial(x)
    if not n:
        return None
    groups, out = _groups(rng, x.shape[1])
    kernel, dilation, stride = (one_each(rng, n, k) for k in ([1, 2, 3, 3, 4], [1, 1, 2, 3], [1, 1, 2, 3]))
    padding = [rng.randint(0, min(3, size - 1)) for size in x.shape[2:]]
    return _CONV[n - 1](x.shape[1], out, kernel, stride, padding, dilation, groups, rng.random() < 0.5, mode)


@kind("conv")
def conv(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return _conv(rng, x)


@kind("conv")
def conv_padding_mode(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return _conv(rng, x, rng.choice(_PADDING))


@kind("conv")
def conv_same(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    if not n:
        return None
    groups, out = _groups(rng, x.shape[1])
    kernel, dilation = one_each(rng, n, [1, 2, 3, 4]), one_each(rng, n, [1, 2])
    padding = rng.choice(["same", "same", "valid"])
    mode = rng.choice(["zeros", "zeros", "reflect", "circular", "replicate"])
    return _CONV[n - 1](x.shape[1], out, kernel, 1, padding, dilation, groups, padding_mode=mode)


@kind("conv_transpose")
def conv_transpose(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    if not n:
        return None
    groups, out = _groups(rng, x.shape[1])
    kernel, stride, dilation = one_each(rng, n, [1, 2, 3, 4]), one_each(rng, n, [1, 2, 3]), one_each(rng, n, [1, 1, 2])
    extra = [rng.randint(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)]
    return _TRANSPOSED[n - 1](
        x.shape[1], out, kernel, stride, one_each(rng, n, [0, 0, 1, 2]), extra, groups, True, dilation
    )


# --- pooling ----------------------------------------------------------------------------------------------------------


def _window(rng: Random, n: int) -> tuple[list[int], list[int], list[int]]:
    kernel = one_each(rng, n, [1, 2, 3, 4])
    return kernel, one_each(rng, n, [1, 2, 3]), [rng.randint(0, k // 2) for k in kernel]


@kind("pool", hides=True)
def max_pool(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    if not n:
        return None
    kernel, stride, padding = _window(rng, n)
    dilation = one_each(rng, n, [1, 1, 2])
    return (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[n - 1](
        kernel, stride, padding, dilation, ceil_mode=rng.random() < 0.5
    )


@kind("pool")
def avg_pool(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    if not n:
        return None
    kernel, stride, padding = _window(rng, n)
    return (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[n - 1](
        kernel, stride, padding, rng.random() < 0.5, rng.random() < 0.5
    )


@kind("pool")
def adaptive_avg_pool(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    size = [rng.choice([None, rng.randint(1, 7)]) for _ in range(n)]
    return (
        (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[n - 1](size if n > 1 else rng.randint(1, 7))
        if n
        else None
    )


@kind("pool", hides=True)
def adaptive_max_pool(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    size = [rng.randint(1, 7) for _ in range(n)]
    return (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)[n - 1](size) if n else None


@kind("pool")
def global_mean(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axes = list(range(2, x.ndim)) or [1]
    rng.shuffle(axes)
    return Fn(torch.mean, axes[: rng.randint(1, len(axes))], keepdim=rng.random() < 0.7)


@kind("pool", hides=True)
def global_max(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axes = list(range(1, x.ndim))
    rng.shuffle(axes)
    return Fn(torch.amax, axes[: rng.randint(1, len(axes))], keepdim=rng.random() < 0.7)


@kind("pool", hides=True)
def lp_pool(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    if not n:
        return None
    kernel = rng.randint(1, 3)
    return (nn.LPPool1d, nn.LPPool2d, nn.LPPool3d)[n - 1](2, kernel, rng.randint(1, 3), rng.random() < 0.5)


@kind("pool", hides=True, inexact=True)
def fractional_max_pool(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    if n < 2 or min(x.shape[2:]) < 3:
        return None
    kernel = rng.randint(1, 2)
    size = [rng.randint(1, extent - kernel) for extent in x.shape[2:]]
    return (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)[n - 2](kernel, size)


# --- interpolation ----------------------------------------------------------------------------------------------------


def _as_float32(x: torch.Tensor, **settings: object) -> torch.Tensor:
    """Nearest neighbours are rounded in single precision there."""
    return F.interpolate(x.float(), **settings).double()  # type: ignore[arg-type]


def _target(rng: Random, x: torch.Tensor, n: int) -> dict[str, object]:
    """A size, or a factor with or without recomputing it."""
    if rng.random() < 0.5:
        return {"size": [max(1, rng.choice([extent, 2 * extent, rng.randint(1, 13)])) for extent in x.shape[2:]]}
    factors = [rng.choice([0.5, 2.0, 2.0, 1.5, 1.0, 3.0, 0.4, 1.3]) for _ in range(n)]
    recompute = {"recompute_scale_factor": True} if rng.random() < 0.3 else {}
    return {"scale_factor": factors if rng.random() < 0.5 else factors[0], **recompute}


@kind("resample")
def nearest(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    if not n:
        return None
    mode = rng.choice(["nearest", "nearest-exact"])
    return Fn(rng.choice([F.interpolate, _as_float32]), **_target(rng, x, n), mode=mode)


@kind("resample", misleads=True, rounded=True)
def linear(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    if not n:
        return None
    mode = ("linear", "bilinear", "trilinear")[n - 1]
    return Fn(F.interpolate, **_target(rng, x, n), mode=mode, align_corners=rng.random() < 0.5)


@kind("resample", misleads=True, rounded=True)
def bicubic(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if _spatial(x) != 2:
        return None
    return Fn(F.interpolate, **_target(rng, x, 2), mode="bicubic", align_corners=rng.random() < 0.5)


@kind("resample", misleads=True, rounded=True)
def antialiased(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if _spatial(x) != 2:
        return None
    mode, target = rng.choice(["bilinear", "bicubic"]), _target(rng, x, 2)
    if F.interpolate(x, **target).shape[-1] == 1:
        return None  # torch 2.14 on a CPU then gives every row the content of the first, whatever the mode
    return Fn(F.interpolate, **target, mode=mode, align_corners=rng.random() < 0.5, antialias=True)


@kind("resample")
def pixel_shuffle(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return nn.PixelShuffle(2) if x.ndim >= 3 and x.shape[-3] % 4 == 0 else None


@kind("resample")
def pixel_unshuffle(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if x.ndim < 3:
        return None
    factors = [k for k in (2, 3) if x.shape[-1] % k == 0 and x.shape[-2] % k == 0]
    return nn.PixelUnshuffle(rng.choice(factors)) if factors else None


@kind("resample")
def channel_shuffle(rng: Random, x: torch.Tensor) -> nn.Module | None:
    groups = divisors(x.shape[1], 2) if x.ndim >= 3 else []
    return nn.ChannelShuffle(rng.choice(groups)) if groups else None


# --- unfold and fold --------------------------------------------------------------------------------------------------


@kind("unfold")
def unfold(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if x.ndim != 4:
        return None
    kernel, stride = one_each(rng, 2, [1, 2, 3]), one_each(rng, 2, [1, 2, 3])
    return nn.Unfold(kernel, one_each(rng, 2, [1, 2]), one_each(rng, 2, [0, 1]), stride)


def _fold_again(x: torch.Tensor, kernel: list[int], padding: list[int], stride: list[int]) -> torch.Tensor:
    columns = F.unfold(x, kernel, 1, padding, stride)
    return F.fold(columns.flip(1), list(x.shape[2:]), kernel, 1, padding, stride)


@kind("unfold")
def fold(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if x.ndim != 4:
        return None
    return Fn(_fold_again, one_each(rng, 2, [1, 2, 3]), one_each(rng, 2, [0, 1]), one_each(rng, 2, [1, 2, 3]))


def _windows(x: torch.Tensor, axis: int, size: int, step: int) -> torch.Tensor:
    return x.unfold(axis, size, step).mean(-1)


@kind("unfold")
def tensor_unfold(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = axis_of(rng, x, 2)
    return None if axis is None else Fn(_windows, axis, rng.randint(1, x.shape[axis]), rng.randint(1, 3))


# --- padding ----------------------------------------------------------------------------------------------------------


@kind("pad", zeros=True)
def pad_constant(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axes = rng.randint(1, x.ndim)
    pads = [rng.randint(-min(2, (x.shape[-1 - at // 2] - 1) // 2), 2) for at in range(2 * axes)]
    return Fn(F.pad, pads, value=rng.choice([0.0, 1.5]))


@kind("pad")
def pad_mode(rng: Random, x: torch.Tensor) -> nn.Module | None:
    n = _spatial(x)
    if not n:
        return None
    mode = rng.choice(_PADDING)
    least = 0 if rng.random() < 0.7 else -1
    pads = [rng.randint(least, min(3, x.shape[-1 - at // 2] - 1)) for at in range(2 * n)]
    return Fn(F.pad, pads, mode=mode)
