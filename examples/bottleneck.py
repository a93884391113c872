"""What does a 1x1 bottleneck save? A 5x5 convolution from 480 to 48 channels on 14x14, directly and through 16."""

from __future__ import annotations

from tabulate import tabulate

import rfcalc

SHAPE = (480, 14, 14)
HEADERS = ("layer", "outputs x inputs of each", "multiply-adds")


def main() -> None:
    """Print every term of both sums, and their ratio."""
    totals = []
    for title, spec in [("directly", "5x5:480-48"), ("through a 1x1 bottleneck", "1x1:480-16 5x5:16-48")]:
        analysis = rfcalc.analyze(spec, SHAPE)
        terms = [(layer.name, layer.formula, f"{layer.macs:,}") for layer in analysis.layers if layer.macs]
        rows = [*terms, ("total", "", f"{analysis.totals.macs:,}")]
        print(f"{title}: {spec}")
        print(tabulate(rows, HEADERS, colalign=("left", "left", "right")))
        print()
        totals.append(analysis.totals.macs)
    print(f"{totals[0] / totals[1]:.1f} times fewer multiply-adds")


if __name__ == "__main__":
    main()
