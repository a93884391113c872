"""One walk from a layer back over what ops read: what its units use of every tensor before it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rfcalc.analyses.needs.boxes import Box, Flats, read_by, together, whole
from rfcalc.analyses.needs.masks import Masks
from rfcalc.analyses.needs.spans import Digits, same, units
from rfcalc.graph import LayerGraph, Node, Ref

#: Along an axis of a layer, the positions (first, last) that are asked for.
Positions = Mapping[int, tuple[int, int]]


def each_unit(shape: Sequence[int], axes: Collection[int]) -> Box:
    """Every unit of a tensor by itself: its own place along these axes, and all that lies there."""
    rank = len(shape)
    own: list[Digits] = []
    for axis, extent in enumerate(shape):
        own.append(((extent, units(axis, extent, rank)),) if axis in axes else whole(extent))
    return Box(tuple(own))


def one_box(shape: Sequence[int], positions: Positions) -> Box:
    """One box of a tensor: these positions, and all that lies there."""
    own: list[Digits] = []
    for axis, extent in enumerate(shape):
        own.append(((extent, same(*positions[axis])),) if axis in positions else whole(extent))
    return Box(tuple(own))


def walk(graph: LayerGraph, ref: Ref, box: Box, wanted: Collection[int]) -> dict[int, list[Box]]:
    """What is used of the first output of each wanted node, where anything is."""
    found: dict[int, list[Box]] = {}
    masks, flats = Masks(graph.masks), Flats()
    ahead: dict[int, dict[int, list[Box]]] = {ref.node: {ref.output: [box]}}
    for ident in sorted(graph.ancestors([ref.node]) | {ref.node}, reverse=True):
        asked = ahead.pop(ident, None)
        if asked is None:
            continue
        record = graph[ident]
        for output, boxes in asked.items():
            merged = together(boxes, flats) if len(boxes) > 1 else boxes
            if output == 0 and ident in wanted:
                found[ident] = merged
            _read(graph, record, output, merged, ahead, masks)
    return found


def _read(
    graph: LayerGraph,
    record: Node,
    output: int,
    boxes: Sequence[Box],
    ahead: dict[int, dict[int, list[Box]]],
    masks: Masks,
) -> None:
    told = record.reads[output] if output < len(record.reads) else ()
    out = record.outputs[output].shape
    if 0 in out:
        return
    alone = len(told) == 1
    for read in told:
        ref = record.inputs[read.input]
        shape = graph[ref.node].outputs[ref.output].shape
        if 0 in shape:
            continue
        for box in boxes:
            before = read_by(box, read.steps, shape, out, alone, masks)
            if before:
                ahead.setdefault(ref.node, {}).setdefault(ref.output, []).extend(before)
