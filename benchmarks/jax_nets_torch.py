"""The architectures of jax_zoo.py in PyTorch: torchvision's and torch's own where they have them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (16, 32, 64)
#: A small ViT: image, patch, blocks, heads, width, width inside.
VIT = (64, 16, 2, 4, 64, 128)
#: A small Transformer: width, heads, blocks of either part, width inside.
TRANSFORMER = (64, 4, 2, 128)


def resnet(groups: int = 0) -> nn.Module:
    """ResNet-18, with batch norms or norms of so many groups."""
    from torchvision.models import resnet18

    norm: Any = partial(nn.GroupNorm, groups) if groups else None
    return resnet18(norm_layer=norm)


def vit() -> nn.Module:
    """A vision transformer with a class token."""
    from torchvision.models import VisionTransformer

    image, patch, blocks, heads, width, inside = VIT
    return VisionTransformer(image, patch, blocks, heads, width, inside, num_classes=10)


def transformer() -> nn.Module:
    """An encoder and a decoder."""
    width, heads, blocks, inside = TRANSFORMER
    return nn.Transformer(width, heads, blocks, blocks, inside, batch_first=True)


class Twice(nn.Module):
    """Two convolutions, each with a norm."""

    def __init__(self, given: int, made: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(given, made, 3, padding=1, bias=False), norm(made)
        self.conv2, self.norm2 = nn.Conv2d(made, made, 3, padding=1, bias=False), norm(made)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x))))))


class UNet(nn.Module):
    """A U-Net that goes up by transposed convolutions."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.down1, self.down2, self.middle = Twice(3, a, norm), Twice(a, b, norm), Twice(b, c, norm)
        self.rise2, self.up2 = nn.ConvTranspose2d(c, b, 2, 2), Twice(2 * b, b, norm)
        self.rise1, self.up1 = nn.ConvTranspose2d(b, a, 2, 2), Twice(2 * a, a, norm)
        self.out = nn.Conv2d(a, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.down1(x)
        second = self.down2(functional.max_pool2d(first, 2))
        x = self.rise2(self.middle(functional.max_pool2d(second, 2)))
        x = self.rise1(self.up2(torch.cat([second, x], 1)))
        return self.out(self.up1(torch.cat([first, x], 1)))


def unet(groups: int = 0) -> nn.Module:
    """The U-Net, with batch norms or norms of so many groups."""
    return UNet(partial(nn.GroupNorm, groups) if groups else nn.BatchNorm2d)


class Recurrent(nn.Module):
    """A long short-term memory with one bias a gate, step by step, and a linear layer on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.again = nn.Linear(12, 4 * 16, bias=False), nn.Linear(16, 4 * 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = torch.zeros(x.shape[0], 16)
        for at in range(x.shape[1]):
            i, f, g, o = (self.enter(x[:, at]) + self.again(h)).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.head(h)
