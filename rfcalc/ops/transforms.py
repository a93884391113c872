"""Padding, rearrangements (shuffle, unfold, fold, roll, flip), Fourier transforms, sampling at computed positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rfcalc.ops._masks import finite_of
from rfcalc.ops.common import per_axis, times
from rfcalc.ops.registry import SIZED_BY_DATA, Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import (
    Group,
    Pad,
    Permute,
    Place,
    Reduce,
    Reshape,
    Slice,
    Spans,
    Step,
    Steps,
    Take,
    Transposed,
    Window,
)

_DATA_DEPENDENT = "data-dependent positions"


# --- padding ----------------------------------------------------------------------------------------------------------


@rule("aten.constant_pad_nd")
def constant_pad(call: Call) -> Effect:
    """Padding with a constant, or cropping where it is negative: reads what it copies; no arithmetic."""
    x: Arg = call["self"]
    value = call.get("value", 0)
    widths = _widths(call["pad"], x.ndim)
    return Effect(
        "pad",
        [(x, _pad_steps(x, widths, "zero"))],
        attrs={"padding": [list(pair) for pair in widths], "value": value},
        blocked=_padded(x.blocked, x.shape, widths, value <= -88),
        finite=finite_of(value, call.out.dtype),
        zero=_padded(x.zero, x.shape, widths, value == 0),
    )


@rule(
    "aten.reflection_pad1d",
    "aten.reflection_pad2d",
    "aten.reflection_pad3d",
    "aten.replication_pad1d",
    "aten.replication_pad2d",
    "aten.replication_pad3d",
    "aten._pad_circular",
)
def copying_pad(call: Call) -> Effect:
    """Reflecting, replicating and circular padding: reads what it copies; no arithmetic."""
    x: Arg = call["self"]
    mode = next(mode for name, mode in _PAD_MODES.items() if name in call.op)
    widths = _widths(call["padding"] or call["pad"], x.ndim)
    return Effect(
        "pad", [(x, _pad_steps(x, widths, mode))], attrs={"padding": [list(pair) for pair in widths], "mode": mode}
    )


_PAD_MODES = {"reflect": "reflect", "replic": "replicate", "circular": "circular", "constant": "zero"}


@rule("aten.pad")
def pad(call: Call) -> Effect:
    """Padding by mode, where a tracer meets it whole: reads what it copies; no arithmetic."""
    named = {**call.args, "padding": call["pad"]}
    if call.get("mode", "constant") == "constant":
        return constant_pad(Call("aten.constant_pad_nd", named, call.outs))
    return copying_pad(Call(f"aten.{call['mode']}_pad", named, call.outs))


def _widths(flat: Sequence[int], rank: int) -> list[tuple[int, int]]:
    """(before, after) of every axis, from torch's list, which starts with the last axis."""
    pairs = [(flat[k], flat[k + 1]) for k in range(0, len(flat), 2)]
    return [(0, 0)] * (rank - len(pairs)) + pairs[::-1]


def _pad_steps(x: Arg, widths: Sequence[tuple[int, int]], mode: str) -> Steps:
    steps: list[Step] = []
    for axis, (before, after) in enumerate(widths):
        size = x.shape[axis]
        if mode == "reflect" and before * after < 0:  # cropped at one end, but what was there is still reflected
            wide = size + max(before, after)
            steps.append(Pad(axis, size, max(before, 0), max(after, 0), mode))
            steps.append(Slice(axis, max(-before, 0), 1, wide + min(before, after)))
        elif before or after:
            steps.append(Pad(axis, size, before, after, mode))
    return tuple(steps)


def _padded(
    mask: np.ndarray | None, shape: tuple[int, ...], widths: Sequence[tuple[int, int]], fill: bool
) -> np.ndarray | None:
    if mask is None:
        return None
    kept = tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(shape, widths, strict=True))
    full = np.broadcast_to(mask, shape)[kept]
    return np.pad(full, [(max(0, a), max(0, b)) for a, b in widths], constant_values=fill)


# --- rearrangements ---------------------------------------------------------------------------------------------------


def _moved(
    call: Call, x: Arg, steps: Steps, attrs: Mapping[str, Any], move: Callable[[np.ndarray], np.ndarray]
) -> Effect:
    """An effect that only moves elements; ``move`` does the same to an array."""
    masks = [None if mask is None else move(np.broadcast_to(mask, x.shape)) for mask in (x.blocked, x.zero)]
    return Effect("reshape", [(x, steps)], attrs=attrs, blocked=masks[0], zero=masks[1])


@rule("aten.pixel_shuffle")
def pixel_shuffle(call: Call) -> Effect:
    """Pixel shuffle: moves elements from channels to positions; no arithmetic."""
    x: Arg = call["self"]
    r: int = call["upscale_factor"]
    *lead, channels, height, width = x.shape
    k = len(lead)
    split = (*lead, channels // (r * r), r, r, height, width)
    order = (*range(k + 1), k + 3, k + 1, k + 4, k + 2)
    return _rearranged(x, split, order, call.out.shape, {"factor": r})


@rule("aten.pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Effect:
    """The inverse of pixel shuffle: moves elements from positions to channels; no arithmetic."""
    x: Arg = call["self"]
    r: int = call["downscale_factor"]
    *lead, channels, height, width = x.shape
    k = len(lead)
    split = (*lead, channels, height // r, r, width // r, r)
    order = (*range(k + 1), k + 2, k + 4, k + 1, k + 3)
    return _rearranged(x, split, order, call.out.shape, {"factor": r})


@rule("aten.channel_shuffle", "aten.native_channel_shuffle")
def channel_shuffle(call: Call) -> Effect:
    """Channel shuffle: moves channels; no arithmetic."""
    x: Arg = call["self"]
    groups: int = call["groups"]
    batch, channels, *rest = x.shape
    split = (batch, groups, channels // groups, *rest)
    order = (0, 2, 1, *range(3, len(split)))
    return _rearranged(x, split, order, call.out.shape, {"groups": groups})


def _rearranged(
    x: Arg, split: Sequence[int], order: Sequence[int], out: tuple[int, ...], attrs: Mapping[str, Any]
) -> Effect:
    between = tuple(split[axis] for axis in order)
    steps: Steps = (Reshape(x.shape, tuple(split)), Permute(tuple(order)), Reshape(between, out))
    return Effect("reshape", [(x, steps)], attrs=attrs)


@rule("aten.unfold", "aten.unfold_copy")
def unfold(call: Call) -> Effect:
    """Sliding windows along one axis as a new last axis: moves elements; no arithmetic."""
    x: Arg = call["self"]
    size, step = call["size"], call["step"]
    attrs = {"size": size, "step": step}
    if not x.ndim:
        return Effect("reshape", [(x, (Reshape((), (1,)), Take(0, (0,) * size)))], attrs=attrs)
    axis = call["dimension"] % x.ndim
    out = call.out.shape
    indices = tuple(u * step + j for u in range(out[axis]) for j in range(size))
    taken = (*x.shape[:axis], len(indices), *x.shape[axis + 1 :])
    split = (*x.shape[:axis], out[axis], size, *x.shape[axis + 1 :])
    order = (*range(axis + 1), *range(axis + 2, len(split)), axis + 1)
    return Effect("reshape", [(x, (Take(axis, indices), Reshape(taken, split), Permute(order)))], attrs=attrs)


@rule("aten.im2col")
def im2col(call: Call) -> Effect:
    """Unfold (im2col): every window becomes a column; moves elements; no arithmetic."""
    x: Arg = call["self"]
    kernel, stride, padding, dilation = _window_settings(call)
    *lead, channels, height, width = x.shape
    k = len(lead)
    steps: list[Step] = []
    places = []
    for axis, size in enumerate((height, width)):
        places.append((size + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1)
        if padding[axis]:
            steps.append(Pad(k + 1 + axis, size, padding[axis], padding[axis]))
        at = [stride[axis] * u + dilation[axis] * j for j in range(kernel[axis]) for u in range(places[axis])]
        steps.append(Take(k + 1 + axis, tuple(at)))
    taken = (*lead, channels, kernel[0] * places[0], kernel[1] * places[1])
    split = (*lead, channels, kernel[0], places[0], kernel[1], places[1])
    order = (*range(k + 1), k + 1, k + 3, k + 2, k + 4)
    steps += [Reshape(taken, split), Permute(order), Reshape(tuple(split[axis] for axis in order), call.out.shape)]
    return Effect("reshape", [(x, tuple(steps))], attrs=_window_attrs(call))


@rule("aten.col2im")
def col2im(call: Call) -> Effect:
    """Fold (col2im): sums the columns' elements that land on a position, one addition for each beyond the first."""
    x: Arg = call["self"]
    kernel, stride, padding, dilation = _window_settings(call)
    *lead, channels, height, width = call.out.shape
    k = len(lead)
    sizes = height, width
    places = [(sizes[at] + 2 * padding[at] - dilation[at] * (kernel[at] - 1) - 1) // stride[at] + 1 for at in range(2)]
    split = (*lead, channels, *kernel, *places)
    order = (*range(k + 1), k + 3, k + 1, k + 4, k + 2)
    ordered: Steps = (Reshape(x.shape, split), Permute(order))
    rows, columns = (_layers(kernel[at], stride[at], padding[at], dilation[at], sizes[at]) for at in range(2))
    reads: list[ArgRead] = []
    for row in rows:
        for column in columns:
            cut = (*row.taps(k + 2, kernel[0]), *column.taps(k + 4, kernel[1]))
            before = (*lead, channels, places[0], row.width, places[1], column.width)
            after = (*lead, channels, places[0] * row.width, places[1] * column.width)
            landed = (row.landed(k + 1), column.landed(k + 2))
            reads.append((x, (*ordered, *cut, Reshape(before, after), *landed)))
    summands = np.outer(
        *(_summands(sizes[at], kernel[at], places[at], stride[at], padding[at], dilation[at]) for at in range(2))
    )
    additions = numel(lead) * channels * int(np.maximum(summands - 1, 0).sum())
    return Effect("reshape", reads, flops={"elementwise": additions}, attrs=_window_attrs(call))


class _Layer(NamedTuple):
    """Taps of a fold that lie side by side, those of one window next to those of the window before: where windows
    overlap, several layers of them."""

    first: int
    taken: int
    width: int  #: places from one window to the next; taps that are missing hold nothing
    stride: int
    before: int
    out: int

    def taps(self, axis: int, kernel: int) -> Steps:
        """From all taps along an axis to those of the layer."""
        steps: Steps = () if self.taken == kernel else (Slice(axis, self.first, 1, self.taken),)
        return steps if self.taken == self.width else (*steps, Place(axis, self.taken, 0, self.width))

    def landed(self, axis: int) -> Step:
        """From taps of all windows in a row to positions."""
        if self.stride == 1:
            return Window(axis, 1, 1, 1, -self.before, self.out)
        return Transposed(axis, 1, self.stride, 1, self.before, self.out)


def _layers(kernel: int, stride: int, padding: int, dilation: int, size: int) -> list[_Layer]:
    if dilation == 1 or kernel == 1:
        starts = range(0, kernel, stride)
        return [_Layer(tap, min(stride, kernel - tap), stride, 1, padding - tap, size) for tap in starts]
    return [_Layer(tap, 1, 1, stride, padding - dilation * tap, size) for tap in range(kernel)]


def _summands(size: int, kernel: int, count: int, stride: int, padding: int, dilation: int) -> np.ndarray:
    """How many taps of windows land on each position."""
    place = stride * np.arange(count)[:, None] + dilation * np.arange(kernel) - padding
    return np.bincount(place[(place >= 0) & (place < size)], minlength=size)


def _window_settings(call: Call) -> list[tuple[int, ...]]:
    return [per_axis(call[name], 2) for name in ("kernel_size", "stride", "padding", "dilation")]


def _window_attrs(call: Call) -> dict[str, list[int]]:
    kernel, stride, padding, dilation = (list(values) for values in _window_settings(call))
    return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


@rule("aten.roll")
def roll(call: Call) -> Effect:
    """Cyclic shift: moves elements; no arithmetic."""
    x: Arg = call["self"]
    shifts = per_axis(call["shifts"], 1)
    dims = per_axis(call.get("dims", ()), 1)
    attrs = {"shifts": list(shifts), "dims": list(dims)}
    if not dims:
        whole: Steps = (Reshape(x.shape, (x.numel,)), *_rolled(0, x.numel, sum(shifts)), Reshape((x.numel,), x.shape))
        return _moved(call, x, whole if x.numel else (), attrs, lambda mask: np.roll(mask, sum(shifts)))
    steps = [step for s, d in zip(shifts, dims, strict=True) for step in _rolled(d % x.ndim, x.shape[d], s)]
    return _moved(call, x, tuple(steps), attrs, lambda mask: np.roll(mask, tuple(shifts), tuple(dims)))


def _rolled(axis: int, size: int, shift: int) -> Steps:
    """As circular padding that is cut off at the other end: what a unit sees slides, but for the few that go round."""
    if not size or not shift % size:
        return ()
    forward = shift % size
    if 2 * forward <= size:
        return Pad(axis, size, forward, 0, "circular"), Slice(axis, 0, 1, size)
    return Pad(axis, size, 0, size - forward, "circular"), Slice(axis, size - forward, 1, size)


@rule("aten.flip")
def flip(call: Call) -> Effect:
    """Reversal along axes: moves elements; no arithmetic."""
    x: Arg = call["self"]
    dims = [d % x.ndim for d in call["dims"]]
    return _moved(call, x, _flipped(x.shape, dims), {"dims": dims}, lambda mask: np.flip(mask, tuple(dims)))


def _flipped(shape: Sequence[int], dims: Sequence[int]) -> Steps:
    return tuple(Slice(d, shape[d] - 1, -1, shape[d]) for d in dims)


@rule("aten.rot90")
def rot90(call: Call) -> Effect:
    """Rotation by quarter turns: moves elements; no arithmetic."""
    x: Arg = call["self"]
    k = call.get("k", 1) % 4
    first, second = (d % x.ndim for d in call["dims"])
    flips = [(), (second,), (first, second), (first,)][k]
    steps = _flipped(x.shape, flips)
    if k % 2:
        order = list(range(x.ndim))
        order[first], order[second] = second, first
        steps += (Permute(tuple(order)),)
    return _moved(call, x, steps, {"k": k, "dims": [first, second]}, lambda mask: np.rot90(mask, k, (first, second)))


# --- Fourier transforms -----------------------------------------------------------------------------------------------


@rule("aten._fft_c2c", "aten._fft_r2c", "aten._fft_c2r")
def fft(call: Call) -> Effect:
    """Fourier transform: reads whole axes; 5*n*ceil(log2 n) operations a line (real: half), 1 to scale a number."""
    x: Arg = call["self"]
    out = call.out.shape
    dims = [d % x.ndim for d in call["dim"]]
    operations = 0
    steps: list[Step] = []
    complex_dims = dims
    # The smaller side of a real transform is the half spectrum, on which the other axes are transformed.
    if call.op.endswith("c2c"):
        spectrum = list(out)
    else:
        real, half = (x.shape, out) if call.op.endswith("r2c") else (out, x.shape)
        last, complex_dims = dims[-1], dims[:-1]
        spectrum = list(half)
        spectrum[last] = real[last] // 2 + 1
        operations += (numel(real) // real[last] * _butterflies(real[last]) + 1) // 2
        if call.op.endswith("c2r") and x.shape[last] > spectrum[last]:
            steps.append(Slice(last, 0, 1, spectrum[last]))
    operations += sum(numel(spectrum) // spectrum[d] * _butterflies(spectrum[d]) for d in complex_dims)
    flops = {"other": operations}
    if call.get("normalization", 0):
        flops["elementwise"] = numel(out) * (1 if call.op.endswith("c2r") else 2)
    steps.append(Reduce(tuple(sorted(dims))))
    attrs = {"dims": dims, "size": [max(x.shape[d], out[d]) for d in dims]}
    return Effect("fft", [(x, tuple(steps))], flops=flops, attrs=attrs, real=True)


def _butterflies(n: int) -> int:
    return 5 * n * (n - 1).bit_length()


# --- sampling at computed positions -----------------------------------------------------------------------------------


@rule("aten.affine_grid_generator")
def affine_grid(call: Call) -> Effect:
    """Affine grid: reads a row of theta, less the columns times a coordinate of 0; 2*axes operations a number."""
    theta: Arg = call["theta"]
    out = call.out.shape
    batch, *sizes, rank = out
    reads: list[ArgRead] = []
    for column in range(rank + 1):
        steps: list[Step] = [Slice(2, column, 1, 1), Reshape((batch, rank, 1), (batch, *(1,) * rank, rank))]
        if column < rank:
            axis = rank - column  # x, the first coordinate, runs along the last axis
            size = out[axis]
            steps.append(Take(axis, tuple(-1 if 2 * i == size - 1 else 0 for i in range(size))))
        reads.append((theta, tuple(steps)))
    attrs = {"size": list(sizes), "align_corners": bool(call["align_corners"])}
    return Effect("elementwise", reads, flops={"interpolation": 2 * rank * numel(out)}, attrs=attrs)


@rule("aten.grid_sampler", "aten.grid_sampler_2d", "aten.grid_sampler_3d", "aten._grid_sampler_2d_cpu_fallback")
def grid_sampler(call: Call) -> Effect:
    """Sampling at the positions of a grid: may read the whole plane; 2*taps-1 operations an element (nearest: none)."""
    x: Arg = call["input"]
    grid: Arg = call["grid"]
    spatial = x.ndim - 2
    batch, *sizes, _ = grid.shape
    taps = (2**spatial, 1, 4**spatial)[call["interpolation_mode"]]
    at: Steps = (Reduce((grid.ndim - 1,)), Reshape((batch, *sizes, 1), (batch, 1, *sizes)))
    attrs = {
        "mode": ("bilinear", "nearest", "bicubic")[call["interpolation_mode"]],
        "padding_mode": ("zeros", "border", "reflection")[call["padding_mode"]],
        "align_corners": bool(call["align_corners"]),
        "output_size": sizes,
    }
    return Effect(
        "upsample",
        [(x, (Reduce(tuple(range(2, x.ndim))),)), (grid, at)],
        flops={"interpolation": (2 * taps - 1) * numel(call.out.shape)} if taps > 1 else {},
        attrs=attrs,
        inexact=_DATA_DEPENDENT,
    )


@rule("torchvision.deform_conv2d")
def deform_conv(call: Call) -> Effect:
    """Deformable convolution: may read the whole plane; multiply-adds as a convolution, 7 operations a sample."""
    x: Arg = call["input"]
    weight: Arg = call["weight"]
    groups, offset_groups = call["groups"], call["offset_groups"]
    out = call.out.shape
    batch, filters, *positions = out
    kernel = weight.shape[2:]
    reads: list[ArgRead] = [
        (x, (Group(1, groups, filters), Reduce((2, 3)))),
        (weight, (Reduce((1, 2, 3)), Reshape((filters, 1, 1, 1), (1, filters, 1, 1)))),
        (call["offset"], (_offsets(filters, groups, offset_groups, 2 * numel(kernel)),)),
        (call["bias"], (Reshape((filters,), (1, filters, 1, 1)),)),
    ]
    if call["use_mask"]:
        reads.append((call["mask"], (_offsets(filters, groups, offset_groups, numel(kernel)),)))
    samples = batch * x.shape[1] * numel(kernel) * numel(positions)
    formula = f"({times((*positions, filters))}) x ({times((*kernel, weight.shape[1]))})"
    return Effect(
        "conv",
        reads,
        macs=numel(out) * numel(weight.shape[1:]),
        flops={"bias": numel(out), "interpolation": (7 + bool(call["use_mask"])) * samples},
        formula=formula if batch == 1 else f"{batch} x {formula}",
        attrs={
            "kernel": list(kernel),
            "stride": [call["stride_h"], call["stride_w"]],
            "padding": [call["pad_h"], call["pad_w"]],
            "dilation": [call["dilation_h"], call["dilation_w"]],
            "groups": groups,
            "offset_groups": offset_groups,
            "in_channels": x.shape[1],
            "out_channels": filters,
        },
        inexact=_DATA_DEPENDENT,
    )


def _offsets(filters: int, groups: int, offset_groups: int, each: int) -> Spans:
    """The channels of the offsets that a filter reads: those of the offset groups its input channels belong to."""
    group = [filter_ * groups // filters for filter_ in range(filters)]
    first = tuple(g * offset_groups // groups * each for g in group)
    last = tuple(-(-(g + 1) * offset_groups // groups) * each - 1 for g in group)
    return Spans(1, first, last)


@rule("torchvision.nms")
def nms(call: Call) -> Effect:
    """Non-maximum suppression: reads all boxes and scores; 3 operations a box, 13 a pair of boxes (the worst case)."""
    boxes: Arg = call["dets"]
    count = boxes.shape[0]
    return Effect(
        "other",
        [(boxes, (Reduce((0, 1)), Reshape((1, 1), (1,)))), (call["scores"], (Reduce((0,)),))],
        flops={"other": 3 * count + 13 * (count * (count - 1) // 2)},
        attrs={"iou_threshold": call["iou_threshold"]},
        inexact=_DATA_DEPENDENT,
        notes=(SIZED_BY_DATA,),
    )
