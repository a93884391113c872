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


#: Kinds of op whose outputs are a network's "activations" in the sense of Radosavovic et al. (2020, arXiv:2003.13678).
_PRODUCTS = frozenset({"conv", "conv_transpose", "linear", "matmul", "attention", "recurrent"})


def activations(graph: LayerGraph, records: Iterable[Node] | None = None) -> tuple[int, int | None]:
    """Elements and bytes of the outputs of convolutions and matrix products; bytes None for a dtype of unknown size.

    RegNet's paper counts those of convolutions, timm's benchmarks those of matrix products, too. Attention has two: its
    scores, whether a kernel keeps them or not, and its output.
    """
    elements, size = 0, 0
    known = True
    for record in graph if records is None else records:
        if record.kind not in _PRODUCTS or not record.outputs or not record.macs:
            continue
        made = _extent(record.outputs[0].shape) + _scores(graph, record)
        each = ELEMENT_BYTES.get(record.outputs[0].dtype)
        elements += made
        known = known and each is not None
        size += made * (each or 0)
    return elements, size if known else None


def _scores(graph: LayerGraph, record: Node) -> int:
    """How many scores an attention computes: each takes a product along a query and one along a value."""
    if record.kind != "attention" or len(record.inputs) < 2 or not record.macs:
        return 0
    query, *_ = shapes = [graph[ref.node].outputs[ref.output].shape for ref in record.inputs]
    value = shapes[2] if len(shapes) > 2 else query
    return record.macs // (query[-1] + value[-1])


def _extent(shape: Iterable[int]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total
