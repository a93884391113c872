from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from rfcalc import api
from rfcalc.errors import UsageError
from tests.cli.conftest import Invoke

TABLE = """\
tiny: input 1x3x9x9 (batch 1)

#  layer  kind   output   field  stride  start  params  multiply-adds   share
-  -----  -----  -------  -----  ------  -----  ------  -------------  ------
1  input  input  1x3x9x9    1x1     1x1    0,0       0              0   0.0 %
2  conv1  conv   1x4x9x9    3x3     1x1  -1,-1     108          8,748  42.9 %
3  conv2  conv   1x4x9x9    5x5     1x1  -2,-2     144         11,664  57.1 %

parameters     252
multiply-adds  20,412
operations     41,148: FLOPs, 2 for each multiply-add, and 324 others
status         complete: every op is counted or declared free

stride: the field's jump from unit to unit, not a kernel's
start: the field's offset, the first index that unit 0 reads
"""


def test_the_table_goes_to_stdout_and_notices_to_stderr(invoke: Invoke, tiny: str) -> None:
    result = invoke(tiny)
    assert (result.exit_code, result.stdout, result.stderr) == (0, TABLE, "rfcalc: note: traced by hand\n")


def test_show_is_the_default_command(invoke: Invoke, tiny: str) -> None:
    assert invoke("show", tiny).stdout == TABLE


def test_options_may_precede_the_model(invoke: Invoke, tiny: str) -> None:
    assert json.loads(invoke("--format", "json", tiny).stdout)["model"] == "tiny"


def test_one_layer_by_its_number(invoke: Invoke, tiny: str) -> None:
    text = invoke(tiny, "--layer", "3").stdout
    assert "layer 3: conv2 (conv, Conv2d)\n" in text
    assert "  field in input  5x5\n" in text
    assert "  multiply-adds   (9x9x4) x (3x3x4) = 11,664\n" in text
    assert "            3x3         2  conv1\n" in text
    assert "            5x5         1  input\n" in text


def test_one_layer_by_its_name_as_json(invoke: Invoke, tiny: str) -> None:
    document = json.loads(invoke(tiny, "--layer", "conv2", "--format", "json").stdout)
    assert document["schema"] == "rfcalc/1"
    (layer,) = document["layers"]
    assert (layer["index"], layer["macs"], layer["params"]) == (3, 11_664, 144)
    assert layer["reads"] == [
        {"index": 2, "name": "conv1", "size": [3, 3]},
        {"index": 1, "name": "input", "size": [5, 5]},
    ]
    assert document["totals"]["macs"] == 20_412


def test_layers_by_a_glob(invoke: Invoke, tiny: str) -> None:
    document = json.loads(invoke(tiny, "--layer", "conv*", "--format", "json").stdout)
    assert [layer["name"] for layer in document["layers"]] == ["conv1", "conv2"]


def test_fields_in_another_layer(invoke: Invoke, tiny: str) -> None:
    document = json.loads(invoke(tiny, "--layer", "3", "--of", "conv1", "--format", "json").stdout)
    assert document["layers"][0]["receptive_fields"]["conv1"]["size"] == [3, 3]


def test_region_of_a_unit_clipped_at_the_border(invoke: Invoke, tiny: str) -> None:
    result = invoke(tiny, "--layer", "conv2", "--at", "0,8")
    assert "  region at 0,8   H 0..2 (3), W 6..8 (3)\n" in result.stdout
    document = json.loads(invoke(tiny, "--layer", "conv2", "--at", "0,8", "--format", "json").stdout)
    assert document["layers"][0]["receptive_fields"]["input"]["region"] == [[0, 2], [6, 8]]


def test_regions_of_all_layers(invoke: Invoke, tiny: str) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke(tiny, "--at", "4,4", "--format", "csv").stdout)))
    assert [(row["region_first_H"], row["region_last_H"]) for row in rows] == [("4", "4"), ("3", "5"), ("2", "6")]


def test_layers_without_such_a_unit_are_left_as_they_are(
    invoke: Invoke, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = api.Analysis.with_region

    def refuse_input(self: api.Analysis, layers, at):  # type: ignore[no-untyped-def]
        if layers[0].name == "input":
            raise UsageError("outside")
        return real(self, layers, at)

    monkeypatch.setattr(api.Analysis, "with_region", refuse_input)
    result = invoke(tiny, "--at", "4,4")
    assert "rfcalc: note: 1 of 3 layers have no unit at 4,4\n" in result.stderr
    assert "3..5 x 3..5" in result.stdout


def test_every_op_with_all(invoke: Invoke, tiny: str) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke(tiny, "--all", "--format", "csv").stdout)))
    assert [(row["index"], row["name"]) for row in rows] == [
        ("1", "input"),
        ("2", "conv1"),
        ("3", "conv2"),
        ("", "relu"),
    ]


def test_strict_prints_and_ends_with_4(invoke: Invoke, odd: str) -> None:
    result = invoke(odd, "--strict")
    assert result.exit_code == 4
    assert "status         lower bound: no rule for aten.mystery (1 call)\n" in result.stdout
    assert "multiply-adds  at least 20,412\n" in result.stdout
    assert "<=" in result.stdout
    assert result.stderr.endswith(
        "rfcalc: incomplete: no rule for aten.mystery; the field is an upper bound at mystery\n"
    )


def test_without_strict_an_incomplete_result_is_fine(invoke: Invoke, odd: str) -> None:
    assert invoke(odd).exit_code == 0


def test_strict_and_complete(invoke: Invoke, tiny: str) -> None:
    assert invoke(tiny, "--strict").exit_code == 0


def test_output_to_a_file(invoke: Invoke, tiny: str, tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    result = invoke(tiny, "-o", str(target))
    assert (result.exit_code, result.stdout) == (0, "")
    assert target.read_text(encoding="utf-8") == TABLE


def test_a_failed_run_leaves_the_file_alone(invoke: Invoke, tiny: str, tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("before", encoding="utf-8")
    assert invoke(tiny, "--layer", "99", "-o", str(target)).exit_code == 2
    assert target.read_text(encoding="utf-8") == "before"


def test_dash_is_stdout(invoke: Invoke, tiny: str) -> None:
    assert invoke(tiny, "-o", "-").stdout == TABLE


def test_columns_of_the_terminal_are_respected(invoke: Invoke, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = invoke(tiny).stdout.splitlines()
    assert max(map(len, lines)) <= 60
    assert "columns left out at this width: kind, start, share" in lines


def test_a_file_is_not_cut_to_the_terminal(
    invoke: Invoke, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    target = tmp_path / "out.txt"
    invoke(tiny, "-o", str(target))
    assert target.read_text(encoding="utf-8") == TABLE
