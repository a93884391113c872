"""Rows that are brought into an order which data decides, and back: experts get the tokens that were sent to them.

A mixture of experts sorts its tokens by the number of their expert, multiplies runs of them by a matrix each, and puts
the results back where the tokens were. Which row a token takes is for the values of all tokens to say; what becomes of
it is not, as long as each row is worked on by itself and the order is undone. A pass therefore takes the order to be
that of the tokens, ``arange``, and follows which axes are in it. Where rows of an order meet anything else, a
convolution, rows in another order, a sum that is not the same in every order, the pass is done again without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch

from rfcalc import reads
from rfcalc.graph import ORDERED, TensorInfo
from rfcalc.ops import Arg, Effect
from rfcalc.ops._linear import reshape
from rfcalc.tracing.tensors import SEQUENCES, is_plain
from rfcalc.tracing.values import LARGEST_CONSTANT, Ordered, Value

#: Arguments of an op as its rule saw them, with what they hold.
Args: TypeAlias = list[tuple[Arg, Value]]

_SORTS = frozenset({"aten.sort", "aten.argsort"})
_WHOLE_NUMBERS = frozenset({"uint8", "int8", "int16", "int32", "int64"})
#: Sums and the like that are the same in every order of what they go over.
_IN_ANY_ORDER = frozenset(f"aten.{name}" for name in ("sum", "mean", "amax", "amin", "any", "all", "count_nonzero"))
_COUNTS = frozenset({"aten.histc", "aten.bincount"})
#: The same numbers in another type, shape or place.
_AS_BEFORE = frozenset({"_to_copy", "to", "clone", "detach", "alias", "contiguous", "float", "int", "long", "type"})
_READS = frozenset({"aten.index", "aten._unsafe_index", "aten.index_select", "torch.index_select"})
_LOOKUPS = frozenset({"aten.embedding", "torch.embedding"})
_WRITES = frozenset(
    f"aten.{name}"
    for name in (
        *("index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"),
        *("index_add", "index_add_", "index_copy", "index_copy_"),
    )
)


class _MixedError(Exception):
    """Rows of an order meet something that is not in it."""


@dataclass(slots=True)
class Orders:
    """The orders of one pass: what was sorted by, by the node of the sort. ``broken`` says why one does not hold."""

    assumed: bool  #: whether orders are taken for that of the tokens
    keys: dict[int, tuple[Arg, Value]] = field(default_factory=dict)
    broken: str = ""

    def begin(self, op: str, args: Args, effect: Effect) -> bool:
        """Whether a sort begins an order: then its results are read so, place by place, and not at all."""
        if not self.assumed or op not in _SORTS or len(args) != 1:
            return False
        arg, held = args[0]
        fits = arg.ndim == 1 and arg.dtype in _WHOLE_NUMBERS and 1 < arg.numel <= LARGEST_CONSTANT
        if not fits or held.ref is None or held.real is not None or held.ordered is not None:
            return False
        effect.reads, effect.each = ([[(arg, ())], []] if op == "aten.sort" else [[]]), True
        effect.notes = (*effect.notes, ORDERED)
        return True

    def begun(self, node: int, args: Args, values: Sequence[Value]) -> None:
        """The results of such a sort: the sorted numbers, and where each was."""
        self.keys[node] = args[0]
        *key, order = values
        for value in key:
            value.ordered = Ordered(node, 0, "key")
        order.ordered, order.real = Ordered(node, 0, "order"), torch.arange(args[0][0].numel)

    def concern(self, args: Args) -> bool:
        """Whether an argument is in an order, or holds numbers of one."""
        return bool(self.keys) and any(held.ordered is not None for _, held in args)

    def follow(
        self,
        op: str,
        args: Args,
        effect: Effect,
        outs: Sequence[TensorInfo],
        stored: Sequence[np.ndarray],
        named: Mapping[str, Any] | None = None,
    ) -> Sequence[Ordered | None]:
        """What the results are in the order of, of an op of which an argument is; ``named`` are those of the op.

        Changes the effect where the order tells more than numbers of which nothing is known.
        """
        nothing = [None] * len(outs)
        held = None if named is None else _by_name(named, args)
        masks = {key: mask.shape for key, mask in enumerate(stored)}
        try:
            if held is not None and (op in _READS or op in _LOOKUPS or op in _WRITES):
                found = (_written if op in _WRITES else self._read)(held)
                if found is not _GENERIC:
                    return self._noted(effect, [found, *nothing[1:]])
            if op in _SORTS and args[0][1].ordered == Ordered(_sort(args), 0, "order"):
                return self._noted(effect, [*nothing[:-1], Ordered(_sort(args), None, "rows")])
            if op in _COUNTS and args[0][1].ordered is not None and args[0][1].ordered.holds == "key":
                return [Ordered(_sort(args), None, "counts")]
            if op == "aten._grouped_mm" and held is not None:
                return self._noted(effect, [self._grouped(held, args, effect)])
            return self._noted(
                effect, [_along(op, args, effect, number, out, masks) for number, out in enumerate(outs)]
            )
        except _MixedError as error:
            self.broken = self.broken or f"{op}: {error}"
            return nothing

    def end(self, values: Sequence[Value]) -> None:
        """Results of the model are in no order of data's making."""
        if any(value.ordered is not None and value.ordered.of_rows for value in values):
            self.broken = self.broken or "the model gives rows back in such an order"

    def _noted(self, effect: Effect, found: Sequence[Ordered | None]) -> Sequence[Ordered | None]:
        if any(one is not None and one.of_rows for one in found):
            effect.notes = (*effect.notes, ORDERED)
        return found

    def _read(self, held: Callable[[str], Any]) -> Any:
        """What is read at known places: rows brought into the order, or back."""
        table = held("self") or held("input") or held("weight")
        chosen = _indices(held)
        if len(chosen) != 1:
            return _GENERIC
        axis, index = chosen[0]
        by, rows = index[1].ordered, table[1].ordered
        if index[1].real is None or (by is None and (rows is None or rows.axis != axis)):
            return _GENERIC  # an index of which the rule knows nothing reads the whole axis, and says so
        if by is not None and by.holds == "rows":
            if rows is None or rows.axis != axis:
                raise _MixedError("numbers of rows choose what is in no such order")
            return None
        if rows is not None and rows.axis == axis:
            raise _MixedError("rows in such an order are chosen by their numbers")
        if by is not None and by.axis is not None:
            if rows is not None and rows.axis is not None:
                raise _MixedError("two orders meet")
            key = self.keys.get(by.sort)
            is_key = key is not None and key[1].ref is not None and key[1].ref == table[1].ref
            return Ordered(by.sort, axis + by.axis, "key" if is_key else "")
        return rows

    def _grouped(self, held: Callable[[str], Any], args: Args, effect: Effect) -> Ordered:
        """Runs of rows in the order, as long as there are rows of each number: a row's matrix is that of its own."""
        left, right, bounds = held("self"), held("mat2"), held("offs")
        rows, ends = left[1].ordered, bounds[1].ordered if bounds is not None else None
        if (
            rows is None
            or rows.axis != 0
            or ends is None
            or ends.holds != "ends"
            or ends.sort != rows.sort
            or (left[0].ndim, right[0].ndim) != (2, 3)
        ):
            raise _MixedError("groups of rows that are not those of the order")
        key = self.keys[rows.sort]
        args.append(key)
        kept = [(arg, steps) for arg, steps in effect.reads_of(0) if arg is not bounds[0]]
        effect.reads = [*kept, (key[0], reshape(key[0].shape, (*key[0].shape, 1)))]
        effect.each, effect.inexact = False, ""
        return Ordered(rows.sort, 0)


_GENERIC = object()


def _by_name(named: Mapping[str, Any], args: Sequence[tuple[Arg, Value]]) -> Callable[[str], Any]:
    """An argument by its name as a rule sees it: tensors with what they hold, in order."""
    left = iter(args)

    def seen(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return next(left)
        return [seen(item) for item in value] if isinstance(value, SEQUENCES) and not is_plain(value) else value

    found = {name: seen(value) for name, value in named.items()}
    return found.get


def _sort(args: Args) -> int:
    """The order that arguments are in. Raises where there are two."""
    sorts = {held.ordered.sort for _, held in args if held.ordered is not None}
    if len(sorts) != 1:
        raise _MixedError("two orders meet")
    return sorts.pop()


def _indices(held: Callable[[str], Any]) -> list[tuple[int, tuple[Arg, Value]]]:
    """The indices of an op by the axes that they are for."""
    given = held("indices") if held("indices") is not None else held("index")
    one_for_each = given if isinstance(given, list) else [None] * (held("dim") or 0) + [given]
    return [(axis, one) for axis, one in enumerate(one_for_each) if one is not None]


def _written(held: Callable[[str], Any]) -> Ordered | None:
    """What is written at known places: rows put back, or the places of rows."""
    table, values = held("self"), held("values") or held("source")
    chosen = _indices(held)
    if len(chosen) != 1 or values is None:
        raise _MixedError("written by several indices")
    axis, index = chosen[0]
    by = index[1].ordered
    if table[1].ordered is not None or by is None or by.axis != 0 or index[1].real is None or index[0].ndim != 1:
        raise _MixedError("written at places that are not those of the rows")
    into, rows = values[0].ndim - table[0].ndim + axis, values[1].ordered
    if into < 0 or values[0].shape[into] == 1:  # the same for all rows
        if rows is not None:
            raise _MixedError("one row for all")
        return None
    if rows is not None:
        if rows.axis != into or rows.sort != by.sort or rows.holds == "rows":
            raise _MixedError("rows that are not those of the places")
        return None
    real = values[1].real
    counted = (
        real is not None and real.ndim == 1 and torch.equal(real.to(torch.int64).cpu(), torch.arange(real.numel()))
    )
    if table[0].ndim == 1 and values[1].role == "const" and counted:
        return Ordered(by.sort, None, "rows")
    raise _MixedError("what is written for each row does not come with it")


def _along(
    op: str, args: Args, effect: Effect, number: int, out: TensorInfo, masks: Mapping[int, Sequence[int]]
) -> Ordered | None:
    """What one result is in the order of, where each of its rows is made of the row at its place."""
    sort, axes, others = _sort(args), set(), []
    listed = effect.reads_of(number)
    for arg, steps in listed:
        held = next((value for one, value in args if one is arg), None)
        ordered = held.ordered if held is not None else None
        if ordered is not None and ordered.axis is not None:
            found = _through(ordered.axis, arg.shape, steps, masks)
            if found is None:
                raise _MixedError("rows meet each other")
            if found < 0 and op not in _IN_ANY_ORDER and op not in _COUNTS:
                raise _MixedError("what is made of all rows may depend on their order")
            axes.add(found)
        elif arg.numel > 1:
            others.append((arg, steps))
    if len(axes) > 1:
        raise _MixedError("rows meet each other")
    axis = next((axis for axis in axes if axis >= 0), None)
    if axis is not None:
        for arg, steps in others:
            shape = reads.shape_through(arg.shape, steps, masks)
            at = len(shape) - len(out.shape) + axis
            if at >= 0 and shape[at] > 1:
                raise _MixedError("rows meet what is in no such order")
        known = {id(arg) for arg, _ in listed}
        if any(arg.numel > 1 and id(arg) not in known for arg, held in args if held.role == "const"):
            raise _MixedError("rows meet a constant of which the rule does not say where")
    holds = next((held.ordered.holds for _, held in args if held.ordered is not None and held.ordered.holds), "")
    name = op.partition(".")[2].removesuffix("_")
    same = name in _AS_BEFORE or effect.kind in ("cast", "copy") or (effect.kind == "reshape" and not _by_place(effect))
    if holds == "counts" and name == "cumsum":
        holds = "ends"
    elif not same:
        if holds == "rows":
            raise _MixedError("arithmetic on the numbers of rows")
        holds = ""
    return Ordered(sort, axis, holds) if axis is not None or holds else None


def _by_place(effect: Effect) -> bool:
    """Whether an effect takes elements by their places."""
    steps = [step for _, found in effect.reads_of(0) for step in found]
    return not all(isinstance(step, reads.Reshape | reads.Permute) for step in steps)


def _through(axis: int, shape: Sequence[int], steps: reads.Steps, masks: Mapping[int, Sequence[int]]) -> int | None:
    """Where an axis stands after steps that leave its positions as they are; -1 where it is read whole, else None."""
    for step in steps:
        match step:
            case reads.Reduce(axes):
                if axis in axes:
                    return -1
            case reads.Permute(axes):
                axis = axes.index(axis)
            case reads.Reshape(before, after):
                place = _reshaped(axis, before, after)
                if place is None:
                    return None
                axis = place
            case reads.Blocked(mask) | reads.Contract(mask):
                over = (1,) * (len(shape) - len(masks[mask])) + tuple(masks[mask])
                if over[axis] > 1 or (isinstance(step, reads.Contract) and axis >= len(shape) - 2):
                    return None
            case reads.Erase(_, box):
                if any(one[0] == axis for one in box):
                    return None
            case _:
                if step.axis == axis:
                    return None
        shape = reads.shape_after(shape, step, masks)
    return axis


def _reshaped(axis: int, before: Sequence[int], after: Sequence[int]) -> int | None:
    """The axis with the same positions in another shape."""
    ahead = prod(before[:axis])
    for other, extent in enumerate(after):
        if extent == before[axis] and prod(after[:other]) == ahead:
            return other
    return None
