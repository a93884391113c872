"""A small network whose parts can be exchanged one by one, and records of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rfcalc.api import layer_graph
from rfcalc.baseline.record import Entry, entry_of


class Head(nn.Module):
    """Attention by hand, so that the number of heads shows only in how the products are split."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(-2, -1)).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(batch, length, width)


class Net(nn.Module):
    """Two branches that meet, a pooling, an upsampling, attention over the positions and a tied or free classifier."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.given = given
        width, kernel = given.get("width", 16), given.get("kernel", 3)
        dilation = given.get("dilation", 1)
        padding = given.get("padding", dilation * (kernel - 1) // 2)
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=given.get("bias", True))
        self.norm = given.get("norm", nn.BatchNorm2d)(8)
        self.act = given.get("act", nn.ReLU)()
        self.wide = nn.Conv2d(
            8,
            width,
            kernel,
            stride=given.get("stride", 1),
            padding=padding,
            dilation=dilation,
            groups=given.get("groups", 1),
        )
        self.more = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(given.get("depth", 1)))
        self.pool = given.get("pool", nn.MaxPool2d)(2)
        self.left = nn.Conv2d(width, 8, 1)
        self.right = nn.Conv2d(width, 8, 3, padding=1)
        self.third = nn.Conv2d(width, 8, 5, padding=2) if given.get("branches", 2) == 3 else None
        self.up = nn.Upsample(scale_factor=given.get("factor", 2), mode=given.get("mode", "nearest"))
        self.add_module(given.get("called", "last"), nn.Conv2d(8, 8, 3, padding=1))
        self.attention = Head(8, given.get("heads", 2))
        self.encode, self.decode = nn.Linear(8, 8), nn.Linear(8, 8)
        if given.get("tied"):
            self.decode.weight = self.encode.weight
        if given.get("frozen"):
            self.left.requires_grad_(False)
        if given.get("spare"):
            self.spare = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.wide(self.act(self.norm(self.first(x))))
        for conv in self.more:
            x = conv(x)
        x = self.pool(x)
        if self.given.get("reordered"):
            right, left = self.right(x), self.left(x)
        else:
            left, right = self.left(x), self.right(x)
        x = torch.cat([left, right, *([self.third(x)] if self.third is not None else [])], 1)[:, :8]
        x = getattr(self, self.given.get("called", "last"))(self.up(x))
        if self.given.get("skipped"):
            x = x + left.mean((2, 3), keepdim=True)
        return self.decode(self.encode(self.attention(x.flatten(2).transpose(1, 2))))


def entry(
    model: nn.Module | None = None, shape: tuple[int, ...] = (3, 16, 16), name: str = "net", **given: Any
) -> Entry:
    """What a lock holds of the network, or of another model."""
    dtype = given.pop("dtype", torch.float32)
    chosen = Net(**given) if model is None else model
    example = torch.zeros((1, *shape), dtype=dtype)
    graph = layer_graph(chosen.to(dtype), example, training=given.get("training", False))
    return entry_of(graph, name, None)
