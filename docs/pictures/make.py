"""Draw the pictures of docs/plot.md again: `python docs/pictures/make.py`."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

from rfcalc.cli import cli

HERE = Path(__file__).parent.resolve()

#: The arguments of `rfcalc plot` for each, run in the root of the checkout.
PICTURES = {
    "fields.svg": "vgg16 --layer 'conv[345]_3' --at 6,4 --image docs/pictures/cat.png",
    "layer3.svg": "vgg16 --layer 3 --through 2",
    "dilation.svg": "'3x3d2 3x3d2' --input 1x16x16 --at 1,1",
    "phases.svg": "examples/your_own_model.py:GuidedUNet --input image=3x64x64 --input guide=1x16x16 --layer leave",
    "growth.svg": "alexnet vgg16 googlenet resnet50 --kind growth",
    "cost.svg": "vgg16 --kind cost",
    "compare.svg": "lenet5 alexnet vgg16 googlenet inception_v3 resnet50 --kind compare",
    "tile.svg": "examples/your_own_model.py:GuidedUNet --input image=3x224x224 --input guide=1x56x56 --kind tile"
    " --tile 64 --image docs/pictures/cat.png",
    "inception.svg": "inception-reduced --kind graph",
}


def make(folder: Path) -> None:
    """Draw all of them into a folder."""
    with contextlib.chdir(HERE.parent.parent):
        for name, arguments in PICTURES.items():
            cli.main(["plot", *shlex.split(arguments), "-o", str(folder / name)], standalone_mode=False)


if __name__ == "__main__":
    make(HERE)
