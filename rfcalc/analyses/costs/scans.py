"""Scans over a sequence: what they cost as they are written, and as the recurrence that they stand for.

A state that goes from step to step can be worked out in parallel, for more work. Causal attention without a softmax
(linear attention, retention, the dual form of state-space models) multiplies all queries with all keys, under a
triangle of ones or of decays; step by step it keeps a matrix, to which each key and value add one. An associative scan
combines pairs, and pairs of pairs; step by step each step is combined with what came before. Long convolutions are
multiplied as Fourier transforms (`rfcalc.analyses.costs.spectral`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rfcalc.analyses.costs.dual import dual_forms
from rfcalc.analyses.costs.spectral import long_convolutions
from rfcalc.graph import SCAN, LayerGraph, Node


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan of ``length`` steps: the multiply-adds of its products as they are written, and all operations of it.

    ``form`` is how it is written. The recurrence of attention without a softmax takes two multiply-adds a step for each
    element of the state: to add a key and a value to it, and to read it with a query; that of a state-space model's
    convolution as many for each number of its state. Decays are apart. That of another convolution takes one for each
    earlier input that its kernel holds, and that of an associative scan one combination for each step but the first.
    Operations are two for each multiply-add, and all others.
    """

    layer: str
    form: str
    length: int
    macs: int
    recurrent_macs: int
    flops: int
    recurrent_flops: int

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON output."""
        return {
            "layer": self.layer,
            "form": self.form,
            "length": self.length,
            "macs": self.macs,
            "recurrent_macs": self.recurrent_macs,
            "flops": self.flops,
            "recurrent_flops": self.recurrent_flops,
        }


def scans(graph: LayerGraph) -> tuple[Scan, ...]:
    """The scans of a graph, those of one form after those of another, each in order of execution."""
    return (*_dual(graph), *_associative(graph), *_convolutions(graph))


def _associative(graph: LayerGraph) -> Iterator[Scan]:
    """Associative scans, by the ops of their combinations."""
    found: dict[tuple[int, int], list[Node]] = {}
    for record in graph:
        if set(SCAN) <= record.attrs.keys():
            number, steps = (record.attrs[name] for name in SCAN)
            found.setdefault((number, steps), []).append(record)
    for (_, steps), records in found.items():
        macs, flops = sum(map(_macs, records)), sum(map(_flops, records))
        one = [Fraction(count, _pairs(steps)) * (steps - 1) for count in (macs, flops)]
        if all(record.macs is not None for record in records) and all(part.denominator == 1 for part in one):
            yield Scan(records[0].name, "associative scan", steps, macs, int(one[0]), flops, int(one[1]))


def _pairs(steps: int) -> int:
    """How many pairs torch's associative scan combines: neighbours, theirs by a scan, and what is left out between."""
    return 0 if steps < 2 else steps // 2 + _pairs(steps // 2) + (steps - 1) // 2


def _macs(record: Node) -> int:
    return record.macs or 0


def _flops(record: Node) -> int:
    return 2 * _macs(record) + sum(record.flops.values())


def _convolutions(graph: LayerGraph) -> Iterator[Scan]:
    for found in long_convolutions(graph):
        recurrent = found.recurrent_macs
        yield Scan(found.layer, "Fourier transforms", found.length, found.macs, recurrent, found.flops, 2 * recurrent)


def _dual(graph: LayerGraph) -> Iterator[Scan]:
    for found in dual_forms(graph):
        macs, recurrent = found.macs, found.recurrent_macs
        yield Scan(found.layer, "attention without a softmax", found.length, macs, recurrent, 2 * macs, 2 * recurrent)


__all__ = ["Scan", "scans"]
