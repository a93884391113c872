#!/usr/bin/env bash
# tabulate prints text that looks like a number as a number, so that two layers of a table get one name.
#
# tabulate 0.10.0 looks at the texts of a column: if all of them can be read as numbers, the column is printed as numbers.
# The names of the layers of a torch.nn.Sequential are "0.1" and "0.10": both are printed as 0.1, and "1.0" as 1, without a
# word. A single name of another kind in the column ("head") and all of them are printed as they are. disable_numparse=True
# does away with it.
#
# Makes a temporary folder, installs tabulate there, and fails if any of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --target "$work" tabulate==0.10.0
cd "$work"
PYTHONPATH="$work" python3 - <<'PYTHON'
from importlib.metadata import version

from tabulate import tabulate


def names(*rows, **more):
    """The first column as it is printed."""
    lines = tabulate([[name, 64] for name in rows], tablefmt="plain", **more).splitlines()
    return [line.split()[0] for line in lines]


print("tabulate", version("tabulate"))
layers = ("0.1", "0.10", "1.0")
seen = names(*layers)
print(layers, "are printed as", seen)
assert seen == ["0.1", "0.1", "1"], seen
seen = names(*layers, "head")
print("with a layer 'head' beside them", seen)
assert seen == ["0.1", "0.10", "1.0", "head"], seen
seen = names(*layers, disable_numparse=True)
print("with disable_numparse=True", seen)
assert seen == list(layers), seen
print("as described")
PYTHON
