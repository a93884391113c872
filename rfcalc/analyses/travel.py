"""Whether what the elements of a tensor see differs along an axis, and whether it moves."""

from __future__ import annotations

import numpy as np

from rfcalc.analyses.intervals import NOTHING, Array, Intervals


def differs(field: Intervals, axis: int) -> bool:
    """Whether elements that see anything see different things along an axis."""
    field = field.different()
    return any(_differs(field.lo[part], field.hi[part], axis) for part in (_line(field, axis), ()))


def _differs(lo: Array, hi: Array, axis: int) -> bool:
    seen = lo <= hi
    for array in (lo, hi):
        first, last = np.where(seen, array, NOTHING).min(axis), np.where(seen, array, -NOTHING).max(axis)
        if (first < last).any():
            return True
    return False


def moves(field: Intervals, axis: int, extent: int) -> bool:
    """Whether the positions of an axis lie in different places of a source axis of that extent: by its tag, or because
    the centres travel over a quarter of the source. Along channels or branches sizes differ, centres hardly do."""
    if field.tags.get(axis, (1, 0))[1]:
        return True
    field = field.different()
    if field.extents[axis] == 1:
        return False
    return any(_travels(field.lo[part], field.hi[part], axis, extent) for part in (_line(field, axis), ()))


def _line(field: Intervals, axis: int) -> tuple[slice, ...]:
    """One line along the axis, which is most often enough to tell."""
    return tuple([slice(None) if k == axis else slice(0, 1) for k in range(field.rank)])


def _travels(lo: Array, hi: Array, axis: int, extent: int) -> bool:
    seen, centers = lo <= hi, lo + hi  # twice the centres
    first, last = centers, centers
    if not seen.all():
        first, last = np.where(seen, centers, 2 * NOTHING), np.where(seen, centers, -2 * NOTHING)
    return is_far(int((last.max(axis) - first.min(axis)).max()), extent)


def is_far(doubled: int, extent: int) -> bool:
    """Whether as much as that between twice the centres is movement: a quarter of the source."""
    return 2 * doubled >= extent
