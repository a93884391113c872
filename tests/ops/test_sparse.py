"""Sparse tensors: what is stored is counted, positions are those of the dense tensor."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import rfcalc
from rfcalc.api import layer_graph

PATTERN = torch.tensor([[2.0, 0, 0, 1], [0, 0, 3, 0], [0, 0, 0, 0], [0, 4, 0, 0]])  # 4 stored elements
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {"coo": Tensor.to_sparse, "csr": Tensor.to_sparse_csr}


class Mixed(nn.Module):
    """A layer of a graph network: features of 5 channels, mixed by a matrix that is given, or a buffer."""

    def __init__(self, matrix: Tensor | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5, bias=False)
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor, matrix: Tensor | None = None) -> Tensor:
        return (self.matrix if matrix is None else matrix) @ self.linear(x)


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sparse_input_counts_what_it_stores(layout: str) -> None:
    inputs = (torch.randn(4, 3), LAYOUTS[layout](PATTERN))
    totals = rfcalc.analyze(Mixed(), inputs).totals

    assert (totals.macs, totals.status) == (4 * 3 * 5 + 4 * 5, "complete")
    found = rfcalc.verify(Mixed(), inputs)
    assert all(check.agree == check.compared for check in found.checks)


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sparse_buffer_counts_what_it_stores(layout: str) -> None:
    totals = rfcalc.analyze(Mixed(LAYOUTS[layout](PATTERN)), torch.randn(4, 3)).totals

    assert (totals.macs, totals.status) == (4 * 3 * 5 + 4 * 5, "complete")


FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "made of constants": (lambda x: torch.sparse_coo_tensor([[0, 1], [1, 2]], torch.ones(2), (4, 4)) @ x, 2 * 4),
    "made of data": (lambda x: torch.sparse_coo_tensor([[0, 1], [1, 2]], x[0, :2], (4, 4)) @ x, 2 * 4),
    "added": (lambda x: torch.sparse.addmm(x, PATTERN.to_sparse(), x), 4 * 4),
    "a vector": (lambda x: torch.mv(PATTERN.to_sparse(), x[0]), 4),
    "dense by sparse": (lambda x: x @ PATTERN.to_sparse_csc(), 4 * 4),
    "to dense": (lambda x: PATTERN.to_sparse().to_dense() @ x, 4 * 4 * 4),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_products(name: str) -> None:
    function, macs = FUNCTIONS[name]

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    totals = rfcalc.analyze(Net(), torch.randn(4, 4)).totals

    assert totals.status == "complete", totals.unknown_ops
    assert totals.macs == macs


def test_what_has_no_rule_on_sparse_tensors_is_unknown() -> None:
    """Also where the op has one on dense tensors, which would count every element."""

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (torch.sparse.softmax(x.to_sparse(), 1) @ x.to_sparse()).to_dense()

    graph = layer_graph(Net(), torch.rand(4, 4))

    assert {record.op for record in graph if record.macs is None} == {"aten._sparse_softmax(sparse)", "aten.mm(sparse)"}
