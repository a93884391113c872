"""Tensors without numbers, laid out in memory as torch's kernels on a CPU lay them out.

For a fake tensor, torch asks functions in Python what an op gives. A few of them say other strides than the kernel, or
a smaller storage. The numbers would be the same ones, but an op that asks whether memory is contiguous then copies
where it would not, or the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch._prims_common import suggest_memory_format

from rfcalc.footprint import iterated
from rfcalc.tracing.modes import DispatchMode
from rfcalc.tracing.tensors import tensors_in_args

#: Which kernel torch would take for a convolution.
_kernel: Any = getattr(torch._C, "_select_conv_backend", None)


class AsLaid(DispatchMode):  # type: ignore[no-untyped-call]
    """In force inside of a fake tensor mode: what ops give is laid out as a kernel does."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        rule = _RULES.get(func) or (_pointwise if _is_pointwise(func) else None)
        return func(*args, **(kwargs or {})) if rule is None else rule(func, args, kwargs or {})


@cache
def _is_pointwise(func: Any) -> bool:
    """Whether an op follows from numbers at the same place; not one that is told how to lay out what it gives."""
    if not hasattr(func, "_schema"):
        return False  # an op of higher order
    told = any(one.name == "memory_format" for one in func._schema.arguments)
    name = func._schema.name.partition("::")[2]
    return torch.Tag.pointwise in func.tags and not func._schema.is_mutable and not told and name not in _OTHERWISE


@cache
def _operands(func: Any) -> frozenset[int]:
    """Which arguments are tensors, or numbers that the kernel makes tensors of."""
    wrapped = "scalar" in func._schema.overload_name.lower()
    return frozenset(
        at for at, one in enumerate(func._schema.arguments) if isinstance(one.type, torch.TensorType) or wrapped
    )


#: Ops whose kernels are no iteration over their operands: copies, and what is made of other ops.
_OTHERWISE = frozenset(
    ("clone", "conj_physical", "positive", "mvlgamma", "ldexp", "isfinite", "masked_fill", "pow", "copy", "lift_fresh")
)
#: Ops that put numbers of their own beside what they are given.
_BESIDE = frozenset(("aten::hardtanh", "aten::nan_to_num", "aten::deg2rad", "aten::rad2deg"))


def _pointwise(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Laid out as torch's iteration over all operands has it."""
    made = func(*args, **kwargs)
    if not isinstance(made, torch.Tensor):
        return made
    given = tensors_in_args((*args, *kwargs.values()))
    if not given or torch.broadcast_shapes(*(one.shape for one in given)) != made.shape:  # type: ignore[no-untyped-call]
        return made
    if func is torch.ops.aten.threshold_backward.default:
        given = given[::-1]  # the kernel has them the other way round
    number = func._schema.name in _BESIDE or any(
        isinstance(value, int | float | complex) and at in _operands(func) for at, value in enumerate(args)
    )
    found = iterated.strides(made.shape, [_cast(one, made) for one in given], number=number)
    return made if made.stride() == found else _strided(made, made.shape, found, 0)


def _cast(given: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """An operand in the type of the result: a copy of it, where it has another, lies densely."""
    plain = given.dtype == made.dtype or torch.bool in (given.dtype, made.dtype)
    if plain or not given.ndim or iterated.is_dense(given):
        return given
    with torch._C._DisableTorchDispatch():
        return torch.empty_like(torch.empty_strided(given.shape, given.stride(), dtype=given.dtype, device="meta"))


def _as_made(made: torch.Tensor, form: torch.memory_format) -> torch.Tensor:
    """A new tensor with the strides of one that is made in a memory format."""
    with torch._C._DisableTorchDispatch():
        strides = torch.empty(made.shape, device="meta", memory_format=form).stride()
    return made if made.stride() == strides else _strided(made, made.shape, strides, 0)


def _seen(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """A view: the kernel gives an axis of one element the stride of a contiguous tensor."""
    given, shape = args
    with torch._C._DisableTorchDispatch():
        view = torch.empty_strided(given.shape, given.stride(), dtype=given.dtype, device="meta").view(shape)
    return _strided(given, view.shape, view.stride(), given.storage_offset())


def _statistics(made: Any, given: torch.Tensor, *parameters: torch.Tensor | None) -> Any:
    """Statistics, and gradients of parameters: of the type of the first parameter, where there is one."""
    dtype = next((one.dtype for one in parameters if one is not None), given.dtype)
    return [one if one is None or one.dtype == dtype else _typed(one, dtype) for one in made]


def _typed(made: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    found: torch.Tensor = torch.ops.aten.empty_like.default(made, dtype=dtype)
    return found


def _layer_normed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    first, *others = func(*args, **kwargs)
    return (first, *_statistics(others, args[0], *args[2:4]))


def _contiguous(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The gradient of a layer norm's input is contiguous, also where the input was not."""
    first, *others = func(*args, **kwargs)
    if first is not None and not first.is_contiguous():
        first = torch.ops.aten.empty_like.default(first, memory_format=torch.contiguous_format)
    return (first, *others)


def _grouped(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What comes out is laid out in the memory format that strides suggest."""
    first, *others = func(*args, **kwargs)
    return (_as_made(first, suggest_memory_format(args[0])), *_statistics(others, args[0], *args[1:3]))


def _grouped_back(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The gradient of what went in is laid out so, too, and has its type."""
    first, *others = func(*args, **kwargs)
    if first is not None:
        first = first if first.dtype == args[1].dtype else _typed(first, args[1].dtype)
        first = _as_made(first, suggest_memory_format(args[1]))
    return (first, *others)


def _normed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What comes out is contiguous, or has channels last where what went in is no other way than that."""
    first, *others = func(*args, **kwargs)
    given, form = args[0], torch.contiguous_format
    if given.ndim in (4, 5) and not given.is_contiguous():
        last = torch.channels_last if given.ndim == 4 else torch.channels_last_3d
        form = last if given.is_contiguous(memory_format=last) else form
    return (_as_made(first, form), *_statistics(others, given, *args[1:5]))


def _normed_back(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """There is no gradient of what went in where none is asked for."""
    first, *others = func(*args, **kwargs)
    asked = args[9] if len(args) > 9 else kwargs["output_mask"]
    return (first if asked[0] else None, *_statistics(others, args[1], *args[2:7]))


def _weighed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The gradient of a kernel of one element along each axis is contiguous."""
    first, second, *others = func(*args, **kwargs)
    if second is not None and 1 in second.shape and second.is_contiguous():
        second = _as_made(second, torch.contiguous_format)
    return (first, second, *others)


def _convolved(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """The kernel of a transposed convolution over three axes takes room for its input first, and resizes it."""
    made: torch.Tensor = func(*args, **kwargs)
    given, weight, bias, stride, padding, dilation, transposed, more, groups = args
    if not transposed or made.ndim != 5 or groups != 1 or given.numel() <= made.numel():
        return made
    with torch._C._DisableTorchDispatch():
        plain = [None if one is None else _empty(one) for one in (given, weight, bias)]
        chosen = _kernel(*plain, stride, padding, dilation, transposed, more, groups) if _kernel is not None else None
    return _roomy(made, given.numel()) if getattr(chosen, "name", "") == "SlowTranspose3d" else made


def _products(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """Products of groups of rows: rows of the result begin at multiples of 16 bytes. A CPU takes every type."""
    one, other = args[:2]
    if one.dtype in (torch.bfloat16, torch.float16):
        return func(*args, **kwargs)  # type: ignore[no-any-return]
    starts: Any = args[2] if len(args) > 2 else kwargs.get("offs")
    groups = [starts.shape[0]] if one.ndim == 2 and other.ndim == 2 else [one.shape[0]] * (one.ndim + other.ndim == 6)
    shape = [*groups, one.shape[-2], other.shape[-1]]
    each = 16 // one.element_size()
    row = -(-shape[-1] // each) * each
    strides = [*([shape[-2] * row] if groups else []), row, 1]
    made: torch.Tensor = torch.ops.aten.new_empty_strided.default(one, shape, strides)
    return made


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)


def _weight_normed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Norms of numbers of 16 bits have 32."""
    made, norms = func(*args, **kwargs)
    half = norms.dtype in (torch.bfloat16, torch.float16)
    return made, _typed(norms, torch.float32) if half else norms


def _bags(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The kernel takes room for one place more than it gives, and for as many bags as there are offsets."""
    made, places, sizes, largest = func(*args, **kwargs)
    count, sums = args[2].numel(), (args[4] if len(args) > 4 else kwargs.get("mode", 0)) == 0
    if places.numel():
        places = _roomy(places, places.numel() + 1)
    if sizes.numel() < count:  # the last offset is where the last bag ends
        sizes = _roomy(sizes, count)
    if sums and func is torch.ops.aten._embedding_bag_forward_only.default:
        largest = torch.ops.aten.new_empty.default(largest, [count])
    return made, places, sizes, largest


def _columns(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """The kernel takes room for as many elements as there are in the columns, and resizes it."""
    made: torch.Tensor = func(*args, **kwargs)
    room = args[0].numel()
    return made if room <= made.numel() else _roomy(made, room)


def _mean(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """The kernel of a loss works out that of each element, and puts their mean or sum into the first."""
    made: torch.Tensor = func(*args, **kwargs)
    room = torch.broadcast_shapes(args[0].shape, args[1].shape).numel()  # type: ignore[no-untyped-call]
    if made.ndim or room <= 1:
        return made
    return _roomy(made, room)


def _roomy(made: torch.Tensor, room: int) -> torch.Tensor:
    """The same in a storage with room for so many elements."""
    return _strided(torch.ops.aten.new_empty.default(made, [room]), made.shape, made.stride(), 0)


def _strided(given: torch.Tensor, shape: Sequence[int], strides: Sequence[int], start: Any) -> torch.Tensor:
    made: torch.Tensor = torch.ops.aten.as_strided.default(given, shape, strides, start)
    return made


_RULES: dict[Any, Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]] = {
    torch.ops.aten.view.default: _seen,
    torch.ops.aten._unsafe_view.default: _seen,
    torch.ops.aten.native_layer_norm.default: _layer_normed,
    torch.ops.aten.native_layer_norm_backward.default: _contiguous,
    torch.ops.aten.native_group_norm.default: _grouped,
    torch.ops.aten.native_group_norm_backward.default: _grouped_back,
    torch.ops.aten.native_batch_norm.default: _normed,
    torch.ops.aten.native_batch_norm_backward.default: _normed_back,
    torch.ops.aten.convolution_backward.default: _weighed,
    torch.ops.aten.convolution.default: _convolved,
    torch.ops.aten.col2im.default: _columns,
    torch.ops.aten._weight_norm_interface.default: _weight_normed,
    torch.ops.aten._embedding_bag.default: _bags,
    torch.ops.aten._embedding_bag_forward_only.default: _bags,
    torch.ops.aten.mse_loss.default: _mean,
    torch.ops.aten.smooth_l1_loss.default: _mean,
    torch.ops.aten.soft_margin_loss.default: _mean,
    torch.ops.aten.binary_cross_entropy.default: _mean,
}
if hasattr(torch.ops.aten, "_grouped_mm"):
    _RULES[torch.ops.aten._grouped_mm.default] = _products

__all__ = ["AsLaid"]
