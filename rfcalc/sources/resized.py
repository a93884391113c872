"""A model that was traced once, called again on inputs of other sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.graph import InputInfo
from rfcalc.sources.loaded import Loaded


def usual_shapes(loaded: Loaded) -> dict[str, tuple[int | None, ...]]:
    """The shapes without batch that a model usually takes, by input; an extent that it leaves open is None."""
    return {expected.name: expected.shape for expected in loaded.inputs}


def call(loaded: Loaded, inputs: Sequence[InputInfo], shapes: Mapping[str, Sequence[int]], by_name: bool) -> Any:
    """What `resolve` takes for the model to be called as it was, on tensors of these full shapes.

    ``by_name`` says that the arguments were given by name, and not in order.
    """
    import torch

    if loaded.inputs:
        return {name: tuple(shape) for name, shape in shapes.items()}
    tensors = {
        item.name: torch.empty(tuple(shapes[item.name]), dtype=getattr(torch, item.dtype), device="meta")
        for item in inputs
    }
    return tensors if by_name else tuple(tensors.values())
