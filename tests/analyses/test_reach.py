"""How far units see before and after their own places: networks of known reach, and every unit looked at one by one."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.analyses.receptive_field import reach_of


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1))


class UNet(nn.Module):
    """3x3 convolutions, pooling by 2, transposed 2x2 convolutions, skips."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.down = nn.ModuleList([_double(1 if at == 0 else 2, 2) for at in range(depth)])
        self.deep = _double(2, 2)
        self.up = nn.ModuleList([nn.ConvTranspose2d(2, 2, 2, 2) for _ in range(depth)])
        self.join = nn.ModuleList([_double(4, 2) for _ in range(depth)])

    def forward(self, x: torch.Tensor) -> Any:
        kept = []
        for down in self.down:
            kept.append(down(x))
            x = nn.functional.max_pool2d(kept[-1], 2)
        x = self.deep(x)
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([up(x), kept.pop()], 1))
        return x


class Along(nn.Module):
    """A function of the input."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


#: Depth, the least and the largest size, where unit 0 starts, how far units see to each side: by poisoning every row.
UNETS = [(2, 44, 44, -22, 23), (3, 92, 100, -46, 51), (4, 188, 204, -94, 107)]


@pytest.mark.parametrize(("depth", "least", "most", "start", "reach"), UNETS)
def test_a_unet_reaches_further_than_its_first_unit(depth: int, least: int, most: int, start: int, reach: int) -> None:
    field = rfcalc.analyze(UNet(depth), (1, 16 << depth, 16 << depth)).ops[-1].receptive_field
    assert field.size == (most, most)
    assert field.size_min == (least, least)
    assert field.period == (1 << depth,) * 2
    assert field.reach == ((reach, reach),) * 2
    assert field.start == (start, start)


def test_reach_is_the_most_that_any_inner_unit_sees() -> None:
    analysis = rfcalc.analyze(UNet(2), (1, 160, 160))
    layer = analysis.ops[-1]
    (first, last), _ = analysis.regions(layer.name)
    seen = [(int(a), int(b)) for a, b in zip(first.reshape(-1), last.reshape(-1), strict=True)]
    inner = range(64, 96)  # far from the borders
    before, after = max(u - seen[u][0] for u in inner), max(seen[u][1] - u for u in inner)
    assert layer.receptive_field.reach == ((before, after),) * 2


CASES: list[tuple[str, nn.Module, tuple[int, int]]] = [
    ("same", nn.Conv1d(1, 1, 5, padding=2), (2, 2)),
    ("valid", nn.Conv1d(1, 1, 5), (0, 4)),
    ("even", nn.Conv1d(1, 1, 4, padding=1), (1, 2)),
    ("causal", nn.Sequential(nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(1, 1, 5)), (4, 0)),
    ("strided", nn.Conv1d(1, 1, 7, stride=2, padding=3), (3, 2)),
    ("pooled", nn.MaxPool1d(4), (0, 0)),
    ("skipping", nn.Conv1d(1, 1, 1, stride=4), (0, 0)),
    ("upsampled", nn.Upsample(scale_factor=2), (0, 0)),
    ("upsampled and smoothed", nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(1, 1, 3, padding=1)), (1, 1)),
    ("flipped", nn.Sequential(nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(1, 1, 5), Along(lambda x: x.flip(-1))), (4, 0)),
    ("cropped ahead", Along(lambda x: x[..., 3:]), (0, 3)),
]


@pytest.mark.parametrize(("model", "reach"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_reach_of_single_layers(model: nn.Module, reach: tuple[int, int]) -> None:
    assert rfcalc.analyze(model, (1, 32)).ops[-1].receptive_field.reach == (reach,)


def test_without_a_window_there_is_no_reach() -> None:
    field = rfcalc.analyze(Along(lambda x: x[..., [0, 3, 1, 7, 2, 9]]), (1, 32)).ops[-1].receptive_field
    assert field.stride is None
    assert field.reach is None


STRIDES = [Fraction(1, 3), Fraction(2, 3), Fraction(3, 2), Fraction(4), Fraction(-2), Fraction(-3, 2)]


@pytest.mark.parametrize("stride", STRIDES)
def test_reach_against_indices_one_by_one(stride: Fraction) -> None:
    extent, period = 240, stride.denominator
    base = 0 if stride > 0 else extent - 1
    units = [(u, base + floor(stride * u) - 2 - u % 2, base + floor(stride * u) + 5) for u in range(period)]
    reach = reach_of(units, stride, extent)
    seen = [0, 0]
    for turn in range(3):
        for u, first, last in units:
            unit, moved = u + turn * period, int(turn * stride * period)
            at = abs(stride) * unit
            own = range(floor(at), ceil(at + abs(stride)))
            own = own if stride > 0 else range(extent - own.stop, extent - own.start)
            seen[0] = max(seen[0], own.start - first - moved)
            seen[1] = max(seen[1], last + moved - own.stop + 1)
    assert reach == tuple(seen)


def test_less_than_a_period_of_an_upsampled_axis_has_no_pattern() -> None:
    """One row that was cut out of an upsampled image says nothing of the others in its period."""

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            large = nn.functional.interpolate(self.conv(x), scale_factor=2)
            return self.conv(self.conv(large)[..., 3:4])

    field = rfcalc.analyze(Cut(), (1, 16)).ops[-1].receptive_field

    assert (field.size, field.stride, field.period) == ((4,), None, (1,))
