"""What a walk keeps of the fields that it has met, for layers that see the same, and for the next walk.

Steps are told apart by which object they are. Calls that are replayed (`rfcalc.tracing.replay`) leave the same objects
in the next graph, and steps that are equal to others do as these: so the next analysis, of the same model or of another
with the same layers, finds what it asks for. Steps that name masks do as others only in graphs with the same masks.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from rfcalc import recall
from rfcalc.analyses.field import intervals, lines, motion, stepping
from rfcalc.analyses.field.intervals import Array
from rfcalc.analyses.field.lines import Line, Lined
from rfcalc.analyses.field.merging import Parts
from rfcalc.analyses.field.states import Sight, arrays_of

#: Numbers in large arrays that are kept for layers that see the same, at most: 128 MB.
MOST = 1 << 24
#: Numbers that are kept for the next walk, in large arrays and in others, at most: 16 and 16 MB.
MOST_LARGE, MOST_SHORT = 1 << 21, 1 << 21
#: Sets of masks with which something is kept, and elements of the masks.
MOST_SETS, MOST_MASKED = 4, 1 << 22


class Settled:
    """Sights that deep networks come to have again and again, each time by another way: of those that are the same for
    all elements, or differ along one axis without a pattern, there is one for all tensors of a shape."""

    def __init__(self, extent: int) -> None:
        self.everything = lines.line_of(intervals.everything((1,), extent))
        self._sights: dict[tuple[Any, ...], Sight] = {}
        self._alive: WeakValueDictionary[tuple[Any, ...], Sight] = WeakValueDictionary()  #: by lines, which they hold

    def one(self, sight: Sight) -> Sight:
        """The sight, or the one before that is equal."""
        parts = sight.full + sight.local
        if len(parts) != 2:
            return sight
        key: tuple[Any, ...] = sight.shape
        for part in parts:
            if not isinstance(part, Lined):
                return sight
            if part.across >= 0:
                return self._with_lines(sight, parts)
            line = part.line
            if part.is_constant:
                key = (*key, int(line.lo[0]), int(line.hi[0]))
            elif line.pattern is None and motion.rate_of(line.motion) is None:
                key = (*key, part.axis, line.motion, line.lo.tobytes(), line.hi.tobytes())
            else:
                return self._with_lines(sight, parts)
        return self._sights.setdefault(key, sight)

    def _with_lines(self, sight: Sight, parts: Parts) -> Sight:
        """The sight of these lines, or the one of the same that is still in use."""
        key: tuple[Any, ...] = sight.shape
        for part in parts:
            if not isinstance(part, Lined):
                return sight
            key = (*key, part.axis, part.across, *[(count, id(line)) for count, line in part.runs])
        return self._alive.setdefault(key, sight)


class Kept:
    """What has been made of sights: of what is short as long as the sight lives, of large arrays the last few."""

    def __init__(self) -> None:
        self._large: deque[tuple[Sight, Any, list[Array]]] = deque()
        self._arrays: Counter[int] = Counter()  #: by how many each array is held
        self._held = 0
        self.short = 0  #: numbers in all that is short, and what an entry takes

    def keep(self, sight: Sight, key: Any, value: Any, made: Sight | None) -> None:
        """Remember a value with the sight, which was made of it."""
        sight.known[key] = value
        if made is None or made.is_short:
            self.short += _ENTRY if made is None else _ENTRY + made.numbers
            return
        arrays = arrays_of(made)
        self._large.append((sight, key, arrays))
        for array in arrays:
            self._held += 0 if self._arrays[id(array)] else array.size
            self._arrays[id(array)] += 1
        self.trim(MOST)

    def trim(self, most: int) -> None:
        """Forget the oldest of the large arrays until there are so few numbers."""
        while self._held > most:
            old, gone, arrays = self._large.popleft()
            old.known.pop(gone, None)
            for array in arrays:
                self._arrays[id(array)] -= 1
                self._held -= 0 if self._arrays[id(array)] else array.size


class Memory:
    """All that walks over graphs with the same masks share."""

    def __init__(self, masks: Mapping[int, Array]) -> None:
        self.plans = stepping.Plans(masks)
        self.kept = Kept()
        self._settled: dict[int, Settled] = {}
        self._lines: dict[int, Line] = {}
        self._starts: dict[tuple[tuple[int, ...], int], Sight] = {}

    def settled(self, extent: int) -> Settled:
        """The sights that recur along source axes of an extent."""
        if extent not in self._settled:
            self._settled[extent] = Settled(extent)
        return self._settled[extent]

    def start(self, shape: tuple[int, ...], axis: int) -> Sight:
        """What a source of that shape sees of its axis."""
        if (shape, axis) not in self._starts:
            line = self._lines.setdefault(shape[axis], lines.source_line(shape[axis]))
            field = (lines.lined(shape, axis, line),)
            self._starts[shape, axis] = Sight(field, field)
        return self._starts[shape, axis]

    @property
    def is_small(self) -> bool:
        """Whether it may be kept for the next walk."""
        return self.kept.short <= MOST_SHORT and len(self.plans.held) <= _MOST_STEPS

    def let_go(self) -> None:
        """Of what has become much only that stays which a walk needs to go on."""
        if self._starts and not self.is_small:
            self._starts.clear()
            self._lines.clear()


#: Reads that are told apart.
_MOST_STEPS = 1 << 15
#: What an entry takes beside its arrays, in numbers.
_ENTRY = 128
_MEMORIES: OrderedDict[Any, Memory] = OrderedDict()


@recall.forgets
def forget() -> None:
    """Forget what was kept of other walks."""
    _MEMORIES.clear()


def taken(masks: Mapping[int, Array]) -> tuple[Any, Memory]:
    """What walks over graphs with these masks have kept, for one walk alone until it is given back, and its key."""
    key = _key(masks)
    return key, _MEMORIES.pop(key, None) or Memory(masks)


def give_back(key: Any, memory: Memory) -> None:
    """Keep what a walk that came to its end has made, where it is not much."""
    if key is not None and memory.is_small:
        memory.kept.trim(MOST_LARGE)
        _MEMORIES[key] = memory
        while len(_MEMORIES) > MOST_SETS:
            _MEMORIES.popitem(last=False)


def _key(masks: Mapping[int, Array]) -> Any:
    """A key of masks and their numbers; None where they are large."""
    if sum([mask.size for mask in masks.values()]) > MOST_MASKED:
        return None
    return tuple(
        [
            (number, mask.shape, blake2b(np.packbits(mask).tobytes(), digest_size=16).digest())
            for number, mask in masks.items()
        ]
    )
