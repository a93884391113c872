"""Symmetries: where what is seen of one source axis comes again as what is seen of another one that is treated alike.

Most networks treat the rows and the columns of a square image alike. What is seen of the columns at (u, v) is then what
is seen of the rows at (v, u). Reshapes carry that along: where an image is cut into windows, or its pixels become
tokens, a position along one axis of the tensor is a number of several digits (which window from above, and which from
the left), and a turn exchanges digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import TypeAlias

import numpy as np

from rfcalc import reads
from rfcalc.analyses.intervals import Array
from rfcalc.analyses.masked import Shades
from rfcalc.analyses.tags import runs_of

Shape: TypeAlias = tuple[int, ...]


class Turn:
    """Exchanges digits of positions; done twice, it changes nothing. There is one object for all equal ones.

    ``digits`` are the sizes of the digits of each axis, the outermost first; digit k of all goes to ``to[k]``. An axis
    as a whole changes places with another one, or its digits do so among themselves.
    """

    __slots__ = ("axes", "digits", "inside", "shape", "to")

    def __init__(self, digits: tuple[Shape, ...], to: tuple[int, ...]) -> None:
        self.digits = digits
        self.to = to
        self.shape: Shape = tuple(map(prod, digits))
        owners = [axis for axis, sizes in enumerate(digits) for _ in sizes]
        found = dict(enumerate(range(len(digits)))) | {owner: owners[k] for owner, k in zip(owners, to, strict=True)}
        self.axes = tuple([found[axis] for axis in range(len(digits))])  #: where each axis goes
        places = enumerate(zip(owners, to, strict=True))
        self.inside = frozenset([own for k, (own, at) in places if at != k and owners[at] == own])  #: turned in itself

    def of(self, array: Array) -> Array:
        """An array over the tensor, with extent 1 along axes that do not matter, turned."""
        extents = zip(array.shape, self.digits, strict=True)
        wide = [size if extent > 1 else 1 for extent, sizes in extents for size in sizes]
        shape = [array.shape[axis] for axis in self.axes]
        return array.reshape(wide).transpose(self.to).reshape(shape)

    def along(self, axis: int) -> tuple[Shape, int, Shape]:
        """The sizes of the digits of one axis, the axis that they go to, and which digit of that each goes to."""
        starts = np.cumsum([0, *map(len, self.digits)]).tolist()
        to = self.axes[axis]
        places = self.to[starts[axis] : starts[axis] + len(self.digits[axis])]
        return self.digits[axis], to, tuple([place - starts[to] for place in places])

    def keeps(self, array: Array) -> bool:
        """Whether an array over the tensor is the same when it is turned."""
        return np.array_equal(self.of(array), array)


_turn = lru_cache(maxsize=1 << 12)(Turn)
_NONE: frozenset[int] = frozenset()


def exchange(shape: Sequence[int], one: int, other: int) -> Turn:
    """Two axes of one extent change places."""
    digits = _Digits(shape)
    digits.pair(one, other)
    digits.pair(other, one)
    turn = digits.turn()
    assert turn is not None
    return turn


#: A turn, and the axes along which nothing depends on the position, so that any turn of these is as good.
Found: TypeAlias = tuple[Turn, frozenset[int]]


class Turns:
    """Turns after the steps of a graph's reads, found once for all equal reads: for as long as these live."""

    def __init__(self, shades: Shades) -> None:
        self._shades = shades
        self._known: dict[tuple[int, Turn, Shape], Found | None] = {}
        self._joined: dict[tuple[Found, ...], Turn | None] = {}

    def after(self, steps: reads.Steps, turn: Turn, shape: Shape) -> Found | None:
        """The turn of an output of that shape, of which one input has a turn; None where the steps do not treat alike
        what it exchanges."""
        if not steps and turn.shape == shape:
            return turn, _NONE
        beside = len(steps) == 1 and type(steps[0]) is reads.Place  # where it is put makes no difference
        key = (-1 if beside else id(steps), turn, shape)
        if key not in self._known:
            self._known[key] = self._after(steps, turn, shape)
        return self._known[key]

    def _after(self, steps: reads.Steps, turn: Turn, shape: Shape) -> Found | None:
        if 0 in turn.shape or 0 in shape:
            return None
        walk = _Steps(turn, self._shades)
        return walk.end(shape) if all(map(walk.take, steps)) else None

    def together(self, found: tuple[Found, ...]) -> Turn | None:
        """The one turn of an output that reads all of these; None where there is none."""
        if len({turn for turn, _ in found}) == 1:
            return found[0][0]
        if found not in self._joined:
            self._joined[found] = _together(found)
        return self._joined[found]


def _together(found: Sequence[Found]) -> Turn | None:
    shape = found[0][0].shape
    digits = _Digits(shape)
    said: dict[int, tuple[Shape, int, Shape]] = {}
    for turn, free in found:
        for axis in {*range(len(shape))} - free:
            if said.setdefault(axis, turn.along(axis)) != turn.along(axis):
                return None
    for axis, (sizes, _, _) in said.items():
        digits.axes[axis] = [digits.add(size) for size in sizes]
    for axis, (_, to, order) in said.items():
        for digit, place in zip(digits.axes[axis], order, strict=True):
            digits.partner[digit] = digits.axes[to][place]
    return digits.turn()


class _Digits:
    """The digits of a tensor's positions, by number, while steps change them."""

    def __init__(self, shape: Sequence[int], turn: Turn | None = None) -> None:
        groups = turn.digits if turn else [(extent,) for extent in shape]
        sizes = [size for group in groups for size in group]
        self.size: dict[int, int] = dict(enumerate(sizes))
        self.partner: dict[int, int] = dict(enumerate(turn.to if turn else range(len(sizes))))
        numbers = iter(range(len(sizes)))
        self.axes: list[list[int]] = [[next(numbers) for _ in group] for group in groups]

    def stays(self, axis: int) -> bool:
        """Whether no digit of an axis goes anywhere."""
        return all(self.partner[digit] == digit for digit in self.axes[axis])

    def opposite(self, axis: int) -> int | None:
        """The axis that this one changes places with as a whole."""
        there = [self.partner[digit] for digit in self.axes[axis]]
        return self.axes.index(there) if there and there != self.axes[axis] and there in self.axes else None

    def put(self, axis: int, extent: int) -> None:
        """One new digit for an axis."""
        self.axes[axis] = [self.add(extent)]

    def add(self, size: int) -> int:
        """A new digit, which stays."""
        number = len(self.size)
        self.size[number], self.partner[number] = size, number
        return number

    def pair(self, one: int, other: int) -> None:
        """The only digits of two axes change places."""
        self.partner[self.axes[one][0]] = self.axes[other][0]

    def reduce(self, axes: Sequence[int]) -> None:
        """Axes get extent 1."""
        others = {axis: self.opposite(axis) for axis in axes}
        for axis in axes:
            self.put(axis, 1)
        for axis, other in others.items():
            if other is not None and other in others:
                self.pair(axis, other)

    def split(self, digit: int, inner: int) -> None:
        """A digit as two, and so the one that it changes places with."""
        halves = {}
        for each in {digit, self.partner[digit]}:
            number = len(self.size)
            self.size[number], self.size[number + 1] = self.size[each] // inner, inner
            halves[each] = number
            for group in self.axes:
                if each in group:
                    at = group.index(each)
                    group[at : at + 1] = [number, number + 1]
        for each, number in halves.items():
            to = halves[self.partner[each]]
            self.partner |= {number: to, number + 1: to + 1}

    def restore(self, axis: int, group: list[int]) -> None:
        """An axis has the digits again that it had, where it has that extent again."""
        if self._extent(group) == self._extent(self.axes[axis]):
            self.axes[axis] = group

    def _extent(self, group: Sequence[int]) -> int:
        return prod([self.size[digit] for digit in group])

    def regroup(self, before: Shape, shape: Shape) -> bool:
        """Other axes for the same digits, some of them split; False where they fall between digits."""
        runs = runs_of(before, shape)
        if not all(self._cut(left, [shape[axis] for axis in right]) for left, right in runs):
            return False
        made: list[list[int]] = [[] for _ in shape]
        for left, right in runs:
            flat = [digit for axis in left for digit in self.axes[axis]]
            if len(left) == len(right) == 1:
                made[right[0]] = flat
                continue
            digits = iter([digit for digit in flat if self.size[digit] > 1])
            for axis in right:
                while self._extent(made[axis]) < shape[axis]:
                    made[axis].append(next(digits))
                made[axis] = made[axis] or [self.add(1)]
        self.axes = made
        return True

    def _cut(self, axes: Sequence[int], extents: Sequence[int]) -> bool:
        """Split the digits of axes so that they can make up axes of these extents; False where they cannot."""
        for cut in np.cumprod([1, *extents[:0:-1]]).tolist():  # elements within one position, innermost first
            inner = 1
            for digit in [digit for axis in axes for digit in self.axes[axis]][::-1]:
                size = self.size[digit]
                if inner < cut < inner * size:
                    if cut % inner or inner * size % cut:
                        return False
                    self.split(digit, cut // inner)
                    break
                inner *= size
        return True

    def turn(self) -> Turn | None:
        """What the digits say, in as few of them as possible; None where an axis neither stays nor goes as a whole, or
        where something would change places with what is gone."""
        self._join()
        for axis, group in enumerate(self.axes):
            if {self.partner[digit] for digit in group} != {*group} and self.opposite(axis) is None:
                return None
        order = {digit: k for k, digit in enumerate([digit for group in self.axes for digit in group])}
        digits = tuple([tuple([self.size[digit] for digit in group]) for group in self.axes])
        return _turn(digits, tuple([order[self.partner[digit]] for digit in order]))

    def _join(self) -> None:
        """Digits that lie and go side by side become one."""
        beside = {pair for group in self.axes for pair in pairwise(group)}
        for axis, group in enumerate(self.axes):
            made = group[:1]
            for before, digit in pairwise(group):
                if (self.partner[before], self.partner[digit]) in beside:
                    self.size[made[-1]] *= self.size[digit]
                else:
                    made.append(digit)
            self.axes[axis] = made


class _Steps:
    """The digits while an input is read in steps."""

    def __init__(self, turn: Turn, shades: Shades) -> None:
        self._digits = _Digits(turn.shape, turn)
        self._shape = turn.shape
        self._gone: dict[int, list[int]] = {}  #: the digits of axes that were reduced
        self._shades = shades
        self._masks = {key: mask.shape for key, mask in shades.items()}
        self._said: dict[int, list[reads.Step]] = {}  #: what steps do along axes that change places with another one

    def take(self, step: reads.Step) -> bool:
        """Whether a step treats alike what changes places, as far as can be told before the next one."""
        after = reads.shape_after(self._shape, step, self._masks)
        if not isinstance(step, _NOT_ALONG) and self._digits.opposite(step.axis) is not None:
            self._said.setdefault(step.axis, []).append(replace(step, axis=-1))
        elif not (self._settle() and self._taken(step, after)):
            return False
        self._shape = after
        return True

    def end(self, shape: Shape) -> Found | None:
        """The turn of the output, which repeats what was read to its own shape."""
        if not self._settle():
            return None
        free = {axis for axis, (extent, whole) in enumerate(zip(self._shape, shape, strict=True)) if extent != whole}
        for axis in free:
            self._digits.put(axis, shape[axis])
        turn = self._digits.turn()
        return None if turn is None else (turn, frozenset(free))

    def _settle(self) -> bool:
        """Whether the same was said along each axis as along the one that it changes places with."""
        others = {axis: self._digits.opposite(axis) for axis in self._said}
        for axis, other in others.items():
            if other is None or self._said.get(other) != self._said[axis]:
                return False
            self._digits.put(axis, self._shape[axis])
        for axis, other in others.items():
            if other is not None:
                self._digits.pair(axis, other)
        self._said = {}
        return True

    def _taken(self, step: reads.Step, after: Shape) -> bool:
        digits, gone = self._digits, self._gone
        if not isinstance(step, reads.Blocked):
            self._gone = {}
        match step:
            case reads.Permute(axes):
                digits.axes = [digits.axes[axis] for axis in axes]
                return True
            case reads.Reshape(_, shape):
                return digits.regroup(self._shape, shape)
            case reads.Reduce(axes):
                self._gone = {axis: digits.axes[axis] for axis in axes}
                digits.reduce(axes)
                return True
            case reads.Erase(_, box):
                cut = {axis: rest for axis, *rest in box}
                others = {axis: digits.opposite(axis) for axis in cut if not digits.stays(axis)}
                return all(other in cut and cut[other] == cut[axis] for axis, other in others.items())
            case reads.Blocked(mask):
                for axis, (extent, whole) in enumerate(zip(self._shape, after, strict=True)):
                    if extent != whole:  # the mask goes over what was reduced, most often as it was before
                        digits.put(axis, whole)
                        digits.restore(axis, gone.get(axis, []))
                turn = digits.turn()
                return turn is not None and self._keeps(turn, mask, least=True)
            case reads.Contract(mask):
                turn = digits.turn()
                square = turn and after == self._shape and _of_scores(turn)
                return isinstance(square, Turn) and self._keeps(square, mask, least=False)
            case _:
                if not digits.stays(step.axis):
                    return False
                digits.put(step.axis, after[step.axis])
                return True

    def _keeps(self, turn: Turn, mask: int, *, least: bool) -> bool:
        shade = self._shades.over(mask, len(turn.shape), least=least)
        return shade.remembered(("kept", turn), lambda: turn.keeps(shade.seen))


#: Steps that are not about one axis, or are about one as far as its positions are in groups.
_NOT_ALONG = reads.Permute | reads.Reshape | reads.Reduce | reads.Erase | reads.Blocked | reads.Contract | reads.Group


def _of_scores(turn: Turn) -> Turn | None:
    """The turn of scores, of which the last axis but one is the queries and the last the keys, where a tensor with as
    many rows in that place has this one; None where rows change places with anything else."""
    if turn.axes[:-1] != tuple(range(len(turn.axes) - 1)):
        return None
    rows, start = turn.digits[-2], sum(map(len, turn.digits[:-2]))
    to = turn.to[: start + len(rows)]
    return _turn((*turn.digits[:-1], rows), (*to, *[place + len(rows) for place in to[start:]]))
