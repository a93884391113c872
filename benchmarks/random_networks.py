"""Thousands of random networks over all kinds of reading, every position of every tensor against brute force.

    python benchmarks/random_networks.py --count 10000 --seed 0 --jobs 2

Network k is drawn from seed ``--seed`` + k, so that ``--seed K --count 1`` shows one of them again. Writes
``benchmarks/results/random_networks.json`` as it goes and prints a summary; exits with 1 if a field differs. What the
file holds of the same first seed is gone on with after ``--resume``. How networks are
drawn and compared stands in ``tests/randomnets``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import rfcalc  # noqa: E402
from tests.randomnets.brute import check  # noqa: E402
from tests.randomnets.draw import draw  # noqa: E402
from tests.randomnets.kinds import KINDS  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "random_networks.json"

#: Networks that one process takes at a time.
CHUNK = 25

#: After this many networks that differ, further ones stand in the result only.
SHOWN = 20


@dataclass
class Tally:
    """What a number of networks showed."""

    networks: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    axes: Counter[str] = field(default_factory=Counter)
    finite: int = 0  #: networks judged by finite changes instead of NaN
    nodes: int = 0
    exact: int = 0
    upper_bound: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.networks += other.networks
        self.kinds += other.kinds
        self.axes += other.axes
        self.finite += other.finite
        self.nodes += other.nodes
        self.exact += other.exact
        self.upper_bound += other.upper_bound
        self.differences += other.differences


def compare(seed: int) -> Tally:
    """Draw one network and compare it."""
    net, inputs = draw(Random(seed))
    found = Tally(1, Counter(kind.name for kind in net.kinds), Counter([f"{inputs[0].ndim - 2}-D"]))
    found.finite = int(any(kind.misleads for kind in net.kinds))
    try:
        outcome = check(net, inputs, seed)
    except Exception as error:  # a network that cannot be traced is a difference, too
        texts = [f"{type(error).__name__}: {error}"]
    else:
        found.nodes, found.exact, found.upper_bound = outcome.nodes, outcome.exact, outcome.upper_bound
        texts = [str(difference) for difference in outcome.differences]
    if texts:
        shapes = [list(x.shape) for x in inputs]
        found.differences.append({"seed": seed, "inputs": shapes, "network": net.describe(), "differences": texts})
    return found


def compare_many(seeds: Sequence[int]) -> Tally:
    """Compare one network for each seed."""
    torch.set_num_threads(1)
    total = Tally()
    for seed in seeds:
        total.add(compare(seed))
    return total


def run(seeds: range, jobs: int, minutes: float | None) -> Iterator[Tally]:
    """The tallies of runs of seeds, in order, until all are done or the time is over."""
    parts = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    start = time.monotonic()
    with get_context("spawn").Pool(jobs) as pool:
        for tally in pool.imap(compare_many, parts):
            yield tally
            if minutes is not None and time.monotonic() - start > 60 * minutes:
                return


def report(total: Tally, seed: int, seconds: float) -> dict[str, Any]:
    """The result as it is committed."""
    return {
        "versions": {"rfcalc": rfcalc.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "first_seed": seed,
        "networks": total.networks,
        "networks_judged_by_finite_changes": total.finite,
        "seconds": round(seconds, 1),
        "axes": dict(sorted(total.axes.items())),
        "ops_drawn": sum(total.kinds.values()),
        "nodes_traced": total.nodes,
        "fields_compared": {"exact": total.exact, "upper_bound": total.upper_bound},
        "networks_with_differences": len(total.differences),
        "differences": total.differences,
        "ops_by_kind": {name: total.kinds[name] for name in sorted(KINDS)},
    }


def before(path: Path, seed: int) -> tuple[Tally, float]:
    """What a result that was begun says, and how long it took; nothing where it began with another seed."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if found.get("first_seed") != seed:
        return Tally(), 0.0
    fields = found["fields_compared"]
    total = Tally(found["networks"], Counter(found["ops_by_kind"]), Counter(found["axes"]))
    total.finite, total.nodes = found["networks_judged_by_finite_changes"], found["nodes_traced"]
    total.exact, total.upper_bound, total.differences = fields["exact"], fields["upper_bound"], found["differences"]
    return total, found["seconds"]


def write(path: Path, found: dict[str, Any]) -> None:
    """Write a result, all of it or nothing."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="networks to draw")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first one")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--minutes", type=float, help="stop after this long")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the result goes")
    parser.add_argument("--resume", action="store_true", help="go on with what the output holds")
    options = parser.parse_args()
    total, spent = before(options.output, options.seed) if options.resume else (Tally(), 0.0)
    start = time.monotonic() - spent
    seeds = range(options.seed + total.networks, options.seed + options.count)
    for tally in run(seeds, options.jobs, options.minutes):
        total.add(tally)
        found = report(total, options.seed, time.monotonic() - start)
        write(options.output, found)  # a run that is ended has shown what it has shown
        for difference in tally.differences if len(total.differences) < SHOWN else ():
            print(f"seed {difference['seed']}: {difference['differences'][0]}", file=sys.stderr)
        if sys.stderr.isatty():
            print(f"\r{total.networks} of {options.count}", end="", file=sys.stderr)
    found = report(total, options.seed, time.monotonic() - start)
    write(options.output, found)
    print(
        f"{found['networks']:,} networks, {found['ops_drawn']:,} ops of {len(KINDS)} kinds, "
        f"{total.exact:,} fields exact and {total.upper_bound:,} contained; "
        f"{len(total.differences)} networks differ ({found['seconds']} s)"
    )
    return 1 if total.differences else 0


if __name__ == "__main__":
    sys.exit(main())
