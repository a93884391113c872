"""Small pictures for notebooks, made of plain text: fields inside an input, and a map of contributions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rfcalc.analyses.results import Region
from rfcalc.report.formats.html import escape

_WIDE = 240.0  #: the longer side of the input, in SVG units
_BAND = 24.0  #: the height of an input with one axis
_THIN = 6.0  #: the shorter side of an input is not less
_MARGIN = 2.0
_LINE = 16.0  #: height of a line of the legend
_LEGEND = 320.0  #: width of the legend
_COLORS = ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#b07aa1")  # Tableau's, which differ in lightness
_FIELD, _HEAT = "#00a0d0", "#d03020"
_FAINT = 0.005  #: what is less than this of the largest is not drawn

Span = tuple[int, int]  #: first and last index, both included; they may lie outside the input


@dataclass(frozen=True, slots=True)
class Box:
    """A field to draw: what the legend says of it, and its span along each axis, not cut at the borders."""

    label: str
    spans: tuple[Span, ...]


def nested(extents: Sequence[int], boxes: Sequence[Box], caption: str) -> str:
    """Fields inside an input of these extents, the first below the others; what lies outside the input is cut off.

    Of more than two axes the last two are drawn, and one axis is a band.
    """
    frame = _Frame(extents)
    shapes, legend = [frame.input()], []
    for box, color in zip(boxes, _COLORS, strict=False):
        place = frame.rectangle([(first, last + 1) for first, last in box.spans])
        shapes.append(f'<rect {place} fill="{color}" fill-opacity="0.2" stroke="{color}" stroke-width="1.5"/>')
        legend.append(f'<tspan fill="{color}">\u25a0</tspan> {escape(box.label)}')
    return frame.picture(shapes, legend, caption)


def heat(rows: Sequence[Sequence[float]], extents: Sequence[int], region: Sequence[Region], caption: str) -> str:
    """A map in which 1 is the largest value, over an input of these extents, with the frame of a region."""
    frame = _Frame(extents)
    shapes = [frame.input(), *frame.cells(rows)]
    spans = [(span[0], span[1] + 1) for span in region if span is not None]
    if spans and len(spans) == len(region):
        shapes.append(f'<rect {frame.rectangle(spans)} fill="none" stroke="{_FIELD}" stroke-width="1.5"/>')
    return frame.picture(shapes, [], caption)


class _Frame:
    """Where the pixels of an input lie in a picture."""

    def __init__(self, extents: Sequence[int]) -> None:
        self._flat = len(extents) == 1
        self._extents = tuple(extents[-2:])
        scale = _WIDE / max(self._extents)
        sides = [max(_THIN, extent * scale) for extent in self._extents]
        self._height, self._width = (_BAND, sides[0]) if self._flat else sides

    def rectangle(self, spans: Sequence[Span]) -> str:
        """Position and size of the part of a box that lies in the input; ``spans`` end before their second number."""
        edges = []
        for (low, high), extent in zip(spans[-2:], self._extents, strict=True):
            edges.append((min(max(low, 0), extent) / extent, min(max(high, 0), extent) / extent))
        (top, bottom), (left, right) = [(0.0, 1.0), *edges] if self._flat else edges
        return self._place(left, top, right, bottom)

    def _place(self, left: float, top: float, right: float, bottom: float) -> str:
        x, y = _MARGIN + left * self._width, _MARGIN + top * self._height
        wide, high = (right - left) * self._width, (bottom - top) * self._height
        return f'x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{high:.2f}"'

    def input(self) -> str:
        """The input itself."""
        return f'<rect {self._place(0, 0, 1, 1)} fill="#888" fill-opacity="0.08" stroke="#888"/>'

    def cells(self, rows: Sequence[Sequence[float]]) -> Iterator[str]:
        """The cells of a map, on a scale of square roots; neighbours of one shade are one rectangle."""
        for row, values in enumerate(rows):
            shades = [round(value**0.5, 2) for value in values]
            at = 0
            for shade, run in groupby(shades):
                first, at = at, at + len(list(run))
                if shade >= _FAINT:
                    place = self._place(first / len(values), row / len(rows), at / len(values), (row + 1) / len(rows))
                    yield f'<rect {place} fill="{_HEAT}" fill-opacity="{shade:g}"/>'

    def picture(self, shapes: Sequence[str], legend: Sequence[str], caption: str) -> str:
        """The whole picture, with what it shows as its caption and for those who do not see it."""
        wide = self._width + 2 * _MARGIN + (_LEGEND if legend else 0)
        high = max(self._height, _LINE * len(legend)) + 2 * _MARGIN
        beside = self._width + 3 * _MARGIN + 6
        words = "".join(
            f'<text x="{beside:.2f}" y="{_LINE * number - 3:.2f}" font-size="12" fill="currentColor">{line}</text>'
            for number, line in enumerate(legend, 1)
        )
        return (
            f'<figure style="margin:0 0 1em 0"><svg xmlns="http://www.w3.org/2000/svg" role="img" width="{wide:.0f}"'
            f' height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}" aria-label="{escape(caption)}"'
            f' font-family="system-ui, sans-serif">{"".join(shapes)}{words}</svg>'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )


__all__ = ["Box", "Span", "heat", "nested"]
