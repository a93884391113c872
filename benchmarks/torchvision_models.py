"""Every model of torchvision: whether rfcalc covers it, and what torchvision itself publishes of it.

    python benchmarks/torchvision_models.py [NAME ...]

traces all model builders of torchvision, or those named, at their default inputs, and holds

- the parameters against the sum over the distinct parameters of the module that torchvision builds,
- the parameters and multiply-adds against those published with the model's default weights, which are given in units
  of 10^9 to three decimals. Weights are published for a model built in their own way (with auxiliary heads of
  segmentation, with frozen batch norms in detectors, at their image size), and so it is built here.

A detector of two stages runs its heads once for each box that the first stage proposes, and the data decides how many
that are: its row says for how many boxes rfcalc counted, and for how many the published number holds. It writes
``benchmarks/results/torchvision_models.csv`` and ``.md``. Needs torchvision. Exits with 1 if anything disagrees.
"""

from __future__ import annotations

import csv
import platform
import sys
import time
import warnings
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import nn
from torchvision import models

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import rfcalc  # noqa: E402
from rfcalc import sources  # noqa: E402
from rfcalc.analyses.analysis import Analysis  # noqa: E402
from rfcalc.errors import RfcalcError  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
COLUMNS = (
    *("model", "family", "input", "status", "fields", "params", "built_params", "published_params"),
    *("macs", "published_gmacs", "agrees", "seconds", "note"),
)


def family(name: str) -> str:
    """The part of torchvision.models that a builder is from."""
    part = models.get_model_builder(name).__module__.split(".")[2]
    known = ("detection", "segmentation", "video", "optical_flow", "quantization")
    return part if part in known else "classification"


def published(name: str) -> dict[str, Any]:
    """What is published with the default weights, or, as for quantized models' float versions, with any others."""
    weights = models.get_model_weights(name)
    return dict(weights.DEFAULT.meta) if len(weights) else {}


def spec(name: str) -> str:
    """The model as its default weights were published."""
    options = ""
    if family(name) == "segmentation" and "aux_loss" in signature(models.get_model_builder(name)).parameters:
        options = "(aux_loss=True)"
    elif name.startswith("vit_"):
        options = f"(image_size={models.get_model_weights(name).DEFAULT.meta['min_size'][0]})"
    return f"torchvision:{name}{options}"


def frozen(module: nn.Module) -> int:
    """Parameters of the batch norms that a detector with published weights holds as buffers instead."""
    backbone = getattr(module, "backbone", nn.Module())
    norms = [item for item in getattr(backbone, "body", backbone).modules() if isinstance(item, nn.BatchNorm2d)]
    return sum(parameter.numel() for norm in norms for parameter in norm.parameters())


def auxiliary(module: nn.Module) -> int:
    """Parameters of the auxiliary classifiers, which are left out of what is published of GoogLeNet."""
    heads = [getattr(module, name, None) for name in ("aux1", "aux2")]
    return sum(parameter.numel() for head in heads if head is not None for parameter in head.parameters())


def params_note(module: nn.Module, params: int, theirs: int | None) -> str | None:
    """Why the parameters published are those of the module; None where nothing explains a difference."""
    if theirs in (None, params):
        return ""
    known = {frozen(module): "batch norms of the backbone", auxiliary(module): "auxiliary classifiers"}
    reason = known.get(params - (theirs or 0))
    return f"published without the {params - (theirs or 0):,} of its {reason}" if reason else None


def boxes(found: Analysis) -> tuple[int, int]:
    """For how many boxes the heads of a two-stage detector ran, and their multiply-adds for one box."""
    heads = [op for op in found.ops if op.name.startswith("roi_heads.box") and op.macs]
    last = [op for op in heads if len(op.output_shape) == 2][-1:]
    count = last[0].output_shape[0] if last else 0
    return count, sum(op.macs or 0 for op in heads) // count if count else 0


def macs_note(found: Analysis, theirs: float | None) -> str | None:
    """Why the multiply-adds published are those of the model; None where nothing explains a difference."""
    macs = found.totals.macs
    if theirs is None or round(macs / 1e9, 3) == theirs:
        return ""
    count, each = boxes(found)
    if not each:
        return None
    heads = sum(op.macs or 0 for op in found.ops if op.name.startswith("roi_heads."))
    meant = round((theirs * 1e9 - macs + heads) / each)
    same = round((macs - heads + meant * each) / 1e9, 3) == theirs
    return f"counted for {count} boxes, published for {meant}" if same else None


def row(name: str) -> dict[str, Any]:
    """What there is to say of one model."""
    start = time.perf_counter()
    meta, found = published(name), dict.fromkeys(COLUMNS, "")
    found |= {"model": name, "family": family(name), "published_params": meta.get("num_params", "")}
    found |= {"published_gmacs": meta.get("_ops", "")}
    try:
        loaded: Any = sources.load(spec(name))
        distinct = {id(parameter): parameter.numel() for parameter in loaded.model.parameters()}
        analysis = rfcalc.analyze(spec(name))
        fields = {field.status for layer in analysis.layers for field in layer.receptive_fields.values()}
    except RfcalcError as error:
        return found | {"status": "failed", "agrees": "no", "note": str(error)}
    totals = analysis.totals
    notes = [
        params_note(loaded.model, totals.params, meta.get("num_params")),
        macs_note(analysis, meta.get("_ops")),
    ]
    agrees = totals.status == "complete" and totals.params == sum(distinct.values()) and None not in notes
    return found | {
        "input": " ".join("x".join(map(str, item.shape)) for item in analysis.inputs),
        "status": totals.status,
        "fields": "exact" if fields == {"exact"} else "upper_bound",
        "params": totals.params,
        "built_params": sum(distinct.values()),
        "macs": totals.macs,
        "agrees": "yes" if agrees else "no",
        "seconds": round(time.perf_counter() - start, 2),
        "note": "; ".join([note for note in notes if note] + list(analysis.notices[1:])),
    }


def summary(rows: list[dict[str, Any]]) -> str:
    """What the table comes to, in Markdown."""
    parts = {
        name: [item for item in rows if item["family"] == name] for name in dict.fromkeys(r["family"] for r in rows)
    }
    facts = [
        (
            name,
            len(some),
            sum(item["status"] == "complete" for item in some),
            sum(item["fields"] == "exact" for item in some),
            sum(item["params"] == item["built_params"] for item in some),
            f"{sum(item['agrees'] == 'yes' and item['published_gmacs'] != '' for item in some)}"
            f" of {sum(item['published_gmacs'] != '' for item in some)}",
        )
        for name, some in parts.items()
    ]
    titles = ("family", "models", "complete", "fields exact", "parameters equal", "published numbers agree")
    noted = [(item["model"], item["fields"], item["agrees"], item["note"]) for item in rows if item["note"]]
    return (
        "\n\n".join(
            [
                "# All models of torchvision",
                "Written by `benchmarks/torchvision_models.py`; one row a model in `torchvision_models.csv` beside this"
                " file.",
                tabulate(facts, titles, tablefmt="github", disable_numparse=True),
                f"- versions: rfcalc {rfcalc.__version__}, torchvision {version('torchvision')}, torch"
                f" {torch.__version__}, python {platform.python_version()}",
                "## Notes",
                tabulate(noted, ("model", "fields", "agrees", "note"), tablefmt="github", disable_numparse=True),
            ]
        )
        + "\n"
    )


def main(names: list[str]) -> int:
    """Write the table; the exit status."""
    warnings.simplefilter("ignore", FutureWarning)  # GoogLeNet and Inception announce other initial weights
    rows = []
    for name in names or models.list_models():
        rows.append(row(name))
        print(
            "  ".join(str(rows[-1][key]) for key in ("model", "macs", "status", "agrees", "seconds", "note")),
            flush=True,
        )
    if not names:
        with (RESULTS / "torchvision_models.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        (RESULTS / "torchvision_models.md").write_text(summary(rows), encoding="utf-8")
    wrong = [item["model"] for item in rows if item["agrees"] != "yes"]
    print(f"{len(rows) - len(wrong)} of {len(rows)} models agree{': not ' + ', '.join(wrong) if wrong else ''}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
