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

from rfcalc.errors import LoadError
from rfcalc.footprint.hollow import OnlyAlike, OnlyFake
from rfcalc.tracing.construct import Constants
from rfcalc.tracing.fallback import as_real, real_twin
from rfcalc.tracing.stored import dressed, inner_tensors

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


class Fake:
    """Tensors without storage. Those that share a storage share one here, as large as theirs."""

    home = _CPU

    def __init__(self) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._bases: dict[tuple[int, torch.dtype], torch.Tensor] = {}
        self._kept: list[torch.Tensor] = []  # an id is good for as long as its owner lives

    @contextmanager
    def mode(self) -> Iterator[None]:
        """Raises `NeedsPlainError` where ordinary tensors would be taken otherwise."""
        with self._mode, OnlyFake(), OnlyAlike():  # type: ignore[no-untyped-call]
            yield

    def twin(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        if nn.parameter.is_lazy(tensor):
            raise LoadError(f"parameter {name} has no shape yet: run the model once on an example, then ask again")
        made = self._made(tensor)
        if isinstance(tensor, nn.Parameter):
            return dressed(nn.Parameter(made, requires_grad=tensor.requires_grad), tensor)
        return made

    def plain(self, tensor: torch.Tensor) -> torch.Tensor:
        made = self._made(tensor)
        return nn.Parameter(made, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made

    def input(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._made(tensor)

    def _made(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is not torch.strided or tensor.is_quantized or inner_tensors(tensor):
            raise NotImplementedError("a tensor that is not stored plainly")
        with torch._C.DisableTorchFunction():
            storage = tensor.untyped_storage()
        key = storage._cdata, tensor.dtype
        base = self._bases.get(key)
        if base is None:
            count = storage.nbytes() // tensor.element_size()
            base = self._bases[key] = torch.empty(count, dtype=tensor.dtype, device="meta")
            self._kept.append(tensor.detach())
        with torch.no_grad():
            seen = base.as_strided(tensor.shape, tensor.stride(), int(tensor.storage_offset()))
        return FakeTensor(self._mode, seen, torch.device("cpu"))

    def forget(self) -> None:
        """Hold nothing more than the model does."""
        self._bases.clear()


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
