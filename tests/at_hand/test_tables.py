"""The table that one wants: modules, columns, order, rows, several layers, names, types, and tables for papers."""

from __future__ import annotations

import json

import pytest
from torch import nn

import rfcalc

NET = ("net.py:Net", "--input", "3x16x16")


def cells(output: str, *columns: int) -> list[list[str]]:
    """The rows of the first table of an output, split at two spaces or more; with columns, only these."""
    lines = output.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("-"))
    ends = [at for at, line in enumerate(lines[start:], start) if not line.strip()]
    rows = [line.split() for line in lines[start + 1 : ends[0]]]
    return [[row[at] for at in columns] for row in rows] if columns else rows


def test_depth_sums_up_modules_exactly(run):
    result = run(*NET, "--depth", "1", "--columns", "name,module,params,macs,size")

    assert cells(result.output) == [
        ["input", "Input", "0", "0", "1x1"],
        ["stem", "Sequential", "120", "6,912", "3x3"],
        ["body", "Sequential", "312", "18,432", "11x11"],
        ["mean", "-", "0", "0", "whole"],
        ["head", "Linear", "50", "40", "whole"],
    ]
    assert "parameters     482" in result.output


def test_rows_of_modules_add_up_at_every_depth():
    norm = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.Sequential(nn.Conv2d(4, 4, 3))
    )
    found = rfcalc.analyze(norm, (3, 8, 8))

    for depth in (1, 2, 3):
        rows = found.modules(depth)
        assert sum(row.params for row in rows) == found.totals.params
        assert sum(row.macs for row in rows) == found.totals.macs
        assert sum(row.flops for row in rows) == found.totals.flops
    # A module of norms alone is a row with its parameters; in the table of layers they are in the row before.
    assert [(row.name, row.params) for row in found.modules(1)][1:] == [("0", 112), ("1", 8), ("2", 148)]
    assert [(row.name, row.params) for row in found.layers][1:] == [("0", 120), ("2.0", 148)]


def test_columns_in_every_format(run):
    table = run(*NET, "--columns", "name,trainable,MB,activations,code")
    assert cells(table.output)[1] == ["stem.0", "120", "0.00", "256", "net.py:23"]
    rows = run(*NET, "--columns", "name,size,params_share", "--format", "csv").output.splitlines()
    assert rows[0] == "name,size_H,size_W,params_share"
    assert rows[2].startswith("stem.0,3,3,0.24896")
    assert (
        run(*NET, "--columns", "macs,name", "--format", "markdown")
        .output.splitlines()[2]
        .startswith("|   multiply-adds | layer")
    )
    listed = run("net.py:Net", "--columns", "help").output
    assert "macs              multiply-adds; what others call FLOPs or MACs" in listed
    wrong = run(*NET, "--columns", "macz")
    assert wrong.exit_code == 2
    assert "there is no column 'macz'; nearest: macs" in wrong.output


def test_sort_and_filter(run):
    result = run(*NET, "--filter", "kind=conv", "--sort", "-params", "--columns", "name,params")
    assert cells(result.output) == [["body.0.conv", "156"], ["body.1.conv", "156"], ["stem.0", "120"]]
    assert "note: 3 of 8 rows, with 432 parameters and 25,344 multiply-adds" in result.output
    few = run(*NET, "--filter", "name=body.*", "--filter", "macs>9k", "--filter", "kind!=merge", "--columns", "name")
    assert cells(few.output) == [["body.0.conv"], ["body.1.conv"]]
    assert cells(run(*NET, "--filter", "field>=7", "--sort", "-field", "--columns", "name").output)[0] == ["mean"]
    none = run(*NET, "--filter", "params>1G")
    assert (none.exit_code, none.output) == (2, "rfcalc: error: --filter params>1G: none of 8 rows is left\n")
    assert "write COLUMN=VALUE" in run(*NET, "--filter", "params").output
    assert "is no number to compare with" in run(*NET, "--filter", "params>many").output


def test_several_layers_by_number_range_name_and_glob(run):
    def blocks(*asked: str) -> list[str]:
        out = run(*NET, *asked).output
        return [line.split()[1].rstrip(":") for line in out.splitlines() if line.startswith("layer ")]

    assert blocks("--layer", "2-3,head") == ["2", "3", "8"]
    assert blocks("--layer", "head", "--layer", "2") == ["8", "2"]
    assert blocks("--layer", "body.*.conv,2..3") == ["3", "5", "2"]
    assert cells(run(*NET, "--layer", "2,3", "--columns", "index,name").output) == [
        ["2", "stem.0"],
        ["3", "body.0.conv"],
    ]
    assert "the range ends before it begins; write 2-5" in run(*NET, "--layer", "5-2").output
    assert "a layer is missing" in run(*NET, "--layer", "2,").output


def test_a_number_that_is_a_name_too_is_told(run):
    result = run("net.py:line", "--input", "3x8x8", "--layer", "5")
    assert "layer 5: 3 (conv, Conv2d)" in result.output
    assert "note: --layer 5 is number 5 of the table; the layer called 5: --layer '[5]'" in result.output
    assert "layer 7: 5 (conv, Conv2d)" in run("net.py:line", "--input", "3x8x8", "--layer", "[5]").output


def test_rows_are_asked_for_in_one_way(run):
    result = run(*NET, "--depth", "2", "--all")
    assert result.exit_code == 2
    assert "--all and --depth exclude each other" in result.output


def test_models_of_a_comparison_have_the_names_they_are_given(run):
    models = ("small=net.py:Net", "big=net.py:Net(width=8)")
    result = run("compare", *models, "--input", "3x16x16", "--columns", "params,params_ratio")
    assert [row[1:3] for row in cells(result.output)] == [["small", "482"], ["big", "1,530"]]
    assert "two models are called 'a'" in run("compare", "a=vgg16", "a=vgg19").output
    found = rfcalc.compare({"a": "3x3", "b": "5x5"}, (1, 8, 8), channels=1)
    assert [row.model for row in found] == ["a", "b"]
    assert found["b"].params == 25
    assert len(found) == 2
    assert str(found).splitlines()[0] == "2 models: input 1x1x8x8"


def test_dtype_is_that_of_the_pass(run):
    data = json.loads(run(*NET, "--dtype", "bfloat16", "--format", "json").output)
    assert data["inputs"][0]["dtype"] == "bfloat16"
    assert data["totals"]["param_bytes"] == 2 * 482
    assert data["totals"]["params"] == 482
    result = run("compare", "half=net.py:Net", "--input", "3x16x16", "--dtype", "float16", "--columns", "param_bytes")
    assert cells(result.output)[0] == ["1", "half", "964"]
    with pytest.raises(rfcalc.errors.UsageError, match="one of float16, bfloat16"):
        rfcalc.analyze(nn.Linear(3, 3), (3,), dtype="int8")


def test_a_model_given_as_an_object_keeps_its_own_type():
    model = nn.Linear(3, 3)
    assert rfcalc.analyze(model, (1, 3), dtype="float64").layer_graph.params[0].dtype == "float64"
    assert str(model.weight.dtype) == "torch.float32"


def test_a_comparison_for_a_paper(run):
    chosen = ("--input", "3x16x16", "--columns", "params,macs,field", "--decimals", "1")
    asked = ("compare", "a_b=net.py:Net", "net.py:Net(width=64)", *chosen)
    latex = run(*asked, "--format", "latex").output

    assert latex == (
        "% \\usepackage{booktabs}\n"
        "% 2 models: input 1x3x16x16\n"
        "\n"
        "\\noindent\\begin{tabular}{rlrrr}\n"
        "\\toprule\n"
        "   \\# & model                &   params &   multiply-adds (k) &   field \\\\\n"
        "\\midrule\n"
        "    1 & a\\_b                 &      482 &                25.4 &   11x11 \\\\\n"
        "    2 & net.py:Net(width=64) &   76,682 &             4,829.8 &   11x11 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
    )
    assert "against" not in latex
    rows = run(*asked, "--format", "csv").output.splitlines()
    assert rows[0] == "number,model,params,macs_k,field"
    assert rows[2] == "2,net.py:Net(width=64),76682,4829.8,11x11"


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("show", ("layers", 0, "name")),
        ("erf", ("layer",)),
        ("stream", ("layers", 0, "layer")),
        ("tile", ("outputs", 0, "layer")),
    ],
)
def test_a_number_is_one_of_the_table_in_every_command(run, command, path):
    more = ("--device", "cpu", "--images", "1") if command == "erf" else ("--axis", "H") if command == "stream" else ()
    result = run(command, "net.py:line", "--input", "3x16x16", "--layer", "3", *more, "--format", "json")
    found = json.loads(result.stdout)
    for step in path:
        found = found[step]
    assert found == "1"  # of number 3; another layer is called 3
