"""TFLite files: layers by the names of tensors, parameters and multiply-adds of the file, fields through its ops."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rfcalc
from rfcalc.errors import LoadError, RfcalcError, UsageError
from rfcalc.sources.tflite.files import File
from rfcalc.sources.tflite.graph import network_of
from tests.sources.tflite_files import Graph, Node, Tensor, const, saved


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(spec: str, *inputs: np.ndarray) -> Any:
    """What the file's network gives, with the numbers of the file."""
    found = network_of(File(Path(spec), spec), real=True)(*(torch.from_numpy(x) for x in inputs))
    return tuple(x.detach().numpy() for x in found) if isinstance(found, tuple) else found.detach().numpy()


CNN = Graph(
    (
        Tensor("serving_default_image:0", (1, 16, 16, 3)),
        const("w", weights(4, 3, 3, 3)),
        const("b", weights(4)),
        Tensor("net/stem/Relu6;net/stem/BiasAdd;net/stem/Conv2D", (1, 8, 8, 4)),
        const("dw", weights(1, 3, 3, 4)),
        const("db", weights(4)),
        Tensor("net/deep", (1, 8, 8, 4)),
        Tensor("net/pool", (1, 4, 4, 4)),
        const("axes", [1, 2], "int32"),
        Tensor("net/mean", (1, 4)),
        const("fw", weights(5, 4)),
        const("fb", weights(5)),
        Tensor("StatefulPartitionedCall:0", (1, 5)),
        Tensor("probabilities", (1, 5)),
    ),
    (
        Node(
            "CONV_2D",
            ("serving_default_image:0", "w", "b"),
            ("net/stem/Relu6;net/stem/BiasAdd;net/stem/Conv2D",),
            "Conv2DOptions",
            {"StrideW": 2, "StrideH": 2, "FusedActivationFunction": 3},
        ),
        Node(
            "DEPTHWISE_CONV_2D",
            ("net/stem/Relu6;net/stem/BiasAdd;net/stem/Conv2D", "dw", "db"),
            ("net/deep",),
            "DepthwiseConv2DOptions",
            {"StrideW": 1, "StrideH": 1, "DepthMultiplier": 1},
        ),
        Node(
            "MAX_POOL_2D",
            ("net/deep",),
            ("net/pool",),
            "Pool2DOptions",
            {"Padding": 1, "StrideW": 2, "StrideH": 2, "FilterWidth": 2, "FilterHeight": 2},
        ),
        Node("MEAN", ("net/pool", "axes"), ("net/mean",), "ReducerOptions", {}),
        Node("FULLY_CONNECTED", ("net/mean", "fw", "fb"), ("StatefulPartitionedCall:0",), "FullyConnectedOptions", {}),
        Node("SOFTMAX", ("StatefulPartitionedCall:0",), ("probabilities",), "SoftmaxOptions", {"Beta": 1.0}),
    ),
    ("serving_default_image:0",),
    ("probabilities",),
)


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("cnn") / "net.tflite", CNN)


def test_a_cnn(cnn: str) -> None:
    """Padding "same" at stride 2 puts one row behind 16, none before: the field begins at 0."""
    a = rfcalc.analyze(cnn)

    names = ["image", "net/stem/Relu6", "net/deep", "net/pool", "net/mean", "StatefulPartitionedCall"]
    assert [layer.name for layer in a.layers] == names
    assert a.totals.params == (108 + 4) + (36 + 4) + (20 + 5)
    assert a.totals.macs == 8 * 8 * 4 * 27 + 8 * 8 * 4 * 9 + 20
    assert a.totals.status == "complete"
    assert a["net/stem/Relu6"].output_shape == (1, 8, 8, 4)
    fields = [a[name].receptive_field for name in ("net/stem/Relu6", "net/deep", "net/pool")]
    assert [(field.size, field.stride, field.start) for field in fields] == [
        ((3, 3), (2, 2), (0, 0)),
        ((7, 7), (2, 2), (-2, -2)),
        ((9, 9), (4, 4), (-2, -2)),
    ]


def test_verify(cnn: str) -> None:
    assert rfcalc.verify(cnn, probes=2, device="cpu", timing=False).agree


def slow_cnn(image: np.ndarray) -> np.ndarray:
    """The same network by loops."""
    held = {tensor.name: tensor.data for tensor in CNN.tensors}
    around = np.pad(image, ((0, 1), (0, 1), (0, 0)))
    stem = np.zeros((8, 8, 4))
    for y, x in np.ndindex(8, 8):
        stem[y, x] = np.tensordot(held["w"], around[2 * y : 2 * y + 3, 2 * x : 2 * x + 3], 3) + held["b"]
    around = np.pad(stem.clip(0, 6), ((1, 1), (1, 1), (0, 0)))
    deep = np.zeros((8, 8, 4))
    for y, x in np.ndindex(8, 8):
        deep[y, x] = (held["dw"][0] * around[y : y + 3, x : x + 3]).sum((0, 1)) + held["db"]
    pooled = deep.reshape(4, 2, 4, 2, 4).max((1, 3))
    logits = held["fw"] @ pooled.mean((0, 1)) + held["fb"]
    return np.exp(logits) / np.exp(logits).sum()


def test_values(cnn: str) -> None:
    image = weights(1, 16, 16, 3, seed=1)

    np.testing.assert_allclose(run(cnn, image)[0], slow_cnn(image[0]), rtol=1e-4)


def quantised(path: Path) -> str:
    """A convolution on whole numbers, a scale for each channel of its weight, then padding and a pooling."""
    around = const("pads", [[0, 0], [1, 1], [1, 1], [0, 0]], "int32")
    whole = {"scale": (0.5,), "zero": (3,)}
    tensors = (
        Tensor("x", (1, 6, 6, 2), "int8", scale=(0.25,), zero=(-2,)),
        const("w", np.arange(-27, 27).reshape(3, 3, 3, 2), "int8", scale=(0.1, 0.2, 0.3), zero=(0, 0, 0)),
        const("b", [10, -20, 30], "int32", scale=(0.025, 0.05, 0.075), zero=(0, 0, 0)),
        Tensor("y", (1, 4, 4, 3), "int8", **whole),
        around,
        Tensor("z", (1, 6, 6, 3), "int8", **whole),
        Tensor("out", (1, 6, 6, 3)),
    )
    settings = {"Padding": 1, "StrideW": 1, "StrideH": 1}
    nodes = (
        Node("CONV_2D", ("x", "w", "b"), ("y",), "Conv2DOptions", settings),
        Node("PAD", ("y", "pads"), ("z",), "PadOptions", {}),
        Node("DEQUANTIZE", ("z",), ("out",), "DequantizeOptions", {}),
    )
    return saved(path, Graph(tensors, nodes, ("x",), ("out",)))


def test_whole_numbers_that_stand_for_others(tmp_path: Path) -> None:
    spec = quantised(tmp_path / "net.tflite")
    a = rfcalc.analyze(spec)

    assert (a.totals.params, a.totals.macs, a.totals.status) == (54 + 3, 4 * 4 * 3 * 18, "complete")
    assert a["y"].receptive_field.size == (3, 3)
    x = np.random.default_rng(0).integers(-9, 9, (1, 6, 6, 2)).astype(np.int8)
    w = np.arange(-27, 27).reshape(3, 3, 3, 2) * np.array([0.1, 0.2, 0.3])[:, None, None, None]
    out, bias = np.zeros((6, 6, 3)), np.array([0.25, -1.0, 2.25])
    for i, j in np.ndindex(4, 4):
        out[i + 1, j + 1] = np.tensordot(w, (x[0, i : i + 3, j : j + 3] + 2) * 0.25, 3) + bias
    expected = (np.clip(np.round(out / 0.5) + 3, -128, 127) - 3) * 0.5
    assert np.abs(run(spec, x)[0] - expected).max() <= 0.5  # one step, where a number is halfway
    assert np.abs(run(spec, x)[0] - expected).mean() < 0.01


def test_a_weight_of_16_bits_is_a_parameter_of_the_layer_that_it_is_made_ready_for(tmp_path: Path) -> None:
    tensors = (
        Tensor("x", (1, 4)),
        const("half", weights(3, 4), "float16"),
        Tensor("w", (3, 4)),
        Tensor("a", (1, 3)),
        Tensor("b", (1, 3)),
        Tensor("out", (1, 3)),
    )
    nodes = (
        Node("DEQUANTIZE", ("half",), ("w",), "DequantizeOptions", {}),
        Node("FULLY_CONNECTED", ("x", "w", ""), ("a",), "FullyConnectedOptions", {}),
        Node("FULLY_CONNECTED", ("x", "w", ""), ("b",), "FullyConnectedOptions", {}),
        Node("ADD", ("a", "b"), ("out",), "AddOptions", {}),
    )
    a = rfcalc.analyze(saved(tmp_path / "net.tflite", Graph(tensors, nodes, ("x",), ("out",))))

    assert [param.name for param in a.layer_graph.params] == ["a.weight"]
    assert (a.totals.params, a.totals.macs) == (12, 24)


def test_open_sizes_and_the_names_of_a_signature(tmp_path: Path) -> None:
    tensors = (Tensor("x", (1, 1, 1, 3), signature=(-1, -1, -1, 3)), Tensor("out", (1, 1, 1, 3)))
    nodes = (Node("TANH", ("x",), ("out",)),)
    spec = saved(tmp_path / "net.tflite", Graph(tensors, nodes, ("x",), ("out",)), inputs={"image": 0})

    with pytest.raises(UsageError, match=r"leaves the size of its input image open \(\?x\?x3\)"):
        rfcalc.analyze(spec)
    assert rfcalc.analyze(spec, (2, 5, 6, 3)).layers[0].output_shape == (2, 5, 6, 3)


def counting(path: Path) -> str:
    """A state that grows by the input at each call, and what a graph that is run once sets it to."""
    handle = {"Container": "", "SharedName": "total"}
    tensors = (
        Tensor("x", (1, 2)),
        Tensor("h", (), kind=13),
        Tensor("before", (1, 2)),
        Tensor("after", (1, 2)),
        Tensor("out", (1, 2)),
    )
    nodes = (
        Node("CALL_ONCE", (), (), "CallOnceOptions", {"InitSubgraphIndex": 1}),
        Node("VAR_HANDLE", (), ("h",), "VarHandleOptions", handle),
        Node("READ_VARIABLE", ("h",), ("before",), "ReadVariableOptions", {}),
        Node("ADD", ("before", "x"), ("after",), "AddOptions", {}),
        Node("ASSIGN_VARIABLE", ("h", "after"), (), "AssignVariableOptions", {}),
        Node("MUL", ("after", "x"), ("out",), "MulOptions", {}),
    )
    first = (
        Node("VAR_HANDLE", (), ("h",), "VarHandleOptions", handle),
        Node("ASSIGN_VARIABLE", ("h", "start"), (), "AssignVariableOptions", {}),
    )
    setting = Graph((Tensor("h", (), kind=13), const("start", [[10, 20]])), first, (), ())
    return saved(path, Graph(tensors, nodes, ("x",), ("out",)), setting)


def test_states_are_as_before_the_first_call_and_no_parameters(tmp_path: Path) -> None:
    spec = counting(tmp_path / "net.tflite")
    totals = rfcalc.analyze(spec).totals

    assert (totals.params, totals.buffers) == (0, 2)
    x = np.array([[3, 4]], dtype=np.float32)
    np.testing.assert_array_equal(run(spec, x), [[39, 96]])


def test_a_loop_and_a_branch_that_constants_decide(tmp_path: Path) -> None:
    """Three turns of a linear layer, counted by the loop's own counter; the branch that is taken doubles."""
    numbers = (const("zero", 0, "int32"), const("yes", True, "bool"))
    tensors = (
        Tensor("x", (1, 2)),
        *numbers,
        Tensor("n", (), "int32"),
        Tensor("y", (1, 2)),
        Tensor("out", (1, 2)),
    )
    turns = {"CondSubgraphIndex": 1, "BodySubgraphIndex": 2}
    nodes = (
        Node("WHILE", ("zero", "x"), ("n", "y"), "WhileOptions", turns),
        Node("IF", ("yes", "y"), ("out",), "IfOptions", {"ThenSubgraphIndex": 3, "ElseSubgraphIndex": 4}),
    )
    state = (Tensor("n", (), "int32"), Tensor("y", (1, 2)))
    less = Graph(
        (*state, const("three", 3, "int32"), Tensor("go", (), "bool")),
        (Node("LESS", ("n", "three"), ("go",)),),
        ("n", "y"),
        ("go",),
    )
    turn = Graph(
        (*state, const("one", 1, "int32"), const("w", [[0, 1], [1, 1]]), Tensor("m", (), "int32"), Tensor("z", (1, 2))),
        (
            Node("ADD", ("n", "one"), ("m",), "AddOptions", {}),
            Node("FULLY_CONNECTED", ("y", "w", ""), ("z",), "FullyConnectedOptions", {}),
        ),
        ("n", "y"),
        ("m", "z"),
    )
    two = Graph(
        (Tensor("y", (1, 2)), Tensor("z", (1, 2))), (Node("ADD", ("y", "y"), ("z",), "AddOptions", {}),), ("y",), ("z",)
    )
    same = Graph((Tensor("y", (1, 2)), Tensor("z", (1, 2))), (Node("NEG", ("y",), ("z",)),), ("y",), ("z",))
    spec = saved(tmp_path / "net.tflite", Graph(tensors, nodes, ("x",), ("out",)), less, turn, two, same)
    totals = rfcalc.analyze(spec).totals

    assert (totals.params, totals.macs) == (4, 3 * 4)
    np.testing.assert_array_equal(run(spec, np.array([[1, 1]], dtype=np.float32)), [[6, 10]])


# --- bad files --------------------------------------------------------------------------------------------------------


def refused(spec: str) -> str:
    with pytest.raises(LoadError) as caught:
        rfcalc.analyze(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_models(tmp_path: Path, cnn: str) -> None:
    path = tmp_path / "a.tflite"
    assert "there is no such file" in refused(str(path))
    path.write_bytes(b"")
    assert "the file is empty" in refused(str(path))
    path.write_bytes(b"no model, but a text that is long enough")
    assert "it does not say TFL3 after 4 bytes" in refused(str(path))
    path.write_bytes(Path(cnn).read_bytes()[:100])
    assert "is damaged" in refused(str(path))
    (tmp_path / "b.tflite").mkdir()
    assert "is a directory" in refused(str(tmp_path / "b.tflite"))


def test_a_file_that_is_cut_or_changed_is_read_or_refused_in_a_line(tmp_path: Path, cnn: str) -> None:
    whole, draw = Path(cnn).read_bytes(), random.Random(0)
    path = tmp_path / "a.tflite"
    refusals: list[str] = []
    for turn in range(120):
        data = bytearray(whole)
        if turn % 2:
            data = data[: draw.randrange(8, len(data))]
        else:
            for _ in range(draw.randrange(1, 4)):
                data[draw.randrange(8, 1400)] = draw.randrange(256)
        path.write_bytes(bytes(data))
        try:
            network_of(File(path, "a.tflite"))
        except RfcalcError as error:
            refusals.append(str(error))
    assert len(refusals) > 60
    assert not any("\n" in line for line in refusals)


def one_op(path: Path, node: Node, *more: Tensor) -> str:
    tensors = (Tensor("x", (1, 4)), Tensor("out", (1, 4)), *more)
    return saved(path, Graph(tensors, (node,), ("x",), ("out",)))


def test_an_op_without_a_rule_is_named(tmp_path: Path) -> None:
    line = refused(one_op(tmp_path / "a.tflite", Node("MyOwnOp", ("x",), ("out",))))
    assert "there is no rule for the op MyOwnOp (op 0)" in line
    assert "SKIP_GRAM (op 0)" in refused(one_op(tmp_path / "b.tflite", Node("SKIP_GRAM", ("x",), ("out",))))


def test_a_tensor_that_nothing_gives(tmp_path: Path) -> None:
    line = refused(one_op(tmp_path / "a.tflite", Node("ADD", ("x", "lost"), ("out",)), Tensor("lost", (1, 4))))

    assert "node out (ADD) reads 'lost', which no op before it, input or constant gives" in line


def test_fewer_numbers_than_the_shape_says(tmp_path: Path) -> None:
    short = Tensor("w", (4, 4), data=np.zeros(3, np.float32))

    line = refused(one_op(tmp_path / "a.tflite", Node("FULLY_CONNECTED", ("x", "w", ""), ("out",)), short))
    assert "tensor 'w' of shape 4x4 needs 64 bytes, it has 12" in line


def test_graphs_that_run_themselves(tmp_path: Path) -> None:
    node = Node("WHILE", ("x",), ("out",), "WhileOptions", {"CondSubgraphIndex": 0, "BodySubgraphIndex": 0})

    assert "its graphs call themselves" in refused(one_op(tmp_path / "a.tflite", node))


def test_an_input_of_texts(tmp_path: Path) -> None:
    tensors = (Tensor("x", (1, 4), kind=5), Tensor("out", (1, 4), kind=5))
    spec = saved(tmp_path / "a.tflite", Graph(tensors, (Node("RESHAPE", ("x",), ("out",)),), ("x",), ("out",)))

    assert "its input 'x' holds no numbers" in refused(spec)


def test_inputs_that_do_not_fit_name_the_op_and_the_shapes(cnn: str) -> None:
    with pytest.raises(RfcalcError, match=r"node net/stem/Relu6.*\(CONV_2D\) of 1x16x16x4"):
        rfcalc.analyze(cnn, (16, 16, 4))


def test_the_reader_is_needed(cnn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite", None)

    assert refused(cnn).endswith("needs tflite, which is not installed: pip install 'rfcalc[tflite]'")
