"""Multiply-adds that a mask makes void: products for pairs of a query and a key that it closes, op by op.

Attention recorded whole says itself how many it closes (`Node.closed`). Where it is written out, the scores come before
the mask. So the graph is gone through backwards, from what reads scores without the elements that a mask blocks: an
element that nothing reads otherwise need not have been computed. The product of weights and values says by its
`Contract` step which weights the mask made 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np

from rfcalc import reads
from rfcalc.graph import GIVEN, LayerGraph, Node, Ref

Array: TypeAlias = np.ndarray

#: Why it is not known which pairs a mask closes, by what `Node.closing` says.
REASONS: Mapping[str, str] = {
    "data": "its mask is data",
    "added": "what is added to its scores is data",
    "large": "its mask has too many elements to be evaluated",
}


@dataclass(frozen=True)
class Closed:
    """By node: multiply-adds that masks close (``counts``), and why more may be closed than is known (``unknown``)."""

    counts: Mapping[int, int] = field(default_factory=dict)
    unknown: Mapping[int, str] = field(default_factory=dict)

    def left(self, record: Node) -> int | None:
        """The multiply-adds of an op for pairs that no mask closes; None where that is not known."""
        if record.macs is None or record.id in self.unknown:
            return None
        return record.macs - self.counts.get(record.id, 0)


def closed(graph: LayerGraph) -> Closed:
    """What the masks of a graph close. The masks are those that are known; data may decide others."""
    counts = {record.id: record.closed for record in graph if record.closed}
    unknown = dict(_of_data(graph))
    if graph.masks:
        for ident, count in _void_scores(graph):
            counts[ident] = count
        for record in graph:
            if record.macs and record.id not in counts and (share := _void_weights(graph, record)):
                counts[record.id] = share
    return Closed(counts, unknown)


# --- masks that are data ----------------------------------------------------------------------------------------------

#: Kinds of op between scores and their softmax, and between that and the product with values.
BETWEEN = frozenset(
    {"elementwise", "merge", "reshape", "cast", "copy", "dropout", "pad", "activation", "other", "upsample"}
)
_ADDS = frozenset(f"aten.{name}{end}" for name in ("add", "sub", "subtract", "rsub") for end in ("", "_"))
#: Products to whose result a tensor is added, which comes first among their inputs.
_ADD_TO = frozenset({"aten.baddbmm", "aten.baddbmm_", "aten.addmm"})
#: The attention of which the scores are an input.
_OF_SCORES = "torch.flex_attention_of_scores"


def _of_data(graph: LayerGraph) -> Iterator[tuple[int, str]]:
    """The products whose pairs data may close, and why."""
    is_mask = _Masks(graph)
    for record in graph:
        if record.closing and record.macs and (record.closing != "added" or is_mask(record.inputs[-1])):
            yield record.id, REASONS[record.closing]
        if record.flops.get("softmax") and (not record.macs or record.op == _OF_SCORES):
            scores, why = _behind(graph, record, is_mask)
            if why:
                yield from ((ident, REASONS[why]) for ident in (*scores, *_ahead(graph, record)))


def softmax_products(graph: LayerGraph) -> tuple[set[int], set[int]]:
    """Of attention that is written out: the products that a softmax is of, and those that weigh by it."""
    scores, values = set[int](), set[int]()
    for record in graph:
        if record.flops.get("softmax") and (not record.macs or record.op == _OF_SCORES):
            before = _behind(graph, record, lambda ref: False)[0]
            if before:
                scores.update(before)
                values.update(_ahead(graph, record))
    return scores, values


def _behind(graph: LayerGraph, softmax: Node, is_mask: Callable[[Ref], bool]) -> tuple[list[int], str]:
    """The products that a softmax is of, and why data may mask it, "" where it may not."""
    first = softmax.inputs[:1] if softmax.op == _OF_SCORES else softmax.inputs
    front, seen = [ref.node for ref in first], set[int]()
    found: list[int] = []
    why = ""
    while front:
        record = graph[front.pop()]
        if record.id in seen:
            continue
        seen.add(record.id)
        known = any(note.startswith(GIVEN) for note in record.notes)
        if record.closing and not record.macs:
            why = why or record.closing
        if record.op in _ADDS and not known and len(record.inputs) > 1 and any(map(is_mask, record.inputs)):
            why = why or "added"
        if record.op in _ADD_TO and not known and len(record.inputs) > 2 and is_mask(record.inputs[0]):
            why = why or "added"
        if record.macs:
            found += [] if record.params else [record.id]
        elif record.kind in BETWEEN:
            front += (ref.node for ref in record.inputs)
    return found, why


def _ahead(graph: LayerGraph, softmax: Node) -> Iterator[int]:
    """The products that weigh by a softmax."""
    if softmax.macs:
        yield softmax.id
        return
    front, seen = list(graph.readers[softmax.id]), set[int]()
    while front:
        record = graph[front.pop()]
        if record.id in seen:
            continue
        seen.add(record.id)
        if record.macs:
            yield from () if record.params else (record.id,)
        elif record.kind in BETWEEN:
            front += graph.readers[record.id]


class _Masks:
    """Whether a tensor that is added to scores is a mask made of inputs.

    What parameters went into is a bias (of relative positions, of pairs); what was computed from inputs without any can
    only be a mask, and so is what was filled under a condition that is data.
    """

    def __init__(self, graph: LayerGraph) -> None:
        self._graph = graph
        self._known: dict[int, bool] = {}

    def __call__(self, ref: Ref) -> bool:
        front = [ref.node]
        while front:
            ident = front[-1]
            record = self._graph[ident]
            before = [item.node for item in record.inputs]
            ahead = [] if self._settled(record) is not None else [one for one in before if one not in self._known]
            if ahead:
                front += ahead
                continue
            front.pop()
            settled = self._settled(record)
            self._known[ident] = any(self._known[one] for one in before) if settled is None else settled
        return self._known[ref.node]

    def _settled(self, record: Node) -> bool | None:
        if record.id in self._known:
            return self._known[record.id]
        if record.op == "input" or (record.closing and not record.macs):
            return True
        if record.params or record.macs or any(note.startswith(GIVEN) for note in record.notes):
            return False
        return None


# --- weights that a mask makes 0 --------------------------------------------------------------------------------------


def _void_weights(graph: LayerGraph, record: Node) -> int:
    """The multiply-adds of a product with a factor that is known to be 0."""
    for row in record.reads[:1]:
        for read in row:
            for step in read.steps:
                if isinstance(step, reads.Contract):
                    mask = graph.masks[step.mask]
                    return int(np.count_nonzero(mask)) * (record.macs or 0) // mask.size
    return 0


# --- scores that nothing reads ----------------------------------------------------------------------------------------


class _Use(NamedTuple):
    """Of the elements of a tensor: which are gone through, and which of these are read for their number.

    Arrays of its rank, of extent 1 along axes that do not matter.
    """

    met: Array
    read: Array

    def also(self, other: _Use) -> _Use:
        return _Use(self.met | other.met, self.read | other.read)


#: What a softmax that is written out subtracts from its scores, which changes nothing in it.
_LARGEST = frozenset({"aten.amax", "aten.max"})
#: Steps that leave some elements out.
_LEAVING = (reads.Blocked, reads.Erase, reads.Slice, reads.Take, reads.Place, reads.Pad)


def _void_scores(graph: LayerGraph) -> Iterator[tuple[int, int]]:
    """The products of which a mask closes results, and how many of their multiply-adds these take."""
    shapes = {key: mask.shape for key, mask in graph.masks.items()}
    whole: set[Ref] = set(graph.outputs)  #: tensors of which every element counts
    partly: dict[Ref, _Use] = {}
    for record in reversed(list(graph)):
        for number, row in enumerate(record.reads):
            own = Ref(record.id, number)
            use = None if own in whole else _telling(partly.pop(own, None))
            if record.macs:
                if use is not None and not record.params:
                    void = int(np.count_nonzero(use.met & ~use.read)) * (record.macs // use.met.size)
                    yield record.id, void
                use = None
            for read in row if record.op not in _LARGEST else ():
                ref = record.inputs[read.input]
                if ref in whole:
                    continue
                found = _before(graph, shapes, ref, read.steps, record.outputs[number].shape, use)
                if found is None:
                    whole.add(ref)
                    partly.pop(ref, None)
                else:
                    partly[ref] = partly[ref].also(found) if ref in partly else found


def _telling(use: _Use | None) -> _Use | None:
    """A use that leaves anything out, as one array of the elements that it leaves out."""
    if use is None:
        return None
    met, read = np.broadcast_arrays(use.met, use.read)
    return _Use(met, read) if (met & ~read).any() else None


def _before(
    graph: LayerGraph,
    masks: Mapping[int, Sequence[int]],
    ref: Ref,
    steps: reads.Steps,
    out: Sequence[int],
    use: _Use | None,
) -> _Use | None:
    """How a tensor is used that an output reads by steps, where the output is used so; None where all of it is."""
    if use is None and not any(isinstance(step, _LEAVING) for step in steps):
        return None
    shape = graph[ref.node].outputs[ref.output].shape
    if 0 in shape or 0 in out:
        return None
    way = [shape]
    try:
        for step in steps:
            way.append(reads.shape_after(way[-1], step, masks))
    except ValueError:  # the tensor is broadcast on the way: all of it counts
        return None
    everywhere = np.ones((1,) * len(out), dtype=bool)
    use = _Use(everywhere, everywhere) if use is None else use
    found: _Use | None = _Use(*[_narrowed(part, way[-1]) for part in use])
    for step, before, after in zip(reversed(steps), way[-2::-1], way[:0:-1], strict=True):
        found = _undone(found, step, before, after, graph.masks) if found is not None else None
    return found


def _undone(
    use: _Use, step: reads.Step, before: Sequence[int], after: Sequence[int], masks: Mapping[int, Array]
) -> _Use | None:
    """The use of a tensor before a step; None where it is not followed, and all counts."""
    match step:
        case reads.Blocked(mask):
            gone = masks[mask].reshape((1,) * (len(before) - masks[mask].ndim) + masks[mask].shape)
            return _Use(_narrowed(use.met, before), _narrowed(use.read & ~gone, before))
        case reads.Permute(axes):
            back = [axes.index(axis) for axis in range(len(axes))]
            return _Use(*[part.transpose(back) for part in use])
        case reads.Reshape():
            return _Use(*[_reshaped(part, after, before) for part in use])
        case reads.Reduce():
            return _Use(*[_narrowed(part, after) for part in use])
        case reads.Slice(axis, start, stride, out):
            places = np.arange(before[axis])
            return _moved(use, axis, before[axis], start + stride * np.arange(out), places[:out])
        case reads.Take(axis, indices):
            index = np.array(indices, dtype=int)
            kept = np.flatnonzero(index >= 0)
            return _moved(use, axis, before[axis], index[kept], kept)
        case reads.Place(axis, size, offset, _, stride):
            return _moved(use, axis, size, np.arange(size), offset + stride * np.arange(size))
        case reads.Pad(axis, size, left, _, "zero"):
            inside = np.arange(size)
            inside = inside[(inside + left >= 0) & (inside + left < after[axis])]
            return _moved(use, axis, size, inside, inside + left)
        case reads.Erase(shape, box):
            kept_out = np.ones((1,) * len(shape), dtype=bool)
            for axis, size, offset, stride in box:
                line = np.zeros(shape[axis], dtype=bool)
                line[offset + stride * np.arange(size)] = True
                kept_out = kept_out & line.reshape([-1 if at == axis else 1 for at in range(len(shape))])
            return _Use(use.met & ~kept_out, use.read & ~kept_out)
    return None


def _narrowed(part: Array, shape: Sequence[int]) -> Array:
    """An array over a tensor of that shape, which may have been repeated: any of the repeated elements counts."""
    axes = tuple(axis for axis, extent in enumerate(shape) if extent == 1 and part.shape[axis] > 1)
    return np.logical_or.reduce(part, axis=axes, keepdims=True) if axes else part


def _moved(use: _Use, axis: int, extent: int, places: Array, sources: Array) -> _Use:
    """A use whose elements at ``sources`` of an axis come from ``places`` of an axis of that extent."""
    return _Use(*[_scattered(part, axis, extent, places, sources) for part in use])


def _scattered(part: Array, axis: int, extent: int, places: Array, sources: Array) -> Array:
    made = np.zeros((*part.shape[:axis], extent, *part.shape[axis + 1 :]), dtype=bool)
    target, source = made.swapaxes(0, axis), part.swapaxes(0, axis)
    if part.shape[axis] == 1:  # all alike, wherever they go
        target[places] = source
    elif len(places) < 2 or (places[1:] > places[:-1]).all():
        target[places] = source[sources]
    else:  # several may go to one place
        np.logical_or.at(target, places, source[sources])
    return made


def _reshaped(part: Array, shape: Sequence[int], target: Sequence[int]) -> Array:
    """An array over a tensor of one shape, over the same elements in another, as small as it stays."""
    wide, extents = list(part.shape), [1] * len(target)
    for left, right in reads.groups_of(shape, target):
        if prod(part.shape[axis] for axis in left) > 1:
            for axis in left:
                wide[axis] = shape[axis]
            for axis in right:
                extents[axis] = target[axis]
    return np.broadcast_to(part, wide).reshape(extents)


__all__ = ["BETWEEN", "REASONS", "Closed", "closed", "softmax_products"]
