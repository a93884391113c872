"""``graph.json``: a graph that rfcalc saved."""

from __future__ import annotations

from pathlib import Path

import networkx as nx

from rfcalc import graph


def matches(spec: str) -> bool:
    """Whether the text names a JSON file."""
    return spec.endswith(".json")


def load(spec: str) -> nx.DiGraph[int]:
    """The saved graph."""
    return graph.load(Path(spec))
