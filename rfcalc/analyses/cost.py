"""Costs of a layer graph: parameters, multiply-adds and other arithmetic, by row and in total (DESIGN section 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rfcalc.analyses.costs.backward import NOTHING, Backward, total
from rfcalc.analyses.costs.backward import backward as backward_of
from rfcalc.analyses.costs.unmasked import Closed
from rfcalc.analyses.costs.unmasked import closed as closed_by_masks
from rfcalc.analyses.results import Totals
from rfcalc.graph import LayerGraph, Node, Param


@dataclass(frozen=True, slots=True)
class RowCost:
    """The cost of one row. ``macs`` and ``flops`` are None where an op of the row has no rule.

    ``closed`` are the multiply-adds of pairs that a mask closes; ``unknown_mask`` says why there may be more, or is "".
    """

    params: int
    trainable: int
    macs: int | None
    flops: int | None
    flops_by: Mapping[str, int]
    closed: int = 0
    unknown_mask: str = ""
    backward: Backward | None = NOTHING


@dataclass(frozen=True)
class Beyond:
    """What is worked out once of a whole graph beside the dense count: what masks close, and the backward pass."""

    closed: Closed
    backward: Mapping[int, Backward | None]


def beyond(graph: LayerGraph) -> Beyond:
    """What masks close in a graph, and what its backward pass takes, op by op."""
    return Beyond(closed_by_masks(graph), backward_of(graph))


def owned_params(graph: LayerGraph) -> dict[int, list[Param]]:
    """The parameters that each node is the first to use; shared storage counts once."""
    owned: dict[int, list[Param]] = {}
    for param in graph.params:
        if param.owner is not None and not param.shared_with:
            owned.setdefault(param.owner, []).append(param)
    return owned


def row_cost(records: Iterable[Node], owned: Mapping[int, list[Param]], more: Beyond) -> RowCost:
    """The cost of the ops that make up one row of a graph."""
    records = list(records)
    params = [param for record in records for param in owned.get(record.id, ())]
    macs = [record.macs for record in records]
    known = None not in macs
    flops_by = _flops_by(records)
    return RowCost(
        sum([param.numel for param in params]),
        sum([param.numel for param in params if param.trainable]),
        sum([count or 0 for count in macs]) if known else None,
        sum(flops_by.values()) if known else None,
        flops_by,
        sum([more.closed.counts.get(record.id, 0) for record in records]),
        next((more.closed.unknown[record.id] for record in records if record.id in more.closed.unknown), ""),
        total([more.backward[record.id] for record in records if record.id in more.backward]),
    )


def _flops_by(records: Iterable[Node]) -> dict[str, int]:
    """All arithmetic of the ops by category, sorted by name."""
    found: dict[str, int] = {}
    for record in records:
        for name, count in record.flops.items():
            found[name] = found.get(name, 0) + count
        if record.macs:
            found["multiply-adds"] = found.get("multiply-adds", 0) + 2 * record.macs
    return dict(sorted(found.items())) if len(found) > 1 else found


def totals(graph: LayerGraph, more: Beyond | None = None) -> Totals:
    """Sums over the whole model; a lower bound where ops without a rule were met.

    ``more`` is what is known beside the dense count, where it has been worked out.
    """
    more = beyond(graph) if more is None else more
    closed, back = more.closed, more.backward
    records = list(graph)
    distinct = [param for param in graph.params if not param.shared_with]
    unknown = Counter(record.op for record in records if record.macs is None)
    packed = {param.name: param.unknown for param in distinct if param.unknown}
    flops_by = _flops_by(records)
    return Totals(
        params=sum(param.numel for param in distinct),
        trainable_params=sum(param.numel for param in distinct if param.trainable),
        buffers=sum(buffer.numel for buffer in graph.buffers),
        macs=sum([record.macs or 0 for record in records]),
        flops=sum(flops_by.values()),
        flops_by=flops_by,
        status="lower_bound" if unknown or packed else "complete",
        unknown_ops=dict(sorted(unknown.items())),
        unused_params={param.name: param.numel for param in distinct if param.owner is None},
        param_bytes=sum(param.nbytes for param in distinct),
        unknown_params=packed,
        complex_params=sum(param.numel for param in distinct if param.dtype.startswith("complex")),
        closed_macs=sum(closed.counts.values()),
        unknown_masks={graph[ident].name: closed.unknown[ident] for ident in sorted(closed.unknown)},
        backward=total(list(back.values())),
        no_backward=dict(sorted(Counter(graph[ident].op for ident, cost in back.items() if cost is None).items())),
    )
