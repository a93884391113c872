"""How the results of ops lie in memory, kept so that torch works out each only once.

On tensors without storage an op gives nothing but layouts, and these follow from the layouts of its tensors and its
other arguments. torch finds them by references in Python, which take longer than the rest of a trace of the op. Kept
are ops of torch's own that neither write nor give views, draw nothing, and are not sized by numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from rfcalc import recall

#: As many are kept; after that the oldest is forgotten for the next.
MOST = 8192

_META = torch.device("meta")
_TENSORS = frozenset({torch.Tensor, torch.nn.Parameter})
_ATOMS = frozenset(
    {int, float, bool, complex, str, type(None), torch.dtype, torch.device, torch.memory_format, torch.layout}
)
_LISTS = frozenset({tuple, list, torch.Size})

#: Shape, strides and dtype of a tensor that has its own memory, from the first element on.
Outline = tuple[torch.Size, tuple[int, ...], torch.dtype]


class _Kept(NamedTuple):
    """The results of an op: of a sequence of ``kind``, or one without."""

    outlines: tuple[Outline, ...]
    kind: type | None


_KEPT: dict[tuple[Any, ...], _Kept] = {}


@recall.forgets
def forget() -> None:
    """Forget all of them."""
    _KEPT.clear()


def result(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an op gives whose schema says that layouts follow from layouts, run only where no equal one has run."""
    key: list[Any] = [func, torch.get_default_dtype()]
    tensors: list[torch.Tensor] = []
    if not _took(key, tensors, args) or (kwargs and not _took(key, tensors, _flat(kwargs))):
        return func(*args, **kwargs)
    found = tuple(key)
    kept = _KEPT.get(found)
    if kept is None:
        made = func(*args, **kwargs)
        _keep(found, made, tensors)
        return made
    with torch._C._DisableTorchDispatch():
        outs = [torch.empty_strided(*outline, dtype=dtype, device=_META) for *outline, dtype in kept.outlines]
    return outs[0] if kept.kind is None else kept.kind(outs)


def _flat(kwargs: Mapping[str, Any]) -> list[Any]:
    return [part for pair in kwargs.items() for part in pair]


def _took(key: list[Any], tensors: list[torch.Tensor], values: Sequence[Any]) -> bool:
    """Add arguments to a key; False where one is more than a plain value or a layout without storage."""
    for value in values:
        kind = type(value)
        if kind in _TENSORS:
            if not value.is_meta or value.layout is not torch.strided or value.is_conj() or value.is_neg():
                return False
            key += (kind, value.shape, value.stride(), value.dtype)
            tensors.append(value)
        elif kind in _ATOMS:
            key += (kind, value)
        elif kind in _LISTS:
            key += (kind, len(value))
            if not _took(key, tensors, value):
                return False
        else:
            return False
    return True


def _keep(key: tuple[Any, ...], made: Any, tensors: Sequence[torch.Tensor]) -> None:
    """Keep what an op gave, if it is tensors with memory of their own."""
    kind = type(made)
    outs = list(made) if kind in (tuple, list) else [made]
    if any(type(out) is not torch.Tensor or not out.is_meta or out.layout is not torch.strided for out in outs):
        return
    places = [out.untyped_storage()._cdata for out in (*outs, *tensors)]
    own = len({*places[: len(outs)]}) == len(outs) and not {*places[: len(outs)]} & {*places[len(outs) :]}
    if not own or any(out.storage_offset() or out.is_conj() or out.is_neg() for out in outs):
        return
    if len(_KEPT) >= MOST:
        _KEPT.pop(next(iter(_KEPT)), None)
    outlines = tuple([(out.shape, out.stride(), out.dtype) for out in outs])
    _KEPT[key] = _Kept(outlines, kind if kind in (tuple, list) else None)
