"""Ops that choose elements, or places to write to, by index."""

from __future__ import annotations

from typing import Any

import torch

from rfcalc.sources.onnx.rules import Op, one, rule

T = torch.Tensor


def _wrapped(index: T, extent: int) -> T:
    """Whole numbers with those below 0 counted from the end."""
    index = index.to(torch.int64)
    return torch.where(index < 0, index + extent, index)


@rule("Gather")
def gather(op: Op, x: T, index: T) -> T:
    """Slices along an axis, one for each index."""
    axis = op.get("axis", 0) % x.ndim
    if index.ndim == 0:
        return x.index_select(axis, _wrapped(index.reshape(1), x.shape[axis])).squeeze(axis)
    if axis == 0 and x.ndim == 2 and x.is_floating_point():
        return torch.nn.functional.embedding(_wrapped(index, x.shape[0]), x)
    taken = x.index_select(axis, _wrapped(index.reshape(-1), x.shape[axis]))
    return taken.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


@rule("GatherElements")
def gather_elements(op: Op, x: T, index: T) -> T:
    """Elements along an axis, one for each index."""
    axis = op.get("axis", 0)
    return torch.gather(x, axis, _wrapped(index, x.shape[axis]))


@rule("GatherND")
def gather_nd(op: Op, x: T, index: T) -> T:
    """Slices, one for each row of indices into the first axes (after ``batch_dims``)."""
    batch = op.get("batch_dims", 0)
    depth = index.shape[-1]
    columns = [_wrapped(index[..., at], x.shape[batch + at]) for at in range(depth)]
    rank = index.ndim - 1
    for at in range(batch):
        view = [1] * rank
        view[at] = x.shape[at]
        columns.insert(at, torch.arange(x.shape[at], device=x.device).reshape(view))
    return x[tuple(torch.broadcast_tensors(*columns))] if rank else x[tuple(columns)]


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@rule("ScatterElements", "Scatter")
def scatter_elements(op: Op, x: T, index: T, updates: T) -> T:
    """Elements written along an axis, or added, multiplied, kept where larger or smaller."""
    axis, how = op.get("axis", 0), op.get("reduction", "none")
    places = _wrapped(index, x.shape[axis])
    if how == "none":
        return x.scatter(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, _REDUCTIONS[how], include_self=True)


@rule("ScatterND")
def scatter_nd(op: Op, x: T, index: T, updates: T) -> T:
    """Slices written at rows of indices, or added, multiplied, kept where larger or smaller."""
    depth, how = index.shape[-1], op.get("reduction", "none")
    columns = [_wrapped(index[..., at], x.shape[at]) for at in range(depth)]
    if how in ("none", "add"):
        return x.index_put(tuple(columns), updates, accumulate=how == "add")
    flat = torch.zeros_like(columns[0])
    for column, extent in zip(columns, x.shape[:depth], strict=True):
        flat = flat * extent + column
    rest = x.shape[depth:]
    rows = x.reshape(-1, *rest)
    values = updates.reshape(-1, *rest)
    places = flat.reshape(-1, *(1 for _ in rest)).expand(values.shape)
    return rows.scatter_reduce(0, places, values, _REDUCTIONS[how], include_self=True).reshape(x.shape)


@rule("TensorScatter")
def tensor_scatter(op: Op, past: T, update: T, write: T | None = None) -> T:
    """A cache with new rows written from a place on, which may be another for each sample; circular wraps around."""
    axis = op.get("axis", -2) % past.ndim
    length, extent = update.shape[axis], past.shape[axis]
    first = torch.zeros(past.shape[0], dtype=torch.int64, device=past.device) if write is None else write
    rows = first.reshape(-1, 1) + torch.arange(length, device=past.device)
    if op.get("mode", "linear") == "circular":
        rows = rows % extent
    view = [1] * past.ndim
    view[0], view[axis] = rows.shape
    return past.scatter(axis, rows.reshape(view).expand(update.shape), update)


@rule("OneHot")
def one_hot(op: Op, index: T, depth: T, values: T) -> T:
    """One value where the index is, another elsewhere, along a new axis."""
    count = int(one(depth))
    axis = op.get("axis", -1)
    axis = axis % (index.ndim + 1)
    places = _wrapped(index, count).unsqueeze(axis)
    view = [1] * (index.ndim + 1)
    view[axis] = count
    here = places == torch.arange(count, device=index.device).reshape(view)
    return torch.where(here, values[1], values[0])


@rule("NonZero")
def non_zero(op: Op, x: T) -> T:
    """The places of elements that are not 0, a column each."""
    return torch.nonzero(x).T


@rule("Compress")
def compress(op: Op, x: T, condition: T) -> T:
    """The elements or slices where a condition is true."""
    axis: Any = op.get("axis")
    if axis is None:
        x, axis = x.flatten(), 0
    places = torch.nonzero(condition).flatten()
    return x.index_select(axis, places)
