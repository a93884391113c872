"""Matrix products: linear layers, matmul in all its forms, einsum, bilinear forms and pairwise distances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rfcalc.ops._indexing import DATA, whole
from rfcalc.ops._linear import Product, either, formula, optional, trailing
from rfcalc.ops._masks import known_blocked, union
from rfcalc.ops.common import drop_axes, pointwise
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Reduce, Take


def _kind(*operands: Arg) -> str:
    return "linear" if any(operand.role == "param" for operand in operands) else "matmul"


def _axes(count: int) -> list[str]:
    """Labels of leading axes, numbered from the right so that they broadcast."""
    return [f"...{k}" for k in range(count, 0, -1)]


def _effect(
    call: Call,
    product: Product,
    kind: str,
    attrs: dict[str, Any],
    added: Sequence[ArgRead] = (),
    flops: dict[str, int] | None = None,
) -> Effect:
    return Effect(
        kind,
        [*product.reads, *added],
        macs=product.macs,
        flops=flops or {},
        formula=formula(call.out.shape, product.contracted),
        attrs=attrs,
        inexact=product.inexact,
        masked=product.masked,
        zero=None if added else product.zero,
    )


@rule("torch.linear", "aten.linear")
def linear(call: Call) -> Effect:
    """Linear layer: each output reads the whole last axis; positions x out x in multiply-adds."""
    x: Arg = call["input"]
    weight: Arg = call["weight"]
    bias: Arg | None = call["bias"]
    lead = _axes(x.ndim - 1)
    out = ["out"] if weight.ndim == 2 else []
    product = Product(call, [x, weight], [[*lead, "in"], [*out, "in"]], [*lead, *out])
    attrs = {"in_features": x.shape[-1], "out_features": weight.shape[0] if weight.ndim == 2 else 1}
    kind = "linear" if weight.ndim == 2 else _kind(x, weight)
    flops = {} if bias is None else {"bias": numel(call.out.shape)}
    return _effect(call, product, kind, attrs, optional([trailing(bias, len(call.out.shape))]), flops)


def _matrix_product(call: Call, a: Arg, b: Arg) -> tuple[Product, dict[str, Any]]:
    """matmul's rules: a vector is a row on the left, a column on the right; leading axes broadcast."""
    left = ["k"] if a.ndim == 1 else [*_axes(a.ndim - 2), "m", "k"]
    right = ["k"] if b.ndim == 1 else [*_axes(b.ndim - 2), "k", "n"]
    out = _axes(max(a.ndim, b.ndim, 2) - 2) + ["m"] * (a.ndim > 1) + ["n"] * (b.ndim > 1)
    product = Product(call, [a, b], [left, right], out)
    rows, inner, columns = (product.extent.get(label, 1) for label in "mkn")
    if _kind(a, b) == "linear":
        attrs = {"in_features": inner, "out_features": columns if b.role == "param" else rows}
    else:
        attrs = {"batch": product.macs // max(1, rows * inner * columns), "m": rows, "k": inner, "n": columns}
    return product, attrs


@rule("aten.mm", "aten.bmm", "aten.mv", "aten.dot", "aten.vdot", "aten.matmul", "torch.matmul", "aten._int_mm")
def matmul(call: Call) -> Effect:
    """Matrix product: reads a row of one and a column of the other; batch x m x k x n multiply-adds."""
    a: Arg = either(call, "self", "input")
    b: Arg = either(call, "mat2", "vec", "tensor", "other")
    product, attrs = _matrix_product(call, a, b)
    return _effect(call, product, _kind(a, b), attrs)


@rule(
    "aten.addmm", "aten.addmm_", "aten._addmm_activation", "aten.baddbmm", "aten.baddbmm_", "aten.addmv", "aten.addmv_"
)
def matmul_plus(call: Call) -> Effect:
    """Matrix product added to a tensor: batch x m x k x n multiply-adds; with beta 0 the tensor is not read."""
    a: Arg = either(call, "mat1", "batch1", "mat")
    b: Arg = either(call, "mat2", "batch2", "vec")
    product, attrs = _matrix_product(call, a, b)
    return _plus(call, product, _kind(a, b), attrs)


def _plus(call: Call, product: Product, kind: str, attrs: dict[str, Any]) -> Effect:
    """beta * self + alpha * product: a factor other than 1 is one more operation an element."""
    size = numel(call.out.shape)
    beta, alpha = call.get("beta", 1), call.get("alpha", 1)
    scaled = sum(factor not in (0, 1) for factor in (beta, alpha)) * size
    flops = {"bias": size * (beta != 0), "elementwise": scaled, "activation": size * (call["use_gelu"] is not None)}
    added = [pointwise(call["self"], len(call.out.shape))] if beta != 0 else []
    effect = _effect(call, product, kind, attrs, added, {name: count for name, count in flops.items() if count})
    blocked = known_blocked(call["self"], beta) if beta != 0 else None  # attention adds its mask this way
    return replace(effect, blocked=union(len(call.out.shape), blocked))


@rule("aten.addbmm", "aten.addbmm_")
def addbmm(call: Call) -> Effect:
    """Sum over the batch of matrix products, added to a tensor: batch x m x k x n multiply-adds."""
    a: Arg = call["batch1"]
    b: Arg = call["batch2"]
    product = Product(call, [a, b], ["bmk", "bkn"], "mn")
    return _plus(call, product, _kind(a, b), {"batch": a.shape[0], "m": a.shape[1], "k": a.shape[2], "n": b.shape[2]})


@rule("aten.outer", "aten.ger", "torch.outer")
def outer(call: Call) -> Effect:
    """Outer product of two vectors: m x n multiply-adds."""
    a: Arg = either(call, "self", "input")
    b: Arg = call["vec2"]
    return _effect(call, Product(call, [a, b], ["m", "n"], "mn"), _kind(a, b), {"m": a.shape[0], "n": b.shape[0]})


@rule("aten.addr", "aten.addr_")
def addr(call: Call) -> Effect:
    """Outer product added to a matrix: m x n multiply-adds."""
    a: Arg = call["vec1"]
    b: Arg = call["vec2"]
    product = Product(call, [a, b], ["m", "n"], "mn")
    return _plus(call, product, _kind(a, b), {"m": a.shape[0], "n": b.shape[0]})


@rule("aten._scaled_mm")
def scaled_mm(call: Call) -> Effect:
    """Matrix product of 8-bit numbers with scales: m x k x n multiply-adds, one scaling an element."""
    a: Arg = call["self"]
    b: Arg = call["mat2"]
    product, attrs = _matrix_product(call, a, b)
    size = numel(call.out.shape)
    bias: Arg | None = call["bias"]
    added = optional([trailing(bias, 2), *(trailing(call[name], 2) for name in ("scale_a", "scale_b"))])
    flops = {"elementwise": size} if bias is None else {"elementwise": size, "bias": size}
    return _effect(call, product, _kind(a, b), attrs, added, flops)


@rule("aten._grouped_mm")
def grouped_mm(call: Call) -> Effect:
    """Products of groups of rows, each with a matrix of its own (experts): rows x k x n multiply-adds, in all groups
    together."""
    a: Arg = call["self"]
    b: Arg = call["mat2"]
    bounds: Arg | None = call["offs"]
    rank = len(call.out.shape)
    left, right, out = "gmk"[3 - a.ndim :], "gkn"[3 - b.ndim :], "gmn"[3 - rank :]
    product = Product(call, [a, b], [left, right], out)
    groups = product.extent.get("g", 1) if bounds is None else bounds.numel
    once = product.macs if "g" in out else product.macs // groups  # of all groups, a row or column is in one
    rows, inner, columns = (product.extent[label] for label in "mkn")
    kind = _kind(a, b)
    shape = {"in_features": inner, "out_features": columns} if kind == "linear" else {"k": inner, "n": columns}
    together = "g" not in left + right or any("g" in labels and x.reads_data for x, labels in ((a, left), (b, right)))
    inexact = "" if bounds is None else DATA if bounds.reads_data else "groups are not told apart" if together else ""
    return Effect(
        kind,
        [*product.reads, *([] if bounds is None else [whole(bounds, rank)])],
        macs=once,
        formula=formula((1, rows, columns), inner) if bounds is not None else formula(call.out.shape, inner),
        attrs={"groups": groups, **shape},
        inexact=inexact,
    )


# --- einsum -----------------------------------------------------------------------------------------------------------


@rule("torch.einsum", "aten.einsum")
def einsum(call: Call) -> Effect:
    """Einsum: two operands multiply-add once for each combination of indices; more are contracted left to right."""
    operands: tuple[Any, ...] = either(call, "operands", "tensors")
    if len(operands) == 1 and isinstance(operands[0], tuple):
        operands = operands[0]
    equation = "".join(call["equation"].split())
    labels, out = parse_einsum(equation, [operand.ndim for operand in operands])
    product = Product(call, operands, labels, out)
    attrs = {"equation": equation, "operands": [list(operand.shape) for operand in operands]}
    if len(operands) > 1:
        effect = _effect(call, product, _kind(*operands), attrs)
        return effect if len(operands) == 2 else replace(effect, formula="")
    sums = product.contracted > 1
    flops = {"reduction": operands[0].numel} if sums else {}
    return Effect("reduction" if sums else "reshape", product.reads, flops=flops, attrs=attrs)


def parse_einsum(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """The labels of every operand and of the result; an ellipsis stands for numbered labels, aligned to the right.

    >>> parse_einsum("...ij,jk", [3, 2])
    ([['...1', 'i', 'j'], ['j', 'k']], ['...1', 'i', 'k'])
    """
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    spans = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    widest = max([span for span, term in zip(spans, terms, strict=True) if "..." in term], default=0)
    labels = [_labels(term, span) for term, span in zip(terms, spans, strict=True)]
    if arrow:
        return labels, _labels(right, widest)
    counts = Counter(label for row in labels for label in row)
    once = sorted(label for label, count in counts.items() if count == 1 and not label.startswith("..."))
    return labels, _axes(widest) + once


def _labels(term: str, span: int) -> list[str]:
    before, dots, after = term.partition("...")
    return [*before, *(_axes(span) if dots else ()), *after]


# --- bilinear forms and distances -------------------------------------------------------------------------------------


@rule("torch.bilinear", "aten.bilinear")
def bilinear(call: Call) -> Effect:
    """Bilinear form: positions x out x in1 x in2, then x in2, multiply-adds (contracted from left to right)."""
    a: Arg = call["input1"]
    b: Arg = call["input2"]
    weight: Arg = call["weight"]
    bias: Arg | None = call["bias"]
    lead = _axes(a.ndim - 1)
    product = Product(call, [a, weight, b], [[*lead, "i"], ["o", "i", "j"], [*lead, "j"]], [*lead, "o"])
    attrs = {"in1_features": a.shape[-1], "in2_features": b.shape[-1], "out_features": weight.shape[0]}
    flops = {} if bias is None else {"bias": numel(call.out.shape)}
    effect = _effect(call, product, "linear", attrs, optional([trailing(bias, len(call.out.shape))]), flops)
    positions = numel(call.out.shape)
    terms = f"({positions}) x ({a.shape[-1]}x{b.shape[-1]}) + ({positions}) x ({b.shape[-1]})"
    return replace(effect, formula=terms)


@rule("aten._trilinear")
def trilinear(call: Call) -> Effect:
    """Sum of the product of three tensors along given axes, multiply-adds contracted from left to right."""
    operands: list[Arg] = [call[name] for name in ("i1", "i2", "i3")]
    expands: list[Sequence[int]] = [call[name] for name in ("expand1", "expand2", "expand3")]
    rank = operands[0].ndim + len(expands[0])
    labels = [[f"{axis}" for axis in range(rank) if axis not in expand] for expand in expands]
    out = [f"{axis}" for axis in range(rank) if axis not in call["sumdim"]]
    product = Product(call, operands, labels, out)
    return Effect(
        _kind(*operands), product.reads, macs=product.macs, attrs={}, inexact=product.inexact, masked=product.masked
    )


@rule("aten._cdist_forward", "aten.cdist", "torch.cdist", "aten._euclidean_dist")
def cdist(call: Call) -> Effect:
    """Distances between the rows of two tensors: 3 operations for each pair and feature, a root for each pair."""
    a: Arg = call["x1"]
    b: Arg = call["x2"]
    rank = len(call.out.shape)
    rows = [*_axes(rank - 2), "m", "k"]
    columns = [*_axes(rank - 2), "n", "k"]
    product = Product(call, [a, b], [rows[rank - a.ndim :], columns[rank - b.ndim :]], [*rows[:-1], "n"], False)
    size = numel(call.out.shape)
    flops = {"other": size * (3 * a.shape[-1] + 1)}
    return Effect("matmul", product.reads, flops=flops, attrs={"p": f"{call.get('p', 2.0):g}"})


@rule("aten._pdist_forward", "aten.pdist", "torch.pdist")
def pdist(call: Call) -> Effect:
    """Distances between all pairs of rows: 3 operations for each pair and feature, a root for each pair."""
    x: Arg = either(call, "self", "input")
    rows = (Reduce((1,)), *drop_axes(x.shape, (1,)))
    pairs = np.triu_indices(x.shape[0], 1)
    reads = [(x, (*rows, Take(0, tuple(index.tolist())))) for index in pairs]
    size = numel(call.out.shape)
    return Effect("matmul", reads, flops={"other": size * (3 * x.shape[1] + 1)}, attrs={"p": f"{call.get('p', 2.0):g}"})
