"""Movement of elements: views, reshapes, permutations, slices, repetition, splitting and joining. All of it is free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rfcalc.ops import _masks
from rfcalc.ops._movement import moved, permute_steps, reshape_steps, select_steps, slice_steps
from rfcalc.ops.common import align, positive
from rfcalc.ops.pointwise import aten, joins
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Blocked, Erase, Pad, Permute, Place, Reduce, Reshape, Slice, Step, Steps, Take

#: A view by strides with more elements than this is not followed element by element.
LARGEST_VIEW = 1 << 20

# --- views ------------------------------------------------------------------------------------------------------------


@rule(
    *aten(
        """reshape _unsafe_view _reshape_alias _reshape_copy flatten unflatten ravel view_as reshape_as squeeze
        squeeze_ squeeze_copy unsqueeze unsqueeze_ unsqueeze_copy"""
    )
)
def reshape(call: Call) -> Effect:
    """The same elements under another shape: one element; free."""
    x: Arg = call["self"]
    return moved(x, reshape_steps(x.shape, call.out.shape))


@rule("aten.atleast_1d", "aten.atleast_2d", "aten.atleast_3d")
def at_least(call: Call) -> Effect:
    """Axes of extent 1 added where some are missing: one element; free."""
    tensors = tuple(call.tensors())
    return _each(tensors, [reshape_steps(x.shape, out.shape) for x, out in zip(tensors, call.outs, strict=True)])


@rule("aten.view", "aten.view_copy")
def view(call: Call) -> Effect:
    """The same memory under another shape or dtype: the element, or the elements that share its bytes; free."""
    x: Arg = call["self"]
    return reshape(call) if call["dtype"] is None else _reinterpreted(x, call.out.shape)


@rule("aten.view_as_real", "aten.view_as_complex", "aten.view_as_real_copy", "aten.view_as_complex_copy")
def reinterpret(call: Call) -> Effect:
    """Complex numbers as pairs or pairs as complex numbers: one complex number; free."""
    return _reinterpreted(call["self"], call.out.shape)


def _reinterpreted(x: Arg, out: Sequence[int]) -> Effect:
    """Elements whose bytes are read as another dtype: several become one, or one becomes several."""
    if x.shape == tuple(out):
        return Effect("reshape", [(x, ())], zero=x.zero)
    steps: list[Step] = []
    if len(out) < x.ndim:
        steps = [Reduce((x.ndim - 1,)), Reshape((*x.shape[:-1], 1), x.shape[:-1])]
    elif len(out) > x.ndim:
        steps = [Reshape(x.shape, (*x.shape, 1))]
    elif out[-1] > x.shape[-1]:
        steps = [Take(x.ndim - 1, tuple(u * x.shape[-1] // out[-1] for u in range(out[-1])))]
    else:
        pairs = (*out, x.shape[-1] // out[-1])
        steps = [Reshape(x.shape, pairs), Reduce((x.ndim,)), Reshape((*out, 1), tuple(out))]
    return Effect("reshape", [(x, tuple(steps))])


@rule("aten.real", "aten.imag")
def part(call: Call) -> Effect:
    """The real or imaginary part: one position; free."""
    return Effect("reshape", [(call["self"], ())], zero=call["self"].zero)


@rule("aten.as_strided", "aten.as_strided_", "aten.as_strided_copy")
def as_strided(call: Call) -> Effect:
    """A view by memory strides: one element; free."""
    x: Arg = call["self"]
    exact = _by_layout(x, call["size"], call["stride"], call.get("storage_offset", x.offset))
    if exact is not None:
        return moved(x, exact)
    steps = (Reduce(tuple(range(x.ndim))), *reshape_steps((1,) * x.ndim, (1,) * len(call.out.shape)))
    return moved(x, steps, inexact="as_strided reads by memory layout; every element is taken to read all")


def _by_layout(x: Arg, size: Sequence[int], strides: Sequence[int], offset: int) -> Steps | None:
    """The steps of a view by strides of a tensor that fills its memory without gaps; None of any other."""
    if x.strides is None or x.numel == 0 or 0 in size:
        return None
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis] if x.shape[axis] > 1 else 0)  # type: ignore[index]
    order.sort(key=lambda axis: x.shape[axis] == 1)
    step = 1
    for axis in reversed(order):
        if x.shape[axis] > 1 and x.strides[axis] != step:
            return None
        step *= x.shape[axis]
    wide = [(n, s) for n, s in zip(size, strides, strict=True) if n > 1]
    if offset == x.offset and wide == [(n, s) for n, s in zip(x.shape, x.strides, strict=True) if n > 1]:
        return () if tuple(size) == x.shape else (Reshape(x.shape, tuple(size)),)
    if numel(size) > LARGEST_VIEW:
        return None
    index = np.array(offset - x.offset)
    for n, s in zip(size, strides, strict=True):
        index = index[..., None] + s * np.arange(n)
    flat = index.ravel()
    if flat.min() < 0 or flat.max() >= x.numel:
        return None
    permuted = tuple(x.shape[axis] for axis in order)
    return (
        Permute(tuple(order)),
        Reshape(permuted, (x.numel,)),
        Take(0, tuple(int(at) for at in flat)),
        Reshape((len(flat),), tuple(size)),
    )


@rule("aten.diagonal", "aten.diagonal_copy", "aten.linalg_diagonal")
def diagonal(call: Call) -> Effect:
    """A diagonal of two axes: one element; free."""
    x: Arg = call["self"] if call["self"] is not None else call["A"]
    first, second = (-2, -1) if call.op == "aten.linalg_diagonal" else (0, 1)
    return _diagonal(x, call.get("offset", 0), call.get("dim1", first), call.get("dim2", second))


@rule("aten.diag_embed")
def diag_embed(call: Call) -> Effect:
    """A diagonal laid into a square: one element, nothing beside the diagonal; free."""
    return _diag_embed(call["self"], call.get("offset", 0), call.get("dim1", -2), call.get("dim2", -1))


@rule("aten.diag")
def diag(call: Call) -> Effect:
    """The diagonal of a matrix, or a matrix from its diagonal: one element; free."""
    x: Arg = call["self"]
    return (_diagonal if x.ndim == 2 else _diag_embed)(x, call.get("diagonal", 0), 0, 1)


def _diagonal(x: Arg, offset: int, dim1: int, dim2: int) -> Effect:
    first, second = dim1 % x.ndim, dim2 % x.ndim
    others = [axis for axis in range(x.ndim) if axis not in (first, second)]
    kept = tuple(x.shape[axis] for axis in others)
    rows, columns = x.shape[first], x.shape[second]
    start = offset if offset >= 0 else -offset * columns
    length = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    steps = (
        *permute_steps([*others, first, second]),
        Reshape((*kept, rows, columns), (*kept, rows * columns)),
        Slice(len(kept), start if length else 0, columns + 1, length),
    )
    return moved(x, steps)


def _diag_embed(x: Arg, offset: int, dim1: int, dim2: int) -> Effect:
    rank = x.ndim + 1
    first, second = dim1 % rank, dim2 % rank
    lead, length = x.shape[:-1], x.shape[-1]
    side = length + abs(offset)
    order = [axis for axis in range(rank) if axis not in (first, second)] + [first, second]
    steps = (
        Place(x.ndim - 1, length, offset if offset >= 0 else -offset * side, side * side, side + 1),
        Reshape((*lead, side * side), (*lead, side, side)),
        *permute_steps([order.index(axis) for axis in range(rank)]),
    )
    return moved(x, steps)


# --- order of axes ----------------------------------------------------------------------------------------------------


@rule("aten.permute", "aten.permute_copy")
def permute(call: Call) -> Effect:
    """Axes in another order: one element; free."""
    x: Arg = call["self"]
    return moved(x, permute_steps([axis % x.ndim for axis in call["dims"]]))


@rule(
    *aten(
        """transpose transpose_ transpose_copy swapaxes swapaxes_ swapdims swapdims_ t t_ t_copy numpy_T mT mH
        matrix_H adjoint"""
    )
)
def transpose(call: Call) -> Effect:
    """Two axes exchanged (numpy_T: all reversed): one element; free."""
    x: Arg = call["self"]
    order = list(range(x.ndim))
    if call.op == "aten.numpy_T":
        order.reverse()
    elif x.ndim:
        first, second = call.get("dim0", call.get("axis0", -2)), call.get("dim1", call.get("axis1", -1))
        if x.ndim > 1 or call["dim0"] is not None:
            order[first], order[second] = order[second], order[first]
    return moved(x, permute_steps(order))


@rule("aten.movedim", "aten.moveaxis")
def movedim(call: Call) -> Effect:
    """Axes moved elsewhere: one element; free."""
    x: Arg = call["self"]
    source, destination = ([axis % x.ndim for axis in _listed(call[name])] for name in ("source", "destination"))
    order = [axis for axis in range(x.ndim) if axis not in source]
    for to, axis in sorted(zip(destination, source, strict=True)):
        order.insert(to, axis)
    return moved(x, permute_steps(order))


def _listed(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


# --- repetition -------------------------------------------------------------------------------------------------------


@rule("aten.expand", "aten.expand_as", "aten.expand_copy", "aten.broadcast_to")
def expand(call: Call) -> Effect:
    """Axes of extent 1 broadcast: one element; free."""
    x: Arg = call["self"]
    return moved(x, align(x.shape, len(call.out.shape)))


@rule("aten.broadcast_tensors")
def broadcast_tensors(call: Call) -> Effect:
    """Tensors broadcast to one shape: one element of its own; free."""
    return _each(tuple(call.tensors()), [align(x.shape, len(call.out.shape)) for x in call.tensors()])


@rule("aten.meshgrid")
def meshgrid(call: Call) -> Effect:
    """Vectors broadcast to a grid: one element of its own; free."""
    tensors = tuple(call.tensors())
    swapped = call["indexing"] == "xy" and len(tensors) > 1
    ways = []
    for position, x in enumerate(tensors):
        axis = 1 - position if swapped and position < 2 else position
        ways.append(reshape_steps(x.shape, [x.numel if k == axis else 1 for k in range(len(tensors))]))
    return _each(tensors, ways)


def _each(tensors: Sequence[Arg], ways: Sequence[Steps]) -> Effect:
    """Output k reads tensor k only."""
    effects = [moved(x, steps) for x, steps in zip(tensors, ways, strict=True)]
    return replace(effects[0], reads=[effect.reads_of(0) for effect in effects])


@rule("aten.repeat", "aten.tile")
def repeat(call: Call) -> Effect:
    """Axes repeated: one element, by the index modulo the extent; free."""
    x: Arg = call["self"]
    out = call.out.shape
    steps: list[Step] = list(align(x.shape, len(out)))
    shape = (1,) * (len(out) - x.ndim) + x.shape
    for axis, (extent, wanted) in enumerate(zip(shape, out, strict=True)):
        if extent != wanted and (extent > 1 or not wanted):
            steps.append(Take(axis, tuple(u % extent for u in range(wanted))))
    return moved(x, tuple(steps))


@rule("aten.repeat_interleave")
def repeat_interleave(call: Call) -> Effect:
    """Elements repeated in place: one element (with repeats computed from data: all along the axis); free."""
    x: Arg | None = call["self"]
    repeats = call["repeats"]
    if x is None:
        return Effect("reshape", [(repeats, (Reduce((0,)),))])
    axis = 0 if call["dim"] is None else call["dim"] % x.ndim
    flat = reshape_steps(x.shape, (x.numel,)) if call["dim"] is None else ()
    rank = 1 if call["dim"] is None else x.ndim
    extent = x.numel if call["dim"] is None else x.shape[axis]
    counts = repeats.value() if isinstance(repeats, Arg) else np.array(repeats)
    if counts is None:
        count = (Reduce(tuple(range(repeats.ndim))), *reshape_steps((1,) * repeats.ndim, (1,) * rank))
        reads: list[ArgRead] = [(x, (*flat, Reduce((axis,)))), (repeats, count)]
        reason = "the repeats are computed from data; the whole axis is taken to be read"
        return Effect("reshape", reads, inexact=reason)
    indices = np.repeat(np.arange(extent), np.broadcast_to(counts.reshape(-1), (extent,)))
    found = moved(x, (*flat, Take(axis, tuple(indices.tolist()))))
    if isinstance(repeats, Arg) and repeats.reads_data:  # where an element lands follows from all the counts before
        everywhere = (Reduce(tuple(range(repeats.ndim))), *reshape_steps((1,) * repeats.ndim, (1,) * rank))
        found.reads = [[*found.reads[0], (repeats, everywhere)]]
    return found


# --- slices -----------------------------------------------------------------------------------------------------------


@rule("aten.slice", "aten.slice_copy")
def slice_(call: Call) -> Effect:
    """A slice of one axis: one element; free."""
    x: Arg = call["self"]
    axis = call.get("dim", 0) % x.ndim
    start, stop, step = slice(call["start"], call["end"], call.get("step", 1)).indices(x.shape[axis])
    return moved(x, slice_steps(x, axis, start, len(range(start, stop, step)), step))


@rule("aten.narrow", "aten.narrow_copy")
def narrow(call: Call) -> Effect:
    """A run of one axis: one element (with a start computed from data: all along the axis); free."""
    x: Arg = call["self"]
    axis = call["dim"] % x.ndim
    start = call["start"]
    if isinstance(start, Arg):
        value = start.value()
        if value is None:
            reason = "the start is computed from data; the whole axis is taken to be read"
            return Effect(
                "reshape", [(x, (Reduce((axis,)),)), (start, reshape_steps((), (1,) * x.ndim))], inexact=reason
            )
        first = int(value)
    else:
        first = start
    found = moved(x, slice_steps(x, axis, first % max(1, x.shape[axis]) if first < 0 else first, call["length"]))
    if isinstance(start, Arg) and start.reads_data:
        found.reads = [[*found.reads[0], (start, reshape_steps((), (1,) * x.ndim))]]
    return found


@rule("aten.select", "aten.select_copy")
def select(call: Call) -> Effect:
    """One index of an axis, which disappears: one element; free."""
    x: Arg = call["self"]
    return moved(x, select_steps(x, call["dim"] % x.ndim, call["index"]))


@rule("aten.unbind", "aten.unbind_copy")
def unbind(call: Call) -> Effect:
    """Every index of an axis as a tensor of its own: one element; free."""
    x: Arg = call["self"]
    axis = call.get("dim", 0) % x.ndim
    return moved(x, *(select_steps(x, axis, index) for index in range(x.shape[axis])))


@rule(
    *aten(
        """split split_copy split_with_sizes split_with_sizes_copy unsafe_split unsafe_split_with_sizes chunk
        unsafe_chunk tensor_split hsplit vsplit dsplit"""
    )
)
def split(call: Call) -> Effect:
    """An axis cut into runs: one element; free."""
    x: Arg = call["self"]
    named = {"aten.hsplit": 0 if x.ndim == 1 else 1, "aten.vsplit": 0, "aten.dsplit": 2}
    axis = named.get(call.op, call.get("dim", 0)) % x.ndim
    sizes = [out.shape[axis] for out in call.outs]
    starts = [sum(sizes[:position]) for position in range(len(sizes))]
    indices = call["indices"]
    if indices is not None:
        # Cuts need not ascend, so that runs can overlap.
        starts = [0, *(slice(index, None).indices(x.shape[axis])[0] for index in indices)]
    ways = [slice_steps(x, axis, start, size) for start, size in zip(starts, sizes, strict=True)]
    return moved(x, *ways, attrs={"dim": axis})


# --- joining ----------------------------------------------------------------------------------------------------------


def _joined(tensors: Sequence[Arg], shapes: Sequence[tuple[int, ...]], axis: int) -> Effect:
    """Tensors, each under the shape given for it, one after the other along an axis."""
    total = sum(shape[axis] for shape in shapes)
    reads: list[ArgRead] = []
    offset = 0
    blocked, zero = None, None
    for x, shape in zip(tensors, shapes, strict=True):
        size = shape[axis]
        steps: Steps = reshape_steps(x.shape, shape)
        if size != total:
            steps = (*steps, Place(axis, size, offset, total))
        offset += size
        reads.append((x, steps))
        if (known := _masks.known_blocked(x)) is not None:
            blocked = _masks.union(len(shape), blocked, _masks.carry(known, x.shape, steps))
        if (known := _masks.known_zero(x)) is not None:
            zero = _masks.union(len(shape), zero, _masks.carry(known, x.shape, steps))
    kind = "merge" if joins(*tensors) else "reshape"
    return Effect(kind, reads, attrs={"dim": axis}, blocked=blocked, zero=zero)


@rule("aten.cat", "aten.concat", "aten.concatenate")
def cat(call: Call) -> Effect:
    """Concatenation: one element of the tensor that lies there; free."""
    rank = len(call.out.shape)
    # torch skips tensors of shape (0,), whatever the rank of the others.
    tensors = [x for x in call["tensors"] if x.ndim == rank]
    return _joined(tensors, [x.shape for x in tensors], positive(call.get("dim", 0), rank)[0])


@rule("aten.stack", "aten._stack")
def stack(call: Call) -> Effect:
    """Tensors stacked along a new axis: one element of the tensor that lies there; free."""
    axis = call.get("dim", 0) % len(call.out.shape)
    shapes = [(*x.shape[:axis], 1, *x.shape[axis:]) for x in call["tensors"]]
    return _joined(call["tensors"], shapes, axis)


@rule("aten.hstack", "aten.vstack", "aten.row_stack", "aten.dstack", "aten.column_stack")
def stacks(call: Call) -> Effect:
    """Concatenation of rows, columns or depth: one element of the tensor that lies there; free."""
    rank = len(call.out.shape)
    shapes = []
    for x in call["tensors"]:
        if call.op == "aten.column_stack" and x.ndim < 2:
            shapes.append((x.numel, 1))
        elif x.ndim < rank:
            # A vector is a row: (1, n), and in depth (1, n, 1).
            shapes.append((*(1,) * (2 - x.ndim), *x.shape, *(1,) * (rank - 2)) if rank > 1 else (x.numel,))
        else:
            shapes.append(x.shape)
    axis = {"aten.dstack": 2, "aten.vstack": 0, "aten.row_stack": 0}.get(call.op, min(1, rank - 1))
    return _joined(call["tensors"], shapes, axis)


@rule("aten.slice_scatter", "aten.select_scatter")
def scatter(call: Call) -> Effect:
    """Assignment to a slice: one element of the source where it lies, of the target elsewhere; free."""
    x: Arg = call["self"]
    source: Arg = call["src"]
    axis = call.get("dim", 0) % x.ndim
    if call.op == "aten.select_scatter":
        start, size, step = call["index"] % x.shape[axis], 1, 1
        laid = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    else:
        start, stop, step = slice(call["start"], call["end"], call.get("step", 1)).indices(x.shape[axis])
        size = len(range(start, stop, step))
        laid = source.shape
    kept: Steps = (Erase(x.shape, ((axis, size, start, step),)),)
    placed = (*reshape_steps(source.shape, laid), Place(axis, size, start, x.shape[axis], step))
    blocked = _masks.union(
        x.ndim,
        _masks.carry(_masks.known_blocked(x), x.shape, kept),
        _masks.carry(_masks.known_blocked(source), source.shape, placed),
    )
    zero = _masks.union(
        x.ndim,
        _masks.carry(_masks.known_zero(x), x.shape, kept),
        _masks.carry(_masks.known_zero(source), source.shape, placed),
    )
    kind = "merge" if joins(x, source) else "reshape"
    return Effect(kind, [(x, kept), (source, placed)], attrs={"dim": axis}, blocked=blocked, zero=zero)


@rule("aten.diagonal_scatter", "aten.as_strided_scatter")
def diagonal_scatter(call: Call) -> Effect:
    """A tensor with its diagonal (or what lies at given strides) exchanged: the new there, the old elsewhere; free."""
    x: Arg = call["self"]
    new: Arg = call["src"]
    places = np.arange(x.numel).reshape(x.shape)
    if call.op == "aten.diagonal_scatter":
        flat = np.diagonal(places, call.get("offset", 0), call.get("dim1", 0), call.get("dim2", 1)).reshape(-1)
    else:  # of a tensor that lies in one piece
        steps = [np.arange(n) * stride for n, stride in zip(call["size"], call["stride"], strict=True)]
        flat = (call.get("storage_offset", 0) + sum(np.ix_(*steps), np.zeros((), dtype=int))).reshape(-1)
    written = np.zeros(x.numel, dtype=bool)
    written[flat] = True
    source = np.full(x.numel, -1)
    source[flat] = np.arange(flat.size)
    placed = (
        *reshape_steps(new.shape, (new.numel,)),
        Take(0, tuple(source.tolist())),
        *reshape_steps((x.numel,), x.shape),
    )
    kept = (Blocked(call.mask(written.reshape(x.shape))),)
    return Effect("merge" if x.reads_data and new.reads_data else "copy", [(x, kept), (new, placed)])


@rule("aten.trace")
def trace(call: Call) -> Effect:
    """The sum of a diagonal: all of it; 1 operation for each element of it."""
    x: Arg = call["self"]
    away = np.not_equal.outer(*map(np.arange, x.shape))
    whole = (Blocked(call.mask(away)), Reduce((0, 1)), *reshape_steps((1, 1), ()))
    return Effect("reduction", [(x, whole)], flops={"reduction": min(x.shape)})


@rule("aten.resize", "aten.resize_as")
def resize(call: Call) -> Effect:
    """Another size for the same memory: the first elements, in order; what is new reads nothing; free."""
    x: Arg = call["self"]
    out = call.out.shape
    flat = (
        (*reshape_steps(x.shape, (x.numel,)), Pad(0, x.numel, 0, numel(out) - x.numel)) if numel(out) != x.numel else ()
    )
    steps = (*flat, *reshape_steps((numel(out),), out)) if flat else reshape_steps(x.shape, out)
    return Effect("reshape", [(x, steps)])
