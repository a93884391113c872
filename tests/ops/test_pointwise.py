"""Rules of pointwise ops against poisoned and changed calls, and what they know of blocked and zero elements."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from rfcalc.ops import registered
from tests.ops.finite import check_changed, results, rule_on
from tests.ops.oracle import _tuple, bind, check_call, check_op

aten = torch.ops.aten


def check_inplace(op, *args, **kwargs):
    """As `check_op`, on copies: an op in place would keep the poison of the call before."""
    name = "aten." + op._schema.name.removeprefix("aten::")
    named = bind(op, args, kwargs)
    return check_call(name, named, results(op, args, kwargs), lambda: results(op, args, kwargs))


def among(*values):
    """Draws from a few numbers, so that comparisons and membership come out both ways."""
    return lambda shape: torch.tensor(values)[torch.randint(len(values), shape)]


def test_every_name_is_an_op():
    families = {"pointwise", "movement", "reduction"}
    names = [name for name, found in registered().items() if found.family in families]

    assert len(names) > 500
    assert [name for name in names if not hasattr(aten, name.removeprefix("aten."))] == []
    assert all(found.summary for name, found in registered().items() if found.family in families)


# --- activations ------------------------------------------------------------------------------------------------------

ACTIVATIONS = {
    "relu": 1,
    "relu6": 2,
    "gelu": 5,
    "silu": 5,
    "sigmoid": 4,
    "tanh": 1,
    "hardtanh": 2,
    "hardswish": 5,
    "hardsigmoid": 4,
    "leaky_relu": 2,
    "elu": 4,
    "selu": 4,
    "celu": 4,
    "mish": 5,
    "softplus": 4,
    "softshrink": 3,
    "hardshrink": 2,
    "log_sigmoid": 5,
    "rrelu": 2,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(2, 3, 4), (5,), ()])
def test_activation(name, shape):
    effect = check_op(getattr(aten, name).default, torch.randn(shape))

    assert effect.kind == "activation"
    assert effect.flops == {"activation": ACTIVATIONS[name] * math.prod(shape)}
    assert effect.macs == 0


@pytest.mark.parametrize("name", ["relu_", "silu_", "hardtanh_", "leaky_relu_", "sigmoid_", "gelu_", "elu_", "mish_"])
def test_activation_in_place(name):
    effect = check_inplace(getattr(aten, name).default, torch.randn(2, 3))

    assert effect.flops == {"activation": ACTIVATIONS[name[:-1]] * 6}


def test_gelu_by_tanh_costs_more():
    assert check_op(aten.gelu.default, torch.rand(2, 3), approximate="tanh").flops == {"activation": 54}


def test_threshold_and_randomized_relu():
    assert check_op(aten.threshold.default, torch.rand(2, 3), 0.5, 0.0).flops == {"activation": 6}
    noise = torch.rand(2, 3)
    assert check_op(aten.rrelu_with_noise.default, torch.rand(2, 3), noise, const=[noise]).flops == {"activation": 12}


def test_log_sigmoid_and_its_buffer():
    assert check_op(aten.log_sigmoid_forward.default, torch.randn(2, 3), outputs=1).flops == {"activation": 30}


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 3), (1, 3, 2, 2)])
def test_prelu_reads_the_slope_of_its_channel(shape):
    effect = check_op(aten.prelu.default, -torch.rand(shape), torch.rand(3))

    assert (effect.kind, effect.flops) == ("activation", {"activation": 2 * math.prod(shape)})
    check_op(aten.prelu.default, -torch.rand(shape), torch.rand(1))
    check_op(aten._prelu_kernel.default, -torch.rand(2, 3, 4), torch.rand(1, 3, 1))


@pytest.mark.parametrize(("shape", "dim"), [((2, 6, 3), 1), ((2, 4), -1), ((4,), 0), ((2, 2, 3), 1)])
def test_glu_reads_both_halves(shape, dim):
    effect = check_op(aten.glu.default, torch.rand(shape), dim)

    assert effect.flops == {"activation": 5 * math.prod(shape) // 2}
    assert effect.attrs["dim"] == dim % len(shape)


# --- arithmetic -------------------------------------------------------------------------------------------------------

UNARY = """neg abs exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal square sin cos tan asin acos atan sinh cosh
    asinh acosh atanh floor ceil round trunc erf erfc erfinv lgamma digamma deg2rad rad2deg"""


@pytest.mark.parametrize("name", UNARY.split())
def test_unary(name):
    effect = check_op(getattr(aten, name).default, torch.rand(2, 3) + (name == "acosh"))

    assert (effect.kind, effect.flops) == ("elementwise", {"elementwise": 6})


UNSEEN_BY_NAN = "sign sgn isnan logical_not isfinite signbit isinf nan_to_num sinc frac"


@pytest.mark.parametrize("name", UNSEEN_BY_NAN.split())
def test_unary_where_nan_shows_nothing(name):
    draw = among(-2.5, -1.0, 0.0, 0.3, 1.7, math.nan, math.inf)

    check_changed(getattr(aten, name).default, torch.rand(4), draw=draw, trials=15)


def test_unary_in_place():
    for name in ("exp_", "sqrt_", "neg_", "rsqrt_", "square_", "erf_"):
        assert check_inplace(getattr(aten, name).default, torch.rand(2, 3)).flops == {"elementwise": 6}


def test_composed_unary_costs():
    assert check_op(aten.logit.default, torch.rand(4)).flops == {"elementwise": 12}
    assert check_op(aten.frac.default, torch.rand(4)).flops == {"elementwise": 8}
    assert check_op(aten.polygamma.default, 1, torch.rand(4)).flops == {"elementwise": 4}
    assert check_op(aten.round.decimals, torch.rand(4), decimals=2).flops == {"elementwise": 4}
    assert check_op(aten.frexp.Tensor, torch.rand(4), outputs=1).flops == {"elementwise": 4}


def test_clamp_counts_its_bounds():
    x = torch.rand(2, 3)

    assert check_op(aten.clamp.default, x, 0, 1).flops == {"elementwise": 12}
    assert check_op(aten.clamp.default, x, None, 1).flops == {"elementwise": 6}
    assert check_op(aten.clamp_min.default, x, 0).flops == {"elementwise": 6}
    assert check_inplace(aten.clamp_max_.default, x, 1).flops == {"elementwise": 6}
    bounded = check_op(aten.clamp.Tensor, x, torch.zeros(3), torch.ones(2, 1))
    assert (bounded.kind, bounded.flops) == ("merge", {"elementwise": 12})


SHAPES = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1, 4), (3, 1)), ((2, 2), ()), ((), (2,)), ((1, 3), (2, 3))]


@pytest.mark.parametrize(("left", "right"), SHAPES)
@pytest.mark.parametrize("name", ["add", "sub", "rsub", "mul", "div", "remainder", "fmod"])
def test_arithmetic_broadcasts(name, left, right):
    effect = check_op(getattr(aten, name).Tensor, torch.rand(left), torch.rand(right) + 0.1)

    assert effect.kind == "merge"
    assert effect.flops == {"elementwise": math.prod(torch.broadcast_shapes(left, right))}


@pytest.mark.parametrize(("left", "right"), SHAPES)
@pytest.mark.parametrize("name", ["maximum", "minimum", "atan2", "hypot", "logaddexp", "floor_divide"])
def test_functions_of_two(name, left, right):
    check_op(getattr(aten, name).default, torch.rand(left), torch.rand(right) + 0.1)


@pytest.mark.parametrize("name", ["fmax", "fmin", "copysign", "logical_and", "logical_or", "logical_xor"])
def test_functions_of_two_where_nan_shows_nothing(name):
    op = getattr(aten, name)
    draw = among(-1.0, 0.0, 2.0, 0.5)

    check_changed(getattr(op, op.overloads()[0]), torch.rand(2, 3), torch.rand(3), draw=draw, trials=40)


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "gt", "le", "ge"])
def test_comparisons(name):
    draw = among(0.0, 1.0, 2.0)

    both = check_changed(getattr(aten, name).Tensor, torch.rand(2, 3), torch.rand(3), draw=draw, trials=12)
    one = check_changed(getattr(aten, name).Scalar, torch.rand(2, 3), 1, draw=draw, trials=12)

    assert (both.kind, both.flops) == ("merge", {"elementwise": 6})
    assert (one.kind, one.flops) == ("elementwise", {"elementwise": 6})


def test_number_operands():
    x = torch.rand(2, 3)
    for op in (
        aten.add.Scalar,
        aten.sub.Scalar,
        aten.rsub.Scalar,
        aten.mul.Scalar,
        aten.div.Scalar,
        aten.pow.Tensor_Scalar,
    ):
        effect = check_op(op, x, 2)
        assert (effect.kind, effect.flops) == ("elementwise", {"elementwise": 6})
    check_op(aten.pow.Scalar, 2, x)
    check_op(aten.pow.Tensor_Tensor, x, torch.rand(3))
    check_op(aten.add.Tensor, x, 2)


def test_factors_cost_one_more():
    x, y = torch.rand(2, 3), torch.rand(3)

    assert check_op(aten.add.Tensor, x, y, alpha=2).flops == {"elementwise": 12}
    assert check_op(aten.addcmul.default, x, y, torch.rand(2, 1)).flops == {"elementwise": 12}
    assert check_op(aten.addcmul.default, x, y, torch.rand(2, 1), value=3).flops == {"elementwise": 18}
    assert check_op(aten.addcdiv.default, x, y, torch.rand(2, 1)).flops == {"elementwise": 12}


def test_lerp():
    x, y = torch.rand(2, 3), torch.rand(3)

    assert check_op(aten.lerp.Scalar, x, y, 0.3).flops == {"elementwise": 18}
    check_op(aten.lerp.Tensor, x, torch.rand(2, 3), torch.rand(2, 3))


def test_arithmetic_in_place():
    x = torch.rand(2, 3)

    assert check_inplace(aten.add_.Tensor, x, torch.rand(3)).kind == "merge"
    assert check_inplace(aten.mul_.Tensor, x, torch.rand(2, 1)).kind == "merge"
    assert check_inplace(aten.div_.Scalar, x, 3).kind == "elementwise"
    assert check_inplace(aten.sub_.Tensor, x, torch.rand(())).flops == {"elementwise": 6}
    check_inplace(aten.addcmul_.default, x, torch.rand(3), torch.rand(2, 1))
    check_inplace(aten.lerp_.Scalar, x, torch.rand(2, 3), 0.5)


def test_one_data_operand_is_no_merge():
    x, scale = torch.rand(2, 3), torch.rand(3)

    assert check_op(aten.mul.Tensor, x, scale, const=[scale]).kind == "elementwise"
    assert rule_on(aten.mul.Tensor, x, x).effect.kind == "elementwise"


def test_complex_arithmetic_counts_real_operations():
    z, w, x = torch.rand(4, dtype=torch.cfloat), torch.rand(4, dtype=torch.cfloat), torch.rand(4)

    def cost(op, *args):
        return rule_on(op, *args).effect.flops["elementwise"] // 4

    assert [cost(op, z, w) for op in (aten.add.Tensor, aten.mul.Tensor, aten.div.Tensor)] == [2, 6, 11]
    assert [cost(op, z, x) for op in (aten.add.Tensor, aten.mul.Tensor, aten.div.Tensor)] == [1, 2, 2]
    assert cost(aten.mul.Tensor, z, 2) == 2
    assert cost(aten.polar.default, x, x) == 4
    assert rule_on(aten.complex.default, x, torch.rand(4)).effect.flops == {}


def test_complex_parts_are_read_by_position():
    real, imaginary = torch.rand(2, 3), torch.rand(2, 3)
    named = {"real": real, "imag": imaginary}

    check_call("aten.complex", named, (real,), lambda: (aten.complex.default(real, imaginary).abs(),))


def test_isin_reads_the_whole_set():
    x, tested = torch.rand(2, 3), torch.rand(2, 2)
    effect = check_changed(aten.isin.Tensor_Tensor, x, tested, draw=among(0.0, 1.0, 2.0, 3.0), trials=40)

    assert effect.flops == {"elementwise": 24}
    assert rule_on(aten.isin.Tensor_Scalar, x, 1).effect.flops == {"elementwise": 6}
    assert rule_on(aten.isin.Scalar_Tensor, 1, tested).effect.flops == {"elementwise": 4}


# --- casts, copies, dropout, constants --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clone", "detach", "alias", "contiguous", "positive", "lift_fresh", "resolve_conj"])
def test_copies_are_free(name):
    effect = check_op(getattr(aten, name).default, torch.rand(2, 3))

    assert (effect.kind, effect.flops) == ("copy", {})


def test_casts():
    x = torch.rand(2, 3)

    cast = check_op(aten._to_copy.default, x, dtype=torch.float64)
    assert (cast.kind, cast.attrs) == ("cast", {"from": "float32", "to": "float64"})
    assert check_op(aten._to_copy.default, x).kind == "copy"
    assert check_op(aten.to.dtype, x, torch.half).kind == "cast"


@pytest.mark.parametrize("source", [(2, 3), (3,), (1, 1), ()])
def test_copy_into_a_tensor_reads_the_source_only(source):
    assert check_inplace(aten.copy_.default, torch.rand(2, 3), torch.rand(source)).kind == "copy"


def test_dropout():
    x = torch.rand(2, 3)

    still = check_op(aten.dropout.default, x, 0.5, False)
    assert (still.kind, still.flops) == ("dropout", {})
    trained = rule_on(aten.native_dropout.default, x, 0.5, True)
    assert trained.effect.flops == {"elementwise": 12}
    assert trained.told(x, 0).sum() == 6
    assert not trained.told(x, 1).any()
    assert rule_on(aten.native_dropout.default, x, 0.5, False).effect.flops == {}


@pytest.mark.parametrize(
    ("op", "args"),
    [
        (aten.zeros_like.default, ()),
        (aten.ones_like.default, ()),
        (aten.new_zeros.default, ([2, 2],)),
        (aten.new_full.default, ([2, 2], 3)),
        (aten.full_like.default, (2,)),
        (aten.fill_.Scalar, (2,)),
        (aten.zero_.default, ()),
    ],
)
def test_constants_read_nothing(op, args):
    effect = check_inplace(op, torch.rand(2, 3), *args)

    assert (effect.kind, effect.flops) == ("other", {})


def test_fill_reads_the_number():
    check_inplace(aten.fill_.Tensor, torch.rand(2, 3), torch.rand(()))


@pytest.mark.parametrize("name", ["empty_like", "rand_like", "randn_like", "uniform_", "normal_", "bernoulli_"])
def test_random_numbers_read_nothing(name):
    op = getattr(aten, name)
    x = torch.rand(2, 3)
    ruled = rule_on(op.float if name == "bernoulli_" else op.default, x)

    assert not ruled.told(x, 0).any()


def test_drawn_by_probabilities():
    p = torch.rand(2, 3)

    assert (rule_on(aten.bernoulli.default, p).told(p, 0) == np.eye(6, dtype=bool).reshape(2, 3, 6)).all()
    assert not rule_on(aten.bernoulli.p, p, 0.5).told(p, 0).any()
    rows = rule_on(aten.multinomial.default, p, 4, True).told(p, 0)
    assert rows.shape == (2, 4, 6)
    assert rows[0, 0].tolist() == [True] * 3 + [False] * 3


def test_factories_read_nothing():
    for ruled in (
        rule_on(aten.arange.default, 5),
        rule_on(aten.zeros.default, [2, 3]),
        rule_on(aten.full.default, [2], 1.5),
        rule_on(aten.scalar_tensor.default, 3.0),
    ):
        assert (ruled.effect.kind, list(ruled.effect.reads)) == ("other", [])


# --- known elements ---------------------------------------------------------------------------------------------------


def mask(*rows):
    return np.array(rows, dtype=bool)


def test_constant_far_below_zero_blocks():
    x, y = torch.rand(2, 2, 3), torch.tensor([[0.0, -88.0, -87.9], [-math.inf, -1e4, 5.0]])
    below = mask([0, 1, 0], [1, 1, 0])

    assert (rule_on(aten.add.Tensor, x, y, const=[y]).effect.blocked == below).all()
    assert (rule_on(aten.add_.Tensor, x, y, const=[y]).effect.blocked == below).all()
    assert (rule_on(aten.sub.Tensor, x, -y, const=[]).effect.blocked) is None
    negative = -y
    assert (rule_on(aten.sub.Tensor, x, negative, const=[negative]).effect.blocked == below).all()
    assert (rule_on(aten.rsub.Tensor, x, y, const=[y]).effect.blocked == below).all()
    assert rule_on(aten.add.Tensor, x, y, const=[y], alpha=0.001).effect.blocked.sum() == 1
    assert rule_on(aten.add.Tensor, x, negative, const=[negative]).effect.blocked is None


def test_blocked_stays_blocked_in_sums_and_copies():
    x, y = torch.rand(2, 3), torch.tensor([-math.inf, 0.0, 0.0])
    known = mask([0, 0, 1], [0, 0, 0])

    both = rule_on(aten.add.Tensor, x, y, const=[y], blocked=[(x, known)]).effect.blocked
    assert (both == mask([1, 0, 1], [1, 0, 0])).all()
    assert (rule_on(aten.clone.default, x, blocked=[(x, known)]).effect.blocked == known).all()
    assert rule_on(aten.rsub.Scalar, x, 1, blocked=[(x, known)]).effect.blocked is None
    assert rule_on(aten.rsub.Tensor, x, y, alpha=-0.01, blocked=[(x, known)]).effect.blocked is None
    assert rule_on(aten._to_copy.default, x, dtype=torch.int64, blocked=[(x, known)]).effect.blocked is None


def test_one_number_for_all_blocks_none():
    x, y = torch.rand(2, 3), torch.tensor([-100.0])

    assert rule_on(aten.add.Tensor, x, -100.0).effect.blocked is None
    assert rule_on(aten.add.Tensor, x, y, const=[y]).effect.blocked is None


def test_factor_of_zero_hides_the_other():
    x, y = torch.rand(2, 3), torch.tensor([[0.0, 1.0, 2.0]])

    effect = check_changed(aten.mul.Tensor, x, y, const=[y])
    assert effect.masked
    assert (effect.zero == mask([1, 0, 0])).all()
    assert not check_op(aten.mul.Tensor, x, torch.ones(3), const=[]).masked
    assert check_changed(aten.mul.Scalar, x, 0).zero.all()


def test_known_zeros_of_data_hide_the_other_factor():
    x, y = torch.rand(2, 3), torch.rand(3)
    known = mask([1, 0, 0], [0, 0, 1])

    check_changed(aten.mul.Tensor, x, y, zero=[(x, known)])
    check_changed(aten.div.Tensor, x, y, zero=[(x, known)])
    product = rule_on(aten.mul.Tensor, x, y, zero=[(x, known)])
    assert (product.effect.zero == known).all()
    assert not product.told(y, 0)[known].any()
    quotient = rule_on(aten.div.Tensor, x, y, zero=[(x, known)])
    assert (quotient.effect.zero == known).all()
    assert not quotient.told(y, 0)[known].any()
    assert rule_on(aten.div.Tensor, y, x, zero=[(x, known)]).effect.zero is None
    scaled = rule_on(aten.mul.Scalar, x, 2.0, zero=[(x, known)]).effect
    assert (scaled.zero == known).all()
    assert not scaled.masked


@pytest.mark.parametrize("name", ["logical_and", "mul"])
def test_what_is_false_on_one_side_is_false_whatever_the_other_side_says(name):
    op = getattr(aten, name)
    x, y = torch.rand(2, 3), torch.rand(3)
    known = mask([1, 0, 0], [0, 0, 1])

    effect = check_changed(getattr(op, op.overloads()[0]), x, y, zero=[(x, known)], draw=among(0.0, 1.0), trials=12)
    assert (effect.zero == known).all()
    assert (effect.kind, effect.flops, effect.masked) == ("merge", {"elementwise": 6}, True)


BOTH = [aten.bitwise_and.Tensor, aten.logical_and.default, aten.__and__.Tensor]
BOTH += [aten.bitwise_or.Tensor, aten.logical_or.default, aten.__or__.Tensor]
FALSE, TRUE = mask([1, 0, 0], [0, 0, 1]), mask([0, 1, 0], [0, 0, 0])


SAID = torch.tensor(list(product([False, True], repeat=9)))  #: all that data could say


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("op", BOTH)
def test_two_masks_of_one_of_which_a_part_is_known(op, turned):
    """What is always false, what always true, and which elements of the other one ever matter."""
    x, y = torch.zeros(2, 3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    ruled = rule_on(op, *((y, x) if turned else (x, y)), zero=[(x, FALSE)], true=[(x, TRUE)])

    left = (SAID[:, :6].view(-1, 2, 3) | torch.tensor(TRUE)) & ~torch.tensor(FALSE)
    right = SAID[:, None, 6:].expand_as(left)
    holds_what_is_known(ruled.effect, op(left, right))
    assert (ruled.told(y, 0).any(axis=-1) == (op(left, right) != op(left, ~right)).any(0).numpy()).all()


@pytest.mark.parametrize("op", BOTH)
def test_two_masks_of_which_parts_are_known(op):
    x, y = torch.zeros(2, 3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    ruled = rule_on(op, x, y, zero=[(x, FALSE), (y, FALSE[0])], true=[(x, TRUE), (y, TRUE[0])])

    left = (SAID[:, :6].view(-1, 2, 3) | torch.tensor(TRUE)) & ~torch.tensor(FALSE)
    right = (SAID[:, None, 6:] | torch.tensor(TRUE[0])) & ~torch.tensor(FALSE[0])
    holds_what_is_known(ruled.effect, op(left, right))


def holds_what_is_known(effect, every):
    for known, found in ((effect.zero, ~every.any(0)), (effect.true, every.all(0))):
        assert (found.numpy() == (False if known is None else known)).all()


def test_numbers_that_are_not_0_leave_the_bits_of_others():
    x, bits = torch.tensor([1, 2, 3]), torch.tensor([4, 0, 8])
    effect = rule_on(aten.bitwise_or.Tensor, x, bits, const=[bits]).effect

    assert (effect.masked, effect.true) == (False, None)


NOT = [(aten.logical_not.default, ()), (aten.bitwise_not.default, ()), (aten.eq.Scalar, (0,)), (aten.ne.Scalar, (1,))]
SAME = [(aten.eq.Scalar, (1,)), (aten.ne.Scalar, (0,)), (aten._to_copy.default, ()), (aten.unsqueeze.default, (0,))]


@pytest.mark.parametrize(("op", "args"), NOT + SAME)
def test_what_is_known_of_a_mask_is_known_of_its_opposite(op, args):
    x = torch.zeros(2, 3, dtype=torch.bool)

    effect = rule_on(op, x, *args, zero=[(x, FALSE)], true=[(x, TRUE)]).effect

    assert (effect.zero == (TRUE if (op, args) in NOT else FALSE)).all()
    assert (effect.true == (FALSE if (op, args) in NOT else TRUE)).all()


def test_numbers_that_are_known_to_be_0():
    x = torch.ones(2, 3)

    for op, number, zero, true in (
        (aten.eq.Scalar, 0, None, FALSE),
        (aten.ne.Scalar, 0, FALSE, None),
        (aten.eq.Scalar, 1, FALSE, None),
        (aten.ne.Scalar, 1, None, FALSE),
    ):
        effect = rule_on(op, x, number, zero=[(x, FALSE)]).effect
        assert (effect.zero is zero, effect.true is true) == (True, True)
    whole = torch.ones(2, 3, dtype=torch.int64)
    assert rule_on(aten.bitwise_not.default, whole, zero=[(whole, FALSE)]).effect.true is None  # -1


@pytest.mark.parametrize(
    ("name", "keeps"), [("relu", True), ("gelu", True), ("sigmoid", False), ("cos", False), ("neg", True)]
)
def test_zero_stays_zero_where_the_function_says_so(name, keeps):
    x = torch.rand(2, 3)
    effect = rule_on(getattr(aten, name).default, x, zero=[(x, mask([1, 0, 0]))]).effect

    assert (effect.zero is not None) is keeps


def test_every_function_that_keeps_zero_does():
    from rfcalc.ops.pointwise import _KEEP_ZERO

    zero = torch.zeros(2, 2)
    extra = {"prelu": (torch.rand(1),), "_prelu_kernel": (torch.rand(1),)}
    for op in sorted(_KEEP_ZERO):
        name = op.removeprefix("aten.")
        noise = (zero.clone(),) if "noise" in name else extra.get(name, ())
        (out,) = _tuple(getattr(aten, name).default(zero.clone(), *noise))
        assert (out == 0).all(), name


def test_fills_are_known():
    x = torch.rand(2, 3)

    assert rule_on(aten.zeros_like.default, x).effect.zero.all()
    assert rule_on(aten.zero_.default, x).effect.zero.all()
    assert rule_on(aten.fill_.Scalar, x, -math.inf).effect.blocked.all()
    assert rule_on(aten.full_like.default, x, 1).effect.zero is None
    assert rule_on(aten.copy_.default, x, torch.rand(3)).effect.zero is None


def test_dropout_keeps_zeros():
    x = torch.rand(2, 3)
    known = mask([1, 0, 0])

    assert rule_on(aten.dropout.default, x, 0.5, False, blocked=[(x, known)]).effect.blocked is known
    assert rule_on(aten.native_dropout.default, x, 0.5, True, zero=[(x, known)]).effect.zero is known
