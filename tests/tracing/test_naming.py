"""What ops are called, what row they fold into, and what a layer gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfcalc.api import layer_graph
from rfcalc.graph import LayerGraph

W = torch.zeros(2, 2, 1, 1)


class Leaf(nn.Module):
    """A function as a module without others inside."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def traced(*functions: Callable[[Tensor], Any]) -> LayerGraph:
    return layer_graph(nn.Sequential(*map(Leaf, functions)), (2, 8, 8))


def norm(x: Tensor) -> Tensor:
    return F.instance_norm(x)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x: F.conv2d(x, W), ["0"]),
        (lambda x: F.relu(F.conv2d(F.relu(x), W)), ["0/relu", "0", "0/relu#2"]),
        (lambda x: F.conv2d(F.conv2d(x, W), W), ["0/conv", "0/conv#2"]),
        (lambda x: norm(norm(F.conv2d(x, W))), ["0", "0/instance_norm", "0/instance_norm#2"]),
        (lambda x: F.relu(norm(x)), ["0", "0/relu"]),
        (lambda x: F.relu(norm(norm(x))), ["0/instance_norm", "0/instance_norm#2", "0/relu"]),
        (lambda x: F.relu(F.relu(x)), ["0/relu", "0/relu#2"]),
        (lambda x: F.relu(x).permute(0, 2, 3, 1), ["0", "0/permute"]),
    ],
)
def test_the_only_op_of_the_first_class_has_the_name_of_the_module(function: Any, names: list[str]):
    assert [node.name for node in traced(function)][1:] == names


def test_an_op_without_a_layer_before_it_folds_into_the_one_that_it_feeds():
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3), nn.ReLU())
    model[3].weight_scale = nn.Parameter(torch.ones(1))
    model[3].forward = lambda x: F.linear(x, model[3].weight * model[3].weight_scale)
    rows = {node.name: node.owner for node in layer_graph(model, (2, 8, 8))}

    assert rows == {"input": 0, "0": 1, "1": 1, "2/view": 1, "3/mul": 5, "3": 5, "4": 5}


def test_an_op_of_two_rows_folds_into_that_of_its_first_input():
    def scaled(x: Tensor) -> Any:
        scale = F.linear(x[0, 0], torch.zeros(8, 8))[0]
        return F.layer_norm(F.conv2d(x, W), (8,), scale)

    *_, last = graph = traced(scaled)

    assert (last.kind, graph[last.owner].kind) == ("norm", "conv")


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: x * torch.sigmoid(x), "elementwise"),
        (lambda x: x + torch.sigmoid(x * 2), "elementwise"),
        (lambda x: x / x.sum(-1, keepdim=True), "elementwise"),
        (lambda x: x / x.sum(-1)[..., None], "merge"),
        (lambda x: x / x.sum(-2, keepdim=True), "merge"),
        (lambda x: x + F.max_pool2d(x, 3, 1, 1), "merge"),
        (lambda x: torch.cat([x, torch.sigmoid(x)], 1), "merge"),
        (lambda x: x + torch.cat([x[:, :1], x[:, 1:]], 1), "merge"),
    ],
)
def test_functions_of_one_tensor_are_no_merge(function: Any, kind: str):
    *_, last = traced(function)

    assert last.kind == kind


@pytest.mark.parametrize(
    ("function", "face"),
    [
        (lambda x: F.conv2d(x, W), None),
        (lambda x: F.conv2d(x, W).permute(0, 2, 3, 1), 2),
        (lambda x: F.relu(F.conv2d(x, W).permute(0, 2, 3, 1)), 3),
        (lambda x: F.relu(F.conv2d(x, W)), None),
        (lambda x: F.conv2d(x.permute(0, 1, 3, 2), W), None),
    ],
)
def test_a_layer_shows_its_result_as_its_module_gives_it_back(function: Any, face: int | None):
    (layer,) = [node for node in traced(function) if node.kind == "conv"]

    assert layer.face == face


def test_what_another_module_does_with_a_result_is_no_face():
    graph = traced(lambda x: F.conv2d(x, W), lambda x: x.permute(0, 2, 3, 1))

    assert [node.face for node in graph] == [None, None, None]


def test_a_module_with_others_inside_is_no_layer_that_gives_back_a_result():
    model = nn.Sequential(Leaf(lambda x: F.conv2d(x, W).permute(0, 2, 3, 1)))
    model[0].inner = nn.Identity()

    _, *nodes = layer_graph(model, (2, 8, 8))
    assert [(node.name, node.face) for node in nodes] == [("0/conv", None), ("0/permute", None)]


def test_a_model_of_one_module_shows_its_result_as_it_is():
    graph = layer_graph(Leaf(lambda x: F.conv2d(x, W).permute(0, 2, 3, 1)), (2, 8, 8))

    assert [node.face for node in graph] == [None, None, None]


def test_operations_that_are_none_are_left_out():
    some, _, none = (node.flops for node in [*traced(lambda x: F.relu(F.relu(x)[:, :, :0]))][1:])

    assert (some, none) == ({"activation": 2 * 8 * 8}, {})


def test_windows_that_leave_input_unread_are_noted_where_they_do():
    model = nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(2, 2, 3, 2), nn.MaxPool2d(2, 2, ceil_mode=True))
    notes = [node.notes for node in layer_graph(model, (2, 12, 17))]

    # 12 = 3 + 4 * 2 + 1: one row is left; 17 = 3 + 7 * 2. Then 5 = 3 + 2 and 8 = 3 + 2 * 2 + 1. Of 2x3 all is read.
    (rows,) = notes[1]
    (columns,) = notes[2]
    assert rows.startswith("(12 - 3)/2 + 1 = 5.5 is no integer: the last 1 of 12 are never read")
    assert columns.startswith("(8 - 3)/2 + 1 = 3.5 is no integer: the last 1 of 8 are never read")
    assert notes[3] == ()
