"""One call of a model made another: more samples, other sizes, another type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rfcalc.checking.subject import Subject, map_tensors
from rfcalc.errors import UsageError
from rfcalc.graph import InputInfo
from rfcalc.sources.loaded import Loaded
from rfcalc.tracing.doubles import Double
from rfcalc.tracing.stored import dressed, inner_tensors


def converted(loaded: Loaded, dtype: torch.dtype) -> Loaded:
    """The model with its floating-point parameters and buffers in another type, as ``model.to(dtype)`` makes them.

    What is packed stays as it is, and so does the model that was given.
    """
    constants = loaded.constants

    def exchange(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point() or tensor.dtype == dtype or tensor.is_quantized or inner_tensors(tensor):
            return tensor
        made = tensor.detach().to(dtype)
        if isinstance(tensor, nn.Parameter):
            return dressed(nn.Parameter(made, requires_grad=tensor.requires_grad), tensor)
        known = constants.of(tensor) if constants is not None else None
        if known is not None and constants is not None:
            constants.know(made, known.to(dtype))
        return made

    double = Double(loaded.model, exchange, loaded.model.training)
    return replace(loaded, model=double.model)


def with_batch(subject: Subject, batch: int) -> dict[str, Any]:
    """The arguments of the call with so many samples in each input. Raises `UsageError` where none has a batch."""
    if batch < 1:
        raise UsageError(f"--batch {batch}: a batch has at least one sample")
    if not any(one.batch is not None for one in subject.graph.inputs):
        shapes = ", ".join("x".join(map(str, one.shape)) for one in subject.graph.inputs)
        raise UsageError(f"--batch {batch}: no input of {subject.loaded.name} has an axis of samples ({shapes})")
    return resized(subject, lambda info: {0: batch} if info.batch is not None else {})


def resized(subject: Subject, extents: Callable[[InputInfo], dict[int, int]]) -> dict[str, Any]:
    """The arguments with other extents; ``extents`` gives those of an input by axis."""
    infos = iter(subject.graph.inputs)

    def change(tensor: torch.Tensor) -> torch.Tensor:
        made = tensor
        for axis, extent in extents(next(infos)).items():
            made = _extended(made, axis, extent)
        return made

    args, kwargs = map_tensors((subject.args, dict(subject.kwargs)), change)
    return {"args": args, "kwargs": kwargs}


def _extended(tensor: torch.Tensor, axis: int, extent: int) -> torch.Tensor:
    """The tensor with another extent along an axis: its numbers, where it has some, over again or cut off."""
    shape = (*tensor.shape[:axis], extent, *tensor.shape[axis + 1 :])
    if tensor.is_meta:
        return torch.empty(shape, dtype=tensor.dtype, device="meta")
    times = [1] * tensor.ndim
    times[axis] = -(-extent // max(1, tensor.shape[axis]))
    return tensor.repeat(*times).narrow(axis, 0, extent).clone()


__all__ = ["converted", "resized", "with_batch"]
