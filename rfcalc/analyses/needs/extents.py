"""How much of earlier layers the units of a layer use: the largest extents, and which units attain them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rfcalc.analyses.needs.boxes import Box, hull
from rfcalc.analyses.needs.spans import Pattern, Span, flat
from rfcalc.analyses.needs.walk import walk
from rfcalc.analyses.results import Extent, Patch
from rfcalc.graph import LayerGraph, Ref


class Wanted(NamedTuple):
    """An earlier numbered layer of which it is asked what is used, and its axes that count."""

    number: int
    name: str
    node: int
    axes: Mapping[str, int]


def patches(graph: LayerGraph, ident: int, box: Box, wanted: Sequence[Wanted]) -> tuple[Patch, ...]:
    """What units of a layer use of the wanted ones among those that it depends on, the last one first."""
    before = graph.ancestors([ident])
    earlier = [item for item in wanted if item.node in before]
    found = walk(graph, Ref(ident), box, {item.node for item in earlier})
    units = graph[ident].shape
    made = []
    for item in reversed(earlier):
        own = tuple(item.axes.values())
        used = extents(found[item.node], own, units) if item.node in found else [Extent(0, None)] * len(own)
        made.append(
            Patch(item.number, item.name, tuple([extent.size for extent in used]), tuple(item.axes), tuple(used))
        )
    return tuple(made)


def extents(boxes: Sequence[Box], axes: Sequence[int], units: Sequence[int]) -> list[Extent]:
    """What is used of these axes of a tensor by the units of a layer of that shape."""
    whole, some = hull(boxes)
    spans = [flat(whole[axis]) for axis in axes]
    alone = [_slides_alone(spans, at, units) for at in range(len(spans))]
    return [_extent(span, units, slides, some) for span, slides in zip(spans, alone, strict=True)]


def _slides_alone(spans: Sequence[Span], at: int, units: Sequence[int]) -> bool:
    """Whether a window slides along an axis of the layer, and what is used of no other axis depends on that one."""
    free = spans[at].free
    if free is None or not free.pattern.shift or len(free.pattern.lo) > units[free.axis]:
        return False
    return not any(_depends(span, free.axis) for span in spans if span is not spans[at])


def _depends(span: Span, axis: int) -> bool:
    if span.is_same:
        return False
    if span.free is not None:
        return span.free.axis == axis
    return bool(any(end.ndim > axis and end.shape[axis] > 1 for end in span.ends))


def _extent(span: Span, units: Sequence[int], slides: bool, some: np.ndarray | None) -> Extent:
    if span.is_same:
        first, last = span.ends
        return Extent(last - first + 1, (first, last))
    if slides and span.free is not None:
        return _of_window(span.free.axis, span.free.pattern, units)
    lo, hi = span.ends if some is None else np.broadcast_arrays(*span.ends, some)[:2]
    sizes = hi - lo + 1
    if some is not None:
        sizes = np.where(some, sizes, 0)
    size = int(sizes.max())
    if size <= 0:
        return Extent(0, None)
    at = np.unravel_index(int(sizes.argmax()), sizes.shape)
    where = tuple([(axis, int(place)) for axis, place in enumerate(at) if sizes.shape[axis] > 1])
    seen = sizes > 0
    return Extent(size, (int(lo[seen].min()), int(hi[seen].max())), where)


def _of_window(axis: int, pattern: Pattern, units: Sequence[int]) -> Extent:
    sizes = [last - first + 1 for first, last in zip(pattern.lo, pattern.hi, strict=True)]
    size, period = max(sizes), len(sizes)
    if size <= 0:
        return Extent(0, None)
    phases = tuple([phase for phase, own in enumerate(sizes) if own == size])
    middle = units[axis] // 2
    near = min([u for u in range(units[axis]) if u % period in phases], key=lambda u: abs(u - middle))
    return Extent(size, None, ((axis, near),), period, phases)
