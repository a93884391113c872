"""The ending of ``-o`` decides the format; a clash is an error; a page has a name of its own."""

from __future__ import annotations

import json

import pytest

NET = ("net.py:Net", "--input", "3x16x16")

BEGINNINGS = {
    "t.csv": b"index,name,kind",
    "t.json": b'{\n  "schema": "rfcalc/',
    "t.tex": b"% \\usepackage{booktabs}",
    "t.md": b"# net.py:Net",
    "t.html": b"<!doctype html>",
    "t.svg": b"<?xml",
    "t.png": b"\x89PNG",
    "t.pdf": b"%PDF",
    "t.txt": b"net.py:Net: input",
    "t": b"net.py:Net: input",
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_the_ending_decides(run, folder, name):
    if name.endswith((".svg", ".png", ".pdf")):
        pytest.importorskip("matplotlib")
    result = run(*NET, "-o", name)
    assert (result.exit_code, result.output) == (0, "")
    assert (folder / name).read_bytes().startswith(BEGINNINGS[name])


def test_commands_with_tables_of_their_own_follow_the_ending_too(run, folder):
    pytest.importorskip("matplotlib")
    assert run("compare", "3x3", "5x5", "--channels", "4", "-o", "c.csv").exit_code == 0
    assert (folder / "c.csv").read_text().startswith("number,model,input,layers")
    assert run("compare", "3x3", "5x5", "--channels", "4", "-o", "c.svg").exit_code == 0
    assert (folder / "c.svg").read_text().startswith("<?xml")
    assert run("diff", "3x3:4-4", "5x5:4-4", "-o", "d.json").exit_code == 1
    assert json.loads((folder / "d.json").read_text())["schema"].startswith("rfcalc-check/")
    assert run("diff", "3x3:4-4", "5x5:4-4", "-o", "d.xml").exit_code == 1
    assert (folder / "d.xml").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*NET, "-o", "t.csv", "--format", "json"), "-o t.csv and --format json disagree: its ending means csv"),
        ((*NET, "-o", "t.svg", "--format", "html"), "-o t.svg and --format html disagree: its ending means svg"),
        (("list", "-o", "t.svg"), "-o t.svg: this command draws no picture; end the file in"),
        (("report", *NET, "-o", "t.csv"), "-o t.csv and --format html disagree"),
        (("plot", *NET, "-o", "t.svg", "--format", "png"), "-o t.svg and --format png disagree"),
        ((*NET, "-o", "t.svg", "--sort", "macs"), "is a picture of fields: leave options about the table out"),
        (("compare", "3x3", "--channels", "C", "-o", "t.svg"), "a picture needs numbers, and 3x3 has symbols"),
    ],
)
def test_a_clash_is_refused(run, folder, words, said):
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.output
    assert not list(folder.glob("t.*"))


def test_a_page_without_a_name_is_called_after_its_model(run, folder):
    result = run("report", *NET)
    assert result.output == "rfcalc: wrote net.py-Net.html; open it in a browser, or name another file with -o\n"
    assert (folder / "net.py-Net.html").read_text().lower().startswith("<!doctype html>")
    both = run("report", "3x3:4-4", "5x5:4-4", "--input", "4x8x8")
    assert both.output.startswith("rfcalc: wrote 3x3-4-4-5x5-4-4.html;")


def test_two_layers_are_both_shown_and_drawn(run, folder):
    pytest.importorskip("matplotlib")
    shown = run(*NET, "--layer", "2", "--layer", "head").output
    assert "layer 2: stem.0 (conv, Conv2d)" in shown
    assert "layer 8: head (linear, Linear)" in shown
    assert run(*NET, "--layer", "2,body.0.conv", "-o", "two.svg").exit_code == 0
