"""Pointwise ops: activations, arithmetic, comparisons, casts and copies, dropout, and what makes tensors from nothing.

The tables give the operations per output element: one for each addition, multiplication, division, comparison and each
elementary function (exp, log, sqrt, sin, tanh, erf, ...) in the op's definition (docs/flops.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rfcalc.ops import _masks
from rfcalc.ops.common import align, pointwise
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Blocked, Reduce, Reshape, Slice

_ACTIVATIONS = {
    1: "relu relu_ tanh tanh_ threshold threshold_",
    2: """relu6 relu6_ hardtanh hardtanh_ leaky_relu leaky_relu_ rrelu rrelu_ rrelu_with_noise rrelu_with_noise_
        hardshrink""",
    3: "softshrink",
    4: "sigmoid sigmoid_ special_expit hardsigmoid hardsigmoid_ softplus elu elu_ selu selu_ celu celu_",
    5: "gelu gelu_ silu silu_ hardswish hardswish_ mish mish_ log_sigmoid",
}
_UNARY = {
    1: """neg neg_ negative negative_ abs abs_ absolute absolute_ sign sign_ sgn sgn_ signbit reciprocal reciprocal_
        square square_ sqrt sqrt_ rsqrt rsqrt_ exp exp_ exp2 exp2_ special_exp2 expm1 expm1_ special_expm1 log log_
        log2 log2_ log10 log10_ log1p log1p_ special_log1p sin sin_ cos cos_ tan tan_ asin asin_ acos acos_ atan
        atan_ arcsin arcsin_ arccos arccos_ arctan arctan_ sinh sinh_ cosh cosh_ asinh asinh_ acosh acosh_ atanh
        atanh_ arcsinh arcsinh_ arccosh arccosh_ arctanh arctanh_ floor floor_ ceil ceil_ round round_ special_round
        trunc trunc_ fix fix_ erf erf_ erfc erfc_ erfinv erfinv_ special_erf special_erfc special_erfinv
        special_erfcx lgamma lgamma_ digamma digamma_ polygamma i0 i0_ special_i0e special_i1 special_ndtr
        special_log_ndtr special_ndtri special_i1e special_airy_ai special_bessel_j0 special_bessel_j1
        special_bessel_y0
        special_bessel_y1 special_modified_bessel_i0 special_modified_bessel_i1 special_modified_bessel_k0
        special_modified_bessel_k1 special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1
        special_spherical_bessel_j0
        deg2rad deg2rad_ rad2deg rad2deg_ angle frexp isnan isinf isfinite isposinf isneginf""",
    2: "frac frac_ special_entr",
    3: "logit logit_ special_logit sinc sinc_ special_sinc nan_to_num nan_to_num_",
}
_BINARY = {
    0: "complex",
    1: """maximum minimum fmax fmin atan2 atan2_ arctan2 arctan2_ pow pow_ float_power float_power_ floor_divide
        floor_divide_ remainder remainder_ fmod fmod_ gcd gcd_ lcm lcm_ copysign copysign_ nextafter nextafter_
        heaviside heaviside_ lt lt_ gt gt_ le le_ ge ge_ less less_ greater greater_ less_equal less_equal_
        greater_equal greater_equal_ logical_xor logical_xor_ bitwise_xor bitwise_xor_ bitwise_left_shift
        bitwise_left_shift_ bitwise_right_shift bitwise_right_shift_ __xor__ __ixor__ __lshift__ __rshift__
        __ilshift__ __irshift__ igamma igamma_ igammac igammac_ special_zeta special_chebyshev_polynomial_t
        special_chebyshev_polynomial_u special_chebyshev_polynomial_v special_chebyshev_polynomial_w
        special_hermite_polynomial_h special_hermite_polynomial_he special_laguerre_polynomial_l
        special_legendre_polynomial_p special_shifted_chebyshev_polynomial_t special_shifted_chebyshev_polynomial_u
        special_shifted_chebyshev_polynomial_v special_shifted_chebyshev_polynomial_w _standard_gamma_grad
        _dirichlet_grad""",
    2: "xlogy xlogy_ special_xlogy ldexp ldexp_ addcmul addcmul_ addcdiv addcdiv_",
    3: "lerp lerp_ special_xlog1py",
    4: "hypot hypot_ logaddexp logaddexp2 polar",
    6: "isclose",
}


def aten(names: str) -> tuple[str, ...]:
    """Names of ops, separated by blanks, as the registry knows them."""
    return tuple(f"aten.{name}" for name in names.split())


def _by_op(table: Mapping[int, str]) -> dict[str, int]:
    return {op: count for count, names in table.items() for op in aten(names)}


#: Functions of 0 that are 0.
_KEEP_ZERO = frozenset(
    aten(
        """relu relu_ relu6 relu6_ leaky_relu leaky_relu_ prelu _prelu_kernel rrelu rrelu_ rrelu_with_noise
        rrelu_with_noise_ tanh tanh_ gelu gelu_ silu silu_ hardswish hardswish_ mish mish_ elu elu_ selu selu_ celu
        celu_ softshrink hardshrink neg neg_ negative negative_ abs abs_ absolute absolute_ sign sign_ sgn sgn_
        square square_ sqrt sqrt_ expm1 expm1_ log1p log1p_ sin sin_ tan tan_ asin asin_ atan atan_ arcsin arcsin_
        arctan arctan_ sinh sinh_ asinh asinh_ atanh atanh_ arcsinh arcsinh_ arctanh arctanh_ floor floor_ ceil
        ceil_ round round_ trunc trunc_ fix fix_ frac frac_ erf erf_ erfinv erfinv_ deg2rad deg2rad_ rad2deg
        rad2deg_ nan_to_num nan_to_num_"""
    )
)
#: Functions of what a softmax would block that are nothing, too: e^-88 is below the smallest normal number.
_FADE = frozenset(aten("exp exp_ sigmoid sigmoid_ special_expit softplus"))
#: Functions of minus infinity that are 0.
_FADE_AT_INFINITY = _FADE | frozenset(aten("exp2 exp2_ special_exp2 relu relu_ relu6 relu6_ hardsigmoid hardsigmoid_"))
_COST = _by_op(_ACTIVATIONS) | _by_op(_UNARY) | _by_op(_BINARY)


def joins(*operands: Any) -> bool:
    """Whether two or more different operands carry a field, so that the op joins branches."""
    return len({id(operand) for operand in operands if isinstance(operand, Arg) and operand.reads_data}) > 1


def _flops(call: Call, category: str, per_element: int) -> dict[str, int]:
    return {category: per_element * numel(call.out.shape)} if per_element else {}


def _function(kind: str, call: Call, x: Arg, flops: dict[str, int]) -> Effect:
    """A function of one tensor, position by position: of 0 it may be 0, of what is blocked nothing."""
    rank = len(call.out.shape)
    fades = x.blocked is not None and call.op in (_FADE if x.finite else _FADE_AT_INFINITY)
    gone = _masks.union(rank, x.blocked) if fades else None
    kept = x.zero if call.op in _KEEP_ZERO else None
    _, steps = pointwise(x, rank)
    return Effect(
        kind,
        [(x, steps if gone is None else (*steps, Blocked(call.mask(gone))))],
        flops=flops,
        zero=_masks.union(rank, kept, gone),
        masked=gone is not None,
    )


# --- activations ------------------------------------------------------------------------------------------------------


@rule(*(op for names in _ACTIVATIONS.values() for op in aten(names)))
def activation(call: Call) -> Effect:
    """An activation: one position; 1 (relu) to 5 (gelu, silu) operations per element by its definition."""
    x: Arg = call["self"]
    # The tanh approximation of gelu: x + 0.044715 x^3 (4), scaled (1), tanh (1), add 1, times x, halved (3).
    count = 9 if call["approximate"] == "tanh" else _COST[call.op]
    return _function("activation", call, x, _flops(call, "activation", count))


@rule("aten.log_sigmoid_forward")
def log_sigmoid_forward(call: Call) -> Effect:
    """Log-sigmoid and the buffer that its backward pass wants: one position; 5 operations per element."""
    read = [pointwise(call["self"], len(call.out.shape))]
    buffer = read if call.outs[1].shape == call.out.shape else []
    return Effect("activation", [read, buffer], each=True, flops=_flops(call, "activation", 5))


@rule("aten.prelu", "aten._prelu_kernel")
def prelu(call: Call) -> Effect:
    """PReLU: one position and its channel's slope; 2 operations per element."""
    x: Arg = call["self"]
    weight: Arg = call["weight"]
    slope = pointwise(weight, x.ndim)
    if weight.ndim == 1 and weight.numel > 1:
        slope = (weight, (Reshape(weight.shape, (1, *weight.shape, *(1,) * (x.ndim - 2))),))
    return Effect("activation", [pointwise(x, x.ndim), slope], flops=_flops(call, "activation", 2), zero=x.zero)


@rule("aten.glu")
def glu(call: Call) -> Effect:
    """Gated linear unit: the same position of both halves of an axis; 5 operations per element."""
    x: Arg = call["self"]
    axis = call.get("dim", -1) % x.ndim
    half = call.out.shape[axis]
    reads: list[ArgRead] = [(x, (Slice(axis, start, 1, half),)) for start in (0, half)]
    return Effect("activation", reads, flops=_flops(call, "activation", 5), attrs={"dim": axis})


# --- arithmetic -------------------------------------------------------------------------------------------------------


@rule(*(op for names in _UNARY.values() for op in aten(names)))
def unary(call: Call) -> Effect:
    """An elementary function: one position; 1 operation per element (2 or 3 where it is composed)."""
    x: Arg = call["self"]
    return _function("elementwise", call, x, _flops(call, "elementwise", _COST[call.op]))


@rule(*aten("clamp clamp_ clip clip_ clamp_min clamp_min_ clamp_max clamp_max_"))
def clamp(call: Call) -> Effect:
    """Clamping: one position, and that of bounds that are tensors; 1 comparison per bound and element."""
    bounds = [bound for bound in (call["min"], call["max"]) if bound is not None]
    return _elementwise(call, len(bounds))


@rule(*(op for names in _BINARY.values() for op in aten(names)))
def binary(call: Call) -> Effect:
    """Arithmetic, comparison, logic of tensors: one position of each, broadcast; 1 operation per element, or more."""
    scaled = call.get("value", 1) != 1
    return _elementwise(call, _COST[call.op] + scaled)


@rule(*aten("add add_ sub sub_ subtract subtract_ rsub"))
def addition(call: Call) -> Effect:
    """Addition, subtraction: one position of each, broadcast; 1 operation per element, 2 with a factor ``alpha``."""
    left, right, alpha = call["self"], call["other"], call.get("alpha", 1)
    signs: tuple[float, float] = (1, alpha)
    if call.op == "aten.rsub":
        signs = (-alpha, 1)
    elif "sub" in call.op:
        signs = (1, -alpha)
    blocked = None
    if not isinstance(alpha, complex):
        blocked = _masks.union(
            len(call.out.shape), _masks.known_blocked(left, signs[0]), _masks.known_blocked(right, signs[1])
        )
    return _elementwise(call, 1 + (alpha != 1), blocked=blocked, zero=_both_zero(call, left, right))


def _both_zero(call: Call, left: Any, right: Any) -> _masks.Mask:
    """Where both operands are 0; numbers of a constant are looked at only where something is known of the other."""
    if not any(isinstance(operand, Arg) and operand.zero is not None for operand in (left, right)):
        return None
    return _masks.common(len(call.out.shape), _masks.known_zero(left), _masks.known_zero(right))


def _still_blocked(call: Call, x: Any, factor: Any) -> _masks.Mask:
    """What is blocked of a tensor times a positive number: minus infinity stays, what is only low must not shrink."""
    if not isinstance(x, Arg) or x.blocked is None or not isinstance(factor, int | float):
        return None
    return _masks.union(len(call.out.shape), x.blocked) if factor >= 1 or (factor > 0 and not x.finite) else None


@rule(*aten("mul mul_ multiply multiply_ div div_ divide divide_ true_divide true_divide_"))
def product(call: Call) -> Effect:
    """Multiplication, division: one position of each but where the other is known to be 0; 1 operation per element."""
    left, right = call["self"], call["other"]
    divides = "div" in call.op
    zeros = _masks.known_zero(left), None if divides else _masks.known_zero(right)
    rank = len(call.out.shape)
    if divides:
        blocked = _still_blocked(call, left, 1 / right if isinstance(right, int | float) and right else None)
    else:
        blocked = _masks.union(rank, _still_blocked(call, left, right), _still_blocked(call, right, left))
    return _decided(call, zeros, 1, zero=_masks.union(rank, *zeros), blocked=blocked)


@rule(*aten("logical_and logical_and_ bitwise_and bitwise_and_ __and__ __iand__"))
def conjunction(call: Call) -> Effect:
    """Logical and: one position of each but where the other is known to be false; 1 operation per element."""
    zeros, trues = _known_truth(call["self"], call["other"])
    rank = len(call.out.shape)
    return _decided(call, zeros, 1, zero=_masks.union(rank, *zeros), true=_masks.common(rank, *trues))


@rule(*aten("logical_or logical_or_ bitwise_or bitwise_or_ __or__ __ior__"))
def disjunction(call: Call) -> Effect:
    """Logical or: one position of each but where the other is known to be true; 1 operation per element."""
    zeros, trues = _known_truth(call["self"], call["other"])
    rank = len(call.out.shape)
    return _decided(call, trues, 1, zero=_masks.common(rank, *zeros), true=_masks.union(rank, *trues))


def _known_truth(left: Any, right: Any) -> tuple[tuple[_masks.Mask, _masks.Mask], tuple[_masks.Mask, _masks.Mask]]:
    """Where each of two operands is known to be false, and where to be true."""
    false = _masks.known_zero(left), _masks.known_zero(right)
    return false, (_masks.known_true(left), _masks.known_true(right))


def _decided(call: Call, decides: tuple[_masks.Mask, _masks.Mask], per_element: int, **known: Any) -> Effect:
    """Where one of two operands alone decides what the result is, the other one is not read."""
    left, right = call["self"], call["other"]
    rank = len(call.out.shape)
    reads: list[ArgRead] = []
    for operand, cut in ((left, decides[1]), (right, decides[0])):
        if isinstance(operand, Arg):
            mask = _masks.union(rank, cut) if operand.reads_data else None
            steps = align(operand.shape, rank)
            reads.append((operand, steps if mask is None else (*steps, Blocked(call.mask(mask)))))
    return Effect(
        "merge" if joins(left, right) else "elementwise",
        reads,
        flops=_flops(call, "elementwise", per_element),
        masked=any(isinstance(step, Blocked) for _, steps in reads for step in steps),
        **known,
    )


@rule(*aten("logical_not logical_not_ bitwise_not bitwise_not_"))
def negation(call: Call) -> Effect:
    """Logical not: one position; 1 operation per element."""
    x: Arg = call["self"]
    says = call.out.dtype == "bool"  # the other bits of a number turn as well
    return _elementwise(call, 1, zero=x.true if says else None, true=x.zero if says else None)


@rule(*aten("eq eq_ ne ne_ not_equal not_equal_"))
def equality(call: Call) -> Effect:
    """Equality: one position of each, broadcast; 1 operation per element."""
    x, other = call["self"], call["other"]
    if isinstance(other, Arg):
        return _elementwise(call, 1)
    equal, unequal = (x.zero, x.true) if other == 0 else (x.true if other == 1 else None, x.zero)
    if "eq" in call.op and "not" not in call.op:
        return _elementwise(call, 1, zero=unequal, true=equal)
    return _elementwise(call, 1, zero=equal, true=unequal)


def _elementwise(call: Call, per_element: int, **known: Any) -> Effect:
    operands = tuple(call.tensors())
    return Effect(
        "merge" if joins(*operands) else "elementwise",
        [pointwise(operand, len(call.out.shape)) for operand in operands],
        flops=_flops(call, "elementwise", per_element),
        **known,
    )


@rule("aten.isin")
def isin(call: Call) -> Effect:
    """Membership: one position of the elements, all of the tested set; 1 comparison per pair."""
    rank = len(call.out.shape)
    elements = call.get("elements", call["element"])
    tested = call.get("test_elements", call["test_element"])
    reads = [pointwise(elements, rank)] if isinstance(elements, Arg) else []
    pairs = numel(call.out.shape)
    if isinstance(tested, Arg):
        pairs *= tested.numel
        one = (1,) * tested.ndim
        reads.append((tested, (Reduce(tuple(range(tested.ndim))), Reshape(one, (1,) * rank))))
    kind = "merge" if joins(elements, tested) else "elementwise"
    return Effect(kind, reads, flops={"elementwise": pairs})


# --- casts, copies, dropout -------------------------------------------------------------------------------------------


@rule(
    *aten(
        """_to_copy to type_as clone contiguous detach detach_ detach_copy alias alias_copy lift lift_fresh
        lift_fresh_copy positive resolve_conj resolve_neg conj _conj conj_physical conj_physical_ _conj_physical
        _neg_view _lazy_clone _pin_memory pin_memory requires_grad_ to_dense _to_dense cpu cuda _cast_Float
        _cast_Half"""
    )
)
def copied(call: Call) -> Effect:
    """A copy or a cast: one position; free."""
    return _copy(call, call["self"])


@rule("aten.copy_", "aten.copy")
def overwritten(call: Call) -> Effect:
    """A copy into a tensor: the result reads one position of the source, broadcast, and nothing of the target; free."""
    return _copy(call, call["src"])


def _copy(call: Call, source: Arg) -> Effect:
    cast = source.dtype != call.out.dtype
    return Effect(
        "cast" if cast else "copy",
        [pointwise(source, len(call.out.shape))],
        attrs={"from": source.dtype, "to": call.out.dtype} if cast else {},
        blocked=source.blocked if "float" in call.out.dtype else None,
        zero=source.zero,
        true=source.true if call.out.dtype == "bool" else None,
    )


@rule(
    *aten(
        """dropout dropout_ native_dropout _fused_dropout alpha_dropout alpha_dropout_ feature_dropout feature_dropout_
        feature_alpha_dropout feature_alpha_dropout_"""
    )
)
def dropout(call: Call) -> Effect:
    """Dropout: one position; free at inference, mask and scale (2 per element) in training; its mask reads nothing."""
    x: Arg = call["input"] if call["input"] is not None else call["self"]
    trains = call.get("train", True)
    reads = [[pointwise(x, len(call.out.shape))], *([] for _ in call.outs[1:])]
    return Effect(
        "dropout",
        reads,
        each=True,
        flops=_flops(call, "elementwise", 2 if trains else 0),
        attrs={"p": call["p"], "train": trains},
        blocked=None if trains else x.blocked,
        zero=None if trains and "alpha" in call.op else x.zero,
    )


# --- constants and random numbers -------------------------------------------------------------------------------------


@rule(
    *aten(
        """zeros zeros_like new_zeros zero zero_ _efficientzerotensor _new_zeros_with_same_feature_meta full full_like
        new_full fill fill_"""
    )
)
def filled(call: Call) -> Effect:
    """A constant: reads nothing but, where it is a tensor, the number that fills it; free."""
    number = call.get("fill_value", call.get("value", 0))
    rank = len(call.out.shape)
    if isinstance(number, Arg):
        return Effect("other", [pointwise(number, rank)])
    known = isinstance(number, int | float)
    return Effect(
        "other",
        blocked=_masks.everywhere(rank) if known and number <= _masks.LOWEST else None,
        finite=_masks.finite_of(number, call.out.dtype) if known else 0,
        zero=_masks.everywhere(rank) if number == 0 else None,
    )


@rule(
    *aten(
        """ones_like new_ones empty_like new_empty new_empty_strided rand_like randn_like randint_like normal_
        normal_functional uniform uniform_ random random_ exponential exponential_ cauchy cauchy_ geometric
        geometric_ log_normal log_normal_ _assert_async _assert_scalar _assert_tensor_metadata
        _functional_assert_async sym_constrain_range sym_constrain_range_for_size _linalg_check_errors is_same_size
        _has_same_storage_numel"""
    )
)
def unread(call: Call) -> Effect:
    """A tensor like another, random numbers, an assertion, a question about shapes: reads nothing; free."""
    return Effect("other")


@rule(
    *aten(
        """ones empty empty_strided empty_permuted empty_quantized arange range eye linspace logspace rand randn
        randint randperm scalar_tensor tril_indices triu_indices bartlett_window blackman_window hamming_window
        hann_window kaiser_window normal poisson binomial _standard_gamma"""
    )
)
def made(call: Call) -> Effect:
    """A tensor made from numbers, or drawn by parameters that are tensors (one position of each); free."""
    return Effect("other", [pointwise(x, len(call.out.shape)) for x in call.tensors()])


@rule("aten.bernoulli", "aten.bernoulli_")
def bernoulli(call: Call) -> Effect:
    """Zeros and ones drawn: reads one position of the probabilities if they are a tensor, else nothing; free."""
    chance = call["self"] if call["p"] is None else call["p"]
    return Effect("other", [pointwise(chance, len(call.out.shape))] if isinstance(chance, Arg) else [])


@rule("aten.multinomial", "aten._sample_dirichlet")
def multinomial(call: Call) -> Effect:
    """Samples drawn from a distribution: every sample reads its whole row of parameters; free."""
    x: Arg = call["self"]
    return Effect("other", [(x, (Reduce((x.ndim - 1,)),))])
