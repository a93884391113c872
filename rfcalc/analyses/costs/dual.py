"""Causal attention without a softmax: all queries with all keys, under a triangle of ones or of decays.

Linear attention and retention are written so, and the dual form of state-space models (T. Dao and A. Gu, *Transformers
are SSMs*, arXiv 2405.21060, section 6) within chunks, of which each leaves a state to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np

from rfcalc.analyses.costs.einsums import labels_of
from rfcalc.analyses.costs.unmasked import BETWEEN
from rfcalc.graph import LayerGraph, Node
from rfcalc.reads import Contract


class Dual(NamedTuple):
    """Attention without a softmax over ``length`` steps, the products that it is written as, and its recurrence's."""

    layer: str
    length: int
    macs: int
    recurrent_macs: int


def dual_forms(graph: LayerGraph) -> Iterator[Dual]:
    """Products of queries and keys that reach values under a triangle, with nothing that sums over keys between."""
    for values in graph:
        if not _free(values):
            continue
        length = _triangle(graph, values)
        pair = _within(graph, values, length) if length else None
        if pair is not None:
            macs, state = pair
            across = _across(graph, values)
            macs += sum(record.macs or 0 for record in across)
            steps = _whole(graph, values, length) if across else length
            yield Dual(values.name, steps, macs, 2 * state)


def _free(record: Node) -> bool:
    """Whether an op is a product of activations."""
    return bool(record.macs) and not record.params and record.kind == "matmul"


def _triangle(graph: LayerGraph, values: Node) -> int:
    """The length of a product's causal mask; 0 where it has none."""
    for read in values.reads[0]:
        for step in read.steps:
            if isinstance(step, Contract):
                mask = graph.masks[step.mask]
                length: int = mask.shape[-1]
                later = ~np.tri(length, dtype=bool)
                if length > 1 and mask.shape[-2] == length and bool((mask == later).all()):
                    return length
    return 0


def _within(graph: LayerGraph, values: Node, length: int) -> tuple[int, int] | None:
    """Multiply-adds of the products under a triangle, and the elements of the states of all steps."""
    operands = values.attrs.get("operands", ())
    if len(operands) > 2:  # all of it in one einsum
        return _in_one(values, length)
    scores = _scores(graph, values)
    if scores is None or sorted(scores.shape, reverse=True).count(length) < 2:
        return None
    pairs = prod(scores.shape)
    sizes = [(record.macs or 0) // pairs for record in (scores, values)]
    return (scores.macs or 0) + (values.macs or 0), pairs // length * prod(sizes)


def _in_one(values: Node, length: int) -> tuple[int, int] | None:
    """Of an einsum of queries, keys, values and a triangle: the step of a key is summed, that of a query is not."""
    found = labels_of(values.attrs["equation"], values.attrs["operands"])
    if found is None:
        return None
    terms, out, extent = found
    keys = [label for label in extent if label not in out and extent[label] == length]
    triangles = [
        term for term in terms for key in keys if key in term and any(extent[x] == length for x in term if x in out)
    ]
    if len(keys) != 1 or not triangles:
        return None
    summed = prod(size for label, size in extent.items() if label not in out and label not in keys)
    return values.macs or 0, prod(extent[label] for label in out) * summed


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
            found += [record] if _free(record) else []
        elif record.kind in BETWEEN:
            front += (ref.node for ref in record.inputs)
    return found[0] if len(found) == 1 else None


# --- chunks -----------------------------------------------------------------------------------------------------------

_SUMS = frozenset({"aten.add", "aten.add_"})
_ALONG = frozenset({"aten.cumsum", "aten.flip"})


def _across(graph: LayerGraph, values: Node) -> tuple[Node, ...]:
    """The products of activations by which chunks hand states on, whose result is added to that within them."""
    record, others = values, list[int]()
    while len(graph.readers[record.id]) == 1 and not others:
        after = graph[graph.readers[record.id][0]]
        if after.op in _SUMS and len(after.inputs) == 2:
            others = [ref.node for ref in after.inputs if ref.node != record.id]
        elif after.kind not in ("reshape", "cast", "copy"):
            return ()
        record = after
    found: dict[int, Node] = {}
    front, seen = others, set[int]()
    while front:
        record = graph[front.pop()]
        if record.id in seen:
            continue
        seen.add(record.id)
        if _free(record):
            found[record.id] = record
        if _free(record) or (not record.macs and (record.kind in BETWEEN or record.op in _ALONG)):
            front += (ref.node for ref in record.inputs)
    return tuple(found.values()) if len(found) > 1 else ()


def _whole(graph: LayerGraph, values: Node, length: int) -> int:
    """The steps of all chunks together: the axis that chunks and their steps are merged into."""
    front, seen = list(graph.readers[values.id]), set[int]()
    while front:
        record = graph[front.pop(0)]
        before = values.shape
        if record.id in seen or record.macs or not record.outputs:
            continue
        seen.add(record.id)
        merged = [n for n in record.shape if n % length == 0 and n // length in before and n not in before]
        if merged and record.kind == "reshape":
            return merged[0]
        if record.kind in BETWEEN:
            front += graph.readers[record.id]
    return length


__all__ = ["Dual", "dual_forms"]
