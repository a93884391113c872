"""Buffers that hold 0, 1 or random numbers, masks on weights and scores, and strides wider than kernels."""

from __future__ import annotations

import math
from random import Random

import torch
from torch import nn
from torch.nn import functional as F

from tests.randomnets.kinds import kind


def _numbers(rng: Random, shape: list[int]) -> torch.Tensor:
    """What a floating-point buffer happens to hold: zeros, ones, both, or anything."""
    made = {
        "zero": torch.zeros(shape),
        "one": torch.ones(shape),
        "both": torch.tensor([rng.choice([0.0, 1.0]) for _ in range(math.prod(shape))]).reshape(shape),
        "any": torch.tensor([rng.uniform(-1, 1) for _ in range(math.prod(shape))]).reshape(shape),
    }
    return made[rng.choice(list(made))].double()


def _truth(rng: Random, shape: list[int]) -> torch.Tensor:
    """A mask of which something is true."""
    made = torch.tensor([rng.random() < 0.6 for _ in range(math.prod(shape))]).reshape(shape)
    made.view(-1)[rng.randrange(made.numel())] = True
    return made


class Held(nn.Module):
    """A buffer, as the numbers that it happens to hold."""

    def __init__(self, held: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("held", held)

    def extra_repr(self) -> str:
        return f"torch.tensor({self.held.tolist()})"


class Gate(Held):
    """A tensor and the mean of each of its rows, which a gate lets through."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x.mean(-1, keepdim=True) * self.held


@kind("buffer", product=True)
def gate(rng: Random, x: torch.Tensor) -> nn.Module:
    return Gate(_numbers(rng, [1 if rng.random() < 0.5 else size for size in x.shape]))


class Weight(Held):
    """The last axis mixed by a matrix."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.held)


@kind("buffer", product=True)
def weight(rng: Random, x: torch.Tensor) -> nn.Module:
    return Weight(_numbers(rng, [rng.randint(1, 6), x.shape[-1]]))


class Masked(Held):
    """A convolution whose weight is masked, by a buffer or by what forward makes."""

    def __init__(self, held: torch.Tensor, made: bool, out: int, stride: int, padding: int, dilation: int) -> None:
        super().__init__(held)
        self.made, self.settings = held.tolist() if made else None, (stride, padding, dilation)
        self.weight = nn.Parameter(torch.randn(out, *held.shape[1:], dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = self.held if self.made is None else torch.tensor(self.made, device=x.device)
        stride, padding, dilation = self.settings
        return (F.conv1d, F.conv2d)[x.ndim - 3](x, self.weight * mask, None, stride, padding, dilation)


@kind("buffer", misleads=True)
def masked_conv(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if x.ndim not in (3, 4):
        return None
    kernel = [rng.randint(1, min(3, size)) for size in x.shape[2:]]
    out = rng.randint(1, 3)
    pairs = [out, x.shape[1]] if rng.random() < 0.5 else [1, x.shape[1]]
    held = _truth(rng, [*pairs, *kernel])
    if rng.random() < 0.5:
        held = held[:, :1].expand(-1, x.shape[1], *kernel).clone()
    return Masked(held, rng.random() < 0.5, out, rng.randint(1, 4), rng.randint(0, 1), 1)


class Faded(nn.Module):
    """Rows mixed by functions of scores that are 0 where the score is minus infinity."""

    def __init__(self, function: str, offset: int) -> None:
        super().__init__()
        self.function, self.offset = function, offset

    def extra_repr(self) -> str:
        return f"{self.function!r}, {self.offset}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.mean(1)
        length = x.shape[-1]
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(self.offset)
        total = F.logsigmoid(rows).cumsum(-1)
        score = total[..., :, None] * 0.7 - total[..., None, :]
        score = F.softsign(score).masked_fill(later, -math.inf)
        weights = getattr(torch, self.function)(score)
        return x @ weights.transpose(-1, -2)


@kind("buffer", misleads=True, product=True)
def faded(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Faded(rng.choice(["exp", "exp2", "sigmoid"]), 1) if x.ndim == 3 and x.shape[-1] > 1 else None


@kind("buffer")
def wide_conv(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """Steps longer than the kernel: positions between them are not read."""
    if x.ndim not in (3, 4) or min(x.shape[2:]) < 4:
        return None
    kernel = rng.randint(1, 3)
    module = (nn.Conv1d, nn.Conv2d)[x.ndim - 3]
    return module(x.shape[1], rng.randint(1, 3), kernel, rng.randint(kernel + 1, 7), rng.randint(0, kernel // 2))
