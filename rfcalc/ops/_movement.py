"""Steps that move the elements of one tensor, and the effect of moving them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rfcalc.ops import _masks
from rfcalc.ops.registry import Arg, Effect, Known
from rfcalc.reads import Permute, Reshape, Slice, Steps


def reshape_steps(before: Sequence[int], after: Sequence[int]) -> Steps:
    """The same elements under another shape."""
    return () if tuple(before) == tuple(after) else (Reshape(tuple(before), tuple(after)),)


def permute_steps(axes: Sequence[int]) -> Steps:
    """The axes in that order."""
    return () if list(axes) == list(range(len(axes))) else (Permute(tuple(axes)),)


def moved(x: Arg, *ways: Steps, attrs: dict[str, Any] | None = None, inexact: str = "") -> Effect:
    """The effect of moving one tensor's elements, one way for each output."""
    return Effect(
        "reshape",
        [[(x, steps)] for steps in ways],
        each=True,
        attrs=attrs or {},
        inexact=inexact,
        blocked=_masks.carry(x.blocked, x.shape, ways[0]) if ways else None,
        zero=_masks.carry(x.zero, x.shape, ways[0]) if ways else None,
        true=_masks.carry(x.true, x.shape, ways[0]) if ways else None,
        beyond=[_carried(x, steps) for steps in ways[1:]],
    )


def _carried(x: Arg, steps: Steps) -> Known:
    """What is known of a tensor's elements after they were moved."""
    return Known(*[_masks.carry(mask, x.shape, steps) for mask in (x.blocked, x.zero, x.true)])


def slice_steps(x: Arg, axis: int, start: int, size: int, step: int = 1) -> Steps:
    """A run of one axis, or every ``step``-th index of it."""
    return () if size == x.shape[axis] and step == 1 else (Slice(axis, start if size else 0, step, size),)


def select_steps(x: Arg, axis: int, index: int) -> Steps:
    """One index of an axis, which disappears."""
    one = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    out = (*x.shape[:axis], *x.shape[axis + 1 :])
    return (*slice_steps(x, axis, index % x.shape[axis], 1), Reshape(one, out))
