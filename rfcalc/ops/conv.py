"""Convolution and transposed convolution in any number of dimensions."""

from __future__ import annotations

from rfcalc.ops.common import per_axis, times
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Group, Reduce, Reshape, Step, Transposed, Window


@rule("aten.convolution", "aten._convolution", "aten.convolution_overrideable", "aten.cudnn_convolution")
def convolution(call: Call) -> Effect:
    """Convolution, transposed convolution: out x kernel x in/groups multiply-adds (transposed: by its input's size)."""
    x: Arg = call["input"]
    weight: Arg = call["weight"]
    bias: Arg | None = call["bias"]
    spatial = weight.ndim - 2
    kernel = weight.shape[2:]
    stride = per_axis(call["stride"], spatial)
    padding = per_axis(call["padding"], spatial)
    dilation = per_axis(call["dilation"], spatial)
    groups: int = call["groups"]
    transposed: bool = call["transposed"]
    out = call.out.shape

    step = Transposed if transposed else Window
    steps: list[Step] = [Group(1, groups, out[1])]
    for axis in range(spatial):
        steps.append(step(axis + 2, kernel[axis], stride[axis], dilation[axis], padding[axis], out[axis + 2]))
    reads: list[ArgRead] = [(x, tuple(steps)), _weight(weight, transposed, groups)]
    if bias is not None:
        reads.append((bias, (Reshape(bias.shape, (1, *bias.shape, *(1,) * spatial)),)))

    counted = x.shape if transposed else out
    positions = (*counted[2:], counted[1])
    taps = (*kernel, weight.shape[1])
    formula = f"({times(positions)}) x ({times(taps)})"
    return Effect(
        "conv_transpose" if transposed else "conv",
        reads,
        macs=counted[0] * numel(positions) * numel(taps),
        flops={} if bias is None else {"bias": numel(out)},
        formula=formula if counted[0] == 1 else f"{counted[0]} x {formula}",
        attrs={
            "kernel": list(kernel),
            "stride": list(stride),
            "padding": list(padding),
            "dilation": list(dilation),
            "groups": groups,
            "in_channels": x.shape[1],
            "out_channels": out[1],
        },
        inexact=_dynamic(weight, transposed, padding),
    )


def _weight(weight: Arg, transposed: bool, groups: int) -> ArgRead:
    """How a weight that was computed from data is read: by output channel (transposed and grouped: all of it)."""
    ones = (1,) * weight.ndim
    if transposed and groups > 1:
        return weight, (Reduce(tuple(range(weight.ndim))),)
    channel = 1 if transposed else 0
    kept = tuple(weight.shape[axis] if axis == channel else 1 for axis in range(weight.ndim))
    others = tuple(axis for axis in range(weight.ndim) if axis != channel)
    return weight, (Reduce(others), Reshape(kept, (1, weight.shape[channel], *ones[2:])))


def _dynamic(weight: Arg, transposed: bool, padding: tuple[int, ...]) -> str:
    if weight.reads_data and (transposed or any(padding)):
        return "the kernel is computed from data; every unit is taken to read all of its filter"
    return ""
