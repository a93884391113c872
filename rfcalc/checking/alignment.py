"""Which op of a real pass stands for which node of the graph: copies may come in between, and may be left out.

Whether a tensor is copied on its way depends on its device, its layout and its type (``x.cpu()`` copies from elsewhere
alone), and changes no number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from rfcalc.graph import Node

#: Called with the number of a node, its op and its real outputs, right after the op ran.
Observer = Callable[[int, str, Sequence[torch.Tensor]], None]
#: Called with a node's number and each op that torch ran for it; None stands for what constants alone were computed of.
Counted = Callable[[int | None, Any, Sequence[Any], Mapping[str, Any], Any], None]

#: Ops that do the same and run in each other's place, depending on the strides of a tensor or the device.
_SAME = {"aten._unsafe_view": "aten.view", "aten.reshape": "aten.view", "aten.fill_": "aten.copy_"}
COPIES = frozenset({"aten.clone", "aten.contiguous", "aten._to_copy", "aten.alias", "aten.detach", "aten.lift_fresh"})


def same_op(left: str, right: str) -> bool:
    """Whether two ops are the same work under two names."""
    return _SAME.get(left, left) == _SAME.get(right, right)


def is_copy(record: Node) -> bool:
    """Whether a node only copies or casts a tensor, for nothing."""
    return record.op in COPIES and not record.macs and not record.flops


class Aligned:
    """Hands the ops of one real pass to an observer under the numbers of the graph's nodes.

    An op that stands for another one than the next node is handed on under that node's number, and so is all after it.
    """

    def __init__(self, records: Sequence[Node], observe: Observer, counted: Counted | None) -> None:
        self._records, self._observe, self._counted = records, observe, counted
        self._next = 0
        self._apart = False  #: whether other ops ran than there are nodes
        self._places: dict[int, int | None] = {}

    def observe(self, ident: int, op: str, outs: Sequence[torch.Tensor]) -> None:
        """An op of the pass, by its number there."""
        if ident in self._places:
            return
        at = self._places[ident] = self._place(op)
        if at is not None:
            self._next = at + 1
            self._observe(at, op, outs)

    def count(self, ident: int | None, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        """What torch ran for it."""
        at = None if ident is None else self._places.get(ident)
        if self._counted is not None and (at is not None or ident is None):
            self._counted(at, func, args, kwargs, out)

    def _place(self, op: str) -> int | None:
        at, records = self._next, self._records
        if self._apart or (at < len(records) and same_op(records[at].op, op)):
            return at
        if op in COPIES:
            return None
        while at < len(records) and is_copy(records[at]):
            at += 1
            if at < len(records) and same_op(records[at].op, op):
                return at
        self._apart = True
        return self._next
