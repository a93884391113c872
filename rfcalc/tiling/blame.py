"""Which layers make a tile differ from the whole, and what is left without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from rfcalc import reads
from rfcalc.graph import Node, Ref
from rfcalc.tiling import marks
from rfcalc.tiling.marks import Marks
from rfcalc.tiling.walk import Arrival, Left, Part, Traced, Walk
from rfcalc.tiling.windows import windows_in_words

#: Of the units of a tile that is much larger than what units see, most are computed as those of the whole are. Where
#: fewer than this share are, after an op whose inputs are mostly right, the op is to blame.
_FEW = 0.25


@dataclass(frozen=True, slots=True)
class Blame:
    """A layer that makes a tile differ, and why."""

    layer: str
    why: str

    @property
    def text(self) -> str:
        """In one line."""
        return f"{self.layer}: {self.why}"


@dataclass
class Joint:
    """A tile and the whole walked together; what is to blame is left out in both from there on."""

    tile: Walk
    whole: Walk
    left: Left
    blamed: dict[str, Blame] = field(default_factory=dict)


def walk_together(
    tile: Traced, whole: Traced, tile_pixels: Mapping[Ref, Marks], whole_pixels: Mapping[Ref, Marks], axis: str
) -> Joint:
    """Walk both graphs in step, by the names of their nodes."""
    left = Left()
    joint = Joint(Walk(tile, tile_pixels, left), Walk(whole, whole_pixels, left), left)
    names = {record.name: record for record in tile.graph}
    ahead = iter(tile.graph)
    done: set[str] = set()
    for record in whole.graph:
        twin = names.get(record.name)
        if twin is None or twin.name in done:
            joint.whole.step(record)
            continue
        for other in ahead:
            done.add(other.name)
            if other is twin:
                break
            joint.tile.step(other)
        for output in range(max(len(record.outputs), len(twin.outputs))):
            _settle(joint, record, twin, output, axis)
    for other in ahead:
        joint.tile.step(other)
    return joint


def _settle(joint: Joint, record: Node, twin: Node, output: int, axis: str) -> None:
    """One output of a node in both; parts that make it differ are left out."""
    for _ in range(2 + len(record.inputs) + len(joint.whole.noted.tensors.get(record.id, ()))):
        pair = _both(joint, record, twin, output)
        if pair is None:
            return
        if share(*pair) >= _FEW and not any(_drifts(joint, record, twin, part) for part in _data(record, output)):
            return
        why = _leave_out(joint, record, twin, output, axis)
        if why is None:
            return
        joint.blamed.setdefault(record.name, Blame(record.name, why))
        for walk, node in ((joint.whole, record), (joint.tile, twin)):
            walk.states.pop(Ref(node.id, output), None)


def _both(joint: Joint, record: Node, twin: Node, output: int) -> tuple[Marks, Marks] | None:
    for walk, node in ((joint.whole, record), (joint.tile, twin)):
        if output < len(node.outputs):
            walk.settle(node, output, list(walk.arrivals(node, output)))
    tile, whole = joint.tile.states.get(Ref(twin.id, output)), joint.whole.states.get(Ref(record.id, output))
    return None if tile is None or whole is None else (tile, whole)


def share(tile: Marks, whole: Marks) -> float:
    """The part of a tile's places that the whole has, too, in all channels; 1 where nothing is read.

    Places are told apart along the axes that are longer in the whole; what lies along others is put together.
    """
    if tile.ndim == whole.ndim:
        still = tuple(axis for axis in range(tile.ndim) if tile.shape[axis] == whole.shape[axis])
        tile, whole = marks.together(tile, still), marks.together(whole, still)
    fine = np.isin(tile, whole) | (tile == 0)
    return float(fine.mean())


def _leave_out(joint: Joint, record: Node, twin: Node, output: int, axis: str) -> str | None:
    """Leave out a part of what an output is computed of, and say why it makes the tile differ."""
    mine = {item.part: item for item in joint.whole.arrivals(record, output)}
    other = {item.part: item for item in joint.tile.arrivals(twin, output)}
    for part, item in mine.items():
        against = other.get(part)
        if against is None:
            joint.left.out.add(part)
            return f"is computed otherwise at other sizes along {axis}"
        if item.before is not None and (_differs(item, against) or _drifts(joint, record, twin, part)):
            return _of_read(joint, record, twin, item, against, axis)
    number = (record.name, output, "number")
    numbers = joint.whole.number(record), joint.tile.number(twin)
    if numbers[0] != numbers[1] and number not in joint.left.out:
        joint.left.out.add(number)
        one, two = ((found or ("none",))[-1] for found in numbers)
        return f"computes with a number that depends on the size along {axis} ({two} and {one})"
    beside = [item for item in mine.values() if item.before is None and item.after is not None]
    if beside:
        joint.left.out.add(beside[0].part)
        return _of_operand(joint, record, beside[0], axis)
    if len(mine) > 1:
        last = next(reversed(mine))
        joint.left.out.add(last)
        return f"joins what lies in other places of {axis} in a tile than in the whole"
    return None


def _differs(item: Arrival, against: Arrival) -> bool:
    if item.after is None or against.after is None:
        return item.after is not against.after
    return share(against.after, item.after) < _FEW


def _data(record: Node, output: int) -> list[Part]:
    """The reads of an output."""
    count = len(record.reads[output]) if output < len(record.reads) else 0
    return [(record.name, output, f"read {at}") for at in range(count)]


def _drifts(joint: Joint, record: Node, twin: Node, part: Part) -> bool:
    """Whether a read of positions along the axis has another ratio in a tile than in the whole, so that it may be right
    at some places, and is not by design."""
    if part in joint.left.out or part in joint.left.nominal:
        return False
    at = int(part[2].rpartition(" ")[2])
    pair = []
    for walk, node in ((joint.whole, record), (joint.tile, twin)):
        read = node.reads[part[1]][at] if part[1] < len(node.reads) and at < len(node.reads[part[1]]) else None
        if read is None or walk.states.get(node.inputs[read.input]) is None:
            return False
        spans = [step for step in read.steps if isinstance(step, reads.Spans)]
        if not spans:
            return False
        sizes = _spanned(walk, node.inputs[read.input], read.steps)
        pair.append([(size, step.period, step.shift) for size, step in zip(sizes, spans, strict=True)])
    return any(one[0] != two[0] and one[1:] != two[1:] for one, two in zip(*pair, strict=False))


def _of_operand(joint: Joint, record: Node, item: Arrival, axis: str) -> str:
    kind, _, number = item.part[2].partition(" ")
    if kind == "beside":
        name = joint.whole.noted.tensors[record.id][int(number)].name
        if name:
            return f"uses {name}, which differs from place to place along {axis}"
        return f"uses numbers made in forward that differ from place to place along {axis}"
    return f"uses parameters or inputs that differ from place to place along {axis}"


def _of_read(joint: Joint, record: Node, twin: Node, item: Arrival, against: Arrival, axis: str) -> str:
    """A read of the data that makes a tile differ."""
    at = int(item.part[2].rpartition(" ")[2])
    output = item.part[1]
    read, other = record.reads[output][at], twin.reads[output][at]
    ref, twin_ref = record.inputs[read.input], twin.inputs[other.input]
    spans = [step for step in read.steps if isinstance(step, reads.Spans)]
    ratio = _ratio(_spanned(joint.whole, ref, read.steps), _spanned(joint.tile, twin_ref, other.steps))
    joint.left.out.add(item.part)
    if ratio is not None and item.part not in joint.left.nominal:
        joint.left.nominal[item.part] = ratio  # as the positions lie where the axis is long
        assert item.before is not None
        assert against.before is not None
        one = joint.whole.after(item.before, ref, read.steps, ratio)
        two = joint.tile.after(against.before, twin_ref, other.steps, ratio)
        if share(two, one) >= _FEW:
            joint.left.out.discard(item.part)
    if spans:
        return _of_spans(record, axis)
    windows = windows_in_words(joint.whole.graph, joint.tile.graph, record, twin, axis)
    if windows is not None and _step_to_blame(read.steps) is reads.Slice:
        return windows
    return _WHY.get(_step_to_blame(read.steps), _OTHERWISE).format(axis=axis, **_terms(record))


def _spanned(walk: Walk, ref: Ref, steps: reads.Steps) -> list[tuple[int, int]]:
    """How many positions there are before and after each interpolation and pooling into cells."""
    shape = walk.graph[ref.node].outputs[ref.output].shape
    masks = {number: mask.shape for number, mask in walk.graph.masks.items()}
    found = []
    for step in steps:
        if isinstance(step, reads.Spans):
            found.append((shape[step.axis], len(step.first)))
        shape = reads.shape_after(shape, step, masks)
    return found


def _ratio(whole: Sequence[tuple[int, int]], tile: Sequence[tuple[int, int]]) -> Fraction | None:
    """How many positions of what is read lie between two that are computed, as far as both grow; None where they do
    not, as cells whose number is fixed."""
    grown = [(one[0] - two[0], one[1] - two[1]) for one, two in zip(whole, tile, strict=False) if one != two]
    return Fraction(*grown[0]) if len(grown) == 1 and all(more > 0 for more in grown[0]) else None


def _of_spans(record: Node, axis: str) -> str:
    if record.kind == "upsample":
        how = " (align_corners)" if record.attrs.get("align_corners") else ""
        return f"interpolates{how} with a scale or weights that depend on the size along {axis}"
    return f"pools into cells that depend on the size along {axis}"


#: What is said of a step that mixes.
_WHY: Mapping[type, str] = {
    reads.Reduce: "{reduces} {axis}",
    reads.Prefix: "each position depends on all before it along {axis}",
    reads.Contract: "attends to positions that depend on the size along {axis}",
    reads.Blocked: "its mask depends on the size along {axis}",
    reads.Take: "picks positions that depend on the size along {axis}",
    reads.Window: "its windows depend on the size along {axis}",
}
_OTHERWISE = "reads other places of {axis} in a tile than in the whole"
_ORDER = (reads.Reduce, reads.Prefix, reads.Contract, reads.Take, reads.Window, reads.Blocked)


def _step_to_blame(steps: reads.Steps) -> type:
    kinds = {type(step) for step in steps}
    return next((kind for kind in _ORDER if kind in kinds), reads.Slice)


def _terms(record: Node) -> dict[str, str]:
    """What an op that reduces does."""
    if record.inexact:
        return {"reduces": f"may read anything ({record.inexact}) along"}
    if record.kind == "norm":
        return {"reduces": "its statistics are those of the whole"}
    if record.kind in ("attention", "matmul"):
        return {"reduces": "attends to the whole"}
    if record.kind == "pool":
        return {"reduces": "pools over the whole"}
    return {"reduces": "reads the whole"}
