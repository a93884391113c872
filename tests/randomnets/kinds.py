"""The table of op kinds that random networks are drawn from.

A drawer gets a `random.Random` and the tensors to work on (real ones, for their shapes) and gives a module, or None
where it does not apply to these shapes. Every module is a real `nn.Module` whose repr can be typed in again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import nn

Drawer = Callable[..., nn.Module | None]


@dataclass(frozen=True)
class Kind:
    """One kind of op. See `tests.randomnets.brute` for what the two flags mean."""

    name: str
    family: str
    draw: Drawer
    arity: int = 1
    hides: bool = False  #: a finite change may leave the output as it is although it is read (relu, maximum)
    misleads: bool = (
        False  #: NaN gets through where nothing else does (weights of 0, masks), or does not where others do
    )
    rounded: bool = False  #: a weight that is 0 in exact arithmetic may come out as 1e-16
    zeros: bool = False  #: makes known zeros, and no witness says what a product with them reads
    product: bool = False  #: multiplies what it reads with each other
    invariant: bool = False  #: does not see a change that all elements of a row share
    inexact: bool = False  #: the claim is an upper bound, or the witness a lower one: only containment is compared


KINDS: dict[str, Kind] = {}


def kind(family: str, **flags: Any) -> Callable[[Drawer], Drawer]:
    """Register a drawer under its function's name."""

    def register(function: Drawer) -> Drawer:
        name = function.__name__
        if name in KINDS:
            raise ValueError(f"two kinds are called {name}")
        KINDS[name] = Kind(name, family, function, **flags)
        return function

    return register


class Fn(nn.Module):
    """A function of tensors with fixed settings."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.function, self.args, self.kwargs = function, args, kwargs

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.function(*tensors, *map(_anew, self.args), **self.kwargs)
        return made

    def __repr__(self) -> str:
        settings = [_written(arg) for arg in self.args]
        settings += [f"{name}={_written(arg)}" for name, arg in self.kwargs.items()]
        return f"Fn({', '.join([self.function.__name__, *settings])})"


def _anew(value: Any) -> Any:
    """Numbers that the forward pass writes itself: those that a module holds could be any, as a weight could."""
    plain = type(value) is torch.Tensor and value.is_floating_point()
    return torch.tensor(value.tolist(), dtype=value.dtype) if plain else value


def _written(value: Any) -> str:
    return f"tensor({value.tolist()})" if isinstance(value, torch.Tensor) else repr(value)


def axis_of(rng: Random, x: torch.Tensor, least: int = 1) -> int | None:
    """An axis of that extent at least; the batch axis only now and then."""
    axes = [axis for axis in range(x.ndim) if x.shape[axis] >= least and (axis or rng.random() < 0.2)]
    return rng.choice(axes) if axes else None


def divisors(number: int, least: int = 1) -> list[int]:
    return [k for k in range(least, number + 1) if number % k == 0]


def one_each(rng: Random, count: int, values: Sequence[int]) -> list[int]:
    """A setting for each axis; as often as not the same for all."""
    if rng.random() < 0.4:
        return [rng.choice(values)] * count
    return [rng.choice(values) for _ in range(count)]


def share(rng: Random) -> float:
    """A coefficient of an op's own, or what one op adds another could take away again to the last bit."""
    return round(rng.uniform(0.6, 0.85), 6)


def flags(*names: str) -> dict[str, bool]:
    """Settings that are on."""
    return dict.fromkeys(names, True)
