"""rfcalc against other counters, side by side: how long each takes for the same model.

    python benchmarks/peers_speed.py [--rounds N] [--model NAME]... [--save]

Runs every tool that is installed (extra ``peers``, torchscan and torchlens besides) in turns in one process, on
torchvision's models at their usual sizes, batch 1. A tool gets the model on the meta device if it works there and
prints the number that it prints for a model with weights; otherwise one with weights on the CPU, for which it has to
compute. rfcalc is timed on both, and each tool is compared with rfcalc on the same kind of model. rfcalc's time is that
of `rfcalc.analyze` with all its layers, which has every field, and its totals, without what it keeps of the calls that
it has traced; torchlens is asked for no activations and for its fields, the others count.

A tool that fails on a model is a row that says so, as is one that takes longer than 30 s for a call; one whose timed
calls took a second gets no further turns. ``--save`` merges the models that were run into
``benchmarks/results/peers_speed.json`` and writes ``peers_speed.md``.
"""

from __future__ import annotations

import gc
import json
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click
import torch
from measuring import (  # beside this file
    ATTENTION,
    CONVOLUTIONAL,
    RESULTS,
    Times,
    clocked,
    first_analysis,
    machine,
    ms,
    save,
    table,
    torchvision_model,
)
from torch import nn

from tests.conventions import tools

#: Most seconds for one call, and for all timed calls of one tool on one model: then it has had turns enough.
LIMIT, BUDGET = 30, 1
#: Most bytes of addresses, of which a tool that keeps activations or copies weights may take too many.
MEMORY = 12 * 10**9
MODELS = (*CONVOLUTIONAL, *ATTENTION)
Run = Callable[[nn.Module, torch.Tensor], int]


def own(model: nn.Module, x: torch.Tensor) -> int:
    return first_analysis(model, x).totals.macs


def torchscan(model: nn.Module, x: torch.Tensor) -> int:
    from torchscan import crawl_module

    return int(crawl_module(model, tuple(x.shape[1:]))["totals"]["macs"]["known_value"])


def torchlens(model: nn.Module, x: torch.Tensor) -> int:
    """It replaces torch's functions, and is told to give them back: else all that comes later is slower."""
    import torchlens
    from torchlens.options import CaptureOptions

    options = CaptureOptions(layers_to_save="none", unwrap_when_done=True)
    trace = torchlens.trace(model, x, capture=options)
    trace.receptive_fields()
    return int(trace.total_macs_forward)


def listed(name: str) -> tuple[str, Run]:
    """A counter of `tests/conventions/tools.py`."""
    tool = tools.TOOLS[name]
    return tool.package, lambda model, x: tool.run(model, [x])


#: Each tool's distribution and how it is run.
TOOLS: dict[str, tuple[str, Run]] = {
    **{name: listed(name) for name in ("fvcore", "torchinfo", "ptflops", "ptflops-aten")},
    **{name: listed(name) for name in ("thop", "calflops", "torchprofile", "flopcounter")},
    "torchscan": ("torchscan", torchscan),
    "torchlens": ("torchlens", torchlens),
}
KINDS = {"meta": "meta", "weights": "cpu"}


class TooLongError(Exception):
    """A call took longer than the limit."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Interrupts what is inside when the time is up."""

    def end(*_: object) -> None:
        raise TooLongError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def installed() -> dict[str, Run]:
    """The tools that are there."""
    return {name: run for name, (package, run) in TOOLS.items() if _has(package)}


def _has(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


# --- one model --------------------------------------------------------------------------------------------------------


class Subject:
    """One model, on the meta device or with weights, and its input."""

    def __init__(self, name: str, kind: str) -> None:
        self.kind = kind
        self.model, self.x = torchvision_model(name, KINDS[kind])

    def call(self, run: Run, times: Times | None = None) -> int:
        """What the tool counts, with the time that it takes noted in ``times``."""
        numbers = []

        def call() -> None:
            with limited(LIMIT):  # not around the collection of garbage, which would swallow it
                numbers.append(run(self.model, self.x))

        with tools.quiet():
            clocked(call, times or Times())
        return numbers[0]


def tried(run: Run, subject: Subject) -> tuple[int | None, str]:
    """What a tool counts; None, and why, where it fails."""
    try:
        return subject.call(run), ""
    except Exception as error:  # any tool, any error: it becomes a row
        text = str(error).strip().splitlines()
        return None, f"{type(error).__name__}: {text[0][:90] if text else 'no message'}"


def chosen(tool: str, run: Run, subjects: dict[str, Subject]) -> dict[str, Any]:
    """The row of a tool: it is timed on meta where it counts there what it counts with weights."""
    number, why = tried(run, subjects["weights"])
    if number is None:
        return {"tool": tool, "kind": "weights", "failed": why}
    there, why = tried(run, subjects["meta"])
    if there == number:
        return {"tool": tool, "kind": "meta", "macs": number}
    return {"tool": tool, "kind": "weights", "macs": number, "on_meta": why or f"counts {there:,}"}


def side_by_side(name: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each tool: in turns, rfcalc on both kinds of model among them."""
    subjects = {kind: Subject(name, kind) for kind in KINDS}
    rows = [{"tool": "rfcalc", "kind": kind, "macs": subjects[kind].call(own)} for kind in KINDS]
    rows += [chosen(tool, run, subjects) for tool, run in installed().items()]
    runs = [own for _ in KINDS] + list(installed().values())
    times = [Times() for _ in rows]
    for _ in range(rounds):
        for row, run, spent in zip(rows, runs, times, strict=True):
            if "failed" not in row and sum(spent.wall) < BUDGET:
                subjects[row["kind"]].call(run, spent)
    mine = {row["kind"]: spent.summary() for row, spent in zip(rows[:2], times[:2], strict=True)}
    for row, spent in zip(rows, times, strict=True):
        if "failed" not in row:
            row |= {"runs": len(spent.cpu), **spent.summary()}
            row |= {f"{clock}_ratio": row[clock] / mine[row["kind"]][clock] for clock in ("cpu", "wall")}
    return rows


# --- results ----------------------------------------------------------------------------------------------------------


def tabled(name: str, rows: list[dict[str, Any]]) -> str:
    lines: list[tuple[Any, ...]] = []
    for row in rows:
        if "failed" in row:
            lines.append((row["tool"], row["kind"], f"failed: {row['failed']}", *[None] * 4))
            continue
        spent = (ms(row["cpu"]), ms(row["wall"]), f"{row['cpu_ratio']:.2f}", f"{row['wall_ratio']:.2f}")
        lines.append((row["tool"], row["kind"], f"{row['macs']:,}", *spent))
    titles = ("tool", "model", "its number", "CPU ms", "wall ms", "CPU / rfcalc", "wall / rfcalc")
    return f"## {name}\n\n{table(lines, titles)}"


def headline(found: dict[str, list[dict[str, Any]]]) -> str:
    """CPU time over rfcalc's, a row for each model and a column for each tool; ``*`` is a model with weights."""
    names = [name for name in TOOLS if any(row["tool"] == name for rows in found.values() for row in rows)]
    lines = []
    faster = []
    for model, rows in found.items():
        by_tool = {row["tool"]: row for row in rows[2:]}
        cells = [by_tool.get(name, {"failed": ""}) for name in names]
        lines.append((model, *map(_ratio, cells)))
        faster += [f"{cell['tool']} on {model}" for cell in cells if cell.get("cpu_ratio", 1) < 1]
    text = f"Faster than rfcalc: {', '.join(faster)}." if faster else "None is faster than rfcalc on any model."
    return f"{table(lines, ('model', *names))}\n\n{text}"


def _ratio(row: dict[str, Any]) -> str:
    return "failed" if "failed" in row else f"{row['cpu_ratio']:.2f}" + ("*" if row["kind"] == "weights" else "")


_HEAD = (
    "CPU time of each tool over that of rfcalc on the same kind of model, medians, in turns in one process; more than 1"
    " is slower\nthan rfcalc. `*`: on a model with weights, as the tool does not run on the meta device or counts"
    " something else there.\nTools count; rfcalc counts and finds all fields, torchlens finds those of some ops."
)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="How often each is timed.")
@click.option("--model", "names", multiple=True, type=click.Choice(MODELS), help="Only this model.")
@click.option("--save", "keep", is_flag=True, help="Merge into the results.")
def main(rounds: int, names: tuple[str, ...], keep: bool) -> None:
    """Measure the models, print the tables, and merge them into the results if asked."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    found = {}
    for name in names or MODELS:
        found[name] = side_by_side(name, rounds)
        click.echo(tabled(name, found[name]) + "\n")
        gc.collect()
    click.echo(headline(found))
    if keep:
        merge(found)


def merge(found: dict[str, list[dict[str, Any]]]) -> None:
    """Write the results with these models in place of what was known of them."""
    path = RESULTS / "peers_speed.json"
    known = json.loads(path.read_text(encoding="utf-8"))["models"] if path.exists() else {}
    found = {name: {**known, **found}[name] for name in MODELS if name in {**known, **found}}
    packages = [TOOLS[name][0] for name in installed()]
    texts = [f"{_HEAD}\n\n{headline(found)}", *(tabled(name, rows) for name, rows in found.items())]
    data = {"machine": machine(*packages), "models": found}
    save("peers_speed", "How long rfcalc and other counters take", data, texts)


if __name__ == "__main__":
    main()
