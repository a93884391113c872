"""A small language model with attention in windows and a mixture of experts: what it costs, by part and by token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

import rfcalc


class Attention(nn.Module):
    """Causal attention, of all earlier tokens or of the last ``window``; two heads share keys and values."""

    def __init__(self, width: int, heads: int, window: int | None) -> None:
        super().__init__()
        self.size, self.window = width // heads, window
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, width // 2, bias=False)
        self.v = nn.Linear(width, width // 2, bias=False)
        self.o = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, self.size)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        at = torch.arange(x.shape[1])
        seen = at <= at[:, None]
        if self.window is not None:
            seen = seen & (at > at[:, None] - self.window)
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
        return self.o(mixed.transpose(1, 2).flatten(2))


class Experts(nn.Module):
    """Each token goes through ``top`` of so many experts, and through one that all share."""

    def __init__(self, width: int, experts: int, top: int) -> None:
        super().__init__()
        self.top = top
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, width, 2 * width))
        self.down = nn.Parameter(torch.randn(experts, 2 * width, width))
        wide, back = nn.Linear(width, 2 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        self.shared = nn.Sequential(wide, nn.SiLU(), back)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)
        scores, chosen = self.router(tokens).softmax(-1).topk(self.top)
        rows = tokens.repeat_interleave(self.top, 0)[:, None]
        hidden = silu(torch.bmm(rows, self.up[chosen.flatten()]))
        found = torch.bmm(hidden, self.down[chosen.flatten()]).unflatten(0, (-1, self.top)).squeeze(2)
        return (found * scores[..., None]).sum(1).view_as(x) + self.shared(x)


class Block(nn.Module):
    """Attention, then experts, each added to what comes in."""

    def __init__(self, width: int, heads: int, window: int | None, experts: int, top: int) -> None:
        super().__init__()
        self.before, self.attention = nn.RMSNorm(width), Attention(width, heads, window)
        self.between, self.experts = nn.RMSNorm(width), Experts(width, experts, top)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        return x + self.experts(self.between(x))


class Decoder(nn.Module):
    """Token ids to the logits of the next ones. Every second layer attends in a window."""

    def __init__(
        self, width: int = 64, layers: int = 2, heads: int = 4, window: int = 16, experts: int = 8, top: int = 2
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(512, width)
        self.layers = nn.ModuleList(
            Block(width, heads, window if number % 2 else None, experts, top) for number in range(layers)
        )
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, 512, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


if __name__ == "__main__":
    analysis = rfcalc.analyze(Decoder(), torch.zeros(1, 64, dtype=torch.long))
    found = analysis.per_token()
    print(f"{found.params:,} parameters, of which a token meets {found.active}")
    for part in found.parts:
        counts = [f"{count:>10,}" for count in (part.macs, part.unmasked, part.backward)]
        print(f"{part.name:<12}", *counts)
