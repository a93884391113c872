"""What a graph keeps of how a model was written: the functions that it called, and the calls of its modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rfcalc import graph_json
from rfcalc.api import layer_graph
from rfcalc.conventions.facts import Facts
from rfcalc.graph import ModuleCall
from tests.conventions.nets import Function
from tests.conventions.test_numbers import graph

FUNCTIONS = {
    "x @ y": (lambda x: x @ x, "torch.matmul", "torch.Tensor.__matmul__"),
    "x.matmul(y)": (lambda x: x.matmul(x), "torch.matmul", "torch.Tensor.matmul"),
    "matmul(x, y)": (lambda x: torch.matmul(x, x), "torch.matmul", "torch.matmul"),
    "x + y": (lambda x: x + x, "aten.add", "torch.Tensor.__add__"),
    "1 + x": (lambda x: 1 + x, "aten.add", "torch.Tensor.__add__"),
    "sum": (lambda x: sum([x, x]), "aten.add", "torch.Tensor.__add__"),
    "x.add(y)": (lambda x: x.add(x), "aten.add", "torch.Tensor.add"),
    "2 * x": (lambda x: 2 * x, "aten.mul", "torch.Tensor.__mul__"),
    "relu": (F.relu, "aten.relu", "torch.nn.functional.relu"),
    "gelu": (F.gelu, "aten.gelu", "torch.nn.functional.gelu"),
    "torch.relu": (torch.relu, "aten.relu", "torch.relu"),
    "mean": (lambda x: x.mean((1, 2)), "aten.mean", "torch.Tensor.mean"),
    "pool": (lambda x: F.adaptive_avg_pool2d(x, 1), "aten.mean", "torch.nn.functional.adaptive_avg_pool2d"),
    "max_pool": (
        lambda x: F.max_pool2d(x, 2),
        "aten.max_pool2d_with_indices",
        "torch.nn.functional.max_pool2d",
    ),
    "linear": (lambda x: F.linear(x, torch.ones(3, 4)), "torch.linear", "torch.nn.functional.linear"),
    "einsum": (lambda x: torch.einsum("bij,bjk->bik", x, x), "torch.einsum", "torch.einsum"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_by_the_name_that_a_user_calls(name: str) -> None:
    function, op, wanted = FUNCTIONS[name]

    traced = layer_graph(Function(lambda m, x: function(x)), (2, 4, 4))

    assert wanted in {node.function for node in traced if node.op == op}


def test_module_calls() -> None:
    class Net(nn.Sequential):
        def __init__(self) -> None:
            act = nn.ReLU()
            super().__init__(nn.Conv2d(3, 4, 3), act, nn.Sequential(act))

    traced = layer_graph(Net(), (3, 8, 8))

    image, hidden = (1, 3, 8, 8), (1, 4, 6, 6)
    container, conv = "torch.nn.modules.container.Sequential", "torch.nn.modules.conv"
    net = f"{__name__}.test_module_calls.<locals>.Net"
    relu = ("torch.nn.modules.activation.ReLU",)
    assert traced.calls == (
        ModuleCall(1, "", (net, container), False, 1, (image,), (hidden,), 0),
        ModuleCall(2, "0", (f"{conv}.Conv2d", f"{conv}._ConvNd"), True, 1, (image,), (hidden,), 1),
        ModuleCall(3, "1", relu, True, 2, (hidden,), (hidden,), 1),
        ModuleCall(4, "2", (container,), False, 1, (hidden,), (hidden,), 1),
        ModuleCall(5, "1", relu, True, 2, (hidden,), (hidden,), 4),
    )
    assert [(node.op, node.call) for node in traced] == [
        *(("input", 0), ("aten.convolution", 2), ("aten.relu", 3), ("aten.relu", 5))
    ]


def test_saved_and_loaded(tmp_path: Path) -> None:
    traced = graph("net:multihead")
    graph_json.save(traced, tmp_path / "net.json")
    loaded = graph_json.load(tmp_path / "net.json")

    assert loaded.calls == traced.calls
    assert [node.function for node in loaded] == [node.function for node in traced]


@pytest.mark.parametrize(("name", "products"), [("multihead", 2), ("multihead_weights", 0), ("attention", 1)])
def test_attention_is_found_within_multihead_attention(name: str, products: int) -> None:
    """With weights asked for, MultiheadAttention runs two plain products instead."""
    facts = Facts(graph(f"net:{name}"))

    assert sum(bool(facts.nodes[ident].macs) for ident in facts.attention) == products


def test_a_module_of_no_class_of_its_own() -> None:
    module = nn.Module()
    module.forward = lambda x: torch.relu(x)  # type: ignore[method-assign]

    (call,) = layer_graph(module, (1, 4)).calls

    assert call.types == ()
    assert Facts(layer_graph(module, (1, 4)))


def test_unused_results_are_known() -> None:
    facts = Facts(graph("net:unused"))

    dead = [node.op for node in facts.nodes.values() if node.id not in facts.live]
    assert dead == ["torch.linear", "torch.linear", "torch.linear", "aten.mean"]
