"""What has to be kept from chunk to chunk: by each layer, and where branches meet that are not complete together.

A layer that reads its input by a sliding window keeps what the next unit will read of what the last one has read: of a
kernel of k with dilation d and stride s, d*(k - 1) + 1 - s positions, wherever its padding is. That is found by the
layer's own window in its input, whatever its op. Each layer is taken as the model runs it: one that several read is
kept by each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import prod

from rfcalc import reads
from rfcalc.analyses.views import View, views
from rfcalc.graph import ELEMENT_BYTES, LayerGraph, Node, Ref, TensorInfo
from rfcalc.streaming.places import Place
from rfcalc.streaming.results import Delay, State

Places = Mapping[int, Sequence[Place | None]]

#: Steps along an axis by which a position may read others of it.
_SPREADING = (reads.Window, reads.Transposed, reads.Spans, reads.Prefix, reads.Contract, reads.Reduce, reads.Take)


def states(graph: LayerGraph, places: Places) -> Iterator[State]:
    """What each layer keeps, in execution order; layers that keep nothing are left out."""
    remembered: dict[tuple[object, ...], View | None] = {}
    for record in graph:
        if not any(places.get(record.id, ())):
            continue
        if record.kind == "recurrent":
            yield _recurrence(graph, record)
            continue
        for ref in dict.fromkeys(record.inputs):
            before = _place(places, ref)
            if before is None or before.axis is None or not _spreads(record, ref):
                continue
            found = _kept(graph, places, record, ref, before.axis, remembered)
            if found is not None:
                yield found


def _place(places: Places, ref: Ref) -> Place | None:
    found = places.get(ref.node, ())
    return found[ref.output] if ref.output < len(found) else None


def _steps(record: Node, ref: Ref) -> Iterator[reads.Steps]:
    for read in record.reads[0] if record.reads else ():
        if record.inputs[read.input] == ref:
            yield read.steps


def _spreads(record: Node, ref: Ref) -> bool:
    return any(isinstance(step, _SPREADING) for steps in _steps(record, ref) for step in steps)


def _kept(
    graph: LayerGraph,
    places: Places,
    record: Node,
    ref: Ref,
    axis: int,
    remembered: dict[tuple[object, ...], View | None],
) -> State | None:
    """What one layer keeps of one input, None if nothing."""
    info = graph[ref.node].outputs[ref.output]
    key = (info.shape, axis, tuple(_steps(record, ref)), record.outputs[:1])
    if key not in remembered:
        remembered[key] = _own_view(graph, record, ref, axis)
    view = remembered[key]
    if view is None:
        return None
    name, window = graph[ref.node].name, view.window
    if _is_keys(places, record, view):
        return _keys(places, record, name, _contraction(graph, places, record), ref, info, axis)
    if window is not None and window.shift > 0 and not view.context:
        positions = _left(window.lo, window.hi, window.shift)
        if not positions:
            return None
        kind = "overlap" if record.kind == "conv_transpose" else "window"
        return _of_positions(record.name, kind, name, positions, info, axis)
    place = _place(places, Ref(record.id, 0))
    steps = [step for run in _steps(record, ref) for step in run]
    if any(isinstance(step, reads.Prefix) and not step.reverse for step in steps):
        return _of_positions(record.name, "sum", name, 1, info, axis)
    if _mixes_axis(record, ref, axis):
        return _keys(places, record, name, place, ref, info, axis)
    return None


def _is_keys(places: Places, record: Node, view: View) -> bool:
    """Whether an input is the keys of a product of queries and keys: its positions lie along the last axis of it."""
    own = _place(places, Ref(record.id, 0))
    last = len(record.shape) - 1
    return record.kind == "matmul" and own is not None and not own.placed and view.moving == (last,)


def _contraction(graph: LayerGraph, places: Places, record: Node) -> Place | None:
    """The place of the next tensors, after scores, whose units have one."""
    ahead, done = [record.id], set()
    while ahead:
        for ident in graph.readers[ahead.pop()]:
            own = _place(places, Ref(ident, 0))
            if own is None or ident in done:
                continue
            if own.placed:
                return own
            done.add(ident)
            ahead.append(ident)
    return None


def _own_view(graph: LayerGraph, record: Node, ref: Ref, axis: int) -> View | None:
    """What a layer sees of one of its inputs."""
    for found, seen in views(graph, ref, axis, {ref.node, record.id}):
        if found.id == record.id:
            return seen[0]
    return None


def _left(lo: Sequence[int], hi: Sequence[int], shift: int) -> int:
    """The most positions that units to come still read once a unit, and all that are complete with it, is done."""
    period = len(lo)
    units = [(lo[u] + turn * shift, hi[u] + turn * shift) for turn in range(2) for u in range(period) if lo[u] <= hi[u]]
    kept = [now + 1 - min([first for first, last in units if last > now], default=now + 1) for _, now in units[:period]]
    return max(0, *kept) if kept else 0


def _mixes_axis(record: Node, ref: Ref, axis: int) -> bool:
    """Whether the input's axis of time is contracted or reduced, as far as it can be followed by name."""
    for steps in _steps(record, ref):
        at: int | None = axis
        for step in steps:
            if at is None:
                break
            if isinstance(step, reads.Permute):
                at = step.axes.index(at)
            elif (isinstance(step, reads.Reduce) and at in step.axes) or isinstance(step, reads.Contract):
                return True
            elif isinstance(step, reads.Reshape):
                runs = [to for run, to in reads.groups_of(step.shape_in, step.shape_out) if at in run]
                at = runs[0][0] if runs and len(runs[0]) == 1 else None
    return False


def _keys(places: Places, record: Node, name: str, after: Place | None, ref: Ref, info: TensorInfo, axis: int) -> State:
    """Keys or values under a mask: those that it lets be seen, or all that come; without one, the whole signal."""
    growth = prod(info.shape) // info.shape[axis]
    before = _place(places, ref)
    if after is None or before is None or after.ahead is None or before.hop is None:
        kind = "whole" if before is not None and before.ahead is not None else "keys and values"
        return State(record.name, kind, name, None, None, None, growth)
    if after.back is None or before.back is None:
        return State(record.name, "keys and values", name, None, None, None, growth)
    return _of_positions(
        record.name, "keys and values", name, int((after.back - before.back) // before.hop), info, axis
    )


def _of_positions(layer: str, kind: str, of: str, positions: int, info: TensorInfo, axis: int) -> State:
    elements = positions * (prod(info.shape) // info.shape[axis])
    return State(layer, kind, of, positions, elements, elements * ELEMENT_BYTES.get(info.dtype, 4))


def _recurrence(graph: LayerGraph, record: Node) -> State:
    """The final states that a recurrent layer gives back beside its outputs, which the next chunk begins with."""
    of = graph[record.inputs[0].node].name if record.inputs else ""
    if record.attrs.get("bidirectional") or record.attrs.get("go_backwards"):
        return State(record.name, "whole", of, None, None, None)
    kept = record.outputs[1:] or record.outputs
    elements = sum(prod(info.shape) for info in kept)
    return State(
        record.name, "recurrence", of, 0, elements, sum(prod(i.shape) * ELEMENT_BYTES.get(i.dtype, 4) for i in kept)
    )


def delays(graph: LayerGraph, places: Places) -> Iterator[Delay]:
    """Where branches meet of which one is complete before another, and what waits for it."""
    for record in graph:
        own = _place(places, Ref(record.id, 0))
        if own is None or own.axis is None or len(set(record.inputs)) < 2 or record.kind in ("matmul", "attention"):
            continue
        arrived = [(ref, place) for ref in dict.fromkeys(record.inputs) if (place := _place(places, ref)) is not None]
        arrived = [(ref, place) for ref, place in arrived if place.axis is not None and place.hop == own.hop]
        if len(arrived) < 2:
            continue
        latest = max(arrived, key=lambda item: (item[1].ahead is None, item[1].ahead or 0))
        for ref, place in arrived:
            if ref != latest[0] and place.ahead is not None and place.ahead != latest[1].ahead:
                yield _delay(graph, record, ref, place, *latest)


def _delay(graph: LayerGraph, record: Node, ref: Ref, place: Place, last: Ref, latest: Place) -> Delay:
    name, sibling = graph[ref.node].name, graph[last.node].name
    if latest.ahead is None or place.ahead is None or place.hop is None or place.axis is None:
        return Delay(record.name, name, sibling, None, None, None, None)
    samples = latest.ahead - place.ahead
    positions = -(-Fraction(samples) // place.hop)
    info = graph[ref.node].outputs[ref.output]
    elements = int(positions) * (prod(info.shape) // info.shape[place.axis])
    size = elements * ELEMENT_BYTES.get(info.dtype, 4)
    return Delay(record.name, name, sibling, samples, int(positions), elements, size)
