"""One real forward pass, op by op: which real tensor belongs to which node, and what torch counted for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from rfcalc.checking import device as devices
from rfcalc.checking.alignment import Aligned, Counted, Observer
from rfcalc.checking.standins import Inputs, StandIns
from rfcalc.checking.subject import Subject, map_tensors
from rfcalc.graph import Ref
from rfcalc.ops import Arg, Effect
from rfcalc.tracing.arguments import tensors_in
from rfcalc.tracing.doubles import Double
from rfcalc.tracing.functions import CompositeMode
from rfcalc.tracing.modules import ModuleStack
from rfcalc.tracing.numbers import Drawing
from rfcalc.tracing.placing import Placing
from rfcalc.tracing.recorder import Recorder
from rfcalc.tracing.values import Value

#: Ops whose kernels take NaN for a place in memory and end the process.
_UNBEARABLE = frozenset({"torchvision::deform_conv2d", "torchvision::_deform_conv2d_backward"})


class UnbearableError(Exception):
    """An op that cannot stand NaN was to get some: it refused them, or would have ended the process."""


class Witness(Recorder):  # type: ignore[no-untyped-call]
    """A recorder on tensors with storage that shows each node's outputs to an observer and keeps none of them."""

    def __init__(self, stack: ModuleStack, observe: Observer, counted: Counted | None = None, *, seed: int = 0) -> None:
        super().__init__(stack, meta=False, seed=seed)  # what drops out in training
        self._observe = observe
        self._counted = counted
        self._ran: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = []
        self._new: list[tuple[str, int]] = []

    def _node(
        self,
        op: str,
        effect: Effect,
        args: Sequence[tuple[Arg, Value]],
        outs: Sequence[torch.Tensor],
        known: bool = True,
    ) -> Ref:
        ref = super()._node(op, effect, args, outs, known)
        self._new.append((op, ref.node))
        self._observe(ref.node, op, outs)
        return ref

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func._schema.name in _UNBEARABLE and any(_has_nan(item) for item in (*args, *kwargs.values())):
            raise UnbearableError(func._schema.name.partition("::")[2])
        if self._whole:
            result = self._run(func, args, kwargs)
            if self._counted is not None:
                self._ran.append((func, args, kwargs, result))
            return result
        self._new.clear()
        try:
            result = super().__torch_dispatch__(func, types, args, kwargs)
        except Exception as error:
            if devices.is_out_of_memory(error) or not any(_has_nan(item) for item in (*args, *kwargs.values())):
                raise
            raise UnbearableError(func._schema.name.partition("::")[2]) from error
        if self._counted is not None:
            self._tell("aten." + func._schema.name.partition("::")[2], [(func, args, kwargs, result)])
        return result

    def whole(self, name: str, named: Mapping[str, Any], run: Callable[..., Any], call: Any = None) -> Any:
        """As in `Recorder`; what torch ran inside belongs to the composite's node."""
        self._new.clear()
        self._ran.clear()
        result = super().whole(name, named, run, call)
        if self._counted is not None:
            self._tell(name, self._ran)
        self._ran.clear()
        return result

    def _tell(self, op: str, ran: Sequence[tuple[Any, Sequence[Any], Mapping[str, Any], Any]]) -> None:
        """Hand the ops that ran to the node that stands for them, or to none: constants alone left none."""
        short = op.partition(".")[2]
        idents = [ident for name, ident in self._new if name.partition(".")[2] == short]
        if self._counted is not None:
            for func, args, kwargs, result in ran:
                self._counted(idents[0] if idents else None, func, args, kwargs, result)


def _has_nan(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and bool(value.isnan().any())


def holds_nan(tensor: torch.Tensor) -> bool:
    """Whether NaN can be written into a tensor, and looked for in it: not in a sparse one."""
    return tensor.is_floating_point() and tensor.layout is torch.strided


def gradients(subject: Subject) -> Any:
    """The mode of a pass: with gradients where the model takes some itself, as it was traced."""
    return torch.enable_grad() if takes_gradients(subject) else torch.no_grad()


def takes_gradients(subject: Subject) -> bool:
    """Whether the model differentiates in its forward pass, as it was traced."""
    return bool(subject.graph.meta.get("gradients"))


def run(
    subject: Subject,
    standins: StandIns,
    inputs: Inputs,
    observe: Observer,
    *,
    changed: Mapping[int, torch.Tensor] | None = None,
    counted: Counted | None = None,
) -> tuple[str, ...]:
    """One forward pass of the subject on the stand-ins; `observe` sees every node's outputs, inputs included.

    Returns the devices that forward names.
    """
    stack = ModuleStack(subject.model)
    aligned = Aligned(subject.records, observe, counted)
    witness = Witness(stack, aligned.observe, aligned.count if counted is not None else None)
    witness.home = standins.device
    args, kwargs = inputs.arguments(changed)
    with gradients(subject), devices.honest(), standins.installed() as (double, names):
        stack.follow(double)
        bind_tensors(witness, double, names)

        def declare(tensor: torch.Tensor) -> torch.Tensor:
            ref = witness.input("input", tensor)
            aligned.observe(ref.node, "input", [tensor])
            return tensor

        args, kwargs = map_tensors((args, kwargs), declare, double.of)
        with witness, CompositeMode(witness, takes_gradients(subject)):
            double.model(*args, **kwargs)
    return tuple(witness.placed)


def bind_tensors(witness: Witness, double: Double, names: Mapping[int, str]) -> None:
    """Tell a witness what the double's parameters and buffers are; ``names`` are those of parameters, by id."""
    packing = witness.packing
    for prefix, module in double.model.named_modules():
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            name = f"{prefix}.{key}" if prefix else key
            if tensor is None or id(tensor) in witness._slots:
                continue
            packed = (name,) if name in packing.kept else ()
            if name in packing.biases.values() or (id(tensor) in names and not packed):
                witness.bind(tensor, Value("param", params=(names.get(id(tensor), name),)))
            else:
                witness.bind(tensor, Value("const", real=tensor, borrowed=True, packed=packed))


def plain_run(
    standins: StandIns,
    inputs: Inputs,
    context: Iterable[Any] = (),
    *,
    changed: Mapping[int, torch.Tensor] | None = None,
) -> list[torch.Tensor]:
    """One forward pass without observer, under more contexts, some inputs ``changed``; returns the output tensors."""
    from contextlib import ExitStack

    args, kwargs = inputs.arguments(changed)
    with gradients(standins.subject), standins.installed() as (double, _), Drawing(), ExitStack() as stack:
        stack.enter_context(Placing(standins.device))
        for item in context:
            stack.enter_context(item)
        args, kwargs = map_tensors((args, kwargs), lambda tensor: tensor, double.of)
        return tensors_in(double.model(*args, **kwargs))


__all__ = [
    "Counted",
    "Observer",
    "UnbearableError",
    "Witness",
    "bind_tensors",
    "gradients",
    "holds_nan",
    "plain_run",
    "run",
    "takes_gradients",
]
