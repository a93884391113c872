"""What does a unit of layer 3 of VGG16 see? 3x3 units of layer 2, and through them 5x5 pixels of layer 1, the input."""

from __future__ import annotations

import rfcalc
from rfcalc.report import details, overview, render


def main() -> None:
    """Print the first layers as a table, then everything about layer 3."""
    analysis = rfcalc.analyze("vgg16")
    print(render(overview(analysis, analysis.layers[:7])))

    layer = analysis.with_reads(analysis.select("3"))
    print(render(details(analysis, layer)))

    for position in [(0, 0), (100, 100), (223, 223)]:
        region = analysis.receptive_field("conv1_2", at=position).region
        print(f"the unit at {position} sees rows and columns {region}")


if __name__ == "__main__":
    main()
