"""The report and the command."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from rfcalc import graph_json
from rfcalc.api import layer_graph
from rfcalc.conventions import CONVENTIONS
from tests.cli.conftest import Invoke
from tests.conventions.test_numbers import graph


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> str:
    """resnet50 as a saved graph."""
    path = tmp_path_factory.mktemp("graphs") / "resnet50.json"
    graph_json.save(layer_graph("resnet50"), path)
    return str(path)


def saved(name: str, folder: Path) -> str:
    """A small network as a saved graph."""
    path = folder / f"{name}.json"
    graph_json.save(graph(f"net:{name}"), path)
    return str(path)


def test_one_row_a_tool(invoke: Invoke, resnet50: str) -> None:
    result = invoke("explain", resnet50)

    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert set(CONVENTIONS) <= set(rows)
    assert "4,111,512,576     +22,328,320  +22,227,968 BatchNorm; +100,352 adaptive_avg_pool2d" in rows["fvcore"]
    assert rows["deepspeed"].endswith("4,089,184,256               0  the same")
    assert "flopcounter prints FLOPs, 2 for each multiply-add: 8,178,368,512" in result.stdout
    assert "fault: ptflops 0.7.5 counts pooling twice: the module, and the function that it calls" in result.stdout
    assert "Multiply-adds of each tool" in result.stdout
    assert "Parameters of each tool" in result.stdout


def test_one_tool_term_by_term(invoke: Invoke, resnet50: str) -> None:
    lines = [line.split() for line in invoke("explain", resnet50, "--tool", "fvcore").stdout.splitlines()]

    start = lines.index(["rfcalc's", "multiply-adds", "4,089,184,256"])
    assert [line[-1] for line in lines[start : start + 4]] == [
        *("4,089,184,256", "+22,227,968", "+100,352", "4,111,512,576")
    ]
    assert lines[start + 1][-2] == "53"
    assert lines[start + 3] == ["=", "fvcore's", "4,111,512,576"]


def test_layer_by_layer(invoke: Invoke, resnet50: str) -> None:
    text = invoke("explain", resnet50, "--tool", "fvcore", "--all", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))

    assert len(rows) == 53 + 1
    assert sum(int(row["amount"]) for row in rows) == 22_328_320
    assert {row["unit"] for row in rows} == {"multiply-adds"}


def test_terms_as_csv_add_up(invoke: Invoke, resnet50: str) -> None:
    text = invoke("explain", resnet50, "--tool", "ptflops", "--tool", "thop", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))

    for tool, total in (("ptflops", 4_132_436_968), ("thop", 4_133_742_592)):
        assert sum(int(row["amount"]) for row in rows if row["tool"] == tool) == total


def test_json(invoke: Invoke, resnet50: str) -> None:
    found = json.loads(invoke("explain", resnet50, "--format", "json").stdout)

    assert (found["schema"], found["macs"], found["params"]) == ("rfcalc-explain/1", 4_089_184_256, 25_557_032)
    assert [tool["tool"] for tool in found["tools"]] == list(CONVENTIONS)
    for tool in found["tools"]:
        assert tool["base"] + sum(term["amount"] for term in tool["terms"]) == tool["total"]
        for term in tool["terms"]:
            assert term["amount"] == sum(part["amount"] for part in term["parts"])
    (keras,) = [tool for tool in found["tools"] if tool["tool"] == "keras"]
    assert (keras["unit"], keras["total"]) == ("parameters", 25_610_152)


@pytest.mark.parametrize("style", ["markdown", "latex", "html"])
def test_other_formats(invoke: Invoke, resnet50: str, style: str) -> None:
    assert "4,132,436,968" in invoke("explain", resnet50, "--format", style).stdout.replace(r"\,", ",")


def test_a_tool_without_a_number(invoke: Invoke, tmp_path: Path) -> None:
    path = saved("batch_of_two", tmp_path)

    row = next(line for line in invoke("explain", path).stdout.splitlines() if line.split()[:1] == ["ptflops"])
    assert " none " in row
    assert "batch of 1" in row
    text = invoke("explain", path, "--tool", "ptflops").stdout
    assert "no number  ptflops 0.7.5 runs a batch of 1 only" in text
    assert "= ptflops's" not in text


def test_what_no_graph_has_is_said(invoke: Invoke, tmp_path: Path) -> None:
    assert 'padding="same"' in invoke("explain", saved("plain", tmp_path), "--tool", "fvcore").stdout


def test_a_lower_bound_is_said(invoke: Invoke, odd: str) -> None:
    assert "rfcalc's own number is a lower bound: no rule for aten.mystery" in invoke("explain", odd).stdout


def test_unknown_tool(invoke: Invoke, resnet50: str) -> None:
    result = invoke("explain", resnet50, "--tool", "ptflop")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "rfcalc: error: unknown tool 'ptflop'; nearest: ptflops, ptflops-aten, thop\n"


def test_an_unknown_tool_is_told_before_the_model_is_loaded(invoke: Invoke) -> None:
    assert "unknown tool 'ptflop'" in invoke("explain", "nowhere.json", "--tool", "ptflop").stderr


def test_all_needs_a_tool(invoke: Invoke, resnet50: str) -> None:
    result = invoke("explain", resnet50, "--all")

    assert result.exit_code == 2
    assert "add --tool NAME" in result.stderr


def test_a_graph_without_module_calls_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(Path(saved("plain", tmp_path)).read_text(encoding="utf-8").replace('"calls"', '"others"'))

    assert invoke("explain", str(path)).exit_code == 3


def test_damaged_module_calls_are_refused(invoke: Invoke, tmp_path: Path) -> None:
    plain = Path(saved("plain", tmp_path))
    data = json.loads(plain.read_text(encoding="utf-8"))
    data["calls"][0][-1] = 3
    plain.write_text(json.dumps(data), encoding="utf-8")
    result = invoke("explain", str(plain))
    assert (result.exit_code, "module call 1 is within call 3" in result.stderr) == (3, True)

    data["calls"][0][-1] = 0
    data["nodes"][1]["call"] = 99
    plain.write_text(json.dumps(data), encoding="utf-8")
    assert "node 1 ran in module call 99, which is not there" in invoke("explain", str(plain)).stderr
