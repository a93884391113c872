"""How long `rfcalc sweep` takes for all of timm: total, models a second, and where the time goes.

    python benchmarks/sweep_timm.py [--jobs N] [--timeout S] [--pattern 'timm:*'] [--limit S] [--save]

Runs the command line as a user would, in a temporary folder, and reads the rows. ``--limit`` stops after so many
seconds; what was not tried is then counted and said. ``--save`` writes ``benchmarks/results/sweep_timm.json`` and
``sweep_timm.md``. Needs timm and joblib.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measuring import machine, save, table  # noqa: E402


def swept(pattern: str, jobs: int, timeout: float, limit: float | None, rows: Path) -> float:
    """Wall seconds of the sweep; its rows are in the file, however it ended."""
    code = "from rfcalc.cli import main; main()"
    args = ["sweep", pattern, "--jobs", str(jobs), "--timeout", str(timeout), "-o", str(rows)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *args], env=environment, stdout=subprocess.DEVNULL)
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # the rows that are there stay
        process.wait()
    return time.perf_counter() - started


def known(pattern: str) -> list[str]:
    """The models that a pattern of timm's means."""
    import timm

    return [name for name in timm.list_models() if fnmatchcase(f"timm:{name}", pattern)]


def summary(rows: Sequence[dict[str, Any]], count: int, seconds: float, jobs: int) -> dict[str, Any]:
    """What the rows say together; times are seconds."""
    times = sorted(row["seconds"] for row in rows)
    return {
        "models": count,
        "tried": len(rows),
        "status": dict(Counter(row["status"] for row in rows)),
        "jobs": jobs,
        "seconds": round(seconds, 1),
        "models_per_second": round(len(rows) / seconds, 2),
        "seconds_in_rows": round(sum(times), 1),
        "median": statistics.median(times),
        "p95": times[int(0.95 * (len(times) - 1))],
        "slowest": [[row["model"], row["seconds"]] for row in sorted(rows, key=lambda row: -row["seconds"])[:10]],
    }


def text(found: dict[str, Any]) -> list[str]:
    """The summary as Markdown."""
    facts = [
        ("models", f"{found['tried']} of {found['models']}"),
        ("status", ", ".join(f"{count} {name}" for name, count in found["status"].items())),
        ("wall time", f"{found['seconds']} s with {found['jobs']} jobs"),
        ("models a second", found["models_per_second"]),
        ("a model: median, 95 of 100, slowest", f"{found['median']} s, {found['p95']} s, {found['slowest'][0][1]} s"),
    ]
    return [table(facts, ("", "")), table(found["slowest"], ("slowest", "seconds"))]


@click.command(help=__doc__)
@click.option("--jobs", default=2, show_default=True)
@click.option("--timeout", default=120.0, show_default=True, help="Seconds for each model.")
@click.option("--pattern", default="timm:*", show_default=True)
@click.option("--limit", type=float, help="Seconds for all of them.")
@click.option("--save", "keep", is_flag=True, help="Write benchmarks/results/sweep_timm.json and .md.")
def main(jobs: int, timeout: float, pattern: str, limit: float | None, keep: bool) -> None:
    """Sweep, sum up, print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        seconds = swept(pattern, jobs, timeout, limit, path)
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = summary(rows, len(known(pattern)), seconds, jobs)
    parts = text(found)
    click.echo("\n\n".join(parts))
    if keep:
        save("sweep_timm", "How long a sweep over timm takes", {"machine": machine("timm", "joblib"), **found}, parts)


if __name__ == "__main__":
    main()
