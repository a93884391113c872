"""What is known of single elements of a tensor that an op made, or that was written in part."""

from __future__ import annotations

from collections.abc import Sequence

from rfcalc import reads
from rfcalc.ops import Arg, Effect, Known
from rfcalc.ops._masks import carry, known_blocked, known_true, known_zero, union
from rfcalc.tracing.buffers import together
from rfcalc.tracing.values import Value

#: Of a constant of more elements that is written in part nothing is kept in mind.
_LARGEST = 1 << 18

Args = Sequence[tuple[Arg, Value]]


def learn(value: Value, known: Known, effect: Effect, args: Args) -> None:
    """Note what is known of the elements of an output, and what that follows from."""
    value.blocked, value.zero, value.true = known
    if value.blocked is not None:
        value.rows = effect.rows or any(held.rows for _, held in args)
        value.finite = max([effect.finite, *(arg.finite for arg, _ in args)])
    if not value.is_plain:
        value.leans = together(args)


def of_parts(parts: Sequence[tuple[Arg, reads.Steps]], rank: int) -> Known:
    """What is known of a tensor of that rank put together of parts, each at its own places."""
    parts = [(arg, steps) for arg, steps in parts if arg.role != "const" or arg.numel <= _LARGEST]
    asked = (known_blocked, known_zero, known_true)
    return Known(*[union(rank, *(carry(ask(arg), arg.shape, steps) for arg, steps in parts)) for ask in asked])
