"""Packed sequences: the rows of sequences of known lengths, one time after the other, and back to (time, batch)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rfcalc.ops._linear import permute, reshape
from rfcalc.ops._movement import moved
from rfcalc.ops.registry import Arg, Call, Effect, numel, rule
from rfcalc.reads import Reduce, Steps, Take


def rows_of(sizes: Sequence[int]) -> tuple[int, ...]:
    """Where each packed row lies among all (time, batch): time after time, ``sizes`` sequences have that many steps."""
    width = sizes[0]
    return tuple(time * width + at for time, size in enumerate(sizes) for at in range(size))


def to_grid(sizes: Sequence[int], inner: Sequence[int], steps: int | None = None) -> Steps:
    """From packed rows of that inner shape to (time, batch, *inner) of so many steps; padding reads nothing."""
    steps, width = steps or len(sizes), sizes[0]
    grid = [-1] * (steps * width)
    for row, place in enumerate(rows_of(sizes)):
        grid[place] = row
    return (Take(0, tuple(grid)), *reshape((steps * width, *inner), (steps, width, *inner)))


def to_rows(sizes: Sequence[int], inner: Sequence[int], steps: int | None = None) -> Steps:
    """From (time, batch, *inner) to packed rows."""
    steps, width = steps or len(sizes), sizes[0]
    return (*reshape((steps, width, *inner), (steps * width, *inner)), Take(0, rows_of(sizes)))


def _turned(rank: int) -> Steps:
    return permute((1, 0, *range(2, rank)))


@rule("torch.pack_padded_sequence")
def pack(call: Call) -> Effect:
    """Packs sequences of known lengths, the longest first, into rows: one element; free."""
    x: Arg = call["input"]
    first = call["batch_first"]
    steps = x.shape[1 if first else 0]
    lengths: Sequence[int] = call["lengths"]
    sizes = [sum(length > time for length in lengths) for time in range(max(lengths))]
    turn = _turned(x.ndim) if first else ()
    return moved(x, (*turn, *to_rows(sizes, x.shape[2:], steps)), attrs={"lengths": list(lengths)})


@rule("torch.pad_packed_sequence")
def pad(call: Call) -> Effect:
    """Lays packed rows out by time and batch, with padding behind shorter sequences: one element; free."""
    x: Arg = call["input"]
    sizes: Sequence[int] = call["batch_sizes"]
    turn = _turned(x.ndim + 1) if call["batch_first"] else ()
    found = moved(x, (*to_grid(sizes, x.shape[1:], call["steps"]), *turn), attrs={"batch_sizes": list(sizes)})
    assert numel(call.out.shape) == call["steps"] * sizes[0] * numel(x.shape[1:])
    return found


@rule("aten._jagged_to_padded_dense_forward")
def pad_jagged(call: Call) -> Effect:
    """Lays rows of different lengths out, one below the other, with padding behind shorter ones: one element; free."""
    x: Arg = call["values"]
    count, longest, *inner = call.out.shape
    starts = _starts(call["offsets"])
    if starts is None:
        return _by_numbers(call, x)
    grid = [-1] * (count * longest)
    for row, (start, stop) in enumerate(pairwise(starts)):
        for time in range(min(stop - start, longest)):
            grid[row * longest + time] = start + time
    return moved(x, (Take(0, tuple(grid)), *reshape((count * longest, *inner), (count, longest, *inner))))


@rule("aten._padded_dense_to_jagged_forward")
def unpad(call: Call) -> Effect:
    """Takes rows of known lengths out of what was padded: one element; free."""
    x: Arg = call["dense"]
    count, longest, *inner = x.shape
    starts = _starts(call["offsets"])
    if starts is None:
        return _by_numbers(call, x)
    rows = [row * longest + time for row, (a, b) in enumerate(pairwise(starts)) for time in range(b - a)]
    return moved(x, (*reshape((count, longest, *inner), (count * longest, *inner)), Take(0, tuple(rows))))


def _starts(offsets: Sequence[Arg]) -> list[int] | None:
    """Where each row begins, and where the last one ends; None where that is not known."""
    found = offsets[0].value()
    return None if found is None else [int(at) for at in found]


def _by_numbers(call: Call, x: Arg) -> Effect:
    before, after = (1,) * (x.ndim - 1), (1,) * (len(call.out.shape) - 1)
    every = (Reduce(tuple(range(x.ndim - 1))), *reshape((*before, x.shape[-1]), (*after, x.shape[-1])))
    return Effect("other", [(x, every)], inexact="the lengths of the rows are not known: each is taken to read all")
