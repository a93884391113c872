"""Whether examples of a batch are independent: no output of one of them depends on another.

The same regions along the batch axis of the input: an element of the output may see one example only, and what it sees
has to change along one axis of the output and no other. Where examples are mixed (batch statistics, a softmax over the
batch), an element sees several; where a reshape takes places for examples, one row of the output holds several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rfcalc import reads
from rfcalc.analyses.views import View, views
from rfcalc.errors import UsageError
from rfcalc.graph import LayerGraph, Node, Ref

Views = Mapping[int, Sequence["_Seen | None"]]


@dataclass(frozen=True, slots=True)
class Mixture:
    """An output in which examples of an input's batch are not independent.

    ``layer`` is the first layer that mixes them on the way to ``output``, and ``reason`` how. The witness is the
    element ``unit`` of the layer, which sees the examples ``first`` to ``last``; or, where each element sees one, the
    examples that one row of the batch holds.
    """

    output: str
    source: str
    layer: str
    reason: str
    unit: tuple[int, ...]
    first: int
    last: int

    @property
    def witness(self) -> str:
        """The witness in words."""
        unit = ",".join(map(str, self.unit))
        return f"unit ({unit}) of {self.layer} sees examples {self.first} to {self.last} of {self.source}"

    def to_dict(self) -> dict[str, Any]:
        row = {name: getattr(self, name) for name in ("output", "source", "layer", "reason", "first", "last")}
        return {**row, "unit": list(self.unit)}


@dataclass(frozen=True, slots=True)
class _Seen:
    """Which examples the elements of one tensor see. ``unit``, ``first`` and ``last`` are the witness of a mixture."""

    mixed: bool
    scattered: bool
    unit: tuple[int, ...] = ()
    first: int = 0
    last: int = 0

    @property
    def wrong(self) -> bool:
        return self.mixed or self.scattered


def mixtures(graph: LayerGraph) -> tuple[Mixture, ...]:
    """The outputs in which examples are not independent, each with the layer that mixes them; () where all are.

    Raises `UsageError` for a graph whose inputs hold a single example, in which nothing can be told apart.
    """
    found: list[Mixture] = []
    inputs = [item for item in graph.inputs if (item.batch or 0) > 1]
    if not inputs:
        raise UsageError(f"{graph.model} was traced with a batch of 1, of which none can see another: trace 2 or more")
    for item in inputs:
        seen = _walk(graph, Ref(item.node), item.batch or 1)
        for ref in dict.fromkeys(graph.outputs):
            own = _at(seen, ref)
            if own is None or not own.wrong:
                continue
            culprit = _culprit(graph, seen, ref)
            at = _at(seen, culprit) or own
            record = graph[culprit.node]
            reason = _reason(graph, record, at)
            found.append(Mixture(graph[ref.node].name, item.name, record.name, reason, at.unit, at.first, at.last))
    return tuple(found)


def _walk(graph: LayerGraph, source: Ref, batch: int) -> dict[int, tuple[_Seen | None, ...]]:
    return {
        record.id: tuple(
            [
                None if view is None else _seen(view, record.outputs[number].shape, batch)
                for number, view in enumerate(made)
            ]
        )
        for record, made in views(graph, source, 0)
        if any(made)
    }


def _at(seen: Views, ref: Ref) -> _Seen | None:
    row = seen.get(ref.node, ())
    return row[ref.output] if ref.output < len(row) else None


def _seen(view: View, shape: tuple[int, ...], batch: int) -> _Seen:
    """What the elements of a tensor of that shape see of a batch of so many examples."""
    lo, hi = view.regions
    wide = np.argwhere(lo < hi)
    if len(wide):
        unit = tuple(int(at) for at in wide[0])
        return _Seen(True, False, unit, int(lo[unit]), int(hi[unit]))
    axes = [axis for axis, length in enumerate(lo.shape) if length > 1 and _varies(lo, hi, axis)]
    if len(axes) == 1 and not (shape[0] == batch and axes[0] > 0 and shape[axes[0]] != batch):
        return _Seen(False, False)
    if not axes:
        return _Seen(False, False)
    row = lo[:1]
    examples = row[row <= hi[:1]]
    return _Seen(False, True, (0,) * len(shape), int(examples.min()), int(examples.max()))


def _varies(lo: np.ndarray, hi: np.ndarray, axis: int) -> bool:
    """Whether different examples are seen along an axis, by elements that see any."""
    seen = lo <= hi
    low = np.where(seen, lo, np.iinfo(np.int64).max).min(axis=axis)
    high = np.where(seen, lo, -1).max(axis=axis)
    return bool((high > low).any())


def _culprit(graph: LayerGraph, seen: Views, ref: Ref) -> Ref:
    """The first tensor on the way to an output that is wrong while nothing that it reads is."""
    at, mixed = ref, (_at(seen, ref) or _Seen(True, False)).mixed
    done = {ref}
    while True:
        record = graph[at.node]
        told = record.reads[at.output] if at.output < len(record.reads) else ()
        before = [record.inputs[read.input] for read in told]
        wrong = [
            one for one in before if one not in done and (own := _at(seen, one)) and (own.mixed if mixed else own.wrong)
        ]
        if not wrong:
            return at
        at = wrong[0]
        done.add(at)


def _reason(graph: LayerGraph, record: Node, seen: _Seen) -> str:
    short = record.op.rpartition(".")[2]
    if seen.scattered:
        steps = [step for read in record.reads[0] for step in read.steps if isinstance(step, reads.Reshape)]
        if steps:
            before, after = ("x".join(map(str, shape)) for shape in (steps[0].shape_in, steps[0].shape_out))
            return f"a reshape of {before} to {after} that takes places for examples"
        return f"{short} puts several examples into one row"
    if record.kind == "norm":
        return "statistics of the whole batch"
    if "softmax" in short:
        return "softmax over the batch"
    if record.kind == "attention":
        return "attention between examples"
    return f"{short} ({record.kind}) reads several examples"


__all__ = ["Mixture", "mixtures"]
