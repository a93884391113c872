"""Movement of elements: slices, flips, rolls, gathers, reshapes, joins and writes."""

from __future__ import annotations

from random import Random

import torch
from torch import nn

from tests.randomnets.kinds import Fn, axis_of, divisors, kind, share

Index = tuple[slice, ...]


def _sliced(x: torch.Tensor, index: Index) -> torch.Tensor:
    return x[index]


def _part(rng: Random, extent: int, step: bool = True) -> slice:
    """A part of an axis that holds something."""
    start = rng.randint(0, extent - 1)
    stop = rng.randint(start + 1, extent)
    by = rng.randint(1, 3) if step else 1
    return slice(start, rng.choice([stop, stop - extent or None]), by)


def _box(rng: Random, x: torch.Tensor) -> Index:
    return tuple(_part(rng, extent) if rng.random() < 0.5 else slice(None) for extent in x.shape)


@kind("slice")
def slices(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_sliced, _box(rng, x))


@kind("slice")
def narrow(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = axis_of(rng, x, 2)
    if axis is None:
        return None
    start = rng.randint(0, x.shape[axis] - 1)
    return Fn(torch.narrow, axis, start, rng.randint(1, x.shape[axis] - start))


def _axes(rng: Random, x: torch.Tensor) -> list[int]:
    axes = list(range(x.ndim))
    rng.shuffle(axes)
    return axes[: rng.randint(1, x.ndim)]


@kind("flip")
def flip(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(torch.flip, _axes(rng, x))


@kind("flip")
def rot90(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(torch.rot90, rng.randint(-3, 3), list(rng.sample(range(x.ndim), 2)))


@kind("roll")
def roll(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if rng.random() < 0.1:
        return Fn(torch.roll, rng.randint(-5, 5))
    axes = _axes(rng, x)
    return Fn(torch.roll, [rng.randint(-4, 4) for _ in axes], axes)


@kind("gather")
def index_select(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = rng.randrange(x.ndim)
    picked = [rng.randrange(x.shape[axis]) for _ in range(rng.randint(1, 8))]
    return Fn(torch.index_select, axis, torch.tensor(picked))


def _advanced(x: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    return x[(*(slice(None),) * axis, index)]


@kind("gather")
def advanced_index(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis, count = rng.randrange(x.ndim), rng.randint(1, 6)
    index = torch.tensor([rng.randrange(-x.shape[axis], x.shape[axis]) for _ in range(count)])
    return Fn(_advanced, axis, index.reshape(2, -1) if count % 2 == 0 and x.ndim < 5 else index)


def _two_indices(x: torch.Tensor, axis: int, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return x[(*(slice(None),) * axis, first, second)]


@kind("gather")
def paired_index(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if x.ndim < 3:
        return None
    axis, count = rng.randrange(x.ndim - 1), rng.randint(1, 6)
    first, second = (torch.tensor([rng.randrange(x.shape[axis + k]) for _ in range(count)]) for k in range(2))
    return Fn(_two_indices, axis, first, second[:, None] if rng.random() < 0.3 and x.ndim < 5 else second)


class BufferIndex(nn.Module):
    """A gather by an index that the module keeps, as relative position tables do."""

    index: torch.Tensor

    def __init__(self, axis: int, index: torch.Tensor) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("index", index)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = [-1 if axis == self.axis else 1 for axis in range(x.ndim)]
        extents = [len(self.index) if axis == self.axis else size for axis, size in enumerate(x.shape)]
        return x.gather(self.axis, self.index.reshape(shape).expand(extents))

    def __repr__(self) -> str:
        return f"BufferIndex({self.axis}, tensor({self.index.tolist()}))"


@kind("gather")
def gather(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = rng.randrange(x.ndim)
    return BufferIndex(axis, torch.tensor([rng.randrange(x.shape[axis]) for _ in range(rng.randint(1, 8))]))


def _gather_table(x: torch.Tensor, axis: int, seed: int, count: int) -> torch.Tensor:
    extents = [count if k == axis else size for k, size in enumerate(x.shape)]
    table = torch.arange(seed, seed + torch.Size(extents).numel()).reshape(extents)
    return torch.take_along_dim(x, (table * table * 7 + table) % x.shape[axis], axis)


@kind("gather")
def gather_varying(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """Another index at each position."""
    axis = rng.randrange(x.ndim)
    return Fn(_gather_table, axis, rng.randint(0, 50), rng.randint(1, 5))


# --- shape ------------------------------------------------------------------------------------------------------------


@kind("reshape")
def permute(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axes = list(range(x.ndim))
    rng.shuffle(axes)
    return Fn(torch.permute, axes)


@kind("reshape")
def reshape(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """Merges and splits axes, also across their old borders."""
    rest, shape = x.numel(), []
    while rest > 1 and len(shape) < 4:
        shape.append(rng.choice(divisors(rest)))
        rest //= shape[-1]
    return Fn(torch.reshape, [*shape, rest]) if 2 <= len(shape) + 1 <= 5 else None


@kind("reshape")
def merge_axes(rng: Random, x: torch.Tensor) -> nn.Module | None:
    first = rng.randrange(x.ndim - 1)
    return Fn(torch.flatten, first, rng.randint(first + 1, x.ndim - 1)) if x.ndim > 2 else None


@kind("reshape")
def split_axis(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = axis_of(rng, x, 2)
    if axis is None or x.ndim > 4:
        return None
    size = rng.choice(divisors(x.shape[axis]))
    return Fn(torch.unflatten, axis, rng.choice([(size, -1), (-1, size)]))


def _partition(x: torch.Tensor, axis: int, size: int, back: bool) -> torch.Tensor:
    """Windows of an axis by reshape, and (``back``) undone after the windows changed places."""
    wide = x.unflatten(axis, (-1, size)).movedim(axis, 1)
    return wide.flip(1).movedim(1, axis).flatten(axis, axis + 1) if back else wide.flatten(0, 1)


@kind("reshape")
def partition(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axes = [axis for axis in range(1, x.ndim) if divisors(x.shape[axis], 2)[:-1]]
    if not axes or x.ndim > 4:
        return None
    axis = rng.choice(axes)
    return Fn(_partition, axis, rng.choice(divisors(x.shape[axis], 2)), rng.random() < 0.5)


@kind("reshape")
def squeeze(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axes = [axis for axis in range(x.ndim) if x.shape[axis] == 1]
    return Fn(torch.squeeze, rng.choice(axes)) if axes and x.ndim > 2 else None


@kind("reshape")
def unsqueeze(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(torch.unsqueeze, rng.randint(-1, x.ndim)) if x.ndim < 5 else None


def _expanded(x: torch.Tensor, axis: int, count: int, then: int) -> torch.Tensor:
    return x.unsqueeze(axis).expand(*x.shape[:axis], count, *x.shape[axis:]).flatten(then, then + 1)


@kind("reshape")
def expand(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = rng.randrange(x.ndim)
    return Fn(_expanded, axis, rng.randint(2, 3), rng.randint(max(0, axis - 1), axis))


def _repeated(x: torch.Tensor, counts: list[int]) -> torch.Tensor:
    return x.repeat(*counts)


@kind("reshape")
def repeat(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_repeated, [rng.choice([1, 1, 2]) for _ in x.shape])


@kind("reshape")
def repeat_interleave(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(torch.repeat_interleave, rng.randint(2, 3), rng.randrange(x.ndim))


@kind("reshape")
def diagonal(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if x.ndim < 3:
        return None
    first, second = rng.sample(range(x.ndim), 2)
    return Fn(torch.diagonal, rng.randint(-1, 1), first, second)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)


def _channels_last_view(x: torch.Tensor) -> torch.Tensor:
    """The same storage seen with the channels at the end, flattened there, and back."""
    return _channels_last(x).permute(0, *range(2, x.ndim), 1).flatten(0, 1).view(-1, x.shape[1])


@kind("layout")
def channels_last(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(rng.choice([_channels_last, _channels_last_view])) if x.ndim in (4, 5) else None


def _strided(x: torch.Tensor, shape: list[int], stride: list[int], offset: int) -> torch.Tensor:
    return x.clone(memory_format=torch.contiguous_format).as_strided(shape, stride, offset).clone()  # it may overlap


@kind("layout")
def as_strided(rng: Random, x: torch.Tensor) -> nn.Module | None:
    shape = [rng.randint(1, 4) for _ in range(3)]
    stride = [rng.randint(0, 4) for _ in range(3)]
    reach = sum((extent - 1) * by for extent, by in zip(shape, stride, strict=True))
    if reach >= x.numel():
        return None
    return Fn(_strided, shape, stride, rng.randint(0, x.numel() - 1 - reach))


# --- splits and joins -------------------------------------------------------------------------------------------------


def _chunks_turned(x: torch.Tensor, axis: int, count: int) -> torch.Tensor:
    return torch.cat(x.chunk(count, axis)[::-1], axis)


@kind("split")
def chunks(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = axis_of(rng, x, 2)
    return None if axis is None else Fn(_chunks_turned, axis, rng.randint(2, 4))


def _split(x: torch.Tensor, axis: int, sizes: list[int], which: int) -> torch.Tensor:
    return x.split(sizes, axis)[which]


@kind("split")
def split(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = axis_of(rng, x, 2)
    if axis is None:
        return None
    first = rng.randint(1, x.shape[axis] - 1)
    return Fn(_split, axis, [first, x.shape[axis] - first], rng.randint(0, 1))


def _unbound(x: torch.Tensor, axis: int, to: int) -> torch.Tensor:
    return torch.stack(x.unbind(axis)[::2], to)


@kind("split")
def unbind(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_unbound, rng.randrange(x.ndim), rng.randrange(x.ndim))


def _joined(x: torch.Tensor, y: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.cat([x, y], axis)


@kind("join", arity=2)
def cat(rng: Random, x: torch.Tensor, y: torch.Tensor) -> nn.Module | None:
    """Along channels, along space, along the batch."""
    if x.ndim != y.ndim:
        return None
    axes = [k for k in range(x.ndim) if all(x.shape[j] == y.shape[j] for j in range(x.ndim) if j != k)]
    return Fn(_joined, rng.choice(axes)) if axes else None


def _stacked(x: torch.Tensor, y: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.stack([y, x], axis)


@kind("join", arity=2)
def stack(rng: Random, x: torch.Tensor, y: torch.Tensor) -> nn.Module | None:
    return Fn(_stacked, rng.randint(0, x.ndim)) if x.shape == y.shape and x.ndim < 5 else None


def _cropped_sum(x: torch.Tensor, y: torch.Tensor, ends: bool) -> torch.Tensor:
    """A join that need not be aligned: both are cut to the size they have in common."""
    for axis in range(x.ndim):
        size = min(x.shape[axis], y.shape[axis])
        x = x.narrow(axis, x.shape[axis] - size if ends else 0, size)
        y = y.narrow(axis, 0, size)
    return x + y


@kind("join", arity=2)
def cropped_sum(rng: Random, x: torch.Tensor, y: torch.Tensor) -> nn.Module | None:
    return Fn(_cropped_sum, rng.random() < 0.5) if x.ndim == y.ndim else None


@kind("join", arity=2, product=True)
def broadcast_sum(rng: Random, x: torch.Tensor, y: torch.Tensor) -> nn.Module | None:
    if not all(1 in (a, b) or a == b for a, b in zip(x.shape[::-1], y.shape[::-1], strict=False)):
        return None
    return (
        Fn(torch.mul) if rng.random() < 0.3 else Fn(rng.choice([torch.add, torch.sub]), alpha=share(rng))
    )  # not x - x


# --- writes in place --------------------------------------------------------------------------------------------------


def _write(x: torch.Tensor, y: torch.Tensor, index: Index) -> torch.Tensor:
    x = x.clone()
    part = x[index]
    x[index] = y.reshape(-1)[torch.arange(part.numel()) % y.numel()].reshape(part.shape)
    return x


@kind("write", arity=2)
def write_slice(rng: Random, x: torch.Tensor, y: torch.Tensor) -> nn.Module | None:
    return Fn(_write, _box(rng, x))


def _accumulate(x: torch.Tensor, y: torch.Tensor, index: Index) -> torch.Tensor:
    x = x.clone()
    x[index] += y[index]
    return x


@kind("write", arity=2)
def accumulate(rng: Random, x: torch.Tensor, y: torch.Tensor) -> nn.Module | None:
    return Fn(_accumulate, _box(rng, x)) if x.shape == y.shape else None


def _fill(x: torch.Tensor, index: Index) -> torch.Tensor:
    x = x.clone()
    x[index] = 0.0
    return x


@kind("write", zeros=True)
def erase(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_fill, _box(rng, x))


def _halves(x: torch.Tensor, axis: int, part: float) -> torch.Tensor:
    """One half is written with the other, through views of one tensor."""
    x = x.clone()
    first, second, *_ = x.chunk(2, axis)
    size = second.shape[axis]
    first.narrow(axis, 0, size).add_(second.flip(axis), alpha=part)
    return x


@kind("write")
def chunk_halves(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = axis_of(rng, x, 2)
    return None if axis is None else Fn(_halves, axis, share(rng))


def _stale(x: torch.Tensor, index: Index, axis: int, part: float) -> torch.Tensor:
    """A view taken before its base is written, read afterwards."""
    x = x.clone()
    view = x[index]
    x.sub_(x.roll(1, axis), alpha=part)
    return view


@kind("write")
def stale_view(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_stale, _box(rng, x), rng.randrange(x.ndim), share(rng))


def _through_view(x: torch.Tensor, axes: list[int], index: Index, flat: bool, part: float) -> torch.Tensor:
    """Written through a permuted, sliced or flattened view."""
    x = x.clone()
    view = x.view(-1)[1::2] if flat else x.permute(axes)[index]
    view.add_(view.mean(-1, keepdim=True), alpha=part)
    return x


@kind("write")
def through_view(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axes = list(range(x.ndim))
    rng.shuffle(axes)
    return Fn(_through_view, axes, _box(rng, x.permute(axes)), rng.random() < 0.2 and x.numel() > 1, share(rng))


def _fortran(x: torch.Tensor) -> torch.Tensor:
    """A row is added to the rows below, one after the other."""
    x = x.clone()
    for row in range(1, x.shape[-1]):
        x[..., row] += x[..., row - 1]
    return x


@kind("write")
def running_sum(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_fortran) if x.shape[-1] <= 6 else None


def _in_place(x: torch.Tensor, part: float) -> torch.Tensor:
    return x.add_(x.flip(-1), alpha=part)


@kind("write")
def in_place(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """Changes a tensor that others have read already and will read again."""
    return Fn(_in_place, share(rng))


def _index_put(x: torch.Tensor, axis: int, index: torch.Tensor, add: bool) -> torch.Tensor:
    x = x.clone()
    source = x.flip(axis).index_select(axis, index)
    return x.index_add_(axis, index, source) if add else x.index_copy_(axis, index, source)


@kind("write")
def index_write(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = rng.randrange(x.ndim)
    picked = rng.sample(range(x.shape[axis]), rng.randint(1, x.shape[axis]))
    return Fn(_index_put, axis, torch.tensor(picked), rng.random() < 0.5)


def _scatter(x: torch.Tensor, axis: int, index: torch.Tensor, add: bool) -> torch.Tensor:
    shape = [-1 if k == axis else 1 for k in range(x.ndim)]
    extents = [len(index) if k == axis else size for k, size in enumerate(x.shape)]
    source = x.flip(axis).narrow(axis, 0, len(index)).contiguous()
    places = index.reshape(shape).expand(extents)
    return x.scatter_add(axis, places, source) if add else x.scatter(axis, places, source)


@kind("write")
def scatter(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = rng.randrange(x.ndim)
    picked = rng.sample(range(x.shape[axis]), rng.randint(1, x.shape[axis]))
    return Fn(_scatter, axis, torch.tensor(picked), rng.random() < 0.5)
