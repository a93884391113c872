"""Can it be cut into tiles, and how: the verdict along one axis of the main input, for every output."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, lcm

import numpy as np

from rfcalc.analyses.receptive_field import Source, analyse_source, reach_of, regions
from rfcalc.errors import TraceError
from rfcalc.graph import LayerGraph, Ref
from rfcalc.tiling.alike import alike
from rfcalc.tiling.borders import border_to_blame
from rfcalc.tiling.cuts import Bench, Match, compare, divisors, outputs_of, steps_between
from rfcalc.tiling.results import AxisTile, OutputTile, Sides, Witness
from rfcalc.tiling.sizes import Sizes
from rfcalc.tiling.walk import Left, Traced

#: Sizes to try for the axes that are not looked at: small ones, that most networks take.
_OTHERS = (64, 96, 128, 192, 224, 256)
#: No tile is tried that is longer than this.
_LONGEST = 1 << 17
_SHORT = 160  #: an axis that is no longer than this is left as it is while others are looked at


@dataclass
class Found:
    """What is known of one output along one axis."""

    axis: AxisTile
    reasons: list[str] = field(default_factory=list)
    place: int | None = None


def verdict(sizes: Sizes, layers: Sequence[str] | None = None) -> tuple[OutputTile, ...]:
    """The verdict of every output of the model, or of the layers of these names."""
    refs = _refs(sizes.base.graph, layers)
    by_axis: dict[str, list[Found]] = {}
    for axis in sizes.axes:
        like = next((other for other in by_axis if alike(sizes, other, axis)), None)
        by_axis[axis] = _along(sizes, axis, layers, refs) if like is None else _turned(by_axis[like], sizes, like, axis)
    found = []
    for number, ref in enumerate(refs):
        record = sizes.base.graph[ref.node]
        own = {axis: rows[number] for axis, rows in by_axis.items()}
        places = {axis: item.place for axis, item in own.items()}
        shared = [place for place in places.values() if place is not None]
        reasons = list(dict.fromkeys([text for item in own.values() for text in item.reasons]))
        if len(set(shared)) < len(shared):
            reasons.append(f"{record.name}: positions of {' and '.join(places)} lie in one axis of it")
        axes = {axis: item.axis for axis, item in own.items()}
        if reasons:
            axes = {axis: _local(item) for axis, item in axes.items()}
        found.append(
            OutputTile(record.name, record.outputs[ref.output].shape, not reasons, tuple(reasons), axes, places)
        )
    return tuple(found)


def _turned(found: Sequence[Found], sizes: Sizes, axis: str, other: str) -> list[Found]:
    """The same along an axis that is treated as another one is."""
    shift = sizes.main.axes[other] - sizes.main.axes[axis]
    return [
        Found(
            item.axis,
            [_renamed(text, axis, other) for text in item.reasons],
            None if item.place is None else item.place + shift,
        )
        for item in found
    ]


def _renamed(text: str, axis: str, other: str) -> str:
    layer, colon, why = text.partition(": ")
    return layer + colon + re.sub(rf"\b{re.escape(axis)}\b", other, why)


def _local(item: AxisTile) -> AxisTile:
    """What is left to say where the tiles are not exact."""
    halo = item.halo if item.local_halo is None else item.local_halo
    return replace(
        item, halo=None, margin=None, min_tile=None, min_output=None, local_halo=halo, witnesses=(None, None)
    )


def _refs(graph: LayerGraph, layers: Sequence[str] | None) -> tuple[Ref, ...]:
    if layers is None:
        return graph.outputs
    by_name = {record.name: record for record in graph}
    return tuple(Ref(by_name[name].id if by_name[name].face is None else by_name[name].face or 0) for name in layers)


# --- one axis ---------------------------------------------------------------------------------------------------------


def _along(sizes: Sizes, axis: str, layers: Sequence[str] | None, refs: Sequence[Ref]) -> list[Found]:
    """The verdict of each output along one axis."""
    try:
        bench, step = _bench(sizes, axis, layers, refs)
    except TraceError as error:
        nothing = AxisTile(None, None)
        return [Found(nothing, [f"{sizes.loaded.name}: runs at no other size along {axis}: {error}"]) for _ in refs]
    if bench is None:
        nothing = AxisTile(None, None)
        return [Found(nothing, [f"{sizes.loaded.name}: gives other outputs at other sizes along {axis}"]) for _ in refs]
    joint = compare(bench, step)
    bench.left = joint.left
    central = bench.matches(step)
    ends = bench.matches(0), bench.matches(bench.total - bench.length)
    runs = _runs(sizes, bench, step)
    grids = [grid and lcm(grid, runs) for grid in _grids(bench, step, central)]
    common = lcm(*[grid for grid in grids if grid])
    found = []
    for number, (pair, grid, middle) in enumerate(zip(bench.outputs, grids, central, strict=True)):
        before = bench.whole.graph.ancestors([pair[1].node]) | {pair[1].node}
        names = {bench.whole.graph[ident].name for ident in before}
        reasons = [blame.text for name, blame in joint.blamed.items() if name in names]
        name = bench.whole.graph[pair[1].node].name
        if grid is None or middle is None:
            reasons = reasons or [f"{name}: {_lost(bench, number, axis)}"]
            found.append(Found(AxisTile(None, None), reasons, bench.moving[number]))
            continue
        if not reasons:
            reasons = [f"{name}: {text}" for text in _at_ends(ends[0][number], ends[1][number], middle, axis)]
            known = border_to_blame(bench, step, number) if reasons else None
            reasons = reasons if known is None else [known]
        tile = _measured(bench, number, grid, common, step, middle)
        tile = _local(tile) if reasons else replace(tile, reach=_reach(sizes, bench, axis, refs[number], number, tile))
        found.append(Found(tile, reasons, bench.moving[number]))
    return found


def _lost(bench: Bench, number: int, axis: str) -> str:
    if bench.moving[number] is None:
        return f"has no axis of its own that moves with {axis}"
    return f"no grid was found on which tiles along {axis} are as the whole"


def _at_ends(first: Match | None, last: Match | None, middle: Match, axis: str) -> list[str]:
    """What is wrong with tiles at the borders of the whole, where their borders are its own."""
    found = []
    if first is None or first.first or first.stop < middle.stop:
        found.append(f"a tile at the beginning of {axis} differs from the whole")
    if last is None or last.first > middle.first or last.stop < last.count:
        found.append(f"a tile at the end of {axis} differs from the whole")
    return found


def _grids(bench: Bench, step: int, central: Sequence[Match | None]) -> list[int | None]:
    """The finest grid of each output: the smallest divisor of a number that is known to be one at which a tile is as
    good. All grids are multiples of the finest, for what two cuts leave as it is their difference does, too."""
    grids: list[int | None] = [None] * len(central)
    for one in divisors(step):
        if all(grid is not None or middle is None for grid, middle in zip(grids, central, strict=True)):
            break
        for number, (made, middle) in enumerate(zip(bench.matches(one), central, strict=True)):
            if grids[number] is None and made is not None and middle is not None:
                alike = (made.first, made.stop) == (middle.first, middle.stop)
                if alike and made.offset * step == middle.offset * one:
                    grids[number] = one
    return grids


def _runs(sizes: Sizes, bench: Bench, step: int) -> int:
    """By how much longer tiles may be, so that the model runs on them: a divisor of a number by which they may."""
    for one in divisors(step):
        if sizes.runs({**others_of(sizes, bench.axis), bench.axis: bench.length + one}):
            return one
    return step


def _measured(bench: Bench, number: int, grid: int, common: int, step: int, middle: Match) -> AxisTile:
    """Halo, margin and sizes of one output on its grid."""
    scale = Fraction(middle.offset, step)
    before = grid * ceil(middle.before / (scale * grid))
    kept = floor(min(middle.stop / scale - before, Fraction(bench.length - before)) / grid) * grid
    after = bench.length - before - kept
    cut = common * max(1, round(bench.length / 2 / common))
    good = range(middle.first, middle.stop)
    sides = (
        _halo(bench, number, cut, scale, before + grid, range(int(cut * scale), good.stop)),
        _halo(bench, number, cut, scale, after + grid, range(good.start, int(cut * scale))),
    )
    halo: list[int] = []
    witnesses: list[Witness | None] = []
    slack = (bench.length - before) % grid  # of a tile that is no multiple of the grid
    for side, margin in zip(sides, (before, after), strict=True):
        least = margin - grid + 1 if margin else 0
        border = side[0] + (slack if side is sides[1] else 0) < least
        witness = _moved(side[1], cut, grid, scale)
        if border:
            halo.append(least)
            witnesses.append(_border(side is sides[0], grid, scale, least))
        else:
            halo.append(side[0])
            witnesses.append(witness)
    offset = bench.length % grid
    least_tile = before + after + grid
    return AxisTile(
        align=grid,
        scale=scale,
        halo=(halo[0], halo[1]),
        margin=(before, after),
        min_tile=least_tile,
        min_output=middle.count - int((bench.length - least_tile) * scale),
        offset=offset,
        witnesses=(witnesses[0], witnesses[1]),
    )


def _border(before: bool, grid: int, scale: Fraction, halo: int) -> Witness:
    cut = grid * ceil(Fraction(halo, grid))
    unit = int(cut * scale) if before else int(cut * scale) - 1
    return Witness(cut, unit, cut - halo if before else cut + halo - 1, border=True)


def _halo(bench: Bench, number: int, cut: int, scale: Fraction, most: int, asked: range) -> tuple[int, Witness | None]:
    """How far beyond a cut some units behind it, or before it, read, and the unit and the pixel that say so."""
    before = asked.start == int(cut * scale)

    def units(felt: Sequence[np.ndarray | None]) -> np.ndarray:
        row = felt[number]
        assert row is not None
        return np.flatnonzero(row[asked.start : asked.stop]) + asked.start

    def changed(halo: int) -> np.ndarray:
        spoiled = range(cut - halo) if before else range(cut + halo, bench.length)
        return units(_felt(bench, spoiled))

    low, high = 0, min(most, cut if before else bench.length - cut)
    while low < high:
        half = (low + high) // 2
        low, high = (half + 1, high) if len(changed(half)) else (low, half)
    if low == 0:
        return 0, None
    pixel = cut - low if before else cut + low - 1
    found = units(_felt(bench, range(pixel, pixel + 1)))
    if not len(found):  # a pixel that no unit reads by itself
        return low, None
    return low, Witness(cut, int(found[0] if before else found[-1]), pixel)


@lru_cache(maxsize=64)
def _felt(bench: Bench, spoiled: range) -> tuple[np.ndarray | None, ...]:
    return bench.felt(spoiled)


def _moved(witness: Witness | None, cut: int, grid: int, scale: Fraction) -> Witness | None:
    """The same at the first cut of the grid that has all of it."""
    if witness is None:
        return None
    far = max(0, cut - witness.pixel)
    near = grid * max(1, ceil(Fraction(far, grid)))
    by = cut - near
    return Witness(near, witness.unit - int(by * scale), witness.pixel - by)


def _reach(sizes: Sizes, bench: Bench, axis: str, ref: Ref, number: int, tile: AxisTile) -> Sides | None:
    """What units see before and after their own places: of the window, or of the regions of one period."""
    graph = sizes.base.graph
    source = Source(sizes.main.name, Ref(sizes.main.node), dict(sizes.main.axes))
    keep = graph.ancestors([ref.node]) | {ref.node}
    field_ = analyse_source(graph, source, lambda record: record.id == ref.node, keep).field(ref.node)
    found = None if field_.reach is None else field_.reach[list(source.axes).index(axis)]
    if found or tile.scale is None or tile.align is None:
        return found
    own = bench.outputs[number][0]
    main = next(item for item in bench.tile.graph.inputs if item.name == sizes.main.name)
    seen = regions(bench.tile.graph, Source(main.name, Ref(main.node), {axis: main.axes[axis]}), own.node)
    place = bench.moving[number]
    if axis not in seen or place is None:
        return None
    lo, hi = (np.moveaxis(rows, place, 0).reshape(rows.shape[place], -1) for rows in seen[axis])
    period = int(tile.align * tile.scale)
    start = period * (int(bench.length * tile.scale) // 2 // period)
    if len(lo) < start + period:
        return None
    rows = [
        (start + u, int(lo[start + u].min()), int(hi[start + u].max()))
        for u in range(period)
        if (lo[start + u] <= hi[start + u]).any()
    ]
    return reach_of(rows, 1 / tile.scale, bench.length) if rows else None


# --- the bench --------------------------------------------------------------------------------------------------------


def _bench(sizes: Sizes, axis: str, layers: Sequence[str] | None, refs: Sequence[Ref]) -> tuple[Bench | None, int]:
    """A bench along an axis, and a number of pixels by which its cuts may move. Raises `TraceError` at a fixed size."""
    others = others_of(sizes, axis)
    extent = sizes.extents[axis]
    base = _tried(sizes, others, axis, [extent])
    other = _tried(sizes, others, axis, [2 * extent, *(extent + more for more in (256, 64, 32, 16, 8, 4, 2, 1))])
    if outputs_of(base[1], other[1], layers) is None:
        return None, 1
    step = steps_between(base[1], other[1], (base[0], other[0]))
    field_ = _field(sizes.base.graph, sizes, axis, refs)
    wanted = 4 * field_ + 4 * step
    bench: Bench | None = None
    for _ in range(3):
        bench = _made(sizes, others, axis, layers, wanted, step)
        if bench is None:
            return None, step
        bench.left = compare(bench, step).left
        done = [made for made in bench.matches(step) if made is not None]
        if done and all(2 * (made.before + made.after) <= made.count for made in done):
            break
        if not done and (bench.left.out or wanted > 8 * extent):
            break
        wanted = 3 * wanted
        if wanted > _LONGEST:
            break
    return bench, step


def _made(
    sizes: Sizes, others: Mapping[str, int], axis: str, layers: Sequence[str] | None, wanted: int, step: int
) -> Bench | None:
    """A bench with tiles at least so long."""
    length = step * ceil(wanted / step)
    extent = sizes.extents[axis]
    shifted = extent + step * ceil((wanted - extent) / step)
    length, tile = _tried(sizes, others, axis, [length, shifted, length + step, shifted + step])
    total, whole = _tried(sizes, others, axis, [length + 3 * step, length + 5 * step])  # no tile lies in its middle
    outputs = outputs_of(tile, whole, layers)
    return None if outputs is None else Bench(sizes, axis, tile, whole, length, total, outputs, Left())


def _tried(sizes: Sizes, others: Mapping[str, int], axis: str, extents: Sequence[int]) -> tuple[int, Traced]:
    """The first of the extents at which the model runs, and its graph. Raises `TraceError` where none is."""
    failure: TraceError | None = None
    for extent in extents:
        if extent < 1:
            continue
        try:
            return extent, sizes.at({**others, axis: extent})
        except TraceError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def others_of(sizes: Sizes, axis: str) -> dict[str, int]:
    """Small extents for the other axes."""
    found: dict[str, int] = {}
    for name, extent in sizes.extents.items():
        if name == axis:
            continue
        options = [extent] if extent <= _SHORT else [one for one in _OTHERS if one < extent] + [extent]
        found[name] = next((one for one in options if sizes.runs({**found, name: one})), extent)
    return found


def _field(graph: LayerGraph, sizes: Sizes, axis: str, refs: Sequence[Ref]) -> int:
    """The largest field before the outputs, without what brings in the whole; an estimate of how far a cut is felt."""
    source = Source(sizes.main.name, Ref(sizes.main.node), {axis: sizes.main.axes[axis]})
    idents = {ref.node for ref in refs}
    keep = graph.ancestors(list(idents)) | idents
    rows = analyse_source(graph, source, lambda record: record.index is not None or record.id in idents, keep)
    return max([1, *(row.local for row in rows.axes[axis].values())])
