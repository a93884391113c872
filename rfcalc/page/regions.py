"""The exact regions of all layers in one input, packed for the page."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from rfcalc.analyses.analysis import Analysis
from rfcalc.analyses.field import merging
from rfcalc.analyses.field.walk import trace_axes
from rfcalc.graph import InputInfo, Ref
from rfcalc.page.packing import Pool

MOST_UNITS = 1 << 18  #: values of one array that the page unpacks

#: First and last index seen, by axis of the input; as in `Analysis.regions`.
Arrays: TypeAlias = Mapping[str, tuple[np.ndarray, np.ndarray]]


def packed_regions(analysis: Analysis, source: InputInfo, pool: Pool) -> dict[int, dict[str, Any]]:
    """For each numbered layer that sees anything of the input: its regions, by the layer's ``face``.

    ``regions`` has one pair of entries of the pool for each axis of the input. ``positions`` are the axes of the
    layer's output along which a place in the input counts; along other axes in which regions differ (channels after a
    concatenation), the page shows all units together unless one is asked for. Along the axes ``together`` it can only
    show all of them.
    """
    found = region_arrays(analysis, source, {layer.face for layer in analysis.layers})
    return {ident: _packed(source, arrays, pool) for ident, arrays in found.items()}


def _packed(source: InputInfo, arrays: Arrays, pool: Pool) -> dict[str, Any]:
    together = crowded_axes([lo.shape for lo, _ in arrays.values()])
    small = {name: varying(*hulls(lo, hi, together)) for name, (lo, hi) in arrays.items()}
    return {
        "regions": [[pool.add(lo), pool.add(hi)] for lo, hi in small.values()],
        "positions": position_axes(source, small),
        "together": together,
    }


def region_arrays(analysis: Analysis, source: InputInfo, wanted: Collection[int]) -> dict[int, Arrays]:
    """The regions of the wanted nodes, which one walk gives for all of them.

    A unit that sees nothing has first > last.
    """
    found: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for record, rows, _ in trace_axes(analysis.layer_graph, Ref(source.node), tuple(source.axes.values())):
        if record.id not in wanted or not rows:
            continue
        for name, state in zip(source.axes, rows[0], strict=True):
            if state is not None:
                full = merging.combined(state.full)
                lo, hi = np.broadcast_arrays(full.lo, full.hi)
                found.setdefault(record.id, {})[name] = lo, hi
    return {ident: arrays for ident, arrays in found.items() if len(arrays) == len(source.axes)}


def crowded_axes(shapes: Sequence[Sequence[int]]) -> list[int]:
    """The axes to show together, so that no array of these shapes is larger than the page can hold.

    Only products of attention over many tokens are; the longest of their axes go, the last one first.
    """
    axes: set[int] = set()
    for shape in shapes:
        left = [1 if axis in axes else extent for axis, extent in enumerate(shape)]
        while math.prod(left) > MOST_UNITS:
            longest = max(range(len(left)), key=lambda axis: (left[axis], axis))
            axes.add(longest)
            left[longest] = 1
    return sorted(axes)


def hulls(lo: np.ndarray, hi: np.ndarray, axes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """First and last index that any unit along the axes sees; 1 and 0 where that is nothing."""
    nothing = lo > hi
    if axes:
        far = np.iinfo(lo.dtype).max
        lo = np.where(nothing, far, lo).min(tuple(axes), keepdims=True)
        hi = np.where(nothing, -far, hi).max(tuple(axes), keepdims=True)
        nothing = lo > hi
    return np.where(nothing, 1, lo), np.where(nothing, 0, hi)


def varying(lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The arrays with extent 1 along axes on which nothing depends."""
    for axis, extent in enumerate(lo.shape):
        if extent > 1 and all(_constant(end, axis) for end in (lo, hi)):
            lo, hi = lo.take([0], axis), hi.take([0], axis)
    return lo, hi


def _constant(array: np.ndarray, axis: int) -> bool:
    """Whether all positions along an axis are alike; those far apart differ first."""
    ends = array.take([0, -1], axis)
    return np.array_equal(ends.take(0, axis), ends.take(1, axis)) and bool((array == array.take([0], axis)).all())


def position_axes(source: InputInfo, arrays: Arrays) -> list[int]:
    """The axes of the output that say where in the input a unit looks.

    Those of the input's own numbers where regions move along all of them; else the one axis that each axis of the
    input has for itself; else all along which regions differ.
    """
    varying = {name: {axis for axis, extent in enumerate(lo.shape) if extent > 1} for name, (lo, _) in arrays.items()}
    every = set().union(*varying.values())
    rank = next(iter(arrays.values()))[0].ndim if arrays else 0
    if rank == len(source.shape) and all(axis in varying[name] for name, axis in source.axes.items()):
        return sorted(source.axes.values())
    own = {name: axes - set().union(*(varying[k] for k in varying if k != name)) for name, axes in varying.items()}
    if all(len(axes) == 1 for axes in own.values()):
        return sorted(set().union(*own.values()))
    return sorted(every)
