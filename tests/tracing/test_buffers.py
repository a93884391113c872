"""What a field owes to the numbers of buffers: nothing, unless a mask or an index is made of them, which is then said.

Every region stands as a literal and follows from the network as it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rfcalc
from rfcalc import graph_json
from rfcalc.checking import verify


class Fn(nn.Module):
    """A function of the module and an input, with modules and buffers by name."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], buffers: dict[str, Tensor], **modules: nn.Module):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def seen(model: nn.Module, size: int = 8, unit: int = 3) -> tuple[tuple[int, int], tuple[str, ...]]:
    """The rows that a unit of the last op sees, and the buffers that its field leans on."""
    a = rfcalc.analyze(model.eval(), torch.zeros(1, size, 4), axes={"T": 1})
    field = a.receptive_field(a.ops[-1].name, at=(unit,))
    assert field.status == "exact"
    assert field.region is not None
    assert field.region[0] is not None
    return field.region[0], field.leans


def mixed(weights: Callable[[Any], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Rows mixed by a matrix of weights."""
    return lambda m, x: weights(m) @ x


TRI = torch.ones(8, 8).tril()
LOW = torch.zeros(8, 8).masked_fill(TRI == 0, float("-inf"))
FINITE = torch.zeros(8, 8).masked_fill(TRI == 0, -100.0)


def scores(m: Any, x: Tensor) -> Tensor:
    return x @ x.transpose(1, 2)


#: what mixes the rows, the buffers, the rows that unit 3 of 8 sees, and what the field leans on.
CASES: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, Tensor], tuple[int, int], tuple[str, ...]]] = {
    "weights of 0 and 1": (mixed(lambda m: m.w), {"w": TRI}, (0, 7), ()),
    "all 0": (mixed(lambda m: m.w), {"w": torch.zeros(8, 8)}, (0, 7), ()),
    "a boolean mask": (mixed(lambda m: m.w * 1.5), {"w": TRI.bool()}, (0, 3), ("w",)),
    "weights under a boolean mask": (mixed(lambda m: m.v * m.w), {"v": TRI, "w": TRI.bool()}, (0, 3), ("w",)),
    "compared": (mixed(lambda m: (m.w > 0).float()), {"w": TRI}, (0, 3), ("w",)),
    "a triangle of weights": (mixed(lambda m: m.w.tril()), {"w": torch.ones(8, 8)}, (0, 3), ()),
    "a triangle made here": (mixed(lambda m: torch.ones(8, 8).tril()), {"w": TRI}, (0, 3), ()),
    "copied into zeros": (mixed(lambda m: torch.zeros(8, 8).copy_(m.w)), {"w": TRI}, (0, 7), ()),
    "a part copied into zeros": (mixed(lambda m: part(m.w)), {"w": TRI}, (0, 7), ()),
    "negative, cut at 0": (mixed(lambda m: (-m.w).relu()), {"w": TRI + 1}, (0, 7), ()),
    "minus infinity": (lambda m, x: (scores(m, x) + m.w).softmax(-1) @ x, {"w": LOW}, (0, 3), ("w",)),
    "-100": (lambda m, x: (scores(m, x) + m.w).softmax(-1) @ x, {"w": FINITE}, (0, 3), ("w",)),
    "-1e4 where 0": (lambda m, x: (scores(m, x) - 1e4 * (1 - m.w)).softmax(-1) @ x, {"w": TRI}, (0, 3), ("w",)),
    "filled where 0": (
        lambda m, x: scores(m, x).masked_fill(m.w[:8, :8] == 0, float("-inf")).softmax(-1) @ x,
        {"w": TRI},
        (0, 3),
        ("w",),
    ),
    "given to attention": (lambda m, x: F.scaled_dot_product_attention(x, x, x, m.w), {"w": LOW}, (0, 3), ("w",)),
    "an index": (lambda m, x: x[:, m.w], {"w": torch.tensor([7, 6, 5, 2, 3, 1, 0, 4])}, (2, 2), ("w",)),
}  # fmt: skip


def part(weights: Tensor) -> Tensor:
    made = torch.zeros(8, 8)
    half = made[:4]
    half[:, :6] = weights[:4, :6]
    return made + 0 * made.sum() + torch.zeros(8, 8).index_fill_(1, torch.tensor([6, 7]), 1.0)


@pytest.mark.parametrize("name", CASES)
def test_what_a_field_owes_to_buffers(name: str):
    function, buffers, region, leans = CASES[name]

    assert seen(Fn(function, buffers)) == (region, leans)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
def test_a_gate_is_a_weight_whatever_it_holds(value: float):
    gated = Fn(
        lambda m, x: x + m.conv(x) * m.gate, {"gate": torch.full((8, 1), value)}, conv=nn.Conv1d(8, 8, 3, padding=1)
    )
    a = rfcalc.analyze(gated.eval(), torch.zeros(1, 8, 4), axes={"T": 2})

    assert (a["add"].receptive_field.size, a["add"].receptive_field.leans) == ((3,), ())
    (check,) = [
        item
        for item in verify(gated, torch.zeros(1, 8, 4), device="cpu", axes={"T": 2}, timing=False).checks
        if item.what == "receptive_fields"
    ]
    assert check.differences == ()
    assert "floating-point buffers hold other numbers than the model's: 1" in check.notes


def test_an_attribute_is_as_a_buffer_and_what_torch_tensor_makes_is_made():
    found = Fn(lambda m, x: m.kept @ x, {})
    found.kept = TRI.clone()
    assert seen(found) == ((0, 7), ())
    numbers = TRI.tolist()
    assert seen(Fn(lambda m, x: torch.tensor(numbers) @ x, {})) == ((0, 3), ())


def test_a_mask_kept_as_numbers_is_named():
    a = rfcalc.analyze(Fn(mixed(lambda m: m.w), {"w": TRI}).eval(), torch.zeros(1, 8, 4), axes={"T": 1})

    assert any("buffer w holds only 0 and 1" in notice for notice in a.graph.graph["meta"]["notices"])


def test_a_number_that_forward_asks_for_is_named_and_kept():
    model = Fn(
        lambda m, x: x[:, : int(m.count.item())] * m.scale, {"count": torch.tensor(3.0), "scale": torch.zeros(4)}
    )
    checked = verify(model, torch.zeros(1, 8, 4), device="cpu", axes={"T": 1}, timing=False)

    assert checked.agree
    assert any("forward asks for numbers of buffer count" in notice for notice in checked.notices)


def test_a_saved_graph_keeps_what_fields_lean_on(tmp_path: Any):
    model = Fn(mixed(lambda m: m.w * 1.5), {"w": TRI.bool()}).eval()
    path = tmp_path / "graph.json"
    graph_json.save(rfcalc.analyze(model, torch.zeros(1, 8, 4), axes={"T": 1}).layer_graph, path)
    field = rfcalc.analyze(str(path)).ops[-1].receptive_field

    assert field.leans == ("w",)
    assert field.to_dict()["leans"] == ["w"]
