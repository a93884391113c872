"""Along which axes of an input fields are measured, found from its shape and from how the model first reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from rfcalc import reads
from rfcalc.graph import Node
from rfcalc.reads import groups_of

_NAMES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}


def find_axes(nodes: Sequence[Node], source: int) -> dict[str, int]:
    """Names and numbers of the spatial (or sequence) axes of an input, in the order of the tensor.

    The first op that slides a window or contracts an axis decides: windowed axes are spatial; where an axis is
    contracted first (linear, embedding, recurrence), every axis but it and the batch is a position.
    """
    info = nodes[source].outputs[0]
    rank = len(info.shape)
    found = _from_use(nodes, source, rank)
    if not found:
        if not info.dtype.startswith(("float", "bfloat", "complex")):
            found = tuple(range(1, rank)) if rank > 1 else tuple(range(rank))
        else:
            found = tuple(range(2, rank))
    if len(found) == 1 and found[0] < 2 <= rank:
        return {"T": found[0]}
    names = _NAMES.get(len(found)) or tuple(f"axis{axis}" for axis in found)
    return dict(zip(names, found, strict=True))


#: For each axis of a tensor, the axes of the input that it holds.
Places: TypeAlias = tuple[frozenset[int], ...]


def _from_use(nodes: Sequence[Node], source: int, rank: int) -> tuple[int, ...] | None:
    """Follow the input through movement to the op that first tells its axes apart."""
    places: dict[tuple[int, int], Places] = {(source, 0): tuple(frozenset({axis}) for axis in range(rank))}
    for node in nodes[source + 1 :]:
        for number, rows in enumerate(node.reads):
            for read in rows:
                ref = node.inputs[read.input]
                axes = places.get((ref.node, ref.output))
                if axes is None:
                    continue
                decided, axes = _follow(read.steps, axes, node, nodes[source].shape)
                if decided:
                    return tuple(sorted(decided))
                if axes is not None:
                    places[(node.id, number)] = axes
    return None


def _contracts(node: Node) -> bool:
    """Whether the last axis that the op reads as a whole holds features; of norms, only those over the last axes."""
    return node.kind in ("linear", "embedding", "matmul", "recurrent") or (
        node.kind == "norm" and node.op.endswith(_LAST_AXES)
    )


_LAST_AXES = ("layer_norm", "rms_norm")


def _follow(
    steps: reads.Steps, axes: Places, node: Node, shape: tuple[int, ...]
) -> tuple[frozenset[int], Places | None]:
    """The axes that are positions, where the steps decide that; otherwise what each axis holds after them."""
    windowed: frozenset[int] = frozenset()
    for step in steps:
        match step:
            case reads.Window(axis) | reads.Transposed(axis) | reads.Spans(axis) | reads.Prefix(axis):
                windowed |= axes[axis]
            case reads.Reduce(reduced) if _contracts(node):
                # Sequence first, (T, N, features), shows where the batch of 1 stands second.
                batch = 1 if len(shape) == 3 and shape[0] > 1 == shape[1] else 0
                gone = frozenset(held for axis in reduced for held in axes[axis])
                if node.kind == "recurrent":  # the last axis holds the features, the others are its steps in time
                    prefixes = [step.axis for step in steps if isinstance(step, reads.Prefix)]
                    times = frozenset(held for axis in prefixes for held in axes[axis])
                    features = axes[max(reduced)]
                    if (times | gone) - features:
                        return (times | gone) - features, None
                return frozenset(range(len(shape))) - {batch} - gone, None
            case reads.Permute(order):
                axes = tuple(axes[axis] for axis in order)
            case reads.Reshape(shape_in, shape_out):
                axes = _reshaped(axes, shape_in, shape_out)
            case _:
                pass
    return windowed - {0} or windowed, axes


def _reshaped(axes: Places, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> Places:
    """What the axes hold after a reshape: parts of an axis hold what it held, merged axes all of it."""
    made: list[frozenset[int]] = [frozenset()] * len(shape_out)
    for left, right in groups_of(shape_in, shape_out):
        held = frozenset(one for axis in left for one in axes[axis] if shape_in[axis] > 1 or len(left) == 1)
        for axis in right:
            made[axis] = held if shape_out[axis] > 1 or len(right) == 1 else frozenset()
    return tuple(made)
