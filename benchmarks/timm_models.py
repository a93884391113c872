"""Every model of timm: whether the registry of ops covers it, and what timm itself says of it.

    python benchmarks/timm_models.py --jobs 2

traces each of timm's models with `rfcalc sweep`, holds its parameters against those of the model that timm builds, and
its parameters, multiply-adds and activations, counted as timm counts, against what timm has published
(`tests/data/timm_counts.csv`). It writes one row a model, tried or not, to ``benchmarks/results/timm_models.csv`` and a
summary to ``timm_models.md`` beside it. What is done is kept in ``build/timm``: a run that was cut off, or had
``--only``, goes on where it ended. Delete that folder to start anew after a change of rfcalc. Needs timm. Exits with 1
if anything disagrees or fails.
"""

from __future__ import annotations

import csv
import fnmatch
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tabulate import tabulate

if TYPE_CHECKING:
    from rfcalc.graph import Node

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PUBLISHED = ROOT / "tests" / "data" / "timm_counts.csv"
RESULTS = ROOT / "benchmarks" / "results"
KEPT = ROOT / "build" / "timm"

COLUMNS = (
    *("model", "family", "input", "status", "fields", "params", "timm_params", "params_equal", "macs", "flops"),
    *("layers", "ops", "seconds", "published_size", "published_params_m", "published_gmacs", "published_macts_m"),
    *("counted_params", "counted_macs", "counted_acts", "published_equal", "note"),
)


# --- what is measured -------------------------------------------------------------------------------------------------


def built_params(name: str) -> dict[str, Any]:
    """The elements of the distinct parameters of the model that timm builds, without rfcalc."""
    import timm
    import torch

    try:
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False)
    except (RuntimeError, NotImplementedError):  # constructors that compute with their weights
        model = timm.create_model(name, pretrained=False)
    distinct = {id(parameter): parameter.numel() for parameter in model.parameters()}
    return {"model": name, "params": sum(distinct.values())}


def deployed(name: str) -> Any:
    """The model as timm measured it: branches and batch norms are fused where the model offers that (``--reparam``)."""
    import timm
    from timm.utils import reparameterize_model

    return reparameterize_model(timm.create_model(name, pretrained=False), inplace=True)


def counted(name: str) -> dict[str, Any]:
    """What timm publishes of a model, from rfcalc's graph of it at the image size of timm's row."""
    import rfcalc
    from rfcalc.api import layer_graph
    from rfcalc.conventions import count

    size = int(published()[name]["img_size"])
    graph = layer_graph(f"{__file__}:deployed(name={name!r})", (3, size, size))
    params = rfcalc.analyze(graph).totals.params
    return {"model": name, "params": params, "gmacs": count(graph, "timm").total, "macts": activations(graph)}


def activations(graph: Iterable[Node]) -> int:
    """fvcore's activations: the elements that convolutions, linear layers and matrix products give."""
    from rfcalc.conventions.names import PRODUCTS

    total = 0
    for node in graph:
        if node.op in ("aten.convolution", "torch.linear", "torch.einsum", *PRODUCTS):
            total += prod(node.shape)
        elif node.op == "torch.scaled_dot_product_attention":  # the scores, and the weighted values
            total += prod(node.shape) + prod(node.shape[:-1]) * int(node.attrs["keys"])
    return total


def published() -> dict[str, dict[str, str]]:
    """timm's published numbers by model."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


# --- what is kept -----------------------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a file by model, the last of each; a line that breaks off is left out."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return {row["model"].removeprefix("timm:"): row for row in rows}


def sweep(names: list[str], path: Path, jobs: int, timeout: float, again: bool) -> None:
    """`rfcalc sweep` over the models; it keeps the rows that are there."""
    command = [sys.executable, "-m", "rfcalc", "sweep", "-", "-o", str(path), "--timeout", str(timeout)]
    command += ["--jobs", str(jobs)] if jobs > 1 else []
    command += ["--retry-failed"] if again else []
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    specs = "".join(f"timm:{name}\n" for name in names)
    subprocess.run(command, input=specs, text=True, check=True, env={**os.environ, "PYTHONPATH": paths})


def measure(task: Callable[[str], dict[str, Any]], names: Iterable[str], path: Path, jobs: int) -> None:
    """A line for each model that has none; an error is a line too, which the next run replaces."""
    done = {name for name, row in read(path).items() if "error" not in row}
    left = [name for name in names if name not in done]
    if not left:
        return
    with path.open("a", encoding="utf-8") as file, ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(task, name): name for name in left}
        for future in as_completed(running):
            try:
                row = future.result()
            except BrokenProcessPool:  # the system ended a process: the next run goes on
                raise
            except Exception as error:
                row = {"model": running[future], "error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            file.write(json.dumps(row) + "\n")
            file.flush()


# --- what is written --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """One row a model of timm, with the columns of `COLUMNS`; empty where nothing is known."""

    rows: list[dict[str, Any]]

    def count(self, **wanted: Any) -> int:
        """How many rows have these values."""
        return sum(all(row[key] == value for key, value in wanted.items()) for row in self.rows)

    @property
    def tried(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] != "not tried"]

    @property
    def wrong(self) -> list[dict[str, Any]]:
        """The models of which something is known not to be exact, complete or equal."""
        good = {
            "status": ["complete", "not tried"],
            "fields": ["exact", ""],
            "params_equal": ["yes", ""],
            "published_equal": ["yes", ""],
        }
        return [row for row in self.rows if any(row[key] not in values for key, values in good.items())]

    @property
    def noted(self) -> list[dict[str, Any]]:
        """The models of which there is something to say."""
        return [row for row in self.tried if row["note"] or row in self.wrong]


def table(families: dict[str, str], kept: Path) -> Table:
    """All models, by name with the file of timm that has them, and what is kept of each."""
    swept, params, counts = (read(kept / f"{name}.jsonl") for name in ("sweep", "params", "counts"))
    theirs = published()

    def row(name: str) -> dict[str, Any]:
        found: dict[str, Any] = {**dict.fromkeys(COLUMNS, ""), "model": name, "family": families[name]}
        notes = [params.get(name, {}).get("error"), counts.get(name, {}).get("error")]
        if name in theirs:
            found |= compared(theirs[name], counts.get(name, {}))
        if name not in swept:
            return found | {"status": "not tried", "note": "beyond the time of this run"}
        own = swept[name]
        same = ("params", "macs", "flops", "layers", "ops", "seconds", "status")
        found |= {key: own[key] for key in same if own[key] is not None}
        found["input"] = " ".join("x".join(map(str, shape)) for shape in own["inputs"].values())
        found["fields"] = own["field_status"] or ""
        built = params.get(name, {}).get("params")
        if built is not None and own["params"] is not None:
            found |= {"timm_params": built, "params_equal": _yes(built == own["params"])}
        notes += [own["error"], *own["reasons"], *(f"no rule for {op}" for op in own["unknown_ops"]), *own["notes"]]
        return found | {"note": "; ".join(note for note in notes if note)}

    return Table([row(name) for name in families])


def compared(theirs: dict[str, str], ours: dict[str, Any]) -> dict[str, Any]:
    """timm's three numbers for a model, in millions and billions with two decimals, and those of rfcalc's graph."""
    found: dict[str, Any] = {"published_size": theirs["img_size"], "published_gmacs": theirs["gmacs"]}
    found |= {"published_params_m": theirs["param_count_M"], "published_macts_m": theirs["macts_M"]}
    if "gmacs" in ours:
        pairs = (
            ("param_count_M", ours["params"] / 1e6),
            ("gmacs", ours["gmacs"] / 1e9),
            ("macts_M", ours["macts"] / 1e6),
        )
        same = all(round(value, 2) == float(theirs[key]) for key, value in pairs)
        found |= {"counted_params": ours["params"], "counted_macs": ours["gmacs"], "counted_acts": ours["macts"]}
        found["published_equal"] = _yes(same)
    return found


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def write(found: Table, csv_path: Path, md_path: Path) -> None:
    """The table and its summary."""
    with csv_path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found.rows)
    md_path.write_text(summary(found), encoding="utf-8")


def summary(found: Table) -> str:
    """What the table comes to, in Markdown."""
    tried = len(found.tried)
    built = sum(row["params_equal"] != "" for row in found.rows)
    known = sum(row["published_equal"] != "" for row in found.rows)
    seconds = sorted(row["seconds"] for row in found.tried)
    facts = [
        ("models of timm", len(found.rows)),
        ("tried", tried),
        ("traced", sum(row["macs"] != "" for row in found.tried)),
        ("complete: every op counted or declared free", found.count(status="complete")),
        ("fields exact in every layer", found.count(fields="exact")),
        ("parameters equal to those of the model that timm builds", f"{found.count(params_equal='yes')} of {built}"),
        (
            f"parameters, gmacs and activations equal, in both decimals, to the {len(published())} published",
            f"{found.count(published_equal='yes')} of {known}",
        ),
    ]
    parts = [
        "# All models of timm",
        "Written by `benchmarks/timm_models.py`; one row a model in `timm_models.csv` beside this file.",
        tabulate(facts, ("what", "models"), tablefmt="github", disable_numparse=True),
        f"- versions: {_versions()}",
        "- published numbers: timm ran fvcore on each model at `published_size`, without fused attention and after"
        " `reparameterize_model`, which fuses branches and batch norms where the model offers that; the graph of that"
        " model is counted by fvcore's rules (`rfcalc.conventions`), norms and pooling included",
    ]
    if seconds:
        middle, most = seconds[len(seconds) // 2], seconds[-1]
        parts[-1] += (
            f"\n- time to build, trace and analyse: {sum(seconds):.0f} s for all, {middle:.1f} s the median,"
            f" {most:.1f} s the longest, on {os.cpu_count()} cores ({platform.machine()}) that other work shared"
        )
    if found.noted:
        rows = [[row["model"], row["status"], row["fields"], row["note"]] for row in found.noted]
        parts += ["## Exceptions", tabulate(rows, ("model", "status", "fields", "note"), tablefmt="github")]
    unequal = [row for row in found.rows if "no" in (row["params_equal"], row["published_equal"])]
    if unequal:
        keys = ("model", "params", "timm_params", *COLUMNS[-8:-2])
        parts += ["## Not equal", tabulate([[row[key] for key in keys] for row in unequal], keys, tablefmt="github")]
    missing = Counter(row["family"] for row in found.rows if row["status"] == "not tried")
    if missing:
        names = ", ".join(f"{family} {count}" for family, count in sorted(missing.items()))
        parts += ["## Not tried", f"{missing.total()} models, beyond the time of this run, by file of timm: {names}."]
    return "\n\n".join(parts) + "\n"


def _versions() -> str:
    found = ", ".join(f"{package} {version(package)}" for package in ("timm", "torch", "numpy"))
    from rfcalc import __version__

    return f"rfcalc {__version__}, {found}, python {platform.python_version()}"


@click.command()
@click.option("--only", default="*", metavar="GLOB", help="Try only these models; the others keep what is known.")
@click.option("--jobs", default=1, type=click.IntRange(min=1), help="Processes.")
@click.option("--timeout", default=120.0, help="Seconds for one model.")
@click.option("--again", is_flag=True, help="Try the models again that have failed or taken too long.")
@click.option("--table", "only_table", is_flag=True, help="Write the table of what is known; try nothing.")
def main(only: str, jobs: int, timeout: float, again: bool, only_table: bool) -> None:
    """Trace timm's models and hold them against what timm says of them."""
    import timm

    names = timm.list_models()
    chosen = fnmatch.filter(names, only)
    started = time.perf_counter()
    KEPT.mkdir(parents=True, exist_ok=True)
    try:
        if not only_table:
            sweep(chosen, KEPT / "sweep.jsonl", jobs, timeout, again)
            traced = [name for name, row in read(KEPT / "sweep.jsonl").items() if name in chosen and row["params"]]
            measure(built_params, traced, KEPT / "params.jsonl", jobs)
            measure(counted, [name for name in traced if name in published()], KEPT / "counts.jsonl", jobs)
    finally:
        found = table({name: timm.model_entrypoint(name).__module__.rpartition(".")[2] for name in names}, KEPT)
        write(found, RESULTS / "timm_models.csv", RESULTS / "timm_models.md")
    print(f"{len(found.tried)} of {len(names)} models tried, {len(found.wrong)} with something to look at")
    print(f"{time.perf_counter() - started:.0f} s")
    sys.exit(1 if found.wrong else 0)


if __name__ == "__main__":
    main()
