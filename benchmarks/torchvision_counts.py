"""Parameters and multiply-adds of torchvision's models against its published numbers.

`python benchmarks/torchvision_counts.py [NAME ...]` reads `tests/data/torchvision_counts.json` (from the metadata of
torchvision's weights) and prints one row a model. A model agrees when its parameters are equal and its multiply-adds
differ by at most 0.0011 G or 0.05 %, the precision of what is published. Exit status 1 where one does not.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import rfcalc

DATA = Path(__file__).parents[1] / "tests" / "data" / "torchvision_counts.json"


def spec(case: dict[str, Any]) -> str:
    """The model as its weights were published."""
    options = ""
    if "segmentation" in case["module"]:
        options = "(aux_loss=True)"
    elif case["builder"] == "vit_h_14":
        options = f"(image_size={case['input'][-1]})"
    return f"torchvision:{case['builder']}{options}"


def row(case: dict[str, Any]) -> tuple[bool, str]:
    """Whether the model agrees, and its line of the table."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torchvision announces other initial weights
        totals = rfcalc.analyze(spec(case), tuple(case["input"])).totals
    seconds = time.perf_counter() - start
    gmacs, published = totals.macs / 1e9, case["published_gmacs"]
    agrees = (
        totals.status == "complete"
        and totals.params == case["constructed_params"]
        and abs(gmacs - published) <= max(0.0011, 0.0005 * published)
    )
    shape = "x".join(map(str, case["input"]))
    verdict = "agrees" if agrees else f"DIFFERS ({totals.status})"
    return agrees, (
        f"{case['builder']:22} {shape:16} {totals.params:>13,} {case['constructed_params']:>13,}"
        f" {gmacs:>10.4f} {published:>10.3f} {seconds:>6.2f} s  {verdict}"
    )


def main(names: list[str]) -> int:
    """Print the table; the exit status."""
    models = json.loads(DATA.read_text(encoding="utf-8"))["models"]
    unknown = set(names) - {case["builder"] for case in models}
    if unknown:
        print(f"no published numbers for {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    cases = [case for case in models if not names or case["builder"] in names]
    print(f"{'model':22} {'input':16} {'params':>13} {'published':>13} {'GMACs':>10} {'published':>10} {'time':>8}")
    agreed = 0
    for case in cases:
        good, line = row(case)
        agreed += good
        print(line, flush=True)
    print(f"{agreed} of {len(cases)} models agree")
    return 0 if agreed == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
