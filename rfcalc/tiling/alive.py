"""Bytes of a forward pass at its peak, as a simple bound: what is alive between ops, from shapes and dtypes alone."""

from __future__ import annotations

from rfcalc.graph import ELEMENT_BYTES, LayerGraph, Ref

#: Kinds whose results lie in memory that is there already.
_VIEWS = frozenset({"reshape"})


def peak_bytes(graph: LayerGraph) -> int | None:
    """Parameters, buffers, and the most that inputs and activations take together; None where a dtype has no size.

    An activation is alive from the op that computes it to the last that reads it, or reads a view of it. What kernels
    take for themselves besides, and what an allocator keeps, is not known here.
    """
    homes: dict[Ref, Ref] = {}
    last: dict[Ref, int] = {}
    sizes: dict[Ref, int] = {}
    for record in graph:
        for ref in record.inputs:
            last[homes.get(ref, ref)] = record.id
        for number, out in enumerate(record.outputs):
            ref = Ref(record.id, number)
            if record.kind in _VIEWS and record.inputs:
                homes[ref] = homes.get(record.inputs[0], record.inputs[0])
                continue
            size = ELEMENT_BYTES.get(out.dtype)
            if size is None:
                return None
            for extent in out.shape:
                size *= extent
            sizes[ref] = size
            last.setdefault(ref, record.id)
    end = max(graph.records, default=0) + 1
    for ref in graph.outputs:
        last[homes.get(ref, ref)] = end
    ends: dict[int, list[Ref]] = {}
    for ref, at in last.items():
        ends.setdefault(at, []).append(ref)
    alive = most = 0
    for record in graph:
        alive += sum(sizes.get(Ref(record.id, number), 0) for number in range(len(record.outputs)))
        most = max(most, alive)
        alive -= sum(sizes.get(ref, 0) for ref in ends.get(record.id, ()))
    weights = sum(item.nbytes for item in (*graph.params, *graph.buffers) if not item.shared_with and item.dtype)
    return most + weights
