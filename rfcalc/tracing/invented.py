"""Numbers for weights that have none: of a model built without memory that must be run for real."""

from __future__ import annotations

import math

import torch
from torch import nn

#: He's scale (2015, arXiv:1502.01852), which keeps the size of signals through convolutions and ReLUs.
HE = math.sqrt(2)

_DRAWN = (1 << 20) - 3  #: how many random numbers a tensor gets before they repeat, out of step with its rows


def invented(
    name: str, tensor: torch.Tensor, generator: torch.Generator, gain: float = HE, *, wide: bool = False
) -> torch.Tensor:
    """Numbers for a parameter or buffer of that name that keep signals alive and finite; ``wide`` ones are of float64.

    Matrices are normal with He's scale, scales about 1, biases about 0, running means 0 and running variances 1.
    """
    leaf = name.rpartition(".")[2]
    shape = tuple(tensor.shape)
    dtype = torch.float64 if wide and tensor.is_floating_point() else tensor.dtype
    if not tensor.is_floating_point():
        return torch.zeros(shape, dtype=tensor.dtype)
    if not isinstance(tensor, nn.Parameter) and "var" in leaf:
        return torch.ones(shape, dtype=dtype)
    if not isinstance(tensor, nn.Parameter) and "mean" in leaf:
        return torch.zeros(shape, dtype=dtype)
    noise = torch.randn(min(math.prod(shape), _DRAWN), generator=generator)
    if len(shape) < 2:
        made = 0.1 * noise if "bias" in leaf else 1 + 0.1 * noise
    else:
        made = noise * (gain / math.sqrt(max(1, math.prod(shape[1:]))))
    return _repeated(made.to(tensor.dtype), shape, dtype)


def _repeated(drawn: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A tensor of these numbers, over and over: to draw as many takes longer than a forward pass."""
    made = torch.empty(shape, dtype=dtype)
    flat = made.view(-1)
    for start in range(0, len(flat), max(1, len(drawn))):
        part = flat[start : start + len(drawn)]
        part.copy_(drawn[: len(part)])
    return made
