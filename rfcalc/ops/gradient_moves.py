"""Gradients of what gathers, pools, pads and resamples: the forward op's reads, turned around; and those of losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rfcalc.graph import TensorInfo
from rfcalc.ops import indexing, loss, movement, pool, resample, transforms
from rfcalc.ops._indexing import DATA, whole
from rfcalc.ops._linear import channel, reshape
from rfcalc.ops._transposed import transposed
from rfcalc.ops.common import pointwise
from rfcalc.ops.pointwise import aten, joins
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, lookup, numel, rule
from rfcalc.reads import Reduce, Steps

#: The families whose ops are turned around have to be registered.
_FAMILIES = (indexing, loss, movement, pool, resample, transforms)

#: The forward op of each, and the names that it has for what the gradient's op calls otherwise.
_OTHER_NAMES: Mapping[str, Mapping[str, str]] = {"aten.unfold": {"dimension": "dim"}}


def _forward(op: str) -> str:
    name = op.removesuffix("_backward")
    return {"aten.max_pool2d_with_indices": "aten.max_pool2d", "aten.max_pool3d_with_indices": "aten.max_pool3d"}.get(
        name, name
    )


def _turned(call: Call, others: tuple[str, ...] = ()) -> tuple[list[ArgRead], Effect, str, tuple[int, ...]]:
    """The reads of the gradient (and of ``others`` that lie as it does), what forward says, why they may be too many,
    and the shape of the argument whose gradient this is."""
    grad: Arg = next(call.tensors())
    x: Arg | None = call["self"]
    sizes = call.get("input_sizes", call["input_size"])
    given = Arg(x.shape if x is not None else tuple(sizes), grad.dtype)
    name = _forward(call.op)
    named = {**call.args, "self": given, "input": None, "indices": None}
    named |= {new: call[old] for new, old in _OTHER_NAMES.get(name, {}).items()}
    run = lookup(name)
    assert run is not None
    forward = run(Call(name, named, [TensorInfo(grad.shape, grad.dtype)]))
    reads: list[ArgRead] = []
    why = forward.inexact
    for arg, steps in forward.reads_of(0):
        if arg is not given:
            continue
        ways = transposed(given.shape, steps, grad.shape)
        if ways is None:
            ways, why = [whole(grad, len(given.shape))[1]], "the gradient is taken to read all"
        reads += [(read, way) for way in ways for read in (grad, *(call[other] for other in others))]
    return reads, forward, why, given.shape


@rule(
    *aten("""avg_pool2d_backward avg_pool3d_backward _adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward
        adaptive_avg_pool3d_backward""")
)
def average_backward(call: Call) -> Effect:
    """Gradient of average pooling: the windows that a position lies in; as many operations as forward."""
    reads, forward, why, _ = _turned(call)
    return Effect("pool", reads, flops=forward.flops, inexact=why)


@rule(
    *aten(
        """max_pool2d_with_indices_backward max_pool3d_with_indices_backward max_pool2d_backward
        adaptive_max_pool2d_backward adaptive_max_pool3d_backward"""
    )
)
def maximum_backward(call: Call) -> Effect:
    """Gradient of max pooling: the windows that a position may be the largest of; an addition for each of them."""
    reads, _, _, _ = _turned(call, ("indices",) if isinstance(call["indices"], Arg) else ())
    return Effect(
        "pool", reads, flops={"elementwise": next(call.tensors()).numel}, inexact="the data decides which are largest"
    )


@rule(*aten("fractional_max_pool2d_backward fractional_max_pool3d_backward"))
def fractional_backward(call: Call) -> Effect:
    """Gradient of fractional max pooling: every window of the channel; an addition for each of them."""
    grad: Arg = call["grad_output"]
    spatial = pool.dimensions(call.op)
    plane: Steps = (Reduce(tuple(range(grad.ndim - spatial, grad.ndim))),)
    reads = [(grad, plane), (call["indices"], plane)]
    return Effect("pool", reads, flops={"elementwise": grad.numel}, inexact="random samples place the windows")


@rule(
    *aten(
        """upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward
        _upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward _upsample_nearest_exact3d_backward
        upsample_linear1d_backward upsample_bilinear2d_backward upsample_trilinear3d_backward
        upsample_bicubic2d_backward _upsample_bilinear2d_aa_backward _upsample_bicubic2d_aa_backward
        _upsample_lanczos2d_aa_backward"""
    )
)
def upsample_backward(call: Call) -> Effect:
    """Gradient of interpolation: the positions that read this one; as many operations as forward, nearest: sums."""
    reads, forward, why, shape = _turned(call)
    flops = forward.flops or _sums(next(call.tensors()).numel - numel(shape))
    return Effect("pool", reads, flops=flops, inexact=why)


def _sums(count: int) -> dict[str, int]:
    return {"elementwise": count} if count > 0 else {}


@rule(
    *aten(
        """reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward
        replication_pad2d_backward replication_pad3d_backward"""
    )
)
def pad_backward(call: Call) -> Effect:
    """Gradient of padding by copies: the position and its copies; an addition for each copy."""
    reads, _, why, shape = _turned(call)
    return Effect("pad", reads, flops=_sums(next(call.tensors()).numel - numel(shape)), inexact=why)


@rule(*aten("select_backward slice_backward diagonal_backward"))
def picked_backward(call: Call) -> Effect:
    """Gradient of what was picked out of a tensor: in its place, zeros elsewhere; free."""
    reads, _, why, _ = _turned(call)
    return Effect("reshape", reads, inexact=why)


@rule("aten.unfold_backward")
def unfold_backward(call: Call) -> Effect:
    """Windows summed where they overlap (istft): those that a position lies in; an addition beyond the first."""
    reads, _, why, shape = _turned(call)
    grad: Arg = call["grad_in"]
    axis = call["dim"] % max(1, len(shape))
    size, step, windows = call["size"], call["step"], grad.shape[axis] if grad.ndim else 0
    covered = len({at * step + tap for at in range(windows) for tap in range(size)})
    others = numel(shape) // max(1, shape[axis] if shape else 1)
    return Effect("reshape", reads, flops=_sums(grad.numel - covered * others), inexact=why)


@rule(*aten("embedding_dense_backward _embedding_bag_dense_backward _embedding_bag_backward"))
def embedding_backward(call: Call) -> Effect:
    """Gradient of a table: the rows that data puts there, feature by feature; an addition for each number."""
    grad: Arg = next(call.tensors())
    indices: Arg = call["indices"]
    lead = tuple(range(grad.ndim - 1))
    feature: Steps = (Reduce(lead), *reshape((*(1,) * len(lead), grad.shape[-1]), (1, grad.shape[-1])))
    used = (indices.numel if "bag" in call.op else grad.numel // max(1, grad.shape[-1])) * grad.shape[-1]
    others = [whole(arg, 2) for arg in call.tensors() if arg is not grad]
    return Effect("embedding", [(grad, feature), *others], flops={"elementwise": used}, inexact=DATA)


@rule(*aten("masked_scatter_backward _embedding_bag_per_sample_weights_backward _pdist_backward"))
def loose_backward(call: Call) -> Effect:
    """Gradients that are taken to read all: of masked scatters (free), weights in bags, distances of pairs."""
    grad: Arg = next(call.tensors())
    flops = {}
    if "pdist" in call.op:
        flops = {"other": grad.numel * (3 * call["self"].shape[-1] + 1)}
    elif "bag" in call.op:
        flops = {"elementwise": 2 * call["indices"].numel * grad.shape[-1]}
    reads = [whole(arg, len(call.out.shape)) for arg in call.tensors()]
    return Effect("other", reads, flops=flops, inexact="the gradient is taken to read all")


@rule(*aten("grid_sampler_2d_backward grid_sampler_3d_backward _grid_sampler_2d_cpu_fallback_backward"))
def grid_sampler_backward(call: Call) -> Effect:
    """Gradients of sampling: of the plane, all that may land there; of a place, all it may read; each as forward."""
    grad: Arg = call["grad_output"]
    x: Arg = call["input"]
    grid: Arg = call["grid"]
    plane = tuple(range(2, x.ndim))
    wanted = call.get("output_mask", (True, True))
    of_input: list[ArgRead] = [(grad, (Reduce(plane),)), (grid, _image(grid))]
    at: Steps = (Reduce((1,)), *reshape((grad.shape[0], 1, *grad.shape[2:]), (grad.shape[0], *grad.shape[2:], 1)))
    of_grid: list[ArgRead] = [(grad, at), (grid, (Reduce((grid.ndim - 1,)),)), (x, _image(x))]
    rows = [row for row, flag in zip((of_input, of_grid), wanted, strict=True) if flag]
    rows += [[whole(arg, len(out.shape)) for arg in call.tensors()] for out in call.outs[len(rows) :]]
    spatial = x.ndim - 2
    taps = (2**spatial, 1, 4**spatial)[call["interpolation_mode"]]
    flops = len(call.outs) * (2 * taps - 1) * grad.numel if taps > 1 else grad.numel
    return Effect("upsample", rows, each=True, flops={"interpolation": flops}, inexact="data-dependent positions")


def _image(arg: Arg) -> Steps:
    return (Reduce(tuple(range(1, arg.ndim))),)


# --- losses -----------------------------------------------------------------------------------------------------------

_PAIRS = {
    "mse_loss_backward": 3,
    "smooth_l1_loss_backward": 4,
    "huber_loss_backward": 4,
    "binary_cross_entropy_backward": 5,
    "soft_margin_loss_backward": 7,
}


@rule(*aten(" ".join(_PAIRS)))
def pair_loss_backward(call: Call) -> Effect:
    """Gradient of a loss of pairs: one position of each argument; 3 to 7 operations an element, 1 for a mean."""
    operands = tuple(call.tensors())
    each = _PAIRS[call.op.removeprefix("aten.")] + (call.get("reduction", 1) == 1) + isinstance(call["weight"], Arg)
    reads = [pointwise(arg, len(call.out.shape)) for arg in operands]
    kind = "merge" if joins(*operands) else "elementwise"
    return Effect(kind, reads, flops={"loss": each * numel(call.out.shape)})


@rule(*aten("nll_loss_backward nll_loss2d_backward"))
def nll_loss_backward(call: Call) -> Effect:
    """Gradient of the negative log-likelihood: the target of the row; 2 operations a target, 1 more by weights."""
    x: Arg = call["self"]
    target: Arg = call["target"]
    grad: Arg = call["grad_output"]
    weight: Arg | None = call["weight"]
    axis = 1 if x.ndim > 1 else 0
    by_row = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    reads: list[ArgRead] = [
        (arg, reshape(arg.shape, by_row)) if arg.numel == target.numel and arg.ndim else whole(arg, x.ndim)
        for arg in (grad, target)
    ]
    if weight is not None:
        reads.append(channel(weight, x.ndim) if axis else (weight, ()))
    if call.get("reduction", 1) == 1:
        reads.append(whole(call["total_weight"], x.ndim))
    return Effect("elementwise", reads, flops={"loss": (2 + (weight is not None)) * target.numel})


@rule(*aten("multi_margin_loss_backward multilabel_margin_loss_backward _ctc_loss_backward"))
def row_loss_backward(call: Call) -> Effect:
    """Gradient of a loss of whole rows or sequences: all of them; as many operations as forward."""
    reads = [whole(arg, len(call.out.shape)) for arg in call.tensors()]
    name = call.op.removesuffix("_backward")
    run: Callable[[Call], Effect] | None = lookup(name) or lookup(f"{name}_forward")
    assert run is not None
    named: dict[str, Any] = {**call.args, "is_target": None}
    forward = run(Call(name, named, [TensorInfo(next(call.tensors()).shape)]))
    return Effect("reduction", reads, flops=forward.flops, inexact="the gradient is taken to read all")
