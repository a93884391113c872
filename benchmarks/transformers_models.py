"""Every model type of transformers, base and one head each, held against its modules and torch's own counter.

    python benchmarks/transformers_models.py [--only PATTERN] [--again] [--seconds N]

Each class is built on the meta device in a small configuration (`transformers_specs.py`) and given what a tokenizer
or processor gives. For each, in a process that is replaced when it dies or takes too long,

- torch runs it: on the meta device where that can serve, otherwise on the CPU with weights without values,
- rfcalc analyses it; its parameters are held against the sum over the distinct parameters of the module, its
  multiply-adds against half of what FlopCounterMode counts with MATH attention, but for ops without a formula there,
- where rfcalc needed real numbers, or refused, that is told with its words.

A class that torch cannot run on such inputs is listed apart, with torch's words: it says nothing about rfcalc. Writes
``benchmarks/results/transformers_models.jsonl`` and ``.md``; exits with 1 where a total is wrong or rfcalc crashes.
"""

from __future__ import annotations

import fnmatch
import gc
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch
from tabulate import tabulate
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from outside_models import without_formula  # noqa: E402  # beside this file
from transformers_specs import Entry, NoInputError, entries  # noqa: E402  # beside this file

import rfcalc  # noqa: E402
from rfcalc.errors import RfcalcError  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
LARGEST = 5_000_000_000  #: bytes of weights of a model that torch runs on the CPU, where meta cannot serve

OUTCOMES = {
    "agrees": "analysed without real weights, parameters and multiply-adds equal",
    "real": "analysed on real numbers, equal",
    "wrong": "a total differs",
    "data": "values of weights decide the work: torch counts otherwise with others",
    "incomplete": "totals are lower bounds",
    "refused": "rfcalc refuses in one line",
    "crash": "rfcalc raises something else",
    "not run": "torch does not run it on such inputs",
    "no input": "no natural input is known",
    "slow": "took too long",
}


# --- one model, in a child --------------------------------------------------------------------------------------------


def examined(entry: Entry) -> dict[str, Any]:
    """Everything about one class."""
    found: dict[str, Any] = {"kind": entry.kind, "role": entry.role, "architecture": entry.architecture}
    try:
        with torch.device("meta"):
            model = entry.build()
        proposed = list(entry.inputs(model))
    except NoInputError as error:
        return found | {"outcome": "no input", "words": str(error)}
    except Exception as error:
        return found | {"outcome": "not run", "words": f"is not built: {_words(error)}"}
    refusals = []
    for inputs in proposed:
        witness = run_by_torch(entry, model, inputs)
        if "words" not in witness:
            found["inputs"] = {name: list(tensor.shape) for name, tensor in inputs.items()}
            found["torch"] = witness
            said = analysed(model, inputs, witness)
            if said["outcome"] == "wrong" and witness["on"] == "cpu":
                said |= _by_data(entry, model, inputs, witness)
            return found | said
        refusals.append(witness["words"])
    return found | {"outcome": "not run", "words": refusals[0]}


def run_by_torch(entry: Entry, model: nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What torch's counter says: on the meta device, or else on the CPU.

    A mask of ones masks nothing; where its numbers are asked for, the meta device does without it.
    """
    params = sum(parameter.numel() for parameter in model.parameters())
    size = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    words = ""
    for given in (inputs, {name: tensor for name, tensor in inputs.items() if name != "attention_mask"}):
        try:
            return {"params": params, "macs": _counted(model, _on(given, "meta")), "on": "meta"}
        except Exception as error:
            words = words or _words(error)
    if size > LARGEST:
        return {"params": params, "words": f"needs numbers ({words}), and {size / 2**30:.1f} GiB of weights"}
    try:
        real = entry.build()
        return {"params": params, "macs": _counted(real, inputs), "on": "cpu"}
    except Exception as error:
        return {"params": params, "words": _words(error)}
    finally:
        gc.collect()


def _by_data(
    entry: Entry, model: nn.Module, inputs: dict[str, torch.Tensor], witness: dict[str, Any]
) -> dict[str, Any]:
    """Whether torch itself counts otherwise with other weights, as where predicted lengths decide the work."""
    again = {run_by_torch(entry, model, inputs).get("macs") for _ in range(3)}
    if again == {witness["macs"]}:
        return {}
    counts = sorted(again | {witness["macs"]})
    return {"outcome": "data", "words": f"torch counts {counts[0]:,} to {counts[-1]:,}"}


def _counted(model: nn.Module, inputs: dict[str, torch.Tensor]) -> int:
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(**inputs)
    return int(counter.get_total_flops()) // 2


def _on(inputs: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def analysed(model: nn.Module, inputs: dict[str, torch.Tensor], witness: dict[str, Any]) -> dict[str, Any]:
    """What rfcalc says, and how that compares."""
    start = time.perf_counter()
    try:
        analysis = rfcalc.analyze(model, inputs)
        totals = analysis.totals
        rows = analysis.layers
    except RfcalcError as error:
        return {"outcome": "refused", "words": str(error)}
    except Exception as error:
        return {"outcome": "crash", "words": _words(error)}
    uncounted = without_formula(analysis)
    fields = [field for row in rows for field in row.receptive_fields.values()]
    said = {
        "params": totals.params,
        "macs": totals.macs,
        "uncounted": uncounted,
        "unknown": dict(totals.unknown_ops),
        "notices": list(analysis.notices),
        "exact": sum(field.status == "exact" for field in fields),
        "fields": len(fields),
        "inexact": dict(Counter(f"{node.op}: {node.inexact}" for node in analysis.layer_graph if node.inexact)),
        "seconds": round(time.perf_counter() - start, 2),
    }
    return {"rfcalc": said} | _compared(said, witness)


def _compared(said: dict[str, Any], witness: dict[str, Any]) -> dict[str, Any]:
    differences = []
    if said["params"] != witness["params"]:
        differences.append(f"{said['params']:,} parameters, the module has {witness['params']:,}")
    counted = said["macs"] - sum(said["uncounted"].values())
    if counted != witness["macs"]:
        differences.append(f"{counted:,} multiply-adds, torch counts {witness['macs']:,}")
    if differences:
        return {"outcome": "wrong", "words": "; ".join(differences)}
    if said["unknown"]:
        return {"outcome": "incomplete", "words": f"unknown: {', '.join(said['unknown'])}"}
    real = [notice for notice in said["notices"] if "real" in notice]
    return {"outcome": "real", "words": real[0]} if real else {"outcome": "agrees", "words": ""}


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:300]


# --- many models ------------------------------------------------------------------------------------------------------


@contextmanager
def _child() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, "--child"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def swept(wanted: list[Entry], seconds: int) -> Iterator[dict[str, Any]]:
    """A row for each entry; the process that makes them is replaced where it ends or hangs."""
    waiting = list(wanted)
    while waiting:
        with _child() as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for done, entry in enumerate(waiting):
                process.stdin.write(f"{entry.kind} {entry.role} {entry.architecture} {seconds}\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:  # the process has ended: by a signal, or by the alarm's
                    process.wait()
                    slow = process.returncode == -signal.SIGALRM
                    words = f"more than {seconds} s" if slow else f"the process ended with {process.returncode}"
                    said = {"kind": entry.kind, "role": entry.role, "architecture": entry.architecture}
                    yield said | {"outcome": "slow" if slow else "crash", "words": words}
                    waiting = waiting[done + 1 :]
                    break
                yield json.loads(line)
                if (done + 1) % 60 == 0:  # what imports of sixty models keep is given back
                    waiting = waiting[done + 1 :]
                    break
            else:
                waiting = []


def serve() -> None:
    """Answer lines of (kind, role, architecture, seconds) with lines of JSON, each within its time."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what models print is no answer
    for line in sys.stdin:
        kind, role, architecture, seconds = line.split()
        signal.alarm(int(seconds))
        row = examined(Entry(kind, role, architecture))
        signal.alarm(0)
        out.write(json.dumps(row) + "\n")
        out.flush()
        gc.collect()


# --- the report -------------------------------------------------------------------------------------------------------


def markdown(rows: list[dict[str, Any]], known: int) -> str:
    """The evidence as a document; ``known`` classes there are in all."""
    counts = Counter(row["outcome"] for row in rows)
    run = len(rows) - counts["not run"] - counts["no input"]
    lines = [
        f"# Model types of transformers: {counts['agrees']} of the {run} classes that torch runs agree",
        "",
        f"Written by `benchmarks/transformers_models.py`: transformers {version('transformers')}, torch"
        f" {torch.__version__}; {len({row['kind'] for row in rows})} model types, {len(rows)} classes of {known:,}.",
        "",
        tabulate(
            [[name, counts[name], meaning] for name, meaning in OUTCOMES.items()],
            ["outcome", "classes", "meaning"],
            tablefmt="github",
        ),
        "",
    ]
    for outcome in OUTCOMES:
        told = [row for row in rows if row["outcome"] == outcome]
        if told and outcome != "agrees":
            words = [f"- `{row['kind']}` {row['architecture']}: {row['words']}" for row in told]
            lines += [f"## {outcome}", "", *words, ""]
    lines += ["## agrees", "", _table([row for row in rows if row["outcome"] == "agrees"]), ""]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> str:
    body = [
        [
            row["kind"],
            row["architecture"],
            f"{row['rfcalc']['params']:,}",
            f"{row['rfcalc']['macs']:,}",
            f"{row['rfcalc']['exact']}/{row['rfcalc']['fields']}",
            f"{row['rfcalc']['seconds']:.2f}",
        ]
        for row in rows
    ]
    head = ["type", "class", "parameters", "multiply-adds", "exact fields", "s"]
    return tabulate(body, head, tablefmt="github", disable_numparse=True, colalign=("left", "left", *["right"] * 4))


@click.command(help=__doc__)
@click.option("--only", default="*", show_default=True, help="Only types or classes that fit the pattern.")
@click.option("--again", is_flag=True, help="Also those that agree already.")
@click.option("--seconds", default=60, show_default=True, help="Longest time for one class.")
@click.option("--child", is_flag=True, hidden=True)
def main(only: str, again: bool, seconds: int, child: bool) -> None:
    """Examine every class that has not agreed yet."""
    warnings.simplefilter("ignore")
    if child:
        serve()
        return
    path = RESULTS / "transformers_models.jsonl"
    before = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    found = {(row["kind"], row["architecture"]): row for row in before}
    known = list(entries())
    wanted = [
        entry
        for entry in known
        if (fnmatch.fnmatchcase(entry.kind, only) or fnmatch.fnmatchcase(entry.architecture, only))
        and (again or found.get((entry.kind, entry.architecture), {}).get("outcome") != "agrees")
    ]
    for row in swept(wanted, seconds):
        found[row["kind"], row["architecture"]] = row
        click.echo(f"{row['kind']} {row['architecture']}: {row['outcome']} {row['words']}"[:200], err=True)
        order = [(entry.kind, entry.architecture) for entry in known]
        rows = [found[key] for key in order if key in found]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        path.with_suffix(".md").write_text(markdown(rows, len(known)), encoding="utf-8")
    raise SystemExit(1 if any(row["outcome"] in ("wrong", "crash") for row in found.values()) else 0)


if __name__ == "__main__":
    main()
