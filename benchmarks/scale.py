"""How rfcalc's time grows: with depth, width, edges and input size.

    python benchmarks/scale.py [--rounds N] [--quick] [--save]

Traces and analyses (all layers, fields and totals) plain networks on the meta device and fits CPU time as a power of
what grows: a slope of 1 is linear, 0 means that it does not matter. The slope is that of the least squares line through
the logarithms; ``last`` is the one between the two largest sizes, where fixed costs weigh least. ``--save`` writes
``benchmarks/results/scale.json`` and ``scale.md``, and ``scale.svg`` where matplotlib is (extra ``plot``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import torch
from measuring import RESULTS, interleaved, machine, ms, save, table  # beside this file
from torch import nn

from rfcalc.analyses.analysis import Analysis
from rfcalc.api import layer_graph

Made = tuple[nn.Module, tuple[int, ...]]


class Dense(nn.Module):
    """Each convolution reads all outputs before it: n of them have n (n + 1) / 2 edges."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4 * (number + 1), 4, 3, padding=1) for number in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(torch.cat(outputs, 1)))
        return outputs[-1]


def depth(layers: int) -> Made:
    return nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(layers))), (1, 8, 32, 32)


def width(channels: int) -> Made:
    return nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(100))), (1, channels, 32, 32)


def edges(number: int) -> Made:
    layers = round((math.sqrt(8 * number + 1) - 1) / 2)
    return Dense(layers), (1, 4, 32, 32)


def side(length: int) -> Made:
    stages = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)) for _ in range(5)]
    return nn.Sequential(*stages), (1, 8, length, length)


@dataclass(frozen=True)
class Series:
    """Networks that grow in one way: in what, how they are made, at which sizes, and the slope to expect at most."""

    title: str
    build: Callable[[int], Made]
    sizes: Sequence[int]
    most: float


SERIES = {
    "depth": Series("convolutions in a row", depth, (100, 316, 1000, 3162, 10_000), 1),
    "width": Series("channels of each of 100 convolutions", width, (16, 64, 256, 1024, 4096), 0),
    "edges": Series("edges of a densely connected network", edges, (210, 820, 3240, 12_880, 51_360), 1),
    "side": Series("length of an image's side, five stages", side, (64, 256, 1024, 4096, 16_384), 0),
}


def times(series: Series, size: int, rounds: int) -> dict[str, float]:
    """CPU seconds of the trace and of the analysis of one network."""
    with torch.device("meta"):
        model, shape = series.build(size)
        x = torch.empty(shape)
    model.eval()
    graphs = []

    def trace() -> None:
        graphs[:] = [layer_graph(model, x)]

    def analyse() -> None:
        found = Analysis(graphs[0])
        assert found.layers
        assert found.totals.macs

    found = interleaved({"trace": trace, "analysis": analyse}, rounds)
    return {part: found[part]["cpu"] for part in found}


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Of the least squares line through the logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    along = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return along / sum((a - middle_x) ** 2 for a in x)


def growth(name: str, rounds: int, quick: bool) -> dict[str, Any]:
    """One series: the times at each size, and their slopes."""
    series = SERIES[name]
    sizes = series.sizes[:2] if quick else series.sizes
    spent = [times(series, size, rounds) for size in sizes]
    found: dict[str, Any] = {"sizes": list(sizes)}
    for part in ("trace", "analysis"):
        seconds = [item[part] for item in spent]
        found[part] = {"cpu": seconds, "slope": slope(sizes, seconds), "last": slope(sizes[-2:], seconds[-2:])}
    return found


# --- results ----------------------------------------------------------------------------------------------------------


def tabled(name: str, found: dict[str, Any]) -> str:
    series, sizes = SERIES[name], found["sizes"]
    rows = []
    for part in ("trace", "analysis"):
        one = found[part]
        rows.append((part, *map(ms, one["cpu"]), f"{one['slope']:.2f}", f"{one['last']:.2f}", series.most))
    titles = ("CPU ms", *(f"{size:,}" for size in sizes), "slope", "last", "expected")
    return f"## {name.capitalize()}: {series.title}\n\n{table(rows, titles)}"


def plot(found: dict[str, Any], path: Path) -> None:
    """The times over what grows, on logarithmic axes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "rfcalc", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 2, figsize=(8, 6), layout="constrained", sharey=True)
    for panel, (name, series) in zip(panels.flat, found.items(), strict=True):
        for part, mark in (("trace", "o-"), ("analysis", "s--")):
            panel.loglog(series["sizes"], [1e3 * second for second in series[part]["cpu"]], mark, label=part)
        panel.set_xlabel(SERIES[name].title)
        panel.grid(alpha=0.3)
    for panel in panels[:, 0]:
        panel.set_ylabel("CPU ms")
    panels[0, 0].legend()
    figure.savefig(path, metadata={"Date": None})


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often each is timed.")
@click.option("--quick", is_flag=True, help="The two smallest sizes only.")
@click.option("--save", "keep", is_flag=True, help="Write the results; not with --quick.")
def main(rounds: int, quick: bool, keep: bool) -> None:
    """Measure every series, print the tables, and write them if asked."""
    if keep and quick:
        raise click.UsageError("--save writes all sizes: leave --quick out")
    found = {}
    for name in SERIES:
        found[name] = growth(name, rounds, quick)
        click.echo(tabled(name, found[name]) + "\n")
    if keep:
        texts = [tabled(name, part) for name, part in found.items()]
        if find_spec("matplotlib") is not None:
            plot(found, RESULTS / "scale.svg")
            texts.append("![CPU time over what grows](scale.svg)")
        save("scale", "How rfcalc's time grows", {"machine": machine(), "series": found}, texts)


if __name__ == "__main__":
    main()
