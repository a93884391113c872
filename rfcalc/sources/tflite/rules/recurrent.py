"""Recurrent ops, step by step. States are what the file keeps from call to call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.tflite.rules import ACTIVATIONS, Op, rule

T = torch.Tensor


def _activation(op: Op) -> Callable[[T], T]:
    number = int(op.get("FusedActivationFunction", 0))
    return ACTIVATIONS[number] if number else lambda x: x


def _steps(op: Op, x: T, step: Callable[[T], T], backwards: bool = False) -> T:
    """The outputs of a step along time, which is the first axis or the second."""
    axis = 0 if op.get("TimeMajor", False) else 1
    order = range(x.shape[axis] - 1, -1, -1) if backwards else range(x.shape[axis])
    rows = [step(x.select(axis, at)) for at in order]
    return torch.stack(rows[::-1] if backwards else rows, axis)


# --- long short-term memory -------------------------------------------------------------------------------------------


@dataclass
class _Cell:
    """The weights of one direction, each by gate (input, forget, cell, output), and its states."""

    op: Op
    of_input: Sequence[T | None]
    of_state: Sequence[T | None]
    peepholes: Sequence[T | None]
    biases: Sequence[T | None]
    projection: tuple[T | None, T | None]
    norms: Sequence[T | None]
    h: T
    c: T

    def gate(self, at: int, x: T, peeped: T | None) -> T:
        """What goes into one gate."""
        weight, state = self.of_input[at], self.of_state[at]
        assert weight is not None
        assert state is not None
        norm, bias = self.norms[at], self.biases[at]
        found = functional.linear(x, weight, bias if norm is None else None) + functional.linear(self.h, state)
        if peeped is not None:
            peep = self.peepholes[{0: 0, 1: 1, 3: 2}[at]]
            found = found if peep is None else found + peep * peeped
        if norm is not None:
            found = functional.layer_norm(found, found.shape[-1:], norm, bias, 1e-8)
        return found

    def step(self, x: T) -> T:
        """One step."""
        activate, limit = _activation(self.op), float(self.op.get("CellClip", 0.0))
        forget = torch.sigmoid(self.gate(1, x, self.c))
        into = 1 - forget if self.of_input[0] is None else torch.sigmoid(self.gate(0, x, self.c))
        c = forget * self.c + into * activate(self.gate(2, x, None))
        self.c = torch.clamp(c, -limit, limit) if limit > 0 else c
        h = torch.sigmoid(self.gate(3, x, self.c)) * activate(self.c)
        weight, bias = self.projection
        if weight is not None:
            h = functional.linear(h, weight, bias)
            most = float(self.op.get("ProjClip", 0.0))
            h = torch.clamp(h, -most, most) if most > 0 else h
        self.h = h
        return h


def _cell(op: Op, given: Sequence[Any], first: int, h: T, c: T, norms: Sequence[T | None]) -> _Cell:
    w = list(given[first : first + 17])
    w += [None] * (17 - len(w))
    return _Cell(op, w[0:4], w[4:8], w[8:11], w[11:15], (w[15], w[16]), norms, h, c)


@rule("UNIDIRECTIONAL_SEQUENCE_LSTM")
def sequence_lstm(op: Op, x: T, *given: Any) -> T:
    """The states at every step."""
    norms = list(given[19:23]) + [None] * (4 - len(given[19:23]))
    return _steps(op, x, _cell(op, given, 0, given[17], given[18], norms).step)


@rule("LSTM")
def lstm(op: Op, x: T, *given: Any) -> T | tuple[T, ...]:
    """One step; in its basic form with all weights in one matrix."""
    if int(op.get("KernelType", 0)) == 0:
        norms = list(given[19:23]) + [None] * (4 - len(given[19:23]))
        return _cell(op, given, 0, given[17], given[18], norms).step(x)
    before, weight, bias, c = given[:4]
    joined = torch.cat([x, before], -1)
    gates = functional.linear(joined, weight, bias)
    into, new, forget, out = gates.chunk(4, -1)
    c = torch.sigmoid(into) * torch.tanh(new) + torch.sigmoid(forget) * c
    return torch.sigmoid(out) * torch.tanh(c), c, joined, gates


@rule("BIDIRECTIONAL_SEQUENCE_LSTM")
def both_ways_lstm(op: Op, x: T, *given: Any) -> T | tuple[T, T]:
    """The states at every step in both directions, beside each other or apart."""
    if len(given) > 38 and given[38] is not None:
        raise ValueError("a second input, which no rule follows")
    none: list[None] = [None] * 4
    ahead = _steps(op, x, _cell(op, given, 0, given[34], given[35], none).step)
    back = _steps(op, x, _cell(op, given, 17, given[36], given[37], none).step, backwards=True)
    return torch.cat([ahead, back], -1) if op.get("MergeOutputs", False) else (ahead, back)


# --- others -----------------------------------------------------------------------------------------------------------


class _Plain:
    """A plain recurrent layer and its state."""

    def __init__(self, op: Op, weight: T, of_state: T, bias: T | None, state: T) -> None:
        self.activate = _activation(op)
        self.weight, self.of_state, self.bias, self.state = weight, of_state, bias, state

    def step(self, x: T) -> T:
        """One step."""
        found = functional.linear(x, self.weight, self.bias) + functional.linear(self.state, self.of_state)
        self.state = self.activate(found)
        return self.state


@rule("RNN")
def rnn(op: Op, x: T, weight: T, of_state: T, bias: T | None, state: T) -> T:
    """One step."""
    return _Plain(op, weight, of_state, bias, state).step(x)


@rule("UNIDIRECTIONAL_SEQUENCE_RNN")
def sequence_rnn(op: Op, x: T, weight: T, of_state: T, bias: T | None, state: T) -> T:
    """The states at every step."""
    return _steps(op, x, _Plain(op, weight, of_state, bias, state).step)


@rule("BIDIRECTIONAL_SEQUENCE_RNN")
def both_ways_rnn(op: Op, x: T, *given: Any) -> T | tuple[T, T]:
    """The states at every step in both directions, beside each other or apart."""
    if len(given) > 8 and given[8] is not None:
        raise ValueError("a second input, which no rule follows")
    ahead = _steps(op, x, _Plain(op, *given[0:4]).step)
    back = _steps(op, x, _Plain(op, *given[4:8]).step, backwards=True)
    return torch.cat([ahead, back], -1) if op.get("MergeOutputs", False) else (ahead, back)


@rule("SVDF")
def svdf(op: Op, x: T, of_feature: T, of_time: T, bias: T | None, state: T) -> T:
    """Filters of features, remembered, and filters of time over what is remembered, so many to a unit."""
    filters, memory = of_time.shape
    features = functional.linear(x, of_feature)
    kept = state.reshape(x.shape[0], filters, memory)[..., 1:]
    seen = torch.cat([kept, features[..., None]], -1)
    found = (seen * of_time).sum(-1)
    found = found.reshape(x.shape[0], -1, int(op.get("Rank", 1))).sum(-1)
    return _activation(op)(found if bias is None else found + bias)
