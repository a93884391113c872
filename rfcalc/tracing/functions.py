"""The function mode above the recorder: composite functions are recorded whole, numbers in calls become tensors."""

from __future__ import annotations

import dis
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch._ops import HigherOrderOperator
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from rfcalc.errors import TraceError
from rfcalc.tracing import flex, gradients, nested, shapes
from rfcalc.tracing.composite import composites, in_batch, whole
from rfcalc.tracing.higher import followed
from rfcalc.tracing.packing import PACKED, packed
from rfcalc.tracing.placing import MOVES, placed
from rfcalc.tracing.recorder import Recorder
from rfcalc.tracing.replay import Replay
from rfcalc.tracing.tensors import tensors_in_args

#: Methods that an operator calls too, under the method's name.
_OPERATORS = {
    torch.Tensor.add: torch.Tensor.__add__,
    torch.Tensor.mul: torch.Tensor.__mul__,
    torch.Tensor.matmul: torch.Tensor.__matmul__,
}
_BINARY_OP = dis.opmap["BINARY_OP"]

#: The transforms of torch.func that are under way (vmap, grad, jvp): None where there is none.
_transforms = torch._C._functorch.peek_interpreter_stack

#: What torch.compile has this thread's functions compiled by; None where no compiled function is under way.
_compiler = torch._C._dynamo.eval_frame.get_eval_frame_callback
_set_compiler = torch._C._dynamo.eval_frame.set_eval_frame
#: With a count under way, a function that must be compiled whole may find that nothing is compiled under a tracer.
_set_count = getattr(torch._C._dynamo.eval_frame, "set_fullgraph_compiled_frame_count", None)

#: ``x.data = y``: the dispatcher never sees it.
_SET_DATA = torch.Tensor.data.__set__  # type: ignore[attr-defined]

#: What takes the numbers of a tensor to Python, past the dispatcher.
_TO_PYTHON = frozenset({torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.__array__})

_DEVICE = torch.Tensor.device.__get__
_CPU = torch.device("cpu")

#: Functions that differentiate, which need a pass with gradients.
_DIFFERENTIATES = frozenset({torch.autograd.grad, torch.autograd.backward, torch.Tensor.backward})


#: What `torch.autograd.functional` gets a tensor ready by.
_PREPARES = torch.Tensor.requires_grad_

_LINEARIZED = (
    "torch.func.linearize (make_fx) traces the function while it runs, and its ops cannot be told from the traced"
    " ones: use torch.func.jvp"
)


class NeedsGradientError(Exception):
    """The forward pass takes gradients itself, and this one keeps nothing for them."""


#: Questions about a tensor, which no op answers.
_ASKED = frozenset(
    [getattr(torch.Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "layout", "is_cuda")]
    + [getattr(torch.Tensor, name).__get__ for name in ("is_meta", "is_cpu", "requires_grad", "is_quantized")]
    + [torch.Tensor.is_nested.__get__]  # type: ignore[attr-defined]
    + [getattr(torch.Tensor, name) for name in ("dim", "size", "stride", "numel", "nelement", "is_contiguous")]
    + [getattr(torch.Tensor, name) for name in ("is_floating_point", "is_complex", "get_device", "element_size")]
)

#: Those whose answer is another one on the meta device.
_LOCATES = frozenset({_DEVICE, torch.Tensor.get_device}) | frozenset(
    getattr(torch.Tensor, name).__get__ for name in ("is_cuda", "is_meta", "is_cpu")
)


def _is_operator(caller: FrameType, method: str) -> bool:
    """Whether Python is in the middle of an operator, ``x @ y`` or ``sum([x, y])``, and not of ``x.matmul(y)``."""
    code = caller.f_code
    return code.co_code[caller.f_lasti] == _BINARY_OP or method not in code.co_names


def _is_prepared(func: Any, caller: FrameType) -> bool:
    """Whether `torch.autograd.functional` gets a tensor ready to differentiate by it, which it does not try where
    results need no gradient."""
    return func is _PREPARES and caller.f_globals.get("__name__") == torch.autograd.functional.__name__


class CompositeMode(TorchFunctionMode):
    """Sits above the recorder and hands it the composite functions whole.

    With ``gradients``, the model takes some itself: what a function keeps for its gradient has to be known, too, so
    functions of what needs one are taken apart.
    """

    def __init__(self, recorder: Recorder, gradients: bool = False) -> None:
        super().__init__()
        self._recorder = recorder
        self._gradients = gradients
        self._table = composites()
        self._special = {*self._table, *_TAKE_NUMBERS, *_TO_PYTHON, *PACKED, _SET_DATA, whole}
        self._replay = Replay(recorder) if recorder.meta else None
        self._counts: list[int] = []

    def __enter__(self) -> CompositeMode:
        self._recorder.higher = self._higher
        if _set_count is not None:
            self._counts.append(_set_count(0))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        self._recorder.higher = None  # or mode and recorder would hold each other, and wait for the collector
        if _set_count is not None:
            _set_count(self._counts.pop())

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _ASKED:
            if func in _LOCATES:
                self._recorder.tape.located = True
            if func == _DEVICE and sys._getframe(1).f_globals.get("__name__") == flex.MODULE:
                return _CPU  # it runs on devices that it knows, and on tensors of one device
            return func(*args, **kwargs) if kwargs else func(*args)
        recorder, called, caller = self._recorder, func, sys._getframe(1)
        if func is gradients.SETS:
            recorder.look(caller, bool(args[0]))
            return func(*args)
        recorder.look(caller)
        if func in _OPERATORS and _is_operator(caller, func.__name__):
            called = _OPERATORS[func]
        outer, recorder.function = recorder.function, called
        compiler = _compiler()
        if compiler is not None:
            _set_compiler(None)  # or it would compile what records, where torch's compiler has been called by the model
        try:
            if not self._gradients and (func in _DIFFERENTIATES or _is_prepared(func, caller)):
                raise NeedsGradientError
            if _transforms() is not None or forward_ad._current_level >= 0:
                return self._transformed(func, args, kwargs or {})
            if types and nested.is_jagged(types):
                return self._nested(func, args, kwargs or {})
            if isinstance(func, HigherOrderOperator):
                return self._higher(func, args, kwargs or {})
            if self._replay is None:
                return self._traced(func, args, kwargs or {})
            return self._replay.call(called, args, kwargs or {}, lambda: self._traced(func, args, kwargs or {}))
        finally:
            recorder.function = outer
            if compiler is not None:
                _set_compiler(compiler)

    def _transformed(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A call within a transform of torch.func, or among dual numbers: a tensor stands for many or has a tangent.

        Only the dispatcher, below all transforms, meets the tensors that are computed with; what it sees is recorded.
        """
        if func is whole:
            self._recorder.function = None
            return args[-1]()
        if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
            raise TraceError(_LINEARIZED)
        func, args, kwargs = self._placed(func, args, kwargs)
        if self._recorder.meta and func in _TAKE_NUMBERS:
            func, args, kwargs = _with_numbers(func, args, dict(kwargs))
        return func(*args, **kwargs)

    def _placed(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Any, Sequence[Any], Mapping[str, Any]]:
        """The call on the device of the pass, whichever it names."""
        if func not in MOVES and "device" not in kwargs:
            return func, args, kwargs
        func, args, kwargs, named = placed(func, args, kwargs, self._recorder.home)
        if named:
            self._recorder.name_device(named)
        return func, args, kwargs

    def _higher(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A function with functions among its arguments: what these call is followed as all else is."""
        with self:
            return followed(self._recorder, func, args, dict(kwargs))

    def _nested(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A call on rows of different lengths, whose class makes ordinary ops of it; attention is followed by rows."""
        if func is not nested.ATTENTION:
            return func(*args, **kwargs)

        def numbers(offsets: torch.Tensor) -> list[int]:
            found = self._recorder.numbers_for(torch.Tensor.tolist, (offsets,), {}, "the lengths of nested rows")
            return [int(number) for number in found]

        with self:
            return nested.attention(numbers, args, kwargs)

    def _traced(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        func, args, kwargs = self._placed(func, args, kwargs)
        if func in self._special:
            return self._call(func, args, dict(kwargs))
        return func(*args, **kwargs)

    def _call(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if func is whole:
            self._recorder.function = None  # it is none of torch's
            rule, given, run = args
            depends = self._recorder.depends(tensors_in_args(given.values()))
            return self._recorder.whole(rule, given, run) if depends else run()
        if func is torch.Tensor.__setitem__ and self._recorder.fill(*args):
            return None
        if func in PACKED and (found := packed(self._recorder, func, args, kwargs)) is not None:
            return found[0]
        if func in _TO_PYTHON:
            return self._recorder.numbers_for(func, args, kwargs, f"Tensor.{func.__name__}")
        if func == _SET_DATA:
            return self._recorder.take_over(*self._recorder.twinned(tuple(args)))
        if self._recorder.meta:
            func, args, kwargs = _with_numbers(func, args, kwargs)
        entry = self._table.get(func)
        named = entry[1](args, kwargs) if entry is not None else None
        if entry is None or named is None or not self._recorder.depends(tensors_in_args(named.values())):
            batched = in_batch(func, args, kwargs)
            return func(*args, **kwargs) if batched is None else self._call(func, *batched).squeeze(0)
        recorder = self._recorder
        if recorder.any_foreign((*args, *kwargs.values())):
            args, kwargs = recorder.twinned(tuple(args)), {k: recorder.twinned(v) for k, v in kwargs.items()}
            named = entry[1](args, kwargs) or named
        if self._gradients and torch.is_grad_enabled() and _is_learnt(named):
            return func(*args, **kwargs)
        shaped = shapes.composite(entry[0], named) if recorder.meta else None
        run = lambda: func(*args, **kwargs) if shaped is None else shaped  # noqa: E731
        return recorder.whole(entry[0], named, run, (func, args, kwargs))


def _is_learnt(named: Mapping[str, Any]) -> bool:
    """Whether any of the arguments is one that a gradient is wanted of."""
    return any(tensor.requires_grad for tensor in tensors_in_args(named.values()))


# --- numbers of the user's --------------------------------------------------------------------------------------------

_TAKE_NUMBERS = (
    torch.Tensor.__getitem__,
    torch.Tensor.__setitem__,
    torch.Tensor.new_tensor,
    torch.tensor,
    torch.as_tensor,
)


def _with_numbers(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Sequence[Any], dict[str, Any]]:
    """The same call where Python numbers become a tensor on the CPU, which keeps them: on meta they would be lost."""
    if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
        return func, (args[0], _index(args[1]), *args[2:]), kwargs
    if func is torch.Tensor.new_tensor and len(args) == 2 and not tensors_in_args(args[1:]):
        return torch.tensor, args[1:], {"dtype": args[0].dtype, **kwargs, "device": "cpu"}
    if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None and not tensors_in_args(args):
        return func, args, {**kwargs, "device": "cpu"}
    return func, args, kwargs


def _index(index: Any) -> Any:
    """An index whose lists of numbers are tensors."""
    if isinstance(index, tuple):
        return tuple(_index(item) for item in index)
    if isinstance(index, np.ndarray) or (isinstance(index, list) and index and _all_numbers(index)):
        return torch.tensor(index)
    return index


def _all_numbers(value: Any) -> bool:
    return all(_all_numbers(item) for item in value) if isinstance(value, list) else isinstance(value, int)
