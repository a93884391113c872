"""What goes wrong at the borders of the whole alone: a tile there has the whole's own border, and still differs.

Of a layer that reads around itself only, the units that a cut spoils before and behind it are those that it spoils of a
tile at the end and of one at the beginning. A layer that carries something from one end to the other (circular padding,
a roll, windows that are padded at the end) spoils more there: the first one in execution order is to blame.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from rfcalc import reads
from rfcalc.graph import Node, Ref
from rfcalc.tiling import marks
from rfcalc.tiling.cuts import Bench, line, match
from rfcalc.tiling.marks import Marks
from rfcalc.tiling.walk import Walk


def border_to_blame(bench: Bench, step: int, number: int) -> str | None:
    """The layer before an output that makes tiles differ at the ends of the whole, and what it does; None if unknown.

    ``step`` is a place at which a cut in the middle does no harm.
    """
    whole = Walk(bench.whole, bench.pixels(bench.whole, 0, bench.total), bench.left).run()
    places = (step, 0, bench.total - bench.length)
    tiles = [Walk(bench.tile, bench.pixels(bench.tile, place, bench.length), bench.left).run() for place in places]
    graph = bench.tile.graph
    own = bench.outputs[number][0].node
    wanted = graph.ancestors([own]) | {own}
    twins = {record.name: record for record in bench.whole.graph}
    for record in graph:
        twin = twins.get(record.name)
        if record.id not in wanted or twin is None:
            continue
        for output in range(min(len(record.outputs), len(twin.outputs))):
            other = whole.states.get(Ref(twin.id, output))
            rows = [tile.states.get(Ref(record.id, output)) for tile in tiles]
            if other is not None and _more_at_ends(rows, other, Fraction(step, bench.total)):
                return f"{record.name}: {_what_it_does(record, output, bench.axis)}"
    return None


def _more_at_ends(rows: Sequence[Marks | None], whole: Marks, share: Fraction) -> bool:
    """Whether tiles at both ends differ from the whole in more units than one in the middle, ``share`` of it from its
    beginning, does."""
    middle, first, last = rows
    if middle is None or first is None or last is None or middle.ndim != whole.ndim:
        return False
    moving = [axis for axis in range(whole.ndim) if middle.shape[axis] != whole.shape[axis]]
    if len(moving) != 1:
        return sum(_others(row, whole) for row in (first, last)) > _others(middle, whole)
    one, two, three, all_ = (line(row, moving[0]) for row in (middle, first, last, whole))
    found = match(one, all_, share)
    if found is None:
        return False
    ends = (two != all_[: len(two)]).sum() + (three != all_[len(all_) - len(three) :]).sum()
    return bool(ends > found.before + found.after)


def _others(tile: Marks, whole: Marks) -> int:
    """How many places of a tile the whole has nowhere."""
    still = tuple(axis for axis in range(tile.ndim) if tile.shape[axis] == whole.shape[axis])
    tile, whole = marks.together(tile, still), marks.together(whole, still)
    return int((~np.isin(tile, whole) & (tile != 0)).sum())


def _what_it_does(record: Node, output: int, axis: str) -> str:
    """In words, by the steps of its reads."""
    told = record.reads[output] if output < len(record.reads) else ()
    steps = [step for read in told for step in read.steps]
    if "roll" in record.op:
        return f"rolls {axis}: what leaves at one end comes in at the other"
    if any(isinstance(step, reads.Pad) and step.mode == "circular" for step in steps):
        return f"pads {axis} with what lies at its other end (circular)"
    if any(isinstance(step, reads.Pad) for step in steps):
        return f"pads {axis} by as much as its size asks for"
    if any(isinstance(step, reads.Reshape) for step in steps):
        return f"cuts {axis} into windows, of which those at its ends hold others than in a tile"
    return f"reads what lies at the other end of {axis}"


__all__ = ["border_to_blame"]
