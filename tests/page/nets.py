"""Models whose regions are of every sort that the page can meet."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from rfcalc import analyze
from rfcalc.analyses.analysis import Analysis
from tests.unruled import unruled


class Branches(nn.Module):
    """A concatenation whose channels see differently: 3x3 and 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 4, 3, padding=1)
        self.narrow = nn.Conv2d(3, 2, 1)
        self.last = nn.Conv2d(6, 4, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.wide(x), self.narrow(x)], 1))


class Up(nn.Module):
    """Down, up and a skip: sizes that vary from position to position."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.up = nn.Upsample(scale_factor=2)
        self.out = nn.Conv2d(5, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([self.up(self.down(x)), x], 1))


class Tokens(nn.Module):
    """Patches as a row of tokens, which both axes of the picture move along; then two windows of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.mix = nn.Linear(8, 8)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row = self.mix(self.patch(x).flatten(2).transpose(1, 2))
        first, second = row.chunk(2, 1)
        return torch.cat([self.attn(part, part, part)[0] for part in (first, second)], 1)


class Two(nn.Module):
    """Two inputs, of which a layer may see one only."""

    def __init__(self) -> None:
        super().__init__()
        self.five = nn.Conv1d(1, 4, 5)
        self.three = nn.Conv1d(1, 4, 3, padding=1)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.five(left) + self.three(right)


class Unruled(nn.Module):
    """An op that rfcalc has no rule for: an upper bound, and totals that are lower bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return unruled(self.conv(x))


def _chain(*modules: nn.Module) -> nn.Sequential:
    """Modules one after another with names that are no numbers, which would mean layers by their number."""
    return nn.Sequential(OrderedDict((f"step{number}", module) for number, module in enumerate(modules)))


def example(name: str) -> Analysis:
    """One of the models, analyzed."""
    match name:
        case "branches":
            return analyze(Branches(), (3, 12, 9))
        case "up":
            return analyze(Up(), (1, 8, 12))
        case "tokens":
            return analyze(Tokens(), (3, 16, 16))
        case "two":
            return analyze(Two(), {"left": (1, 24), "right": (1, 20)})
        case "unruled":
            return analyze(Unruled(), (1, 16))
        case "dilated":
            return analyze(_chain(nn.Conv2d(1, 2, 3, dilation=2), nn.Conv2d(2, 2, 3, padding=1)), (1, 14, 14))
        case "volume":
            return analyze(_chain(nn.Conv3d(1, 2, 3, padding=1), nn.MaxPool3d(2)), (1, 6, 8, 8))
        case "vector":
            return analyze(_chain(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)), (6,))
        case _:
            return analyze(name)


EXAMPLES = ("branches", "up", "tokens", "two", "unruled", "dilated", "volume", "vector")
