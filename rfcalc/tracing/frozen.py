"""The weights of a frozen program: `torch.jit.freeze` makes constants of parameters and buffers, under their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

#: What normalisation layers keep in buffers.
_STATISTICS = ("running_mean", "running_var")


def frozen_weights(modules: Sequence[tuple[str, nn.Module]]) -> dict[str, torch.Tensor]:
    """The constants of frozen programs that stand for parameters, by name.

    A frozen program has no parameters. What were buffers is told from them only where a normalisation layer has them.
    """
    found: dict[str, torch.Tensor] = {}
    for prefix, module in modules:
        if isinstance(module, torch.jit.ScriptModule) and not list(module.parameters()):
            for name, tensor in _constants(module):
                if tensor.is_floating_point() and tensor.ndim and name.rpartition(".")[2] not in _STATISTICS:
                    found.setdefault(f"{prefix}.{name}" if prefix else name, tensor)
    return found


def _constants(module: torch.jit.ScriptModule) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors among a program's constants; one that an optimisation made has a number for a name."""
    graph = getattr(module, "graph", None)  # a module without a program of its own has none
    for node in graph.findAllNodes("prim::Constant") if graph is not None else ():
        if node.hasAttribute("value") and node.kindOf("value") == "t":
            name = node.output().debugName()
            yield f"constant_{name}" if name.isdecimal() else name.removeprefix("self."), node.t("value")
