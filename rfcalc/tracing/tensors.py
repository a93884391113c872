"""Small facts about tensors and arguments that the tracer needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np
import torch

from rfcalc import reads
from rfcalc.graph import TensorInfo
from rfcalc.ops import Arg, ArgRead, Call, Effect
from rfcalc.tracing.values import LARGEST_CONSTANT, Value


def info(tensor: torch.Tensor) -> TensorInfo:
    """Shape and dtype of a tensor."""
    return _info(tensor.shape, tensor.dtype)


@lru_cache(4096)
def _info(shape: torch.Size, dtype: torch.dtype) -> TensorInfo:
    return TensorInfo(tuple(shape), str(dtype).removeprefix("torch."))


def without_storage(tensor: torch.Tensor) -> torch.Tensor:
    """A meta tensor with the shape, strides and dtype of the given one; `NotImplementedError` for a sparse one."""
    if tensor.layout is not torch.strided:
        raise NotImplementedError(f"a tensor of layout {str(tensor.layout).removeprefix('torch.')}")
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def as_arg(
    tensor: torch.Tensor,
    held: Value,
    load_from: Callable[[Value], np.ndarray | None],
    load_anew: Callable[[Value], np.ndarray | None],
    strides: tuple[int, ...] | None,
    offset: int,
) -> Arg:
    """The tensor as a rule sees it; ``load_from`` reads known numbers, ``load_anew`` what else they might be."""
    name = held.params[0] if held.params else ""
    load = partial(load_from, held) if held.real is not None else None
    what = info(tensor)
    known = held.blocked, held.zero
    anew = partial(load_anew, held) if held.anew is not None else None
    arg = Arg(what.shape, what.dtype, held.role, name, load, *known, strides, offset, held.rows, held.true, anew)
    arg.finite = held.finite
    if tensor.layout is not torch.strided:
        arg.stored, arg.lines = stored_in(tensor), partial(stored_along, tensor)
    return arg


def stored_in(tensor: torch.Tensor) -> int:
    """How many elements a sparse tensor stores."""
    with torch._C._DisableTorchDispatch():
        held = tensor._values() if tensor.layout is torch.sparse_coo else tensor.values()
    return held.numel()


def stored_along(tensor: torch.Tensor) -> tuple[np.ndarray, ...] | None:
    """How many places a sparse matrix stores in each row, and in each column; None where it stores blocks or rows."""
    if tensor.ndim != 2 or tensor.layout not in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):
        return None
    with torch._C._DisableTorchDispatch():
        listed = tensor.detach().to_sparse().coalesce().indices().numpy()
    if len(listed) != tensor.ndim:
        return None
    return tuple(np.bincount(at, minlength=extent) for at, extent in zip(listed, tensor.shape, strict=True))


def elements_of(tensor: torch.Tensor) -> int:
    """How many elements a tensor has, those that are the same one along an axis counted once."""
    return prod([extent for extent, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride])


def numbers(real: torch.Tensor) -> np.ndarray | None:
    """Known numbers for a rule, None where the tensor has no storage."""
    if real.device.type == "meta":
        return None
    wide = real.detach().to("cpu")
    if wide.layout is not torch.strided:
        if wide.numel() > LARGEST_CONSTANT:
            return None
        wide = wide.to_dense()
    return wide.to(torch.float32).numpy() if wide.dtype in (torch.bfloat16, torch.float16) else wide.numpy()


def place_of(tensor: torch.Tensor) -> Any:
    """Which elements of which storage a tensor shows; the tensor itself where it has no storage of its own."""
    try:
        return (tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
    except (RuntimeError, NotImplementedError):
        return id(tensor)


def relabels(
    tensor: torch.Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> bool:
    """Whether these strides show the same elements in the same places: only axes of extent 1 get another one."""
    if tuple(size) != tuple(tensor.shape) or storage_offset not in (None, tensor.storage_offset()):
        return False
    return all(extent == 1 or new == old for extent, new, old in zip(size, stride, tensor.stride(), strict=True))


def tensors_in_args(values: Iterable[Any]) -> list[torch.Tensor]:
    """The tensors among the arguments of a call, nested lists and tuples included."""
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, SEQUENCES) and not is_plain(value):
            found += tensors_in_args(value)
    return found


#: What arguments are nested in.
SEQUENCES = (list, tuple)
_NUMBERS = frozenset({int, float, bool, type(None)})


def is_plain(values: Sequence[Any]) -> bool:
    """Whether all are numbers or None, as in most lists among arguments, in which no tensor needs to be looked for."""
    return _NUMBERS.issuperset(map(type, values))


def replaced(value: Any, real: Any) -> Any:
    """The arguments with every tensor replaced by the next of ``real``."""
    if isinstance(value, torch.Tensor):
        return next(real)
    if isinstance(value, list | tuple):
        return type(value)(replaced(item, real) for item in value)
    return value


def all_of(arg: Arg, rank: int) -> tuple[Arg, reads.Steps]:
    """Every position of an output of that rank reads all of the argument."""
    every = reads.Reduce(tuple(range(arg.ndim)))
    return arg, (every, reads.Reshape((1,) * arg.ndim, (1,) * rank))


def everything(op: str, call: Call) -> Effect:
    """An op without a rule: every output may read everything, and what it costs is not known."""
    rows = [[all_of(arg, len(out.shape)) for arg in call.tensors()] for out in call.outs]
    return Effect("unknown", rows, each=True, inexact=f"no rule for {op}")


def reads_of_output(
    effect: Effect, number: int, returned: int, out: torch.Tensor, args: Sequence[tuple[Arg, Value]]
) -> Sequence[ArgRead]:
    """The reads of one output of an op: the first ``returned`` are its results, the others it wrote beside them."""
    if number < returned or (effect.each and number < len(effect.reads)):
        return effect.reads_of(number)
    return [all_of(arg, out.ndim) for arg, _ in args]


def in_shape(op: str, real: torch.Tensor, args: Sequence[Any], tensor: torch.Tensor) -> torch.Tensor:
    """The numbers of a tensor that an op gave another shape in place."""
    changed: torch.Tensor
    if "resize" in op:
        changed = torch.ops.aten.resize(real, list(tensor.shape))
    else:
        changed = getattr(torch.ops.aten, op.removeprefix("aten."))(real, *args[1:])
    return changed
