"""The layer graph as JSON: the same analysis after saving and loading, and one clear line for a damaged file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rfcalc
from rfcalc import graph_json
from rfcalc.api import layer_graph
from rfcalc.errors import LoadError, UsageError
from rfcalc.graph import LayerGraph, Node, Ref, layered, nodes


class Busy(nn.Module):
    """A little of everything that a graph holds: two inputs, two outputs, masks, shared and unused parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv1d(2, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm1d(4)
        self.up = nn.ConvTranspose1d(4, 2, 2, stride=2)
        self.twin = nn.Conv1d(2, 4, 3, bias=False)
        self.twin.weight = self.embed.weight
        self.unused = nn.Linear(3, 3)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.embed(left)).transpose(1, 2)
        x = F.scaled_dot_product_attention(x, x, x, is_causal=True).transpose(1, 2)
        x = self.up(x)
        x[..., :2] = 0
        return torch.cat([x, right], dim=1), self.twin(right)


def busy() -> LayerGraph:
    return layer_graph(Busy(), (torch.rand(1, 2, 12), torch.rand(1, 2, 12)))


@pytest.fixture
def saved(tmp_path) -> tuple[Path, dict[str, Any]]:
    """A saved graph and its JSON data."""
    path = tmp_path / "graph.json"
    graph_json.save(busy(), path)
    return path, json.loads(path.read_text(encoding="utf-8"))


# --- round trip -------------------------------------------------------------------------------------------------------


def test_saving_and_loading_changes_nothing(tmp_path):
    graph = busy()
    path = tmp_path / "graph.json"
    graph_json.save(graph, path)
    loaded = graph_json.load(path)

    assert list(loaded) == list(graph)
    for name in ("model", "inputs", "outputs", "params", "buffers", "calls", "meta"):
        assert getattr(loaded, name) == getattr(graph, name)
    assert set(loaded.masks) == set(graph.masks) != set()
    for key, mask in graph.masks.items():
        np.testing.assert_array_equal(loaded.masks[key], mask)
    assert graph_json.dumps(loaded) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("spec", ["lenet5", "alexnet", "inception-reduced", "3x3/2 5x5d2", "resnet18"])
def test_a_saved_graph_gives_the_same_analysis(spec, tmp_path):
    fresh = rfcalc.analyze(spec)
    path = tmp_path / "saved.json"
    graph_json.save(fresh.layer_graph, path)

    again = rfcalc.analyze(str(path))

    assert again.to_dict() == fresh.to_dict()
    assert again.to_dict(again.ops) == fresh.to_dict(fresh.ops)
    last = fresh.layers[-1].index
    for mine, theirs in zip(again.regions(last), fresh.regions(last), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_busy_graph_gives_the_same_analysis(saved):
    path, _ = saved

    fresh, again = rfcalc.analyze(busy()), rfcalc.analyze(str(path))

    assert again.to_dict(again.ops) == fresh.to_dict(fresh.ops)
    assert fresh.totals.unused_params == {"unused.weight": 9, "unused.bias": 3}


def test_one_node_a_line(saved):
    path, data = saved
    lines = path.read_text(encoding="utf-8").splitlines()

    assert sum(line.startswith('  {"id":') for line in lines) == len(data["nodes"])


def test_numbers_stay_exact_integers(tmp_path):
    graph = layer_graph("vgg16")
    path = tmp_path / "vgg16.json"
    graph_json.save(graph, path)

    assert rfcalc.analyze(str(path)).totals.macs == 15_470_264_320
    assert "float" not in {type(value).__name__ for value in _leaves(graph_json.to_json(graph))}


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def test_a_saved_graph_has_its_input_fixed(saved):
    with pytest.raises(UsageError, match="input fixed"):
        rfcalc.analyze(str(saved[0]), (2, 16))


# --- damage -----------------------------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(LoadError) as caught:
        graph_json.load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert caught.value.exit_status == 3
    return text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not valid JSON"),
        (b"not json at all", "not valid JSON"),
        (b"\x80\x02}q\x00(X\x05\x00\x00\x00model", "not valid JSON"),  # a pickle
        (b"\xff\xfe\x00\x01" * 100, "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1, 2, 3]", "expected schema 'rfcalc-graph/1', found 'list'"),
        (b"null", "found 'NoneType'"),
        (b"{}", "found None"),
        (b'{"schema": "rfcalc/1"}', "found 'rfcalc/1'"),
        (b'{"schema": "rfcalc-graph/2"}', "found 'rfcalc-graph/2'"),
    ],
)
def test_files_that_are_no_graph(content, says, tmp_path):
    path = tmp_path / "graph.json"
    path.write_bytes(content)

    assert says in refused(path)


def test_files_that_cannot_be_read(tmp_path):
    assert "cannot read" in refused(tmp_path / "missing.json")
    assert "cannot read" in refused(tmp_path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files(part, saved):
    path, _ = saved
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: int(len(text.rstrip()) * part)], encoding="utf-8")

    assert "not valid JSON" in refused(path)


Damage = Callable[[dict[str, Any]], Any]


def in_node(number: int, **changes: Any) -> Damage:
    return lambda data: data["nodes"][number].update(changes)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a cycle": (in_node(1, inputs=[[2, 0]]), "node 1 reads node 2, which does not come before it"),
    "a node that reads itself": (in_node(3, inputs=[[3, 0]]), "node 3 reads node 3"),
    "a node that is not there": (in_node(2, inputs=[[99, 0]]), "node 99"),
    "a node cut out": (lambda data: data["nodes"].pop(2), "node 2"),
    "an output that is not there": (in_node(3, inputs=[[2, 7]]), "output 7"),
    "a read of an input that is not there": (in_node(3, reads=[[[5, []]]]), "input 5"),
    "an unknown step": (in_node(3, reads=[[[0, [["teleport", 1]]]]]), "teleport"),
    "a step with a field too few": (in_node(3, reads=[[[0, [["window", 1]]]]]), ""),
    "a mask that is not there": (in_node(3, reads=[[[0, [["blocked", 50]]]]]), "mask 50"),
    "a mask cut short": (lambda data: next(iter(data["masks"].values())).update(bits="eJw="), ""),
    "a mask that is no base64": (lambda data: next(iter(data["masks"].values())).update(bits="!"), ""),
    "an input without node": (lambda data: data["inputs"][0].update(node=77), "node 77"),
    "an output of no node": (lambda data: data["outputs"].append([88, 0]), "node 88"),
    "a row of no node": (in_node(3, owner=44), "node 44"),
    "a strange field": (in_node(1, colour="red"), "colour"),
    "an id twice": (in_node(2, id=1), ""),
    "a shape that is no list": (in_node(1, outputs=[[7, "float32"]]), ""),
    "a shape of strings": (in_node(1, outputs=[[["a", "b"], "float32"]]), ""),
    "nodes that are no list": (lambda data: data.update(nodes=5), ""),
    "an axis that is not there": (lambda data: data["inputs"][0].update(axes={"L": 9}), ""),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_graphs(name, saved):
    path, data = saved
    damage, says = DAMAGES[name]
    damage(data)
    path.write_text(json.dumps(data), encoding="utf-8")

    text = refused(path)

    assert "is damaged" in text
    assert says in text


def test_missing_keys(saved):
    path, whole = saved
    for key in set(whole) - {"schema"}:
        path.write_text(json.dumps({name: value for name, value in whole.items() if name != key}), encoding="utf-8")
        assert f"KeyError: '{key}'" in refused(path)
    for key in ("id", "op", "name", "kind", "inputs", "outputs", "reads"):
        data = json.loads(json.dumps(whole))
        del data["nodes"][2][key]
        path.write_text(json.dumps(data), encoding="utf-8")
        assert key in refused(path)
    for table in ("inputs", "params", "buffers"):
        for key in ("name", "shape"):
            data = json.loads(json.dumps(whole))
            del data[table][0][key]
            path.write_text(json.dumps(data), encoding="utf-8")
            assert key in refused(path)


# --- built by hand ----------------------------------------------------------------------------------------------------


def test_edges_follow_from_the_inputs():
    graph = busy().digraph

    assert isinstance(graph, nx.DiGraph)
    assert nx.is_directed_acyclic_graph(graph)
    assert layered(graph).records == busy().records
    for record in nodes(graph):
        assert set(graph.predecessors(record.id)) == {ref.node for ref in record.inputs}
        assert all(ref.node < record.id for ref in record.inputs)


def test_records_are_frozen():
    record = next(iter(busy()))

    assert isinstance(record, Node)
    with pytest.raises(AttributeError):
        record.name = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Ref(0).node = 1  # type: ignore[misc]
