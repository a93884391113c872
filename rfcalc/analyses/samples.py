"""How many indices inside a window are really read: dilation, and strides larger than kernels, leave holes.

A stencil is the set of source indices that each unit of one period reads along one axis, without borders. It is carried
forward through the ops like the intervals are, as a bit set. Where a unit's set cannot be told from its position along
one axis alone (channels with different sets that are told apart later, masks, gathers), it is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import gcd, lcm
from typing import Any, NamedTuple, TypeAlias

from rfcalc import reads
from rfcalc.analyses.intervals import runs_of
from rfcalc.graph import LayerGraph, Node, Ref


class Pattern:
    """Indices along one source axis: unit u reads ``first + k`` for every set bit k of its phase ``u % period``, moved
    by ``shift`` each period. Never changed once made; ``known`` holds what steps have made of it."""

    __slots__ = ("known", "phases", "shift")

    def __init__(self, shift: int, phases: tuple[tuple[int, int], ...]) -> None:
        self.shift = shift
        self.phases = phases  #: (first index, bits)
        self.known: dict[Any, Any] = {}

    @property
    def period(self) -> int:
        return len(self.phases)

    def at(self, position: int) -> tuple[int, int]:
        """(first index, bits) of any position, also outside the tensor."""
        turns, phase = divmod(position, len(self.phases))
        first, bits = self.phases[phase]
        return first + turns * self.shift, bits

    def same(self, other: Pattern) -> bool:
        """Whether both say the same in the same way."""
        return self is other or (self.shift == other.shift and self.phases == other.phases)

    @property
    def count(self) -> int:
        """The largest number of indices that one unit reads."""
        found: int | None = self.known.get("count")
        if found is None:
            found = self.known["count"] = max(bits.bit_count() for _, bits in self.phases)
        return found


def single() -> Pattern:
    """Every position reads its own index."""
    return Pattern(1, ((0, 1),))


class Stencil(NamedTuple):
    """The pattern along the tensor's axis that moves.

    Along the axes in ``varying`` units at one position read different subsets, of which the pattern is the union.
    """

    axis: int
    pattern: Pattern
    varying: frozenset[int] = frozenset()

    def at(self, position: int) -> tuple[int, int]:
        """(first index, bits) of any position, also outside the tensor."""
        return self.pattern.at(position)


#: None: the set is not known.
Known: TypeAlias = Stencil | None


def sample_counts(graph: LayerGraph, source: Ref, axis: int, start: Pattern | None = None) -> dict[int, int]:
    """For each node whose stencil is known, the largest number of indices that one unit reads along the axis.

    Axes that start from one pattern share what they work out.
    """
    return {ident: stencil.pattern.count for ident, stencil in stencils(graph, source, axis, start).items()}


def stencils(graph: LayerGraph, source: Ref, axis: int, start: Pattern | None = None) -> dict[int, Stencil]:
    """For each node whose first output sees the source, the indices that its units read along the axis, where known."""
    first = Stencil(axis, start or single())
    held: dict[int, tuple[Known, ...]] = {}
    known: dict[int, Stencil] = {}
    for record in graph:
        made = tuple(
            [
                first if record.id == source.node and number == source.output else _output(record, number, held, graph)
                for number in range(len(record.outputs))
            ]
        )
        held[record.id] = made
        if made and made[0] is not None and made[0] is not _NOTHING:
            known[record.id] = made[0]
    return known


#: Sees nothing of the source.
_NOTHING = Stencil(-1, Pattern(0, ()))


def _output(record: Node, number: int, held: Mapping[int, tuple[Known, ...]], graph: LayerGraph) -> Known:
    rows = record.reads[number] if number < len(record.reads) else ()
    shape = record.outputs[number].shape
    found: list[Stencil] = []
    for read in rows:
        ref = record.inputs[read.input]
        stencil: Known = held[ref.node][ref.output] if ref.node in held else _NOTHING
        if stencil is _NOTHING:
            continue
        if stencil is None:
            return None
        extent = graph[ref.node].outputs[ref.output].shape[stencil.axis]
        for step in read.steps:
            before, stencil = stencil.axis, _step(stencil, step, alone=len(rows) == 1)
            if stencil is None:
                return None
            extent = _extent(extent, before, step, stencil.axis)
        if extent == 1 and shape[stencil.axis] != 1:
            return None
        found.append(stencil)
    return _union(found) if found else _NOTHING


def _extent(extent: int, before: int, step: reads.Step, after: int) -> int:
    """The extent of the moving axis after a step, where a later broadcast must be noticed."""
    match step:
        case reads.Reshape(_, shape_out):
            return shape_out[after]
        case reads.Window(axis) | reads.Transposed(axis) | reads.Slice(axis) | reads.Place(axis):
            return step.out if axis == before else extent
        case reads.Spans(axis, first):
            return len(first) if axis == before else extent
        case reads.Pad(axis, size, start, end):
            return size + start + end if axis == before else extent
    return extent


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


def _moved(pattern: Pattern, period: int, shift: int, reads_of: list[list[int]]) -> Pattern:
    phases = tuple(_merge(pattern.at(position) for position in row) for row in reads_of)
    return Pattern(shift, phases[:period])


def _strided(pattern: Pattern, stride: int, dilation: int, kernel: int, before: int) -> Pattern:
    """Position u reads ``stride*u + dilation*j - before`` for every j < kernel."""
    key = (stride, dilation, kernel, before)
    found: Pattern | None = pattern.known.get(key)
    if found is None:
        taps = range(-before, dilation * kernel - before, dilation)
        period = pattern.period // gcd(pattern.period, abs(stride))
        shift = pattern.shift * stride * period // pattern.period
        found = _moved(pattern, period, shift, [[stride * u + tap for tap in taps] for u in range(period)])
        found = pattern.known[key] = pattern if pattern.same(found) else found
    return found


def _transposed(pattern: Pattern, step: reads.Transposed) -> Pattern:
    period = pattern.period * step.stride
    rows = [
        [
            (u + step.before - step.dilation * j) // step.stride
            for j in range(step.kernel)
            if (u + step.before - step.dilation * j) % step.stride == 0
        ]
        for u in range(period)
    ]
    return _moved(pattern, period, pattern.shift, rows)


def _spans(pattern: Pattern, step: reads.Spans) -> Pattern | None:
    if not step.period or not step.shift:
        return None
    times = pattern.period // gcd(pattern.period, step.shift)
    rows = []
    for u in range(step.period * times):
        turns, phase = divmod(u, step.period)
        base = turns * step.shift
        rows.append(list(range(step.free_first[phase] + base, step.free_last[phase] + base + 1)))
    return _moved(pattern, len(rows), pattern.shift * step.shift * times // pattern.period, rows)


def _with(stencil: Stencil, pattern: Pattern | None) -> Known:
    return None if pattern is None else Stencil(stencil.axis, pattern, stencil.varying)


#: Steps along one axis that tell units apart along no other.
_WITHIN = frozenset({reads.Window, reads.Transposed, reads.Spans, reads.Pad})


def _step(stencil: Stencil, step: reads.Step, *, alone: bool) -> Known:
    axis, pattern, varying = stencil
    if type(step) in _WITHIN and step.axis != axis:  # type: ignore[union-attr]
        return stencil
    match step:
        case reads.Window(_, kernel, stride, dilation, before):
            return _with(stencil, _strided(pattern, stride, dilation, kernel, before))
        case reads.Transposed():
            return _with(stencil, _transposed(pattern, step))
        case reads.Spans():
            return _with(stencil, _spans(pattern, step))
        case reads.Pad(_, _, before):
            return _with(stencil, _strided(pattern, 1, 1, 1, before))
        case reads.Slice(where, start, stride, _):
            if where == axis:
                return _with(stencil, _strided(pattern, stride, 1, 1, -start))
            return None if where in varying else stencil
        case reads.Place(where, _, offset, _, stride):
            if where == axis:
                return _with(stencil, _strided(pattern, 1, 1, 1, offset)) if alone and stride == 1 else None
            return stencil if where in varying else Stencil(axis, pattern, varying | {where})
        case reads.Take(where):
            return None if where == axis or where in varying else stencil
        case reads.Reduce(axes):
            return None if axis in axes else Stencil(axis, pattern, varying.difference(axes))
        case reads.Group(where, groups):
            if where == axis or (where in varying and groups > 1):
                return None
            return Stencil(axis, pattern, varying - {where}) if where in varying else stencil
        case reads.Permute(axes):
            return Stencil(axes.index(axis), pattern, frozenset([axes.index(k) for k in varying]))
        case reads.Reshape(shape_in, shape_out):
            return _reshaped(stencil, shape_in, shape_out)
    return None


def _reshaped(stencil: Stencil, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> Known:
    axis: int | None = None
    varying: set[int] = set()
    for left, right in runs_of(shape_in, shape_out):
        if stencil.axis in left:
            wide = [k for k in right if shape_out[k] > 1] or right
            if [k for k in left if shape_in[k] > 1] not in ([stencil.axis], []) or len(wide) != 1:
                return None
            axis = wide[0]
        elif stencil.varying & set(left):
            varying.update(right)
    return None if axis is None else Stencil(axis, stencil.pattern, frozenset(varying))


def _union(found: list[Stencil]) -> Known:
    axis, first, _ = found[0]
    if len(found) == 1:
        return found[0]
    patterns = list(dict.fromkeys([other.pattern for other in found]))
    if any(other.axis != axis for other in found):
        return None
    if any(pattern.shift * first.period != first.shift * pattern.period for pattern in patterns):
        return None
    varying = frozenset[int]().union(*{other.varying for other in found})
    return Stencil(axis, _united(patterns), varying)


def _united(found: list[Pattern]) -> Pattern:
    first, *others = found
    if all(first.same(other) for other in others):
        return first
    key = tuple(others)
    made: Pattern | None = first.known.get(key)
    if made is None:
        period = lcm(*(other.period for other in found))
        phases = tuple(_merge(other.at(u) for other in found) for u in range(period))
        made = first.known[key] = Pattern(first.shift * period // first.period, phases)
    return made
