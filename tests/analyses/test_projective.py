"""The projective field: which positions one pixel can change, against a poisoned forward pass."""

import math

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.errors import UsageError


class Branches(nn.Module):
    """Dilation, holes (stride beyond the kernel), upsampling and a join that is not aligned."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(1, 2, 3, padding=2, dilation=2)
        self.holes = nn.Conv2d(2, 2, 1, stride=3)
        self.up = nn.ConvTranspose2d(2, 2, 2, stride=3, output_padding=1)
        self.last = nn.Conv2d(2, 2, (3, 1), padding=(1, 0))

    def forward(self, x):
        wide = self.wide(x)
        up = self.up(self.holes(wide))
        return self.last(up[..., : wide.shape[2], : wide.shape[3]] + wide[..., : up.shape[2], : up.shape[3]])


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        y = self.conv(x)
        return y * y.mean((2, 3), keepdim=True).sigmoid()


def poisoned(model, shape, at):
    x = torch.rand(shape)
    x[0, :, at[0], at[1]] = math.nan
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
        return torch.isnan(model.eval()(x)).numpy()


@pytest.mark.parametrize("make", [Branches, Gate])
@pytest.mark.parametrize("at", [(0, 0), (4, 7), (5, 5), (6, 3), (11, 10)])
def test_equals_a_poisoned_pass(make, at):
    model = make()
    analysis = rfcalc.analyze(model, (1, 12, 11))
    hit = poisoned(model, (1, 1, 12, 11), at)

    seen = [hit.any(axis=(0, 1, 3)).nonzero()[0], hit.any(axis=(0, 1, 2)).nonzero()[0]]
    expected = tuple((int(rows[0]), int(rows[-1])) if len(rows) else None for rows in seen)

    assert analysis.affects(analysis.layers[-1].name, at) == expected


def test_a_hole_changes_nothing():
    analysis = rfcalc.analyze("1x1/3 2x2p0")

    assert analysis.affects("conv2", (1, 1)) == (None, None)
    assert analysis.affects("conv2", (3, 3)) == ((0, 1), (0, 1))


def test_a_pixel_outside_is_refused():
    analysis = rfcalc.analyze("3x3")

    with pytest.raises(UsageError, match=r"--affects 0,32 is outside input: W runs from 0 to 31"):
        analysis.affects(2, (0, 32))
    with pytest.raises(UsageError, match="--affects needs 2 numbers for input, got 1"):
        analysis.affects(2, (0,))
