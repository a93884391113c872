"""What the analysis says of regions, in the form the check needs: for every node, along one axis of one input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rfcalc.analyses.field import merging, walk
from rfcalc.analyses.field.states import State
from rfcalc.graph import InputInfo, LayerGraph, Ref


@dataclass(frozen=True, slots=True)
class Region:
    """First and last index that each output position reads (first > last: none); ``bound``: it reads at most these."""

    first: np.ndarray
    last: np.ndarray
    bound: bool = False

    def reads(self, rows: np.ndarray) -> np.ndarray:
        """Which positions may read the rows (an array that broadcasts)."""
        return np.asarray((self.first <= rows) & (rows <= self.last))

    def ends(self, rows: np.ndarray) -> np.ndarray:
        """Which positions must read the rows, because their region begins or ends there."""
        return np.asarray(((self.first == rows) | (self.last == rows)) & (self.first <= self.last))


@dataclass(frozen=True, slots=True)
class Held:
    """A region as the analysis holds it, in parts that stay small until they are combined."""

    parts: merging.Parts
    bound: bool

    def combined(self) -> Region:
        """The hull of all parts."""
        full = merging.combined(self.parts)
        first, last = np.broadcast_arrays(full.lo, full.hi) if full.lo.shape != full.hi.shape else (full.lo, full.hi)
        return Region(first, last, self.bound)


@dataclass(frozen=True, slots=True)
class AxisRegions:
    """The regions of all outputs of all nodes along one axis of one input."""

    source: InputInfo
    number: int  #: of the input
    name: str
    axis: int
    extent: int
    by_node: dict[int, tuple[Held | None, ...]]  #: None: the output sees nothing of the source


def along_axes(graph: LayerGraph) -> Iterable[AxisRegions]:
    """The regions along every axis of every input, as an analysis finds them: all axes of one input at once."""
    for number, source in enumerate(graph.inputs):
        found: dict[str, dict[int, tuple[Held | None, ...]]] = {name: {} for name in source.axes}
        for record, rows, _ in walk.trace_axes(graph, Ref(source.node), tuple(source.axes.values())):
            for at, held in enumerate(found.values()):
                held[record.id] = tuple([_held(row[at]) for row in rows])
        for name, axis in source.axes.items():
            yield AxisRegions(source, number, name, axis, source.shape[axis], found.pop(name))


def _held(state: State | None) -> Held | None:
    return None if state is None else Held(state.full, bool(state.inexact))


def choose_rows(regions: AxisRegions, count: int, seed: int) -> list[int]:
    """Which rows to poison: borders, middle, rows at which regions of many layers begin or end, and random ones.

    Only an end of a region tells whether its size is right, so half of the rows are chosen such that as many layers as
    possible have one of them as a first, a last, or a next outer row.
    """
    extent = regions.extent
    if count >= extent:
        return list(range(extent))
    fixed = [0, extent - 1, extent // 2][:count]
    random = np.random.default_rng(seed).permutation(extent)
    drawn = [int(row) for row in random if row not in fixed]
    telling = _telling(regions)
    chosen = fixed + drawn[: max(0, (count - len(fixed)) // 2)]
    covered = telling[:, chosen].any(axis=1)
    while len(chosen) < count:
        gain = telling[~covered].sum(axis=0)
        gain[chosen] = -1
        best = int(gain.argmax())
        if gain[best] <= 0:
            best = next(row for row in drawn if row not in chosen)
        chosen.append(best)
        covered |= telling[:, best]
    return sorted(chosen)


def untold(regions: AxisRegions, rows: Sequence[int]) -> int:
    """How many layers' inner ends of regions no chosen row touches."""
    telling = _telling(regions)
    return int((~telling[:, list(rows)].any(axis=1)).sum())


def _telling(regions: AxisRegions) -> np.ndarray:
    """For each kind of end of each distinct region (rows of the table), which source rows it can be seen at."""
    extent = regions.extent
    table: list[np.ndarray] = []
    seen: set[tuple[int, int]] = set()
    for outputs in regions.by_node.values():
        for part in (part for held in outputs if held is not None for part in held.parts):
            if (id(part.lo), id(part.hi)) in seen:
                continue
            seen.add((id(part.lo), id(part.hi)))
            first, last = np.unique(part.lo), np.unique(part.hi)
            first, last = first[(first > 0) & (first < extent)], last[(last >= 0) & (last < extent - 1)]
            for ends in (first, first - 1, last, last + 1):
                if len(ends):
                    row = np.zeros(extent, dtype=bool)
                    row[ends] = True
                    table.append(row)
    return np.array(table, dtype=bool).reshape(len(table), extent)
