"""The suite on a release of torch: a row of ``results/releases.md`` for each, the whole suite or its quick core.

    tox                                   one environment a release, from 2.11 to the newest (`[tool.tox]`)
    tox run -e torch2.11 -- -m quick      the quick core on one of them
    python benchmarks/releases.py [ARGUMENTS OF PYTEST]...

The last form runs pytest in the environment that it is started in, as the other two do in theirs, and puts what it
said into ``benchmarks/results/releases.json`` and ``releases.md``. Exits with pytest's status.
"""

from __future__ import annotations

import datetime
import json
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "releases.json"


def counts(report: Path) -> dict[str, int]:
    """How many tests a JUnit report has, by their outcome."""
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    told = [{name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")} for suite in suites]
    total = {name: sum(suite[name] for suite in told) for name in ("tests", "failures", "errors", "skipped")}
    failed = total["failures"] + total["errors"]
    return {"passed": total["tests"] - failed - total["skipped"], "skipped": total["skipped"], "failed": failed}


def run(arguments: list[str]) -> tuple[int, dict[str, int]]:
    """Pytest's status and the counts of what it ran, in this environment."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        return status, counts(report) if report.exists() else {"passed": 0, "skipped": 0, "failed": 0}


def release(torch: str) -> str:
    """The release of a version, ``2.14`` of ``2.14.1+cu130``."""
    found = re.match(r"\d+\.\d+", torch)
    assert found is not None
    return found.group()


def merged(rows: dict[str, dict[str, object]], row: dict[str, object]) -> dict[str, dict[str, object]]:
    """The rows by release and scope with one more, which takes the place of the earlier one; releases in order."""
    found = {**rows, f"{release(str(row['torch']))} {row['scope']}": row}
    return dict(sorted(found.items(), key=lambda item: (*map(int, item[0].split()[0].split(".")), item[1]["scope"])))


def table(rows: dict[str, dict[str, object]]) -> str:
    """The rows as a document."""
    names = ("torch", "python", "tests", "passed", "skipped", "failed", "date")
    cells = [{**row, "tests": row["scope"]} for row in rows.values()]
    widths = {name: max(len(name), *(len(str(cell[name])) for cell in cells)) for name in names}
    lines = ["| " + " | ".join(str(cell[name]).ljust(widths[name]) for name in names) + " |" for cell in cells]
    head = "| " + " | ".join(name.ljust(widths[name]) for name in names) + " |"
    rule = "|" + "|".join("-" * (widths[name] + 2) for name in names) + "|"
    return (
        "# The suite on each release of torch\n\n"
        "Written by `python benchmarks/releases.py`, which `tox` runs in an environment for each release that is\n"
        "supported. `whole` is every test, `quick` the core that `pytest -m quick` runs, `part` what was named.\n"
        "Skipped is what an environment lacks (other counters, a browser, models of another package).\n\n"
        + "\n".join((head, rule, *lines))
        + "\n"
    )


def main() -> None:
    """Run, and put the row into the results."""
    arguments = sys.argv[1:]
    status, found = run(arguments)
    named = [argument for argument in arguments if not argument.startswith("-") and (ROOT / argument).exists()]
    scope = "quick" if "quick" in arguments else "part" if named else "whole"
    row = {
        "torch": version("torch"),
        "python": platform.python_version(),
        "scope": scope,
        **found,
        "date": datetime.date.today().isoformat(),
    }
    rows = merged(json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}, row)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    sys.exit(status)


if __name__ == "__main__":
    main()
