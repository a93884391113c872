"""Matrix products of batches are one op, whatever they are called; all others are what torch makes of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rfcalc.api import analyze, layer_graph
from rfcalc.errors import TraceError

X = torch.randn(2, 3, 4, 4)


class Of(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor], weight: Tensor | None = None) -> None:
        super().__init__()
        self.function = function
        self.weight = None if weight is None else nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) if self.weight is None else torch.matmul(self.weight, x)


def ops(function: Callable[[Tensor], Tensor], x: Tensor = X) -> list[tuple[str, str]]:
    """The ops after the input, and the functions that called them."""
    return [(node.op, node.function) for node in layer_graph(Of(function), x) if node.inputs]


@pytest.mark.parametrize(
    ("function", "called"),
    [
        (lambda x: x @ x, "torch.Tensor.__matmul__"),
        (lambda x: x.matmul(x), "torch.Tensor.matmul"),
        (lambda x: x.matmul(other=x), "torch.Tensor.matmul"),
        (lambda x: x.__matmul__(x), "torch.Tensor.__matmul__"),
        (lambda x: x.__rmatmul__(x), "torch.Tensor.__rmatmul__"),
        (lambda x: torch.matmul(x, x), "torch.matmul"),
        (lambda x: torch.matmul(input=x, other=x), "torch.matmul"),
    ],
    ids=[
        "x @ x",
        "x.matmul(x)",
        "x.matmul(other=x)",
        "x.__matmul__(x)",
        "x.__rmatmul__(x)",
        "matmul(x, x)",
        "matmul(input=x, other=x)",
    ],
)
def test_a_product_of_batches_is_one_op(function: Callable[[Tensor], Tensor], called: str) -> None:
    assert ops(function) == [("torch.matmul", called)]

    layer = analyze(Of(function), X)["matmul"]
    assert (layer.kind, layer.macs, layer.output_shape) == ("matmul", 2 * 3 * 4 * 4 * 4, (2, 3, 4, 4))


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: x @ x[0, 0], "aten.mm"),
        (lambda x: x[0, 0] @ x[0, 0], "aten.mm"),
        (lambda x: x @ x[0, 0, 0], "aten.mv"),
        (lambda x: x[0, 0, 0] @ x[0, 0, 0], "aten.dot"),
        (lambda x: x[:1] @ x, "aten.bmm"),
        (lambda x: x[0] @ x, "aten.bmm"),
        (lambda x: torch.bmm(x[0], x[1]), "aten.bmm"),
        (lambda x: torch.matmul(x, x, out=torch.empty(2, 3, 4, 4)), "aten.bmm"),
    ],
)
def test_other_products_are_what_torch_makes_of_them(function: Callable[[Tensor], Tensor], op: str) -> None:
    found = [name for name, _ in ops(function)]

    assert op in found
    assert "torch.matmul" not in found


def test_a_product_with_a_parameter_is_a_linear_layer() -> None:
    layer = analyze(Of(lambda x: x, torch.randn(2, 3, 5, 4)), X).layers[-1]

    assert (layer.op, layer.kind, layer.params) == ("torch.matmul", "linear", 2 * 3 * 5 * 4)
    assert (layer.output_shape, layer.macs) == ((2, 3, 5, 4), 2 * 3 * 5 * 4 * 4)
    assert layer.attrs == {"in_features": 4, "out_features": 5}


def test_a_product_of_constants_is_a_constant() -> None:
    assert ops(lambda x: x + (torch.eye(4).expand(2, 3, 4, 4) @ torch.ones(2, 3, 4, 4))) == [
        ("aten.add", "torch.Tensor.__add__")
    ]


def test_a_product_that_torch_refuses_says_why() -> None:
    with pytest.raises(TraceError, match="2x3x4x4"):
        layer_graph(Of(lambda x: x @ x[..., :3, :]), X)


SEEN: list[tuple[int, ...]] = []  #: not held by the model, of which a pass runs a double


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_value_is_torchs(device: str) -> None:
    """A result that the model asks about, and one with numbers."""
    SEEN.clear()

    def function(x: Tensor) -> Tensor:
        y = x.to(torch.complex64) @ x.to(torch.complex64)
        SEEN.append((*y.shape, *y.stride(), y.is_complex()))
        return y.real

    layer_graph(Of(function), X.to(device))

    assert set(SEEN) == {(2, 3, 4, 4, 48, 16, 4, 1, True)}


def test_a_mask_of_scores_is_known_to_the_product() -> None:
    """Causal attention by hand: a position reads itself and those before it."""

    def attend(x: Tensor) -> Tensor:
        scores = (x @ x.transpose(-1, -2)).masked_fill(torch.ones(6, 6).triu(1).bool(), float("-inf"))
        return scores.softmax(-1) @ x

    found = analyze(Of(attend), torch.randn(1, 2, 6, 4), axes={"T": 2})

    assert [layer.op for layer in found.layers if layer.kind == "matmul"] == ["torch.matmul"] * 2
    assert [found.receptive_field("matmul#2", at=(at,)).region for at in (0, 3)] == [((0, 0),), ((0, 3),)]


def test_the_right_operand_can_be_asked_for_the_product() -> None:
    def turned(x: Tensor) -> Tensor:
        return x[..., :2].__rmatmul__(x)

    layer = analyze(Of(turned), X)["matmul"]

    assert (layer.output_shape, layer.attrs) == ((2, 3, 4, 2), {"batch": 6, "m": 4, "k": 4, "n": 2})
