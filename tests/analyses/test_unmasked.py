"""Multiply-adds of pairs that no mask closes: counted pair by pair in plain Python, for masks and forms drawn."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import dropout, scaled_dot_product_attention

import rfcalc
from rfcalc import graph_json
from rfcalc.errors import LoadError

INF = float("inf")


# --- masks, as functions of batch, head, query and key: whether a pair is open ----------------------------------------


def drawn_mask(draw: random.Random, batch: int, heads: int, queries: int, keys: int) -> list[list[list[list[bool]]]]:
    """One of the masks that people use; every query sees a key."""
    kind = draw.choice(["causal", "sliding", "blocks", "documents", "windows", "padding", "random", "heads", "dense"])
    first = keys - queries  # of a cache: what came before the first query
    width, block = draw.randint(1, keys), draw.randint(1, 3)
    documents = [sorted(draw.randint(0, 2) for _ in range(keys)) for _ in range(batch)]
    lengths = [draw.randint(1, keys) for _ in range(batch)]
    chosen = {(i, j) for i, j in product(range(keys), repeat=2) if draw.random() < 0.4}
    shift = draw.randint(0, keys - 1)

    def is_open(b: int, h: int, i: int, j: int) -> bool:
        at = i + first
        if kind == "causal":
            return j <= at
        if kind == "sliding":
            return at - width < j <= at
        if kind == "blocks":
            return j == at or (at // block, j // block) in chosen
        if kind == "documents":
            return documents[b][at] == documents[b][j] and j <= at
        if kind == "windows":  # Swin's: what a shift brought beside each other does not belong together
            return (at < shift) == (j < shift)
        if kind == "padding":
            return j < lengths[b]
        if kind == "heads":
            return j == at or (j + h) % 2 == 0
        return kind == "dense" or j == at or (at, j) in chosen

    return [
        [[[is_open(b, h, i, j) for j in range(keys)] for i in range(queries)] for h in range(heads)]
        for b in range(batch)
    ]


# --- attention in the forms in which it is written --------------------------------------------------------------------


class Attention(nn.Module):
    """Attention under a constant mask, written in one of several forms."""

    def __init__(self, is_open: torch.Tensor, form: str, low: float = -INF) -> None:
        super().__init__()
        self.is_open, self.form, self.low = is_open, form, low
        self.bias = nn.Parameter(torch.zeros(is_open.shape[1], 1, is_open.shape[3]))

    def added(self) -> torch.Tensor:
        return torch.zeros(self.is_open.shape).masked_fill(~self.is_open, self.low)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scale = q.shape[-1] ** -0.5
        match self.form:
            case "bool":
                return scaled_dot_product_attention(q, k, v, attn_mask=self.is_open)
            case "float":
                return scaled_dot_product_attention(q, k, v, attn_mask=self.added())
            case "groups":
                return scaled_dot_product_attention(q, k[:, :1], v[:, :1], attn_mask=self.is_open, enable_gqa=True)
            case "fill":
                scores = (q @ k.mT) * scale + self.bias
                return dropout(scores.masked_fill(~self.is_open, self.low).softmax(-1), 0.1, self.training) @ v
            case "where":
                scores = torch.where(self.is_open, torch.einsum("bhid,bhjd->bhij", q, k), self.low)
                return torch.einsum("bhij,bhjd->bihd", scores.float().softmax(-1).to(v.dtype), v)
            case "add":
                return torch.softmax(q @ k.mT / scale + self.added() + self.bias, -1) @ v
            case "baddbmm":
                flat = [one.reshape(-1, *one.shape[2:]) for one in (q, k, v)]
                mask = self.added().expand(q.shape[0], q.shape[1], -1, -1).reshape(-1, q.shape[2], k.shape[2])
                return torch.baddbmm(mask, flat[0], flat[1].mT).softmax(-1) @ flat[2]
            case "largest":
                scores = torch.where(self.is_open, q @ k.mT, self.low)
                scores = torch.cat([scores, self.bias.expand(*q.shape[:3], -1)[..., :1]], -1)
                weights = torch.softmax(scores - scores.amax(-1, keepdim=True), -1)
                return weights[..., :-1] @ v
            case "keys first":
                scores = (k @ q.mT).transpose(-2, -1).masked_fill(~self.is_open, self.low)
                return (v.mT @ scores.softmax(-1).mT).mT
        raise ValueError(self.form)


FORMS = ("bool", "float", "groups", "fill", "where", "add", "baddbmm", "keys first", "largest")


@pytest.mark.parametrize("form", FORMS)
def test_pairs_counted_one_by_one(form: str) -> None:
    """56 masks for each of 9 forms."""
    for seed in range(56):
        draw = random.Random(f"{form} {seed}")
        batch, heads, keys, width, out = (draw.randint(1, most) for most in (2, 3, 9, 4, 4))
        queries = draw.choice([keys, 1, draw.randint(1, keys)])
        mask = drawn_mask(draw, batch, heads, queries, keys)
        low = draw.choice([-INF, -1e9, -100.0])
        tensor = torch.tensor(mask)
        if all(matrix == mask[0][0] for row in mask for matrix in row):
            tensor = tensor[:1, :1]
        q, k, v = (
            torch.rand(batch, heads, length, size)
            for length, size in ((queries, width), (keys, width), (keys, out if form != "groups" else width))
        )
        pairs = sum(opened for row in mask for matrix in row for line in matrix for opened in line)

        totals = rfcalc.analyze(Attention(tensor, form, low), (q, k, v)).totals

        assert totals.macs == batch * heads * queries * keys * (width + v.shape[-1])
        assert totals.unmasked_macs == pairs * (width + v.shape[-1]), (seed, mask)


def test_a_query_that_sees_nothing_costs_nothing() -> None:
    is_open = torch.tensor([[True, True], [False, False]])[None, None]
    q = torch.rand(1, 1, 2, 4)

    assert rfcalc.analyze(Attention(is_open, "bool"), (q, q, q)).totals.unmasked_macs == 2 * 8


class Flex(nn.Module):
    """flex_attention under a block mask, with a change of the scores or without."""

    def __init__(self, is_open: Any, change: bool = False) -> None:
        super().__init__()
        self.is_open, self.change = is_open, change

    def forward(self, q: torch.Tensor) -> torch.Tensor:
        block_mask = create_block_mask(self.is_open, None, None, q.shape[2], q.shape[2], device="cpu")
        score_mod = (lambda score, b, h, i, j: score + (i - j)) if self.change else None
        return flex_attention(q, q, q, score_mod=score_mod, block_mask=block_mask)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("change", [False, True])
def test_flex_block_masks(change: bool) -> None:
    def is_open(b: Any, h: Any, i: Any, j: Any) -> Any:
        return (j <= i) & (i - j < 5)

    found = rfcalc.analyze(Flex(is_open, change), torch.rand(2, 3, 12, 4)).totals

    pairs = sum(0 <= i - j < 5 for i in range(12) for j in range(12))
    assert found.macs == 2 * 3 * 144 * 8
    assert found.unmasked_macs == 2 * 3 * pairs * 8


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_block_masks_of_documents() -> None:
    """Documents of a buffer, with blocks that are closed whole and blocks in which both are."""
    lengths = (3, 2, 5, 2)

    class Documents(Flex):
        def __init__(self) -> None:
            super().__init__(lambda b, h, i, j: (self.of[i] == self.of[j]) & (j <= i))
            self.register_buffer("of", torch.repeat_interleave(torch.arange(4), torch.tensor(lengths)))

    found = rfcalc.analyze(Documents(), torch.rand(1, 2, 12, 4)).totals

    assert found.unmasked_macs == 2 * 8 * sum(length * (length + 1) // 2 for length in lengths)


def test_the_windows_of_swin() -> None:
    """Of a grid of 8x8 in windows of 4x4, shifted by 2: those at the border hold 2 or 4 regions, each half as wide."""
    swin = pytest.importorskip("torchvision").models.SwinTransformer
    model = swin([2, 2], 8, [2], [2], [4, 4], stochastic_depth_prob=0, num_classes=3).eval()

    found = rfcalc.analyze(model, torch.rand(1, 3, 16, 16)).totals

    pairs = 256  # of a window of 16 tokens, 2 heads of 4: one window is whole, two are halved, one is quartered
    open_pairs = pairs + 2 * (pairs // 2) + pairs // 4
    assert found.unmasked_macs == found.macs - (4 * pairs - open_pairs) * 2 * (4 + 4)


class Causal(nn.Module):
    """Causal attention over 1,024 tokens, 8 heads of 64, whole, in a window, or dense."""

    def __init__(self, window: int | None, dense: bool = False) -> None:
        super().__init__()
        self.window, self.dense = window, dense

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.window is None:
            return scaled_dot_product_attention(x, x, x, is_causal=not self.dense)
        at = torch.arange(x.shape[-2])
        seen = (at[:, None] >= at) & (at[:, None] - at < self.window)
        return scaled_dot_product_attention(x, x, x, attn_mask=seen)


@pytest.mark.parametrize(
    ("model", "unmasked"),
    [(Causal(None, True), 1_073_741_824), (Causal(None), 537_395_200), (Causal(64), 65_044_480)],
)
def test_of_1024_tokens(model: nn.Module, unmasked: int) -> None:
    totals = rfcalc.analyze(model, torch.rand(1, 8, 1024, 64)).totals

    assert (totals.macs, totals.unmasked_macs) == (1_073_741_824, unmasked)


# --- masks that are data ----------------------------------------------------------------------------------------------


class Given(nn.Module):
    """Attention whose mask comes in."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.bias = nn.Linear(4, 6)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        match self.form:
            case "whole":
                return scaled_dot_product_attention(x, x, x, attn_mask=mask)
            case "whole, made":
                added = torch.where(mask, 0.0, -INF)
                return scaled_dot_product_attention(x, x, x, attn_mask=added)
            case "fill":
                return (x @ x.mT).masked_fill(~mask, -INF).softmax(-1) @ x
            case "times":
                return ((x @ x.mT) + (1 - mask.float()) * -1e9).softmax(-1) @ x
            case "bias":
                return scaled_dot_product_attention(x, x, x, attn_mask=self.bias(x))
            case "added bias":
                return ((x @ x.mT) + self.bias(x)).softmax(-1) @ x
        raise ValueError(self.form)


@pytest.mark.parametrize("form", ["whole", "whole, made", "fill", "times"])
def test_a_mask_that_is_data(form: str) -> None:
    x, mask = torch.rand(1, 2, 6, 4), torch.ones(6, 6, dtype=torch.bool)
    found = rfcalc.analyze(Given(form), {"x": (1, 2, 6, 4), "mask": torch.empty(6, 6, dtype=torch.bool, device="meta")})

    assert found.totals.macs == 2 * 2 * 36 * 4
    assert found.totals.unmasked_macs is None
    assert found.totals.to_dict()["unmasked_macs"] is None
    assert all("data" in why for why in found.totals.unknown_masks.values())
    assert {layer.name for layer in found.layers if layer.unmasked_macs is None} == set(found.totals.unknown_masks)
    known = rfcalc.analyze(Given(form), (x, mask))
    assert known.totals.unmasked_macs == known.totals.macs


@pytest.mark.parametrize("form", ["bias", "added bias"])
def test_what_parameters_went_into_is_no_mask(form: str) -> None:
    found = rfcalc.analyze(Given(form), (torch.rand(1, 2, 6, 4), torch.ones(6, 6, dtype=torch.bool)))

    assert found.totals.unmasked_macs == found.totals.macs > 0


# --- elsewhere --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "closed"), [(1, 15), (0.5, 15), (0, 0)])
def test_a_mask_that_is_added_some_times(alpha: float, closed: int) -> None:
    """0 times minus infinity is no number, and closes nothing; half of the lowest number still closes."""

    class Added(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            low = torch.full((6, 6), -INF if alpha == 0 else torch.finfo(torch.float32).min).triu(1)
            return torch.add(x @ x.mT, low, alpha=alpha).softmax(-1) @ x

    found = rfcalc.analyze(Added(), torch.rand(1, 6, 4)).totals

    assert found.unmasked_macs == found.macs - closed * 8


def test_a_model_without_masks_has_all_of_its_multiply_adds_left() -> None:
    totals = rfcalc.analyze("lenet5").totals

    assert totals.unmasked_macs == totals.macs
    assert "unknown_masks" not in totals.to_dict()


def test_a_saved_graph_says_the_same(tmp_path: Any) -> None:
    graph = rfcalc.analyze(Causal(5), torch.rand(1, 2, 16, 4)).layer_graph
    path = tmp_path / "graph.json"
    graph_json.save(graph, path)

    assert rfcalc.analyze(str(path)).totals.unmasked_macs == 2 * (16 * 5 - 10) * 8
    data = graph_json.to_json(graph)
    data["nodes"][-1]["closed"] = 10**9
    with pytest.raises(LoadError, match="of which a mask closes"):
        graph_json.from_json(data)


def test_compare_has_both() -> None:
    row = rfcalc.compare([rfcalc.analyze(Causal(5), torch.rand(1, 2, 16, 4))]).rows[0]

    assert (row.macs, row.unmasked_macs) == (2 * 256 * 8, 2 * 70 * 8)
