"""Decompositions of matrices, and Fourier transforms."""

from __future__ import annotations

from math import prod

import torch

from rfcalc.sources.jax.rules import Op, ints, rule

T = torch.Tensor


@rule("cholesky")
def cholesky(op: Op, x: T) -> T:
    """The lower triangular factor of positive definite matrices."""
    return torch.linalg.cholesky_ex(x).L


@rule("triangular_solve")
def triangular_solve(op: Op, a: T, b: T) -> T:
    """What a triangular matrix maps to another."""
    turned = op["transpose_a"]
    a = a.transpose(-1, -2) if turned else a
    a = a.conj() if op["conjugate_a"] and a.is_complex() else a
    upper = bool(op["lower"]) == bool(turned)
    return torch.linalg.solve_triangular(
        a, b, upper=upper, left=bool(op["left_side"]), unitriangular=bool(op["unit_diagonal"])
    )


@rule("lu")
def lu(op: Op, x: T) -> list[T]:
    """Both triangular factors in one matrix, the pivots, and the permutation."""
    factors, pivots = torch.linalg.lu_factor(x)
    order = torch.argmax(torch.lu_unpack(factors, pivots)[0], -2)
    return [factors, pivots - 1, order]


@rule("qr")
def qr(op: Op, x: T) -> list[T]:
    """An orthogonal factor and a triangular one."""
    return list(torch.linalg.qr(x, "complete" if op["full_matrices"] else "reduced"))


@rule("eigh")
def eigh(op: Op, x: T) -> list[T]:
    """Eigenvectors and eigenvalues of symmetric matrices."""
    values, vectors = torch.linalg.eigh(x, "L" if op["lower"] else "U")
    return [vectors, values]


@rule("svd")
def svd(op: Op, x: T) -> list[T]:
    """Singular values, and the vectors if they are asked for."""
    if not op["compute_uv"]:
        return [torch.linalg.svdvals(x)]
    left, values, right = torch.linalg.svd(x, bool(op["full_matrices"]))
    return [values, left, right]


@rule("fft")
def fft(op: Op, x: T) -> T:
    """A Fourier transform over the last axes."""
    lengths = ints(op["fft_lengths"])
    axes = list(range(x.ndim - len(lengths), x.ndim))
    kind = getattr(op["fft_type"], "name", str(op["fft_type"])).upper()
    run = {"FFT": torch.fft.fftn, "IFFT": torch.fft.ifftn, "RFFT": torch.fft.rfftn, "IRFFT": torch.fft.irfftn}
    if prod(lengths) == 0:
        raise ValueError("a transform of no elements")
    return run[kind](x, lengths, axes)
