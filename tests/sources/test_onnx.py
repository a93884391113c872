"""ONNX files: layers by the names of nodes, parameters and multiply-adds of the file, fields through its ops."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rfcalc
from rfcalc.api import layer_graph
from rfcalc.errors import LoadError, TraceError, UsageError

onnx: Any = pytest.importorskip("onnx")

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
node = onnx.helper.make_node

Dims = list[int | str]


def saved(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, tuple[int, Dims]],
    weights: dict[str, np.ndarray],
    outputs: tuple[str, ...] = ("out",),
) -> str:
    """The name of a file with the graph of these nodes."""
    graph = onnx.helper.make_graph(
        nodes,
        "net",
        [onnx.helper.make_tensor_value_info(name, kind, dims) for name, (kind, dims) in inputs.items()],
        [onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("mine", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return str(path)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def cnn(path: Path, dims: Dims) -> str:
    """A convolution of stride 2, a norm, a pooling and a linear layer."""
    nodes = [
        node("Conv", ["image", "w", "b"], ["c"], "/stem/Conv", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"], "/stem/Norm"),
        node("Relu", ["n"], ["r"], "/stem/Relu"),
        node("MaxPool", ["r"], ["p"], "/pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p"], ["g"], "/mean"),
        node("Flatten", ["g"], ["f"], "/flat"),
        node("Gemm", ["f", "w2", "b2"], ["out"], "/head", transB=1),
    ]
    weights = {"w": ones(4, 3, 3, 3), "b": ones(4), "scale": ones(4), "shift": ones(4), "mean": ones(4), "var": ones(4)}
    return saved(path, nodes, {"image": (FLOAT, dims)}, {**weights, "w2": ones(5, 4), "b2": ones(5)})


def test_a_cnn(tmp_path: Path) -> None:
    a = rfcalc.analyze(cnn(tmp_path / "net.onnx", [1, 3, 16, 16]))

    assert [layer.name for layer in a.layers] == ["image", "stem", "/pool", "/mean", "/head"]
    assert (a.totals.params, a.totals.buffers) == (112 + 8 + 25, 8)
    assert a.totals.macs == 8 * 8 * 4 * 27 + 20
    assert a.totals.status == "complete"
    assert a["/pool"].receptive_field.size == (5, 5)
    assert a["/pool"].receptive_field.stride == (4, 4)
    assert a["/pool"].receptive_field.start == (-1, -1)


def test_open_sizes(tmp_path: Path) -> None:
    spec = cnn(tmp_path / "net.onnx", ["N", 3, "H", "W"])

    with pytest.raises(UsageError, match=r"leaves the size of its input image open \(3x\?x\?\)"):
        rfcalc.analyze(spec)
    assert rfcalc.analyze(spec, (3, 32, 16)).totals.macs == 16 * 8 * 4 * 27 + 20
    assert layer_graph(spec, (2, 3, 8, 8)).inputs[0].shape == (2, 3, 8, 8)
    with pytest.raises(TraceError, match=r"layer stem \(Module\) got 1x4x8x8: node /stem/Conv \(Conv\) of 1x4x8x8"):
        rfcalc.analyze(spec, (4, 8, 8))


def test_only_the_batch_is_open(tmp_path: Path) -> None:
    spec = cnn(tmp_path / "net.onnx", ["N", 3, 16, 16])

    assert layer_graph(spec).inputs[0].shape == (1, 3, 16, 16)


def test_attention_behind_a_mask(tmp_path: Path) -> None:
    """Token ids, an embedding, a mask among the numbers of the file: position t sees what comes up to t."""
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    nodes = [
        node("Gather", ["table", "ids"], ["x"], "embed"),
        node("Transpose", ["x"], ["t"], "turn", perm=[0, 2, 1]),
        node("MatMul", ["x", "t"], ["s"], "scores"),
        node("Add", ["s", "mask"], ["m"], "hide"),
        node("Softmax", ["m"], ["a"], "weigh", axis=-1),
        node("MatMul", ["a", "x"], ["v"], "mix"),
        node("MatMul", ["v", "w"], ["out"], "leave"),
    ]
    weights = {"table": ones(9, 8), "mask": mask, "w": ones(8, 2)}
    a = rfcalc.analyze(saved(tmp_path / "net.onnx", nodes, {"ids": (INT64, [1, 4])}, weights))

    assert (a.totals.params, a.totals.buffers) == (9 * 8 + 8 * 2, 16)
    assert a.totals.macs == 4 * 4 * 8 + 4 * 4 * 8 + 4 * 8 * 2
    assert [a.receptive_field("leave", at=(t,)).region for t in range(4)] == [((0, t),) for t in range(4)]


def test_several_inputs_of_fixed_sizes(tmp_path: Path) -> None:
    nodes = [
        node("Resize", ["left", "", "scales"], ["l"], "grow", mode="nearest"),
        node("Concat", ["l", "right"], ["j"], "join", axis=1),
        node("Conv", ["j", "w"], ["out"], "leave", kernel_shape=[1, 1]),
    ]
    inputs = {"left": (FLOAT, [2, 1, 4, 4]), "right": (FLOAT, [2, 1, 8, 8])}
    weights = {"scales": np.array([1, 1, 2, 2], np.float32), "w": ones(1, 2, 1, 1)}
    a = rfcalc.analyze(saved(tmp_path / "net.onnx", nodes, inputs, weights))

    assert [(item.name, item.shape) for item in a.layer_graph.inputs] == [
        ("left", (2, 1, 4, 4)),
        ("right", (2, 1, 8, 8)),
    ]
    assert (a.totals.params, a.totals.macs) == (2, 2 * 64 * 2)
    assert a["leave"].receptive_fields["left"].size == (1, 1)
    assert a["leave"].receptive_fields["left"].stride == (Fraction(1, 2), Fraction(1, 2))
    assert a["leave"].receptive_fields["right"].stride == (1, 1)


def test_a_real_pass_agrees(tmp_path: Path) -> None:
    spec = cnn(tmp_path / "net.onnx", [1, 3, 16, 16])

    assert rfcalc.verify(spec, device="cpu", timing=False, probes=2).agree


# --- files that cannot be had -----------------------------------------------------------------------------------------


def refused(spec: str) -> str:
    with pytest.raises(LoadError) as caught:
        layer_graph(spec)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(spec)
    assert len(str(caught.value)) < len(spec) + 420
    return str(caught.value)


def test_ops_without_a_rule(tmp_path: Path) -> None:
    spec = saved(tmp_path / "a.onnx", [node("Magic", ["x"], ["out"], domain="mine")], {"x": (FLOAT, [1, 2])}, {})

    assert "there is no rule for the op mine.Magic (node 0)" in refused(spec)


@pytest.mark.parametrize("content", [b"", b"hello world", bytes(range(256)), b"\x08\x08"])
def test_files_that_are_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)

    assert "is no ONNX model: " in refused(str(path))


def test_truncated_files(tmp_path: Path) -> None:
    whole = Path(cnn(tmp_path / "net.onnx", [1, 3, 16, 16])).read_bytes()
    path = tmp_path / "cut.onnx"
    for part in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * part)])
        assert "is no ONNX model: " in refused(str(path))


def test_weights_in_a_file_that_is_not_there(tmp_path: Path) -> None:
    """They are not needed: their sizes stand in the file."""
    path = Path(cnn(tmp_path / "net.onnx", [1, 3, 16, 16]))
    whole = rfcalc.analyze(str(path)).totals
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="net.data", size_threshold=0)
    (tmp_path / "net.data").unlink()

    assert rfcalc.analyze(str(path)).totals == whole


def test_numbers_in_a_file_that_is_not_there(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["x", "to"], ["out"], "turn")]
    path = Path(saved(tmp_path / "net.onnx", nodes, {"x": (FLOAT, [2, 3])}, {"to": np.array([3, 2])}))
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="net.data", size_threshold=0)
    (tmp_path / "net.data").unlink()

    line = refused(str(path))
    assert "node turn (Reshape)" in line
    assert "net.data" in line


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()

    assert "there is no such file" in refused(str(tmp_path / "net.onnx"))
    assert "is a directory" in refused(str(tmp_path / "folder.onnx"))


def test_the_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = cnn(tmp_path / "net.onnx", [1, 3, 16, 16])
    monkeypatch.setitem(sys.modules, "onnx", None)

    assert "pip install 'rfcalc[onnx]'" in refused(spec)


# --- what the file holds ----------------------------------------------------------------------------------------------


def conv_of(weights: dict[str, np.ndarray], nodes: list[Any], path: Path) -> Any:
    return rfcalc.analyze(saved(path, nodes, {"x": (FLOAT, [1, 3, 16, 16])}, weights)).totals


def test_a_weight_that_two_nodes_share_is_one_parameter(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["a"], "one"),
        node("Identity", ["w"], ["v"], "same"),
        node("Conv", ["x", "v"], ["b"], "two"),
        node("Sub", ["a", "b"], ["out"], "less"),
    ]
    totals = conv_of({"w": ones(8, 3, 3, 3)}, nodes, tmp_path / "net.onnx")

    assert (totals.params, totals.macs) == (216, 2 * 14 * 14 * 8 * 27)


def test_a_weight_in_a_constant_node(tmp_path: Path) -> None:
    nodes = [
        node("Constant", [], ["w"], "held", value=onnx.numpy_helper.from_array(ones(8, 3, 3, 3))),
        node("Conv", ["x", "w"], ["out"], "conv"),
    ]

    assert conv_of({}, nodes, tmp_path / "net.onnx").params == 216


def test_a_quantised_weight(tmp_path: Path) -> None:
    """The whole numbers are the parameter; scale and zero point are not."""
    weights = {"w8": np.ones((8, 3, 3, 3), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w8", "s", "z"], ["w"]),
        node("Conv", ["d", "w"], ["out"], "conv"),
    ]
    totals = conv_of(weights, nodes, tmp_path / "net.onnx")

    assert (totals.params, totals.macs) == (216, 14 * 14 * 8 * 27)


def test_numbers_that_are_no_parameters(tmp_path: Path) -> None:
    weights = {"w": ones(8, 3, 3, 3), "half": np.float32(0.5), "mean": ones(8), "to": np.array([1, -1])}
    nodes = [
        node("Conv", ["x", "w"], ["a"], "conv"),
        node("Mul", ["a", "half"], ["b"], "scale"),
        node("BatchNormalization", ["b", "mean", "mean", "mean", "mean"], ["c"], "norm"),
        node("Reshape", ["c", "to"], ["out"], "flat"),
    ]

    assert conv_of(weights, nodes, tmp_path / "net.onnx").params == 216 + 8


def test_sizes_are_worked_out(tmp_path: Path) -> None:
    """Shape, Gather, Concat, Reshape: the shape follows that of the input."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Unsqueeze", ["n", "axes"], ["m"]),
        node("Concat", ["m", "rest"], ["to"], axis=0),
        node("Reshape", ["x", "to"], ["out"], "turn"),
    ]
    weights = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1, 6])}
    graph = layer_graph(saved(tmp_path / "net.onnx", nodes, {"x": (FLOAT, ["N", 3, 4])}, weights), (5, 3, 4))

    assert [item.outputs[0].shape for item in graph] == [(5, 3, 4), (5, 2, 6)]


def test_names_of_torchs_exporter(tmp_path: Path) -> None:
    """Modules in modules; a name that is a number stands after that of the module around it."""
    nodes = [
        node("Conv", ["x", "layer1.0.conv1.weight"], ["a"], "/layer1/layer1.0/conv1/Conv"),
        node("Relu", ["a"], ["b"], "/layer1/layer1.0/relu/Relu"),
        node("Add", ["b", "x"], ["c"], "/layer1/layer1.0/Add"),
        node("Conv", ["c", "out.weight"], ["out"], "/out/Conv"),
    ]
    weights = {"layer1.0.conv1.weight": ones(3, 3, 1, 1), "out.weight": ones(2, 3, 1, 1)}
    a = rfcalc.analyze(saved(tmp_path / "net.onnx", nodes, {"x": (FLOAT, [1, 3, 16, 16])}, weights))

    assert [layer.name for layer in a.layers] == ["x", "layer1.0.conv1", "layer1.0/add", "out"]
    assert [param.name for param in a.layer_graph.params] == ["layer1.0.conv1.weight", "out.weight"]


def test_a_branch_and_a_loop_that_constants_decide(tmp_path: Path) -> None:
    def graph(name: str, nodes: list[Any], inputs: list[str], outputs: list[str]) -> Any:
        infos = [[onnx.helper.make_tensor_value_info(n, 1, None) for n in names] for names in (inputs, outputs)]
        return onnx.helper.make_graph(nodes, name, *infos)

    yes = graph("yes", [node("Relu", ["x"], ["y"])], [], ["y"])
    no = graph("no", [node("Magic", ["x"], ["n"], domain="mine")], [], ["n"])
    turn = graph(
        "turn",
        [node("Conv", ["h", "w"], ["k"], "conv"), node("Identity", ["go"], ["on"])],
        ["at", "go", "h"],
        ["on", "k"],
    )
    nodes = [node("If", ["flag"], ["a"], "choose", then_branch=yes, else_branch=yes)]
    nodes += [node("Loop", ["three", "", "a"], ["out"], "loop", body=turn)]
    weights = {"flag": np.array(True), "three": np.array(3), "w": ones(3, 3, 3, 3)}
    a = rfcalc.analyze(saved(tmp_path / "net.onnx", nodes, {"x": (FLOAT, [1, 3, 16, 16])}, weights))

    assert (a.totals.params, a.totals.macs) == (81, (14**2 + 12**2 + 10**2) * 3 * 27)
    nodes[0].attribute.append(onnx.helper.make_attribute("unused", no))
    assert "mine.Magic" in refused(saved(tmp_path / "net.onnx", nodes, {"x": (FLOAT, [1, 3, 16, 16])}, weights))


def test_a_function_of_the_file(tmp_path: Path) -> None:
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("mine", 1)]
    body = [node("Conv", ["h", "k"], ["c"], "conv"), node("LeakyRelu", ["c"], ["r"])]
    body[1].attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    block = onnx.helper.make_function("mine", "Block", ["h", "k"], ["r"], body, opsets[:1], ["slope"])
    nodes = [node("Block", ["x", "w"], ["out"], "block", domain="mine", slope=0.25)]
    path = tmp_path / "net.onnx"
    saved(path, nodes, {"x": (FLOAT, [1, 3, 16, 16])}, {"w": ones(8, 3, 3, 3)})
    model = onnx.load(path)
    model.functions.append(block)
    onnx.save(model, path)
    totals = rfcalc.analyze(str(path)).totals

    assert (totals.params, totals.macs) == (216, 14 * 14 * 8 * 27)


# --- bad files --------------------------------------------------------------------------------------------------------


def test_nodes_that_wait_for_each_other(tmp_path: Path) -> None:
    nodes = [node("Add", ["x", "b"], ["a"], "one"), node("Relu", ["a"], ["b"], "two")]

    assert "wait for each other" in refused(saved(tmp_path / "a.onnx", nodes, {"x": (FLOAT, [1])}, {}, ("b",)))


def test_nodes_in_another_order(tmp_path: Path) -> None:
    nodes = [node("Relu", ["a"], ["out"], "two"), node("Abs", ["x"], ["a"], "one")]
    graph = layer_graph(saved(tmp_path / "a.onnx", nodes, {"x": (FLOAT, [1, 2])}, {}))

    assert [item.name for item in graph] == ["x", "one/abs", "two"]


def test_a_weight_that_nothing_gives(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], ["out"], "conv")]

    line = refused(saved(tmp_path / "a.onnx", nodes, {"x": (FLOAT, [1, 3, 8, 8])}, {}))
    assert "node conv (Conv) reads 'w', which no node, input or initializer gives" in line


def broken(tmp_path: Path, change: Any) -> str:
    path = Path(cnn(tmp_path / "net.onnx", [1, 3, 16, 16]))
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return refused(str(path))


def test_shapes_that_no_tensor_has(tmp_path: Path) -> None:
    def huge(model: Any) -> None:
        model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]

    def negative(model: Any) -> None:
        model.graph.initializer[0].dims[:] = [-1, 3]

    assert "has the shape 1099511627776x1099511627776" in broken(tmp_path, huge)
    assert "has the shape -1x3" in broken(tmp_path, negative)


def test_fewer_numbers_than_the_shape_says(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["x", "to"], ["out"], "turn")]
    path = Path(saved(tmp_path / "a.onnx", nodes, {"x": (FLOAT, [2, 3])}, {"to": np.array([3, 2])}))
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = b"123"
    path.write_bytes(model.SerializeToString())

    assert "needs 16 bytes, it has 3" in refused(str(path))


def test_numbers_outside_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 16)
    (tmp_path / "in").mkdir()
    nodes = [node("Reshape", ["x", "to"], ["out"], "turn")]
    path = Path(saved(tmp_path / "in" / "a.onnx", nodes, {"x": (FLOAT, [2, 3])}, {"to": np.array([3, 2])}))
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="../secret")
    path.write_bytes(model.SerializeToString())

    assert "outside of its folder" in refused(str(path))


def test_texts(tmp_path: Path) -> None:
    nodes = [node("Identity", ["x"], ["out"], "it")]

    assert "is a tensor of texts" in refused(saved(tmp_path / "a.onnx", nodes, {"x": (8, [1])}, {}))


def test_a_function_that_calls_itself(tmp_path: Path) -> None:
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("mine", 1)]
    inside = [node("Again", ["h"], ["r"], domain="mine")]
    again = onnx.helper.make_function("mine", "Again", ["h"], ["r"], inside, opsets)
    path = tmp_path / "net.onnx"
    saved(path, [node("Again", ["x"], ["out"], "it", domain="mine")], {"x": (FLOAT, [1])}, {})
    model = onnx.load(path)
    model.functions.append(again)
    onnx.save(model, path)

    assert "call themselves" in refused(str(path))


def test_a_module_that_is_called_twice(tmp_path: Path) -> None:
    """The newer exporter says of both calls the same; the weight comes twice."""
    nodes = [node("Conv", [given, "w"], [out], given) for given, out in (("x", "a"), ("y", "b"))]
    nodes.append(node("Sub", ["a", "b"], ["out"], "less"))
    for one in nodes[:2]:
        one.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'conv', 'conv2d']")
        kinds = "['Net', 'torch.nn.modules.conv.Conv2d', 'aten.conv2d.default']"
        one.metadata_props.add(key="pkg.torch.onnx.class_hierarchy", value=kinds)
    inputs: dict[str, tuple[int, Dims]] = {"x": (FLOAT, [1, 3, 4, 4]), "y": (FLOAT, [1, 3, 4, 4])}
    a = rfcalc.analyze(saved(tmp_path / "a.onnx", nodes, inputs, {"w": ones(8, 3, 3, 3)}))

    assert [(layer.name, layer.module) for layer in a.layers][2:4] == [("conv", "Conv2d"), ("conv#2", "Conv2d")]
    assert a.totals.params == 216


@pytest.mark.parametrize(
    ("name", "params", "macs"), [("bvlc_alexnet", 60_965_224, None), ("vgg19", 143_667_240, 19_632_062_464)]
)
def test_files_whose_weights_are_filled_with_one_number(name: str, params: int, macs: int | None) -> None:
    """Those that onnx ships for its tests; the numbers are the published ones."""
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    if not path.exists():
        pytest.skip("this onnx does not ship it")
    totals = rfcalc.analyze(str(path)).totals

    assert totals.params == params
    assert macs is None or totals.macs == macs


def test_weights_are_not_read(tmp_path: Path) -> None:
    """Their bytes are left out before the file is taken apart; what is left is small."""
    from rfcalc.sources.onnx.wire import without_numbers

    nodes = [node("MatMul", ["x", "w"], ["out"], "it")]
    path = Path(saved(tmp_path / "a.onnx", nodes, {"x": (FLOAT, [1, 512])}, {"w": ones(512, 512)}))

    assert len(without_numbers(path.read_bytes())) < 400
    assert rfcalc.analyze(str(path)).totals.params == 512 * 512


def test_ones_that_stand_where_a_norm_has_no_scale_are_no_parameters(tmp_path: Path) -> None:
    """torch's exporter writes a GroupNorm so; a norm's own weights are initializers, even where they are ones."""
    held = {"scale": ones(8), "shift": np.zeros(8, np.float32)}
    written = [node("Constant", [], [n], value=onnx.numpy_helper.from_array(v)) for n, v in held.items()]
    norm = [node("Conv", ["x", "w"], ["a"], "conv"), node("InstanceNormalization", ["a", "scale", "shift"], ["out"])]
    weights = {"w": ones(8, 3, 3, 3)}

    assert conv_of(weights, [*written, *norm], tmp_path / "a.onnx").params == 216
    assert conv_of({**weights, **held}, norm, tmp_path / "b.onnx").params == 216 + 16
