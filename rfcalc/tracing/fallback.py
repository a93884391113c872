"""Real numbers where tensors without storage cannot serve: of inputs, of weights, and whether memory has room."""

from __future__ import annotations

import math
import os

import torch
from torch import nn

from rfcalc.tracing.invented import invented
from rfcalc.tracing.known import NeedsDataError


def wants_data(error: Exception) -> bool:
    """Whether a pass without numbers failed for want of them."""
    if isinstance(error, NeedsDataError | NotImplementedError):
        return True
    text = f"{type(error).__name__} {error}"
    return any(
        mark in text
        for mark in (
            "meta tensor",
            "meta device",
            "Meta tensor",
            "device meta",
            "'meta'",
            "DataDependent",
            "data-dependent",
            "unallocated storage",
        )
    )


def as_real(tensor: torch.Tensor) -> torch.Tensor:
    """An input on the CPU; one without storage gets random numbers, or zeros where it holds whole numbers."""
    if not tensor.is_meta:
        return tensor.detach().to("cpu", copy=True)
    if tensor.is_floating_point():
        return torch.rand(tensor.shape, dtype=tensor.dtype)
    return torch.zeros(tensor.shape, dtype=tensor.dtype)


def real_twin(name: str, tensor: torch.Tensor, known: torch.Tensor | None, weights: torch.Generator) -> torch.Tensor:
    """A CPU tensor in place of a parameter or buffer; one without storage gets random numbers."""
    if known is not None:
        return known
    made = invented(name, tensor, weights) if tensor.is_meta else tensor.detach().to("cpu", copy=True)
    return nn.Parameter(made, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def free_memory() -> float:
    """Bytes of memory that are free, infinity where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf
