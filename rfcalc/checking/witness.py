"""One real forward pass, op by op: which real tensor belongs to which node, and what torch counted for it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from rfcalc.checking import device as devices
from rfcalc.checking.subject import Subject, map_tensors
from rfcalc.checking.twins import Inputs, Twins
from rfcalc.graph import Ref
from rfcalc.ops import Arg, Effect
from rfcalc.tracing.arguments import tensors_in
from rfcalc.tracing.doubles import Double
from rfcalc.tracing.functions import CompositeMode
from rfcalc.tracing.modules import ModuleStack
from rfcalc.tracing.numbers import Drawing
from rfcalc.tracing.recorder import Recorder
from rfcalc.tracing.values import Slot, Value

#: Called with the number of a node, its op and its real outputs, right after the op ran.
Observer = Callable[[int, str, Sequence[torch.Tensor]], None]
#: Called with a node's number and each op that torch ran for it.
Counted = Callable[[int, Any, Sequence[Any], Mapping[str, Any], Any], None]

#: Results that nobody needs any more are let go after this many bytes of new ones.
_SWEEP_BYTES = 64 << 20


#: Ops whose kernels take NaN for a place in memory and end the process.
_UNBEARABLE = frozenset({"torchvision::deform_conv2d", "torchvision::_deform_conv2d_backward"})


class UnbearableError(Exception):
    """An op that cannot stand NaN was to get some."""


class Witness(Recorder):  # type: ignore[no-untyped-call]
    """A recorder on tensors with storage that shows each node's outputs to an observer and keeps none of them."""

    def __init__(self, stack: ModuleStack, observe: Observer, counted: Counted | None = None, *, seed: int = 0) -> None:
        super().__init__(stack, meta=False, seed=seed)  # what drops out in training
        self._observe = observe
        self._counted = counted
        self._ran: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = []
        self._new: list[tuple[str, int]] = []
        self._fresh_bytes = 0

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

    def bind(self, tensor: torch.Tensor, value: Value) -> Slot:
        """As in `Recorder`; counts what is held."""
        self._fresh_bytes += tensor.numel() * tensor.element_size()
        return super().bind(tensor, value)

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
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if self._counted is not None:
            self._tell("aten." + func._schema.name.partition("::")[2], [(func, args, kwargs, result)])
        if self._fresh_bytes > _SWEEP_BYTES:
            self._sweep()
        return result

    def whole(self, name: str, named: Mapping[str, Any], run: Callable[..., Any], call: Any = None) -> Any:
        """As in `Recorder`; what torch ran inside belongs to the composite's node."""
        self._new.clear()
        self._ran.clear()
        result = super().whole(name, named, run, call)
        if self._counted is not None:
            self._tell(name, self._ran)
        self._ran.clear()
        if self._fresh_bytes > _SWEEP_BYTES:
            self._sweep()
        return result

    def _tell(self, op: str, ran: Sequence[tuple[Any, Sequence[Any], Mapping[str, Any], Any]]) -> None:
        """Hand the ops that ran to the node that stands for them; a constant's call left none and counts for none."""
        short = op.partition(".")[2]
        idents = [ident for name, ident in self._new if name.partition(".")[2] == short]
        if idents and self._counted is not None:
            for func, args, kwargs, result in ran:
                self._counted(idents[0], func, args, kwargs, result)

    def _sweep(self) -> None:
        """Forget tensors that nothing but this recorder holds. A view's base is kept as long as the view."""
        self._fresh_bytes = 0
        children = Counter(id(slot.parent) for slot in self._slots.values() if slot.parent is not None)
        places = {id(slot): place for place, slot in self._placed().items()}
        for key in reversed(list(self._slots)):
            slot = self._slots[key]
            if children[id(slot)] or sys.getrefcount(slot.tensor) > _HELD_ONCE or _uses(slot.tensor) > 1:
                continue
            if slot.parent is not None:
                children[id(slot.parent)] -= 1
            del self._slots[key]
            self._adopted.discard(key)  # another tensor may get the id
            self._twins.pop(key, None)
            place = places.get(id(slot))
            if place is not None and self._placed().get(place) is slot:
                del self._placed()[place]


def _has_nan(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and bool(value.isnan().any())


def _uses(tensor: torch.Tensor) -> int:
    """How often torch itself holds a tensor."""
    held: Any = tensor  # not every release of torch declares the method
    count: int = held._use_count()
    return count


def _held_once() -> int:
    slot = Slot(torch.empty(0), Value("const"))
    return sys.getrefcount(slot.tensor)


#: What `sys.getrefcount` says of a tensor that only its slot holds.
_HELD_ONCE = _held_once()


def run(
    subject: Subject,
    twins: Twins,
    inputs: Inputs,
    observe: Observer,
    *,
    changed: Mapping[int, torch.Tensor] | None = None,
    counted: Counted | None = None,
) -> None:
    """One forward pass of the subject on the twins; `observe` sees every node's outputs, inputs included."""
    stack = ModuleStack(subject.model)
    witness = Witness(stack, observe, counted)
    args, kwargs = inputs.arguments(changed)
    with torch.no_grad(), devices.honest(), twins.installed() as (double, names):
        stack.follow(double)
        bind_tensors(witness, double, names)

        def declare(tensor: torch.Tensor) -> torch.Tensor:
            ref = witness.input("input", tensor)
            observe(ref.node, "input", [tensor])
            return tensor

        args, kwargs = map_tensors((args, kwargs), declare, double.of)
        with witness, CompositeMode(witness):
            double.model(*args, **kwargs)


def bind_tensors(witness: Witness, double: Double, names: Mapping[int, str]) -> None:
    """Tell a witness what the double's parameters and buffers are; ``names`` are those of parameters, by id."""
    for module in double.model.modules():
        for tensor in module._parameters.values():
            if tensor is not None:
                witness.bind(tensor, Value("param", params=(names[id(tensor)],)))
        for buffer in module._buffers.values():
            if buffer is not None and id(buffer) not in witness._slots:
                witness.bind(buffer, Value("const", real=buffer, borrowed=True))


def plain_run(twins: Twins, inputs: Inputs, context: Iterable[Any] = ()) -> list[torch.Tensor]:
    """One forward pass without observer, under more contexts; returns the output tensors."""
    from contextlib import ExitStack

    args, kwargs = inputs.arguments()
    with torch.no_grad(), twins.installed() as (double, _), Drawing(), ExitStack() as stack:
        for item in context:
            stack.enter_context(item)
        args, kwargs = map_tensors((args, kwargs), lambda tensor: tensor, double.of)
        return tensors_in(double.model(*args, **kwargs))


__all__ = ["Counted", "Observer", "UnbearableError", "Witness", "bind_tensors", "plain_run", "run"]
