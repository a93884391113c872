"""Ops that move elements: shapes, parts, padding, places, resizing, and the constants that shapes are made of."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from rfcalc.sources.onnx.dtypes import TORCH
from rfcalc.sources.tflite.rules import Op, as_onnx, channels_first, channels_last, ints, one, rule

T = torch.Tensor


def _i64(numbers: Sequence[int]) -> T:
    return torch.tensor(list(numbers), dtype=torch.int64)


# --- shapes -----------------------------------------------------------------------------------------------------------


@rule("SHAPE")
def shape(op: Op, x: T) -> T:
    """The extents."""
    return torch.tensor(list(x.shape), dtype=op.dtype)


@rule("RANK")
def rank(op: Op, x: T) -> T:
    """How many axes there are."""
    return torch.tensor(x.ndim, dtype=op.dtype)


@rule("RESHAPE", moves=True)
def reshape(op: Op, x: T, to: T | None = None) -> T:
    """The same elements in another shape; -1 is worked out."""
    wanted = ints(to) if to is not None else list(op.get("NewShape", []))
    if to is None and wanted == [0]:  # how old files write a single number
        wanted = []
    return as_onnx("Reshape", x, _i64(wanted), allowzero=1)


@rule("SQUEEZE", moves=True)
def squeeze(op: Op, x: T) -> T:
    """Without axes of one element."""
    axes = op.get("SqueezeDims") or None
    return as_onnx("Squeeze", x, None if axes is None else _i64(axes))


@rule("EXPAND_DIMS", moves=True)
def expand_dims(op: Op, x: T, axis: T) -> T:
    """With a new axis of one element."""
    return torch.unsqueeze(x, int(one(axis)))


@rule("TRANSPOSE", moves=True)
def transpose(op: Op, x: T, order: T) -> T:
    """The axes in another order."""
    return x.permute(*ints(order))


@rule("BROADCAST_TO", moves=True)
def broadcast_to(op: Op, x: T, to: T) -> T:
    """Repeated to a shape."""
    return x.expand(*ints(to))


@rule("BROADCAST_ARGS")
def broadcast_args(op: Op, x: T, y: T) -> T:
    """The shape that two shapes are broadcast to."""
    return torch.tensor(list(torch.broadcast_shapes(tuple(ints(x)), tuple(ints(y)))), dtype=x.dtype)


@rule("TILE", moves=True)
def tile(op: Op, x: T, times: T) -> T:
    """Repeated along axes."""
    return x.repeat(*ints(times))


# --- parts ------------------------------------------------------------------------------------------------------------


@rule("CONCATENATION", moves=True)
def concatenation(op: Op, *inputs: T) -> T:
    """Beside each other."""
    return torch.cat(inputs, int(op.get("Axis", 0)))


@rule("PACK", moves=True)
def pack(op: Op, *inputs: T) -> T:
    """Beside each other along a new axis."""
    return torch.stack(inputs, int(op.get("Axis", 0)))


@rule("UNPACK", moves=True)
def unpack(op: Op, x: T) -> tuple[T, ...]:
    """The slices of an axis."""
    return torch.unbind(x, int(op.get("Axis", 0)))


@rule("SPLIT", moves=True)
def split(op: Op, axis: T, x: T) -> tuple[T, ...]:
    """Equal parts of an axis."""
    at, count = int(one(axis)), int(op.get("NumSplits", 1))
    return torch.split(x, x.shape[at] // count, at)


@rule("SPLIT_V", moves=True)
def split_v(op: Op, x: T, sizes: T, axis: T) -> tuple[T, ...]:
    """Parts of given sizes of an axis; -1 is what is left."""
    at, wanted = int(one(axis)), ints(sizes)
    if -1 in wanted:
        wanted[wanted.index(-1)] = x.shape[at] - sum(size for size in wanted if size != -1)
    return torch.split(x, wanted, at)


@rule("SLICE", moves=True)
def slice_(op: Op, x: T, begin: T, size: T) -> T:
    """A part of each axis; a size of -1 is all from there on."""
    for axis, (first, length) in enumerate(zip(ints(begin), ints(size), strict=True)):
        x = x.narrow(axis, first, x.shape[axis] - first if length == -1 else length)
    return x


@rule("STRIDED_SLICE", moves=True)
def strided_slice(op: Op, x: T, begin: T, end: T, strides: T) -> T:
    """Parts of axes in steps; bits of masks say which ends are open, which axes go, and where new ones come."""
    firsts, lasts, steps = ints(begin), ints(end), ints(strides)

    def masked(name: str, at: int) -> bool:
        return bool(int(op.get(name, 0)) >> at & 1)

    spare = x.ndim - sum(not masked("NewAxisMask", at) for at in range(len(firsts)))
    axis, gone = 0, []
    for at, (first, last, step) in enumerate(zip(firsts, lasts, steps, strict=True)):
        if masked("EllipsisMask", at):
            axis += spare + 1
            continue
        if masked("NewAxisMask", at):
            x = torch.unsqueeze(x, axis)
            axis += 1
            continue
        if masked("ShrinkAxisMask", at):
            place = first + x.shape[axis] if first < 0 else first
            x = x.narrow(axis, place, 1)
            gone.append(axis)
            axis += 1
            continue
        if op.get("Offset", False):
            last = first + last
        low = None if masked("BeginMask", at) else first
        high = None if masked("EndMask", at) else last
        chosen = range(x.shape[axis])[slice(low, high, step)]
        if step > 0:
            whole = len(chosen) == x.shape[axis]
            x = x if whole else x[(slice(None),) * axis + (slice(chosen.start, chosen.stop, step),)]
        else:
            x = x.index_select(axis, _i64(list(chosen)).to(x.device))
        axis += 1
    for axis in reversed(gone):
        x = x.squeeze(axis)
    return x


@rule("REVERSE_V2", moves=True)
def reverse(op: Op, x: T, axes: T) -> T:
    """Axes backwards."""
    return torch.flip(x, ints(axes))


@rule("REVERSE_SEQUENCE", moves=True)
def reverse_sequence(op: Op, x: T, lengths: T) -> T:
    """The first elements of each sequence backwards."""
    settings = {"batch_axis": op.get("BatchDim", 0), "time_axis": op.get("SeqDim", 0)}
    return as_onnx("ReverseSequence", x, lengths, **settings)


# --- padding ----------------------------------------------------------------------------------------------------------


def _pads(pads: T) -> T:
    rows = pads.reshape(-1, 2)
    return torch.cat([rows[:, 0], rows[:, 1]])


@rule("PAD", moves=True)
def pad(op: Op, x: T, pads: T) -> T:
    """Zeros before and after, or the whole number that stands for zero."""
    held = op.tensors[0]
    zero = held.scale.zeros[0] if held is not None and held.scale is not None and not x.is_floating_point() else 0
    return as_onnx("Pad", x, _pads(pads), torch.tensor(zero))


@rule("PADV2", moves=True)
def pad_v2(op: Op, x: T, pads: T, value: T) -> T:
    """A number before and after."""
    return as_onnx("Pad", x, _pads(pads), value)


@rule("MIRROR_PAD", moves=True)
def mirror_pad(op: Op, x: T, pads: T) -> T:
    """Mirrored elements before and after, without those of the border or with them."""
    if not op.get("Mode", 0):
        return as_onnx("Pad", x, _pads(pads), mode="reflect")
    for axis, (before, after) in enumerate(pads.reshape(-1, 2).tolist()):
        extent = x.shape[axis]
        places = [*range(before - 1, -1, -1), *range(extent), *range(extent - 1, extent - 1 - after, -1)]
        x = x if len(places) == extent else x.index_select(axis, _i64(places).to(x.device))
    return x


# --- blocks -----------------------------------------------------------------------------------------------------------


@rule("SPACE_TO_DEPTH", moves=True)
def space_to_depth(op: Op, x: T) -> T:
    """Positions become channels."""
    return channels_last(as_onnx("SpaceToDepth", channels_first(x), blocksize=op.get("BlockSize")))


@rule("DEPTH_TO_SPACE", moves=True)
def depth_to_space(op: Op, x: T) -> T:
    """Channels become positions."""
    return channels_last(as_onnx("DepthToSpace", channels_first(x), blocksize=op.get("BlockSize")))


@rule("SPACE_TO_BATCH_ND", moves=True)
def space_to_batch(op: Op, x: T, block: T, pads: T) -> T:
    """Positions become samples: every so many of each axis, after padding with zeros."""
    sizes, rest = ints(block), x.ndim - 1 - len(ints(block))
    around = [0, 0, *pads.flatten().tolist(), *[0, 0] * rest]
    held = op.tensors[0]
    zero = held.scale.zeros[0] if held is not None and held.scale is not None and not x.is_floating_point() else 0
    x = as_onnx("Pad", x, _pads(_i64(around)), torch.tensor(zero))
    axes = [n for extent, size in zip(x.shape[1:], sizes, strict=False) for n in (extent // size, size)]
    tail = list(x.shape[1 + len(sizes) :])
    parts = x.reshape(x.shape[0], *axes, *tail)
    count = len(sizes)
    order = [2 + 2 * at for at in range(count)] + [0] + [1 + 2 * at for at in range(count)]
    order += list(range(1 + 2 * count, parts.ndim))
    return parts.permute(*order).reshape(-1, *axes[::2], *tail)


@rule("BATCH_TO_SPACE_ND", moves=True)
def batch_to_space(op: Op, x: T, block: T, crops: T) -> T:
    """Samples become positions, and what was padding is cut."""
    sizes = ints(block)
    count, batch = len(sizes), x.shape[0] // prod(ints(block))
    tail = list(x.shape[1 + count :])
    parts = x.reshape(*sizes, batch, *x.shape[1:])
    order = [count] + [n for at in range(count) for n in (count + 1 + at, at)]
    order += list(range(2 * count + 1, parts.ndim))
    extents = [n * size for n, size in zip(x.shape[1:], sizes, strict=False)]
    found = parts.permute(*order).reshape(batch, *extents, *tail)
    for at, (before, after) in enumerate(crops.reshape(-1, 2).tolist()):
        if before or after:
            found = found.narrow(1 + at, before, extents[at] - before - after)
    return found


# --- resizing ---------------------------------------------------------------------------------------------------------


def _resized(op: Op, x: T, sizes: T, mode: str, usual: str, rounding: str) -> T:
    first = channels_first(x)
    how = usual
    if op.get("AlignCorners", False):
        how, rounding = "align_corners", "round_prefer_ceil"
    elif op.get("HalfPixelCenters", False):
        how = "half_pixel" if mode == "linear" else "tf_half_pixel_for_nn"
    to = _i64([*first.shape[:2], *ints(sizes)])
    found = as_onnx(
        "Resize", first, None, None, to, mode=mode, coordinate_transformation_mode=how, nearest_mode=rounding
    )
    return channels_last(found)


@rule("RESIZE_BILINEAR")
def resize_bilinear(op: Op, x: T, sizes: T) -> T:
    """Height and width resized, between two elements of each axis."""
    return _resized(op, x, sizes, "linear", "asymmetric", "floor")


@rule("RESIZE_NEAREST_NEIGHBOR", moves=True)
def resize_nearest(op: Op, x: T, sizes: T) -> T:
    """Height and width resized, the nearest element."""
    return _resized(op, x, sizes, "nearest", "asymmetric", "floor")


# --- places -----------------------------------------------------------------------------------------------------------


@rule("GATHER", moves=True)
def gather(op: Op, x: T, index: T) -> T:
    """Slices of an axis, one for each index; after ``BatchDims`` axes that both share."""
    batch, axis = int(op.get("BatchDims", 0)), int(op.get("Axis", 0))
    if not batch:
        return as_onnx("Gather", x, index, axis=axis)
    inner = Op(op.type, 99, {"Axis": axis % x.ndim - 1, "BatchDims": batch - 1})
    return torch.stack([gather(inner, x[at], index[at]) for at in range(x.shape[0])])


@rule("GATHER_ND", moves=True)
def gather_nd(op: Op, x: T, index: T) -> T:
    """Slices, one for each row of indices into the first axes."""
    return as_onnx("GatherND", x, index)


@rule("EMBEDDING_LOOKUP")
def embedding_lookup(op: Op, index: T, table: T) -> T:
    """Rows of a table."""
    return as_onnx("Gather", table, index)


@rule("SCATTER_ND", moves=True)
def scatter_nd(op: Op, index: T, updates: T, to: T) -> T:
    """Slices at rows of indices, added up, zeros elsewhere."""
    start = torch.zeros(ints(to), dtype=updates.dtype, device=updates.device)
    return as_onnx("ScatterND", start, index, updates, reduction="add")


@rule("SPARSE_TO_DENSE", moves=True)
def sparse_to_dense(op: Op, index: T, to: T, values: T, default: T) -> T:
    """Numbers at given places, one number elsewhere."""
    start = torch.full(ints(to), one(default), dtype=values.dtype, device=values.device)
    rows = index.reshape(-1, 1) if index.ndim < 2 else index
    return as_onnx("ScatterND", start, rows, values.expand(rows.shape[0]))


@rule("DYNAMIC_UPDATE_SLICE", moves=True)
def dynamic_update_slice(op: Op, x: T, update: T, start: T) -> T:
    """A block written from a place on, which is moved so that it fits."""
    first = [min(max(at, 0), n - m) for at, n, m in zip(ints(start), x.shape, update.shape, strict=True)]
    part: Any = tuple(slice(at, at + m) for at, m in zip(first, update.shape, strict=True))
    found = x.clone()
    found[part] = update
    return found


@rule("ONE_HOT", moves=True)
def one_hot(op: Op, index: T, depth: T, on: T, off: T) -> T:
    """One value where the index is, another elsewhere, along a new axis."""
    axis = int(op.get("Axis", -1))
    return as_onnx("OneHot", index, depth, torch.stack([off.reshape(()), on.reshape(())]), axis=axis)


@rule("MATRIX_DIAG", moves=True)
def matrix_diag(op: Op, x: T) -> T:
    """Matrices with the last axis as their diagonal."""
    return torch.diag_embed(x)


@rule("MATRIX_SET_DIAG", moves=True)
def matrix_set_diag(op: Op, x: T, diagonal: T) -> T:
    """Matrices with another diagonal."""
    rows, columns = x.shape[-2:]
    where = torch.arange(rows, device=x.device)[:, None] == torch.arange(columns, device=x.device)
    size = min(rows, columns)
    spread = torch.zeros_like(x)
    spread[..., :size, :size] = torch.diag_embed(diagonal[..., :size])
    return torch.where(where, spread, x)


# --- constants --------------------------------------------------------------------------------------------------------


@rule("FILL", moves=True)
def fill(op: Op, to: T, value: T) -> T:
    """One number in every place."""
    return value.reshape(()).expand(*ints(to)).clone()


@rule("ZEROS_LIKE")
def zeros_like(op: Op, x: T) -> T:
    """Zeros of the same shape."""
    return torch.zeros_like(x)


@rule("RANGE")
def range_(op: Op, start: T, limit: T, delta: T) -> T:
    """Numbers from one to another in steps."""
    return torch.arange(one(start), one(limit), one(delta), dtype=TORCH[op.results[0].data_type])
