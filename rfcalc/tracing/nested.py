"""Nested tensors: rows of different lengths. A jagged one is of a class that runs ordinary ops on all rows at once.

Attention is what it does otherwise: by a kernel that takes all rows, or row by row by way of the other layout. Here it
is followed row by row, where the lengths of the rows are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.nested._internal.nested_tensor import NestedTensor
from torch.nn import functional

from rfcalc.errors import TraceError

#: Ops that make one that is no ordinary tensor inside.
_STRIDED = frozenset({"aten._nested_tensor_from_tensor_list", "aten._nested_tensor_from_mask"})


_REFUSED = "nested tensors of layout torch.strided are not followed: make them with layout=torch.jagged"


def is_jagged(types: Iterable[type]) -> bool:
    """Whether jagged tensors are among the operands of these types: what their class makes of the call is followed."""
    return any(issubclass(kind, NestedTensor) for kind in types)


def rows_of(tensor: torch.Tensor) -> torch.Tensor:
    """All rows of a jagged tensor as one; any other tensor."""
    return tensor._values if isinstance(tensor, NestedTensor) else tensor


def over(values: torch.Tensor, offsets: torch.Tensor, like: NestedTensor) -> NestedTensor:
    """A nested tensor whose rows lie in other values, as many and as long as those of ``like``."""
    lengths = None if like._lengths is None else like._lengths.to(values.device)
    known, offsets = dict(like._metadata_cache), offsets.to(values.device)
    return NestedTensor(values, offsets, lengths=lengths, _ragged_idx=like._ragged_idx, _metadata_cache=known)


def refuse_strided(op: str) -> None:
    """Raises `TraceError` for an op that makes a nested tensor of the other layout."""
    if op in _STRIDED:
        raise TraceError(_REFUSED)


def refuse_given(tensor: torch.Tensor, name: str) -> None:
    """Raises `TraceError` for an input of that name which is a nested tensor of the other layout."""
    if tensor.is_nested:
        raise TraceError(f"input {name}: {_REFUSED}")


ATTENTION = functional.scaled_dot_product_attention
_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")

#: Whole numbers that a tensor holds.
Numbers = Callable[[torch.Tensor], Sequence[int]]


def attention(numbers: Numbers, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """Attention of (batch, heads, length, features) with lengths that differ: that of each row to itself or its keys.

    ``numbers`` tells those of a tensor. What torch refuses is left to it, and what has another place for its lengths.
    """
    given = dict(zip(_NAMES, args, strict=False)) | dict(kwargs)
    parts = [given.pop(name) for name in _NAMES[:3]]
    if not all(isinstance(part, NestedTensor) and _is_followed(part) for part in parts) or given.get("attn_mask"):
        found: torch.Tensor = ATTENTION(*args, **kwargs)
        return found
    rows = [_rows(part, numbers) for part in parts]
    each = [ATTENTION(*(row.transpose(0, 1)[None] for row in three), **given) for three in zip(*rows, strict=True)]
    values = torch.cat([one[0].transpose(0, 1) for one in each])
    return torch.nested.nested_tensor_from_jagged(values, parts[0]._offsets).transpose(1, 2)


def _is_followed(tensor: NestedTensor) -> bool:
    return tensor.dim() == 4 and tensor._ragged_idx == 2 and tensor._lengths is None


def _rows(tensor: NestedTensor, numbers: Numbers) -> list[torch.Tensor]:
    """Each row, (length, heads, features)."""
    values = tensor.transpose(1, 2).values()
    return [values[start:stop] for start, stop in pairwise(numbers(tensor._offsets))]
