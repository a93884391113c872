"""The first method: rows of an input set to NaN, and a look at which outputs of every node became NaN.

A position whose region leaves the row out must not become NaN, one whose region begins or ends at the row must. In
between a region may have holes (dilation, strides), so nothing is asked there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rfcalc.checking.alignment import same_op
from rfcalc.checking.batching import Stacking, keeps_apart
from rfcalc.checking.device import is_out_of_memory
from rfcalc.checking.regions import AxisRegions, Region
from rfcalc.checking.standins import Inputs, StandIns
from rfcalc.checking.subject import Subject, failed
from rfcalc.checking.witness import UnbearableError, holds_nan, run
from rfcalc.errors import TraceError
from rfcalc.graph import Node
from rfcalc.progress import told


@dataclass(frozen=True, eq=False)
class Doubt:
    """One row of one input, and a node at which NaN showed something else than the region says.

    ``excess``: positions that became NaN and should not; ``missing``: positions that should and did not. Both have the
    region's shape. A doubt with neither is about an output that cannot hold NaN, or, where it is ``plain``, no doubt
    yet: the second method is to look as well.
    """

    ident: int
    output: int
    along: AxisRegions
    row: int
    region: Region
    excess: np.ndarray | None = None
    missing: np.ndarray | None = None
    plain: bool = False


def region_of(along: AxisRegions, record: Node, output: int) -> Region:
    """The region of an output; a region of nothing where it sees nothing."""
    outputs = along.by_node.get(record.id, ())
    held = outputs[output] if output < len(outputs) else None
    if held is None:
        shape = (1,) * len(record.outputs[output].shape)
        return Region(np.full(shape, 1), np.full(shape, 0))
    return held.combined()


def reduce_to(mask: torch.Tensor, region: Region, *, every: bool) -> np.ndarray:
    """A mask with copies along its first axis as any (or all) over the axes on which the region does not depend."""
    axes = [axis + 1 for axis, extent in enumerate(region.first.shape) if extent == 1 and mask.shape[axis + 1] != 1]
    if not mask.numel():  # of nothing there is no largest
        found = mask.all(dim=axes, keepdim=True) if every else mask.any(dim=axes, keepdim=True)
    else:
        found = over(mask.view(torch.uint8), axes, torch.amin if every else torch.amax).view(torch.bool)
    return np.asarray(found.cpu().numpy())


def over(values: torch.Tensor, axes: Sequence[int], reduce: Callable[..., torch.Tensor]) -> torch.Tensor:
    """A tensor reduced over some axes, one after the other, which is many times faster than all at once.

    So is amax of bytes than any of truth values: torch has vector kernels for the former.
    """
    for axis in axes:
        values = reduce(values, dim=axis, keepdim=True)
    return values


@dataclass
class _Look:
    """Sees the outputs of one poisoned pass and notes doubts."""

    records: Sequence[Node]
    along: AxisRegions
    rows: np.ndarray
    stacking: Stacking
    skip: Collection[tuple[int, int]]
    frontier: Frontier | None = None
    doubts: list[Doubt] = field(default_factory=list)
    seen: int = 0  #: all nodes before this one were seen
    mixed: bool = False
    lost: bool = False  #: NaN sent the forward pass along another way

    def __call__(self, ident: int, op: str, outs: Sequence[torch.Tensor]) -> None:
        wanted = self.stacking.ops[ident] if ident < len(self.stacking.ops) else None
        if self.lost or wanted is None or not same_op(wanted, op):
            self.lost = True
            return
        if self.frontier is not None:
            self.frontier.poison(ident, outs)
        for number, out in enumerate(outs):
            if holds_nan(out) and (ident, number) not in self.skip:
                self._compare(self.records[ident], number, out)
        self.seen = ident + 1
        while self.seen < len(self.stacking.ops) and self.stacking.ops[self.seen] is None:
            self.seen += 1

    def _compare(self, record: Node, number: int, out: torch.Tensor) -> None:
        place = self.stacking.places.get((record.id, number))
        shape, copies = record.outputs[number].shape, len(self.rows)
        if place is None and tuple(out.shape) != shape:
            self.lost = True
            return
        bad = out.isnan()
        if place is not None and place.axis is None and bool(bad.any()):
            self.mixed = True  # it seemed to be the same for all copies, and is taken from one of them
        split = bad.unsqueeze(0) if place is None else place.split(bad, shape, copies)
        region = region_of(self.along, record, number)
        rows = self.rows.reshape(-1, *[1] * len(shape))
        some, every = reduce_to(split, region, every=False), reduce_to(split, region, every=True)
        excess = some & ~region.reads(rows)
        missing = np.zeros((), dtype=bool) if region.bound else region.ends(rows) & ~every
        if not excess.any() and not missing.any():
            return
        excess, missing = np.broadcast_arrays(excess, missing)
        for copy in np.flatnonzero((excess | missing).reshape(copies, -1).any(axis=1)):
            over, under = (part[copy].copy() if part[copy].any() else None for part in (excess, missing))
            self.doubts.append(Doubt(record.id, number, self.along, int(self.rows[copy]), region, over, under))


class Frontier:
    """Lets NaN in where an input of integers first becomes floating-point numbers (an embedding, a cast).

    Integers cannot hold NaN: a changed token marks the numbers that differ from those of the unchanged one.
    """

    def __init__(self, records: Sequence[Node], along: AxisRegions) -> None:
        self._idents = {
            record.id
            for record in records
            if record.inputs
            and record.outputs
            and _is_float(record.outputs[0].dtype)
            and any(along.by_node[record.id])
            and not any(_is_float(records[ref.node].outputs[ref.output].dtype) for ref in record.inputs)
        }
        self._base: dict[int, torch.Tensor] = {}

    def learn(self, ident: int, op: str, outs: Sequence[torch.Tensor]) -> None:
        """Keep the numbers of an unchanged pass."""
        if ident in self._idents:
            self._base[ident] = outs[0].clone()

    def poison(self, ident: int, outs: Sequence[torch.Tensor]) -> None:
        """Set what changed to NaN."""
        base = self._base.get(ident)
        if base is not None and base.shape == outs[0].shape:
            outs[0].masked_fill_(outs[0] != base, math.nan)


def _is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))


@dataclass
class Poisoner:
    """Runs poisoned passes, as many rows at once as fit into memory. ``most`` shrinks when they do not."""

    subject: Subject
    standins: StandIns
    inputs: Inputs
    single: Stacking
    stacking: Stacking | None  #: None where copies have to run one by one
    skip: Collection[tuple[int, int]]
    most: int
    unbearable: str = ""  #: an op into which NaN was not put
    confirmed: int = 2  #: so many copies are known to lie apart

    def probe(self, along: AxisRegions, rows: Sequence[int]) -> tuple[list[Doubt], int]:
        """The doubts about all nodes, and how many nodes every pass came by.

        Raises `TraceError` where not even one row at a time fits into memory.
        """
        doubts: list[Doubt] = []
        least = len(self.single.ops)
        frontier = self._frontier(along)
        at = 0
        while at < len(rows):
            told(f"poisoning {along.source.name} {along.name}, row", at + 1, len(rows))
            self._confirm(min(self.most, len(rows) - at))
            chunk = list(rows[at : at + (self.most if self.stacking is not None else 1)])
            try:
                look = self._pass(along, chunk, frontier)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(len(chunk), error)
                continue
            if look.mixed:
                self.stacking = None
                return self.probe(along, rows)
            doubts += look.doubts
            least = min(least, look.seen)
            at += len(chunk)
        return doubts, least

    def _confirm(self, copies: int) -> None:
        """Run copies one by one where so many do not lie as two do, if numbers that were given may decide that."""
        if self.stacking is None or copies <= self.confirmed or not self.subject.graph.meta.get("given"):
            return
        if not keeps_apart(self.subject, self.standins, self.inputs, self.stacking, copies):
            self.stacking = None
        self.confirmed = copies

    def _pass(self, along: AxisRegions, rows: list[int], frontier: Frontier | None) -> _Look:
        stack = self.inputs.with_rows(along.number, along.axis, rows, None if frontier is not None else math.nan)
        look = _Look(self.subject.records, along, np.array(rows), self.stacking or self.single, self.skip, frontier)
        try:
            run(self.subject, self.standins, self.inputs, look, changed=stack)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if isinstance(error, UnbearableError):
                self.unbearable = str(error)
            elif look.seen < len(along.by_node) // 2:
                raise failed(self.subject, self.standins.device, error) from error
            look.lost = True  # forward looked at its data and gave up on NaN
        return look

    def _frontier(self, along: AxisRegions) -> Frontier | None:
        if self.inputs.floating(along.number):
            return None
        frontier = Frontier(self.subject.records, along)
        run(self.subject, self.standins, self.inputs, frontier.learn)
        return frontier

    def _shrink(self, size: int, error: BaseException) -> None:
        if self.standins.device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            raise TraceError(
                f"{self.subject.loaded.name}: not even one poisoned input at a time fits into the memory of"
                f" {self.standins.device}; give a smaller --input or another --device"
            ) from error
        self.most = size // 2
