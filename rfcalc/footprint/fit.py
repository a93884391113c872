"""The largest batch, side or length that fits into so many bytes, by passes at several sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rfcalc.checking.subject import Subject
from rfcalc.errors import RfcalcError, UsageError
from rfcalc.footprint.calls import resized
from rfcalc.footprint.results import LARGEST_SIZE, Fit
from rfcalc.graph import InputInfo

#: Sides are multiples of the first of these of which the network takes the next two.
_SIDES = (32, 64, 14)


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
            return Size(what, now, _SIDES[0], lambda n: lambda one: _all(one, n) if len(one.axes) > 1 else {})
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
    tried: dict[int, int | None] = {}

    def taken(extent: int) -> int | None:
        if extent not in tried:
            try:
                tried[extent] = peak(extent)
            except RfcalcError:
                if not any(value is not None for value in tried.values()):
                    raise
                tried[extent] = None  # the model does not take it
        return tried[extent]

    unit = _step(size, taken)
    start, end = -(-size.now // unit), max(2, LARGEST_SIZE // unit)
    first = taken(start * unit)
    grows = first is not None and first <= limit
    below, above = (start, end) if grows else (0, start)
    while above - below > 1:
        known = {extent // unit: value for extent, value in tried.items() if extent % unit == 0}
        line = _crossing(limit, known)
        guess = 2 * below if above == end else (below + above) // 2
        if line is not None and below <= line <= above:
            guess = below + 1 if line == below else above - 1 if line == above else line
        guess = min(max(guess, below + 1), above - 1)
        found = taken(guess * unit)
        # what is refused is too large where sizes grow from the given one, and too small where they shrink from it
        if grows if found is None else found > limit:
            above = guess
        else:
            below = guess
    largest = below * unit if below and taken(below * unit) is not None else 0
    return Fit(limit, size.what, largest, tried.get(largest), tried.get(above * unit), unit, len(tried))


def _step(size: Size, taken: Callable[[int], int | None]) -> int:
    """By how much a size grows: sides by a number of which the model takes multiples, or by itself where it has one."""
    if size.what != "side":
        return size.unit
    taken(size.now)
    for step in _SIDES:
        start = -(-size.now // step) * step
        if taken(start) is not None and taken(start + step) is not None:
            return step
    return size.now


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
