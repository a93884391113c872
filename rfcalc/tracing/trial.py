"""One op on small real tensors, where tensors without storage cannot serve: what it gives comes back without storage.

A custom op without a fake kernel, a kernel for the meta device that is stricter than the one of the CPU: the op runs on
stand-ins of the right shapes, types and layouts. Twice, on other numbers: if what it gives depends on them, only the
whole pass on real numbers can tell. Where it refuses the stand-ins too, the refusal is not about missing storage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from rfcalc.tracing.tensors import SEQUENCES, replaced, tensors_in_args, without_storage
from rfcalc.tracing.values import Value

#: No stand-ins are made for more bytes than this.
MOST_BYTES = 1 << 30


class UntriedError(Exception):
    """The stand-ins take too much memory."""


class NumbersTellError(Exception):
    """What the op gives depends on the numbers."""


def tried(
    func: Callable[..., Any],
    args: Any,
    kwargs: Mapping[str, Any],
    held: Sequence[Value],
    tensors: Sequence[torch.Tensor],
) -> Any:
    """What the op gives, with tensors without storage. ``held`` is what its ``tensors`` hold, in order.

    Raises `UntriedError` and `NumbersTellError`, and what the op raises on stand-ins.
    """
    if sum(_nbytes(tensor) for tensor in tensors) > MOST_BYTES:
        raise UntriedError
    generator = torch.Generator().manual_seed(0)
    shown = None
    for draw in (_plain, _drawn):
        stand_ins = [_stand_in(tensor, value, draw, generator) for tensor, value in zip(tensors, held, strict=True)]
        try:
            result = _run(func, args, kwargs, stand_ins)
        except Exception:
            if draw is _drawn and shown is None:
                raise
            continue  # zeros are refused by some ops (an index of no rows, a logarithm), and so are random numbers
        facts = _facts(result)
        if shown is not None and facts != shown:
            raise NumbersTellError
        shown, found, made = facts, result, stand_ins
    return _without_storage(found, made, tensors)


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _run(func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], stand_ins: Sequence[torch.Tensor]) -> Any:
    given = iter(stand_ins)
    positional = replaced(args, given)
    here = {name: replaced(value, given) for name, value in kwargs.items()}
    if here.get("device") is not None:
        here["device"] = torch.device("cpu")
    return func(*positional, **here)


# --- stand-ins --------------------------------------------------------------------------------------------------------

Draw = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def _stand_in(tensor: torch.Tensor, value: Value, draw: Draw, generator: torch.Generator) -> torch.Tensor:
    """A tensor on the CPU of the same shape, type and layout, with the numbers that are known."""
    if value.real is not None:
        return value.real.clone()
    if any(stride == 0 for stride, extent in zip(tensor.stride(), tensor.shape, strict=True) if extent > 1):
        extents = [1 if stride == 0 else extent for extent, stride in zip(tensor.shape, tensor.stride(), strict=True)]
        made = torch.empty_strided(extents, tensor.stride(), dtype=tensor.dtype)
        return made.copy_(draw(made, generator)).expand(tensor.shape)
    made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return made.copy_(draw(tensor, generator))


def _plain(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.zeros((), dtype=tensor.dtype)


def _drawn(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random numbers from 0 to 1; of whole numbers and truth values, both."""
    shape = tuple(tensor.shape)
    if tensor.is_floating_point() or tensor.is_complex():
        return torch.rand(shape, generator=generator).to(tensor.dtype)
    return (torch.arange(tensor.numel()) % 2).reshape(shape).to(tensor.dtype)


# --- what it gave -----------------------------------------------------------------------------------------------------


def _facts(value: Any) -> Any:
    """All that the result would be without storage."""
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided:  # how much a sparse one stores, its numbers tell
            raise NumbersTellError
        return tuple(value.shape), tuple(value.stride()), value.dtype
    if isinstance(value, SEQUENCES):
        return type(value), tuple(_facts(item) for item in value)
    return value


def _without_storage(value: Any, stand_ins: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor]) -> Any:
    """The result with tensors of the pass: an argument that is given back, a view of one, or a new tensor."""
    outs = tensors_in_args((value,))
    return replaced(value, iter([_one(out, stand_ins, tensors) for out in outs]))


def _one(out: torch.Tensor, stand_ins: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    for made, tensor in zip(stand_ins, tensors, strict=True):
        if out is made:
            return tensor
    for made, tensor in zip(stand_ins, tensors, strict=True):
        if out.untyped_storage().data_ptr() == made.untyped_storage().data_ptr() and out.numel():
            offset = int(out.storage_offset() - made.storage_offset() + tensor.storage_offset())
            with torch._C._DisableTorchDispatch():
                return torch.as_strided(tensor, out.shape, out.stride(), offset)
    return without_storage(out)
