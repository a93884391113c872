"""The largest of a row that a mask closes in part: how softmax is written out by hand, and attention with a sink."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rfcalc

TOKENS, WIDTH = 5, 3


class Attention(nn.Module):
    """Causal attention whose softmax is written out, as GPT-OSS has it: beside a sink, less the largest of its row."""

    def __init__(self, low: float, sink: bool, by: str = "max", closed: int = 1) -> None:
        super().__init__()
        self.low, self.by, self.closed = low, by, closed
        self.query = nn.Linear(WIDTH, WIDTH)
        self.sink = nn.Parameter(torch.zeros(1, 1, 1)) if sink else None
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.full((TOKENS, TOKENS), self.low, dtype=x.dtype).triu(self.closed)
        scores = self.query(x) @ x.transpose(1, 2) + mask
        if self.sink is not None:
            scores = torch.cat([scores, self.sink.expand(len(x), TOKENS, 1)], -1)
        largest = scores.amax(-1, keepdim=True) if self.by == "amax" else scores.max(-1, keepdim=True).values
        weights = torch.softmax(scores - largest, -1)[..., :TOKENS]
        return self.head(weights @ x)


def seen(model: nn.Module) -> list[int]:
    """The last token that each row of the last layer sees."""
    found = rfcalc.analyze(model, (TOKENS, WIDTH))
    last = found.layers[-1]
    assert [field.status for field in last.receptive_fields.values()] == ["exact"]
    ends = found.regions(last.name)[0][1]
    return [int(end) for end in np.broadcast_to(ends, last.output_shape)[0, :, 0]]


LOWEST = torch.finfo(torch.float32).min


@pytest.mark.parametrize("by", ["max", "amax"])
@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.parametrize("low", [-torch.inf, LOWEST, LOWEST / 2])
def test_the_largest_is_none_that_the_mask_closes(low: float, sink: bool, by: str):
    assert seen(Attention(low, sink, by)) == list(range(TOKENS))


@pytest.mark.parametrize("low", [-100.0, -1e4])
def test_what_is_only_low_may_be_the_largest(low: float):
    assert seen(Attention(low, True)) == [TOKENS - 1] * TOKENS


def test_a_row_that_is_closed_wholly_has_the_largest_of_all_that_is():
    rows = seen(Attention(LOWEST, False, closed=0))
    assert rows[0] == TOKENS - 1  # nothing is open to it: a softmax of equal scores
    assert rows[1:] == list(range(1, TOKENS))  # by the query of each


@pytest.mark.parametrize("low", [-torch.inf, LOWEST])
def test_verify_and_numbers_see_the_same(low: float):
    torch.manual_seed(0)
    model = Attention(low, True).eval()
    assert rfcalc.verify(model, (TOKENS, WIDTH)).agree
    x = torch.randn(1, TOKENS, WIDTH)
    with torch.no_grad():
        before = model(x)
        for token in range(TOKENS):
            changed = x.clone()
            changed[:, token] *= 3
            differs = (model(changed) != before).any(-1)[0]
            assert differs.tolist() == [row >= token for row in range(TOKENS)]
