"""Advanced indexing as steps: where indices lie in a tensor, how they are read and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rfcalc.ops._linear import permute, reshape
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel
from rfcalc.reads import Blocked, Contract, Reduce, Slice, Step, Steps, Take

#: Larger indices are not stored in the graph, element by element; their axis is then read as a whole.
LIMIT = 1 << 18

DATA = "data-dependent index"


def take(axis: int, indices: np.ndarray | Sequence[int]) -> Steps:
    """Take along an axis; a slice where the indices are evenly spaced, which keeps the field's stride."""
    listed = np.asarray(indices)
    if listed.size and (listed >= 0).all():
        step = int(listed[1] - listed[0]) if listed.size > 1 else 1
        if step and (np.diff(listed) == step).all():
            return (Slice(axis, int(listed[0]), step, int(listed.size)),)
    return (Take(axis, tuple(listed.tolist())),)


def known(index: Arg, size: int) -> np.ndarray | None:
    """The numbers of a constant integer index, from 0 on; None if they are not known, or too many to store."""
    value = index.value() if index.numel <= LIMIT else None
    return None if value is None else np.asarray(value) % max(1, size)


def reason(*indices: Arg) -> str:
    """Why an index is not resolved."""
    if any(index.reads_data for index in indices):
        return DATA
    return "an index too large to store" if any(index.numel > LIMIT for index in indices) else "an index without values"


def everything(
    call: Call, kind: str, why: str, flops: dict[str, int] | None = None, notes: tuple[str, ...] = ()
) -> Effect:
    """Every output reads all of every tensor."""
    reads = [[whole(arg, len(out.shape)) for arg in call.tensors()] for out in call.outs]
    return Effect(kind, reads, each=True, flops=flops or {}, attrs={}, inexact=why, notes=notes)


def whole(arg: Arg, rank: int) -> ArgRead:
    """All of the argument, for a result of that rank."""
    over: Steps = (Reduce(tuple(range(arg.ndim))),) if arg.ndim else ()
    return arg, (*over, *reshape((1,) * arg.ndim, (1,) * rank))


def only_along(index: np.ndarray, axis: int) -> np.ndarray | None:
    """The index along one axis, if it is the same everywhere else."""
    line = index[tuple(slice(None) if a == axis else slice(0, 1) for a in range(index.ndim))]
    return line.reshape(-1) if (index == line).all() else None


@dataclass(frozen=True)
class Layout:
    """An advanced index, by numpy's rules: indexed axes that stand together are replaced in place, others go first.

    ``flat`` indexes the flattened indexed axes; None where the indices are not known.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    index_shape: tuple[int, ...]
    flat: np.ndarray | None

    @property
    def position(self) -> int:
        """Where the index's axes stand in the result."""
        together = self.axes == tuple(range(self.axes[0], self.axes[0] + len(self.axes)))
        return self.axes[0] if together else 0

    @property
    def before(self) -> list[int]:
        return [axis for axis in range(len(self.shape)) if axis not in self.axes][: self.position]

    @property
    def after(self) -> list[int]:
        return [axis for axis in range(len(self.shape)) if axis not in self.axes][self.position :]

    @property
    def order(self) -> list[int]:
        """The tensor's axes with the indexed ones together."""
        return [*self.before, *self.axes, *self.after]

    @property
    def indexed(self) -> int:
        return numel([self.shape[axis] for axis in self.axes])

    def _around(self, middle: Sequence[int]) -> list[int]:
        before, after = ([self.shape[axis] for axis in side] for side in (self.before, self.after))
        return [*before, *middle, *after]

    def gather(self) -> Steps:
        """From the tensor to the result."""
        extents = [self.shape[axis] for axis in self.axes]
        ones = (1,) * len(self.index_shape)
        if self.flat is None:
            flatten = reshape(self._around((1,) * len(extents)), self._around(ones))
            return (Reduce(self.axes), *permute(self.order), *flatten)
        return (
            *permute(self.order),
            *reshape(self._around(extents), self._around((self.indexed,))),
            *take(self.position, self.flat),
            *reshape(self._around((self.flat.size,)), self._around(self.index_shape)),
        )

    def index_read(self, index: Arg) -> ArgRead:
        """How the result reads an index that is computed from data."""
        if index.dtype in ("bool", "uint8"):
            return whole(index, len(self.before) + len(self.index_shape) + len(self.after))
        lead = len(self.before) + len(self.index_shape) - index.ndim
        return index, reshape(index.shape, (*(1,) * lead, *index.shape, *(1,) * len(self.after)))

    def written(self) -> np.ndarray:
        """Which positions of the tensor are written; extent 1 along the axes without an index."""
        hit = np.zeros(self.indexed, dtype=bool)
        hit[self.flat] = True
        return hit.reshape([size if axis in self.axes else 1 for axis, size in enumerate(self.shape)])

    def scatter(self, call: Call, values: Sequence[int]) -> tuple[Steps, bool]:
        """From values of that shape (broadcast to what `gather` gives) to the tensor; whether an index occurs twice."""
        p, r = self.position, len(self.index_shape)
        rank = len(self.before) + r + len(self.after)
        aligned = [*(1,) * (rank - len(values)), *values][-rank:] if rank else []
        left, middle, right = aligned[:p], aligned[p : p + r], aligned[p + r :]
        steps: list[Step] = list(reshape(values, aligned))
        extents = [self.shape[axis] for axis in self.axes]
        repeated = False
        if self.flat is None:
            if r:
                steps.append(Reduce(tuple(range(p, p + r))))
            steps += reshape([*left, *(1,) * r, *right], [*left, *(1,) * len(extents), *right])
        else:
            single = numel(middle) == 1
            count = 1 if single else self.flat.size
            steps += reshape([*left, *(middle if single else self.index_shape), *right], [*left, count, *right])
            source = np.full(self.indexed, -1)
            source[self.flat] = 0 if single else np.arange(self.flat.size)
            repeated = not single and np.unique(self.flat).size < self.flat.size
            steps += self._several(call, left, right) if repeated else take(p, source)
            steps += reshape([*left, self.indexed, *right], [*left, *extents, *right])
        return (*steps, *permute([self.order.index(axis) for axis in range(len(self.shape))])), repeated

    def _several(self, call: Call, left: Sequence[int], right: Sequence[int]) -> Steps:
        """Several values for one position: the index as a mask of a contraction."""
        assert self.flat is not None
        meets = np.ones((self.indexed, self.flat.size), dtype=bool)
        meets[self.flat, np.arange(self.flat.size)] = False
        p, rank = len(left), len(left) + 1 + len(right)
        last = [*range(p), *range(p + 1, rank), p]
        return (
            *permute(last),
            *reshape([*left, *right, self.flat.size], [*left, *right, self.flat.size, 1]),
            Contract(call.mask(meets)),
            *reshape([*left, *right, self.indexed, 1], [*left, *right, self.indexed]),
            *permute([last.index(axis) for axis in range(rank)]),
        )


def layout(shape: tuple[int, ...], indices: Sequence[Arg | None]) -> Layout | None:
    """The layout of ``x[indices]``; None for the rare index that is a single truth value."""
    axes: list[int] = []
    arrays: list[np.ndarray] | None = []
    ranks: list[tuple[int, ...]] = []
    axis = 0
    for index in indices:
        span = index.ndim if index is not None and index.dtype in ("bool", "uint8") else 1
        if span == 0:
            return None
        if index is not None:
            axes += range(axis, axis + span)
            found = _arrays(index, shape[axis])
            arrays = None if arrays is None or found is None else arrays + found
            ranks.append((1,) if index.dtype in ("bool", "uint8") else index.shape)
        axis += span
    if arrays is None:
        return Layout(shape, tuple(axes), np.broadcast_shapes(*ranks), None)
    several = np.broadcast_arrays(*arrays)
    flat = np.ravel_multi_index(tuple(several), [shape[a] for a in axes])
    return Layout(shape, tuple(axes), several[0].shape, np.asarray(flat).reshape(-1))


def _arrays(index: Arg, size: int) -> list[np.ndarray] | None:
    """One integer array for each axis that the index takes; a mask is the list of its true positions."""
    if index.dtype not in ("bool", "uint8"):
        value = known(index, size)
        return None if value is None else [value]
    mask = index.value()
    if mask is None or np.count_nonzero(mask) > LIMIT:
        return None
    return list(np.nonzero(mask))


def unless_written(call: Call, place: Layout) -> Steps:
    """The tensor's own elements, where nothing is written."""
    return (Blocked(call.mask(place.written())),)
