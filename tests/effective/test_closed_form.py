"""Linear networks, whose gradients are known: one kernel, and kernels convolved with each other."""

from __future__ import annotations

from fractions import Fraction
from math import comb, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rfcalc


def ones(layers: int, kernel: int) -> nn.Module:
    """So many convolutions with weights 1, without padding."""
    stack = nn.Sequential(*(nn.Conv2d(1, 1, kernel, bias=False) for _ in range(layers)))
    for parameter in stack.parameters():
        nn.init.ones_(parameter)
    return stack


#: What comes before (1 + x + x^2)^n, and (1 + x)^n: the central trinomial triangle of Euler, and Pascal's.
TRINOMIAL = {1: [1, 1, 1], 2: [1, 2, 3, 2, 1], 3: [1, 3, 6, 7, 6, 3, 1], 4: [1, 4, 10, 16, 19, 16, 10, 4, 1]}


@pytest.mark.parametrize("layers", TRINOMIAL)
def test_equal_kernels_of_3_give_trinomials(layers: int) -> None:
    row = np.array(TRINOMIAL[layers], dtype=float)
    found = rfcalc.erf(ones(layers, 3), (1, 11, 11), images=1)
    first = found.field.region[0][0]
    expected = np.zeros((11, 11))
    expected[first : first + len(row), first : first + len(row)] = np.outer(row, row)

    assert np.array_equal(found.map, expected)
    assert found.gaussian.mean == pytest.approx((5, 5))
    assert found.gaussian.deviation == pytest.approx((sqrt(2 * layers / 3),) * 2)
    assert found.agree


@pytest.mark.parametrize("layers", [1, 2, 6])
def test_kernels_of_2_give_binomials(layers: int) -> None:
    row = np.array([comb(layers, k) for k in range(layers + 1)], dtype=float)
    found = rfcalc.erf(ones(layers, 2), (1, 9, 12), images=1, at=(0, 2))

    assert np.array_equal(found.map[: layers + 1, 2 : layers + 3], np.outer(row, row))
    assert found.map.sum() == 4**layers
    assert found.center == ((layers + 1) // 2, 2 + (layers + 1) // 2)
    assert found.gaussian.mean == pytest.approx((layers / 2, 2 + layers / 2))
    assert found.gaussian.deviation == pytest.approx((sqrt(layers) / 2,) * 2)


def test_the_squares_of_three_kernels_of_3() -> None:
    """Around the centre 49, 19^2 = 361, 25^2 = 625 and 27^2 = 729 of 729."""
    found = rfcalc.erf(ones(3, 3), (1, 11, 11), images=1)

    assert [(item.side, item.pixels) for item in found.areas] == [(3, 9), (3, 9), (5, 25), (7, 49)]
    assert found.area(0.5).ratio == Fraction(25, 121)
    assert found.area(0.5).of_field == Fraction(25, 49)
    assert found.area(0.99).of_field == 1


@pytest.mark.parametrize(
    ("settings", "at", "places"),
    [
        ({}, (2, 3), (slice(2, 5), slice(3, 6))),
        ({"stride": 2}, (1, 2), (slice(2, 5), slice(4, 7))),
        ({"dilation": 2}, (0, 1), (slice(0, 5, 2), slice(1, 6, 2))),
    ],
)
def test_one_layer_is_its_kernel(settings: dict[str, int], at: tuple[int, int], places: tuple[slice, slice]) -> None:
    conv = nn.Conv2d(2, 1, 3, **settings)
    found = rfcalc.erf(conv, (2, 8, 9), at=at, images=2)
    expected = np.zeros((8, 9))
    expected[places] = conv.weight.detach().double().abs().sum(dim=(0, 1)).numpy()

    assert np.array_equal(found.map, expected)
    assert found.at == at


def test_padding_cuts_the_kernel() -> None:
    conv = nn.Conv2d(1, 1, 3, padding=1)
    found = rfcalc.erf(conv, (1, 6, 6), at=(0, 5), images=1)

    assert np.array_equal(found.map[:2, 4:], conv.weight.detach().double().abs()[0, 0, 1:, :2].numpy())
    assert found.field.region == ((0, 1), (4, 5))
    assert found.center == (0, 5)
    assert found.outside.pixels == 32


def test_a_unit_is_the_sum_of_its_channels() -> None:
    conv = nn.Conv1d(2, 3, 5, bias=False)
    found = rfcalc.erf(conv, (2, 9), images=1, at=(1,))

    assert found.map[1:6] == pytest.approx(conv.weight.detach().double().sum(dim=0).abs().sum(dim=0).numpy(), rel=1e-6)


def test_upsampling_and_residuals_add_up() -> None:
    """A nearest-neighbour pixel sees one pixel; a sum with a shortcut doubles it."""

    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            wide = nn.functional.interpolate(x, scale_factor=2)
            return wide + wide

    found = rfcalc.erf(Twice(), (1, 4, 4), layer="add", at=(5, 2), images=1)

    assert np.argwhere(found.map).tolist() == [[2, 1]]
    assert found.map[2, 1] == 2
    assert found.gaussian.deviation == (0, 0)
    assert found.area(0.99).side == 1


def test_three_axes() -> None:
    conv = nn.Conv3d(1, 1, (1, 2, 3), bias=False)
    nn.init.constant_(conv.weight, 0.5)
    found = rfcalc.erf(conv, (1, 3, 4, 5), at=(1, 2, 0), images=1)

    assert found.axes == ("D", "H", "W")
    assert np.argwhere(found.map).tolist() == [[1, y, x] for y in (2, 3) for x in (0, 1, 2)]


def test_a_named_model_has_the_weights_of_its_constructor() -> None:
    torch.manual_seed(3)
    drawn = nn.Conv2d(1, 1, 5, padding=2, bias=False).weight.detach().double().abs()[0, 0].numpy()
    found = rfcalc.erf("5x5", seed=3, images=1)

    assert np.array_equal(found.map[14:19, 14:19], drawn)
    assert found.settings.weights == "random, as the model's constructor draws them with seed 3"
    assert not np.array_equal(rfcalc.erf("5x5", seed=4, images=1).map, found.map)
