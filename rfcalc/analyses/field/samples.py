"""How many indices inside a window are really read: dilation, and strides larger than kernels, leave holes.

A pattern is the set of source indices that each unit of one period reads along one axis, without borders: bit sets,
which a free line (`field.lines`) has beside its ends. Where a unit's set cannot be told from its position along one
axis alone (masks, gathers), it is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd, lcm
from typing import Any

from rfcalc import reads


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


def after(pattern: Pattern, step: reads.Step, *, alone: bool) -> Pattern | None:
    """The pattern after a step along the axis, without borders; None where it is not known any more.

    ``alone`` as in `arrays.place_alone`.
    """
    match step:
        case reads.Window(_, kernel, stride, dilation, before):
            return _strided(pattern, stride, dilation, kernel, before)
        case reads.Slice(_, start, stride):
            return _strided(pattern, stride, 1, 1, -start)
        case reads.Pad(_, _, before):
            return _strided(pattern, 1, 1, 1, before)
        case reads.Place(_, _, offset, _, stride):
            return _strided(pattern, 1, 1, 1, offset) if alone and stride == 1 else None
        case reads.Transposed():
            return _transposed(pattern, step)
        case reads.Spans():
            return _spans(pattern, step)
    return None


def united(patterns: Sequence[Pattern | None]) -> Pattern | None:
    """What several patterns read together; None where one is not known, or moves otherwise."""
    found = [pattern for pattern in dict.fromkeys(patterns) if pattern is not None]
    if None in patterns or any(one.shift * found[0].period != found[0].shift * one.period for one in found):
        return None
    first, *others = found
    if all(first.same(other) for other in others):
        return first
    key = tuple(others)
    made: Pattern | None = first.known.get(key)
    if made is None:
        period = lcm(*[pattern.period for pattern in found])
        phases = tuple([_merge([pattern.at(u) for pattern in found]) for u in range(period)])
        whole = Pattern(first.shift * period // first.period, phases)
        made = first.known[key] = next((one for one in found if one.same(whole)), whole)
    return made
