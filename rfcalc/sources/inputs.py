"""From the inputs a user gives (shapes, example tensors) to the arguments of the model's forward."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rfcalc.errors import UsageError
from rfcalc.sources.loaded import Loaded

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def candidates(loaded: Loaded, inputs: Any) -> list[Arguments]:
    """The arguments to try in turn.

    A shape of a model whose rank is not known may or may not hold the batch, and a model with embeddings may want token
    ids where others want numbers.
    """
    if inputs is None:
        if loaded.shape is None:
            raise UsageError(f"{loaded.name} has no default input: give its shape, --input 3x224x224")
        inputs = loaded.shape
    if isinstance(inputs, torch.Tensor):
        return [((inputs,), {})]
    if _is_shape(inputs):
        shapes = _shapes(loaded, tuple(inputs))
        return [((_tensor(shape, dtype),), {}) for dtype in _dtypes(loaded) for shape in shapes]
    if isinstance(inputs, Mapping):
        return [_by_name(loaded, inputs, dtype) for dtype in _dtypes(loaded)]
    if isinstance(inputs, list | tuple):
        return [(tuple(_tensor_or_shape(loaded, item, dtype) for item in inputs), {}) for dtype in _dtypes(loaded)]
    raise UsageError(
        f"cannot use a {type(inputs).__name__} as input: expected a shape, tensors, or a dict by input name"
    )


def _is_shape(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, int) for item in value)


def _shapes(loaded: Loaded, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    if any(extent < 1 for extent in shape):
        raise UsageError(f"input {'x'.join(map(str, shape))} has an extent below 1")
    batched = (1, *shape)
    if loaded.rank is not None:
        if len(shape) not in (loaded.rank, loaded.rank - 1):
            example = "x".join(map(str, loaded.shape or ()))
            raise UsageError(
                f"{loaded.name} takes an input like {example}, with or without batch before it;"
                f" {'x'.join(map(str, shape))} has {len(shape)} numbers"
            )
        return [batched if len(shape) == loaded.rank - 1 else shape]
    return [batched, shape] if len(shape) < 4 else [shape, batched] if len(shape) == 4 else [shape]


def _dtypes(loaded: Loaded) -> list[torch.dtype]:
    """The dtypes an example input may have: that of the model's weights, and that of token ids."""
    floats = (p.dtype for p in loaded.model.parameters() if p.is_floating_point())
    embeds = any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in loaded.model.modules())
    return [next(floats, torch.float32), *([torch.int64] if embeds else [])]


def _tensor(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """An example input without storage."""
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


def _tensor_or_shape(loaded: Loaded, value: Any, dtype: torch.dtype) -> Any:
    if _is_shape(value):
        # A shape among several inputs holds its batch unless all of the model's inputs are known to have one more axis.
        return _tensor(value if loaded.rank == len(value) or len(value) > 3 else (1, *value), dtype)
    return value


def _by_name(loaded: Loaded, inputs: Mapping[str, Any], dtype: torch.dtype) -> Arguments:
    """Inputs by the names of forward's parameters; the only input may also be called ``input``, as in the tables."""
    values = {name: _tensor_or_shape(loaded, value, dtype) for name, value in inputs.items()}
    try:
        parameters = inspect.signature(loaded.model.forward).parameters
    except (TypeError, ValueError):
        return (), values
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if set(values) == {"input"} and "input" not in parameters:
        return tuple(values.values()), {}
    unknown = [name for name in values if name not in parameters]
    if unknown and not open_ended:
        raise UsageError(
            f"{loaded.name} has no input {unknown[0]!r}; its forward takes {', '.join(parameters) or 'no input'}"
        )
    return (), values
