"""Activations and softmax."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from rfcalc.sources.onnx.rules import Op, rule
from rfcalc.sources.onnx.rules.pointwise import wide

T = torch.Tensor


@rule("Relu")
@wide
def relu(op: Op, x: T) -> T:
    """max(x, 0)."""
    return torch.relu(x)


@rule("Sigmoid")
def sigmoid(op: Op, x: T) -> T:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


@rule("Tanh")
def tanh(op: Op, x: T) -> T:
    """The hyperbolic tangent."""
    return torch.tanh(x)


@rule("Softplus")
def softplus(op: Op, x: T) -> T:
    """log(1 + exp(x))."""
    return functional.softplus(x)


@rule("Softsign")
def softsign(op: Op, x: T) -> T:
    """x / (1 + |x|)."""
    return functional.softsign(x)


@rule("Elu")
def elu(op: Op, x: T) -> T:
    """x, and alpha (exp(x) - 1) below 0."""
    return functional.elu(x, op.get("alpha", 1.0))


@rule("Selu")
def selu(op: Op, x: T) -> T:
    """gamma times elu; with the usual numbers torch has it by name."""
    alpha, gamma = op.get("alpha", 1.67326319217681884765625), op.get("gamma", 1.05070102214813232421875)
    if abs(alpha - 1.6732632423543772) < 1e-6 and abs(gamma - 1.0507009873554805) < 1e-6:
        return functional.selu(x)
    return gamma * functional.elu(x, alpha)


@rule("Celu")
def celu(op: Op, x: T) -> T:
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1))."""
    return functional.celu(x, op.get("alpha", 1.0))


@rule("LeakyRelu")
def leaky_relu(op: Op, x: T) -> T:
    """x, and alpha x below 0."""
    return functional.leaky_relu(x, op.get("alpha", 0.01))


@rule("PRelu")
def prelu(op: Op, x: T, slope: T) -> T:
    """x, and slope x below 0; the slope is broadcast from the last axis, before set 7 it was one for each channel."""
    if slope.numel() == 1:
        return functional.prelu(x, slope.reshape(1))
    channels = op.version < 7 and slope.ndim == 1
    if x.ndim > 1 and (channels or slope.shape == (x.shape[1], *(1 for _ in x.shape[2:]))):
        return functional.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


@rule("ThresholdedRelu")
def thresholded_relu(op: Op, x: T) -> T:
    """x above alpha, 0 else."""
    return functional.threshold(x, op.get("alpha", 1.0), 0.0)


@rule("HardSigmoid")
def hard_sigmoid(op: Op, x: T) -> T:
    """max(0, min(1, alpha x + beta))."""
    alpha, beta = op.get("alpha", 0.2), op.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return functional.hardsigmoid(x)
    return torch.clamp(alpha * x + beta, 0, 1)


@rule("HardSwish")
def hard_swish(op: Op, x: T) -> T:
    """x hardsigmoid(x)."""
    return functional.hardswish(x)


@rule("Mish")
def mish(op: Op, x: T) -> T:
    """x tanh(softplus(x))."""
    return functional.mish(x)


@rule("Gelu")
def gelu(op: Op, x: T) -> T:
    """x times the normal distribution's function, or its approximation by tanh."""
    return functional.gelu(x, approximate=op.get("approximate", "none"))


@rule("Swish")
def swish(op: Op, x: T) -> T:
    """x sigmoid(alpha x)."""
    alpha = op.get("alpha", 1.0)
    return functional.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


@rule("SwiGLU")
def swiglu(op: Op, x: T, y: T) -> T:
    """x sigmoid(alpha x) y."""
    return swish(op, x) * y


@rule("Shrink")
def shrink(op: Op, x: T) -> T:
    """x towards 0 by bias, and 0 within lambd of it."""
    bias, limit = op.get("bias", 0.0), op.get("lambd", 0.5)
    zero = torch.zeros_like(x)
    moved = torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, zero))
    return moved.to(x.dtype)


def _along(op: Op, x: T, function: Callable[[T, int], T]) -> T:
    """A softmax along an axis; before opset 13 along all axes from that one on."""
    if op.version >= 13:
        return function(x, op.get("axis", -1))
    axis = op.get("axis", 1) % max(x.ndim, 1)
    if all(extent == 1 for extent in x.shape[axis + 1 :]):
        return function(x, axis)
    return function(x.flatten(axis), axis).reshape(x.shape)


@rule("Softmax")
def softmax(op: Op, x: T) -> T:
    """exp(x) over its sum."""
    return _along(op, x, torch.softmax)


@rule("LogSoftmax")
def log_softmax(op: Op, x: T) -> T:
    """The logarithm of the softmax."""
    return _along(op, x, torch.log_softmax)


@rule("Hardmax")
def hardmax(op: Op, x: T) -> T:
    """1 at the first of the largest elements, 0 else."""

    def largest(x: T, axis: int) -> T:
        return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)

    return _along(op, x, largest)


@rule("Dropout")
def dropout(op: Op, x: T, ratio: T | None = None, training: T | None = None) -> T | tuple[T, T]:
    """The same in inference; in training zeros are drawn."""
    share = float(ratio.item()) if ratio is not None else op.get("ratio", 0.5)
    if training is not None and bool(training.item()) and share:
        return functional.dropout(x, share), torch.ones_like(x, dtype=torch.bool)
    if op.outputs == 1:
        return x
    return x, torch.ones_like(x, dtype=torch.bool if op.version >= 10 else x.dtype)
