"""The first real pass, on unpoisoned inputs: which ops ran, with which shapes, and what torch counted for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch.utils.flop_counter import bmm_flop, conv_flop_count, flop_registry, mm_flop

from rfcalc.checking.alignment import is_copy, same_op
from rfcalc.checking.standins import GAINS, Inputs, StandIns
from rfcalc.checking.subject import Subject, failed
from rfcalc.checking.witness import holds_nan, run
from rfcalc.errors import RfcalcError
from rfcalc.graph import Node, Ref


@dataclass
class FirstPass:
    """What one real pass showed. Numbers of nodes are those of the graph up to ``matched``."""

    subject: Subject
    standins: StandIns
    inputs: Inputs
    gain: float
    ops: list[str | None] = field(default_factory=list)  #: by node; None for a copy that this pass does not need
    shapes: list[tuple[tuple[int, ...], ...]] = field(default_factory=list)
    constant_flops: int = 0  #: of what was computed from constants alone
    unusable: set[tuple[int, int]] = field(default_factory=set)  #: outputs that are NaN without any poison
    overflow: bool = False
    flops: Counter[int] = field(default_factory=Counter)
    counted: set[int] = field(default_factory=set)  #: nodes for which torch has a formula
    named: tuple[str, ...] = ()  #: devices that forward names, in whose place the pass's own is taken
    second: dict[int, int] = field(default_factory=dict)  #: multiply-adds of an equivalent op that torch counts

    @property
    def matched(self) -> int:
        """How many nodes from the first on stand for the same ops in the graph and in the real pass."""
        for ident, (record, op) in enumerate(zip(self.subject.records, self.ops, strict=False)):
            if op is not None and not same_op(record.op, op):
                return ident
        return min(len(self.ops), len(self.subject.records))

    @property
    def misshapen(self) -> bool:
        """Whether an output of a matched node has another shape than the graph says, and counts for what comes out."""
        pairs = zip(self.subject.records[: self.matched], self.shapes, strict=False)
        return any(self.differs(record, shapes) for record, shapes in pairs)

    def differs(self, record: Node, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Whether outputs of a node have other shapes than the graph says, of those that something comes out of.

        Nothing does of the statistics that a norm keeps for a gradient, of which some devices give none.
        """
        return len(record.outputs) != len(shapes) or any(
            out.shape != shape and Ref(record.id, number) in self._alive
            for number, (out, shape) in enumerate(zip(record.outputs, shapes, strict=True))
        )

    @cached_property
    def _alive(self) -> frozenset[Ref]:
        """The outputs of nodes that lead to one of the model's."""
        open_ = [*self.subject.graph.outputs]
        found: set[Ref] = set()
        while open_:
            ref = open_.pop()
            if ref not in found:
                found.add(ref)
                open_ += self.subject.graph[ref.node].inputs
        return frozenset(found)

    @staticmethod
    def holds_nan(record: Node, number: int) -> bool:
        """Whether an output is of a type that has NaN."""
        return record.outputs[number].dtype.startswith(("float", "bfloat"))

    def observe(self, ident: int, op: str, outs: Sequence[torch.Tensor]) -> None:
        """One node and its real outputs."""
        while len(self.ops) < ident:  # nodes before it that were left out
            self._leave_out()
        self.ops.append(op)
        self.shapes.append(tuple(tuple(out.shape) for out in outs))
        for number, out in enumerate(outs):
            if holds_nan(out) and not out.is_meta and bool(out.isnan().any()):
                self.unusable.add((ident, number))

    def _leave_out(self) -> None:
        self.shapes.append(tuple(out.shape for out in self.subject.records[len(self.ops)].outputs))
        self.ops.append(None)

    def end(self) -> None:
        """The pass has ended: copies behind its last op were left out."""
        records = self.subject.records
        while len(self.ops) < len(records) and is_copy(records[len(self.ops)]):
            self._leave_out()

    def count(self, ident: int | None, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        """One op that torch ran for a node."""
        packet = getattr(func, "_overloadpacket", func)
        formula = flop_registry.get(packet)
        if ident is None:
            self.constant_flops += int(formula(*args, **kwargs, out_val=out)) if formula is not None else 0
            return
        if formula is not None:
            self.flops[ident] += int(formula(*args, **kwargs, out_val=out))
            self.counted.add(ident)
        else:
            other = _equivalent(str(packet), args, out)
            if other:
                self.second[ident] = self.second.get(ident, 0) + other // 2


#: What the names of ops have that take packed weights.
_PACKED = ("quantized.linear", "quantized.conv", "int4pack_mm", "int8pack_mm", "bitsandbytes.gem")


def _of_packed(name: str, args: Sequence[Any], out: Any) -> int:
    """FLOPs of the product of as many features, or of the convolution by the weight that the kernel gives back."""
    x = args[0]
    if "conv" not in name:
        return int(mm_flop((x.numel() // max(1, x.shape[-1]), x.shape[-1]), (x.shape[-1], out.shape[-1])))
    held: Any = next(arg for arg in args if isinstance(arg, torch.ScriptObject))
    weight = list(held.unpack()[0].shape)
    if len(weight) > x.ndim:
        del weight[2]  # one axis is packed as two
    return conv_flop_count(list(x.shape), weight, list(out.shape), transposed="transpose" in name)


def _equivalent(op: str, args: Sequence[Any], out: Any) -> int:
    """FLOPs of the op that torch counts and that does the same work on the same shapes; 0 where there is none."""
    name = op.rpartition(".")[2]
    if any(part in op for part in _PACKED):
        return _of_packed(name, args, out)
    shapes = [tuple(arg.shape) for arg in args if isinstance(arg, torch.Tensor)]
    if name == "mv":
        return int(mm_flop(shapes[0], (*shapes[1], 1)))
    if name == "addmv":
        return int(mm_flop(shapes[1], (*shapes[2], 1)))
    if name in ("dot", "vdot"):
        return int(mm_flop((1, *shapes[0]), (*shapes[1], 1)))
    if name == "addbmm":
        return int(bmm_flop(shapes[1], shapes[2]))
    if name == "deform_conv2d":
        return conv_flop_count(list(shapes[0]), list(shapes[1]), list(out.shape))
    return 0


def first_pass(subject: Subject, device: torch.device, seed: int) -> FirstPass:
    """Run the subject once. Weights that had to be made up are made smaller until no activation overflows.

    Raises `TraceError` in one line where the real forward pass fails or does not fit into memory.
    """
    for gain in GAINS:
        try:
            standins = StandIns(subject, device, seed, gain=gain)
            found = FirstPass(subject, standins, Inputs(subject, device, seed), gain)
            found.named = run(subject, standins, found.inputs, found.observe, counted=found.count)
            found.end()
        except RfcalcError:
            raise
        except Exception as error:
            raise failed(subject, device, error) from error
        if not found.unusable or not standins.random:
            break
    return found
