"""Random numbers."""

from __future__ import annotations

import torch

from rfcalc.sources.onnx.dtypes import TORCH
from rfcalc.sources.onnx.rules import Op, rule

T = torch.Tensor


def _dtype(op: Op, like: T | None = None) -> torch.dtype:
    kind = op.get("dtype")
    return TORCH[kind] if kind is not None else like.dtype if like is not None else torch.float32


@rule("RandomNormal")
def normal(op: Op) -> T:
    """Normal numbers of a shape."""
    return torch.randn(op.get("shape"), dtype=_dtype(op)) * op.get("scale", 1.0) + op.get("mean", 0.0)


@rule("RandomNormalLike")
def normal_like(op: Op, x: T) -> T:
    """Normal numbers of another tensor's shape."""
    return torch.randn_like(x, dtype=_dtype(op, x)) * op.get("scale", 1.0) + op.get("mean", 0.0)


@rule("RandomUniform")
def uniform(op: Op) -> T:
    """Uniform numbers of a shape."""
    low, high = op.get("low", 0.0), op.get("high", 1.0)
    return torch.rand(op.get("shape"), dtype=_dtype(op)) * (high - low) + low


@rule("RandomUniformLike")
def uniform_like(op: Op, x: T) -> T:
    """Uniform numbers of another tensor's shape."""
    low, high = op.get("low", 0.0), op.get("high", 1.0)
    return torch.rand_like(x, dtype=_dtype(op, x)) * (high - low) + low


@rule("Bernoulli")
def bernoulli(op: Op, x: T) -> T:
    """Ones with the probabilities that the tensor holds."""
    return torch.bernoulli(x).to(_dtype(op, x))


@rule("Multinomial")
def multinomial(op: Op, x: T) -> T:
    """Classes drawn by the logarithms of their probabilities."""
    kind = op.get("dtype", 6)
    return torch.multinomial(torch.exp(x), op.get("sample_size", 1), replacement=True).to(TORCH[kind])
