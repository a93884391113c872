"""Primitives that move elements: shapes, slices, padding, and numbers in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.jax.rules import Op, Value, ints, rule, tensor, tensors

T = torch.Tensor


@rule("reshape")
def reshape(op: Op, x: Value) -> T:
    """The same elements in another shape, after a permutation of the axes if one is asked for."""
    x = tensor(x, op.takes[0])
    order = op.params.get("dimensions")
    return (x if order is None else x.permute(ints(order))).reshape(op.out.shape)


@rule("squeeze", "expand_dims")
def squeeze(op: Op, x: Value) -> T:
    """Without axes of one element, or with new ones."""
    return tensor(x, op.takes[0]).reshape(op.out.shape)


@rule("transpose")
def transpose(op: Op, x: Value) -> T:
    """The axes in another order."""
    return tensor(x, op.takes[0]).permute(ints(op["permutation"]))


@rule("broadcast_in_dim")
def broadcast(op: Op, x: Value, *dynamic: Value) -> T:
    """Each axis in a place of a larger shape, the elements repeated along all others."""
    x = tensor(x, op.takes[0])
    places, shape = ints(op["broadcast_dimensions"]), [1] * len(op.out.shape)
    for extent, at in zip(x.shape, places, strict=True):
        shape[at] = extent
    x = x if list(x.shape) == shape else x.reshape(shape)
    return x if tuple(shape) == op.out.shape else x.expand(op.out.shape)


@rule("concatenate")
def concatenate(op: Op, *parts: Value) -> T:
    """Tensors beside each other along an axis."""
    held = tensors(op, parts)
    return held[0] if len(held) == 1 else torch.cat(held, op["dimension"])


@rule("stack")
def stack(op: Op, *parts: Value) -> T:
    """Tensors beside each other along a new axis."""
    return torch.stack(tensors(op, parts), int(op["axis"]))


@rule("unstack")
def unstack(op: Op, x: T) -> list[T]:
    """The slices along an axis."""
    return list(torch.unbind(x, int(op["axis"])))


@rule("split")
def split(op: Op, x: T) -> list[T]:
    """Parts of these sizes along an axis."""
    return list(torch.split(x, ints(op["sizes"]), op["axis"]))


@rule("rev")
def rev(op: Op, x: T) -> T:
    """Backwards along some axes."""
    axes = [at for at in ints(op["dimensions"]) if x.shape[at] > 1]
    return torch.flip(x, axes) if axes else x


@rule("tile")
def tile(op: Op, x: T) -> T:
    """The whole tensor again and again along each axis."""
    return torch.tile(x, tuple(ints(op["reps"])))


@rule("iota")
def iota(op: Op) -> T:
    """0, 1, 2, ... along an axis."""
    shape, at = op.out.shape, op["dimension"]
    row = torch.arange(shape[at], dtype=op.out.dtype)
    return row.reshape([extent if axis == at else 1 for axis, extent in enumerate(shape)]).expand(shape)


@rule("empty", "empty2")
def empty(op: Op) -> T:
    """Room for numbers that are written later."""
    return torch.zeros(op.out.shape, dtype=op.out.dtype)


# --- parts ------------------------------------------------------------------------------------------------------------


@rule("slice")
def slice_(op: Op, x: T) -> T:
    """A part, with steps along each axis."""
    steps = op["strides"] or [1] * x.ndim
    first, last = ints(op["start_indices"]), ints(op["limit_indices"])
    return cut(x, [slice(a, b, s) for a, b, s in zip(first, last, ints(steps), strict=True)])


def cut(x: T, parts: Sequence[slice]) -> T:
    """A part of a tensor; axes of which all is taken are left alone."""
    for axis, part in enumerate(parts):
        first, last, step = part.indices(x.shape[axis])
        if (first, last, step) != (0, x.shape[axis], 1):
            x = x[(*[slice(None)] * axis, slice(first, last, step))]
    return x


@rule("pad")
def pad(op: Op, x: Value, number: Value) -> T:
    """Numbers around a tensor and between its elements; what is cut off where there is less than none."""
    x = tensor(x, op.takes[0])
    config = [tuple(ints(entry)) for entry in op["padding_config"]]
    if isinstance(number, T):
        if op.known[1:2] != (True,):
            return _padded_with(x, config, number)
        number = number.item()  # jnp.pad converts it in the program
    return padded(x, config, number)


def padded(x: T, config: Sequence[tuple[int, ...]], number: Any) -> T:
    """The tensor with padding before and after each axis, and between elements."""
    for axis, (_, _, between) in enumerate(config):
        if between and x.shape[axis] > 1:
            apart = functional.pad(x.unsqueeze(axis + 1), [0, 0] * (x.ndim - axis - 1) + [0, between], value=number)
            shape = (*x.shape[:axis], x.shape[axis] * (1 + between), *x.shape[axis + 1 :])
            x = apart.reshape(shape).narrow(axis, 0, shape[axis] - between)
    around: list[int] = []
    for before, after, _ in reversed(config):
        around += [before, after]
    while around[-2:] == [0, 0]:
        del around[-2:]
    return functional.pad(x, around, value=number) if around else x


def _padded_with(x: T, config: Sequence[tuple[int, ...]], number: T) -> T:
    """The same where the number is one that only the pass knows."""
    inside = padded(torch.ones(x.shape, dtype=torch.bool), config, False)
    return torch.where(inside, padded(x, config, 0), number)
