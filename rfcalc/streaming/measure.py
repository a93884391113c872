"""`rfcalc.stream`: from a graph to what each output and layer looks back at and ahead to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.results import Number
from rfcalc.analyses.views import views
from rfcalc.errors import UsageError
from rfcalc.graph import InputInfo, LayerGraph, Node, Ref
from rfcalc.streaming.blame import breaks
from rfcalc.streaming.caches import delays, states
from rfcalc.streaming.places import Place, along, end_of, place_of
from rfcalc.streaming.results import Border, Chunk, Stream, Streaming

_TIME = ("T", "L", "time")  #: what an axis of time is called
ALIGNMENTS = ("start", "end")  #: from which end of the source the places of units are told


@dataclass(frozen=True)
class Timeline:
    """The axis of an input that is time."""

    source: InputInfo
    name: str
    called: str = ""  #: what the user calls the only axis of an input

    @property
    def label(self) -> str:
        return self.called or self.name

    @property
    def axis(self) -> int:
        return self.source.axes[self.name]

    @property
    def extent(self) -> int:
        return self.source.shape[self.axis]


@dataclass(frozen=True)
class Walked:
    """The places of all tensors along a timeline, and the positions that the units of each output wait for.

    ``indexed`` are the places from the start, by which what a layer keeps and what waits for what are told.
    """

    line: Timeline
    places: Mapping[int, tuple[Place | None, ...]]
    indexed: Mapping[int, tuple[Place | None, ...]]
    needs: Mapping[Ref, tuple[int, ...]]


def stream(
    graph: LayerGraph,
    *,
    axis: str | None = None,
    source: str | None = None,
    rate: Number | None = None,
    chunk: int | None = None,
    layer: str | int | None = None,
    align: str = "start",
) -> Streaming:
    """Look-back, look-ahead, delay and state of every output and layer along one axis of one input.

    ``axis`` and ``source`` are names; each may be left out where there is one. ``rate`` is in positions a second,
    ``chunk`` in positions; ``layer`` restricts the layers to those that a number, a name or a pattern means. ``align``
    tells from which end units have their places: with "end", the hop of the last unit ends with the last position that
    is read, as is meant where nothing is padded. Raises `UsageError` for names that do not exist, and where it is not
    clear which axis is meant.
    """
    if rate is not None and rate <= 0:
        raise UsageError(f"a rate is above 0 positions a second, got {rate}")
    if chunk is not None and chunk < 1:
        raise UsageError(f"a chunk holds at least 1 position, got {chunk}")
    line = timeline(graph, axis, source)
    analysis = Analysis(graph)
    chosen = analysis.layers if layer is None else analysis.select(layer)
    walked = walk(graph, line, checked(align))
    rows = [_stream(graph, walked, graph[item.face], 0, item.name, item.index) for item in chosen]
    outputs = {
        ref: _stream(graph, walked, graph[ref.node], ref.output, graph[ref.node].name, None, walked.needs.get(ref, ()))
        for ref in dict.fromkeys(graph.outputs)
    }
    seen = {ref: one for ref, one in outputs.items() if one is not None}
    if not seen:
        raise UsageError(f"no output of {graph.model} depends on {line.source.name}: there is nothing to stream")
    return Streaming(
        model=graph.model,
        source=line.source.name,
        axis=line.label,
        shape=line.source.shape,
        extent=line.extent,
        outputs=tuple(seen.values()),
        layers=tuple([row for row in rows if row is not None]),
        state=tuple(states(graph, walked.indexed)),
        delays=tuple(delays(graph, walked.indexed)),
        chunk=_chunk(walked, seen, chunk),
        rate=rate,
        align=align,
        notices=tuple(graph.meta.get("notices", ())),
    )


def checked(align: str) -> str:
    """One of the two ends. Raises `UsageError` for anything else."""
    if align not in ALIGNMENTS:
        raise UsageError(f"places are told from one end of the source, align {' or '.join(ALIGNMENTS)}, not {align!r}")
    return align


def timeline(graph: LayerGraph, axis: str | None, source: str | None) -> Timeline:
    """The axis that is meant. Raises `UsageError` naming what there is."""
    inputs = [item for item in graph.inputs if item.axes] if source is None else _named(graph, source)
    if axis is not None:
        having = [item for item in inputs if axis in item.axes]
        if not having and axis in _TIME:
            having = [item for item in inputs if len(_times(item)) == 1]
        inputs = having or _no_axis(inputs, axis)
    if not inputs:
        raise UsageError(
            f"no input of {graph.model} has axes of positions: name one, as in --axes T=1 (a name and its axis)"
        )
    if len(inputs) > 1:
        names = ", ".join(item.name for item in inputs)
        raise UsageError(f"{graph.model} has several inputs: say which one is the stream, --source with one of {names}")
    item = inputs[0]
    if axis is not None and axis in item.axes:
        return Timeline(item, axis)
    chosen = _times(item)
    if len(chosen) != 1:
        known = ", ".join(f"{name} (axis {place})" for name, place in item.axes.items())
        raise UsageError(f"which axis of {item.name} is time? Say --axis with one of {known}")
    return Timeline(item, chosen[0], axis or "")


def _times(item: InputInfo) -> list[str]:
    """The axes of an input that may be time: the only one, or those called so; the first of three, of a video."""
    if len(item.axes) == 1:
        return list(item.axes)
    return [name for name in item.axes if name in _TIME or (name == "D" and len(item.axes) == 3)]


def _named(graph: LayerGraph, source: str) -> list[InputInfo]:
    found = [item for item in graph.inputs if item.name == source]
    if not found:
        known = ", ".join(item.name for item in graph.inputs)
        raise UsageError(f"{graph.model} has no input {source!r}; it has {known}")
    return found


def _no_axis(inputs: Iterable[InputInfo], axis: str) -> list[InputInfo]:
    known = list(dict.fromkeys(name for item in inputs for name in item.axes))
    near = difflib.get_close_matches(axis, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}; name one with --axes T=2"
    raise UsageError(f"no input has an axis {axis!r}: {hint}")


def walk(graph: LayerGraph, line: Timeline, align: str = "start") -> Walked:
    """The places of all tensors along one axis of an input."""
    places: dict[int, tuple[Place | None, ...]] = {}
    indexed: dict[int, tuple[Place | None, ...]] = {}
    needs: dict[Ref, tuple[int, ...]] = {}
    wanted = set(graph.outputs)
    for record, found in views(graph, Ref(line.source.node), line.axis):
        if not any(found):
            continue
        extent = end_of(_sources(record, indexed), line.extent)
        places[record.id] = tuple([None if view is None else place_of(view, extent, align) for view in found])
        indexed[record.id] = tuple([None if view is None else place_of(view, extent) for view in found])
        for number, view in enumerate(found):
            place = places[record.id][number]
            if Ref(record.id, number) in wanted and view is not None and place is not None and place.axis is not None:
                _, last = along(view, place.axis)
                needs[Ref(record.id, number)] = tuple((last + 1).tolist())
    return Walked(line, places, indexed, needs)


def _sources(record: Node, places: Mapping[int, tuple[Place | None, ...]]) -> list[Place]:
    """The places of what a layer reads, where it sees anything of the source."""
    found = [places[ref.node][ref.output] for ref in record.inputs if ref.output < len(places.get(ref.node, ()))]
    return [place for place in found if place is not None]


def _stream(
    graph: LayerGraph,
    walked: Walked,
    record: Node,
    output: int,
    name: str,
    index: int | None,
    needs: tuple[int, ...] = (),
) -> Stream | None:
    """One tensor; None for one that sees nothing of the source."""
    found = walked.places.get(record.id, ())
    place = found[output] if output < len(found) else None
    if place is None:
        return None
    shape = record.outputs[output].shape
    if not place.placed:
        status = "upper_bound" if place.bound else "exact"
        return Stream(
            name,
            output,
            index,
            shape,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            status=status,
            masked=place.masked,
        )
    blamed = breaks(graph, walked.places, record.id, output)
    return Stream(
        layer=name,
        output=output,
        index=index,
        shape=shape,
        axis=place.axis,
        hop=_number(place.hop),
        look_back=None if place.back is None else max(0, place.back),
        look_ahead=None if place.ahead is None else max(0, place.ahead),
        delay=None if place.wait is None else max(0, place.wait),
        first=place.first,
        causal=place.causal,
        chunk=place.chunk,
        borders=tuple(_borders(place)),
        breaks=blamed,
        status="upper_bound" if place.bound else "exact",
        masked=place.masked,
        sized=place.here,
        complete=needs,
        offset=place.offset,
    )


def _borders(place: Place) -> Iterable[Border]:
    for side, edge in (("start", place.start), ("end", place.end)):
        if edge is not None:
            yield Border(side, edge.units, edge.back, edge.ahead)


def _number(value: Fraction | None) -> Number | None:
    return int(value) if value is not None and value.denominator == 1 else value


def _chunk(walked: Walked, outputs: Mapping[Ref, Stream], size: int | None) -> Chunk:
    """The chunks that work for all layers, and one of them."""
    found = [place for row in walked.places.values() for place in row if place is not None and place.axis is not None]
    least = lcm(*{place.hop.numerator for place in found if place.hop is not None})
    size = least if size is None else size
    fits = size % least == 0
    hops = [one.hop for one in outputs.values()]
    units = tuple([int(size / Fraction(hop)) if fits and hop is not None else None for hop in hops])
    sides = [_around(walked.places[ref.node][ref.output], size) for ref in outputs]
    back, ahead = (_most([pair[side] for pair in sides]) for side in (0, 1))
    latency = None if ahead is None else size + ahead
    works = fits and ahead is not None
    return Chunk(size, least, works, units, latency, (_rounded(back, least), _rounded(ahead, least)))


def _around(place: Place | None, size: int) -> tuple[int | None, int | None]:
    """The most positions that units of a chunk see before its first and after its last one."""
    if place is None or place.furthest is None:
        return None, None
    if place.step is None or size % place.step:
        return place.deepest, place.furthest
    edges = [edge for edge in (place.start, place.end) if edge is not None]
    before, after = place.around
    back = None if before is None else max([before, *(edge.back for edge in edges)])
    return back, max([after, *(edge.ahead for edge in edges)])


def _most(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return max(known, default=0) if len(known) == len(values) else None


def _rounded(value: int | None, least: int) -> int | None:
    return None if value is None else -(-value // least) * least
