"""What `stream_models.py` looks at: a network, its input, and which axis is time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Case:
    """One network. ``inputs`` is a shape with batch; ``known`` what a paper, a code or who found a leak says.

    ``align`` "end" is for those that pad nothing, or the first frame to a hop: their last unit ends with the signal.
    """

    name: str
    source: str
    make: Callable[[], nn.Module]
    inputs: tuple[int, ...]
    axis: int
    rate: int | None = None
    known: str = ""
    align: str = "start"


class First(nn.Module):
    """A model of which only one part of the result, or one method, is looked at."""

    def __init__(self, inner: nn.Module, call: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(self.inner, x)
