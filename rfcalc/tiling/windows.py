"""What is said of windows that lie otherwise in a tile than in the whole: how wide they are, and what pads for them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from rfcalc import reads
from rfcalc.graph import LayerGraph, Node

#: How many layers before windows are looked through for the padding that makes them fit.
_BEFORE = 12


def windows_in_words(whole: LayerGraph, tile: LayerGraph, record: Node, twin: Node, axis: str) -> str | None:
    """What a reshape of the axis into windows does; None where it makes none. ``twin`` is the record in the tile."""
    found = next(_windows(record, twin), None)
    if found is None:
        return None
    at, width = found
    text = f"cuts {axis} into windows of {width}"
    padding = _padding(whole, record, at)
    if padding is None:
        return f"{text} that lie otherwise in a tile than in the whole"
    layer, size = padding
    other = next((one for one in tile if one.name == layer.name), None)
    extents = [_extent(graph, axis) for graph in (whole, tile)]
    grown = 0 if other is None else size - _padding_of(other, at)
    text = f"{text}, for which {layer.name} pads it"
    if None in extents or grown <= 0:
        return text
    pixels = Fraction((extents[0] or 0) - (extents[1] or 0), grown) * width
    return f"{text}; at sizes that are multiples of {pixels} it does not" if pixels.denominator == 1 else text


def _windows(record: Node, twin: Node) -> Iterator[tuple[int, int]]:
    """Axes that a reshape cuts into a number of windows that differs, and their width, which does not."""
    for row, twin_row in zip(record.reads, twin.reads, strict=False):
        for read, twin_read in zip(row, twin_row, strict=False):
            for step, against in zip(read.steps, twin_read.steps, strict=False):
                if not (isinstance(step, reads.Reshape) and isinstance(against, reads.Reshape)):
                    continue
                if (len(step.shape_in), len(step.shape_out)) != (len(against.shape_in), len(against.shape_out)):
                    continue
                for left, right in reads.groups_of(step.shape_in, step.shape_out):
                    kept = [step.shape_out[one] for one in right if step.shape_out[one] == against.shape_out[one] > 1]
                    if len(left) == 1 and len(right) == 2 and len(kept) == 1:
                        yield left[0], kept[0]


def _padding(graph: LayerGraph, record: Node, axis: int) -> tuple[Node, int] | None:
    """The nearest layer before that pads this axis behind its end, and what it had; the axis keeps its place."""
    for one in sorted(graph.ancestors([record.id]), reverse=True)[:_BEFORE]:
        if _added(graph[one], axis) > 0:
            return graph[one], _padding_of(graph[one], axis)
    return None


def _pads(record: Node, axis: int) -> Iterator[reads.Pad]:
    for row in record.reads[:1]:
        for read in row:
            yield from (step for step in read.steps if isinstance(step, reads.Pad) and step.axis == axis)


def _added(record: Node, axis: int) -> int:
    """By how much a layer pads an axis behind its end alone."""
    return sum(step.after for step in _pads(record, axis) if not step.before)


def _padding_of(record: Node, axis: int) -> int:
    """What an axis had before it was padded."""
    return record.outputs[0].shape[axis] - _added(record, axis)


def _extent(graph: LayerGraph, axis: str) -> int | None:
    """Pixels of the input along an axis of this name."""
    found = [item.shape[item.axes[axis]] for item in graph.inputs if axis in item.axes]
    return max(found, default=None)


__all__ = ["windows_in_words"]
