"""Tensors that a file describes other than number by number: one number in every place, or those that are not zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from rfcalc.errors import LoadError
from rfcalc.sources.onnx.dtypes import PACKED, Numbers


@dataclass(frozen=True)
class Written:
    """Such a tensor, with what is asked of those that onnx reads. ``make`` gives its numbers, or None."""

    name: str
    data_type: int
    dims: tuple[int, ...]
    make: Callable[[], Numbers | None]
    external_data: tuple[Any, ...] = ()


def filled(name: str, number: Numbers, shape: tuple[int, ...]) -> Written:
    """A tensor with one number in every place."""
    return Written(name, number.kind, shape, lambda: Numbers(number.kind, shape, number.raw * prod(shape)))


def spread(name: str, sparse: Any, numbers: Callable[[Any], Numbers | None], spec: str) -> Written:
    """A tensor of zeros but for the values of a sparse one, whose indices count elements or have one for each axis."""
    kind, shape = sparse.values.data_type, tuple(sparse.dims)

    def make() -> Numbers | None:
        values, indices = numbers(sparse.values), numbers(sparse.indices)
        if values is None or indices is None:
            return None
        places = indices.tensor()
        if places.dim() == 2:
            strides = torch.tensor([prod(shape[axis + 1 :]) for axis in range(len(shape))], dtype=torch.int64)
            places = (places * strides).sum(1)
        held = values.tensor().flatten()
        if len(places) != len(held) or bool(((places < 0) | (places >= prod(shape))).any()):
            raise LoadError(f"{spec} is damaged: the indices of the sparse tensor {name!r} do not fit its shape")
        dense = torch.zeros(prod(shape), dtype=held.dtype)
        dense[places] = held
        return Numbers(kind, shape, dense.view(torch.uint8).numpy().tobytes())

    return Written(name, kind, shape, (lambda: None) if kind in PACKED else make)
