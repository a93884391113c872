"""One forward pass with gradients and one backward pass, from a unit of any node of the graph to an input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge, saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from rfcalc.checking import device as devices
from rfcalc.checking.alignment import same_op
from rfcalc.checking.standins import Inputs, StandIns
from rfcalc.checking.subject import Subject, map_tensors
from rfcalc.checking.witness import Witness, bind_tensors, takes_gradients
from rfcalc.effective.narrow import Narrow
from rfcalc.effective.unit import Target
from rfcalc.errors import TraceError, UsageError
from rfcalc.graph import Node
from rfcalc.tracing.functions import CompositeMode
from rfcalc.tracing.modules import ModuleStack

#: What runs with gradients and not without: torch takes note of a result that it needs on the way back.
_BOOKKEEPING = frozenset({"aten.detach", "aten.clone"})


class _CaughtError(BaseException):
    """Ends a pass behind the unit. No `Exception`, which models catch."""


class Catcher(TorchFunctionMode):
    """Finds the tensor of one node in a real pass, and where on the way back a gradient has to enter for it.

    The node is seen below torch's differentiation, so its tensor knows where it comes from only when the op is over.
    That is looked up when the next function begins, before it can write into the tensor, and the pass ends there.
    """

    def __init__(self, records: Sequence[Node], target: int) -> None:
        super().__init__()
        self.edge: GradientEdge | None = None
        self.made: torch.Tensor | None = None  #: of the node, which what the model runs afterwards may write into
        self.values: torch.Tensor | None = None  #: of the node, None while it has not run
        self.other: tuple[Node, str] | None = None  #: where the pass went another way than the traced one
        self._records, self._target = records, target
        self._next = 0
        self._held: torch.Tensor | None = None
        self._ended = False

    def observe(self, _: int, op: str, outs: Sequence[torch.Tensor]) -> None:
        """The next op of the pass with its results."""
        if self.other is not None or self._next == len(self._records):
            return
        record = self._records[self._next]
        if same_op(record.op, op):
            self._next += 1
            if record.id == self._target:
                self.values = outs[0].detach().clone()  # here, where the pass does not take it for an op of the model's
                self._held = outs[0]
        elif op not in _BOOKKEEPING:
            self.other = record, op

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.settle()
        if self.edge is not None and not self._ended:
            self._ended = True
            raise _CaughtError
        return func(*args, **(kwargs or {}))

    def settle(self) -> None:
        """Look up where the tensor of the node comes from, if the function that made it was the last one."""
        if self._held is not None and self._held.grad_fn is not None:
            self.edge, self.made = get_gradient_edge(self._held), self._held
        self._held = None


def gradient_of(
    subject: Subject,
    standins: StandIns,
    inputs: Inputs,
    target: Target,
    image: torch.Tensor,
    *,
    relu: bool,
    seed: int = 0,
    plain: bool = False,
) -> torch.Tensor:
    """The gradient of a unit, the sum of its channels, with respect to its input where that is ``image``.

    ``relu`` leaves out the channels in which the unit is not positive; ``seed`` is that of what drops out in training.
    ``plain`` takes the simplest kernels for all of it, at twice the time and more.
    Nothing of the model is written: the pass runs on standins of its tensors. Raises `TraceError` where the pass cannot
    be followed to the unit.
    """
    leaf = image.to(standins.device).requires_grad_()
    caught = Catcher(subject.records, target.node.id)
    with devices.honest() if plain else devices.zeros_kept(), saved_tensors_hooks(_copied, lambda kept: kept):
        _forward(subject, standins, inputs, {target.number: leaf}, caught, seed)
        values = _values(subject, target.node, caught)
        found = None
        if caught.edge is not None:
            start = torch.zeros_like(values)
            start[target.unit] = (values[target.unit] > 0).to(start.dtype) if relu else 1
            found = _back(caught, start, leaf, nullcontext() if plain else Narrow())  # type: ignore[no-untyped-call]
    return torch.zeros_like(image, device=standins.device) if found is None else found


def _back(
    caught: Catcher, start: torch.Tensor, leaf: torch.Tensor, mode: AbstractContextManager[Any]
) -> torch.Tensor | None:
    """What comes to the leaf of a gradient that enters at the node; None where nothing of it does."""
    made, edge = caught.made, caught.edge
    assert made is not None
    assert edge is not None
    outputs: list[Any] = [edge]
    starts: list[torch.Tensor] | None = [start]
    if made.grad_fn is edge.node and made.output_nr == edge.output_nr:
        with torch.enable_grad():  # torch imports its compiler where it is given a gradient to begin with
            outputs, starts = [(made * start).sum()], None
    with mode:
        (found,) = torch.autograd.grad(outputs, [leaf], starts, allow_unused=True)
    return found


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """What the way back needs as it is now: models that are not meant to be trained write into their tensors."""
    return tensor if isinstance(tensor, nn.Parameter) else tensor.clone()


def _forward(
    subject: Subject,
    standins: StandIns,
    inputs: Inputs,
    changed: Mapping[int, torch.Tensor],
    caught: Catcher,
    seed: int,
) -> None:
    """A forward pass with gradients in which each op of the graph is shown to the catcher."""
    stack = ModuleStack(subject.model)
    witness = Witness(stack, caught.observe, seed=seed)
    with torch.enable_grad(), standins.installed() as (double, names):
        stack.follow(double)
        for parameter in double.model.parameters():
            parameter.requires_grad_(False)  # the stand-ins': only the input's gradient is wanted
        bind_tensors(witness, double, names)

        def declare(tensor: torch.Tensor) -> torch.Tensor:
            ref = witness.input("input", tensor)
            caught.observe(ref.node, "input", [tensor])
            caught.settle()
            return tensor

        args, kwargs = map_tensors(inputs.arguments(changed), declare, double.of)
        with suppress(_CaughtError), caught, witness, CompositeMode(witness, takes_gradients(subject)):
            double.model(*args, **kwargs)
        caught.settle()


def _values(subject: Subject, target: Node, caught: Catcher) -> torch.Tensor:
    """The values of the node. Raises an error in one line where there is no gradient to be had."""
    name, values = subject.loaded.name, caught.values
    if values is None:
        where = ""
        if caught.other is not None:
            where = f": at {caught.other[0].name} it ran {caught.other[1]} in place of {caught.other[0].op}"
        raise TraceError(f"{name} ran otherwise than it was traced, and did not come to {target.name}{where}")
    if not values.dtype.is_floating_point:
        raise UsageError(f"layer {target.name} gives {target.outputs[0].dtype}, of which there is no gradient")
    if tuple(values.shape) != target.shape:
        shapes = ["x".join(map(str, shape)) for shape in (values.shape, target.shape)]
        raise TraceError(f"{target.name} of {name} gave {shapes[0]}, and was traced to give {shapes[1]}")
    return values


__all__ = ["Catcher", "gradient_of"]
