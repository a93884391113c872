"""Pooling: windows, adaptive windows, the whole axis, and unpooling."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil, floor, gcd

from rfcalc.ops.common import per_axis
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Reduce, Reshape, Spans, Step, Steps, Window


def dimensions(op: str) -> int:
    """How many axes an op works on, by its name.

    >>> dimensions("aten.max_pool2d_with_indices")
    2
    """
    found = re.search(r"([123])d", op)
    if found is None:
        raise ValueError(f"{op} does not name its dimensions")
    return int(found[1])


@rule(
    "aten.max_pool1d",
    "aten.max_pool2d",
    "aten.max_pool3d",
    "aten.max_pool1d_with_indices",
    "aten.max_pool2d_with_indices",
    "aten.max_pool3d_with_indices",
    "aten.mkldnn_max_pool2d",
    "aten.mkldnn_max_pool3d",
    "aten.avg_pool1d",
    "aten.avg_pool2d",
    "aten.avg_pool3d",
)
def window_pool(call: Call) -> Effect:
    """Max or average pooling: reads its window (indices too), one operation for each element of the window."""
    x: Arg = call["self"]
    spatial = dimensions(call.op)
    kernel = per_axis(call["kernel_size"], spatial)
    stride = per_axis(call["stride"] or kernel, spatial)
    padding = per_axis(call.get("padding", 0), spatial)
    dilation = per_axis(call.get("dilation", 1), spatial)
    out = call.out.shape
    first = x.ndim - spatial
    steps = tuple(
        Window(first + k, kernel[k], stride[k], dilation[k], padding[k], out[first + k]) for k in range(spatial)
    )
    attrs = {
        "kernel": list(kernel),
        "stride": list(stride),
        "padding": list(padding),
        "ceil_mode": bool(call["ceil_mode"]),
    }
    if "max" in call.op:
        attrs["dilation"] = list(dilation)
    else:
        attrs["count_include_pad"] = call.get("count_include_pad", True)
        if call["divisor_override"] is not None:
            attrs["divisor"] = call["divisor_override"]
    return Effect("pool", [(x, steps)], flops={"pooling": numel(out) * numel(kernel)}, attrs=attrs)


@rule(
    "aten.adaptive_avg_pool1d",
    "aten.adaptive_avg_pool2d",
    "aten.adaptive_avg_pool3d",
    "aten._adaptive_avg_pool2d",
    "aten._adaptive_avg_pool3d",
    "aten.mkldnn_adaptive_avg_pool2d",
    "aten.adaptive_max_pool1d",
    "aten.adaptive_max_pool2d",
    "aten.adaptive_max_pool3d",
)
def adaptive_pool(call: Call) -> Effect:
    """Adaptive pooling: position i reads floor(i*in/out) to ceil((i+1)*in/out)-1, one operation an element read."""
    x: Arg = call["self"]
    spatial = dimensions(call.op)
    out = call.out.shape
    axes = range(x.ndim - spatial, x.ndim)
    operations = numel(out[: x.ndim - spatial])
    steps: list[Step] = []
    for axis in axes:
        first, last = _adaptive_windows(x.shape[axis], out[axis])
        operations *= sum(b - a + 1 for a, b in zip(first, last, strict=True))
        steps += _adaptive_steps(axis, x.shape[axis], first, last)
    whole = tuple(axis for axis in axes if out[axis] == 1)
    if whole:
        steps.append(Reduce(whole))
    attrs = {"output_size": [out[axis] for axis in axes], "global": all(out[axis] == 1 for axis in axes)}
    return Effect("pool", [(x, tuple(steps))], flops={"pooling": operations}, attrs=attrs)


def _adaptive_windows(size: int, out: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (
        tuple(i * size // out for i in range(out)),
        tuple(-(-(i + 1) * size // out) - 1 for i in range(out)),
    )


def _adaptive_steps(axis: int, size: int, first: tuple[int, ...], last: tuple[int, ...]) -> Steps:
    out = len(first)
    if out in (1, size):
        return ()
    if size % out == 0:
        return (Window(axis, size // out, size // out, 1, 0, out),)
    period = out // gcd(size, out)
    return (Spans(axis, first, last, period, size // gcd(size, out), first[:period], last[:period]),)


@rule("aten.fractional_max_pool2d", "aten.fractional_max_pool3d")
def fractional_max_pool(call: Call) -> Effect:
    """Fractional max pooling: reads all windows that random samples can choose, one operation a window element."""
    x: Arg = call["self"]
    samples: Arg = call["random_samples"]
    spatial = dimensions(call.op)
    kernel = per_axis(call["kernel_size"], spatial)
    out = call.out.shape
    start = x.ndim - spatial
    steps = tuple(_fractional(start + k, x.shape[start + k], kernel[k], out[start + k]) for k in range(spatial))
    planes = (*samples.shape[:2], 1)
    reads: list[ArgRead] = [
        (x, steps),
        (samples, (Reduce((2,)), Reshape(planes, (*out[:start], *(1,) * spatial)))),
    ]
    return Effect(
        "pool",
        reads,
        flops={"pooling": numel(out) * numel(kernel)},
        attrs={"kernel": list(kernel), "output_size": list(out[start:])},
        inexact="random samples place the windows",
    )


def _fractional(axis: int, size: int, kernel: int, out: int) -> Spans:
    """Window i starts at floor((i + s)*a) - floor(s*a) for a random s in [0, 1): at floor(i*a) or ceil(i*a)."""
    if out == 1:
        return Spans(axis, (size - kernel,), (size - 1,))
    step = Fraction(size - kernel, out - 1)
    first = tuple(floor(i * step) for i in range(out))
    last = tuple(ceil(i * step) + kernel - 1 for i in range(out))
    period, shift = step.denominator, step.numerator
    return Spans(axis, first, last, period, shift, first[:period], last[:period])


@rule("aten.max_unpool2d", "aten.max_unpool3d")
def max_unpool(call: Call) -> Effect:
    """Max unpooling: every position may receive any element of its channel, as the indices say; no arithmetic."""
    x: Arg = call["self"]
    indices: Arg = call["indices"]
    spatial = dimensions(call.op)
    whole = Reduce(tuple(range(x.ndim - spatial, x.ndim)))
    return Effect(
        "upsample",
        [(x, (whole,)), (indices, (whole,))],
        attrs={"output_size": list(call.out.shape[x.ndim - spatial :])},
        inexact="data-dependent positions",
    )


@rule("torchvision.roi_align", "torchvision.roi_pool")
def roi_pool(call: Call) -> Effect:
    """Pooling of regions of interest: bins may lie anywhere; 7 operations a bilinear sample, 1 a pooled element."""
    x: Arg = call["input"]
    rois: Arg = call["rois"]
    ratio = call.get("sampling_ratio", 0)
    out = call.out.shape
    # The samples a bin takes follow the size of its region unless sampling_ratio fixes them.
    samples = numel(out) * ratio * ratio if ratio > 0 else numel(out)
    align = "align" in call.op
    return Effect(
        "pool",
        [(x, (Reduce((0, 2, 3)),)), _by_roi(rois)],
        flops={"interpolation": 7 * samples, "pooling": samples} if align else {"pooling": samples},
        attrs=_roi_attrs(call),
        inexact="data-dependent positions",
        notes=() if ratio > 0 else ("counted with one sample a bin; the number depends on the size of each region",),
    )


@rule("torchvision.ps_roi_align", "torchvision.ps_roi_pool")
def position_sensitive_roi_pool(call: Call) -> Effect:
    """Position-sensitive pooling of regions: each bin has channels of its own; costs as roi_align and roi_pool."""
    x: Arg = call["input"]
    rois: Arg = call["rois"]
    ratio = call.get("sampling_ratio", 0)
    _, channels, height, width = call.out.shape
    split = (x.shape[0], channels, height, width, *x.shape[2:])
    kept = (1, channels, height, width, 1, 1)
    steps: Steps = (Reshape(x.shape, split), Reduce((0, 4, 5)), Reshape(kept, kept[:4]))
    samples = numel(call.out.shape) * (ratio * ratio if ratio > 0 else 1)
    align = "align" in call.op
    reads: list[ArgRead] = [(x, steps), _by_roi(rois)]
    return Effect(
        "pool",
        [reads, []],
        each=True,
        flops={"interpolation": 7 * samples, "pooling": samples} if align else {"pooling": samples},
        attrs=_roi_attrs(call),
        inexact="data-dependent positions",
        notes=() if ratio > 0 else ("counted with one sample a bin; the number depends on the size of each region",),
    )


def _by_roi(rois: Arg) -> ArgRead:
    return rois, (Reduce((1,)), Reshape((rois.shape[0], 1), (rois.shape[0], 1, 1, 1)))


def _roi_attrs(call: Call) -> dict[str, object]:
    return {
        "output_size": [call["pooled_height"], call["pooled_width"]],
        "spatial_scale": call["spatial_scale"],
        "sampling_ratio": call.get("sampling_ratio", 0),
    }
