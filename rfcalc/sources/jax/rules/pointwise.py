"""Functions of elements, of one tensor and of several."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import inf
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.jax.rules import Op, Shaped, Value, rule, tensor, tensors

T = torch.Tensor

_UNARY: dict[str, Callable[[T], T]] = {
    "abs": torch.abs,
    "neg": torch.neg,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "square": lambda x: x * x,  # which torch's own is not to who counts it
    "logistic": torch.sigmoid,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "erf_inv": torch.erfinv,
    "lgamma": torch.lgamma,
    "digamma": torch.digamma,
    "bessel_i0e": torch.special.i0e,
    "bessel_i1e": torch.special.i1e,
    "is_finite": torch.isfinite,
    "real": torch.real,
    "imag": torch.imag,
}
_COMPARED: dict[str, Callable[[Any, Any], T]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_BINARY: dict[str, Callable[[Any, Any], T]] = {
    "add": operator.add,
    "add_any": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
}
_OF_TENSORS: dict[str, Callable[[T, T], T]] = {
    "atan2": torch.atan2,
    "nextafter": torch.nextafter,
    "igamma": torch.special.gammainc,
    "igammac": torch.special.gammaincc,
    "zeta": torch.special.zeta,
    "complex": torch.complex,
}


def _unary(function: Callable[[T], T]) -> Callable[..., T]:
    return lambda op, x: function(tensor(x, op.takes[0]))


def _binary(function: Callable[[Any, Any], T]) -> Callable[..., T]:
    def run(op: Op, x: Value, y: Value) -> T:
        if not isinstance(x, T) and not isinstance(y, T):
            x = tensor(x, op.takes[0])
        return function(x, y)

    return run


for _name, _function in _UNARY.items():
    rule(_name)(_unary(_function))
for _name, _pair in {**_BINARY, **_COMPARED}.items():
    rule(_name)(_binary(_pair))
for _name, _pair in _OF_TENSORS.items():
    rule(_name)(lambda op, x, y, function=_pair: function(*tensors(op, (x, y))))


@rule("eq_to", "le_to", "lt_to")
def total(op: Op, x: Value, y: Value) -> T:
    """Comparisons in an order that NaN has a place in; on the other numbers they are the usual ones."""
    return _binary(_COMPARED[op.name.removesuffix("_to")])(op, x, y)


@rule("stop_gradient", "copy", "copy_p", "reduce_precision", "sharding_constraint", "name", "pvary", "device_put")
def same(op: Op, *values: Value) -> list[Value]:
    """The operands as they are."""
    return list(values)


@rule("optimization_barrier")
def barrier(op: Op, *values: Value) -> list[Value]:
    """The operands as they are."""
    return list(values)


@rule("sign")
def sign(op: Op, x: Value) -> T:
    """-1, 0 or 1; for complex numbers the number over its size."""
    return torch.sgn(tensor(x, op.takes[0]))


@rule("conj")
def conj(op: Op, x: T) -> T:
    """The complex conjugate; of a real number the number."""
    return torch.conj_physical(x) if x.is_complex() else x.to(op.out.dtype)


@rule("not")
def not_(op: Op, x: Value) -> T:
    """Every bit turned, or a truth value."""
    return _bounded(torch.bitwise_not(tensor(x, op.takes[0])), op)


@rule("cbrt")
def cbrt(op: Op, x: Value) -> T:
    """The cube root, of negative numbers too."""
    x = tensor(x, op.takes[0])
    return torch.sign(x) * torch.abs(x) ** (1 / 3)


@rule("round")
def round_(op: Op, x: Value) -> T:
    """To the nearest whole number; a half away from zero (method 0) or to the even one."""
    x = tensor(x, op.takes[0])
    if int(op["rounding_method"]) == 1:
        return torch.round(x)
    return torch.sign(x) * torch.floor(torch.abs(x) + 0.5)


@rule("integer_pow")
def integer_pow(op: Op, x: Value) -> T:
    """A power with a whole number as exponent: squares and products, as JAX lowers it, and a quotient below 0."""
    power, left = tensor(x, op.takes[0]), abs(op["y"])
    found = None if left else torch.ones_like(power)
    while left:
        if left % 2:
            found = power if found is None else found * power
        left //= 2
        if left:
            power = power * power
    assert found is not None
    return found.reciprocal() if op["y"] < 0 else found


@rule("pow")
def pow_(op: Op, x: Value, y: Value) -> T:
    """A power."""
    return _binary(operator.pow)(op, x, y)


@rule("div")
def div(op: Op, x: Value, y: Value) -> T:
    """A quotient; of whole numbers what is left when the fraction is cut off."""
    if op.out.dtype.is_floating_point or op.out.dtype.is_complex:
        return _binary(operator.truediv)(op, x, y)
    return torch.div(tensor(x, op.takes[0]), y, rounding_mode="trunc")


@rule("rem")
def rem(op: Op, x: Value, y: Value) -> T:
    """What a division leaves, with the dividend's sign."""
    return torch.fmod(tensor(x, op.takes[0]), y)


@rule("max")
def max_(op: Op, x: Value, y: Value) -> T:
    """The larger of both; of a number and 0, a rectified linear unit."""
    x, y = (y, x) if not isinstance(x, T) else (x, y)
    if isinstance(y, T):
        return torch.maximum(tensor(x, op.takes[0]), y)
    x = tensor(x, op.takes[0])
    if y == -inf:  # what maxima begin with
        return x
    return functional.relu(x) if y == 0 and x.is_floating_point() else torch.clamp(x, min=y)


@rule("min")
def min_(op: Op, x: Value, y: Value) -> T:
    """The smaller of both."""
    x, y = (y, x) if not isinstance(x, T) else (x, y)
    if isinstance(y, T):
        return torch.minimum(tensor(x, op.takes[0]), y)
    x = tensor(x, op.takes[0])
    return x if y == inf else torch.clamp(x, max=y)


@rule("clamp")
def clamp(op: Op, low: Value, x: Value, high: Value) -> T:
    """Each number between two bounds."""
    x = tensor(x, op.takes[1])
    if not isinstance(low, T) and not isinstance(high, T):
        return torch.clamp(x, low, high)
    return torch.clamp(x, tensor(low, op.takes[0]), tensor(high, op.takes[2]))


@rule("select_n")
def select_n(op: Op, which: Value, *cases: Value) -> T:
    """Of several tensors, element by element, the one whose number is given."""
    which = tensor(which, op.takes[0])
    held = [tensor(case, op.out) for case in cases]
    if len(held) == 1:
        return held[0]
    if which.dtype is torch.bool:
        return torch.where(which, held[1], held[0])
    found = held[-1]
    for number in range(len(held) - 2, -1, -1):
        found = torch.where(which == number, held[number], found)
    return found


@rule("convert_element_type")
def convert(op: Op, x: Value) -> T:
    """The same numbers in another type."""
    x = tensor(x, op.takes[0])
    dtype = op.out.dtype
    if x.is_complex() and not dtype.is_complex:
        x = torch.real(x)
    return x != 0 if dtype is torch.bool and x.dtype is not torch.bool else x.to(dtype)


@rule("bitcast_convert_type")
def bitcast(op: Op, x: T) -> T:
    """The same bits read as another type."""
    x, dtype = tensor(x, op.takes[0]), op.out.dtype
    if tuple(x.shape) == op.out.shape and x.dtype.itemsize != dtype.itemsize:  # one of them lies in a wider type
        narrow = {2: torch.int16, 4: torch.int32}[min(x.dtype.itemsize, dtype.itemsize)]
        return _bounded(x.view(narrow).to(dtype), op) if dtype is torch.int64 else x.to(narrow).view(dtype)
    return x.view(dtype)


@rule("polygamma")
def polygamma(op: Op, order: Value, x: Value) -> T:
    """The derivative of the digamma function of an order: (-1)^(n+1) n! zeta(n + 1, x)."""
    n, x = tensors(op, (order, x))
    sign_ = torch.where(torch.fmod(n, 2) == 0, -1.0, 1.0)
    return sign_ * torch.exp(torch.lgamma(n + 1)) * torch.special.zeta(n + 1, x)


# --- bits -------------------------------------------------------------------------------------------------------------


def _width(like: Shaped) -> int:
    """Bits of the whole numbers that stand here; those without sign lie in the next wider type."""
    return int(like.dtype.itemsize * 8)


def _bounded(x: T, op: Op) -> T:
    """Numbers without sign back in their range, where they lie in a wider type."""
    bits = op.params.get("unsigned")
    return x & ((1 << bits) - 1) if bits else x


@rule("shift_left")
def shift_left(op: Op, x: Value, y: Value) -> T:
    """Bits moved up; those that fall out are lost."""
    return _bounded(torch.bitwise_left_shift(tensor(x, op.takes[0]), tensor(y, op.takes[1])), op)


@rule("shift_right_arithmetic")
def shift_right(op: Op, x: Value, y: Value) -> T:
    """Bits moved down, the sign kept."""
    return torch.bitwise_right_shift(tensor(x, op.takes[0]), tensor(y, op.takes[1]))


@rule("shift_right_logical")
def shift_right_logical(op: Op, x: Value, y: Value) -> T:
    """Bits moved down, zeros from above."""
    x, y = tensors(op, (x, y))
    if op.params.get("unsigned"):
        return torch.bitwise_right_shift(x, y)
    wide = x.to(torch.int64) & ((1 << min(_width(op.takes[0]), 63)) - 1)
    return torch.bitwise_right_shift(wide, y.to(torch.int64)).to(x.dtype)


@rule("population_count")
def population_count(op: Op, x: Value) -> T:
    """How many bits are 1."""
    x = tensor(x, op.takes[0])
    found = torch.zeros_like(x)
    for bit in range(op.params.get("unsigned") or _width(op.takes[0])):
        found = found + (torch.bitwise_right_shift(x, bit) & 1)
    return found


@rule("clz")
def leading_zeros(op: Op, x: Value) -> T:
    """How many bits from above are 0."""
    x = tensor(x, op.takes[0])
    width = op.params.get("unsigned") or _width(op.takes[0])
    found, seen = torch.zeros_like(x), torch.zeros_like(x)
    for bit in range(width - 1, -1, -1):
        seen = seen | (torch.bitwise_right_shift(x, bit) & 1)
        found = found + (1 - seen)
    return found
