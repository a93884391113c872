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


OTHER = torch.tensor([[0.0, 1, 0, 0], [0, 0, 2, 0], [5, 0, 6, 7], [0, 8, 0, 0]])  # 6 stored elements


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_product_of_two_counts_what_meets(layout: str) -> None:
    """Multiplied out one by one: an element of the first meets those of the second's row that its column names."""
    pairs = sum(
        bool(PATTERN[row, inner]) and bool(OTHER[inner, column])
        for row in range(4)
        for inner in range(4)
        for column in range(4)
    )

    class Net(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (a @ b).to_dense()

    totals = rfcalc.analyze(Net(), (LAYOUTS[layout](PATTERN), LAYOUTS[layout](OTHER))).totals

    assert pairs == 6
    assert (totals.macs, totals.status) == (pairs, "complete")


def test_what_is_stored_twice_is_one_element_of_a_product() -> None:
    twice = torch.sparse_coo_tensor([[0, 0, 1], [1, 1, 2]], torch.ones(3), (4, 4))

    class Net(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            return a @ a

    assert rfcalc.analyze(Net(), twice).totals.macs == 1


#: Of a sparse x and y: multiply-adds, and operations by category. x stores 4 elements, y 6.
ON_SPARSE: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int, dict[str, int]]] = {
    "moved": (lambda x, y: torch.cat([x.t(), x]).index_select(0, torch.tensor([1, 2])).unsqueeze(0)[0], 0, {}),
    "sum of two": (lambda x, y: x + y, 0, {"elementwise": 4}),
    "difference, scaled": (lambda x, y: torch.sub(y, x, alpha=3), 0, {"elementwise": 8}),
    "added to a dense one": (lambda x, y: torch.ones(4, 4) + y, 0, {"elementwise": 6}),
    "times a dense one": (lambda x, y: x * torch.full((4, 4), 2.0), 0, {"elementwise": 4}),
    "function": (lambda x, y: x.pow(2).sgn(), 0, {"elementwise": 8}),
    "relu": (lambda x, y: x.relu(), 0, {"activation": 4}),
    "sum over an axis": (lambda x, y: torch.sparse.sum(y, 1), 0, {"reduction": 6}),
    "softmax": (lambda x, y: torch.sparse.softmax(y, 1), 0, {"softmax": 5 * 6}),
    "of dense ones, where stored": (
        lambda x, y: torch.sparse.sampled_addmm(x.to_sparse_csr(), torch.ones(4, 3), torch.ones(3, 4)),
        4 * 3,
        {"bias": 4},
    ),
    "sums": (lambda x, y: torch.sparse.mm(x.to_sparse_csr(), torch.ones(4, 3), "sum"), 4 * 3, {}),
    "means": (lambda x, y: torch.sparse.mm(x.to_sparse_csr(), torch.ones(4, 3), "mean"), 4 * 3, {"elementwise": 4 * 3}),
    "largest": (
        lambda x, y: torch.sparse.mm(x.to_sparse_csr(), torch.ones(4, 3), "amax"),
        0,
        {"elementwise": 4 * 3, "reduction": 4 * 3},
    ),
    "a sparse result": (lambda x, y: torch.hspmm(x, torch.ones(4, 2)), 4 * 2, {}),
    "compressed": (
        lambda x, y: (
            torch.sparse_csr_tensor(torch.tensor([0, 1, 1, 1, 2]), torch.tensor([1, 2]), x.coalesce().values()[:2])
            @ torch.ones(3, 5)
        ),
        2 * 5,
        {},
    ),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", ON_SPARSE)
def test_other_functions_count_what_is_stored(name: str) -> None:
    function, macs, flops = ON_SPARSE[name]

    class Net(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return function(x, y)

    totals = rfcalc.analyze(Net(), (PATTERN.to_sparse(), OTHER.to_sparse())).totals

    assert totals.status == "complete", totals.unknown_ops
    assert totals.macs == macs
    assert {name: count for name, count in totals.flops_by.items() if name != "multiply-adds"} == flops


def test_it_is_told_where_data_decides_what_is_stored() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.to_sparse() @ x.to_sparse()).to_dense()

    analysis = rfcalc.analyze(Net(), torch.rand(4, 4))

    assert analysis.totals.macs == 4 * 4 * 4  # nothing is 0
    assert any(notice.startswith("the data decides how much aten._to_sparse") for notice in analysis.notices)


def test_a_sparse_tensor_moves_as_a_dense_one_does() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.t()[1].to_dense()

    found = rfcalc.verify(Net(), torch.rand(4, 4).to_sparse())
    last = list(layer_graph(Net(), torch.rand(4, 4).to_sparse()))[-1]

    assert last.inexact == ""
    assert all(check.agree == check.compared for check in found.checks)


def test_what_has_no_rule_on_sparse_tensors_is_unknown() -> None:
    """Also where the op has one on dense tensors, which would count every element."""

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.norm(x.to_sparse() + x.to_sparse())

    graph = layer_graph(Net(), torch.rand(4, 4))

    assert {record.op for record in graph if record.macs is None} == {"aten.norm(sparse)"}
