"""thop and its successor ultralytics-thop: hooks on modules of known classes.

thop (thop/profile.py, thop/vision/basic_hooks.py) knows classes exactly: a subclass and every functional call count
nothing. A module that stands at n places gets n hooks, and what they add up counts at each place. ultralytics-thop
knows subclasses too, and counts products that run outside modules it has a rule for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from rfcalc.conventions import names
from rfcalc.conventions.facts import ATTENTION, LINEAR, CallSite, OpSite
from rfcalc.conventions.names import Recurrent
from rfcalc.conventions.rules import Convention, Pass, Rule, copies, extra, missing, products

VERSION = "0.1.1.post2209072238"
TOOL = f"thop {VERSION}"
ULTRALYTICS_VERSION = "2.2.3"
ULTRALYTICS = f"ultralytics-thop {ULTRALYTICS_VERSION}"

#: Operations for each output element of an interpolation; modes that are not there count nothing.
_UPSAMPLE = {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}
_ULTRALYTICS_UPSAMPLE = {"linear": 5, "bilinear": 11, "bicubic": 259, "trilinear": 31}


def _transposed(call: CallSite) -> int | None:
    """Output elements x input channels / groups x kernel, as of a convolution that is not transposed."""
    weight, op = call.param("weight"), call.first("conv_transpose")
    if weight is None or op is None:
        return None
    return call.out_size * (call.in_shape[1] // int(op.attrs["groups"])) * prod(weight.shape[2:])


def _convolution(call: CallSite) -> int:
    """By the second axis of the input, which holds the channels only where there is a batch."""
    weight, op = call.param("weight"), call.first("conv")
    if weight is None or op is None or len(call.in_shape) == len(weight.shape):
        return call.macs
    return call.out_size * (call.in_shape[1] // int(op.attrs["groups"])) * prod(weight.shape[2:])


def _norm(call: CallSite) -> int:
    return call.in_size * (4 if call.affine else 2)


def _softmax(call: CallSite) -> int | None:
    """An exponential and a division for each element, an addition for each but one of every row."""
    op = call.first("activation")
    return None if op is None else _softmax_rows(call.in_size, call.in_shape[op.attrs["dim"]])


def _softmax_rows(elements: int, row: int) -> int:
    return elements // row * (3 * row - 1) if row else 0


def _adaptive_pool(call: CallSite) -> int:
    """Ratio of input to output, a fraction in floating point, and one division, for each output element."""
    ratio = 1.0
    for before, after in zip(call.in_shape[2:], call.out_shape[2:], strict=True):
        ratio *= before / after
    return int((ratio + 1) * call.out_size)


def _adaptive_windows(call: CallSite) -> int:
    """Elements of all windows, and one division for each output element."""
    windows = 1
    for size, out in zip(call.in_shape, call.out_shape, strict=True):
        windows *= out if out == size else sum(-(-(at + 1) * size // out) - at * size // out for at in range(out))
    return windows + call.out_size


def _windows(call: CallSite) -> int | None:
    """Elements of all windows, without what lies beyond the padding, and one division for each output element."""
    op = call.first("pool")
    if op is None:
        return None
    windows = prod(call.in_shape[: -len(op.attrs["kernel"])])
    settings = zip(op.attrs["kernel"], op.attrs["stride"], op.attrs["padding"], strict=True)
    axes = range(-len(op.attrs["kernel"]), 0)
    for axis, (kernel, stride, padding) in zip(axes, settings, strict=True):
        size = call.in_shape[axis]
        low, high = (-padding, size + padding) if op.attrs["count_include_pad"] else (0, size)
        starts = (at * stride - padding for at in range(call.out_shape[axis]))
        windows *= sum(max(min(start + kernel, high) - max(start, low), 0) for start in starts)
    return windows + call.out_size


def _upsample(cost: dict[str, int]) -> Callable[[CallSite], int | None]:
    def count(call: CallSite) -> int | None:
        op = call.first("upsample")
        return None if op is None else cost.get(str(op.attrs["mode"]), 0) * call.out_size

    return count


def _recurrent(gates: int, projected: bool) -> Callable[[CallSite], int]:
    """Matrix products of a recurrent layer; thop takes a projected state for one of full size."""

    def count(call: CallSite) -> int:
        cell = Recurrent(call, gates)
        state = cell.projection or cell.hidden if projected else cell.hidden
        wide = state * cell.directions
        widths = [cell.inputs[0], *(wide for _ in cell.inputs[1:])]
        per_step = sum(gates * cell.hidden * (width + state) for width in widths)
        per_step += len(widths) * cell.hidden * (cell.projection if projected else 0)
        return per_step * cell.directions * cell.evaluations

    return count


def _alone(call: CallSite, cell: Recurrent) -> bool:
    """Whether the input has no batch; a packed sequence is no tensor, and has one."""
    return bool(call.inputs) and len(call.in_shape) == (1 if cell.is_cell else 2)


def _evaluations(call: CallSite, cell: Recurrent) -> int:
    """What thop takes for batch and steps: the first two axes, of a cell the first, whether there is a batch or not."""
    return call.in_shape[0] if cell.is_cell else prod(call.in_shape[:2])


def _unbatched(gates: int) -> Callable[[CallSite], int | None]:
    """A recurrent layer or cell whose input has no batch; None where it has one."""

    def count(call: CallSite) -> int | None:
        cell = Recurrent(call, gates)
        if not _alone(call, cell):
            return None
        return _recurrent(gates, False)(call) // cell.evaluations * _evaluations(call, cell)

    return count


def _gates(gates: int, per_unit: int, batched: bool = False) -> Callable[[CallSite], int]:
    """Sums, activations and products of the gates, and two additions for the biases of each gate.

    With ``batched`` an input is taken to have a batch.
    """

    def count(call: CallSite) -> int:
        cell = Recurrent(call, gates)
        alone = batched and _alone(call, cell)
        units = cell.units // cell.evaluations * _evaluations(call, cell) if alone else cell.units
        return units * (per_unit + (2 * gates if cell.bias else 0))

    return count


def _recurrent_rules(projected: bool, fault: str) -> tuple[Rule, ...]:
    kinds = ((names.RNN, 1), (names.GRU, 3), (names.LSTM, 4))
    label = "projected LSTM: counted as if it had no projection"
    return tuple(products(*keys, count=_recurrent(g, projected), label=label, fault=fault) for keys, g in kinds)


_KINDS = (("RNN", names.RNN, 1, 1), ("GRU", names.GRU, 3, 7), ("LSTM", names.LSTM, 4, 8))


def _gate_rules(batched: bool) -> tuple[Rule, ...]:
    text = "{}: {} per unit and step, {} more with biases"
    return tuple(
        extra(text.format(name, each, 2 * gates), *keys, count=_gates(gates, each, batched))
        for name, keys, gates, each in _KINDS
    )


_ALONE = tuple(
    products(
        *keys,
        count=_unbatched(gates),
        label="recurrent layer without a batch: once for each input feature",
        fault=f"{TOOL} takes the features of a recurrent layer without a batch for steps",
    )
    for _, keys, gates, _ in _KINDS
)

CONVENTION = Convention(
    name="thop",
    version=VERSION,
    call="profile(model, (input,))[0]",
    passes=(
        Pass(
            "modules",
            (
                products(*names.LINEAR),
                products(
                    *names.CONV,
                    count=_convolution,
                    label="convolution without a batch: an extent counted as channels",
                    fault=f"{TOOL} takes the second axis of a convolution without a batch for its channels",
                ),
                products(
                    *names.CONV_TRANSPOSE,
                    count=_transposed,
                    label="transposed convolution by the size of its output",
                    fault=f"{TOOL} counts transposed convolution as if its kernel were slid over the output",
                ),
                *_ALONE,
                *_recurrent_rules(False, f"{TOOL} ignores proj_size"),
                extra(
                    "BatchNorm: 4 per element, 2 without weight",
                    *names.BATCH_NORM,
                    *names.SYNC_BATCH_NORM,
                    count=_norm,
                ),
                extra("LayerNorm: 4 per element, 2 without weight", *names.LAYER_NORM, count=_norm),
                extra("InstanceNorm: 4 per element, 2 without weight", *names.INSTANCE_NORM, count=_norm),
                extra("PReLU: 1 per element", *names.activation("PReLU"), count=lambda call: call.in_size),
                extra("softmax: 3 per element, less 1 per row", *names.SOFTMAX, count=_softmax),
                extra("average pooling: 1 per output element", *names.AVG_POOL, count=lambda call: call.out_size),
                extra(
                    "adaptive average pooling: input/output + 1 per output element",
                    *names.ADAPTIVE_AVG_POOL,
                    count=_adaptive_pool,
                ),
                extra("interpolation: 1 to 259 per output element", *names.UPSAMPLES, count=_upsample(_UPSAMPLE)),
            ),
            per_place=2,
        ),
        Pass("modules", _gate_rules(True), per_place=2),
    ),
    misses=missing(
        TOOL,
        matmul="functional matmul",
        linear="linear layers that are no nn.Linear, MultiheadAttention's included",
        conv="convolutions that are no nn.Conv1d, Conv2d or Conv3d",
    ),
    copies=copies(TOOL),
    prints="ops, 1 for each multiply-add",
)


# --- ultralytics-thop -------------------------------------------------------------------------------------------------

_CLASSES = (
    products(*names.CONV, *names.LINEAR, *names.BILINEAR, *names.CONV_TRANSPOSE, *names.MULTIHEAD),
    *_recurrent_rules(True, ""),
    extra("BatchNorm, InstanceNorm: 4 per element, 2 without weight", *names.NORM_BASE, count=_norm),
    extra(
        "LayerNorm, GroupNorm, RMSNorm: 4 per element, 2 without weight",
        *(*names.LAYER_NORM, *names.GROUP_NORM, *names.RMS_NORM),
        count=_norm,
    ),
    extra("PReLU: 1 per element", *names.activation("PReLU"), count=lambda call: call.in_size),
    extra("softmax: 3 per element, less 1 per row", *names.SOFTMAX, count=_softmax),
    extra("average pooling: 1 per element of a window, 1 per output element", *names.AVG_POOL, count=_windows),
    extra(
        "adaptive average pooling: 1 per element of a window, 1 per output element",
        *names.ADAPTIVE_AVG_POOL,
        count=_adaptive_windows,
    ),
    extra(
        "interpolation: 0 to 259 per output element",
        *names.UPSAMPLES,
        count=_upsample(_ULTRALYTICS_UPSAMPLE),
    ),
)
_RULED = frozenset(key for rule in _CLASSES for key in rule.keys)
_FUNCTIONS = frozenset(
    {"torch.matmul", "torch.Tensor.matmul", "torch.Tensor.__matmul__", "torch.bmm", "torch.Tensor.bmm"}
    | {"torch.einsum", LINEAR, ATTENTION}
)
_MULTIHEAD = "torch.nn.functional.multi_head_attention_forward"


def _free_product(site: OpSite) -> int | None:
    """A product outside every module that has a rule; None inside one, or where the function has none."""
    if any(_RULED.intersection(call.types) for call in site.enclosing):
        return None
    if site.node.function != _MULTIHEAD and site.node.function not in _FUNCTIONS:
        return None
    if site.node.op == "torch.einsum" and len(site.node.attrs["operands"]) != 2:
        return None
    return site.macs if site.macs else None


def _scores(call: CallSite) -> int | None:
    """The softmax of MultiheadAttention."""
    softmax = call.scores
    return None if softmax is None else _softmax_rows(prod(softmax.shape), softmax.shape[-1])


def _free_softmax(site: OpSite) -> int | None:
    """The softmax of multi_head_attention_forward where it runs outside MultiheadAttention."""
    if site.node.function != _MULTIHEAD or any(_RULED.intersection(call.types) for call in site.enclosing):
        return None
    return _softmax_rows(site.out_size, site.out_shape[-1]) if site.node.flops.get("softmax") else None


_ATTENTION_SOFTMAX = "MultiheadAttention: softmax, 3 per score, less 1 per row"

ULTRALYTICS_CONVENTION = Convention(
    name="ultralytics-thop",
    version=ULTRALYTICS_VERSION,
    call="profile(model, (input,))[0]",
    passes=(
        Pass("classes", _CLASSES),
        Pass("classes", (extra(_ATTENTION_SOFTMAX, *names.MULTIHEAD, count=_scores),)),
        Pass("ops", (products("*", count=_free_product),)),
        Pass("ops", (extra(_ATTENTION_SOFTMAX, "*", count=_free_softmax),)),
        Pass("classes", _gate_rules(False)),
    ),
    misses=missing(ULTRALYTICS, conv="convolutions outside Conv modules"),
    prints="MACs",
)
