"""Ops that move elements: shapes, slices, padding, and the constants that shapes are made of."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.onnx.dtypes import TORCH
from rfcalc.sources.onnx.rules import Op, axes_of, forward_axes, ints, one, rule

T = torch.Tensor


# --- shapes -----------------------------------------------------------------------------------------------------------


@rule("Shape")
def shape(op: Op, x: T) -> T:
    """The extents, or some of them."""
    return torch.tensor(list(x.shape)[op.get("start", 0) : op.get("end", None)], dtype=torch.int64)


@rule("Size")
def size(op: Op, x: T) -> T:
    """How many elements there are."""
    return torch.tensor(x.numel(), dtype=torch.int64)


@rule("Reshape")
def reshape(op: Op, x: T, to: T | None = None) -> T:
    """The same elements in another shape; -1 is worked out, 0 copies an extent."""
    wanted = ints(to if to is not None else op.get("shape"))
    if not op.get("allowzero", 0):
        wanted = [x.shape[at] if extent == 0 else extent for at, extent in enumerate(wanted)]
    if -1 in wanted:
        known = prod(extent for extent in wanted if extent != -1)
        if known == 0 or x.numel() % known:
            raise ValueError(f"{x.numel()} elements do not fit into {'x'.join(map(str, wanted))}")
        wanted[wanted.index(-1)] = x.numel() // known
    elif prod(wanted) != x.numel():
        raise ValueError(f"{x.numel()} elements do not fit into {'x'.join(map(str, wanted))}")
    return x.reshape(wanted)


@rule("Flatten")
def flatten(op: Op, x: T) -> T:
    """A matrix: the axes before one, and the others."""
    axis = op.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1 and x.ndim > 1:
        return torch.flatten(x, 1)
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


@rule("Squeeze")
def squeeze(op: Op, x: T, axes: T | None = None) -> T:
    """Without axes of one element."""
    chosen = axes_of(op, axes)
    gone = [at for at, n in enumerate(x.shape) if n == 1] if chosen is None else forward_axes(chosen, x.ndim)
    if any(x.shape[at] != 1 for at in gone):
        raise ValueError(f"axes {gone} of {tuple(x.shape)} are not all of one element")
    return x.reshape([n for at, n in enumerate(x.shape) if at not in gone])


@rule("Unsqueeze")
def unsqueeze(op: Op, x: T, axes: T | None = None) -> T:
    """With new axes of one element."""
    chosen = axes_of(op, axes) or []
    for at in sorted(forward_axes(chosen, x.ndim + len(chosen))):
        x = torch.unsqueeze(x, at)
    return x


@rule("Transpose")
def transpose(op: Op, x: T) -> T:
    """The axes in another order, backwards without one."""
    order = op.get("perm")
    return x.permute(*(order if order is not None else range(x.ndim - 1, -1, -1)))


@rule("Expand")
def expand(op: Op, x: T, to: T) -> T:
    """Broadcast, both ways."""
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(ints(to))))


@rule("Tile")
def tile(op: Op, x: T, repeats: T, axis: T | None = None) -> T:
    """Repeated along axes."""
    if axis is not None:  # before opset 6: so many tiles along one axis
        times = [1] * x.ndim
        times[int(one(axis))] = int(one(repeats))
        return x.repeat(*times)
    return x.repeat(*ints(repeats))


# --- parts ------------------------------------------------------------------------------------------------------------


@rule("Concat")
def concat(op: Op, *inputs: T) -> T:
    """Beside each other."""
    return inputs[0] if len(inputs) == 1 else torch.cat(inputs, op.get("axis", 1))


@rule("Split")
def split(op: Op, x: T, sizes: T | None = None) -> tuple[T, ...]:
    """Parts along an axis: of given sizes, or equal ones, of which the last may be smaller."""
    axis = op.get("axis", 0)
    given = ints(sizes) if sizes is not None else op.get("split")
    if given is None:
        count = op.get("num_outputs", op.outputs)
        each = -(-x.shape[axis] // count)
        given = [max(0, min(each, x.shape[axis] - at * each)) for at in range(count)]
    return torch.split(x, list(given), axis)


@rule("Slice")
def slice_(op: Op, x: T, starts: T | None = None, ends: T | None = None, axes: T | None = None, steps: Any = None) -> T:
    """Parts of axes, also backwards."""
    begin, end = (ints(v) if v is not None else ints(op.get(n)) for v, n in ((starts, "starts"), (ends, "ends")))
    chosen = axes_of(op, axes)
    chosen = forward_axes(chosen if chosen is not None else list(range(len(begin))), x.ndim)
    by = ints(steps) if steps is not None else [1] * len(begin)
    for axis, first, last, step in zip(chosen, begin, end, by, strict=True):
        extent = x.shape[axis]
        range_ = range(extent)[slice(first, _end(last, extent, step), step)]
        if step > 0:
            whole = len(range_) == extent
            x = x if whole else x[(slice(None),) * axis + (slice(range_.start, range_.stop, step),)]
        else:
            taken = torch.tensor(list(range_), dtype=torch.int64, device=x.device)
            whole = step == -1 and len(range_) == extent
            x = torch.flip(x, [axis]) if whole else x.index_select(axis, taken)
    return x


def _end(last: int, extent: int, step: int) -> int | None:
    """An end as Python has it: one before the beginning is none."""
    return None if step < 0 and last < -extent else last


_PADDING = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@rule("Pad")
def pad(op: Op, x: T, pads: T | None = None, value: T | None = None, axes: T | None = None) -> T:
    """More elements before and after: a number, mirrored ones, those of the border, or those of the other end.

    Negative numbers cut.
    """
    given = ints(pads if pads is not None else op.get("pads", op.get("paddings")))
    chosen = forward_axes(ints(axes), x.ndim) if axes is not None else list(range(x.ndim))
    before, after = [0] * x.ndim, [0] * x.ndim
    for at, axis in enumerate(chosen):
        before[axis], after[axis] = given[at], given[at + len(chosen)]
    number = one(value) if value is not None and value.numel() else op.get("value", 0)
    return padded(x, before, after, op.get("mode", "constant"), number)


def padded(x: T, before: Sequence[int], after: Sequence[int], mode: str = "constant", number: float = 0) -> T:
    """The tensor with so many elements more on every axis."""
    for axis, (first, last) in enumerate(zip(before, after, strict=True)):
        cut = max(0, -first), max(0, -last)
        if any(cut):
            x = x.narrow(axis, cut[0], x.shape[axis] - sum(cut))
    grown = [max(0, n) for n in before], [max(0, n) for n in after]
    wanted = [at for at in range(x.ndim) if grown[0][at] or grown[1][at]]
    if not wanted:
        return x
    how = _PADDING[mode]
    spatial = x.ndim - min(wanted)
    fits = how == "constant" or (2 <= x.ndim <= 5 and spatial <= x.ndim - 2 and spatial <= 3)
    if fits and (how == "constant" or x.is_floating_point()):
        rank = spatial if how == "constant" else x.ndim - 2
        flat = [n for at in range(x.ndim - 1, x.ndim - 1 - rank, -1) for n in (grown[0][at], grown[1][at])]
        if how == "constant":
            kept = x.to(torch.uint8) if x.dtype == torch.bool else x
            return functional.pad(kept, flat, "constant", number).to(x.dtype)
        return functional.pad(x, flat, how)
    for axis in wanted:
        places = _places(x.shape[axis], grown[0][axis], grown[1][axis], mode)
        x = x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))
    return x


def _places(extent: int, before: int, after: int, mode: str) -> list[int]:
    """For each element of a padded axis, the one that it copies."""
    every = range(-before, extent + after)
    if mode == "edge":
        return [min(max(at, 0), extent - 1) for at in every]
    if mode == "wrap":
        return [at % extent for at in every]
    turn = max(1, 2 * (extent - 1))
    return [min(at % turn, turn - at % turn) % max(extent, 1) for at in every]


@rule("CenterCropPad")
def center_crop_pad(op: Op, x: T, to: T) -> T:
    """The middle of axes cut, or padded with zeros, to given extents."""
    wanted = ints(to)
    chosen = forward_axes(op.get("axes", list(range(x.ndim))), x.ndim)
    before, after = [0] * x.ndim, [0] * x.ndim
    for axis, extent in zip(chosen, wanted, strict=True):
        more = extent - x.shape[axis]
        first = more // 2 if more > 0 else -((-more) // 2)
        before[axis], after[axis] = first, more - first
    return padded(x, before, after)


@rule("DepthToSpace")
def depth_to_space(op: Op, x: T) -> T:
    """Channels become positions."""
    block, (n, c, h, w) = op.get("blocksize"), x.shape
    if op.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, block)
    parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // block**2, h * block, w * block)


@rule("SpaceToDepth")
def space_to_depth(op: Op, x: T) -> T:
    """Positions become channels."""
    block, (n, c, h, w) = op.get("blocksize"), x.shape
    if op.get("mode", "DCR") == "CRD":
        return functional.pixel_unshuffle(x, block)
    parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * block**2, h // block, w // block)


@rule("ReverseSequence")
def reverse_sequence(op: Op, x: T, lengths: T) -> T:
    """The first elements of each sequence backwards, as many as it is long."""
    batch, time = op.get("batch_axis", 1), op.get("time_axis", 0)
    rows = []
    for at, length in enumerate(ints(lengths)):
        row = x.select(batch, at)
        axis = time - (time > batch)
        head = torch.flip(row.narrow(axis, 0, length), [axis])
        rows.append(torch.cat([head, row.narrow(axis, length, row.shape[axis] - length)], axis))
    return torch.stack(rows, batch)


@rule("Trilu")
def trilu(op: Op, x: T, k: T | None = None) -> T:
    """A triangle of matrices, zeros else."""
    offset = int(one(k)) if k is not None else 0
    return torch.triu(x, offset) if op.get("upper", 1) else torch.tril(x, offset)


# --- constants --------------------------------------------------------------------------------------------------------


@rule("Constant")
def constant(op: Op) -> T:
    """The numbers of an attribute."""
    for name, dtype in (
        ("value", None),
        ("value_float", torch.float32),
        ("value_floats", torch.float32),
        ("value_int", torch.int64),
        ("value_ints", torch.int64),
    ):
        held = op.get(name)
        if held is not None:
            return held if dtype is None else torch.tensor(held, dtype=dtype)
    raise ValueError(f"a constant of {', '.join(op.attributes) or 'nothing'}, not of numbers")


@rule("ConstantOfShape")
def constant_of_shape(op: Op, to: T) -> T:
    """One number in every place."""
    value = op.get("value")
    dtype = torch.float32 if value is None else value.dtype
    return torch.full(ints(to), 0 if value is None else one(value), dtype=dtype)


@rule("Range")
def range_(op: Op, start: T, limit: T, delta: T) -> T:
    """Numbers from one to another in steps."""
    return torch.arange(one(start), one(limit), one(delta), dtype=start.dtype)


@rule("EyeLike")
def eye_like(op: Op, x: T) -> T:
    """Ones on a diagonal."""
    dtype = TORCH[op.get("dtype")] if op.get("dtype") is not None else x.dtype
    rows, columns = x.shape
    across = torch.arange(columns, device=x.device) - torch.arange(rows, device=x.device)[:, None]
    return (across == op.get("k", 0)).to(dtype)
