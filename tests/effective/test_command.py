"""`rfcalc erf`: what it prints and writes, in every format."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import rfcalc
from rfcalc.cli import cli

Invoke = Callable[..., Result]

STACK = "3x3 3x3 3x3"
NET = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, axes=2):
        super().__init__()
        self.conv = (None, nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes](1, 1, 3, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x):
        return self.conv(x)
"""


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Run the command in an empty directory with a network of ones."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return lambda *args: CliRunner().invoke(cli, ["erf", *args], prog_name="rfcalc")


def test_the_table(invoke: Invoke) -> None:
    done = invoke("net.py:Net", "--input", "1x5x5", "--images", "1", "--device", "cpu")

    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == "net.py:Net: effective field of conv, unit 1,1, in input"
    for fact in (
        "theoretical field  3x3",
        "region             1..3 x 1..3",
        "center             2,2",
        "Gaussian           standard deviation 0.82 x 0.82 pixels, mean 2.00,2.00, explains ",
        "outside            the gradient is exactly 0 at all 16 pixels outside the theoretical field",
        "gradient           absolute values, added up over channels and images",
        "images             1 random normal, seed 0",
        "weights            random, as the model's constructor draws them with seed 0",
        "mode               inference",
    ):
        assert any(line.startswith(fact) for line in lines), fact
    assert [line.split() for line in lines[-2:]] == [
        ["50", "%", "3x3", "9", "36.0", "%", "100.0", "%"],
        ["99", "%", "3x3", "9", "36.0", "%", "100.0", "%"],
    ]


def test_json(invoke: Invoke) -> None:
    data = json.loads(invoke(STACK, "--at", "4,5", "--seed", "2", "--format", "json").output)

    assert data["schema"] == "rfcalc-erf/1"
    assert (data["layer"], data["at"], data["source"], data["center"]) == ("conv3", [4, 5], "input", [4, 5])
    assert data["receptive_field"]["region"] == [[1, 7], [2, 8]]
    assert data["map_shape"] == [32, 32]
    assert [item["share"] for item in data["areas"]] == [0.2, 0.3, 0.5, 0.99]
    assert data["areas"][-1]["ratio"] == data["areas"][-1]["pixels"] / 1024
    assert (data["agree"], data["outside"]["touched"]) == (True, 0)
    assert (data["gradient"], data["scale"], data["seed"]) == ("absolute", "linear", 2)
    assert data == rfcalc.erf(STACK, at=(4, 5), seed=2).to_dict()


def test_csv_is_a_row_for_each_share(invoke: Invoke) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke("net.py:Net", "--input", "1x5x5", "--format", "csv").output)))

    assert [(row["at"], row["share"], row["side"], row["ratio"]) for row in rows] == [
        ("1,1", share, "3", "0.36") for share in ("0.2", "0.3", "0.5", "0.99")
    ]


@pytest.mark.parametrize("name", ["markdown", "latex", "html"])
def test_other_formats(invoke: Invoke, name: str) -> None:
    path = Path("report").with_suffix({"markdown": ".md", "latex": ".tex", "html": ".html"}[name])
    done = invoke(STACK, "--format", name, "-o", str(path), "--images", "1")

    assert done.output == ""
    assert "effective field of conv3" in path.read_text()


def test_nothing_outside_and_several_axes(invoke: Invoke) -> None:
    whole = invoke("net.py:Net", "--input", "1x3x3", "--layer", "conv")
    assert "the theoretical field is the whole input: there is no pixel outside" in whole.output
    assert "length" in invoke("net.py:Net(axes=1)", "--input", "1x9").output
    assert " 3x3x3 " in invoke("net.py:Net(axes=3)", "--input", "1x5x5x5").output


def test_maps(invoke: Invoke) -> None:
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = 1

    for name in ("map.npy", "map.CSV"):
        done = invoke("net.py:Net", "--input", "1x5x5", "-o", name)
        assert done.exit_code == 0
        assert "contribution" in done.output
    assert np.array_equal(np.load("map.npy"), expected)
    assert np.array_equal(np.loadtxt("map.CSV", delimiter=","), expected)
    done = invoke("net.py:Net(axes=3)", "--input", "1x5x5x5", "-o", "map.csv")
    assert done.exit_code == 2
    assert "a map of 3 axes does not go into a CSV file: name a .npy file" in done.output


def test_weights_and_images(invoke: Invoke) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("L", (8, 8)).save("grey.png")
    torch.save({"conv.weight": torch.full((1, 1, 3, 3), 2.0)}, "two.pt")
    done = invoke("net.py:Net", "--input", "1x5x5", "--weights", "two.pt", "--image", "grey.png", "-o", "map.npy")

    assert np.load("map.npy").max() == 2
    assert "images             grey.png" in done.output
    assert "weights            two.pt" in done.output


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (("--images", "2", "--image", "grey.png"), 2, "--images and --image exclude each other"),
        (("--images", "0"), 2, "--images"),
        (("--weights", "none.pt"), 2, "cannot read the weights none.pt: No such file or directory"),
        (("--weights", "net.py"), 3, "cannot read the weights net.py"),
        (("--layer", "conv9"), 2, "there is no layer 'conv9'"),
        (("--at", "1"), 2, "--at needs 2 numbers"),
        (("--at", "a,b"), 2, "is no position"),
        (("--gradient", "square"), 2, "gradient"),
        (("-o", "none/map.npy"), 2, "there is no directory none"),
    ],
)
def test_errors(invoke: Invoke, args: tuple[str, ...], status: int, message: str) -> None:
    done = invoke("net.py:Net", "--input", "1x5x5", *args)

    assert done.exit_code == status
    assert message in done.output
    assert "Traceback" not in done.output


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_needs_matplotlib(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = invoke("nothing.py:Net", "-o", "erf.png")

    assert done.exit_code == 3
    assert done.output == (
        "rfcalc: error: a .png needs matplotlib, which is not installed: pip install 'rfcalc[plot]'\n"
    )


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_pictures(invoke: Invoke, suffix: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    for name in ("one", "two"):
        done = invoke(STACK, "--images", "1", "-o", f"{name}{suffix}")
        assert done.exit_code == 0, done.output
    one, two = (Path(f"{name}{suffix}").read_bytes() for name in ("one", "two"))

    assert one.startswith(start)
    assert one == two


def test_what_a_picture_shows() -> None:
    pytest.importorskip("matplotlib")
    from rfcalc.effective.picture import draw

    found = rfcalc.erf(STACK, images=1, at=(0, 16))
    heat, profile, _ = draw(found).axes
    (image,) = heat.images
    boxes = [tuple(patch.get_bbox().extents) for patch in heat.patches]

    assert np.asarray(image.get_array()) == pytest.approx(found.map / found.map.max())
    assert boxes[0] == (12.5, -0.5, 19.5, 3.5)
    assert len(boxes) == 3
    assert [box[1] for box in boxes] == [-0.5] * 3
    sums = profile.lines[0].get_ydata()
    assert sums == pytest.approx(100 * found.map.sum(axis=1) / found.map.sum())
    assert len(profile.lines) == 4


@pytest.mark.parametrize("shape", [(1, 9), (1, 4, 9, 9)])
def test_pictures_of_one_and_three_axes(shape: tuple[int, ...]) -> None:
    pytest.importorskip("matplotlib")
    from rfcalc.effective.picture import content

    conv = torch.nn.Conv1d if len(shape) == 2 else torch.nn.Conv3d

    assert content(rfcalc.erf(conv(1, 1, 3), shape, images=1), ".png").startswith(b"\x89PNG")
