"""Rows that data sorts, that are worked on one by one, and put back: each sees what its own token sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rfcalc
from rfcalc.graph import ORDERED

TOKENS, WIDTH, EXPERTS, EACH = 6, 4, 3, 2


class Experts(nn.Module):
    """A mixture of experts over a causal sum of tokens: sorted by expert, multiplied in groups, put back."""

    def __init__(self, undo: str = "inverse", between: str = "") -> None:
        super().__init__()
        self.undo, self.between = undo, between
        self.gate = nn.Linear(WIDTH, EXPERTS)
        self.weight = nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH))
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.head = nn.Linear(WIDTH, WIDTH)
        self.places = nn.Parameter(torch.randn(TOKENS * EACH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x[0].cumsum(0)
        scores, chosen = self.gate(x).topk(EACH, dim=-1)
        keys = chosen.reshape(-1)
        ordered, order = torch.sort(keys)
        rows = x[order // EACH]
        ends = torch.histc(ordered.float(), bins=EXPERTS, min=0, max=EXPERTS - 1).cumsum(0, dtype=torch.int32)
        if self.between == "other groups":
            ends = ends.flip(0)
        rows = torch._grouped_mm(rows, self.weight, offs=ends).relu() * scores.reshape(-1)[order].unsqueeze(-1)
        if self.between == "conv":
            rows = self.conv(rows.T).T
        elif self.between == "places":
            rows = rows + self.places
        elif self.between == "tokens":
            rows = rows + x.repeat_interleave(EACH, 0)
        elif self.between == "constant":
            rows = rows + torch.linspace(0, 1, TOKENS * EACH).unsqueeze(-1)
        elif self.between == "numbers":
            rows = rows * float(order.max())
        return self.head(self.back(rows, keys, order, x))

    def back(self, rows: Tensor, keys: Tensor, order: Tensor, x: Tensor) -> Tensor:
        if self.undo == "inverse":
            inverse = torch.empty_like(order)
            inverse[order] = torch.arange(order.numel(), device=order.device)
            rows = rows[inverse]
        elif self.undo == "argsort":
            rows = rows[order.argsort()]
        elif self.undo == "added":
            return torch.zeros_like(x).index_add(0, order // EACH, rows)
        elif self.undo == "summed":
            return rows.sum(0, keepdim=True)
        elif self.undo == "twice":
            rows = rows[torch.sort(keys.flip(0))[1]]
        elif self.undo == "constant":
            inverse = torch.empty_like(order)
            inverse[order] = torch.arange(order.numel(), device=order.device).flip(0)
            rows = rows[inverse]
        return rows.reshape(TOKENS, EACH, WIDTH).sum(1) if self.undo != "nothing" else rows


def last_of(model: nn.Module) -> tuple[str, list[list[int]]]:
    """Status of the last layer's field, and the tokens that each of its rows sees, from the first to the last."""
    found = rfcalc.analyze(model.eval(), (TOKENS, WIDTH))
    last = found.layers[-1]
    [field] = last.receptive_fields.values()
    first, end = found.regions(last.name)[0]
    rows = last.output_shape[0]
    sees = [
        [int(np.broadcast_to(side, last.output_shape)[row].flat[0]) for side in (first, end)] for row in range(rows)
    ]
    return field.status, sees


@pytest.mark.parametrize("undo", ["inverse", "argsort", "added"])
def test_a_row_that_is_put_back_sees_what_its_token_sees(undo: str):
    assert last_of(Experts(undo)) == ("exact", [[0, token] for token in range(TOKENS)])


def test_what_stands_in_the_order_says_so_and_costs_the_same():
    found = rfcalc.analyze(Experts().eval(), (TOKENS, WIDTH))
    [product] = [node for node in found.layer_graph if node.op == "aten._grouped_mm"]
    assert ORDERED in product.notes
    assert not product.inexact
    assert product.macs == TOKENS * EACH * WIDTH * WIDTH
    [back] = [node for node in found.layer_graph if node.op == "aten.sum" and node.id > product.id]
    assert ORDERED not in back.notes


def test_what_is_the_same_in_every_order_is_exact():
    status, sees = last_of(Experts("summed"))
    assert (status, sees) == ("exact", [[0, TOKENS - 1]])


@pytest.mark.parametrize("undo", ["nothing", "twice", "constant"])
def test_an_order_that_is_not_undone_is_an_upper_bound(undo: str):
    status, sees = last_of(Experts(undo))
    assert status == "upper_bound"
    assert sees == [[0, TOKENS - 1]] * len(sees)


@pytest.mark.parametrize("between", ["conv", "places", "tokens", "constant", "numbers", "other groups"])
def test_rows_that_meet_what_is_in_no_such_order_are_an_upper_bound(between: str):
    assert last_of(Experts("inverse", between)) == ("upper_bound", [[0, TOKENS - 1]] * TOKENS)


@pytest.mark.parametrize("undo", ["inverse", "argsort", "added"])
def test_verify_sees_the_same(undo: str):
    torch.manual_seed(0)
    found = rfcalc.verify(Experts(undo).eval(), (TOKENS, WIDTH))
    assert found.agree
    told = [note for check in found.checks for note in check.notes if "where values put them" in note]
    assert len(told) == 1
    assert "/sum" not in told[0]


def test_a_token_changed_by_hand_changes_no_earlier_row():
    torch.manual_seed(0)
    model, x = Experts().eval(), torch.randn(1, TOKENS, WIDTH)
    with torch.no_grad():
        before = model(x)
        for token in range(TOKENS):
            changed = x.clone()
            changed[:, token] += torch.randn(WIDTH)
            differs = ~torch.isclose(model(changed), before, atol=1e-5, rtol=0).all(-1)
            assert not differs[:token].any()
            assert differs[token]


def test_sorting_what_is_no_whole_number_is_as_before():
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            order = torch.sort(x[0, :, 0])[1]
            return self.head(x[0][order][order.argsort()])

    assert last_of(Sorted())[0] == "upper_bound"
