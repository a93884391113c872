"""The table of releases: what a report of pytest says, one row a release and scope, in order."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def releases(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import releases

    return releases


def test_counts_of_a_report(releases, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite tests="9" failures="2" errors="1" skipped="3"/><testsuite tests="1"/></testsuites>'
    )

    assert releases.counts(report) == {"passed": 4, "skipped": 3, "failed": 3}


def test_a_row_takes_the_place_of_the_one_before(releases) -> None:
    row = {"python": "3.11.7", "passed": 1, "skipped": 0, "failed": 0, "date": "2026-01-01"}
    rows: dict[str, dict[str, object]] = {}
    for torch, scope, passed in (("2.14.1", "whole", 1), ("2.9.0", "quick", 2), ("2.14.2+cpu", "whole", 3)):
        rows = releases.merged(rows, {**row, "torch": torch, "scope": scope, "passed": passed})

    assert [(name, found["passed"]) for name, found in rows.items()] == [("2.9 quick", 2), ("2.14 whole", 3)]
    assert "| 2.14.2+cpu | 3.11.7 | whole | 3      | 0       | 0      | 2026-01-01 |" in releases.table(rows)


def test_every_release_from_the_oldest_on_has_an_environment() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = project["tool"]["tox"]["env_list"]
    (oldest,) = [item for item in project["project"]["dependencies"] if item.startswith("torch")]

    assert oldest == f"torch>={listed[0].removeprefix('torch')}"
    assert listed == [f"torch2.{minor}" for minor in range(11, 16)]
    assert {name: found["deps"][0] for name, found in project["tool"]["tox"]["env"].items()} == {
        name: f"torch=={name.removeprefix('torch')}.*" for name in listed
    }


def test_quick_tests_are_files_that_there_are() -> None:
    from tests.conftest import HERE, QUICK

    assert [name for name in QUICK if not (HERE / name).is_file()] == []
