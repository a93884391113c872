"""A 16,384 x 16,384 image through a small U-Net in tiles: memory and time, against the same passes in a plain loop.

    python benchmarks/tile_image.py [--side N] [--tile N]

The image is a memory map of bytes, which the model makes float32; the output is a memory map of float32. Peak memory is
the largest resident set of the process, everything included. The plain loop runs the model on a tensor of each tile's
size, and does nothing else. Seconds are those of the processor, with one thread. Writes
``benchmarks/results/tile_image.json`` and ``.md``; exits with 1 where more than 1 GB was needed, the tiles took more
than 1.15 times as long as the loop, or what was written differs from passes on larger parts of the image.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import rfcalc  # noqa: E402
from rfcalc.tiling.plan import Tiling  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
MOST_BYTES, MOST_TIMES = 10**9, 1.15


class SmallUNet(nn.Module):
    """Two levels of two 3x3 kernels with batch norm, pooling by 2, transposed 2x2 kernels, skips; of bytes."""

    def __init__(self, channels: tuple[int, ...] = (4, 8, 8)) -> None:
        super().__init__()
        self.down = nn.ModuleList([self.pair(a, b) for a, b in zip((1, *channels), channels, strict=False)])
        self.up = nn.ModuleList()
        self.join = nn.ModuleList()
        for deep, flat in ((channels[2], channels[1]), (channels[1], channels[0])):
            self.up.append(nn.ConvTranspose2d(deep, flat, 2, 2))
            self.join.append(self.pair(2 * flat, flat))
        self.last = nn.Conv2d(channels[0], 1, 1)

    def pair(self, a: int, b: int) -> nn.Sequential:
        layers = [layer for c in (a, b) for layer in (nn.Conv2d(c, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())]
        return nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.down[0](x.float() / 255)
        two = self.down[1](nn.functional.max_pool2d(one, 2))
        x = self.down[2](nn.functional.max_pool2d(two, 2))
        x = self.join[0](torch.cat([self.up[0](x), two], 1))
        x = self.join[1](torch.cat([self.up[1](x), one], 1))
        found: torch.Tensor = self.last(x)
        return found


def peak() -> int:
    """The largest resident set so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def drawn(path: Path, side: int) -> np.memmap:
    """An image of random bytes."""
    dice = np.random.default_rng(0)
    with path.open("wb") as file:  # a map of it would count as memory of the process
        for row in range(0, side, 256):
            file.write(dice.integers(0, 256, (min(256, side - row), side), dtype=np.uint8).tobytes())
    return np.memmap(path, np.uint8, "r", shape=(1, 1, side, side))


def looped(plan: Tiling, model: nn.Module) -> None:
    """The same passes, and nothing else."""
    sizes = Counter(tuple(part.stop - part.start for part in tile.read[2:]) for tile in plan.slices())
    with torch.no_grad():
        for size, count in sizes.items():
            x = torch.randint(256, (1, 1, *size), dtype=torch.uint8)
            for _ in range(count):
                model(x)


def worst(model: nn.Module, image: np.ndarray, out: np.ndarray, side: int) -> float:
    """The largest difference in parts of the image between what was written and a pass on a larger part."""
    found = 0.0
    dice = np.random.default_rng(1)
    places = [
        (0, 0),
        (side - 512, side - 512),
        *((4 * dice.integers(0, side // 4 - 128, 2)).tolist() for _ in range(6)),
    ]
    for row, column in places:
        rows, columns = (slice(max(0, at - 64), min(side, at + 512 + 64)) for at in (row, column))
        with torch.no_grad():
            whole = model(torch.from_numpy(image[0:1, 0:1, rows, columns].copy()))
        part = whole[0, 0, row - rows.start :, column - columns.start :][:512, :512]
        found = max(
            found, float((part - torch.from_numpy(out[0, 0, row : row + 512, column : column + 512])).abs().max())
        )
    return found


def measured(side: int, tile: int) -> dict[str, Any]:
    """One row."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = SmallUNet().eval()
    plan = rfcalc.tile(model, (1, 64, 64), tile=tile, image=(side, side))
    assert plan.layout is not None
    with tempfile.TemporaryDirectory() as folder:
        image = drawn(Path(folder) / "image", side)
        out = np.memmap(Path(folder) / "out", np.float32, "w+", shape=(1, 1, side, side))
        with torch.no_grad():
            model(torch.zeros(1, 1, tile, tile, dtype=torch.uint8))  # kernels are set up
        before = peak()
        started, clock = time.process_time(), time.perf_counter()
        plan.run(model, image, out=out, progress=False)
        tiled, waited = time.process_time() - started, time.perf_counter() - clock
        most = peak()
        difference = worst(model, image, out, side)
        started = time.process_time()
        looped(plan, model)
        plain = time.process_time() - started
    costs = plan.layout.costs
    return {
        "image": [side, side],
        "tile": [tile, tile],
        "tiles": plan.layout.count,
        "macs": costs.macs,
        "overhead": float(costs.overhead or 0),
        "planned_peak_bytes": costs.peak,
        "before_bytes": before,
        "peak_bytes": most,
        "seconds": round(tiled, 1),
        "waited": round(waited, 1),
        "loop_seconds": round(plain, 1),
        "times": round(tiled / plain, 3),
        "difference": difference,
        "torch": torch.__version__,
    }


def markdown(row: dict[str, Any]) -> str:
    """The table."""
    side, tile = row["image"][0], row["tile"][0]
    lines = [
        ("image", f"{side:,} x {side:,}"),
        ("tiles", f"{row['tiles']:,} of {tile:,} x {tile:,}, {row['overhead']:.1%} more multiply-adds than at once"),
        ("multiply-adds", f"{row['macs']:,}"),
        (
            "peak memory of the process",
            f"{row['peak_bytes'] / 1e6:,.0f} MB, of which {row['before_bytes'] / 1e6:,.0f} before",
        ),
        ("seconds, in tiles", f"{row['seconds']:,}"),
        ("seconds, the same passes in a loop", f"{row['loop_seconds']:,}"),
        ("times the loop", f"{row['times']}"),
        ("largest difference from larger parts", f"{row['difference']:.1e}"),
    ]
    head = (
        "# A large image in tiles\n\n`benchmarks/tile_image.py`, one thread of the CPU, float32, torch"
        f" {row['torch']}: a U-Net of two levels.\n\n| | |\n|---|---|\n"
    )
    return head + "".join(f"| {name} | {value} |\n" for name, value in lines)


@click.command(help=__doc__)
@click.option("--side", default=16384, show_default=True, help="Rows and columns of the image.")
@click.option("--tile", default=768, show_default=True, help="Rows and columns of a tile.")
def main(side: int, tile: int) -> None:
    """Measure, write, judge."""
    row = measured(side, tile)
    print(markdown(row))
    if side == 16384:
        path = RESULTS / "tile_image.json"
        path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(markdown(row), encoding="utf-8")
    right = row["peak_bytes"] < MOST_BYTES and row["times"] <= MOST_TIMES and row["difference"] < 1e-4
    raise SystemExit(not right)


if __name__ == "__main__":
    main()
