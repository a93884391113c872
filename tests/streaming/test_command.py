"""`rfcalc stream` on the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from rfcalc.cli import cli

NET = """
import torch.nn as nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv1d(1, 2, 5, padding=2), nn.Conv1d(2, 1, 8, stride=4))
class Video(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 2, 3))
class Two(nn.Module):
    def forward(self, left, right):
        return left + right
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("stream") / "net.py"
    path.write_text(NET, encoding="utf-8")
    return str(path)


def called(*args: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["stream", *args], prog_name="rfcalc")


def test_a_table_says_who_looks_ahead(net: str) -> None:
    done = called(f"{net}:Net", "--input", "1x64", "--rate", "16k")

    assert done.exit_code == 0, done.output
    assert "causal   no: 0, 1 look ahead" in done.output
    assert "padding on both sides (2 before, 2 after; the kernel spans 5)" in done.output
    assert "6 (3/2 frames, 0.375 ms)" in done.output  # 2, and 8 - 4; a frame is 4


def test_json_markdown_and_csv(net: str) -> None:
    as_json = json.loads(called(f"{net}:Net", "--input", "1x64", "--format", "json", "--layer", "2").stdout)
    markdown = called(f"{net}:Net", "--input", "1x64", "--format", "markdown").stdout
    table = called(f"{net}:Net", "--input", "1x64", "--format", "csv").stdout

    assert as_json["schema"] == "rfcalc-stream/1"
    assert [row["layer"] for row in as_json["layers"]] == ["0"]
    assert "| layer" in markdown
    assert table.splitlines()[0].startswith("model,kind,layer,causal,look_ahead")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("Net", "--input", "1x64", "--rate", "0"), "--rate: '0' is no rate"),
        (("Net", "--input", "1x64", "--rate", "fast"), "--rate: cannot read 'fast'; write a rate like 16000"),
        (("Net", "--input", "1x64", "--rate", "1/0"), "--rate: cannot read '1/0'"),
        (("Net", "--input", "1x64", "--chunk", "0"), "0 is not in the range x>=1"),
        (("Net", "--input", "1x64", "--chunk", "x"), "'x' is not a valid integer"),
        (("Net", "--input", "1x64", "--axis", "W"), "no input has an axis 'W': there are L"),
        (("Net", "--input", "1x64", "--layer", "9"), "there is no layer 9"),
        (("Net", "--input", "1x64", "--layer", "cnv"), "there is no layer 'cnv'"),
        (("Net", "--input", "1x64", "--source", "b"), "has no input 'b'; it has input"),
        (("Net", "--input", "1x"), "is no extent of a shape"),
        (("Video", "--input", "3x8x8"), "which axis of input is time? Say --axis with one of H (axis 2), W (axis 3)"),
        (("Two", "--input", "left=3x8x8", "--input", "right=3x8x8"), "has several inputs: say which one is the stream"),
        (("Net", "--input", "1x64", "--verify", "--chunk", "3"), "chunks of 3 do not work for"),
        (("Net",), "has no default input"),
        (("Net", "--input", "1x64", "--format", "yaml"), "'yaml' is not one of"),
        (("Net", "--input", "1x64", "-o", "/nowhere/at/all"), "there is no directory /nowhere/at"),
    ],
)
def test_bad_input_is_one_line(net: str, args: tuple[str, ...], said: str) -> None:
    done = called(f"{net}:{args[0]}", *args[1:])
    lines = done.stderr.splitlines()

    assert (done.exit_code, done.stdout, len(lines)) == (2, "", 1), done.output
    assert lines[0].startswith("rfcalc: error: ")
    assert said in lines[0]


def test_a_model_that_cannot_run(net: str) -> None:
    done = called(f"{net}:Net", "--input", "3x64")

    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (3, "", 1)


def test_verify_says_by_its_exit_status(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rfcalc.streaming import trial

    right = called(f"{net}:Net", "--input", "1x64", "--verify")
    monkeypatch.setattr(
        trial, "along", lambda view, axis, true=trial.along: (true(view, axis)[0], true(view, axis)[1] - 1)
    )
    wrong = called(f"{net}:Net", "--input", "1x64", "--verify")

    assert (right.exit_code, "verified  yes" in right.stdout) == (0, True), right.output
    assert (wrong.exit_code, "WRONG: unit" in wrong.stdout) == (1, True)


def test_a_saved_graph_streams_and_cannot_be_verified(net: str, tmp_path: pytest.TempPathFactory) -> None:
    path = str(tmp_path / "graph.json")  # type: ignore[operator]
    CliRunner().invoke(cli, ["trace", f"{net}:Net", "--input", "1x64", "-o", path], prog_name="rfcalc")

    assert called(path).stdout.splitlines()[1:] == called(f"{net}:Net", "--input", "1x64").stdout.splitlines()[1:]
    assert "a saved graph cannot be verified" in called(path, "--verify").stderr
