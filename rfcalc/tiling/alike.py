"""Whether a network treats two axes of its input alike, so that what is found along one holds along the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rfcalc import reads
from rfcalc.errors import TraceError
from rfcalc.graph import InputInfo, LayerGraph, Node
from rfcalc.tiling.sizes import Sizes
from rfcalc.tiling.walk import Traced

#: Steps about one axis; only networks of these, and of reductions and groups of channels, are compared.
_ALONG = (reads.Window, reads.Transposed, reads.Spans, reads.Slice, reads.Pad, reads.Place)


def alike(sizes: Sizes, axis: str, other: str) -> bool:
    """Whether every op reads along one axis as along the other, and computes with the same numbers, if either is long.

    Says no where it is not plain to see: where axes are cut, joined or permuted, or where what comes in beside the data
    differs along one of them.
    """
    one, two = sizes.main.axes[axis], sizes.main.axes[other]
    extent = sizes.extents[axis]
    if extent != sizes.extents[other]:
        return False
    if any(ratios.get(axis) != ratios.get(other) for ratios in sizes.ratios.values()):
        return False
    if any(item.axes.get(axis) != one or item.axes.get(other) != two for item in _cut(sizes)):
        return False
    try:
        long, wide = sizes.at({axis: 2 * extent}), sizes.at({other: 2 * extent})
    except TraceError:
        return False
    return _mirrored(sizes, long, wide, one, two)


def _cut(sizes: Sizes) -> list[InputInfo]:
    return [item for item in sizes.base.graph.inputs if item.name in sizes.ratios]


def _mirrored(sizes: Sizes, long: Traced, wide: Traced, one: int, two: int) -> bool:
    """Whether two graphs are the same with these axes exchanged."""
    if len(long.graph) != len(wide.graph) or long.noted.numbers != wide.noted.numbers:
        return False
    rank = len(sizes.main.shape)
    follows = {item.node for item in long.graph.inputs if item.name in sizes.ratios}
    for record, twin in zip(long.graph, wide.graph, strict=True):
        if record.op != twin.op or record.inputs != twin.inputs:
            return False
        if not any(ref.node in follows for ref in record.inputs):
            continue
        follows.add(record.id)
        if not _alike(long.graph, record, twin, follows, rank, (one, two)):
            return False
        if any(
            _differs(long.graph, item.shape, item.steps, (one, two)) for item in long.noted.tensors.get(record.id, ())
        ):
            return False
    return True


def _alike(graph: LayerGraph, record: Node, twin: Node, follows: set[int], rank: int, axes: tuple[int, int]) -> bool:
    one, two = axes
    for out, turned in zip(record.outputs, twin.outputs, strict=True):
        if len(out.shape) != rank or (out.shape[one], out.shape[two]) != (turned.shape[two], turned.shape[one]):
            return False
    for row, turned_row in zip(record.reads, twin.reads, strict=True):
        if len(row) != len(turned_row):
            return False
        for read, turned_read in zip(row, turned_row, strict=True):
            ref = record.inputs[read.input]
            if ref.node not in follows:
                if _differs(graph, graph[ref.node].outputs[ref.output].shape, read.steps, axes):
                    return False
            elif not _steps_alike(read.steps, turned_read.steps, one, two):
                return False
    return True


def _differs(graph: LayerGraph, shape: tuple[int, ...], steps: reads.Steps, axes: tuple[int, int]) -> bool:
    """Whether what is read of something beside the data may differ along the axes."""
    masks = {number: mask.shape for number, mask in graph.masks.items()}
    shape = reads.shape_through(shape, steps, masks)
    return any(axis < len(shape) and shape[axis] > 1 for axis in axes)


def _steps_alike(steps: Sequence[reads.Step], turned: Sequence[reads.Step], one: int, two: int) -> bool:
    """Whether steps along one axis are those of the other graph along the other axis, and the other way round."""
    if len(steps) != len(turned):
        return False
    rows: tuple[list[reads.Step], list[reads.Step]] = ([], [])
    for number, part in enumerate((steps, turned)):
        for step in part:
            if isinstance(step, reads.Reduce):
                if (one in step.axes) != (two in step.axes):
                    return False
            elif isinstance(step, reads.Group):
                if step.axis in (one, two):
                    return False
            elif not isinstance(step, _ALONG):
                return False
            elif step.axis in (one, two):
                swapped = replace(step, axis=one + two - step.axis) if number else step
                rows[number].append(swapped)
    ordered = [sorted(row, key=lambda step: getattr(step, "axis", 0)) for row in rows]
    return ordered[0] == ordered[1]
