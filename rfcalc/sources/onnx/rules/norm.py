"""Normalisation."""

from __future__ import annotations

from math import prod

import torch
from torch.nn import functional

from rfcalc.sources.onnx.rules import Op, forward_axes, rule

T = torch.Tensor


@rule("BatchNormalization")
def batch_norm(op: Op, x: T, scale: T, bias: T, mean: T, var: T) -> T | tuple[T, T, T]:
    """By running statistics in inference; in training by those of the batch, which move the running ones."""
    eps, momentum = op.get("epsilon", 1e-5), op.get("momentum", 0.9)
    if not op.get("training_mode", 0):
        return functional.batch_norm(x, mean, var, scale, bias, False, 0.0, eps)
    axes = [at for at in range(x.ndim) if at != 1]
    now, spread = x.mean(axes), x.var(axes, unbiased=False)
    found = functional.batch_norm(x, None, None, scale, bias, True, 0.0, eps)
    return found, mean * momentum + now * (1 - momentum), var * momentum + spread * (1 - momentum)


@rule("InstanceNormalization")
def instance_norm(op: Op, x: T, scale: T, bias: T) -> T:
    """Each channel of each sample by its own statistics."""
    return functional.instance_norm(x, None, None, scale, bias, True, 0.0, op.get("epsilon", 1e-5))


@rule("LayerNormalization")
def layer_norm(op: Op, x: T, scale: T, bias: T | None = None) -> T | tuple[T, T, T]:
    """By the statistics of the last axes."""
    eps = op.get("epsilon", 1e-5)
    first = op.get("axis", -1) % x.ndim
    shape = list(x.shape[first:])
    if scale.numel() == prod(shape) and (bias is None or bias.numel() == prod(shape)):
        shift = None if bias is None else bias.reshape(shape)
        found = functional.layer_norm(x, shape, scale.reshape(shape), shift, eps)
    else:
        found = functional.layer_norm(x, shape, None, None, eps) * scale
        found = found if bias is None else found + bias
    if op.outputs == 1:
        return found
    axes = list(range(first, x.ndim))
    mean = x.mean(axes, keepdim=True)
    return found, mean, torch.rsqrt(x.var(axes, unbiased=False, keepdim=True) + eps)


@rule("SimplifiedLayerNormalization", "RMSNormalization")
def rms_norm(op: Op, x: T, scale: T) -> T:
    """By the root of the mean square of the last axes."""
    first = op.get("axis", -1) % x.ndim
    shape = list(x.shape[first:])
    eps = op.get("epsilon", 1e-5)
    if scale.numel() == prod(shape):
        return functional.rms_norm(x, shape, scale.reshape(shape), eps)
    return functional.rms_norm(x, shape, None, eps) * scale


@rule("GroupNormalization")
def group_norm(op: Op, x: T, scale: T, bias: T) -> T:
    """Groups of channels by their statistics; before opset 21 with one scale a group."""
    groups = op.get("num_groups")
    if scale.shape[0] != x.shape[1]:
        each = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return functional.group_norm(x, groups, scale, bias, op.get("epsilon", 1e-5))


@rule("LRN")
def lrn(op: Op, x: T) -> T:
    """Each element by the squares of its neighbours in other channels."""
    size, alpha, beta, bias = op.get("size"), op.get("alpha", 1e-4), op.get("beta", 0.75), op.get("bias", 1.0)
    return functional.local_response_norm(x, size, alpha, beta, bias)


@rule("LpNormalization")
def lp_normalization(op: Op, x: T) -> T:
    """By the norm along an axis; zeros stay."""
    axis, power = op.get("axis", -1), op.get("p", 2)
    norm = torch.linalg.vector_norm(x, power, axis, keepdim=True)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)


@rule("MeanVarianceNormalization")
def mean_variance(op: Op, x: T) -> T:
    """Minus the mean over axes, by the deviation."""
    axes = forward_axes(op.get("axes", [0, 2, 3]), x.ndim)
    mean = x.mean(axes, keepdim=True)
    spread = torch.sqrt((x * x).mean(axes, keepdim=True) - mean * mean)
    return (x - mean) / (spread + 1e-9)
