"""Many poisoned inputs at once: whether a model keeps the examples of a batch apart, and where each node holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from rfcalc.checking.alignment import same_op
from rfcalc.checking.standins import Inputs, StandIns
from rfcalc.checking.subject import Subject
from rfcalc.checking.witness import run
from rfcalc.graph import Node


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor holds the copies of a stack: along ``axis`` (None: shared), outermost or innermost there."""

    axis: int | None
    inner: bool = False

    def split(self, tensor: torch.Tensor, shape: Sequence[int], copies: int) -> torch.Tensor:
        """The tensor with the copies along a new first axis."""
        if self.axis is None:
            return tensor.unsqueeze(0).expand(copies, *tensor.shape)
        at = self.axis
        if self.inner:
            return tensor.reshape(*shape[: at + 1], copies, *shape[at + 1 :]).movedim(at + 1, 0)
        return tensor.reshape(*shape[:at], copies, *shape[at:]).movedim(at, 0)


@dataclass(frozen=True, eq=False)
class Stacking:
    """How a pass on several copies relates to the graph: the op that runs for each node, and where its copies lie.

    None stands for a node that the pass leaves out (a copy that this device does not need).
    """

    ops: tuple[str | None, ...]
    places: Mapping[tuple[int, int], Place]


def single(ops: Sequence[str | None]) -> Stacking:
    """The stacking of one copy."""
    return Stacking(tuple(ops), {})


@dataclass
class _Finder:
    """Follows a stack of two, the second poisoned throughout, along the ops of a single pass."""

    records: Sequence[Node]
    single: Sequence[str | None]
    places: dict[tuple[int, int], Place] = field(default_factory=dict)
    seen: int = 0
    mixed: bool = False  #: the stack runs other ops, or an op mixes the copies

    def __call__(self, at: int, op: str, outs: Sequence[torch.Tensor]) -> None:
        if self.mixed:
            return
        wanted = self.single[at] if at < len(self.single) else None
        if wanted is None or not same_op(wanted, op):
            self.mixed = True
            return
        self.seen = at + 1
        for number, out in enumerate(outs):
            place = _place(out, self.records[at].outputs[number].shape)
            if place is None:
                self.mixed = True
                return
            self.places[at, number] = place


def _place(out: torch.Tensor, shape: tuple[int, ...]) -> Place | None:
    """The place at which only the second copy is poisoned; ``shape`` is that of one copy. None where they mix."""
    stacked = tuple(out.shape)
    bad = out.isnan() if out.is_floating_point() else None
    if bad is not None and not bool(bad.any()):
        bad = None
    if stacked == shape:
        return Place(None) if bad is None else None
    if len(stacked) != len(shape):
        return None
    grown = [axis for axis, (now, before) in enumerate(zip(stacked, shape, strict=True)) if now != before]
    if len(grown) != 1 or stacked[grown[0]] != 2 * shape[grown[0]]:
        return None
    for place in (Place(grown[0]), Place(grown[0], inner=True)):
        if bad is None or not bool(place.split(bad, shape, 2)[0].any()):
            return place
    return None


def find_stacking(subject: Subject, standins: StandIns, inputs: Inputs, ops: Sequence[str | None]) -> Stacking | None:
    """How a stack of inputs runs, given the ops of a single pass; None where copies have to run one by one."""
    if not any(inputs.floating(number) for number in range(len(inputs.values))):
        return None
    if any(value.layout is not torch.strided for value in inputs.values):
        return None  # sparse tensors cannot be put one after the other
    stack = inputs.stacked(2)
    for number, value in stack.items():
        if inputs.floating(number) and value.ndim:
            value[value.shape[0] // 2 :] = math.nan
    finder = _Finder(subject.records, ops)
    try:
        run(subject, standins, inputs, finder, changed=stack)
    except Exception:  # the model has its batch built in, or two copies do not fit into memory
        return None
    if finder.mixed or any(op is not None for op in ops[finder.seen :]):
        return None
    return Stacking(tuple(ops), finder.places)


@dataclass
class _Confirmer:
    """Follows a stack of which some copies are poisoned, and looks whether any other copy gets NaN."""

    records: Sequence[Node]
    stacking: Stacking
    poisoned: torch.Tensor  #: by copy
    mixed: bool = False

    def __call__(self, at: int, op: str, outs: Sequence[torch.Tensor]) -> None:
        copies = len(self.poisoned)
        for number, out in enumerate(outs):
            place = self.stacking.places.get((at, number))
            if self.mixed or place is None or not out.is_floating_point():
                continue
            bad = place.split(out.isnan(), self.records[at].outputs[number].shape, copies)
            self.mixed = bool((bad.reshape(copies, -1).any(1) & ~self.poisoned).any())


def keeps_apart(subject: Subject, standins: StandIns, inputs: Inputs, stacking: Stacking, copies: int) -> bool:
    """Whether so many copies lie where two do. Numbers that are given for a batch may order it, equal ones anyhow."""
    poisoned = torch.arange(copies) * 7 % 3 == 1  # no pattern that an order of all copies keeps
    stack = inputs.stacked(copies)
    for number, value in stack.items():
        if inputs.floating(number) and value.ndim:
            value.view(copies, -1, *value.shape[1:])[poisoned.to(value.device)] = math.nan
    confirmer = _Confirmer(subject.records, stacking, poisoned)
    try:
        run(subject, standins, inputs, confirmer, changed=stack)
    except (RuntimeError, ValueError, IndexError):  # the stack runs otherwise, or does not fit into memory
        return False
    return not confirmer.mixed


def most_copies(records: Sequence[Node], free: int) -> int:
    """How many copies of the inputs should fit into the memory at once, by a generous estimate of what one needs."""
    largest = 1
    for record in records:
        held = sum(math.prod(out.shape) for out in record.outputs)
        held += sum(math.prod(records[ref.node].outputs[ref.output].shape) for ref in record.inputs)
        kernel = record.attrs.get("kernel")
        if record.kind == "conv" and kernel and record.inputs:  # the unfolded columns of a plain convolution
            ref = record.inputs[0]
            channels = records[ref.node].outputs[ref.output].shape[1]
            held += math.prod(kernel) * channels * math.prod(record.shape[2:])
        largest = max(largest, held)
    return max(1, free // (largest * 4 * 3))
