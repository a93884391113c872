"""Networks along time: what `rfcalc stream` says of each, held against perturbed signals, to the sample.

    python benchmarks/stream_models.py [--only PATTERN] [--seconds N]

They are made by `stream_papers.py`, as papers write them, `stream_leaks.py`, as leaks were published, and
`stream_packages.py`, of torchaudio, transformers and diffusers in a small form where these are installed. Each is
streamed with ``verify=True``: in float64 no output unit may move with anything after the last sample that it is said to
read, and it has to move with that sample; the same at its first one; and so on (`rfcalc/streaming/trial.py`). Writes
``benchmarks/results/stream_models.jsonl`` and ``.md``; exits with 1 where a prediction is wrong or rfcalc fails.
"""

from __future__ import annotations

import json
import sys
import warnings
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import stream_packages  # noqa: E402  # beside this file
from case_limit import limited  # noqa: E402
from stream_case import Case  # noqa: E402
from stream_leaks import LEAKS  # noqa: E402
from stream_papers import PAPERS  # noqa: E402

import rfcalc  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"


def examined(case: Case, seconds: int) -> dict[str, Any]:
    """One row: what is said of the first output, and whether real numbers agree."""
    row: dict[str, Any] = {"name": case.name, "source": case.source, "input": list(case.inputs), "known": case.known}
    row["align"] = case.align
    with limited(row, seconds):
        torch.manual_seed(0)
        model = case.make().eval()
        signal_in = torch.randn(case.inputs)
        settings: dict[str, Any] = {"axes": {"T": case.axis}, "rate": case.rate, "align": case.align}
        found = rfcalc.stream(model, signal_in, verify=True, **settings)
        one, trial = found.outputs[0], found.trial
        assert trial is not None
        row |= {
            "causal": one.causal,
            "look_back": one.look_back,
            "look_ahead": one.look_ahead,
            "worst_look_ahead": one.worst_look_ahead,
            "hop": None if one.hop is None else str(one.hop),
            "delay": one.delay,
            "ms": None if case.rate is None or one.delay is None else 1000 * one.delay / case.rate,
            "first": one.first,
            "chunk": one.chunk,
            "breaks": [[item.layer, item.amount, item.reason] for item in one.breaks],
            "state": dict(found.totals),
            "tried": sum(probe.tried for probe in trial.probes),
            "claims": len(trial.probes),
            "agree": trial.agree,
            "wrong": [f"{probe.claim}: {probe.seen}" for probe in trial.probes if not probe.agree],
            "notes": list(trial.notes),
            "dtype": trial.dtype,
            "status": one.status,
        }
    return row


def _words(value: int | None) -> str:
    return "all" if value is None else f"{value:,}"


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {row['name']} | {row['source']} | {row['error']} | | | | | | |"
    causal = {True: "yes", False: "no", None: "-"}[row["causal"]]
    if row["causal"] is False and row["chunk"] is not None and row["worst_look_ahead"] == row["look_ahead"]:
        causal = f"in chunks of {row['chunk']}"
    blamed = ", ".join(item[0] for item in row["breaks"][:3]) + (" ..." if len(row["breaks"]) > 3 else "")
    ms = "" if row["ms"] is None else f" ({row['ms']:.4g} ms)"
    first = "" if row["first"] in (row["delay"], None) else f"; first {row['first']:,}"
    said = "agrees" if row["agree"] else "WRONG"
    back, ahead, delay = (_words(row[name]) for name in ("look_back", "look_ahead", "delay"))
    lengths = f"{back} | {ahead} | {row['hop'] or '-'} | {delay}{ms}{first}"
    source = row["source"] + (", from the end" if row["align"] == "end" else "")
    return f"| {row['name']} | {source} | {lengths} | {causal} | {blamed} | {said}, {row['tried']} |"


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    versions = []
    for package in ("torch", "torchaudio", "transformers", "diffusers"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    right = sum(bool(row.get("agree")) for row in rows)
    head = (
        f"# Networks along time\n\n`benchmarks/stream_models.py`, {', '.join(versions)}:\n{right} of {len(rows)}"
        " networks"
        " agree with perturbed signals to the sample. Lengths are positions of the input, `all` is unbounded; `tried`\n"
        "are the units and signals that were held against the prediction, in float64.\n"
        "`from the end`: with `--align end`.\n\n"
        "| network | source | look-back | look-ahead | hop | delay | causal | what looks ahead | tried |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    known = [f"- {row['name']}: {row['known']}" for row in rows if row["known"]]
    notes = [f"- {row['name']}: {note}" for row in rows for note in row.get("notes", [])]
    tail = "\nWhat their papers or code say:\n\n" + "\n".join(known) + "\n" if known else ""
    more = "\nNot tried:\n\n" + "\n".join(notes) + "\n" if notes else ""
    return head + "\n".join(map(_line, rows)) + "\n" + tail + more


@click.command(help=__doc__)
@click.option("--only", multiple=True, help="Only networks whose names fit the pattern; may be repeated.")
@click.option("--seconds", default=300, show_default=True, help="Longest time for one network.")
def main(only: tuple[str, ...], seconds: int) -> None:
    """Examine, write the table of all that were examined so far."""
    warnings.simplefilter("ignore")
    path = RESULTS / "stream_models.jsonl"
    kept = {}
    if path.exists():
        kept = {row["name"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    every = [*PAPERS, *LEAKS, *stream_packages.cases()]
    for case in every:
        if only and not any(fnmatchcase(case.name, pattern) for pattern in only):
            continue
        row = kept[case.name] = examined(case, seconds)
        print(_line(row), row.get("wrong", ""), flush=True)
        names = dict.fromkeys([*(one.name for one in every), *kept])  # those of packages that are elsewhere stay
        rows = [kept[name] for name in names if name in kept]
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        path.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")
    raise SystemExit(any(not row.get("agree") for row in kept.values()))


if __name__ == "__main__":
    main()
