"""Which layers make a tensor look ahead: those whose own step adds look-ahead to what they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rfcalc import reads
from rfcalc.graph import LayerGraph, Node
from rfcalc.streaming.places import Place
from rfcalc.streaming.results import Break

Places = Mapping[int, Sequence[Place | None]]

ENDLESS = 1 << 60  #: look-ahead that nothing bounds, where lengths are compared


def breaks(graph: LayerGraph, places: Places, node: int, output: int) -> tuple[Break, ...]:
    """The layers that add look-ahead on a way to this output on which it is never taken back, in execution order.

    A layer adds what its units look ahead beyond the furthest of what it reads. Padding at the start or a cut at the
    end delays, and later layers may use that up: only what is left at the output is anyone's fault.
    """
    found: dict[int, Break] = {}
    ahead, done = [(node, output)], {(node, output)}
    endless = _furthest(places[node][output]) >= ENDLESS
    while ahead:
        ident, number = ahead.pop()
        own = _furthest(places[ident][number])
        if own <= 0:
            continue
        read = list(_read(graph, places, ident, number))
        sources = _through_delays(graph, places, read)
        before = max([max(0, _furthest(places[ref[0]][ref[1]])) for ref in sources], default=0)
        if own > before and (endless or own < ENDLESS):  # of a bidirectional layer only one half may be read
            amount = None if own >= ENDLESS else own - before
            found[ident] = Break(graph[ident].name, _reason(graph, places, graph[ident], sources, amount), amount)
        for ref in read if own >= ENDLESS else sources:  # to what sees everything, what was delayed adds nothing
            if ref not in done:
                done.add(ref)
                ahead.append(ref)
    return tuple(found[ident] for ident in sorted(found))


def _through_delays(graph: LayerGraph, places: Places, sources: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The tensors with those behind that they only delay: a padding before a kernel takes back what the kernel, which
    then begins later, reads again, and neither adds what was there before."""
    found = dict.fromkeys(sources)
    ahead = list(sources)
    while ahead:
        ident, number = ahead.pop()
        own = places[ident][number]
        for ref in _read(graph, places, ident, number):
            behind = places[ref[0]][ref[1]]
            same = own is not None and behind is not None and own.hop == behind.hop
            if same and ref not in found and _furthest(behind) > _furthest(own):
                found[ref] = None
                ahead.append(ref)
    return list(found)


def _furthest(place: Place | None) -> int:
    if place is None:
        return -ENDLESS
    if place.ahead is None:
        return ENDLESS
    return max(place.ahead, *(edge.ahead for edge in (place.start, place.end) if edge is not None), -ENDLESS)


def _read(graph: LayerGraph, places: Places, ident: int, number: int) -> Iterator[tuple[int, int]]:
    """The nearest tensors before an output whose units have known places."""
    ahead, done = [(ident, number)], set()
    while ahead:
        at, out = ahead.pop()
        record = graph[at]
        for read in record.reads[out] if out < len(record.reads) else ():
            ref = record.inputs[read.input]
            place = places.get(ref.node, ())
            seen = place[ref.output] if ref.output < len(place) else None
            if seen is None or (ref.node, ref.output) in done:
                continue
            done.add((ref.node, ref.output))
            if seen.placed:
                yield ref.node, ref.output
            else:
                ahead.append((ref.node, ref.output))


# --- reasons ----------------------------------------------------------------------------------------------------------


def _reason(
    graph: LayerGraph, places: Places, record: Node, sources: Sequence[tuple[int, int]], amount: int | None
) -> str:
    """Why a layer looks ahead, in words."""
    own = _BY_KIND.get(record.kind)
    text = own(graph, places, record, sources) if own is not None else ""
    text = text or _by_steps(record, places, sources)
    if not text and any(not _placed(places, ref.node, ref.output) for ref in record.inputs):
        return "it reads whole frames, which reach beyond their hop"
    return text or f"{record.kind} ({record.op.rpartition('.')[2]}) reads ahead"


def _conv(graph: LayerGraph, places: Places, record: Node, sources: Sequence[tuple[int, int]]) -> str:
    found = next(
        (step for step in _steps(record) if isinstance(step, reads.Window) and _is_along(step, places, sources)), None
    )
    if found is None:
        return ""
    span = found.dilation * (found.kernel - 1) + 1
    padded = _padding(graph, record, found.axis)
    before, after = found.before, span - found.stride - found.before
    if padded is not None:
        name, first, last = padded
        return f"padding on both sides ({first} before, {last} after, by {name}; the kernel spans {span})"
    if before > 0 and after > 0:
        return f"padding on both sides ({before} before, {after} after; the kernel spans {span})"
    if before > 0:
        return f"a padding of {before} before its kernel, which spans {span}, is too little"
    if before < 0:
        return f"its kernel is moved ahead by {-before} positions"
    return f"no padding before its kernel, which spans {span}: a unit reads from its own place on"


def _padding(graph: LayerGraph, record: Node, axis: int) -> tuple[str, int, int] | None:
    """The padding on both sides by an op of its own just before."""
    for ref in record.inputs[:1]:
        for step in _steps(graph[ref.node]):
            if isinstance(step, reads.Pad) and step.axis == axis and min(step.before, step.after) > 0:
                return graph[ref.node].name, step.before, step.after
    return None


def _transposed(graph: LayerGraph, places: Places, record: Node, sources: Sequence[tuple[int, int]]) -> str:
    found = next(
        (step for step in _steps(record) if isinstance(step, reads.Transposed) and _is_along(step, places, sources)),
        None,
    )
    if found is None:
        return ""
    text = f"{found.stride} outputs for each input, which all wait for the whole of its hop"
    return f"{text}; {found.before} cut off before" if found.before else text


def _recurrent(graph: LayerGraph, places: Places, record: Node, sources: Sequence[tuple[int, int]]) -> str:
    backwards = record.attrs.get("go_backwards") or any(
        isinstance(step, reads.Prefix) and step.reverse for step in _steps(record)
    )
    if record.attrs.get("bidirectional"):
        return "bidirectional recurrence"
    return "recurrence from the end backwards" if backwards else ""


def _norm(graph: LayerGraph, places: Places, record: Node, sources: Sequence[tuple[int, int]]) -> str:
    return "normalisation over time: its statistics are those of all positions"


def _attention(graph: LayerGraph, places: Places, record: Node, sources: Sequence[tuple[int, int]]) -> str:
    masked = record.masked or any(isinstance(step, reads.Contract | reads.Blocked) for step in _steps(record))
    return "attention whose mask lets queries see later keys" if masked else "attention without a causal mask"


def _product(graph: LayerGraph, places: Places, record: Node, sources: Sequence[tuple[int, int]]) -> str:
    """A product over positions: the second half of an attention that is written out, or a mixing of positions."""
    axes = _axes_of(places, sources)
    mixed = any(isinstance(step, reads.Reduce) and axes & set(step.axes) for step in _steps(record))
    if any(isinstance(step, reads.Contract) for step in _steps(record)):
        return _attention(graph, places, record, sources)
    if any(not _placed(places, ref.node, ref.output) for ref in record.inputs):
        inside = _between(graph, places, record)
        soft = any("softmax" in item.op for item in inside)
        if soft:
            decided = any(item.masked or item.leans for item in inside)
            return "attention whose mask lets queries see later keys" if decided else "attention without a causal mask"
    return "a product that mixes all positions" if mixed else ""


def _between(graph: LayerGraph, places: Places, record: Node) -> list[Node]:
    """The ops between a layer and the nearest ones before it whose units have places."""
    found: dict[int, Node] = {}
    ahead = [record]
    while ahead:
        for ref in ahead.pop().inputs:
            if ref.node not in found and not _placed(places, ref.node, ref.output):
                found[ref.node] = graph[ref.node]
                ahead.append(graph[ref.node])
    return list(found.values())


def _placed(places: Places, ident: int, output: int) -> bool:
    seen = places.get(ident, ())
    place = seen[output] if output < len(seen) else None
    return place is None or place.placed


def _pad(graph: LayerGraph, places: Places, record: Node, sources: Sequence[tuple[int, int]]) -> str:
    step = next(
        (step for step in _steps(record) if isinstance(step, reads.Pad) and _is_along(step, places, sources)), None
    )
    if step is None or step.mode == "zero":
        return f"{-step.before} positions cut off at the start" if step is not None and step.before < 0 else ""
    words = {
        "reflect": "copies later positions",
        "circular": "copies the end",
        "replicate": "copies the first position",
    }
    return f"{step.mode} padding at the start ({step.before} positions) {words[step.mode]}"


def _upsample(graph: LayerGraph, places: Places, record: Node, sources: Sequence[tuple[int, int]]) -> str:
    return (
        f"upsampling ({record.attrs.get('mode', 'interpolation')}): an output waits for the inputs after and around it"
    )


def _reduction(graph: LayerGraph, places: Places, record: Node, sources: Sequence[tuple[int, int]]) -> str:
    axes = _axes_of(places, sources)
    whole = any(isinstance(step, reads.Reduce) and axes & set(step.axes) for step in _steps(record))
    return f"{record.op.rpartition('.')[2]} over all positions" if whole else ""


def _by_steps(record: Node, places: Places, sources: Sequence[tuple[int, int]]) -> str:
    """A reason out of what is read, whatever the op."""
    axes = _axes_of(places, sources)
    for step in _steps(record):
        match step:
            case reads.Prefix(axis, _, True) if axis in axes:
                return "an accumulation from the end backwards"
            case reads.Slice(axis, start, stride, _) if axis in axes:
                if stride < 0:
                    return "the order of positions is turned round"
                if start > 0:
                    return f"{start} positions cut off at the start: later ones take their places"
            case reads.Take(axis, _) if axis in axes:
                return "positions are put into another order (roll, flip or gather)"
            case reads.Spans(axis) if axis in axes:
                return "an interpolation or pooling whose windows reach ahead"
            case reads.Contract():
                return "a mask that lets positions see later ones"
            case reads.Reduce(reduced) if axes & set(reduced):
                return "a reduction over all positions"
            case reads.Reshape(before, after):
                if any(len(run) > 1 or len(to) > 1 for run, to in reads.groups_of(before, after) if axes & set(run)):
                    return f"a reshape of {_cross(before)} to {_cross(after)} that puts positions side by side"
    return record.inexact


def _cross(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _steps(record: Node) -> list[reads.Step]:
    """All steps by which the first output reads anything."""
    return [step for read in (record.reads[0] if record.reads else ()) for step in read.steps]


def _axes_of(places: Places, sources: Sequence[tuple[int, int]]) -> set[int]:
    """The axes of what is read that move with the source."""
    found = [places[ident][number] for ident, number in sources]
    return {place.axis for place in found if place is not None and place.axis is not None}


def _is_along(
    step: reads.Window | reads.Transposed | reads.Pad, places: Places, sources: Sequence[tuple[int, int]]
) -> bool:
    return step.axis in _axes_of(places, sources)


_Teller = Callable[[LayerGraph, Places, Node, Sequence[tuple[int, int]]], str]
_BY_KIND: Mapping[str, _Teller] = {
    "conv": _conv,
    "pool": _conv,
    "conv_transpose": _transposed,
    "recurrent": _recurrent,
    "norm": _norm,
    "attention": _attention,
    "matmul": _product,
    "linear": _product,
    "pad": _pad,
    "upsample": _upsample,
    "reduction": _reduction,
    "activation": _reduction,
}
