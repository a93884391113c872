"""Causal language models: masks of every kind, padding, rotary positions, norms written by hand."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import rfcalc
from tests.tracing.test_readings import Words


class Norm(nn.Module):
    """A root mean square norm, written by hand."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotated(x, cos, sin):
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class Decoder(nn.Module):
    """One layer with rotary positions, half as many keys as queries, and a mask in one of several styles."""

    def __init__(self, style, window=0):
        super().__init__()
        self.style, self.window = style, window
        self.embed, self.norm = nn.Embedding(40, 16), Norm(16)
        self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 8), nn.Linear(16, 8)
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("rates", 1 / 100 ** (torch.arange(0, 4, 2) / 4), persistent=False)

    def forward(self, input_ids: torch.LongTensor):
        x = self.norm(self.embed(input_ids))
        batch, length, _ = x.shape
        q, k, v = (part(x).view(batch, length, -1, 4).transpose(1, 2) for part in (self.q, self.k, self.v))
        angles = torch.arange(length, device=x.device)[:, None] * self.rates
        cos, sin = (torch.cat([wave, wave], dim=-1) for wave in (angles.cos(), angles.sin()))
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        y = self.attend(q, k, v).transpose(1, 2).reshape(batch, length, -1)
        return {"logits": self.head(x + y), "cache": (k, v)}

    def attend(self, q, k, v):
        at = torch.arange(q.shape[-2], device=q.device)
        seen = at[:, None] >= at[None]
        if self.window:
            seen = seen & (at[:, None] - at[None] < self.window)
        if self.style == "causal":
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        if self.style == "bool":
            return functional.scaled_dot_product_attention(q, k, v, seen[None, None], enable_gqa=True)
        low = torch.finfo(q.dtype).min
        scores = q @ k.repeat_interleave(2, dim=1).transpose(-1, -2) / math.sqrt(q.shape[-1])
        if self.style == "added":
            scores = scores + torch.full_like(scores, low).masked_fill(seen, 0)
        else:
            scores = torch.where(seen, scores, low)
        return scores.softmax(-1) @ v.repeat_interleave(2, dim=1)


@pytest.mark.parametrize("style", ["causal", "bool", "added", "where"])
def test_a_token_of_a_causal_model_sees_those_before_it(style):
    found = rfcalc.analyze(Decoder(style), {"input_ids": (1, 9)})

    ((first, last),) = found.regions("head")
    field = found["head"].receptive_field
    assert field.status == "exact"
    assert [int(row) for row in first.reshape(-1)] == [0] * (9 if first.size > 1 else 1)
    assert [int(row) for row in last.reshape(-1)] == list(range(9))
    assert found.totals.params == 40 * 16 + 16 + (16 * 16 + 16) + 2 * (16 * 8 + 8)


@pytest.mark.parametrize("style", ["bool", "added", "where"])
def test_a_sliding_window_of_tokens(style):
    found = rfcalc.analyze(Decoder(style, window=3), {"input_ids": (1, 9)})

    ((first, last),) = found.regions("head")
    assert [int(row) for row in first.reshape(-1)] == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert [int(row) for row in last.reshape(-1)] == list(range(9))


class PaddedDecoder(Words):
    """A causal mask, and one that comes with the tokens."""

    def __init__(self, low):
        super().__init__()
        self.low = low

    def forward(self, input_ids, attention_mask):
        x = super().forward(input_ids)[:, None]
        at = torch.arange(x.shape[2], device=x.device)
        seen = (at[:, None] >= at) & attention_mask[:, None, None].bool()
        if self.low is None:
            return functional.scaled_dot_product_attention(x, x, x, seen)
        return (x @ x.transpose(2, 3) + torch.where(seen, 0.0, self.low)).softmax(-1) @ x


class PaddedScores(Words):
    """What is masked rather than what is seen, in three styles."""

    def __init__(self, style):
        super().__init__()
        self.style = style

    def forward(self, input_ids, attention_mask):
        x = super().forward(input_ids)
        later = torch.ones(5, 5, dtype=torch.bool, device=x.device).triu(1)
        padding = (attention_mask == 0)[:, None]
        if self.style == "or":
            gone = later | padding
        elif self.style == "not":
            gone = ~(~later & ~padding)
        else:
            gone = (~later & ~padding) == 0
        return (x @ x.transpose(1, 2)).masked_fill(gone, -torch.inf).softmax(-1) @ x


@pytest.mark.parametrize("style", ["or", "not", "equal"])
def test_padding_beside_a_causal_mask(style):
    inputs = {"input_ids": (1, 5), "attention_mask": (1, 5)}
    found = rfcalc.analyze(PaddedScores(style), inputs)

    ((_, seen),) = found.regions(found.layers[-1].name, source="input_ids")
    assert [int(row) for row in seen.reshape(-1)] == [0, 1, 2, 3, 4]
    assert rfcalc.verify(PaddedScores(style), inputs, device="cpu", timing=False, probes=5).agree


LOW = torch.finfo(torch.float32).min
MASKS = [(None, [0, 1, 2, 3, 4]), (-torch.inf, [0, 1, 2, 3, 4]), (LOW, [4])]


@pytest.mark.parametrize(("low", "last"), MASKS)
def test_padding_does_not_open_a_causal_mask(low, last):
    """Only where all that a token may see is padding, and the mask finite, a softmax spreads over the tokens after."""
    inputs = {"input_ids": (1, 5), "attention_mask": (1, 5)}
    found = rfcalc.analyze(PaddedDecoder(low), inputs)

    ((_, seen),) = found.regions(found.layers[-1].name, source="input_ids")
    assert [int(row) for row in seen.reshape(-1)] == last
    assert found.layers[-1].receptive_fields["input_ids"].status == "exact"
    assert rfcalc.verify(PaddedDecoder(low), inputs, device="cpu", timing=False, probes=5).agree


def test_rotary_positions_leave_a_token_where_it_is():
    found = rfcalc.analyze(Decoder("causal"), {"input_ids": (1, 9)})

    field = found["add"].receptive_field  # the sine of position 0 is exactly 0, and hides nothing of the other term
    assert (field.size, field.stride, field.start) == ((1,), (1,), (0,))


def test_a_norm_written_by_hand_is_no_merge():
    found = rfcalc.analyze(Decoder("causal"), {"input_ids": (1, 9)})

    assert "norm" not in {layer.name.partition("/")[0] for layer in found.layers}
    assert found["embed"].params == 40 * 16 + 16


def test_the_mean_over_the_tokens_is_a_merge():
    class Mixer(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(x.sum(1, keepdim=True))

    assert [layer.kind for layer in rfcalc.analyze(Mixer(), torch.empty(1, 5, 4)).layers] == ["input", "merge"]
