"""Bytes of the tensors that a forward pass computes, by op (no torch, no allocator: from shapes and dtypes alone)."""

from __future__ import annotations

from collections.abc import Iterable

from rfcalc.graph import ELEMENT_BYTES, LayerGraph, Node, Ref

#: Kinds that compute no numbers of their own: what they give is their input's, seen or laid out another way.
_NOTHING_NEW = frozenset({"input", "reshape", "copy"})


def used_outputs(graph: LayerGraph) -> set[Ref]:
    """The outputs of ops that a later op reads or that the model gives back."""
    return {*graph.outputs, *(ref for record in graph for ref in record.inputs)}


def activation_bytes(records: Iterable[Node], used: set[Ref]) -> int | None:
    """Bytes of what these ops compute; None where a dtype has no known size.

    Counts every output that is used, once: in place or not makes no difference, and neither does when memory could be
    given back. Inputs, parameters, views, reshapes, plain copies and dropout at inference compute nothing.
    """
    total = 0
    for record in records:
        if record.kind in _NOTHING_NEW or record.attrs.get("train") is False:
            continue
        for number, out in enumerate(record.outputs):
            if Ref(record.id, number) in used:
                size = ELEMENT_BYTES.get(out.dtype)
                if size is None:
                    return None
                for extent in out.shape:
                    size *= extent
                total += size
    return total
