"""Symmetries: where what is seen of one source axis comes again as what is seen of another one that is treated alike.

Most networks treat the rows and the columns of a square image alike. What is seen of the columns at (u, v) is then what
is seen of the rows at (v, u). Reshapes carry that along: where an image is cut into windows, or its pixels become
tokens, a position along one axis of the tensor is a number of several digits (which window from above, and which from
the left), and a turn exchanges digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np

from rfcalc import reads
from rfcalc.analyses.field.intervals import Array
from rfcalc.analyses.field.masked import Shades
from rfcalc.analyses.field.motion import runs_of

Shape: TypeAlias = tuple[int, ...]


class Route(NamedTuple):
    """Where the digits of one axis go: the sizes of the digits, the outermost first, the axis that all of them go to,
    and which digit of that each becomes. Digits that stay, or go to another axis side by side, are one."""

    sizes: Shape
    axis: int
    order: Shape = (0,)


class Turn:
    """Exchanges digits of positions; done twice, it changes nothing. There is one object for all equal ones.

    An axis as a whole changes places with another one, or its digits do so among themselves.
    """

    __slots__ = ("axes", "inside", "routes", "shape")

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.routes = routes
        self.shape: Shape = tuple([prod(route.sizes) for route in routes])
        self.axes = tuple([route.axis for route in routes])  #: where each axis goes
        self.inside = frozenset([k for k, (sizes, to, _) in enumerate(routes) if to == k and len(sizes) > 1])

    @property
    def starts(self) -> list[int]:
        """The number of the first digit of each axis."""
        return [0, *accumulate([len(route.sizes) for route in self.routes])][:-1]

    @property
    def to(self) -> list[int]:
        """The number of the digit that each one becomes."""
        starts = self.starts
        return [starts[axis] + at for _, axis, order in self.routes for at in order]

    def of(self, array: Array) -> Array:
        """An array over the tensor, with extent 1 along axes that do not matter, turned."""
        extents = zip(array.shape, self.routes, strict=True)
        wide = [size if extent > 1 else 1 for extent, route in extents for size in route.sizes]
        return array.reshape(wide).transpose(self.to).reshape([array.shape[axis] for axis in self.axes])

    def keeps(self, array: Array) -> bool:
        """Whether an array over the tensor is the same when it is turned."""
        return np.array_equal(self.of(array), array)


_turn = lru_cache(maxsize=1 << 12)(Turn)


def exchange(shape: Sequence[int], one: int, other: int) -> Turn:
    """Two axes of one extent change places."""
    to = {one: other, other: one}
    return _turn(tuple([Route((extent,), to.get(axis, axis)) for axis, extent in enumerate(shape)]))


#: A turn, and the axes along which nothing depends on the position, so that any turn of these is as good.
Found: TypeAlias = tuple[Turn, frozenset[int]]

_NONE: frozenset[int] = frozenset()


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
            self._known[key] = self._after(steps, turn, shape) if 0 not in turn.shape and 0 not in shape else None
        return self._known[key]

    def together(self, found: tuple[Found, ...]) -> Turn | None:
        """The one turn of an output that reads all of these; None where there is none."""
        if len({turn for turn, _ in found}) == 1:
            return found[0][0]
        if found not in self._joined:
            self._joined[found] = _together(found)
        return self._joined[found]

    def _after(self, steps: reads.Steps, turn: Turn, shape: Shape) -> Found | None:
        whole = turn  # before what was reduced last
        for run in reads.runs(steps, reads.ALONG.__contains__):
            made = self._taken(run, turn, whole)
            if made is None:
                return None
            whole, turn = turn if isinstance(run[0], reads.Reduce) else made, made
        free = frozenset([axis for axis, extent in enumerate(shape) if turn.shape[axis] != extent])
        repeated = _replaced(turn, [(axis, Route((shape[axis],), axis)) for axis in free])
        return None if repeated is None else (repeated, free)

    def _taken(self, run: Sequence[reads.Step], turn: Turn, whole: Turn) -> Turn | None:
        """The turn after one step, or after several along single axes."""
        match run[0]:
            case reads.Permute(axes):
                return _turn(tuple([turn.routes[k]._replace(axis=axes.index(turn.axes[k])) for k in axes]))
            case reads.Reshape(before, shape):
                return _regrouped(turn, before, shape)
            case reads.Reduce(axes):
                if {turn.axes[k] for k in axes} != {*axes}:
                    return None
                return _replaced(turn, [(k, Route((1,), turn.axes[k])) for k in axes])
            case reads.Group(axis, _, out):
                return _replaced(turn, [(axis, Route((out,), axis))]) if turn.routes[axis][1:] == (axis, (0,)) else None
            case reads.Erase(_, box):
                cut = {axis: rest for axis, *rest in box}
                alike = all(axis not in turn.inside and cut.get(turn.axes[axis]) == rest for axis, rest in cut.items())
                return turn if alike else None
            case reads.Blocked(mask):
                return self._masked(turn, mask, whole)
            case reads.Contract(mask):
                square = _of_scores(turn) if self._shades.extents(mask, len(turn.shape))[-2] == turn.shape[-2] else None
                return turn if square is not None and self._keeps(square, mask, least=False) else None
        return _along(run, turn)

    def _masked(self, turn: Turn, mask: int, whole: Turn) -> Turn | None:
        """Under a mask, which goes over what was reduced, most often as it was before."""
        extents, restored = self._shades.extents(mask, len(turn.shape)), []
        for axis, extent in enumerate(turn.shape):
            if extent < extents[axis]:
                known = whole.shape[axis] == extents[axis] and whole.axes[axis] == axis
                restored.append((axis, whole.routes[axis] if known else Route((extents[axis],), axis)))
        made = _replaced(turn, restored)
        return made if made is not None and self._keeps(made, mask, least=True) else None

    def _keeps(self, turn: Turn, mask: int, *, least: bool) -> bool:
        shade = self._shades.over(mask, len(turn.shape), least=least)
        return shade.remembered(("kept", turn), lambda: turn.keeps(shade.seen))


def _along(run: Iterable[reads.Step], turn: Turn) -> Turn | None:
    """After steps along axes: the same along each as along the one that it changes places with."""
    said: dict[int, list[object]] = {}
    extents: dict[int, int] = {}
    for step in run:
        said.setdefault(step.axis, []).append((type(step), reads.ALONG[type(step)](step)))  # type: ignore[union-attr]
        extents[step.axis] = reads.extent_after(step)  # type: ignore[union-attr]
    if any(axis in turn.inside or said.get(turn.axes[axis]) != own for axis, own in said.items()):
        return None
    return _replaced(turn, [(axis, Route((extent,), turn.axes[axis])) for axis, extent in extents.items()])


def _replaced(turn: Turn, routes: Sequence[tuple[int, Route]]) -> Turn | None:
    """The turn with other routes of some axes; None where another axis would change places with what is gone."""
    if not routes:
        return turn
    made = list(turn.routes)
    for axis, route in routes:
        made[axis] = route
    return _made(made)


def _made(routes: Sequence[Route]) -> Turn | None:
    """The turn of these routes; None where they do not lead back and forth."""
    if any(routes[route.axis].axis != axis for axis, route in enumerate(routes)):
        return None
    return _turn(tuple(routes))


def _together(found: Sequence[Found]) -> Turn | None:
    """The turn that each of several is along the axes that matter to it."""
    routes = [Route((extent,), axis) for axis, extent in enumerate(found[0][0].shape)]
    said: dict[int, Route] = {}
    for turn, free in found:
        for axis, route in enumerate(turn.routes):
            if axis not in free and said.setdefault(axis, route) != route:
                return None
    for axis, route in said.items():
        routes[axis] = route
    return _made(routes)


def _of_scores(turn: Turn) -> Turn | None:
    """The turn of scores, of which the last axis but one is the queries and the last the keys, where a tensor with as
    many rows in that place has this one; None where rows change places with anything else."""
    last = len(turn.axes) - 1
    if turn.axes[:-1] != tuple(range(last)):
        return None
    return _turn((*turn.routes[:-1], turn.routes[-2]._replace(axis=last)))


@lru_cache(maxsize=1 << 12)  # networks reshape few shapes, and often
def _regrouped(turn: Turn, before: Shape, shape: Shape) -> Turn | None:
    return _Digits(turn).regrouped(before, shape)


class _Digits:
    """The digits of a tensor's positions, by number, while a reshape splits and joins them."""

    def __init__(self, turn: Turn) -> None:
        groups = [route.sizes for route in turn.routes]
        self.size = dict(enumerate([size for sizes in groups for size in sizes]))
        self.partner = dict(enumerate(turn.to))  #: the digit that each one changes places with, itself where it stays
        self.axes = [[*range(start, start + len(sizes))] for start, sizes in zip(turn.starts, groups, strict=True)]

    def regrouped(self, before: Shape, shape: Shape) -> Turn | None:
        """The turn of the same digits in other axes, some of them split; None where these fall between digits."""
        runs = runs_of(before, shape)
        if not all(self._cut(left, [shape[axis] for axis in right]) for left, right in runs):
            return None
        made: list[list[int]] = [[] for _ in shape]
        for left, right in runs:
            flat = [digit for axis in left for digit in self.axes[axis]]
            if len(left) == len(right) == 1:
                made[right[0]] = flat
                continue
            digits = iter([digit for digit in flat if self.size[digit] > 1])
            for axis in right:
                while prod([self.size[digit] for digit in made[axis]]) < shape[axis]:
                    made[axis].append(next(digits))
                made[axis] = made[axis] or [self._new(1)]
        self.axes = made
        self._join()
        return self._turn()

    def _new(self, size: int) -> int:
        number = len(self.size)
        self.size[number], self.partner[number] = size, number
        return number

    def _cut(self, axes: Sequence[int], extents: Sequence[int]) -> bool:
        """Split the digits of axes so that they can make up axes of these extents; False where they cannot."""
        for cut in np.cumprod([1, *extents[:0:-1]]).tolist():  # elements within one position, innermost first
            inner = 1
            for digit in [digit for axis in axes for digit in self.axes[axis]][::-1]:
                size = self.size[digit]
                if inner < cut < inner * size:
                    if cut % inner or inner * size % cut:
                        return False
                    self._split(digit, cut // inner)
                    break
                inner *= size
        return True

    def _split(self, digit: int, inner: int) -> None:
        """A digit as two, and so the one that it changes places with."""
        halves = {}
        for each in {digit, self.partner[digit]}:
            pair = [self._new(self.size[each] // inner), self._new(inner)]
            halves[each] = pair
            for group in self.axes:
                if each in group:
                    at = group.index(each)
                    group[at : at + 1] = pair
        for each, pair in halves.items():
            self.partner.update(zip(pair, halves[self.partner[each]], strict=True))

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

    def _turn(self) -> Turn | None:
        """What the digits say; None where those of an axis go to several, or to another one in another order."""
        owner = {digit: (axis, at) for axis, group in enumerate(self.axes) for at, digit in enumerate(group)}
        routes = []
        for own, group in enumerate(self.axes):
            there = [owner.get(self.partner[digit], (-1, -1)) for digit in group]
            axes, order = {axis for axis, _ in there}, tuple([at for _, at in there])
            if len(axes) > 1 or -1 in axes or (len(group) > 1 and own not in axes):
                return None
            routes.append(Route(tuple([self.size[digit] for digit in group]), axes.pop(), order))
        return _made(routes)
