"""Nested tensors: rows of different lengths. A jagged one is of a class that runs ordinary ops on all rows at once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nested._internal.nested_tensor import NestedTensor

from rfcalc.errors import TraceError

#: Ops that make one that is no ordinary tensor inside.
_STRIDED = frozenset({"aten._nested_tensor_from_tensor_list", "aten._nested_tensor_from_mask"})


def is_jagged(types: Iterable[type]) -> bool:
    """Whether jagged tensors are among the operands of these types: what their class makes of the call is followed."""
    return any(issubclass(kind, NestedTensor) for kind in types)


def rows_of(tensor: torch.Tensor) -> torch.Tensor:
    """All rows of a jagged tensor as one; any other tensor."""
    return tensor._values if isinstance(tensor, NestedTensor) else tensor


def refuse_strided(op: str) -> None:
    """Raises `TraceError` for an op that makes a nested tensor of the other layout."""
    if op in _STRIDED:
        raise TraceError(
            "nested tensors of layout torch.strided, as attention makes them of jagged ones too, are not followed"
        )
