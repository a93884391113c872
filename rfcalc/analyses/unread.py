"""Rows at the end of an input that no output of the model reads: what windows leave over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rfcalc import reads
from rfcalc.analyses.receptive_field import Source, regions
from rfcalc.graph import LayerGraph


def unread(graph: LayerGraph, sources: Sequence[Source]) -> Mapping[str, Mapping[str, int]]:
    """How many positions at the end of each axis of each source no output reads, by name; only those that have any.

    Asked only where some convolution or pooling leaves a rest of what it slides over: nothing else loses the end of an
    input unseen. What may be read counts as read.
    """
    found: dict[str, dict[str, int]] = {}
    if not graph.outputs or not _leaves_some(graph) or any(ref.output for ref in graph.outputs):
        return found
    for source in sources:
        shape = graph[source.ref.node].outputs[source.ref.output].shape
        last = dict.fromkeys(source.axes, -1)
        for ref in graph.outputs:
            for axis, (first, stop) in regions(graph, source, ref.node).items():
                seen = stop[first <= stop]
                last[axis] = max(last[axis], int(seen.max()) if seen.size else -1)
        left = {axis: shape[source.axes[axis]] - 1 - at for axis, at in last.items()}
        if any(at >= 0 for at in last.values()) and any(left.values()):  # else it decides nothing
            found[source.name] = {axis: count for axis, count in left.items() if count}
    return found


def _leaves_some(graph: LayerGraph) -> bool:
    """Whether the last window of any axis ends before the axis does."""
    masks = {number: mask.shape for number, mask in graph.masks.items()}
    for record in graph:
        for read in (read for row in record.reads for read in row):
            if not any(isinstance(step, reads.Window) for step in read.steps):
                continue
            ref = record.inputs[read.input]
            shape = graph[ref.node].outputs[ref.output].shape
            for step in read.steps:
                if isinstance(step, reads.Window):
                    end = step.stride * (step.out - 1) - step.before + step.dilation * (step.kernel - 1)
                    if 0 <= end < shape[step.axis] - 1:
                        return True
                shape = reads.shape_after(shape, step, masks)
    return False
