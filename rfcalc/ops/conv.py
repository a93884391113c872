"""Convolution and transposed convolution in any number of dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from rfcalc.ops._taps import Slide, masked_reads
from rfcalc.ops.common import per_axis, times
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Permute, Reduce, Reshape, Spans, Step, Window

_DYNAMIC = "the kernel is computed from data; every unit is taken to read all of its filter"


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

    slide = Slide(transposed, stride, padding, dilation, groups, x.shape[1], out)
    steps = slide.steps(kernel)
    masked = masked_reads(call, slide, weight)
    inside = _inside(x, steps) if weight.reads_data else []
    reads: list[ArgRead] = [(x, ways) for ways in ([steps] if masked is None else masked)]
    reads.append(_weight(weight, inside, transposed, groups))
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
        inexact=_DYNAMIC if weight.reads_data and not inside else "",
        masked=masked is not None,
    )


def _weight(weight: Arg, inside: list[Spans], transposed: bool, groups: int) -> ArgRead:
    """How a weight that was computed from data is read: by output channel (transposed and grouped: all of it).

    ``inside`` are the taps of the kernel that lie inside the input, by axis, empty where all of them are taken.
    """
    if transposed and groups > 1:
        return weight, (Reduce(tuple(range(weight.ndim))),)
    channel = 1 if transposed else 0
    others: tuple[Step, ...] = (Reduce(tuple(axis for axis in range(weight.ndim) if axis != channel)),)
    if inside:
        others = (Reduce((1,)), *inside)
    return weight, (*others, *(() if transposed else (Permute((1, 0, *range(2, weight.ndim))),)))


def _inside(x: Arg, steps: Sequence[Step]) -> list[Spans]:
    """The taps of the kernel that lie inside the input, by axis; none where a position has none."""
    found = [_taps(step.axis, x.shape[step.axis], step) for step in steps if isinstance(step, Window)]
    return [] if None in found else [one for one in found if one is not None]


def _taps(axis: int, size: int, window: Window) -> Spans | None:
    """The taps that read inside an axis of that size; None where a position has none."""
    first = [window.stride * u - window.before for u in range(window.out)]
    spans = Spans(
        axis,
        tuple(max(0, -(at // window.dilation)) for at in first),
        tuple(min(window.kernel - 1, (size - 1 - at) // window.dilation) for at in first),
    )
    return spans if all(a <= b for a, b in zip(spans.first, spans.last, strict=True)) else None
