"""The architecture as boxes and arrows: numbered layers, folded by module to a depth, and where a picture puts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import networkx as nx

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.results import Layer
from rfcalc.analyses.rollup import fold
from rfcalc.analyses.rollup import parts as _parts
from rfcalc.report import text

_MOST_BOXES = 48  #: that a picture has unless it is told how deep to go
_PASSING = 0.25  #: columns that an arrow takes on its way past a row


@dataclass(frozen=True, slots=True)
class Item:
    """A box: a numbered layer, or ``layers`` of them in one module.

    The fields and the shape are those of its last layer. ``macs`` is None where one of its layers has no count.
    """

    id: int
    name: str
    kind: str
    layers: int
    index: int | None
    shape: tuple[int, ...]
    fields: tuple[str, ...]
    params: int
    macs: int | None


@dataclass(frozen=True, slots=True)
class Arrow:
    """Box ``head`` reads box ``tail``; ``back`` where that lies later, as for a module that is called again."""

    tail: int
    head: int
    back: bool = False


@dataclass(frozen=True, slots=True)
class Diagram:
    """The boxes in execution order and the arrows between them."""

    model: str
    items: tuple[Item, ...]
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True)
class Layout:
    """Places of boxes, (column, row) with row 0 on top, and the points an arrow bends at on its way."""

    places: dict[int, tuple[float, float]]
    bends: dict[tuple[int, int], tuple[tuple[float, float], ...]]

    @property
    def columns(self) -> tuple[float, float]:
        """The leftmost and the rightmost place."""
        across = [x for x, _ in (*self.places.values(), *(point for way in self.bends.values() for point in way))]
        return min(across), max(across)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return round(max(y for _, y in self.places.values())) + 1


def diagram(analysis: Analysis, depth: int | None = None) -> Diagram:
    """The numbered layers of a model, those of one module in one box if its name has more than ``depth`` parts."""
    groups: dict[tuple[bool, str], list[Layer]] = {}  # an input may have the name of a module
    for layer in analysis.layers:
        is_input = layer.kind == "input"
        groups.setdefault((is_input, layer.name if is_input else fold(layer.name, depth)), []).append(layer)
    box = {layer.node: at for at, layers in enumerate(groups.values()) for layer in layers}
    graph = analysis.layer_graph
    edges = {(graph[ref.node].owner, record.owner) for record in graph for ref in record.inputs}
    pairs = {(box[tail], box[head]) for tail, head in edges if tail in box and head in box}
    return Diagram(
        text.titled(analysis.model),
        tuple(_item(at, name, layers) for at, ((_, name), layers) in enumerate(groups.items())),
        tuple(Arrow(tail, head, tail > head) for tail, head in sorted(pairs) if tail != head),
    )


def usual_depth(analysis: Analysis) -> int | None:
    """How deep to fold a network so that a picture of it can be read: not at all, or to the deepest depth that does."""
    names = [layer.name for layer in analysis.layers]
    if len(names) <= _MOST_BOXES:
        return None
    depths = range(max(len(_parts(name)) for name in names), 0, -1)
    return next((depth for depth in depths if len({fold(name, depth) for name in names}) <= _MOST_BOXES), 1)


def _item(ident: int, name: str, layers: Sequence[Layer]) -> Item:
    last = layers[-1]
    counts = [layer.macs for layer in layers]
    known = [count for count in counts if count is not None]
    return Item(
        id=ident,
        name=name if len(layers) > 1 else last.name,
        kind=last.kind if len(layers) == 1 else "module",
        layers=len(layers),
        index=last.index if len(layers) == 1 else None,
        shape=last.output_shape,
        fields=_fields(last),
        params=sum(layer.params for layer in layers),
        macs=sum(known) if len(known) == len(counts) else None,
    )


def _fields(layer: Layer) -> tuple[str, ...]:
    """The field in each source that the layer sees; named where there are several sources."""
    seen = [item for item in layer.receptive_fields.values() if any(item.size)]
    several = len(layer.receptive_fields) > 1
    return tuple(f"{text.clean(item.source)} {text.size(item)}" if several else text.size(item) for item in seen)


def label(item: Item) -> list[str]:
    """The lines of a box: its name, its field, its output, what it costs."""
    name = text.clean(item.name)
    head = f"{name} ({text.plural(item.layers, 'layer')})" if item.index is None else f"{item.index} {name}"
    lines = [head, f"field {'; '.join(item.fields)}" if item.fields else "sees no input", text.cross(item.shape)]
    macs = _short(item.macs)
    if item.params or item.macs != 0:
        lines.append(f"{_short(item.params)} params, {macs} multiply-adds")
    return lines


def _short(value: int | None) -> str:
    return text.count(value) if value is None else text.short(value) or text.count(value)


# --- where the boxes go -----------------------------------------------------------------------------------------------


def layout(found: Diagram) -> Layout:
    """Boxes in rows below everything they read. Arrows over several rows pass each of them in a place of their own.

    Within a row places are taken in execution order, in which a model writes one branch after the other, so that
    branches do not cross. Arrows from one box go together as far as they can.
    """
    row = _rows(found)
    spots: dict[int, dict[tuple[int, bool], None]] = {}
    for ident, at in row.items():
        spots.setdefault(at, {})[ident, True] = None
    for arrow in found.arrows:
        for at in range(row[arrow.tail] + 1, row[arrow.head]):
            spots[at][arrow.tail, False] = None
    places = {(*spot, at): (x, float(at)) for at, line in spots.items() for spot, x in _across(sorted(line)).items()}
    return Layout(
        {ident: places[ident, True, at] for ident, at in row.items()},
        {
            (arrow.tail, arrow.head): tuple(
                places[arrow.tail, False, at] for at in range(row[arrow.tail] + 1, row[arrow.head])
            )
            for arrow in found.arrows
        },
    )


def _rows(found: Diagram) -> dict[int, int]:
    """The row of each box: one below the lowest box that it reads."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(item.id for item in found.items)
    graph.add_edges_from((arrow.tail, arrow.head) for arrow in found.arrows if not arrow.back)
    return {ident: at for at, group in enumerate(nx.topological_generations(graph)) for ident in group}


def _across(line: Sequence[tuple[int, bool]]) -> dict[tuple[int, bool], float]:
    """Places along one row, boxes and passing arrows, around 0."""
    ends = list(accumulate(1.0 if is_box else _PASSING for _, is_box in line))
    starts = [0.0, *ends[:-1]]
    return {spot: (start + end - ends[-1]) / 2 for spot, start, end in zip(line, starts, ends, strict=True)}
