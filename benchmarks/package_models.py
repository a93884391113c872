"""Models of seven other packages, held against their modules and torch's own counter, as those of transformers are.

    python benchmarks/package_models.py [--only PATTERN] [--again] [--seconds N]

`package_specs.py` makes each in a small form, on the meta device, and gives it inputs; what is done with them is told
in `transformers_models.py`. Writes ``benchmarks/results/package_models.jsonl`` and ``.md``; exits with 1 where a total
is wrong or rfcalc crashes.
"""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from examining import command  # noqa: E402  # beside this file
from package_specs import PACKAGES, Entry, entries  # noqa: E402  # beside this file


def versions(kind: str) -> str:
    """A package and its version."""
    return f"{kind} {version(packages_distributions()[PACKAGES[kind][0]][0])}"


main = command(__file__, __doc__, "Models of packages", versions, entries, Entry, 120)

if __name__ == "__main__":
    main()
