"""Dense linear algebra: reads against finite changes of torch's own results, counts against textbook algorithms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.ops import _lapack
from tests.ops.finite import Ruled, held, rule_on

aten = torch.ops.aten
N = 4


def _square(*lead: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(*lead, N, N, dtype=torch.float64) + 3 * torch.eye(N, dtype=torch.float64)


def _matrix(*shape: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(shape, dtype=torch.float64)


def _factor(upper: bool = False) -> torch.Tensor:
    made = torch.linalg.cholesky(_square() @ _square().T)
    return (made.T if upper else made).contiguous()


def operations(ruled: Ruled) -> int:
    assert set(ruled.effect.flops) <= {"linalg"}
    assert ruled.effect.macs == 0
    return ruled.effect.flops["linalg"]


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky(upper: bool) -> None:
    ruled = held(aten.linalg_cholesky_ex.default, _square() @ _square().T, upper=upper)

    assert operations(ruled) == sum(map(int, _lapack.potrf(N)))
    assert ruled.effect.zero is not None
    assert not ruled.outs[0].numpy()[ruled.effect.zero].any()
    batch = _square(3)
    assert operations(rule_on(aten.linalg_cholesky_ex.default, batch @ batch.mT)) == 3 * operations(ruled)


def test_a_large_matrix_is_taken_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rfcalc.ops.linalg.LARGEST", 3)
    a = _square() @ _square().T

    assert "too large" in held(aten.linalg_cholesky_ex.default, a).effect.inexact
    assert (
        "too large" in held(aten.linalg_solve_triangular.default, _factor(), _matrix(N, 2), upper=False).effect.inexact
    )


@pytest.mark.parametrize("vector", [False, True])
def test_solve(vector: bool) -> None:
    b = _matrix(N) if vector else _matrix(N, 3)
    ruled = held(aten._linalg_solve_ex.default, _square(), b)

    assert operations(ruled) == sum(map(int, _lapack.getrf(N, N))) + (1 if vector else 3) * N * (2 * N - 1)
    right = held(aten._linalg_solve_ex.default, _square(), _matrix(3, N), left=False)
    assert operations(right) == operations(held(aten._linalg_solve_ex.default, _square(), _matrix(N, 3)))


def test_solve_broadcasts_its_batch() -> None:
    one = operations(held(aten._linalg_solve_ex.default, _square(), _matrix(N, 3)))

    assert operations(held(aten._linalg_solve_ex.default, _square(2), _matrix(2, N, 3))) == 2 * one
    assert operations(held(aten._linalg_solve_ex.default, _square(), _matrix(2, N, 3))) == 2 * one


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("unitriangular", [False, True])
def test_solve_triangular(upper: bool, left: bool, unitriangular: bool) -> None:
    b = _matrix(N, 3) if left else _matrix(3, N)
    settings = {"upper": upper, "left": left, "unitriangular": unitriangular}
    ruled = held(aten.linalg_solve_triangular.default, _factor(upper), b, **settings)

    assert operations(ruled) == 3 * N * N


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_the_older_triangular_solve(upper: bool, transpose: bool) -> None:
    held(aten.triangular_solve.default, _matrix(N, 3), _factor(upper), upper, transpose)


@pytest.mark.parametrize(
    ("counts", "op", "args"),
    [
        (_lapack.plus(_lapack.getrf(N, N), _lapack.getri(N)), aten.linalg_inv_ex.default, (_square(),)),
        (_lapack.potri(N), aten.cholesky_inverse.default, (_factor(),)),
        (_lapack.potri(N), aten.cholesky_inverse.default, (_factor(True), True)),
        (_lapack.potrs(N, 3), aten.cholesky_solve.default, (_matrix(N, 3), _factor())),
        (_lapack.geev(N, True), aten.linalg_eig.default, (_square(),)),
        (_lapack.getrf(6, N), aten.linalg_lu_factor_ex.default, (_matrix(6, N),)),
        (_lapack.sytrf(N), aten.linalg_ldl_factor_ex.default, (_square() + _square().T,)),
        (_lapack.gels(6, N, 3), aten.linalg_lstsq.default, (_matrix(6, N), _matrix(6, 3))),
        (_lapack.gels(3, N, 2), aten.linalg_lstsq.default, (_matrix(3, N), _matrix(3, 2))),
        (_lapack.geqrf(6, N), aten.geqrf.default, (_matrix(6, N),)),
        (_lapack.orgqr(6, N, 2), aten.linalg_householder_product.default, (_matrix(6, N), _matrix(2))),
        (_lapack.ormqr(6, 3, 2), aten.ormqr.default, (_matrix(6, 2), _matrix(2), _matrix(6, 3))),
        (_lapack.plus(*[_lapack.gemm(N, N, N)] * 5), aten.linalg_matrix_exp.default, (_square(),)),
        (_lapack.plus(_lapack.getrf(N, N), (N, 0)), aten._linalg_det.default, (_square(),)),
        (_lapack.plus(_lapack.getrf(N, N), (3 * N, N)), aten._linalg_slogdet.default, (_square(),)),
    ],
)
def test_what_reads_whole_matrices(counts: Any, op: Any, args: Any) -> None:
    ruled = rule_on(op, *args) if op is aten.linalg_eig.default else held(op, *args, outputs=_second(op))

    assert operations(ruled) == math.ceil(sum(counts))


def _second(op: Any) -> tuple[int, ...]:
    return (1,) if op is aten._linalg_slogdet.default else (0,)  # the sign does not change


def test_a_right_hand_side_reads_the_factors_that_it_is_solved_with() -> None:
    lu, pivots, _ = aten.linalg_lu_factor_ex(_square())
    assert operations(held(aten.linalg_lu_solve.default, lu, pivots, _matrix(N, 3))) == 3 * N * (2 * N - 1)

    packed, order, _ = aten.linalg_ldl_factor_ex(_square() + _square().T)
    assert operations(held(aten.linalg_ldl_solve.default, packed, order, _matrix(N, 3))) == 3 * N * (2 * N - 1)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (4, 4)])
@pytest.mark.parametrize("mode", ["reduced", "complete"])
def test_qr(shape: tuple[int, int], mode: str) -> None:
    ruled = held(aten.linalg_qr.default, _matrix(*shape), mode, outputs=(0, 1))

    columns = ruled.outs[0].shape[1]
    counts = _lapack.plus(_lapack.geqrf(*shape), _lapack.orgqr(shape[0], columns, min(shape)))
    assert operations(ruled) == sum(counts)


def test_r_alone() -> None:
    assert operations(rule_on(aten.linalg_qr.default, _matrix(3, 6, 4), "r")) == 3 * sum(_lapack.geqrf(6, 4))


@pytest.mark.parametrize(
    ("full", "wanted", "each"), [(True, True, "full"), (False, True, "thin"), (False, False, "none")]
)
def test_svd(full: bool, wanted: bool, each: str) -> None:
    ruled = held(aten._linalg_svd.default, _matrix(6, 4), full, wanted, outputs=(1,))

    hand = {"full": 4 * 36 * 4 + 8 * 6 * 16 + 9 * 64, "thin": 14 * 6 * 16 + 8 * 64, "none": 4 * 6 * 16 - 4 * 64 / 3}
    assert operations(ruled) == math.ceil(hand[each])
    assert operations(rule_on(aten._linalg_svd.default, _matrix(6, 4).T, full, wanted)) == operations(ruled)


@pytest.mark.parametrize("triangle", ["L", "U"])
def test_eigh(triangle: str) -> None:
    ruled = held(aten._linalg_eigh.default, _square() + _square().T, triangle, outputs=(0,))

    assert operations(ruled) == 9 * N**3
    values = rule_on(aten._linalg_eigh.default, _square(), triangle, False)
    assert operations(values) == math.ceil(4 * N**3 / 3)


def test_pinv() -> None:
    ruled = held(aten.linalg_pinv.atol_rtol_tensor, _matrix(6, 4))

    assert operations(ruled) == 14 * 6 * 16 + 8 * 64 + 6 * 4 + 2 * 6 * 4 * 4


def test_lu_unpack_is_free() -> None:
    packed, pivots, _ = aten.linalg_lu_factor_ex(_matrix(6, 4))
    ruled = held(aten.lu_unpack.default, packed, pivots, outputs=(1, 2))

    assert not ruled.effect.flops
    packed, pivots, _ = aten.linalg_lu_factor_ex(_matrix(4, 6))
    held(aten.lu_unpack.default, packed, pivots, outputs=(1, 2))


def test_cross() -> None:
    ruled = held(aten.linalg_cross.default, _matrix(2, 3), _matrix(2, 3))

    assert ruled.effect.flops == {"elementwise": 18}
    held(aten.linalg_cross.default, _matrix(3, 2), _matrix(3, 2), dim=0)


def test_block_diag() -> None:
    assert not held(aten.block_diag.default, [_matrix(2, 3), _matrix(2), _matrix(1, 2)]).effect.flops


def test_complex_matrices_take_six_and_two() -> None:
    products, sums = _lapack.potrf(N)
    z = _square().to(torch.complex128)

    assert operations(rule_on(aten.linalg_cholesky_ex.default, z)) == 6 * products + 2 * sums


# --- what is counted --------------------------------------------------------------------------------------------------


class Tally:
    """Multiplications (divisions and roots are such) and additions of an algorithm written out."""

    def __init__(self) -> None:
        self.products = self.sums = 0


def _lu(m: int, n: int, tally: Tally) -> None:
    for j in range(min(m, n)):
        tally.products += 1  # the reciprocal of the pivot
        for _ in range(j + 1, m):
            tally.products += 1
            for _ in range(j + 1, n):
                tally.products += 1
                tally.sums += 1


def _cholesky(n: int, _: int, tally: Tally) -> None:
    for j in range(n):
        tally.products += j + 1  # squares, the root
        tally.sums += j
        for _ in range(j + 1, n):
            tally.products += j + 1  # products, a division
            tally.sums += j


def _triangular(n: int, columns: int, tally: Tally) -> None:
    for i in range(n):
        tally.products += columns * (i + 1)
        tally.sums += columns * i


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(
    ("algorithm", "counts", "other"),
    [
        (_lu, _lapack.getrf, 4),
        (_lu, lambda n, m: _lapack.getrf(m, n)[::1], 4),
        (_cholesky, lambda n, _: _lapack.potrf(n), 0),
        (_triangular, _lapack.trsm, 3),
    ],
)
def test_counts_are_those_of_the_algorithms(n: int, algorithm: Any, counts: Callable[..., Any], other: int) -> None:
    tally = Tally()
    if counts is not _lapack.getrf and algorithm is _lu:
        algorithm(other, n, tally)
    else:
        algorithm(n, other, tally)

    assert counts(n, other) == (tally.products, tally.sums)


@pytest.mark.parametrize("m", range(1, 7))
@pytest.mark.parametrize("n", range(1, 7))
def test_counts_are_whole_numbers_and_grow_as_they_should(m: int, n: int) -> None:
    """Leading terms: LU 2n^3/3, inverse 4n^3/3 more, QR 2n^2(m - n/3), Q as much for m = n, Cholesky and LDL n^3/3."""
    found = [_lapack.getrf(m, n), _lapack.getri(n), _lapack.potrf(n), _lapack.potri(n), _lapack.sytrf(n)]
    found += [_lapack.geqrf(m, n), _lapack.orgqr(m, min(m, n), min(m, n)), _lapack.gels(m, n, 2)]

    assert all(count.denominator == 1 and count >= 0 for counts in found for count in counts)
    big = 3000 + n
    leading = {
        _lapack.getrf(big, big): 2 / 3,
        _lapack.getri(big): 4 / 3,
        _lapack.geqrf(big, big): 4 / 3,
        _lapack.orgqr(big, big, big): 4 / 3,
        _lapack.potrf(big): 1 / 3,
        _lapack.potri(big): 2 / 3,
        _lapack.sytrf(big): 1 / 3,
    }
    for counts, share in leading.items():
        assert float(sum(counts)) / big**3 == pytest.approx(share, rel=2e-3)


# --- models -----------------------------------------------------------------------------------------------------------


class Inverse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.eye(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.linalg.inv(self.w)


def test_an_inverted_weight() -> None:
    totals = rfcalc.analyze(Inverse(), torch.randn(4, 8)).totals

    assert (totals.params, totals.macs, totals.status) == (64, 4 * 8 * 8, "complete")
    assert totals.flops_by["linalg"] == 2 * 8**3 - 3 * 8**2 // 2 + 5 * 8 // 2


FUNCTIONS = {
    "solve": lambda a: torch.linalg.solve(a, a[..., :2]),
    "solve of a vector": lambda a: torch.linalg.solve(a, a[..., 0]),
    "cholesky": lambda a: torch.linalg.cholesky(a @ a.mT),
    "cholesky_solve": lambda a: torch.cholesky_solve(a, torch.linalg.cholesky(a @ a.mT)),
    "cholesky_inverse": lambda a: torch.cholesky_inverse(torch.linalg.cholesky(a @ a.mT)),
    "lu": lambda a: torch.linalg.lu(a)[2],
    "lu_factor, lu_solve": lambda a: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), a),
    "lu_unpack": lambda a: torch.lu_unpack(*torch.linalg.lu_factor(a))[1],
    "ldl_factor, ldl_solve": lambda a: torch.linalg.ldl_solve(*torch.linalg.ldl_factor(a + a.mT), a),
    "qr": lambda a: torch.linalg.qr(a)[0],
    "r of qr": lambda a: torch.linalg.qr(a, mode="r")[1],
    "svd": lambda a: torch.linalg.svd(a)[1],
    "svdvals": torch.linalg.svdvals,
    "eigh": lambda a: torch.linalg.eigh(a)[0],
    "eigvalsh": torch.linalg.eigvalsh,
    "eig": lambda a: torch.linalg.eig(a)[0].real,
    "lstsq": lambda a: torch.linalg.lstsq(a[..., :2], a).solution,
    "det": torch.linalg.det,
    "slogdet": lambda a: torch.linalg.slogdet(a)[1],
    "logdet": lambda a: torch.logdet(a @ a.mT),
    "matrix_exp": torch.linalg.matrix_exp,
    "matrix_power": lambda a: torch.linalg.matrix_power(a, 3),
    "pinv": torch.linalg.pinv,
    "householder_product": lambda a: torch.linalg.householder_product(a, a[..., 0]),
    "matrix_norm": lambda a: torch.linalg.matrix_norm(a, 2),
    "cond": torch.linalg.cond,
    "multi_dot": lambda a: torch.linalg.multi_dot([a[0], a[1], a[0]]),
    "solve_triangular": lambda a: torch.linalg.solve_triangular(a.tril(), a, upper=False),
    "tensorinv": lambda a: torch.linalg.tensorinv(a[0].reshape(2, 2, 4), ind=2),
    "block_diag": lambda a: torch.block_diag(*a),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_followed_and_counted(name: str) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return FUNCTIONS[name](x)

    totals = rfcalc.analyze(Net(), _square(2).float()).totals

    assert totals.status == "complete", totals.unknown_ops
    assert totals.flops > 0 or name == "block_diag"
