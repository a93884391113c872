"""Files and streams of the user's: written whole or not at all, read with care, and the documented status each time."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rfcalc import graph_json, reading
from rfcalc.errors import LoadError
from rfcalc.report import Report, Style, render
from tests import forking

FULL = Path("/dev/full")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def run(*args: str, real: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; ``real`` where its limits or its very end matter."""
    command = [*([sys.executable] if real else forking.python()), "-m", "rfcalc", *args]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(command, text=True, timeout=60, **{**streams, **options})


def test_a_file_is_as_it_was_where_there_is_no_room(tmp_path: Path) -> None:
    kept = tmp_path / "table.txt"
    kept.write_text("mine", encoding="utf-8")

    done = run(
        *("vgg16", "-o", str(kept)),
        real=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)),
    )

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr
    assert kept.read_text(encoding="utf-8") == "mine"
    assert [item.name for item in tmp_path.iterdir()] == ["table.txt"]


@needs_full
@pytest.mark.parametrize("args", [["--help"], ["show", "--help"], ["--version"], ["vgg16", "--layer", "3"]])
def test_a_full_standard_output_is_status_2_in_one_line(args: list[str]) -> None:
    with FULL.open("w") as full:
        done = run(*args, real=True, stdout=full)

    assert done.returncode == 2
    assert done.stderr == "rfcalc: error: cannot write standard output: No space left on device\n"


@needs_full
def test_a_full_standard_error_changes_no_status() -> None:
    with FULL.open("w") as full:
        assert run("vgg16", "--layer", "none", real=True, stdout=full, stderr=full).returncode == 2
        done = run("vgg16", "--layer", "3", real=True, stdout=subprocess.PIPE, stderr=full)

    assert done.returncode == 0
    assert "conv1_2" in done.stdout


@pytest.mark.parametrize(
    ("args", "status"),
    [(["PIPE.json"], 3), (["diff", "PIPE.json", "vgg16"], 2), (["PIPE.keras"], 3), (["PIPE.pt2"], 3)],
)
def test_a_pipe_that_nobody_writes_is_not_waited_for(tmp_path: Path, args: list[str], status: int) -> None:
    given = [item.replace("PIPE", str(tmp_path / "pipe")) for item in args]
    os.mkfifo(next(item for item in given if "pipe." in item))

    done = run(*given)

    assert done.returncode == status
    assert "it is a pipe, not a file" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_device_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "zero.json").symlink_to("/dev/zero")

    with pytest.raises(LoadError, match=r"zero.json: it is a device, not a file"):
        graph_json.load(tmp_path / "zero.json")


def test_a_text_has_a_largest_size(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * 11)

    assert reading.read_bytes(tmp_path / "long", 11) == b"x" * 11
    with pytest.raises(OSError, match="more than 10 bytes"):
        reading.read_bytes(tmp_path / "long", 10)


# --- archives that unpack to far more ---------------------------------------------------------------------------------


def bomb(path: Path, name: str, start: bytes = b'"') -> None:
    """A small archive with one part of 300 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as part:
        part.write(start)
        for _ in range(300):
            part.write(b" " * (1 << 20))


@pytest.mark.parametrize(
    ("file", "name"),
    [("m.keras", "config.json"), ("m.pt2", "m/models/model.json"), ("m.pt2", "m/data/weights/weight_0")],
)
def test_an_archive_that_unpacks_to_far_more_is_refused_before_it_does(tmp_path: Path, file: str, name: str) -> None:
    bomb(tmp_path / file, name)
    program = (
        "import resource, sys\n"
        "from rfcalc.errors import LoadError\n"
        "from rfcalc.sources import exported, keras\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    (keras if sys.argv[1].endswith('keras') else exported).load(sys.argv[1])\n"
        "except LoadError as error:\n"
        "    print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )

    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / file)], text=True, capture_output=True)

    said, grown = done.stdout.strip().splitlines()
    assert "unpack" in said
    assert int(grown) < 200  # MB


# --- saved graphs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved() -> str:
    """A graph as JSON text."""
    from rfcalc import api

    return graph_json.dumps(api.layer_graph("lenet5"))


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["nodes"][1].update(macs=-5), "node 1 has -5 multiply-adds"),
        (lambda data: data["nodes"][1].update(flops={"add": -7}), "node 1 has -7 add"),
        (lambda data: data["params"][0].update(numel=-1), "has -1 elements"),
        (lambda data: data["buffers"].append({**data["params"][0], "numel": -2}), "has -2 elements"),
        (lambda data: data["inputs"][0].update(axes={"H": 10**9}), "has no axis 1000000000 to call H"),
        (lambda data: longer(data, 10**9), "1,000,000,000 positions along H, at most 67,108,864"),
        (lambda data: data["nodes"][-1]["outputs"][0][0].append(1 << 50), "1,125,899,906,842,624 positions"),
    ],
)
def test_a_graph_with_impossible_numbers_is_refused_in_one_line(
    tmp_path: Path, saved: str, change: Change, said: str
) -> None:
    data = json.loads(saved)
    change(data)
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(data), encoding="utf-8")

    with pytest.raises(LoadError) as caught:
        graph_json.load(path)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def longer(data: dict[str, Any], extent: int) -> None:
    """The first input with that many rows, in all that says so."""
    data["inputs"][0]["shape"][2] = extent
    data["nodes"][data["inputs"][0]["node"]]["outputs"][0][0][2] = extent


# --- CSV --------------------------------------------------------------------------------------------------------------


def csv_of(*rows: dict[str, Any], spreadsheet: bool = False) -> str:
    return render(Report("", (), records=rows), "csv", Style(spreadsheet=spreadsheet))


def test_a_carriage_return_is_quoted_and_other_controls_are_written_out() -> None:
    text = csv_of({"name": "a\rb", "kind": "x\x1b[31m", "params": 3})

    assert text == 'name,kind,params\n"a\rb",x\\x1b[31m,3\n'
    assert list(csv.reader(io.StringIO(text, newline="")))[1] == ["a\rb", "x\\x1b[31m", "3"]


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "\tx"])
def test_for_a_spreadsheet_a_text_is_no_formula(name: str) -> None:
    assert list(csv.reader(io.StringIO(csv_of({"name": name}, spreadsheet=True))))[1] == [f"'{name}"]
    assert list(csv.reader(io.StringIO(csv_of({"name": name}))))[1] == [name]


def test_numbers_stay_numbers_for_a_spreadsheet() -> None:
    assert csv_of({"start": -94}, spreadsheet=True) == "start\n-94\n"


def test_the_option_for_spreadsheets_goes_with_csv() -> None:
    done = run("lenet5", "--spreadsheet")

    assert done.returncode == 2
    assert done.stderr == "rfcalc: error: --spreadsheet is about CSV, got --format table: add --format csv\n"
    assert run("lenet5", "--spreadsheet", "--format", "csv").stdout.startswith("index,name")
