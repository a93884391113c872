"""Quantisation: to whole numbers and back, and ops on whole numbers.

Ops on whole numbers are run as the ops on numbers that they stand for, so that they cost what those cost.
"""

from __future__ import annotations

from typing import Any

import torch

from rfcalc.sources.onnx.dtypes import PACKED, TORCH
from rfcalc.sources.onnx.rules import Op, find, rule

T = torch.Tensor


def _along(values: T | None, x: T, axis: int, block: int) -> T | None:
    """Scales or zero points for every element: one, one a slice of an axis, or one a block of it."""
    if values is None or values.numel() == 1:
        return None if values is None else values.reshape(())
    if values.ndim == 1 and not block:
        view = [1] * x.ndim
        view[axis] = -1
        return values.reshape(view)
    each = block or -(-x.shape[axis] // values.shape[axis])
    return values.repeat_interleave(each, axis).narrow(axis, 0, x.shape[axis])


def _limits(dtype: torch.dtype, kind: int | None) -> tuple[float, float]:
    if kind in PACKED:
        bits, signed = PACKED[kind]
        return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    limits: Any = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return limits.min, limits.max


def quantized(x: T, scale: T, zero: T | None, dtype: torch.dtype, kind: int | None = None) -> T:
    """The nearest whole numbers, even ones of two, within the limits of the type."""
    numbers = x / scale.to(x.dtype)
    low, high = _limits(dtype, kind)
    if dtype.is_floating_point:
        moved = numbers if zero is None else numbers + zero.to(x.dtype)
        return torch.clamp(moved, low, high).to(dtype) if "e5m2" not in str(dtype) else moved.to(dtype)
    rounded = torch.round(numbers)
    rounded = rounded if zero is None else rounded + zero.to(x.dtype)
    return torch.clamp(rounded, low, high).to(torch.int64 if "uint" in str(dtype) else dtype).to(dtype)


def dequantized(x: T, scale: T, zero: T | None) -> T:
    """(x - zero) scale."""
    numbers = x.to(scale.dtype)
    return (numbers if zero is None else numbers - zero.to(scale.dtype)) * scale


@rule("QuantizeLinear")
@rule("QuantizeLinear", domain="com.microsoft")
def quantize(op: Op, x: T, scale: T, zero: T | None = None) -> T:
    """Whole numbers of a type: that of the zero point, or of an attribute."""
    kind = op.get("output_dtype") or None
    axis, block = op.get("axis", 1) % max(x.ndim, 1), op.get("block_size", 0)
    dtype = zero.dtype if zero is not None else TORCH[kind] if kind else torch.uint8
    x = x if x.is_floating_point() else x.to(torch.float32)
    spread = _along(scale, x, axis, block)
    assert spread is not None
    return quantized(x, spread, _along(zero, x, axis, block), dtype, kind)


@rule("DequantizeLinear")
@rule("DequantizeLinear", domain="com.microsoft")
def dequantize(op: Op, x: T, scale: T, zero: T | None = None) -> T:
    """Numbers again."""
    axis, block = op.get("axis", 1) % max(x.ndim, 1), op.get("block_size", 0)
    spread = _along(scale, x, axis, block)
    assert spread is not None
    return dequantized(x, spread, _along(zero, x, axis, block))


@rule("DynamicQuantizeLinear")
def dynamic_quantize(op: Op, x: T) -> tuple[T, T, T]:
    """uint8 by the range of the tensor, with its scale and zero point."""
    low, high = torch.clamp(x.min(), max=0), torch.clamp(x.max(), min=0)
    scale = (high - low) / 255
    zero = torch.clamp(torch.round(-low / scale), 0, 255)
    return torch.clamp(torch.round(x / scale) + zero, 0, 255).to(torch.uint8), scale, zero.to(torch.uint8)


# --- products ---------------------------------------------------------------------------------------------------------


def _per_row(zero: T | None, x: T) -> T | None:
    """The zero points of the rows of a matrix."""
    return zero if zero is None or zero.ndim != 1 or zero.numel() == 1 else zero.unsqueeze(-1)


def _minus(x: T, zero: T | None) -> T:
    numbers = x.to(torch.float64 if x.dtype == torch.int32 else torch.float32)
    return numbers if zero is None else numbers - zero.to(numbers.dtype)


@rule("MatMulInteger")
def matmul_integer(op: Op, x: T, y: T, x_zero: T | None = None, y_zero: T | None = None) -> T:
    """The product of matrices of whole numbers."""
    return torch.matmul(_minus(x, _per_row(x_zero, x)), _minus(y, y_zero)).to(torch.int32)


@rule("ConvInteger")
def conv_integer(op: Op, x: T, weight: T, x_zero: T | None = None, w_zero: T | None = None) -> T:
    """A convolution of whole numbers."""
    of_rows = w_zero.reshape(-1, *(1 for _ in weight.shape[1:])) if w_zero is not None and w_zero.ndim else w_zero
    return _conv(op, _minus(x, x_zero), _minus(weight, of_rows)).to(torch.int32)


def _conv(op: Op, *inputs: T | None) -> T:
    run: Any = find("", "Conv")
    found: T = run(op, *inputs)
    return found


@rule("QLinearMatMul")
def qlinear_matmul(op: Op, x: T, x_scale: T, x_zero: T, y: T, y_scale: T, y_zero: T, scale: T, zero: T) -> T:
    """The product of quantised matrices, quantised."""
    left = dequantized(x, _row(x_scale, x), _row(x_zero, x))
    right = dequantized(y, y_scale, y_zero)
    found = torch.matmul(left.float(), right.float())
    return quantized(found, _row(scale, found), _row(zero, found), zero.dtype)


def _row(values: T, x: T) -> T:
    return values.reshape(()) if values.numel() == 1 else values.unsqueeze(-1) if values.ndim == 1 else values


@rule("QLinearConv")
def qlinear_conv(
    op: Op, x: T, x_scale: T, x_zero: T, w: T, w_scale: T, w_zero: T, scale: T, zero: T, bias: T | None = None
) -> T:
    """A convolution of quantised tensors, quantised. The bias is in units of both scales."""
    rows = [v.reshape(-1, *(1 for _ in w.shape[1:])) if v.numel() > 1 else v.reshape(()) for v in (w_scale, w_zero)]
    numbers = None if bias is None else bias.to(x_scale.dtype) * (x_scale.reshape(()) * w_scale)
    found = _conv(op, dequantized(x, x_scale.reshape(()), x_zero.reshape(())), dequantized(w, *rows), numbers)
    return quantized(found, scale.reshape(()), zero.reshape(()), zero.dtype)
