"""Which unit of which layer, seen from which input: where it is in the tensor, and its theoretical field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import TypeAlias

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.receptive_field import Source, SourceFields, analyse_source
from rfcalc.analyses.results import Layer, ReceptiveField
from rfcalc.analyses.summary import last_spatial_layer
from rfcalc.errors import UsageError
from rfcalc.graph import InputInfo, Node, Ref

#: A unit: one index for each axis of a layer's output, a whole axis where a position does not count along it.
Unit: TypeAlias = tuple[int | slice, ...]


@dataclass(frozen=True)
class Target:
    """A unit of a layer, and the input (the ``number``-th) that it is seen from; ``center`` is a pixel of it."""

    layer: Layer
    node: Node
    at: tuple[int, ...]
    unit: Unit
    source: InputInfo
    number: int
    field: ReceptiveField
    center: tuple[int, ...]


def find(analysis: Analysis, layer: str | int | None, at: Sequence[int] | None, source: str | None) -> Target:
    """The unit that is meant. Raises `UsageError` for names and positions that do not exist or mean several things."""
    number = _source(analysis.inputs, source)
    info = analysis.inputs[number]
    chosen = _layer(analysis, layer)
    node = analysis.layer_graph[chosen.face]
    seen = Source(info.name, Ref(info.node), info.axes)
    fields = analyse_source(analysis.layer_graph, seen, lambda record: record.id == node.id)
    counted = analysis.position_axes(chosen, info.name)
    place = tuple(node.shape[axis] // 2 for axis in counted) if at is None else tuple(at)
    field = analysis.with_region((chosen,), place)[0].receptive_fields[info.name]
    position = dict(zip(counted, place, strict=True))
    unit = tuple(position.get(axis, slice(None)) for axis in range(len(node.shape)))
    return Target(chosen, node, place, unit, info, number, field, _center(info, fields, node, field, position))


def _source(inputs: Sequence[InputInfo], name: str | None) -> int:
    """The number of the input to differentiate with respect to."""
    usable = {info.name: at for at, info in enumerate(inputs) if info.axes and "float" in info.dtype}
    if name is None and len(usable) == 1:
        return next(iter(usable.values()))
    if name in usable:
        return usable[name]
    if not usable:
        kinds = ", ".join(f"{info.name} {info.dtype}" for info in inputs) or "none"
        raise UsageError(
            f"no input has axes to measure fields along and numbers to differentiate with respect to ({kinds});"
            " --axes names axes"
        )
    wrong = "there are several inputs" if name is None else f"there is no gradient with respect to an input {name!r}"
    raise UsageError(f"{wrong}: choose one with --source, of {', '.join(usable)}")


def _layer(analysis: Analysis, asked: str | int | None) -> Layer:
    if asked is None:
        found = last_spatial_layer(analysis.layers) or last_spatial_layer(analysis.ops)
        if found is None:
            raise UsageError(f"every layer of {analysis.model} sees everything at once: name one with --layer")
        return found
    chosen = analysis.select(asked)
    if len(chosen) > 1:
        names = ", ".join(layer.name for layer in chosen[:3])
        raise UsageError(f"--layer {asked!r} names {len(chosen)} layers ({names}, ...), it must name one")
    return chosen[0]


def _center(
    info: InputInfo, fields: SourceFields, node: Node, field: ReceptiveField, position: Mapping[int, int]
) -> tuple[int, ...]:
    """The pixel in the middle of the unit's window, or of its region where windows differ; the later one of two."""
    axes = fields.tensor_axes(node.id)
    strides, centers = field.stride or (), field.center or ()
    found = []
    for at, (name, axis) in enumerate(info.axes.items()):
        stride, center = (strides[at], centers[at]) if field.period[at] == 1 and strides and centers else (None, None)
        if stride is not None and center is not None and axes.get(name) in position:
            middle = Fraction(center) + position[axes[name]] * Fraction(stride)
        else:
            span = (field.region or ())[at] or (0, info.shape[axis] - 1)
            middle = Fraction(sum(span), 2)
        found.append(min(max(0, floor(middle + Fraction(1, 2))), info.shape[axis] - 1))
    return tuple(found)
