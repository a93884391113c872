"""Witnesses for models that use torch.func: what torch counts for real, and which inputs change which outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from rfcalc.analyses.analysis import Analysis
from rfcalc.api import layer_graph


class Of(nn.Module):
    """A function of the module and its inputs, with a network and weights."""

    def __init__(self, function: Callable[..., Any], net: nn.Module | None = None, **weights: Tensor) -> None:
        super().__init__()
        self.function = function
        self.net = net
        for name, weight in weights.items():
            setattr(self, name, nn.Parameter(weight))

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


class Ensemble(nn.Module):
    """Networks of one shape, evaluated at once as torch's tutorial on ensembles does it, or one after the other."""

    def __init__(self, make: Callable[[], nn.Module], *, at_once: bool = True, members: int = 3, x: int | None = None):
        super().__init__()
        self.members = nn.ModuleList(make() for _ in range(members))
        self.at_once = at_once
        self.x = x  #: the axis of the input that has an example for each member; None: all get all

    def forward(self, x: Tensor) -> Tensor:
        if not self.at_once:
            given = [x] * len(self.members) if self.x is None else x.unbind(self.x)
            return torch.stack([member(item) for member, item in zip(self.members, given, strict=True)])
        weights, buffers = stack_module_state(list(self.members))
        base = self.members[0]

        def one(weights: Any, buffers: Any, x: Tensor) -> Any:
            return functional_call(base, (weights, buffers), (x,))

        return torch.vmap(one, in_dims=(0, 0, self.x))(weights, buffers, x)


class _Counter(TorchDispatchMode):
    """Multiply-adds by torch's formulas; FlopCounterMode itself fails within a gradient of torch.func."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry and func is not torch.ops.prim.device.default:
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        out = func(*args, **kwargs)
        if packet in flop_registry:
            self.macs += flop_registry[packet](*args, **kwargs, out_val=out) // 2
        return out


def macs_of(model: nn.Module, *inputs: Tensor) -> int:
    """The multiply-adds that torch's formulas give for a pass on real tensors."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Counter() as counter:
            model(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.macs


def analysed(model: nn.Module, x: Tensor) -> Analysis:
    """The analysis with the input's axes named a, b, c ..."""
    axes: Mapping[str, int] = dict(zip("abcdef", range(x.ndim), strict=False))
    return Analysis(layer_graph(model, x, axes=axes))


def seen(model: nn.Module, x: Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each axis of the input the first and last index that changes each element of the output; none: last < first.

    Each element of the input is changed by itself, from two starting points.
    """
    found = None
    for start in range(2):
        x = torch.randn(x.shape, generator=torch.Generator().manual_seed(start)).double()
        with torch.no_grad():
            before = model(x)
            rows = []
            for at in range(x.numel()):
                changed = x.clone()
                changed.view(-1)[at] += 0.37
                rows.append(model(changed) != before)
        one = torch.stack(rows, -1).reshape(*before.shape, *x.shape).numpy()
        found = one if found is None else found | one
    assert found is not None
    rank = found.ndim - x.ndim
    ends = []
    for axis in range(x.ndim):
        along = found.any(axis=tuple(rank + other for other in range(x.ndim) if other != axis))
        count = along.shape[-1]
        first = np.where(along.any(-1), along.argmax(-1), 0)
        ends.append((first, np.where(along.any(-1), count - 1 - along[..., ::-1].argmax(-1), -1)))
    return ends


def regions(found: Analysis) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same from the analysis, for the first output."""
    graph = found.layer_graph
    out = graph.outputs[0]
    shape = list(graph)[out.node].outputs[out.output].shape
    ends = []
    for first, last in found.regions(list(graph)[out.node].name):
        first, last = np.broadcast_to(first, shape), np.broadcast_to(last, shape)
        empty = first > last
        ends.append((np.where(empty, 0, first), np.where(empty, -1, last)))
    return ends
