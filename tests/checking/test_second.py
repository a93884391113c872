"""The second witness: finite changes in float64, beside NaN, over everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfcalc import reads
from rfcalc.checking import Check, verify
from rfcalc.ops import conv, registry
from rfcalc.tracing import replay


def fields(model: nn.Module, *shape: int, **options: Any) -> Check:
    """The check of receptive fields on the CPU."""
    return verify(model, shape, **{"device": "cpu", "probes": 9, "timing": False, **options}).check("receptive_fields")


def note(check: Check, words: str) -> str:
    """The one note with these words."""
    (found,) = [text for text in check.notes if words in text]
    return found


class Cleaned(nn.Module):
    """NaN does not come to the second convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.second = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.nan_to_num(self.first(x)))


def test_a_region_too_small_is_seen_where_nan_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fields(Cleaned(), 1, 9, 9).differences == ()

    def small(call: Any) -> Any:
        effect = conv.convolution(call)
        if call["input"].shape[1] == 2:
            effect.reads = [(arg, tuple(_narrow(step) for step in steps)) for arg, steps in effect.reads]
        return effect

    replay.forget()
    rules = registry._RULES
    monkeypatch.setitem(rules, "aten.convolution", replace(rules["aten.convolution"], rule=small))
    check = fields(Cleaned(), 1, 9, 9)
    replay.forget()
    assert [item.layer for item in check.differences] == ["second"]
    assert "held against a finite change in float64 as well" in " ".join(check.notes)


def _narrow(step: reads.Step) -> reads.Step:
    return replace(step, kernel=1, before=0) if isinstance(step, reads.Window) else step


class Dead(nn.Module):
    """A branch that no finite input of this size moves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.conv(x) - 1e9)


def test_an_end_that_only_nan_moves_is_named() -> None:
    check = fields(Dead(), 1, 9, 9)

    assert check.differences == ()
    assert note(check, "no finite change moved").endswith("2 ops: relu, add")


def test_deformable_convolutions_do_not_end_the_process() -> None:
    ops = pytest.importorskip("torchvision.ops")

    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset = nn.Conv2d(3, 18, 3, padding=1)
            self.deform = ops.DeformConv2d(3, 4, 3, padding=1)
            self.last = nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.deform(x, self.offset(x)))

    check = fields(Deformed(), 3, 8, 8)
    assert check.differences == ()
    assert any("deform_conv2d cannot stand NaN" in text for text in check.notes)
    assert check.compared == check.agree == 4


class Sparse(nn.Module):
    """Features mixed along the edges of a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(4, 4)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return torch.sparse.mm(edges, self.weight(x))


def test_sparse_inputs_are_no_disagreement() -> None:
    edges = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).to_sparse()

    assert verify(Sparse(), (torch.zeros(3, 4), edges), device="cpu", timing=False, axes={"x": {"N": 0}}).agree
