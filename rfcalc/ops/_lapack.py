"""Multiplications and additions of dense linear algebra, as LAPACK's own tables and textbooks have them.

Sources: [LAWN41] S. Blackford and J. Dongarra, "Installation Guide for LAPACK", LAPACK Working Note 41 (1999), appendix
on operation counts by routine, where divisions and roots count as multiplications; [GVL] G. Golub and C. Van Loan,
"Matrix Computations", 4th edition (2013), for what iterates until it converges: section 8.6 (singular values), 7.5
(eigenvalues), 8.3 (those of symmetric matrices). Each function gives (multiplications, additions) of one matrix.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

#: Multiplications and additions.
Counts: TypeAlias = tuple[Fraction, Fraction]


def plus(*counts: Counts) -> Counts:
    """The sum of several counts."""
    return sum((c[0] for c in counts), Fraction()), sum((c[1] for c in counts), Fraction())


def getrf(m: int, n: int) -> Counts:
    """LU of an m x n matrix, with pivots [LAWN41]: for each column a reciprocal, scalings, and updates of the rest."""
    below = [(m - j, n - j) for j in range(1, min(m, n) + 1)]
    updates = sum(rows * columns for rows, columns in below)
    return Fraction(sum(1 + rows for rows, _ in below) + updates), Fraction(updates)


def getrs(n: int, columns: int) -> Counts:
    """Two triangular solves with the factors of an LU [LAWN41]."""
    return Fraction(columns * n * n), Fraction(columns * n * (n - 1))


def getri(n: int) -> Counts:
    """The inverse from an LU [LAWN41]."""
    size = Fraction(n)
    return size * (Fraction(5, 6) + size * (2 * size / 3 + Fraction(1, 2))), size * (
        Fraction(5, 6) + size * (2 * size / 3 - Fraction(3, 2))
    )


def potrf(n: int) -> Counts:
    """Cholesky [LAWN41]."""
    size = Fraction(n)
    return size**3 / 6 + size**2 / 2 + size / 3, size**3 / 6 - size / 6


def potri(n: int) -> Counts:
    """The inverse from a Cholesky factor [LAWN41]."""
    size = Fraction(n)
    return size**3 / 3 + size**2 + 2 * size / 3, size**3 / 3 - size**2 / 2 + size / 6


def potrs(n: int, columns: int) -> Counts:
    """Two triangular solves with a Cholesky factor [LAWN41]."""
    return Fraction(columns * n * (n + 1)), Fraction(columns * n * (n - 1))


def sytrf(n: int) -> Counts:
    """LDL of a symmetric matrix [LAWN41]."""
    size = Fraction(n)
    return size**3 / 6 + size**2 / 2 + 10 * size / 3, size**3 / 6 - size / 6


def trsm(n: int, columns: int) -> Counts:
    """One triangular solve [LAWN41]."""
    return Fraction(columns * n * (n + 1), 2), Fraction(columns * n * (n - 1), 2)


def geqrf(m: int, n: int) -> Counts:
    """Householder QR of an m x n matrix, Q as reflectors [LAWN41]."""
    rows, columns = Fraction(m), Fraction(n)
    half = Fraction(1, 2)
    if m >= n:
        common = columns * (half - columns / 3 + rows)
        return columns * (common + rows + Fraction(23, 6)), columns * (common + Fraction(5, 6))
    common = rows * (-half - rows / 3 + columns)
    return rows * (common + 2 * columns + Fraction(23, 6)), rows * (common + columns + Fraction(5, 6))


def orgqr(m: int, n: int, k: int) -> Counts:
    """The first n columns of a product of k reflectors of length m [LAWN41]."""
    one = Fraction(1)
    return (
        k * (2 * m * n + 2 * n - Fraction(5, 3) + k * (2 * one * k / 3 - (m + n) - 1)),
        k * (2 * m * n + n - m + Fraction(1, 3) + k * (2 * one * k / 3 - (m + n))),
    )


def ormqr(m: int, n: int, k: int) -> Counts:
    """A product of k reflectors of length m times an m x n matrix [LAWN41]."""
    return Fraction(2 * n * m * k - n * k * k + 2 * n * k), Fraction(2 * n * m * k - n * k * k + n * k)


def gels(m: int, n: int, columns: int) -> Counts:
    """Least squares by QR, or the shortest solution by LQ: factor, reflect, solve [LAWN41]."""
    rows, k = max(m, n), min(m, n)
    return plus(geqrf(rows, k), ormqr(rows, columns, k), trsm(k, columns))


def _halves(operations: Fraction) -> Counts:
    return operations / 2, operations / 2


def svd(m: int, n: int, vectors: str) -> Counts:
    """Singular values ("none"), with the vectors that belong to them ("thin") or all ("full") [GVL 8.6]."""
    m, n = max(m, n), min(m, n)
    if vectors == "none":
        return _halves(Fraction(4 * m * n * n) - Fraction(4 * n**3, 3))
    if vectors == "thin":
        return _halves(Fraction(14 * m * n * n + 8 * n**3))
    return _halves(Fraction(4 * m * m * n + 8 * m * n * n + 9 * n**3))


def syev(n: int, vectors: bool) -> Counts:
    """Eigenvalues of a symmetric matrix, with the vectors [GVL 8.3]."""
    return _halves(Fraction(9 * n**3) if vectors else Fraction(4 * n**3, 3))


def geev(n: int, vectors: bool) -> Counts:
    """Eigenvalues of any square matrix, with the vectors [GVL 7.5]."""
    return _halves(Fraction(25 * n**3 if vectors else 10 * n**3))


def gemm(m: int, n: int, k: int) -> Counts:
    """A matrix product, each sum starting from 0."""
    return Fraction(m * n * k), Fraction(m * n * k)
