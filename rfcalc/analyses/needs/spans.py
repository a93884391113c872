"""Spans: from which index to which one of an axis each unit of a layer uses.

A `Span` says it twice. Its *ends*, in which what lies outside a tensor is nothing, are a pair of numbers, the same for
all units, or of arrays of the rank of the layer's output, with extent 1 along every axis that they do not depend on;
a unit that uses nothing has its first after its last. They are worked out where they are asked for, and most are not.
Its *free* ends go on beyond the borders; they exist where units along one axis of the layer use what their neighbours
use, moved, in a pattern that repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import gcd, lcm
from typing import Any, NamedTuple, TypeAlias

import numpy as np

#: The first index of a unit that uses nothing; its last one is -GONE.
GONE = 1 << 40
#: Patterns of more positions are not followed.
LONGEST = 1 << 12

Array: TypeAlias = np.ndarray
Ends: TypeAlias = tuple[Any, Any]  #: the first and the last index: two numbers, or two arrays


class Pattern(NamedTuple):
    """Free ends over one period of units: unit ``u + len(lo)`` uses what unit u uses, moved by ``shift``."""

    shift: int
    lo: tuple[int, ...]
    hi: tuple[int, ...]


class Rule(NamedTuple):
    """What positions along an axis read, over one period of them: position ``v + len(first)`` what v reads, moved."""

    shift: int
    first: tuple[int, ...]
    last: tuple[int, ...]


class Free(NamedTuple):
    """A pattern, and the layer's axis along which it repeats."""

    axis: int
    pattern: Pattern


class Span:
    """What each unit uses along one axis of a tensor, or along one digit of it. Never changed once made."""

    __slots__ = ("_ends", "_made_of", "_make", "free", "is_same", "outer", "whole")

    def __init__(
        self,
        make: Callable[..., Ends] | None,
        made_of: Sequence[Span] = (),
        free: Free | None = None,
        ends: Ends | None = None,
        is_same: bool = False,
    ) -> None:
        self._make = make
        self._made_of = made_of
        self._ends = ends
        self.free = free
        self.is_same = is_same  #: whether all units use the same
        self.whole: Span | None = None  #: of the inner half of a span that was cut: that span
        self.outer: Span | None = None  #: and its outer half

    @property
    def ends(self) -> Ends:
        """Cut at the borders."""
        return self._ends if self._ends is not None else _worked_out(self)

    def derived(self, make: Callable[..., Ends], free: Free | None, *others: Span) -> Span:
        """A span whose ends are made of this one's and those of others."""
        return Span(make, (self, *others), free)

    def bound(self) -> Span:
        """The same without what lies beyond the borders."""
        return self if self.free is None else Span(None, ends=self.ends)


def _worked_out(span: Span) -> Ends:
    """The ends of a span; those that they are made of first, however many they are."""
    ahead = [span]
    while ahead:
        last = ahead[-1]
        missing = [part for part in last._made_of if part._ends is None]
        if missing:
            ahead += missing
            continue
        ahead.pop()
        if last._ends is None and last._make is not None:
            last._ends = last._make(*[part._ends for part in last._made_of])
            last._made_of, last._make = (), None
    assert span._ends is not None
    return span._ends


@lru_cache(maxsize=1 << 14)
def same(first: int, last: int) -> Span:
    """All units use these indices."""
    return Span(None, ends=(first, last), is_same=True)


def units(axis: int, extent: int, rank: int) -> Span:
    """Each unit along an axis of the layer uses its own place."""
    own = np.arange(extent, dtype=np.int64).reshape([-1 if k == axis else 1 for k in range(rank)])
    return Span(None, free=Free(axis, Pattern(1, (0,), (0,))), ends=(own, own))


def union(spans: Sequence[Span], extent: int) -> Span:
    """What is used by several ways of an axis of that extent, and what lies between."""
    some = list(dict.fromkeys(spans))
    if len(some) == 1:
        return some[0]
    fixed = [span.ends for span in some if span.is_same]
    if fixed:
        whole = same(min([first for first, _ in fixed]), max([last for _, last in fixed]))
        if len(fixed) == len(some) or whole.ends == (0, extent - 1):
            return whole
        return Span(_together, some)
    return Span(_together, some, _free_together([span.free for span in some]))


def _together(*ends: Ends) -> Ends:
    lo, hi = ends[0]
    for first, last in ends[1:]:
        lo, hi = np.minimum(lo, first), np.maximum(hi, last)
    return lo, hi


def _free_together(found: Sequence[Free | None]) -> Free | None:
    first = found[0]
    if first is None or any(free is None or free.axis != first.axis for free in found):
        return None
    pattern = joined(tuple(dict.fromkeys([free.pattern for free in found if free is not None])))
    return None if pattern is None else Free(first.axis, pattern)


@lru_cache(maxsize=1 << 13)
def joined(patterns: tuple[Pattern, ...]) -> Pattern | None:
    """The pattern of what several use together, None where they do not move alike."""
    if len(patterns) == 1:
        return patterns[0]
    period = lcm(*[len(pattern.lo) for pattern in patterns])
    shifts = {pattern.shift * period // len(pattern.lo) for pattern in patterns}
    if len(shifts) > 1 or period > LONGEST:
        return None
    wide = [stretched(pattern, period) for pattern in patterns]
    lo, hi = zip(*[pattern.lo for pattern in wide], strict=True), zip(*[pattern.hi for pattern in wide], strict=True)
    return Pattern(shifts.pop(), tuple(map(min, lo)), tuple(map(max, hi)))


def stretched(pattern: Pattern, period: int) -> Pattern:
    """The same over more periods at once."""
    times = period // len(pattern.lo)
    if times == 1:
        return pattern
    turns = [turn * pattern.shift for turn in range(times)]
    lo = [first + turn if first < GONE else first for turn in turns for first in pattern.lo]
    hi = [last + turn if last > -GONE else last for turn in turns for last in pattern.hi]
    return Pattern(pattern.shift * times, tuple(lo), tuple(hi))


@lru_cache(maxsize=1 << 14)
def slid(pattern: Pattern, rule: Rule) -> Pattern | None:
    """The pattern of what is read by what is used; None where it is too long."""
    turn = len(rule.first)
    if turn == 1:
        return _evenly(pattern, rule.shift, rule.first[0], rule.last[0])
    period = len(pattern.lo) * turn // gcd(turn, pattern.shift)
    if period > LONGEST:
        return None
    wide = stretched(pattern, period)
    lo, hi = [], []
    for first, last in zip(wide.lo, wide.hi, strict=True):
        head, tail = (first, min(last, first + turn - 1)), (max(first, last - turn + 1), last)
        low, high = (head, tail) if rule.shift >= 0 else (tail, head)
        lo.append(min([_at(v, rule.first, rule.shift) for v in range(low[0], low[1] + 1)], default=GONE))
        hi.append(max([_at(v, rule.last, rule.shift) for v in range(high[0], high[1] + 1)], default=-GONE))
    return Pattern(wide.shift * rule.shift // turn, tuple(lo), tuple(hi))


def _evenly(pattern: Pattern, shift: int, first: int, last: int) -> Pattern:
    lo, hi = (pattern.lo, pattern.hi) if shift >= 0 else (pattern.hi, pattern.lo)
    return Pattern(
        pattern.shift * shift,
        tuple([shift * index + first if abs(index) < GONE else GONE for index in lo]),
        tuple([shift * index + last if abs(index) < GONE else -GONE for index in hi]),
    )


def _at(position: int, period: Sequence[int], shift: int) -> int:
    turns, phase = divmod(position, len(period))
    return period[phase] + turns * shift if abs(period[phase]) < GONE else period[phase]


# --- digits -----------------------------------------------------------------------------------------------------------

#: What units use of the digits (extent, span) that positions along an axis are counted in, the outermost first.
Digits: TypeAlias = tuple[tuple[int, Span], ...]


def halves(span: Span, inner: int) -> tuple[Span, Span]:
    """What is used of an axis whose positions are counted in two digits, the inner one of that extent.

    Where it reaches from one stretch into another, all of the inner digit counts.
    """
    if span.is_same:
        first, last = span.ends
        outer = same(first // inner, last // inner)
        if first // inner == last // inner:
            return outer, same(first % inner, last % inner)
        within = Span(None, ends=(0, inner - 1), is_same=True)
        within.whole, within.outer = span, outer
        return outer, within
    free = None
    if span.free is not None:
        pattern = slid(span.free.pattern, Rule(1, (0,) * inner, (0,) * inner))
        free = None if pattern is None else Free(span.free.axis, pattern)
    outer = span.derived(lambda ends: _divided(ends, inner), free)
    within = span.derived(lambda ends: _rest(ends, inner), None)
    within.whole, within.outer = span, outer
    return outer, within


def _divided(ends: Ends, inner: int) -> Ends:
    lo, hi = ends
    return np.where(lo > hi, GONE, lo // inner), np.where(lo > hi, -GONE, hi // inner)


def _rest(ends: Ends, inner: int) -> Ends:
    lo, hi = ends
    one = lo // inner == hi // inner
    return (
        np.where(lo > hi, GONE, np.where(one, lo % inner, 0)),
        np.where(lo > hi, -GONE, np.where(one, hi % inner, inner - 1)),
    )


def mended(digits: Sequence[tuple[int, Span]]) -> Digits:
    """Digits of which those that were cut out of one are one again, and those of one position left out."""
    made: list[tuple[int, Span]] = []
    for extent, span in digits:
        if extent == 1 and span.is_same:
            continue
        while made and span.whole is not None and span.outer is made[-1][1]:
            extent, span = extent * made.pop()[0], span.whole
        made.append((extent, span))
    return tuple(made) or ((1, same(0, 0)),)


def flat(digits: Digits) -> Span:
    """The digits as one: the least stretch that has all of it."""
    if len(digits) == 1:
        return digits[0][1]
    weights, weight = [], 1
    for extent, _ in reversed(digits):
        weights.append(weight)
        weight *= extent
    weights.reverse()
    spans = [span for _, span in digits]
    if all(span.is_same for span in spans):
        return same(*_summed(weights, *[span.ends for span in spans]))
    free = spans[0].free
    if free is not None:
        rest = [span.ends for span in spans[1:] if span.is_same]
        free = _widened(free, weights, rest) if len(rest) == len(spans) - 1 else None
    return Span(lambda *ends: _summed(weights, *ends), spans, free)


def _summed(weights: Sequence[int], *ends: Ends) -> Ends:
    lo = sum([weight * first for weight, (first, _) in zip(weights, ends, strict=True)])
    hi = sum([weight * last for weight, (_, last) in zip(weights, ends, strict=True)])
    if isinstance(lo, int):
        return lo, hi
    nothing = np.zeros((), dtype=bool)
    for first, last in ends:
        nothing = nothing | np.greater(first, last)
    return np.where(nothing, GONE, lo), np.where(nothing, -GONE, hi)


def _widened(free: Free, weights: Sequence[int], rest: Sequence[Ends]) -> Free | None:
    before = sum([weight * first for weight, (first, _) in zip(weights[1:], rest, strict=True)])
    after = sum([weight * last for weight, (_, last) in zip(weights[1:], rest, strict=True)])
    pattern = slid(free.pattern, Rule(weights[0], (before,), (after,)))
    return None if pattern is None else Free(free.axis, pattern)


def dealt(digits: Digits, extents: Sequence[int]) -> list[Digits]:
    """The digits cut and dealt out to axes of these extents."""
    return _dealt(digits, extents) or _dealt(((_extent(digits), flat(digits)),), extents) or []


def _extent(digits: Digits) -> int:
    extent = 1
    for own, _ in digits:
        extent *= own
    return extent


def _dealt(digits: Digits, extents: Sequence[int]) -> list[Digits] | None:
    left = [digit for digit in digits if digit[0] > 1]
    made: list[Digits] = []
    for missing in reversed(extents):
        own: list[tuple[int, Span]] = []
        while missing > 1:
            extent, span = left.pop()
            if extent > missing:
                if extent % missing:
                    return None
                outer, span = halves(span, missing)
                left.append((extent // missing, outer))
                extent = missing
            elif missing % extent:
                return None
            own.append((extent, span))
            missing //= extent
        made.append(mended(own[::-1]))
    return made[::-1]
