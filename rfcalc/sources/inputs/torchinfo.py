"""Inputs as torchinfo's users give them to `rfcalc.summary`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.errors import UsageError


def inputs_of(size: Any, data: Any, batch_dim: int | None, dtypes: Any, forward: Mapping[str, Any]) -> Any:
    """The inputs as `rfcalc.trace` takes them. Raises `UsageError` for both a size and data, or names without data."""
    if size is not None and data is not None:
        raise UsageError("summary takes input_size or input_data, got both: leave one out")
    found = data if data is not None else _sizes(size, batch_dim)
    if dtypes is not None and found is not None and data is None:
        found = _typed(found, dtypes)
    if not forward:
        return found
    if found is not None and not isinstance(found, Mapping):
        raise UsageError(
            f"summary got inputs by name ({', '.join(forward)}) and others without: give all of them by name, as"
            " input_data={...}"
        )
    return {**(found or {}), **forward}


def _sizes(size: Any, batch_dim: int | None) -> Any:
    if size is None or batch_dim is None:
        return tuple(size) if isinstance(size, list) and _is_shape(size) else size
    if isinstance(size, Mapping):
        return {name: _with_batch(shape, batch_dim) for name, shape in size.items()}
    return _with_batch(size, batch_dim) if _is_shape(size) else tuple(_with_batch(one, batch_dim) for one in size)


def _is_shape(size: Any) -> bool:
    return all(isinstance(extent, int) for extent in size)


def _with_batch(shape: Sequence[int], at: int) -> tuple[int, ...]:
    return (*shape[:at], 1, *shape[at:])


def _typed(sizes: Any, dtypes: Any) -> Any:
    """Tensors without storage of these sizes and types."""
    import torch

    kinds = list(dtypes) if isinstance(dtypes, list | tuple) else [dtypes]
    several = isinstance(sizes, Mapping) or not _is_shape(sizes)
    shapes = list(sizes.values()) if isinstance(sizes, Mapping) else list(sizes) if several else [sizes]
    if len(kinds) == 1:
        kinds *= len(shapes)
    if len(kinds) != len(shapes):
        raise UsageError(f"summary got {len(kinds)} dtypes for {len(shapes)} inputs: give one for each, or one for all")
    made = [torch.empty(shape, dtype=kind, device="meta") for shape, kind in zip(shapes, kinds, strict=True)]
    if isinstance(sizes, Mapping):
        return dict(zip(sizes, made, strict=True))
    return tuple(made) if several else made[0]


def training_of(model: Any, mode: str) -> bool:
    """Whether to trace in training. Raises `UsageError` for another mode than train, eval and same."""
    found = str(getattr(mode, "value", mode))
    if found not in ("train", "eval", "same"):
        raise UsageError(f"mode {found!r}: one of eval, train and same")
    return bool(getattr(model, "training", False)) if found == "same" else found == "train"
