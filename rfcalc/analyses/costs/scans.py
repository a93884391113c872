"""Scans over a sequence: what they cost as they are written, and as the recurrence that they stand for.

A state that goes from step to step can be worked out in parallel, for more work. Causal attention without a softmax
(linear attention, retention, the dual form of state-space models) multiplies all queries with all keys, under a
triangle of ones or of decays; step by step it keeps a matrix, to which each key and value add one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from rfcalc.analyses.costs.unmasked import BETWEEN
from rfcalc.graph import LayerGraph, Node
from rfcalc.reads import Contract


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan of ``length`` steps, with the multiply-adds of its products as they are written.

    Those of the recurrence are two a step for each element of the state: to add a key and a value to it, and to read it
    with a query. Decays are apart.
    """

    layer: str
    length: int
    macs: int
    recurrent_macs: int

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {
            "layer": self.layer,
            "length": self.length,
            "macs": self.macs,
            "recurrent_macs": self.recurrent_macs,
        }


def scans(graph: LayerGraph) -> tuple[Scan, ...]:
    """The scans of a graph, in order of execution."""
    return tuple(_linear_attention(graph))


def _linear_attention(graph: LayerGraph) -> Iterator[Scan]:
    """Products of queries and keys that reach values under a triangle, with nothing that sums over keys between."""
    for values in graph:
        if not values.macs or values.params or values.kind != "matmul":
            continue
        length = _triangle(graph, values)
        scores = _scores(graph, values) if length else None
        if scores is None or prod(scores.shape) % length or scores.shape[-2:] != (length, length):
            continue
        rows = prod(scores.shape) // length
        sizes = [(record.macs or 0) // prod(scores.shape) for record in (scores, values)]
        macs = (scores.macs or 0) + (values.macs or 0)
        recurrent = 2 * rows * prod(sizes)
        yield Scan(values.name, length, macs, recurrent)


def _triangle(graph: LayerGraph, values: Node) -> int:
    """The length of a product's causal mask; 0 where it has none, or another."""
    for read in values.reads[0]:
        for step in read.steps:
            if isinstance(step, Contract):
                mask = graph.masks[step.mask]
                length: int = mask.shape[-1]
                later = ~np.tri(length, dtype=bool)
                return length if mask.shape[-2] == length and bool((mask == later).all()) else 0
    return 0


def _scores(graph: LayerGraph, values: Node) -> Node | None:
    """The one product that a product's weights come from, without a softmax or a sum between."""
    front, seen = [ref.node for ref in values.inputs], set[int]()
    found: list[Node] = []
    while front:
        record = graph[front.pop()]
        if record.id in seen:
            continue
        seen.add(record.id)
        if record.flops.get("softmax"):
            return None
        if record.macs:
            found += [record] if record.kind == "matmul" and not record.params else []
        elif record.kind in BETWEEN:
            front += (ref.node for ref in record.inputs)
    return found[0] if len(found) == 1 else None


__all__ = ["Scan", "scans"]
