"""`rfcalc sweep` in this process: what it prints, what it keeps, what it refuses."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rfcalc.cli import cli
from rfcalc.report import FORMATS
from rfcalc.sweeping.row import Row
from tests.sweeping.conftest import Invoke


def rows_in(text: str) -> list[tuple[str, str, int | None]]:
    """Model, status and parameters of rows as JSON lines."""
    return [(row["model"], row["status"], row["params"]) for row in map(json.loads, text.splitlines())]


def written(path: Path, *rows: Row) -> str:
    path.write_text("".join(f"{row.line()}\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


# --- what it prints ---------------------------------------------------------------------------------------------------


def test_the_table(invoke: Invoke) -> None:
    done = invoke("sweep", "lenet5", "vgg61", "torchvision:efficientnet_b0")

    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "3 models: 2 complete, 1 failed"
    assert lines[2] == "model params multiply-adds last spatial layer field stride whole input from status time"
    assert lines[4].startswith("lenet5 61,706 416,520 S4 16x16 4x4 6 of 8: C5 complete")
    assert lines[5].startswith("vgg61 - - - - - - failed")
    assert " features.8.0 whole (local 851x851) - 4 of 125: features.1.0.block.1.avgpool complete " in lines[6]
    assert lines[-1].startswith("vgg61 unknown model 'vgg61'; nearest: vgg19")
    assert done.stderr == ""
    assert done.exit_code == 0


def test_bounds_show_in_the_table(odd: str, invoke: Invoke) -> None:
    words = invoke("sweep", odd).stdout.split()

    assert ">=20,412" in words  # 81 * 4 * 9 * (3 + 4) multiply-adds of two convolutions
    assert "lower bound, fields <=" in " ".join(words)


def test_csv(invoke: Invoke, tiny: str) -> None:
    found = list(csv.DictReader(io.StringIO(invoke("sweep", tiny, "vgg61", "--format", "csv").stdout)))

    assert [row["model"] for row in found] == [tiny, "vgg61"]
    wanted = {"params": "252", "inputs": "input=1x3x9x9", "axes": "H;W", "size": "5x5", "stride": "1x1"}
    assert {name: found[0][name] for name in wanted} == wanted
    assert found[1]["error"].startswith("unknown model")
    assert {found[1][name] for name in (*wanted, "unknown_ops", "whole_input")} == {""}


def test_json_lines_and_json(invoke: Invoke, tiny: str) -> None:
    lines = [json.loads(line) for line in invoke("sweep", tiny, "lenet5", "--format", "jsonl").stdout.splitlines()]
    whole = json.loads(invoke("sweep", tiny, "lenet5", "--format", "json").stdout)

    assert [line.pop("schema") for line in lines] == ["rfcalc-sweep/1"] * 2
    for line in (*lines, *whole["rows"]):
        line.pop("seconds")
    assert whole["rows"] == lines
    assert whole["schema"] == "rfcalc-sweep/1"
    assert {"rfcalc", "torch"} <= set(whole["versions"])
    assert lines[0]["size"] == [5, 5]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_without_numbers(name: str, invoke: Invoke) -> None:
    assert "vgg61" in invoke("sweep", "vgg61", "--format", name).stdout


def test_names_from_standard_input() -> None:
    done = CliRunner().invoke(cli, ["sweep", "-", "--format", "jsonl"], input="# mine\nlenet5\n\nvgg61\n")

    assert rows_in(done.stdout) == [("lenet5", "complete", 61_706), ("vgg61", "failed", None)]


def test_a_file_of_models(nets: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", "small,unnamed,spec,number,named spec,broken,quits,wide,again")

    done = invoke("sweep", nets, "--format", "jsonl", "--input", "3x7x7")

    found = {row["model"].removeprefix(f"{nets}#"): row for row in map(json.loads, done.stdout.splitlines())}
    assert {name: row["params"] for name, row in found.items()} == {
        "small": 112,
        "Small": 112,
        "3x3 3x3": None,
        "4": None,
        "own name": 9,
        "broken": None,
        "quits": None,
        "wide": 64 * 28,
        "wide#2": 64 * 28,
    }
    # 3x3 windows at 7x7, 5x5 and 3x3 places: an input of the model's own wins over --input
    assert {name: found[name]["macs"] for name in ("small", "Small", "wide#2", "own name")} == {
        "small": 49 * 108,
        "Small": 25 * 108,
        "wide#2": 9 * 64 * 27,
        "own name": 49 * 9,
    }
    assert found["broken"]["error"] == "ValueError: no such width"
    assert found["quits"]["error"] == "its code called sys.exit(3); a model must load without"
    assert "a model is made" not in done.stdout


# --- what it keeps ----------------------------------------------------------------------------------------------------


def test_rows_in_the_file_are_kept(path: Path, invoke: Invoke) -> None:
    before = written(path, Row("vgg16", status="complete", params=1), Row("lenet5", "1x48x48", "complete", params=2))

    done = invoke("sweep", "lenet5", "vgg16", "-o", before)

    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "rfcalc: note: 1 of 2 models have a row already",
        "rfcalc: 2 models: 2 complete",
    ]
    assert rows_in(path.read_text(encoding="utf-8")) == [
        ("vgg16", "complete", 1),
        ("lenet5", "complete", 2),
        ("lenet5", "complete", 61_706),
    ]


def test_failed_rows_are_done_again_on_request(path: Path, invoke: Invoke) -> None:
    kept = Row("vgg16", status="complete", params=1)
    written(path, Row("lenet5", error="once"), kept, Row("vgg61", status="timed_out", error="late"))

    invoke("sweep", "lenet5", "vgg16", "vgg61", "-o", str(path))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3
    done = invoke("sweep", "lenet5", "vgg16", "vgg61", "-o", str(path), "--retry-failed")

    assert rows_in(path.read_text(encoding="utf-8"))[3:] == [("lenet5", "complete", 61_706), ("vgg61", "failed", None)]
    assert done.stderr.endswith("rfcalc: 3 models: 2 complete, 1 failed\n")


def test_a_file_of_rows_is_printed_in_other_formats(path: Path, invoke: Invoke) -> None:
    written(path, Row("vgg16", status="complete", params=1), Row("net", "3x9x9", error="no"))

    assert rows_in(invoke("sweep", str(path), "--format", "jsonl").stdout) == [
        ("vgg16", "complete", 1),
        ("net", "failed", None),
    ]


def test_files_of_rows_are_put_together(tmp_path: Path, path: Path, invoke: Invoke) -> None:
    one = written(
        tmp_path / "one.jsonl", Row("a", status="complete", params=1), Row("b", "3x9x9", "complete", params=2)
    )
    two = written(tmp_path / "two.jsonl", Row("b", status="complete", params=3), Row("c", error="no"))
    written(path, Row("c", status="complete", params=4))

    done = invoke("sweep", one, two, one, "-o", str(path))
    shown = invoke("sweep", str(path), "--format", "jsonl").stdout

    expected = [("a", "complete", 1), ("b", "complete", 2), ("b", "complete", 3)]
    assert rows_in(path.read_text(encoding="utf-8")) == [("c", "complete", 4), *expected]
    assert rows_in(shown) == [("c", "complete", 4), *expected]
    assert done.stderr.endswith("rfcalc: 4 models: 4 complete\n")


def test_each_model_is_done_once(invoke: Invoke) -> None:
    done = invoke("sweep", "lenet5", "3x3", "lenet*", "--format", "jsonl")

    assert [model for model, _, _ in rows_in(done.stdout)] == ["lenet5", "3x3"]


def test_a_model_and_its_row_are_one(path: Path, invoke: Invoke) -> None:
    written(path, Row("lenet5", status="complete", params=1))

    done = invoke("sweep", "lenet5", str(path), "--format", "jsonl")

    assert rows_in(done.stdout) == [("lenet5", "complete", 1)]


def test_the_rows_are_printed_in_the_order_of_the_models(path: Path, invoke: Invoke) -> None:
    written(path, Row("lenet5", status="complete", params=1), Row("vgg61", error="no"))

    done = invoke("sweep", "vgg61", "3x3", str(path), "--format", "jsonl")

    assert [model for model, _, _ in rows_in(done.stdout)] == ["vgg61", "3x3", "lenet5"]


def test_a_line_that_breaks_off_is_dropped_with_a_note(path: Path, invoke: Invoke) -> None:
    row = Row("3x3", status="complete", params=9)
    path.write_text(f"{row.line()}\n{row.line()[:50]}", encoding="utf-8")

    done = invoke("sweep", "3x3", "1x1", "-o", str(path))

    assert f"note: the last line of {path} breaks off and is dropped" in done.stderr
    assert rows_in(path.read_text(encoding="utf-8")) == [("3x3", "complete", 9), ("1x1", "complete", 1)]


# --- exit status and refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("args", "status"), [((), 0), (("--strict",), 4)])
@pytest.mark.parametrize("model", ["vgg61", "odd"])
def test_what_is_not_exact_counts_under_strict_only(
    args: tuple[str, ...], status: int, model: str, odd: str, invoke: Invoke
) -> None:
    done = invoke("sweep", "lenet5", odd if model == "odd" else model, *args)

    assert done.exit_code == status
    assert ("incomplete: 1 of 2 models" in done.stderr) == bool(status)


def test_strict_is_content_with_exact_numbers(invoke: Invoke) -> None:
    assert invoke("sweep", "lenet5", "3x3", "--strict").exit_code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["no*"], "no model of rfcalc matches 'no*'; nearest:"),
        (["3x3", "--input", "0x3"], "an extent of 0 leaves nothing"),
        (["3x3", "--backend", "dask"], "--backend dask needs a cluster that runs already: add --scheduler"),
        (["3x3", "--scheduler", "tcp://127.0.0.1:1"], "--scheduler is the address of a dask cluster"),
        (["3x3", "--backend", "dask", "--scheduler", "x", "--jobs", "2"], "a dask cluster has its own workers"),
        (["3x3", "--retry-failed"], "--retry-failed is about rows that are kept in a file: add -o FILE.jsonl"),
        (["3x3", "--timeout", "0"], "Invalid value for '--timeout'"),
        (["3x3", "-o", "rows.jsonl", "--format", "csv"], "rows.jsonl is for rows as JSON lines, not for --format csv"),
        (["3x3", "-o", "held.txt"], "held.txt is for rows as JSON lines, not for --format table"),
        (["3x3", "-o", "notes.jsonl"], "notes.jsonl is there and line 1 of it is no row of a sweep"),
    ],
)
def test_requests_that_make_no_sense(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "held.txt", Row("vgg16"))
    (tmp_path / "notes.jsonl").write_text("notes\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    done = invoke("sweep", *args)

    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_joblib_there_is_one_process(monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)

    assert invoke("sweep", "3x3", "--jobs", "1").exit_code == 0
    done = invoke("sweep", "3x3", "--jobs", "2")

    assert done.exit_code == 3
    assert "needs joblib, which is not installed: pip install 'rfcalc[sweep]'" in done.stderr
