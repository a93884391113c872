"""What one tensor sees of one source axis, and of another one that is seen alike.

Most networks treat the rows and the columns of a square image alike: what a unit sees of the columns is then what one
at another place sees of the rows (`analyses.turns`). Such a state is `Turned`, and not worked out a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter
from typing import Any

from rfcalc.analyses.field import lines
from rfcalc.analyses.field.folded import Folded
from rfcalc.analyses.field.intervals import Intervals
from rfcalc.analyses.field.lines import Lined
from rfcalc.analyses.field.masked import Masked, Shade
from rfcalc.analyses.field.merging import Parts
from rfcalc.analyses.field.motion import Motion, in_order
from rfcalc.analyses.field.turns import Turn, exchange


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
    if isinstance(part, Masked):
        return all(map(_is_short, part.below))
    return isinstance(part, Lined) or (not isinstance(part, Folded) and part.lo.size + part.hi.size <= _SHORT)


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

    def without_context(self) -> State:
        """The same as if no layer had brought in the whole axis."""
        return State(self.sight, 0, self.inexact, self.misaligned, self.masked)

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
    """What another state sees, at other places of the tensor; its sight is made when asked for."""

    __slots__ = ("alike", "like", "turn")

    def __init__(self, like: State, turn: Turn, alike: bool = True) -> None:
        self.like = like
        self.turn = turn
        self.alike = alike  #: whether all that is read is as in the other one, and not only the regions are
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

    def without_context(self) -> State:
        return Turned(self.like.without_context(), self.turn, self.alike)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.like.shape


def _turned(parts: Parts, turn: Turn) -> Parts:
    return tuple([_of_lines(part, turn) if isinstance(part, Lined) else _of_arrays(part, turn) for part in parts])


def _of_lines(field: Lined, turn: Turn) -> Intervals:
    axes = (field.axis, field.across)
    if not turn.inside.isdisjoint(axes):
        return lines.narrowed(_of_arrays(field, turn))
    axis, across = [turn.axes[axis] if axis >= 0 else axis for axis in axes]
    return Lined(field.shape, axis, across, field.runs)


def _of_arrays(field: Intervals, turn: Turn) -> Intervals:
    if isinstance(field, Masked):
        shade, tags = Shade(turn.of(field.shade.seen)), _tags(field, turn)
        return Masked(field.shape, _turned(field.below, turn), shade, tags)
    return Intervals(field.shape, turn.of(field.lo), turn.of(field.hi), _tags(field, turn))


def _tags(field: Intervals, turn: Turn) -> dict[int, Motion]:
    found = {}
    for axis, motion in field.tags.items():
        sizes, to, order = turn.routes[axis]
        found[to] = in_order(motion, sizes, order) if axis in turn.inside else motion
    return found


def can_turn(state: State) -> bool:
    """Whether what is seen can be turned."""
    return all(map(_can_turn, state.full)) and (state.local is state.full or all(map(_can_turn, state.local)))


def _can_turn(part: Intervals) -> bool:
    return all(map(_can_turn, part.below)) if isinstance(part, Masked) else not isinstance(part, Folded)


def turn_between(one: State, other: State) -> Turn | None:
    """The turn that makes one state the other, where all that both see are the same lines along different axes."""
    if _flags(one) != _flags(other) or (len(one.full), len(one.local)) != (len(other.full), len(other.local)):
        return None
    pairs = set(map(_axes_between, one.full + one.local, other.full + other.local)) - {(-1, -1)}
    if not pairs:  # all elements see the same: any axes may change places, and a scalar has none
        return exchange(one.shape, -1, -1)
    axes = pairs.pop()
    if pairs or axes is None or one.shape[axes[0]] != one.shape[axes[1]]:
        return None
    return exchange(one.shape, *axes)


_flags = attrgetter("context", "inexact", "misaligned", "masked")


def _axes_between(one: Intervals, other: Intervals) -> tuple[int, int] | None:
    """The axes that two fields are the same lines along, -1 and -1 where all elements see the same."""
    if not (isinstance(one, Lined) and isinstance(other, Lined)) or one.across >= 0 or other.across >= 0:
        return None
    return (one.axis, other.axis) if one.line.tag == other.line.tag and one.line.sees_as(other.line) else None
