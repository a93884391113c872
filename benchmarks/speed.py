"""How long rfcalc takes: whole commands against ``import torch``, and analyses against a bare forward pass.

    python benchmarks/speed.py [--rounds N] [--part start|analysis]... [--save]

``start``: whole processes of an installed copy of rfcalc, which pip puts into a temporary folder, in turns with
``python -c "import torch"``. The cached models need torchvision and timm. ``analysis``: `rfcalc.analyze` with all its
layers and totals, in turns with a forward pass of the same model on the meta device under ``no_grad``, which records
nothing; a pass under 10 ms counts as 10 ms. An analysis is timed without what rfcalc keeps of the calls that it has
traced, as the first of a process, and with it, as the next. Ratios are of medians; commands are held to wall time,
analyses to CPU time (user and system). ``--save`` writes ``benchmarks/results/speed.json`` and ``speed.md``. A target
that is missed is said, and is no error.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import torch
from measuring import (  # beside this file
    ATTENTION,
    CONVOLUTIONAL,
    ROOT,
    Times,
    first_analysis,
    interleaved,
    machine,
    ms,
    next_analysis,
    save,
    table,
    torchvision_model,
)

PYTHON = "python -c pass"
REFERENCE = 'python -c "import torch"'
_PROJECT = '[tool.rfcalc]\nmodels = [{ model = "vgg16.json" }, { model = "resnet50.json" }]\n'

#: Commands by what the tables call them, with the most that each may take of the reference.
COMMANDS: dict[str, tuple[list[str], float | None]] = {
    PYTHON: (["-c", "pass"], None),
    REFERENCE: (["-c", "import torch"], None),
    "rfcalc vgg16 --layer 3": (["-m", "rfcalc", "vgg16", "--layer", "3"], 0.12),
    "rfcalc vgg16": (["-m", "rfcalc", "vgg16"], None),
    "rfcalc compare vgg16 resnet50": (["-m", "rfcalc", "compare", "vgg16", "resnet50"], None),
    "rfcalc list": (["-m", "rfcalc", "list"], None),
    "rfcalc --help": (["-m", "rfcalc", "--help"], None),
    "rfcalc check (two saved graphs)": (["-m", "rfcalc", "check"], None),
    "rfcalc torchvision:convnext_base, again": (["-m", "rfcalc", "torchvision:convnext_base"], 0.2),
    "rfcalc timm:convnext_base, again": (["-m", "rfcalc", "timm:convnext_base"], 0.2),
}
#: The most that an analysis may take of a forward pass: the median over a group of models, and any one.
MEDIAN, ANY = 0.6, 1.0
GROUPS = {"convolutional": CONVOLUTIONAL, "attention": ATTENTION}


# --- start ------------------------------------------------------------------------------------------------------------


def install(folder: Path) -> None:
    """An installed copy of this checkout, compiled."""
    call = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(ROOT)]
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder)], check=True)


def surroundings(copy: Path, home: Path) -> dict[str, str]:
    """The environment of the processes: the copy first, a cache of its own, byte code allowed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(copy), "RFCALC_CACHE_DIR": str(home / "cache"), "COLUMNS": "200"}


def prepare(home: Path, environment: dict[str, str]) -> None:
    """A project of two saved graphs, with its lock."""
    (home / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
    traces = (["trace", name, "-o", f"{name}.json"] for name in ("vgg16", "resnet50"))
    for arguments in (*traces, ["check", "--update"]):
        call = [sys.executable, "-m", "rfcalc", *arguments]
        subprocess.run(call, check=True, cwd=home, env=environment, stdout=subprocess.DEVNULL)


def process(arguments: Sequence[str], home: Path, environment: dict[str, str], times: Times) -> None:
    """Time a process of this Python from its beginning to its end."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], cwd=home, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise click.ClickException(f"exit status {child.returncode}: python {' '.join(arguments)}")
    times.cpu.append(used.ru_utime + used.ru_stime)
    times.wall.append(time.perf_counter() - start)


def possible(name: str) -> bool:
    """Whether the library that a command names is installed."""
    library = name.split()[1].partition(":")[0]
    return library not in ("timm", "torchvision") or find_spec(library) is not None


def start_up(rounds: int) -> dict[str, Any]:
    """Whole processes, in turns, after one of each that fills caches."""
    commands = {name: arguments for name, (arguments, _) in COMMANDS.items() if possible(name)}
    times = {name: Times() for name in commands}
    with tempfile.TemporaryDirectory() as copy, tempfile.TemporaryDirectory() as home:
        install(Path(copy))
        environment = surroundings(Path(copy), Path(home))
        prepare(Path(home), environment)
        for number in range(rounds + 1):
            for name, arguments in commands.items():
                process(arguments, Path(home), environment, times[name] if number else Times())
    found = {name: spent.summary() for name, spent in times.items()}
    for part in found.values():
        part |= {f"{kind}_ratio": part[kind] / found[REFERENCE][kind] for kind in ("cpu", "wall", "cpu_min")}
    return found


def start_table(found: dict[str, Any]) -> str:
    rows = [
        (
            f"`{name}`",
            *(ms(times[kind]) for kind in ("cpu", "cpu_min", "wall", "wall_min")),
            f"{times['cpu_ratio']:.3f}",
            f"{times['wall_ratio']:.3f}",
            _held(times["wall_ratio"], COMMANDS[name][1]),
        )
        for name, times in found.items()
    ]
    absent = [f"`{name}`: not measured, the library is not installed." for name in COMMANDS if name not in found]
    titles = ("command", "CPU ms", "min", "wall ms", "min", "CPU ratio", "wall ratio", "target")
    return "\n\n".join([table(rows, titles), *absent])


def _held(ratio: float, target: float | None) -> str | None:
    return None if target is None else f"{target}, {'met' if ratio <= target else 'missed'}"


# --- analysis ---------------------------------------------------------------------------------------------------------


def analysis(name: str, rounds: int) -> dict[str, float]:
    """One model: the analysis and the bare forward pass, in turns."""
    model, x = torchvision_model(name)

    def bare() -> None:
        with torch.no_grad():
            model(x)

    runs = {"bare": bare, "first": partial(first_analysis, model, x), "next": partial(next_analysis, model, x)}
    times = interleaved(runs, rounds)
    parts = {f"{part}_{kind}": times[part][kind] for part in times for kind in ("cpu", "cpu_min", "wall")}
    whole = max(times["bare"]["cpu"], 0.01)
    return parts | {f"{part}_ratio": times[part]["cpu"] / whole for part in ("first", "next")}


def analyses(rounds: int) -> dict[str, Any]:
    return {name: analysis(name, rounds) for group in GROUPS.values() for name in group}


def analysis_table(found: dict[str, Any]) -> str:
    kinds = ("first", "next")
    timed = ("bare CPU ms", "min", "first CPU ms", "min", "next CPU ms", "min")
    titles = ("model", *timed, "first", "target", "next", "target")
    columns = [f"{part}_{kind}" for part in ("bare", *kinds) for kind in ("cpu", "cpu_min")]
    rows: list[Sequence[Any]] = []
    for group, names in GROUPS.items():
        ratios = [[found[name][f"{part}_ratio"] for part in kinds] for name in names]
        for name, both in zip(names, ratios, strict=True):
            rows.append((name, *(ms(found[name][key]) for key in columns), *_judged(both, ANY)))
        middle = [statistics.median(ratio) for ratio in zip(*ratios, strict=True)]
        rows.append((f"median, {group}", *[None] * len(columns), *_judged(middle, MEDIAN)))
    return table(rows, titles)


def _judged(ratios: Sequence[float], target: float) -> list[str | None]:
    """Each ratio, and whether it is what it may be at most."""
    return [cell for ratio in ratios for cell in (f"{ratio:.2f}", _held(ratio, target))]


PARTS = {"start": (start_up, start_table, 9), "analysis": (analyses, analysis_table, 15)}
_HEADS = {
    "start": "## Start-up\n\nWhole processes of an installed copy; ratios to `import torch`. The cached models are read"
    " from the\ncache, the saved graphs and their lock were written before.",
    "analysis": "## Tracing and analysis\n\n`rfcalc.analyze(model, x)` with `.layers` and `.totals` against `model(x)`"
    " under `no_grad`, both on the meta\ndevice; a bare pass under 10 ms counts as 10 ms. First: by a process that has"
    " traced nothing before. Next: by one\nthat may repeat what it has traced, as the bare pass has run before. Both as"
    " ratios of the bare pass.",
}


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), help="How often each is timed: 9 (start), 15 (analysis).")
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Only this part.")
@click.option("--save", "keep", is_flag=True, help="Write the results; not with --part.")
def main(rounds: int | None, parts: tuple[str, ...], keep: bool) -> None:
    """Measure, print the tables, and write them if asked."""
    if keep and parts:
        raise click.UsageError("--save writes all parts: leave --part out")
    found, texts = {}, []
    for name in parts or PARTS:
        measure, tabled, usual = PARTS[name]
        found[name] = measure(rounds or usual)
        texts.append(f"{_HEADS[name]}\n\n{tabled(found[name])}\n\nEach was timed {rounds or usual} times.")
        click.echo(texts[-1] + "\n")
    if keep:
        save("speed", "How long rfcalc takes", {"machine": machine("timm"), **found}, texts)


if __name__ == "__main__":
    main()
