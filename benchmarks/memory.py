"""How much memory `rfcalc.analyze` takes: the peak of a process over what it held after ``import torch``.

    python benchmarks/memory.py [--case NAME]... [--save]

Each case builds its model on the meta device and analyses it, with all layers and totals, in a process of its own.
Nothing but torch, numpy (which torch imports) and rfcalc is imported; the table shows apart what the model itself
takes, whose modules are Python objects. Needs Linux, which counts resident memory in /proc. ``--save`` writes
``benchmarks/results/memory.json`` and ``memory.md``. A bound that is missed is said, and is no error.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


class Block(nn.Module):
    """A layer of a decoder as in Llama 2 70B (H. Touvron et al., 2023, arXiv:2307.09288), without its rotations."""

    def __init__(self, width: int, heads: int, groups: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.before, self.after = nn.RMSNorm(width), nn.RMSNorm(width)
        self.q, self.out = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.k, self.v = (nn.Linear(width, groups * self.size, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def split(self, x: torch.Tensor, heads: int) -> torch.Tensor:
        """(batch, places, width) as (batch, heads, places, size), each head repeated to serve all queries."""
        x = x.reshape(*x.shape[:2], heads, self.size).transpose(1, 2)
        return x if heads == self.heads else x.repeat_interleave(self.heads // heads, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read = self.before(x)
        q, k, v = self.split(self.q(read), self.heads), *(self.split(f(read), self.groups) for f in (self.k, self.v))
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        read = self.after(x)
        return x + self.down(nn.functional.silu(self.gate(read)) * self.up(read))


def vgg16() -> tuple[nn.Module, tuple[int, ...]]:
    from rfcalc import zoo

    return zoo.build("vgg16"), (1, 3, 224, 224)


def decoder() -> tuple[nn.Module, tuple[int, ...]]:
    blocks = [Block(8192, 64, 8, 28672) for _ in range(80)]
    return nn.Sequential(*blocks, nn.RMSNorm(8192), nn.Linear(8192, 32000, bias=False)), (1, 2048, 8192)


def chain() -> tuple[nn.Module, tuple[int, ...]]:
    return nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(10_000))), (1, 8, 32, 32)


def image() -> tuple[nn.Module, tuple[int, ...]]:
    return vgg16()[0], (1, 3, 4096, 4096)


def volume() -> tuple[nn.Module, tuple[int, ...]]:
    """An encoder and decoder over three axes, as for medical volumes."""
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 128), (128, 256)):
        layers += [nn.Conv3d(before, after, 3, padding=1), nn.BatchNorm3d(after), nn.ReLU(), nn.MaxPool3d(2)]
    for before, after in ((256, 128), (128, 64), (64, 32), (32, 16)):
        layers += [nn.ConvTranspose3d(before, after, 2, 2), nn.Conv3d(after, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv3d(16, 2, 1)), (1, 1, 256, 256, 256)


#: What is analysed, how it is made, and the most megabytes that it may take over ``import torch``.
CASES: dict[str, tuple[str, Callable[[], tuple[nn.Module, tuple[int, ...]]], int]] = {
    "vgg16": ("VGG16", vgg16, 60),
    "decoder": ("80 layers of a decoder, 69 billion parameters", decoder, 60),
    "chain": ("10,000 convolutions in a row", chain, 120),
    "image": ("VGG16 on 4096x4096", image, 120),
    "volume": ("a 3D encoder and decoder on 256x256x256", volume, 120),
}

# --- the process ------------------------------------------------------------------------------------------------------


def resident(key: str) -> int:
    """Bytes of resident memory: VmRSS now, VmHWM at most since `restart`."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def restart() -> None:
    """Forget the peak until now, which may have been in the middle of an import."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measured(case: str) -> dict[str, int]:
    """Memory in this process, in bytes, and what was found, which shows that it was all there."""
    _, build, _ = CASES[case]
    restart()
    start = resident("VmRSS")
    with torch.device("meta"):
        model, shape = build()
    built = resident("VmHWM")
    import rfcalc

    analysis = rfcalc.analyze(model.eval(), torch.empty(shape, device="meta"))
    layers, totals = len(analysis.layers), analysis.totals
    peak = resident("VmHWM")
    return {
        "import_torch": start,
        "model": built - start,
        "analysis": peak - built,
        "over_import_torch": peak - start,
        "layers": layers,
        "params": totals.params,
    }


def in_a_process(case: str) -> dict[str, int]:
    """`measured` in a fresh process, which imports torch and this file only."""
    code = f"import json, sys; sys.path.insert(0, {str(ROOT)!r}); sys.path.insert(0, {str(Path(__file__).parent)!r})"
    code += f"; import memory; print(json.dumps(memory.measured({case!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{case}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, int] = json.loads(done.stdout)
    return found


def tabled(found: dict[str, dict[str, int]]) -> str:
    from measuring import table

    rows = []
    for case, row in found.items():
        title, _, most = CASES[case]
        sizes = [f"{row[key] / 1e6:.0f}" for key in ("import_torch", "model", "analysis", "over_import_torch")]
        held = "met" if row["over_import_torch"] <= most * 1e6 else "missed"
        rows.append((title, f"{row['layers']:,}", f"{row['params']:,}", *sizes, f"{most}, {held}"))
    titles = ("model", "layers", "parameters", "import torch", "the model", "analysis", "over import torch", "target")
    return table(rows, titles)


@click.command()
@click.option("--case", "cases", multiple=True, type=click.Choice(list(CASES)), help="Only this case.")
@click.option("--save", "keep", is_flag=True, help="Write the results; not with --case.")
def main(cases: tuple[str, ...], keep: bool) -> None:
    """Measure each case, print the table, and write it if asked."""
    from measuring import machine, save

    if keep and cases:
        raise click.UsageError("--save writes all cases: leave --case out")
    found = {case: in_a_process(case) for case in cases or CASES}
    text = "Resident memory at its peak, in megabytes (10^6 bytes).\n\n" + tabled(found)
    click.echo(text)
    if keep:
        save("memory", "How much memory an analysis takes", {"machine": machine(), "cases": found}, [text])


if __name__ == "__main__":
    main()
