"""torchprofile: ops of torch.jit's trace (torchprofile/handlers.py), with elementwise products and means besides."""

from __future__ import annotations

from math import prod

from rfcalc.conventions.facts import ATTENTION, OpSite
from rfcalc.conventions.fvcore import ONE_OPERAND, SAME_PADDING
from rfcalc.conventions.names import CELLS, PRODUCTS, Recurrent
from rfcalc.conventions.rules import Convention, Pass, extra, missing, products

VERSION = "0.1.0"
TOOL = f"torchprofile {VERSION}"

_FUNCTIONS = frozenset(
    {ATTENTION, "torch.matmul", "torch.Tensor.matmul", "torch.Tensor.__matmul__", "torch.Tensor.__rmatmul__"}
    | {"torch.bmm", "torch.Tensor.bmm", "torch.baddbmm", "torch.Tensor.baddbmm", "torch.nn.functional.linear"}
    | {"torch.addmm", "torch.Tensor.addmm", "torch.addmv", "torch.Tensor.addmv"}
)


def _product(site: OpSite) -> int | None:
    return site.macs if site.function in _FUNCTIONS else None


def _transposed(site: OpSite) -> int | None:
    """Output elements x the weight's other channel axis x kernel, with the axes of a convolution not transposed."""
    if site.node.kind != "conv_transpose":
        return None
    attrs = site.node.attrs
    weight: tuple[int, int] = (attrs["in_channels"], attrs["out_channels"] // attrs["groups"])
    channels = weight[1] if site.out_shape[1] == weight[0] else weight[0]
    taps: int = prod(attrs["kernel"])
    return site.out_size * channels * taps


def _einsum(site: OpSite) -> int:
    """Product of all index extents; 0 with an ellipsis."""
    equation = str(site.node.attrs["equation"])
    if "..." in equation:
        return 0
    sizes: dict[str, int] = {}
    for labels, shape in zip(equation.split("->")[0].split(","), site.node.attrs["operands"], strict=True):
        sizes.update(zip(labels, shape, strict=True))
    return prod(sizes.values())


#: Functions that are one op in torch.jit's trace, which the dispatcher takes apart into products of elements.
_WHOLE = frozenset(
    f"torch.{home}{name}"
    for name in ("cosine_similarity", "outer", "ger", "kron", "cov", "corrcoef", "trapezoid", "trapz", "vander")
    for home in ("", "Tensor.", "nn.functional.")
)


def _mul(site: OpSite) -> int | None:
    return None if site.in_attention or site.function in _WHOLE else site.out_size


def _attention(site: OpSite) -> int:
    """With two axes, the first is taken for a batch and for the queries."""
    return site.macs * (site.out_shape[0] if len(site.out_shape) == 2 else 1)


def _norm(site: OpSite) -> int:
    return site.out_size if site.affine else 0


def _grid(site: OpSite) -> int:
    return {"nearest": 0, "bicubic": 16}.get(str(site.node.attrs["mode"]), 4) * site.out_size


def _lstm(site: OpSite) -> int | None:
    """As if a projected state were the hidden one."""
    around = next(site.enclosing, None)
    if around is None:
        return site.macs
    cell = Recurrent(around, 4)
    hidden = cell.projection or cell.hidden
    widths = [cell.inputs[0], *(hidden * cell.directions for _ in cell.inputs[1:])]
    return sum(4 * hidden * (width + hidden) for width in widths) * cell.directions * cell.evaluations


def _leaky(site: OpSite) -> int | None:
    """In place it has another name in the trace, which has no handler."""
    return site.out_size if site.node.op == "aten.leaky_relu" else None


_AVERAGES = tuple(f"aten.{kind}_pool{axes}d" for kind in ("avg", "adaptive_avg", "_adaptive_avg") for axes in (1, 2, 3))

_PRODUCTS = (
    products(
        "aten.convolution",
        count=_transposed,
        label="transposed convolution by the size of its output",
        fault=f"{TOOL} counts transposed convolution as if its kernel were slid over the output",
    ),
    products(
        "torch.scaled_dot_product_attention",
        count=_attention,
        label="attention of two axes: once for each query too many",
        fault=f"{TOOL} takes the queries of attention without a batch for a batch as well",
    ),
    products("aten.convolution", "torch.linear", *CELLS),
    products(*PRODUCTS, "aten.baddbmm", "aten.mv", "aten.dot", "aten.addmv", count=_product),
    products(
        "torch.einsum",
        count=_einsum,
        label="einsum: all index extents multiplied, 0 with an ellipsis",
        fault=f"{TOOL} multiplies all index extents of an einsum, and counts 0 with an ellipsis",
    ),
    products(
        "torch.lstm",
        count=_lstm,
        label="LSTM with a projection",
        fault=f"{TOOL} takes a projected state for the hidden one",
    ),
)
_ELEMENTWISE = "elementwise products: 1 per output element"
_EXTRAS = (
    extra(_ELEMENTWISE, "aten.mul", count=_mul),
    extra(_ELEMENTWISE, "torch.gru_cell", count=lambda site: 2 * site.out_size),
    extra(_ELEMENTWISE, "torch.lstm_cell", count=lambda site: 3 * site.out_size),
    extra(
        "norms with a weight: 1 per element",
        *("torch.batch_norm", "torch.instance_norm", "torch.layer_norm", "torch.group_norm"),
        count=_norm,
    ),
    extra(
        "local response norm: 3 per element, two products and an average",
        "torch.local_response_norm",
        count=lambda site: 3 * site.out_size,
    ),
    extra("average pooling and means: 1 per output element", "aten.mean", *_AVERAGES, count=lambda site: site.out_size),
    extra("LeakyReLU: 1 per element", "aten.leaky_relu", count=_leaky),
    extra(
        "bilinear interpolation: 4 per output element", "aten.upsample_bilinear2d", count=lambda site: 4 * site.out_size
    ),
    extra("grid_sample: 0, 4 or 16 per output element", "aten.grid_sampler_2d", count=_grid),
)

CONVENTION = Convention(
    name="torchprofile",
    version=VERSION,
    call="profile_macs(model, input)",
    passes=(Pass("ops", _PRODUCTS, live=True), Pass("ops", _EXTRAS, live=True)),
    misses=missing(TOOL),
    prints="MACs",
    caveat=f"products of constants, and of sizes in Python code (h * w), count 1 per element; {SAME_PADDING}; "
    f"{ONE_OPERAND}",
)
