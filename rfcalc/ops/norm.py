"""Normalisation: what the statistics read, and the position itself, which stays when whole-axis context is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rfcalc.ops._linear import channel, either, optional, reshape, trailing
from rfcalc.ops.common import align, drop_axes, positive
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Group, Reduce, Step, Steps, Window

#: Mean: 1 addition; variance: subtraction, square, addition. The root of the mean square: square, addition.
STATISTICS, MEAN_SQUARE = 4, 2


def _norm(reads: Sequence[Any], ops: int, size: int, attrs: dict[str, Any]) -> Effect:
    """``reads``: one list for each output."""
    return Effect("norm", reads, each=True, flops={"norm": ops * size}, attrs=attrs)


def _affine(*given: Arg | None) -> int:
    """One multiplication for the weight, one addition for the bias."""
    return sum(arg is not None for arg in given)


@rule("torch.layer_norm", "aten.layer_norm", "aten.native_layer_norm")
def layer_norm(call: Call) -> Effect:
    """Layer norm: reads all of the normalised axes; 4 operations an element, 2 to apply, 2 affine."""
    return _trailing_norm(call, STATISTICS + 2)


@rule("torch.rms_norm", "aten.rms_norm", "aten._fused_rms_norm")
def rms_norm(call: Call) -> Effect:
    """RMS norm: reads all of the normalised axes; 2 operations an element, 1 to apply, 1 affine."""
    return _trailing_norm(call, MEAN_SQUARE + 1)


def _trailing_norm(call: Call, ops: int) -> Effect:
    x: Arg = call["input"]
    weight: Arg | None = call["weight"]
    bias: Arg | None = call["bias"]
    shape = list(call["normalized_shape"])
    row: ArgRead = (x, (Reduce(tuple(range(x.ndim - len(shape), x.ndim))),))
    reads = [(x, ()), row, *optional([trailing(weight, x.ndim), trailing(bias, x.ndim)])]
    statistics = [[row] for _ in call.outs[1:]]
    return _norm([reads, *statistics], ops + _affine(weight, bias), x.numel, {"normalized_shape": shape})


@rule("torch.group_norm", "aten.group_norm", "aten.native_group_norm")
def group_norm(call: Call) -> Effect:
    """Group norm: reads its group of channels at every position; 4 operations an element, 2 to apply, 2 affine."""
    x: Arg = call["input"]
    weight: Arg | None = call["weight"]
    bias: Arg | None = call["bias"]
    groups: int = either(call, "num_groups", "group")
    spatial = tuple(range(2, x.ndim))
    everywhere: tuple[Step, ...] = (Reduce(spatial),) if spatial else ()
    reads = [(x, ()), (x, (*everywhere, Group(1, groups, x.shape[1])))]
    reads += [channel(arg, x.ndim) for arg in (weight, bias) if arg is not None]
    flat = reshape((x.shape[0], groups, *(1 for _ in spatial)), (x.shape[0], groups))
    statistics = [[(x, (*everywhere, Group(1, groups, groups), *flat))] for _ in call.outs[1:]]
    attrs = {"num_groups": groups, "num_channels": x.shape[1]}
    return _norm([reads, *statistics], STATISTICS + 2 + _affine(weight, bias), x.numel, attrs)


@rule("torch.local_response_norm")
def local_response_norm(call: Call) -> Effect:
    """Local response norm: reads n neighbouring channels; n + 5 operations an element."""
    x: Arg = call["input"]
    size: int = call["size"]
    over = Window(1, size, 1, 1, size // 2, x.shape[1])
    return _norm([[(x, (over,))]], size + 5, x.numel, {"size": size})


# --- batch norm and instance norm -------------------------------------------------------------------------------------


@rule("torch.instance_norm", "aten.instance_norm")
def instance_norm(call: Call) -> Effect:
    """Instance norm: reads its channel at every position; 4 operations an element, 2 to apply, 2 affine."""
    x: Arg = call["input"]
    return _channel_norm(call, bool(call["use_input_stats"]), tuple(range(2, x.ndim)), {"num_features": x.shape[1]})


@rule(
    "torch.batch_norm",
    "aten.batch_norm",
    "aten.native_batch_norm",
    "aten.cudnn_batch_norm",
    "aten.miopen_batch_norm",
    "aten._native_batch_norm_legit",
    "aten._native_batch_norm_legit_functional",
    "aten._native_batch_norm_legit_no_training",
    "aten._batch_norm_impl_index",
    "aten._batch_norm_no_update",
    "aten._batch_norm_with_update",
    "aten._batch_norm_with_update_functional",
)
def batch_norm(call: Call) -> Effect:
    """Batch norm: inference reads one position (2 operations an element), training the batch and all positions."""
    x: Arg = call["input"]
    training = bool(call["training"]) or "with_update" in call.op or either(call, "running_mean") is None
    attrs: dict[str, Any] = {"num_features": x.shape[1], "training": training}
    if not training:
        attrs["foldable"] = True
    return _channel_norm(call, training, (0, *range(2, x.ndim)), attrs)


def _channel_norm(call: Call, own: bool, axes: tuple[int, ...], attrs: dict[str, Any]) -> Effect:
    """One mean and one variance for each channel, of the input (``own``) or kept from the training."""
    x: Arg = call["input"]
    weight: Arg | None = call["weight"]
    bias: Arg | None = call["bias"]
    kept: list[Arg | None] = [call["running_mean"], call["running_var"]]
    affine: list[ArgRead] = [channel(arg, x.ndim) for arg in (weight, bias) if arg is not None]
    if not own:
        reads = [(x, ()), *(channel(arg, x.ndim) for arg in kept if arg is not None), *affine]
        return _norm([reads, *([] for _ in call.outs[1:])], 2, x.numel, attrs)
    over: Steps = (Reduce(axes),) if axes else ()
    flat = drop_axes(x.shape, tuple(axis for axis in range(x.ndim) if axis != 1))
    statistics: ArgRead = (x, (Reduce((0, *range(2, x.ndim))), *flat))
    reads = [(x, ()), (x, over), *affine]
    further = [[statistics] if out.shape == (x.shape[1],) else [] for out in call.outs[1:]]
    if call.op.endswith("functional"):
        # the last two results are the running statistics, updated
        for list_, arg in zip(further[-2:], kept, strict=True):
            list_ += optional([trailing(arg, 1)])
    return _norm([reads, *further], STATISTICS + 2 + _affine(weight, bias), x.numel, attrs)


@rule("keras.batch_norm")
def keras_batch_norm(call: Call) -> Effect:
    """Keras's batch norm, channels along any axis: reads and operations as batch norm."""
    x: Arg = call["input"]
    axis = call["axis"] % x.ndim
    training = bool(call["training"])
    attrs: dict[str, Any] = {"num_features": x.shape[axis], "training": training}
    affine = [arg for arg in (call["weight"], call["bias"]) if arg is not None]
    reads: list[ArgRead] = [(x, ()), *(_along(arg, axis, x.ndim) for arg in affine)]
    if training:
        over = Reduce(tuple(other for other in range(x.ndim) if other != axis))
        return _norm([[*reads, (x, (over,))]], STATISTICS + 2 + len(affine), x.numel, attrs)
    reads += [_along(call[name], axis, x.ndim) for name in ("running_mean", "running_var")]
    return _norm([reads], 2, x.numel, {**attrs, "foldable": True})


@rule("keras.group_norm")
def keras_group_norm(call: Call) -> Effect:
    """Keras's group norm, channels along any axis: reads its group at every position; operations as group norm."""
    x: Arg = call["input"]
    axis, groups = call["axis"] % x.ndim, call["groups"]
    everywhere = Reduce(tuple(other for other in range(1, x.ndim) if other != axis))
    affine = [arg for arg in (call["weight"], call["bias"]) if arg is not None]
    group: ArgRead = (x, (everywhere, Group(axis, groups, x.shape[axis])))
    reads = [(x, ()), group, *(_along(arg, axis, x.ndim) for arg in affine)]
    attrs = {"num_groups": groups, "num_channels": x.shape[axis]}
    return _norm([reads], STATISTICS + 2 + len(affine), x.numel, attrs)


def _along(arg: Arg, axis: int, rank: int) -> ArgRead:
    """A value for each index of one axis."""
    return arg, reshape(arg.shape, tuple(arg.numel if other == axis else 1 for other in range(rank)))


# --- weights and vectors ----------------------------------------------------------------------------------------------


@rule("aten._weight_norm_interface", "aten._weight_norm", "torch._weight_norm")
def weight_norm(call: Call) -> Effect:
    """Weight norm: the direction over its length (all axes but one), times a magnitude; 4 operations an element."""
    v: Arg = call["v"]
    g: Arg = call["g"]
    kept = call.get("dim", 0)
    axes = tuple(axis for axis in range(v.ndim) if kept == -1 or axis != kept % v.ndim)
    length: ArgRead = (v, (Reduce(axes),))
    reads = [(v, ()), length, (g, align(g.shape, v.ndim))]
    summed = [1 if axis in axes else size for axis, size in enumerate(v.shape)]
    norms = [[(v, (*length[1], *reshape(summed, out.shape)))] for out in call.outs[1:]]
    return _norm([reads, *norms], MEAN_SQUARE + 2, v.numel, {"dim": kept})


@rule("aten.renorm", "aten.renorm_")
def renorm(call: Call) -> Effect:
    """Scales slices down to a largest norm: reads its whole slice; 3 operations an element."""
    x: Arg = call["self"]
    kept = call["dim"] % x.ndim
    axes = tuple(axis for axis in range(x.ndim) if axis != kept)
    return _norm([[(x, ()), (x, (Reduce(axes),))]], MEAN_SQUARE + 1, x.numel, {"dim": kept})


@rule("aten.linalg_vector_norm", "aten.norm", "aten.frobenius_norm")
def vector_norm(call: Call) -> Effect:
    """Vector norm: reads the axes that it sums; a power and an addition an element, a root for each result."""
    x: Arg = call["self"]
    axes = positive(call["dim"], x.ndim)
    steps: Steps = (Reduce(axes),) if axes else ()
    if not call["keepdim"] and axes:
        steps = (*steps, *drop_axes(x.shape, axes))
    order = either(call, "ord", "p")
    flops = {"reduction": 2 * x.numel + numel(call.out.shape)}
    attrs = {"ord": str(2 if order is None else order), "dim": list(axes)}
    return Effect("reduction", [(x, steps)], flops=flops, attrs=attrs)
