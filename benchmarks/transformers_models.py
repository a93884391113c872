"""Every model type of transformers, base and one head each, held against its modules and torch's own counter.

    python benchmarks/transformers_models.py [--only PATTERN] [--again] [--seconds N]

Each class is built on the meta device in a small configuration (`transformers_specs.py`) and given what a tokenizer
or processor gives (`transformers_inputs.py`). For each, in a process that is replaced when it dies or takes too long,

- torch runs it: on the meta device where that can serve, otherwise on the CPU with weights that are 0,
- rfcalc analyses it; its parameters are held against the sum over the distinct parameters of the module, its
  multiply-adds against half of what FlopCounterMode counts with MATH attention, but for ops without a formula there,
- where rfcalc needed real numbers, or refused, that is told with its words.

A class that torch cannot run on such inputs is listed apart, with torch's words: it says nothing about rfcalc. Writes
``benchmarks/results/transformers_models.jsonl`` and ``.md``; exits with 1 where a total is wrong or rfcalc crashes.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from examining import command  # noqa: E402  # beside this file
from transformers_specs import Entry, entries  # noqa: E402  # beside this file

main = command(
    __file__,
    __doc__,
    "Model types of transformers",
    lambda kind: f"transformers {version('transformers')}",
    entries,
    Entry,
    60,
)

if __name__ == "__main__":
    main()
