"""A double of a model for the time of one pass: modules of its own, with other tensors in place of the model's.

Nothing of the model is exchanged and put back: it goes on as it is, in other threads too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import MethodType
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rfcalc.errors import LoadError
from rfcalc.tracing.copies import Copies
from rfcalc.tracing.sharding import CALL
from rfcalc.tracing.stored import dressed
from rfcalc.tracing.tensors import without_storage
from rfcalc.tracing.tree import distinct, tree

#: From a tensor's qualified name and the tensor to the one that takes its place.
Exchange: TypeAlias = Callable[[str, torch.Tensor], torch.Tensor]
#: The same for tensors that have no name.
Plain: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


class Double:
    """The modules of a model once more. ``model`` is the root, ``modules`` are all, those outside of its tree too."""

    def __init__(self, model: nn.Module, exchange: Exchange | None, training: bool, plain: Plain | None = None) -> None:
        own = distinct(tree(model))
        self._copies = Copies(plain)
        if exchange is not None:
            met: set[int] = set()
            for prefix, module in own:
                for registry in (module._parameters, module._buffers):
                    for key, tensor in list(registry.items()) if registry else ():
                        if tensor is not None and id(tensor) not in met:
                            met.add(id(tensor))
                            self._copies.note(tensor, exchange(f"{prefix}.{key}" if prefix else key, tensor))
        self.model: nn.Module = self._copies.of(model)
        self.modules = self._copies.modules
        self._alone: list[nn.Module] = []
        for _, module in own:
            made = self.of(module)
            held = vars(made)
            if isinstance(made, nn.SyncBatchNorm) and type(made).forward is nn.SyncBatchNorm.forward:
                held["forward"] = MethodType(_BatchNorm.forward, made)  # by itself: there is one process in a pass
                self._alone.append(made)
            if "_c" in held:
                _set_mode_of_script(held["_c"], training)
            else:
                held["training"] = training

    def of(self, value: Any) -> Any:
        """What stands for a module of the model, or a copy of anything else that leads to the double."""
        return self._copies.of(value)

    def dismantle(self) -> None:
        """The modules are followed no more: one that the model's code kept is called as any other."""
        for module in self._alone:
            module.__dict__.pop("forward", None)
        for module in self.modules:
            module.__dict__.pop(CALL, None)  # holds the module, which would wait for the collector of garbage
            if hasattr(type(module), "__del__"):  # what it would end is the model's
                with suppress(TypeError):
                    module.__class__ = nn.Module


@contextmanager
def doubled(
    model: nn.Module, exchange: Exchange | None, training: bool, plain: Plain | None = None
) -> Iterator[Double]:
    """A double of the model in that mode until the end of the block.

    ``exchange`` takes the qualified name of a parameter or buffer and the tensor, once for one that is shared, and
    gives what stands in its place; ``plain`` takes any other tensor. None leaves the tensors as they are.
    """
    double = Double(model, exchange, training, plain)
    try:
        yield double
    finally:
        double.dismantle()


def _set_mode_of_script(program: Any, training: bool) -> None:
    with suppress(RuntimeError, AttributeError):  # one that was frozen has no mode
        program.setattr("training", training)


def meta_twin(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor like the given one, without storage. Raises LoadError for a parameter that has no shape yet."""
    if nn.parameter.is_lazy(tensor):
        raise LoadError(
            f"parameter {name} has no shape yet (a lazy module): run the model once on an example, then ask again"
        )
    twin = without_storage(tensor)
    if isinstance(tensor, nn.Parameter):
        return dressed(nn.Parameter(twin, requires_grad=tensor.requires_grad), tensor)
    return twin
