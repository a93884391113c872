"""Loops and branches. What decides is asked for as a number: counters and constants know it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rfcalc.sources.jax.plan import Body, Step
from rfcalc.sources.parts import Again, Part, part

#: Runs a program on held values.
Run = Callable[[Body, Sequence[Any]], list[Any]]
#: Makes a held value of a tensor and what it follows from.
Make = Callable[[Any, Any], Any]


def run(step: Step, inputs: Sequence[Any], body: Run, held: Make) -> list[Any]:
    """What a primitive that runs programs gives."""
    return {"scan": _scan, "while": _while, "cond": _cond}[step.primitive](step, inputs, body, held)


def _scan(step: Step, inputs: Sequence[Any], body: Run, held: Make) -> list[Any]:
    """A program over the slices of some operands: what it carries in the end, and what it gave each time, stacked."""
    constants, carried = step.params["num_consts"], step.params["num_carry"]
    length = int(step.params["length"])
    same, now = inputs[:constants], list(inputs[constants : constants + carried])
    along = inputs[constants + carried :]
    turns = range(length - 1, -1, -1) if step.params["reverse"] else range(length)
    rows: list[Any] = [None] * length
    for turn, at in enumerate(turns):
        found = _turn(turn, [*same, *now, *(held(x.value[at], x.origin) for x in along)], step.bodies[0], body)
        now, rows[at] = found[:carried], found[carried:]
    if not length:
        empty = [torch.zeros(s.shape, dtype=s.dtype) for s in step.gives_shapes[carried:]]
        return [*now, *(held(value, type(inputs[0].origin)(0)) for value in empty)]
    columns = list(zip(*rows, strict=True))
    stacked = [held(torch.stack([item.value for item in c]), max(item.origin for item in c)) for c in columns]
    return [*now, *stacked]


def _turn(number: int, given: Sequence[Any], program: Body, body: Run) -> list[Any]:
    """One turn of a scan as a call of a module, so that a graph tells the first turn from the others."""
    found: list[Any] = []

    def run() -> tuple[Any, ...]:
        found.extend(body(program, given))
        return tuple(item.value for item in found)

    part("jax.lax.scan", Again if number else Part)(run, *(item.value for item in given))
    return found


def _while(step: Step, inputs: Sequence[Any], body: Run, held: Make) -> list[Any]:
    """A program as long as another says so."""
    first, second = step.params["cond_nconsts"], step.params["body_nconsts"]
    asks, same, now = inputs[:first], inputs[first : first + second], list(inputs[first + second :])
    going, again = step.bodies
    begun = body(going, [*asks, *now])[0]
    if begun.origin == 0:
        while bool(begun.value):
            now = body(again, [*same, *now])
            begun = body(going, [*asks, *now])[0]
        return now
    origins = [item.origin for item in now]
    highest = max([begun.origin, *(item.origin for item in inputs)])

    def condition(*values: Any) -> Any:
        return body(going, [*asks, *(held(v, highest) for v in values)])[0].value

    def turn(*values: Any) -> Any:
        return tuple(item.value for item in body(again, [*same, *(held(v, highest) for v in values)]))

    tensors = tuple(_tensor(item.value, like) for item, like in zip(now, step.gives_shapes, strict=True))
    found = torch.ops.higher_order.while_loop(condition, turn, tensors, ())
    return [held(value, max(highest, origin)) for value, origin in zip(found, origins, strict=True)]


def _cond(step: Step, inputs: Sequence[Any], body: Run, held: Make) -> list[Any]:
    """One of several programs, by a number; where only data knows it, all of them and what decides."""
    which, given = inputs[0], inputs[1:]
    branches = step.bodies
    if which.origin == 0:
        return body(branches[min(max(int(which.value), 0), len(branches) - 1)], given)
    highest = max(item.origin for item in inputs)

    def from_number(first: int) -> Callable[[], tuple[Any, ...]]:
        def plain() -> tuple[Any, ...]:
            return tuple(item.value for item in body(branches[first], given))

        def choose() -> tuple[Any, ...]:
            chosen = which.value if which.value.dtype is torch.bool else which.value <= first
            others, this = from_number(first + 1), plain
            yes, no = (others, this) if which.value.dtype is torch.bool else (this, others)
            return tuple(torch.ops.higher_order.cond(chosen, yes, no, ()))

        return plain if first == len(branches) - 1 else choose

    return [held(value, highest) for value in from_number(0)()]


def _tensor(value: Any, like: Any) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=like.dtype)
