"""Packed sequences: the rows of sequences of known lengths, one time after the other, and back to (time, batch)."""

from __future__ import annotations

from collections.abc import Sequence

from rfcalc.ops._linear import permute, reshape
from rfcalc.ops._movement import moved
from rfcalc.ops.registry import Arg, Call, Effect, numel, rule
from rfcalc.reads import Steps, Take


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
