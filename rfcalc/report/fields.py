"""The picture of an analysis: the fields of some of its layers, one inside the other, in the middle of the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING

from rfcalc.analyses.results import Layer, ReceptiveField
from rfcalc.report import svg, text

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis
    from rfcalc.graph import InputInfo

_MOST = 5  #: how many fields one picture shows


def field_picture(analysis: Analysis) -> str:
    """One picture for each input that layers have windows in, as SVG in HTML; "" where there are none.

    Fields in another layer are not drawn.
    """
    return "".join(f"{picture}\n" for info in analysis.inputs for picture in _picture(info, analysis.layers))


def _picture(info: InputInfo, layers: Sequence[Layer]) -> Iterator[str]:
    extents = [info.shape[axis] for axis in info.axes.values()]
    boxes = [
        svg.Box(f"{layer.name} {text.size(layer.receptive_fields[info.name])}", spans)
        for layer in _chosen(info.name, layers)
        for spans in [_spans(layer.receptive_fields[info.name], extents)]
    ]
    if boxes:
        yield svg.nested(extents, boxes, f"fields of units in the middle of {info.name} {text.cross(extents)}")


def _chosen(source: str, layers: Sequence[Layer]) -> list[Layer]:
    """A few layers with windows of different sizes, evenly from the largest down to the smallest."""
    by_size: dict[tuple[int, ...], Layer] = {}
    for layer in layers:
        field = layer.receptive_fields.get(source)
        if layer.kind != "input" and field is not None and field.stride is not None and None not in field.stride:
            by_size.setdefault(field.size, layer)
    ordered = sorted(by_size.values(), key=lambda layer: layer.receptive_fields[source].size, reverse=True)
    if len(ordered) <= _MOST:
        return ordered
    return [ordered[round(at * (len(ordered) - 1) / (_MOST - 1))] for at in range(_MOST)]


def _spans(field: ReceptiveField, extents: Sequence[int]) -> tuple[svg.Span, ...]:
    """The window of the unit that is nearest to the middle of the input, the earlier one of two."""
    found = []
    for extent, size, stride, start in zip(extents, field.size, field.stride or (), field.start or (), strict=True):
        if stride is not None and start is not None:
            unit = ceil((Fraction(extent - size, 2) - start) / stride - Fraction(1, 2))
            first = floor(start + unit * stride)
            found.append((first, first + size - 1))
    return tuple(found)


__all__ = ["field_picture"]
