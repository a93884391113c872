"""From a model, a size of tiles and an image to a plan that was checked piece by piece."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from rfcalc.analyses import cost
from rfcalc.analyses.analysis import Analysis
from rfcalc.errors import TraceError, UsageError
from rfcalc.footprint.measure import memory as footprint
from rfcalc.graph import LayerGraph
from rfcalc.tiling.cuts import Bench, outputs_of
from rfcalc.tiling.layout import Grid, Piece, grid_of, pieces
from rfcalc.tiling.plan import Costs, Layout, Tiling
from rfcalc.tiling.sizes import Sizes, sizes_of
from rfcalc.tiling.verdict import others_of, verdict
from rfcalc.tiling.walk import Left


def tile(
    model: Any,
    inputs: Any = None,
    *,
    tile: int | Sequence[int] | Mapping[str, int] | None = None,
    memory: int | None = None,
    image: Sequence[int] | Mapping[str, int] | None = None,
    layer: str | int | None = None,
    verify: bool = False,
    device: str = "auto",
    seed: int = 0,
    axes: Any = None,
    training: bool = False,
) -> Tiling:
    """Whether a model can be run in tiles with the result of a run on the whole, how, and the tiles of an image.

    ``model``, ``inputs`` and ``axes`` are as for `rfcalc.trace`; a saved graph has one size and cannot be asked.
    ``tile`` is the length of a tile along each axis in pixels of the input, one for all or one for each; ``memory``
    takes the largest that needs at most so many bytes. ``image`` is the size of the image along each axis, by default
    that of the input. ``layer`` asks about inner layers in place of the outputs. ``verify`` runs whole and tiles on
    ``device`` and compares them, as ``proof`` of the result (`rfcalc.tiling.proof.prove`).

    Raises `UsageError` for tiles that do not fit, naming the nearest that do, and what tracing raises.
    """
    if tile is not None and memory is not None:
        raise UsageError("--tile and --memory exclude each other: a size of tiles, or a limit that chooses it")
    sizes = sizes_of(model, inputs, axes=axes, training=training)
    found = with_tiles(verdict_at(sizes, layer), sizes, tile, memory, image)
    if verify and found.exact:
        from rfcalc.tiling.proof import prove

        found = replace(found, proof=prove(found, sizes, device=device, seed=seed))
    return found


def drawable(
    model: Any, inputs: Any, tile: Sequence[int] | None, *, axes: Any = None, training: bool = False
) -> Tiling:
    """The tiles of the input as it is given, by default of the shortest, for a picture.

    Raises `UsageError` where tiles cannot be exact, or where the input has no room for one with neighbours.
    """
    sizes = sizes_of(model, inputs, axes=axes, training=training)
    found = verdict_at(sizes)
    if found.exact and tile is None:
        tile = [min(grid.least, sizes.extents[axis]) for axis, grid in found.grids.items()]
    found = with_tiles(found, sizes, tile)
    if found.planned().count == 1:
        shape = list(sizes.main.shape[1:] if sizes.main.batch else sizes.main.shape)
        skipped = len(sizes.main.shape) - len(shape)
        for axis, grid in found.grids.items():
            extent = sizes.extents[axis] % grid.align + grid.least + 2 * grid.align
            shape[sizes.main.axes[axis] - skipped] = max(extent, sizes.extents[axis])
        raise UsageError(
            f"one tile is all of {sizes.main.name}, {'x'.join(map(str, sizes.extents.values()))}: give a larger one,"
            f" as in --input {'x'.join(map(str, shape))}"
        )
    return found


def verdict_at(sizes: Sizes, layer: str | int | None = None) -> Tiling:
    """The verdict, without tiles."""
    layers = None if layer is None else _layers(sizes.base.graph, layer)
    outputs = verdict(sizes, layers)
    exact = all(item.exact for item in outputs)
    grids = {axis: grid_of([item.axes[axis] for item in outputs]) for axis in sizes.axes} if exact else {}
    return Tiling(
        model=sizes.loaded.name,
        inputs=sizes.base.graph.inputs,
        main=sizes.main.name,
        ratios=sizes.ratios,
        outputs=outputs,
        grids=grids,
        notices=tuple(sizes.base.graph.meta.get("notices", ())),
        layers=layers,
        training=sizes.training,
    )


def with_tiles(found: Tiling, sizes: Sizes, tile: Any = None, memory: int | None = None, image: Any = None) -> Tiling:
    """A verdict with the tiles that were asked for, if it is exact."""
    extents = _extents(sizes, image, "image")
    if tile is None and memory is None:
        return _at_size(found, sizes, extents, found.layers) if found.exact and image is not None else found
    if not found.exact:
        return found
    grids = found.grids
    chosen = _within(sizes, grids, extents, memory) if memory is not None else _extents(sizes, tile, "tile")
    rows = {axis: pieces(axis, grids[axis], chosen[axis], extents[axis]) for axis in sizes.axes}
    found = _checked(found, sizes, extents, rows, found.layers)
    return with_layout(found, sizes, extents, chosen, rows) if found.exact else found


def _layers(graph: LayerGraph, layer: str | int) -> tuple[str, ...]:
    found = Analysis(graph).select(layer)
    return tuple(graph[item.node].name for item in found)


def _extents(sizes: Sizes, given: Any, what: str) -> dict[str, int]:
    """One length for each axis. Raises `UsageError` for another number of them."""
    if given is None:
        return sizes.extents
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in sizes.axes]
        if unknown:
            raise UsageError(f"{what}: {sizes.main.name} has no axis {unknown[0]!r}; it has {', '.join(sizes.axes)}")
        found = {**sizes.extents, **given}
    else:
        numbers = [given] if isinstance(given, int) else list(given)
        if len(numbers) == 1:
            numbers = numbers * len(sizes.axes)
        if len(numbers) != len(sizes.axes):
            names = "x".join(sizes.axes)
            raise UsageError(
                f"{what} {'x'.join(map(str, numbers))}: {sizes.main.name} has the axes {names}, one number for each"
            )
        found = dict(zip(sizes.axes, numbers, strict=True))
    if any(one < 1 for one in found.values()):
        raise UsageError(f"{what} {'x'.join(map(str, found.values()))} has an extent below 1")
    return found


# --- is it right at this size -----------------------------------------------------------------------------------------


def _at_size(found: Tiling, sizes: Sizes, extents: Mapping[str, int], layers: Sequence[str] | None) -> Tiling:
    """The verdict for an image of this size, with the shortest tiles."""
    rows = {}
    for axis, grid in found.grids.items():
        length = min(extents[axis], grid.least)
        rows[axis] = pieces(axis, grid, length, extents[axis])
    return _checked(found, sizes, extents, rows, layers)


def _checked(
    found: Tiling,
    sizes: Sizes,
    extents: Mapping[str, int],
    rows: Mapping[str, tuple[Piece, ...]],
    layers: Sequence[str] | None,
) -> Tiling:
    """The plan, if the pieces along each axis give what the whole of this size gives; else with the reason."""
    outputs = list(found.outputs)
    for axis, row in rows.items():
        if len(row) == 1:
            continue
        wrong = _wrong(sizes, axis, extents[axis], row, layers, outputs)
        for number, text in wrong.items():
            item = outputs[number]
            outputs[number] = replace(item, exact=False, reasons=(*item.reasons, f"{item.layer}: {text}"))
    return replace(found, outputs=tuple(outputs))


def _wrong(
    sizes: Sizes,
    axis: str,
    extent: int,
    row: Sequence[Piece],
    layers: Sequence[str] | None,
    outputs: Sequence[Any],
) -> dict[int, str]:
    """What is wrong with the pieces along an axis, by number of the output."""
    others = others_of(sizes, axis)
    try:
        whole = sizes.at({**others, axis: extent})
    except TraceError as error:
        better = _better(extent, max(item.axes[axis].align or 1 for item in outputs))
        raise TraceError(f"{error}; along {axis} {better}") from error
    found: dict[int, str] = {}
    for piece in _kinds(row):
        try:
            part = sizes.at({**others, axis: piece.length})
        except TraceError as error:
            return dict.fromkeys(range(len(outputs)), f"tiles of {piece.length} along {axis} do not run: {error}")
        pairs = outputs_of(part, whole, layers)
        if pairs is None:
            return dict.fromkeys(range(len(outputs)), f"tiles of {piece.length} along {axis} give other outputs")
        bench = Bench(sizes, axis, part, whole, piece.length, extent, pairs, Left())
        for number, same in enumerate(_same(bench, piece, [item.axes[axis].scale for item in outputs])):
            if not same:
                better = _better(extent, outputs[number].axes[axis].align or 1)
                text = f"at {extent} along {axis} the whole is computed otherwise than its tiles: {better}"
                found.setdefault(number, text)
    return found


def _better(extent: int, align: int) -> str:
    near = [one for one in (extent - extent % align, extent + -extent % align) if one and one != extent]
    return (
        f"take a multiple of {align} ({' or '.join(map(str, near))}), by padding" if near else "no other size is known"
    )


def _kinds(row: Sequence[Piece]) -> list[Piece]:
    """The pieces that differ in more than their place: the first two, one in the middle, the last two."""
    picked = sorted({0, 1, len(row) // 2, len(row) - 2, len(row) - 1})
    return [row[at] for at in picked if 0 <= at < len(row)]


def _same(bench: Bench, piece: Piece, scales: Sequence[Fraction | None]) -> list[bool]:
    """For each output, whether what is kept of a piece is what the whole has there."""
    tile, whole = bench.lines_at(piece.start), bench.whole_lines
    found = []
    for own, all_, scale in zip(tile, whole, scales, strict=True):
        if own is None or all_ is None or scale is None:
            found.append(False)
            continue
        start, first = int(piece.start * scale), int(piece.first * scale)
        last = len(all_) if piece.last == bench.total else int(piece.last * scale)
        part = own[first - start : last - start]
        found.append(len(part) == last - first and bool(np.array_equal(part, all_[first:last])))
    return found


# --- what it costs ----------------------------------------------------------------------------------------------------


def with_layout(
    found: Tiling,
    sizes: Sizes,
    extents: Mapping[str, int],
    chosen: Mapping[str, int],
    rows: Mapping[str, tuple[Piece, ...]],
) -> Tiling:
    """The plan with the tiles of an image, and what they cost."""
    layers = found.layers
    whole = sizes.at(extents)
    lengths = Counter(itertools.product(*[[piece.length for piece in row] for row in rows.values()]))
    macs: dict[tuple[int, ...], int] = {}
    peak = 0
    complete = True
    for key in lengths:
        size = dict(zip(rows, key, strict=True))
        totals = cost.totals(sizes.at(size).graph)
        macs[key], complete = totals.macs, complete and totals.status == "complete"
        peak = max(peak, _peak(sizes, size))
    pairs = outputs_of(sizes.at(chosen), whole, layers)
    assert pairs is not None
    shapes, own = (
        tuple(traced.graph[pair[at].node].outputs[pair[at].output].shape for pair in pairs)
        for at, traced in ((1, whole), (0, sizes.at(chosen)))
    )
    total = sum(macs[key] * times for key, times in lengths.items())
    costs = Costs(max(macs.values()), total, cost.totals(whole.graph).macs, peak, complete)
    return replace(found, layout=Layout(dict(extents), dict(chosen), dict(rows), shapes, costs, own))


def _within(sizes: Sizes, grids: Mapping[str, Grid], extents: Mapping[str, int], memory: int) -> dict[str, int]:
    """The largest tile that needs at most so many bytes, as long along every axis as the image allows.

    Raises `UsageError` with what the smallest tile needs where not even that fits.
    """

    def lengths(steps: int) -> dict[str, int]:
        found = {}
        for axis, grid in grids.items():
            longer = grid.least + steps * _stride(grids)
            found[axis] = extents[axis] if longer >= extents[axis] else grid.near(longer)[0]
        return found

    def bytes_at(steps: int) -> int:
        return _peak(sizes, lengths(steps))

    if bytes_at(0) > memory:
        least = "x".join(map(str, lengths(0).values()))
        raise UsageError(f"--memory {memory}: the smallest tile, {least}, needs {bytes_at(0):,} bytes: allow as many")
    low, high = 0, 1
    most = max(extents[axis] - grid.least for axis, grid in grids.items()) // _stride(grids) + 1
    while high < most and bytes_at(high) <= memory:
        low, high = high, 2 * high
    high = min(high, most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if bytes_at(middle) <= memory else (low, middle - 1)
    return lengths(low)


def _peak(sizes: Sizes, extents: Mapping[str, int]) -> int:
    """Bytes of the model at the peak of a pass on inputs of these sizes, as `rfcalc memory` counts them."""
    return footprint(sizes.loaded_at(extents)).peak_bytes


def _stride(grids: Mapping[str, Grid]) -> int:
    return max(grid.align for grid in grids.values())
