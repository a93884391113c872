"""Every model type of transformers, base and one head each, held against its modules and torch's own counter.

    python benchmarks/transformers_models.py [--only PATTERN] [--again] [--seconds N]

Each class is built on the meta device in a small configuration (`transformers_specs.py`) and given what a tokenizer
or processor gives. For each, in a process that is replaced when it dies or takes too long,

- torch runs it: on the meta device where that can serve, otherwise on the CPU with weights without values,
- rfcalc analyses it; its parameters are held against the sum over the distinct parameters of the module, its
  multiply-adds against half of what FlopCounterMode counts with MATH attention, but for ops without a formula there,
- where rfcalc needed real numbers, or refused, that is told with its words.

A class that torch cannot run on such inputs is listed apart, with torch's words: it says nothing about rfcalc. Writes
``benchmarks/results/transformers_models.jsonl`` and ``.md``; exits with 1 where a total is wrong or rfcalc crashes.
"""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from examining import serve, sweep  # noqa: E402  # beside this file
from transformers_specs import Entry, entries  # noqa: E402  # beside this file


@click.command(help=__doc__)
@click.option("--only", default="*", show_default=True, help="Only types or classes that fit the pattern.")
@click.option("--again", is_flag=True, help="Also those that agree already.")
@click.option("--seconds", default=60, show_default=True, help="Longest time for one class.")
@click.option("--child", is_flag=True, hidden=True)
def main(only: str, again: bool, seconds: int, child: bool) -> None:
    """Examine every class that has not agreed yet."""
    warnings.simplefilter("ignore")
    if child:
        serve(Entry)
        return
    versions = f"`benchmarks/transformers_models.py`: transformers {version('transformers')}"
    what = "Model types of transformers"
    raise SystemExit(sweep(__file__, list(entries()), "transformers_models", what, versions, only, again, seconds))


if __name__ == "__main__":
    main()
