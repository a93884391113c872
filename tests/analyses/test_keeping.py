"""Fields that are kept from one walk for the next are those that a walk alone finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rfcalc import recall
from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.field import keeping
from rfcalc.api import layer_graph


class Attention(nn.Module):
    """Attention under a mask, before and after a layer."""

    def __init__(self, mask: Callable[[], Tensor]) -> None:
        super().__init__()
        self.mask = mask
        self.linear = nn.Linear(8, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        mask = self.mask().to(x.device)
        for _ in range(2):
            scores = (self.linear(x) @ x.transpose(-1, -2)).masked_fill(mask, -torch.inf)
            x = self.conv((scores.softmax(-1) @ x).transpose(-1, -2)).transpose(-1, -2)
        return x


class Both(nn.Module):
    """Two inputs that meet, one of them later."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(8, 8, kernel, padding=1), nn.Conv1d(8, 8, 3, padding=1, dilation=1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.second(self.first(x) + self.first(y)) + x[..., : x.shape[-1] + 3 - self.first.kernel_size[0]]


def ahead() -> Tensor:
    return torch.ones(12, 12, dtype=torch.bool).triu(1)


def behind() -> Tensor:
    return torch.ones(12, 12, dtype=torch.bool).tril(-3)


def none_of_some() -> Tensor:
    return torch.ones(12, 12, dtype=torch.bool).triu(1) | (torch.arange(12) == 4)


def nets() -> list[tuple[nn.Module, Any]]:
    tokens, images, line = torch.zeros(1, 12, 8), torch.zeros(1, 4, 20, 20), torch.zeros(1, 8, 12)
    masked = [(Attention(mask), tokens) for mask in (ahead, behind, none_of_some, ahead)]
    chains = [
        nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, dilation=d), nn.Upsample(scale_factor=2))
        for d in (1, 2, 1)
    ]
    return [*masked, *[(model, images) for model in chains], *[(Both(kernel), (line, line)) for kernel in (3, 3)]]


def said(model: nn.Module, x: Any) -> dict[str, Any]:
    found = Analysis(layer_graph(model.eval(), x))
    return {"model": found.to_dict(), "ops": [row.to_dict() for row in found.ops]}


def test_what_is_kept_changes_no_field() -> None:
    kept = [said(*net) for net in nets() * 2]
    alone = []
    for net in nets() * 2:
        recall.forget()
        alone.append(said(*net))

    assert kept == alone


def test_masks_tell_walks_apart() -> None:
    for mask in (ahead, behind, ahead):
        said(Attention(mask), torch.zeros(1, 12, 8))

    assert len(keeping._MEMORIES) == 2


def test_as_many_sets_of_masks_are_kept_as_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_SETS", 1)
    for mask in (ahead, behind):
        said(Attention(mask), torch.zeros(1, 12, 8))

    assert len(keeping._MEMORIES) == 1


def test_much_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_SHORT", 1000)
    model, x = nn.Sequential(*(nn.Conv2d(4, 4, 3) for _ in range(9))), torch.zeros(1, 4, 20, 20)
    found = said(model, x)

    assert not keeping._MEMORIES
    monkeypatch.undo()
    assert said(model, x) == found
    assert keeping._MEMORIES


def test_steps_live_as_long_as_what_is_kept_of_them() -> None:
    model, x = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)), torch.zeros(1, 4, 20, 20)
    said(model, x)
    (memory,) = keeping._MEMORIES.values()

    assert memory.plans.held
    assert all(ident == id(steps) for ident, steps in memory.plans.held.items())
