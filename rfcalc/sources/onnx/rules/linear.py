"""Products of matrices."""

from __future__ import annotations

import torch
from torch.nn import functional

from rfcalc.sources.onnx.rules import Op, rule

T = torch.Tensor


@rule("MatMul")
def matmul(op: Op, x: T, y: T) -> T:
    """The product of matrices, as numpy broadcasts it."""
    return torch.matmul(x, y)


@rule("Gemm")
def gemm(op: Op, a: T, b: T, c: T | None = None) -> T:
    """alpha a b + beta c, either matrix transposed if so wanted."""
    alpha, beta = op.get("alpha", 1.0), op.get("beta", 1.0)
    a = a.T if op.get("transA", 0) else a
    turned = bool(op.get("transB", 0))
    plain = alpha == 1 and (c is None or (beta == 1 and c.ndim == 1 and c.shape[0] in (b.shape[0], b.shape[1])))
    out = b.shape[0] if turned else b.shape[1]
    if plain and a.ndim == 2 and (c is None or c.shape[0] == out):
        return functional.linear(a, b if turned else b.T, c)
    found = torch.matmul(a, b.T if turned else b)
    found = found if alpha == 1 else alpha * found
    return found if c is None else found + (c if beta == 1 else beta * c)


@rule("Einsum")
def einsum(op: Op, *inputs: T) -> T:
    """Einstein's sum."""
    return torch.einsum(op.get("equation"), *inputs)
