"""Classes of models, each built on the meta device, run by torch and analysed: what came of it, and how it compares.

A sweep gives its cases, each with a way to build it and inputs; `main` makes of them a file of rows and a table.
"""

from __future__ import annotations

import copy
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import click
import torch
from examining_products import NotCompared, tensors_in  # beside this file
from outside_models import without_formula  # beside this file
from tabulate import tabulate
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

import rfcalc
from rfcalc.errors import RfcalcError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LARGEST = 12_000_000_000  #: bytes of weights of a model that torch runs on the CPU, which as zeros take no memory
TRIED = 4  #: ways that are tried on the CPU with each build


Build: TypeAlias = Callable[[], nn.Module]


class NoInputError(Exception):
    """No natural input is known for a class."""


class Case(Protocol):
    """One class: the type that it belongs to, what it is there, its name."""

    kind: str
    role: str
    architecture: str

    def builds(self) -> Iterator[Build]: ...

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
    """Everything about one class: the first way to build it and the first inputs that torch runs."""
    found: dict[str, Any] = {"kind": entry.kind, "role": entry.role, "architecture": entry.architecture}
    refusals: list[dict[str, Any]] = []
    for place, build in enumerate(entry.builds()):
        tries = TRIED
        try:
            model = _built(build, may_store=place == 0)
            for inputs in entry.inputs(model):
                witness = on_meta(model, inputs)
                if "words" in witness and witness["numbers"] and tries:
                    tries -= 1
                    witness |= on_cpu(build, inputs, witness)
                if "macs" in witness:
                    return found | _held_against(build, model, inputs, witness)
                refusals.append({"outcome": "not run", "words": witness["words"]})
        except NoInputError as error:
            refusals.append({"outcome": "no input", "words": str(error)})
        except Exception as error:
            refusals.append({"outcome": "not run", "words": f"is not built: {_words(error)}"})
    return found | refusals[0]


def _held_against(build: Build, model: nn.Module, inputs: dict[str, Any], witness: dict[str, Any]) -> dict[str, Any]:
    """What rfcalc says of inputs that torch runs."""
    said = analysed(model, inputs, witness)
    if said["outcome"] == "refused" and witness["on"] == "cpu":  # numbers that it was made with may be missing
        said = analysed(build(), inputs, witness)
    elif said["outcome"] == "refused" and not witness["masked"]:  # nor does torch run it with a mask
        said = analysed(model, _unmasked(inputs), witness)
    if said["outcome"] == "wrong" and witness["on"] == "cpu":
        said |= _by_data(build, inputs, witness)
    return {"inputs": {name: _told(value) for name, value in inputs.items()}, "torch": witness} | said


def _built(build: Build, *, may_store: bool) -> nn.Module:
    """The model on the meta device; some ask for numbers while they are built, which one that is small may have."""
    try:
        with torch.device("meta"):
            return build()
    except NoInputError:
        raise
    except Exception as error:
        if not (may_store and _asks_for_numbers(error)):
            raise
        return build()


def on_meta(model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
    """What torch's counter says on the meta device, or why it says nothing, and whether numbers are what is missing.

    A mask of ones masks nothing; where its numbers are asked for, the meta device does without it. Products of groups
    are known there in bfloat16 alone, which changes no count.
    """
    params = sum(parameter.numel() for parameter in model.parameters())
    size = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    errors = []
    for dtype in (None, torch.bfloat16):
        for given in (inputs, _unmasked(inputs)):
            if dtype is not None and (given is inputs or "BFloat16" not in errors[-1][0]):
                continue
            try:
                run = model if dtype is None else copy.deepcopy(model).to(dtype)
                counted = _counted(run, _on(given, "meta", dtype))
                return {"params": params, **counted, "on": "meta", "masked": given is inputs}
            except Exception as error:
                errors.append((_words(error), _asks_for_numbers(error)))
    return {"params": params, "bytes": size, "words": errors[0][0], "numbers": any(asks for _, asks in errors)}


def _asks_for_numbers(error: Exception) -> bool:
    """Whether the meta device fails where the CPU may not."""
    words = str(error)  # or of two devices, one of which is the meta device
    named = any(word in words for word in ("meta", "same device", "BFloat16"))
    return named or isinstance(error, NotImplementedError | AssertionError)


def on_cpu(build: Build, inputs: dict[str, Any], before: dict[str, Any], *, drawn: bool = False) -> dict[str, Any]:
    """What torch's counter says on the CPU, of weights that are 0, or as they are ``drawn`` when it is built.

    ``before`` is what the meta device said.
    """
    if before["bytes"] > LARGEST:
        return {"words": f"needs numbers ({before['words']}), and {before['bytes'] / 2**30:.1f} GiB of weights"}
    try:
        with nullcontext() if drawn else _Zeros():
            real = build()
        return {**_counted(real, inputs), "on": "cpu", "masked": True}
    except Exception as error:
        return {"words": _words(error)}
    finally:
        gc.collect()


_DRAWS = frozenset(
    [getattr(torch.Tensor, name) for name in ("normal_", "uniform_")]
    + [getattr(nn.init, name) for name in ("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_")]
    + [getattr(nn.init, name) for name in ("kaiming_normal_", "xavier_uniform_", "xavier_normal_")]
)


class _Zeros(TorchFunctionMode):
    """Within it, memory without numbers has zeros, and what would get random numbers keeps what it has.

    To draw them takes longer than a model runs; zeros that nobody writes take no memory of their own.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return (torch.zeros if func is torch.empty else func)(*args, **(kwargs or {}))


def _by_data(build: Build, inputs: dict[str, Any], witness: dict[str, Any]) -> dict[str, Any]:
    """Whether torch itself counts otherwise with other weights, as where predicted lengths decide the work."""
    again = {_compared_count(on_cpu(build, inputs, witness, drawn=True)) for _ in range(3)}
    if again == {_compared_count(witness)}:
        return {}
    counts = sorted(again | {_compared_count(witness)})
    return {"outcome": "data", "words": f"torch counts {counts[0]:,} to {counts[-1]:,}"}


def _compared_count(witness: dict[str, Any]) -> int:
    """Multiply-adds that are compared, of what a pass on the CPU said."""
    return int(witness["macs"] - witness["constants"])


def _counted(model: nn.Module, inputs: dict[str, Any]) -> dict[str, int]:
    """Torch's count of a pass; apart, how much of it are products of what depends on no input and no parameter."""
    torch.backends.mha.set_fastpath_enabled(False)
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Everywhere()  # type: ignore[assignment]  # the total is enough, and hooks of modules may fail
    constants = NotCompared([*model.parameters(), *tensors_in(inputs)])
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter, constants:
        model(**inputs)
    return {"macs": int(counter.get_total_flops()) // 2, "constants": constants.flops // 2}


def _unmasked(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "attention_mask"}


class _Everywhere:
    """In place of a tracker of modules: one that knows the model as a whole."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *raised: object) -> None:
        pass


def _on(inputs: dict[str, Any], device: str, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """The inputs there, what is no whole number in this type."""

    def moved(value: torch.Tensor) -> torch.Tensor:
        return value.to(device, dtype if value.is_floating_point() else None)

    return {name: moved(value) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}


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
    uncounted.pop("aten.mm(sparse)", None)  # compared with what is stored
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
    counted, expected = said["macs"] - sum(said["uncounted"].values()), _compared_count(witness)
    if counted != expected:
        differences.append(f"{counted:,} multiply-adds, torch counts {expected:,}")
    bound = said["unknown"] and said["params"] == witness["params"] and counted <= expected
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


def markdown(rows: list[dict[str, Any]], what: str, script: str, known: int) -> str:
    """The evidence as a document; ``known`` classes there are in all."""
    versions = ", ".join(dict.fromkeys(row["with"] for row in rows if "with" in row))
    counts = Counter(row["outcome"] for row in rows)
    run = len(rows) - counts["not run"] - counts["no input"]
    lines = [
        f"# {what}: {counts['agrees']} of the {run} classes that torch runs agree",
        "",
        f"Written by `benchmarks/{script}.py`: {versions}, torch {torch.__version__};"
        f" {len({row['kind'] for row in rows})} types, {len(rows)} classes of {known:,}.",
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


def _ordered(stored: Iterable[tuple[str, str]], known: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Type by type, those that are known here, then those that are stored alone, of a package that is elsewhere."""
    every = dict.fromkeys([*stored, *known])
    kinds = list(dict.fromkeys(kind for kind, _ in every))
    places = {key: place for place, key in enumerate(known)}
    return sorted(every, key=lambda key: (kinds.index(key[0]), places.get(key, len(places))))


def sweep(
    script: str, cases: Sequence[Case], what: str, versions: Callable[[str], str], only: str, again: bool, seconds: int
) -> int:
    """Examine every class that has not agreed yet; 1 where a total is wrong or rfcalc crashes.

    What is stored of classes that are not known here, of packages that are not installed, stays. ``versions`` says what
    a type is of.
    """
    name = Path(script).stem
    path = RESULTS / f"{name}.jsonl"
    before = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    found = {(row["kind"], row["architecture"]): row for row in before}
    wanted = [
        case
        for case in cases
        if (fnmatch.fnmatchcase(case.kind, only) or fnmatch.fnmatchcase(case.architecture, only))
        and (again or found.get((case.kind, case.architecture), {}).get("outcome") != "agrees")
    ]
    order = _ordered(found, [(case.kind, case.architecture) for case in cases])
    for row in swept(script, wanted, seconds):
        found[row["kind"], row["architecture"]] = row | {"with": versions(row["kind"])}
        click.echo(f"{row['kind']} {row['architecture']}: {row['outcome']} {row['words']}"[:200], err=True)
        rows = [found[key] for key in order if key in found]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        path.with_suffix(".md").write_text(markdown(rows, what, name, len(order)), encoding="utf-8")
    return 1 if any(row["outcome"] in ("wrong", "crash") for row in found.values()) else 0


def command(
    script: str,
    about: str,
    what: str,
    versions: Callable[[str], str],
    cases: Callable[[], Iterator[Case]],
    find: Callable[[str, str, str], Case],
    seconds: int,
) -> click.Command:
    """The command of a sweep: its document, what it is of, what tells a type's version, its cases, how to find one."""

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
        raise SystemExit(sweep(script, list(cases()), what, versions, only, again, seconds))

    return main
