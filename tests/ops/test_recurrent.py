"""Rules of recurrent layers against poisoned calls."""

import pytest
import torch

from tests.ops.oracle import check_call, check_op

aten = torch.ops.aten
VF = torch._VF


def weights(kind, inputs, hidden, layers, ways, biases=True, projected=None):
    """Flat weights as torch.nn.RNNBase orders them."""
    gates = {"lstm": 4, "gru": 3}.get(kind, 1) * hidden
    size = projected or hidden
    flat = []
    for layer in range(layers):
        for _ in range(ways):
            flat += [torch.rand(gates, inputs if layer == 0 else ways * size), torch.rand(gates, size)]
            flat += [torch.rand(gates), torch.rand(gates)] if biases else []
            flat += [torch.rand(projected, hidden)] if projected else []
    return flat


pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")


def check(
    kind, inputs=2, hidden=2, layers=1, ways=1, time=3, batch=2,
    batch_first=False, biases=True, projected=None, probe=True,
):  # fmt: skip
    """The rule under the name that the tracer gives the call; weights are constants, without ``probe`` all is."""
    x = torch.rand(*((batch, time) if batch_first else (time, batch)), inputs)
    params = weights(kind, inputs, hidden, layers, ways, biases, projected)
    hx = torch.rand(layers * ways, batch, projected or hidden)
    states = [hx, torch.rand(layers * ways, batch, hidden)] if kind == "lstm" else hx
    args = (x, states, params, biases, layers, 0.0, False, ways == 2, batch_first)
    fixed = params if probe else [*params, x, hx, *states]
    names = ["input", "hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional", "batch_first"]

    def call():
        return getattr(VF, kind)(*args)

    return check_call(f"torch.{kind}", dict(zip(names, args, strict=True)), call(), call, const=fixed)


KINDS = ["lstm", "gru", "rnn_tanh", "rnn_relu"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("layers", "ways"), [(1, 1), (1, 2), (3, 1), (2, 2)])
def test_the_past_is_read_and_backward_the_future(kind, layers, ways, batch_first):
    effect = check(kind, layers=layers, ways=ways, batch_first=batch_first)

    assert effect.inexact == ""
    assert effect.kind == "recurrent"


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("layers", "ways"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_one_step(kind, layers, ways, batch_first):
    assert check(kind, layers=layers, ways=ways, time=1, batch_first=batch_first).inexact == ""


@pytest.mark.parametrize(("layers", "ways", "time"), [(1, 1, 3), (2, 1, 1), (1, 2, 1), (2, 2, 2)])
def test_projection_mixes_the_cells(layers, ways, time):
    effect = check("lstm", hidden=3, layers=layers, ways=ways, time=time, projected=2)

    assert effect.inexact == ""
    assert effect.attrs["proj_size"] == 2


def test_sequences_as_aten_records_them():
    x, hx = torch.rand(2, 3, 2), torch.rand(1, 3, 2)
    params = weights("gru", 2, 2, 1, 1)

    effect = check_op(aten.gru.input, x, hx, params, True, 1, 0.0, False, False, False, const=params)
    assert effect.inexact == ""
    params = weights("lstm", 2, 2, 1, 1)
    states = [hx, torch.rand(1, 3, 2)]
    effect = check_op(aten.lstm.input, x, states, params, True, 1, 0.0, False, False, False, const=params)
    assert effect.inexact == ""


def test_computed_weights_are_an_upper_bound():
    x, hx = torch.rand(2, 1, 2), torch.rand(1, 1, 2)

    effect = check_op(aten.gru.input, x, hx, weights("gru", 2, 2, 1, 1), True, 1, 0.0, False, False, False)

    assert "computed from data" in effect.inexact


def test_packed_sequences_are_an_upper_bound():
    data, sizes, hx = torch.rand(5, 2), torch.tensor([3, 2]), torch.rand(1, 3, 4)
    params = weights("lstm", 2, 4, 1, 1)
    args = (data, sizes, [hx, torch.rand(1, 3, 4)], params, True, 1, 0.0, False, False)

    effect = check_op(aten.lstm.data, *args, const=params)
    assert "packed" in effect.inexact
    assert effect.macs == 5 * (16 * 2 + 16 * 4)

    params = weights("gru", 2, 4, 1, 2)
    args = (data, sizes, torch.rand(2, 3, 4), params, True, 1, 0.0, False, True)
    assert check_op(aten.gru.data, *args, const=params).macs == 5 * 2 * 12 * 6


# --- cost -------------------------------------------------------------------------------------------------------------


def cost(kind, **sizes):
    return check(kind, probe=False, **sizes)


def test_multiply_adds():
    effect = cost("lstm", inputs=10, hidden=20, layers=2, ways=2, time=5, batch=2, batch_first=True)
    assert effect.macs == 10 * 2 * (4 * 20 * 10 + 4 * 20 * 20) + 10 * 2 * (4 * 20 * 40 + 4 * 20 * 20) == 144000
    assert effect.formula == "4 x ((5x80) x (10+20) + (5x80) x (40+20))"
    assert effect.attrs == {
        "input_size": 10,
        "hidden_size": 20,
        "num_layers": 2,
        "bidirectional": True,
        "batch_first": True,
    }

    effect = cost("gru", inputs=10, hidden=20, time=5, batch=2, batch_first=True)
    assert effect.macs == 10 * (3 * 20 * 10 + 3 * 20 * 20) == 18000
    assert effect.formula == "2 x (5x60) x (10+20)"

    effect = cost("rnn_tanh", inputs=3, hidden=4, time=2, batch=1)
    assert effect.macs == 2 * 4 * 7
    assert effect.formula == "(2x4) x (3+4)"

    effect = cost("lstm", inputs=3, hidden=4, time=2, batch=1, projected=2)
    assert effect.macs == 2 * (16 * 3 + 16 * 2 + 2 * 4)
    assert effect.formula == "(2x16) x (3+2) + (2x2) x (4)"


def test_other_operations():
    units = 3 * 2 * 2  # steps, batch, hidden

    assert cost("lstm").flops == {"bias": 8 * units, "activation": 14 * units, "elementwise": 8 * units}
    assert cost("gru").flops == {"bias": 6 * units, "activation": 9 * units, "elementwise": 7 * units}
    assert cost("rnn_tanh").flops == {"bias": 2 * units, "activation": units, "elementwise": units}
    assert cost("rnn_tanh", biases=False).flops == {"activation": units, "elementwise": units}


# --- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
@pytest.mark.parametrize("biases", [True, False])
def test_cells(kind, biases):
    x, state, params = torch.rand(2, 3), torch.rand(2, 2), weights(kind, 3, 2, 1, 1, biases)
    hx = [state, torch.rand(2, 2)] if kind == "lstm" else state
    op = getattr(aten, f"{kind}_cell").default

    effect = check_op(op, x, hx, *params)

    rows = params[0].shape[0]
    assert effect.inexact == ""
    assert effect.macs == 2 * rows * (3 + 2)
    assert effect.formula == f"2 x ({rows}) x (3+2)"
    assert effect.flops.get("bias", 0) == (2 * 2 * rows if biases else 0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("time", [1, 3])
def test_one_direction_as_a_cpu_runs_it(reverse, time):
    """A kernel that does not spread NaN: the same layer of torch's own stands for it."""
    flat = weights("lstm", 2, 3, 1, 1)
    x, h, c = torch.rand(time, 2, 2), torch.rand(2, 3), torch.rand(2, 3)
    names = ("input", "weight0", "weight1", "weight2", "weight3", "hx_", "cx_")
    named = dict(zip(names, (x, *flat, h, c), strict=True))
    settings = {"reverse": reverse, "mode": 2, "hidden_size": 3, "num_layers": 1, "has_biases": True}

    def again():
        seen = x.flip(0) if reverse else x
        out, *last = VF.lstm(seen, (h[None], c[None]), flat, True, 1, 0.0, False, False, False)
        return out.flip(0) if reverse else out, *(state[0] for state in last)

    effect = check_call("aten.mkldnn_rnn_layer", {**named, **settings}, again(), again, const=flat)

    assert effect.macs == time * 2 * 12 * (2 + 3)
