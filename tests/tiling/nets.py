"""Networks whose tiles are known by hand, and ones that cannot be cut."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class UNet(nn.Module):
    """Two 3x3 kernels a stage, pooling by 2 (or a strided convolution), transposed 2x2 kernels, skips."""

    def __init__(self, depth: int, strided: bool = False) -> None:
        super().__init__()
        self.down = nn.ModuleList([self.pair(1 if at == 0 else 2) for at in range(depth)])
        self.pool = nn.ModuleList([nn.Conv2d(2, 2, 2, 2) if strided else nn.MaxPool2d(2) for _ in range(depth)])
        self.deep = self.pair(2)
        self.up = nn.ModuleList([nn.ConvTranspose2d(2, 2, 2, 2) for _ in range(depth)])
        self.join = nn.ModuleList([self.pair(4) for _ in range(depth)])

    def pair(self, channels: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(channels, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for down, pool in zip(self.down, self.pool, strict=True):
            kept.append(down(x))
            x = pool(kept[-1])
        x = self.deep(x)
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([up(x), kept.pop()], 1))
        return x


class Block(nn.Module):
    """TAESD's block: three 3x3 kernels and a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x) + x)


def taesd_decoder(channels: int = 2) -> nn.Module:
    """The decoder of TAESD: a kernel, four levels of three blocks (the last of one), each but the last upsampled."""
    layers: list[nn.Module] = [nn.Conv2d(4, channels, 3, padding=1), nn.ReLU()]
    for blocks in (3, 3, 3):
        layers += [Block(channels) for _ in range(blocks)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, Block(channels), nn.Conv2d(channels, 3, 3, padding=1))


class Unit(nn.Module):
    """A residual unit of DAC: a dilated kernel of 7 and one of 1."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        wide = nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation)
        self.block = nn.Sequential(wide, nn.Conv1d(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x)


def dac_decoder(channels: int = 1, rates: tuple[int, ...] = (8, 8, 4, 2)) -> nn.Module:
    """The decoder of the Descript audio codec: a kernel of 7, then for each rate a transposed kernel of twice its
    stride and units of dilation 1, 3 and 9, then a kernel of 7."""
    layers: list[nn.Module] = [nn.Conv1d(2, channels, 7, padding=3)]
    for rate in rates:
        up = nn.ConvTranspose1d(channels, channels, 2 * rate, rate, padding=-(-rate // 2), output_padding=rate % 2)
        layers += [up, *(Unit(channels, dilation) for dilation in (1, 3, 9))]
    return nn.Sequential(*layers, nn.Conv1d(channels, 1, 7, padding=3))


class Squeezed(nn.Module):
    """A 3x3 kernel, squeeze-and-excite, group norm, a 3x3 kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.gate = nn.Conv2d(2, 2, 1)
        self.norm = nn.GroupNorm(1, 2)
        self.last = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        return self.last(self.norm(x))


class Windowed(nn.Module):
    """Attention in windows of 4, the second time shifted by 2 and masked where it goes round, as in Swin."""

    def __init__(self, window: int = 4) -> None:
        super().__init__()
        self.window = window
        self.embed = nn.Conv2d(1, 4, 2, 2)
        self.kernel = nn.Conv2d(4, 4, 3, padding=1)

    def attend(self, x: torch.Tensor, shift: int) -> torch.Tensor:
        n, c, h, w = x.shape
        size = self.window
        x = torch.roll(x, (-shift, -shift), (2, 3))
        cells = x.view(n, c, h // size, size, w // size, size).permute(0, 2, 4, 3, 5, 1).reshape(-1, size * size, c)
        scores = cells @ cells.transpose(1, 2)
        if shift:
            marks = torch.zeros(h, w)
            count = 0
            for rows in (slice(0, -size), slice(-size, -shift), slice(-shift, None)):
                for columns in (slice(0, -size), slice(-size, -shift), slice(-shift, None)):
                    marks[rows, columns] = count
                    count += 1
            marks = marks.view(h // size, size, w // size, size).permute(0, 2, 1, 3).reshape(-1, size * size)
            away = (marks.unsqueeze(1) - marks.unsqueeze(2)) != 0
            scores = scores + torch.zeros(away.shape).masked_fill(away, -100.0).repeat(n, 1, 1)
        cells = scores.softmax(-1) @ cells
        x = cells.view(n, h // size, w // size, size, size, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)
        return torch.roll(x, (shift, shift), (2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        x = x + self.attend(x, 0)
        return x + self.attend(self.kernel(x), self.window // 2)


class Formula(nn.Module):
    """A module that computes what a function says, with a few kernels at hand."""

    def __init__(self, formula: object, channels: int = 2) -> None:
        super().__init__()
        self.formula = formula
        self.a = nn.Conv2d(channels, channels, 3, padding=1)
        self.b = nn.Conv2d(channels, channels, 3, padding=1)
        self.place = nn.Parameter(torch.randn(1, channels, 4096, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.formula(self, x)  # type: ignore[operator]
        return found
