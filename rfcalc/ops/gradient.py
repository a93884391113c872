"""The ops that differentiation runs, for models that take gradients themselves: forces of a potential, guidance.

What goes back through a convolution reads by the turned around steps of the forward op. Elementwise counts are those of
the derivative's definition, with what the forward pass kept (docs/flops.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rfcalc.graph import TensorInfo
from rfcalc.ops._indexing import whole
from rfcalc.ops._linear import channel, formula, reshape
from rfcalc.ops._transposed import transposed
from rfcalc.ops.common import drop_axes, pointwise
from rfcalc.ops.conv import convolution
from rfcalc.ops.pointwise import aten, joins
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Group, Reduce, Steps, Take

_ACTIVATIONS = {
    1: "threshold_backward",
    2: "hardtanh_backward leaky_relu_backward hardshrink_backward softshrink_backward rrelu_with_noise_backward",
    3: "sigmoid_backward tanh_backward hardsigmoid_backward",
    4: "elu_backward",
    5: "hardswish_backward softplus_backward log_sigmoid_backward",
    9: "silu_backward",
    11: "gelu_backward",
    14: "mish_backward",
}
_COST = {op: count for count, names in _ACTIVATIONS.items() for op in aten(names)}


@rule(*_COST)
def activation_backward(call: Call) -> Effect:
    """Gradient of an activation: one position of the gradient and of what was kept; its derivative, and a product."""
    rank = len(call.out.shape)
    kept = [arg for arg in call.tensors() if arg.numel or not numel(call.out.shape)]  # a GPU leaves buffers empty
    each = 18 if call["approximate"] == "tanh" else _COST[call.op]
    flops = {"activation": each * numel(call.out.shape)}
    return Effect("merge" if joins(*kept) else "activation", [pointwise(arg, rank) for arg in kept], flops=flops)


@rule("aten.glu_backward")
def glu_backward(call: Call) -> Effect:
    """Gradient of a gated linear unit: one position of the gradient and of both halves; 9 operations for each of it."""
    grad: Arg = call["grad_output"]
    x: Arg = call["self"]
    axis = call.get("dim", -1) % x.ndim
    half = grad.shape[axis]
    first, second = tuple(range(half)), tuple(range(half, 2 * half))
    reads: list[ArgRead] = [
        (grad, (Take(axis, first + first),)),
        (x, (Take(axis, second + second),)),
        (x, (Take(axis, (-1,) * half + first),)),  # the first half's own gradient needs only the gate
    ]
    return Effect("merge" if joins(grad, x) else "activation", reads, flops={"activation": 9 * grad.numel})


@rule("aten._prelu_kernel_backward")
def prelu_backward(call: Call) -> Effect:
    """Gradients of PReLU and its slopes: one position of the gradient and the input; 2 operations for each of both."""
    rank = len(call.out.shape)
    grad: Arg = call["grad_output"]
    x: Arg = call["self"]
    reads = [[pointwise(arg, rank) for arg in (grad, x, call["weight"])], [pointwise(arg, rank) for arg in (grad, x)]]
    flops = {"activation": 4 * numel(call.out.shape)}
    return Effect("merge" if joins(grad, x) else "activation", reads, each=True, flops=flops)


@rule(*aten("logit_backward native_dropout_backward _masked_scale"))
def product_backward(call: Call) -> Effect:
    """Gradient of logit (3 operations an element) or of dropout (2): one position of each argument."""
    operands = tuple(call.tensors())
    flops = {"elementwise": (3 if "logit" in call.op else 2) * numel(call.out.shape)}
    reads = [pointwise(arg, len(call.out.shape)) for arg in operands]
    return Effect("merge" if joins(*operands) else "elementwise", reads, flops=flops)


@rule(*aten("_softmax_backward_data _log_softmax_backward_data"))
def softmax_backward(call: Call) -> Effect:
    """Gradient of softmax: its position and all along the axis; 4 operations an element."""
    grad: Arg = call["grad_output"]
    output: Arg = call["output"]
    axis = call["dim"] % max(1, grad.ndim)
    along: Steps = (Reduce((axis,)),) if grad.ndim else ()
    reads: list[ArgRead] = [(grad, ()), (grad, along), (output, ())]
    if "log_softmax" not in call.op:
        reads.append((output, along))
    kind = "merge" if joins(grad, output) else "activation"
    return Effect(kind, reads, flops={"softmax": 4 * grad.numel}, attrs={"dim": axis})


# --- products ---------------------------------------------------------------------------------------------------------


@rule("aten.convolution_backward", "aten.convolution_backward_overrideable")
def convolution_backward(call: Call) -> Effect:
    """Gradients of a convolution: as many multiply-adds for that of the input, and of the kernel, as forward."""
    grad: Arg = call["grad_output"]
    x: Arg = call["input"]
    weight: Arg = call["weight"]
    forward = convolution(Call("aten.convolution", {**call.args, "bias": None}, [TensorInfo(grad.shape)]))
    steps = next(steps for arg, steps in forward.reads_of(0) if arg is x)
    wanted = [bool(flag) for flag in call["output_mask"]]
    rows: list[list[ArgRead]] = []
    if wanted[0]:
        back = transposed(x.shape, steps, grad.shape)
        rows.append([*((grad, way) for way in back or ()), whole(weight, x.ndim)])
    if wanted[1]:
        rows.append([whole(grad, weight.ndim), whole(x, weight.ndim)])
    if wanted[2]:
        rows.append([_over_channels(grad)])
    products = wanted[0] + wanted[1]
    names = [name for name, flag in zip(("input", "weight", "bias"), wanted, strict=True) if flag]
    loose = wanted[1] or (wanted[0] and weight.reads_data)
    return Effect(
        "conv" if call["transposed"] else "conv_transpose",
        rows,
        each=True,
        macs=products * forward.macs,
        flops={"bias": grad.numel} if wanted[2] else {},
        formula=("", forward.formula, f"2 x {forward.formula}")[products],
        attrs={**forward.attrs, "gradients": names},
        inexact="the gradient of a kernel, and through a computed one, is taken to read all" if loose else "",
    )


def _over_channels(grad: Arg) -> ArgRead:
    """The sum of a gradient over all axes but the channels'."""
    others = tuple(axis for axis in range(grad.ndim) if axis != 1)
    return grad, (Reduce(others), *drop_axes(grad.shape, others))


@rule(
    *aten(
        """_scaled_dot_product_flash_attention_backward _scaled_dot_product_flash_attention_for_cpu_backward
        _scaled_dot_product_efficient_attention_backward _scaled_dot_product_cudnn_attention_backward
        _scaled_dot_product_fused_attention_overrideable_backward"""
    )
)
def attention_backward(call: Call) -> Effect:
    """Gradients of attention: five products of scores, L x S x (3E + 2Ev) multiply-adds a head."""
    grad: Arg = next(arg for arg in call.tensors())
    query, key, value = (call[name] for name in ("query", "key", "value"))
    lead, length, seen = query.shape[:-2], query.shape[-2], key.shape[-2]
    scores = numel(lead) * length * seen
    sequence = (Reduce((query.ndim - 2,)),)
    features = (Reduce((query.ndim - 1,)),)
    everything = (Reduce((query.ndim - 2, query.ndim - 1)),)
    mine: list[ArgRead] = [(arg, features) for arg in (grad, call["out"], query)]
    whole_rows: list[ArgRead] = [(arg, everything) for arg in (grad, call["out"], query, key, value)]
    reads: list[list[ArgRead]] = [
        [*mine, (key, everything), (value, everything), (query, ())],
        [*whole_rows, (key, ()), (query, sequence)],
        [*whole_rows, (value, ())],
    ]
    reads += [[whole(arg, len(out.shape)) for arg in (grad, query, key, value)] for out in call.outs[3:]]
    width = 3 * query.shape[-1] + 2 * value.shape[-1]
    alike = key.shape[:-2] == lead
    masked = call["is_causal"] or any(isinstance(call[name], Arg) for name in ("attn_mask", "attn_bias"))
    return Effect(
        "attention",
        reads if alike else [[whole(arg, len(out.shape)) for arg in call.tensors()] for out in call.outs],
        each=True,
        macs=scores * width,
        flops={"softmax": 5 * scores, "elementwise": scores},
        formula=formula((numel(lead), length, seen), width),
        inexact="gradients of attention are taken to read all positions" if masked or not alike else "",
    )


@rule("aten._cdist_backward")
def cdist_backward(call: Call) -> Effect:
    """Gradient of distances: a row's distances, the row, all others' feature; 3 operations a pair and feature."""
    grad: Arg = call["grad_output"] or call["grad"]  # before torch 2.14 it had the other name
    x1: Arg = call["x1"]
    x2: Arg = call["x2"]
    rank = len(call.out.shape)
    reads: list[ArgRead] = [pointwise(x1, rank)]
    for arg in (grad, call["cdist"]):
        reads.append((arg, (*pointwise(arg, rank)[1], Reduce((rank - 1,)))))
    reads.append((x2, (*pointwise(x2, rank)[1], Reduce((rank - 2,)))))
    return Effect("matmul", reads, flops={"other": grad.numel * (3 * x1.shape[-1] + 1)})


# --- norms ------------------------------------------------------------------------------------------------------------


def _norm(call: Call, rows: Sequence[Any], counts: Sequence[int], mask: Sequence[bool], size: int) -> Effect:
    """The gradients that are wanted, of input, weight and bias, each with its reads and operations an element."""
    wanted = [at for at, flag in enumerate(mask) if flag]
    found = [rows[at] for at in wanted]
    found += [[whole(arg, len(out.shape)) for arg in call.tensors()] for out in call.outs[len(found) :]]
    flops = sum(counts[at] for at in wanted) * size
    return Effect("norm", found, each=True, flops={"norm": flops} if flops else {})


@rule(*aten("native_layer_norm_backward _fused_rms_norm_backward"))
def layer_norm_backward(call: Call) -> Effect:
    """Gradients of layer norm: a position and its normalized axes; 10 operations an element, rms norm 7."""
    grad: Arg = call["grad_out"]
    x: Arg = call["input"]
    weight: Arg | None = call["weight"]
    rms = "rms" in call.op
    axes = tuple(range(x.ndim - len(call["normalized_shape"]), x.ndim))
    lead = tuple(range(axes[0]))
    kept = [pointwise(arg, x.ndim) for arg in (call["mean"], call["rstd"]) if isinstance(arg, Arg)]
    along: Steps = (Reduce(axes),)
    own = [read for arg in (grad, x) for read in ((arg, ()), (arg, along))] + kept
    if weight is not None:
        own += [pointwise(weight, x.ndim), (weight, (*pointwise(weight, x.ndim)[1], Reduce(axes)))]
    summed: Steps = (Reduce(lead), *drop_axes(x.shape, lead)) if lead else ()
    kept_whole = [whole(arg, len(axes)) for arg, _ in kept]
    rows = [own, [(grad, summed), (x, summed), *kept_whole], [(grad, summed)]]
    counts = ((6 if rms else 9) + (weight is not None), 2 if weight is not None else 0, 1)
    return _norm(call, rows, counts, call["output_mask"], x.numel)


@rule("aten.native_group_norm_backward")
def group_norm_backward(call: Call) -> Effect:
    """Gradients of group norm: a position and its whole group; 10 operations an element, 2 a weight's, 1 a bias's."""
    grad: Arg = call["grad_out"]
    x: Arg = call["input"]
    weight: Arg | None = call["weight"]
    groups = call["group"]
    spatial = tuple(range(2, x.ndim))
    group: Steps = (*((Reduce(spatial),) if spatial else ()), Group(1, groups, x.shape[1]))
    own: list[ArgRead] = [read for arg in (grad, x) for read in ((arg, ()), (arg, group))]
    share = Take(1, tuple(c // (x.shape[1] // groups) for c in range(x.shape[1])))
    ones = (1,) * len(spatial)
    for arg in (call["mean"], call["rstd"]):
        own.append(
            (arg, (*reshape(arg.shape, (x.shape[0], groups)), share, *reshape(x.shape[:2], (*x.shape[:2], *ones))))
        )
    if weight is not None:
        grouped = (*channel(weight, x.ndim)[1], Group(1, groups, x.shape[1]))
        own += [channel(weight, x.ndim), (weight, grouped)]
    by_group = [(arg, (Reduce((0,)), share, *drop_axes((1, x.shape[1]), (0,)))) for arg in (call["mean"], call["rstd"])]
    if any(arg.shape != (x.shape[0], groups) for arg, _ in by_group):
        by_group = [whole(arg, 1) for arg, _ in by_group]
    rows = [own, [_over_channels(grad), _over_channels(x), *by_group], [_over_channels(grad)]]
    return _norm(call, rows, (9 + (weight is not None), 2, 1), call["output_mask"], x.numel)


@rule(*aten("native_batch_norm_backward cudnn_batch_norm_backward miopen_batch_norm_backward batch_norm_backward"))
def batch_norm_backward(call: Call) -> Effect:
    """Gradients of batch norm: in training a channel's all, 10 operations an element; otherwise one position, 1."""
    grad: Arg = call.get("grad_out", call["grad_output"])
    x: Arg = call["input"]
    weight: Arg | None = call["weight"]
    train = bool(call.get("train", call.get("update", True)))
    names = ("save_mean", "save_invstd", "save_var") if train else ("running_mean", "running_var")
    statistics = [call[name] for name in names if isinstance(call[name], Arg) and call[name].numel]
    scale = [] if weight is None else [channel(weight, x.ndim)]
    if train:
        over: Steps = (Reduce(tuple(axis for axis in range(x.ndim) if axis != 1)),)
        own = [read for arg in (grad, x) for read in ((arg, ()), (arg, over))]
        own += [channel(arg, x.ndim) for arg in statistics] + scale
    else:
        own = [(grad, ()), *(channel(arg, x.ndim) for arg in statistics[1:]), *scale]
    rows = [own, [_over_channels(grad), _over_channels(x), *((arg, ()) for arg in statistics)], [_over_channels(grad)]]
    counts = (9 + (weight is not None), 2, 1) if train else (1, 4, 1)
    return _norm(call, rows, counts, call.get("output_mask", (True, True, True)), x.numel)


@rule("aten._weight_norm_interface_backward")
def weight_norm_backward(call: Call) -> Effect:
    """Gradients of weight norm: a position and its row's all; 7 operations an element of the weight."""
    grad: Arg = call["grad_w"]
    v: Arg = call["saved_v"]
    axes = tuple(axis for axis in range(v.ndim) if axis != call["dim"] % v.ndim)
    along: Steps = (Reduce(axes),)
    kept = [pointwise(arg, v.ndim) for arg in (call["saved_g"], call["saved_norms"])]
    own = [read for arg in (grad, v) for read in ((arg, ()), (arg, along))] + kept
    length = [(grad, along), (v, along), kept[1]]
    return Effect("norm", [own, length], each=True, flops={"norm": 7 * v.numel})
