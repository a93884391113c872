"""The read steps on interval arrays, one function each: the field of a tensor after what an op reads of it.

What is known of a step here is all that the analysis needs of it; `stepping` saves work where a field is a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import gcd, prod

import numpy as np

from rfcalc import reads
from rfcalc.analyses.field import intervals, motion
from rfcalc.analyses.field.intervals import (
    NOTHING,
    Array,
    Intervals,
    Places,
    any_of,
    by_rows,
    cut,
    rows_of,
    shrunk,
    tidy,
)
from rfcalc.analyses.field.motion import Motion, Rate, runs_of


def _resized(shape: Sequence[int], axis: int, extent: int) -> tuple[int, ...]:
    return (*shape[:axis], extent, *shape[axis + 1 :])


def _whole_axis(field: Intervals, axis: int) -> tuple[Array, Array]:
    """lo and hi with the axis at its full extent."""
    place = field.place(axis)
    if place is not None:
        return field.lo.take(place, axis), field.hi.take(place, axis)
    if field.lo.shape[axis] == field.shape[axis]:
        return field.lo, field.hi
    extents = _resized(field.lo.shape, axis, field.shape[axis])
    return np.broadcast_to(field.lo, extents), np.broadcast_to(field.hi, extents)


def _extended(field: Intervals, axis: int, first: int, last: int, free: bool) -> tuple[Array, Array]:
    """lo and hi along ``first..last`` of the axis, which may lie outside the tensor."""
    lo, hi = _whole_axis(field, axis)
    extent = field.shape[axis]
    rate = motion.rate_of(field.motions.get(axis)) if free else None
    if rate is not None and (first < 0 or last >= extent):
        period, shift = rate
        index = np.arange(first, last + 1)
        turns, base = np.divmod(index, period)
        moved = (turns * shift).reshape([-1 if k == axis else 1 for k in range(lo.ndim)])
        return lo.take(base, axis) + moved, hi.take(base, axis) + moved
    inner = cut(axis, max(first, 0), min(last + 1, extent))
    lo, hi = lo[inner], hi[inner]
    before, after = min(max(-first, 0), last - first + 1), min(max(last - extent + 1, 0), last - first + 1)
    if before or after:
        widths = [(before, after) if k == axis else (0, 0) for k in range(lo.ndim)]
        lo = np.pad(lo, widths, constant_values=NOTHING)
        hi = np.pad(hi, widths, constant_values=-NOTHING)
    return lo, hi


def _with(field: Intervals, axis: int, extent: int, lo: Array, hi: Array, moved: Motion | None) -> Intervals:
    motions = {key: value for key, value in field.motions.items() if key != axis}
    if moved is not None:
        motions[axis] = moved
    return Intervals(_resized(field.shape, axis, extent), lo, hi, motions, _places(field, axis))


def _places(field: Intervals, axis: int, place: Array | None = None) -> Places | None:
    """The places of a field with others along one axis."""
    if field.places is None:
        return None
    return any_of([place if k == axis else own for k, own in enumerate(field.places)])


def _unchanging(field: Intervals, axis: int, extent: int, seen: Array | None) -> Intervals | None:
    """The result where nothing depends on the axis; ``seen`` marks the positions that read anything at all."""
    if field.depends(axis):
        return None
    lo, hi = field.lo, field.hi
    if seen is not None and not seen.all():
        flags = seen.reshape([-1 if k == axis else 1 for k in range(field.rank)])
        lo, hi = np.where(flags, lo, NOTHING), np.where(flags, hi, -NOTHING)
    return Intervals(_resized(field.shape, axis, extent), lo, hi, field.motions, field.places)


def _window(field: Intervals, step: reads.Window, free: bool) -> Intervals:
    axis, extent = step.axis, field.shape[step.axis]
    if (step.kernel, step.stride, step.before, step.out) == (1, 1, 0, extent):
        return field
    if not field.depends(axis):
        seen: Array | None = None
        if not free:
            starts = step.stride * np.arange(step.out) - step.before
            taps = starts[:, None] + step.dilation * np.arange(step.kernel)
            seen = np.any((taps >= 0) & (taps < extent), axis=1)
        return _unchanging(field, axis, step.out, seen) or field
    first, reach = -step.before, step.stride * (step.out - 1)
    lo, hi = _extended(field, axis, first, first + reach + step.dilation * (step.kernel - 1), free)
    parts = [cut(axis, j * step.dilation, j * step.dilation + reach + 1, step.stride) for j in range(step.kernel)]
    low, high = lo[parts[0]], hi[parts[0]]
    for part in parts[1:]:
        low, high = np.minimum(low, lo[part]), np.maximum(high, hi[part])
    return _at_rate(field, axis, step.out, low, high, motion.strided(_rate(field, axis), step.stride))


def _rate(field: Intervals, axis: int) -> Rate | None:
    return motion.rate_of(field.motions.get(axis))


def _at_rate(field: Intervals, axis: int, extent: int, lo: Array, hi: Array, rate: Rate | None) -> Intervals:
    return _with(field, axis, extent, lo, hi, motion.of_rate(extent, rate) if axis in field.motions else None)


def _transposed(field: Intervals, step: reads.Transposed, free: bool) -> Intervals:
    axis, extent, stride = step.axis, field.shape[step.axis], step.stride
    span = step.dilation * (step.kernel - 1)
    rate = _rate(field, axis)
    free = free and (rate is not None or not field.depends(axis))
    margin = (max(step.before, step.out) + span) // stride + 2 if free else 0
    count = extent + 2 * margin
    base = margin * stride + step.before
    if not field.depends(axis):
        hit = np.zeros((count - 1) * stride + span + 1 + step.out + base, dtype=bool)
        for j in range(step.kernel):
            hit[j * step.dilation :][: (count - 1) * stride + 1 : stride] = True
        return _unchanging(field, axis, step.out, hit[base : base + step.out]) or field
    lo, hi = _extended(field, axis, -margin, extent - 1 + margin, free)
    length = max((count - 1) * stride + span + 1, base + step.out)
    low = np.full(_resized(lo.shape, axis, length), NOTHING, dtype=np.int64)
    high = np.full_like(low, -NOTHING)
    for j in range(step.kernel):
        part = cut(axis, j * step.dilation, j * step.dilation + (count - 1) * stride + 1, stride)
        np.minimum(low[part], lo, out=low[part])
        np.maximum(high[part], hi, out=high[part])
    crop = cut(axis, base, base + step.out)
    return _at_rate(field, axis, step.out, low[crop], high[crop], rate and (rate[0] * stride, rate[1]))


def _spans(field: Intervals, step: reads.Spans, free: bool) -> Intervals:
    axis, count = step.axis, len(step.first)
    first, last = np.asarray(step.first), np.asarray(step.last)
    if not field.depends(axis):
        return _unchanging(field, axis, count, None if free else np.less_equal(first, last)) or field
    rate, after = _rate(field, axis), None
    if free and step.period and rate is not None:
        turns, phase = np.divmod(np.arange(count), step.period)
        first = np.asarray(step.free_first)[phase] + turns * step.shift
        last = np.asarray(step.free_last)[phase] + turns * step.shift
        times = rate[0] // gcd(rate[0], step.shift) if step.shift else 1
        after = (step.period * times, rate[1] * step.shift * times // rate[0])
    start, stop = int(first.min()), int(last.max())
    lo, hi = _extended(field, axis, start, stop + 1, free)
    bounds = np.stack([first - start, np.maximum(last, first) + 1 - start], axis=1).ravel()
    low = np.minimum.reduceat(lo, bounds, axis)[cut(axis, 0, 2 * count, 2)]
    high = np.maximum.reduceat(hi, bounds, axis)[cut(axis, 0, 2 * count, 2)]
    return _at_rate(field, axis, count, low, high, after)


def _take(field: Intervals, axis: int, indices: Array) -> Intervals:
    """Position u reads ``indices[u]``, nothing where that is -1."""
    if field.places is not None:
        return _taken(field, axis, indices)
    done = _unchanging(field, axis, len(indices), indices >= 0)
    if done is not None:
        return done
    lo, hi = _whole_axis(field, axis)
    low, high = lo.take(indices, axis), hi.take(indices, axis)
    if (indices < 0).any():
        gone = (indices < 0).reshape([-1 if k == axis else 1 for k in range(field.rank)])
        low, high = np.where(gone, NOTHING, low), np.where(gone, -NOTHING, high)
    return _with(field, axis, len(indices), low, high, motion.picked(field.motions.get(axis), indices.tolist()))


def _taken(field: Intervals, axis: int, indices: Array) -> Intervals:
    """The same of a field that is kept by rows."""
    assert field.places is not None
    lo, hi, shape = field.lo, field.hi, _resized(field.shape, axis, len(indices))
    motions = {key: value for key, value in field.motions.items() if key != axis}
    moved = motion.picked(field.motions.get(axis), indices.tolist())
    if moved is not None:
        motions[axis] = moved
    if not field.depends(axis) and (indices >= 0).all():
        return Intervals(shape, lo, hi, motions, field.places)
    place = np.where(indices < 0, lo.shape[axis], rows_of(field, axis)[indices])
    widths = [(0, int(k == axis)) for k in range(field.rank)]
    lo, hi = np.pad(lo, widths, constant_values=NOTHING), np.pad(hi, widths, constant_values=-NOTHING)
    return tidy(shape, lo, hi, [place if k == axis else own for k, own in enumerate(field.places)], motions)


def _written(field: Intervals, box: Mapping[int, int]) -> Intervals:
    """The field kept by its rows, where it would depend on several axes else: those of the box, of that extent."""
    extents = {**dict(enumerate(field.extents)), **box}
    wide = [axis for axis, extent in enumerate(field.extents) if extent > 1]
    several = len([axis for axis in extents if extents[axis] > 1]) > 1
    if field.places is not None or len(wide) > 1 or not several or prod(extents.values()) < intervals.LARGE:
        return field
    return by_rows(field)


def _pad(field: Intervals, step: reads.Pad, free: bool) -> Intervals:
    extent = step.size + step.before + step.after
    if step.mode == "zero" and len(field.motions.get(step.axis, ())) > 1 and min(step.before, step.after) >= 0:
        return _place(field, reads.Place(step.axis, step.size, step.before, extent), free)
    if step.mode == "zero" or (free and _rate(field, step.axis) is not None):
        return _window(field, reads.Window(step.axis, 1, 1, 1, step.before, extent), free)
    names = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    keep = np.arange(max(0, -step.before), step.size - max(0, -step.after))
    index = np.pad(keep, (max(0, step.before), max(0, step.after)), names[step.mode])  # type: ignore[call-overload]
    return _take(field, step.axis, index)


def _place(field: Intervals, step: reads.Place, free: bool) -> Intervals:
    axis = step.axis
    if free and len(field.motions.get(axis, ())) == 1 and _rate(field, axis) is not None:
        if step.step > 1:
            return _transposed(field, reads.Transposed(axis, 1, step.step, 1, -step.offset, step.out), free)
        return _window(field, reads.Window(axis, 1, 1, 1, step.offset, step.out), free)
    index = np.full(step.out, -1)
    index[step.offset : step.offset + (step.size - 1) * step.step + 1 : step.step] = np.arange(step.size)
    made = _take(field, axis, index)
    if step.step == 1 and axis in field.motions:
        made.motions = {**made.motions, axis: motion.placed(field.motions[axis], step.offset, step.out)}
    return made


def _erase(field: Intervals, step: reads.Erase) -> Intervals:
    if field.places is not None:
        return _erased(field, step)
    gone = np.ones((1,) * field.rank, dtype=bool)
    for axis, size, offset, stride in step.box:
        row = np.zeros(step.shape[axis], dtype=bool)
        row[offset : offset + (size - 1) * stride + 1 : stride] = True
        gone = gone & row.reshape([-1 if k == axis else 1 for k in range(field.rank)])
    made = _without(field, gone)
    if len(step.box) == 1 and step.box[0][0] in made.motions:
        axis, size, offset, stride = step.box[0]
        rate = _rate(field, axis)
        if rate is not None and offset < stride and offset + size * stride >= step.shape[axis]:  # one of several phases
            times = stride // gcd(rate[0], stride)
            made.motions = {**made.motions, axis: motion.of_rate(step.shape[axis], (rate[0] * times, rate[1] * times))}
    return made


def _erased(field: Intervals, step: reads.Erase) -> Intervals:
    """The same of a field that is kept by rows."""
    assert field.places is not None
    places, lo, hi = list(field.places), field.lo, field.hi
    gone = np.ones((1,) * field.rank, dtype=bool)
    for axis, size, offset, stride in step.box:
        inside = np.zeros(step.shape[axis], dtype=np.int64)
        inside[offset : offset + (size - 1) * stride + 1 : stride] = 1
        places[axis] = 2 * rows_of(field, axis) + inside  # each row, outside and inside
        marked = np.tile([False, True], lo.shape[axis])
        gone = gone & marked.reshape([-1 if k == axis else 1 for k in range(field.rank)])
        lo, hi = lo.repeat(2, axis), hi.repeat(2, axis)
    cut = [2 if axis in {axis for axis, *_ in step.box} else 1 for axis in range(field.rank)]
    motions = motion.veiled(field.motions, cut, field.shape)
    made = tidy(field.shape, np.where(gone, NOTHING, lo), np.where(gone, -NOTHING, hi), places, motions)
    return shrunk(made)


def _without(field: Intervals, gone: Array) -> Intervals:
    """The field with the marked elements seeing nothing; along axes where the mark varies, no pattern repeats."""
    gone = gone.reshape((1,) * (field.rank - gone.ndim) + gone.shape)
    field = field.opened([axis for axis, extent in enumerate(gone.shape) if extent > 1])
    lo, hi = np.where(gone, NOTHING, field.lo), np.where(gone, -NOTHING, field.hi)
    return shrunk(Intervals(field.shape, lo, hi, motion.veiled(field.motions, gone.shape, field.shape), field.places))


def _contract(field: Intervals, mask: Array) -> Intervals:
    field = field.opened()
    mask = mask.reshape((1,) * (field.rank - mask.ndim) + mask.shape)
    gone = mask[..., None]
    lo = np.where(gone, NOTHING, field.lo[..., None, :, :]).min(axis=-2)
    hi = np.where(gone, -NOTHING, field.hi[..., None, :, :]).max(axis=-2)
    return contracted(field, mask.shape, lo, hi)


def contracted(field: Intervals, mask: tuple[int, ...], lo: Array, hi: Array) -> Intervals:
    """The field after its axis -2 was contracted to these ends against a mask of that shape."""
    last = field.rank - 1
    shape = _resized(field.shape, last - 1, mask[-2])
    kept = motion.veiled(field.motions, (*mask[:-2], 2, 1), shape)
    return shrunk(Intervals(shape, lo, hi, kept))


def _prefix(field: Intervals, step: reads.Prefix) -> Intervals:
    if not field.depends(step.axis):
        return field
    lo, hi = _whole_axis(field, step.axis)
    turn = (*(slice(None),) * step.axis, slice(None, None, -1 if step.reverse else 1))
    low = np.minimum.accumulate(lo[turn], step.axis)[turn]
    high = np.maximum.accumulate(hi[turn], step.axis)[turn]
    return _at_rate(field, step.axis, field.shape[step.axis], low, high, None)


def _group(field: Intervals, step: reads.Group) -> Intervals:
    axis, shape = step.axis, _resized(field.shape, step.axis, step.out)
    field = field.opened([axis])
    motions = {key: moved for key, moved in field.motions.items() if key != axis}
    if step.groups > 1 and axis in field.motions:
        motions |= motion.grouped(axis, field.motions[axis], step.groups, step.out)
    if field.lo.shape[axis] == 1:
        return Intervals(shape, field.lo, field.hi, motions, field.places)
    split = (*field.lo.shape[:axis], step.groups, -1, *field.lo.shape[axis + 1 :])
    lo, hi = field.lo.reshape(split).min(axis + 1), field.hi.reshape(split).max(axis + 1)
    if step.groups > 1:
        lo, hi = (np.repeat(part, step.out // step.groups, axis) for part in (lo, hi))
    return Intervals(shape, lo, hi, motions, field.places)


def reduce(field: Intervals, axes: Sequence[int]) -> Intervals:
    """Everything along the axes is seen; they keep extent 1."""
    lo, hi = field.lo, field.hi
    wide = tuple(axis for axis in axes if lo.shape[axis] > 1)
    if wide:
        lo, hi = lo.min(axis=wide, keepdims=True), hi.max(axis=wide, keepdims=True)
    shape = tuple(1 if axis in axes else extent for axis, extent in enumerate(field.shape))
    motions = {axis: moved for axis, moved in field.motions.items() if axis not in axes}
    if field.places is None:
        return Intervals(shape, lo, hi, motions)
    return tidy(shape, lo, hi, [None if axis in axes else place for axis, place in enumerate(field.places)], motions)


def _permute(field: Intervals, axes: Sequence[int]) -> Intervals:
    motions = {axes.index(axis): moved for axis, moved in field.motions.items()}
    shape, places = tuple([field.shape[axis] for axis in axes]), field.places and tuple([field.places[k] for k in axes])
    return Intervals(shape, field.lo.transpose(axes), field.hi.transpose(axes), motions, places)


def _reshape(field: Intervals, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> Intervals:
    if 0 in shape_in or 0 in shape_out:
        nothing = np.full((1,) * len(shape_out), NOTHING, dtype=np.int64)
        return Intervals(tuple(shape_out), nothing, -nothing, {})
    wide, extents, runs = regrouped(field.extents, shape_in, shape_out)
    if field.places is not None:
        if not runs:
            return _with_other_axes(field, shape_in, shape_out)
        field = field.opened()
    lo, hi = spread(field.lo, wide).reshape(extents), spread(field.hi, wide).reshape(extents)
    made = Intervals(tuple(shape_out), lo, hi, motion.after_reshape(field.extents, field.motions, shape_in, shape_out))
    return shrunk(made, [axis for _, right in runs for axis in right]) if runs else made


def _with_other_axes(field: Intervals, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> Intervals:
    """After a reshape that leaves all axes that matter alone, of a field that is kept by rows."""
    assert field.places is not None
    kinds = regrouped(field.lo.shape, shape_in, shape_out)[1]
    places: list[Array | None] = [None] * len(shape_out)
    for left, right in runs_of(shape_in, shape_out):
        if len(left) == len(right) == 1:
            places[right[0]] = field.places[left[0]]
    motions = motion.after_reshape(field.extents, field.motions, shape_in, shape_out)
    return Intervals(tuple(shape_out), field.lo.reshape(kinds), field.hi.reshape(kinds), motions, tuple(places))


def spread(array: Array, extents: tuple[int, ...]) -> Array:
    """The array broadcast to these extents, which most have already."""
    return array if array.shape == extents else np.broadcast_to(array, extents)


@lru_cache(maxsize=4096)
def regrouped(
    extents: tuple[int, ...], shape_in: tuple[int, ...], shape_out: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[list[int], list[int]]]]:
    """The extents that an array takes for a reshape, those after it, and the axes that matter and are split or merged.

    An axis of extent 1 in the array stays so where the reshape leaves it alone.
    """
    wide, after = list(extents), [1] * len(shape_out)
    mixed = []
    for left, right in runs_of(shape_in, shape_out):
        if len(left) == len(right) == 1:
            after[right[0]] = extents[left[0]]
        elif any(extents[axis] > 1 for axis in left):
            mixed.append((left, right))
            for axis in left:
                wide[axis] = shape_in[axis]
            for axis in right:
                after[axis] = shape_out[axis]
    return tuple(wide), tuple(after), mixed


def apply(field: Intervals, step: reads.Step, masks: Mapping[int, Array], *, free: bool) -> Intervals:
    """The field after one step."""
    match step:
        case reads.Window():
            return _window(field, step, free)
        case reads.Transposed():
            return _transposed(field, step, free)
        case reads.Spans():
            return _spans(field, step, free)
        case reads.Reduce(axes):
            return reduce(field, axes)
        case reads.Group():
            return _group(field, step)
        case reads.Reshape(shape_in, shape_out):
            return _reshape(field, shape_in, shape_out)
        case reads.Permute(axes):
            return _permute(field, axes)
        case reads.Slice(axis, start, stride, out):
            index = start + stride * np.arange(out)
            return (field.places is None and _unchanging(field, axis, out, None)) or _take(field, axis, index)
        case reads.Take(axis, indices):
            return _take(field, axis, np.asarray(indices, dtype=np.int64))
        case reads.Pad():
            return _pad(field, step, free)
        case reads.Place(axis, size, _, out):
            part = {axis: out} if size < out and not field.depends(axis) else {}
            return _place(_written(field, part) if part else field, step, free and step.step > 1)
        case reads.Erase(shape, box):
            return _erase(_written(field, {axis: shape[axis] for axis, *_ in box}), step)
        case reads.Prefix():
            return _prefix(field, step)
        case reads.Blocked(mask):
            return _without(field, masks[mask])
        case reads.Contract(mask):
            return _contract(field, masks[mask])
    raise TypeError(f"unknown step {step!r}")


def place_alone(field: Intervals, step: reads.Place) -> Intervals:
    """Placing the only tensor that is read among constants is padding, so the free pattern goes on beyond it."""
    return _place(field, step, free=True)
