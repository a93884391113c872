"""ptflops, its default backend: hooks on modules of known classes, and functions of torch's that it exchanges.

The two add up (ptflops/pytorch_engine.py, pytorch_ops.py), so what a module does by calling an exchanged function
counts twice. A module of a known class hides the modules in it. Operators (``x @ y``, ``x + y``) are not exchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from rfcalc.conventions import names
from rfcalc.conventions.facts import MULTIHEAD, CallSite, Facts, OpSite
from rfcalc.conventions.names import Recurrent
from rfcalc.conventions.rules import Convention, Miss, Pass, Rule, copies, counted, extra, missing, products
from rfcalc.graph import Node

VERSION = "0.7.5"
TOOL = f"ptflops {VERSION}"

_TIMM_ATTENTION = ("timm.models.vision_transformer.Attention", "timm.layers.attention.Attention")
_RELU_LIKE = names.activation("ReLU", "PReLU", "ELU", "LeakyReLU", "ReLU6", "GELU")
_POOLS = (*names.MAX_POOL, *names.AVG_POOL, *names.ADAPTIVE_MAX_POOL, *names.ADAPTIVE_AVG_POOL)
_CONVS = (*names.CONV, *names.CONV_TRANSPOSE, *names.DEFORM_CONV)
_SAMPLING = 24  #: operations for each input channel, tap and position of a deformable convolution


def _bias(call: CallSite) -> int:
    return call.out_size if call.param("bias") is not None else 0


def _norm(twice: bool) -> Callable[[CallSite], int]:
    """1 per element; 2 where ``affine`` is an attribute of the class, and set."""
    return lambda call: call.in_size * (2 if twice and call.affine else 1)


def _multihead(call: CallSite) -> int | None:
    """Projections and both products, if keys and values are as wide as queries."""
    softmax = call.scores
    if softmax is None or len(call.inputs) < 3:
        return None
    (*_, width), (*_, key), (*_, value) = call.inputs[:3]
    queries, keys, values = (prod(shape) // shape[-1] for shape in call.inputs[:3])
    projections = queries * width**2 + keys * key**2 + values * value**2 + queries * value**2
    heads = prod(softmax.shape) // softmax.shape[-1] // queries
    return projections + _scores(call, softmax) * (width // heads + value // heads)


def _scores(call: CallSite, softmax: Node) -> int:
    """Scores of all heads for the keys that the module was given, without what it adds to them itself."""
    own = call.param("bias_k") is not None
    lengths = [length for length in call.inputs[1][:-1][::-1] if softmax.shape[-1] - own - length in (0, 1)]
    return prod(softmax.shape[:-1]) * (lengths[0] if lengths else softmax.shape[-1])


def _multihead_extras(call: CallSite) -> int | None:
    """Scaling of the queries, softmax (1 per score), biases of the four projections."""
    softmax = call.scores
    if softmax is None or len(call.inputs) < 3:
        return None
    (*_, width), _, (*_, value) = call.inputs[:3]
    positions = [prod(shape) // shape[-1] for shape in call.inputs[:3]]
    biases = sum(positions) * width if call.param("in_proj_bias") is not None else 0
    return positions[0] * width + _scores(call, softmax) + biases + positions[0] * value


def _timm_attention(call: CallSite) -> int:
    """Both products of attention; the linear layers inside are hidden by the rule for the whole."""
    return sum(node.macs or 0 for node in call.nodes if node.kind in ("attention", "matmul"))


def _timm_extras(call: CallSite) -> int | None:
    """Scaling of the queries, and 1 per score."""
    softmax = call.first("attention", "activation")
    if softmax is None:
        return None
    _, heads, *_ = softmax.shape
    return call.in_size + heads * (_timm_attention(call) // (2 * call.in_shape[-1]))


def _deformable(call: CallSite) -> int | None:
    """Bilinear sampling and coordinates, with a mask one more, for each input channel, tap and position."""
    weight = call.param("weight")
    if weight is None:
        return None
    masked = len(call.inputs) == 3
    return prod(weight.shape[2:]) * (_SAMPLING + masked) * call.out_size // call.out_shape[1]


def _recurrent(gates: int) -> Callable[[CallSite], int]:
    """Both matrices of each layer, of the forward direction, for every element of the first two axes."""

    def count(call: CallSite) -> int:
        cell = Recurrent(call, gates)
        return sum(cell.matrices) * cell.directions * cell.evaluations

    return count


def _gates(gates: int, per_unit: int) -> Callable[[CallSite], int]:
    def count(call: CallSite) -> int:
        cell = Recurrent(call, gates)
        return cell.units * (per_unit + (2 * gates if cell.bias else 0))

    return count


def _added(site: OpSite) -> int | None:
    """Elements of what addmm and baddbmm add; of a constant one, which no graph has, those that a mask would have."""
    if not site.macs:
        return None
    if len(site.inputs) == 3:
        return site.in_size
    if len(site.inputs) == 1 and len(site.node.params) == 2:  # the first is added, the second a factor
        return site.facts.params[site.node.params[0]].numel
    return prod(site.out_shape[-2:]) if site.node.function == MULTIHEAD else site.bias


def _elementwise(*ops: str) -> Callable[[OpSite], int | None]:
    return lambda site: site.out_size if site.node.op in ops else None


def _numel(*kinds: str) -> Callable[[OpSite], int | None]:
    """Elements of the input, once for each call of the function: at the op that does its work.

    torch's transformer layers took hold of their activation when they were made, before it was exchanged.
    """

    def count(site: OpSite) -> int | None:
        around = next(site.enclosing, None)
        held = around is not None and around.types[:1] in (names.ENCODER_LAYER, names.DECODER_LAYER)
        return site.in_size if site.node.kind in kinds and not held else None

    return count


def _powers(site: OpSite) -> int | None:
    """Average pooling of powers, then a ReLU and a product of what comes out."""
    return site.in_size + 2 * site.out_size if site.node.kind == "pool" else None


def _response(site: OpSite) -> int:
    """Squares, their average along the padded channels, a product and a sum."""
    channels = site.in_shape[1]
    return 3 * site.in_size + site.in_size // channels * (channels + int(site.node.attrs["size"]) - 1)


def _interpolated(site: OpSite) -> int | None:
    return site.out_size if site.node.kind == "upsample" else None


def refuses(facts: Facts) -> str:
    batches = {item.shape[0] for item in facts.graph.inputs if item.shape}
    return "" if batches <= {1} else f"{TOOL} runs a batch of 1 only: trace the model with a batch of 1"


_MODULES = (
    products(*_CONVS, *names.LINEAR),
    products(
        *names.MULTIHEAD,
        count=_multihead,
        label="MultiheadAttention with keys or values of another width",
        fault=f"{TOOL} takes the width of keys and values for that of their projections",
    ),
    products(
        *_TIMM_ATTENTION,
        count=_timm_attention,
        label="linear layers inside timm's Attention missed",
        fault=f"{TOOL} leaves out the linear layers inside timm's Attention, as its rule for the whole lacks them",
    ),
    *(
        products(
            *keys,
            count=_recurrent(gates),
            label="projection of an LSTM missed",
            fault=f"{TOOL} ignores proj_size",
        )
        for keys, gates in ((names.RNN, 1), (names.GRU, 3), (names.LSTM, 4))
    ),
)


def _extras() -> tuple[Rule, ...]:
    norms = (*names.BATCH_NORM, *names.INSTANCE_NORM, *names.GROUP_NORM)
    return (
        extra("bias of convolutions, 1 per output element", *_CONVS, count=_bias),
        extra("bias of linear layers, 1 per output element", *names.LINEAR, count=_bias),
        extra("BatchNorm, InstanceNorm, GroupNorm: 2 per element, 1 without weight", *norms, count=_norm(True)),
        extra("LayerNorm: 1 per element", *names.LAYER_NORM, count=_norm(False)),
        extra("ReLU and other activations: 1 per element", *_RELU_LIKE, count=lambda call: call.out_size),
        extra("pooling: 1 per input element", *_POOLS, count=lambda call: call.in_size),
        extra("nn.Upsample: 1 per output element", *names.UPSAMPLE, count=lambda call: call.out_size),
        extra("MultiheadAttention: scaling, softmax, biases", *names.MULTIHEAD, count=_multihead_extras),
        extra("timm's Attention: scaling, softmax", *_TIMM_ATTENTION, count=_timm_extras),
        *(
            extra(f"{name}: {each} per unit and step, {2 * g} more with biases", *keys, count=_gates(g, each))
            for name, keys, g, each in (
                ("RNN", names.RNN, 1, 1),
                ("GRU", names.GRU, 3, 7),
                ("LSTM", names.LSTM, 4, 10),
            )
        ),
    )


def _inside(classes: tuple[str, ...], count: Callable[[OpSite], int | None]) -> Callable[[OpSite], int | None]:
    """Only where the function is called by a module of these classes, which the tool has counted already."""

    def inside(site: OpSite) -> int | None:
        around = next(site.enclosing, None)
        return count(site) if around is not None and around.type in classes else None

    return inside


def _function_rules() -> tuple[Rule, ...]:
    """Exchanged functions; first those whose module has been counted already, then the same called on their own."""
    relu = names.functional("relu", "prelu", "elu", "relu6", "gelu")
    rows = (
        ("ReLU and other activations", relu, _RELU_LIKE, _numel("activation")),
        ("pooling", names.POOL_FUNCTIONS, _POOLS, _numel("pool")),
        ("interpolation", names.functional("interpolate", "upsample"), names.UPSAMPLE, _interpolated),
    )
    doubled = (
        extra(
            f"{what} once more, as the function that the module calls",
            *keys,
            count=_inside(classes, count),
            fault=f"{TOOL} counts {what} twice: the module, and the function that it calls",
        )
        for what, keys, classes, count in rows
    )
    alone = (extra(f"{what} called as a function", *keys, count=count) for what, keys, _, count in rows)
    return (*doubled, *alone)


_FUNCTIONS = (
    *_function_rules(),
    extra(
        "LPPool: 1 per input element, 2 per output element",
        *names.functional("lp_pool1d", "lp_pool2d", "lp_pool3d"),
        count=_powers,
    ),
    extra(
        "local response norm: 4 per element and padding",
        *names.functional("local_response_norm"),
        count=_response,
    ),
    extra("SiLU and softmax: 1 per element", *names.functional("silu", "softmax"), count=_numel("activation")),
    *names.matmuls(
        TOOL,
        *("torch.matmul", "torch.Tensor.matmul", "torch.mm", "torch.Tensor.mm", "torch.bmm", "torch.Tensor.bmm"),
    ),
    products("torch.addmm", "torch.baddbmm", "torch.Tensor.addmm", count=counted),
)
_FUNCTION_EXTRAS = (
    extra("addmm: 1 addition per element", "torch.addmm", "torch.baddbmm", "torch.Tensor.addmm", count=_added),
    extra("torch.mul: 1 per element", "torch.mul", "torch.Tensor.mul", count=_elementwise("aten.mul")),
    extra("torch.add: 1 per element", "torch.add", "torch.Tensor.add", count=_elementwise("aten.add")),
)

_SAMPLED = (extra("deformable convolution: sampling", *names.DEFORM_CONV, count=_deformable),)

CONVENTION = Convention(
    name="ptflops",
    version=VERSION,
    call='get_model_complexity_info(model, shape, backend="pytorch", as_strings=False)[0]',
    passes=(
        Pass("modules", _MODULES, per_place=1),
        Pass("modules", _extras(), per_place=1),
        Pass("modules", _SAMPLED, per_place=1),
        Pass("functions", _FUNCTIONS),
        Pass("functions", _FUNCTION_EXTRAS),
    ),
    misses=missing(
        TOOL, matmul="the operator @ and einsum", linear="linear layers that are no nn.Linear", conv="functional conv"
    ),
    again=Miss(
        "products counted once more, by functions that a module calls",
        f"{TOOL} counts products of MultiheadAttention twice: the module, and functions that it calls",
    ),
    opaque=(*names.MULTIHEAD, *_TIMM_ATTENTION),
    copies=copies(TOOL),
    prints="MACs",
    refuses=refuses,
    caveat="functions that the model's code took hold of before ptflops exchanged them count 0",
)
