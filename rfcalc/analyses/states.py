"""What one tensor sees of one source axis, and of another one that is seen alike.

Most networks treat the rows and the columns of a square image alike: what a unit sees of the columns are then the same
lines as of the rows, along another axis of its tensor. Such a state is `Turned`, and not worked out a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias

from rfcalc.analyses import lines
from rfcalc.analyses.folded import Folded
from rfcalc.analyses.intervals import Intervals
from rfcalc.analyses.joins import Parts
from rfcalc.analyses.lines import Lined
from rfcalc.analyses.masked import Masked

#: The axis of a tensor that lines lie along, and the one that the same lines lie along for another axis of the source.
Turn: TypeAlias = tuple[int, int]


class Sight:
    """What is seen: ``full``, and ``local``, () where that is nothing. Never changed once made.

    ``known`` holds what has been made of it: by an op's steps, over another shape, or with sights that are younger, so
    that no two hold each other. Blocks of a transformer see the same, again and again. ``facts`` is what reports say of
    it, which sights share that differ in the extents of axes that do not matter.
    """

    __slots__ = ("age", "facts", "full", "is_blind", "is_short", "known", "local")

    def __init__(self, full: Parts, local: Parts, facts: dict[str, Any] | None = None) -> None:
        alike = local is full or full == local or lines.are_as(full, local)
        self.full = full
        self.local = full if alike else local  # one field for both where they are equal, so that steps are made once
        self.age = next(_ages)
        self.facts: dict[str, Any] = {} if facts is None else facts
        self.known: dict[Any, Any] = {}
        self.is_blind = all(map(lines.sees_nothing, full))
        self.is_short = all(map(_is_short, full)) and all(map(_is_short, local))  #: and may be kept for long

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.full[0].shape

    def is_as(self, full: Parts, local: Parts) -> bool:
        """Whether these fields are known to be the same."""
        return lines.are_as(full, self.full) and lines.are_as(local, self.local)

    def after(self, full: Parts, local: Parts) -> Sight | None:
        """What is seen with these fields, made of those of this one; None where they are the same."""
        same = lines.are_alike(full, self.full)
        if not same or not ((local is full and self.local is self.full) or lines.are_alike(local, self.local)):
            return Sight(full, local)
        shape = full[0].shape
        if shape == self.shape:
            return None
        found: Sight | None = self.known.get(shape)
        if found is None:
            found = self.known[shape] = Sight(full, local, self.facts)
        return found


#: Elements of an array that a sight may be remembered with.
_SHORT = 1 << 13


def _is_short(part: Intervals) -> bool:
    return isinstance(part, Lined) or (not isinstance(part, Masked | Folded) and part.lo.size + part.hi.size <= _SHORT)


_ages = count()


@dataclass(slots=True, eq=False)
class State:
    """What one tensor sees of one source axis; the flags are sets of node ids.

    Never changed once made: an op that reads each element where it stands hands the same state on.
    """

    sight: Sight
    context: int = 0
    inexact: int = 0
    misaligned: int = 0
    masked: int = 0
    summary: Any = field(default=None, init=False, repr=False)  #: what `receptive_field.summarise` made of it

    @property
    def full(self) -> Parts:
        """The clipped regions, with everything read."""
        return self.sight.full

    @property
    def local(self) -> Parts:
        """Free of borders, and without what comes in through a reduction over the whole axis."""
        return self.sight.local

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.sight.full[0].shape


class Turned(State):
    """The same lines as in another state, along another axis of the tensor; its sight is made when asked for."""

    __slots__ = ("like", "turn")

    def __init__(self, like: State, turn: Turn) -> None:
        self.like = like
        self.turn = turn
        self.context = like.context
        self.inexact = like.inexact
        self.misaligned = like.misaligned
        self.masked = like.masked
        self.summary = None

    def __getattr__(self, name: str) -> Sight:
        if name != "sight":
            raise AttributeError(name)
        full = _turned(self.like.full, self.turn)
        self.sight = Sight(full, full if self.like.local is self.like.full else _turned(self.like.local, self.turn))
        return self.sight

    @property
    def shape(self) -> tuple[int, ...]:
        return self.like.shape


def _turned(parts: Parts, turn: Turn) -> Parts:
    found = [part for part in parts if isinstance(part, Lined)]
    return tuple([Lined(part.shape, turn[1], part.across, part.runs) for part in found])


def can_turn(state: State, turn: Turn) -> bool:
    """Whether all that is seen are lines along the first of the axes, so that they may lie along the other as well."""
    return _can_turn(state.full, turn) and (state.local is state.full or _can_turn(state.local, turn))


def _can_turn(parts: Sequence[Any], turn: Turn) -> bool:
    for part in parts:
        if not isinstance(part, Lined) or part.axis not in (turn[0], -1) or part.across in turn:
            return False
    return True
