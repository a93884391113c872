"""Where tiles lie along one axis: what each reads, and what it writes. Integers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, lcm

from rfcalc.errors import UsageError
from rfcalc.tiling.results import AxisTile


@dataclass(frozen=True, slots=True)
class Piece:
    """A tile along one axis, in pixels of the main input: it reads ``start`` to ``stop`` - 1, and of its output that
    part is kept whose place is ``first`` to ``last`` - 1; both lie on the grid, or at the end of the image."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def length(self) -> int:
        """How much it reads."""
        return self.stop - self.start

    def to_dict(self) -> dict[str, list[int]]:
        return {"read": [self.start, self.stop], "write": [self.first, self.last]}


@dataclass(frozen=True, slots=True)
class Grid:
    """What several outputs together ask of tiles along one axis."""

    align: int
    before: int
    after: int
    offset: int

    @property
    def least(self) -> int:
        """The shortest tile."""
        shortest = self.before + self.after + self.align
        return shortest + (self.offset - shortest) % self.align

    def fits(self, tile: int) -> bool:
        """Whether tiles may be so long."""
        return tile >= self.least and (tile - self.offset) % self.align == 0

    def near(self, tile: int) -> tuple[int, ...]:
        """The lengths that fit, next to one that does not."""
        below = tile - (tile - self.offset) % self.align
        return tuple(dict.fromkeys(max(one, self.least) for one in (below, below + self.align)))


def grid_of(items: Sequence[AxisTile]) -> Grid:
    """The grid of outputs of which each is exact."""
    known = [(item.align or 1, item.margin or (0, 0), item.offset) for item in items]
    align = lcm(*[one for one, _, _ in known])
    before = align * ceil(max(margin[0] for _, margin, _ in known) / align)
    offset = next(r for r in range(align) if all((r - own) % one == 0 for one, _, own in known))
    after = max(margin[1] for _, margin, _ in known)
    after += (offset - before - after) % align
    return Grid(align, before, after, offset)


def pieces(axis: str, grid: Grid, tile: int, extent: int) -> tuple[Piece, ...]:
    """The tiles along an axis of this extent. Raises `UsageError` for a tile that does not fit, naming some."""
    if tile > extent:
        raise UsageError(f"tile {tile} is longer than the image, {extent} along {axis}: take at most {extent}")
    if tile == extent:
        return (Piece(0, extent, 0, extent),)
    if tile < grid.least:
        raise UsageError(
            f"tile {tile} along {axis} is too short: margins of {grid.before} and {grid.after} and one step of"
            f" {grid.align} need at least {grid.least}"
        )
    if not grid.fits(tile):
        near = " or ".join(map(str, grid.near(tile)))
        form = f"multiples of {grid.align}" if not grid.offset else f"{grid.offset} + a multiple of {grid.align}"
        raise UsageError(f"tile {tile} along {axis} does not fit: tiles of this model are {form}; nearest: {near}")
    found: list[Piece] = []
    start = first = 0
    while start + tile < extent:
        found.append(Piece(start, start + tile, first, start + tile - grid.after))
        first = found[-1].last
        start = first - grid.before
    last = grid.align * max(0, ceil((extent - tile) / grid.align))
    found.append(Piece(min(start, last), extent, first, extent))
    return tuple(found)
