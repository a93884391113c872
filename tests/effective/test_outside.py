"""Outside the theoretical field the gradient is exactly 0: in many models, and the command says so where it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from torch import Tensor, nn

import rfcalc
from rfcalc.cli import cli
from rfcalc.effective import measure, shape
from rfcalc.effective.unit import find
from rfcalc.errors import UsageError

#: Models with a layer that leaves something outside its field, and the size at which it does.
MODELS = {
    "lenet5": ("S4", (1, 32, 32)),
    "vgg11-bn": ("conv4_1", (3, 64, 64)),
    "googlenet": ("inception3a/cat", (3, 96, 96)),
    "inception_v3": ("Mixed_5b/cat", (3, 107, 107)),
    "resnet18": ("conv3_1/add", (3, 80, 80)),
    "resnet50-v1": ("conv3_1/add", (3, 64, 64)),
    "plain18": ("conv3_1/conv1", (3, 64, 64)),
    "7x7:3-8/2 3x3:8-8d2 max3/2 5x5:8-4": (None, (3, 64, 64)),
}
TORCHVISION = {
    "resnext50_32x4d": ("layer1.2/add", (3, 64, 64)),
    "densenet121": ("features.transition1.pool", (3, 64, 64)),
    "mnasnet0_5": ("layers.8.2", (3, 64, 64)),
    "mobilenet_v2": ("features.4", (3, 64, 64)),
    "shufflenet_v2_x0_5": ("stage2.1", (3, 64, 64)),
    "squeezenet1_1": ("features.6", (3, 64, 64)),
    "swin_t": ("features.1.1", (3, 84, 84)),
    "convnext_tiny": ("features.1.1", (3, 96, 96)),
    "r3d_18": ("layer1.0/add", (3, 4, 24, 24)),
    "fcn_resnet50": ("backbone.layer1.2/add", (3, 64, 64)),
}


def check(model: str, layer: str | None, shape: tuple[int, ...], at: tuple[int, ...] | None = None) -> None:
    found = rfcalc.erf(model, shape, layer=layer, images=1, at=at)

    assert found.agree, (found.layer, found.outside)
    assert found.outside.pixels > 0
    assert found.outside.largest == 0
    assert found.map.sum() > 0


@pytest.mark.parametrize("at", [None, (0, 1)])
@pytest.mark.parametrize("model", MODELS)
def test_own_models(model: str, at: tuple[int, ...] | None) -> None:
    check(model, *MODELS[model], at)


@pytest.mark.parametrize("name", TORCHVISION)
def test_models_of_torchvision(name: str) -> None:
    pytest.importorskip("torchvision")
    check(f"torchvision:{name}", *TORCHVISION[name])


class UNet(nn.Module):
    """One level down and up again."""

    def __init__(self, bilinear: bool) -> None:
        super().__init__()
        self.first, self.inner = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear") if bilinear else nn.ConvTranspose2d(4, 4, 2, 2)
        self.last = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.up(self.inner(nn.functional.max_pool2d(x, 2))))


@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize("at", [(12, 12), (13, 0), (0, 23)])
def test_periodic_fields(bilinear: bool, at: tuple[int, int]) -> None:
    found = rfcalc.erf(UNet(bilinear), (1, 24, 24), at=at, images=2)

    assert found.agree
    assert found.outside.pixels > 300


def test_one_axis() -> None:
    model = nn.Sequential(
        *(nn.Conv1d(2, 2, 3, dilation=2**level) for level in range(3)), nn.ConvTranspose1d(2, 1, 4, 3)
    )
    found = rfcalc.erf(model, (2, 60), images=2)

    assert found.agree
    assert found.outside.pixels > 40


# --- a field that is wrong --------------------------------------------------------------------------------------------


def shrunk(*args: Any) -> Any:
    """The unit, with a region that lacks its first row."""
    target = find(*args)
    (first, *rest) = target.field.region or ()
    return replace(target, field=replace(target.field, region=((first[0] + 1, first[1]), *rest)))


def test_a_wrong_field_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "find", shrunk)
    found = rfcalc.erf("3x3", images=1)

    assert not found.agree
    assert (found.outside.pixels, found.outside.touched) == (32 * 32 - 6, 3)
    assert found.outside.largest == found.map[15].max()
    assert "OUTSIDE" in repr(found)

    monkeypatch.delenv("COLUMNS", raising=False)  # lines would be wrapped
    done = CliRunner().invoke(cli, ["erf", "3x3", "--images", "1"], prog_name="rfcalc")
    assert done.exit_code == 1
    assert "WRONG: 3 of 1,018 pixels outside the theoretical field have a gradient, up to" in done.output


def test_masked_reads_count_from_the_smallest_normal_number_on() -> None:
    largest = np.array([0, 1e-40, 1.0, 2.0])

    assert shape.outside(largest, ((2, 3),), 0.0).touched == 1
    assert shape.outside(largest, ((2, 3),), measure._SMALLEST).touched == 0
    assert shape.outside(largest, (None,), 0.0).touched == 3


def test_a_position_that_is_none_is_told_first() -> None:
    with pytest.raises(UsageError, match="--at 40,0 is outside layer conv1"):
        rfcalc.erf("3x3", at=(40, 0))
