"""Where a pass runs: on tensors without storage that say they lie on the CPU, or on real ones.

Torch chooses kernels by the device of the tensors it is given (attention's, recurrent layers'). A meta tensor would get
the choice of a device that nobody has; a fake one gets that of the CPU, and costs no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from rfcalc.footprint.hollow import OnlyAlike, OnlyFake
from rfcalc.footprint.layouts import AsLaid
from rfcalc.footprint.standing import Standing
from rfcalc.tracing.construct import Constants
from rfcalc.tracing.fallback import as_real, real_twin
from rfcalc.tracing.stored import dressed

_CPU = torch.device("cpu")


class World(Protocol):
    """What stands for the tensors of a model and its inputs, on the device that ``home`` names."""

    home: torch.device

    def twin(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """For a parameter or buffer."""

    def plain(self, tensor: torch.Tensor) -> torch.Tensor:
        """For any other tensor that the model holds."""

    def input(self, tensor: torch.Tensor) -> torch.Tensor:
        """For an input."""

    def mode(self) -> AbstractContextManager[Any]:
        """What is in force while the model runs."""

    def forget(self) -> None:
        """Hold nothing more than the model does."""


class Fake(Standing):
    """Tensors without storage that say they lie on the CPU. ``lenient`` as for `OnlyFake`."""

    def __init__(self, *, lenient: bool = False) -> None:
        super().__init__()
        self._lenient = lenient
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    @contextmanager
    def mode(self) -> Iterator[None]:
        """Raises `NeedsPlainError` where ordinary tensors would be taken otherwise."""
        with self._mode, AsLaid(), OnlyFake(lenient=self._lenient), OnlyAlike():  # type: ignore[no-untyped-call]
            yield

    def _base(self, count: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(count, dtype=dtype, device="meta")

    def _seen(self, view: torch.Tensor) -> torch.Tensor:
        return FakeTensor(self._mode, view, _CPU)


class Real:
    """Tensors with numbers, on the CPU; made-up ones where there are none."""

    def __init__(self, constants: Constants | None, home: torch.device = _CPU, seed: int = 0) -> None:
        self._constants = constants
        self.home = home
        self._numbers = torch.Generator().manual_seed(seed)

    def mode(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def twin(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        made = real_twin(name, tensor, self._known(tensor), self._numbers)
        if self.home == _CPU:
            return made
        there = made.detach().to(self.home)
        own = isinstance(tensor, nn.Parameter)
        return dressed(nn.Parameter(there, requires_grad=tensor.requires_grad), tensor) if own else there

    def plain(self, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:
            made = tensor.detach().clone()
        else:
            made = real_twin("", tensor.detach(), self._known(tensor), self._numbers)
        made = made.to(self.home)
        return nn.Parameter(made, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made

    def input(self, tensor: torch.Tensor) -> torch.Tensor:
        return as_real(tensor, self._numbers).to(self.home)

    def forget(self) -> None:
        """Nothing is held."""

    def _known(self, tensor: torch.Tensor) -> torch.Tensor | None:
        return self._constants.of(tensor) if self._constants is not None and tensor.is_meta else None


__all__ = ["Fake", "Real", "World"]
