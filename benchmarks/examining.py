"""Classes of models, each built on the meta device, run by torch and analysed: what came of it, and how it compares.

A sweep gives its cases, each with a way to build it and inputs; `main` makes of them a file of rows and a table.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import click
import torch
from outside_models import without_formula  # beside this file
from tabulate import tabulate
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import rfcalc
from rfcalc.errors import RfcalcError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LARGEST = 5_000_000_000  #: bytes of weights of a model that torch runs on the CPU, where meta cannot serve


class NoInputError(Exception):
    """No natural input is known for a class."""


class Case(Protocol):
    """One class: the type that it belongs to, what it is there, its name."""

    kind: str
    role: str
    architecture: str

    def build(self) -> nn.Module: ...

    def inputs(self, model: nn.Module) -> Iterator[dict[str, Any]]: ...


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


def examined(entry: Case) -> dict[str, Any]:
    """Everything about one class."""
    found: dict[str, Any] = {"kind": entry.kind, "role": entry.role, "architecture": entry.architecture}
    try:
        model = _built(entry)
        proposed = list(entry.inputs(model))
    except NoInputError as error:
        return found | {"outcome": "no input", "words": str(error)}
    except Exception as error:
        return found | {"outcome": "not run", "words": f"is not built: {_words(error)}"}
    refusals = []
    for inputs in proposed:
        witness = run_by_torch(entry, model, inputs)
        if "words" not in witness:
            found["inputs"] = {name: _told(value) for name, value in inputs.items()}
            found["torch"] = witness
            said = analysed(model, inputs, witness)
            if said["outcome"] == "refused" and witness["on"] == "cpu":  # numbers that it was made with may be missing
                said = analysed(entry.build(), inputs, witness)
            elif said["outcome"] == "refused" and not witness.get("masked", True):  # nor does torch run it with a mask
                said = analysed(model, _unmasked(inputs), witness)
            if said["outcome"] == "wrong" and witness["on"] == "cpu":
                said |= _by_data(entry, model, inputs, witness)
            return found | said
        refusals.append(witness["words"])
    return found | {"outcome": "not run", "words": refusals[0]}


def _built(entry: Case) -> nn.Module:
    """The model on the meta device; some ask for numbers while they are built."""
    try:
        with torch.device("meta"):
            return entry.build()
    except NoInputError:
        raise
    except Exception:
        return entry.build()


def run_by_torch(entry: Case, model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
    """What torch's counter says: on the meta device, or else on the CPU.

    A mask of ones masks nothing; where its numbers are asked for, the meta device does without it.
    """
    params = sum(parameter.numel() for parameter in model.parameters())
    size = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    words = ""
    for given in (inputs, _unmasked(inputs)):
        try:
            macs = _counted(model, _on(given, "meta"))
            return {"params": params, "macs": macs, "on": "meta", "masked": given is inputs}
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


def _by_data(entry: Case, model: nn.Module, inputs: dict[str, Any], witness: dict[str, Any]) -> dict[str, Any]:
    """Whether torch itself counts otherwise with other weights, as where predicted lengths decide the work."""
    again = {run_by_torch(entry, model, inputs).get("macs") for _ in range(3)}
    if again == {witness["macs"]}:
        return {}
    counts = sorted(again | {witness["macs"]})
    return {"outcome": "data", "words": f"torch counts {counts[0]:,} to {counts[-1]:,}"}


def _counted(model: nn.Module, inputs: dict[str, Any]) -> int:
    torch.backends.mha.set_fastpath_enabled(False)
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Everywhere()  # type: ignore[assignment]  # the total is enough, and hooks of modules may fail
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(**inputs)
    return int(counter.get_total_flops()) // 2


def _unmasked(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "attention_mask"}


class _Everywhere:
    """In place of a tracker of modules: one that knows the model as a whole."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *raised: object) -> None:
        pass


def _on(inputs: dict[str, Any], device: str) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}


def _told(value: Any) -> Any:
    return list(value.shape) if isinstance(value, torch.Tensor) else value


_CELLS = {f"torch.{name}_cell" for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
_RECURRENT = {"torch.lstm", "torch.gru", "torch.rnn_tanh", "torch.rnn_relu", *_CELLS}


def analysed(model: nn.Module, inputs: dict[str, Any], witness: dict[str, Any]) -> dict[str, Any]:
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
    for op in _RECURRENT if witness["on"] == "meta" else _RECURRENT - {"torch.lstm"}:
        uncounted.pop(op, None)  # torch runs them as products there; an LSTM on a CPU by a kernel without formula
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
    bound = said["unknown"] and said["params"] == witness["params"] and counted <= witness["macs"]
    if differences and not bound:
        return {"outcome": "wrong", "words": "; ".join(differences)}
    if said["unknown"]:
        words = [f"unknown: {', '.join(said['unknown'])}", *differences]
        return {"outcome": "incomplete", "words": "; ".join(words)}
    real = [notice for notice in said["notices"] if "real" in notice]
    return {"outcome": "real", "words": real[0]} if real else {"outcome": "agrees", "words": ""}


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:300]


# --- many models ------------------------------------------------------------------------------------------------------


@contextmanager
def _child(script: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, script, "--child"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def swept(script: str, wanted: Sequence[Case], seconds: int) -> Iterator[dict[str, Any]]:
    """A row for each entry; the process that makes them is replaced where it ends or hangs."""
    waiting = list(wanted)
    while waiting:
        with _child(script) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for done, entry in enumerate(waiting):
                process.stdin.write(f"{entry.kind} {entry.role} {entry.architecture} {seconds}\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:  # the process has ended: by a signal, or by the timer's
                    process.wait()
                    slow = process.returncode == -signal.SIGPROF
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


def serve(find: Callable[[str, str, str], Case]) -> None:
    """Answer lines of (kind, role, architecture, seconds) with lines of JSON, each within its time."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what models print is no answer
    for line in sys.stdin:
        kind, role, architecture, seconds = line.split()
        signal.setitimer(signal.ITIMER_PROF, int(seconds))  # of work: others may want the machine, too
        row = examined(find(kind, role, architecture))
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(json.dumps(row) + "\n")
        out.flush()
        gc.collect()


# --- the report -------------------------------------------------------------------------------------------------------


def markdown(rows: list[dict[str, Any]], what: str, versions: str, known: int) -> str:
    """The evidence as a document; ``known`` classes there are in all."""
    counts = Counter(row["outcome"] for row in rows)
    run = len(rows) - counts["not run"] - counts["no input"]
    lines = [
        f"# {what}: {counts['agrees']} of the {run} classes that torch runs agree",
        "",
        f"Written by {versions}, torch {torch.__version__}; {len({row['kind'] for row in rows})} types, {len(rows)}"
        f" classes of {known:,}.",
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


def sweep(
    script: str, cases: Sequence[Case], name: str, what: str, versions: str, only: str, again: bool, seconds: int
) -> int:
    """Examine every class that has not agreed yet; 1 where a total is wrong or rfcalc crashes."""
    path = RESULTS / f"{name}.jsonl"
    before = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    found = {(row["kind"], row["architecture"]): row for row in before}
    wanted = [
        case
        for case in cases
        if (fnmatch.fnmatchcase(case.kind, only) or fnmatch.fnmatchcase(case.architecture, only))
        and (again or found.get((case.kind, case.architecture), {}).get("outcome") != "agrees")
    ]
    order = [(case.kind, case.architecture) for case in cases]
    for row in swept(script, wanted, seconds):
        found[row["kind"], row["architecture"]] = row
        click.echo(f"{row['kind']} {row['architecture']}: {row['outcome']} {row['words']}"[:200], err=True)
        rows = [found[key] for key in order if key in found]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        path.with_suffix(".md").write_text(markdown(rows, what, versions, len(order)), encoding="utf-8")
    return 1 if any(row["outcome"] in ("wrong", "crash") for row in found.values()) else 0


def command(
    script: str,
    about: str,
    what: str,
    versions: Callable[[], str],
    cases: Callable[[], Iterator[Case]],
    find: Callable[[str, str, str], Case],
    seconds: int,
) -> click.Command:
    """The command of a sweep: its document, what it is of, the versions it ran with, its cases and how one is found."""

    @click.command(help=about)
    @click.option("--only", default="*", show_default=True, help="Only types or classes that fit the pattern.")
    @click.option("--again", is_flag=True, help="Also those that agree already.")
    @click.option("--seconds", default=seconds, show_default=True, help="Longest time of work for one class.")
    @click.option("--child", is_flag=True, hidden=True)
    def main(only: str, again: bool, seconds: int, child: bool) -> None:
        warnings.simplefilter("ignore")
        if child:
            serve(find)
            return
        name = Path(script).stem
        made = f"`benchmarks/{name}.py`: {versions()}"
        raise SystemExit(sweep(script, list(cases()), name, what, made, only, again, seconds))

    return main
