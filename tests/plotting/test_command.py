"""`rfcalc plot`: what is asked, what is refused, what is written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rfcalc import plotting
from rfcalc.cli import plot
from tests.cli.conftest import Invoke

DOT = """\
digraph "tiny" {
  node [shape=box, fontname="Helvetica"];
  n0 [label="1 input\\nfield 1x1\\n1x3x9x9"];
  n1 [label="2 conv1\\nfield 3x3\\n1x4x9x9\\n108 params, 8,748 multiply-adds"];
  n2 [label="3 conv2\\nfield 5x5\\n1x4x9x9\\n144 params, 11,664 multiply-adds"];
  n0 -> n1;
  n1 -> n2;
}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory with a file that is no picture."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "text.png").write_text("no picture", encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib cannot be imported."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_the_command_knows_what_can_be_drawn() -> None:
    assert (*plotting.KINDS, "tile") == plot.KINDS  # which is no picture of an analysis: `draw_tile` has a plan
    assert set(plot.DRAWN) == set(plotting.FORMATS)


@pytest.mark.usefixtures("no_matplotlib")
def test_dot_needs_no_matplotlib(invoke: Invoke, tiny: str) -> None:
    result = invoke("plot", tiny, "--kind", "graph", "--format", "dot")

    assert (result.exit_code, result.stdout) == (0, DOT)


@pytest.mark.usefixtures("no_matplotlib")
@pytest.mark.parametrize(("name", "head"), [("a.dot", "digraph"), ("a.GV", "digraph"), ("a.mmd", "flowchart TB")])
def test_the_ending_names_the_format(invoke: Invoke, tiny: str, here: Path, name: str, head: str) -> None:
    result = invoke("plot", tiny, "--kind", "graph", "-o", name)

    assert (result.exit_code, result.stdout) == (0, "")
    assert (here / name).read_text(encoding="utf-8").startswith(head)


@pytest.mark.usefixtures("no_matplotlib")
def test_the_format_may_differ_from_the_ending(invoke: Invoke, tiny: str, here: Path) -> None:
    assert invoke("plot", tiny, "--kind", "graph", "--format", "mermaid", "-o", "a.txt").exit_code == 0
    assert (here / "a.txt").read_text(encoding="utf-8").startswith("flowchart TB")


@pytest.mark.usefixtures("no_matplotlib", "here")
def test_a_missing_extra_names_its_command(invoke: Invoke, tiny: str) -> None:
    result = invoke("plot", tiny, "-o", "a.svg")

    said = "drawing needs matplotlib, which is not installed: pip install 'rfcalc[plot]'"
    assert (result.exit_code, result.stderr) == (2, f"rfcalc: error: {said}\n")


#: Arguments after the model, and what the error says.
REFUSED = {
    (): "a picture needs a file: name one, -o out.svg",
    ("-o", "a.gif"): "-o a.gif: its ending names no format; end it in one of .svg, .png, .pdf, .dot, .gv, .mmd",
    ("-o", "a"): "-o a: its ending names no format",
    ("-o", "no/a.svg"): "cannot write no/a.svg: there is no directory no",
    ("-o", "."): "cannot write .: it is a directory",
    ("-o", "a" * 300 + ".svg"): "File name too long",
    ("--format", "png"): "a PNG cannot go to standard output",
    ("--format", "pdf", "-o", "-"): "a PDF cannot go to standard output",
    ("--format", "dot"): "dot is text of --kind graph; field is drawn as svg, png, pdf",
    ("-o", "a.mmd", "--kind", "cost"): "mermaid is text of --kind graph; cost is drawn as svg, png, pdf",
    ("--format", "bmp"): "'bmp' is not one of 'svg', 'png', 'pdf', 'dot', 'mermaid'",
    ("--kind", "pie", "-o", "a.svg"): "'pie' is not one of 'field', 'growth', 'cost', 'compare', 'graph'",
    ("--kind", "cost", "--layer", "2", "-o", "a.svg"): "--layer: only --kind field has that, not cost",
    ("--kind", "graph", "--at", "1,1", "--image", "x", "-o", "a.svg"): "--at, --image: only --kind field has that",
    ("--depth", "2", "-o", "a.svg"): "--depth: only --kind graph has that, not field",
    ("--depth", "0", "--kind", "graph", "-o", "a.svg"): "0 is not in the range x>=1",
    ("3x3", "--kind", "cost", "-o", "a.svg"): "--kind cost draws one model, got 2",
    ("--at", "x", "-o", "a.svg"): "--at x: 'x' is no position",
    ("--at", "9,9", "-o", "a.svg"): "--at 9,9 is outside layer conv2: positions run from 0 to 8",
    ("--at", "1", "-o", "a.svg"): "--at needs 2 numbers for layer conv2",
    ("--layer", "conv7", "-o", "a.svg"): "there is no layer 'conv7' in tiny; nearest: conv",
    ("--layer", "9", "-o", "a.svg"): "there is no layer 9: tiny has layers 1 (the input) to 3",
    ("--of", "conv7", "-o", "a.svg"): "there is no layer 'conv7'",
    ("--layer", "3", "--through", "3", "-o", "a.svg"): "no such layer lies between input and conv2",
    ("--through", "2", "-o", "a.svg"): "is that of one layer, got 0: name it with --layer",
    ("--layer", "2", "--layer", "3", "--through", "2", "-o", "a.svg"): "a drawing through layers is that of one layer",
    ("--image", "no.png", "-o", "a.svg"): "--image no.png: cannot read it: No such file or directory",
    ("--image", "text.png", "-o", "a.svg"): "--image text.png: this is no picture that can be read",
    ("--image", ".", "-o", "a.svg"): "--image .: cannot read it: Is a directory",
    ("--input", "3xHxW", "-o", "a.svg"): "H is a symbol, and this needs numbers",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_is_refused(invoke: Invoke, tiny: str, here: Path, arguments: tuple[str, ...]) -> None:
    pytest.importorskip("matplotlib")
    before = sorted(here.iterdir())
    result = invoke("plot", tiny, *arguments)

    *notes, error = result.stderr.splitlines()
    assert result.exit_code == 2
    assert error.startswith("rfcalc: error: ")
    assert REFUSED[arguments] in error
    assert all(note.startswith("rfcalc: note: ") for note in notes)
    assert (result.stdout, sorted(here.iterdir())) == ("", before)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--layer", "3", "--at", "0,8"),
        ("--layer", "conv*"),
        ("--layer", "3", "--of", "conv1"),
        ("--layer", "3", "--through", "2"),
        ("--kind", "growth"),
        ("--kind", "cost"),
        ("--kind", "compare"),
        ("--kind", "graph", "--depth", "1"),
    ],
    ids=" ".join,
)
def test_what_is_drawn(invoke: Invoke, tiny: str, here: Path, arguments: tuple[str, ...]) -> None:
    pytest.importorskip("matplotlib")
    result = invoke("plot", tiny, *arguments, "-o", "a.svg")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "rfcalc: note: traced by hand\n")
    assert (here / "a.svg").read_bytes().startswith(b"<?xml")
    assert [path.name for path in here.iterdir()].count("a.svg") == 1


def test_svg_on_standard_output_is_the_file(invoke: Invoke, tiny: str, here: Path) -> None:
    pytest.importorskip("matplotlib")
    invoke("plot", tiny, "-o", "a.svg")

    assert invoke("plot", tiny, "--format", "svg").stdout == (here / "a.svg").read_text(encoding="utf-8")


def test_several_models(invoke: Invoke, tiny: str, odd: str, here: Path) -> None:
    pytest.importorskip("matplotlib")

    assert invoke("plot", tiny, odd, "--kind", "compare", "-o", "a.png").exit_code == 0
    assert (here / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_resized_picture_is_noted(invoke: Invoke, tiny: str, here: Path) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    for side, note in ((9, ""), (12, "rfcalc: note: p.png was resized from 12x12 to 9x9, rows and columns\n")):
        Image.new("L", (side, side)).save("p.png")
        result = invoke("plot", tiny, "--image", "p.png", "-o", "a.svg")
        assert (result.exit_code, result.stderr) == (0, f"rfcalc: note: traced by hand\n{note}")


def test_a_picture_needs_a_plane(invoke: Invoke, here: Path) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    (here / "net.py").write_text("from torch import nn\ndef Net():\n    return nn.Sequential(nn.Conv1d(1, 1, 3))\n")
    Image.new("L", (9, 9)).save("p.png")
    result = invoke("plot", "net.py:Net", "--input", "1x9", "--image", "p.png", "-o", "a.svg")

    assert result.exit_code == 2
    assert "a picture is drawn under the one input with two axes" in result.stderr


def test_a_file_is_replaced_whole_or_not_at_all(
    invoke: Invoke, tiny: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "a.dot").write_text("before", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = invoke("plot", tiny, "--kind", "graph", "-o", "a.dot")

    assert result.exit_code == 2
    assert result.stderr.endswith("rfcalc: error: cannot write a.dot: No space left on device\n")
    assert sorted(path.name for path in here.iterdir()) == ["a.dot", "text.png"]
    assert (here / "a.dot").read_text(encoding="utf-8") == "before"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_not_replaced(invoke: Invoke, tiny: str, here: Path) -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        result = invoke("plot", tiny, "--kind", "graph", "--format", "dot", "-o", "pipe")
        assert (result.exit_code, os.read(reader, 10_000).decode()) == (0, DOT)
    finally:
        os.close(reader)
    assert (here / "pipe").is_fifo()
