"""Bytes of the tensors that a forward pass computes, by op (no torch, no allocator: from shapes and dtypes alone)."""

from __future__ import annotations

from collections.abc import Iterable

from rfcalc.graph import LayerGraph, Node, Ref

#: Kinds that compute no numbers of their own: what they give is their input's, seen or laid out another way.
_NOTHING_NEW = frozenset({"input", "reshape", "copy"})
#: Bytes of one element, by torch's name of the dtype.
_BYTES = {
    **dict.fromkeys(("bool", "uint8", "int8", "quint8", "qint8"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32", "qint32", "complex32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}


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
                size = _BYTES.get(out.dtype)
                if size is None:
                    return None
                for extent in out.shape:
                    size *= extent
                total += size
    return total
