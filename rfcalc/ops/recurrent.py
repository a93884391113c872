"""Recurrent layers: whole sequences of LSTM, GRU and simple RNN, and single cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rfcalc.ops._linear import either, reshape
from rfcalc.ops.common import drop_axes, times
from rfcalc.ops.packed import to_grid, to_rows
from rfcalc.ops.registry import Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Group, Permute, Place, Prefix, Reduce, Reshape, Slice, Step, Steps, Take


@dataclass(frozen=True)
class _Cell:
    """Gates, and what one unit of one step computes besides the products and biases."""

    gates: int
    activation: int
    elementwise: int


#: A sigmoid takes 4 operations, a tanh 1. Elementwise: the sum of the two products for each gate, then
#: LSTM: f*c + i*g, o*tanh(c); GRU: r*(...) in the new gate, n + z*(h - n).
_CELLS = {"lstm": _Cell(4, 14, 8), "gru": _Cell(3, 9, 7), "rnn": _Cell(1, 1, 1)}


def _cell(op: str) -> _Cell:
    return _CELLS[op.partition(".")[2].partition("_")[0]]


def _flops(cell: _Cell, units: int, biases: int) -> dict[str, int]:
    flops = {"bias": biases, "activation": cell.activation * units, "elementwise": cell.elementwise * units}
    return {name: count for name, count in flops.items() if count}


# --- whole sequences --------------------------------------------------------------------------------------------------


class _Stack:
    """Shapes and reads of a stack of layers. The states' first axis is layer by layer, both directions side by side."""

    def __init__(self, call: Call) -> None:
        self.call = call
        hx = call["hx"]
        self.states: tuple[Arg, ...] = hx if isinstance(hx, tuple) else (hx,)
        self.packed = call["batch_sizes"] is not None
        self.x: Arg = either(call, "data", "input") if self.packed else either(call, "input", "data")
        self.layers: int = call["num_layers"]
        self.ways = 2 if call["bidirectional"] else 1
        #: the first state is the output's (maybe projected), the last one the cell's
        self.out_size = self.states[0].shape[2]
        self.hidden = self.states[-1].shape[2]
        self.time = 1 if call["batch_first"] and not self.packed else 0
        self.steps = self.x.shape[self.time]
        self.rows = self.x.shape[0] if self.packed else self.x.shape[0] * self.x.shape[1]

    # the sequence: (time, batch, features), or (batch, time, features)

    def sequence(self) -> list[ArgRead]:
        """The output at time t reads the input up to t, backward from t on; behind a bidirectional layer all of it."""
        reads: list[ArgRead] = []
        if self.ways == 2 and self.layers > 1:
            reads.append((self.x, (Reduce((self.time, 2)),)))
        else:
            for way in range(self.ways):
                upto = Prefix(self.time, self.steps, reverse=way == 1)
                reads.append((self.x, (Reduce((2,)), upto, *self._half(way))))
        return reads + [read for number in range(len(self.states)) for read in self._initial(number)]

    def _half(self, way: int) -> Steps:
        """The direction's half of the output's features."""
        return () if self.ways == 1 else (Place(2, 1, way, 2), Group(2, 2, 2 * self.out_size))

    def _initial(self, number: int) -> list[ArgRead]:
        """What the output reads of an initial state: all lower layers, and its own direction of the last one."""
        state = self.states[number]
        turn: Steps = (Permute((1, 0, 2)),) if self.time == 1 else ()
        reads: list[ArgRead] = []
        if self.layers > 1:
            below = Slice(0, 0, 1, self.ways * (self.layers - 1))
            reads.append((state, (below, Reduce((0, 2)), *turn)))
        for way in range(self.ways):
            last = Slice(0, self.ways * (self.layers - 1) + way, 1, 1)
            if not self._own_unit(number):
                reads.append((state, (last, Reduce((2,)), *turn, *self._half(way))))
                continue
            # in its first step a unit reads its own cell only; later ones mix all of them through the output
            first = self.steps - 1 if way else 0
            at = Place(self.time, 1, first, self.steps)
            unit: Steps = (Place(2, self.hidden, way * self.hidden, 2 * self.hidden),) if self.ways == 2 else ()
            reads.append((state, (last, *turn, at, *unit)))
            if self.steps == 1:
                continue
            later = Take(self.time, tuple(-1 if t == first else 0 for t in range(self.steps)))
            reads.append((state, (last, Reduce((2,)), *turn, later, *self._half(way))))
        return reads

    def _own_unit(self, number: int) -> bool:
        """Whether a first step reads its own unit of this state: the LSTM's cell, unless a projection mixes it."""
        return number == 1 and self.hidden == self.out_size

    # the final states: (layers x directions, batch, features)

    def final(self, cell: bool) -> list[ArgRead]:
        """Final states read the whole sequence, all lower layers' initial states and their own one."""
        turn: Steps = (Permute((1, 0, 2)),) if self.time == 1 else ()
        reads: list[ArgRead] = [(self.x, (Reduce((self.time, 2)), *turn))]
        for number, state in enumerate(self.states):
            if self.layers > 1:
                shifted = tuple(range(-1, self.layers - 1))
                below = (Group(0, self.layers, self.layers), Prefix(0, self.layers), Take(0, shifted))
                reads.append((state, (Reduce((2,)), *below, Group(0, self.layers, self.layers * self.ways))))
            alone = self.steps == 1 and (self._own_unit(number) or (number == 1 and cell))
            reads.append((state, () if alone else (Reduce((2,)),)))
        return reads

    def outputs(self) -> list[list[ArgRead]]:
        """The reads of every result."""
        if self.packed and not isinstance(self.call["batch_sizes"], Arg):
            return self.rows_of_packed(self.call["batch_sizes"])
        if self.packed:
            given = [self.x, self.call["batch_sizes"], *self.states, *self.computed()]
            return [[_all(arg, len(out.shape)) for arg in given] for out in self.call.outs]
        reads = [self.sequence(), *(self.final(cell=number == 1) for number in range(len(self.states)))]
        return [[*read, *(_all(arg, 3) for arg in self.computed())] for read in reads]

    def rows_of_packed(self, sizes: Sequence[int]) -> list[list[ArgRead]]:
        """As for whole sequences, each row in its own sequence, whose rows lie one time after the other."""
        one = (Reduce((1,)), *to_grid(sizes, (1,)))
        back = to_rows(sizes, (1,))
        steps = len(sizes)
        sequence: list[ArgRead] = []
        for way in range(self.ways):
            half: Steps = () if self.layers > 1 else self._half_of_rows(way)
            sequence.append((self.x, (*one, Prefix(0, steps, reverse=way == 1), *back, *half)))
        everywhere = Take(0, (0,) * steps)
        sequence += [(state, (Reduce((0, 2)), everywhere, *back)) for state in self.states]
        final: list[ArgRead] = [(self.x, (*one, Reduce((0,))))]
        final += [(state, (Reduce((0, 2)),)) for state in self.states]
        reads = [sequence, *([*final] for _ in self.states)]
        return [
            [*read, *(_all(arg, 3 if number else 2) for arg in self.computed())] for number, read in enumerate(reads)
        ]

    def _half_of_rows(self, way: int) -> Steps:
        return () if self.ways == 1 else (Place(1, 1, way, 2), Group(1, 2, 2 * self.out_size))

    def computed(self) -> list[Arg]:
        """Weights that were computed from data."""
        return [arg for arg in self.call["params"] if arg.reads_data]

    # cost

    def matrices(self) -> list[Arg]:
        return [arg for arg in self.call["params"] if arg.ndim == 2]

    def formula(self) -> str:
        """One term for each matrix of a direction, (steps x rows) x (columns)."""
        batch = self.rows // max(1, self.steps) * self.ways
        matrices = self.matrices()
        each = len(matrices) // (self.layers * self.ways)
        terms = []
        for layer in range(self.layers):
            first = layer * self.ways * each
            inputs, hidden, *projection = (weight.shape for weight in matrices[first : first + each])
            terms.append(f"({times((self.steps, inputs[0]))}) x ({inputs[1]}+{hidden[1]})")
            terms += [f"({times((self.steps, shape[0]))}) x ({shape[1]})" for shape in projection]
        text = " + ".join(terms)
        return text if batch == 1 else f"{batch} x ({text})" if len(terms) > 1 else f"{batch} x {text}"


def _all(arg: Arg, rank: int) -> ArgRead:
    """Everything is read."""
    return arg, (Reduce(tuple(range(arg.ndim))), *reshape((1,) * arg.ndim, (1,) * rank))


def _inexact(stack: _Stack) -> str:
    if stack.packed and isinstance(stack.call["batch_sizes"], Arg):
        return "packed sequence: every unit is taken to read all sequences"
    if stack.packed and any(state.reads_data for state in stack.states):
        return "packed sequence: initial states are taken to be read by all units of their sequence"
    return "weights computed from data: every unit is taken to read all of them" if stack.computed() else ""


@rule(
    "torch.lstm", "torch.gru", "torch.rnn_tanh", "torch.rnn_relu",
    "aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu",
)  # fmt: skip
def recurrent(call: Call) -> Effect:
    """Recurrent layer: reads the sequence up to its time (backward: from it on); its gates' products at every step."""
    stack = _Stack(call)
    cell = _cell(call.op)
    units = stack.rows * stack.layers * stack.ways * stack.hidden
    attrs: dict[str, Any] = {
        "input_size": stack.x.shape[-1],
        "hidden_size": stack.hidden,
        "num_layers": stack.layers,
        "bidirectional": stack.ways == 2,
        "batch_first": bool(call["batch_first"]),
    }
    if stack.out_size != stack.hidden:
        attrs["proj_size"] = stack.out_size
    return Effect(
        "recurrent",
        stack.outputs(),
        each=True,
        macs=stack.rows * sum(weight.numel for weight in stack.matrices()),
        flops=_flops(cell, units, stack.rows * sum(arg.numel for arg in call["params"] if arg.ndim == 1)),
        formula=stack.formula(),
        attrs=attrs,
        inexact=_inexact(stack),
    )


@rule("keras.lstm", "keras.gru")
def keras_recurrent(call: Call) -> Effect:
    """Keras's LSTM and GRU, (batch, time, features): the outputs, or the last of them, and the final states."""
    x: Arg = call["input"]
    weights: list[Arg] = [call["kernel"], call["recurrent_kernel"]]
    bias: Arg | None = call["bias"]
    cell = _cell(call.op)
    (batch, steps, features), hidden = x.shape, weights[1].shape[0]
    last: ArgRead = (x, (Reduce((1, 2)), Reshape((batch, 1, 1), (batch, 1))))
    sequence: list[Step] = [Reduce((2,)), Prefix(1, steps)]
    if call["go_backwards"]:  # the outputs are in the order in which they were computed
        sequence.insert(0, Slice(1, steps - 1, -1, steps))
    first: ArgRead = (x, tuple(sequence)) if call["return_sequences"] else last
    text = f"({times((steps, cell.gates * hidden))}) x ({features}+{hidden})"
    return Effect(
        "recurrent",
        [[first], *([last] for _ in call.outs[1:])],
        each=True,
        macs=batch * steps * sum(weight.numel for weight in weights),
        flops=_flops(cell, batch * steps * hidden, 0 if bias is None else batch * steps * bias.numel),
        formula=text if batch == 1 else f"{batch} x {text}",
        attrs={"input_size": features, "hidden_size": hidden, "go_backwards": bool(call["go_backwards"])},
    )


@rule("aten.mkldnn_rnn_layer")
def one_direction(call: Call) -> Effect:
    """One direction of one layer of an LSTM, as a CPU runs scripted ones: reads the sequence up to its time."""
    x, h, c = call["input"], call["hx_"], call["cx_"]
    (steps, batch, features), hidden = x.shape, call["hidden_size"]
    weights, biases = [call["weight0"], call["weight1"]], [call["weight2"], call["weight3"]]
    turned, rows = Reshape((batch, hidden), (1, batch, hidden)), (Reduce((1,)), Reshape((batch, 1), (1, batch, 1)))
    first = steps - 1 if call["reverse"] else 0
    sequence: list[ArgRead] = [
        (x, (Reduce((2,)), Prefix(0, steps, reverse=bool(call["reverse"])))),
        (h, rows),
        (c, (turned, Place(0, 1, first, steps))),  # a first step reads its own cell, later ones all of them
    ]
    if steps > 1:
        sequence.append((c, (*rows, Take(0, tuple(-1 if t == first else 0 for t in range(steps))))))
    last: list[ArgRead] = [(x, (Reduce((0, 2)), Reshape((1, batch, 1), (batch, 1)))), (h, (Reduce((1,)),))]
    last.append((c, () if steps == 1 else (Reduce((1,)),)))
    cell, units = _CELLS["lstm"], steps * batch
    text = f"({times((steps, cell.gates * hidden))}) x ({features}+{hidden})"
    return Effect(
        "recurrent",
        [sequence, *[last] * (len(call.outs) - 1)],
        each=True,
        macs=units * sum(weight.numel for weight in weights),
        flops=_flops(cell, units * hidden, units * sum(arg.numel for arg in biases if call["has_biases"])),
        formula=text if batch == 1 else f"{batch} x {text}",
        attrs={"input_size": features, "hidden_size": hidden, "reverse": bool(call["reverse"])},
    )


# --- single cells -----------------------------------------------------------------------------------------------------


@rule(
    "torch.lstm_cell", "torch.gru_cell", "torch.rnn_tanh_cell", "torch.rnn_relu_cell",
    "aten.lstm_cell", "aten.gru_cell", "aten.rnn_tanh_cell", "aten.rnn_relu_cell",
)  # fmt: skip
def one_step(call: Call) -> Effect:
    """One step of a recurrent layer: reads all of input and state, an LSTM's cell its own unit; gates' products."""
    x: Arg = call["input"]
    hx = call["hx"]
    states: Sequence[Arg] = hx if isinstance(hx, tuple) else (hx,)
    kind = _cell(call.op)
    weights: list[Arg] = [call["w_ih"], call["w_hh"]]
    biases: list[Arg] = [call[name] for name in ("b_ih", "b_hh") if call[name] is not None]
    hidden = states[0].shape[-1]
    last = x.ndim - 1
    mixed: list[ArgRead] = [(x, (Reduce((last,)),)), (states[0], (Reduce((last,)),))]
    mixed += [(state, ()) for state in states[1:]]
    # the last gate of an LSTM lets the cell out: the new cell itself does not read it
    reads = [
        [*mixed, *(_rows(arg, kind.gates, hidden, kind.gates - output) for arg in (*weights, *biases))]
        for output in range(len(call.outs))
    ]
    batch = numel(x.shape[:-1])
    text = f"({kind.gates * hidden}) x ({x.shape[-1]}+{hidden})"
    return Effect(
        "recurrent",
        reads,
        each=True,
        macs=batch * sum(weight.numel for weight in weights),
        flops=_flops(kind, batch * hidden, batch * sum(bias.numel for bias in biases)),
        formula=text if batch == 1 else f"{batch} x {text}",
        attrs={"input_size": x.shape[-1], "hidden_size": hidden},
    )


def _rows(arg: Arg, gates: int, hidden: int, used: int) -> ArgRead:
    """A unit reads its own row of a weight or bias in each of the gates that it uses."""
    steps: list[Step] = []
    if arg.ndim == 2:
        steps = [Reduce((1,)), *drop_axes(arg.shape, (1,))]
    if used < gates:
        steps.append(Slice(0, 0, 1, used * hidden))
    return arg, (*steps, Reshape((used * hidden,), (used, hidden)), Reduce((0,)))
