"""What rfcalc says of memory, held against real runs, published activations and other tools' estimates.

    python benchmarks/footprint.py witness [--only PATTERN] [--again | --before TIME]
    python benchmarks/footprint.py activations [--timm FOLDER]
    python benchmarks/footprint.py caches
    python benchmarks/footprint.py others

``witness`` runs each model on the CPU in inference and in a step of training (SGD with momentum) and compares, op by op
and to the byte, the storages that are alive, what autograd saves, gradients and states. ``activations`` counts outputs
of convolutions and matrix products of models whose numbers are published: those of RegNet's paper (Radosavovic et al.,
2020, arXiv:2003.13678) for RegNetX-200MF, RegNetY-16GF and ResNet-50, in millions, and the ``macts`` of timm's
benchmark files (``--timm`` names the folder ``results`` of its repository). ``caches`` holds caches of small language
models and decoding against those of transformers. ``others`` puts estimates of other tools
beside; it needs torchinfo, accelerate and deepspeed.

Each writes ``benchmarks/results/footprint_NAME.json`` and ``.md``, and keeps what is there unless ``--again``;
``--before 2026-11-30T21:00`` runs again what was run before that time (UTC), so that it can go on in several turns.
Exits with 1 if a real run differs.
"""

from __future__ import annotations

import fnmatch
import gc
import json
import os
import platform
import sys
import time
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import footprint_activations as published  # noqa: E402
import footprint_caches as caches  # noqa: E402
from footprint_specs import Case, cases  # noqa: E402

import rfcalc  # noqa: E402
from rfcalc.analyses.memory import activations as counted  # noqa: E402
from rfcalc.api import layer_graph  # noqa: E402
from rfcalc.errors import RfcalcError  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"

#: RegNet's paper, in millions: what it prints, and what hooks on the outputs of convolutions count.
REGNET = {"timm:regnetx_002": ("2.2", 2.164), "timm:regnety_160": ("23.0", 23.041), "timm:resnet50": ("11.1", 11.115)}


def _read(name: str) -> dict[str, Any]:
    path = RESULTS / f"footprint_{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {"rows": {}}


def _write(name: str, document: dict[str, Any], text: str) -> None:
    rows = ",\n".join(f" {json.dumps(key)}: {json.dumps(row)}" for key, row in document["rows"].items())
    others = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in document.items() if key != "rows")
    text_of = f'{{\n{others}{"," if others else ""}\n"rows": {{\n{rows}\n}}\n}}\n'
    (RESULTS / f"footprint_{name}.json").write_text(text_of)
    (RESULTS / f"footprint_{name}.md").write_text(text)


@click.group()
def main() -> None:
    """Memory against real runs, publications and other tools."""


# --- real runs --------------------------------------------------------------------------------------------------------


def witnessed(case: Case) -> dict[str, Any]:
    """One model: what was compared, and whether all is equal."""
    started = time.perf_counter()
    spec = case.make()
    asked: dict[str, Any] = {"training": True, "optimizer": "momentum", "verify": True}
    try:
        found = rfcalc.memory(spec, case.inputs(spec), **asked)
    except RfcalcError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        found = rfcalc.memory(spec, case.inputs(spec), batch=2, **asked)  # a norm of one number cannot be trained
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
        "run": datetime.now(UTC).isoformat(timespec="minutes")[:16],
    }


@main.command()
@click.option("--only", default="*", metavar="PATTERN")
@click.option("--again", is_flag=True)
@click.option("--before", default="", metavar="TIME")
def witness(only: str, again: bool, before: str) -> None:
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
    for name in sorted(chosen, key=lambda one: bool(rows.get(one, {}).get("agree"))):  # what is not settled first
        case, known = chosen[name], rows.get(name, {})
        settled = known.get("agree") and not again and known.get("run", "") >= before
        if settled or not fnmatch.fnmatchcase(name, only):
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
@click.option("--timm", "folder", type=click.Path(path_type=Path), metavar="FOLDER", help="timm's `results` folder.")
@click.option("--again", is_flag=True)
def activations(folder: Path | None, again: bool) -> None:
    """Outputs of convolutions and matrix products."""
    warnings.simplefilter("ignore")
    document = _read("activations")
    rows = document["rows"]
    document["regnet"] = {}
    for name, (printed, hooked) in REGNET.items():
        elements, _ = counted(layer_graph(name, (3, 224, 224)))
        document["regnet"][name] = {"paper": printed, "hooks": hooked, "elements": elements}
    written = time.monotonic()
    for key, name, size, numbers in published.todo(folder, rows, again) if folder else ():
        try:
            rows[key] = published.row(name, size, numbers)
        except Exception as error:
            rows[key] = {"error": published.of_retired(str(error).splitlines()[0])}
        if time.monotonic() - written > 30:
            _write("activations", document, _activations_text(document))
            written = time.monotonic()
            gc.collect()
    _write("activations", document, _activations_text(document))


def _activations_text(document: dict[str, Any]) -> str:
    head = [
        (name, row["paper"], row["hooks"], f"{row['elements'] / 1e6:.3f}") for name, row in document["regnet"].items()
    ]
    return "\n".join(
        [
            "# Activations",
            "",
            "`python benchmarks/footprint.py activations --timm results`: millions of elements of the outputs of",
            "convolutions and matrix products, beside RegNet's paper and the `macts` of timm's benchmark files.",
            "",
            tabulate(head, headers=("model", "paper", "hooks", "rfcalc"), tablefmt="github", disable_numparse=True),
            "",
            *published.text(document["rows"]),
        ]
    )


@main.command("caches")
@click.option("--again", is_flag=True)
def kept(again: bool) -> None:
    """What small language models keep of what they read, and decoding."""
    warnings.simplefilter("ignore")
    document = _read("caches")
    rows = document["rows"]
    for name in caches.MODELS:
        if again or not rows.get(name, {}).get("agree"):
            rows[name] = caches.row(name)
    head = [
        "# Caches of language models",
        "",
        f"`python benchmarks/footprint.py caches`: two sequences of {caches.LENGTH} tokens, bytes. `held` are the",
        "storages of a cache: a window that slides is a view, and holds all that it was cut from.",
        "",
    ]
    _write("caches", document, "\n".join([*head, *caches.text(rows)]))
    sys.exit(any(not row["agree"] for row in rows.values()))


# --- other tools ------------------------------------------------------------------------------------------------------

BESIDE = ("resnet18", "resnet50", "vgg16", "alexnet-single", "torchvision:mobilenet_v2", "torchvision:densenet121")
BESIDE += ("torchvision:vit_b_32", "torchvision:swin_t", "torchvision:convnext_tiny", "torchvision:efficientnet_b0")


@main.command()
@click.option("--again", is_flag=True)
def others(again: bool) -> None:
    """Estimates of other tools, of one image of 224x224 and a step with AdamW, in MiB."""
    warnings.simplefilter("ignore")
    document = _read("others")
    tools = ("torch", "torchinfo", "accelerate", "deepspeed")
    document["versions"] = {name: version(name) for name in tools}
    for name in BESIDE:
        if name not in document["rows"] or again:
            document["rows"][name] = beside(name)
            _write("others", document, _others_text(document))
            gc.collect()
    _write("others", document, _others_text(document))


def beside(name: str) -> dict[str, Any]:
    """What each tool says of a model, in bytes."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import torchinfo
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import calculate_maximum_sizes
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    from rfcalc.footprint.measure import prepared

    found = rfcalc.memory(name, (3, 224, 224), training=True, verify=True)
    assert found.training is not None
    assert found.agree
    setup, _ = prepared(name, (3, 224, 224))
    assert setup.loaded.constants is not None
    model = setup.loaded.constants.factory()
    printed = torchinfo.summary(model, (1, 3, 224, 224), verbose=0)
    total, _ = calculate_maximum_sizes(model)
    _, states = estimate_zero2_model_states_mem_needs(sum(one.numel() for one in model.parameters()), 1, 1, False)
    return {
        "inference": found.peak_bytes,
        "saved": found.training.saved_bytes,
        "states": found.params_bytes + found.training.gradients_bytes + found.training.optimizer_bytes,
        "training": found.training.peak_bytes,
        "torchinfo pass": printed.total_output_bytes,
        "torchinfo total": printed.total_input + printed.total_output_bytes + printed.total_param_bytes,
        "accelerate": total,
        "accelerate training": estimate_training_usage(total, "float32")["step"],
        "deepspeed": states,
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
            tracker.reset_mod_stats()
    return int(tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"])


def _others_text(document: dict[str, Any]) -> str:
    keys = ("inference", "torchinfo total", "accelerate", "saved", "torchinfo pass")
    keys += ("training", "torch tracker", "accelerate training", "states", "deepspeed")
    rows = [(name, *(f"{row[key] / 2**20:.2f}" for key in keys)) for name, row in document["rows"].items()]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return "\n".join(
        [
            "# Beside other tools",
            "",
            "`python benchmarks/footprint.py others`: one image of 224x224, float32, a step with AdamW, MiB.",
            f"{versions}.",
            "",
            "rfcalc's are `inference`, the peak of inference, `saved`, what is kept for backward, `training`, the",
            "peak of a step, and `states`, parameters, gradients and states of the optimizer: each equal to a real run",
            "on the CPU, to the byte. Beside them:",
            "",
            "- `torchinfo total` is torchinfo's total size and `torchinfo pass` its forward/backward pass size: the",
            "  outputs of all modules that hold no others, whether they are alive together or saved, or not;",
            "- `accelerate` is the size of the model, and `accelerate training` what `accelerate estimate-memory` says",
            "  of a step with Adam in float32, four times that size: no activation is in it;",
            "- `torch tracker` is the peak of `torch.distributed._tools.MemTracker` in the second of two real steps;",
            "- `deepspeed` is `estimate_zero2_model_states_mem_needs` without offloading, on one GPU: 20 bytes for",
            "  each parameter in mixed precision, to hold against `states`.",
            "",
            tabulate(rows, headers=("model", *keys), tablefmt="github", disable_numparse=True),
            "",
        ]
    )


if __name__ == "__main__":
    main()
