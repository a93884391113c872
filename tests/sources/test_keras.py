"""Keras models: names, shapes, parameters as Keras counts them, and fields as a poisoned pass of Keras shows them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import rfcalc
from rfcalc import Analysis, sources
from rfcalc.api import layer_graph
from rfcalc.errors import LoadError, TraceError, UsageError
from rfcalc.sources.loaded import Loaded
from tests import poison

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
layers = keras.layers

pytestmark = pytest.mark.filterwarnings("ignore")  # of Keras and of what it imports


def on_every_axis(model: Any, *inputs: torch.Tensor) -> Analysis:
    """The analysis of a model, its regions held against poisoned passes of Keras itself along every axis."""
    names = [item.name for item in layer_graph(model, inputs).inputs]
    axes = {name: {f"axis{k}": k for k in range(value.ndim)} for name, value in zip(names, inputs, strict=True)}
    a = rfcalc.analyze(model, inputs, axes=axes)

    def run(*given: torch.Tensor) -> Any:
        return model(list(given) if len(given) > 1 else given[0], training=False)

    with poison.plain_kernels():
        for which, (name, value) in enumerate(zip(names, inputs, strict=True)):
            for axis in range(value.ndim) if value.is_floating_point() else ():
                poison.compare(a, name, axis, poison.poisoned(run, inputs, which, axis))
    return a


def sequence(shape: tuple[int, ...], *parts: Any, dtype: str = "float32") -> Any:
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts])


# --- the functional API -----------------------------------------------------------------------------------------------


def two_views() -> Any:
    """Two inputs, a layer that both share, a concatenation, two outputs."""
    left, right = keras.Input((12, 10, 3), name="left"), keras.Input((6, 5, 3), name="right")
    look = layers.Conv2D(4, 3, padding="same", activation="relu", name="look")
    halved = layers.BatchNormalization(name="norm")(layers.MaxPooling2D(name="halve")(look(left)))
    both = layers.Concatenate(name="both")([halved, look(right)])
    deep = layers.Conv2D(5, 3, strides=2, padding="same", name="deep")(both)
    mask = layers.Conv2DTranspose(1, 3, strides=2, padding="same", name="mask")(deep)
    label = layers.Dense(7, name="label")(layers.GlobalAveragePooling2D(name="average")(deep))
    return keras.Model([left, right], [mask, label], name="two_views")


def test_two_inputs_two_outputs_and_a_shared_layer() -> None:
    model = two_views()

    a = on_every_axis(model, torch.randn(1, 12, 10, 3), torch.randn(1, 6, 5, 3))

    rows = {layer.name: (layer.module, layer.kind, layer.output_shape, layer.params) for layer in a.layers}
    assert rows == {
        "left": ("Input", "input", (1, 12, 10, 3), 0),
        "right": ("Input", "input", (1, 6, 5, 3), 0),
        "look": ("Conv2D", "conv", (1, 12, 10, 4), 3 * 3 * 3 * 4 + 4),
        "halve": ("MaxPooling2D", "pool", (1, 6, 5, 4), 2 * 4),
        "look#2": ("Conv2D", "conv", (1, 6, 5, 4), 0),
        "both": ("Concatenate", "merge", (1, 6, 5, 8), 0),
        "deep": ("Conv2D", "conv", (1, 3, 3, 5), 3 * 3 * 8 * 5 + 5),
        "mask": ("Conv2DTranspose", "conv_transpose", (1, 6, 6, 1), 3 * 3 * 5 + 1),
        "average": ("GlobalAveragePooling2D", "pool", (1, 5), 0),
        "label": ("Dense", "linear", (1, 7), 5 * 7 + 7),
    }
    assert {layer.name: layer.macs for layer in a.layers if layer.macs} == {
        "look": 12 * 10 * 4 * 27,
        "look#2": 6 * 5 * 4 * 27,
        "deep": 3 * 3 * 5 * 72,
        "mask": 3 * 3 * 5 * 9,  # a transposed convolution, by its input
        "label": 5 * 7,
    }
    assert a["halve"].folded[-1] == "norm"
    assert a["norm"].kind == "norm"
    assert a["norm"].attrs["foldable"]


def test_parameters_are_those_that_keras_counts() -> None:
    model = two_views()

    a = rfcalc.analyze(model)

    held: dict[str, int] = {}
    for item in (*a.layer_graph.params, *a.layer_graph.buffers):
        owner = item.name.rpartition(".")[0]
        held[owner] = held.get(owner, 0) + item.numel
    assert held == {layer.name: layer.count_params() for layer in model.layers if layer.weights}
    assert (a.totals.params, a.totals.buffers) == (573, 8)
    assert a.totals.params + a.totals.buffers == model.count_params()
    assert a.totals.unused_params == {}


def test_frozen_weights_are_parameters_that_are_not_trained() -> None:
    model = two_views()
    model.get_layer("deep").trainable = False
    model.get_layer("norm").trainable = False

    totals = rfcalc.analyze(model).totals

    assert (totals.params, totals.trainable_params, totals.buffers) == (573, 573 - 365 - 8, 8)


def test_fields_by_input() -> None:
    a = rfcalc.analyze(two_views())

    sizes = {name: field.size for name, field in a["deep"].receptive_fields.items()}
    assert sizes == {"left": (8, 8), "right": (5, 5)}
    assert a.receptive_field("deep", of="look").size == (6, 6)
    # 6 -> 3 rows: one row of padding, after the last; 5 -> 3 columns: one on each side
    assert a["deep"].receptive_fields["right"].start == (-1, -2)
    assert {item.name: dict(item.axes) for item in a.inputs} == {
        "left": {"H": 1, "W": 2},
        "right": {"H": 1, "W": 2},
    }


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        (None, ((1, 12, 10, 3), (1, 6, 5, 3))),
        ([(12, 10, 3), (6, 5, 3)], ((1, 12, 10, 3), (1, 6, 5, 3))),
        ({"right": (2, 6, 5, 3), "left": (2, 12, 10, 3)}, ((2, 12, 10, 3), (2, 6, 5, 3))),
        ({"right": torch.zeros(1, 6, 5, 3), "left": torch.zeros(1, 12, 10, 3)}, ((1, 12, 10, 3), (1, 6, 5, 3))),
        ((torch.zeros(1, 12, 10, 3), torch.zeros(1, 6, 5, 3)), ((1, 12, 10, 3), (1, 6, 5, 3))),
    ],
)
def test_ways_to_give_the_inputs(inputs: Any, shapes: Any) -> None:
    found = {item.name: item.shape for item in rfcalc.analyze(two_views(), inputs).inputs}

    assert found == dict(zip(("left", "right"), shapes, strict=True))


def test_inputs_that_do_not_fit_are_refused() -> None:
    one = torch.zeros(1, 12, 10, 3)

    with pytest.raises(UsageError, match="two_views takes 2 inputs, left, right; 1 were given"):
        rfcalc.analyze(two_views(), one)
    with pytest.raises(UsageError, match="two_views takes left, right; given by name: left, middle"):
        rfcalc.analyze(two_views(), {"left": one, "middle": one})
    with pytest.raises(TraceError, match=r"expected shape=\(None, 12, 10, 3\), found shape=\(1, 9, 9, 3\)"):
        rfcalc.analyze(two_views(), {"left": (9, 9, 3)})


def test_an_input_that_was_given_no_name_is_the_input() -> None:
    plain = sequence((8, 8, 3), layers.Conv2D(2, 3))
    named = keras.Sequential([keras.Input((8, 8, 3), name="photo"), layers.Conv2D(2, 3)])

    assert [item.name for item in rfcalc.analyze(plain).inputs] == ["input"]
    assert [item.name for item in rfcalc.analyze(named).inputs] == ["photo"]
    assert [item.name for item in rfcalc.analyze(named, torch.zeros(1, 8, 8, 3)).inputs] == ["photo"]


def test_nested_inputs_are_given_as_the_model_takes_them() -> None:
    inputs = {"b": keras.Input((4,), name="b"), "a": [keras.Input((3,), name="a0"), keras.Input((2,), name="a1")]}
    both = layers.Concatenate()([inputs["b"], *inputs["a"]])
    model = keras.Model(inputs, {"sum": layers.Dense(5, name="sum")(both)})

    a = rfcalc.analyze(model)

    assert {item.name: item.shape for item in a.inputs} == {"a0": (1, 3), "a1": (1, 2), "b": (1, 4)}
    assert a["sum"].macs == 9 * 5


# --- layers -----------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A model, the shape of its input, and its multiply-adds."""

    build: Callable[[], Any]
    macs: int


def attention(causal: bool) -> Any:
    x = keras.Input((6, 8))
    return keras.Model(x, layers.MultiHeadAttention(2, 4, name="mix")(x, x, use_causal_mask=causal))


def functions() -> Any:
    ops = keras.ops
    x = keras.Input((7, 6, 3))
    y = ops.relu(layers.Conv2D(4, 3)(x))
    return keras.Model(x, y[:, ::2] * 2.0 + ops.mean(y, axis=1, keepdims=True))


PROJECTIONS = 4 * 6 * 8 * 8  # query, key, value and output of two heads of 4 for 6 tokens of 8

CASES = {
    "conv1d, causal": Case(lambda: sequence((12, 3), layers.Conv1D(4, 3, padding="causal", dilation_rate=2)), 432),
    "conv2d, padded unevenly": Case(
        lambda: sequence((9, 8, 3), layers.Conv2D(4, 4, padding="same", strides=(2, 1))), 5 * 8 * 4 * 48
    ),
    "conv2d, groups": Case(lambda: sequence((9, 8, 4), layers.Conv2D(4, 3, groups=2)), 7 * 6 * 4 * 18),
    "conv3d": Case(lambda: sequence((5, 4, 6, 2), layers.Conv3D(3, 3, padding="same")), 5 * 4 * 6 * 3 * 54),
    "conv2d, transposed, cropped": Case(
        lambda: sequence((5, 4, 3), layers.Conv2DTranspose(4, 5, strides=3, padding="same")), 5 * 4 * 3 * 100
    ),
    "conv2d, transposed, padded": Case(
        lambda: sequence((5, 4, 3), layers.Conv2DTranspose(4, 2, strides=3)), 5 * 4 * 3 * 16
    ),
    "conv1d, transposed": Case(
        lambda: sequence((5, 3), layers.Conv1DTranspose(4, 4, strides=2, padding="same")), 5 * 3 * 16
    ),
    "separable": Case(
        lambda: sequence((8, 7, 3), layers.SeparableConv2D(4, 3, padding="same", depth_multiplier=2)),
        8 * 7 * (6 * 9 + 6 * 4),
    ),
    "depthwise": Case(lambda: sequence((8, 7, 3), layers.DepthwiseConv2D(3, padding="same", strides=2)), 4 * 4 * 3 * 9),
    "channels first": Case(
        lambda: sequence(
            (3, 8, 6),
            layers.Conv2D(4, 3, padding="same", data_format="channels_first"),
            layers.BatchNormalization(axis=1),
            layers.MaxPooling2D(data_format="channels_first"),
            layers.UpSampling2D((2, 3), data_format="channels_first"),
        ),
        8 * 6 * 4 * 27,
    ),
    "pooling": Case(
        lambda: sequence(
            (9, 8, 3), layers.MaxPooling2D(3, 2, padding="same"), layers.AveragePooling2D(3, 2, padding="same")
        ),
        0,
    ),
    "pooling, whole": Case(lambda: sequence((9, 8, 3), layers.GlobalMaxPooling2D(keepdims=True)), 0),
    "upsampling, 1d": Case(lambda: sequence((5, 3), layers.UpSampling1D(3)), 0),
    "upsampling, 2d": Case(lambda: sequence((5, 4, 3), layers.UpSampling2D((2, 3))), 0),
    "upsampling, 3d": Case(lambda: sequence((2, 3, 4, 2), layers.UpSampling3D((1, 2, 3))), 0),
    "padding and cropping": Case(
        lambda: sequence((7, 6, 3), layers.ZeroPadding2D(((1, 2), (0, 3))), layers.Cropping2D(((2, 0), (1, 1)))), 0
    ),
    "norms": Case(
        lambda: sequence((5, 4, 6), layers.BatchNormalization(), layers.LayerNormalization(), layers.Rescaling(0.5)), 0
    ),
    "group norm": Case(lambda: sequence((5, 4, 6), layers.GroupNormalization(3)), 0),
    "instance norm": Case(lambda: sequence((6, 5, 4), layers.GroupNormalization(-1, axis=1, center=False)), 0),
    "dense on an image": Case(lambda: sequence((5, 4, 3), layers.Dense(2, "gelu")), 5 * 4 * 3 * 2),
    "einsum": Case(lambda: sequence((6, 8), layers.EinsumDense("abc,cd->abd", (None, 3))), 6 * 8 * 3),
    "lstm": Case(lambda: sequence((6, 3), layers.LSTM(4)), 6 * 16 * (3 + 4)),
    "lstm, all outputs": Case(lambda: sequence((6, 3), layers.LSTM(4, return_sequences=True)), 6 * 16 * (3 + 4)),
    "lstm, backwards": Case(
        lambda: sequence((6, 3), layers.LSTM(4, return_sequences=True, go_backwards=True)), 6 * 16 * (3 + 4)
    ),
    "lstm, both ways": Case(
        lambda: sequence((6, 3), layers.Bidirectional(layers.LSTM(4, return_sequences=True))), 2 * 6 * 16 * (3 + 4)
    ),
    "gru": Case(lambda: sequence((6, 3), layers.GRU(4, return_sequences=True)), 6 * 12 * (3 + 4)),
    "gru, as first published": Case(  # step by step; the first step is computed twice, to see its shape
        lambda: sequence((6, 3), layers.GRU(4, reset_after=False, return_sequences=True)), 7 * 12 * (3 + 4)
    ),
    "simple rnn": Case(lambda: sequence((6, 3), layers.SimpleRNN(4, return_sequences=True)), 7 * 4 * (3 + 4)),
    "cells": Case(  # and once more, for what dropout would need
        lambda: sequence((5, 3), layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True)),
        7 * (12 * 6 + 6 * 5),
    ),
    "time distributed": Case(
        lambda: sequence((3, 6, 5, 2), layers.TimeDistributed(layers.Conv2D(3, 3))), 3 * 4 * 3 * 3 * 18
    ),
    "attention": Case(lambda: attention(causal=False), PROJECTIONS + 2 * 6 * 6 * 8),
    "attention, additive": Case(
        lambda: (lambda x: keras.Model(x, layers.AdditiveAttention()([x, x])))(keras.Input((6, 8))), 6 * 6 * 8
    ),
    "lambda": Case(lambda: sequence((8, 7, 3), layers.Lambda(lambda x: x[:, 1::3] * 2)), 0),
    "functions": Case(functions, 5 * 4 * 4 * 27),
    "a module of torch's": Case(
        lambda: sequence((3, 8, 7), layers.TorchModuleWrapper(torch.nn.Conv2d(3, 4, 3))), 6 * 5 * 4 * 27
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_layer(name: str) -> None:
    model = CASES[name].build()
    keras.utils.set_random_seed(0)

    a = on_every_axis(model, torch.randn(layer_graph(model).inputs[0].shape))

    assert a.totals.status == "complete"
    assert a.totals.macs == CASES[name].macs
    assert a.totals.params + a.totals.buffers == model.count_params()
    assert a.totals.unused_params == {}
    assert a.notices == ()


def test_a_causal_mask_is_known() -> None:
    a = rfcalc.analyze(attention(causal=True))

    (first,), (last,) = (side.reshape(-1, 6)[:1] for side in a.regions("mix/attention_output")[0])
    assert (first.tolist(), last.tolist()) == ([0] * 6, [0, 1, 2, 3, 4, 5])


def test_tokens() -> None:
    model = sequence((5,), layers.Embedding(10, 4, mask_zero=True), layers.Conv1D(3, 3), dtype="int32")

    a = rfcalc.analyze(model)

    assert [(item.dtype, dict(item.axes)) for item in a.inputs] == [("int32", {"T": 1})]
    assert [(layer.kind, layer.params, layer.receptive_field.size) for layer in a.layers[1:]] == [
        ("embedding", 40, (1,)),
        ("conv", 39, (3,)),
    ]


def test_masked_steps_are_followed_one_by_one() -> None:
    tokens = keras.Input((4,), dtype="int32")
    model = keras.Model(tokens, layers.LSTM(3, name="read")(layers.Embedding(9, 2, mask_zero=True)(tokens)))

    a = rfcalc.analyze(model)

    assert a.totals.macs == 5 * 12 * (2 + 3)  # one step more than there are, to see its shape
    assert {layer.name.partition("/")[0] for layer in a.layers[2:]} == {"read"}
    assert a.layers[-1].receptive_field.size == (4,)


@pytest.mark.parametrize(("policy", "dtype"), [("mixed_bfloat16", "bfloat16"), ("float64", "float64")])
def test_types(policy: str, dtype: str) -> None:
    model = sequence((8, 8, 3), layers.Conv2D(4, 3, dtype=policy), layers.BatchNormalization(dtype=policy))

    a = rfcalc.analyze(model)

    assert a.graph.nodes[a.layers[1].node]["record"].outputs[0].dtype == dtype
    assert (a.totals.params + a.totals.buffers, a.totals.macs) == (model.count_params(), 6 * 6 * 4 * 27)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_has_its_result_as_keras_gives_it_back() -> None:
    model = sequence(
        (8, 8, 8),
        layers.Conv2D(8, 3, padding="same", activation="relu", name="square"),
        layers.Conv2DTranspose(4, 5, strides=3, padding="same", name="larger"),
        layers.SeparableConv2D(6, 3, name="apart"),
        layers.Dense(2, name="each"),
    )

    a = rfcalc.analyze(model)

    assert {layer.name: layer.output_shape for layer in a.layers[1:]} == {
        "square": (1, 8, 8, 8),
        "larger": (1, 24, 24, 4),
        "apart/conv": (1, 22, 22, 4),
        "apart/conv#2": (1, 22, 22, 6),
        "each": (1, 22, 22, 2),
    }
    assert [first.shape for first, _ in a.regions("square")] == [(1, 8, 1, 1), (1, 1, 8, 1)]
    assert a.receptive_field("square", at=(0, 7)).region == ((0, 1), (6, 7))
    # row r of the first reaches rows 3r - 1 to 3r + 3 of the second: a kernel of 5, a crop of 1 before
    assert a.affects("larger", (0, 7)) == ((0, 6), (17, 23))
    assert a.receptive_field("larger", of="square").start == (-1, -1)
    assert a.receptive_field("larger", at=(23, 0)).region == ((6, 7), (0, 1))


@pytest.mark.parametrize(
    ("layer", "training", "flops"),
    [
        (lambda: layers.BatchNormalization(), False, {"norm": 2 * 120}),
        (lambda: layers.BatchNormalization(), True, {"norm": 8 * 120}),
        (lambda: layers.BatchNormalization(scale=False), True, {"norm": 7 * 120}),
        (lambda: layers.GroupNormalization(3), False, {"norm": 8 * 120}),
        (lambda: layers.UpSampling2D(), False, {}),
    ],
)
def test_other_operations(layer: Callable[[], Any], training: bool, flops: dict[str, int]) -> None:
    assert rfcalc.analyze(sequence((5, 4, 6), layer()), training=training).totals.flops_by == flops


def test_a_batch_in_training_reads_all_of_it() -> None:
    model = sequence((5, 4, 6), layers.Conv2D(6, 1), layers.BatchNormalization(name="norm"))

    assert rfcalc.analyze(model)["norm"].receptive_field.size == (1, 1)
    assert rfcalc.analyze(model, training=True)["norm"].receptive_field.whole_input


def test_nested_models_and_layers() -> None:
    block = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 3, padding="same", name="conv")], name="block")
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, block(layers.Conv2D(3, 1, name="mid")(block(x))))

    a = on_every_axis(model, torch.randn(1, 8, 8, 3))

    assert [(layer.name, layer.params) for layer in a.layers[1:]] == [
        ("block/conv", 84),
        ("mid", 12),
        ("block/conv#2", 0),
    ]


def test_a_layer_inside_a_model_and_beside_it_is_one() -> None:
    shared = layers.Dense(3, name="shared")
    inner = keras.Sequential([keras.Input((3,)), shared], name="inner")
    x = keras.Input((3,))

    a = rfcalc.analyze(keras.Model(x, shared(inner(x))))

    assert [(layer.name, layer.params) for layer in a.layers[1:]] == [("inner/shared", 12), ("inner/shared#2", 0)]
    assert (a.totals.params, a.totals.macs) == (12, 18)


def test_a_weight_in_two_layers_is_counted_once() -> None:
    class Tied(layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, table: Any) -> None:
            super().__init__(name="tied")
            self.table = table

        def build(self, shape: Any) -> None:
            self.kernel = self.table.embeddings

        def call(self, x: Any) -> Any:
            return keras.ops.matmul(x, keras.ops.transpose(self.kernel))

    tokens, table = keras.Input((5,), dtype="int32"), layers.Embedding(10, 4, name="table")
    model = keras.Model(tokens, Tied(table)(table(tokens)))

    totals = rfcalc.analyze(model).totals

    assert (totals.params, totals.macs, totals.unused_params) == (40, 5 * 4 * 10, {})
    assert model.count_params() == 40


def test_a_module_of_torch_s_keeps_its_names() -> None:
    model = sequence((3, 8, 7), layers.TorchModuleWrapper(torch.nn.Conv2d(3, 4, 3), name="wrap"))

    params = layer_graph(model).params

    assert [item.name for item in params] == ["wrap.module.weight", "wrap.module.bias"]


class Residual(layers.Layer):  # type: ignore[misc, name-defined]
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.conv = layers.Conv2D(3, 3, padding="same", name="conv")
        self.drop = layers.Dropout(0.3)

    def build(self, shape: Any) -> None:
        self.conv.build(shape)
        super().build(shape)

    def call(self, x: Any) -> Any:
        return x + self.drop(self.conv(x))


class Subclassed(keras.Model):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.blocks = [Residual(name=f"block{number}") for number in range(2)]
        self.head = layers.Dense(2, name="head")
        self.spare = layers.Dense(5, name="spare")

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return {"head": self.head(x), "body": x}


def test_subclassed_models() -> None:
    model = Subclassed()
    model(np.zeros((1, 6, 5, 3), "float32"))

    a = on_every_axis(model, torch.randn(1, 6, 5, 3))

    assert [item.shape for item in rfcalc.analyze(model).inputs] == [(1, 6, 5, 3)]  # as it was built
    assert [layer.name for layer in a.layers[1:]] == ["block0/conv", "block0/add", "block1/conv", "block1/add", "head"]
    assert a["block1/add"].receptive_field.size[1:3] == (5, 5)


def test_equal_names_inside_a_layer_are_numbered() -> None:
    class Pair(layers.Layer):  # type: ignore[misc, name-defined]
        def build(self, shape: Any) -> None:
            self.parts = [layers.Dense(4, name="same"), layers.ReLU(name="re.lu"), layers.Dense(4, name="same")]
            for part in self.parts:
                part.build((*shape[:-1], 4))

        def call(self, x: Any) -> Any:
            for part in self.parts:
                x = part(x)
            return x

    a = rfcalc.analyze(sequence((4,), Pair(name="pair")))

    assert [layer.name for layer in a.layers[1:]] == ["pair/same", "pair/same_1"]
    assert a["pair/re_lu"].module == "ReLU"


# --- keras.applications -----------------------------------------------------------------------------------------------

#: Parameters as Keras's documentation lists them (with the moving statistics), and multiply-adds.
PUBLISHED = {
    "VGG16": (138_357_544, 0, 15_470_264_320),
    "ResNet50": (25_636_712, 53_120, None),
    "MobileNetV2": (3_538_984, 34_112, None),
    "EfficientNetB0": (5_330_571, 42_023, None),
    "DenseNet121": (8_062_504, 83_648, None),
    "InceptionV3": (23_851_784, 34_432, None),
    "Xception": (22_910_480, 54_528, None),
    "ConvNeXtTiny": (28_589_128, 0, None),
}


def multiply_adds(model: Any) -> int:
    """Of convolutions and dense layers, from the shapes that Keras infers."""
    total = 0
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, layers.SeparableConv2D):
            places, inside = np.prod(layer.output.shape[1:3]), layer.input.shape[3] * layer.depth_multiplier
            total += int(places * inside * (np.prod(layer.kernel_size) + layer.filters))
        elif isinstance(layer, layers.DepthwiseConv2D):
            total += int(np.prod(layer.output.shape[1:]) * np.prod(layer.kernel_size))
        elif isinstance(layer, layers.Conv2D):
            total += int(np.prod(layer.output.shape[1:3]) * np.prod(layer.kernel.shape))
        elif isinstance(layer, layers.Dense):
            total += int(np.prod(layer.output.shape[1:-1]) * np.prod(layer.kernel.shape))
    return total


@pytest.mark.parametrize("name", PUBLISHED)
def test_applications(name: str) -> None:
    loaded = sources.load(f"keras:{name}")
    assert isinstance(loaded, Loaded)
    params, statistics, macs = PUBLISHED[name]

    a = rfcalc.analyze(loaded)

    assert all(parameter.is_meta for parameter in loaded.model.parameters())
    assert (a.totals.params + a.totals.buffers, a.totals.buffers, a.totals.status) == (params, statistics, "complete")
    model: Any = loaded.model
    assert a.totals.macs == (macs or multiply_adds(model.original))
    assert {field.status for layer in a.layers for field in layer.receptive_fields.values()} == {"exact"}
    assert a.notices == ()


def test_resnet50_of_keras_has_its_stride_on_the_first_convolution() -> None:
    a = rfcalc.analyze("keras:ResNet50")

    assert a["conv1_conv"].output_shape == (1, 112, 112, 64)
    assert a["conv5_block3_3_conv"].receptive_field.size == (483, 483)
    assert [(layer.index, layer.name) for layer in a.layers[-2:]] == [(72, "avg_pool"), (73, "predictions")]


# --- nothing stays behind ---------------------------------------------------------------------------------------------


def state(model: Any) -> Any:
    def facts(layer: Any) -> Any:
        held = {key: id(value) for key, value in vars(layer).items()}
        return layer.name, layer.built, layer.training, held, list(layer._losses), list(layer._modules)

    values = [(variable.path, id(variable._value), variable.numpy().tolist()) for variable in model.variables]
    return values, [facts(layer) for layer in model._flatten_layers()]


class Fails(layers.Layer):  # type: ignore[misc, name-defined]
    def call(self, x: Any) -> Any:
        self.seen = x
        raise RuntimeError("no further")


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_as_before(training: bool) -> None:
    model = sequence(
        (6, 6, 3),
        layers.Conv2D(2, 3, activity_regularizer="l2"),
        layers.BatchNormalization(),
        layers.GaussianDropout(0.5, seed=1),
        layers.Flatten(),
        layers.Dense(3),
    )
    before, numbers = state(model), random.getstate()

    rfcalc.analyze(model, training=training)

    assert state(model) == before
    assert random.getstate() == numbers
    assert keras.ops.convert_to_tensor(1.0).device.type != "meta"
    assert keras.config.is_traceback_filtering_enabled()


def test_the_model_is_as_before_where_its_forward_fails() -> None:
    model = keras.Sequential([layers.Dense(3), Fails(name="fails")], name="broken")
    model.layers[0].build((None, 4))
    model.built = True
    before = state(model)

    with pytest.raises(TraceError, match=r"layer fails \(Fails\) got 1x3: no further"):
        rfcalc.analyze(model, (4,))

    assert state(model) == before


def test_names_do_not_depend_on_what_was_built_before() -> None:
    layers.Conv2D(3, 3)
    after = layers.Conv2D(3, 3).name

    numbers = random.getstate()

    first, second = (rfcalc.analyze("keras:MobileNet(alpha=0.25, input_shape=(32, 32, 3))") for _ in range(2))

    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert random.getstate() == numbers  # from which Keras draws seeds
    assert layers.Conv2D(3, 3).name == f"conv2d_{int(after.rpartition('_')[2]) + 1}"


# --- against a real pass ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        two_views,
        lambda: sequence((6, 5, 3), layers.UpSampling2D(2, interpolation="bilinear")),  # asks a second method
        lambda: sequence((6, 3), layers.LSTM(4, return_sequences=True), layers.GRU(3)),
        lambda: sequence((6, 6, 3), layers.Normalization(), layers.GroupNormalization(3), layers.Conv2D(2, 3)),
    ],
)
def test_verify(build: Callable[[], Any]) -> None:
    found = rfcalc.verify(build(), device="cpu", timing=False)

    assert {check.what: [str(one) for one in check.differences] for check in found.checks if check.differences} == {}
    assert found.check("receptive_fields").compared > 0


def test_verify_leaves_the_model_as_before() -> None:
    model = sequence((6, 6, 3), layers.Conv2D(2, 3), layers.BatchNormalization(), layers.SpatialDropout2D(0.5, seed=1))
    before = state(model)

    rfcalc.verify(model, device="cpu", timing=False, probes=2, training=True)

    assert state(model) == before


def test_random_numbers_of_keras_are_drawn_for_real() -> None:
    a = rfcalc.analyze(sequence((6, 6, 3), layers.SpatialDropout2D(0.5, seed=1), layers.Conv2D(2, 3)), training=True)

    assert a.notices == ("traced on real CPU tensors, for a random generator of Keras's needs data",)
    assert a.totals.macs == 4 * 4 * 2 * 27


# --- what cannot be traced --------------------------------------------------------------------------------------------


class Mixed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = layers.Dense(3, name="part")

    def forward(self, x: torch.Tensor) -> Any:
        return self.part(x)


def half_built() -> Any:
    model = Subclassed()
    model.built = True
    return model


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: keras.Sequential([layers.Dense(3)], name="bare"), r"bare is not built, .* give it a keras.Input"),
        (half_built, r"layer block0 \(Residual\) is not built, .* call the model once on an example"),
        (Mixed, r"Mixed is a module of torch's with Keras layers inside \(part\)"),
    ],
)
def test_refused(build: Callable[[], Any], says: str) -> None:
    with pytest.raises(LoadError, match=says):
        rfcalc.analyze(build(), (6, 6, 3))


def test_other_backends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")

    says = r"^two_views: Keras is set to compute with openvino here, .* KERAS_BACKEND=torch"
    with pytest.raises(LoadError, match=says):
        rfcalc.analyze(two_views())
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(LoadError, match=r"^keras:VGG16: Keras is set to compute with jax"):
        rfcalc.analyze("keras:VGG16")
