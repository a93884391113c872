"""What each tensor sees along one axis of a source, for analyses that ask for every unit and not for one number."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from rfcalc.analyses.field import merging, walk
from rfcalc.analyses.field.states import State
from rfcalc.analyses.field.windows import Window, window_of
from rfcalc.graph import LayerGraph, Node, Ref


class View:
    """What the units of one tensor see along the axis. All of it is worked out when it is asked for."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def facts(self) -> dict[Any, Any]:
        """What has been made of it, shared by tensors that see the same: to be read and added to."""
        return self._state.sight.facts

    @property
    def context(self) -> bool:
        """Whether a layer on the way brought in the whole axis; the window leaves that out."""
        return bool(self._state.context)

    @property
    def bound(self) -> bool:
        """Whether it is an upper bound."""
        return bool(self._state.inexact)

    @property
    def masked(self) -> bool:
        """Whether a mask, or numbers of a buffer, decide it."""
        return bool(self._state.masked)

    @property
    def moving(self) -> tuple[int, ...]:
        """The tensor's axes along which positions lie in different places of the source."""
        parts = self._state.local
        return tuple(sorted({axis for part in parts for axis in part.motions if part.shape[axis] > 1}))

    @property
    def window(self) -> Window | None:
        """The free field over one period, where there is one; without what a context brings in."""
        parts = self._state.local
        if not parts or not (len(parts) == 1 or merging.moves(parts)):
            return None
        return window_of(merging.whole(parts))

    @property
    def regions(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last index that each unit sees, clipped to the source: arrays that broadcast to the tensor's shape.

        A unit that sees nothing has first > last.
        """
        full = merging.combined(self._state.full)
        return full.lo, full.hi


def views(
    graph: LayerGraph, source: Ref, axis: int, keep: Collection[int] | None = None
) -> Iterator[tuple[Node, tuple[View | None, ...]]]:
    """Each node, in execution order, with the views of its outputs; None for one that sees nothing of the source.

    ``keep`` restricts the walk to these nodes.
    """
    for record, rows, _ in walk.trace_axes(graph, source, (axis,), keep):
        yield record, tuple([None if row[0] is None else View(row[0]) for row in rows])
