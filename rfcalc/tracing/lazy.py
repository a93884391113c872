"""Lazy modules, whose parameters have no shape before the first pass: a pass on a double finds them.

The user's model stays lazy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rfcalc.errors import LoadError
from rfcalc.tracing.copies import Copies
from rfcalc.tracing.doubles import doubled, meta_twin
from rfcalc.tracing.failing import first_line
from rfcalc.tracing.tensors import without_storage
from rfcalc.tracing.tree import distinct, tree


class Unshaped(nn.Module):
    """A model whose parameters exist once it is known what it is called with."""

    @abstractmethod
    def shaped(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> nn.Module:
        """The model with the parameters that these arguments give it."""


def shaped(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> nn.Module:
    """The model, or one like it whose lazy modules have the shapes that these arguments give them.

    It shares all tensors with the model but those that have no shape; they are on the meta device. Raises `LoadError`
    where a pass without numbers gives none.
    """
    if isinstance(model, Unshaped):
        return model.shaped(args, kwargs)
    modules = distinct(tree(model))
    lazy = [(name, module) for name, module in modules if _unshaped(module)]
    if not lazy:
        return model

    def exchange(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if not nn.parameter.is_lazy(tensor):
            return meta_twin(name, tensor)
        kind: Any = type(tensor)
        return kind(requires_grad=tensor.requires_grad, device="meta", dtype=tensor.dtype)  # type: ignore[no-any-return]

    why = "no pass came by"
    copies = Copies()
    with torch.no_grad(), doubled(model, exchange, model.training, without_storage) as double:
        given = Copies(without_storage)
        try:
            double.model(*given.of(tuple(args)), **given.of(dict(kwargs)))
        except Exception as error:
            why = first_line(error)
        for name, module in lazy:
            made = double.of(module)
            left = _unshaped(made)
            if left:
                raise LoadError(
                    f"parameter {name}.{left}".replace(" .", " ") + " has no shape yet (a lazy module), and a pass on"
                    f" these inputs gives it none ({why}): run the model once on an example, then ask again"
                )
            made.training = module.training
            copies.note(module, made)
    found: nn.Module = copies.of(model)
    return found


def _unshaped(module: nn.Module) -> str:
    """The first parameter or buffer of the module's own that has no shape, "" if there is none."""
    held = (*module._parameters.items(), *module._buffers.items())
    return next((name for name, tensor in held if tensor is not None and nn.parameter.is_lazy(tensor)), "")
