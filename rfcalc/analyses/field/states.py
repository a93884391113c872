"""What one tensor sees of one source axis, full and local, and which layers made it so."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from rfcalc.analyses.field import lines
from rfcalc.analyses.field.intervals import Array
from rfcalc.analyses.field.merging import Parts


class Sight:
    """What is seen: ``full``, and ``local``, () where that is nothing. Never changed once made.

    ``known`` holds what has been made of it: by an op's steps, over another shape, or with sights that are younger, so
    that no two hold each other. Blocks of a transformer see the same, again and again. ``facts`` is what reports say of
    it, which sights share that differ in the extents of axes that do not matter.
    """

    __slots__ = ("__weakref__", "age", "facts", "full", "is_blind", "is_short", "known", "local")

    def __init__(self, full: Parts, local: Parts, facts: dict[str, Any] | None = None) -> None:
        alike = local is full or full == local or lines.are_as(full, local)
        self.full = full
        self.local = full if alike else local  # one field for both where they are equal, so that steps are made once
        self.age = next(_ages)
        self.facts: dict[str, Any] = {} if facts is None else facts
        self.known: dict[Any, Any] = {}
        self.is_blind = all(part.sees_nothing() for part in full)
        self.is_short = all(part.is_short() for part in (*full, *local))  #: and may be kept for long

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return self.full[0].shape

    @property
    def numbers(self) -> int:
        """How many numbers the lines and arrays of a short sight hold, shared ones too."""
        return sum([part.held for part in {*self.full, *self.local}])

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


def arrays_of(sight: Sight) -> list[Array]:
    """The arrays that a sight keeps in memory, beside those of lines."""
    return [array for part in {*sight.full, *sight.local} for array in map(_owner, part.arrays())]


def _owner(array: Array) -> Array:
    return array if array.base is None else array.base


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
