"""Sparse tensors: only what they store is worked on. Other ops on sparse tensors than these have no rule.

Positions are those of the dense tensor that a sparse one stands for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rfcalc.ops._indexing import LIMIT, whole
from rfcalc.ops._linear import Product, either, formula, reshape
from rfcalc.ops.common import pointwise
from rfcalc.ops.pointwise import aten
from rfcalc.ops.registry import SIZED_BY_DATA, SPARSE, Arg, ArgRead, Call, Effect, lookup, numel, rule
from rfcalc.reads import Take

_PATTERN = "the data decides which elements are stored"


def _sparse(names: str) -> tuple[str, ...]:
    return tuple(f"{name}{SPARSE}" for name in aten(names))


@rule(*_sparse("mm mv addmm addmv _sparse_mm _sparse_addmm bmm matmul"))
def sparse_product(call: Call) -> Effect:
    """Product with a sparse matrix: multiply-adds for each stored element and column; of two: for each pair."""
    a: Arg = either(call, "mat1", "sparse", "mat", "self")
    b: Arg = either(call, "mat2", "dense", "vec", "other")
    left, right = [*"bmk"[3 - a.ndim :]], [*"bkn"[3 - b.ndim :]] if b.ndim > 1 else ["k"]
    out = [label for label in "bmn" if label in left + right]
    product = Product(call, [a, b], [left, right], out)
    macs, text, attrs = _worked_on(a, b, product)
    if macs is None:
        return Effect("unknown", product.reads, inexact=product.inexact, masked=product.masked)
    size = numel(call.out.shape)
    added: list[ArgRead] = []
    flops = {}
    if "add" in call.op and call.get("beta", 1) != 0:
        added = [pointwise(call["self"], len(call.out.shape))]
        scaled = sum(call.get(name, 1) not in (0, 1) for name in ("alpha", "beta"))
        flops = {"bias": size, **({"elementwise": scaled * size} if scaled else {})}
    known = all(arg.role != "data" for arg in (a, b) if arg.stored is not None)
    return Effect(
        "linear" if "param" in (a.role, b.role) else "matmul",
        [*product.reads, *added],
        macs=macs,
        flops=flops,
        formula=text,
        attrs=attrs,
        inexact=product.inexact or ("" if known else _PATTERN),
        masked=product.masked,
    )


def _worked_on(a: Arg, b: Arg, product: Product) -> tuple[int | None, str, dict[str, int]]:
    """Multiply-adds of a product, as a formula and as facts; None where it is not known which elements meet."""
    if a.stored is None or b.stored is None:
        stored = b.stored if a.stored is None else a.stored
        columns = product.extent["m"] if a.stored is None else product.extent.get("n", 1)
        if stored is None:
            return None, "", {}
        return stored * columns, formula((stored,), columns), {"stored": stored, "columns": columns}
    first, second = (arg.lines() if arg.lines is not None else None for arg in (a, b))
    if first is None or second is None:
        return None, "", {}
    pairs = int(first[1] @ second[0])
    return pairs, "", {"stored": a.stored, "stored_other": b.stored}


@rule(*_sparse("hspmm smm _sparse_mm_reduce_impl"))
def sparse_product_reduced(call: Call) -> Effect:
    """Product with a sparse matrix whose rows are summed; a mean divides, and a largest or smallest one compares."""
    a: Arg = either(call, "mat1", "self")
    b: Arg = either(call, "mat2", "other")
    product = Product(call, [a, b], ["mk", "kn"], "mn")
    columns = product.extent["n"]
    if a.stored is None:
        return Effect("unknown", product.reads)
    how = call.get("reduce", "sum")
    macs, flops = a.stored * columns, {}
    if how in ("amax", "amin"):  # products, and comparisons in place of sums
        macs, flops = 0, {"elementwise": macs, "reduction": macs}
    elif how == "mean":
        flops = {"elementwise": product.extent["m"] * columns}
    rows = [product.reads, *[[]] * (len(call.outs) - 1)]  # the others say what a gradient needs
    return Effect(
        "linear" if "param" in (a.role, b.role) else "matmul",
        rows,
        each=True,
        macs=macs,
        flops=flops,
        formula=formula((a.stored,), columns) if macs else "",
        attrs={"stored": a.stored, "columns": columns},
        inexact=product.inexact or ("" if a.role != "data" else _PATTERN),
        masked=product.masked,
    )


@rule(*_sparse("sparse_sampled_addmm"))
def sparse_sampled(call: Call) -> Effect:
    """The elements of a product that a sparse matrix stores, added to it: for each, the extent that is summed."""
    x: Arg = call["self"]
    product = Product(call, [call["mat1"], call["mat2"]], ["mk", "kn"], "mn")
    stored = x.stored or 0
    beta = call.get("beta", 1)
    scaled = sum(call.get(name, 1) not in (0, 1) for name in ("alpha", "beta"))
    flops = ({"bias": stored} if beta else {}) | ({"elementwise": scaled * stored} if scaled else {})
    return Effect(
        "matmul",
        [*product.reads, pointwise(x, len(call.out.shape))],
        macs=stored * product.contracted,
        flops=flops,
        formula=formula((stored,), product.contracted),
        attrs={"stored": stored},
        masked=product.masked,
        inexact=product.inexact or ("" if x.role != "data" else _PATTERN),
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
    sized = (SIZED_BY_DATA,) if x.stored is None and x.reads_data else ()
    return Effect("copy", [pointwise(x, len(call.out.shape))], flops=flops, notes=sized)


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


@rule(*_sparse("sparse_compressed_tensor _sparse_compressed_tensor_unsafe sparse_csr_tensor sparse_csc_tensor"))
def sparse_compressed(call: Call) -> Effect:
    """A sparse tensor of compressed indices and values: a position may read any of them; free."""
    return Effect("reshape", [whole(arg, len(call.out.shape)) for arg in call.tensors()], inexact=_PATTERN)


@rule("aten._convert_indices_from_coo_to_csr", "aten._convert_indices_from_csr_to_coo")
def sparse_indices(call: Call) -> Effect:
    """The same places as another layout names them: all of them may count; free."""
    return Effect("reshape", [whole(arg, len(call.out.shape)) for arg in call.tensors()])


@rule(*_sparse("is_coalesced _nnz sparse_dim dense_dim"))
def sparse_facts(call: Call) -> Effect:
    """How a sparse tensor stores what it stores, no tensor; free."""
    return Effect("reshape")


def _as_dense(call: Call) -> Effect:
    """What the op's rule for dense tensors says."""
    plain = call.op.removesuffix(SPARSE).replace("._sparse_", ".")
    dense = lookup(plain) or lookup(plain.replace("aten.", "aten._"))
    assert dense is not None
    return dense(call.like(plain, call.args))


@rule(*_sparse("t transpose permute unsqueeze squeeze select index_select narrow cat stack zeros_like empty_like"))
def sparse_moved(call: Call) -> Effect:
    """Movement of a sparse tensor: what the same does to a dense one; free."""
    return _as_dense(call)


@rule(*_sparse("sum _sparse_sum _sparse_softmax _sparse_log_softmax"))
def sparse_reduced(call: Call) -> Effect:
    """A sum or a softmax: among what is stored along the axes; as for a dense one, for each element stored."""
    x: Arg = call["self"]
    return _for_stored(_as_dense(call), x.stored, x.numel)


@rule(
    *_sparse(
        """neg abs sqrt square sin tan tanh relu sign sgn floor ceil round trunc frac expm1 log1p asin asinh atan atanh
        sinh erf erfinv deg2rad rad2deg isnan isinf isposinf isneginf signbit pow mul div add sub threshold"""
    )
)
def sparse_elementwise(call: Call) -> Effect:
    """A function of 0 that is 0: as for a dense tensor, for each element stored; of two, by the one that has fewer."""
    rank = len(call.out.shape)
    stored = [arg.stored for arg in call.tensors() if arg.stored is not None]
    if not stored or any(arg.stored is not None and arg.shape != call.out.shape for arg in call.tensors()):
        return Effect("unknown", [pointwise(arg, rank) for arg in call.tensors()])
    return _for_stored(_as_dense(call), min(stored), numel(call.out.shape))


def _for_stored(dense: Effect, stored: int | None, size: int) -> Effect:
    """What is said of each of so many elements, said of those that are stored."""
    flops = {category: count * (stored or 0) // max(1, size) for category, count in dense.flops.items()}
    return replace(dense, flops=flops, blocked=None, zero=None, true=None)
