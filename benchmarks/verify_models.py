"""Verify the zoo and torchvision and timm models of all kinds at full size, and write the evidence.

    python benchmarks/verify_models.py --device auto

adds one line of JSON a model to ``benchmarks/results/verify-DEVICE.jsonl`` as soon as it is done, and rewrites
``verify-DEVICE.md`` beside it. Models that have a line already are left out unless ``--again``, so a run that was cut
off goes on. Needs torch, networkx, numpy, click and tabulate; torchvision and timm only for their own models. Exits
with 1 if anything disagrees or fails.
"""

from __future__ import annotations

import fnmatch
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
import torch
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rfcalc.checking import verify  # noqa: E402
from rfcalc.errors import RfcalcError  # noqa: E402
from rfcalc.zoo import CATALOG  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"

#: What the models of other packages are for, their names, and their input where the package names none.
TORCHVISION: dict[str, tuple[tuple[int, ...] | None, str]] = {
    "classification": (
        None,
        """alexnet vgg16_bn googlenet inception_v3 resnet18 resnet50 resnext50_32x4d wide_resnet50_2 densenet121
        squeezenet1_1 mobilenet_v2 mobilenet_v3_large mnasnet1_0 shufflenet_v2_x1_0 efficientnet_b0 efficientnet_v2_s
        regnet_y_400mf regnet_x_1_6gf convnext_tiny""",
    ),
    "transformer": (None, "vit_b_16 vit_b_32 swin_t swin_v2_t maxvit_t"),
    "segmentation": (
        (3, 520, 520),
        "fcn_resnet50 deeplabv3_resnet50 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large",
    ),
    "video": (None, "r3d_18 mc3_18 r2plus1d_18 s3d mvit_v1_b swin3d_t"),
}
TIMM: dict[str, str] = {
    "classification": "timm:resnet50d timm:efficientnet_lite0 timm:mixer_s32_224 timm:convnextv2_atto",
    "transformer": "timm:vit_small_patch32_224 timm:deit_tiny_patch16_224 timm:pit_ti_224 timm:coat_lite_tiny",
    "windows, patches and tokens": """timm:pvt_v2_b0 timm:twins_svt_small timm:mvitv2_tiny timm:davit_tiny
        timm:tnt_s_patch16_224 timm:nest_tiny""",
}


def detection_backbone() -> torch.nn.Module:
    """The feature pyramid on ResNet-50 that torchvision's detectors share."""
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    return resnet_fpn_backbone(backbone_name="resnet50", weights=None).eval()


def plan() -> list[tuple[str, str, tuple[int, ...] | None]]:
    """(kind, model, input) of everything that can run here."""
    rows: list[tuple[str, str, tuple[int, ...] | None]] = [("zoo", name, None) for name in CATALOG]
    if _has("torchvision"):
        for kind, (shape, names) in TORCHVISION.items():
            rows += [(kind, f"torchvision:{name}", shape) for name in names.split()]
        here = Path(__file__).resolve().relative_to(ROOT)
        rows.append(("detection backbone", f"{here}:detection_backbone", (3, 800, 800)))
    if _has("timm"):
        rows += [(kind, name, (3, 224, 224)) for kind, names in TIMM.items() for name in names.split()]
    return rows


def _has(package: str) -> bool:
    try:
        __import__(package)
    except ImportError:
        return False
    return True


def examine(
    kind: str, model: str, shape: tuple[int, ...] | None, device: str, probes: int, seed: int
) -> dict[str, Any]:
    """One model's evidence as JSON data; a failure is evidence too."""
    started = time.perf_counter()
    try:
        row = verify(model, shape, device=device, probes=probes, seed=seed).to_dict()
        row["timing"]["layers"] = sorted(row["timing"]["layers"], key=lambda item: -item["ms"])[:5]
    except Exception as error:  # one model's failure must not cost the others' evidence
        text = str(error).splitlines() or [""]
        what = text[0] if isinstance(error, RfcalcError) else f"{type(error).__name__}: {text[0]}"
        row = {"schema": "rfcalc-verify/1", "model": model, "agree": False, "error": what}
    return {"kind": kind, "seconds": round(time.perf_counter() - started, 1), **row}


def table(rows: list[dict[str, Any]]) -> str:
    """The evidence as a Markdown document."""
    done = [row for row in rows if "error" not in row]
    agreed = sum(row["agree"] for row in done)
    lines = [f"# Verified: {agreed} of {len(rows)} models agree with a real forward pass", ""]
    lines += ["Written by `benchmarks/verify_models.py`; one line of JSON a model is beside this file.", ""]
    if done:
        first = done[0]
        lines += [f"- device: {first['device']}"]
        lines += [f"- versions: {', '.join(f'{name} {version}' for name, version in first['versions'].items())}"]
        lines += [f"- {first['probes']} rows poisoned along each axis, seed {first['seed']}", ""]
    lines += [_markdown(rows), "", "Each number is agreements of comparisons: of ops, of modules, of ops, of ops.", ""]
    troubles = [row for row in rows if not row["agree"]]
    if troubles:
        lines += ["## Disagreements and failures", ""]
        lines += [f"- {row['model']}: {_trouble(row)}" for row in troubles]
        lines += [""]
    return "\n".join(lines)


def _markdown(rows: list[dict[str, Any]]) -> str:
    head = [
        "model",
        "kind",
        "input",
        "agree",
        "shapes",
        "params",
        "multiply-adds",
        "fields",
        "ms",
        "TFLOP/s",
        "of peak",
    ]
    body = []
    for row in rows:
        if "error" in row:
            body.append([row["model"], row["kind"], "", "failed", "", "", "", "", "", "", ""])
            continue
        checks = {item["what"]: f"{item['agree']:,}/{item['compared']:,}" for item in row["checks"]}
        timing = row["timing"]
        peak = timing["peak_tflops_per_s"]
        shapes = ", ".join("x".join(map(str, item["shape"])) for item in row["inputs"])
        share = f"{timing['tflops_per_s'] / peak:.1%}" if peak else ""
        numbers = [checks[what] for what in ("shapes", "params", "macs", "receptive_fields")]
        times = [f"{timing['forward_ms']:.2f}", f"{timing['tflops_per_s']:.3g}", share]
        body.append([row["model"], row["kind"], shapes, "yes" if row["agree"] else "NO", *numbers, *times])
    return tabulate(body, head, tablefmt="github", disable_numparse=True, colalign=("left",) * 4 + ("right",) * 7)


def _trouble(row: dict[str, Any]) -> str:
    if "error" in row:
        return str(row["error"])
    first = [(item["what"], item["differences"]) for item in row["checks"] if item["differences"]]
    return "; ".join(
        f"{len(found)} in {what}, first {found[0]['layer']}: expected {found[0]['expected']}, seen {found[0]['seen']}"
        for what, found in first
    )


@click.command(help=__doc__)
@click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:N, cpu or mps.")
@click.option("--probes", default=16, show_default=True, help="Rows to poison along each axis.")
@click.option("--seed", default=0, show_default=True)
@click.option("--models", default="*", show_default=True, help="Only models that this pattern fits.")
@click.option("--minutes", default=0.0, help="Start no further model after so many minutes; 0: no limit.")
@click.option("--again", is_flag=True, help="Also those that have a line already.")
@click.option("--out", default=str(RESULTS), show_default=True, help="Folder for the results.")
def main(device: str, probes: int, seed: int, models: str, minutes: float, again: bool, out: str) -> None:
    """Verify every planned model that has no line yet."""
    kind_of_device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device.partition(":")[0]
    lines = Path(out).resolve() / f"verify-{kind_of_device}.jsonl"
    lines.parent.mkdir(parents=True, exist_ok=True)
    found = {}
    if lines.exists():
        found = {row["model"]: row for row in map(json.loads, lines.read_text(encoding="utf-8").splitlines())}
    started = time.monotonic()
    os.chdir(ROOT)  # the detection backbone is named by its file
    for kind, model, shape in plan():
        if not fnmatch.fnmatchcase(model, models) or (model in found and not again):
            continue
        if minutes and time.monotonic() - started > 60 * minutes:
            click.echo("time is up; run again to go on", err=True)
            break
        found[model] = examine(kind, model, shape, device, probes, seed)
        click.echo(
            f"{model}: {'agrees' if found[model]['agree'] else 'DISAGREES'} ({found[model]['seconds']} s)", err=True
        )
        order = {name: at for at, (_, name, _) in enumerate(plan())}
        rows = sorted(found.values(), key=lambda row: order.get(row["model"], len(order)))
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        lines.with_suffix(".md").write_text(table(rows), encoding="utf-8")
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    raise SystemExit(0 if all(row["agree"] for row in found.values()) else 1)


if __name__ == "__main__":
    main()
