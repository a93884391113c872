"""``graph.json``: a graph that rfcalc saved."""

from __future__ import annotations

from pathlib import Path

from rfcalc import graph_json
from rfcalc.graph import LayerGraph


def load(spec: str) -> LayerGraph:
    """The saved graph."""
    return graph_json.load(Path(spec))
