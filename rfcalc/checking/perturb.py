"""The second method: change a row by a finite amount, in float64, and look which outputs change in any bit.

It decides where NaN cannot tell: an op swallows it (``where``, comparisons, integers) or spreads it through a weight of
exactly 0 (interpolation, masked attention), and looks at all else as well. A changed bit proves a read. No change
proves little, for a dead ReLU or a maximum hides it; hence several changes from several starting points.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rfcalc.checking.alignment import same_op
from rfcalc.checking.device import free_memory
from rfcalc.checking.poison import Doubt, over, reduce_to
from rfcalc.checking.standins import Inputs, StandIns
from rfcalc.checking.subject import Subject
from rfcalc.checking.witness import run
from rfcalc.graph import ORDERED, Node
from rfcalc.progress import told

#: Changes below float32's smallest normal number count as none: that is what a blocked element may still carry.
TINY = 1.2e-38

#: How many units in the last place of the largest number a sum may be off that is added up in another way.
_ROUNDED = 256

Key = tuple[int, int, int, str, int]  #: node, output, input, axis, row


def key_of(doubt: Doubt) -> Key:
    """What a doubt is about."""
    return doubt.ident, doubt.output, doubt.along.number, doubt.along.name, doubt.row


@dataclass
class _Base:
    """The outputs of an unchanged pass that doubts are about."""

    records: Sequence[Node]
    wanted: set[tuple[int, int]]
    held: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)
    moved: bool = field(init=False)  #: whether rows stand where values put them

    def __post_init__(self) -> None:
        self.moved = any(ORDERED in record.notes for record in self.records)

    def least(self, before: torch.Tensor) -> float:
        """Changes below this count as none. A row of a larger group, or at another place, may be rounded otherwise."""
        if not self.moved or not before.numel():
            return TINY
        finite = before.detach().abs().nan_to_num(0, 0, 0)
        return max(TINY, _ROUNDED * torch.finfo(before.dtype).eps * float(finite.max()))

    def __call__(self, ident: int, op: str, outs: Sequence[torch.Tensor]) -> None:
        if not same_op(self.records[ident].op, op):  # a model that casts what it is given to a type of its own
            raise ValueError(f"{op} runs in place of {self.records[ident].op}")
        for number, out in enumerate(outs):
            if (ident, number) in self.wanted and out.layout is torch.strided:
                self.held[ident, number] = out.clone()


@dataclass
class _Changed:
    """Compares the outputs of a changed pass with the unchanged ones."""

    base: _Base
    doubts: dict[tuple[int, int], Doubt]
    found: dict[Key, np.ndarray]

    def __call__(self, ident: int, op: str, outs: Sequence[torch.Tensor]) -> None:
        for number, out in enumerate(outs):
            doubt = self.doubts.get((ident, number))
            before = self.base.held.get((ident, number))
            if doubt is None or before is None or before.shape != out.shape:
                continue
            least = self.base.least(before) if before.is_floating_point() else TINY
            changed = _changed(before, out, doubt, least)
            key = key_of(doubt)
            self.found[key] = self.found[key] | changed if key in self.found else changed


def _changed(before: torch.Tensor, after: torch.Tensor, doubt: Doubt, least: float) -> np.ndarray:
    """Where the output changed, as any over the axes on which the region does not depend."""
    if before.is_floating_point() and before.numel():
        size = (after - before).abs_()
        axes = [axis for axis, extent in enumerate(doubt.region.first.shape) if extent == 1]
        largest = over(size, axes, torch.amax)
        if not bool(largest.isnan().any()):  # no infinities, and no NaN of the model's own
            return np.asarray((largest >= least).cpu().numpy())
    return np.asarray(reduce_to(_differs(before, after, least).unsqueeze(0), doubt.region, every=False)[0])


def _differs(before: torch.Tensor, after: torch.Tensor, least: float = TINY) -> torch.Tensor:
    if not before.is_floating_point():
        return before != after
    large = (after - before).abs() >= least
    return large | (before.isnan() != after.isnan()) | (before.isinf() & (before != after))


def changed_by(
    subject: Subject, device: torch.device, seed: int, gain: float, doubts: Iterable[Doubt], sizes: Sequence[float]
) -> tuple[dict[Key, np.ndarray], str, set[int]]:
    """For each doubt, where the output changed with its row in any restart; in which type ("" if it failed).

    And the nodes that give other numbers each time, about which nothing is said.
    """
    groups = _groups(subject.records, doubts, free_memory(device) // 2)
    for wide in (True, False) if device.type != "mps" else (False,):
        try:
            found: dict[Key, np.ndarray] = {}
            noisy: set[int] = set()
            for group in groups:
                made, more = _restarts(subject, device, seed, gain, _by_row(group), sizes, wide)
                found |= made
                noisy |= more
        except Exception:  # a forward with types of its own may not run in float64
            continue
        return found, "float64" if wide else "the model's own type", noisy
    return {}, "", set()


def _by_row(doubts: Iterable[Doubt]) -> dict[tuple[int, int, int], list[Doubt]]:
    rows: dict[tuple[int, int, int], list[Doubt]] = defaultdict(list)
    for doubt in doubts:
        rows[doubt.along.number, doubt.along.axis, doubt.row].append(doubt)
    return rows


def _groups(records: Sequence[Node], doubts: Iterable[Doubt], most: int) -> list[list[Doubt]]:
    """The doubts in groups about outputs that fit into so many bytes together, in float64."""
    by_output: dict[tuple[int, int], list[Doubt]] = defaultdict(list)
    for doubt in doubts:
        by_output[doubt.ident, doubt.output].append(doubt)
    groups: list[list[Doubt]] = []
    room = 0
    for (ident, output), about in by_output.items():
        size = 8 * math.prod(records[ident].outputs[output].shape)
        if not groups or size > room:
            groups.append([])
            room = most
        groups[-1] += about
        room -= size
    return groups


@dataclass
class _Repeated:
    """Finds the outputs that differ from those of an equal pass."""

    base: _Base
    found: set[int] = field(default_factory=set)

    def __call__(self, ident: int, op: str, outs: Sequence[torch.Tensor]) -> None:
        for number, out in enumerate(outs):
            before = self.base.held.get((ident, number))
            if before is not None and (before.shape != out.shape or bool(_differs(before, out).any())):
                del self.base.held[ident, number]
                self.found.add(ident)


def _open(doubt: Doubt, found: Mapping[Key, np.ndarray]) -> bool:
    """Whether one more restart could show another read that the region asks for."""
    seen = found.get(key_of(doubt))
    if seen is None or doubt.plain:
        return seen is None
    if doubt.excess is not None and doubt.missing is None:
        return False
    asked = doubt.region.ends(np.asarray(doubt.row)) if doubt.missing is None else doubt.missing
    return bool((asked & ~seen).any())


def _restarts(
    subject: Subject,
    device: torch.device,
    seed: int,
    gain: float,
    rows: dict[tuple[int, int, int], list[Doubt]],
    sizes: Sequence[float],
    wide: bool,
) -> tuple[dict[Key, np.ndarray], set[int]]:
    found: dict[Key, np.ndarray] = {}
    noisy: set[int] = set()
    wanted = {(doubt.ident, doubt.output) for doubts in rows.values() for doubt in doubts}
    standins = StandIns(subject, device, seed, gain=gain, wide=wide)
    for restart, size in enumerate(sizes):
        rows = {place: left for place, doubts in rows.items() if (left := [d for d in doubts if _open(d, found)])}
        if not rows:
            break
        inputs = Inputs(subject, device, seed + restart, wide=wide)
        base = _Base(subject.records, wanted)
        run(subject, standins, inputs, base)
        if device.type != "cpu":  # there sums may be added up in another order each time
            again = _Repeated(base)
            run(subject, standins, inputs, again)
            noisy |= again.found
        for number, ((source, axis, row), doubts) in enumerate(rows.items()):
            told("changing a row of the input,", number + 1, len(rows))
            watch = {(doubt.ident, doubt.output): doubt for doubt in doubts}
            moved = inputs.moved(source, axis, row, size, seed + 1000 * (restart + 1) + number)
            run(subject, standins, inputs, _Changed(base, watch, found), changed=moved)
    return found, noisy
