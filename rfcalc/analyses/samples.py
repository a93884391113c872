"""How many indices inside a window are really read: dilation, and strides larger than kernels, leave holes.

A stencil is the set of source indices that each unit of one period reads along one axis, without borders. It is carried
forward through the ops like the intervals are, as a bit set. Where a unit's set cannot be told from its position along
one axis alone (channels with different sets that are told apart later, masks, gathers), it is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import gcd, lcm
from typing import TypeAlias

from rfcalc import reads
from rfcalc.graph import LayerGraph, Node, Ref
from rfcalc.reads import groups_of


@dataclass(frozen=True, slots=True)
class Stencil:
    """Unit u reads ``first + k`` for every set bit k of its phase ``u % period``, moved by ``shift`` each period.

    ``axis`` is the tensor's axis that moves; along the axes in ``varying`` units at one position read different
    subsets, of which the stencil is the union.
    """

    axis: int
    shift: int
    phases: tuple[tuple[int, int], ...]  #: (first index, bits)
    varying: frozenset[int] = frozenset()

    @property
    def period(self) -> int:
        return len(self.phases)

    def at(self, position: int) -> tuple[int, int]:
        """(first index, bits) of any position, also outside the tensor."""
        turns, phase = divmod(position, self.period)
        first, bits = self.phases[phase]
        return first + turns * self.shift, bits


#: None: the set is not known.
Known: TypeAlias = Stencil | None


def sample_counts(graph: LayerGraph, source: Ref, axis: int) -> dict[int, int]:
    """For each node whose stencil is known, the largest number of indices that one unit reads along the axis."""
    return {
        ident: max(bits.bit_count() for _, bits in stencil.phases)
        for ident, stencil in stencils(graph, source, axis).items()
    }


def stencils(graph: LayerGraph, source: Ref, axis: int) -> dict[int, Stencil]:
    """For each node whose first output sees the source, the indices that its units read along the axis, where known."""
    start = Stencil(axis, 1, ((0, 1),))
    held: dict[int, tuple[Known, ...] | None] = {}
    known: dict[int, Stencil] = {}
    for record in graph:
        made = tuple(
            start if source == Ref(record.id, number) else _output(record, number, held, graph)
            for number in range(len(record.outputs))
        )
        held[record.id] = made
        if made and made[0] is not None and made[0] is not _NOTHING:
            known[record.id] = made[0]
    return known


#: Sees nothing of the source.
_NOTHING = Stencil(-1, 0, ())


def _output(record: Node, number: int, held: Mapping[int, tuple[Known, ...] | None], graph: LayerGraph) -> Known:
    rows = record.reads[number] if number < len(record.reads) else ()
    shape = record.outputs[number].shape
    found: list[Stencil] = []
    for read in rows:
        ref = record.inputs[read.input]
        before = held.get(ref.node)
        stencil: Known = before[ref.output] if before is not None else _NOTHING
        if stencil is _NOTHING:
            continue
        extents = graph[ref.node].outputs[ref.output].shape
        for step in read.steps:
            stencil = _step(stencil, step, alone=len(rows) == 1) if stencil is not None else None
            extents = _extents(extents, step)
        if stencil is None or (extents[stencil.axis] == 1 and shape[stencil.axis] != 1):
            return None
        found.append(stencil)
    return _union(found) if found else _NOTHING


def _extents(shape: tuple[int, ...], step: reads.Step) -> tuple[int, ...]:
    """The tensor's extents after a step, where a later broadcast must be noticed."""
    match step:
        case reads.Reshape(_, shape_out):
            return shape_out
        case reads.Permute(axes):
            return tuple(shape[axis] for axis in axes)
        case reads.Reduce(axes):
            return tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
        case reads.Window() | reads.Transposed() | reads.Slice() | reads.Place() | reads.Group():
            return (*shape[: step.axis], step.out, *shape[step.axis + 1 :])
        case reads.Spans(axis, first):
            return (*shape[:axis], len(first), *shape[axis + 1 :])
        case reads.Take(axis, indices):
            return (*shape[:axis], len(indices), *shape[axis + 1 :])
        case reads.Pad(axis, size, before, after):
            return (*shape[:axis], size + before + after, *shape[axis + 1 :])
    return shape


def _merge(sets: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The union of bit sets with different first indices."""
    rows = [row for row in sets if row[1]]
    if not rows:
        return 0, 0
    first = min(low for low, _ in rows)
    bits = 0
    for low, own in rows:
        bits |= own << (low - first)
    return first, bits


def _moved(stencil: Stencil, period: int, shift: int, reads_of: list[list[int]]) -> Stencil:
    phases = tuple(_merge(stencil.at(position) for position in row) for row in reads_of)
    return replace(stencil, shift=shift, phases=phases[:period])


def _strided(stencil: Stencil, stride: int, taps: list[int]) -> Stencil:
    """Position u reads ``stride*u + tap`` for every tap."""
    period = stencil.period // gcd(stencil.period, abs(stride))
    shift = stencil.shift * stride * period // stencil.period
    return _moved(stencil, period, shift, [[stride * u + tap for tap in taps] for u in range(period)])


def _transposed(stencil: Stencil, step: reads.Transposed) -> Stencil:
    period = stencil.period * step.stride
    rows = [
        [
            (u + step.before - step.dilation * j) // step.stride
            for j in range(step.kernel)
            if (u + step.before - step.dilation * j) % step.stride == 0
        ]
        for u in range(period)
    ]
    return _moved(stencil, period, stencil.shift, rows)


def _spans(stencil: Stencil, step: reads.Spans) -> Known:
    if not step.period or not step.shift:
        return None
    times = stencil.period // gcd(stencil.period, step.shift)
    rows = []
    for u in range(step.period * times):
        turns, phase = divmod(u, step.period)
        base = turns * step.shift
        rows.append(list(range(step.free_first[phase] + base, step.free_last[phase] + base + 1)))
    return _moved(stencil, len(rows), stencil.shift * step.shift * times // stencil.period, rows)


def _step(stencil: Stencil, step: reads.Step, *, alone: bool) -> Known:
    axis = stencil.axis
    match step:
        case reads.Window(where, kernel, stride, dilation, before):
            taps = [dilation * j - before for j in range(kernel)]
            return _strided(stencil, stride, taps) if where == axis else stencil
        case reads.Transposed(where):
            return _transposed(stencil, step) if where == axis else stencil
        case reads.Spans(where):
            return _spans(stencil, step) if where == axis else stencil
        case reads.Pad(where, _, before):
            return _strided(stencil, 1, [-before]) if where == axis else stencil
        case reads.Slice(where, start, stride, _):
            if where == axis:
                return _strided(stencil, stride, [start])
            return None if where in stencil.varying else stencil
        case reads.Place(where, _, offset, _, stride):
            if where == axis:
                return _strided(stencil, 1, [-offset]) if alone and stride == 1 else None
            return replace(stencil, varying=stencil.varying | {where})
        case reads.Take(where):
            return None if where == axis or where in stencil.varying else stencil
        case reads.Reduce(axes):
            return None if axis in axes else replace(stencil, varying=stencil.varying - set(axes))
        case reads.Group(where, groups):
            if where == axis or (where in stencil.varying and groups > 1):
                return None
            return replace(stencil, varying=stencil.varying - {where})
        case reads.Permute(axes):
            places = {old: new for new, old in enumerate(axes)}
            return replace(stencil, axis=places[axis], varying=frozenset(places[k] for k in stencil.varying))
        case reads.Reshape(shape_in, shape_out):
            return _reshaped(stencil, shape_in, shape_out)
    return None


def _reshaped(stencil: Stencil, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> Known:
    axis: int | None = None
    varying: set[int] = set()
    for left, right in groups_of(shape_in, shape_out):
        if stencil.axis in left:
            wide = [k for k in right if shape_out[k] > 1] or right
            if [k for k in left if shape_in[k] > 1] not in ([stencil.axis], []) or len(wide) != 1:
                return None
            axis = wide[0]
        elif stencil.varying & set(left):
            varying.update(right)
    return None if axis is None else replace(stencil, axis=axis, varying=frozenset(varying))


def _union(found: list[Stencil]) -> Known:
    first = found[0]
    if len(found) == 1 or all(other == first for other in found):
        return first
    if any(other.axis != first.axis or other.shift * first.period != first.shift * other.period for other in found):
        return None
    period = lcm(*(other.period for other in found))
    phases = tuple(_merge(other.at(u) for other in found) for u in range(period))
    varying = frozenset(axis for other in found for axis in other.varying)
    return Stencil(first.axis, first.shift * period // first.period, phases, varying)
