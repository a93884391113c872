"""Tensors without numbers, laid out in memory as torch's kernels on a CPU lay them out.

For a fake tensor, torch asks functions in Python what an op gives. A few of them say other strides than the kernel, or
a smaller storage. The numbers would be the same ones, but an op that asks whether memory is contiguous then copies
where it would not, or the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from rfcalc.tracing.modes import DispatchMode


class AsLaid(DispatchMode):  # type: ignore[no-untyped-call]
    """In force inside of a fake tensor mode: what ops give is laid out as a kernel does."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        rule = _RULES.get(func)
        return func(*args, **(kwargs or {})) if rule is None else rule(func, args, kwargs or {})


def _seen(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """A view: the kernel gives an axis of one element the stride of a contiguous tensor."""
    given, shape = args
    with torch._C._DisableTorchDispatch():
        view = torch.empty_strided(given.shape, given.stride(), dtype=given.dtype, device="meta").view(shape)
    return _strided(given, view.shape, view.stride(), given.storage_offset())


def _contiguous(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The gradient of a layer norm's input is contiguous, also where the input was not."""
    first, *others = func(*args, **kwargs)
    if first is not None and not first.is_contiguous():
        first = torch.ops.aten.empty_like.default(first, memory_format=torch.contiguous_format)
    return (first, *others)


def _columns(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """The kernel takes room for as many elements as there are in the columns, and resizes it."""
    made: torch.Tensor = func(*args, **kwargs)
    room = args[0].numel()
    if room <= made.numel():
        return made
    base = torch.ops.aten.new_empty.default(made, [room])
    return _strided(base, made.shape, made.stride(), 0)


def _mean(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """The kernel of a loss works out that of each element, and puts their mean or sum into the first."""
    made: torch.Tensor = func(*args, **kwargs)
    room = torch.broadcast_shapes(args[0].shape, args[1].shape).numel()  # type: ignore[no-untyped-call]
    if made.ndim or room <= 1:
        return made
    return _strided(torch.ops.aten.new_empty.default(made, [room]), (), (), 0)


def _strided(given: torch.Tensor, shape: Sequence[int], strides: Sequence[int], start: Any) -> torch.Tensor:
    made: torch.Tensor = torch.ops.aten.as_strided.default(given, shape, strides, start)
    return made


_RULES: Mapping[Any, Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]] = {
    torch.ops.aten.view.default: _seen,
    torch.ops.aten._unsafe_view.default: _seen,
    torch.ops.aten.native_layer_norm_backward.default: _contiguous,
    torch.ops.aten.col2im.default: _columns,
    torch.ops.aten.mse_loss.default: _mean,
    torch.ops.aten.smooth_l1_loss.default: _mean,
    torch.ops.aten.soft_margin_loss.default: _mean,
    torch.ops.aten.binary_cross_entropy.default: _mean,
}

__all__ = ["AsLaid"]
