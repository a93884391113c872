"""Random numbers of a pass: its own, so that those of the process go on as if it had not been.

Torch's generator for a device is one for all threads. Seeding it, or putting it back, would give another thread the
same numbers twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from rfcalc.tracing.modes import DispatchMode
from rfcalc.tracing.schema import schema_of
from rfcalc.tracing.tensors import tensors_in_args


class OwnNumbers:
    """A generator for each device, begun at ``seed``, for random ops that name none."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def call(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """An op, a random one with numbers of these; on tensors without storage it draws none."""
        if not schema_of(func).random:
            return func(*args, **kwargs)
        device = _device(args, kwargs)
        if device.type == "meta":
            return func(*args, **kwargs)
        return _way(func)(args, kwargs, self._of(device))

    def _of(self, device: torch.device) -> torch.Generator:
        made = self._generators.get(device)
        if made is None:
            made = self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return made


class Drawing(DispatchMode):
    """Random ops of a block take their numbers from a seed of the block's own."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._numbers = OwnNumbers(seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self._numbers.call(func, args, kwargs or {})


def _device(args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.device:
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    tensors = tensors_in_args((*args, *kwargs.values()))
    return tensors[0].device if tensors else torch.device("cpu")


_Way = Callable[[Sequence[Any], Mapping[str, Any], torch.Generator], Any]


@cache
def _way(func: Any) -> _Way:
    """How an op is called with a generator."""
    names = [argument.name for argument in func._schema.arguments]
    if "generator" in names:
        at = names.index("generator")

        def own(args: Sequence[Any], kwargs: Mapping[str, Any], generator: torch.Generator) -> Any:
            if len(args) > at:
                return func(*args[:at], args[at] or generator, *args[at + 1 :], **kwargs)
            return func(*args, **{**kwargs, "generator": kwargs.get("generator") or generator})

        return own
    for name in func.overloadpacket.overloads():
        other = getattr(func.overloadpacket, name)
        if sorted(argument.name for argument in other._schema.arguments) == sorted([*names, "generator"]):
            return lambda args, kwargs, generator: other(*args, **kwargs, generator=generator)
    named = _NAMED.get(func._schema.name.partition("::")[2])
    return named or (lambda args, kwargs, generator: func(*args, **kwargs))


def _rand_like(args: Sequence[Any], kwargs: Mapping[str, Any], generator: torch.Generator) -> Any:
    return torch.empty_like(args[0], **kwargs).uniform_(generator=generator)


def _randn_like(args: Sequence[Any], kwargs: Mapping[str, Any], generator: torch.Generator) -> Any:
    return torch.empty_like(args[0], **kwargs).normal_(generator=generator)


def _randint_like(args: Sequence[Any], kwargs: Mapping[str, Any], generator: torch.Generator) -> Any:
    low, high = (0, args[1]) if len(args) == 2 else args[1:3]
    return torch.empty_like(args[0], **kwargs).random_(low, high, generator=generator)


def _native_dropout(args: Sequence[Any], kwargs: Mapping[str, Any], generator: torch.Generator) -> Any:
    x, p, train = args
    if train is False:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    mask = torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - p, generator=generator)
    return x * mask * (1 / (1 - p) if p < 1 else 0.0), mask


_NAMED: dict[str, _Way] = {
    "rand_like": _rand_like,
    "randn_like": _randn_like,
    "randint_like": _randint_like,
    "native_dropout": _native_dropout,
}
