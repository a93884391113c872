"""Indexing: lookups, gathers and scatters by known or computed indices, selection by masks, sorting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rfcalc.ops._indexing import (
    DATA,
    LIMIT,
    Layout,
    everything,
    known,
    layout,
    only_along,
    reason,
    take,
    unless_written,
    whole,
)
from rfcalc.ops._linear import either, except_at, ranked, reshape
from rfcalc.ops._masks import LOWEST, carry, common, finite_of, known_zero, leant_on, union
from rfcalc.ops.common import align
from rfcalc.ops.registry import SIZED_BY_DATA, Arg, ArgRead, Call, Effect, numel, rule
from rfcalc.reads import Pad, Reduce, Slice, Spans, Step, Steps

# --- embeddings -------------------------------------------------------------------------------------------------------


@rule("aten.embedding", "torch.embedding")
def embedding(call: Call) -> Effect:
    """Table lookup: reads one index; no arithmetic."""
    table: Arg = call["weight"]
    index: Arg = _whole_numbers(either(call, "indices", "input"))
    numbers = known(index, table.shape[0]) if table.reads_data else None  # of a table of weights any row is as good
    place = Layout(table.shape, (0,), index.shape, _flat(numbers))
    return Effect(
        "embedding",
        [(table, place.gather()), (index, reshape(index.shape, (*index.shape, 1)))],
        attrs={"num_embeddings": table.shape[0], "embedding_dim": table.shape[1]},
        inexact=reason(index) if table.reads_data and place.flat is None else "",
        sure=(table, index),
    )


def _whole_numbers(index: Arg) -> Arg:
    """The indices. Raises ValueError for others than whole numbers, which torch 2.11 takes on the meta device."""
    if index.dtype.startswith(("float", "bfloat", "complex")):
        raise ValueError(f"a table is looked up by whole numbers, got {index.dtype}")
    return index


def _flat(index: np.ndarray | None) -> np.ndarray | None:
    return None if index is None else index.reshape(-1)


@rule("aten.embedding_bag", "aten._embedding_bag", "aten._embedding_bag_forward_only", "torch.embedding_bag")
def embedding_bag(call: Call) -> Effect:
    """Sum, mean or maximum of table rows: reads the indices of its bag; an addition for each of them and feature."""
    table: Arg = call["weight"]
    index: Arg = _whole_numbers(either(call, "indices", "input"))
    weights: Arg | None = call["per_sample_weights"]
    bags, features = call.out.shape
    first = call["offsets"].value() if isinstance(call["offsets"], Arg) else None
    inexact = DATA if table.reads_data else ""
    bag: Steps
    ends = None if first is None else np.append(first, index.shape[0])[1 : bags + 1]
    if index.ndim == 2:  # every row is a bag
        bag = (Reduce((1,)),)
    elif first is None or ends is None or (ends <= first[:bags]).any():
        bag = (Reduce((0,)), *reshape((1,), (1, 1)))
        inexact = "bags whose borders are not known, or empty ones"
    else:
        spans = Spans(0, tuple(first[:bags].tolist()), tuple((ends - 1).tolist()))
        bag = (spans, *reshape((bags,), (bags, 1)))
    reads: list[ArgRead] = [(table, (Reduce((0,)),)), (index, bag)]
    if weights is not None:
        reads.append((weights, bag))
    flops = {"reduction": index.numel * features, "elementwise": 0 if weights is None else index.numel * features}
    return Effect(
        "embedding",
        [reads, *([whole(index, len(out.shape))] for out in call.outs[1:])],
        each=True,
        flops={name: count for name, count in flops.items() if count},
        attrs={"num_embeddings": table.shape[0], "embedding_dim": features},
        inexact=inexact,
    )


@rule("aten.embedding_renorm_")
def embedding_renorm(call: Call) -> Effect:
    """Scales looked-up rows of a table down to a largest norm: reads its row; 3 operations an element."""
    table: Arg = call["self"]
    touched = call["indices"].numel * table.shape[1]
    return Effect("norm", [(table, ()), (table, (Reduce((1,)),))], flops={"norm": 3 * touched}, attrs={})


# --- reading by index -------------------------------------------------------------------------------------------------


@rule("aten.index", "aten._unsafe_index")
def index(call: Call) -> Effect:
    """Advanced indexing: a computed index reads the whole of its axes; no arithmetic."""
    x: Arg = call["self"]
    indices: Sequence[Arg | None] = call["indices"]
    given = [one for one in indices if one is not None]
    place = layout(x.shape, indices)
    if place is None:
        return everything(call, "reshape", DATA)
    looked_up = x.role == "param" and any(one.reads_data for one in given)
    steps = place.gather()
    return Effect(
        "embedding" if looked_up else "reshape",
        [(x, steps), *(place.index_read(one) for one in given if one.reads_data)],
        attrs={"axes": list(place.axes)},
        inexact=reason(*given) if x.reads_data and place.flat is None else "",
        sure=(x, *given),
        blocked=carry(x.blocked, x.shape, steps),
        zero=carry(x.zero, x.shape, steps),
        notes=_sized(*given),
    )


@rule("aten.index_select", "torch.index_select")
def index_select(call: Call) -> Effect:
    """Selection along one axis: a computed index reads the whole axis; no arithmetic."""
    x: Arg = either(call, "self", "input")
    chosen: Arg = call["index"]
    if not x.ndim:
        return Effect("reshape", [(x, ())], attrs={"dim": 0})
    axis = call["dim"] % x.ndim
    place = Layout(x.shape, (axis,), (chosen.numel,), _flat(known(chosen, x.shape[axis])))
    steps = place.gather()
    count = reshape(chosen.shape, (*(1,) * axis, chosen.numel, *(1,) * (x.ndim - axis - 1)))
    return Effect(
        "reshape",
        [(x, steps), (chosen, count)],
        attrs={"dim": axis},
        inexact=reason(chosen) if x.reads_data and place.flat is None else "",
        sure=(x, chosen),
        blocked=carry(x.blocked, x.shape, steps),
        zero=carry(x.zero, x.shape, steps),
    )


@rule("aten.gather", "aten.take_along_dim")
def gather(call: Call) -> Effect:
    """One element along an axis for each output: computed indices read the whole axis; no arithmetic."""
    x: Arg = call["self"]
    chosen: Arg = either(call, "index", "indices")
    if call["dim"] is None or not x.ndim:
        return _taken(call, x, chosen)
    out, axis = call.out.shape, call["dim"] % x.ndim
    numbers = known(chosen, x.shape[axis])
    # gather reads the first rows of a longer tensor, take_along_dim repeats an extent of 1
    crop = [Slice(a, 0, 1, n) for a, n in enumerate(out) if a != axis and n < x.shape[a]]
    line = None if numbers is None else only_along(numbers, axis)
    steps: Steps
    if line is not None:
        steps = (*crop, *take(axis, line))
    elif numbers is None or numel(out) > LIMIT:
        steps = (*crop, Reduce((axis,)))
    else:
        grid = [np.minimum(place, size - 1) for place, size in zip(np.indices(out), x.shape, strict=True)]
        grid[axis] = np.broadcast_to(numbers, out)
        flat = np.ravel_multi_index(tuple(grid), x.shape).reshape(-1)
        steps = (*reshape(x.shape, (x.numel,)), *take(0, flat), *reshape((flat.size,), out))
    resolved = line is not None or (numbers is not None and numel(out) <= LIMIT)
    return Effect(
        "reshape",
        [(x, steps), (chosen, ())],
        attrs={"dim": axis},
        inexact="" if resolved or not x.reads_data else reason(chosen),
        sure=(x, chosen),
    )


@rule("aten.take")
def take_flat(call: Call) -> Effect:
    """Elements by their number in row-major order: a computed index reads all; no arithmetic."""
    return _taken(call, call["self"], call["index"])


def _taken(call: Call, x: Arg, chosen: Arg) -> Effect:
    numbers = _flat(known(chosen, x.numel))
    out = call.out.shape
    steps = (*reshape(x.shape, (x.numel,)), *Layout((x.numel,), (0,), out, numbers).gather())
    inexact = reason(chosen) if x.reads_data and numbers is None else ""
    return Effect("reshape", [(x, steps), (chosen, reshape(chosen.shape, out))], attrs={}, inexact=inexact)


@rule("aten.masked_select")
def masked_select(call: Call) -> Effect:
    """The elements under a mask: a known mask reads what it leaves, a computed one everything; no arithmetic."""
    x: Arg = call["self"]
    mask = call["mask"].value()
    if mask is None or np.count_nonzero(mask) > LIMIT:
        return everything(call, "reshape", DATA, notes=_sized(call["mask"]))
    shape = np.broadcast_shapes(x.shape, mask.shape)
    flat = np.flatnonzero(np.broadcast_to(mask, shape))
    steps = (*align(x.shape, len(shape)), *reshape(shape, (numel(shape),)), *take(0, flat))
    reads: list[ArgRead] = [(x, steps)]
    if call["mask"].reads_data:  # one more that is true moves all after it
        reads.append(whole(call["mask"], 1))
    return Effect("reshape", reads, attrs={})


@rule(
    "aten.nonzero", "aten.argwhere", "aten.bincount",
    "aten._unique", "aten._unique2", "aten.unique_dim", "aten.unique_consecutive",
)  # fmt: skip
def sized_by_data(call: Call) -> Effect:
    """Results whose size the data decides: everything is read; one operation an element."""
    return everything(call, "other", DATA, _one_each(call), (SIZED_BY_DATA,))


@rule("aten.nonzero_static", "aten.histc")
def placed_by_data(call: Call) -> Effect:
    """Results whose place the data decides: everything is read; one operation an element."""
    return everything(call, "other", DATA, _one_each(call))


def _one_each(call: Call) -> dict[str, int]:
    return {"other": sum(arg.numel for arg in call.tensors())}


def _sized(*chosen: Arg) -> tuple[str, ...]:
    """The note of a selection by masks, where one of them is computed from data."""
    return (SIZED_BY_DATA,) if any(one.dtype in ("bool", "uint8") and one.reads_data for one in chosen) else ()


# --- writing by index -------------------------------------------------------------------------------------------------


def _write(
    call: Call,
    place: Layout,
    indices: Sequence[Arg],
    values: Arg | None,
    prefix: tuple[Steps, tuple[int, ...]] | None = None,
    accumulate: bool = False,
    keeps: bool = True,
) -> Effect:
    """Writes values (after the prefix steps, of that shape) into a tensor; ``keeps``: accumulates to what it holds."""
    x: Arg = call["self"]
    inexact = ""
    before, shape = prefix or ((), values.shape if values is not None else ())
    steps, repeated = place.scatter(call, shape)
    kept: Steps = ()
    reads: list[ArgRead] = []
    if place.flat is None:
        inexact = reason(*indices)
        reads += [whole(one, x.ndim) for one in indices if one.reads_data]
    elif not (accumulate and keeps):
        kept = unless_written(call, place)
    if repeated and not accumulate:
        inexact = "an index occurs twice, and which value stays is not defined"
    reads.append((x, kept))
    if values is not None:
        reads.append((values, (*before, *steps)))
    added = numel(shape) if accumulate and values is not None else 0
    flops = {"elementwise": added} if added else {}
    return Effect("copy", reads, flops=flops, attrs={"axes": list(place.axes)}, inexact=inexact)


@rule("aten.index_put", "aten.index_put_", "aten._unsafe_index_put", "aten._index_put_impl_")
def index_put(call: Call) -> Effect:
    """Assignment by index: reads the values where they land, the tensor elsewhere; an addition each if added."""
    x: Arg = call["self"]
    place = layout(x.shape, call["indices"])
    if place is None:
        return everything(call, "copy", DATA)
    given = [one for one in call["indices"] if one is not None]
    return _write(call, place, given, call["values"], accumulate=bool(call["accumulate"]))


@rule(
    "aten.index_copy", "aten.index_copy_", "aten.index_fill", "aten.index_fill_",
    "aten.index_add", "aten.index_add_", "aten.index_reduce", "aten.index_reduce_",
)  # fmt: skip
def index_write(call: Call) -> Effect:
    """Writing along an axis: reads the values where they land, the tensor elsewhere; an addition each if added."""
    x: Arg = call["self"]
    chosen: Arg = call["index"]
    axis = call["dim"] % max(1, x.ndim)
    values = either(call, "source", "value")
    shape = x.shape or (1,)
    place = Layout(shape, (axis,), (chosen.numel,), _flat(known(chosen, shape[axis])))
    accumulate = "index_add" in call.op or "index_reduce" in call.op
    keeps = call.get("include_self", True)
    return _write(call, place, [chosen], values if isinstance(values, Arg) else None, None, accumulate, keeps)


@rule(
    "aten.scatter", "aten.scatter_", "aten.scatter_add", "aten.scatter_add_",
    "aten.scatter_reduce", "aten.scatter_reduce_",
)  # fmt: skip
def scatter(call: Call) -> Effect:
    """Writing at places along an axis: computed ones read the axis; an operation each if accumulated."""
    x: Arg = call["self"]
    chosen: Arg = call["index"]
    src = call["src"] if isinstance(call["src"], Arg) else None
    if not x.ndim or not chosen.ndim:
        return everything(call, "copy", DATA)
    axis = call["dim"] % x.ndim
    accumulate = "scatter_add" in call.op or call["reduce"] is not None
    numbers = known(chosen, x.shape[axis])
    crop: Steps = ()
    if src is not None:
        crop = tuple(Slice(a, 0, 1, n) for a, n in enumerate(chosen.shape) if n < src.shape[a])
    if numbers is None:
        return _scatter_anywhere(x, axis, chosen, src, crop, accumulate)
    others = [a for a in range(x.ndim) if a != axis]
    line = only_along(numbers, axis) if all(chosen.shape[a] == x.shape[a] for a in others) else None
    if line is not None:
        place = Layout(x.shape, (axis,), (line.size,), line)
    else:
        grid = list(np.indices(chosen.shape))
        grid[axis] = numbers
        flat = np.ravel_multi_index(tuple(grid), x.shape).reshape(-1)
        place = Layout(x.shape, tuple(range(x.ndim)), chosen.shape, flat)
    keeps = call.get("include_self", True)
    return _write(call, place, [chosen], src, None if src is None else (crop, chosen.shape), accumulate, keeps)


def _scatter_anywhere(x: Arg, axis: int, chosen: Arg, src: Arg | None, crop: Steps, accumulate: bool) -> Effect:
    """A computed place: all of the axis may land there; the other axes keep their positions."""
    spread: list[Step] = [Reduce((axis,))]
    for a, size in enumerate(chosen.shape):
        if a != axis and size < x.shape[a]:
            spread.append(Pad(a, size, 0, x.shape[a] - size))
    reads: list[ArgRead] = [(x, ()), (chosen, tuple(spread))]
    if src is not None:
        reads.append((src, (*crop, *spread)))
    moved = x.reads_data or (src is not None and src.reads_data)
    flops = {"elementwise": chosen.numel} if accumulate else {}
    inexact = reason(chosen) if moved else ""  # and a place may be written, or not
    return Effect("copy", reads, flops=flops, attrs={"axes": [axis]}, inexact=inexact, sure=(chosen,))


@rule("aten.put", "aten.put_")
def put(call: Call) -> Effect:
    """Writing by number in row-major order: values where they land, the tensor elsewhere; an addition each if added."""
    x: Arg = call["self"]
    chosen: Arg = call["index"]
    source: Arg = call["source"]
    flat = _flat(known(chosen, x.numel))
    place = Layout(x.shape, tuple(range(x.ndim)), (chosen.numel,), flat)
    prefix = (reshape(source.shape, (source.numel,)), (source.numel,))
    return _write(call, place, [chosen], source, prefix, bool(call["accumulate"]))


@rule("aten.masked_scatter", "aten.masked_scatter_")
def masked_scatter(call: Call) -> Effect:
    """The source's elements in order under a mask: exact for a known mask, else all of them; no arithmetic."""
    x: Arg = call["self"]
    source: Arg = call["source"]
    mask = call["mask"].value()
    if mask is None or x.shape != call.out.shape or np.count_nonzero(mask) > LIMIT:
        return everything(call, "copy", DATA)
    flat = np.flatnonzero(np.broadcast_to(mask, x.shape))
    place = Layout(x.shape, tuple(range(x.ndim)), (flat.size,), flat)
    prefix = (*reshape(source.shape, (source.numel,)), Slice(0, 0, 1, flat.size))
    return _write(call, place, [call["mask"]], source, (prefix, (flat.size,)))


# --- selection by mask ------------------------------------------------------------------------------------------------


@rule("aten.masked_fill", "aten.masked_fill_")
def masked_fill(call: Call) -> Effect:
    """A value under a mask: a known mask is exact; no arithmetic."""
    return _choice(call, call["mask"], call["value"], call["self"])


@rule("aten.where")
def where(call: Call) -> Effect:
    """One tensor or the other: a known condition reads the chosen one, a computed one both; no arithmetic."""
    if call["self"] is None:
        return everything(call, "other", DATA)
    return _choice(call, call["condition"], call["self"], call["other"])


def _choice(call: Call, condition: Arg, yes: Any, no: Any) -> Effect:
    rank = len(call.out.shape)
    always, never = _settled(condition, rank)
    decided = condition.value() is not None
    of_no_matter = except_at(call, always | never) if not decided else ()  # one that was given would choose otherwise
    reads: list[ArgRead] = [(condition, (*align(condition.shape, rank), *of_no_matter))]
    for branch, gone in ((yes, never), (no, always)):
        if isinstance(branch, Arg):
            reads.append((branch, (*align(branch.shape, rank), *except_at(call, gone))))
    partly = not decided and bool((always | never).any())
    low = _low(yes), _low(no)
    open_to_data = not decided and not (always | never).all() and any(part is not None and part.any() for part in low)
    blocks = _low if decided else _is_infinite  # a finite mask blocks against the rest of its row: data may mask it too
    return Effect(
        "elementwise",
        reads,
        attrs={},
        blocked=union(rank, _joined(always, never, blocks(yes), blocks(no)), common(rank, *low)),
        zero=_joined(always, never, known_zero(yes), known_zero(no)),
        masked=partly,
        rows=partly,
        finite=finite_of([branch for branch in (yes, no) if isinstance(branch, int | float)], call.out.dtype),
        closing="data" if open_to_data else "",
    )


def _settled(condition: Arg, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a condition is known to be true, and where to be false; what is left is for data to decide."""
    value = condition.value()
    if value is not None:
        chosen = ranked(value.astype(bool), rank)
        return chosen, ~chosen
    unknown = np.zeros((1,) * rank, dtype=bool)
    true, false = (unknown if mask is None else ranked(mask, rank) for mask in (condition.true, condition.zero))
    return true, false


def _is_infinite(branch: Any) -> np.ndarray | None:
    """Where a branch is known to be minus infinity."""
    value = branch.numbers() if isinstance(branch, Arg) else branch
    return None if value is None else leant_on(branch, np.asarray(value) == -np.inf)


def _low(branch: Any) -> np.ndarray | None:
    """Where a branch is so far below zero that a softmax blocks it; a number counts, for it is chosen."""
    if isinstance(branch, Arg):
        if branch.blocked is not None:
            return branch.blocked
        value = branch.numbers()
        if value is not None:
            branch.finite = max(branch.finite, finite_of(value, branch.dtype))
        return None if value is None else leant_on(branch, value <= LOWEST)
    return None if branch is None else np.asarray(branch <= LOWEST)


def _joined(always: np.ndarray, never: np.ndarray, yes: np.ndarray | None, no: np.ndarray | None) -> np.ndarray | None:
    """What is known of the result: of the branch that is chosen, or of both."""
    a, b = (np.zeros((), dtype=bool) if known is None else known for known in (yes, no))
    joined = (always & a) | (never & b) | (a & b)
    return joined if joined.any() else None


@rule("aten.tril", "aten.tril_", "aten.triu", "aten.triu_")
def triangle(call: Call) -> Effect:
    """One triangle of a matrix, zero elsewhere; no arithmetic."""
    x: Arg = call["self"]
    rows, columns = x.shape[-2:]
    offset = call.get("diagonal", 0)
    lower = "tril" in call.op
    inside = np.tri(rows, columns, offset if lower else offset - 1, dtype=bool) == lower
    blocked = None if x.blocked is None else x.blocked & inside
    zero = ~inside if x.zero is None else x.zero | ~inside
    return Effect(
        "elementwise",
        [(x, except_at(call, ~inside))],
        attrs={"diagonal": offset},
        blocked=blocked if blocked is not None and blocked.any() else None,
        zero=zero if zero.any() else None,
    )


# --- order ------------------------------------------------------------------------------------------------------------


@rule("aten.sort", "aten.argsort", "aten.msort", "aten.topk")
def ordered(call: Call) -> Effect:
    """Sorting along an axis: reads all of it; n log2 n comparisons a row, one an element for the k largest."""
    x: Arg = either(call, "self", "input")
    axis = (0 if "msort" in call.op else call.get("dim", -1)) % max(1, x.ndim)
    steps: Steps = (Reduce((axis,)),) if x.ndim else ()
    length = x.shape[axis] if x.ndim else 1
    comparisons = 1 if call["k"] is not None else (length - 1).bit_length()
    attrs = {"dim": axis} if call["k"] is None else {"dim": axis, "k": call["k"]}
    return Effect("reduction", [(x, steps)], flops={"other": x.numel * comparisons}, attrs=attrs)


@rule("aten.searchsorted", "aten.bucketize")
def searchsorted(call: Call) -> Effect:
    """The place of a value in a sorted row: reads the value and the row; log2 n comparisons each."""
    row: Arg = either(call, "sorted_sequence", "boundaries")
    value = call["self"]
    rank = len(call.out.shape)
    reads: list[ArgRead] = [(row, (Reduce((row.ndim - 1,)), *reshape((*row.shape[:-1], 1), _tail(row, rank))))]
    if isinstance(value, Arg):
        reads.append((value, ()))
    flops = {"other": numel(call.out.shape) * row.shape[-1].bit_length()}
    return Effect("other", reads, flops=flops, attrs={})


def _tail(row: Arg, rank: int) -> tuple[int, ...]:
    """One sequence for all values, or one for each row of them."""
    return (1,) * rank if row.ndim == 1 else (*row.shape[:-1], 1)
