"""What a token costs by part, by hand: a decoder with experts in the forms in which they are written."""

from __future__ import annotations

import runpy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.errors import UsageError

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "decoder.py"))


def test_a_decoder_with_experts_by_hand() -> None:
    width, length, heads, window, experts, top, words, layers = 16, 12, 4, 5, 6, 2, 30, 2
    model = EXAMPLE["Decoder"](width, layers, heads, window, experts, top)
    model.embed, model.head = nn.Embedding(words, width), nn.Linear(width, words, bias=False)

    found = rfcalc.analyze(model, torch.zeros(3, length, dtype=torch.long)).per_token()

    matrices = layers * (3 * width * width + width * experts + 2 * width * 2 * width)  # q, k, v, o; router; shared
    each = width * 2 * width * 2
    triangle = length * (length + 1) // 2
    band = sum(min(at + 1, window) for at in range(length))
    assert found.tokens == 3 * length
    assert found.params == sum(param.numel() for param in model.parameters())
    assert (found["embeddings"].params, found.embeddings) == (words * width, words * width)
    assert (found["experts"].params, found["experts"].active) == (layers * experts * each, layers * top * each)
    assert found["projections"].active == matrices
    assert found.active == matrices + layers * top * each + words * width + (2 * layers + 1) * width
    per_token = {part.name: found.each(part.macs) for part in found.parts}
    attention = layers * length * 2 * width
    assert per_token == {
        "embeddings": 0,
        "attention": attention,
        "projections": matrices,
        "experts": layers * top * each,
        "head": words * width,
        "other": 0,
    }
    assert found["attention"].unmasked == 3 * (triangle + band) * 2 * width
    assert found.each(found.unmasked) == Fraction(found.macs, 36) - attention + Fraction(3 * (triangle + band) * 32, 36)
    assert found.backward == 2 * found.macs


class Looped(nn.Module):
    """A mixture of modules, of which each runs on the tokens that were sent to it."""

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.router = nn.Linear(8, 4, bias=False)
        self.experts = nn.ModuleList(nn.Linear(8, 8, bias=bias) for _ in range(4))
        self.head = nn.Linear(8, 20)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids).flatten(0, 1)
        _, chosen = self.router(x).topk(2)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).any(-1).nonzero().flatten()
            out = out.index_add(0, rows, expert(x[rows]))
        return self.head(x + out)


@pytest.mark.parametrize("bias", [False, True])
def test_experts_that_are_modules(bias: bool) -> None:
    found = rfcalc.analyze(Looped(bias), torch.randint(20, (2, 15))).per_token()

    assert found["experts"].macs == 30 * 2 * 64
    assert found["experts"].params == 4 * (64 + 8 * bias)
    assert found["experts"].active == 2 * 64 + (2 * 8 if bias else 0)
    assert found["head"].active == 160 + 20
    assert found["projections"].active == 32


class Tied(nn.Module):
    """The table of embeddings is the head, too; positions have a table of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(20, 8), nn.Embedding(32, 8)
        self.inner, self.head = nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        return self.head(x + self.inner(x))


def test_a_tied_table_is_the_head() -> None:
    found = rfcalc.analyze(Tied(), torch.zeros(1, 6, dtype=torch.long)).per_token()

    assert found.embeddings == 32 * 8
    assert {part.name: part.active for part in found.parts} == {"embeddings": 0, "projections": 72, "head": 160}


def test_tokens_may_be_given_and_must_be_where_no_ids_come_in() -> None:
    vgg = rfcalc.analyze("5x5:3-4 3x3", (3, 8, 8))

    assert vgg.per_token(64).macs == vgg.totals.macs
    with pytest.raises(UsageError, match=r"no one input holds token ids .*--tokens N"):
        vgg.per_token()
    with pytest.raises(UsageError, match="0 tokens"):
        vgg.per_token(0)


def test_growth_by_part() -> None:
    pytest.importorskip("sympy")
    found: Any = rfcalc.growth(Tied(), torch.zeros(1, 6, dtype=torch.long), symbols="T,N")

    formulas = {name: [str(count) for count in counts] for name, counts in found.by_part.items()}
    assert formulas == {"projections": ["64*N*T", "64*N*T", "128*N*T"], "head": ["160*N*T", "160*N*T", "320*N*T"]}
    names = ("macs", "unmasked_macs", "backward_macs")
    assert found.to_dict()["by_part"]["head"] == dict(zip(names, formulas["head"], strict=True))
    assert str(found.training_macs) == found.to_dict()["training_macs"] == "672*N*T"
