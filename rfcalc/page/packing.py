"""Integer arrays as small JSON: equal arrays once, and each as runs of equal differences.

The first and last index that each unit of a layer sees are such arrays. Most grow by a constant, repeat along an axis,
or are those of the layer before.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class Pool:
    """Distinct arrays by number. An entry is ``[shape, runs]``, or ``[shape, runs, parts]`` for several axes.

    ``runs`` is ``[first, count, step, count, step, ...]``: an array is its first value, then ``count`` times the next
    value, larger by ``step``. With ``parts`` the runs give, for each index of the first axis longer than 1, which of
    the entries ``parts`` has the values of all other axes.
    """

    def __init__(self) -> None:
        self.entries: list[list[Any]] = []
        self._known: dict[tuple[tuple[int, ...], bytes], int] = {}

    def add(self, array: np.ndarray) -> int:
        """The number of the array's entry."""
        plain = np.ascontiguousarray(array, dtype=np.int64)
        key = (plain.shape, plain.tobytes())
        if key not in self._known:
            entry = self._entry(plain)
            self._known[key] = len(self.entries)
            self.entries.append(entry)
        return self._known[key]

    def _entry(self, array: np.ndarray) -> list[Any]:
        long = [axis for axis, extent in enumerate(array.shape) if extent > 1]
        shape = list(array.shape)
        if len(long) < 2:
            return [shape, runs(array.ravel())]
        parts = [self.add(part) for part in np.moveaxis(array, long[0], 0)]
        distinct = list(dict.fromkeys(parts))
        places = {number: place for place, number in enumerate(distinct)}
        return [shape, runs(np.array([places[number] for number in parts])), distinct]


def runs(values: np.ndarray) -> list[int]:
    """``[first, count, step, ...]`` of a sequence, [] of an empty one."""
    if not len(values):
        return []
    steps = np.diff(values)
    if not len(steps):
        return [int(values[0])]
    starts = np.flatnonzero(np.concatenate(([True], steps[1:] != steps[:-1])))
    counts = np.diff(np.append(starts, len(steps)))
    pairs = np.stack([counts, steps[starts]], axis=1).ravel()
    return [int(values[0]), *map(int, pairs)]
