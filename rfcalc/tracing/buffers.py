"""Tensors that forward finds and does not make: the numbers of buffers, and what leans on them.

The floating-point numbers of a buffer are a weight's, whatever they happen to be: a 0 among them blocks nothing. What
the code compares, selects or indexes by, and what is so low that a softmax blocks it, decides all the same. The names
of the buffers that it came from travel with it, so that a layer can say on which of them its reads lean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rfcalc import reads
from rfcalc.ops import Arg, Effect
from rfcalc.tracing.tensors import replaced, tensors_in_args
from rfcalc.tracing.values import Anew, Value

#: Steps by which a mask or an index that is known takes part in what is read.
_DECIDED = (reads.Blocked, reads.Contract)
_CHOSEN = (*_DECIDED, reads.Take, reads.Slice, reads.Spans)


def found(name: str, real: torch.Tensor | None) -> Value:
    """What a buffer or an attribute of that name holds."""
    if real is not None and _has_weights(real):
        return Value("const", real=real, borrowed=True, anew=Anew((name,), of=real))
    return Value("const", real=real, borrowed=True, leans=(name,))


def attributes(modules: Iterable[tuple[str, nn.Module]]) -> dict[int, tuple[torch.Tensor, str]]:
    """The tensors that are plain attributes of modules, by id, with their names."""
    named: dict[int, tuple[torch.Tensor, str]] = {}
    for prefix, module in modules:
        for key, held in module.__dict__.items():
            for tensor in held if isinstance(held, list | tuple) else (held,):
                if isinstance(tensor, torch.Tensor):
                    named.setdefault(id(tensor), (tensor, f"{prefix}.{key}".strip(".")))
    return named


def united(held: Iterable[Value]) -> tuple[str, ...]:
    """The buffers that decided what is known of any of the values."""
    return tuple(dict.fromkeys([name for value in held for name in value.leans]))


def together(args: Sequence[tuple[Arg, Value]]) -> tuple[str, ...]:
    """The buffers that decided what is known of any of the arguments of an op, and by it."""
    return tuple(dict.fromkeys([name for arg, value in args for name in _decided(arg, value)]))


def _decided(arg: Arg, value: Value) -> tuple[str, ...]:
    return (*value.leans, *weighed([value])) if arg.leant_on else value.leans


def weighed(held: Iterable[Value]) -> tuple[str, ...]:
    """The buffers whose floating-point numbers went into any of the values."""
    return tuple(dict.fromkeys([name for value in held if value.anew is not None for name in value.anew.names]))


def _has_weights(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def anew_of(
    func: Any, args: Any, kwargs: Mapping[str, Any], held: Sequence[Value], real: Sequence[Any], writes: bool = False
) -> list[tuple[Anew | None, tuple[str, ...]]]:
    """For each result of an op on constants the other numbers that it might have, and the buffers that decided it.

    What is compared or cast to whole numbers is decided, by the numbers as they are.
    """
    leans, names = united(held), weighed(held)
    if not names:
        return [(None, leans)] * len(real)
    open_ = [out is not None and _has_weights(out) for out in real]
    others = [value.anew.tensor if value.anew is not None else value.real for value in held]
    made: Sequence[torch.Tensor | None] = [None] * len(real)
    if any(open_) and not any(other is None for other in others) and not (writes and held[0].anew is None):
        made = computed(func, args, kwargs, others)
    decided = tuple(dict.fromkeys((*leans, *names)))
    return [(Anew(names, other), leans) if one else (None, decided) for one, other in zip(open_, made, strict=True)]


def computed(func: Any, args: Any, kwargs: Mapping[str, Any], numbers: Iterable[Any]) -> list[torch.Tensor]:
    """The tensors that an op gives for these numbers in place of its tensors, on the CPU."""
    return tensors_in_args((on_tensors(func, args, kwargs, numbers),))


def on_tensors(func: Any, args: Any, kwargs: Mapping[str, Any], numbers: Iterable[Any]) -> Any:
    """What an op gives for these numbers in place of its tensors, on the CPU."""
    given = iter(numbers)
    positional = replaced(args, given)
    here = {name: replaced(value, given) for name, value in kwargs.items()} if kwargs else {}
    if "device" in here:
        here["device"] = torch.device("cpu")
    return func(*positional, **here)


def mixed(value: Value, held: Sequence[Value]) -> Value:
    """A value that follows from others, with what these lean on: numbers of weights make it one itself."""
    leans, names = united(held), weighed(held)
    if names and value.real is not None and _has_weights(value.real):
        return replace(value, anew=Anew(names), leans=leans)
    return replace(value, leans=tuple(dict.fromkeys((*leans, *names))))


def written(value: Value, anew: Anew | None, leans: tuple[str, ...]) -> Value:
    """A constant after numbers were written into it, which were ``anew`` and leaned on these buffers."""
    if anew is not None:
        other = None if anew.tensor is None or value.anew is None else value.anew.tensor
        value = replace(value, anew=Anew(anew.names, other))
    return replace(value, leans=tuple(dict.fromkeys((*value.leans, *leans))))


def derived(value: Value, above: Value) -> Value:
    """A constant that is a view, after what it is a view of was written: its numbers lie in the memory of those."""
    if above.real is None:
        return Value("const")
    anew = value.anew
    if above.anew is not None and (anew is None or above.anew.tensor is None):
        anew = Anew(above.anew.names)
    return replace(value, leans=above.leans, anew=anew)


def leaning(effect: Effect, args: Sequence[tuple[Arg, Value]]) -> tuple[str, ...]:
    """The buffers on whose numbers the reads of an op lean: those of a mask that blocks, of an index that chooses."""
    if not any(value.leans or arg.leant_on for arg, value in args):
        return ()
    rows = [row for output in effect.reads for row in output] if effect.each else effect.reads
    taken = [step for arg, steps in rows if arg.reads_data for step in steps]
    chosen = effect.masked or any(isinstance(step, _CHOSEN) for step in taken)
    decided = effect.masked or any(isinstance(step, _DECIDED) for step in taken)
    return together([(arg, value) for arg, value in args if (decided if arg.reads_data else chosen)])


def is_zeros_and_ones(real: torch.Tensor) -> bool:
    """Whether a tensor holds zeros and ones, both, and nothing else: a mask, though kept as numbers."""
    if real.layout is not torch.strided:
        return False
    zeros, ones = real == 0, real == 1
    return bool((zeros | ones).all() and zeros.any() and ones.any())
