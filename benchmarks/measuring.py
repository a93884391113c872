"""What the benchmarks of speed share: models, clocks, the machine, and how results are written.

Ratios count, not seconds: what is compared runs in turns (``interleaved``), so that a machine that slows down slows
down all of it. CPU time is user and system time of all threads.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import rfcalc  # noqa: E402  # of this checkout
from rfcalc.analyses.analysis import Analysis  # noqa: E402
from rfcalc.tracing import replay  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"

CONVOLUTIONAL = (
    *("vgg16", "resnet50", "inception_v3", "densenet201", "mobilenet_v3_large", "efficientnet_b0"),
    "deeplabv3_resnet50",
)
ATTENTION = ("vit_b_16", "swin_t", "maxvit_t", "convnext_tiny")
_SIDES = {"inception_v3": 299, "deeplabv3_resnet50": 520}


@dataclass
class Times:
    """CPU and wall seconds of each run of one thing."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Medians and smallest times, in seconds."""
        return {
            "cpu": statistics.median(self.cpu),
            "wall": statistics.median(self.wall),
            "cpu_min": min(self.cpu),
            "wall_min": min(self.wall),
        }


def clocked(run: Callable[[], Any], times: Times) -> None:
    """One run, without the garbage of those before it."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    times.cpu.append(time.process_time() - cpu)
    times.wall.append(time.perf_counter() - wall)


def interleaved(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """Each of ``runs`` in turn, ``rounds`` times, after one that does not count."""
    for run in runs.values():
        run()
    times = {name: Times() for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            clocked(run, times[name])
    return {name: found.summary() for name, found in times.items()}


def torchvision_model(name: str, device: str = "meta") -> tuple[nn.Module, torch.Tensor]:
    """A model of torchvision in inference mode, and one image of its usual size."""
    from torchvision import models

    without: dict[str, Any] = {"weights": None}
    if "deeplab" in name:
        without["weights_backbone"] = None
    side = _SIDES.get(name, 224)
    with warnings.catch_warnings(), torch.device(device):
        warnings.simplefilter("ignore", FutureWarning)  # of other initial weights
        return models.get_model(name, **without).eval(), torch.zeros(1, 3, side, side)


def first_analysis(model: nn.Module, x: torch.Tensor) -> Analysis:
    """`rfcalc.analyze` with all layers and totals, as by a process that has traced no model before."""
    replay.forget()
    return next_analysis(model, x)


def next_analysis(model: nn.Module, x: torch.Tensor) -> Analysis:
    """The same, which may replay the calls that were traced before."""
    found = rfcalc.analyze(model, x)
    assert found.layers
    assert found.totals.macs
    return found


# --- results ----------------------------------------------------------------------------------------------------------


def machine(*packages: str) -> dict[str, Any]:
    """The processor, and the versions of Python and of packages; what is not installed is left out."""
    found = {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    for package in ("torch", "torchvision", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(rows: Iterable[Sequence[Any]], titles: Sequence[str]) -> str:
    """A table in Markdown; None is a dash."""
    cells = [["-" if cell is None else cell for cell in row] for row in rows]
    return tabulate(cells, titles, tablefmt="github", disable_numparse=True)


def ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}"


def save(name: str, about: str, data: Mapping[str, Any], parts: Iterable[str]) -> None:
    """Write ``results/NAME.json`` and ``.md``: what was measured, and as a text."""
    text = json.dumps({"about": about, **data}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    where = ", ".join(f"{key} {value}" for key, value in data["machine"].items())
    head = f"# {about}\n\nWritten by `python benchmarks/{name}.py --save` ({where})."
    (RESULTS / f"{name}.md").write_text("\n\n".join([head, *parts]) + "\n", encoding="utf-8")
