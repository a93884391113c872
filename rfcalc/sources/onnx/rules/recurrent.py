"""Recurrent layers.

Those that torch has are run by torch's own functions, with the weights in torch's order of gates; any other (other
activations, peepholes, sequences of their own lengths) step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from rfcalc.sources.onnx.rules import Op, ints, rule

T = torch.Tensor

#: For each gate of torch's, its place among ONNX's: i o f c are torch's i f g o; z r h are r z n.
_LSTM, _GRU = (0, 2, 3, 1), (1, 0, 2)
_USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
#: What may follow the name of an activation, in order.
_WITH_NUMBERS: dict[str, Callable[..., T]] = {
    "Affine": lambda x, a=1.0, b=0.0: a * x + b,
    "LeakyRelu": lambda x, a=0.01, b=0.0: functional.leaky_relu(x, a),
    "ThresholdedRelu": lambda x, a=1.0, b=0.0: functional.threshold(x, a, 0.0),
    "ScaledTanh": lambda x, a=1.0, b=1.0: a * torch.tanh(b * x),
    "HardSigmoid": lambda x, a=0.2, b=0.5: torch.clamp(a * x + b, 0, 1),
    "Elu": lambda x, a=1.0, b=0.0: functional.elu(x, a),
    "Sigmoid": lambda x, a=0.0, b=0.0: torch.sigmoid(x),
    "Tanh": lambda x, a=0.0, b=0.0: torch.tanh(x),
    "Relu": lambda x, a=0.0, b=0.0: torch.relu(x),
    "Softsign": lambda x, a=0.0, b=0.0: functional.softsign(x),
    "Softplus": lambda x, a=0.0, b=0.0: functional.softplus(x),
}


def _reordered(weights: T, gates: Sequence[int]) -> T:
    """Rows of one direction in torch's order of gates."""
    each = weights.shape[0] // len(gates)
    return torch.cat([weights.narrow(0, gate * each, each) for gate in gates]) if len(gates) > 1 else weights


def _flat(w: T, r: T, b: T | None, gates: Sequence[int]) -> list[T]:
    """The weights as torch's functions take them: for each direction those of the input, of the state, and biases."""
    found = []
    for direction in range(w.shape[0]):
        found += [_reordered(w[direction], gates), _reordered(r[direction], gates)]
        if b is not None:
            half = b.shape[1] // 2
            found += [_reordered(b[direction, :half], gates), _reordered(b[direction, half:], gates)]
    return found


def _plain(op: Op, kind: str, lengths: T | None, steps: int) -> bool:
    """Whether torch's function does the same."""
    directions = 2 if op.get("direction", "forward") == "bidirectional" else 1
    usual = _USUAL[kind] * directions
    named = [name.capitalize() if name.islower() else name for name in op.get("activations", usual)]
    return (
        named == usual
        and op.get("clip") is None
        and not op.get("input_forget", 0)
        and (lengths is None or all(length == steps for length in ints(lengths)))
        and op.get("direction", "forward") != "reverse"
    )


class _Layer:
    """What the three have in common: the layout of the input, the states to begin with, the directions."""

    def __init__(self, op: Op, kind: str, x: T, r: T, lengths: T | None) -> None:
        self.op, self.kind = op, kind
        self.first = bool(op.get("layout", 0))
        self.x = x.transpose(0, 1) if self.first else x
        self.directions, self.hidden = r.shape[0], r.shape[2]
        self.lengths = lengths

    def state(self, given: T | None) -> T:
        """The state to begin with, zeros without: directions, batch, hidden."""
        if given is None:
            shape = self.directions, self.x.shape[1], self.hidden
            return torch.zeros(shape, dtype=self.x.dtype, device=self.x.device)
        return given.transpose(0, 1) if self.first else given

    def result(self, out: T, *states: T) -> tuple[T, ...]:
        """From (steps, batch, directions x hidden) to what ONNX gives, and the last states."""
        y = out.reshape(*out.shape[:2], self.directions, self.hidden)
        if self.first:
            return y.transpose(0, 1), *(state.transpose(0, 1) for state in states)
        return y.transpose(1, 2), *states

    def activations(self, direction: int) -> list[Callable[[T], T]]:
        """The functions of one direction."""
        count = len(_USUAL[self.kind])
        names = self.op.get("activations", _USUAL[self.kind] * self.directions)
        alphas, betas = list(self.op.get("activation_alpha", [])), list(self.op.get("activation_beta", []))
        found: list[Callable[[T], T]] = []
        for name in names:
            known = {key.lower(): key for key in _WITH_NUMBERS}[name.lower()]
            numbers: dict[str, float] = {}
            if known in ("Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu") and alphas:
                numbers["a"] = alphas.pop(0)
            if known in ("Affine", "ScaledTanh", "HardSigmoid") and betas:
                numbers["b"] = betas.pop(0)
            function = _WITH_NUMBERS[known]
            found.append(lambda v, function=function, numbers=numbers: function(v, **numbers))  # type: ignore[misc]
        return found[direction * count : (direction + 1) * count]

    def clipped(self, x: T) -> T:
        """What goes into the activations, within the limit if there is one."""
        limit = self.op.get("clip")
        return x if limit is None else torch.clamp(x, -limit, limit)

    def walk(self, step: Callable[[int, T, list[T]], list[T]], states: Sequence[T]) -> tuple[T, list[T]]:
        """Each direction step by step: its outputs beside each other, and its last states."""
        outs, lasts = [], []
        backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
        for direction, turned in enumerate(backwards[self.op.get("direction", "forward")]):
            now = [state[direction] for state in states]
            rows: list[T] = []
            order = range(self.x.shape[0] - 1, -1, -1) if turned else range(self.x.shape[0])
            for at in order:
                after = step(direction, self.x[at], now)
                if self.lengths is not None:
                    here = (self.lengths.to(self.x.device) > at)[:, None]
                    after = [torch.where(here, new, old) for new, old in zip(after, now, strict=True)]
                    rows.append(torch.where(here, after[0], torch.zeros_like(after[0])))
                else:
                    rows.append(after[0])
                now = after
            outs.append(torch.stack(rows[::-1] if turned else rows))
            lasts.append(now)
        return torch.cat(outs, -1), [torch.stack(parts) for parts in zip(*lasts, strict=True)]


def _biases(b: T | None, direction: int) -> tuple[T | None, T | None]:
    if b is None:
        return None, None
    half = b.shape[1] // 2
    return b[direction, :half], b[direction, half:]


@rule("RNN")
def rnn(op: Op, x: T, w: T, r: T, b: T | None = None, lengths: T | None = None, h: T | None = None) -> tuple[T, ...]:
    """Y, (steps, directions, batch, hidden), and the last state."""
    layer = _Layer(op, "RNN", x, r, lengths)
    start = layer.state(h)
    if _plain(op, "RNN", lengths, layer.x.shape[0]):
        two = layer.directions == 2
        out, last = torch.rnn_tanh(layer.x, start, _flat(w, r, b, (0,)), b is not None, 1, 0.0, False, two, False)
        return layer.result(out, last)

    def step(direction: int, now: T, states: list[T]) -> list[T]:
        (activate,) = layer.activations(direction)
        of_input, of_state = _biases(b, direction)
        into = functional.linear(now, w[direction], of_input) + functional.linear(states[0], r[direction], of_state)
        return [activate(layer.clipped(into))]

    found, lasts = layer.walk(step, [start])
    return layer.result(found, *lasts)


@rule("GRU")
def gru(op: Op, x: T, w: T, r: T, b: T | None = None, lengths: T | None = None, h: T | None = None) -> tuple[T, ...]:
    """Y, (steps, directions, batch, hidden), and the last state."""
    layer = _Layer(op, "GRU", x, r, lengths)
    start = layer.state(h)
    after = bool(op.get("linear_before_reset", 0))
    if after and _plain(op, "GRU", lengths, layer.x.shape[0]):
        two = layer.directions == 2
        out, last = torch.gru(layer.x, start, _flat(w, r, b, _GRU), b is not None, 1, 0.0, False, two, False)
        return layer.result(out, last)

    def step(direction: int, now: T, states: list[T]) -> list[T]:
        gate, activate = layer.activations(direction)
        of_input, of_state = _biases(b, direction)
        h, size = states[0], layer.hidden
        z, reset, new = functional.linear(now, w[direction], of_input).split(size, -1)
        parts = r[direction].split(size, 0)
        biases = of_state.split(size, 0) if of_state is not None else (None,) * 3
        z = gate(layer.clipped(z + functional.linear(h, parts[0], biases[0])))
        reset = gate(layer.clipped(reset + functional.linear(h, parts[1], biases[1])))
        if after:
            new = new + reset * functional.linear(h, parts[2], biases[2])
        else:
            new = new + functional.linear(reset * h, parts[2], biases[2])
        return [(1 - z) * activate(layer.clipped(new)) + z * h]

    found, lasts = layer.walk(step, [start])
    return layer.result(found, *lasts)


@rule("LSTM")
def lstm(
    op: Op,
    x: T,
    w: T,
    r: T,
    b: T | None = None,
    lengths: T | None = None,
    h: T | None = None,
    c: T | None = None,
    peepholes: T | None = None,
) -> tuple[T, ...]:
    """Y, (steps, directions, batch, hidden), the last state and the last cell."""
    layer = _Layer(op, "LSTM", x, r, lengths)
    start: list[T] = [layer.state(h), layer.state(c)]
    if peepholes is None and _plain(op, "LSTM", lengths, layer.x.shape[0]):
        two = layer.directions == 2
        given: Any = (layer.x, start, _flat(w, r, b, _LSTM), b is not None, 1, 0.0, False, two, False)
        return layer.result(*torch.lstm(*given))

    def step(direction: int, now: T, states: list[T]) -> list[T]:
        gate, into, out_of = layer.activations(direction)
        of_input, of_state = _biases(b, direction)
        h, c = states
        gates = functional.linear(now, w[direction], of_input) + functional.linear(h, r[direction], of_state)
        i, o, f, new = gates.split(layer.hidden, -1)
        peeps = peepholes[direction].split(layer.hidden) if peepholes is not None else None
        i = gate(layer.clipped(i if peeps is None else i + peeps[0] * c))
        f = 1 - i if op.get("input_forget", 0) else gate(layer.clipped(f if peeps is None else f + peeps[2] * c))
        c = f * c + i * into(layer.clipped(new))
        o = gate(layer.clipped(o if peeps is None else o + peeps[1] * c))
        return [o * out_of(c), c]

    found, lasts = layer.walk(step, start)
    return layer.result(found, *lasts)
