from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import rfcalc
from rfcalc.cli import COMMANDS
from rfcalc.ops import registered
from rfcalc.zoo import CATALOG
from tests.cli.conftest import Invoke

NAMES = list(COMMANDS)


def test_help_says_what_a_status_means_and_that_code_runs(invoke: Invoke) -> None:
    text = invoke("--help").stdout
    assert text == invoke("-h").stdout
    for line in ("0    fine", "1    a check failed", "2    usage", "3    the model", "4    incomplete, under --strict"):
        assert f"    {line}" in text
    assert "runs its code. Nothing is ever downloaded" in text
    assert all(f"\n  {name} " in text for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_and_debug(invoke: Invoke, name: str) -> None:
    result = invoke(name, "-h")
    assert result.exit_code == 0
    assert "--debug" in result.stdout
    assert len(result.stdout.splitlines()[2].strip()) > 10


@pytest.mark.parametrize("name", ["show", "trace"])
def test_help_of_commands_that_load_models_warns(invoke: Invoke, name: str) -> None:
    assert "Naming a file or module of yours runs its code" in " ".join(invoke(name, "-h").stdout.split())


def test_version(invoke: Invoke) -> None:
    assert invoke("--version").stdout == f"rfcalc {rfcalc.__version__}\n"


def test_no_arguments_show_the_help(invoke: Invoke) -> None:
    result = invoke()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: rfcalc")


def test_list_shows_every_architecture(invoke: Invoke) -> None:
    text = invoke("list").stdout
    assert all(f"\n{name} " in text for name in CATALOG)
    document = json.loads(invoke("list", "--format", "json").stdout)
    (vgg16,) = [entry for entry in document["models"] if entry["name"] == "vgg16"]
    assert (vgg16["year"], vgg16["input_shape"]) == (2014, [3, 224, 224])


def test_ops_shows_every_rule(invoke: Invoke) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke("ops", "--format", "csv").stdout)))
    assert [row["op"] for row in rows] == list(registered())
    assert {"op": "aten.convolution", "family": "conv"}.items() <= next(
        row for row in rows if row["op"] == "aten.convolution"
    ).items()


def test_ops_missing_from_a_model(invoke: Invoke, tiny: str, odd: str) -> None:
    assert invoke("ops", "--missing", tiny, "--strict").stdout == "tiny: every op has a rule\n"
    result = invoke("ops", "--missing", odd, "--format", "json")
    assert json.loads(result.stdout)["missing"] == [{"op": "aten.mystery", "calls": 1}]
    assert result.exit_code == 0
    assert invoke("ops", "--missing", odd, "--strict").exit_code == 4


def test_ops_refuses_options_of_a_model_without_one(invoke: Invoke) -> None:
    result = invoke("ops", "--input", "3x4x4")
    assert result.exit_code == 2
    assert "add --missing MODEL" in result.stderr


def test_trace_saves_a_graph_that_is_a_model(invoke: Invoke, tiny: str, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    assert invoke("trace", tiny, "-o", str(again)).exit_code == 0
    assert again.read_text(encoding="utf-8") == Path(tiny).read_text(encoding="utf-8")
    assert invoke("trace", tiny).stdout == Path(tiny).read_text(encoding="utf-8")
    assert invoke(str(again)).stdout == invoke(tiny).stdout
