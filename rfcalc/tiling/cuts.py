"""Where one axis may be cut: the grid, and how far a cut is felt. By marks alone (`rfcalc.tiling.marks`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, lcm

import numpy as np

from rfcalc import reads
from rfcalc.graph import Node, Ref
from rfcalc.tiling import marks
from rfcalc.tiling.blame import Joint, walk_together
from rfcalc.tiling.marks import Marks
from rfcalc.tiling.sizes import Sizes
from rfcalc.tiling.walk import Left, Traced, Walk, sources_of


@dataclass(frozen=True, slots=True)
class Match:
    """Where an output of a tile is as that of the whole: units ``first`` to ``stop`` - 1 of ``count``, which are those
    of the whole from ``offset`` on."""

    first: int
    stop: int
    count: int
    offset: int

    @property
    def before(self) -> int:
        """Units that the tile's first border spoils."""
        return self.first

    @property
    def after(self) -> int:
        """Units that the tile's last border spoils."""
        return self.count - self.stop


@dataclass(eq=False)
class Bench:
    """A tile's graph and a whole's along one axis of the main input, at sizes that are far larger than what units see.

    Pixels along the axis have marks, of which a tile gets a part.
    """

    sizes: Sizes
    axis: str
    tile: Traced
    whole: Traced
    length: int
    total: int
    outputs: tuple[tuple[Ref, Ref], ...]  #: of each output, in the tile's graph and in the whole's
    left: Left

    @cached_property
    def moving(self) -> tuple[int | None, ...]:
        """The tensor axis of each output that grows with the input, None where none or several do."""
        found = []
        for own, other in self.outputs:
            pair = [
                one.graph[ref.node].outputs[ref.output].shape for one, ref in ((self.tile, own), (self.whole, other))
            ]
            grown = [at for at, (a, b) in enumerate(zip(*pair, strict=False)) if a != b]
            found.append(grown[0] if len(grown) == 1 and len(pair[0]) == len(pair[1]) else None)
        return tuple(found)

    def pixels(self, traced: Traced, first: int, length: int, spoiled: range | None = None) -> dict[Ref, Marks]:
        """The marks of the inputs for a part of the main one's axis; those of ``spoiled`` are others."""
        axes, rows = {}, {}
        for item in traced.graph.inputs:
            ratio = self.sizes.ratios.get(item.name, {}).get(self.axis)
            if ratio is None:
                continue
            start, count = first * ratio, item.shape[item.axes[self.axis]]
            if start.denominator != 1:
                raise ValueError("an input that no pixel of the main one begins with")
            row = self._row(item.name, int(start) + count)[int(start) :].copy()
            if spoiled is not None:
                at = slice(max(0, ceil((spoiled.start - first) * ratio)), max(0, ceil((spoiled.stop - first) * ratio)))
                row[at] = marks.mixed(row[at] + np.uint64(1))
            axes[item.name], rows[item.name] = item.axes[self.axis], row
        return sources_of(traced.graph, axes, rows)

    def _row(self, name: str, count: int) -> Marks:
        return marks.pixels(count, seed=1 + list(self.sizes.ratios).index(name))

    def fits(self, offset: int) -> bool:
        """Whether all inputs can be cut there."""
        return all(
            (offset * ratios[self.axis]).denominator == 1
            for ratios in self.sizes.ratios.values()
            if self.axis in ratios
        )

    @cached_property
    def whole_lines(self) -> tuple[Marks | None, ...]:
        walk = Walk(self.whole, self.pixels(self.whole, 0, self.total), self.left).run()
        return self.lines(walk, 1)

    def lines(self, walk: Walk, which: int) -> tuple[Marks | None, ...]:
        """The marks of each output as one row along its moving axis."""
        found = []
        for pair, axis in zip(self.outputs, self.moving, strict=True):
            state = walk.states.get(pair[which])
            found.append(None if state is None or axis is None else line(state, axis))
        return tuple(found)

    def matches(self, offset: int) -> tuple[Match | None, ...]:
        """For each output, where a tile cut at this pixel is as the whole; None where its middle is not."""
        if not self.fits(offset) or offset + self.length > self.total:
            return (None,) * len(self.outputs)
        pairs = zip(self.lines_at(offset), self.whole_lines, strict=True)
        share = Fraction(offset, self.total)
        return tuple(None if a is None or b is None else match(a, b, share) for a, b in pairs)

    def lines_at(self, offset: int) -> tuple[Marks | None, ...]:
        """The rows of a tile that is cut there."""
        return self.lines(Walk(self.tile, self.pixels(self.tile, offset, self.length), self.left).run(), 0)

    def felt(self, spoiled: range) -> tuple[np.ndarray | None, ...]:
        """For each output, which units change where these pixels of the tile do."""
        walk = Walk(self.tile, self.pixels(self.tile, 0, self.length, spoiled), self.left).run()
        pairs = zip(self.lines(walk, 0), self._calm, strict=True)
        return tuple(None if a is None or b is None else a != b for a, b in pairs)

    @cached_property
    def _calm(self) -> tuple[Marks | None, ...]:
        return self.lines(Walk(self.tile, self.pixels(self.tile, 0, self.length), self.left).run(), 0)


def line(state: Marks, axis: int) -> Marks:
    """Marks as one row along an axis: what differs along others is put together."""
    return marks.together(state, [k for k in range(state.ndim) if k != axis]).ravel()


def match(tile: Marks, whole: Marks, share: Fraction) -> Match | None:
    """Where a tile's row lies in the whole's, and how far it is the same around its middle; None where it is not.

    Where equal marks stand in several places (rows that were repeated), the first of each run is taken.
    """
    seeing = np.flatnonzero(tile)  # a transposed kernel shorter than its stride leaves units that see nothing
    if len(tile) < 2 or not len(seeing):
        return None
    middle = int(seeing[np.argmin(np.abs(seeing - len(tile) // 2))])
    start = middle
    while start > 0 and tile[start - 1] == tile[middle]:
        start -= 1
    equal = whole == tile[middle]
    places = np.flatnonzero(equal & ~np.concatenate([[False], equal[:-1]]))
    if not len(places):
        return None
    offset = int(places[np.argmin(np.abs(places - start - float(share) * len(whole)))]) - start
    if start == 0 or offset < 0:
        return None
    stop = min(len(tile), len(whole) - offset)
    same = tile[:stop] == whole[offset : offset + stop]
    wrong = np.flatnonzero(~same)
    first = int(wrong[wrong < start][-1]) + 1 if (wrong < start).any() else 0
    last = int(wrong[wrong > start][0]) if (wrong > start).any() else stop
    return Match(first, last, len(tile), offset)


# --- making a bench ---------------------------------------------------------------------------------------------------


def outputs_of(tile: Traced, whole: Traced, chosen: Sequence[str] | None) -> tuple[tuple[Ref, Ref], ...] | None:
    """The outputs of both graphs, or the layers of these names; None where they are not the same."""
    if chosen is None:
        pair = tile.graph.outputs, whole.graph.outputs
        return tuple(zip(*pair, strict=True)) if len(pair[0]) == len(pair[1]) else None
    found = []
    for one in (tile.graph, whole.graph):
        by_name = {record.name: Ref(record.id if record.face is None else record.face) for record in one}
        if not all(name in by_name for name in chosen):
            return None
        found.append([by_name[name] for name in chosen])
    return tuple(zip(*found, strict=True))


def steps_between(one: Traced, other: Traced, extents: tuple[int, int]) -> int:
    """A number of pixels by which a cut may move, as far as sizes tell: a multiple of all strides and windows.

    ``one`` and ``other`` are graphs at two ``extents`` of one axis: what differs in shapes is what moves.
    """
    names = {record.name: record for record in other.graph}
    coarsest, found = 1, {1}
    for record in one.graph:
        twin = names.get(record.name)
        if twin is None:
            continue
        for a, b in zip(record.outputs, twin.outputs, strict=False):
            if len(a.shape) == len(b.shape):
                moved = [(n, m) for n, m in zip(a.shape, b.shape, strict=True) if n != m]
                coarsest = max([coarsest, *(round(_pace(extents, n, m)) for n, m in moved if n <= extents[0])])
        grids = (*_windows(record, twin, extents), *_patterns(one, record, other, twin, extents))
        found |= {int(grid) for grid in grids if grid.denominator == 1}
    step = coarsest
    for grid in sorted(found):
        if lcm(step, grid) <= _COARSEST:
            step = lcm(step, grid)
    return step


#: No grid is looked for that is coarser than this, in pixels.
_COARSEST = 1 << 13


def _pace(extents: tuple[int, int], one: int, other: int) -> Fraction:
    """Pixels for each position of an axis that has one and another extent at the two sizes."""
    return Fraction(extents[1] - extents[0], other - one)


def _windows(record: Node, twin: Node, extents: tuple[int, int]) -> Iterator[Fraction]:
    """How many pixels there are to a window into which an axis that moves is cut."""
    for row, twin_row in zip(record.reads, twin.reads, strict=False):
        for read, twin_read in zip(row, twin_row, strict=False):
            for step, against in zip(read.steps, twin_read.steps, strict=False):
                if isinstance(step, reads.Spans) and isinstance(against, reads.Spans):
                    yield from _of_spans(step, against, extents)
                if isinstance(step, reads.Reshape) and isinstance(against, reads.Reshape):
                    yield from _of_reshape(step, against, extents)


def _patterns(one: Traced, record: Node, other: Traced, twin: Node, extents: tuple[int, int]) -> Iterator[Fraction]:
    """After how many pixels numbers that forward makes for each place (a checkerboard) repeat."""
    pairs = zip(one.noted.tensors.get(record.id, ()), other.noted.tensors.get(twin.id, ()), strict=False)
    for operand, against in pairs:
        if operand.numbers is None or against.numbers is None or operand.numbers.ndim != against.numbers.ndim:
            continue
        for axis, sizes in enumerate(zip(operand.numbers.shape, against.numbers.shape, strict=True)):
            if sizes[0] != sizes[1]:
                longer = max(operand.numbers, against.numbers, key=lambda numbers: numbers.shape[axis])
                period = _period(np.moveaxis(longer, axis, 0))
                if period > 1:
                    yield _pace(extents, *sizes) * period


#: Numbers that repeat after more places than this are taken for ones that do not.
_LONGEST_PERIOD = 64


def _period(rows: np.ndarray) -> int:
    """After how many rows they repeat, at least twice; 0 where they do not."""
    most = min(_LONGEST_PERIOD, len(rows) // 2)
    return next((one for one in range(1, most + 1) if np.array_equal(rows[one:], rows[:-one])), 0)


def _of_spans(step: reads.Spans, against: reads.Spans, extents: tuple[int, int]) -> Iterator[Fraction]:
    """An interpolation by a ratio repeats its weights after so many positions of what it reads."""
    longer = len(against.first) - len(step.first)
    if longer and step.period and (step.period, step.shift) == (against.period, against.shift):
        yield Fraction(extents[1] - extents[0], longer) * step.period


def _of_reshape(step: reads.Reshape, against: reads.Reshape, extents: tuple[int, int]) -> Iterator[Fraction]:
    if len(step.shape_in) != len(against.shape_in) or len(step.shape_out) != len(against.shape_out):
        return
    for left, right in reads.groups_of(step.shape_in, step.shape_out):
        sizes = [(step.shape_in[axis], against.shape_in[axis]) for axis in left]
        kept = [step.shape_out[axis] for axis in right if step.shape_out[axis] == against.shape_out[axis]]
        if len(left) == 1 and sizes[0][0] != sizes[0][1] and len(kept) == len(right) - 1:
            yield from (_pace(extents, *sizes[0]) * width for width in kept if width > 1)


def compare(bench: Bench, offset: int) -> Joint:
    """A tile at this pixel and the whole walked together, with what makes them differ."""
    return walk_together(
        bench.tile,
        bench.whole,
        bench.pixels(bench.tile, offset, bench.length),
        bench.pixels(bench.whole, 0, bench.total),
        bench.axis,
    )


def divisors(number: int) -> list[int]:
    """All divisors, the smallest first."""
    return [one for one in range(1, number + 1) if number % one == 0]
