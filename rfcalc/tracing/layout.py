"""Along which axes of an input fields are measured, found from its shape and from how the model first reads it."""

from __future__ import annotations

from collections.abc import Sequence

from rfcalc import reads
from rfcalc.graph import Node

_NAMES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}


def find_axes(nodes: Sequence[Node], source: int) -> dict[str, int]:
    """Names and numbers of the spatial (or sequence) axes of an input, in the order of the tensor.

    The first op that slides a window or contracts an axis decides: windowed axes are spatial; where an axis is
    contracted first (linear, embedding, recurrence), every axis but it and the batch is a position.
    """
    info = nodes[source].outputs[0]
    rank = len(info.shape)
    found = _from_use(nodes, source, rank)
    if found is None:
        if not info.dtype.startswith(("float", "bfloat", "complex")):
            found = tuple(range(1, rank)) if rank > 1 else tuple(range(rank))
        else:
            found = tuple(range(2, rank))
    if len(found) == 1 and found[0] == 1 and rank > 1:
        return {"T": found[0]}
    names = _NAMES.get(len(found)) or tuple(f"axis{axis}" for axis in found)
    return dict(zip(names, found, strict=True))


def _from_use(nodes: Sequence[Node], source: int, rank: int) -> tuple[int, ...] | None:
    """Follow the input through movement to the op that first tells its axes apart."""
    places: dict[tuple[int, int], tuple[int | None, ...]] = {(source, 0): tuple(range(rank))}
    for node in nodes[source + 1 :]:
        for number, rows in enumerate(node.reads):
            for read in rows:
                ref = node.inputs[read.input]
                axes = places.get((ref.node, ref.output))
                if axes is None:
                    continue
                decided, axes = _follow(read.steps, axes, node.kind)
                if decided is not None:
                    return tuple(sorted(decided))
                if axes is not None:
                    places[(node.id, number)] = axes
    return None


def _follow(
    steps: reads.Steps, axes: tuple[int | None, ...] | None, kind: str
) -> tuple[set[int] | None, tuple[int | None, ...] | None]:
    """Which source axis each axis is after the steps; or, decided, which of them are positions."""
    windowed: set[int] = set()
    for step in steps:
        if axes is None:
            return None, None
        match step:
            case reads.Window(axis) | reads.Transposed(axis) | reads.Spans(axis) | reads.Prefix(axis):
                where = axes[axis]
                if where is not None:
                    windowed.add(where)
            case reads.Reduce(reduced) if kind in ("linear", "embedding", "norm", "matmul"):
                return {axis for at, axis in enumerate(axes) if axis and at not in reduced}, None
            case reads.Permute(order):
                axes = tuple(axes[axis] for axis in order)
            case reads.Reshape(shape_in, shape_out):
                axes = _reshaped(axes, shape_in, shape_out)
            case _:
                pass
    return (windowed or None), axes


def _reshaped(
    axes: tuple[int | None, ...], shape_in: tuple[int, ...], shape_out: tuple[int, ...]
) -> tuple[int | None, ...] | None:
    """Axes after a reshape that only adds or removes axes of extent 1; None after any other."""
    kept = [axis for axis, extent in zip(axes, shape_in, strict=True) if extent != 1]
    if [extent for extent in shape_in if extent != 1] != [extent for extent in shape_out if extent != 1]:
        return None
    rest = iter(kept)
    return tuple(next(rest) if extent != 1 else None for extent in shape_out)
