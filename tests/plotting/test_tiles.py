"""A tile over the image: what is drawn, and the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import rfcalc
from rfcalc import plotting
from rfcalc.cli import cli
from rfcalc.errors import UsageError
from rfcalc.plotting.scenes import Bars, Box, Panel
from tests.tiling.nets import UNet, dac_decoder

UNET = f"{Path(__file__).parents[1] / 'tiling' / 'nets.py'}:UNet(depth=2)"


@pytest.fixture(scope="module")
def plan() -> rfcalc.Tiling:
    return rfcalc.tile(UNet(2), (1, 64, 64), tile=100, image=(256, 320))


def test_a_tile_in_the_middle(plan: rfcalc.Tiling) -> None:
    """Margins of 24 on a grid of 4, of which the halo needs 22; tiles of 100 write 52."""
    found = plotting.tile_scene(plan)
    (panel,) = found.scene.panels

    assert isinstance(panel, Panel)
    assert [mark.region for mark in panel.marks] == [
        Box((104, 203), (156, 255)),
        Box((106, 201), (158, 253)),
        Box((128, 179), (180, 231)),
    ]
    assert found.cuts == {"H": (76, 128, 180), "W": (76, 128, 180, 232, 284)}
    assert found.scene.title.endswith("one of 24 tiles")


def test_the_tile_that_writes_a_pixel(plan: rfcalc.Tiling) -> None:
    """The last one ends with the image, where it needs no margin."""
    (panel,) = plotting.tile_scene(plan, (0, 319)).scene.panels

    assert isinstance(panel, Panel)
    reads, halo, writes = (mark.region for mark in panel.marks)
    assert (reads, halo) == (Box((0, 99), (220, 319)), Box((0, 97), (262, 319)))
    assert writes == Box((0, 75), (284, 319))
    with pytest.raises(UsageError, match="below 256x320"):
        plotting.tile_scene(plan, (0, 320))


def test_one_axis_is_drawn_as_bars() -> None:
    (bars,) = plotting.tile_scene(rfcalc.tile(dac_decoder(), (2, 64), tile=24)).scene.panels

    assert isinstance(bars, Bars)
    assert [bar.region for bar in bars.bars] == [(20, 43), (20, 43), (30, 33)]


def test_the_command_draws_over_a_picture(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    image.new("RGB", (80, 60), "green").save(tmp_path / "cat.png")
    words = [
        "plot",
        UNET,
        "--input",
        "1x120x160",
        "--kind",
        "tile",
        "--tile",
        "60",
        "--image",
        str(tmp_path / "cat.png"),
    ]
    result = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "tile.svg")])

    assert result.exit_code == 0, result.output
    assert "was resized from 60x80 to 120x160" in result.stderr
    drawn = (tmp_path / "tile.svg").read_text()
    assert "one of" in drawn
    assert "<image" in drawn


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kind", "tile"), "give a larger one, as in --input 1x60x60"),
        (("--kind", "tile", "--tile", "50x"), "is no length"),
        (("--kind", "tile", "--tile", "30"), "is too short"),
        (("--tile", "30"), "only --kind tile has that"),
        (("--kind", "tile", "--layer", "1"), "only --kind field has that"),
    ],
)
def test_bad_requests_are_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(cli, ["plot", UNET, "--input", "1x32x32", *words, "-o", str(tmp_path / "out.svg")])

    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out.svg").exists()
