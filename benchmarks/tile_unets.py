"""U-Nets for `tile_models.py`: of one to three axes, every depth, ways down and ways up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

#: Name, source, what makes it, shape of the input.
Row = tuple[str, str, Callable[[], nn.Module], tuple[int, ...]]


class UNet(nn.Module):
    """Two kernels of 3 a stage, a way down by 2, a way up by 2, skips (Ronneberger 2015; of three axes Cicek 2016).

    ``down`` is "pooled" or "strided", ``up`` "transposed" or a mode of upsampling. ``padding`` 0 leaves out the
    borders, and crops what is skipped, as the paper does.
    """

    def __init__(self, dims: int, depth: int, down: str, up: str, padding: int = 1, channels: int = 4) -> None:
        super().__init__()
        self.dims, self.padding = dims, padding
        wide = [channels] * (depth + 1)
        self.into = nn.ModuleList([self.pair(1 if at == 0 else wide[at - 1], wide[at]) for at in range(depth + 1)])
        square = (channels, channels, 2, 2)
        self.down = nn.ModuleList(
            [self.of("MaxPool", 2) if down == "pooled" else self.of("Conv", *square) for _ in range(depth)]
        )
        self.up = nn.ModuleList(
            [
                self.of("ConvTranspose", *square) if up == "transposed" else nn.Upsample(scale_factor=2, mode=up)
                for _ in range(depth)
            ]
        )
        self.join = nn.ModuleList([self.pair(2 * channels, channels) for _ in range(depth)])
        self.last = self.of("Conv", channels, 2, 1)

    def of(self, name: str, *given: Any, **settings: Any) -> nn.Module:
        """A layer of torch for so many axes."""
        made: nn.Module = getattr(nn, f"{name}{self.dims}d")(*given, **settings)
        return made

    def pair(self, a: int, b: int) -> nn.Module:
        layers: list[nn.Module] = []
        for before in (a, b):
            layers += [self.of("Conv", before, b, 3, padding=self.padding), self.of("BatchNorm", b), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for into, down in zip(self.into, self.down, strict=False):
            kept.append(into(x))
            x = down(kept[-1])
        x = self.into[-1](x)
        for up, join in zip(self.up, self.join, strict=True):
            x = up(x)
            x = join(torch.cat([cropped(kept.pop(), x.shape[2:]), x], 1))
        found: torch.Tensor = self.last(x)
        return found


def cropped(x: torch.Tensor, extents: Sequence[int]) -> torch.Tensor:
    """The middle of a tensor, of these extents."""
    for axis, extent in enumerate(extents, start=2):
        x = x.narrow(axis, (x.shape[axis] - extent) // 2, extent)
    return x


def u_nets() -> Iterator[Row]:
    """All of them."""
    linear = {1: "linear", 2: "bilinear", 3: "trilinear"}
    for dims, depths, side in ((2, (2, 3, 4, 5), 64), (1, (2, 3, 4, 5), 128), (3, (2, 3), 16)):
        source = "Ronneberger 2015" if dims < 3 else "Cicek 2016"
        ways = itertools.product(depths, ("pooled", "strided"), ("transposed", "nearest", linear[dims]))
        for depth, down, up in ways:
            if dims == 2 or up == "transposed":
                make = partial(UNet, dims, depth, down, up)
                yield f"U-Net of {depth} {dims}d, {down}, {up}", source, make, (1, *(side,) * dims)
    for depth, side in ((2, 92), (3, 128), (4, 192)):
        make = partial(UNet, 2, depth, "pooled", "transposed", 0)
        yield f"U-Net of {depth} 2d without padding", "Ronneberger 2015", make, (1, side, side)
