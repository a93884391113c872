"""Write the zoo's graphs, which ship with rfcalc: `python -m rfcalc.sources.ship`."""

from __future__ import annotations

from pathlib import Path

from rfcalc import graph_json
from rfcalc.sources import resolve
from rfcalc.sources.stored import SHIPPED, packed, using
from rfcalc.zoo import CATALOG


def write(target: Path = SHIPPED) -> None:
    """Trace every architecture of the zoo on the input it was published with, and write its graph into the folder."""
    target.mkdir(exist_ok=True)
    for name in CATALOG:
        with using("nothing"):
            graph = resolve(name, None, axes=None, training=False)
        (target / f"{name}.json.gz").write_bytes(packed(graph_json.dumps(graph)))


if __name__ == "__main__":
    write()
