"""How many indices inside a window are really read: dilation, and strides larger than kernels, leave holes.

A stencil is the set of source indices that each unit of one period reads along one axis, without borders. It is carried
forward through the ops like the intervals are, as a bit set. Where a unit's set cannot be told from its position along
one axis alone (channels with different sets that are told apart later, masks, gathers), it is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import gcd, lcm
from typing import Any, NamedTuple, TypeAlias

from rfcalc import reads
from rfcalc.analyses.field.motion import runs_of
from rfcalc.graph import LayerGraph, Node, Ref, TensorInfo


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
    plans = _Plans()
    outputs: dict[int, tuple[TensorInfo, ...]] = {}
    for record in graph:
        outputs[record.id] = record.outputs
        made = tuple([_output(record, number, held, outputs, plans) for number in range(len(record.outputs))])
        if record.id == source.node:
            made = tuple([first if number == source.output else found for number, found in enumerate(made)])
        held[record.id] = made
        if made and made[0] is not None and made[0] is not _NOTHING:
            known[record.id] = made[0]
    return known


#: Sees nothing of the source.
_NOTHING = Stencil(-1, Pattern(0, ()))


def _output(
    record: Node,
    number: int,
    held: Mapping[int, tuple[Known, ...]],
    outputs: Mapping[int, Sequence[TensorInfo]],
    plans: _Plans,
) -> Known:
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
        before = outputs[ref.node][ref.output].shape
        if not read.steps and before == shape:  # most often the only read
            found.append(stencil)
            continue
        extent = before[stencil.axis]
        if read.steps:
            stencil, extent = plans.after(stencil, extent, read.steps, len(rows) == 1)
            if stencil is None:
                return None
        if extent == 1 and shape[stencil.axis] != 1:
            return None
        found.append(stencil)
    return _union(found) if found else _NOTHING


#: What one step along the axis that moves does to a pattern: a window's numbers, or the step.
_Act: TypeAlias = tuple[int, int, int, int] | reads.Transposed | reads.Spans


class _Lie(NamedTuple):
    """Where a stencil lies in its tensor."""

    axis: int
    varying: frozenset[int]


class _Plans:
    """What steps do to stencils, by the id of the steps, worked out once for all that lie alike."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, frozenset[int], int, bool], tuple[_Lie, int, tuple[_Act, ...]] | None] = {}

    def after(self, stencil: Stencil, extent: int, steps: reads.Steps, alone: bool) -> tuple[Known, int]:
        """The stencil after steps, and the extent of the axis that moves; ``alone`` where nothing else is read."""
        axis, pattern, varying = stencil
        first = steps[0]
        if type(first) is reads.Place and len(steps) == 1 and first.axis != axis:  # one of many tensors side by side
            return (stencil if first.axis in varying else Stencil(axis, pattern, varying | {first.axis})), extent
        key = (id(steps), axis, varying, extent, alone)
        if key not in self._known:
            self._known[key] = _plan(_Lie(axis, varying), extent, steps, alone)
        plan = self._known[key]
        if plan is None:
            return None, extent
        lie, extent, acts = plan
        for act in acts:
            after = _acted(pattern, act)
            if after is None:
                return None, extent
            pattern = after
        return Stencil(lie.axis, pattern, lie.varying), extent


def _plan(lie: _Lie, extent: int, steps: reads.Steps, alone: bool) -> tuple[_Lie, int, tuple[_Act, ...]] | None:
    acts: list[_Act] = []
    for step in steps:
        moved = _moved(lie, step, alone)
        if moved is None:
            return None
        after, act = moved
        extent = _extent(extent, lie.axis, step, after.axis)
        lie = after
        if act is not None:
            acts.append(act)
    return lie, extent, tuple(acts)


def _acted(pattern: Pattern, act: _Act) -> Pattern | None:
    if isinstance(act, tuple):
        return _strided(pattern, *act)
    return _transposed(pattern, act) if isinstance(act, reads.Transposed) else _spans(pattern, act)


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


def _phased(pattern: Pattern, period: int, shift: int, reads_of: list[list[int]]) -> Pattern:
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
        found = _phased(pattern, period, shift, [[stride * u + tap for tap in taps] for u in range(period)])
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
    return _phased(pattern, period, pattern.shift, rows)


def _spans(pattern: Pattern, step: reads.Spans) -> Pattern | None:
    if not step.period or not step.shift:
        return None
    times = pattern.period // gcd(pattern.period, step.shift)
    rows = []
    for u in range(step.period * times):
        turns, phase = divmod(u, step.period)
        base = turns * step.shift
        rows.append(list(range(step.free_first[phase] + base, step.free_last[phase] + base + 1)))
    return _phased(pattern, len(rows), pattern.shift * step.shift * times // pattern.period, rows)


#: Steps along one axis that tell units apart along no other.
_WITHIN = frozenset({reads.Window, reads.Transposed, reads.Spans, reads.Pad})


def _moved(lie: _Lie, step: reads.Step, alone: bool) -> tuple[_Lie, _Act | None] | None:
    """Where a stencil lies after a step, and what that does to its pattern; None where it is not known any more."""
    axis, varying = lie
    if type(step) in _WITHIN and step.axis != axis:  # type: ignore[union-attr]
        return lie, None
    match step:
        case reads.Window(_, kernel, stride, dilation, before):
            return lie, (stride, dilation, kernel, before)
        case reads.Transposed() | reads.Spans():
            return lie, step
        case reads.Pad(_, _, before):
            return lie, (1, 1, 1, before)
        case reads.Slice(where, start, stride, _):
            if where == axis:
                return lie, (stride, 1, 1, -start)
            return None if where in varying else (lie, None)
        case reads.Place(where, _, offset, _, stride):
            if where == axis:
                return (lie, (1, 1, 1, offset)) if alone and stride == 1 else None
            return _Lie(axis, varying | {where}), None
        case reads.Take(where):
            return None if where == axis or where in varying else (lie, None)
        case reads.Reduce(axes):
            return None if axis in axes else (_Lie(axis, varying.difference(axes)), None)
        case reads.Group(where, groups):
            if where == axis or (where in varying and groups > 1):
                return None
            return _Lie(axis, varying - {where}), None
        case reads.Permute(axes):
            return _Lie(axes.index(axis), frozenset([axes.index(k) for k in varying])), None
        case reads.Reshape(shape_in, shape_out):
            return _reshaped(lie, shape_in, shape_out)
    return None


def _reshaped(lie: _Lie, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> tuple[_Lie, None] | None:
    axis: int | None = None
    varying: set[int] = set()
    for left, right in runs_of(shape_in, shape_out):
        if lie.axis in left:
            wide = [k for k in right if shape_out[k] > 1] or right
            if [k for k in left if shape_in[k] > 1] not in ([lie.axis], []) or len(wide) != 1:
                return None
            axis = wide[0]
        elif lie.varying & set(left):
            varying.update(right)
    return None if axis is None else (_Lie(axis, frozenset(varying)), None)


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
