"""Tensors without numbers that stand for those of a model, and share their storages as these do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from rfcalc.errors import LoadError
from rfcalc.tracing.stored import dressed, inner_tensors


class Standing(ABC):
    """A world of them. Those that share a storage share one here, as large as theirs."""

    home = torch.device("cpu")

    def __init__(self) -> None:
        self._bases: dict[tuple[int, torch.dtype], torch.Tensor] = {}
        self._kept: list[torch.Tensor] = []  # an id is good for as long as its owner lives

    @abstractmethod
    def _base(self, count: int, dtype: torch.dtype) -> torch.Tensor:
        """So many elements in a storage of their own."""

    @abstractmethod
    def _seen(self, view: torch.Tensor) -> torch.Tensor:
        """What shows the elements of a view of such a storage, and is no view itself."""

    def twin(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """For a parameter or buffer. Raises `LoadError` for one that has no shape yet."""
        if nn.parameter.is_lazy(tensor):
            raise LoadError(f"parameter {name} has no shape yet: run the model once on an example, then ask again")
        made = self._made(tensor)
        if isinstance(tensor, nn.Parameter):
            return dressed(nn.Parameter(made, requires_grad=tensor.requires_grad), tensor)
        return made

    def plain(self, tensor: torch.Tensor) -> torch.Tensor:
        """For any other tensor that the model holds."""
        made = self._made(tensor)
        return nn.Parameter(made, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made

    def input(self, tensor: torch.Tensor) -> torch.Tensor:
        """For an input."""
        return self._made(tensor)

    def forget(self) -> None:
        """Hold nothing more than the model does."""
        self._bases.clear()

    def _made(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is not torch.strided or tensor.is_quantized or inner_tensors(tensor):
            raise NotImplementedError("a tensor that is not stored plainly")
        with torch._C.DisableTorchFunction():
            storage = tensor.untyped_storage()
        key = storage._cdata, tensor.dtype
        base = self._bases.get(key)
        if base is None:
            base = self._bases[key] = self._base(storage.nbytes() // tensor.element_size(), tensor.dtype)
            self._kept.append(tensor.detach())
        with torch.no_grad():
            return self._seen(base.as_strided(tensor.shape, tensor.stride(), int(tensor.storage_offset())))
