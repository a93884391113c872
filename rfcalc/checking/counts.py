"""The checks of shapes and of multiply-adds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

from rfcalc.analyses import cost
from rfcalc.checking.alignment import is_copy, same_op
from rfcalc.checking.device import honest
from rfcalc.checking.first_pass import FirstPass
from rfcalc.checking.results import Check, Difference
from rfcalc.checking.witness import plain_run
from rfcalc.graph import Node
from rfcalc.ops import SPARSE
from rfcalc.tracing.higher import UNCOUNTED


def check_shapes(first_pass: FirstPass) -> Check:
    """The shape of every output of every op, and that the same ops ran in the same order."""
    records = first_pass.subject.records
    differences: list[Difference] = []
    idle: list[str] = []
    compared = agree = 0
    for record, op, shapes in zip_longest(records, first_pass.ops, first_pass.shapes):
        if record is not None and op is None and is_copy(record):
            continue  # this device does not need it
        compared += 1
        if record is None or op is None or not same_op(record.op, op):
            layer = record.name if record is not None else f"(after {records[-1].name})"
            wanted = record.op if record is not None else "nothing more"
            differences.append(Difference(layer, wanted, op or "nothing more"))
            if any(first_pass.inputs.sparse(number) for number in range(len(first_pass.inputs.values))):
                note = f"from {layer} on kernels for sparse tensors ran: nothing after it could be compared"
                return Check("shapes", compared - 1, agree, (), (note,))
            note = f"from {layer} on other ops ran than were traced: nothing after it could be compared"
            return Check("shapes", compared, agree, tuple(differences), (note,))
        expected = [list(out.shape) for out in record.outputs]
        seen = [list(shape) for shape in shapes]
        if not first_pass.differs(record, shapes):
            agree += 1
            idle += [record.name] if expected != seen else []
        else:
            differences.append(Difference(record.name, _one(expected), _one(seen)))
    notes = (f"of another shape on this device, where nothing comes out of it: {', '.join(idle)}",) if idle else ()
    return Check("shapes", compared, agree, tuple(differences), notes)


def _one(shapes: list[list[int]]) -> Any:
    return shapes[0] if len(shapes) == 1 else shapes


# --- multiply-adds ----------------------------------------------------------------------------------------------------


def check_macs(first_pass: FirstPass) -> Check:
    """Multiply-adds of every op against torch's formulas for what ran, and the total against FlopCounterMode."""
    differences: list[Difference] = []
    notes: list[str] = []
    compared = ours_uncounted = unprinted = 0
    for record in first_pass.subject.records[: first_pass.matched]:
        seen = first_pass.flops[record.id] // 2 if record.id in first_pass.counted else None
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
            seen = first_pass.second.get(record.id)
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
    sparse = any(record.op.endswith(SPARSE) and record.macs for record in first_pass.subject.records)
    if sparse:
        notes.append("the total is not compared: torch's counter takes products with sparse tensors for dense ones")
    total = None if sparse else _total(first_pass)
    if total is not None and first_pass.matched == len(first_pass.subject.records):
        free = first_pass.constant_flops // 2
        if free:
            notes.append(f"free: {free:,} multiply-adds of constants, computed from no input and no parameter")
        ours, total = cost.totals(first_pass.subject.graph).macs - ours_uncounted - unprinted, total - free
        compared += bool(ours or total)  # 0 and 0 say nothing
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


def as_printed(record: Node, macs: int) -> int:
    """What torch's formulas give for multiply-adds of an op."""
    return macs * _of_four(record) // 4


def _total(first_pass: FirstPass) -> int | None:
    """The multiply-adds that FlopCounterMode prints for a pass of its own; None where it cannot follow the model."""
    from torch.utils.flop_counter import FlopCounterMode  # with triton, 80 MB that few commands need

    counter = FlopCounterMode(display=False)
    try:
        plain_run(first_pass.standins, first_pass.inputs, (honest(), _counting(counter)))
    except Exception:  # FlopCounterMode takes ops apart that the pass itself runs whole, and fails at some
        return None
    return int(counter.get_total_flops()) // 2


@contextmanager
def _counting(counter: Any) -> Iterator[None]:
    """torch's counter, without the guard against torch's compiler for which that would be imported."""
    with counter:
        kind = type(counter.mode)
        plain = getattr(kind.__dict__.get("__torch_dispatch__"), "__wrapped__", None)
        if plain is not None:
            own = {"__torch_dispatch__": plain, "_should_skip_dynamo": classmethod(lambda cls: False)}
            counter.mode.__class__ = type(kind.__name__, (kind,), own)
        yield
