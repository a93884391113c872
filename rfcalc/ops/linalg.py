"""Dense linear algebra: factorizations, solves, determinants, functions of matrices (`rfcalc.ops._lapack` counts).

Every matrix of a batch is worked on by itself. Operations stand in a category of their own, ``linalg``.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from rfcalc.ops import _lapack
from rfcalc.ops._lapack import Counts
from rfcalc.ops._linear import either, permute, reshape
from rfcalc.ops.common import align
from rfcalc.ops.complex_numbers import is_complex
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Blocked, Place, Prefix, Reduce, Slice, Step, Steps, Take

_PIVOTS = "the data decides the pivots"
_REFLECTORS = "every element is taken to read all reflectors"

#: Larger matrices are not told apart above and below the diagonal.
LARGEST = 2048


def _linalg(x: Arg, counts: Counts, reads: list[Any], batch: int | None = None, **more: Any) -> Effect:
    """One count for each matrix of a batch, that of ``x`` or a broadcast one. Complex: 6 and 2 operations."""
    products, sums = (6, 2) if is_complex(x) else (1, 1)
    each = ceil(products * counts[0] + sums * counts[1])
    operations = each * (numel(x.shape[:-2]) if batch is None else batch)
    flops = {"linalg": operations} if operations else {}
    attrs = {"rows": x.shape[-2], "columns": x.shape[-1]}
    return Effect("matmul", reads, each=True, flops=flops, attrs=attrs, real=True, **more)


def _all(x: Arg, rank: int, below: int = 2) -> ArgRead:
    """All of a matrix, for a result of that rank of which the last ``below`` axes are the matrix's."""
    whole: Steps = (Reduce((x.ndim - 2, x.ndim - 1)),)
    lead = x.shape[:-2]
    return x, (*whole, *reshape((*lead, 1, 1), (1,) * (rank - below - len(lead)) + lead + (1,) * below))


def _batched(call: Call, x: Arg) -> list[list[ArgRead]]:
    """All of a matrix for every result: those with as many batch axes as it has, before what they hold for each."""
    lead = x.ndim - 2
    return [[_all(x, len(out.shape), len(out.shape) - lead)] for out in call.outs]


def _above(n: int, m: int, *, upper: bool, diagonal: bool = True) -> np.ndarray:
    """Where a triangular matrix holds nothing: above the diagonal, or below it where it is an upper one."""
    full = np.ones((n, m), dtype=bool)
    away = 1 if diagonal else 0
    return np.tril(full, -away) if upper else np.triu(full, away)


def _triangle(call: Call, x: Arg, *, upper: bool, diagonal: bool = True) -> Steps:
    """The step to the part of a matrix that is read where it is triangular; all of it where that would be large."""
    if x.shape[-1] > LARGEST:
        return ()
    mask = _above(x.shape[-2], x.shape[-1], upper=upper, diagonal=diagonal)
    return (Blocked(call.mask(mask.reshape((1,) * (x.ndim - 2) + mask.shape))),)


def _too_large(x: Arg) -> str:
    return "a matrix too large to tell its triangles apart" if x.shape[-1] > LARGEST else ""


# --- factorizations ---------------------------------------------------------------------------------------------------


@rule("aten.linalg_cholesky_ex", "aten.cholesky")
def cholesky(call: Call) -> Effect:
    """Cholesky: an element reads its own row and all rows up to its column, of one triangle; LAPACK's count."""
    x: Arg = call["self"]
    n = x.shape[-1]
    rows, columns = x.ndim - 2, x.ndim - 1
    upper = bool(call["upper"])
    swapped = (*range(rows), columns, rows)
    triangle = _triangle(call, x, upper=upper)
    # Lower: element (i, j) reads A[i, :j] and A[:j, :j]; an upper factor is the transposed of that.
    own, shared = (rows, columns) if upper else (columns, rows)
    reads: list[ArgRead] = [(x, (*triangle, Prefix(own, n)))]
    both: list[Step] = [*triangle, Prefix(shared, n), Reduce((own,))]
    reads.append((x, (*both, *permute(swapped))))
    if x.shape[-1] <= LARGEST:
        zero = _above(n, n, upper=upper).reshape((1,) * rows + (n, n))
        outside = Blocked(call.mask(zero))
        reads = [(arg, (*steps, outside)) for arg, steps in reads]
    else:
        zero = None
        reads = [_all(x, x.ndim)]
    rest = [[_all(x, len(out.shape), 0)] for out in call.outs[1:]]
    return _linalg(x, _lapack.potrf(n), [reads, *rest], zero=zero, inexact=_too_large(x), masked=False)


@rule("aten.linalg_lu_factor_ex", "aten.linalg_lu_factor", "aten._lu_with_info", "aten.linalg_lu")
def lu(call: Call) -> Effect:
    """LU with pivots: reads its whole matrix, for the data decides the pivots; LAPACK's count."""
    x: Arg = either(call, "A", "self")
    m, n = x.shape[-2:]
    return _linalg(x, _lapack.getrf(m, n), _batched(call, x), inexact=_PIVOTS)


@rule("aten.linalg_ldl_factor_ex", "aten.linalg_ldl_factor")
def ldl(call: Call) -> Effect:
    """LDL of a symmetric matrix: reads its whole matrix, for the data decides the pivots; LAPACK's count."""
    x: Arg = call["self"]
    n = x.shape[-1]
    return _linalg(x, _lapack.sytrf(n), _batched(call, x), inexact=_PIVOTS)


@rule("aten.linalg_qr")
def qr(call: Call) -> Effect:
    """QR by reflectors: column j of Q reads the columns up to j, element (i, j) of R those up to i, and j."""
    x: Arg = call["A"]
    m, n = x.shape[-2:]
    k, rank = min(m, n), x.ndim
    q, r = call.outs[0].shape, call.outs[1].shape
    whole: Steps = (Reduce((rank - 2,)),)
    before: Steps = (*whole, Prefix(rank - 1, n))
    last = min(n - 1, m - 1 if is_complex(x) else m - 2)  # one real number is left as it is, by no reflector
    seen = [min(j, last) for j in range(q[-1] if numel(q) else 0)]
    rows = [min(i, last) for i in range(r[-2])]
    reads: list[list[ArgRead]] = [[(x, (*before, Take(rank - 1, tuple(seen))))] if seen else []]
    filled: Steps = ()
    if max(m, n) <= LARGEST:
        below = np.tril(np.ones(r[-2:], dtype=bool), -1).reshape((1,) * (rank - 2) + r[-2:])
        filled = (Blocked(call.mask(below)),)
    turned = permute((*range(rank - 2), rank - 1, rank - 2))
    columns: ArgRead = (x, (*whole, *filled))
    reads.append([columns, (x, (*before, Take(rank - 1, tuple(rows)), *turned, *filled))])
    counts = _lapack.geqrf(m, n)
    if seen:
        counts = _lapack.plus(counts, _lapack.orgqr(m, q[-1], k))
    return _linalg(x, counts, reads, inexact=_too_large(x))


@rule("aten.geqrf")
def geqrf(call: Call) -> Effect:
    """QR with Q as reflectors: reads its whole matrix; LAPACK's count."""
    x: Arg = call["self"]
    m, n = x.shape[-2:]
    return _linalg(x, _lapack.geqrf(m, n), _batched(call, x), inexact=_REFLECTORS)


@rule("aten.linalg_householder_product", "aten.orgqr")
def householder_product(call: Call) -> Effect:
    """The first columns of a product of reflectors: reads all of them; LAPACK's count."""
    x: Arg = either(call, "input", "self")
    tau: Arg = either(call, "tau", "input2")
    m, n = x.shape[-2:]
    k = tau.shape[-1]
    scales: ArgRead = (tau, (Reduce((tau.ndim - 1,)), *reshape((*tau.shape[:-1], 1), (*tau.shape[:-1], 1, 1))))
    reads = [[_all(x, x.ndim), scales]]
    return _linalg(x, _lapack.orgqr(m, n, k), reads, inexact=_REFLECTORS)


@rule("aten.ormqr")
def ormqr(call: Call) -> Effect:
    """A product of reflectors times a matrix: reads all reflectors, and a column (row) of it; LAPACK's count."""
    x: Arg = call["self"]
    tau: Arg = call["input2"]
    other: Arg = call["input3"]
    left = call.get("left", True)
    m, n = other.shape[-2:] if left else other.shape[:-3:-1]
    scales: ArgRead = (tau, (Reduce((tau.ndim - 1,)), *reshape((*tau.shape[:-1], 1), (*tau.shape[:-1], 1, 1))))
    line: ArgRead = (other, (Reduce((other.ndim - (2 if left else 1),)),))
    reads = [[_all(x, x.ndim), scales, line]]
    return _linalg(x, _lapack.ormqr(m, n, tau.shape[-1]), reads, inexact=_REFLECTORS)


@rule("aten._linalg_svd", "aten.linalg_svd", "aten.linalg_svdvals", "aten.svd")
def svd(call: Call) -> Effect:
    """Singular values: reads its whole matrix; 4mn^2 - 4n^3/3 operations, with vectors 14mn^2 + 8n^3, full more."""
    x: Arg = either(call, "A", "self")
    m, n = x.shape[-2:]
    wanted = call.op not in ("aten.linalg_svdvals",) and call.get("compute_uv", True)
    full = call.get("full_matrices", call.op == "aten.linalg_svd")
    vectors = ("full" if full and m != n else "thin") if wanted else "none"
    effect = _linalg(x, _lapack.svd(m, n, vectors), _batched(call, x))
    effect.attrs = {**effect.attrs, "vectors": vectors}
    return effect


@rule("aten._linalg_eigh", "aten.linalg_eigh", "aten.linalg_eigvalsh")
def eigh(call: Call) -> Effect:
    """Eigenvalues of symmetric matrices: reads one triangle; 4n^3/3 operations, with vectors 9n^3."""
    x: Arg = either(call, "A", "self")
    n = x.shape[-1]
    vectors = call.op != "aten.linalg_eigvalsh" and bool(call.get("compute_v", True))
    triangle = _triangle(call, x, upper=str(call.get("UPLO", "L")).upper() == "U")
    lead = x.shape[:-2]
    reads: list[list[ArgRead]] = []
    for out in call.outs:
        inside = len(out.shape) - len(lead)
        steps: Steps = (*triangle, Reduce((x.ndim - 2, x.ndim - 1)), *reshape((*lead, 1, 1), lead + (1,) * inside))
        reads.append([(x, steps)])
    return _linalg(x, _lapack.syev(n, vectors), reads, inexact=_too_large(x))


@rule("aten.linalg_eig", "aten.linalg_eigvals", "aten._linalg_eigvals")
def eig(call: Call) -> Effect:
    """Eigenvalues of square matrices: reads the whole matrix; 10n^3 operations, with vectors 25n^3."""
    x: Arg = call["self"]
    n = x.shape[-1]
    return _linalg(x, _lapack.geev(n, len(call.outs) > 1), _batched(call, x))


# --- solves and inverses ----------------------------------------------------------------------------------------------


def _columns(b: Arg, rank: int, axis: int = -2) -> ArgRead:
    """A column (a row) of the right-hand side."""
    steps = align(b.shape, rank)
    return b, (*steps, Reduce((rank + axis,)))


def _solved(call: Call, a: Arg, b: Arg, counts: Any, matrix: Steps = (), inexact: str = "") -> Effect:
    """``counts(n, columns)`` operations; the result reads all of a matrix and a column of the right-hand side."""
    out = call.out.shape
    vector = b.ndim == a.ndim - 1 and b.ndim == len(out)
    left = call.get("left", True)
    n = a.shape[-1]
    columns = 1 if vector else out[-1 if left else -2]
    lead = a.shape[:-2]
    inside = 1 if vector else 2
    read: ArgRead = (
        a,
        (
            *matrix,
            Reduce((a.ndim - 2, a.ndim - 1)),
            *reshape((*lead, 1, 1), (1,) * (len(out) - inside - len(lead)) + lead + (1,) * inside),
        ),
    )
    line = _columns(b, len(out), -1 if vector or not left else -2)
    reads: list[list[ArgRead]] = [
        [read, line],
        *([_all(a, len(o.shape), len(o.shape) - len(lead))] for o in call.outs[1:]),
    ]
    return _linalg(a, counts(n, columns), reads, batch=numel(out) // max(1, n * columns), inexact=inexact)


@rule("aten._linalg_solve_ex", "aten.linalg_solve_ex", "aten.linalg_solve")
def solve(call: Call) -> Effect:
    """A linear system: an unknown reads the whole matrix and its column; an LU and two triangular solves."""
    return _solved(
        call, call["A"], call["B"], lambda n, columns: _lapack.plus(_lapack.getrf(n, n), _lapack.getrs(n, columns))
    )


@rule("aten.linalg_lu_solve", "aten.lu_solve")
def lu_solve(call: Call) -> Effect:
    """A system with a known LU: an unknown reads L, its column, and U from its own row on; LAPACK's count."""
    packed: Arg = either(call, "LU", "LU_data")
    plain = call.get("left", True) and not call["adjoint"]
    effect = _solved(call, packed, either(call, "B", "self"), _lapack.getrs, inexact=_too_large(packed))
    rank, out = len(call.out.shape), call.out.shape
    if plain and not effect.inexact and len(out) >= packed.ndim:
        below = _triangle(call, packed, upper=False, diagonal=False)
        whole: Steps = (*align(packed.shape, rank), Reduce((rank - 2, rank - 1)))
        rows: Steps = (
            *align(packed.shape, rank),
            Prefix(rank - 2, packed.shape[-1], reverse=True),
            Reduce((rank - 1,)),
        )
        above = _triangle(call, packed, upper=True)
        effect.reads[0][:1] = [(packed, (*below, *whole)), (packed, (*above, *rows))]
    elif not effect.inexact:
        effect.inexact = "every unknown is taken to read both factors"
    return _with_pivots(effect, either(call, "pivots", "LU_pivots"), rank)


def _with_pivots(effect: Effect, pivots: Arg, rank: int) -> Effect:
    """The order of the rows is read, too."""
    lead = pivots.shape[:-1]
    order = (Reduce((pivots.ndim - 1,)), *reshape((*lead, 1), (1,) * (rank - 2 - len(lead)) + lead + (1, 1)))
    effect.reads[0].append((pivots, order))
    return effect


@rule("aten.linalg_ldl_solve")
def ldl_solve(call: Call) -> Effect:
    """A system with a known LDL: an unknown reads the factor's triangle and its column; LAPACK's count."""
    factor: Arg = call["LD"]
    triangle = _triangle(call, factor, upper=False)
    effect = _solved(
        call, factor, call["B"], _lapack.getrs, triangle, "every unknown is taken to read the whole factor"
    )
    return _with_pivots(effect, call["pivots"], len(call.out.shape))


@rule("aten.cholesky_solve")
def cholesky_solve(call: Call) -> Effect:
    """A system with a known Cholesky factor: an unknown reads its triangle and its column; LAPACK's count."""
    factor: Arg = call["input2"]
    triangle = _triangle(call, factor, upper=bool(call["upper"]))
    return _solved(call, factor, call["self"], _lapack.potrs, triangle, _too_large(factor))


@rule("aten.cholesky_inverse")
def cholesky_inverse(call: Call) -> Effect:
    """The inverse from a Cholesky factor: element (i, j) reads the factor from column i or j on; LAPACK's count."""
    x: Arg = call["self"]
    n, rank = x.shape[-1], x.ndim
    upper = bool(call["upper"])
    along, across = (rank - 2, rank - 1) if upper else (rank - 1, rank - 2)
    steps: Steps = (*_triangle(call, x, upper=upper), Prefix(along, n, reverse=True), Reduce((across,)))
    turned = permute((*range(rank - 2), rank - 1, rank - 2))
    return _linalg(x, _lapack.potri(n), [[(x, steps), (x, (*steps, *turned))]], inexact=_too_large(x))


@rule("aten.linalg_solve_triangular", "aten.triangular_solve")
def solve_triangular(call: Call) -> Effect:
    """A triangular system: an unknown reads the equations up to its own (upper: from it on); LAPACK's count."""
    a: Arg = either(call, "A") if call.op == "aten.triangular_solve" else call["self"]
    b: Arg = call["self"] if call.op == "aten.triangular_solve" else call["B"]
    out = call.out.shape
    rank = len(out)
    left = call.get("left", True)
    upper = bool(call["upper"]) ^ bool(call["transpose"])
    n = a.shape[-1]
    unknowns = rank - 2 if left else rank - 1
    # X A = B is A^T X^T = B^T: what A's columns say of rows is said of columns.
    reverse = upper == left
    triangle = _triangle(call, a, upper=bool(call["upper"]), diagonal=not call.get("unitriangular", False))
    lines = rank - 2 if left != bool(call["transpose"]) else rank - 1
    across = rank - 1 if lines == rank - 2 else rank - 2
    steps: list[Step] = [*triangle, *align(a.shape, rank), Prefix(lines, n, reverse), Reduce((across,))]
    if lines != unknowns:
        steps += permute((*range(rank - 2), rank - 1, rank - 2))
    reads: list[list[ArgRead]] = [[(a, tuple(steps)), (b, (*align(b.shape, rank), Prefix(unknowns, n, reverse)))]]
    reads += [[(a, ())] for _ in call.outs[1:]]
    columns = out[-1] if left else out[-2]
    return _linalg(a, _lapack.trsm(n, columns), reads, batch=numel(out) // max(1, n * columns), inexact=_too_large(a))


@rule("aten.linalg_inv_ex", "aten.linalg_inv", "aten.inverse")
def inverse(call: Call) -> Effect:
    """The inverse: reads the whole matrix; an LU and the inverse from it, 2n^3 operations in all."""
    x: Arg = either(call, "A", "self")
    n = x.shape[-1]
    return _linalg(x, _lapack.plus(_lapack.getrf(n, n), _lapack.getri(n)), _batched(call, x))


@rule("aten.linalg_pinv", "aten.pinverse")
def pinv(call: Call) -> Effect:
    """The pseudo-inverse: reads the whole matrix; singular values with vectors, a scaling, a product of both."""
    x: Arg = either(call, "self", "A")
    m, n = x.shape[-2:]
    k = min(m, n)
    scaled = _lapack.plus((Fraction(k * max(m, n)), Fraction()), _lapack.gemm(n, m, k))
    found = _lapack.syev(n, True) if call["hermitian"] else _lapack.svd(m, n, "thin")
    return _linalg(x, _lapack.plus(found, scaled), _batched(call, x))


@rule("aten.linalg_lstsq")
def lstsq(call: Call) -> Effect:
    """Least squares: an unknown reads the whole matrix and its column; a QR, its reflectors applied, a solve."""
    a: Arg = call["self"]
    b: Arg = call["b"]
    m, n = a.shape[-2:]
    out = call.out.shape
    vector = b.ndim == a.ndim - 1
    columns = 1 if vector else out[-1]
    inside = 1 if vector else 2
    line = _columns(b, len(out), -inside)
    rest = [[_all(a, len(o.shape), len(o.shape) - a.ndim + 2)] if numel(o.shape) else [] for o in call.outs[1:]]
    reads: list[list[ArgRead]] = [[_all(a, len(out), inside), line], *rest]
    return _linalg(a, _lapack.gels(m, n, columns), reads, batch=numel(out) // max(1, n * columns))


# --- determinants and functions of matrices ---------------------------------------------------------------------------


@rule("aten._linalg_det", "aten.linalg_det", "aten.det")
def det(call: Call) -> Effect:
    """The determinant: reads the whole matrix; an LU, and the product of its diagonal and sign."""
    x: Arg = either(call, "A", "self")
    n = x.shape[-1]
    counts = _lapack.plus(_lapack.getrf(n, n), (Fraction(n), Fraction()))
    return _linalg(x, counts, _batched(call, x))


@rule("aten._linalg_slogdet", "aten.linalg_slogdet", "aten.slogdet")
def slogdet(call: Call) -> Effect:
    """Sign and logarithm of the determinant: reads the whole matrix; an LU, and 4 operations a row."""
    x: Arg = either(call, "A", "self")
    n = x.shape[-1]
    # of each element of the diagonal the sign, its product, the logarithm of the length, and their sum
    counts = _lapack.plus(_lapack.getrf(n, n), (Fraction(3 * n), Fraction(n)))
    return _linalg(x, counts, _batched(call, x))


@rule("aten.linalg_matrix_exp", "aten.matrix_exp")
def matrix_exp(call: Call) -> Effect:
    """The exponential: reads the whole matrix; 5 matrix products, those of a Taylor polynomial of degree 18."""
    x: Arg = call["self"]
    n = x.shape[-1]
    five = _lapack.plus(*[_lapack.gemm(n, n, n)] * 5)  # Bader, Blanes, Casas (2019), table 3
    note = "the data decides the degree and how often the result is squared: the highest degree, no squaring"
    return _linalg(x, five, _batched(call, x), notes=(note,))


@rule("aten.lu_unpack")
def lu_unpack(call: Call) -> Effect:
    """The factors of an LU as matrices: a permutation by the pivots, a position of L and of U; free."""
    packed: Arg = call["LU_data"]
    pivots: Arg = call["LU_pivots"]
    m, n = packed.shape[-2:]
    rank = packed.ndim
    order: ArgRead = (pivots, (Reduce((rank - 2,)), *reshape((*pivots.shape[:-1], 1), (*pivots.shape[:-1], 1, 1))))
    reads: list[list[ArgRead]] = []
    for number, out in enumerate(call.outs):
        if not numel(out.shape):
            reads.append([])
        elif number == 0:
            reads.append([order])
        else:
            lower = number == 1
            cut = _triangle(call, packed, upper=not lower, diagonal=not lower)
            size = out.shape[-1] if lower else out.shape[-2]
            axis, whole = (rank - 1, n) if lower else (rank - 2, m)
            reads.append([(packed, (*cut, *((Slice(axis, 0, 1, size),) if size < whole else ())))])
    return Effect("reshape", reads, each=True, inexact=_PIVOTS)


@rule("aten.linalg_cross", "aten.cross")
def cross(call: Call) -> Effect:
    """The cross product: each component reads the two others of both; 2 products and a difference."""
    a: Arg = either(call, "self", "input")
    b: Arg = call["other"]
    rank = len(call.out.shape)
    axis = call.get("dim", -1) % rank
    reads: list[ArgRead] = []
    for x in (a, b):
        for order in ((1, 2, 0), (2, 0, 1)):
            reads.append((x, (*align(x.shape, rank), Take(axis, order))))
    kind = "merge" if a is not b and a.reads_data and b.reads_data else "elementwise"
    products, sums = (6, 2) if is_complex(a) else (1, 1)
    return Effect(
        kind,
        reads,
        flops={"elementwise": (2 * products + sums) * numel(call.out.shape)},
        attrs={"dim": axis},
        real=True,
    )


@rule("aten.block_diag")
def block_diag(call: Call) -> Effect:
    """Matrices along the diagonal of one: each element of a block reads its place; free."""
    out = call.out.shape
    reads: list[ArgRead] = []
    row = column = 0
    for x in call["tensors"]:
        m, n = (1, 1, *x.shape)[-2:]
        placed = (*reshape(x.shape, (m, n)), Place(0, m, row, out[0]), Place(1, n, column, out[1]))
        reads.append((x, placed))
        row, column = row + m, column + n
    return Effect("merge" if sum(x.reads_data for x in call["tensors"]) > 1 else "reshape", reads)
