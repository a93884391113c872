"""Models of other packages, each of which is held against torch: parameters, multiply-adds and receptive fields.

    python benchmarks/outside_models.py [--only PATTERN] [--again [--part PART]]

For each model

- rfcalc analyses it at full size, built without memory; seconds and peak memory are of a process of its own,
- the parameters are held against the sum over the distinct parameters of the module, and against published ones,
- the multiply-adds are held against torch's FlopCounterMode in a forward pass of the same size, on real numbers up to
  200 million parameters, without storage above; what torch has no formula for is taken out and named,
- `rfcalc.verify` checks every number of a smaller configuration on real numbers, fields by poisoned inputs.

It writes ``benchmarks/results/outside_models.json`` and ``.md``. Models that have a row already are left out unless
``--again``. Needs segmentation-models-pytorch, monai, ultralytics, transformers, diffusers and open_clip_torch; weights
are never loaded. Exits with 1 if anything disagrees or fails.
"""

from __future__ import annotations

import fnmatch
import gc
import json
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter
from importlib import import_module
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import click
import torch
from tabulate import tabulate
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, flop_registry

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from outside_specs import MODELS, Model, Shape  # noqa: E402  # beside this file

import rfcalc  # noqa: E402
from rfcalc.analyses.analysis import Analysis  # noqa: E402
from rfcalc.graph import Node  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
LARGEST = 200_000_000  #: parameters of a model that is also run on real numbers at full size
LONGEST = 170  #: seconds that a step may take

# --- one model --------------------------------------------------------------------------------------------------------


def measured(model: Model) -> dict[str, Any]:
    """What rfcalc says at full size, with the time and the memory that it took."""
    _import(model)
    before = _peak()
    start = time.perf_counter()
    analysis = rfcalc.analyze(model.spec(), model.inputs)
    layers = analysis.layers
    seconds = time.perf_counter() - start
    last = analysis.layer_graph.outputs[0]
    name = analysis.layer_graph[last.node].name
    fields = [one for layer in layers for one in layer.receptive_fields.values()]
    exact = sum(one.status == "exact" for one in fields)
    return {
        "params": analysis.totals.params,
        "macs": analysis.totals.macs,
        "flops": analysis.totals.flops,
        "status": analysis.totals.status,
        "unknown_ops": dict(analysis.totals.unknown_ops),
        "layers": len(layers),
        "fields": len(fields),
        "exact_fields": exact,
        "inexact_ops": dict(Counter(f"{one.op}: {one.inexact}" for one in analysis.layer_graph if one.inexact)),
        "notices": list(analysis.notices),
        "output": name,
        "field": {source: one.to_dict() for source, one in analysis[name].receptive_fields.items()},
        "seconds": round(seconds, 2),
        "peak_mb": round(_peak()),
        "peak_before_mb": round(before),
        "uncounted": without_formula(analysis),
    }


def _import(model: Model) -> None:
    """What is imported before the clock runs: the package itself, which may take longer than the analysis."""
    names = {"segmentation-models-pytorch": "segmentation_models_pytorch", "open_clip_torch": "open_clip"}
    import_module(names.get(model.package, model.package))
    if model.make == "hf":
        getattr(import_module("transformers"), model.options["architecture"])


def _peak() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


#: Functions that rfcalc records whole, and that end in products for which torch has a formula.
WHOLE = {"torch.linear", "torch.matmul", "torch.einsum", "torch.scaled_dot_product_attention", "torch.bilinear"}


def without_formula(analysis: Analysis) -> dict[str, int]:
    """Multiply-adds of ops that FlopCounterMode counts as nothing."""
    known = WHOLE | {f"aten.{str(op).rpartition('.')[2]}" for op in flop_registry}
    found: Counter[str] = Counter()
    for record in analysis.layer_graph:
        if record.macs and (record.op not in known or _by_vector(analysis, record) or _sums_nothing(record)):
            found[record.op] += record.macs
    return dict(found)


def _by_vector(analysis: Analysis, record: Node) -> bool:
    """Whether a linear layer has a vector for a weight: torch runs it as aten.mv."""
    if record.op != "torch.linear" or not record.inputs:
        return False
    first = record.inputs[0]
    return len(record.shape) < len(analysis.layer_graph[first.node].outputs[first.output].shape)


def _sums_nothing(record: Node) -> bool:
    """Whether an einsum sums over one position: torch runs it as an elementwise product."""
    return record.op == "torch.einsum" and record.macs == prod(record.shape)


def witnessed(model: Model) -> dict[str, Any]:
    """The parameters of the module, and half the operations that FlopCounterMode counts in a pass of it."""
    try:
        with torch.device("meta"):
            empty = model.build()
    except (RuntimeError, NotImplementedError):  # a constructor that computes with numbers
        empty = model.build()
    params = sum(parameter.numel() for parameter in empty.parameters())
    real = params <= LARGEST
    del empty
    gc.collect()
    try:
        with torch.device("cpu" if real else "meta"):
            built = model.build()
            args, kwargs = _arguments(model.inputs)
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            built(*args, **kwargs)
    except Exception as error:  # torch's own pass without storage may need data; that is no statement about rfcalc
        return {"params": params, "macs": None, "why": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    return {"params": params, "macs": counter.get_total_flops() // 2, "on": "real numbers" if real else "meta"}


def _arguments(inputs: dict[str, Shape] | Shape) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Tensors of the shapes: ids where the name says so, and where the shape is one of a batch of rows of ids."""
    if isinstance(inputs, dict):
        return (), {name: _tensor(name, shape) for name, shape in inputs.items()}
    return (_tensor("", inputs),), {}


def _tensor(name: str, shape: Shape) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.int64) if name.endswith(("ids", "text")) else torch.rand(shape)


def verified(model: Model) -> dict[str, Any]:
    """`rfcalc.verify` of the smaller configuration."""
    if model.small is None:
        return {}
    start = time.perf_counter()
    found = rfcalc.verify(model.spec(small=True), model.small, device="cpu", timing=False, probes=4).to_dict()
    return {
        "model": found["model"],
        "inputs": model.small,
        "agree": found["agree"],
        "probes": found["probes"],
        "checks": found["checks"],
        "seconds": _since(start),
    }


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 1)


STEPS = {"rfcalc": measured, "torch": witnessed, "verify": verified}


def row(number: int, kept: dict[str, Any]) -> dict[str, Any]:
    """The evidence about one model but for the steps that are kept; each is a process of its own, so that none pays for
    another's memory."""
    model = MODELS[number]
    found: dict[str, Any] = {"name": model.name, "package": model.package, "version": _version(model.package)}
    found |= {"model": model.spec(), "inputs": model.inputs, "published_params": model.published}
    for step in STEPS:
        command = [sys.executable, __file__, "--step", f"{step}:{number}"]
        found[step] = kept[step] if step in kept else _ran(command)
    found["troubles"] = troubles(found)
    return found


def _ran(command: list[str]) -> dict[str, Any]:
    """What a step printed, or why it did not come to an end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {LONGEST} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"error": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}
    said: dict[str, Any] = json.loads(lines[-1])
    return said


def _version(package: str) -> str:
    return rfcalc.__version__ if package == "rfcalc" else version(package)


def troubles(found: dict[str, Any]) -> list[str]:
    """Everything about a model that is not as it should be."""
    ours, theirs, small = (found[step] for step in STEPS)
    said = [
        f"{step}: {part['error']}" for step, part in zip(STEPS, (ours, theirs, small), strict=True) if "error" in part
    ]
    if said:
        return said
    if ours["params"] != theirs["params"]:
        said.append(f"{ours['params']:,} parameters, the module has {theirs['params']:,}")
    if found["published_params"] not in (None, ours["params"]):
        said.append(f"{ours['params']:,} parameters, published are {found['published_params']:,}")
    if theirs["macs"] is not None and ours["macs"] - sum(ours["uncounted"].values()) != theirs["macs"]:
        said.append(f"{ours['macs']:,} multiply-adds, torch counts {theirs['macs']:,}")
    if ours["status"] != "complete":
        said.append(f"unknown ops: {', '.join(ours['unknown_ops'])}")
    if small and not small["agree"]:
        said += [
            f"verify: {item['what']}: {item['differences'][:2]}" for item in small["checks"] if item["differences"]
        ]
    return said


# --- the report -------------------------------------------------------------------------------------------------------


def markdown(rows: list[dict[str, Any]]) -> str:
    """The evidence as a document."""
    good = sum(not row["troubles"] for row in rows)
    lines = [
        f"# Models of other packages: {good} of {len(rows)} without a disagreement",
        "",
        "Written by `benchmarks/outside_models.py`; `outside_models.json` beside this file has all of it.",
        "",
        f"- {platform.processor() or platform.machine()}, {os.cpu_count()} cores; python {platform.python_version()},"
        f" torch {torch.__version__}; " + ", ".join(sorted({f"{row['package']} {row['version']}" for row in rows})),
        "- all models are built without memory and without weights; seconds are for building, tracing and all fields",
        "- peak memory is of the whole process; importing torch and the package is most of it",
        "",
        _table(rows),
        "",
        "Exact: fields of layers in inputs that are exact, of all. Field: what a unit of the output sees of each input"
        " (`whole`: everything, from everywhere). torch: parameters as the module has them, and multiply-adds as"
        " FlopCounterMode counts them, equal but for the ops named. verify: ops whose shapes, multiply-adds and fields"
        " agree with a real pass of a smaller configuration.",
        "",
    ]
    bounds = [row for row in rows if row["rfcalc"].get("inexact_ops")]
    if bounds:
        lines += ["## Upper bounds", "", "Where values, and not shapes, decide what is read:", ""]
        for row in bounds:
            lines += [f"- {row['name']}: " + "; ".join(f"{op} ({n})" for op, n in row["rfcalc"]["inexact_ops"].items())]
        lines += [""]
    wrong = [row for row in rows if row["troubles"]]
    if wrong:
        lines += [
            "## Disagreements and failures",
            "",
            *(f"- {row['name']}: {'; '.join(row['troubles'])}" for row in wrong),
            "",
        ]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["model", "input", "parameters", "multiply-adds", "status", "exact", "field", "s", "MB", "torch", "verify"]
    body = [_cells(row) for row in rows]
    align = ("left", "left", "right", "right", "left", "right", "left", "right", "right", "left", "left")
    return tabulate(body, head, tablefmt="github", disable_numparse=True, colalign=align)


def _cells(row: dict[str, Any]) -> list[str]:
    ours, theirs, small = (row[step] for step in STEPS)
    if "error" in ours:
        return [row["name"], _shapes(row["inputs"]), *[""] * 9]
    fields = ", ".join(_field(one) for one in ours["field"].values())
    numbers = [f"{ours['params']:,}", f"{ours['macs']:,}", ours["status"], f"{ours['exact_fields']}/{ours['fields']}"]
    time_and_space = [f"{ours['seconds']:.1f}", f"{ours['peak_mb']:,}"]
    return [
        row["name"],
        _shapes(row["inputs"]),
        *numbers,
        fields,
        *time_and_space,
        _torch(ours, theirs),
        _verify(small),
    ]


def _shapes(inputs: dict[str, Shape] | Shape) -> str:
    shapes = inputs.values() if isinstance(inputs, dict) else [inputs]
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def _field(one: dict[str, Any]) -> str:
    if one["whole_input"] and one["stride"] is None:
        return "whole"
    size = "x".join(map(str, one["size"])) or "the value"
    return f"{'<=' if one['status'] != 'exact' else ''}{size}"


def _torch(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    if "error" in theirs:
        return "failed"
    if theirs["macs"] is None:
        return "parameters"
    left_out = ", ".join(f"{op} {macs:,}" for op, macs in ours["uncounted"].items())
    return f"both ({theirs['on']})" + (f", without {left_out}" if left_out else "")


def _verify(small: dict[str, Any]) -> str:
    if "error" in small or not small:
        return "failed" if small else ""
    counts = {item["what"]: f"{item['agree']}/{item['compared']}" for item in small["checks"]}
    return ", ".join(counts[what] for what in ("shapes", "macs", "receptive_fields"))


@click.command(help=__doc__)
@click.option("--only", default="*", show_default=True, help="Only models whose name fits the pattern.")
@click.option("--again", is_flag=True, help="Also those that have a row already.")
@click.option("--part", "parts", multiple=True, type=click.Choice(list(STEPS)), help="Of a row; the rest is kept.")
@click.option("--step", hidden=True)
def main(only: str, again: bool, parts: tuple[str, ...], step: str | None) -> None:
    """Examine every model that has no row yet."""
    os.chdir(ROOT)
    warnings.simplefilter("ignore")
    if step is not None:
        what, _, number = step.partition(":")
        click.echo(json.dumps(STEPS[what](MODELS[int(number)])))
        return
    lines = RESULTS / "outside_models.json"
    before = json.loads(lines.read_text(encoding="utf-8"))["rows"] if lines.exists() else []
    found = {row["model"]: row for row in before}
    for number, model in enumerate(MODELS):
        if fnmatch.fnmatchcase(model.name, only) and (again or model.spec() not in found):
            start = time.perf_counter()
            left = set(STEPS) - set(parts) if parts else set()
            kept = {name: part for name, part in found.get(model.spec(), {}).items() if name in left}
            found[model.spec()] = row(number, kept)
            said = "; ".join(found[model.spec()]["troubles"]) or "agrees"
            click.echo(f"{model.name}: {said} ({_since(start)} s)", err=True)
            rows = [found[one.spec()] for one in MODELS if one.spec() in found]
            lines.write_text(
                json.dumps({"schema": "rfcalc-outside/1", "rows": rows}, indent=1) + "\n", encoding="utf-8"
            )
            lines.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")
    raise SystemExit(1 if any(row["troubles"] for row in found.values()) else 0)


if __name__ == "__main__":
    main()
