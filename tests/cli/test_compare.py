"""`rfcalc compare` and `rfcalc show --symbolic` from end to end."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rfcalc import graph_json
from tests.cli.conftest import Invoke

ROOT = Path(__file__).parent.parent.parent

KERNELS = ("compare", "7x7", "3x3 3x3 3x3", "--channels", "C")
BOTTLENECK = ("compare", "5x5:480-48", "1x1:480-16 5x5:16-48", "--input", "480x14x14")

KERNELS_TABLE = """\
2 models: input 1xCx32x32

#  model        layers  depth  field  stride  at     params  params vs 1   multiply-adds  multiply-adds vs 1
-  -----------  ------  -----  -----  ------  -----  ------  ------------  -------------  ------------------
1  7x7               2      1    7x7     1x1  conv1    49C²  -                  50,176C²  -
2  3x3 3x3 3x3       4      3    7x7     1x1  conv3    27C²  44.9 % fewer       27,648C²  44.9 % fewer

against 7x7
  3x3 3x3 3x3  49C² and 27C² parameters, 44.9 % fewer, the same 7x7 field; \
50,176C² and 27,648C² multiply-adds, 44.9 % fewer

parameters, layer by layer
  3x3 3x3 3x3  27C² = 9C² + 9C² + 9C²

multiply-adds, layer by layer
  3x3 3x3 3x3  27,648C² = 9,216C² + 9,216C² + 9,216C²

stride: the field's jump from unit to unit, not a kernel's
- under vs 1: the row that the others are measured against
formulas confirmed for C from 1 to 8
"""

# 9 x 4 x 8 x 32 and 9 x 8 x 8 x 16 / 2 multiply-adds a row of an image.
GROWTH_TABLE = """\
3x3:4-8 3x3:8-8/2: input Nx4xHx32

H                 H of input: multiples of 2 from 2 to 100
N                 batch: from 1 to 5
parameters        864
multiply-adds     13,824H·N
operations        27,648H·N
growth            multiply-adds are linear in H·N
at H = 32, N = 1  442,368 multiply-adds

terms of the multiply-adds

       term  share at H = 32, N = 1  layers  brought by
  ---------  ----------------------  ------  ------------
  13,824H·N                 100.0 %       2  conv1, conv2

layers

  #  layer  kind  params  multiply-adds
  -  -----  ----  ------  -------------
  3  conv2  conv     576       4,608H·N

found by tracing at 4 sizes, confirmed at 5 others
"""


def printed(invoke: Invoke, *args: str) -> str:
    done = invoke(*args)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_kernels_of_the_lecture(invoke: Invoke) -> None:
    assert printed(invoke, *KERNELS) == KERNELS_TABLE


def test_the_kernels_in_latex(invoke: Invoke) -> None:
    text = printed(invoke, *KERNELS, "--format", "latex")

    assert "$49 C^{2}$ & -" in text
    assert r"$27 C^{2}$ & 44.9 \% fewer &   $27648 C^{2}$ & 44.9 \% fewer" in text
    assert "% formulas confirmed for C from 1 to 8" in text  # a paper has its own words
    assert "the same 7x7 field" not in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1


def test_the_kernels_in_json_csv_markdown_and_html(invoke: Invoke) -> None:
    data = json.loads(printed(invoke, *KERNELS, "--format", "json"))
    rows = list(csv.DictReader(io.StringIO(printed(invoke, *KERNELS, "--format", "csv"))))

    assert [row["formula"]["params"] for row in data["rows"]] == ["49*C**2", "27*C**2"]
    assert [row["receptive_field"]["size"] for row in data["rows"]] == [[7, 7], [7, 7]]
    assert data["rows"][1]["ratio"]["params"] == "27/49"
    assert [(row["params"], row["params_ratio"], row["field"]) for row in rows] == [
        ("49*C**2", "1", "7x7"),
        ("27*C**2", "27/49", "7x7"),
    ]
    assert "| 27C² | 44.9 % fewer |" in " ".join(printed(invoke, *KERNELS, "--format", "markdown").split())
    assert ">27C²" in printed(invoke, *KERNELS, "--format", "html").replace("> ", ">")


def test_the_kernels_with_a_number_of_channels(invoke: Invoke) -> None:
    text = printed(invoke, "compare", "7x7", "3x3 3x3 3x3", "--channels", "64")

    assert "200,704 and 110,592 parameters, 44.9 % fewer, the same 7x7 field" in text
    assert "C²" not in text


def test_the_bottleneck_of_the_lecture(invoke: Invoke) -> None:
    text = printed(invoke, *BOTTLENECK)

    assert "5x5:480-48            112.9M = (14x14x48) x (5x5x480)\n" in text
    assert "5.3M = 1.5M + 3.8M = (14x14x16) x (1x1x480) + (14x14x48) x (5x5x16)\n" in text
    assert "112,896,000 and 5,268,480 multiply-adds, 95.3 % fewer" in text
    latex = printed(invoke, *BOTTLENECK, "--format", "latex")
    assert "(5x5x480)" not in latex  # a paper has its own words
    data = json.loads(printed(invoke, *BOTTLENECK, "--format", "json"))
    assert [[term["macs"] for term in row["terms"]] for row in data["rows"]] == [[112_896_000], [1_505_280, 3_763_200]]


def test_columns_sort_and_another_reference(invoke: Invoke) -> None:
    args = ("compare", "3x3", "5x5", "7x7", "--channels", "C", "--relative-to", "5x5", "--sort", "-macs")

    text = printed(invoke, *args, "--columns", "params_ratio,field")

    assert [line.split() for line in text.splitlines()[2:7]] == [
        ["#", "model", "params", "vs", "2", "field"],
        ["-", "-----", "------------", "-----"],
        ["3", "7x7", "96.0", "%", "more", "7x7"],
        ["2", "5x5", "-", "5x5"],
        ["1", "3x3", "64.0", "%", "fewer", "3x3"],
    ]


def test_two_models_layer_by_layer(invoke: Invoke) -> None:
    text = printed(invoke, "compare", "3x3:3-8 max2/2", "5x5:3-8 max2/2 3x3:8-8", "--input", "3x16x16", "--per-layer")
    rows = [line.split() for line in text.split("layer by layer\n")[-1].splitlines()]

    assert rows[:3] == [["same", "2", "layers"], ["changed", "1", "layer"], ["added", "1", "layer"]]
    changed = next(row for row in rows[3:] if row and row[0] == "changed" and "kernel" in row)
    assert changed[1:9] == ["kernel", "3x3", "->", "5x5,", "padding", "1x1", "->", "2x2"]
    added = next(row for row in rows[3:] if row and row[0] == "added" and row[1] != "1")
    assert added == ["added", "conv3", "1x8x8x8", "10x10", "576", "36,864"]


def test_models_without_anything_to_see_beside_an_image(invoke: Invoke, tiny: str, tmp_path: Path) -> None:
    flat = _without_axes(tiny, tmp_path / "flat.json")

    text = printed(invoke, "compare", tiny, flat)
    refused = invoke("compare", tiny, flat, "--columns", "field,stride")

    assert text.splitlines()[5].split()[4:7] == ["-", "-", "-"]
    assert refused.exit_code == 2
    assert "fields that have nothing in common" in refused.stderr
    assert "along H, W" in refused.stderr
    assert "along none" in refused.stderr
    assert "all have input, layers, depth, params" in refused.stderr


def test_fields_of_one_kind_may_stand_alone(invoke: Invoke, tiny: str) -> None:
    assert "5x5" in printed(invoke, "compare", tiny, tiny, "--columns", "field")


def _without_axes(saved: str, path: Path) -> str:
    """The same graph with an input that has no positions."""
    data = json.loads(Path(saved).read_text(encoding="utf-8"))
    data["inputs"][0]["axes"] = {}
    path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("compare", "3x3", "--columns", "field,mac"), "--columns field,mac: there is no column 'mac'; nearest: macs"),
        (("compare", "3x3", "--sort", "size"), "cannot sort by 'size'"),
        (("compare", "3x3 3y3"), "token 2, '3y3', is no layer"),
        (("compare", "1x1:8-4 3x3:5-8"), "token 2, '3x3:5-8', takes 5 channels, and token 1, '1x1:8-4', gives 4"),
        (("show", "3x3:C-C"), "stack '3x3:C-C': C is a symbol, and this needs numbers"),
        (("trace", "3x3:C-C"), "C is a symbol, and this needs numbers"),
        (("show", "3x3", "--input", "3xHxW"), "--input 3xHxW: H is a symbol, and this needs numbers"),
        (("verify", "3x3", "--input", "a=3x2Hx8"), "--input 3x2Hx8: 2H is a symbol, and this needs numbers"),
        (("show", "3x3", "--symbolic", "H", "--of", "2"), "--symbolic is about costs"),
        (("compare", "3x3", "--input", "3xhx8"), "'h' is no extent"),
        (("compare", "3x3", "--input", "3x0x8"), "an extent of 0"),
    ],
)
def test_requests_that_make_no_sense(invoke: Invoke, args, message) -> None:
    done = invoke(*args)

    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_strict_asks_for_exact_numbers(invoke: Invoke, tiny: str, odd: str) -> None:
    assert invoke("compare", tiny, "--strict").exit_code == 0
    done = invoke("compare", tiny, odd, "--strict")
    assert done.exit_code == 4
    assert "not every number is exact for" in done.stderr
    assert ">=" in done.stdout


def test_growth_in_a_table(invoke: Invoke) -> None:
    assert printed(invoke, "show", "3x3:4-8 3x3:8-8/2", "--symbolic", "H,N", "--layer", "conv2") == GROWTH_TABLE


def test_growth_in_latex_and_json(invoke: Invoke) -> None:
    args = ("show", "3x3:4-4", "--symbolic", "H,W", "--format")

    assert "$144 H W$" in printed(invoke, *args, "latex")
    data = json.loads(printed(invoke, *args, "json"))
    assert data["schema"] == "rfcalc-growth/1"
    assert data["formula"]["macs"] == "144*H*W"
    assert data["parts"] == [{"term": "144*H*W", "share": 1, "layers": ["conv1"]}]
    rows = list(csv.DictReader(io.StringIO(printed(invoke, *args, "csv"))))
    assert [(row["name"], row["macs"]) for row in rows] == [("input", "0"), ("conv1", "144*H*W")]


def test_saved_graphs_are_compared_without_torch(tiny: str, tmp_path: Path) -> None:
    """In a process in which `import torch` fails."""
    (tmp_path / "torch.py").write_text("raise ImportError('there is no torch here')\n", encoding="utf-8")
    other = tmp_path / "other.json"
    graph_json.save(graph_json.load(Path(tiny)), other)
    code = "import sys; from rfcalc.cli import main; sys.argv = ['rfcalc', *sys.argv[1:]]; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", code, *args]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    done = run("compare", tiny, str(other), "--per-layer")
    traced = run("3x3")

    assert done.returncode == 0, done.stderr
    assert "the same 252 parameters, the same 5x5 field; the same 20,412 multiply-adds" in done.stdout
    assert "there is no torch here" in traced.stderr
