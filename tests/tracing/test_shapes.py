"""Results known from shapes alone are what torch gives on a CPU."""

import pytest
import torch
from torch.backends import mkldnn
from torch.nn import functional

from rfcalc.tracing import shapes
from rfcalc.tracing.schema import schema_of


def _meta(value):
    if isinstance(value, torch.Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return type(value)(map(_meta, value)) if isinstance(value, list | tuple) else value


def _same(found, real):
    assert isinstance(found, tuple) == isinstance(real, tuple)
    pairs = zip(found, real, strict=True) if isinstance(found, tuple) else [(found, real)]
    return all((a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride()) and a.is_meta for a, b in pairs)


X = torch.randn(2, 6, 4, 4)
C = torch.ones(6)
NORMS = {
    "torch.layer_norm": (functional.layer_norm, {"input": X, "normalized_shape": (4,), "weight": torch.ones(4)}),
    "torch.group_norm": (functional.group_norm, {"input": X, "num_groups": 3, "weight": C, "bias": C}),
    "torch.batch_norm": (functional.batch_norm, {"input": X, "running_mean": C, "running_var": C, "weight": C}),
    "torch.linear": (functional.linear, {"input": X, "weight": torch.randn(5, 4), "bias": torch.ones(5)}),
}


@pytest.mark.parametrize("name", NORMS)
def test_layers_are_as_on_a_cpu(name):
    function, named = NORMS[name]

    found = shapes.composite(name, {key: _meta(value) for key, value in named.items()})

    assert _same(found, function(**named))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("torch.layer_norm", {"normalized_shape": (6,)}),
        ("torch.layer_norm", {"weight": torch.ones(6)}),
        ("torch.layer_norm", {"weight": torch.ones(4, dtype=torch.float64)}),
        ("torch.layer_norm", {"input": X.permute(0, 2, 3, 1), "normalized_shape": (6,), "weight": C}),
        ("torch.group_norm", {"num_groups": 4}),
        ("torch.group_norm", {"num_groups": 0}),
        ("torch.group_norm", {"weight": torch.ones(5)}),
        ("torch.batch_norm", {"training": True}),
        ("torch.batch_norm", {"running_mean": None, "running_var": None}),
        ("torch.batch_norm", {"running_var": torch.ones(5)}),
        ("torch.linear", {"weight": torch.randn(5, 3)}),
        ("torch.linear", {"bias": torch.ones(4)}),
        ("torch.dropout", {}),
    ],
)
def test_what_is_not_plain_is_left_to_torch(name, change):
    named = {**(NORMS[name][1] if name in NORMS else {"input": X}), **change}

    assert shapes.composite(name, {key: _meta(value) for key, value in named.items()}) is None


@pytest.mark.parametrize("mask", [None, (7, 5), (1, 1, 5), (2, 3, 7, 5)])
def test_attention_is_as_on_a_cpu(mask):
    named = {"query": torch.randn(2, 3, 7, 8), "key": torch.randn(2, 3, 5, 8), "value": torch.randn(2, 3, 5, 6)}
    named["attn_mask"] = None if mask is None else torch.zeros(mask)

    found = shapes.composite("torch.scaled_dot_product_attention", {key: _meta(value) for key, value in named.items()})

    assert _same(found, functional.scaled_dot_product_attention(**named))


@pytest.mark.parametrize(
    "change",
    [
        {"key": torch.randn(2, 3, 5, 7)},
        {"key": torch.randn(2, 3, 4, 8)},
        {"key": torch.randn(2, 1, 5, 8)},
        {"value": torch.randn(2, 3, 5, 6, dtype=torch.float64)},
        {"enable_gqa": True},
        {"attn_mask": torch.zeros(7, 4)},
        {"attn_mask": torch.zeros(2, 2, 3, 7, 5)},
        {"attn_mask": torch.zeros(7, 5, dtype=torch.int64)},
    ],
)
def test_odd_attention_is_left_to_torch(change):
    named = {"query": torch.randn(2, 3, 7, 8), "key": torch.randn(2, 3, 5, 8), "value": torch.randn(2, 3, 5, 6)}

    found = shapes.composite(
        "torch.scaled_dot_product_attention", {k: _meta(v) for k, v in {**named, **change}.items()}
    )

    assert found is None


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    ("kind", "layers", "ways"), [("lstm", 1, 2), ("lstm", 2, 1), ("gru", 2, 2), ("rnn_tanh", 1, 1)]
)
def test_recurrent_layers_are_as_on_a_cpu(kind, layers, ways, batch_first):
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn_tanh": torch.nn.RNN}
    layer = kinds[kind](5, 4, layers, bidirectional=ways == 2, batch_first=batch_first).eval()
    x, state = torch.randn(3, 7, 5), torch.zeros(layers * ways, 3 if batch_first else 7, 4)
    hx = (state, state) if kind == "lstm" else state
    settings = {"num_layers": layers, "bidirectional": ways == 2, "batch_first": batch_first}

    found = shapes.composite(
        f"torch.{kind}", {"input": _meta(x), "hx": _meta(hx), "params": _meta(layer._flat_weights), **settings}
    )
    with torch.no_grad(), mkldnn.flags(enabled=False):
        sequence, last = layer(x, hx)

    assert _same(found, (sequence, *last) if kind == "lstm" else (sequence, last))


def test_a_recurrent_layer_with_other_weights_is_left_to_torch():
    named = {"input": torch.randn(3, 7, 5), "hx": torch.zeros(1, 7, 4), "params": [torch.randn(4, 6)], "num_layers": 1}

    assert shapes.composite("torch.gru", {key: _meta(value) for key, value in named.items()}) is None


A = torch.randn(2, 3, 4, 5)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "add_", "mul_"])
@pytest.mark.parametrize("other", [A + 1, torch.ones(3, 1, 1), torch.ones(5), torch.ones(()), 2, 0.5])
def test_arithmetic_is_as_on_a_cpu(name, other):
    overload = getattr(torch.ops.aten, name).Tensor

    found = shapes.like_input(schema_of(overload), (_meta(A), _meta(other)))

    assert _same(found, overload(A.clone(), other))


@pytest.mark.parametrize(
    ("x", "other"),
    [
        (torch.ones(3, 1, 1), A),
        (A, torch.ones(2, 1, 3, 4, 5)),
        (A, A.double()),
        (A, torch.ones(5, dtype=torch.int64)),
        (A.permute(0, 2, 3, 1), torch.ones(3)),
        (A.permute(0, 3, 2, 1), A.permute(0, 3, 2, 1)),
        (A, torch.ones(5, 4).t()),
        (A, 1j),
        (torch.ones(3, dtype=torch.int64), 0.5),
    ],
)
def test_other_arithmetic_is_left_to_torch(x, other):
    assert shapes.like_input(schema_of(torch.ops.aten.mul.Tensor), (_meta(x), _meta(other))) is None
