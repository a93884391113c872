"""Ordinary CPU tensors whose memory is never touched: every op says what its results look like, and computes nothing.

For what torch does otherwise with a fake tensor than with an ordinary one, although their device is the same: an
in-place op on a view of a tensor that is differentiated, and oneDNN's recurrent layers. And for models that are called
with numbers, a mask say: whole numbers and truth values that follow from them are worked out, so that the model's code
may ask for them as it would. Memory that is not touched is not taken from the machine.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from rfcalc.footprint.layouts import AsLaid
from rfcalc.footprint.standing import Standing
from rfcalc.tracing.known import NeedsDataError
from rfcalc.tracing.modes import DispatchMode
from rfcalc.tracing.schema import schema_of
from rfcalc.tracing.tensors import replaced, tensors_in_args
from rfcalc.tracing.values import LARGEST_CONSTANT

#: Ops that are run: what their kernels keep for the way back has a size that only they know.
_RUN = frozenset({"aten.mkldnn_rnn_layer", "aten.mkldnn_rnn_layer_backward"})
#: Views in all but name: what they give lies in the storage of what they are given.
_VIEWS = frozenset({"aten._unsafe_view"})
#: What has no numbers until some are written.
_UNSET = frozenset(
    f"aten.{name}" for name in ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
)
#: Functions that run other kernels for ordinary tensors than for fake ones.
_OTHERWISE = frozenset({"lstm", "one_hot"})


class NeedsPlainError(Exception):
    """Torch would do something else with ordinary tensors than with fake ones."""


class MayAskError(NeedsPlainError):
    """The model makes whole numbers or truth values, which it may ask for where its tensors are no fake ones."""


class OnlyFake(DispatchMode):
    """Raises `NeedsPlainError` where an in-place op writes into a view of a tensor that is differentiated.

    Unless it is ``lenient``, raises `MayAskError` where an op makes whole numbers or truth values.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._lenient = lenient

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        schema = schema_of(func) if hasattr(func, "_schema") else None
        if schema is not None and schema.writes and torch.is_grad_enabled():
            given = tensors_in_args((*args, *kwargs.values()))
            if any(one.requires_grad for one in given):
                for tensor in tensors_in_args(schema.written(args, kwargs)):
                    if tensor._is_view() and not schema.reshapes:
                        raise NeedsPlainError(f"{schema.name} writes into a view")
        made = func(*args, **kwargs)
        if self._lenient or not isinstance(made, torch.Tensor) or not _is_whole(made):
            return made
        if made.numel() and not (schema is not None and (schema.views or schema.writes or schema.name in _UNSET)):
            raise MayAskError(f"{func} makes numbers that it may ask for")
        return made


class OnlyAlike(TorchFunctionMode):
    """Raises `NeedsPlainError` for functions that run other kernels for ordinary tensors."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _OTHERWISE:
            raise NeedsPlainError(func.__name__)
        return func(*args, **(kwargs or {}))


class Hollow(Standing):
    """A world of ordinary tensors without numbers, but for whole numbers and truth values that were given."""

    def __init__(self) -> None:
        super().__init__()
        self._given: list[torch.Tensor] = []

    def mode(self) -> AbstractContextManager[Any]:
        known, self._given = _Known(self._given), []
        return _Shapes(known)

    def input(self, tensor: torch.Tensor) -> torch.Tensor:
        if not has_numbers(tensor):
            return super().input(tensor)
        self._given.append(tensor.detach().clone())
        return self._given[-1]

    def _base(self, count: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(count, dtype=dtype)

    def _seen(self, view: torch.Tensor) -> torch.Tensor:
        return torch.empty(0, dtype=view.dtype).set_(view)  # type: ignore[call-overload, no-any-return]


def has_numbers(tensor: torch.Tensor) -> bool:
    """Whether whole numbers or truth values were given for an input."""
    return not tensor.is_meta and _is_whole(tensor)


def _is_whole(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex()


class _Known:
    """Storages whose numbers are there: they hold what ops would compute."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._storages: dict[int, weakref.ref[Any]] = {}
        for tensor in tensors:
            self.add(tensor)

    def __contains__(self, tensor: torch.Tensor) -> bool:
        storage = tensor.untyped_storage()
        found = self._storages.get(storage._cdata)
        return found is not None and found() is storage

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self._storages[storage._cdata] = weakref.ref(storage)

    def drop(self, tensor: torch.Tensor) -> None:
        self._storages.pop(tensor.untyped_storage()._cdata, None)


class _Shapes(DispatchMode):
    """Ops give tensors of the right shape, dtype and strides, and touch no memory but that of known whole numbers."""

    def __init__(self, known: _Known) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        schema = schema_of(func)
        given = tensors_in_args((*args, *kwargs.values()))
        known = all(tensor in self._known for tensor in given)
        sized = schema.sized and not _is_by_position(schema.name, args)
        if (schema.scalar or sized) and not (known and given):
            raise NeedsDataError(schema.name)
        if schema.scalar:
            return func(*args, **kwargs)
        if (schema.views and not schema.writes) or schema.reshapes or schema.name in _RUN | _VIEWS:
            return func(*args, **kwargs)
        written = tensors_in_args(schema.written(args, kwargs))
        if known and (sized or self._is_worked_out(func, schema.name, args, kwargs)):
            result = func(*args, **kwargs)
            for tensor in tensors_in_args((result,)):
                self._known.add(tensor)
            return result
        for tensor in written:
            self._known.drop(tensor)
        result, pairs = self._faked_result(func, args, kwargs, given)
        same = {id(fake): tensor for fake, tensor in pairs}
        return _hollowed(result, same, {fake.untyped_storage()._cdata: tensor for fake, tensor in pairs})

    def _faked_result(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], given: Sequence[torch.Tensor]
    ) -> tuple[Any, list[tuple[torch.Tensor, torch.Tensor]]]:
        """What an op gives for fake tensors, and these beside the ones they stand for."""
        fakes = [self._faked(tensor) for tensor in given]
        twins = iter(fakes)
        swapped = replaced(args, twins)
        named = {name: replaced((value,), twins)[0] for name, value in kwargs.items()}
        with self._fake, AsLaid():  # type: ignore[no-untyped-call]
            result = func(*swapped, **named)
        return result, list(zip(fakes, given, strict=True))

    def _is_worked_out(self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether an op of known numbers gives few whole numbers or truth values, always the same."""
        if torch.Tag.nondeterministic_seeded in func.tags or name in _UNSET:
            return False
        result, _ = self._faked_result(func, args, kwargs, tensors_in_args((*args, *kwargs.values())))
        outs = tensors_in_args((result,))
        return bool(outs) and all(map(_is_whole, outs)) and sum(one.numel() for one in outs) <= LARGEST_CONSTANT

    def _faked(self, tensor: torch.Tensor) -> torch.Tensor:
        seen = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        return FakeTensor(self._fake, seen, tensor.device)


def _is_by_position(name: str, args: Sequence[Any]) -> bool:
    """Whether an op takes elements out by their positions, so that shapes tell how many; by a mask, numbers do."""
    return name == "aten.index" and all(one.dtype not in (torch.bool, torch.uint8) for one in tensors_in_args(args[1:]))


def _hollowed(result: Any, same: Mapping[int, torch.Tensor], homes: Mapping[int, torch.Tensor]) -> Any:
    """A result with ordinary tensors in place of fake ones.

    What was given comes back as it was given, and what lies in its storage, in the storage of what was given.
    """
    if isinstance(result, list | tuple):
        return type(result)([_hollowed(one, same, homes) for one in result])
    if not isinstance(result, torch.Tensor):
        return result
    if id(result) in same:
        return same[id(result)]
    if result.layout is not torch.strided:
        raise NeedsDataError("a sparse tensor")
    home = homes.get(result.untyped_storage()._cdata)
    if home is None:
        home, place = torch.empty(result.untyped_storage().nbytes() // result.element_size(), dtype=result.dtype), 0
    else:
        place = int(home.storage_offset()) + int(result.storage_offset())
    return torch.empty(0, dtype=result.dtype).set_(home.untyped_storage(), place, result.shape, result.stride())


__all__ = ["Hollow", "MayAskError", "NeedsPlainError", "OnlyAlike", "OnlyFake", "has_numbers"]
