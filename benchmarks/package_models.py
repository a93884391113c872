"""Models of seven other packages, held against their modules and torch's own counter, as those of transformers are.

    python benchmarks/package_models.py [--only PATTERN] [--again] [--seconds N]

`package_specs.py` makes each in a small form, on the meta device, and gives it inputs; what is done with them is told
in `transformers_models.py`. Writes ``benchmarks/results/package_models.jsonl`` and ``.md``; exits with 1 where a total
is wrong or rfcalc crashes.
"""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import packages_distributions, version
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from examining import serve, sweep  # noqa: E402  # beside this file
from package_specs import PACKAGES, Entry, entries  # noqa: E402  # beside this file


@click.command(help=__doc__)
@click.option("--only", default="*", show_default=True, help="Only packages or models that fit the pattern.")
@click.option("--again", is_flag=True, help="Also those that agree already.")
@click.option("--seconds", default=120, show_default=True, help="Longest time for one model.")
@click.option("--child", is_flag=True, hidden=True)
def main(only: str, again: bool, seconds: int, child: bool) -> None:
    """Examine every model that has not agreed yet."""
    warnings.simplefilter("ignore")
    if child:
        serve(Entry)
        return
    known = packages_distributions()
    there = [f"{name} {version(known[module][0])}" for name, (module, _) in PACKAGES.items() if module in known]
    versions = f"`benchmarks/package_models.py`: {', '.join(there)}"
    raise SystemExit(
        sweep(__file__, list(entries()), "package_models", "Models of packages", versions, only, again, seconds)
    )


if __name__ == "__main__":
    main()
