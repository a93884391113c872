"""Reads turned around: what a gradient of an op's argument reads of the gradient of its result.

An op's result at u reads its argument at the positions R(u); the gradient of the argument at i reads the gradient of
the result at all u for which i is in R(u). Each step of `rfcalc.reads` turns around by itself, in the opposite order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from rfcalc.ops._linear import permute, reshape
from rfcalc.reads import (
    Blocked,
    Erase,
    Group,
    Pad,
    Permute,
    Place,
    Prefix,
    Reduce,
    Reshape,
    Slice,
    Spans,
    Step,
    Steps,
    Take,
    Transposed,
    Window,
    shape_after,
)

#: Ways from the result to the argument, all of which are read; None where a step cannot be turned around.
Ways: TypeAlias = list[Steps] | None


def transposed(shape: Sequence[int], steps: Steps, out: Sequence[int]) -> Ways:
    """How the gradient of an argument of that shape reads that of a result, which reads the argument by these steps.

    >>> transposed((1, 1, 8), (Window(2, 3, 2, 1, 1, 4),), (1, 1, 4))
    [(Transposed(axis=2, kernel=3, stride=2, dilation=1, before=1, out=8),)]
    """
    shapes = [tuple(shape)]
    for step in steps:
        if isinstance(step, Blocked) or not _turns(step):
            return None
        shapes.append(shape_after(shapes[-1], step, {}))
    end = shapes[-1]
    spread = tuple(axis for axis, (mine, whole) in enumerate(zip(end, out, strict=True)) if mine == 1 and whole > 1)
    ways: list[Steps] = [(Reduce(spread),) if spread else ()]
    for at in range(len(steps) - 1, -1, -1):
        turned = _turned(steps[at], shapes[at], later=at > 0)
        if turned is None:
            return None
        ways = [(*way, *more) for more in turned for way in ways]
    return ways


def _turns(step: Step) -> bool:
    kinds = (Window, Transposed, Spans, Reduce, Group, Reshape, Permute, Slice, Take, Pad, Place, Erase, Prefix)
    return isinstance(step, kinds)


def _turned(step: Step, before: tuple[int, ...], later: bool) -> Ways:
    """The ways through one step, from what is after it to what is before; ``later``: more steps are to be turned."""
    match step:
        case Window(axis, kernel, stride, dilation, pad, _):
            return [(Transposed(axis, kernel, stride, dilation, pad, before[axis]),)]
        case Transposed(axis, kernel, stride, dilation, pad, _):
            return [(Window(axis, kernel, stride, dilation, pad, before[axis]),)]
        case Reduce(axes):
            wide = [axis for axis in axes if before[axis] > 1]
            return [tuple(Take(axis, (0,) * before[axis]) for axis in wide) if later else ()]
        case Group(axis, groups, _):
            return [(Group(axis, groups, before[axis]),)]
        case Reshape(shape_in, shape_out):
            return [reshape(shape_out, shape_in)]
        case Permute(axes):
            return [permute(tuple(axes.index(axis) for axis in range(len(axes))))]
        case Place(axis, size, offset, _, stride):
            return [(Slice(axis, offset, stride, size),)]
        case Erase():
            return [(step,)]
        case Prefix(axis, size, reverse):
            return [(Prefix(axis, size, not reverse),)]
        case Slice(axis, start, stride, out) if stride > 0:
            return [(Place(axis, out, start, before[axis], stride),)]
        case Slice(axis, start, stride, out):
            return _indexed(axis, [start + stride * u for u in range(out)], before[axis])
        case Take(axis, indices):
            return _indexed(axis, indices, before[axis])
        case Pad(axis, size, first, last, "zero") if first >= 0 and last >= 0:
            return [(Slice(axis, first, 1, size),)]
        case Pad(axis, size, first, last, mode):
            return _indexed(axis, _padded(size, first, last, mode), size)
        case Spans(axis, starts, ends):
            return _covered(axis, starts, ends, before[axis])
    return None


def _padded(size: int, before: int, after: int, mode: str) -> list[int]:
    kept = np.arange(max(0, -before), size - max(0, -after))
    widths = (max(0, before), max(0, after))
    if mode == "zero":
        return [int(index) for index in np.pad(kept, widths, constant_values=-1)]
    names: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    return [int(index) for index in np.pad(kept, widths, names[mode])]


def _indexed(axis: int, indices: Sequence[int], size: int) -> Ways:
    """Positions that read one index each: an index is read by one, by a run of them, or by few in different places."""
    readers: list[list[int]] = [[] for _ in range(size)]
    for position, index in enumerate(indices):
        if index >= 0:
            readers[index].append(position)
    most = max(map(len, readers), default=0)
    if all(row and row[-1] - row[0] + 1 == len(row) for row in readers) and most > 1:
        return [(Spans(axis, tuple(row[0] for row in readers), tuple(row[-1] for row in readers)),)]
    if most > 64:
        return None
    rounds = range(max(1, most))
    return [(Take(axis, tuple(row[number] if number < len(row) else -1 for row in readers)),) for number in rounds]


def _covered(axis: int, starts: Sequence[int], ends: Sequence[int], size: int) -> Ways:
    """Positions that read a run of indices: the readers of an index are a run, too."""
    first, last = np.array(starts), np.array(ends)
    if not len(first) or (np.diff(first) < 0).any() or (np.diff(last) < 0).any():
        return None
    at = np.arange(size)
    begin, end = np.searchsorted(last, at), np.searchsorted(first, at, side="right") - 1
    if (begin <= end).all():
        return [(Spans(axis, tuple(begin.tolist()), tuple(end.tolist())),)]
    if (end - begin < 1).all():  # some are read by none
        return [(Take(axis, tuple(np.where(begin <= end, begin, -1).tolist())),)]
    return None
