"""Rules of matrix products against poisoned calls."""

import numpy as np
import pytest
import torch

from rfcalc.graph import TensorInfo
from rfcalc.ops import Arg, Call, lookup
from rfcalc.ops.linear import parse_einsum
from rfcalc.reads import Contract, Permute, Reduce, Reshape, Take
from tests.ops._linear import hold
from tests.ops.finite import check_changed, rule_on
from tests.ops.oracle import check_call, check_op

aten = torch.ops.aten


def check_linear(x, weight, bias=None, **options):
    named = {"input": x, "weight": weight, "bias": bias}
    call = lambda: (torch.nn.functional.linear(x, weight, bias),)  # noqa: E731
    return check_call("torch.linear", named, call(), call, **options)


# --- linear -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 4), (1, 2, 2, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_reads_the_last_axis(shape, bias):
    x, weight = torch.rand(shape), torch.rand(3, 4)

    effect = check_linear(x, weight, torch.rand(3) if bias else None)

    assert effect.inexact == ""
    assert effect.kind == "linear"
    assert effect.macs == x.numel() * 3
    assert effect.flops == ({"bias": x.numel() // 4 * 3} if bias else {})
    assert effect.attrs == {"in_features": 4, "out_features": 3}


def test_linear_with_a_vector_as_weight():
    x, weight = torch.rand(2, 3, 4), torch.rand(4)

    effect = check_linear(x, weight)

    assert effect.macs == 24
    assert effect.attrs["out_features"] == 1


def _call(op, shapes, out, roles=(), **named):
    args = {
        name: Arg(shape, role=role)
        for (name, shape), role in zip(shapes.items(), roles or ["data"] * len(shapes), strict=True)
    }
    effect = lookup(op)(Call(op, {**args, **named}, [TensorInfo(out)], lambda mask: 0))
    return effect, args


@pytest.mark.parametrize(
    ("shape", "out", "macs", "formula"),
    [
        ((1, 25088), (1, 4096), 102760448, "(4096) x (25088)"),
        ((2, 5, 8), (2, 5, 16), 1280, "2 x (5x16) x (8)"),
        ((1, 197, 768), (1, 197, 3072), 464781312, "(197x3072) x (768)"),
        ((8,), (8,), 64, "(8) x (8)"),
    ],
)
def test_linear_in_the_lectures_form(shape, out, macs, formula):
    effect, _ = _call("torch.linear", {"input": shape, "weight": (out[-1], shape[-1])}, out, ("data", "param"))

    assert effect.macs == macs
    assert effect.formula == formula


# --- matmul -----------------------------------------------------------------------------------------------------------

PRODUCTS = [
    (aten.mm.default, [(2, 3), (3, 4)], 24),
    (aten.bmm.default, [(2, 2, 3), (2, 3, 2)], 24),
    (aten.mv.default, [(6, 4), (4,)], 24),
    (aten.dot.default, [(5,), (5,)], 5),
    (aten.vdot.default, [(5,), (5,)], 5),
    (aten.outer.default, [(2, ), (3,)], 6),
    (aten.ger.default, [(3, ), (2,)], 6),
    (aten.matmul.default, [(2, 3, 4), (2, 4, 5)], 120),
    (aten.matmul.default, [(2, 1, 3, 2), (3, 2, 2)], 72),
    (aten.matmul.default, [(3,), (2, 3, 2)], 12),
    (aten.matmul.default, [(2, 2, 3), (3,)], 12),
    (aten.matmul.default, [(3,), (3,)], 3),
    (aten.matmul.default, [(3, 2), (2, 2, 4)], 48),
    (aten.addmm.default, [(4,), (2, 3), (3, 4)], 24),
    (aten.addmm.default, [(2, 1), (2, 3), (3, 4)], 24),
    (aten._addmm_activation.default, [(4,), (2, 3), (3, 4)], 24),
    (aten.baddbmm.default, [(2, 2, 2), (2, 2, 3), (2, 3, 2)], 24),
    (aten.baddbmm.default, [(1, 2), (2, 2, 3), (2, 3, 2)], 24),
    (aten.addbmm.default, [(2, 4), (3, 2, 2), (3, 2, 4)], 48),
    (aten.addmv.default, [(3,), (3, 2), (2,)], 6),
    (aten.addmv.default, [(1,), (3, 2), (2,)], 6),
    (aten.addr.default, [(2, 3), (2,), (3,)], 6),
]  # fmt: skip


@pytest.mark.parametrize(("op", "shapes", "macs"), PRODUCTS)
def test_products_read_rows_and_columns(op, shapes, macs):
    effect = check_op(op, *map(torch.rand, shapes))

    assert effect.inexact == ""
    assert effect.kind == "matmul"
    assert effect.macs == macs
    assert not effect.masked


def test_what_is_added_is_bias_and_factors_are_operations():
    tensors = torch.rand(4), torch.rand(2, 3), torch.rand(3, 4)

    assert check_op(aten.addmm.default, *tensors).flops == {"bias": 8}
    assert check_op(aten.addmm.default, *tensors, beta=2, alpha=0.5).flops == {"bias": 8, "elementwise": 16}
    assert check_op(aten._addmm_activation.default, *tensors).flops == {"bias": 8, "activation": 8}
    # with beta 0 the tensor is ignored, NaN and all
    assert check_op(aten.addmm.default, *tensors, beta=0).flops == {}
    batches = torch.rand(2, 2, 2), torch.rand(2, 2, 3), torch.rand(2, 3, 2)
    assert check_op(aten.baddbmm.default, *batches, beta=0).flops == {}


def test_a_product_with_a_parameter_is_a_linear_layer():
    effect, _ = _call("aten.addmm", {"self": (3,), "mat1": (7, 2), "mat2": (2, 3)}, (7, 3), ("param", "data", "param"))
    assert (effect.kind, effect.formula) == ("linear", "7 x (3) x (2)")
    assert effect.attrs == {"in_features": 2, "out_features": 3}

    effect, _ = _call("aten.mm", {"self": (3, 2), "mat2": (2, 7)}, (3, 7), ("param", "data"))
    assert effect.attrs == {"in_features": 2, "out_features": 3}

    effect, _ = _call("aten.bmm", {"self": (12, 5, 2), "mat2": (12, 2, 7)}, (12, 5, 7))
    assert (effect.kind, effect.formula) == ("matmul", "12 x (5x7) x (2)")
    assert effect.attrs == {"batch": 12, "m": 5, "k": 2, "n": 7}


def test_simple_products_need_simple_steps():
    effect, args = _call("aten.bmm", {"self": (2, 5, 3), "mat2": (2, 3, 7)}, (2, 5, 7))

    assert effect.reads == [(args["self"], (Reduce((2,)),)), (args["mat2"], (Reduce((1,)),))]


def test_scaled_mm():
    shapes = {"self": (2, 3), "mat2": (3, 4), "scale_a": (), "scale_b": (), "bias": (4,)}
    effect, _ = _call("aten._scaled_mm", shapes, (2, 4))

    assert effect.macs == 24
    assert effect.flops == {"elementwise": 8, "bias": 8}


# --- known zeros ------------------------------------------------------------------------------------------------------

UPPER = np.triu(np.ones((3, 3), dtype=bool), 1)


@pytest.mark.parametrize(
    ("op", "left", "right"),
    [
        (aten.mm.default, (3, 3), (3, 2)),
        (aten.bmm.default, (2, 3, 3), (2, 3, 2)),
        (aten.mv.default, (3, 3), (3,)),
        (aten.matmul.default, (2, 1, 3, 3), (2, 3, 2)),
        (aten.matmul.default, (3, 3), (2, 3, 2)),
    ],
)
def test_zeros_of_the_first_operand_hide_the_second(op, left, right):
    a = torch.rand(left)
    effect = check_changed(op, a, torch.rand(right), zero=[(a, UPPER)])

    assert effect.masked
    assert effect.inexact == ""


@pytest.mark.parametrize(
    ("op", "left", "right"),
    [(aten.mm.default, (2, 3), (3, 3)), (aten.bmm.default, (2, 2, 3), (2, 3, 3)), (aten.matmul.default, (3,), (3, 3))],
)
def test_zeros_of_the_second_operand_hide_the_first(op, left, right):
    b = torch.rand(right)
    effect = check_changed(op, torch.rand(left), b, zero=[(b, UPPER)])

    assert effect.masked


def test_zeros_that_differ_by_batch():
    a = torch.rand(2, 3, 3)
    zero = np.stack([UPPER, UPPER.T])

    assert check_changed(aten.bmm.default, a, torch.rand(2, 3, 2), zero=[(a, zero)]).masked
    assert check_changed(aten.addbmm.default, torch.rand(3, 2), a, torch.rand(2, 3, 2), zero=[(a, zero)]).masked


def test_zeros_of_a_constant_matrix_are_seen():
    average = torch.tril(torch.ones(4, 4))

    assert check_changed(aten.mm.default, average, torch.rand(4, 2), const=[average]).masked
    assert not check_changed(aten.mm.default, average + 1, torch.rand(4, 2), const=[average]).masked


@pytest.mark.parametrize(
    ("equation", "left", "right", "zero"),
    [
        ("bhij,bhjd->bhid", (1, 2, 3, 3), (1, 2, 3, 2), UPPER),
        ("bhij,bjhd->bihd", (1, 2, 3, 3), (1, 3, 2, 2), np.stack([UPPER, UPPER.T])),
        ("ij,ij->ij", (3, 3), (3, 3), UPPER),
        ("ij,kij->k", (3, 3), (2, 3, 3), UPPER),
        ("ikj,jd->di", (3, 2, 3), (3, 2), UPPER[:, None]),
        ("ij,jkl->ik", (3, 3), (3, 2, 2), UPPER),
        ("...ij,...j->...i", (3, 3), (2, 3), UPPER),
    ],
)
def test_einsum_through_known_zeros(equation, left, right, zero):
    a, b = torch.rand(left), torch.rand(right)
    a.masked_fill_(torch.from_numpy(np.array(zero)), 0)
    ruled = rule_on(aten.einsum.default, equation, [a, b], zero=[(a, zero)])
    hold(ruled, [b], lambda: (torch.einsum(equation, a, b),))
    assert ruled.effect.masked
    assert any(isinstance(step, Contract) for step in ruled.effect.reads[1][1])


def test_zeros_of_several_among_many_operands_are_an_upper_bound():
    a, b, c = torch.rand(3, 3), torch.rand(3, 3), torch.rand(3, 2)
    several, one = (
        rule_on(aten.einsum.default, "ij,jk,kl->il", [a, b, c], zero=zero).effect.inexact
        for zero in ([(a, UPPER), (b, UPPER)], [(a, UPPER)])
    )

    assert "known zeros" in several
    assert one == ""


# --- products of groups -----------------------------------------------------------------------------------------------

#: (shapes, cut, macs): rows of the first, columns of the second, or the axis between them cut into three groups.
GROUPED = [([(6, 4), (3, 4, 8)], 6, 6 * 4 * 8), ([(3, 5, 4), (4, 8)], 8, 5 * 4 * 8), ([(4, 8), (8, 8)], 8, 4 * 8 * 8)]


@pytest.mark.parametrize(("shapes", "cut", "macs"), GROUPED)
@pytest.mark.parametrize("known", [True, False])
def test_every_row_meets_the_matrix_of_its_group_alone(shapes, cut, macs, known):
    a, b = (torch.rand(shape) for shape in shapes)
    bounds = torch.tensor([1, 3, cut], dtype=torch.int32)

    effect = check_op(aten._grouped_mm.default, a, b, bounds, const=[bounds] if known else [])

    assert effect.macs == macs
    assert effect.inexact == ("groups are not told apart" if known else "data-dependent index")
    assert [arg.shape for arg, _ in effect.reads] == [*shapes, (3,)]  # the bounds say which rows meet, too


def test_experts_read_the_row_of_their_token():
    tokens, experts, bounds = torch.rand(6, 4), torch.rand(3, 4, 8), torch.tensor([1, 3, 6], dtype=torch.int32)

    effect = check_op(aten._grouped_mm.default, tokens, experts, bounds, const=[experts, bounds])

    assert (effect.inexact, effect.formula) == ("", "(6x8) x (4)")


def test_groups_of_equal_size_are_a_batch():
    effect = check_op(aten._grouped_mm.default, torch.rand(2, 5, 4), torch.rand(2, 4, 8))

    assert (effect.macs, effect.inexact, effect.formula) == (2 * 5 * 4 * 8, "", "2 x (5x8) x (4)")


# --- einsum -----------------------------------------------------------------------------------------------------------

EINSUMS = [
    ("i,j->ij", [(6,), (7,)], 42),
    ("ij,jk->ik", [(2, 3), (3, 4)], 24),
    ("ij,jk->ki", [(2, 3), (3, 4)], 24),
    ("ij,jk", [(2, 3), (3, 4)], 24),
    ("ij,kj", [(2, 3), (4, 3)], 24),
    ("bhqd,bhkd->bhqk", [(1, 2, 2, 3), (1, 2, 3, 3)], 36),
    ("bchw,bdhw->bcd", [(1, 2, 2, 2), (1, 3, 2, 2)], 24),
    ("...ij,jk->...ik", [(2, 2, 3), (3, 2)], 24),
    ("...ij,...jk->...ik", [(2, 1, 2, 2), (3, 2, 2)], 48),
    ("...i,i...->...", [(2, 3), (3, 2)], 6),
    ("ij,jk->k", [(2, 3), (3, 2)], 12),
    ("ii,ij->j", [(3, 3), (3, 2)], 6),
    ("ij,ij->", [(2, 3), (2, 3)], 6),
    ("ij , k -> kij", [(2, 2), (2,)], 8),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 24 + 40),
    ("i,j,k->kij", [(2,), (3,), (2,)], 6 + 12),
    ("ij,ij,j->i", [(2, 3), (2, 3), (3,)], 6 + 6),
    ("ii->i", [(3, 3)], 0),
    ("iji->ij", [(2, 3, 2)], 0),
    ("iijj->ji", [(2, 2, 3, 3)], 0),
    ("ii", [(3, 3)], 0),
    ("ba", [(2, 3)], 0),
    ("ijk->kj", [(2, 3, 2)], 0),
    ("i...->...", [(2, 3, 2)], 0),
]


@pytest.mark.parametrize(("equation", "shapes", "macs"), EINSUMS)
def test_einsum(equation, shapes, macs):
    tensors = [torch.rand(shape) for shape in shapes]
    call = lambda: (torch.einsum(equation, *tensors),)  # noqa: E731

    effect = check_call("torch.einsum", {"equation": equation, "operands": tensors}, call(), call)

    assert effect.inexact == ""
    assert effect.macs == macs
    assert effect.attrs["equation"] == equation.replace(" ", "")


def test_einsum_of_one_operand_is_a_sum_or_a_view():
    x = torch.rand(2, 3)
    assert check_op(aten.einsum.default, "ij->i", [x]).flops == {"reduction": 6}
    assert check_op(aten.einsum.default, "ij->i", [x]).kind == "reduction"
    assert check_op(aten.einsum.default, "ij->ji", [x]).kind == "reshape"
    assert check_op(aten.einsum.default, "ij->ji", [x]).flops == {}


def test_einsum_formula_and_steps():
    effect = _call("aten.mm", {"self": (2, 3), "mat2": (3, 4)}, (2, 4))[0]
    assert effect.formula == "2 x (4) x (3)"

    ruled = rule_on(aten.einsum.default, "ii,ij->j", [torch.rand(3, 3), torch.rand(3, 2)])
    assert ruled.effect.reads[0][1] == (Reshape((3, 3), (9,)), Take(0, (0, 4, 8)), Reduce((0,)))

    ruled = rule_on(aten.einsum.default, "ij,jk->ki", [torch.rand(2, 3), torch.rand(3, 4)])
    assert ruled.effect.reads[0][1] == (Reduce((1,)), Reshape((2, 1), (1, 2)))
    assert ruled.effect.reads[1][1] == (Reduce((0,)), Reshape((1, 4), (4, 1)))

    ruled = rule_on(aten.einsum.default, "ij->ji", [torch.rand(2, 3)])
    assert ruled.effect.reads[0][1] == (Permute((1, 0)),)


def test_implicit_einsum_sorts_capitals_first():
    assert parse_einsum("bA,bc", [2, 2])[1] == ["A", "c"]
    assert parse_einsum("j...i,j", [4, 1]) == ([["j", "...2", "...1", "i"], ["j"]], ["...2", "...1", "i"])


# --- bilinear forms and distances -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [(2,), (2, 3), ()])
def test_bilinear(lead):
    a, b, weight, bias = torch.rand(*lead, 2), torch.rand(*lead, 3), torch.rand(4, 2, 3), torch.rand(4)
    named = {"input1": a, "input2": b, "weight": weight, "bias": bias}
    call = lambda: (torch.nn.functional.bilinear(a, b, weight, bias),)  # noqa: E731
    positions = a.numel() // 2

    effect = check_call("torch.bilinear", named, call(), call)

    assert effect.inexact == ""
    assert effect.macs == positions * 4 * (2 * 3 + 3)
    assert effect.flops == {"bias": positions * 4}


def test_trilinear_costs_what_bilinear_costs():
    a, b, weight = torch.rand(2, 2), torch.rand(2, 3), torch.rand(4, 2, 3)

    effect = check_op(aten._trilinear.default, a, weight, b, [1, 3], [0], [1, 2], [2, 3])

    assert effect.macs == check_op(aten.bilinear.default, a, b, weight).macs == 72


def test_distances():
    a, b = torch.rand(2, 3, 2), torch.rand(2, 4, 2)

    effect = check_op(aten._cdist_forward.default, a, b, 2.0, None)
    assert effect.inexact == ""
    assert effect.macs == 0
    assert effect.flops == {"other": 2 * 3 * 4 * 7}

    effect = check_op(aten._pdist_forward.default, torch.rand(4, 2), 2.0)
    assert effect.inexact == ""
    assert effect.flops == {"other": 6 * 7}
    assert effect.attrs == {"p": "2"}
