"""Where patterns repeat: the tags of an axis (see `intervals`) after it is read in steps, split or merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import gcd, prod
from typing import TypeAlias

from rfcalc.reads import groups_of

runs_of = lru_cache(maxsize=4096)(groups_of)  # networks reshape few shapes, and often

#: So many positions further, the same is seen so many source pixels further.
Tag: TypeAlias = tuple[int, int]


def telling(tags: Mapping[int, Tag], extents: Sequence[int], shape: Sequence[int]) -> dict[int, Tag]:
    """The tags without those of axes that turn out not to matter to a field kept in arrays of these extents."""
    return {axis: tag for axis, tag in tags.items() if extents[axis] > 1 or (shape[axis] == 1 and tag[1])}


def tag_after(tag: Tag | None, step: int) -> Tag | None:
    """The tag of an axis of which every ``step``-th position is kept."""
    if tag is None:
        return None
    period, shift = tag
    turns = period // gcd(period, abs(step))
    return turns, shift * step * turns // period


def tags_after(
    extents: tuple[int, ...], tags: Mapping[int, Tag], shape_in: tuple[int, ...], shape_out: tuple[int, ...]
) -> dict[int, Tag]:
    """The tags after a reshape of a field that is kept in arrays of these extents."""
    return dict(_tags_after(extents, tuple(tags.items()), shape_in, shape_out))


@lru_cache(maxsize=4096)
def _tags_after(
    extents: tuple[int, ...], known: tuple[tuple[int, Tag], ...], shape_in: tuple[int, ...], shape_out: tuple[int, ...]
) -> dict[int, Tag]:
    before, tags = dict(known), {}
    for left, right in runs_of(shape_in, shape_out):
        if len(left) == len(right) == 1:
            if left[0] in before:
                tags[right[0]] = before[left[0]]
        elif any(extents[axis] > 1 for axis in left):
            tags.update(_tags_of_run(extents, before, left, right, shape_in, shape_out))
    return tags


def _tags_of_run(
    extents: Sequence[int],
    before: Mapping[int, Tag],
    left: list[int],
    right: list[int],
    shape_in: Sequence[int],
    shape_out: Sequence[int],
) -> dict[int, Tag]:
    """Tags of a run of axes that is split or merged."""
    if len(left) == 1 and left[0] in before:  # split: an outer position is as many inner ones as the rest holds
        tags: dict[int, Tag] = {}
        for at, axis in enumerate(right[:-1]):
            after = tag_after(before[left[0]], prod(shape_out[k] for k in right[at + 1 :]))
            inner = at > 0  # of which a whole turn further on is the next outer position
            if after is not None and after[0] <= shape_out[axis] - inner:
                tags[axis] = after
        return tags
    if len(right) == 1:  # merge: the outermost axis that moves sets the period
        wide = [axis for axis in left if shape_in[axis] > 1]
        outer = _tag_of(extents, before, wide[0]) if wide else None
        if outer is not None:
            merged = _merged_tag(before, wide, shape_in, outer)
            return {right[0]: merged} if merged[0] <= shape_out[right[0]] else {}
    return {}


def _tag_of(extents: Sequence[int], tags: Mapping[int, Tag], axis: int) -> Tag | None:
    """The tag of an axis; along one that does not matter the same is seen at every position."""
    return tags.get(axis, (1, 0) if extents[axis] == 1 else None)


def _merged_tag(tags: Mapping[int, Tag], wide: list[int], shape_in: Sequence[int], outer: Tag) -> Tag:
    """The tag of merged axes: that of the outermost, or the finer one of the innermost where they continue evenly."""
    inner = tags.get(wide[-1])
    extent = shape_in[wide[-1]]
    if inner is not None and len(wide) == 2 and outer[0] == 1 and extent % inner[0] == 0:
        period, shift = inner
        if extent // period * shift == outer[1]:
            return inner
    return outer[0] * prod(shape_in[axis] for axis in wide[1:]), outer[1]
