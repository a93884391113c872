"""Ops that run graphs among their attributes. What decides is asked for as a number: sizes and constants know it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rfcalc.sources.onnx.rules import Op, Value, one, rule

T = torch.Tensor
#: Runs a graph on the values of its inputs.
Run = Callable[[Any, Sequence[Value]], list[Value]]


@rule("If", runs=True)
def if_(run: Run, op: Op, condition: T) -> tuple[Value, ...]:
    """One branch or the other."""
    return tuple(run(op.get("then_branch" if bool(one(condition)) else "else_branch"), ()))


@rule("Loop", runs=True)
def loop(run: Run, op: Op, trips: T | None, condition: T | None = None, *carried: Value) -> tuple[Value, ...]:
    """A body again and again: what it carries on, and what it gives at each turn, stacked."""
    body = op.get("body")
    most = None if trips is None else int(one(trips))
    going = True if condition is None else bool(one(condition))
    now, given = list(carried), [[] for _ in range(op.outputs - len(carried))]  # type: list[Value], list[list[T]]
    turn = 0
    while going and (most is None or turn < most):
        known = torch.tensor(turn, dtype=torch.int64)
        after = run(body, [known, torch.tensor(True), *now])
        now = after[1 : 1 + len(carried)]
        for row, value in zip(given, after[1 + len(carried) :], strict=False):
            row.append(value)
        turn += 1
        if most is None or turn < most:
            going = bool(one(after[0]))
    return *now, *(torch.stack(row) if row else torch.zeros(0) for row in given)


@rule("Scan", runs=True)
def scan(run: Run, op: Op, *inputs: Value) -> tuple[Value, ...]:
    """A body over the slices of some inputs: the last states, and what it gives at each turn, stacked."""
    count = op.get("num_scan_inputs")
    if op.version < 9:
        return _scan_of_batches(run, op, inputs[1:], count)
    return _scanned(run, op, inputs, count)


def _scanned(run: Run, op: Op, inputs: Sequence[Value], count: int) -> tuple[Value, ...]:
    states, sequences = list(inputs[: len(inputs) - count]), inputs[len(inputs) - count :]
    axes = op.get("scan_input_axes", [0] * count)
    turned = op.get("scan_input_directions", [0] * count)
    steps = sequences[0].shape[axes[0]]
    rows: list[list[T]] = []
    for at in range(steps):
        parts = [
            x.select(axis, steps - 1 - at if back else at)
            for x, axis, back in zip(sequences, axes, turned, strict=True)
        ]
        after = run(op.get("body"), [*states, *parts])
        rows.append(after[len(states) :])
        states = after[: len(states)]
    columns = list(zip(*rows, strict=True))
    out_axes = op.get("scan_output_axes", [0] * len(columns))
    out_turned = op.get("scan_output_directions", [0] * len(columns))
    stacked = [
        torch.stack(column[::-1] if back else column, axis)
        for column, axis, back in zip(columns, out_axes, out_turned, strict=True)
    ]
    return *states, *stacked


def _scan_of_batches(run: Run, op: Op, inputs: Sequence[Value], count: int) -> tuple[Value, ...]:
    """Opset 8: every input has the batch in front."""
    plain = Op("Scan", 9, {"body": op.get("body"), "num_scan_inputs": count}, op.outputs)
    rows = [_scanned(run, plain, [x[at] for x in inputs], count) for at in range(inputs[0].shape[0])]
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))


@rule("SequenceMap", runs=True)
def sequence_map(run: Run, op: Op, sequence: list[T], *others: Value) -> tuple[list[Value], ...]:
    """A body over the elements of sequences."""
    rows = [
        run(op.get("body"), [element, *(other[at] if isinstance(other, list) else other for other in others)])
        for at, element in enumerate(sequence)
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))
