"""fvcore's FlopCountAnalysis, and timm's published gmacs, which are its numbers.

fvcore runs torch.jit's tracer and counts the ops of the trace (fvcore/nn/flop_count.py, jit_handles.py): one for each
multiply-add, and some operations of norms, pooling and interpolation besides. An op without a handle counts nothing.
"""

from __future__ import annotations

import numpy as np

from rfcalc.conventions.facts import Facts, OpSite
from rfcalc.conventions.names import BROADCAST, CELLS, PRODUCTS, left_times_columns
from rfcalc.conventions.rules import Convention, Pass, extra, missing, products

VERSION = "0.1.5.post20221221"
TOOL = f"fvcore {VERSION}"

SAME_PADDING = 'convolutions with padding="same" given as a word count 0: torch.jit\'s trace has another op for them'
ONE_OPERAND = "einsum of one operand counts, where the graph has the views and sums that it is"

#: Functions whose product torch.jit's trace shows as one op for which fvcore has a handle.
_MATMUL = ("torch.matmul", "torch.Tensor.matmul", "torch.Tensor.__matmul__", "torch.Tensor.__rmatmul__")
_COUNTED = (
    *("torch.mm", "torch.Tensor.mm", "torch.bmm", "torch.Tensor.bmm", "torch.addmm", "torch.Tensor.addmm"),
    "torch.nn.functional.linear",
)


def matrix_product(site: OpSite) -> int | None:
    """A matmul by the shape of its left operand; the other functions that have a handle as rfcalc counts them."""
    if site.function in _MATMUL:
        return left_times_columns(site)
    return site.macs if site.function in _COUNTED else None


def einsum(site: OpSite) -> int:
    """Half of numpy's count for the best order, which numpy prints with four digits."""
    equation = str(site.node.attrs["equation"])
    if _renamed(equation) in ("abc,abd->acd", "abc,adc->adb"):
        return site.macs
    return numpy_count(site) // 2


def numpy_count(site: OpSite) -> int:
    """Operations of an einsum in the best order, as numpy's report has them: with four digits."""
    operands = [np.broadcast_to(np.float32(0), shape) for shape in site.node.attrs["operands"]]
    report = np.einsum_path(str(site.node.attrs["equation"]), *operands, optimize="optimal")[1]
    line = next(line for line in report.splitlines() if "optimized flop" in line.lower())
    return int(float(line.split(":")[-1]))


def _renamed(equation: str) -> str:
    letters = dict.fromkeys(letter for letter in equation if letter.isalpha())
    return equation.translate({ord(letter): 97 + place for place, letter in enumerate(letters)})


def batch_norm(site: OpSite) -> int:
    """2 per element with a weight, 1 without; in training as other norms."""
    if site.node.attrs.get("training"):
        return norm(site)
    return site.out_size * (2 if site.affine else 1)


def norm(site: OpSite) -> int:
    """5 per element with a weight, 4 without."""
    return site.out_size * (5 if site.affine else 4)


def adaptive_pool(site: OpSite) -> int | None:
    """1 per input element of adaptive_avg_pool2d; a mean over the same axes is none."""
    return site.in_size if site.function == "torch.nn.functional.adaptive_avg_pool2d" else None


def refuses(facts: Facts) -> str:
    """fvcore reads the last two axes of both operands of a matmul."""
    for site in facts.ops():
        if site.node.op in ("aten.mv", "aten.dot") and site.function in _MATMUL:
            return f"{TOOL} fails at a matmul with a vector ({site.name}): IndexError"
    return ""


RULES = (
    products("aten.convolution", "torch.linear", *CELLS),
    products(
        *PRODUCTS,
        count=matrix_product,
        label=BROADCAST,
        fault=f"{TOOL} takes the batch of a matmul from its left operand alone",
    ),
    products(
        "torch.einsum",
        count=einsum,
        label="einsum: half of numpy's count, in four digits",
        fault=f"{TOOL} reads the count of an einsum from a text that numpy rounds to four digits",
    ),
    extra("BatchNorm: 2 per element, 1 without weight", "torch.batch_norm", count=batch_norm),
    extra("LayerNorm: 5 per element, 4 without weight", "torch.layer_norm", count=norm),
    extra("GroupNorm: 5 per element, 4 without weight", "torch.group_norm", count=norm),
    extra("InstanceNorm: 5 per element, 4 without weight", "torch.instance_norm", count=norm),
    extra(
        "adaptive_avg_pool2d: 1 per input element",
        *("aten.mean", "aten._adaptive_avg_pool2d", "aten.adaptive_avg_pool2d"),
        count=adaptive_pool,
    ),
    extra("nearest interpolation: 1 per output element", "aten.upsample_nearest2d", count=lambda site: site.out_size),
    extra(
        "bilinear interpolation: 4 per output element", "aten.upsample_bilinear2d", count=lambda site: 4 * site.out_size
    ),
    extra("grid_sample: 4 per output element", "aten.grid_sampler_2d", count=lambda site: 4 * site.out_size),
)

CONVENTION = Convention(
    name="fvcore",
    version=VERSION,
    call="FlopCountAnalysis(model, inputs).total()",
    passes=(Pass("ops", RULES, live=True),),
    misses=missing(TOOL),
    prints="flops, 1 for each multiply-add",
    refuses=refuses,
    caveat=f"{SAME_PADDING}; {ONE_OPERAND}",
)

TIMM = Convention(
    name="timm",
    version="1.0",
    call="gmacs of its benchmark results: fvcore on the model with its fused attention off",
    passes=(Pass("ops", (products("torch.scaled_dot_product_attention"), *RULES), live=True),),
    misses=missing(TOOL),
    prints="gmacs, 10^9 of these in two decimals",
    refuses=refuses,
    caveat=f"{SAME_PADDING}; {ONE_OPERAND}",
)
