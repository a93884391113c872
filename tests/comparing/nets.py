"""Networks of other kinds than the lecture's, each of which runs on inputs of more than one size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Attention and two linear layers, on (batch, tokens, width)."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        split = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*split).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.out(seen)
        return x + self.down(F.gelu(self.up(x)))


class Vit(nn.Module):
    """Patches of 8x8 with interpolated positions: any size that is a multiple of 8 (or is cut down to one)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.places = nn.Parameter(torch.zeros(1, width, 4, 4))
        self.block, self.head = Block(width), nn.Linear(width, 10)

    def forward(self, x):
        x = self.patch(x)
        x = x + F.interpolate(self.places, size=x.shape[-2:], mode="bilinear")
        return self.head(self.block(x.flatten(2).transpose(1, 2)).mean(1))


class FixedVit(nn.Module):
    """Positions for one size, which the constructor takes."""

    def __init__(self, image_size: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, 8)
        self.places = nn.Parameter(torch.zeros(1, (image_size // 8) ** 2, 16))
        self.block = Block(16)

    def forward(self, x):
        return self.block(self.patch(x).flatten(2).transpose(1, 2) + self.places)


class Gpt(nn.Module):
    """Token ids in, at most ``context`` of them."""

    def __init__(self, context: int = 64) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(50, 16), nn.Parameter(torch.zeros(context, 16))
        self.block, self.head = Block(16), nn.Linear(16, 50)

    def forward(self, ids):
        return self.head(self.block(self.tokens(ids) + self.places[: ids.shape[1]]))


class Lstm(nn.Module):
    """Two recurrent layers and a head at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(8, 16, 2, batch_first=True), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


class UNet(nn.Module):
    """Two levels down and up again."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(2 * width, 2, 3, padding=1)
        self.down, self.deep = nn.Conv2d(width, 2 * width, 3, padding=1), nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up, self.join = nn.ConvTranspose2d(2 * width, width, 4, 4), nn.MaxPool2d(2)

    def forward(self, x):
        high = F.relu(self.enter(x))
        low = F.relu(self.down(self.join(high)))
        low = F.relu(self.deep(self.join(low)))
        return self.leave(torch.cat([high, self.up(low)], 1))


class Guided(nn.Module):
    """Two inputs, the second a quarter of the first along both axes."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.mix = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(5, 2, 3, padding=1)

    def forward(self, image, guide):
        return self.mix(torch.cat([self.down(image), guide], 1))


class Raised(nn.Module):
    """A guide of a quarter of the size, brought up to that of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(1, 3, 4, 4)

    def forward(self, image, guide):
        return image + self.up(guide)


class Square(nn.Module):
    """Only squares fit."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        x = self.conv(x)
        return x + x.transpose(2, 3)


class Doubling(nn.Module):
    """As many convolutions as the width has binary digits: no polynomial."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        for _ in range(x.shape[-1].bit_length()):
            x = self.conv(x)
        return x


class TimeFirst(nn.Module):
    """A recurrent layer on (time, batch, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 16)

    def forward(self, x):
        return self.rnn(x)[0]
