"""Gathering, scattering, and parts whose places are numbers of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.jax.rules import Op, Value, ints, rule, tensor, tensors
from rfcalc.sources.jax.rules.movement import cut

T = torch.Tensor


# --- parts ------------------------------------------------------------------------------------------------------------


def _starts(
    starts: Sequence[Value], known: Sequence[bool], extents: Sequence[int], sizes: Sequence[int]
) -> list[Value]:
    """Where a part of these sizes begins, moved so that it lies inside: Python numbers where they are known."""
    found: list[Value] = []
    for start, told, extent, size in zip(starts, known, extents, sizes, strict=True):
        if told or extent == size:
            found.append(0 if extent == size else min(max(int(start), 0), extent - size))
        else:
            found.append(torch.clamp(start, 0, extent - size))
    return found


@rule("dynamic_slice")
def dynamic_slice(op: Op, x: Value, *starts: Value) -> T:
    """A part that begins where numbers say."""
    x, sizes = tensor(x, op.takes[0]), op.out.shape
    at = _starts(starts[: x.ndim], op.known[1 : 1 + x.ndim], x.shape, sizes)
    known = [s if isinstance(s, int) else None for s in at]
    x = cut(x, [slice(None) if s is None else slice(s, s + size) for s, size in zip(known, sizes, strict=True)])
    for axis, (start, size) in enumerate(zip(at, sizes, strict=True)):
        if isinstance(start, T):
            x = torch.index_select(x, axis, start.reshape(1) + torch.arange(size))
    return x


@rule("dynamic_update_slice")
def dynamic_update_slice(op: Op, x: Value, part: Value, *starts: Value) -> T:
    """The tensor with a part written over, from where numbers say."""
    x, part = tensor(x, op.takes[0]), tensor(part, op.takes[1])
    if x.shape == part.shape:
        return part
    at = _starts(starts[: x.ndim], op.known[2 : 2 + x.ndim], x.shape, part.shape)
    found = x.clone()
    if all(isinstance(start, int) for start in at):
        found[tuple(slice(s, s + size) for s, size in zip(at, part.shape, strict=True))] = part
        return found
    places: list[T | None] = [
        _row(start, size, axis, x.ndim) for axis, (start, size) in enumerate(zip(at, part.shape, strict=True))
    ]
    return torch.index_put(found, places, part)


def _row(start: Value, size: int, axis: int, rank: int) -> T:
    """The indices of a part along one axis, laid out along it."""
    first = start.reshape(1) if isinstance(start, T) else start
    return (torch.arange(size) + first).reshape([size if at == axis else 1 for at in range(rank)])


# --- gathering --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Places:
    """Which elements of an operand slices are, of which there is one for each place of a batch.

    ``index`` has for each axis of the operand what stands along it: None for all of it, or whole numbers over the batch
    and then the axes of a slice.
    """

    index: list[T | None]
    batch: tuple[int, ...]
    kept: list[int]  #: axes of the operand that are axes of a slice, in order
    sizes: list[int]  #: extents of a slice along these

    @property
    def indexed(self) -> list[int]:
        return [at for at, index in enumerate(self.index) if index is not None]


def _places(
    starts: T,
    shape: Sequence[int],
    sizes: Sequence[int],
    mapped: list[int],
    gone: list[int],
    paired: list[tuple[int, int]],
    clips: bool,
) -> _Places:
    """``mapped`` are the axes that the numbers count along, ``gone`` those of extent 1 that a slice lacks, and
    ``paired`` axes of the operand that go with one of the batch."""
    batch = tuple(starts.shape[:-1])
    lost = {*gone, *(at for at, _ in paired)}
    kept = [at for at in range(len(shape)) if at not in lost]
    rank = len(batch) + len(kept)
    index: list[T | None] = []
    pairs = dict(paired)
    for at, extent in enumerate(shape):
        if at in pairs:
            along = pairs[at]
            index.append(_counted(extent, along, rank, starts.dtype))
            continue
        if sizes[at] == extent and at in kept:
            index.append(None)  # all of it, whatever the number: a slice lies inside
            continue
        found: Any = torch.zeros([1] * rank, dtype=starts.dtype)
        if at in mapped:
            found = starts[..., mapped.index(at)]
            found = torch.clamp(found, 0, extent - sizes[at]) if clips else found
            found = found.reshape(*batch, *[1] * len(kept))
        if at in kept and sizes[at] > 1:
            along = len(batch) + kept.index(at)
            found = found + _counted(sizes[at], along, rank, starts.dtype)
        index.append(found)
    return _Places(index, batch, kept, [sizes[at] for at in kept])


def _counted(extent: int, along: int, rank: int, dtype: torch.dtype) -> T:
    """0, 1, 2, ... along one of so many axes."""
    return torch.arange(extent, dtype=dtype).reshape([extent if axis == along else 1 for axis in range(rank)])


@rule("gather")
def gather(op: Op, x: Value, starts: Value) -> T:
    """A slice of the operand for each place of the indices."""
    numbers, (x, starts) = op["dimension_numbers"], tensors(op, (x, starts))
    mode = getattr(op["mode"], "name", str(op["mode"])).upper()
    paired = list(zip(ints(numbers.operand_batching_dims), ints(numbers.start_indices_batching_dims), strict=True))
    mapped, gone = ints(numbers.start_index_map), ints(numbers.collapsed_slice_dims)
    offsets = ints(numbers.offset_dims)
    sizes = ints(op["slice_sizes"])
    rows = _rows(x, starts, mapped, gone, sizes, paired)
    if rows is not None:
        inner = [at for at in range(len(op.out.shape)) if at not in offsets]
        order = [*inner, *offsets]
        return rows if order == list(range(len(order))) else rows.permute([order.index(at) for at in range(len(order))])
    places = _places(starts, x.shape, sizes, mapped, gone, paired, mode == "CLIP")
    return _taken(x, places, op.out.shape, offsets)


def _rows(
    x: T, starts: T, mapped: list[int], gone: list[int], sizes: list[int], paired: list[tuple[int, int]]
) -> T | None:
    """Whole rows of the operand by their number along one axis, the batch in front; None where it is more."""
    whole = all(size == x.shape[at] for at, size in enumerate(sizes) if at not in gone)
    if paired or gone != mapped or len(gone) != 1 or not whole:
        return None
    (axis,), which = gone, starts[..., 0]
    if axis == 0 and x.ndim == 2 and x.is_floating_point():
        return functional.embedding(which, x)
    found = torch.index_select(x, axis, which.reshape(-1))
    found = found.movedim(axis, 0) if axis else found
    return found.reshape(*which.shape, *(extent for at, extent in enumerate(x.shape) if at != axis))


def _taken(x: T, places: _Places, shape: Sequence[int], offsets: list[int]) -> T:
    indexed = places.indexed
    rest = [at for at in range(x.ndim) if at not in indexed]
    order = [*indexed, *rest]
    moved = x if order == list(range(x.ndim)) else x.permute(order)
    full = (*places.batch, *(1 if at in rest else size for at, size in zip(places.kept, places.sizes, strict=True)))
    if indexed:
        parts = [index for index in places.index if index is not None]
        broadcast = torch.broadcast_shapes(*(part.shape for part in parts))
        found = moved[tuple(part.expand(broadcast) if len(parts) > 1 else part for part in parts)]
        found = found.expand(*full, *found.shape[len(full) :])
    else:
        found = moved.reshape(*[1] * len(full), *moved.shape).expand(*full, *moved.shape)
    # The batch, the axes of a slice that were counted along (1 for the others), and those that were taken whole.
    axes = list(range(len(places.batch)))
    for number, at in enumerate(places.kept):
        axes.append(len(full) + rest.index(at) if at in rest else len(places.batch) + number)
    spare = [axis for axis in range(found.ndim) if axis not in axes]
    found = found.permute(*axes, *spare).reshape(*places.batch, *places.sizes)
    inner = [at for at in range(len(shape)) if at not in offsets]
    target = [*inner, *offsets]
    return found.permute([target.index(at) for at in range(len(target))]) if target != sorted(target) else found


# --- scattering -------------------------------------------------------------------------------------------------------

_REDUCED = {"scatter_mul": "prod", "scatter_min": "amin", "scatter_max": "amax"}


@rule("scatter", "scatter_add", "scatter-add", "scatter_sub", "scatter_mul", "scatter_min", "scatter_max")
def scatter(op: Op, x: Value, starts: Value, updates: Value) -> T:
    """The operand with slices written over, or combined with what is there."""
    numbers, (x, starts, updates) = op["dimension_numbers"], tensors(op, (x, starts, updates))
    name = op.name.replace("-", "_")
    windows, gone = ints(numbers.update_window_dims), ints(numbers.inserted_window_dims)
    paired = list(zip(ints(numbers.operand_batching_dims), ints(numbers.scatter_indices_batching_dims), strict=True))
    mapped = ints(numbers.scatter_dims_to_operand_dims)
    lost = {*gone, *(at for at, _ in paired)}
    kept = [at for at in range(x.ndim) if at not in lost]
    sizes = [1] * x.ndim
    for at, axis in zip(kept, windows, strict=True):
        sizes[at] = updates.shape[axis]
    batch = [axis for axis in range(updates.ndim) if axis not in windows]
    order = [*batch, *windows]
    updates = updates if order == list(range(updates.ndim)) else updates.permute(order)
    mode = getattr(op["mode"], "name", str(op["mode"])).upper()
    places = _places(starts, x.shape, sizes, mapped, gone, paired, mode == "CLIP")
    if prod(updates.shape) == 0:
        return x
    if not places.indexed:
        return _over_all(name, x, updates)
    if name in _REDUCED:
        return _reduced(x, places, updates, _REDUCED[name])
    full: list[T | None] = [
        _counted(x.shape[at], _axis(places, at), updates.ndim, starts.dtype) if index is None else index
        for at, index in enumerate(places.index)
    ]
    updates = -updates if name == "scatter_sub" else updates
    return torch.index_put(x, full, updates, accumulate=name != "scatter")


def _axis(places: _Places, at: int) -> int:
    return len(places.batch) + places.kept.index(at)


def _over_all(name: str, x: T, updates: T) -> T:
    """The only slice is all of the operand."""
    updates = updates.reshape(x.shape)
    combine: dict[str, Any] = {"scatter_add": torch.add, "scatter_sub": torch.sub, "scatter_mul": torch.mul}
    combine |= {"scatter_min": torch.minimum, "scatter_max": torch.maximum}
    found: T = combine[name](x, updates) if name in combine else updates
    return found


def _reduced(x: T, places: _Places, updates: T, how: str) -> T:
    """Products and extremes: by one number for each element of the operand."""
    flat: Any = 0
    for at, (extent, index) in enumerate(zip(x.shape, places.index, strict=True)):
        if index is None:
            index = _counted(extent, _axis(places, at), updates.ndim, torch.int64)
        flat = flat * extent + index
    flat = flat.to(torch.int64).expand(updates.shape).reshape(-1)
    return torch.scatter_reduce(x.reshape(-1), 0, flat, updates.reshape(-1), how).reshape(x.shape)
