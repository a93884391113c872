"""Which layer of one model is which of another: by what a layer is, by its name, and by the order of both.

Layers are paired in passes, the surest first: the same layer under the same name; the same name and kind; the same
layer under another name; the same kind under a similar name. Within a pass the longest common subsequence counts, so
that an insertion shifts what follows and changes nothing of it. An integer in a name (`features.3`, `add#2`) is a place
in a list and not an identity: it shifts with an insertion, so passes that go by name leave it open.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rfcalc.analyses.results import Layer

How: TypeAlias = Literal["same", "changed", "renamed", "added", "removed"]
_Key: TypeAlias = Callable[["Item"], Hashable]

_PLACE = re.compile(r"(?:(?<=[./])|^)\d+(?=[./#]|$)|#\d+(?=[./]|$)")
_LAST = re.compile(r"[./]")
_MOST_EDITS = 1000  #: beyond so many differences the longest common subsequence is no longer looked for


@dataclass(frozen=True, slots=True)
class Item:
    """What matching needs to know of a layer; two with equal kind and signature are the same layer wherever they are.

    A signature holds what the layer is (module, settings, parameters), not what follows from its surroundings (shapes).
    """

    name: str
    kind: str
    signature: Hashable


@dataclass(frozen=True, slots=True)
class Pair:
    """A layer of the old model and its counterpart in the new one, as positions; None where there is none.

    ``how`` is "same" (name, kind and signature are), "renamed" (only the name differs), "changed" (anything else
    differs), "added" or "removed". ``moved`` says that it runs at another place among the layers that both models have.
    """

    how: How
    old: int | None
    new: int | None
    moved: bool = False


def item_of(layer: Layer) -> Item:
    """A layer of an analysis: its module, settings and parameters."""
    return Item(layer.name, layer.kind, (layer.module, frozen(layer.attrs), layer.params))


def frozen(value: Any) -> Hashable:
    """JSON data as something hashable; mappings are equal whatever the order of their keys."""
    if isinstance(value, dict):
        return frozenset((key, frozen(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    return value  # type: ignore[no-any-return]


def match(old: Sequence[Item], new: Sequence[Item]) -> list[Pair]:
    """Every layer of both models once, in the new model's order; removed layers stand where they were."""
    matching = _Matching(old, new)
    matching.in_order(lambda item: (shape_of_name(item.name), item.kind, item.signature))
    matching.in_order(lambda item: (shape_of_name(item.name), item.kind))
    matching.anywhere(lambda item: (item.name, item.kind))
    matching.in_order(lambda item: (item.kind, item.signature))
    matching.in_order(lambda item: (_LAST.split(shape_of_name(item.name))[-1], item.kind))
    matching.in_order(lambda item: item.name)
    return list(matching.pairs())


def shape_of_name(name: str) -> str:
    """The name with places in lists left open: ``features.3`` is ``features.*``, ``add#2`` is ``add``."""
    return _PLACE.sub(lambda found: "" if found[0].startswith("#") else "*", name)


class _Matching:
    """The pairs found so far. Those that are in order in both models bound where the next pass looks."""

    def __init__(self, old: Sequence[Item], new: Sequence[Item]) -> None:
        self.old, self.new = old, new
        self.found: dict[int, int] = {}
        self.taken: set[int] = set()

    def in_order(self, key: _Key) -> None:
        """Pair equal keys in the stretches between pairs that are in order already."""
        for olds, news in self._gaps():
            left = [place for place in olds if place not in self.found]
            right = [place for place in news if place not in self.taken]
            if left and right:
                keys = [key(self.old[place]) for place in left], [key(self.new[place]) for place in right]
                self._pair((left[a], right[b]) for a, b in common(*keys))

    def anywhere(self, key: _Key) -> None:
        """Pair equal keys wherever they stand, the first with the first."""
        waiting: dict[Hashable, list[int]] = defaultdict(list)
        for place in reversed([place for place in range(len(self.old)) if place not in self.found]):
            waiting[key(self.old[place])].append(place)
        for place in [place for place in range(len(self.new)) if place not in self.taken]:
            stack = waiting.get(key(self.new[place]))
            if stack:
                self._pair([(stack.pop(), place)])

    def pairs(self) -> Iterator[Pair]:
        """The result, once all passes are done."""
        back = {new: old for old, new in self.found.items()}
        for olds, news in self._gaps():
            yield from (Pair("removed", place, None) for place in olds if place not in self.found)
            for place in news:
                at = back.get(place)
                yield Pair("added", None, place) if at is None else Pair(self._how(at, place), at, place, moved=True)
            if news.stop < len(self.new):
                yield Pair(self._how(olds.stop, news.stop), olds.stop, news.stop)

    def _how(self, old: int, new: int) -> How:
        a, b = self.old[old], self.new[new]
        if (a.kind, a.signature) != (b.kind, b.signature):
            return "changed"
        return "same" if a.name == b.name else "renamed"

    def _pair(self, pairs: Iterator[tuple[int, int]] | Sequence[tuple[int, int]]) -> None:
        for old, new in pairs:
            self.found[old] = new
            self.taken.add(new)

    def _gaps(self) -> Iterator[tuple[range, range]]:
        """The stretches of both models between the pairs that are in order; each but the last ends at such a pair."""
        last_old = last_new = 0
        for old, new in increasing(sorted(self.found.items())):
            yield range(last_old, old), range(last_new, new)
            last_old, last_new = old + 1, new + 1
        yield range(last_old, len(self.old)), range(last_new, len(self.new))


def increasing(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """A longest part of pairs, ordered by their first numbers, in which the second numbers rise too."""
    tails: list[int] = []
    ends: list[int] = []  # position in pairs of each tail
    before: list[int] = []
    for place, (_, value) in enumerate(pairs):
        length = bisect_left(tails, value)
        before.append(ends[length - 1] if length else -1)
        if length == len(tails):
            tails.append(value)
            ends.append(place)
        else:
            tails[length], ends[length] = value, place
    chosen = []
    place = ends[-1] if ends else -1
    while place >= 0:
        chosen.append(pairs[place])
        place = before[place]
    return chosen[::-1]


def common(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Positions of a longest common subsequence; perhaps a shorter one where the sequences have little in common."""
    head = 0
    while head < min(len(a), len(b)) and a[head] == b[head]:
        head += 1
    tail = 0
    while tail < min(len(a), len(b)) - head and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    inside = _inner(a[head : len(a) - tail], b[head : len(b) - tail])
    return [
        *((place, place) for place in range(head)),
        *((head + x, head + y) for x, y in inside),
        *((len(a) - place, len(b) - place) for place in range(tail, 0, -1)),
    ]


def _inner(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """What both have in common, by the fewest edits; by counting occurrences where there are too many."""
    shared = set(a) & set(b)
    # An element of one side only is an edit whatever happens: without them the search below stays short.
    left = [place for place, item in enumerate(a) if item in shared]
    right = [place for place, item in enumerate(b) if item in shared]
    inside = _fewest_edits([a[place] for place in left], [b[place] for place in right])
    return [(left[x], right[y]) for x, y in inside]


def _fewest_edits(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """E. W. Myers, An O(ND) Difference Algorithm and Its Variations (1986): the furthest point on each diagonal."""
    furthest = {1: 0}
    trail: list[dict[int, int]] = []
    for edits in range(min(len(a) + len(b), _MOST_EDITS) + 1):
        trail.append({k: furthest[k] for k in range(-edits - 1, edits + 2) if k in furthest})
        for k in range(-edits, edits + 1, 2):
            down = k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])
            x = furthest[k + 1] if down else furthest[k - 1] + 1
            while x < len(a) and 0 <= x - k < len(b) and a[x] == b[x - k]:
                x += 1
            furthest[k] = x
            if x >= len(a) and x - k >= len(b):
                return _retraced(trail, len(a), len(b))
    return _by_occurrence(a, b)


def _retraced(trail: Sequence[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    """The diagonal steps on the way that Myers' search took to (x, y)."""
    steps: list[tuple[int, int]] = []
    for edits in range(len(trail) - 1, -1, -1):
        furthest, k = trail[edits], x - y
        down = k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])
        start = furthest[k + 1] if down else furthest[k - 1] + 1
        while x > start:
            x, y = x - 1, y - 1
            steps.append((x, y))
        x, y = (x, y - 1) if down else (x - 1, y)
    return steps[::-1]


def _by_occurrence(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The first of each with the first, the second with the second; of these pairs as many as are in order."""
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place in range(len(b) - 1, -1, -1):
        places[b[place]].append(place)
    pairs = [(place, places[item].pop()) for place, item in enumerate(a) if places[item]]
    return increasing(pairs)
