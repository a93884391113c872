"""What the rules share: aligning ranks, per-axis settings, and the counts of arithmetic (docs/flops.md)."""

from __future__ import annotations

from collections.abc import Sequence

from rfcalc.ops.registry import Arg, ArgRead
from rfcalc.reads import Reduce, Reshape, Step, Steps


def align(shape: Sequence[int], rank: int) -> Steps:
    """Steps that give a tensor of a lower rank the leading axes of extent 1 that broadcasting gives it."""
    if len(shape) == rank:
        return ()
    return (Reshape(tuple(shape), (1,) * (rank - len(shape)) + tuple(shape)),)


def pointwise(arg: Arg, rank: int) -> ArgRead:
    """Each output position reads the same position of the argument, with broadcasting."""
    return arg, align(arg.shape, rank)


def reduced(arg: Arg, axes: Sequence[int]) -> ArgRead:
    """Every output position reads everything along the axes; the output has the argument's rank."""
    return arg, (Reduce(positive(axes, arg.ndim)),)


def positive(axes: Sequence[int] | int | None, rank: int) -> tuple[int, ...]:
    """Axes as sorted non-negative numbers; None or empty means all of them."""
    if axes is None:
        return tuple(range(rank))
    listed = [axes] if isinstance(axes, int) else list(axes)
    if not listed:
        return tuple(range(rank))
    return tuple(sorted(axis % rank if rank else 0 for axis in listed))


def per_axis(value: Sequence[int] | int, axes: int) -> tuple[int, ...]:
    """A setting given once, or once for each axis, as one value for each axis."""
    if isinstance(value, int):
        return (value,) * axes
    values = tuple(value)
    return values * axes if len(values) == 1 and axes > 1 else values


def drop_axes(shape: Sequence[int], axes: Sequence[int]) -> Steps:
    """The reshape that removes axes which a reduction left with extent 1."""
    kept = tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    out = tuple(extent for axis, extent in enumerate(shape) if axis not in axes)
    return (Reshape(kept, out),)


def times(shape: Sequence[int]) -> str:
    """A shape in the lecture's form, ``224x224x64``."""
    return "x".join(str(extent) for extent in shape) or "1"


__all__ = ["Step", "align", "drop_axes", "per_axis", "pointwise", "positive", "reduced", "times"]
