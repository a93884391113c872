"""Tiles over the page's picture: the same numbers as in the plan, for every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rfcalc
from rfcalc.cli import cli
from rfcalc.page.data import document
from tests.page.javascript import evaluate, needs_node
from tests.page.test_build import data_of
from tests.tiling.nets import UNet

UNET = f"{Path(__file__).parents[1] / 'tiling' / 'nets.py'}:UNet(depth=1)"


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    """A U-Net whose margins are 8 (two kernels of 3 at full size, two at half, two at full), on 40 x 36 in tiles of 24:
    the first one writes up to 24 - 8, the next one 8 rows."""
    plan = rfcalc.tile(UNet(1), (1, 40, 36), tile=24)
    found: dict[str, Any] = document([rfcalc.analyze(UNet(1), (1, 40, 36))], [plan.to_dict()])["models"][0]
    return found


def test_the_page_has_the_pieces(model: dict[str, Any]) -> None:
    rows, columns = (model["tiles"]["axes"][name] for name in "HW")

    assert (rows["halo"], columns["halo"]) == ([8, 8], [8, 8])
    assert rows["pieces"][1] == {"read": [8, 32], "write": [16, 24]}
    assert rows["pieces"][-1]["write"][1] == 40
    assert columns["pieces"][-1]["write"][1] == 36
    assert ["tiles", "9 tiles of 24x24, equal to the whole"] in model["facts"]


@needs_node
def test_every_pixel_has_its_tile(model: dict[str, Any]) -> None:
    body = """
      const model = new Model(data, 0);
      const [input] = model.inputs;
      const rows = [0, 15, 16, 23, 24, 39].map((row) => model.tileAt(input, [row, 0])[0]);
      return { rows, cuts: model.cutsOf("H"), other: model.tileAt({ name: "other" }, [0, 0]) };
    """
    found = evaluate(body, model)

    assert found["rows"][0] == {"reads": [0, 23], "needs": [0, 23], "writes": [0, 15]}
    assert found["rows"][1] == found["rows"][0]
    assert found["rows"][2] == {"reads": [8, 31], "needs": [8, 31], "writes": [16, 23]}
    assert found["rows"][3] == found["rows"][2]
    assert found["rows"][4] == {"reads": [16, 39], "needs": [16, 39], "writes": [24, 39]}
    assert found["rows"][5] == found["rows"][4]
    assert found["cuts"] == [16, 24]
    assert found["other"] is None


def test_the_command_puts_tiles_on_the_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    done = CliRunner().invoke(cli, ["report", UNET, "--input", "1x40x36", "--tile", "24x36", "-o", str(path)])

    assert done.exit_code == 0, done.output
    [model] = data_of(path.read_text(encoding="utf-8"))["models"]
    assert [len(axis["pieces"]) for axis in model["tiles"]["axes"].values()] == [3, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((UNET, "--input", "1x40x36", "--tile", "25"), "nearest: 24 or 26"),
        ((UNET, "--input", "1x40x36", "--tile", "16"), "need at least 18"),
        ((UNET, "--input", "1x40x36", "--tile", "40x36"), "give a larger one"),
        ((UNET, "--input", "1x40x36", "--tile", "half"), "is no length"),
        (("googlenet", "--tile", "64"), "cannot be run in tiles exactly"),
    ],
)
def test_tiles_that_are_none_are_refused_and_nothing_is_written(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "page.html"
    done = CliRunner().invoke(cli, ["report", *words, "-o", str(path)])

    assert done.exit_code != 0
    assert message in str(done.exception) + done.output
    assert not path.exists()
