"""Functions that are given functions: torch.cond, while_loop, scan, map, flex_attention, followed op by op.

torch hands each of them to its compiler as one op with functions among its arguments, which says nothing of what these
compute. Here a branch, each step of a loop, and the formula of a mask are run as the code that they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from rfcalc.errors import TraceError
from rfcalc.tracing.flex import flex_attention
from rfcalc.tracing.tensors import info

if TYPE_CHECKING:
    from rfcalc.tracing.recorder import Recorder

#: A loop that goes on for longer is not followed.
_MOST_STEPS = 100_000
#: The attribute of an op in the branch of a torch.cond that the totals leave out.
UNCOUNTED = "branch not counted"


def followed(recorder: Recorder, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What a function with functions among its arguments gives, its ops recorded.

    Raises `TraceError` for one that torch cannot run op by op.
    """
    handler = _HANDLERS.get(func.name())
    if handler is not None:
        return handler(recorder, *args, **kwargs)
    kernel = func.py_kernels.get(torch._C.DispatchKey.CompositeExplicitAutograd)
    if kernel is None:
        raise TraceError(f"torch's {func.name()} is no function that can be followed op by op, outside its compiler")
    return kernel(*args, **kwargs)


def _cond(
    recorder: Recorder, pred: Any, yes: Callable[..., Any], no: Callable[..., Any], operands: Sequence[Any] = ()
) -> Any:
    """One branch where the predicate is known. Where data decides: both, and the totals hold the costlier one."""
    taken = _truth(recorder, pred)
    if taken is not None:
        return yes(*operands) if taken else no(*operands)
    function = recorder.function
    ends, results = [len(recorder.tape.records)], []
    for branch in (yes, no):
        results.append(branch(*operands))
        ends.append(len(recorder.tape.records))
    _leave_cheaper(recorder, *ends)
    (first, form), (second, other) = map(pytree.tree_flatten, results)
    if form != other:
        raise TraceError("the branches of torch.cond give back things of different structure")
    recorder.function = function
    return pytree.tree_unflatten([_either(pred, *leaves) for leaves in zip(first, second, strict=True)], form)


def _truth(recorder: Recorder, pred: Any) -> bool | None:
    """Whether a predicate is true; None where data decides."""
    if not isinstance(pred, torch.Tensor):
        return bool(pred)
    known = recorder.numbers_of(pred)
    return None if known is None else bool(known)


def _either(pred: torch.Tensor, yes: Any, no: Any) -> Any:
    """The result of one branch or the other."""
    if not isinstance(yes, torch.Tensor) or not isinstance(no, torch.Tensor):
        if type(yes) is not type(no) or yes != no:
            raise TraceError(f"the branches of torch.cond give {_told(yes)} and {_told(no)}")
        return yes
    if info(yes) != info(no):
        raise TraceError(f"the branches of torch.cond give {_told(yes)} and {_told(no)}")
    return torch.ops.aten.where.self(pred.bool(), yes, no)


def _told(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return repr(value)
    what = info(value)
    return f"{what.dtype} {'x'.join(map(str, what.shape)) or 'a scalar'}"


def _leave_cheaper(recorder: Recorder, start: int, middle: int, end: int) -> None:
    """Keep the cost of that of two branches which has more multiply-adds, or as many and more operations."""
    records = recorder.tape.records
    costs = [_cost(records[first:last]) for first, last in ((start, middle), (middle, end))]
    cheaper = range(start, middle) if costs[0] < costs[1] else range(middle, end)
    for at in cheaper:
        effect = records[at].effect
        if effect.macs or effect.flops or not records[at].known:
            note = f"in the cheaper branch of torch.cond: {effect.macs:,} multiply-adds that the totals leave out"
            attrs = {**effect.attrs, UNCOUNTED: True}
            notes = (*effect.notes, note)
            records[at].effect = replace(effect, macs=0, closed=0, flops={}, formula="", attrs=attrs, notes=notes)
    told = " and ".join(
        f"{macs:,} multiply-adds and {2 * macs + others:,} operations if {when}"
        for (macs, others), when in zip(costs, ("true", "false"), strict=True)
    )
    name = recorder.scope.name or recorder.scope.module
    recorder.tape.notices.append(
        f"{name}: the data decides which branch torch.cond runs, {told}; the totals hold the costlier branch, an upper"
        " bound, and fields hold both"
    )


def _cost(records: Sequence[Any]) -> tuple[int, int]:
    effects = [record.effect for record in records]
    return sum(effect.macs for effect in effects), sum(sum(effect.flops.values()) for effect in effects)


def _while_loop(
    recorder: Recorder,
    cond: Callable[..., Any],
    body: Callable[..., Any],
    carried: Sequence[Any],
    additional: Sequence[Any] = (),
    **_: Any,
) -> tuple[Any, ...]:
    """Step by step while the condition holds, which has to be known: from constants, or in a pass on real numbers."""
    values, steps, known = tuple(carried), 0, True
    while True:
        condition = cond(*values, *additional)
        known = known and _truth(recorder, condition) is not None
        if not condition:
            break
        values, steps = tuple(body(*values, *additional)), steps + 1
        if steps > _MOST_STEPS:
            raise TraceError(f"while_loop goes on for more than {_MOST_STEPS:,} steps")
    if not known:
        name = recorder.scope.name or recorder.scope.module
        recorder.tape.notices.append(
            f"{name}: the data decides how many steps while_loop takes: {steps:,} are counted, as this input has them"
        )
    return values if steps else tuple([item.clone() if isinstance(item, torch.Tensor) else item for item in values])


def _scan(
    recorder: Recorder,
    combine: Callable[..., Any],
    init: Sequence[Any],
    xs: Sequence[torch.Tensor],
    additional: Sequence[Any] = (),
    **_: Any,
) -> tuple[Any, ...]:
    """Each step in turn, along the first axis; the results of all steps beside each other."""
    carry, rows, form = list(init), [], None
    for at in range(xs[0].shape[0] if xs else 0):
        made = combine(*carry, *[x[at] for x in xs], *additional)
        leaves, form = pytree.tree_flatten(made)
        carry, row = leaves[: len(init)], leaves[len(init) :]
        rows.append(row)
    if form is None:
        raise TraceError("scan over an axis of no elements")
    results = [*carry, *[_stacked(column) for column in zip(*rows, strict=True)]]
    pair = len(made) == 2 and len(pytree.tree_leaves(made[0])) == len(init)
    return tuple(pytree.tree_unflatten(results, form)) if pair else tuple(results)


def _map(
    recorder: Recorder,
    function: Callable[..., Any],
    xs: Sequence[torch.Tensor],
    additional: Sequence[Any] = (),
    **_: Any,
) -> Any:
    """The function of each slice along the first axis."""
    rows = [function(*[x[at] for x in xs], *additional) for at in range(xs[0].shape[0])]
    leaves, forms = zip(*[pytree.tree_flatten(row) for row in rows], strict=True)
    return pytree.tree_unflatten([_stacked(column) for column in zip(*leaves, strict=True)], forms[0])


def _stacked(column: Sequence[Any]) -> Any:
    return torch.stack(list(column)) if isinstance(column[0], torch.Tensor) else column[0]


_HANDLERS: dict[str, Callable[..., Any]] = {
    "cond": _cond,
    "while_loop": _while_loop,
    "scan": _scan,
    "map_impl": _map,
    "associative_scan": lambda recorder, combine, xs, additional=(): _associative(combine, xs, additional),
    "flex_attention": flex_attention,
}


def _associative(combine: Callable[..., Any], xs: Sequence[torch.Tensor], additional: Sequence[Any]) -> Any:
    """In pairs, then pairs of pairs, as torch does it where it does not compile."""
    from torch._higher_order_ops.associative_scan import generic_associative_scan

    return generic_associative_scan(combine, list(xs), additional_inputs=tuple(additional))  # type: ignore[no-untyped-call]
