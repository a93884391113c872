"""Bytes of what a forward pass computes, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfcalc.analyses.memory import activation_bytes, used_outputs
from rfcalc.api import layer_graph
from rfcalc.graph import Node, Ref, TensorInfo
from tests.baseline.nets import entry


class Counted(nn.Module):
    """Two convolutions, one into 2 x 8 x 8 floats and one into 4 x 8 x 8, with what counts and what does not."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 4, 1)
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        if self.kind == "relu":
            x = torch.relu(x)
        if self.kind == "relu in place":
            x = torch.relu_(x)
        if self.kind == "dropout":
            x = nn.functional.dropout(x, 0.5, self.training)
        if self.kind == "views":
            x = x.flatten(2).reshape(x.shape).transpose(2, 3)
        if self.kind == "copy":
            x = x.clone()
        if self.kind == "half":
            return self.two(x).half()
        if self.kind == "pool":
            x = nn.functional.max_pool2d(x, 1)  # torch computes indices beside, which nobody reads
        return self.two(x)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("", 0),
        ("relu", 2 * 64 * 4),
        ("relu in place", 2 * 64 * 4),
        ("dropout", 0),
        ("views", 0),
        ("copy", 0),
        ("half", 4 * 64 * 2),
        ("pool", 2 * 64 * 4),
    ],
)
def test_what_counts(kind: str, more: int) -> None:
    found = entry(Counted(kind), (1, 8, 8))

    assert found.totals.activation_bytes == (2 + 4) * 64 * 4 + more
    assert sum(row.activation_bytes or 0 for row in found.layers) == found.totals.activation_bytes


def test_dropout_in_training_computes() -> None:
    graph = layer_graph(Counted("dropout"), (1, 8, 8), training=True)

    assert activation_bytes(graph, used_outputs(graph)) == (2 + 4 + 2) * 64 * 4


def test_a_dtype_without_a_size_is_unknown() -> None:
    odd = Node(0, "op", "op", "conv", 1, "", "", (), (TensorInfo((3,), "float5"),), ((),))

    assert activation_bytes([odd], {Ref(0)}) is None
    assert activation_bytes([odd], set()) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_sizes_are_those_of_torch(dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    node = Node(0, "op", "op", "conv", 1, "", "", (), (TensorInfo((3, 5), name),), ((),))

    assert activation_bytes([node], {Ref(0)}) == 15 * torch.empty((), dtype=dtype).element_size()
