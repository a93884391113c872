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
pytest.importorskip("onnx2pytorch")

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

    assert [layer.name for layer in a.layers] == ["image", "/stem/Conv", "/pool", "/mean", "/head"]
    assert (a.totals.params, a.totals.buffers) == (112 + 8 + 25, 8 + 1)
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
    with pytest.raises(TraceError, match=r"cannot run on image 1x4x8x8: layer /stem/Conv \(Conv2d\) got 1x4x8x8"):
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


def test_ops_that_cannot_be_converted(tmp_path: Path) -> None:
    spec = saved(tmp_path / "a.onnx", [node("Magic", ["x"], ["out"], domain="mine")], {"x": (FLOAT, [1, 2])}, {})

    assert "onnx2pytorch cannot convert it: " in refused(spec)
    assert "Magic" in refused(spec)


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
    path = Path(cnn(tmp_path / "net.onnx", [1, 3, 16, 16]))
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="net.data", size_threshold=0)
    (tmp_path / "net.data").unlink()

    assert "net.data" in refused(str(path))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()

    assert "there is no such file" in refused(str(tmp_path / "net.onnx"))
    assert "is a directory" in refused(str(tmp_path / "folder.onnx"))


def test_the_converter_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = cnn(tmp_path / "net.onnx", [1, 3, 16, 16])
    monkeypatch.setitem(sys.modules, "onnx2pytorch", None)
    monkeypatch.delitem(sys.modules, "rfcalc.sources.onnx.module", raising=False)
    monkeypatch.delattr("rfcalc.sources.onnx.module", raising=False)

    assert "pip install 'rfcalc[onnx]'" in refused(spec)
