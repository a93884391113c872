"""The largest batch, side or length that fits into so many bytes, by passes at several sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rfcalc.checking.subject import Subject
from rfcalc.errors import RfcalcError, UsageError
from rfcalc.footprint.calls import resized
from rfcalc.footprint.results import Fit
from rfcalc.graph import InputInfo

#: Sides are multiples of this, as most networks want them.
_SIDE = 32
#: No size is asked for beyond.
_LARGEST = 1 << 24


@dataclass(frozen=True)
class Size:
    """What grows: its name, the size of now, the unit in which it grows, and the extents that a size means."""

    what: str
    now: int
    unit: int
    extents: Callable[[int], Callable[[InputInfo], dict[int, int]]]


def size_of(subject: Subject, what: str) -> Size:
    """The size that is asked about. Raises `UsageError` for one that the model does not have."""
    infos = subject.graph.inputs
    if what == "batch":
        found = next((one.batch for one in infos if one.batch is not None), None)
        if found is not None:
            return Size(what, found, 1, lambda n: lambda one: {0: n} if one.batch is not None else {})
    elif what == "side":
        spatial = [one for one in infos if len(one.axes) > 1]
        if spatial:
            now = max(spatial[0].shape[axis] for axis in spatial[0].axes.values())
            return Size(what, now, _SIDE, lambda n: lambda one: _all(one, n) if len(one.axes) > 1 else {})
    elif what == "length":
        rows = [(one, axis) for one in infos for axis in [_along(one)] if axis is not None]
        if rows:
            first, axis = rows[0]
            now = first.shape[axis]
            return Size(what, now, 1, lambda n: lambda one: _as_long(one, now, n))
    else:
        raise UsageError(f"unknown size {what!r}: expected batch, side or length")
    shapes = ", ".join("x".join(map(str, one.shape)) for one in infos)
    raise UsageError(f"{subject.loaded.name} has no {what} that could grow: its inputs are {shapes}")


def _all(info: InputInfo, extent: int) -> dict[int, int]:
    return dict.fromkeys(info.axes.values(), extent)


def _along(info: InputInfo) -> int | None:
    """The axis of positions of a sequence: the only one along which fields are measured, or that of token ids."""
    if len(info.axes) == 1:
        return next(iter(info.axes.values()))
    return 1 if len(info.shape) == 2 and info.dtype in ("int64", "int32", "bool") else None


def _as_long(info: InputInfo, now: int, extent: int) -> dict[int, int]:
    axis = _along(info)
    return {axis: extent} if axis is not None and info.shape[axis] == now else {}


def at_size(subject: Subject, size: Size, extent: int) -> Subject:
    """The subject with its call at another size; its graph is that of before."""
    return replace(subject, **resized(subject, size.extents(extent)))


def one_more(subject: Subject) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The arguments by which one more token of each sequence is read: one position, but for masks, which have all.

    Raises `UsageError` for a model that reads no sequences.
    """
    now = size_of(subject, "length").now

    def extents(info: InputInfo) -> dict[int, int]:
        axes = _as_long(info, now, 1)
        return dict.fromkeys(axes, now + 1) if "mask" in info.name else axes

    found = resized(subject, extents)
    return found["args"], found["kwargs"]


def fitted(limit: int, size: Size, peak: Callable[[int], int]) -> Fit:
    """The largest size whose peak is no more than the limit: it fits, and the next one does not, or is refused.

    ``peak`` runs a pass. Memory grows with the size, nearly as a straight line in the batch, so that the next size is
    where a line through two known ones meets the limit; what is between is halved where that does not narrow it.
    """
    known: dict[int, int | None] = {}

    def fits(units: int) -> bool:
        if units not in known:
            try:
                known[units] = peak(units * size.unit)
            except RfcalcError:
                if not any(value is not None for value in known.values()):
                    raise
                known[units] = None  # the model does not take it
        found = known[units]
        return found is not None and found <= limit

    if not fits(1):
        return Fit(limit, size.what, 0, None, known[1], len(known))
    below, above = 1, _LARGEST // size.unit
    guess = 2
    while above - below > 1:
        guess = min(max(guess, below + 1), above - 1)
        if fits(guess):
            below = guess
        else:
            above = guess
        line = _crossing(limit, known)
        narrow = line is not None and below < line < above
        guess = line if narrow and line is not None else (below + above) // 2 if len(known) > 8 else 2 * below
        if line is not None and line == below:
            guess = below + 1
        elif line is not None and line == above:
            guess = above - 1
    following = known.get(below + 1)
    return Fit(limit, size.what, below * size.unit, known[below], following, len(known))


def _crossing(limit: int, known: dict[int, int | None]) -> int | None:
    """Where a straight line through the two known sizes nearest to the limit meets it."""
    points = sorted(((abs(value - limit), at, value) for at, value in known.items() if value is not None))[:2]
    if len(points) < 2:
        return None
    (_, one, low), (_, other, high) = points
    if low == high or one == other:
        return None
    return one + (limit - low) * (other - one) // (high - low)


__all__ = ["Size", "at_size", "fitted", "one_more", "size_of"]
