"""Ops on elements: arithmetic, comparison, logic, bits, casts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from rfcalc.sources.onnx.dtypes import NARROW, PACKED, TORCH
from rfcalc.sources.onnx.rules import Op, Rule, rule

T = torch.Tensor


def wide(function: Rule) -> Rule:
    """The rule on int64 for unsigned numbers that torch hardly computes with, its result cast back."""

    @functools.wraps(function)
    def run(op: Op, *inputs: Any) -> Any:
        narrow = next((x.dtype for x in inputs if isinstance(x, T) and x.dtype in NARROW), None)
        if narrow is None:
            return function(op, *inputs)
        found = function(op, *(x.to(torch.int64) if isinstance(x, T) and x.dtype in NARROW else x for x in inputs))
        first = inputs[0].dtype
        return found if found.dtype == torch.bool else found.to(first if first.is_floating_point else narrow)

    return run


def _unary(name: str, function: Any) -> None:
    rule(name)(wide(lambda op, x: function(x)))


for _name, _function in {
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Ceil": torch.ceil,
    "Floor": torch.floor,
    "Round": torch.round,
    "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Tan": torch.tan,
    "Asin": torch.asin,
    "Acos": torch.acos,
    "Atan": torch.atan,
    "Sinh": torch.sinh,
    "Cosh": torch.cosh,
    "Asinh": torch.asinh,
    "Acosh": torch.acosh,
    "Atanh": torch.atanh,
    "Erf": torch.erf,
    "Sign": torch.sign,
    "Not": torch.logical_not,
    "IsNaN": torch.isnan,
    "BitwiseNot": torch.bitwise_not,
}.items():
    _unary(_name, _function)


def _aligned(op: Op, x: T, y: T) -> tuple[T, T]:
    """The inputs ready to be broadcast; before opset 7 an attribute says where the smaller one begins."""
    axis = op.get("axis")
    if op.version < 7 and axis is not None and x.ndim > y.ndim:
        axis = axis % x.ndim
        y = y.reshape(*y.shape, *(1 for _ in range(x.ndim - axis - y.ndim)))
    return x, y


def _binary(name: str, function: Any) -> None:
    rule(name)(wide(lambda op, x, y: function(*_aligned(op, x, y))))


def _divided(x: T, y: T) -> T:
    return torch.div(x, y, rounding_mode="trunc") if not x.is_floating_point() else torch.div(x, y)


def _power(x: T, y: T) -> T:
    if not x.is_floating_point() and y.is_floating_point():
        return torch.pow(x.to(y.dtype), y).to(x.dtype)
    return torch.pow(x, y).to(x.dtype)


for _name, _binary_function in {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": _divided,
    "Pow": _power,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "Less": torch.lt,
    "GreaterOrEqual": torch.ge,
    "LessOrEqual": torch.le,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
}.items():
    _binary(_name, _binary_function)


@rule("Mod")
@wide
def mod(op: Op, x: T, y: T) -> T:
    """The remainder with the sign of the divisor, or with that of the number (``fmod``)."""
    return torch.fmod(x, y) if op.get("fmod", 0) else torch.remainder(x, y)


@rule("BitShift")
def bit_shift(op: Op, x: T, y: T) -> T:
    """Shift whole numbers without sign."""
    wider = x.to(torch.int64)
    shifted = wider << y.to(torch.int64) if op.get("direction") == "LEFT" else wider >> y.to(torch.int64)
    return shifted.to(x.dtype)


def _over_all(name: str, function: Callable[[T, T], T]) -> None:
    rule(name)(wide(lambda op, *inputs: functools.reduce(function, inputs)))


_over_all("Max", torch.maximum)
_over_all("Min", torch.minimum)
_over_all("Sum", torch.add)


@rule("Mean")
def mean(op: Op, *inputs: T) -> T:
    """The mean of several tensors, element by element."""
    return functools.reduce(torch.add, inputs) / len(inputs)


@rule("Where")
def where(op: Op, condition: T, x: T, y: T) -> T:
    """Elements of one or the other."""
    return torch.where(condition, x, y)


@rule("IsInf")
def is_inf(op: Op, x: T) -> T:
    """Whether elements are infinite, above or below."""
    above, below = op.get("detect_positive", 1), op.get("detect_negative", 1)
    if above and below:
        return torch.isinf(x)
    return torch.isposinf(x) if above else torch.isneginf(x) if below else torch.zeros_like(x, dtype=torch.bool)


@rule("Identity")
def identity(op: Op, x: Any) -> Any:
    """The same."""
    return x


@rule("Cast")
def cast(op: Op, x: T) -> T:
    """Another type of numbers."""
    to = op.get("to")
    if isinstance(to, str):  # before opset 6
        from onnx import TensorProto

        to = TensorProto.DataType.Value(to)
    if to in PACKED:  # of whole numbers the last bits stay
        bits, signed = PACKED[to]
        low = 1 << (bits - 1) if signed else 0
        return (torch.remainder(torch.trunc(x.float()).to(torch.int64) + low, 1 << bits) - low).to(TORCH[to])
    return _to(op, x, TORCH[to])


@rule("CastLike")
def cast_like(op: Op, x: T, like: T) -> T:
    """The type of numbers of another tensor."""
    return _to(op, x, like.dtype)


def _to(op: Op, x: T, dtype: torch.dtype) -> T:
    if x.dtype == dtype:
        return x
    if dtype.is_floating_point and dtype.itemsize == 1 and op.get("saturate", 1) and x.is_floating_point():
        limit = torch.finfo(dtype).max  # eight bits: what is larger is the largest
        numbers = x.to(torch.float32)
        return torch.clamp(numbers, -limit, limit).to(dtype)
    return x.to(dtype)


@rule("BitCast")
def bit_cast(op: Op, x: T) -> T:
    """The same bytes as another type of the same size."""
    return x.view(TORCH[op.get("to")])


@rule("Clip")
@wide
def clip(op: Op, x: T, low: T | None = None, high: T | None = None) -> T:
    """Elements within limits, which may be left out."""
    if op.version < 11:
        low, high = op.get("min"), op.get("max")
    if low is None and high is None:
        return x
    if isinstance(low, T) or isinstance(high, T):
        return torch.clamp(x, *(None if v is None else torch.as_tensor(v, dtype=x.dtype) for v in (low, high)))
    return torch.clamp(x, low, high)
