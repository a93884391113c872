"""Strides of results as torch's kernels for the CPU lay them out, where those for the meta device give others.

Whether ``view`` is refused, and whether ``reshape`` gives a view that is written through or a copy, depends on them.
Not here: results of Fourier transforms, which lie as the library has them that torch was built with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

#: Types that the fused kernel of attention takes.
_FUSED = frozenset({torch.float64, torch.float32, torch.bfloat16, torch.float16})


def as_on_cpu(name: str, args: Sequence[Any], result: Any) -> Any:
    """The result of an op; where it has no storage, with the strides that it has on a CPU. A tensor begins ``args``."""
    lay = _LAID.get(name)
    return result if lay is None or not args[0].is_meta else lay(args, result)


def attention(named: Mapping[str, Any]) -> torch.Tensor | None:
    """What the fused kernel of scaled dot-product attention gives; None where torch takes the plain one.

    That one gives products of matrices, which are contiguous.
    """
    query, key, value, mask = (named.get(name) for name in ("query", "key", "value", "attn_mask"))
    if query is None or key is None or value is None or not torch._C._get_flash_sdp_enabled():
        return None
    if named.get("dropout_p") or query.dtype not in _FUSED or any(x.ndim != 4 for x in (query, key, value)):
        return None
    (batch, heads, rows, width), (_, others, columns, _) = query.shape, key.shape
    if others != heads and (not named.get("enable_gqa") or not others or heads % others):
        return None
    if not (key.shape[0] == value.shape[0] == batch and value.shape[1] == others):
        return None
    if key.shape[-1] != width or value.shape[-1] != width or 0 in (rows, columns):
        return None
    if not query.dtype == key.dtype == value.dtype or value.shape[2] != columns:
        return None
    if any(x.stride(-1) != 1 for x in (query, key, value)):
        return None
    if mask is not None and not (
        mask.dtype in (torch.bool, query.dtype) and _covers(mask, (batch, heads, rows, columns))
    ):
        return None
    return _empty_like(query)


def _covers(mask: torch.Tensor, scores: Sequence[int]) -> bool:
    """Whether the fused kernel takes the mask: of two or all four axes of the scores."""
    fits = zip(reversed(mask.shape), reversed(scores), strict=False)
    return mask.ndim in (2, 4) and all(mine in (1, whole) for mine, whole in fits)


# --- one function a layout --------------------------------------------------------------------------------------------


def _empty_like(x: torch.Tensor) -> torch.Tensor:
    with torch._C._DisableTorchDispatch():
        return torch.empty_like(x)


def _laid(result: torch.Tensor, strides: Sequence[int]) -> torch.Tensor:
    """A fresh result, with those strides."""
    if result.stride() == tuple(strides):
        return result
    with torch._C._DisableTorchDispatch():
        return torch.empty_strided(result.shape, strides, dtype=result.dtype, device="meta")


def _strides(shape: Sequence[int], order: Sequence[int]) -> list[int]:
    """The strides of a dense tensor whose axes lie in memory in that order, from the outermost to the innermost."""
    strides, filled = [1] * len(shape), 1
    for axis in reversed(order):
        strides[axis], filled = filled, filled * max(shape[axis], 1)
    return strides


def _contiguous(args: Sequence[Any], result: Any) -> Any:
    if not isinstance(result, torch.Tensor):
        return type(result)(_contiguous(args, one) for one in result)
    return result if result.is_contiguous() else _laid(result, _strides(result.shape, range(result.ndim)))


def _suggested(args: Sequence[Any], result: Any) -> Any:
    """Channels last where the argument lies so, contiguous where not."""
    if not isinstance(result, torch.Tensor):
        return type(result)(_suggested(args, one) for one in result)
    if result.ndim != args[0].ndim or not _channels_last(args[0]):
        return _contiguous(args, result)
    return _laid(result, _strides(result.shape, (0, *range(2, result.ndim), 1)))


def _channels_last(x: torch.Tensor) -> bool:
    """Whether torch suggests the memory format in which channels lie last, for a tensor of images or of volumes."""
    if x.ndim not in (4, 5) or x.is_contiguous() or not x.stride(1):
        return False
    least = 0
    for axis in (1, *range(x.ndim - 1, 1, -1), 0):
        extent, stride = x.shape[axis], x.stride(axis)
        if not extent or stride < least or (axis == 0 and least == x.stride(1)):
            return False
        least = stride * max(extent, 1)
    return True


def _as_first(args: Sequence[Any], result: torch.Tensor) -> torch.Tensor:
    """As a copy of the argument lies."""
    return _laid(result, _empty_like(args[0]).stride())


def _convolved(args: Sequence[Any], result: Any) -> Any:
    """Of images; volumes that are small enough for the plain kernel are contiguous."""
    return _suggested(args, result) if result.ndim == 4 else _contiguous(args, result)


def _rolled(args: Sequence[Any], result: Any) -> Any:
    """Along axes; without any, it is rolled as a single row."""
    return _suggested(args, result) if len(args) > 2 and args[2] else _contiguous(args, result)


def _decomposed(args: Sequence[Any], result: Any) -> Any:
    """Of singular vectors, those on the right by columns, too."""
    *others, right = result
    order = (*range(right.ndim - 2), right.ndim - 1, right.ndim - 2)
    return (*others, _laid(right, _strides(right.shape, order)))


_LAID: dict[str, Callable[[Sequence[Any], Any], Any]] = {
    **dict.fromkeys(("aten.log_sigmoid_forward", "aten.rrelu_with_noise", "aten.max_pool1d"), _contiguous),
    **dict.fromkeys(("torch.batch_norm", "torch.group_norm"), _suggested),
    **dict.fromkeys(("aten.native_batch_norm", "aten.native_group_norm"), _suggested),
    **{f"aten.{kind}_pad{rank}d": _suggested for kind in ("reflection", "replication") for rank in (1, 2, 3)},
    **dict.fromkeys(("aten.pixel_shuffle", "aten.channel_shuffle", "aten.max_unpool2d"), _suggested),
    "aten.convolution": _convolved,
    "aten.roll": _rolled,
    "aten.index_fill": _as_first,
    "aten._linalg_svd": _decomposed,
}
