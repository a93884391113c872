"""The witness: the whole and its tiles on real numbers in float64, with no code of rfcalc but the slices."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def outputs(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The model's outputs as a list."""
    with torch.no_grad():
        found = model(x)
    return [found] if isinstance(found, torch.Tensor) else list(found)


def gap(model: nn.Module, plan: Any, shape: tuple[int, ...], seed: int = 0) -> float:
    """The largest difference between the whole and its tiles; infinite where a unit is never written."""
    wide = model.double().eval()
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    whole = outputs(wide, x)
    tiled = [torch.full_like(one, float("inf")) for one in whole]
    for tile in plan.slices():
        for target, part, crop, write in zip(tiled, outputs(wide, x[tile.read]), tile.crops, tile.writes, strict=True):
            target[write] = part[crop]
    return max(float((a - b).abs().max()) for a, b in zip(whole, tiled, strict=True))


def felt(model: nn.Module, length: int, cut: int, pixel: int, channels: int, scale: float = 1.0) -> tuple[bool, bool]:
    """Whether a row of pixels changes output rows from a cut on, and rows before it; for outputs of that scale."""
    wide = model.double().eval()
    shape = (1, channels, length, 48)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    first, second = False, False
    for size in (1.0, 30.0, 1000.0):
        other = x.clone()
        other[:, :, pixel] += size * torch.randn(x[:, :, pixel].shape, dtype=torch.float64)
        changed = (outputs(wide, x)[0] != outputs(wide, other)[0]).any(dim=3).any(dim=1)[0]
        at = int(cut * scale)
        first, second = first or bool(changed[at:].any()), second or bool(changed[:at].any())
    return first, second
