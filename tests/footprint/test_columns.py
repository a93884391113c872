"""Bytes as columns of other tables: of layers, of models side by side, of a sweep, and in the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rfcalc
from rfcalc.analyses.shares import bytes_of
from rfcalc.cli import cli
from rfcalc.footprint import few
from rfcalc.page.data import document


def run(*args: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(cli, list(args))
    return found.exit_code, found.stdout, found.stderr


BYTES = ("peak_bytes", "moved_bytes", "saved_bytes", "training_peak_bytes")


@pytest.fixture(scope="module")
def found() -> Any:
    return rfcalc.memory("lenet5", training=True)


@pytest.fixture(scope="module")
def analysis(found: Any) -> Any:
    return rfcalc.analyze("lenet5").with_memory(found.layers)


def test_rows_of_layers_share_all_that_modules_have(found: Any, analysis: Any) -> None:
    for rows in (analysis.layers, analysis.ops, analysis.modules(1)):
        for name, total in (
            ("made_bytes", sum(row.made for row in found.layers)),
            ("moved_bytes", found.moved_bytes),
            ("saved_bytes", found.training.saved_bytes),
        ):
            assert sum(bytes_of(analysis, layer, name) or 0 for layer in rows) == total
        assert max(bytes_of(analysis, layer, "alive_bytes") or 0 for layer in rows) == found.peak_bytes
    assert bytes_of(analysis, analysis["S2"], "saved_bytes") == 4 * 6 * 28 * 28  # its input
    assert bytes_of(rfcalc.analyze("lenet5"), analysis["S2"], "saved_bytes") is None


def test_show() -> None:
    code, out, _ = run("lenet5", "--columns", "name,saved_bytes", "--sort", "-saved_bytes", "--format", "csv")

    assert code == 0
    assert out.splitlines()[:3] == ["name,saved_bytes", "S2,18816", "S4,6400"]


def test_show_of_another_type_is_refused() -> None:
    code, _, err = run("lenet5", "--filter", "made_bytes>1k", "--dtype", "bfloat16")

    assert code == 2
    assert "rfcalc memory --dtype" in err


def test_compare(found: Any) -> None:
    code, out, _ = run("compare", "lenet5", "3x3:1-4", "--columns", "peak_bytes,saved_bytes", "--format", "csv")

    assert code == 0
    assert out.splitlines()[1] == f"1,lenet5,{found.peak_bytes},{found.training.saved_bytes}"

    code, _, err = run("compare", "3x3:C-C", "--columns", "peak_bytes")
    assert (code, "symbols" in err) == (2, True)


def test_compare_has_bytes_only_where_they_are_asked_for() -> None:
    plain = rfcalc.compare(["lenet5"]).to_dict()["rows"][0]
    asked = rfcalc.compare(["3x3 3x3"], channels=4, memory=True)

    assert "memory" not in plain
    assert asked.rows[0].to_dict()["memory"] == few("3x3 3x3:4-4")


def test_sweep_goes_on_where_bytes_are_missing(tmp_path: Path, found: Any) -> None:
    path = tmp_path / "rows.jsonl"
    assert run("sweep", "lenet5", "-o", str(path))[0] == 0
    assert "peak_bytes" not in json.loads(path.read_text())
    for _ in range(2):
        assert run("sweep", "lenet5", "--memory", "-o", str(path))[0] == 0

    old, new = map(json.loads, path.read_text().splitlines())
    assert {name: new[name] for name in BYTES} == {
        "peak_bytes": found.peak_bytes,
        "moved_bytes": found.moved_bytes,
        "saved_bytes": found.training.saved_bytes,
        "training_peak_bytes": found.training.peak_bytes,
    }
    assert [new[name] for name in old if name != "seconds"] == [old[name] for name in old if name != "seconds"]
    code, out, _ = run("sweep", str(path), "resnet18", "--format", "csv")
    assert code == 0
    assert out.splitlines()[0].endswith(",".join(BYTES))


def test_page(found: Any, analysis: Any) -> None:
    (model,) = document([analysis])["models"]
    (plain,) = document([rfcalc.analyze("lenet5")])["models"]

    assert sum(layer["saved_bytes"] for layer in model["layers"]) == found.training.saved_bytes
    assert model["totals"]["moved_bytes"] == found.moved_bytes
    assert ["peak of memory", f"{found.peak_bytes:,} (281.79 KiB)"] in model["facts"]
    assert "saved_bytes" not in plain["layers"][0]
    assert "saved_bytes" not in plain["totals"]
