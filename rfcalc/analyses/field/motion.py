"""How what is seen moves along the axes of a tensor, whatever it is.

Positions along an axis are numbers of *digits*: an image cut into patches is counted by the patch from above, the patch
from the left and the place inside; tokens are rows times columns. Along each digit, the outermost first, it is known
that `period` positions further the same is seen `shift` source pixels further, or that no such pattern is known. A
reshape cuts and regroups digits; nothing is ever concluded from what single positions happen to see.

An axis *moves* where its positions come from positions of the source: places, as rows and patches are, as opposed to
channels and branches, which may see different things at one place. It still moves where a mask or a border leaves no
pattern.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm, prod
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from rfcalc.reads import groups_of

runs_of = lru_cache(maxsize=4096)(groups_of)  # networks reshape few shapes, and often

#: So many positions further, the same is seen so many source pixels further.
Rate: TypeAlias = tuple[int, int]


class Digit(NamedTuple):
    """One digit of the positions of an axis."""

    extent: int
    period: int  #: 0 where no pattern is known
    shift: int
    moves: bool = True
    pieces: tuple[Piece, ...] = ()  #: of an axis put together of others: those, in order
    half_of: Digit | None = None  #: the digit that it was cut out of, where both halves say less than that


#: The digits of an axis, the outermost first.
Motion: TypeAlias = tuple[Digit, ...]


class Piece(NamedTuple):
    """Positions ``start`` and on of an axis, which move so."""

    start: int
    motion: Motion

    @property
    def stop(self) -> int:
        """The position after the last."""
        return self.start + extent_of(self.motion)


def even(extent: int, shift: int) -> Motion:
    """Each position sees what the one before it sees, moved by ``shift``."""
    return (Digit(extent, 1, shift),)


def unknown(extent: int) -> Motion:
    """Positions that lie in different places, without a pattern."""
    return (Digit(extent, 0, 0),)


def still(extent: int, *, alike: bool = True) -> Digit:
    """Positions that are no places: all alike, or not."""
    return Digit(extent, 1, 0, False) if alike else Digit(extent, 0, 0, False)


def of_rate(extent: int, rate: Rate | None) -> Motion:
    """Positions of that rate, if so many are a period at most."""
    return unknown(extent) if rate is None or rate[0] > extent else (Digit(extent, *rate),)


def extent_of(motion: Motion) -> int:
    """How many positions there are."""
    return motion[0].extent if len(motion) == 1 else prod([digit.extent for digit in motion])


def rate_of(motion: Motion | None) -> Rate | None:
    """The rate of the axis as a whole, which is that of its outermost digit; None where less than a period is there,
    from which the others cannot be told."""
    if motion is None:
        return None
    first = motion[0]
    if not first.period or first.period > first.extent:
        return None
    return first[1:3] if len(motion) == 1 else (first.period * extent_of(motion[1:]), first.shift)


def is_known(motion: Motion) -> bool:
    """Whether every digit has a pattern, or each piece of what was put together."""
    return all(digit.period or _are_known(digit.pieces) for digit in motion)


def _are_known(pieces: Sequence[Piece]) -> bool:
    return bool(pieces) and all(is_known(piece.motion) for piece in pieces)


def distance(motion: Motion) -> Fraction | None:
    """How many source pixels the last position lies from the first, at most; None where no pattern is known."""
    if not is_known(motion) or motion[0].pieces:
        return None
    return sum([Fraction(abs(digit.shift) * (digit.extent - 1), digit.period) for digit in motion], Fraction(0))


def coarsest(motion: Motion) -> Fraction | None:
    """How many source pixels one position of the digit lies from the next that moves furthest; None if not known."""
    if not is_known(motion) or motion[0].pieces:
        return None
    return max([Fraction(abs(digit.shift), digit.period) for digit in motion])


def strided(rate: Rate | None, step: int) -> Rate | None:
    """The rate of every ``step``-th position."""
    return None if rate is None else strided_rate(*rate, step)


def strided_rate(period: int, shift: int, step: int) -> Rate:
    """The rate of every ``step``-th position of those that move by ``shift`` in a period."""
    turns = period // gcd(period, abs(step))
    return turns, shift * step * turns // period


def telling(motions: Mapping[int, Motion], extents: Sequence[int], shape: Sequence[int]) -> dict[int, Motion]:
    """The motions without those of axes that turn out not to matter to a field kept in arrays of these extents."""
    return {
        axis: motion for axis, motion in motions.items() if extents[axis] > 1 or (shape[axis] == 1 and motion[0].shift)
    }


def is_within(own: Motion, others: Sequence[Motion]) -> bool:
    """Whether an axis moves less from its first to its last position than one step of the others does: the place in a
    patch against the patches."""
    far, steps = distance(own), [coarsest(other) for other in others]
    return far is not None and any(step is not None and far < step for step in steps)


# --- positions that are picked ----------------------------------------------------------------------------------------


def veiled(motions: Mapping[int, Motion], extents: Sequence[int], shape: Sequence[int]) -> dict[int, Motion]:
    """The motions under a mask of these extents: along axes where it varies no pattern is left."""
    return {axis: motion if extents[axis] == 1 else unknown(shape[axis]) for axis, motion in motions.items()}


def picked(motion: Motion | None, indices: Sequence[int]) -> Motion | None:
    """The motion of an axis of which these positions are read, -1 for none; None for one that does not move."""
    if motion is None:
        return None
    if len(motion) == 1 and motion[0].pieces:
        return _of_pieces(motion[0].pieces, indices)
    counted = _counted(tuple(indices))
    if counted is not None and len(motion) > 1 and counted[0][1] == 1 and len(counted) == 1:
        inner = extent_of(motion[1:])
        if not indices[0] % inner and not len(indices) % inner:  # whole rows
            return joined([motion[0]._replace(extent=len(indices) // inner), *motion[1:]])
    rate = rate_of(motion)
    if counted is None or rate is None:
        return unknown(len(indices))
    if len(motion) > 1 and len(counted) > 1:
        return unknown(len(indices))
    return joined([_digit(extent, strided(rate, step)) for extent, step in counted])


def _digit(extent: int, rate: Rate | None) -> Digit:
    return Digit(extent, 0, 0) if rate is None or (rate[0] > extent and extent > 1) else Digit(extent, *rate)


@lru_cache(maxsize=1 << 10)
def _counted(indices: tuple[int, ...]) -> tuple[tuple[int, int], ...] | None:
    """The digits (extent, step) of which the indices are a sum, ``a*i + b*j``; None where they are not."""
    if not indices or min(indices) < 0:
        return None
    if len(indices) == 1:
        return ((1, 1),)
    step = indices[1] - indices[0]
    inner = next((at for at in range(2, len(indices)) if indices[at] - indices[at - 1] != step), len(indices))
    if inner == len(indices):
        return ((inner, step),)
    if len(indices) % inner or any(
        indices[at + k] - indices[at] != k * step for at in range(0, len(indices), inner) for k in range(1, inner)
    ):
        return None
    outer = _counted(indices[::inner])
    if outer is None or any(other * step < 0 for _, other in outer):  # what goes round is no pattern
        return None
    return (*outer, (inner, step))


def _of_pieces(pieces: Sequence[Piece], indices: Sequence[int]) -> Motion:
    """Positions of an axis that was put together: as they were, where they all lie in one piece."""
    first, last = min(indices, default=0), max(indices, default=-1)
    for piece in pieces:
        if first <= last and piece.start <= first and last < piece.stop:
            inside = [index - piece.start for index in indices]
            if inside == list(range(extent_of(piece.motion))):
                return piece.motion
            return picked(piece.motion, inside) or unknown(len(indices))
    return unknown(len(indices))


def placed(motion: Motion, offset: int, extent: int) -> Motion:
    """The motion of an axis of that extent which holds this one from ``offset`` on, and nothing else."""
    if extent_of(motion) == extent:
        return motion
    return (Digit(extent, 0, 0, pieces=(Piece(offset, motion),)),)


# --- digits that are regrouped ----------------------------------------------------------------------------------------


def joined(digits: Sequence[Digit]) -> Motion:
    """Digits as they say least: neighbours as one where the outer one goes on as the inner one."""
    whole: list[Digit] = []
    for digit in digits:
        if digit.extent > 1:
            whole.append(digit)
        while len(whole) > 1 and _are_halves(whole[-2], whole[-1]) and whole[-1].half_of is not None:
            whole[-2:] = [whole[-1].half_of]
    made: list[Digit] = []
    for digit in reversed(whole):
        made[-1:] = _pair(digit, made[-1]) if made else [digit]
    return tuple(reversed(made)) or tuple(digits[:1])


def _are_halves(outer: Digit, inner: Digit) -> bool:
    """Whether two neighbours were cut out of one digit, and are all of it."""
    whole = outer.half_of
    return whole is not None and whole == inner.half_of and whole.extent == outer.extent * inner.extent


def _pair(outer: Digit, inner: Digit) -> list[Digit]:
    """Two neighbours, the inner one first."""
    extent = outer.extent * inner.extent
    goes_on = inner.period and outer.period == 1 and not inner.extent % inner.period
    if goes_on and inner.extent // inner.period * inner.shift == outer.shift and (inner.moves or not outer.moves):
        return [Digit(extent, inner.period, inner.shift, outer.moves or inner.moves)]
    if not inner.period and outer.period and outer.shift:
        return [Digit(extent, inner.extent * outer.period, outer.shift)]
    if not inner.period and not outer.period:
        return [Digit(extent, 0, 0, outer.moves or inner.moves)]
    return [inner, outer]


def _cut(digit: Digit, inner: int) -> tuple[Digit, Digit]:
    """A digit as two, the inner one of that extent."""
    outer = digit.extent // inner
    if not digit.period:
        return Digit(outer, 0, 0, digit.moves), Digit(inner, 0, 0, digit.moves)
    whole = None if digit.period == 1 else digit
    period, shift = strided_rate(digit.period, digit.shift, inner)
    fits = digit.period == 1 or digit.period < inner
    within = (digit.period, digit.shift) if fits else (0, 0)
    return (
        Digit(outer, period, shift, digit.moves, half_of=whole),
        Digit(inner, *within, digit.moves, half_of=whole),
    )


def cut_at(digits: Sequence[Digit], extents: Sequence[int]) -> list[list[Digit]] | None:
    """The digits cut and dealt out to axes of these extents, the outermost first; None where they fall between."""
    left = [digit for digit in digits if digit.extent > 1]
    made: list[list[Digit]] = []
    for extent in reversed(extents):
        own: list[Digit] = []
        missing = extent
        while missing > 1:
            digit = left.pop()
            if digit.extent > missing:
                if digit.extent % missing:
                    return None
                outer, digit = _cut(digit, missing)
                left.append(outer)
            elif missing % digit.extent:
                return None
            own.append(digit)
            missing //= digit.extent
        made.append(own[::-1])
    return made[::-1]


def after_reshape(
    extents: tuple[int, ...], motions: Mapping[int, Motion], shape_in: tuple[int, ...], shape_out: tuple[int, ...]
) -> dict[int, Motion]:
    """The motions after a reshape of a field that is kept in arrays of these extents."""
    return dict(_after_reshape(extents, tuple(motions.items()), shape_in, shape_out)) if motions else {}


@lru_cache(maxsize=4096)
def _after_reshape(
    extents: tuple[int, ...],
    known: tuple[tuple[int, Motion], ...],
    shape_in: tuple[int, ...],
    shape_out: tuple[int, ...],
) -> dict[int, Motion]:
    before, after = dict(known), {}
    for left, right in runs_of(shape_in, shape_out):
        if before.keys().isdisjoint(left):
            continue
        if len(left) == len(right) == 1:
            after[right[0]] = before[left[0]]
            continue
        digits = [
            digit for axis in left for digit in before.get(axis) or (still(shape_in[axis], alike=extents[axis] == 1),)
        ]
        sizes = [shape_out[axis] for axis in right]
        dealt = cut_at(digits, sizes) or cut_at(_as_wholes(before, left, shape_in), sizes)
        for at, axis in enumerate(right):
            if dealt is None:
                after[axis] = unknown(shape_out[axis])
            elif any(digit.moves for digit in dealt[at]):
                after[axis] = joined(dealt[at])
        if right and all(digit.extent == 1 for digit in digits):  # one position, which still has its place
            after[right[-1]] = next(before[axis] for axis in left if axis in before)
    return after


def _as_wholes(known: Mapping[int, Motion], axes: Sequence[int], shape: Sequence[int]) -> list[Digit]:
    """A digit for each axis, which says less than its digits."""
    return [digit for axis in axes for digit in of_rate(shape[axis], rate_of(known.get(axis)))]


def grouped(axis: int, motion: Motion, groups: int, extent: int) -> dict[int, Motion]:
    """The motion of an axis of that extent which reads so many runs of this one, where there is any."""
    dealt = cut_at(motion, (groups, extent_of(motion) // groups))
    if dealt is None:
        return {axis: unknown(extent)}
    if not any(digit.moves for digit in dealt[0]):
        return {}
    return {axis: joined([*dealt[0], still(extent // groups, alike=True)])}


# --- several together -------------------------------------------------------------------------------------------------


def together(motions: Sequence[Motion | None], extent: int) -> Motion | None:
    """The motion along one axis of fields of which each moves so, None for one that does not."""
    first = motions[0]
    if all(motion == first for motion in motions):
        return first
    known = [motion for motion in motions if motion is not None]
    if len(known) < len(motions):
        return unknown(extent)
    if any(motion[0].pieces for motion in known):
        return _put_together(known, extent)
    shared = _refined(known)
    if shared is None:
        rates = [rate_of(motion) for motion in known]
        return of_rate(extent, _common(rates, extent))
    digits = []
    for alike in shared:
        size, moves = alike[0].extent, any(digit.moves for digit in alike)
        rate = _common([digit[1:3] if digit.period else None for digit in alike], size)
        digits.append(Digit(size, 0, 0, moves) if rate is None else Digit(size, *rate, moves))
    return joined(digits)


def _common(rates: Sequence[Rate | None], extent: int) -> Rate | None:
    """A period that all rates share, None where they are not one."""
    period, shift = rates[0] or (0, 0)
    for rate in rates:
        if rate is None or rate[0] * shift != rate[1] * period:
            return None
    most = lcm(*[rate[0] for rate in rates if rate])
    return (most, shift * most // period) if most <= max(extent, 1) else None


def _refined(known: Sequence[Motion]) -> list[list[Digit]] | None:
    """The digits of all motions, cut alike; None where they cannot be."""
    cuts: set[int] = set()
    for motion in known:
        inner = 1
        for digit in reversed(motion):
            inner *= digit.extent
            cuts.add(inner)
    bounds = sorted(cuts | {1})
    if any(b % a for a, b in itertools.pairwise(bounds)):
        return None
    sizes = [b // a for a, b in itertools.pairwise(bounds)][::-1]
    if not sizes:
        return [[motion[0] for motion in known]]
    dealt = [cut_at(motion, sizes) for motion in known]
    return [[cut[at][0] for cut in dealt if cut is not None] for at in range(len(sizes))]


def _put_together(known: Sequence[Motion], extent: int) -> Motion:
    """Pieces that lie side by side."""
    found = sorted({piece for motion in known for piece in motion[0].pieces}, key=attrgetter("start"))
    whole = all(motion[0].pieces for motion in known)
    if not whole or any(one.stop > other.start for one, other in itertools.pairwise(found)):
        return unknown(extent)
    return (Digit(extent, 0, 0, pieces=tuple(found)),)
