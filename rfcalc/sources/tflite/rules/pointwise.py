"""Ops on elements: arithmetic, comparison, activations, and what is done along the last axis."""

from __future__ import annotations

import torch
from torch.nn import functional

from rfcalc.sources.tflite.rules import Op, as_onnx, meant, rule, whole

T = torch.Tensor


def _same(names: dict[str, str], moves: bool = False) -> None:
    """Ops that are ONNX's, without settings."""
    for name, known in names.items():
        rule(name, moves=moves)(lambda op, *inputs, known=known: as_onnx(known, *inputs))


_same(
    {
        "ADD": "Add",
        "SUB": "Sub",
        "MUL": "Mul",
        "DIV": "Div",
        "POW": "Pow",
        "MAXIMUM": "Max",
        "MINIMUM": "Min",
        "EQUAL": "Equal",
        "GREATER": "Greater",
        "LESS": "Less",
        "GREATER_EQUAL": "GreaterOrEqual",
        "LESS_EQUAL": "LessOrEqual",
        "LOGICAL_AND": "And",
        "LOGICAL_OR": "Or",
        "LOGICAL_NOT": "Not",
        "ABS": "Abs",
        "NEG": "Neg",
        "CEIL": "Ceil",
        "FLOOR": "Floor",
        "ROUND": "Round",
        "SQRT": "Sqrt",
        "EXP": "Exp",
        "LOG": "Log",
        "SIN": "Sin",
        "COS": "Cos",
        "SIGN": "Sign",
        "BITWISE_XOR": "BitwiseXor",
        "RELU": "Relu",
        "TANH": "Tanh",
        "LOGISTIC": "Sigmoid",
        "ELU": "Elu",
        "HARD_SWISH": "HardSwish",
        "ADD_N": "Sum",
        "FLOOR_MOD": "Mod",
    }
)
_same({"SELECT_V2": "Where"}, moves=True)


@rule("NOT_EQUAL")
def not_equal(op: Op, x: T, y: T) -> T:
    """Whether elements differ."""
    return torch.ne(x, y)


@rule("FLOOR_DIV")
def floor_div(op: Op, x: T, y: T) -> T:
    """The quotient, rounded down."""
    return torch.div(x, y, rounding_mode="floor")


@rule("RSQRT")
def rsqrt(op: Op, x: T) -> T:
    """1 / sqrt(x)."""
    return torch.rsqrt(x)


@rule("SQUARE")
def square(op: Op, x: T) -> T:
    """The square."""
    return torch.square(x)


@rule("SQUARED_DIFFERENCE")
def squared_difference(op: Op, x: T, y: T) -> T:
    """(x - y)^2."""
    return torch.square(x - y)


@rule("ATAN2")
def atan2(op: Op, y: T, x: T) -> T:
    """The angle of (x, y)."""
    return torch.atan2(y, x)


@rule("RIGHT_SHIFT")
def right_shift(op: Op, x: T, by: T) -> T:
    """Bits moved down."""
    return torch.bitwise_right_shift(x, by)


@rule("SELECT", moves=True)
def select(op: Op, condition: T, x: T, y: T) -> T:
    """Elements of one or the other; a condition of one axis chooses slices."""
    if condition.ndim == 1 and x.ndim > 1:
        condition = condition.reshape(-1, *(1 for _ in x.shape[1:]))
    return torch.where(condition, x, y)


@rule("CAST")
def cast(op: Op, x: T) -> T:
    """Another type of numbers; of complex ones the real parts stay."""
    return (torch.real(x) if x.is_complex() and not op.dtype.is_complex else x).to(op.dtype)


@rule("BITCAST")
def bitcast(op: Op, x: T) -> T:
    """The same bytes as another type."""
    return x.view(op.dtype)


@rule("QUANTIZE")
def quantize(op: Op, x: T) -> T:
    """Whole numbers that stand for these, also from those that stand for them on another scale."""
    given, (result,) = op.tensors[0], op.results
    if given is not None and given.scale is not None and not x.is_floating_point():
        x = meant(x, given.scale)
    if result.scale is None:
        return x.to(op.dtype)
    return whole(x, result.scale, op.dtype)


@rule("DEQUANTIZE")
def dequantize(op: Op, x: T) -> T:
    """The numbers that whole ones, or ones of 16 bits, stand for."""
    held = op.tensors[0]
    if held is not None and held.scale is not None and not x.is_floating_point():
        return meant(x, held.scale).to(op.dtype)
    return x.to(op.dtype)


@rule("DENSIFY", moves=True)
def densify(op: Op, x: T) -> T:
    """The elements that are not zero at their places: the weight itself, whose shape is that of the whole."""
    return x


@rule("FAKE_QUANT")
def fake_quant(op: Op, x: T) -> T:
    """To the nearest of so many numbers between two limits."""
    steps = (1 << int(op.get("NumBits", 8))) - 1 - int(bool(op.get("NarrowRange", False)))
    low, high = op.get("Min", 0.0), op.get("Max", 0.0)
    scale = (high - low) / steps
    return torch.round((torch.clamp(x, low, high) - low) / scale) * scale + low


# --- activations ------------------------------------------------------------------------------------------------------


@rule("RELU6")
def relu6(op: Op, x: T) -> T:
    """Between 0 and 6."""
    return functional.relu6(x)


@rule("RELU_N1_TO_1")
def relu_n1_to_1(op: Op, x: T) -> T:
    """Between -1 and 1."""
    return torch.clamp(x, -1, 1)


@rule("RELU_0_TO_1")
def relu_0_to_1(op: Op, x: T) -> T:
    """Between 0 and 1."""
    return torch.clamp(x, 0, 1)


@rule("LEAKY_RELU")
def leaky_relu(op: Op, x: T) -> T:
    """x, and alpha x below 0."""
    return functional.leaky_relu(x, op.get("Alpha", 0.0))


@rule("PRELU")
def prelu(op: Op, x: T, slope: T) -> T:
    """x, and slope x below 0; the slope is broadcast from the last axis."""
    if slope.numel() in (1, x.shape[-1]) and slope.shape[-1] == slope.numel() and x.ndim > 1:
        return functional.prelu(x.movedim(-1, 1), slope.reshape(-1)).movedim(1, -1)
    return torch.where(x < 0, x * slope, x)


@rule("GELU")
def gelu(op: Op, x: T) -> T:
    """x times the normal distribution's function, or its approximation by tanh."""
    return functional.gelu(x, approximate="tanh" if op.get("Approximate", False) else "none")


@rule("SOFTMAX")
def softmax(op: Op, x: T) -> T:
    """exp(beta x) over its sum along the last axis."""
    beta = op.get("Beta", 0.0)
    return torch.softmax(x if beta == 1 else x * beta, -1)


@rule("LOG_SOFTMAX")
def log_softmax(op: Op, x: T) -> T:
    """The logarithm of the softmax along the last axis."""
    return torch.log_softmax(x, -1)


@rule("L2_NORMALIZATION")
def l2_normalization(op: Op, x: T) -> T:
    """By the norm of the last axis."""
    return functional.normalize(x, 2.0, -1, 1e-6)


@rule("LOCAL_RESPONSE_NORMALIZATION")
def lrn(op: Op, x: T) -> T:
    """Each element by the squares of its neighbours in other channels; the sum is not divided by how many."""
    size = 2 * int(op.get("Radius")) + 1
    first = x.movedim(-1, 1)
    found = functional.local_response_norm(first, size, op.get("Alpha") * size, op.get("Beta"), op.get("Bias"))
    return found.movedim(1, -1)


# --- complex numbers --------------------------------------------------------------------------------------------------


@rule("REAL")
def real(op: Op, x: T) -> T:
    """The real parts."""
    return torch.real(x)


@rule("IMAG")
def imag(op: Op, x: T) -> T:
    """The imaginary parts."""
    return torch.imag(x)


@rule("COMPLEX_ABS")
def complex_abs(op: Op, x: T) -> T:
    """The magnitudes."""
    return torch.abs(x)


@rule("RFFT2D")
def rfft2d(op: Op, x: T, sizes: T) -> T:
    """Fourier's transform over the last two axes, cut or padded with zeros to a size."""
    return torch.fft.rfft2(x, tuple(int(n) for n in sizes.flatten().tolist()))
