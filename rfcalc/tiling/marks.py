"""Marks: numbers that two units share if, and only if, the same is computed for both from the same pixels.

A tile gives what the whole image gives where its units are computed from the same pixels in the same way: not only from
the same span, but with the same padding around it, the same phase of every stride, the same cells. That is decided here
by running the *reads* of a graph on numbers: each pixel along one axis has a random mark of 64 bits, each step of
`rfcalc.reads` combines the marks of what it reads, with a coefficient for each place in a window, and what is not there
(zero padding) has the mark 0. Two units have equal marks where the same structure meets the same pixels; otherwise they
are equal with a probability of about 2^-50. The axes that a mark does not depend on have extent 1, so one axis of a
large image costs little more than a row.

Nothing here is shared with the analysis of receptive fields: the two are held against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np

from rfcalc import reads

Marks: TypeAlias = np.ndarray  #: uint64, of the tensor's rank, extent 1 along axes that do not matter
Shape: TypeAlias = tuple[int, ...]

_U = np.uint64
_FACTORS = (_U(0xBF58476D1CE4E5B9), _U(0x94D049BB133111EB))
_SHIFTS = (_U(30), _U(27), _U(31))


def mixed(marks: Marks) -> Marks:
    """A one-to-one scrambling of 64 bits, in which sums leave no pattern (the finalizer of SplitMix64, Steele et al.,
    2014); 0 stays 0."""
    with np.errstate(over="ignore"):  # of arrays without axes numpy makes numbers, and warns
        marks = (marks ^ (marks >> _SHIFTS[0])) * _FACTORS[0]
        marks = (marks ^ (marks >> _SHIFTS[1])) * _FACTORS[1]
        found: Marks = np.asarray(marks ^ (marks >> _SHIFTS[2]))
    return found


@lru_cache(maxsize=1 << 16)
def factor(*key: Any) -> np.uint64:
    """An odd number that belongs to a key."""
    return _U(int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little") | 1)


def numbered(key: Any, extents: Sequence[int]) -> Marks:
    """A mark for each index of an array of these extents, the same for the same key and index."""
    made = np.full((1,) * len(extents), factor("numbered", key), dtype=_U)
    for axis, extent in enumerate(extents):
        if extent > 1:
            row = mixed(np.arange(1, extent + 1, dtype=_U) * factor("axis", axis))
            made = made + row.reshape([-1 if k == axis else 1 for k in range(len(extents))])
    return mixed(np.asarray(made))


def of_numbers(values: np.ndarray) -> Marks:
    """Marks of known numbers; 0 has the mark 0."""
    if np.iscomplexobj(values):
        return of_numbers(values.real) * factor("real") + of_numbers(values.imag) * factor("imaginary")
    wide = np.ascontiguousarray(values, dtype=np.float64) + 0.0  # no negative zero; of no axis it makes one
    return mixed(wide.view(_U).reshape(values.shape))


def pixels(count: int, seed: int = 0) -> Marks:
    """The marks of so many pixels."""
    return np.random.default_rng(seed).integers(1, 1 << 63, size=count, dtype=_U) * _U(2) + _U(1)


def shrunk(marks: Marks) -> Marks:
    """The same with extent 1 along the axes that turn out not to matter."""
    for axis, extent in enumerate(marks.shape):
        if extent > 1 and marks.size > extent:
            first = marks.take([0], axis)
            if (marks == first).all():
                marks = first
    return marks


def together(marks: Marks, axes: Sequence[int]) -> Marks:
    """One mark for all that lies along these axes, which keep extent 1."""
    wide = [axis for axis in axes if marks.shape[axis] > 1]
    if not wide:
        return marks
    extents = [extent if axis in wide else 1 for axis, extent in enumerate(marks.shape)]
    with np.errstate(over="ignore"):
        made: Marks = mixed(marks * (numbered("together", extents) | _U(1))).sum(
            axis=tuple(wide), keepdims=True, dtype=_U
        )
    return made


# --- steps ------------------------------------------------------------------------------------------------------------


def after(
    marks: Marks, shape: Shape, steps: reads.Steps, masks: Mapping[int, np.ndarray], nominal: Fraction | None = None
) -> tuple[Marks, Shape]:
    """The marks of a tensor of that shape as a reader sees them, and the shape that it sees.

    ``nominal`` reads an interpolation, or cells of pooling, as if each position were so many of the tensor's apart,
    whatever the size.
    """
    shapes = {key: mask.shape for key, mask in masks.items()}
    with np.errstate(over="ignore"):
        for step in steps:
            if isinstance(step, reads.Blocked | reads.Contract):
                marks = _MASKED[type(step)](marks, shape, masks[step.mask])
            elif isinstance(step, reads.Spans):
                marks = _spans(marks, shape, step, nominal)
            else:
                marks = _STEPS[type(step)](marks, shape, step)
            shape = reads.shape_after(shape, step, shapes)
    return marks, shape


def _along(row: np.ndarray, axis: int, rank: int) -> np.ndarray:
    return row.reshape([-1 if k == axis else 1 for k in range(rank)])


def _padded(marks: Marks, axis: int, first: int, count: int) -> Marks:
    """``count`` marks from index ``first`` of the axis on; what lies outside is 0."""
    extent = marks.shape[axis]
    start, stop = max(first, 0), max(min(first + count, extent), max(first, 0))
    inner = marks[(*(slice(None),) * axis, slice(start, min(stop, extent)))]
    before = min(max(-first, 0), count)
    behind = count - before - inner.shape[axis]
    if not before and not behind:
        return inner
    return np.pad(inner, [(before, behind) if k == axis else (0, 0) for k in range(marks.ndim)])


def _cut(axis: int, start: int, stop: int, step: int = 1) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(start, stop, step))


def _window(marks: Marks, shape: Shape, step: reads.Window) -> Marks:
    axis = step.axis
    if marks.shape[axis] == 1:
        return marks
    reach = step.stride * (step.out - 1)
    row = _padded(marks, axis, -step.before, reach + step.dilation * (step.kernel - 1) + 1)
    if step.kernel == 1:
        return row[_cut(axis, 0, reach + 1, step.stride)]
    total = None
    for tap in range(step.kernel):
        part = row[_cut(axis, tap * step.dilation, tap * step.dilation + reach + 1, step.stride)] * factor("tap", tap)
        total = part if total is None else total + part
    return mixed(np.asarray(total))


def _transposed(marks: Marks, shape: Shape, step: reads.Transposed) -> Marks:
    axis, extent, stride = step.axis, shape[step.axis], step.stride
    if marks.shape[axis] == 1:
        return marks
    length = max((extent - 1) * stride + step.dilation * (step.kernel - 1) + 1, step.before + step.out)
    made = np.zeros((*marks.shape[:axis], length, *marks.shape[axis + 1 :]), dtype=_U)
    for tap in range(step.kernel):
        at = tap * step.dilation
        made[_cut(axis, at, at + (extent - 1) * stride + 1, stride)] += marks * factor("tap", tap)
    return mixed(_padded(made, axis, step.before, step.out))


def _spans(marks: Marks, shape: Shape, step: reads.Spans, nominal: Fraction | None) -> Marks:
    axis, extent, count = step.axis, shape[step.axis], len(step.first)
    if marks.shape[axis] == 1:
        return marks
    first, last = np.asarray(step.first, dtype=np.int64), np.asarray(step.last, dtype=np.int64)
    position = np.arange(count)
    if nominal is not None:
        alone = bool((first == last).all())
        first, last = _nearest(first, nominal, extent) if alone else _at_ratio(position, nominal, extent)
        phases, start = numbered(("ratio", nominal), (nominal.denominator,))[position % nominal.denominator], first
    elif (first == last).all():
        phases, start = np.ones(count, dtype=_U), first
    elif step.period:
        turns, phase = np.divmod(position, step.period)
        free = np.asarray(step.free_first, dtype=np.int64)[phase] + turns * step.shift
        phases = numbered(("phase", step.period, step.shift), (step.period,))[phase] | _U(1)
        start = np.minimum(free, first)
    else:
        phases, start = numbered(("cells", extent, count), (count,)) | _U(1), first
    total = np.zeros((*marks.shape[:axis], count, *marks.shape[axis + 1 :]), dtype=_U)
    for tap in range(int((last - first).max(initial=0)) + 1):
        index = first + tap
        inside = index <= last
        taps = numbered("span", (int((index - start).max(initial=0)) + 2,))[index - start] | _U(1)
        weight = np.where(inside, taps, _U(0))
        total += marks.take(np.minimum(index, extent - 1), axis) * _along(weight, axis, marks.ndim)
    if (first == last).all():
        return total
    return mixed(total * _along(phases, axis, marks.ndim))


def _nearest(first: np.ndarray, ratio: Fraction, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """The one index that each position reads: at its beginning or, where ``first`` mostly says so, at its centre."""
    position, count = np.arange(len(first)), len(first)
    centres = (first == (2 * position + 1) * extent // (2 * count)).sum() > (first == position * extent // count).sum()
    index = (2 * position + int(centres)) * ratio.numerator // (2 * ratio.denominator)
    return (np.clip(index, 0, extent - 1),) * 2


def _at_ratio(position: np.ndarray, ratio: Fraction, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last index that each position reads: the two around its centre, or, of cells, all that they touch."""
    above, below = ratio.numerator, ratio.denominator
    if ratio > 1:
        first, last = position * above // below, -(-(position + 1) * above // below) - 1
    else:
        first = ((2 * position + 1) * above - below) // (2 * below)
        last = first + (1 if ratio < 1 else 0)
    return np.clip(first, 0, extent - 1), np.clip(last, 0, extent - 1)


def _reduce(marks: Marks, shape: Shape, step: reads.Reduce) -> Marks:
    axes = tuple(axis for axis in step.axes if marks.shape[axis] > 1)
    if not axes:
        return marks
    total = mixed(marks).sum(axis=axes, keepdims=True, dtype=_U)
    return mixed(total + factor("count", *(marks.shape[axis] for axis in axes)) * (total != 0))


def _group(marks: Marks, shape: Shape, step: reads.Group) -> Marks:
    axis = step.axis
    if marks.shape[axis] == 1:
        return marks
    before, behind = marks.shape[:axis], marks.shape[axis + 1 :]
    size = shape[axis] // step.groups
    total = mixed(marks).reshape(*before, step.groups, size, *behind).sum(axis=axis + 1, dtype=_U)
    return mixed(total if step.groups == 1 else np.repeat(total, step.out // step.groups, axis))


def _reshape(marks: Marks, shape: Shape, step: reads.Reshape) -> Marks:
    kept: list[int] = []
    given: list[int] = []
    for left, right in reads.groups_of(step.shape_in, step.shape_out):
        varies = any(marks.shape[axis] > 1 for axis in left)
        given += [shape[axis] if varies else 1 for axis in left]
        kept += [step.shape_out[axis] if varies else 1 for axis in right]
    return np.broadcast_to(marks, given).reshape(kept)


def _permute(marks: Marks, shape: Shape, step: reads.Permute) -> Marks:
    return marks.transpose(step.axes)


def _picked(marks: Marks, axis: int, index: np.ndarray) -> Marks:
    made = marks.take(np.maximum(index, 0), axis)
    return np.where(_along(index >= 0, axis, marks.ndim), made, _U(0)) if (index < 0).any() else made


def _slice(marks: Marks, shape: Shape, step: reads.Slice) -> Marks:
    if marks.shape[step.axis] == 1:
        return marks
    return marks.take(step.start + step.step * np.arange(step.out), step.axis)


def _take(marks: Marks, shape: Shape, step: reads.Take) -> Marks:
    index = np.asarray(step.indices, dtype=np.int64)
    if marks.shape[step.axis] == 1:
        return marks if (index >= 0).all() else _picked(marks, step.axis, np.where(index < 0, -1, 0))
    return _picked(marks, step.axis, index)


_MODES: Mapping[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad(marks: Marks, shape: Shape, step: reads.Pad) -> Marks:
    axis = step.axis
    if marks.shape[axis] == 1:
        return marks
    if step.mode == "zero":
        return _padded(marks, axis, -step.before, step.size + step.before + step.after)
    keep = np.arange(max(0, -step.before), step.size - max(0, -step.after))
    return marks.take(np.pad(keep, (max(0, step.before), max(0, step.after)), _MODES[step.mode]), axis)


def _place(marks: Marks, shape: Shape, step: reads.Place) -> Marks:
    axis = step.axis
    if (step.offset, step.step, step.out) == (0, 1, shape[axis]):
        return marks
    whole = np.broadcast_to(marks, (*marks.shape[:axis], shape[axis], *marks.shape[axis + 1 :]))
    made = np.zeros((*marks.shape[:axis], step.out, *marks.shape[axis + 1 :]), dtype=_U)
    made[_cut(axis, step.offset, step.offset + (step.size - 1) * step.step + 1, step.step)] = whole
    return made


def _erase(marks: Marks, shape: Shape, step: reads.Erase) -> Marks:
    gone = np.ones((1,) * len(shape), dtype=bool)
    for axis, size, offset, stride in step.box:
        row = np.zeros(shape[axis], dtype=bool)
        row[offset : offset + (size - 1) * stride + 1 : stride] = True
        gone = gone & _along(row, axis, len(shape))
    return np.where(gone, _U(0), marks)


def _prefix(marks: Marks, shape: Shape, step: reads.Prefix) -> Marks:
    if marks.shape[step.axis] == 1:
        return marks
    turn = (
        _cut(step.axis, 0, shape[step.axis])
        if not step.reverse
        else (*(slice(None),) * step.axis, slice(None, None, -1))
    )
    return mixed(np.cumsum(mixed(marks)[turn], axis=step.axis, dtype=_U)[turn])


def _blocked(marks: Marks, shape: Shape, mask: np.ndarray) -> Marks:
    return np.where(mask.reshape((1,) * (len(shape) - mask.ndim) + mask.shape), _U(0), marks)


def _contract(marks: Marks, shape: Shape, mask: np.ndarray) -> Marks:
    """Row i reads the rows k that the mask leaves; which of them is which does not matter to attention."""
    rank = len(shape)
    open_ = np.logical_not(mask).reshape((1,) * (rank - mask.ndim) + mask.shape).astype(_U)
    whole = np.broadcast_to(marks, (*marks.shape[:-2], shape[-2], marks.shape[-1]))
    return mixed(np.matmul(open_, mixed(whole)))


_STEPS: Mapping[type, Callable[[Marks, Shape, Any], Marks]] = {
    reads.Window: _window,
    reads.Transposed: _transposed,
    reads.Reduce: _reduce,
    reads.Group: _group,
    reads.Reshape: _reshape,
    reads.Permute: _permute,
    reads.Slice: _slice,
    reads.Take: _take,
    reads.Pad: _pad,
    reads.Place: _place,
    reads.Erase: _erase,
    reads.Prefix: _prefix,
}
_MASKED: Mapping[type, Callable[[Marks, Shape, np.ndarray], Marks]] = {
    reads.Blocked: _blocked,
    reads.Contract: _contract,
}
