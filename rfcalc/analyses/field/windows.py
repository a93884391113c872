"""What a free field says: the window that slides over the source, how it moves, and the span where there is none."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from rfcalc.analyses.field import lines
from rfcalc.analyses.field.intervals import Intervals
from rfcalc.analyses.field.lines import Lined
from rfcalc.analyses.field.motion import is_known, rate_of


class Window(NamedTuple):
    """The free field of a layer along one source axis, over one period of positions."""

    axis: int  #: the tensor's axis that moves with the source axis
    lo: tuple[int, ...]
    hi: tuple[int, ...]
    shift: int
    sizes: tuple[int, ...]

    @property
    def period(self) -> int:
        return len(self.lo)

    @property
    def stride(self) -> Fraction:
        return Fraction(self.shift, self.period)

    @property
    def offset(self) -> Fraction | None:
        """Mean distance of the centres from an even grid that starts at source pixel 0."""
        seen = [u for u, size in enumerate(self.sizes) if size]
        if not seen:
            return None
        doubled = sum([self.lo[u] + self.hi[u] for u in seen])
        return Fraction(doubled, 2 * len(seen)) - self.stride * Fraction(sum(seen), len(seen))


#: How a field moves: source pixels per position, and where its centres begin.
Pace: TypeAlias = tuple[Fraction, Fraction | None]
Paces: TypeAlias = tuple[Pace, ...]


def window_of(local: Intervals) -> Window | None:
    """The window of a free field: None where it does not move along exactly one axis in a repeating pattern."""
    if len(local.motions) != 1:
        return None
    if isinstance(local, Lined):
        found = lines.hull(local).remembered("window", _window_of_line)[0]
        return found and Window(local.axis, *found[1:])
    return _window_along(local, *local.motions)


def _window_of_line(line: lines.Line) -> tuple[Window | None]:
    if isinstance(line, lines.Even):
        return (_window(0, (line.first,), (line.last,), line.shift),)
    return (_window_along(line, 0) if line.motions else None,)


def _window(axis: int, lo: tuple[int, ...], hi: tuple[int, ...], shift: int) -> Window:
    return Window(axis, lo, hi, shift, tuple([max(0, b - a + 1) for a, b in zip(lo, hi, strict=True)]))


def pace_of(local: Intervals) -> tuple[int, Pace] | None:
    """The tensor's axis that the window of a free field moves along and how it does, None without window."""
    if isinstance(local, Lined):
        found = lines.hull(local).remembered("pace", lambda own: (_pace(_window_of_line(own)[0]),))[0]
        return found and (local.axis, found)
    window = window_of(local)
    pace = _pace(window)
    return (window.axis, pace) if window and pace else None


def _pace(window: Window | None) -> Pace | None:
    return None if window is None else (window.stride, window.offset)


def _window_along(local: Intervals, axis: int) -> Window | None:
    rate = rate_of(local.motions[axis])
    if rate is None or not rate[1]:
        return None
    period, shift = rate
    others = tuple(k for k in range(local.rank) if k != axis)
    local = local.opened([axis])
    lo, hi = local.lo.min(axis=others)[:period], local.hi.max(axis=others)[:period]
    if len(lo) < period:  # one stored position stands for all of them
        return None
    period, shift = _least_period(lo, hi, shift)
    return _window(axis, tuple(map(int, lo[:period])), tuple(map(int, hi[:period])), shift)


def _least_period(lo: np.ndarray, hi: np.ndarray, shift: int) -> tuple[int, int]:
    full = len(lo)
    for period in range(1, full):
        if full % period or shift * period % full:
            continue
        part = shift * period // full
        if all(
            (row[period:] - row[:-period] == part).all() and row[:period][-1] - row[-1] + shift == part
            for row in (lo, hi)
        ):
            return period, part
    return full, shift


def span_of(local: Intervals, extent: int) -> int:
    """The largest local field of a layer without window; clipped to the source where its pattern is not known."""
    if isinstance(local, Lined) and local.across < 0:
        return local.line.remembered(("span", extent), partial(_span_of, extent))
    return _span_of(extent, local)


def _span_of(extent: int, local: Intervals) -> int:
    lo, hi = local.lo, local.hi
    wide = [axis for axis, length in enumerate(local.extents) if length > 1]
    known = local.motions and all(is_known(local.motions[axis]) for axis in wide if axis in local.motions)
    if wide and not known:
        lo, hi = np.maximum(lo, 0), np.minimum(hi, extent - 1)
    return int(np.maximum(hi - lo + 1, 0).max())
