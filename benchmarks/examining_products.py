"""Products that torch's counter counts and that are not compared: of constants, and with what is not stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors in nested arguments or results."""
    return [one for one in tree_leaves(value) if isinstance(one, torch.Tensor)]


class NotCompared(TorchDispatchMode):
    """Adds up what `FlopCounterMode` counts for ops none of whose operands comes from the given tensors.

    A tensor comes from another one where an op took that, or wrote it into its memory. Beside them, what the counter
    counts of products with sparse tensors, which it takes for dense ones, beyond what their elements make.
    """

    def __init__(self, given: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.flops = 0
        self._variable = WeakIdKeyDictionary()
        self._storages: set[int] = set()
        for tensor in given:
            self._note(tensor)

    def _note(self, tensor: torch.Tensor) -> None:
        self._variable[tensor] = True

    def _is_variable(self, tensor: torch.Tensor) -> bool:
        return tensor in self._variable or _memory(tensor) in self._storages

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        taken = tensors_in((args, kwargs))
        result = func(*args, **kwargs)
        if any(map(self._is_variable, taken)):
            for tensor in tensors_in(result):
                self._note(tensor)
                if func._schema.is_mutable:
                    self._storages.add(_memory(tensor))
            self.flops += _beyond(func, taken)
        elif func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **kwargs, out_val=result)
        return result


def _beyond(func: Any, taken: Sequence[torch.Tensor]) -> int:
    """Of a product of two matrices one of which is sparse, what the counter counts for elements that are not stored."""
    if func._overloadpacket is not torch.ops.aten.mm or all(one.layout is torch.strided for one in taken):
        return 0
    first, second = (_places(one) for one in taken)
    return 2 * (first.shape[0] * first.shape[1] * second.shape[1] - int((first @ second).sum()))


def _places(matrix: torch.Tensor) -> np.ndarray:
    """1 for each element that is stored, all of a dense matrix: of numpy, whose products no counter of torch sees."""
    if matrix.layout is torch.strided:
        return np.ones(matrix.shape)
    places = np.zeros(matrix.shape)
    places[tuple(matrix.detach().to_sparse().coalesce().indices().numpy())] = 1
    return places


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else 0
