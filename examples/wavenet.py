"""WaveNet's causal convolutions: an output sees 1 + (kernel - 1) x (sum of the dilations) samples, none of them later.

The network of van den Oord et al., 2016 (arXiv:1609.03499): gated units, residual and skip connections.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

import rfcalc


class CausalConv(nn.Conv1d):
    """A convolution that reads no later sample: all of its padding is in front."""

    def forward(self, input: Tensor) -> Tensor:
        """As long as the input."""
        before = self.dilation[0] * (self.kernel_size[0] - 1)
        return super().forward(functional.pad(input, (before, 0)))


class Block(nn.Module):
    """tanh of a filter times the sigmoid of a gate, then 1x1 to the residual and to the skip connection."""

    def __init__(self, channels: int, skip: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.filter = CausalConv(channels, channels, kernel, dilation=dilation)
        self.gate = CausalConv(channels, channels, kernel, dilation=dilation)
        self.residual = nn.Conv1d(channels, channels, 1)
        self.skip = nn.Conv1d(channels, skip, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the next block reads, and what goes to the output."""
        gated = torch.tanh(self.filter(x)) * torch.sigmoid(self.gate(x))
        return x + self.residual(gated), self.skip(gated)


class WaveNet(nn.Module):
    """Blocks of dilation 1, 2, 4, ..., in ``cycles`` rounds; the scores of 256 levels for every sample."""

    def __init__(self, cycles: int = 1, depth: int = 10, kernel: int = 2, channels: int = 32, skip: int = 64) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, channels, 1)
        self.blocks = nn.ModuleList(
            Block(channels, skip, kernel, 2**step) for _ in range(cycles) for step in range(depth)
        )
        self.leave = nn.Sequential(nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(), nn.Conv1d(skip, 256, 1))

    def forward(self, wave: Tensor) -> Tensor:
        """From (batch, 1, samples) to (batch, 256, samples)."""
        x, skips = self.enter(wave), []
        for block in self.blocks:
            x, skip = block(x)
            skips.append(skip)
        return self.leave(reduce(torch.add, skips))


def main() -> None:
    """Print what each block of one round sees, then the output of one to three rounds."""
    analysis = rfcalc.analyze(WaveNet(), (1, 16000))
    for step in range(10):
        field = analysis[f"blocks.{step}.filter"].receptive_field
        print(f"dilation {2**step:3}: {field.size[0]:4} samples, from {field.start[0] if field.start else '-'}")

    for cycles in (1, 2, 3):
        analysis = rfcalc.analyze(WaveNet(cycles), (1, 16000))
        size = analysis.layers[-1].receptive_field.size[0]
        rounds = "round" if cycles == 1 else "rounds"
        print(f"{cycles} {rounds}: {size} samples; 1 + {cycles} x (2 - 1) x (2**10 - 1) = {1 + cycles * 1023}")


if __name__ == "__main__":
    main()
