"""Whole networks that onnx ships for backends, by values; tensors that a file does not write out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

onnx: Any = pytest.importorskip("onnx")

import rfcalc  # noqa: E402
from rfcalc.errors import LoadError  # noqa: E402
from tests.sources import onnx_cases  # noqa: E402

_FLOAT, _INT = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


@pytest.mark.parametrize("name", onnx_cases.light_files())
def test_the_light_zoo(name: str) -> None:
    onnx_cases.agree(onnx_cases.light(name))


@pytest.mark.parametrize("kind", ["simple", "pytorch-converted", "pytorch-operator"])
def test_cases_that_onnx_ships_as_files(kind: str) -> None:
    """Those of texts and of onnx's own gradients are not followed."""
    ran = 0
    for case in onnx_cases.stored(kind):
        if case.name.startswith("test_gradient_of_"):
            continue
        try:
            onnx_cases.agree(case)
        except onnx_cases.UnusedError:
            continue
        except Exception as error:
            raise AssertionError(f"{case.name}: {error}") from error
        ran += 1
    assert ran >= {"simple": 15, "pytorch-converted": 82, "pytorch-operator": 35}[kind]


def saved(path: Path, nodes: list[Any], given: list[int], held: Any = (), sparse: Any = ()) -> Any:
    """A model of one input x and one output y, in a file and as it is."""
    helper = onnx.helper
    infos = [helper.make_tensor_value_info("x", _FLOAT, given)], [helper.make_tensor_value_info("y", _FLOAT, None)]
    graph = helper.make_graph(nodes, "g", *infos, list(held), sparse_initializer=list(sparse))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, path)
    return model


def sparse(indices: Any, values: list[float], shape: list[int]) -> Any:
    """A sparse tensor called w."""
    held = onnx.numpy_helper.from_array(np.array(values, np.float32), "w")
    return onnx.helper.make_sparse_tensor(held, onnx.numpy_helper.from_array(np.array(indices, np.int64), "i"), shape)


@pytest.mark.parametrize("indices", [[1, 5], [[0, 1], [1, 2]]], ids=["by number", "by axis"])
def test_a_sparse_weight(indices: Any, tmp_path: Path) -> None:
    """It has its numbers where its indices say, and is as many parameters as the whole has elements."""
    path = tmp_path / "a.onnx"
    add = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    model = saved(path, [add], [2, 3], sparse=[sparse(indices, [3, 7], [2, 3])])

    assert onnx_cases.network(model)(torch.zeros(2, 3)).tolist() == [[0, 3, 0], [0, 0, 7]]
    assert rfcalc.analyze(str(path)).totals.params == 6


def test_a_sparse_constant_of_a_node(tmp_path: Path) -> None:
    held = onnx.helper.make_node("Constant", [], ["w"], sparse_value=sparse([1, 5], [3, 7], [2, 3]))
    model = saved(tmp_path / "a.onnx", [held, onnx.helper.make_node("Add", ["x", "w"], ["y"])], [2, 3])

    assert onnx_cases.network(model)(torch.zeros(2, 3)).tolist() == [[0, 3, 0], [0, 0, 7]]


def test_indices_of_a_sparse_weight_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    add = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    saved(path, [add], [2, 3], sparse=[sparse([1, 6], [3, 7], [2, 3])])

    with pytest.raises(LoadError, match="is damaged: the indices of the sparse tensor 'w' do not fit its shape"):
        rfcalc.analyze(str(path))


def test_a_weight_that_a_node_fills_has_its_number(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor("", _FLOAT, [1], [0.5])
    shape = onnx.numpy_helper.from_array(np.array([2, 3]), "shape")
    nodes = [onnx.helper.make_node("ConstantOfShape", ["shape"], ["w"], value=value)]
    nodes.append(onnx.helper.make_node("Add", ["x", "w"], ["y"]))
    model = saved(tmp_path / "a.onnx", nodes, [2, 3], [shape])

    assert onnx_cases.network(model)(torch.zeros(2, 3)).unique().tolist() == [0.5]
    assert rfcalc.analyze(str(tmp_path / "a.onnx")).totals.params == 6


def test_a_tensor_in_a_file_without_a_name(tmp_path: Path) -> None:
    lost = onnx.TensorProto(name="w", data_type=_FLOAT, dims=[2, 3], data_location=1)
    saved(tmp_path / "a.onnx", [onnx.helper.make_node("Add", ["x", "w"], ["y"])], [2, 3])
    model = onnx.load(tmp_path / "a.onnx")
    model.graph.initializer.append(lost)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(LoadError, match="is damaged: it does not say in which file tensor 'w' is"):
        rfcalc.analyze(str(tmp_path / "a.onnx"))
