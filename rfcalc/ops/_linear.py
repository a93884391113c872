"""What matrix products, attention, norms and indexing share: labelled axes, and what is known of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from rfcalc.ops._masks import known_zero
from rfcalc.ops.common import align, times
from rfcalc.ops.registry import Arg, ArgRead, Call, numel
from rfcalc.reads import Blocked, Contract, Permute, Reduce, Reshape, Step, Steps, Take

Labels: TypeAlias = tuple[str, ...]

#: Of a product of more elements it is not worked out which are 0.
_LARGEST = 1 << 22


# --- calls and what is known of their arguments -----------------------------------------------------------------------


def either(call: Call, *names: str) -> Any:
    """The first of the named arguments that is given: overloads and composites name the same thing differently."""
    return next((call[name] for name in names if call[name] is not None), None)


def formula(positions: Sequence[int], contracted: int | str) -> str:
    """Multiply-adds in the lecture's form; the first of several axes is the batch and stands in front.

    >>> formula((1, 4096), 25088), formula((8, 197, 768), 768)
    ('(4096) x (25088)', '8 x (197x768) x (768)')
    """
    batch, rest = (positions[0], positions[1:]) if len(positions) > 1 else (1, positions)
    text = f"({times(rest)}) x ({contracted})"
    return text if batch == 1 else f"{batch} x {text}"


def ranked(mask: np.ndarray, rank: int) -> np.ndarray:
    """The mask with leading axes of extent 1 up to the rank."""
    return mask.reshape((1,) * (rank - mask.ndim) + mask.shape)


def except_at(call: Call, mask: np.ndarray | None) -> Steps:
    """The step that reads nothing where the mask is true; no step for an empty mask."""
    return () if mask is None or not mask.any() else (Blocked(call.mask(mask)),)


def reshape(shape_in: Sequence[int], shape_out: Sequence[int]) -> Steps:
    """A reshape, left out where it changes nothing."""
    return () if tuple(shape_in) == tuple(shape_out) else (Reshape(tuple(shape_in), tuple(shape_out)),)


def permute(axes: Sequence[int]) -> Steps:
    """A permutation, left out where it changes nothing."""
    return () if list(axes) == list(range(len(axes))) else (Permute(tuple(axes)),)


def channel(arg: Arg, rank: int) -> ArgRead:
    """A value per channel: broadcast along axis 1 of a tensor of that rank."""
    return arg, reshape(arg.shape, (1, *arg.shape, *(1,) * (rank - 2)))


def optional(reads: Sequence[ArgRead | None]) -> list[ArgRead]:
    """The reads of the arguments that are given."""
    return [read for read in reads if read is not None]


def trailing(arg: Arg | None, rank: int) -> ArgRead | None:
    """An optional argument that broadcasts against the last axes."""
    return None if arg is None else (arg, align(arg.shape, rank))


# --- products of labelled axes ----------------------------------------------------------------------------------------


class Product:
    """An einsum: ``labels[k]`` names the axes of operand k, ``out`` those of the result; other labels are summed.

    ``reads`` is what the result reads of each operand, ``macs`` its multiply-adds: two operands multiply and add once
    for each combination of their indices; more of them are contracted from left to right. What only meets like a
    product, and does not multiply (``multiplies``), reads zeros as any number.
    """

    def __init__(
        self,
        call: Call,
        operands: Sequence[Arg],
        labels: Sequence[Sequence[str]],
        out: Sequence[str],
        multiplies: bool = True,
    ) -> None:
        self.call = call
        self.operands = tuple(operands)
        self.labels: tuple[Labels, ...] = tuple(tuple(row) for row in labels)
        self.out: Labels = tuple(out)
        self.extent: dict[str, int] = {}
        for operand, row in zip(self.operands, self.labels, strict=True):
            for label, size in zip(row, operand.shape, strict=True):
                self.extent[label] = max(size, self.extent.get(label, size)) if size else 0
        self.macs = self._macs()
        self.multiplies = multiplies
        self.masked = False
        self.inexact = ""
        self.reads: list[ArgRead] = [(arg, self._steps(k)) for k, arg in enumerate(self.operands)]

    @property
    def contracted(self) -> int:
        """The extent of everything that is summed."""
        return numel([size for label, size in self.extent.items() if label not in self.out])

    def _macs(self) -> int:
        total, current = 0, set(self.labels[0])
        for k, row in enumerate(self.labels[1:], start=1):
            joint = current | set(row)
            total += numel([self.extent[label] for label in joint])
            current = joint & set(self.out).union(*self.labels[k + 1 :])
        return total

    def _steps(self, k: int) -> Steps:
        zeros = [j for j, other in enumerate(self.operands) if j != k and known_zero(other) is not None]
        if self.operands[k].reads_data and zeros and self.multiplies:
            simple = all(len(set(row)) == len(row) for row in self.labels)
            if len(zeros) == 1 and simple:
                self.masked = True
                return self._through_zeros(k, zeros[0])
            self.inexact = "several operands with known zeros in one product, or a diagonal of such a one"
        return _read(self.operands[k].shape, self.labels[k], self.out)

    def _through_zeros(self, k: int, other: int) -> Steps:
        """Operand k where the other one has known zeros: only what meets a non-zero element is read."""
        mine, theirs = self.labels[k], self.labels[other]
        shape = self.operands[k].shape
        batch = [label for label in self.out if label in mine and label in theirs]
        rows = [label for label in self.out if label not in mine and label in theirs]
        apart = [label for label in self.out if label not in mine and label not in theirs]
        columns = [label for label in self.out if label in mine and label not in theirs]
        inner = [label for label in mine if label in theirs and label not in self.out]
        alone = [label for label in mine if label not in theirs and label not in self.out]
        counts = [numel([self.extent[label] for label in group]) for group in (rows, inner, columns)]

        mask = self._zeros(other, batch, rows, inner)
        own = [shape[mine.index(label)] for label in batch]
        both = [max(a, b) for a, b in zip(own, mask.shape, strict=False)]
        full = [self.extent[label] for label in (*inner, *columns)]
        steps: list[Step] = []
        if alone:
            steps.append(Reduce(tuple(sorted(mine.index(label) for label in alone))))
        steps += permute([mine.index(label) for label in (*batch, *inner, *columns, *alone)])
        steps += reshape((*own, *full, *(1 for _ in alone)), (*own, counts[1], counts[2]))
        steps.append(Contract(self.call.mask(mask)))
        order = [*batch, *rows, *columns, *apart]
        spread = [1 if label in apart else self.extent[label] for label in order[len(batch) :]]
        steps += reshape((*both, counts[0], counts[2]), (*both, *spread))
        steps += permute([order.index(label) for label in self.out])
        return tuple(steps)

    @property
    def zero(self) -> np.ndarray | None:
        """Where the result is known to be 0: of two operands each pair of elements that meet has a 0."""
        if len(self.operands) != 2 or any(len(set(row)) < len(row) for row in self.labels):
            return None
        zeros = [known_zero(operand) if operand.zero is not None else None for operand in self.operands]
        if not self.multiplies or all(zero is None for zero in zeros):
            return None
        letter = {label: chr(ord("a") + at) for at, label in enumerate(self.extent)}
        open_, terms = [], []
        for operand, row, zero in zip(self.operands, self.labels, zeros, strict=True):
            mask = ranked(np.zeros((), dtype=bool) if zero is None else zero, operand.ndim)
            kept = [axis for axis, label in enumerate(row) if mask.shape[axis] > 1]
            terms.append("".join(letter[row[axis]] for axis in kept))
            open_.append((~mask).reshape([mask.shape[axis] for axis in kept]).astype(np.float32))
        out = [label for label in self.out if any(letter[label] in term for term in terms)]
        if numel([self.extent[label] for label in out]) > _LARGEST:
            return None
        meets = np.einsum(f"{','.join(terms)}->{''.join(letter[label] for label in out)}", *open_, optimize=True)
        found = (meets == 0).reshape([self.extent[label] if label in out else 1 for label in self.out])
        return found if found.any() else None

    def _zeros(self, other: int, batch: list[str], rows: list[str], inner: list[str]) -> np.ndarray:
        """The other operand's zeros as (batch..., rows, inner); a sum of zeros only is zero."""
        labels = self.labels[other]
        zero = known_zero(self.operands[other])
        assert zero is not None
        zero = ranked(zero, len(labels))
        wide = [zero.shape[a] if label in batch else self.extent[label] for a, label in enumerate(labels)]
        zero = np.broadcast_to(zero, wide)
        alone = [label for label in labels if label not in (*batch, *rows, *inner)]
        zero = zero.transpose([labels.index(label) for label in (*batch, *rows, *inner, *alone)])
        zero = np.asarray(zero.all(axis=tuple(range(zero.ndim - len(alone), zero.ndim))))
        return zero.reshape(
            *zero.shape[: len(batch)],
            numel([self.extent[label] for label in rows]),
            numel([self.extent[label] for label in inner]),
        )


def _read(shape: Sequence[int], labels: Labels, out: Labels) -> Steps:
    """From an operand to the result: diagonals of repeated labels, sums, then the order and rank of the result."""
    steps: list[Step] = []
    while len(set(labels)) < len(labels):
        more, shape, labels = _diagonal(shape, labels)
        steps += more
    summed = tuple(axis for axis, label in enumerate(labels) if label not in out)
    kept = [axis for axis, label in enumerate(labels) if label in out]
    order = sorted(kept, key=lambda axis: out.index(labels[axis]))
    now = [1 if axis in summed else size for axis, size in enumerate(shape)]
    if summed:
        steps.append(Reduce(summed))
    if order != kept:
        steps.append(Permute((*order, *summed)))
        now = [now[axis] for axis in (*order, *summed)]
    target = [shape[labels.index(label)] if label in labels else 1 for label in out]
    return (*steps, *reshape(now, target))


def _diagonal(shape: Sequence[int], labels: Labels) -> tuple[Steps, tuple[int, ...], Labels]:
    """The diagonal of the first two axes that share a label."""
    label = next(label for label in labels if labels.count(label) > 1)
    first = labels.index(label)
    second = labels.index(label, first + 1)
    rest = [axis for axis in range(len(labels)) if axis not in (first, second)]
    size = shape[first]
    others = tuple(shape[axis] for axis in rest)
    steps = (
        *permute([first, second, *rest]),
        Reshape((size, size, *others), (size * size, *others)),
        Take(0, tuple(range(0, size * size, size + 1))),
    )
    return steps, (size, *others), (label, *(labels[axis] for axis in rest))
