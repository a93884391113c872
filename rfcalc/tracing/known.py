"""Numbers that are known in a pass without storage: of constants, and of what follows from inputs given with values.

A whole number or a truth value that the user gave is a number: control flow, sizes, indices and masks may ask for it.
The tensor stays an input all the same, so what is computed from it is recorded; its numbers are worked out beside.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rfcalc.graph import GIVEN
from rfcalc.ops import Arg, Effect
from rfcalc.tracing import buffers, checks, shapes, trial
from rfcalc.tracing.buffers import computed, on_tensors
from rfcalc.tracing.schema import Schema, schema_of
from rfcalc.tracing.slots import Slots
from rfcalc.tracing.storageless import broadcast_size
from rfcalc.tracing.tensors import numbers, place_of, replaced, tensors_in_args, without_storage
from rfcalc.tracing.values import LARGEST_CONSTANT, Anew, Holds, Slot, Value, packed_of

#: Ops in which numbers decide which elements are read. In every other op on known numbers alone, the result's numbers
#: say all there is to know, and each result reads what it would read of any numbers.
BY_INDEX = frozenset(
    f"aten.{name}"
    for name in (
        *("index", "_unsafe_index", "index_select", "gather", "take", "take_along_dim", "masked_select", "embedding"),
        *("repeat_interleave", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"),
        *("index_copy", "index_copy_", "index_fill", "index_fill_", "index_add", "index_add_"),
        *("scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_"),
        *("masked_scatter", "masked_scatter_"),
    )
)


def all_known(held: Sequence[Value]) -> bool:
    """Whether the numbers of all of the tensors are known, and inputs given with values are among them."""
    return any(value.given or value.ordered for value in held) and all(value.real is not None for value in held)


def names_of(held: Sequence[Value]) -> tuple[str, ...]:
    """The inputs given with values from which any of the numbers follow."""
    return tuple(dict.fromkeys(name for value in held for name in value.given))


def on_numbers(func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], held: Sequence[Value]) -> Any:
    """What a function gives for known numbers; ``held`` are those of its tensors, in order."""
    return on_tensors(func, args, kwargs, [value.real for value in held])


def results(
    func: Callable[..., Any],
    args: Any,
    kwargs: Mapping[str, Any],
    held: Sequence[Value],
    outs: Sequence[torch.Tensor],
    written: Sequence[Value] = (),
) -> list[torch.Tensor] | None:
    """The numbers of the results of a function without storage; None where one is too large, or not to be computed.

    What it writes into must not lie in memory of the user's.
    """
    if not all_known(held) or any(value.borrowed for value in written):
        return None
    if any(out.numel() > LARGEST_CONSTANT for out in outs):
        return None
    found = tensors_in_args((on_numbers(func, args, kwargs, held),))
    return [*map(_laid_out, found, outs)] if len(found) == len(outs) else None


def with_numbers(value: Value, real: torch.Tensor, held: Sequence[Value]) -> Value:
    """A value whose numbers are known, which tell more than any mask; ``held`` are those that they follow from."""
    plain = replace(value, real=real, given=names_of(held), blocked=None, zero=None, true=None, rows=False)
    return buffers.mixed(plain, held)


def copied(value: Value, like: torch.Tensor | None = None) -> Value:
    """The value of a copy in another place: what is written there changes no input, and nothing of the user's.

    ``like`` is the copy, which may be laid out in another way.
    """
    if value.real is None or not (value.given or value.ordered or value.borrowed):
        return value

    def copy(real: torch.Tensor) -> torch.Tensor:
        return real.clone() if like is None else _laid_out(real.clone(), like)

    anew = value.anew and Anew(value.anew.names, None if value.anew.tensor is None else copy(value.anew.tensor))
    return replace(value, real=copy(value.real), borrowed=False, anew=anew)


def unnumbered(value: Value) -> Value:
    """The value as data like any other."""
    return replace(value, real=None, given=()) if value.given or value.ordered else value


def _laid_out(real: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The numbers in the layout that the tensor without storage has, by which torch decides what is a view of it.

    A kernel without storage may choose another one than that of the CPU, and what is made like a tensor follows it.
    """
    if torch.strided not in (real.layout, like.layout) or real.stride() == like.stride():
        return real
    return torch.empty_strided(like.shape, like.stride(), dtype=real.dtype).copy_(real)


#: Functions that compare by `torch.equal` only to raise: whether windows leave a gap.
_CHECKS = frozenset({torch.istft, torch.Tensor.istft})
_NUMBERS = frozenset({int, float, bool})
_CUTS = frozenset({slice, int, type(Ellipsis)})  #: what an index of a view is made of


class NeedsDataError(Exception):
    """The forward pass asked for numbers that only real data has."""


class Numbers(Slots):
    """The part of a recorder that knows numbers: it works them out, hands them to Python, and forgets them."""

    def __init__(self, *, meta: bool) -> None:
        super().__init__(meta=meta)
        self.decided: dict[str, None] = {}  #: inputs given with values that were asked for, in order
        self.placed: dict[str, None] = {}  #: devices that the model named, in order
        self.home = torch.device("meta" if meta else "cpu")  #: where the pass runs
        self.function: Any = None  #: torch's function under way that the model called
        self._asked: dict[str, None] = {}  #: those that the rule under way asked for
        self._clock = 0

    @abstractmethod
    def fail(
        self, op: str, tensors: Iterable[torch.Tensor], error: Exception | None = None, refused: bool = False
    ) -> None:
        """Remember where an op was refused, and whether on real tensors of the same shapes, too."""

    @abstractmethod
    def asked_of(self, held: Sequence[Value]) -> None:
        """Note that forward asked for numbers of these values."""

    @abstractmethod
    def _link(
        self, slot: Slot, schema: Schema, named: Mapping[str, Any], outs: Sequence[torch.Tensor], number: int
    ) -> None:
        """Make the slot a view of its base, where the op gives views."""

    def _scalar(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """``item()`` and the like: known for constants and where a check asks, otherwise only real data can tell."""
        self._unrepeatable()
        if any(value.real is None or value.ordered is not None for value in map(self.value_of, tensors_in_args(args))):
            equal = schema_of(func).name == "aten.equal"
            passing = self._is_same(*args) if equal else checks.answer(sys._getframe(1))
            if passing is not None:
                return passing
        return self.numbers_for(func, args, kwargs, schema_of(func).name)

    def _is_same(self, one: torch.Tensor, other: torch.Tensor) -> bool | None:
        """Whether two tensors hold the same, where it takes no numbers to tell: the same elements, or another shape."""
        if one.shape != other.shape or self.function in _CHECKS:
            return False
        same = one.stride() == other.stride() and one.dtype == other.dtype and place_of(one) == place_of(other)
        return same or None

    def numbers_for(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], what: str) -> Any:
        """What a function gives that takes numbers out of tensors. Raises `NeedsDataError` where they are not known."""
        held = [self.value_of(tensor) for tensor in tensors_in_args((*args, *kwargs.values()))]
        self.decided.update(dict.fromkeys(names_of(held)))
        self.asked_of(held)
        if not self.meta:
            return func(*args, **kwargs)
        if any(value.real is None or value.ordered is not None for value in held):
            self.fail(what, ())
            raise NeedsDataError(what)
        with torch._C._DisableTorchDispatch():  # no part of it is an op of the model's
            return on_numbers(func, args, kwargs, [copied(value) for value in held])

    def numbers_of(self, tensor: torch.Tensor) -> np.ndarray | None:
        """The numbers that a tensor is known to hold; None where data decides."""
        value = self.value_of(tensor)
        return self._numbers(value) if value.ordered is None else None

    def _numbers(self, held: Value) -> np.ndarray | None:
        self._asks([held])
        self._asked.update(dict.fromkeys(held.given))
        return None if held.real is None else numbers(held.real)

    def _held_for(self, op: str, reals: Sequence[torch.Tensor] | None) -> Holds | None:
        """What the rule is to see in tensors: no numbers of inputs where those of the results tell everything."""
        if reals is None or op in BY_INDEX:
            return None
        return lambda tensor: unnumbered(self.value_of(tensor))

    def _note_asked(
        self, effect: Effect, args: Sequence[tuple[Arg, Value]], reals: Sequence[torch.Tensor] | None
    ) -> None:
        """Note that an op depends on values that were given, where its rule asked for them and data is read so."""
        asked, self._asked = self._asked, {}
        if asked and (reals is not None or any(value.role == "data" and value.real is None for _, value in args)):
            self.decided.update(asked)
            effect.notes = (*effect.notes, f"{GIVEN} {', '.join(asked)}")

    def name_device(self, name: str) -> None:
        """Note that the model named a device, in whose place the pass goes on at home."""
        self._unrepeatable()  # an equal call is noted, too
        self.placed[name] = None

    def _computed(
        self, schema: Schema, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], held: Sequence[Value]
    ) -> torch.Tensor | None:
        """Arithmetic on known constants: the numbers, and a tensor as they are without storage.

        None where it is none, or its result may be large; `_fold` has to do the op twice.
        """
        if kwargs or schema.name not in shapes.ARITHMETIC:
            return None
        reals = [value.real for value in held if value.real is not None]
        if len(reals) < len(held) or not reals or broadcast_size(reals) > LARGEST_CONSTANT:
            return None
        self._asks(held)  # its numbers follow from those of its arguments
        real = func(*replaced(args, iter(reals)))
        twin = without_storage(real)
        (anew, leans) = buffers.anew_of(func, args, {}, held, [real])[0]
        self.bind(twin, Value("const", real=real, anew=anew, leans=leans, packed=packed_of(held)))
        return twin

    def fill(self, tensor: torch.Tensor, index: Any, number: Any) -> bool:
        """``tensor[index] = number`` where that is a matter of a known constant alone; False where it is more."""
        parts = index if isinstance(index, tuple) else (index,)
        if not self.meta or type(number) not in _NUMBERS or any(type(part) not in _CUTS for part in parts):
            return False
        held = self.value_of(tensor)
        if held.role != "const" or held.real is None or held.borrowed:
            return False
        with torch._C._DisableTorchDispatch():  # the views of it see that: theirs are views of its numbers
            held.real[index] = number
            if held.anew is not None and held.anew.tensor is not None:
                held.anew.tensor[index] = number
        return True

    def _fold(self, schema: Schema, func: Any, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        """An op on constants: compute it for real beside its meta twin, where that is small and not random."""
        outs = tensors_in_args((result,))
        if all(id(out) in self._slots for out in outs) and not schema.writes:
            return  # the op gave back its argument
        held = [self._known(tensor, schema.like) for tensor in tensors_in_args((args, *kwargs.values()))]
        if schema.writes or schema.random:
            self._unrepeatable()
        elif not schema.like and any(value.real is not None for value in held):
            self._asks(held)  # what it gives, perhaps how much, follows from their numbers
        lent, packed = any(value.borrowed for value in held), packed_of(held)
        real: list[torch.Tensor | None] = [None] * len(outs)
        small = all(out.numel() <= LARGEST_CONSTANT for out in outs)
        if not self.meta:
            real = [None if schema.random else out for out in outs]
        elif (
            small
            and not schema.random
            and all(value.real is not None for value in held)
            and not (lent and schema.writes)
        ):
            real = [*computed(func, args, kwargs, [value.real for value in held])]
            if not schema.views:
                real = [_laid_out(number, out) for number, out in zip(real, outs, strict=True) if number is not None]
        written = tensors_in_args(schema.written(args, kwargs))
        leant = buffers.anew_of(func, args, kwargs, held, real, bool(written))
        for tensor in written:
            if schema.random or all(item is None for item in real):
                self._forget(self._slot(tensor))
            elif any(leant[0]):
                self._lean(self._slot(tensor), *leant[0])
            self._unpacked_into(self._slot(tensor), packed)
        for number, (out, numbers_) in enumerate(zip(outs, real, strict=True)):
            if not any(out is tensor for tensor in written):
                value = Value("const", real=numbers_, borrowed=lent and schema.views, packed=packed)
                value.anew, value.leans = leant[number]
                slot = self.bind(out, value)
                if schema.views:
                    self._link(slot, schema, schema.bind(args, kwargs), outs, number)

    def _unpacked_into(self, slot: Slot | None, packed: tuple[str, ...]) -> None:
        """Packed weights were unpacked into a constant, and so into what it is a view of."""
        while packed and slot is not None:
            slot.value = replace(slot.value, packed=packed_of((slot.value, Value("const", packed=packed))))
            slot = slot.parent

    def _forget(self, slot: Slot | None) -> None:
        """The numbers of a constant are not known any more, nor those of what it is a view of."""
        self._clock += 1
        while slot is not None:
            slot.value, slot.stamp, slot.seen = Value("const"), self._clock, self._clock
            slot = slot.parent

    def _lean(self, slot: Slot | None, anew: Anew | None, leans: tuple[str, ...]) -> None:
        """Numbers of buffers were written into a constant, and so into what it is a view of."""
        self._clock += 1
        while slot is not None:
            slot.value = buffers.written(slot.value, anew, leans)
            slot.stamp = slot.seen = self._clock
            slot = slot.parent

    def _known(self, tensor: torch.Tensor, like: bool) -> Value:
        """What a constant holds; where only the shape counts, one number stands for all."""
        if like and self.meta:
            return Value("const", real=torch.empty((), dtype=tensor.dtype).expand(tensor.shape))
        return self.value_of(tensor)

    def _known_results(
        self,
        func: Any,
        args: Any,
        kwargs: Mapping[str, Any],
        held: Sequence[Value],
        outs: Sequence[torch.Tensor],
        into: Any = (),
    ) -> Sequence[torch.Tensor] | None:
        """The numbers of what a function gave, where they follow from constants and inputs given with values alone."""
        if self.meta:
            return results(func, args, kwargs, held, outs, into)
        return outs if all_known(held) else None

    def _instead(
        self, schema: Schema, func: Any, args: Any, kwargs: Mapping[str, Any], held: Sequence[Value], error: Exception
    ) -> Any:
        """The result of an op that was refused without storage: of known numbers, or tried on stand-ins.

        Raises `NeedsDataError` where the numbers of data decide it, and else the error.
        """
        tensors, known = tensors_in_args((*args, *kwargs.values())), all(value.real is not None for value in held)
        if not self.meta or isinstance(error, NeedsDataError):
            self.fail(schema.name, tensors, error)
            raise error
        if not (held and known) or schema.random:
            sized = schema.sized and not _are_told(tensors, held)
            return self.tried(schema.name, func, args, kwargs, held, error, sized=sized)
        try:
            real = on_numbers(func, args, kwargs, held)
        except Exception as refusal:
            self.fail(schema.name, tensors, refusal, refused=True)
            raise
        return replaced(real, map(without_storage, tensors_in_args((real,))))

    def tried(
        self,
        name: str,
        func: Any,
        args: Any,
        kwargs: Mapping[str, Any],
        held: Sequence[Value],
        error: Exception,
        sized: bool = False,
    ) -> Any:
        """What a function gives that was refused without storage: found by trying it on real tensors of these shapes.

        ``sized`` says that numbers decide how large a result is. Raises `NeedsDataError` where they do, and the error
        where the function refuses real tensors, too.
        """
        self._unrepeatable()
        tensors = tensors_in_args((*args, *kwargs.values()))
        try:
            found = trial.tried(func, args, kwargs, held, tensors)
        except trial.NumbersTellError:
            sized = True
        except trial.UntriedError:
            self.fail(name, tensors, error)
            raise error from None
        except Exception as refusal:
            failed = refusal if isinstance(error, NotImplementedError) else error
            self.fail(name, tensors, failed, refused=True)
            raise failed from error
        if sized:
            self.fail(name, tensors)
            raise NeedsDataError(name) from error
        return found


def _are_told(tensors: Sequence[torch.Tensor], held: Sequence[Value]) -> bool:
    """Whether an op takes whole numbers or truth values and all are known: masks and lengths, which size its result."""
    whole = [v for t, v in zip(tensors, held, strict=True) if not (t.is_floating_point() or t.is_complex())]
    return bool(whole) and all(value.real is not None for value in whole)
