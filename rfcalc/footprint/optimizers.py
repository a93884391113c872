"""Optimizers: torch's own, stepped on the pass's parameters, and 8-bit Adam, whose states are known by formula."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rfcalc.errors import UsageError

#: 8-bit Adam as bitsandbytes has it (Dettmers et al., 2021, arXiv:2110.02861): two states of a byte an element, each
#: with a float32 scale for 256 elements, and two tables of 256 float32; tensors below 4,096 elements keep float32.
_SMALL, _BLOCK, _TABLES = 4096, 256, 2 * 256 * 4


class Stepper:
    """One or two of torch's optimizers over the parameters that get gradients."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._optimizers = optimizers

    def step(self) -> None:
        for one in self._optimizers:
            one.step()

    def states(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """All tensors that are kept from step to step, with their parameters."""
        held = [
            (owner, value) for one in self._optimizers for owner, state in one.state.items() for value in state.values()
        ]
        return [(owner, value) for owner, value in held if isinstance(value, torch.Tensor)]


def stepper(name: str, parameters: Iterable[nn.Parameter]) -> Stepper | None:
    """The optimizer of that name; None for one that is known by formula, or none."""
    make = _MADE[name]
    chosen = list(parameters)
    return Stepper(make(chosen)) if make is not None and chosen else None


def known_states(name: str, parameters: Iterable[nn.Parameter]) -> int:
    """Bytes of the states of an optimizer that is known by formula."""
    if name != "adam8bit":
        return 0
    sizes = [one.numel() for one in parameters]
    packed = sum(2 * (size + 4 * -(-size // _BLOCK)) for size in sizes if size >= _SMALL)
    plain = sum(2 * 4 * size for size in sizes if size < _SMALL)
    return packed + plain + (_TABLES if packed else 0)


def check(name: str) -> str:
    """The name. Raises `UsageError` for one that is not known."""
    if name not in _MADE:
        raise UsageError(f"unknown optimizer {name!r}: expected {', '.join(_MADE)}")
    if name == "muon" and not hasattr(torch.optim, "Muon"):
        raise UsageError(f"torch {torch.__version__} has no Muon: choose another --optimizer")
    return name


def _muon(parameters: Sequence[nn.Parameter]) -> list[torch.optim.Optimizer]:
    """Muon for matrices, AdamW for all else, as its authors have it."""
    matrices = [one for one in parameters if one.ndim == 2]
    others = [one for one in parameters if one.ndim != 2]
    kind: Any = torch.optim.Muon
    return [*([kind(matrices)] if matrices else []), *([torch.optim.AdamW(others)] if others else [])]


_MADE: Mapping[str, Callable[[Sequence[nn.Parameter]], list[torch.optim.Optimizer]] | None] = {
    "adamw": lambda parameters: [torch.optim.AdamW(parameters)],
    "adam": lambda parameters: [torch.optim.Adam(parameters)],
    "sgd": lambda parameters: [torch.optim.SGD(parameters, lr=0.1)],
    "momentum": lambda parameters: [torch.optim.SGD(parameters, lr=0.1, momentum=0.9)],
    "muon": _muon,
    "adam8bit": None,
    "none": None,
}

__all__ = ["Stepper", "check", "known_states", "stepper"]
