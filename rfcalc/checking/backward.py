"""Multiply-adds of the backward pass (``--training``): what differentiation has to do, against what torch ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rfcalc.analyses.costs.backward import backward
from rfcalc.checking import device as devices
from rfcalc.checking.counts import as_printed
from rfcalc.checking.first_pass import FirstPass
from rfcalc.checking.results import Check, Difference
from rfcalc.checking.subject import Subject, map_tensors
from rfcalc.tracing.arguments import tensors_in
from rfcalc.tracing.numbers import Drawing


class Excess(TorchDispatchMode):
    """Adds up what torch counts too much: it takes the weight gradient of a grouped convolution for a full one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution_backward.default and args[9] > 1 and args[10][1]:
            from torch.utils.flop_counter import flop_registry

            weight_only = [*args[:10], [False, True, False]]
            counted = int(flop_registry[torch.ops.aten.convolution_backward](*weight_only, out_val=out))
            if counted > self._right(args):
                self.flops += counted - counted // int(args[9])
        return out

    @staticmethod
    def _right(args: Sequence[Any]) -> int:
        """FLOPs of the weight gradient of a grouped convolution: each weight meets each output position once."""
        grad, x, weight = args[0], args[1], args[2]
        positions = (x if args[7] else grad).shape
        return int(2 * weight.numel() * positions[0] * positions[2:].numel())


def check_backward(first_pass: FirstPass) -> Check:
    """The multiply-adds of one backward pass, as a total; the known fault of torch's counter is taken out and named."""
    expected, unknown = _expected(first_pass.subject)
    try:
        seen, excess = _measured(first_pass)
    except Exception as error:
        text = (str(error).splitlines() or [""])[0]
        note = f"the backward pass could not be run: {type(error).__name__}: {text}"
        return Check("backward_macs", 0, 0, (), (note,))
    notes = [f"FlopCounterMode prints {seen:,} multiply-adds for the backward pass"]
    if excess:
        notes.append(
            f"of these {excess:,} are a fault of torch's counter: it ignores groups in a convolution's weight gradient"
        )
    if unknown:
        ops = ", ".join(unknown)
        notes.append(f"not compared: no rule says what going back through {ops} costs; all other ops: {expected:,}")
        return Check("backward_macs", 0, 0, (), tuple(notes))
    if expected == seen - excess:
        return Check("backward_macs", 1, 1, (), tuple(notes))
    return Check("backward_macs", 1, 0, (Difference("(total)", expected, seen - excess),), tuple(notes))


def _expected(subject: Subject) -> tuple[int, list[str]]:
    """What torch's formulas give for the gradients that the analysis says are wanted; the ops without a rule."""
    total = 0
    unknown: set[str] = set()
    for ident, found in backward(subject.graph).items():
        record = subject.graph[ident]
        if found is None:
            unknown.add(record.op)
        elif found.macs:
            total += as_printed(record, found.macs)
    return total, sorted(unknown)


def _measured(first_pass: FirstPass) -> tuple[int, int]:
    """Multiply-adds that torch counts for the backward pass, and how many of them are its counter's fault."""
    standins = first_pass.standins
    args, kwargs = first_pass.inputs.arguments()
    from torch.utils.flop_counter import FlopCounterMode  # with triton, 80 MB that few commands need

    counter, excess = FlopCounterMode(display=False), Excess()
    with torch.enable_grad(), devices.honest(), standins.installed() as (double, _), Drawing():
        args, kwargs = map_tensors((args, kwargs), lambda tensor: tensor, double.of)
        outputs = [tensor for tensor in tensors_in(double.model(*args, **kwargs)) if tensor.requires_grad]
        loss = torch.stack([tensor.sum().double() for tensor in outputs]).sum()
        with counter, excess:
            torch.autograd.backward(loss)
        for module in double.model.modules():
            for twin in module._parameters.values():
                if twin is not None:
                    twin.grad = None
    return int(counter.get_total_flops()) // 2, excess.flops // 2
