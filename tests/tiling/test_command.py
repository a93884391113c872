"""`rfcalc tile` on the command line, and the proof."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

import rfcalc
from rfcalc.cli import cli
from rfcalc.tiling.proof import prove
from rfcalc.tiling.results import AxisTile
from rfcalc.tiling.sizes import sizes_of
from tests.tiling.nets import Formula, UNet

UNET = f"{Path(__file__).with_name('nets.py')}:UNet(depth=2)"
Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    return lambda *words: CliRunner().invoke(cli, ["tile", *words], prog_name="rfcalc")


def test_json_has_all_of_it(run: Run) -> None:
    result = run(UNET, "--input", "1x64x64", "--tile", "56", "--format", "json")
    found = json.loads(result.stdout)

    assert result.exit_code == 0
    assert (found["schema"], found["exact"]) == ("rfcalc-tile/1", True)
    axis = found["outputs"][0]["axes"]["H"]
    assert {
        key: axis[key] for key in ("reach", "align", "halo", "margin", "scale", "min_tile", "min_output", "local_halo")
    } == {
        "reach": [23, 23],
        "align": 4,
        "halo": [22, 22],
        "margin": [24, 24],
        "scale": "1",
        "min_tile": 52,
        "min_output": 52,
        "local_halo": None,
    }
    assert found["plan"]["tiles"] == 4
    assert found["plan"]["tile_outputs"] == [[1, 2, 56, 56]]
    assert found["plan"]["axes"]["H"][1] == {"read": [8, 64], "write": [32, 64]}


def test_csv_has_a_row_for_each_axis(run: Run) -> None:
    rows = run("vgg16", "--layer", "conv2_2", "--format", "csv").stdout.splitlines()

    assert rows[0].startswith("model,layer,axis,exact,reach_before")
    assert rows[1].startswith("vgg16,conv2_2,H,true,6,6")
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tile", "0"), "'0' is no length"),
        (("--tile", "2.5"), "is no length"),
        (("--tile", "56x"), "is no length"),
        (("--image", "big"), "is no length"),
        (("--memory", "lots"), "no number of bytes"),
        (("--memory", "2 parsecs"), "no number of bytes"),
        (("--memory", "0"), "fits into no memory"),
        (("--tile", "56", "--memory", "1GB"), "exclude each other"),
        (("--tile", "56x56x56"), "one number for each"),
        (("--tile", "58"), "nearest: 56 or 60"),
        (("--layer", "nowhere"), "no layer"),
        (("--layer", "deep.0", "--verify"), "leave out --layer"),
    ],
)
def test_bad_requests_are_one_line(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str) -> None:
    from rfcalc.cli.group import State, guarded

    status = guarded(
        lambda: cli(["tile", UNET, "--input", "1x64x64", *words], "rfcalc", standalone_mode=False), State()
    )

    assert status == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_a_saved_graph_has_one_size(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "graph.json")
    CliRunner().invoke(cli, ["trace", "lenet5", "-o", path])
    result = run(path)

    assert result.exit_code == 2
    assert "one size" in result.stderr


def test_the_proof_holds(run: Run) -> None:
    result = run(UNET, "--input", "1x64x64", "--verify", "--device", "cpu", "--format", "json")
    proof = json.loads(result.stdout)["proof"]

    assert result.exit_code == 0
    assert proof["agree"]
    assert [side["halo"] for side in proof["sides"]] == [22, 22, 22, 22]
    assert proof["trials"][0]["outputs"][0]["difference"] <= proof["trials"][0]["outputs"][0]["bound"] < 1e-9


def test_what_is_impossible_is_not_verified(run: Run) -> None:
    result = run(UNET.replace("UNet(depth=2)", "Squeezed"), "--input", "1x32x32", "--verify")

    assert result.exit_code == 1
    assert "nothing to compare" in result.stderr
    assert "impossible" in result.stdout


def test_what_is_rounded_to_bytes_on_the_way_is_shown_by_large_numbers() -> None:
    """As TAESD does between its halves: no derivative is left, and integers hold no NaN."""

    def rounded(own: Any, x: torch.Tensor) -> torch.Tensor:
        return own.b((own.a(x).sigmoid() * 255).round().to(torch.uint8).to(x.dtype) / 255)

    found = rfcalc.tile(Formula(rounded), (2, 32, 32), verify=True, device="cpu").proof

    assert found is not None
    assert found.agree
    assert {side.how for side in found.sides} == {"numbers"}


def test_comparisons_swallow_nan_and_prove_nothing() -> None:
    """Of a mask that is always false no row of the halo shows, and none is said to be too large."""

    def never(own: Any, x: torch.Tensor) -> torch.Tensor:
        return own.b((own.a(x).sigmoid() > 2).to(x.dtype))

    found = rfcalc.tile(Formula(never), (2, 32, 32), verify=True, device="cpu").proof

    assert found is not None
    assert found.agree
    assert found.not_shown == len(found.sides) == 4


def _wrong(plan: Any, **changed: Any) -> Any:
    """The plan with other numbers for every axis."""
    outputs = tuple(
        replace(item, axes={name: replace(axis, **changed) for name, axis in item.axes.items()})
        for item in plan.outputs
    )
    return replace(plan, outputs=outputs)


def test_the_proof_fails_where_a_halo_is_wrong() -> None:
    sizes = sizes_of(UNet(1), (1, 32, 32), axes=None, training=False)
    plan = rfcalc.tile(UNet(1), (1, 32, 32), tile=24)
    halo = plan.outputs[0].axes["H"].halo
    assert halo is not None
    small, large = (tuple(side + more for side in halo) for more in (-1, 1))

    assert prove(plan, sizes, device="cpu").agree
    assert not all(side.calm for side in prove(_wrong(plan, halo=small), sizes, device="cpu").sides)
    assert any(side.least == "too large" for side in prove(_wrong(plan, halo=large), sizes, device="cpu").sides)


def test_the_proof_fails_where_tiles_are_not_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with a global average, of which the verdict is taken for exact."""

    class Global(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(1, 1, 3, padding=1)
            self.fooled = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) if self.fooled else self.a(x) + x.mean((2, 3), keepdim=True)

    model = Global()
    plan = rfcalc.tile(model, (1, 32, 32), tile=16)
    model.fooled = False
    sizes = sizes_of(model, (1, 32, 32), axes=None, training=False)
    proof = prove(plan, sizes, device="cpu")

    assert not proof.agree
    assert proof.trials[0].outputs[0].difference > proof.trials[0].outputs[0].bound


def test_the_model_stays_as_it_is() -> None:
    model = UNet(1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rfcalc.tile(model, (1, 32, 32), verify=True, device="cpu")

    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_records_are_plain() -> None:
    assert AxisTile(None, None).to_dict()["halo"] is None
