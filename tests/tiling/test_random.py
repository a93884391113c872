"""Random convolutional graphs of one to three axes: tiles that are said to be exact are, and their halos are least."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import rfcalc
from tests.tiling.brute import gap

_CHANNELS = 2
#: What a row of pixels is raised by: far above what is lost of it on the way, and below what float64 holds.
_RAISED = 1e9


class Drawn(nn.Module):
    """A column of random layers along some axes, with skips; features keep two channels.

    Every layer but ``norm`` takes larger inputs to outputs that are no smaller, where weights are positive.
    """

    KINDS = ("conv", "pool", "up", "dilated", "skip", "reflect", "shift", "transposed", "norm", "strided", "crop")

    def __init__(self, seed: int, dims: int) -> None:
        super().__init__()
        self.dice = dice = random.Random(1000 * dims + seed)
        torch.manual_seed(seed)
        self.dims, self.down = dims, 0
        self.kinds: list[str] = []
        self.layers = nn.ModuleList()
        for _ in range(dice.randint(2, 7) if dims == 1 else dice.randint(3, 5)):
            kind = dice.choice(self.KINDS)
            self.kinds.append(kind)
            self.layers.append(self.made(kind))
        self.double().eval()
        with torch.no_grad():
            for weight in self.parameters():
                weight.abs_().add_(0.1)

    def of(self, name: str, *given: Any, **settings: Any) -> nn.Module:
        """A layer of torch for so many axes."""
        made: nn.Module = getattr(nn, f"{name}{self.dims}d")(*given, **settings)
        return made

    def each(self, *choices: int) -> tuple[int, ...]:
        """A number for each axis."""
        return tuple(self.dice.choice(choices) for _ in range(self.dims))

    def made(self, kind: str) -> nn.Module:
        dice, channels = self.dice, (_CHANNELS, _CHANNELS)
        if kind == "conv":
            kernel = self.each(1, 3, 5)
            return self.of("Conv", *channels, kernel, padding=tuple(size // 2 for size in kernel))
        if kind == "dilated":
            spread = self.each(1, 2)
            return self.of("Conv", *channels, 3, padding=spread, dilation=spread, groups=dice.choice([1, 2]))
        if kind == "reflect" and (self.dims < 3 or dice.random() < 0.5):
            return self.of("Conv", *channels, 3, padding=1, padding_mode=dice.choice(["reflect", "replicate"]))
        if kind in ("pool", "strided") and self.down < (3 if self.dims == 1 else 1):
            self.down += 1
            if kind == "strided":
                return self.of("Conv", *channels, dice.choice([2, 3]), 2, padding=dice.choice([0, 1]))
            return dice.choice(
                [self.of("MaxPool", 2), self.of("AvgPool", 3, 2, padding=1), self.of("MaxPool", 3, 2, 1)]
            )
        if kind in ("up", "transposed") and self.down:
            self.down -= 1
            if kind == "transposed":
                return self.of("ConvTranspose", *channels, *dice.choice([(2, 2), (4, 2, 1)]))
            linear = ("linear", "bilinear", "trilinear")[self.dims - 1]
            return nn.Upsample(scale_factor=2, mode=dice.choice(["nearest", linear]))
        return self.of("BatchNorm", _CHANNELS) if kind == "norm" else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept: list[torch.Tensor] = [x]
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            x = layer(x)
            if kind == "skip":
                x = x + next((one for one in reversed(kept) if one.shape == x.shape), x)
            if kind == "shift":
                x = F.pad(x, (1, -1))
            if kind == "crop":
                x = x[..., 1:-1]
            kept.append(x)
        return x


def differs(model: nn.Module, shape: list[int], axis: int, rows: range, unit: int) -> bool:
    """Whether units at a place change where rows of pixels rise: larger inputs give larger outputs."""
    x = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    other = x.clone()
    other.narrow(axis, rows.start, len(rows)).add_(_RAISED)
    with torch.no_grad():
        return bool((model(x).select(axis, unit) != model(other).select(axis, unit)).any())


@pytest.mark.parametrize(
    ("dims", "seed"),
    [*((1, seed) for seed in range(12)), *((2, seed) for seed in range(12)), *((3, seed) for seed in range(6))],
)
def test_random_graphs(dims: int, seed: int) -> None:
    model = Drawn(seed, dims)
    side = {1: 256, 2: 32, 3: 16}[dims]
    sizes = (1, _CHANNELS, *(side,) * dims)
    verdict = rfcalc.tile(model, sizes)
    assert verdict.exact, verdict.reasons

    for place, (axis, grid) in enumerate(verdict.grids.items()):
        image = dict.fromkeys(verdict.grids, 0)
        for name, other in verdict.grids.items():
            image[name] = other.offset + other.align * -(-8 // other.align)
        tile = {**image, axis: grid.least + grid.align}
        image[axis] = tile[axis] + 4 * grid.align
        plan = rfcalc.tile(model, sizes, tile=tile, image=image)
        assert plan.exact, plan.reasons
        assert plan.planned().count > 1
        assert gap(model, plan, (1, _CHANNELS, *image.values())) < 1e-9

        found = plan.outputs[0].axes[axis]
        halo = found.halo or (0, 0)
        for before, witness in zip((True, False), found.witnesses, strict=True):
            if witness is None or witness.border:
                continue
            at = grid.align * -(-(halo[0] + 8) // grid.align)
            image[axis] = at + witness.cut + sum(halo) + 8
            image[axis] += (grid.offset - image[axis]) % grid.align
            shape = [1, _CHANNELS, *image.values()]
            scale = found.scale
            assert scale is not None
            unit = witness.unit + int(at * scale)
            cut, pixel = witness.cut + at, witness.pixel + at
            assert pixel == (cut - halo[0] if before else cut + halo[1] - 1)
            assert differs(model, shape, 2 + place, range(pixel, pixel + 1), unit)
            beyond = range(pixel) if before else range(pixel + 1, image[axis])
            assert not differs(model, shape, 2 + place, beyond, unit)
