"""Sparse tensors: only what they store is worked on. Other ops on sparse tensors than these have no rule.

Positions are those of the dense tensor that a sparse one stands for.
"""

from __future__ import annotations

import numpy as np

from rfcalc.ops._indexing import LIMIT, whole
from rfcalc.ops._linear import Product, either, formula, reshape
from rfcalc.ops.common import pointwise
from rfcalc.ops.pointwise import aten
from rfcalc.ops.registry import SPARSE, Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Take

_PATTERN = "the data decides which elements are stored"


def _sparse(names: str) -> tuple[str, ...]:
    return tuple(f"{name}{SPARSE}" for name in aten(names))


@rule(*_sparse("mm mv addmm addmv _sparse_mm _sparse_addmm bmm matmul"))
def sparse_product(call: Call) -> Effect:
    """Product with a sparse matrix: multiply-adds for each stored element and column; of two sparse ones: unknown."""
    a: Arg = either(call, "mat1", "sparse", "mat", "self")
    b: Arg = either(call, "mat2", "dense", "vec", "other")
    left, right = [*"bmk"[3 - a.ndim :]], [*"bkn"[3 - b.ndim :]] if b.ndim > 1 else ["k"]
    out = [label for label in "bmn" if label in left + right]
    product = Product(call, [a, b], [left, right], out)
    stored = a.stored if a.stored is not None else b.stored
    if stored is None or (a.stored is not None and b.stored is not None):
        return Effect("unknown", product.reads, inexact=product.inexact, masked=product.masked)
    columns = product.extent.get("n", 1) if a.stored is not None else product.extent["m"]
    size = numel(call.out.shape)
    added: list[ArgRead] = []
    flops = {}
    if "add" in call.op and call.get("beta", 1) != 0:
        added = [pointwise(call["self"], len(call.out.shape))]
        scaled = sum(call.get(name, 1) not in (0, 1) for name in ("alpha", "beta"))
        flops = {"bias": size, **({"elementwise": scaled * size} if scaled else {})}
    known = (a if a.stored is not None else b).role != "data"
    return Effect(
        "linear" if "param" in (a.role, b.role) else "matmul",
        [*product.reads, *added],
        macs=stored * columns,
        flops=flops,
        formula=formula((stored,), columns),
        attrs={"stored": stored, "columns": columns},
        inexact=product.inexact or ("" if known else _PATTERN),
        masked=product.masked,
    )


@rule(
    *_sparse(
        """_to_sparse _to_sparse_csr _to_sparse_csc _to_sparse_bsr _to_sparse_bsc to_sparse _to_dense to_dense
        _coalesce coalesce _coalesced_ sparse_mask clone _to_copy detach alias copy_ _conj"""
    )
)
def sparse_copy(call: Call) -> Effect:
    """Another layout, or a copy: one position; what is stored twice is summed, 1 operation an element."""
    x: Arg = either(call, "src", "self")
    flops = {"elementwise": x.stored or 0} if call.op.startswith("aten._coalesce(") and x.stored else {}
    return Effect("copy", [pointwise(x, len(call.out.shape))], flops=flops)


@rule(*_sparse("_sparse_coo_tensor_with_dims_and_tensors sparse_coo_tensor"))
def sparse_made(call: Call) -> Effect:
    """A sparse tensor of indices and values: each position reads the value that is put there; free."""
    indices: Arg = call["indices"]
    values: Arg = call["values"]
    out = call.out.shape
    at = indices.value() if indices.numel <= LIMIT and numel(out) <= LIMIT else None
    reads = [whole(arg, len(out)) for arg in (values, indices)]
    if at is None or values.ndim != 1 or len(at) != len(out):
        return Effect("reshape", reads, inexact=_PATTERN)
    flat = np.ravel_multi_index(tuple(at), out)
    if len(np.unique(flat)) < len(flat):
        return Effect("reshape", reads, inexact="several values at one place")
    source = np.full(numel(out), -1)
    source[flat] = np.arange(len(flat))
    return Effect("reshape", [(values, (Take(0, tuple(source.tolist())), *reshape((numel(out),), out)))])


@rule(*_sparse("_values values _indices indices crow_indices col_indices ccol_indices row_indices"))
def sparse_parts(call: Call) -> Effect:
    """What a sparse tensor stores, and where: may come from anywhere in it; free."""
    return Effect("reshape", [whole(arg, len(call.out.shape)) for arg in call.tensors()], inexact=_PATTERN)


@rule(*_sparse("neg abs sqrt square sin tanh relu sign floor ceil round trunc expm1 log1p asin atan sinh erf mul div"))
def sparse_elementwise(call: Call) -> Effect:
    """A function of 0 that is 0, or a product by a number: one position; 1 operation for each element stored."""
    x: Arg = call["self"]
    others = [arg for arg in call.tensors() if arg is not x]
    if x.stored is None or any(arg.ndim for arg in others):
        return Effect("unknown", [pointwise(arg, len(call.out.shape)) for arg in call.tensors()])
    reads = [pointwise(arg, len(call.out.shape)) for arg in (x, *others)]
    return Effect("elementwise", reads, flops={"elementwise": x.stored})
