"""Modules that stand for those of a model that is there as a list of ops alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn


class Part(nn.Module):
    """Stands for a module of the original: has its name, its class's name and its parameters."""

    def forward(self, run: Callable[[], tuple[Any, ...]], *given: Any) -> tuple[Any, ...]:
        """Run the ops of one call; ``given`` are the values they read, for whoever follows calls of modules."""
        return run()


class Again(Part):
    """A turn of a loop after the first."""


class Witnessed(nn.Module):
    """A model whose own framework can run it, too."""

    @abstractmethod
    def own_passes(self, calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]]) -> list[list[torch.Tensor]]:
        """What the framework gives for each of the calls, on the weights that the module holds now, on the CPU."""


def part(kind: str, base: type[nn.Module] = Part) -> nn.Module:
    """A module whose class has the full name ``kind``; the class has no name where that is empty."""
    home, _, name = kind.rpartition(".")
    made: nn.Module = type(name, (base,), {"__module__": home, "__qualname__": name})()
    return made
