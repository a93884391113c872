"""What rfcalc says of memory, held against real runs, published activations and other tools' estimates.

    python benchmarks/footprint.py witness [--only PATTERN] [--again]
    python benchmarks/footprint.py activations [--timm FILE]
    python benchmarks/footprint.py others

``witness`` runs each model on the CPU in inference and in a step of training (SGD with momentum) and compares, op by op
and to the byte, the storages that are alive, what autograd saves, gradients and states. ``activations`` counts outputs
of convolutions and matrix products of models whose numbers are published: those of RegNet's paper (Radosavovic et al.,
2020, arXiv:2003.13678) for RegNetX-200MF, RegNetY-16GF and ResNet-50, in millions, and the ``macts`` of timm's
benchmark files (``--timm`` names a CSV of them). ``others`` puts estimates of other tools beside; it needs torchinfo
and accelerate.

Each writes ``benchmarks/results/footprint_NAME.json`` and ``.md``, and keeps what is there unless ``--again``. Exits
with 1 if a real run differs.
"""

from __future__ import annotations

import csv
import fnmatch
import gc
import json
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import click
import torch
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from footprint_specs import Case, cases  # noqa: E402

import rfcalc  # noqa: E402
from rfcalc.analyses.memory import activations as counted  # noqa: E402
from rfcalc.api import layer_graph  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"

#: RegNet's paper, in millions: what it prints, and what hooks on the outputs of convolutions count.
REGNET = {"timm:regnetx_002": ("2.2", 2.164), "timm:regnety_160": ("23.0", 23.041), "timm:resnet50": ("11.1", 11.115)}


def _read(name: str) -> dict[str, Any]:
    path = RESULTS / f"footprint_{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {"rows": {}}


def _write(name: str, document: dict[str, Any], text: str) -> None:
    (RESULTS / f"footprint_{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / f"footprint_{name}.md").write_text(text)


@click.group()
def main() -> None:
    """Memory against real runs, publications and other tools."""


# --- real runs --------------------------------------------------------------------------------------------------------


def witnessed(case: Case) -> dict[str, Any]:
    """One model: what was compared, and whether all is equal."""
    started = time.perf_counter()
    spec = case.make()
    found = rfcalc.memory(spec, case.inputs(spec), training=True, optimizer="momentum", verify=True)
    assert found.witness is not None
    assert found.training is not None
    return {
        "input": ", ".join("x".join(map(str, one.shape)) for one in found.inputs),
        "params_bytes": found.params_bytes,
        "peak_bytes": found.peak_bytes,
        "saved_bytes": found.training.saved_bytes,
        "training_peak_bytes": found.training.peak_bytes,
        "compared": sum(one.compared for one in found.witness.checks),
        "agree": found.agree,
        "differences": [one.to_dict() for one in found.witness.checks if not one.agree],
        "notices": [notice for notice in found.notices if "real CPU tensors" in notice],
        "seconds": round(time.perf_counter() - started, 1),
    }


@main.command()
@click.option("--only", default="*", metavar="PATTERN")
@click.option("--again", is_flag=True)
def witness(only: str, again: bool) -> None:
    """Real runs on the CPU; what was done and agreed is not done again."""
    warnings.simplefilter("ignore")
    document = _read("witness")
    document["versions"] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rfcalc": rfcalc.__version__,
    }
    chosen = {case.name: case for case in cases()}
    rows = {name: row for name, row in document["rows"].items() if name in chosen}
    document["rows"] = rows
    for name, case in chosen.items():
        if not fnmatch.fnmatchcase(name, only) or (rows.get(name, {}).get("agree") and not again):
            continue
        try:
            rows[name] = witnessed(case)
        except Exception as error:
            rows[name] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        print(name, rows[name].get("agree", rows[name].get("error")), rows[name].get("seconds"), flush=True)
        _write("witness", document, _witness_text(document))
        gc.collect()
    sys.exit(any(row.get("agree") is False for row in rows.values()))


def _witness_text(document: dict[str, Any]) -> str:
    rows = {name: row for name, row in document["rows"].items() if "agree" in row}
    failed = {name: row["error"] for name, row in document["rows"].items() if "error" in row}
    equal = sum(row["agree"] for row in rows.values())
    table = tabulate(
        [
            (
                *(name, row["input"], row["params_bytes"], row["peak_bytes"], row["saved_bytes"]),
                *(row["training_peak_bytes"], row["compared"], "equal" if row["agree"] else "DIFFERS"),
                "real tensors" if row["notices"] else "",
            )
            for name, row in rows.items()
        ],
        headers=("model", "input", "parameters", "peak", "saved", "peak in training", "compared", "", "run on"),
        tablefmt="github",
        intfmt=",",
    )
    lines = [
        "# Memory against real runs",
        "",
        f"`python benchmarks/footprint.py witness`, torch {document['versions']['torch']}. Bytes; a step of training",
        "with SGD and momentum. Compared are the storages that are alive after every op, all that autograd saves,",
        "gradients, states and what is left.",
        "",
        f"{equal} of {len(rows)} models are equal in every number, to the byte.",
        "",
        table,
    ]
    lines += ["", *(f"- {name}: not run: {error}" for name, error in failed.items())] if failed else []
    return "\n".join(lines) + "\n"


# --- published activations --------------------------------------------------------------------------------------------


@main.command()
@click.option("--timm", "file", metavar="FILE", help="A CSV with model, img_size, macts_M.")
@click.option("--again", is_flag=True)
def activations(file: str | None, again: bool) -> None:
    """Outputs of convolutions and matrix products."""
    warnings.simplefilter("ignore")
    document = _read("activations")
    document["regnet"] = {}
    for name, (printed, hooked) in REGNET.items():
        graph = layer_graph(name, (3, 224, 224))
        elements, _ = counted(graph)
        document["regnet"][name] = {"paper": printed, "hooks": hooked, "elements": elements}
    rows = document["rows"]
    published = list(csv.DictReader(Path(file).read_text().splitlines())) if file else []
    for line in published:
        name = line["model"]
        if name in rows and not again:
            continue
        try:
            size = int(line["img_size"])
            graph = layer_graph(f"timm:{name}", (3, size, size))
            rows[name] = {"size": size, "published": line["macts_M"], "elements": counted(graph)[0]}
        except Exception as error:
            rows[name] = {"error": str(error).splitlines()[0][:200]}
        _write("activations", document, _activations_text(document))
    _write("activations", document, _activations_text(document))


def _activations_text(document: dict[str, Any]) -> str:
    known = {name: row for name, row in document["rows"].items() if "elements" in row}
    equal = [name for name, row in known.items() if f"{row['elements'] / 1e6:.2f}" == f"{float(row['published']):.2f}"]
    apart = [
        (name, row["size"], row["published"], f"{row['elements'] / 1e6:.2f}")
        for name, row in known.items()
        if name not in equal
    ]
    head = [
        (name, row["paper"], row["hooks"], f"{row['elements'] / 1e6:.3f}") for name, row in document["regnet"].items()
    ]
    failed = [f"- {name}: {row['error']}" for name, row in document["rows"].items() if "error" in row]
    said = f"Of {len(known)} rows of timm's files {len(equal)} are equal to their two decimals; the others:"
    return "\n".join(
        [
            "# Activations",
            "",
            "`python benchmarks/footprint.py activations`: millions of elements of the outputs of convolutions and",
            "matrix products, beside RegNet's paper and the `macts` of timm's benchmark files.",
            "",
            tabulate(head, headers=("model", "paper", "hooks", "rfcalc"), tablefmt="github", disable_numparse=True),
            "",
            said,
            "",
            tabulate(apart, headers=("model", "size", "published", "rfcalc"), tablefmt="github", disable_numparse=True),
            *(["", "Not traced:", "", *failed] if failed else []),
            "",
        ]
    )


# --- other tools ------------------------------------------------------------------------------------------------------

BESIDE = ("resnet18", "resnet50", "vgg16", "alexnet-single", "torchvision:mobilenet_v2", "torchvision:densenet121")
BESIDE += ("torchvision:vit_b_32", "torchvision:swin_t", "torchvision:convnext_tiny", "torchvision:efficientnet_b0")


@main.command()
@click.option("--again", is_flag=True)
def others(again: bool) -> None:
    """Estimates of other tools, of one image of 224x224 and a step with AdamW, in MiB."""
    warnings.simplefilter("ignore")
    document = _read("others")
    for name in BESIDE:
        if name not in document["rows"] or again:
            document["rows"][name] = beside(name)
            _write("others", document, _others_text(document))
            gc.collect()
    _write("others", document, _others_text(document))


def beside(name: str) -> dict[str, Any]:
    """What each tool says of a model, in bytes."""
    import torchinfo
    from accelerate.utils import calculate_maximum_sizes

    from rfcalc.footprint.measure import prepared

    found = rfcalc.memory(name, (3, 224, 224), training=True)
    assert found.training is not None
    setup, _ = prepared(name, (3, 224, 224))
    assert setup.loaded.constants is not None
    model = setup.loaded.constants.factory()
    printed = torchinfo.summary(model, (1, 3, 224, 224), verbose=0)
    total, _ = calculate_maximum_sizes(model)
    return {
        "inference": found.peak_bytes,
        "saved": found.training.saved_bytes,
        "training": found.training.peak_bytes,
        "torchinfo pass": printed.total_output_bytes,
        "torchinfo total": printed.total_input + printed.total_output_bytes + printed.total_param_bytes,
        "accelerate": total,
        "accelerate training": 4 * total,
        "torch tracker": _tracked(model.train()),
    }


def _tracked(model: torch.nn.Module) -> int:
    """The peak of a step as torch's own tracker sees it on real tensors."""
    from torch.distributed._tools.mem_tracker import MemTracker

    optimizer = torch.optim.AdamW(model.parameters())
    image = torch.randn(1, 3, 224, 224)
    tracker = MemTracker()
    tracker.track_external(model, optimizer, image)
    with tracker:
        for _ in range(2):
            model(image).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    return int(tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"])


def _others_text(document: dict[str, Any]) -> str:
    keys = ("inference", "torchinfo total", "accelerate", "saved", "torchinfo pass", "training", "torch tracker")
    keys += ("accelerate training",)
    rows = [(name, *(f"{row[key] / 2**20:.2f}" for key in keys)) for name, row in document["rows"].items()]
    return "\n".join(
        [
            "# Beside other tools",
            "",
            "`python benchmarks/footprint.py others`: one image of 224x224, float32, a step with AdamW, MiB.",
            "`inference`, `saved` and `training` are rfcalc's: the peak of inference, what is kept for backward, and",
            "the peak of a step. `torchinfo total` is its total size, `torchinfo pass` its forward/backward pass",
            "size; `accelerate` the size of the model, and four times that for training with Adam; `torch tracker` the",
            "peak of `torch.distributed._tools.MemTracker` in the second of two real steps.",
            "",
            tabulate(rows, headers=("model", *keys), tablefmt="github", disable_numparse=True),
            "",
        ]
    )


if __name__ == "__main__":
    main()
