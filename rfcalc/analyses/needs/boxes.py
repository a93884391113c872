"""Boxes: what units of a layer use of a tensor, along each of its axes, and what they use of the one it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rfcalc import reads
from rfcalc.analyses.needs.masks import Masks
from rfcalc.analyses.needs.spans import GONE, Array, Digits, Span, dealt, flat, mended, same, union
from rfcalc.analyses.needs.tables import table

#: So many boxes of a tensor are kept apart, at most.
MOST = 4

Shape: TypeAlias = tuple[int, ...]

groups_of = lru_cache(maxsize=4096)(reads.groups_of)


class Box(NamedTuple):
    """What each unit uses of a tensor: what lies in all the spans of its axes.

    Of what goes round, the two ends are boxes of their own as long as they do not touch; ``side`` tells them apart.
    """

    axes: tuple[Digits, ...]
    partial: bool = False  #: whether some units may use nothing of it, as their spans along any one axis tell
    side: int = 0
    some: Marked | None = None  #: the units that use anything, as far as the spans do not tell; None for all


class Marked:
    """Units that are marked, by an array that broadcasts over them."""

    __slots__ = ("units",)

    def __init__(self, units: Array) -> None:
        self.units = units


@lru_cache(maxsize=4096)
def whole(extent: int) -> Digits:
    """All of an axis."""
    return ((extent, same(0, extent - 1)),)


def is_whole(digits: Digits) -> bool:
    """Whether all units use all of the axis."""
    return all(span.is_same and span.ends == (0, extent - 1) for extent, span in digits)


def read_by(box: Box, steps: reads.Steps, shape: Shape, out: Shape, alone: bool, blocks: Masks) -> list[Box]:
    """What units use of a tensor of that shape by what they use of an output that reads it by these steps.

    Nothing where none of them uses anything. ``alone`` where the output reads nothing else.
    """
    if not steps and shape == out:
        return [box]
    before, extents = [], shape
    for step in steps:
        before.append(extents)
        extents = after(extents, step, blocks)
    if extents != out:
        box = box._replace(
            axes=tuple(
                [whole(1) if own < its else digits for own, its, digits in zip(extents, out, box.axes, strict=True)]
            )
        )
    found = [box]
    for step, extents in zip(reversed(steps), reversed(before), strict=True):
        back = _BACK.get(type(step), _along)
        found = [made for box in found for made in back(box, step, extents, alone, blocks)]
    return found


def after(shape: Shape, step: Any, blocks: Masks) -> Shape:
    """The shape of a tensor after a step that fits it."""
    kind = type(step)
    if kind is reads.Reshape:
        return tuple(step.shape_out)
    if kind is reads.Permute:
        return tuple([shape[axis] for axis in step.axes])
    if kind is reads.Reduce:
        return tuple([1 if axis in step.axes else extent for axis, extent in enumerate(shape)])
    if kind is reads.Erase:
        return shape
    if kind is reads.Blocked:
        mask = blocks.shape(step.mask)
        return tuple(map(max, shape, (1,) * (len(shape) - len(mask)) + mask))
    if kind is reads.Contract:
        return (*shape[:-2], blocks.shape(step.mask)[-2], shape[-1])
    return (*shape[: step.axis], reads.extent_after(step), *shape[step.axis + 1 :])


def _put(axes: Sequence[Digits], axis: int, digits: Digits) -> tuple[Digits, ...]:
    return (*axes[:axis], digits, *axes[axis + 1 :])


def _along(box: Box, step: Any, before: Shape, alone: bool, blocks: Masks) -> Sequence[Box]:
    axis = step.axis
    extent = before[axis]
    if extent == 1 and is_whole(box.axes[axis]):
        return (box._replace(axes=_put(box.axes, axis, whole(1))),)
    return _by_table(box, axis, step, extent, alone and type(step) is reads.Place)


def _by_table(box: Box, axis: int, step: Any, extent: int, alone: bool) -> Sequence[Box]:
    own = flat(box.axes[axis])
    rows = table(step, extent, alone)
    if type(step) in _ROUND and not own.is_same and rows.seam is not None and _straddles(own, rows.seam):
        parts = [(box.side * 2 + at, part) for at, part in enumerate(_apart(own, rows.seam), 1)]
    else:
        parts = [(box.side, own)]
    found = []
    for side, part in parts:
        span = rows.read_by(part)
        if span is not None:
            partial = box.partial or len(parts) > 1
            partial = partial or (not span.is_same and type(step) not in _FULL and rows.leaves_out)
            found.append(Box(_put(box.axes, axis, ((extent, span),)), partial, side, box.some))
    return found


def _straddles(span: Span, seam: int) -> bool:
    lo, hi = span.ends
    return bool(((lo < seam) & (hi >= seam)).any())


def _apart(span: Span, seam: int) -> list[Span]:
    """What units use on either side of a seam."""
    lo, hi = span.ends
    below, above = np.minimum(hi, seam - 1), np.maximum(lo, seam)
    return [
        Span(None, ends=(np.where(lo > below, GONE, lo), np.where(lo > below, -GONE, below)), free=span.free),
        Span(None, ends=(np.where(above > hi, GONE, above), np.where(above > hi, -GONE, hi)), free=span.free),
    ]


#: Steps that may go round, and go on beyond the borders as if they did not.
_ROUND = frozenset({reads.Pad, reads.Take})
#: Steps after which a unit that uses something in the tensor uses something before it, but for what is all padding.
_FULL = frozenset({reads.Window, reads.Spans, reads.Slice, reads.Prefix, reads.Group, reads.Pad})


def _reduce(box: Box, step: reads.Reduce, before: Shape, alone: bool, blocks: Masks) -> Sequence[Box]:
    axes = tuple([whole(before[axis]) if axis in step.axes else digits for axis, digits in enumerate(box.axes)])
    return (box._replace(axes=axes),)


def _permute(box: Box, step: reads.Permute, before: Shape, alone: bool, blocks: Masks) -> Sequence[Box]:
    axes = [whole(1)] * len(before)
    for at, axis in enumerate(step.axes):
        axes[axis] = box.axes[at]
    return (box._replace(axes=tuple(axes)),)


def _reshape(box: Box, step: reads.Reshape, before: Shape, alone: bool, blocks: Masks) -> Sequence[Box]:
    axes = [whole(1)] * len(before)
    for left, right in groups_of(step.shape_in, step.shape_out):
        if len(left) == len(right) == 1:
            axes[left[0]] = box.axes[right[0]]
        elif left and right:
            digits = mended([digit for axis in right for digit in box.axes[axis]])
            for axis, own in zip(left, dealt(digits, [before[axis] for axis in left]), strict=True):
                axes[axis] = own
    return (box._replace(axes=tuple(axes)),)


def _erase(box: Box, step: reads.Erase, before: Shape, alone: bool, blocks: Masks) -> Sequence[Box]:
    if len(step.box) == 1:
        return _by_table(box, step.box[0][0], step, before[step.box[0][0]], False)
    taken = np.ones((1,) * len(before), dtype=bool)
    for axis, size, offset, stride in step.box:
        row = np.zeros(before[axis], dtype=bool)
        row[offset : offset + (size - 1) * stride + 1 : stride] = True
        taken = taken & row.reshape([-1 if k == axis else 1 for k in range(len(before))])
    return _unblocked(box, ~taken, blocks)


def _blocked(box: Box, step: reads.Blocked, before: Shape, alone: bool, blocks: Masks) -> Sequence[Box]:
    found = _unblocked(box, blocks.free(step.mask, len(before)), blocks)
    return [
        made._replace(
            axes=tuple([whole(1) if extent == 1 else own for extent, own in zip(before, made.axes, strict=True)])
        )
        for made in found
    ]


def _unblocked(box: Box, free: Array, blocks: Masks) -> Sequence[Box]:
    found = blocks.left(box.axes, free)
    return () if found is None else (Box(found[0], box.partial or found[1], box.side, box.some),)


def _contract(box: Box, step: reads.Contract, before: Shape, alone: bool, blocks: Masks) -> Sequence[Box]:
    free = blocks.free(step.mask, len(before))  # of lead axes, the rows i that read and the rows k that are read
    found = blocks.left((*box.axes[:-1], whole(before[-2])), free)
    if found is None:
        return ()
    axes, partial = found
    return (Box((*axes[:-2], axes[-1], box.axes[-1]), box.partial or partial, box.side, box.some),)


_Back: TypeAlias = Callable[[Box, Any, Shape, bool, Masks], Sequence[Box]]
_BACK: dict[type, _Back] = {
    reads.Reduce: _reduce,
    reads.Permute: _permute,
    reads.Reshape: _reshape,
    reads.Erase: _erase,
    reads.Blocked: _blocked,
    reads.Contract: _contract,
}


# --- several together -------------------------------------------------------------------------------------------------


class Flats(dict[Digits, Span]):
    """Digits as one, made once for each."""

    def __missing__(self, digits: Digits) -> Span:
        made = self[digits] = flat(digits)
        return made


def together(boxes: Sequence[Box], flats: Flats) -> list[Box]:
    """What is used by several ways, in few boxes: one for all that use the same of what all units use alike."""
    some = list(dict.fromkeys(boxes))
    if len(some) == 1:
        return [some[0]._replace(side=0)]
    some = [_told(box) for box in some]
    groups: dict[tuple[Any, ...], list[Box]] = {}
    for box in some:
        groups.setdefault((box.side, *[_kind(digits) for digits in box.axes]), []).append(box)
    found = [_hull(group) for group in groups.values()]
    if any(box.side for box in found):
        found = _closed(found, flats)
    kept: list[Box] = []
    for at, box in enumerate(found):
        others = [*kept, *found[at + 1 :]]
        if not any(_covers(other, box) for other in others):
            kept.append(box)
    return [box for side in dict.fromkeys([box.side for box in kept]) for box in _few(kept, side)]


def _few(boxes: Sequence[Box], side: int) -> list[Box]:
    own = [box for box in boxes if box.side == side]
    return own if len(own) <= MOST else [_hull(own)]


def _closed(boxes: list[Box], flats: Flats) -> list[Box]:
    """The boxes, those that touch as one."""
    done: list[Box] = []
    while boxes:
        box = boxes.pop()
        other = next((own for own in boxes if _touch(box, own, flats)), None)
        if other is None:
            done.append(box)
        else:
            boxes.remove(other)
            boxes.append(_hull([box, other]))
    return done


def _touch(one: Box, other: Box, flats: Flats) -> bool:
    """Whether what each unit uses in two boxes is one box: they differ along one axis, and there one goes on where the
    other ends."""
    both = _units(one) & _units(other)
    differing = 0
    for own, its in zip(one.axes, other.axes, strict=True):
        if own == its:
            continue
        (lo, hi), (low, high) = flats[own].ends, flats[its].ends
        if bool((both & ((lo != low) | (hi != high))).any()):
            differing += 1
            if differing > 1 or bool((both & (np.maximum(lo, low) > np.minimum(hi, high) + 1)).any()):
                return False
    return True


def _units(box: Box) -> Array:
    """The units that use anything, of a box of which that is told."""
    return np.ones((), dtype=bool) if box.some is None else box.some.units


def _kind(digits: Digits) -> Any:
    if len(digits) == 1:
        span = digits[0][1]
        return span.ends if span.is_same else None
    return tuple([span.ends if span.is_same else extent for extent, span in digits])


def _covers(large: Box, small: Box) -> bool:
    return (large.some is None or large.some is small.some) and all(
        own is other or is_whole(own) or _holds(own, other) for own, other in zip(large.axes, small.axes, strict=True)
    )


def _holds(own: Digits, other: Digits) -> bool:
    if own == other:
        return True
    if not all(span.is_same for _, span in (*own, *other)):
        return False
    (first, last), (lo, hi) = flat(own).ends, flat(other).ends
    return bool(len(own) == 1 and first <= lo and hi <= last)


def _hull(boxes: Sequence[Box]) -> Box:
    """What is used in boxes of which it is told which units use anything, and what lies between."""
    if len(boxes) == 1:
        return boxes[0]
    axes = []
    for several in zip(*[box.axes for box in boxes], strict=True):
        if all(digits == several[0] for digits in several):
            axes.append(several[0])
        elif len({tuple([extent for extent, _ in digits]) for digits in several}) == 1:
            columns = zip(*several, strict=True)
            axes.append(tuple([(own[0][0], _union(boxes, [span for _, span in own], own[0][0])) for own in columns]))
        else:
            extent = prod([extent for extent, _ in several[0]])
            axes.append(((extent, _union(boxes, [flat(digits) for digits in several], extent)),))
    some = None if any(box.some is None for box in boxes) else _marked(_any([_units(box) for box in boxes]))
    return Box(tuple(axes), False, min([box.side for box in boxes]), some)


def _union(boxes: Sequence[Box], spans: Sequence[Span], extent: int) -> Span:
    if all(span is spans[0] for span in spans):
        return spans[0]
    return union([_of(span, box.some) for span, box in zip(spans, boxes, strict=True)], extent)


def _of(span: Span, some: Marked | None) -> Span:
    """The span for the units that are marked, nothing for all others."""
    if some is None:
        return span
    lo, hi = span.ends
    return Span(None, ends=(np.where(some.units, lo, GONE), np.where(some.units, hi, -GONE)), free=span.free)


def _any(marks: Sequence[Array]) -> Array:
    found = marks[0]
    for mark in marks[1:]:
        found = found | mark
    return found


def _marked(units: Array) -> Marked | None:
    return None if units.all() else Marked(units)


def _told(box: Box) -> Box:
    """The same box, told which units use anything of it."""
    if not box.partial:
        return box
    found = _units(box)
    for digits in box.axes:
        for _, span in digits:
            found = found & np.less_equal(*span.ends)
    return Box(box.axes, False, box.side, _marked(found))


def hull(boxes: Sequence[Box]) -> tuple[tuple[Digits, ...], Array | None]:
    """What is used in all boxes together, and which units use anything; None where all do."""
    found = _hull([_told(box) for box in boxes])
    return found.axes, None if found.some is None else found.some.units
