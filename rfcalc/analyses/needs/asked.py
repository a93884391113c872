"""What is asked of a walk back: which units of a layer, and which layers before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rfcalc.analyses.needs.extents import Wanted, patches
from rfcalc.analyses.needs.walk import each_unit, one_box
from rfcalc.analyses.receptive_field import SourceFields
from rfcalc.analyses.results import Patch
from rfcalc.errors import UsageError
from rfcalc.graph import LayerGraph

#: A position, or the first and the last of a range, for each axis along which units lie in different places.
Asked = Sequence[int | tuple[int, int]]


def needed(
    graph: LayerGraph,
    ident: int,
    fields: Sequence[SourceFields],
    axes_of: Callable[[int], Mapping[str, int]],
    asked: Asked | None,
) -> tuple[Patch, ...]:
    """What one unit of a node's output, or all that are asked for, use of every numbered layer before it.

    ``fields`` are those of the node in the inputs, ``axes_of`` gives the axes along which a layer's patches are
    measured. Raises `UsageError` for units that do not exist.
    """
    shape = graph[ident].shape
    places = _places(fields, ident, shape)
    box = each_unit(shape, places) if asked is None else one_box(shape, _positions(graph, ident, places, asked))
    return patches(graph, ident, box, wanted(graph, axes_of))


def wanted(graph: LayerGraph, axes_of: Callable[[int], Mapping[str, int]]) -> list[Wanted]:
    """All numbered layers, in order."""
    return [Wanted(record.index, record.name, record.id, axes_of(record.id)) for record in graph if record.index]


def position_axes(item: SourceFields, ident: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The axes of a node's output that a position counts along: those that move with the source, or the spatial ones.

    ``shape`` is that of the output.
    """
    found = item.tensor_axes(ident)
    if len(found) == len(item.source.axes):
        return tuple(sorted(set(found.values())))
    source = item.graph[item.source.ref.node].outputs[item.source.ref.output].shape
    rank, own = len(shape), sorted(set(item.source.axes.values()))
    if rank == len(source) and item.varies(ident) >= set(own):
        return tuple(own)
    return tuple(range(2, rank)) if rank > 3 else (1,) if rank == 3 else ()


def _places(fields: Sequence[SourceFields], ident: int, shape: Sequence[int]) -> list[int]:
    """The axes of a node's output along which its units lie in different places."""
    found: set[int] = set()
    for item in fields:
        found |= {*position_axes(item, ident, shape), *item.tensor_axes(ident).values()}
    return sorted(found)


def _positions(graph: LayerGraph, ident: int, axes: Sequence[int], asked: Asked) -> dict[int, tuple[int, int]]:
    """The positions that are asked for, by axis of the node's output."""
    name, shape = graph[ident].name, graph[ident].shape
    if len(asked) != len(axes):
        shown = "x".join(map(str, shape))
        raise UsageError(f"a box of layer {name} (output {shown}) has {len(axes)} axes, got {len(asked)}")
    found = {}
    for axis, own in zip(axes, asked, strict=True):
        first, last = own if isinstance(own, tuple) else (own, own)
        if not 0 <= first <= last < shape[axis]:
            raise UsageError(
                f"{first}..{last} is no range of positions of layer {name}: along axis {axis} they run from 0 to"
                f" {shape[axis] - 1}"
            )
        found[axis] = first, last
    return found
