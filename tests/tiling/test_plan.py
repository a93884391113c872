"""The tiles of an image, and running them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.errors import TraceError, UsageError
from rfcalc.tiling.layout import Grid, pieces
from tests.tiling.brute import gap
from tests.tiling.nets import UNet, taesd_decoder


@pytest.fixture(scope="module")
def plan() -> Any:
    return rfcalc.tile(UNet(2), (1, 64, 64), tile=(56, 60), image=(76, 100))


def test_tiles_cover_the_image_once() -> None:
    for extent in range(20, 90):
        for tile in (20, 24, 40):
            if tile > extent:
                continue
            row = pieces("H", Grid(4, 8, 4, 0), tile, extent)
            assert [piece.first for piece in row] == [0, *(piece.last for piece in row[:-1])]
            assert row[-1].last == row[-1].stop == extent
            for piece in row:
                assert piece.start % 4 == 0
                assert piece.length <= tile
                assert piece.start == 0 or piece.first - piece.start >= 8
                assert piece.stop == extent or piece.stop - piece.last >= 4


def test_a_plan_is_exact_on_real_numbers(plan: Any) -> None:
    assert gap(UNet(2), plan, (1, 1, 76, 100)) < 1e-12


def test_a_plan_says_what_is_read_and_written(plan: Any) -> None:
    assert plan.layout.count == 20
    assert [piece.to_dict() for piece in plan.layout.pieces["H"]] == [
        {"read": [0, 56], "write": [0, 32]},
        {"read": [8, 64], "write": [32, 40]},
        {"read": [16, 72], "write": [40, 48]},
        {"read": [20, 76], "write": [48, 76]},
    ]
    tile = next(plan.slices())
    assert tile.read == (slice(None), slice(None), slice(0, 56), slice(0, 60))
    assert tile.write == (slice(None), slice(None), slice(0, 32), slice(0, 36))


def test_costs_add_up(plan: Any) -> None:
    part = rfcalc.analyze(UNet(2), (1, 56, 60)).totals.macs
    whole = rfcalc.analyze(UNet(2), (1, 76, 100)).totals.macs

    assert plan.layout.costs.tile_macs == part
    assert plan.layout.costs.macs == 20 * part
    assert plan.layout.costs.overhead == Fraction(20 * part, whole) - 1


@pytest.mark.parametrize("batch", [1, 5])
def test_running_equals_the_whole(plan: Any, batch: int, capsys: pytest.CaptureFixture[str]) -> None:
    model = UNet(2).eval()
    x = torch.randn(2, 1, 76, 100)
    with torch.no_grad():
        whole = model(x)

    assert torch.allclose(plan.run(model, x, batch=batch, progress=True), whole, atol=1e-6)
    out, err = capsys.readouterr()
    assert not out
    assert err.endswith("20 of 20 tiles\n")


def test_running_writes_into_arrays_and_memory_maps(plan: Any, tmp_path: Path) -> None:
    model = UNet(2).eval()
    x = np.random.default_rng(0).standard_normal((1, 1, 76, 100), dtype=np.float32)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float32, (1, 2, 76, 100))

    assert plan.run(model, x, out=out) is out
    with torch.no_grad():
        assert np.allclose(out, model(torch.from_numpy(x)).numpy(), atol=1e-6)


def test_results_have_the_form_of_the_model() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(1, 1, 3, padding=1)
            self.b = nn.Conv2d(1, 1, 3, 2, padding=1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"fine": self.a(x), "coarse": self.b(x)}

    model = Named().eval()
    x = torch.randn(1, 1, 32, 32)
    found = rfcalc.tile(model, (1, 32, 32), tile=16).run(model, x)
    with torch.no_grad():
        for name, whole in model(x).items():
            assert torch.allclose(found[name], whole, atol=1e-6)


def test_a_decoder_writes_more_than_it_reads() -> None:
    model = taesd_decoder().eval()
    plan = rfcalc.tile(model, (4, 16, 16), tile=42, image=(50, 45))

    assert gap(model, plan, (1, 4, 50, 45)) < 1e-12


def test_an_input_beside_the_image_is_cut_along_with_it() -> None:
    class Guided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(1, 1, 3, 2, padding=1)
            self.b = nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, image: torch.Tensor, guide: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return self.b(torch.cat([self.a(image) + level.view(-1, 1, 1, 1), guide], 1))

    model = Guided().eval()
    shapes = {"image": (1, 1, 64, 64), "guide": (1, 1, 32, 32), "level": (1,)}
    plan = rfcalc.tile(model, {name: torch.zeros(shape) for name, shape in shapes.items()}, tile=16)
    values = [torch.randn(2, *shape[1:]) for shape in shapes.values()]
    with torch.no_grad():
        whole = model(*values)

    assert torch.allclose(plan.run(model, *values, batch=3), whole, atol=1e-6)


def test_memory_chooses_the_largest_tile() -> None:
    plans = [rfcalc.tile(UNet(2), (1, 64, 64), memory=limit, image=(640, 640)) for limit in (150_000, 1_500_000)]

    for plan, limit in zip(plans, (150_000, 1_500_000), strict=True):
        assert plan.layout.costs.peak <= limit
        larger = rfcalc.tile(UNet(2), (1, 64, 64), tile=plan.layout.tile["H"] + 4, image=(640, 640))
        assert larger.layout.costs.peak > limit


def test_one_axis_is_enough() -> None:
    model = nn.Conv1d(1, 1, 5, padding=2)
    plan = rfcalc.tile(model, (1, 50), tile=20)

    assert gap(model, plan, (1, 1, 50)) < 1e-12
    assert plan.layout.count == 3


def test_fields_of_bioimage_io(plan: Any) -> None:
    found = plan.bioimageio()

    assert found["inputs"][0]["axes"][0] == {"id": "h", "size": {"min": 52, "step": 4}}
    assert found["outputs"][0]["axes"][1]["halo"] == 24


_BAD: dict[str, tuple[dict[str, Any], str]] = {
    "shorter than its halo": ({"tile": 20}, "need at least 52"),
    "off the grid": ({"tile": 54}, "nearest: 52 or 56"),
    "longer than the image": ({"tile": 80}, "take at most 64"),
    "two limits": ({"tile": 56, "memory": 10**6}, "exclude each other"),
    "too many numbers": ({"tile": (56, 56, 56)}, "one number for each"),
    "no length": ({"tile": 0}, "below 1"),
    "an axis that there is not": ({"tile": {"D": 56}}, "no axis 'D'"),
    "too little memory": ({"memory": 1000}, "the smallest tile, 52x52"),
    "a layer that there is not": ({"layer": "nowhere"}, "no layer"),
}


@pytest.mark.parametrize("name", _BAD)
def test_bad_requests(name: str) -> None:
    settings, message = _BAD[name]
    with pytest.raises(UsageError, match=message) as caught:
        rfcalc.tile(UNet(2), (1, 64, 64), **settings)

    assert "\n" not in str(caught.value)


def test_bad_runs(plan: Any) -> None:
    model, x = UNet(2).eval(), torch.zeros(1, 1, 76, 100)
    for call, message in (
        (lambda: plan.run(model, torch.zeros(1, 1, 64, 64)), "the plan is for"),
        (lambda: plan.run(model, x, out=torch.zeros(3)), "make it that large"),
        (lambda: plan.run(model, x, out=[torch.zeros(3)] * 2), "give one for each"),
        (lambda: plan.run(model, x, batch=0), "at least one"),
        (lambda: plan.run(model.train(), x), "model.eval"),
        (lambda: plan.run("unet", x), "cannot run a str"),
        (lambda: plan.run(model.eval(), x, x), "more were given"),
        (lambda: plan.run(model.eval()), "takes 1 arrays"),
        (lambda: rfcalc.tile(UNet(2), (1, 64, 64)).run(model, x), "no tiles are planned"),
        (lambda: rfcalc.tile("vgg16").run(model, x), "cannot be run in tiles"),
    ):
        with pytest.raises(UsageError, match=message):
            call()


def test_a_size_that_fails_gets_those_that_work() -> None:
    for call, message in (
        (lambda: rfcalc.tile(UNet(4), (1, 250, 250)), "runs on 1x240x240 and 1x256x256, multiples of 16"),
        (lambda: rfcalc.tile(UNet(2), (1, 64, 64), tile=56, image=(250, 64)), "248 or 252"),
    ):
        with pytest.raises(TraceError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
