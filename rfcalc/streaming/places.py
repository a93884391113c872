"""How far the units of one tensor look back and ahead along one axis of a source, from their own places on.

The place of unit u of a tensor with hop h (source positions for each unit) is the part [h*u, h*(u + 1)) of the source:
the positions from floor(h*u) to ceil(h*(u + 1)) - 1 (docs/definitions.md, "Reach" and "Streams"). Where places are told
from the end, all of them are moved on by the same number of positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from rfcalc.analyses.field.windows import Window
from rfcalc.analyses.views import View


class Edge(NamedTuple):
    """Units at one end of the source that see more than the others: how many, and how far."""

    units: int
    back: int
    ahead: int


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Of one tensor along one axis of the source; lengths are source positions, None is unbounded.

    ``ahead`` is the largest of last(u) minus the last position of u's own place, over all units but those of the edges;
    negative where every unit ends before. ``axis`` is the tensor's axis that moves with the source, None where the
    tensor has no such axis (``single``: all units see the same) or several (scores of queries and keys).
    """

    axis: int | None
    hop: Fraction | None
    back: int | None
    ahead: int | None
    wait: (
        int | None
    )  #: the most positions from the first of a unit's own place to the last that it reads, both included
    chunk: int | None = None  #: the least chunk whose units, but for those of the edges, are complete with it
    start: Edge | None = None
    end: Edge | None = None
    single: bool = False
    here: bool = False  #: no pattern is known that goes on beyond this size
    bound: bool = False
    masked: bool = False
    first: int | None = None  #: the positions that have to come until unit 0 is complete
    reach: int = 0  #: the last position that any unit reads
    offset: int = 0  #: the position at which the place of unit 0 begins
    step: int | None = None  #: the positions after which the pattern repeats; None without a pattern
    around: tuple[int | None, int] = (
        None,
        0,
    )  #: what the units of a step see before its first and after its last position

    @property
    def placed(self) -> bool:
        """Whether it is known how far its units look."""
        return self.axis is not None or self.single

    @property
    def furthest(self) -> int | None:
        """The look-ahead of all units, at the edges too, at least 0; None where it is unbounded."""
        if self.ahead is None:
            return None
        return max(0, self.ahead, *(edge.ahead for edge in (self.start, self.end) if edge is not None))

    @property
    def deepest(self) -> int | None:
        """The look-back of all units, as `furthest`."""
        if self.back is None:
            return None
        return max(0, self.back, *(edge.back for edge in (self.start, self.end) if edge is not None))

    @property
    def causal(self) -> bool:
        """Whether no unit reads beyond its own place."""
        return self.furthest == 0


def place_of(view: View, extent: int, align: str = "start") -> Place:
    """The place of a tensor's units on a source axis of that extent: up to the last position that is read at all, where
    a stride leaves over some (`end_of`).

    With ``align`` "end", the place of the last unit ends with the last position that any unit reads, where else that of
    unit 0 begins with the first: units of a convolution without padding are then complete with their places.
    """
    key = ("place", extent, view.context, view.bound, view.masked, align)
    found = view.facts.get(key)
    if found is None:
        found = view.facts[key] = _place(view, extent, align == "end")
    made: Place = found
    return made


def end_of(inputs: Iterable[Place], extent: int) -> int:
    """How much of a source of that extent is there for what reads these tensors.

    What a stride leaves over at the end, less than a hop, no unit reads: one that sees all but that sees everything.
    """
    read = [place.reach + 1 if _is_cut(place, extent) else extent for place in inputs]
    return max(read, default=extent)


def _is_cut(place: Place, extent: int) -> bool:
    if place.ahead is None:
        return True
    return not place.single and place.hop is not None and extent - 1 - place.reach < place.hop


def along(view: View, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last index that the units at each position of one axis of the tensor see, over all other axes.

    Where none sees anything first > last.
    """
    lo, hi = view.regions
    others = tuple(k for k in range(lo.ndim) if k != axis)
    seen = lo <= hi
    first = np.where(seen, lo, np.iinfo(np.int64).max).min(axis=others)
    last = np.where(seen, hi, -1).max(axis=others)
    return np.asarray(first), np.asarray(last)


def together(view: View) -> tuple[np.ndarray, np.ndarray]:
    """First and last index that all units together see."""
    lo, hi = view.regions
    seen = lo <= hi
    return np.asarray(lo[seen].min(initial=np.iinfo(np.int64).max)), np.asarray(hi[seen].max(initial=-1))


def _place(view: View, extent: int, from_end: bool) -> Place:
    flags: dict[str, Any] = {"bound": view.bound, "masked": view.masked}
    window, moving = view.window, view.moving
    if window is not None and window.shift > 0 and not view.context:
        return _in_window(view, window, extent, from_end, flags)
    axes = (window.axis,) if window is not None and window.shift > 0 else moving or _varying(view)
    if not axes:
        return _single(view, extent, flags)
    if len(axes) > 1:
        return Place(None, None, None, None, None, **flags, reach=int(view.regions[1].max()))
    return _in_regions(view, axes[0], window, extent, from_end, flags)


def _varying(view: View) -> tuple[int, ...]:
    lo, _ = view.regions
    return tuple(axis for axis, length in enumerate(lo.shape) if length > 1)


def _single(view: View, extent: int, flags: dict[str, Any]) -> Place:
    """All units see the same: one unit, whose place is the whole source."""
    lo, hi = view.regions
    if extent > 1 and (lo <= hi).any() and int(lo.min()) == 0 and int(hi.max()) == extent - 1:
        return Place(None, None, None, None, None, single=True, **flags, first=extent, reach=extent - 1)
    hop, last = Fraction(extent), int(hi.max())
    return Place(
        *(None, hop, 0, last - (extent - 1), last + 1), single=True, here=True, **flags, first=last + 1, reach=last
    )


def own(units: np.ndarray, hop: Fraction, offset: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """First and last position of the own places of units, where that of unit 0 begins at ``offset``."""
    above, below = hop.numerator, hop.denominator
    return above * units // below + offset, -(-above * (units + 1) // below) - 1 + offset


def _offset(last: np.ndarray, hop: Fraction, from_end: bool) -> int:
    """Where the place of unit 0 begins: told from the end, so that the last unit that sees anything ends with it."""
    if not from_end:
        return 0
    return int(last.max()) - int(own(np.flatnonzero(last >= 0)[-1:], hop)[1][0])


def _ends(last: np.ndarray, flags: Mapping[str, Any]) -> dict[str, Any]:
    """What the last indices that units see say by themselves."""
    return {**flags, "first": int(last[0]) + 1, "reach": int(last.max())}


def _in_window(view: View, window: Window, extent: int, from_end: bool, flags: dict[str, Any]) -> Place:
    """Where a window slides: its numbers hold for any size; borders are units whose regions reach further."""
    lo, hi = np.array(window.lo), np.array(window.hi)
    phases = np.flatnonzero(lo <= hi)
    first, last = along(view, window.axis)
    offset = _offset(last, window.stride, from_end)
    start, end = own(phases, window.stride, offset)
    back, ahead = int((start - lo[phases]).max()), int((hi[phases] - end).max())
    turns, phase = np.divmod(np.arange(len(first)), window.period)
    free = (lo[phase] + turns * window.shift, hi[phase] + turns * window.shift)
    beyond = (last > np.minimum(free[1], extent - 1)) | (first < np.maximum(free[0], 0))
    wait = int((hi[phases] + 1 - start).max())
    edges = _edges(beyond & (first <= last), first, last, *own(np.arange(len(first)), window.stride, offset))
    shown: dict[str, Any] = {**_ends(last, flags), "step": window.shift, "offset": offset}
    begins = start // window.shift * window.shift
    shown["around"] = (
        max(0, int((begins - lo[phases]).max())),
        max(0, int((hi[phases] + 1 - begins).max()) - window.shift),
    )
    chunk = _chunk(start, hi[phases], window.stride, window.shift)
    return Place(window.axis, window.stride, back, ahead, wait, chunk, *edges, **shown)


def _chunk(start: np.ndarray, last: np.ndarray, hop: Fraction, shift: int) -> int | None:
    """The least chunk, whole hops that go into ``shift``, with which units that begin there are complete."""
    for size in range(hop.numerator, shift + 1, hop.numerator):
        if shift % size == 0 and bool((last < (start // size + 1) * size).all()):
            return size
    return None


def _edges(
    beyond: np.ndarray, first: np.ndarray, last: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[Edge | None, Edge | None]:
    """The units that see more than the pattern says, of the first and of the second half."""
    units, middle = np.flatnonzero(beyond), len(beyond) / 2
    back, ahead = start - first, last - end
    return _edge(units[units < middle], back, ahead), _edge(units[units >= middle], back, ahead)


def _edge(units: np.ndarray, back: np.ndarray, ahead: np.ndarray) -> Edge | None:
    return Edge(len(units), max(0, int(back[units].max())), max(0, int(ahead[units].max()))) if len(units) else None


# --- without a window: what the regions of all units say --------------------------------------------------------------


def _in_regions(
    view: View, axis: int, window: Window | None, extent: int, from_end: bool, flags: dict[str, Any]
) -> Place:
    """Where no window slides (recurrences, masks): the regions of all units, and the pattern in which they follow."""
    first, last = along(view, axis)
    count = len(first)
    seeing = np.flatnonzero(first <= last)
    lows, highs = first.copy(), last.copy()  # units of padding see nothing, as if they lay beyond the source
    lows[: seeing[0]], highs[seeing[-1] + 1 :] = 0, extent - 1
    ends = 0 if bool((last[seeing] == extent - 1).all()) else _unclipped(highs, extent)
    found = None if view.moving == () and window is None else _pattern(highs, ends)
    if found is None and ends == 0:  # every unit sees the end of the source
        hop = window.stride if window is not None and window.shift > 0 else None
        mirrored = extent - 1 - lows[::-1]
        reverse = _pattern(mirrored, _unclipped(mirrored, extent))
        back, offset = None, 0
        if reverse is not None:
            hop = reverse[0]
            offset = _offset(last, hop, from_end)
            back = max(0, int((own(np.arange(count), hop, offset)[0] - first).max()))
        return Place(axis, hop, back, None, None, **_ends(last, flags), offset=offset)
    if found is None:
        return _irregular(axis, first, last, extent, flags)
    hop, shift, begins = found
    offset = _offset(last, hop, from_end)
    start, end = own(np.arange(count), hop, offset)
    inner = slice(begins, count)
    seen = first[inner] <= last[inner]
    chunk = _chunk(start[inner][seen], last[inner][seen], hop, shift)
    ahead = int((last[inner] - end[inner])[seen].max())
    wait = int((last[inner] + 1 - start[inner])[seen].max())
    depths = (start - first)[first <= last]
    back = None if _is_endless(first, last) else max(0, int(depths.max()))
    early = np.zeros(count, dtype=bool)
    early[:begins] = (last > end + max(ahead, 0))[:begins] & (first <= last)[:begins]
    edge = _edge(np.flatnonzero(early), start - first, last - end)
    shown: dict[str, Any] = {**_ends(last, flags), "step": shift, "offset": offset}
    shown["around"] = _around(first, last, start, shift, inner, back is None)
    return Place(axis, hop, back, ahead, wait, chunk, edge, None, **shown)


def _around(
    first: np.ndarray, last: np.ndarray, start: np.ndarray, shift: int, inner: slice, endless: bool
) -> tuple[int | None, int]:
    """What units see before the step in which their places begin, and after it."""
    begins = (start // shift * shift)[inner]
    seen = (first <= last)[inner]
    before = None if endless else max(0, int((begins - first[inner])[seen].max()))
    return before, max(0, int((last[inner] + 1 - begins - shift)[seen].max()))


def _unclipped(last: np.ndarray, extent: int) -> int:
    """How many units there are before those at the end which the source's last position may have cut short."""
    below = np.flatnonzero(last < extent - 1)
    return int(below[-1]) + 1 if len(below) else 0


def _pattern(last: np.ndarray, ends: int) -> tuple[Fraction, int, int] | None:
    """The hop and the step in which the last indices of units before ``ends`` move on, and from which unit on.

    It is told from the end of them backwards, over half of all or more, and over two periods or more.
    """
    row = last[:ends]
    for period in range(1, len(row) // 2 + 1):
        shift = int(row[-1] - row[-1 - period])
        if shift <= 0 or (period > 1 and int(row[-2] - row[-2 - period]) != shift):
            continue
        same = row[period:] - row[:-period] == shift
        begins = 0 if same.all() else len(same) - int(np.argmin(same[::-1]))
        if begins <= len(row) // 2 and len(same) - begins >= period:
            return Fraction(shift, period), shift, begins
    return None


def _is_endless(first: np.ndarray, last: np.ndarray) -> bool:
    """Whether units look back to the start of the source wherever they are: the last one that sees anything does."""
    seen = np.flatnonzero(first <= last)
    return len(seen) > 1 and int(first[seen[-1]]) == 0


def _irregular(axis: int, first: np.ndarray, last: np.ndarray, extent: int, flags: dict[str, Any]) -> Place:
    """No pattern: units spread evenly over the source, and what they see at this size."""
    count = len(first)
    hop = Fraction(extent, count)
    start, end = own(np.arange(count), hop)
    seen = first <= last
    whole = bool(last[0] == extent - 1) and count > 1
    back = None if _is_endless(first, last) else max(0, int((start - first)[seen].max()))
    ahead = None if whole else int((last - end)[seen].max())
    wait = None if whole else int((last + 1 - start)[seen].max())
    return Place(axis, hop, back, ahead, wait, here=True, **_ends(last, flags))
