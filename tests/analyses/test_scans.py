"""Causal attention without a softmax, as it is written and as the recurrence that it stands for, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rfcalc


class Linear(nn.Module):
    """Attention without a softmax under a mask, with decays or without."""

    def __init__(self, mask: torch.Tensor, softmax: bool = False) -> None:
        super().__init__()
        self.mask, self.softmax = mask, softmax

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = (q @ k.mT) * torch.where(self.mask, 0.5, 0.0)
        return (scores.softmax(-1) if self.softmax else scores) @ v


def inputs() -> tuple[torch.Tensor, ...]:
    return torch.rand(2, 3, 10, 4), torch.rand(2, 3, 10, 4), torch.rand(2, 3, 10, 6)


def test_linear_attention() -> None:
    found = rfcalc.analyze(Linear(torch.ones(10, 10).tril().bool()), inputs())

    (scan,) = found.scans
    assert (scan.length, scan.macs) == (10, 2 * 3 * 100 * (4 + 6))
    assert scan.recurrent_macs == 2 * 3 * 10 * 2 * 4 * 6
    assert found.totals.unmasked_macs == 2 * 3 * 55 * (4 + 6)
    assert found.to_dict()["scans"][0]["recurrent_macs"] == scan.recurrent_macs


@pytest.mark.parametrize(
    "model", [Linear(torch.ones(10, 10).bool()), Linear(torch.ones(10, 10).triu().bool()), Linear(torch.eye(10).bool())]
)
def test_what_is_not_causal_is_no_recurrence(model: nn.Module) -> None:
    assert rfcalc.analyze(model, inputs()).scans == ()


def test_a_softmax_is_no_recurrence() -> None:
    assert rfcalc.analyze(Linear(torch.ones(10, 10).tril().bool(), softmax=True), inputs()).scans == ()
