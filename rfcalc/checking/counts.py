"""The checks of shapes, of parameters and buffers, and of multiply-adds."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rfcalc.analyses import cost
from rfcalc.checking.alignment import is_copy, same_op
from rfcalc.checking.device import honest
from rfcalc.checking.results import Check, Difference
from rfcalc.checking.subject import Subject
from rfcalc.checking.survey import Survey
from rfcalc.checking.witness import plain_run
from rfcalc.graph import Node
from rfcalc.ops import SPARSE
from rfcalc.tracing.higher import UNCOUNTED


def check_shapes(survey: Survey) -> Check:
    """The shape of every output of every op, and that the same ops ran in the same order."""
    records = survey.subject.records
    differences: list[Difference] = []
    compared = agree = 0
    for record, op, shapes in zip_longest(records, survey.ops, survey.shapes):
        if record is not None and op is None and is_copy(record):
            continue  # this device does not need it
        compared += 1
        if record is None or op is None or not same_op(record.op, op):
            layer = record.name if record is not None else f"(after {records[-1].name})"
            wanted = record.op if record is not None else "nothing more"
            differences.append(Difference(layer, wanted, op or "nothing more"))
            if any(survey.inputs.sparse(number) for number in range(len(survey.inputs.values))):
                note = f"from {layer} on kernels for sparse tensors ran: nothing after it could be compared"
                return Check("shapes", compared - 1, agree, (), (note,))
            note = f"from {layer} on other ops ran than were traced: nothing after it could be compared"
            return Check("shapes", compared, agree, tuple(differences), (note,))
        expected = [list(out.shape) for out in record.outputs]
        seen = [list(shape) for shape in shapes]
        if expected == seen:
            agree += 1
        else:
            differences.append(Difference(record.name, _one(expected), _one(seen)))
    return Check("shapes", compared, agree, tuple(differences))


def _one(shapes: list[list[int]]) -> Any:
    return shapes[0] if len(shapes) == 1 else shapes


# --- parameters and buffers -------------------------------------------------------------------------------------------


def check_params(subject: Subject) -> Check:
    """Elements of distinct parameter storages and of buffers, in total and by module, as the module itself has them."""
    totals = cost.totals(subject.graph)
    modules = list(subject.model.modules())
    params = [tensor for module in modules for tensor in module._parameters.values() if tensor is not None]
    buffers = [tensor for module in modules for tensor in module._buffers.values() if tensor is not None]
    rows: list[tuple[str, int, int]] = []
    expected: dict[str, int] = {}
    for row in subject.graph.params:
        home = row.name.rpartition(".")[0]
        expected[home] = expected.get(home, 0) + (0 if row.shared_with else row.numel)
    seen = _by_module(subject.model)
    for home in dict.fromkeys((*expected, *seen)):
        rows.append((subject.name_of(home) or subject.loaded.name, expected.get(home, 0), seen.get(home, 0)))
    rows.append(("(total)", totals.params, distinct_elements(params)))
    rows.append(("(trainable)", totals.trainable_params, distinct_elements(p for p in params if p.requires_grad)))
    rows.append(("(buffers)", totals.buffers, sum(tensor.numel() for tensor in {id(b): b for b in buffers}.values())))
    differences = tuple(Difference(*row) for row in rows if row[1] != row[2])
    return Check("params", len(rows), len(rows) - len(differences), differences)


def _by_module(model: nn.Module) -> dict[str, int]:
    """Elements that each module is the first to hold."""
    held: list[torch.Tensor] = []
    found: dict[str, int] = {}
    before = 0
    for name, module in model.named_modules():
        own = [tensor for tensor in module._parameters.values() if tensor is not None]
        if own:
            held += own
            now = distinct_elements(held) if _shares(held, own) else before + sum(tensor.numel() for tensor in own)
            found[name] = now - before
            before = now
    return found


def _shares(held: list[torch.Tensor], own: list[torch.Tensor]) -> bool:
    stores = [_store(tensor) for tensor in held]
    return len(set(stores)) < len(stores) and any(stores.count(_store(tensor)) > 1 for tensor in own)


def distinct_elements(tensors: Iterable[torch.Tensor]) -> int:
    """How many different elements the tensors hold: the union of the stretches of storage that they lie on."""
    stretches: dict[Any, list[tuple[int, int]]] = {}
    for tensor in tensors:
        start = int(tensor.storage_offset())
        stretches.setdefault(_store(tensor), []).append((start, start + tensor.numel()))
    total = 0
    for spans in stretches.values():
        end = -1
        for first, last in sorted(spans):
            total += max(0, last - max(first, end))
            end = max(end, last)
    return total


def _store(tensor: torch.Tensor) -> Any:
    return tensor.untyped_storage()._cdata


# --- multiply-adds ----------------------------------------------------------------------------------------------------


def check_macs(survey: Survey) -> Check:
    """Multiply-adds of every op against torch's formulas for what ran, and the total against FlopCounterMode."""
    differences: list[Difference] = []
    notes: list[str] = []
    compared = ours_uncounted = unprinted = 0
    for record in survey.subject.records[: survey.matched]:
        seen = survey.flops[record.id] // 2 if record.id in survey.counted else None
        if seen is not None:
            printed = seen
            seen = in_reals(record, printed)
            unprinted += seen - printed
        ours = record.macs
        if ours is None:
            notes.append(f"no rule for {record.op} ({record.name}); torch counts {seen or 0:,} multiply-adds")
            continue
        if record.attrs.get(UNCOUNTED):
            continue  # what the totals leave out
        if seen is None and ours:
            ours_uncounted += ours
            seen = survey.second.get(record.id)
            witness = f"the same work as an op that torch counts: {seen:,}" if seen is not None else "no second witness"
            notes.append(f"uncounted by torch: {record.name} ({record.op}), {ours:,} here; {witness}")
            if seen is None:
                continue
        if not ours and not seen:
            continue
        compared += 1
        if ours != seen:
            differences.append(Difference(record.name, ours, seen or 0))
    if unprinted:
        notes.append(f"FlopCounterMode prints {unprinted:,} fewer: {COMPLEX}")
    sparse = any(record.op.endswith(SPARSE) and record.macs for record in survey.subject.records)
    if sparse:
        notes.append("the total is not compared: torch's counter takes products with sparse tensors for dense ones")
    total = None if sparse else _total(survey)
    if total is not None and survey.matched == len(survey.subject.records):
        compared += 1
        free = survey.constant_flops // 2
        if free:
            notes.append(f"free: {free:,} multiply-adds of constants, computed from no input and no parameter")
        ours, total = cost.totals(survey.subject.graph).macs - ours_uncounted - unprinted, total - free
        if ours != total:
            differences.append(Difference("(total)", ours, total))
    return Check("macs", compared, compared - len(differences), tuple(differences), tuple(notes))


#: How torch counts complex numbers.
COMPLEX = "it counts a product of complex numbers as one, a convolution of them as the three real ones that it runs"


def _of_four(record: Node) -> int:
    """How many of the four real products in one of an op's numbers torch counts; 4 where its numbers are real."""
    if not record.outputs or not record.outputs[0].dtype.startswith("complex"):
        return 4
    return 3 if record.kind in ("conv", "conv_transpose") else 1


def in_reals(record: Node, seen: int) -> int:
    """The real multiply-adds of an op for which torch's formulas give ``seen``."""
    return seen * 4 // _of_four(record)


def as_printed(record: Node) -> int:
    """What torch's formulas give for the multiply-adds of an op."""
    return (record.macs or 0) * _of_four(record) // 4


def _total(survey: Survey) -> int | None:
    """The multiply-adds that FlopCounterMode prints for a pass of its own; None where it cannot follow the model."""
    counter = FlopCounterMode(display=False)
    try:
        plain_run(survey.twins, survey.inputs, (honest(), counter))
    except Exception:  # FlopCounterMode takes ops apart that the pass itself runs whole, and fails at some
        return None
    return int(counter.get_total_flops()) // 2
