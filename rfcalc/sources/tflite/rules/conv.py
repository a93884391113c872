"""Convolutions, products of matrices and pooling."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.tflite.rules import Op, as_onnx, channels_first, channels_last, ints, rule

T = torch.Tensor

_SAME = 0
_AXES = ("D", "H", "W")


def _by_axis(op: Op, text: str, rank: int) -> list[int]:
    """A setting by axis: ``text`` is its name with an axis's letter."""
    return [int(op.get(text.format(axis), 1)) for axis in _AXES[3 - rank :]]


def _settings(op: Op, rank: int) -> dict[str, Any]:
    return {
        "strides": _by_axis(op, "Stride{}", rank),
        "dilations": _by_axis(op, "Dilation{}Factor", rank),
        "auto_pad": "SAME_UPPER" if op.get("Padding", 0) == _SAME else "VALID",
    }


def _convolved(op: Op, x: T, weight: T, bias: T | None, groups: int) -> T:
    found = as_onnx("Conv", channels_first(x), weight, bias, group=groups, **_settings(op, x.ndim - 2))
    return channels_last(found)


@rule("CONV_2D")
def conv(op: Op, x: T, weight: T, bias: T | None = None) -> T:
    """A convolution; the weight is (out, height, width, in), and groups follow from its last axis."""
    return _convolved(op, x, weight.permute(0, 3, 1, 2), bias, x.shape[-1] // weight.shape[-1])


@rule("DEPTHWISE_CONV_2D")
def depthwise(op: Op, x: T, weight: T, bias: T | None = None) -> T:
    """A convolution of each channel by itself; the weight is (1, height, width, channels out)."""
    return _convolved(op, x, weight.permute(3, 0, 1, 2), bias, x.shape[-1])


@rule("CONV_3D")
def conv3d(op: Op, x: T, weight: T, bias: T | None = None) -> T:
    """A convolution over three axes; the weight is (depth, height, width, in, out)."""
    return _convolved(op, x, weight.permute(4, 3, 0, 1, 2), bias, x.shape[-1] // weight.shape[-2])


def _transposed(x: T, weight: T, bias: T | None, sizes: Sequence[int], strides: Sequence[int], same: bool) -> T:
    found = as_onnx(
        "ConvTranspose",
        channels_first(x),
        weight,
        bias,
        strides=list(strides),
        output_shape=list(sizes),
        auto_pad="SAME_UPPER" if same else "NOTSET",
    )
    return channels_last(found)


@rule("TRANSPOSE_CONV")
def transpose_conv(op: Op, to: T, weight: T, x: T, bias: T | None = None) -> T:
    """A transposed convolution to a given shape; the weight is (out, height, width, in)."""
    strides = _by_axis(op, "Stride{}", 2)
    return _transposed(x, weight.permute(3, 0, 1, 2), bias, ints(to)[1:3], strides, op.get("Padding", 0) == _SAME)


@rule("CONV_3D_TRANSPOSE")
def transpose_conv3d(op: Op, to: T, weight: T, x: T, bias: T | None = None) -> T:
    """A transposed convolution over three axes; the weight is (depth, height, width, out, in)."""
    strides = _by_axis(op, "Stride{}", 3)
    return _transposed(x, weight.permute(4, 3, 0, 1, 2), bias, ints(to)[1:4], strides, op.get("Padding", 0) == _SAME)


@rule("Convolution2DTransposeBias")
def mediapipe_transpose_conv(op: Op, x: T, weight: T, bias: T | None = None) -> T:
    """MediaPipe's transposed convolution: padding (1: same, 2: valid) and strides are three numbers in its settings."""
    padding, across, down = struct.unpack_from("<3i", op.get("custom", b""))
    same = padding == 1
    sizes = [
        n * s if same else (n - 1) * s + k
        for n, s, k in zip(x.shape[1:3], (down, across), weight.shape[1:3], strict=True)
    ]
    return _transposed(x, weight.permute(3, 0, 1, 2), bias, sizes, (down, across), same)


# --- products of matrices ---------------------------------------------------------------------------------------------


@rule("FULLY_CONNECTED")
def fully_connected(op: Op, x: T, weight: T, bias: T | None = None) -> T:
    """A linear layer; axes before the last are one unless they are to be kept."""
    if op.get("WeightsFormat", 0):
        raise ValueError("weights in a shuffled order, which no rule follows")
    if not op.get("KeepNumDims", False) and x.ndim != 2:
        x = x.reshape(-1, weight.shape[-1])
    return functional.linear(x, weight, bias)


@rule("BATCH_MATMUL")
def batch_matmul(op: Op, x: T, y: T) -> T:
    """The product of matrices, either turned if so wanted."""
    x = x.transpose(-1, -2) if op.get("AdjX", False) else x
    y = y.transpose(-1, -2) if op.get("AdjY", False) else y
    return torch.matmul(x, y)


# --- pooling ----------------------------------------------------------------------------------------------------------


def _pooled(op: Op, name: str, x: T) -> T:
    kernel = [int(op.get("FilterHeight")), int(op.get("FilterWidth"))]
    settings = {**_settings(op, 2), "dilations": [1, 1], "kernel_shape": kernel}
    return channels_last(as_onnx(name, channels_first(x), **settings))


@rule("MAX_POOL_2D", moves=True)
def max_pool(op: Op, x: T) -> T:
    """The largest element of each window."""
    return _pooled(op, "MaxPool", x)


@rule("AVERAGE_POOL_2D")
def average_pool(op: Op, x: T) -> T:
    """The mean of each window, without the padding."""
    return _pooled(op, "AveragePool", x)


@rule("L2_POOL_2D")
def l2_pool(op: Op, x: T) -> T:
    """The root of the mean of the squares of each window."""
    return torch.sqrt(_pooled(op, "AveragePool", x * x))
