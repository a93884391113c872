"""Random convolutional graphs: tiles that are said to be exact are, on real numbers, and the witnesses are real."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import rfcalc
from tests.tiling.brute import gap


class Drawn(nn.Module):
    """A column of random layers along one axis, with skips; features keep two channels."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        dice = random.Random(seed)
        torch.manual_seed(seed)
        self.kinds: list[str] = []
        self.layers = nn.ModuleList()
        down = 0
        for _ in range(dice.randint(2, 7)):
            kind = dice.choice(
                ["conv", "conv", "pool", "up", "dilated", "skip", "reflect", "shift", "transposed", "norm"]
            )
            kernel = dice.choice([1, 3, 5])
            layer: nn.Module = nn.Identity()
            if kind == "conv":
                layer = nn.Conv1d(2, 2, kernel, padding=kernel // 2)
            elif kind == "dilated":
                layer = nn.Conv1d(2, 2, 3, padding=2, dilation=2)
            elif kind == "reflect":
                layer = nn.Conv1d(2, 2, 3, padding=1, padding_mode=dice.choice(["reflect", "replicate"]))
            elif kind == "pool":
                layer = dice.choice([nn.MaxPool1d(2), nn.Conv1d(2, 2, 3, 2, padding=1), nn.AvgPool1d(3, 2, padding=1)])
                down += 1
            elif kind == "up" and down:
                layer = nn.Upsample(scale_factor=2, mode=dice.choice(["nearest", "linear"]))
                down -= 1
            elif kind == "transposed" and down:
                layer = nn.ConvTranspose1d(2, 2, 4, 2, padding=1)
                down -= 1
            elif kind == "norm":
                layer = nn.BatchNorm1d(2)
            self.kinds.append(kind)
            self.layers.append(layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept: list[torch.Tensor] = [x]
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            x = layer(x)
            if kind == "skip":
                x = x + next((one for one in reversed(kept) if one.shape == x.shape), x)
            if kind == "shift":
                x = F.pad(x, (1, -1))
            kept.append(x)
        return x


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int) -> None:
    model = Drawn(seed).eval()
    verdict = rfcalc.tile(model, (2, 256))
    assert verdict.exact, verdict.reasons
    (grid,) = verdict.grids.values()
    image = grid.least + 5 * grid.align + (-grid.least) % grid.align
    plan = rfcalc.tile(model, (2, 256), tile=grid.least + grid.align, image=(image,))

    assert gap(model, plan, (1, 2, image)) < 1e-11
    for before, witness in enumerate(plan.outputs[0].axes[next(iter(plan.grids))].witnesses):
        if witness is not None and not witness.border:
            at = 8 * grid.align
            x = torch.randn(1, 2, 2 * at + 8 * grid.least, dtype=torch.float64)
            x = x[:, :, : x.shape[2] // grid.align * grid.align]
            other = x.clone()
            other[:, :, witness.pixel + at] += torch.tensor([40.0, -70.0])
            with torch.no_grad():
                changed = (model(x) != model(other)).any(dim=1)[0]
            scale = plan.outputs[0].axes[next(iter(plan.grids))].scale
            assert scale is not None
            assert changed[witness.unit + int(at * scale)] or "max" in str(model.layers).lower(), before
