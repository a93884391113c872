"""Losses."""

from __future__ import annotations

import torch
from torch.nn import functional

from rfcalc.sources.onnx.rules import Op, rule

T = torch.Tensor


def _loss(op: Op, log_prob: T, target: T, weight: T | None) -> T:
    ignored = op.get("ignore_index", -100)
    return functional.nll_loss(
        log_prob, target.to(torch.int64), weight, ignore_index=ignored, reduction=op.get("reduction", "mean")
    )


@rule("NegativeLogLikelihoodLoss")
def nll_loss(op: Op, x: T, target: T, weight: T | None = None) -> T:
    """Minus the logarithm of the probability of the right class."""
    return _loss(op, x, target, weight)


@rule("SoftmaxCrossEntropyLoss")
def cross_entropy(op: Op, x: T, target: T, weight: T | None = None) -> T | tuple[T, T]:
    """The same, of the softmax."""
    log_prob = torch.log_softmax(x, 1)
    found = _loss(op, log_prob, target, weight)
    return found if op.outputs == 1 else (found, log_prob)
