"""Rows of modules: everything that runs in one module of a given depth summed up in one row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rfcalc.analyses.results import Layer, Layers

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis
    from rfcalc.graph import Node

_PART = re.compile(r"[^./]+[./]?")


def parts(name: str) -> list[str]:
    """The parts of a name: ``layer1.``, ``0.`` and ``conv1``."""
    return _PART.findall(name)


def fold(name: str, depth: int | None) -> str:
    """The first parts of a name, ``layer1.0`` of ``layer1.0.conv1`` to a depth of 2."""
    found = parts(name)
    return name if depth is None or len(found) <= depth else "".join(found[:depth]).rstrip("./")


def rolled_up(analysis: Analysis, depth: int) -> Layers:
    """One row for each module, or layer, whose name has ``depth`` parts or fewer; deeper ones are summed up in it.

    An op belongs to the module that its name says, so that a row has just the parameters and costs of its module. One
    without a layer or a parameter beside it in its group (a reshape between two blocks) stays in the row that it folds
    into, so that columns add up to the totals. A row's output and fields are those of what runs last in it.
    """
    records = list(analysis.layer_graph)
    names = [_group(record, depth) for record in records]
    weighty = {name for name, record in zip(names, records, strict=True) if record.index is not None or record.params}
    groups: dict[tuple[bool, str], list[Node]] = {}
    for name, record in zip(names, records, strict=True):
        at = record.id
        if name not in weighty and record.owner >= 0:
            name, at = names[record.owner], record.owner
        groups.setdefault((analysis.layer_graph[at].kind == "input", name), []).append(record)
    kinds = {call.module: call.types[0].rpartition(".")[2] for call in analysis.layer_graph.calls if call.types}
    rows = [_row(analysis, name, group, kinds.get(name, "")) for (_, name), group in groups.items()]
    return Layers(rows)


def _group(record: Node, depth: int) -> str:
    return record.name if record.kind == "input" else fold(record.name, depth)


def _row(analysis: Analysis, name: str, records: Sequence[Node], module: str) -> Layer:
    numbered = [record for record in records if record.index is not None]
    alone = numbered[0] if len(numbered) == 1 and numbered[0].name == name else None
    if alone is not None:
        layer = analysis.layers_by_node[alone.id]
        if {record.name for record in records} == {layer.name, *layer.folded}:
            return layer
    inside = [record for record in records if record.name == name or record.name.startswith((f"{name}.", f"{name}/"))]
    last = max(inside or records, key=lambda record: record.id)
    row = analysis.row(last, records)
    return replace(
        row,
        index=alone.index if alone else None,
        name=alone.name if alone else name,
        kind=alone.kind if alone else "module" if numbered else row.kind,
        op=alone.op if alone else "" if numbered else row.op,
        module=alone.module if alone else module or row.module,
        formula=alone.formula if alone else "",
        attrs=alone.attrs if alone else {},
        inputs=_inputs(analysis, records),
        notes=tuple(dict.fromkeys(note for record in records for note in record.notes)),
        folded=tuple(record.name for record in records if record.name != (alone.name if alone else name)),
    )


def _inputs(analysis: Analysis, records: Sequence[Node]) -> tuple[str, ...]:
    """The ops outside of the group that it reads."""
    own = {record.id for record in records}
    found = [ref.node for record in records for ref in record.inputs if ref.node not in own]
    return tuple(dict.fromkeys(analysis.layer_graph[ident].name for ident in found))
