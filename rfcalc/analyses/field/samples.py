"""How many indices inside a window are really read: dilation, and strides larger than kernels, leave holes.

A pattern is the set of source indices that each unit of one period reads along one axis, without borders: bit sets,
which a free line (`field.lines`) has beside its ends. Where a unit's set cannot be told from its position along one
axis alone (masks, gathers), it is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd, lcm
from typing import Any, TypeAlias

import numpy as np

from rfcalc import reads

Array: TypeAlias = np.ndarray

#: What a unit reads from its first index on: a set bit for each, or, where it reads all up to its last, how many there
#: are with the sign turned, which is as short for any number. 0 for nothing.
Bits: TypeAlias = int


class Pattern:
    """Indices along one source axis: unit u reads ``first + k`` for every bit k of its phase ``u % period``, moved
    by ``shift`` each period. Never changed once made; ``known`` holds what steps have made of it."""

    __slots__ = ("known", "phases", "shift")

    def __init__(self, shift: int, phases: tuple[tuple[int, Bits], ...]) -> None:
        self.shift = shift
        self.phases = phases  #: (first index, bits)
        self.known: dict[Any, Any] = {}

    @property
    def period(self) -> int:
        return len(self.phases)

    def at(self, position: int) -> tuple[int, Bits]:
        """(first index, bits) of any position, also outside the tensor."""
        turns, phase = divmod(position, len(self.phases))
        first, bits = self.phases[phase]
        return first + turns * self.shift, bits

    def indices(self, position: int) -> tuple[int, ...]:
        """All that any position reads, ascending."""
        first, bits = self.at(position)
        if bits < 0:
            return tuple(range(first, first - bits))
        return tuple([first + number for number in range(bits.bit_length()) if bits >> number & 1])

    def same(self, other: Pattern) -> bool:
        """Whether both say the same in the same way."""
        return self is other or (self.shift == other.shift and self.phases == other.phases)

    @property
    def count(self) -> int:
        """The largest number of indices that one unit reads."""
        found: int | None = self.known.get("count")
        if found is None:
            found = self.known["count"] = max([-bits if bits < 0 else bits.bit_count() for _, bits in self.phases])
        return found


def length(bits: Bits) -> int:
    """From the first index to the last, both included."""
    return -bits if bits < 0 else bits.bit_length()


def single() -> Pattern:
    """Every position reads its own index."""
    return Pattern(1, ((0, -1),))


def _merge(sets: Iterable[tuple[int, Bits]]) -> tuple[int, Bits]:
    """The union of bit sets with different first indices."""
    rows = [row for row in sets if row[1]]
    if not rows:
        return 0, 0
    if len(rows) == 1:
        return rows[0]
    return _in_one_run(rows) or _with_holes(rows)


def _in_one_run(rows: list[tuple[int, Bits]]) -> tuple[int, Bits] | None:
    """The union of runs, where it is a run."""
    rows.sort()
    first, end = rows[0][0], rows[0][0]
    for low, bits in rows:
        if bits > 0 or low > end:
            return None
        end = max(end, low - bits)
    return first, first - end


def _with_holes(rows: Sequence[tuple[int, Bits]]) -> tuple[int, Bits]:
    first = min([low for low, _ in rows])
    found = 0
    for low, bits in rows:
        found |= ((1 << -bits) - 1 if bits < 0 else bits) << (low - first)
    return first, found if found & (found + 1) else -found.bit_length()


def _phased(pattern: Pattern, period: int, shift: int, reads_of: list[list[int]]) -> Pattern:
    rows = reads_of[:period]
    if len(rows) * len(rows[0]) >= MANY and all(rows):
        widest = max(map(len, rows))
        places = np.array([row + row[:1] * (widest - len(row)) for row in rows])
        runs = _all_in_runs([(pattern, places)])
        if runs is not None:
            return Pattern(shift, runs)
    return Pattern(shift, tuple([_merge([pattern.at(position) for position in row]) for row in rows]))


#: From so many positions on their runs are put together as arrays.
MANY = 256
_FAR = 1 << 60


def _all_in_runs(found: Sequence[tuple[Pattern, Array]]) -> tuple[tuple[int, Bits], ...] | None:
    """What units read together of patterns at places (units, places), where each of it is a run; None where not."""
    lo, end = [], []
    for pattern, places in found:
        known = pattern.known.get("runs")
        if known is None:
            holes = any(bits > 0 for _, bits in pattern.phases)
            known = pattern.known["runs"] = () if holes else tuple(np.array(pattern.phases).T)
        if not known:
            return None
        turns, phase = np.divmod(places, pattern.period)
        first, bits = known[0][phase] + turns * pattern.shift, known[1][phase]
        lo.append(np.where(bits, first, _FAR))
        end.append(np.where(bits, first - bits, -_FAR))
    first, last = np.concatenate(lo, axis=1), np.concatenate(end, axis=1)
    order = np.argsort(first, axis=1)
    first = np.take_along_axis(first, order, 1)
    last = np.maximum.accumulate(np.take_along_axis(last, order, 1), axis=1)
    gaps = (first[:, 1:] > last[:, :-1]) & (first[:, 1:] < _FAR)
    if gaps.any():
        return None
    nothing = first[:, 0] == _FAR
    starts, lengths = np.where(nothing, 0, first[:, 0]), np.where(nothing, 0, first[:, 0] - last[:, -1])
    return tuple(zip(starts.tolist(), lengths.tolist(), strict=True))


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
        phases = _together(found, period)
        whole = Pattern(first.shift * period // first.period, phases)
        made = first.known[key] = next((one for one in found if one.same(whole)), whole)
    return made


def _together(patterns: Sequence[Pattern], period: int) -> tuple[tuple[int, Bits], ...]:
    """What the units of one period read of several patterns."""
    if period * len(patterns) >= MANY:
        units = np.arange(period)[:, None]
        runs = _all_in_runs([(pattern, units) for pattern in patterns])
        if runs is not None:
            return runs
    return tuple([_merge([pattern.at(u) for pattern in patterns]) for u in range(period)])
