"""docs/errata.md is what the results give, and cheap rows of it still hold."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def errata(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module("errata")


def test_the_document_is_what_the_results_give(errata: Any) -> None:
    lines = list(errata.kept().values())

    assert errata.DOCUMENT.read_text(encoding="utf-8") == errata.document(lines)
    assert len(lines) >= 80
    assert {line["area"] for line in lines} == set(errata.AREAS)


def test_every_line_is_a_row_and_its_verdict_follows(errata: Any) -> None:
    rows = {row.name: row for row in import_module("errata_rows").ROWS}
    for name, line in errata.kept().items():
        row = rows[name]
        assert errata.same(row, line)
        assert errata.told(row).items() <= line.items()
        assert line["ours"] == line["theirs"]
        assert errata.agrees(row, errata.number(line["ours"])) == (line["verdict"] == "equal")
        if line["convention"]:
            assert errata.agrees(row, errata.number(line["by_convention"]))


@pytest.mark.parametrize(
    "name",
    ["alexnet-params", "resnet18-macs", "googlenet-params", "fasterrcnn-resnet50-fpn-params", "slim-alexnet_v2"],
)
def test_a_cheap_row_still_holds(errata: Any, name: str) -> None:
    pytest.importorskip("torchvision")
    row = next(row for row in import_module("errata_rows").ROWS if row.name == name)
    found, line = errata.rebuilt(row), errata.kept()[name]

    fresh = {key: value for key, value in found.items() if key != "seconds"}
    assert fresh == {key: line[key] for key in fresh}


def test_what_is_stated_counts_to_its_last_digit(errata: Any) -> None:
    row = next(row for row in import_module("errata_rows").ROWS if row.name == "resnet18-macs")

    assert errata.stated(row) == (1_814_000_000, 1_000_000)
    assert errata.agrees(row, 1_814_073_344)
    assert not errata.agrees(row, 1_814_600_000)
    assert not errata.agrees(row, errata.WHOLE)


def test_a_row_that_is_not_there(errata: Any) -> None:
    done = CliRunner().invoke(errata.main, ["--only", "nothing"])

    assert done.exit_code == 2
    assert "no row 'nothing'" in done.output
