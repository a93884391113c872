"""A walk through a graph with marks: what each unit is computed of, along one axis of the inputs.

Two graphs of one model, at the sizes of a tile and of the whole, are walked with the pixels that both have in common.
Units whose marks are equal are computed alike. Ops are told apart by their names, so that a padding that only one of
two sizes needs does not matter as such.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from rfcalc import reads
from rfcalc.graph import LayerGraph, Node, Ref
from rfcalc.tiling import marks
from rfcalc.tiling.marks import Marks
from rfcalc.tracing.operands import Noted, Operand

#: What an op takes in that a walk may leave out: the node's name, and which of its reads, "number" or "beside <n>".
Part: TypeAlias = tuple[str, int, str]


@dataclass(frozen=True, eq=False)
class Traced:
    """A graph, and what goes into its ops beside the data."""

    graph: LayerGraph
    noted: Noted


@dataclass
class Arrival:
    """One of the things that an output of a node is computed of: the marks before (None: no data) and after."""

    part: Part
    before: Marks | None
    after: Marks | None


@dataclass
class Left:
    """What a walk leaves out (a global average), and what it reads by a ratio alone (an interpolation)."""

    out: set[Part] = field(default_factory=set)
    nominal: dict[Part, Fraction] = field(default_factory=dict)


class Walk:
    """A walk in execution order. ``states`` holds the marks of every output that depends on the pixels."""

    def __init__(
        self,
        traced: Traced,
        sources: Mapping[Ref, Marks],
        left: Left | None = None,
        keep: Collection[int] | None = None,
    ) -> None:
        self.graph, self.noted = traced.graph, traced.noted
        self.states: dict[Ref, Marks] = dict(sources)
        self.left = left or Left()
        self.keep = keep
        self.follows = _after(traced.graph, [ref.node for ref in sources])

    def run(self) -> Walk:
        """All nodes."""
        for record in self.graph:
            if self.keep is None or record.id in self.keep:
                self.step(record)
        return self

    def step(self, record: Node) -> None:
        """One node."""
        for output in range(len(record.outputs)):
            self.settle(record, output, list(self.arrivals(record, output)))

    def settle(self, record: Node, output: int, arrived: Sequence[Arrival]) -> None:
        """Put together what an output is computed of."""
        ref = Ref(record.id, output)
        if ref in self.states:  # a source
            return
        found = [(item.part[2], item.after) for item in arrived if item.after is not None]
        if not found:
            return
        number = self.number(record) if (record.name, output, "number") not in self.left.out else None
        if len(found) == 1 and number is None:
            self.states[ref] = np.asarray(found[0][1])
            return
        with np.errstate(over="ignore"):
            total = None
            for key, one in found:
                part = np.asarray(one) * marks.factor("read", key)
                total = part if total is None else total + part
            if number is not None:
                total = np.asarray(total) * (marks.of_numbers(np.asarray(number)).sum(dtype=np.uint64) | np.uint64(1))
            self.states[ref] = marks.shrunk(marks.mixed(np.asarray(total)))

    def number(self, record: Node) -> tuple[float, ...] | None:
        """The plain numbers that an op computes with."""
        return self.noted.numbers.get(record.id)

    def arrivals(self, record: Node, output: int) -> Iterator[Arrival]:
        """What an output is computed of: of the data first, then of what is beside it."""
        told = record.reads[output] if output < len(record.reads) else ()
        data: list[Arrival] = []
        others: list[tuple[int, Ref, reads.Steps]] = []
        for at, read in enumerate(told):
            ref, part = record.inputs[read.input], (record.name, output, f"read {at}")
            before = self.states.get(ref)
            if before is None:
                if ref.node not in self.follows:  # otherwise all that it saw of the pixels was left out
                    others.append((at, ref, read.steps))
            elif part not in self.left.out:
                data.append(Arrival(part, before, self.after(before, ref, read.steps, self.left.nominal.get(part))))
        yield from data
        places = _varying([item.after for item in data if item.after is not None])
        if not places:
            return
        for at, ref, steps in others:
            part = (record.name, output, f"read {at}")
            if part not in self.left.out:
                yield Arrival(part, None, self.unknown(ref, steps, places, (record.name, at)))
        for at, operand in enumerate(self.noted.tensors.get(record.id, ())):
            part = (record.name, output, f"beside {at}")
            if operand.output == output and part not in self.left.out:
                yield Arrival(part, None, self.beside(operand, places))

    def after(self, before: Marks, ref: Ref, steps: reads.Steps, nominal: Fraction | None) -> Marks:
        """What is read of a tensor."""
        if not steps:
            return before
        return marks.after(before, self.graph[ref.node].outputs[ref.output].shape, steps, self.graph.masks, nominal)[0]

    def unknown(self, ref: Ref, steps: reads.Steps, places: Collection[int], key: object) -> Marks | None:
        """A tensor that was computed of parameters or of other inputs: each place of it may hold another number."""
        return self._at_places(self.graph[ref.node].outputs[ref.output].shape, steps, places, key)

    def beside(self, operand: Operand, places: Collection[int]) -> Marks | None:
        """What an op reads beside the data, where it differs along axes along which the data does."""
        if operand.numbers is None:
            return self._at_places(operand.shape, operand.steps, places, operand.name)
        made = _shrunk_all(marks.of_numbers(operand.numbers))
        made, _ = marks.after(made, operand.shape, operand.steps, self.graph.masks)
        for axis, extent in enumerate(made.shape):
            if extent > 1 and axis - made.ndim not in places:
                told_apart = marks.numbered("beside", [extent if k == axis else 1 for k in range(made.ndim)])
                made = marks.mixed(made * told_apart).sum(axis=axis, keepdims=True, dtype=np.uint64)
        return made

    def _at_places(
        self, shape: tuple[int, ...], steps: reads.Steps, places: Collection[int], key: object
    ) -> Marks | None:
        masks = {number: mask.shape for number, mask in self.graph.masks.items()}
        shape = reads.shape_through(shape, steps, masks)
        rank = len(shape)
        extents = [extent if axis - rank in places else 1 for axis, extent in enumerate(shape)]
        return marks.numbered(key, extents) if any(extent > 1 for extent in extents) else None


def _after(graph: LayerGraph, idents: Collection[int]) -> set[int]:
    """The nodes that depend on the given ones, with them."""
    found = set(idents)
    for record in graph:
        if any(ref.node in found for ref in record.inputs):
            found.add(record.id)
    return found


def _varying(found: Sequence[Marks]) -> set[int]:
    """The axes, counted from the last, along which any of the marks differ."""
    return {axis - one.ndim for one in found for axis, extent in enumerate(one.shape) if extent > 1}


def _shrunk_all(found: Marks) -> Marks:
    """As `marks.shrunk`, for a single axis too."""
    for axis in range(found.ndim):
        if found.shape[axis] > 1 and (found == (first := found.take([0], axis))).all():
            found = first
    return found


# --- sources ----------------------------------------------------------------------------------------------------------


def sources_of(graph: LayerGraph, axes: Mapping[str, int], pixels: Mapping[str, Marks]) -> dict[Ref, Marks]:
    """The marks of inputs that are cut along one axis of each; ``axes`` and ``pixels`` by the inputs' names."""
    found = {}
    for item in graph.inputs:
        if item.name in axes:
            row = pixels[item.name]
            found[Ref(item.node)] = row.reshape([-1 if k == axes[item.name] else 1 for k in range(len(item.shape))])
    return found
