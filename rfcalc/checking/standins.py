"""Stand-ins on the device for the model's tensors and inputs. The user's own are neither moved nor written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from rfcalc.checking.subject import Subject, map_tensors
from rfcalc.tracing.doubles import Double, doubled
from rfcalc.tracing.invented import HE, invented
from rfcalc.tracing.stored import dressed, on_cpu
from rfcalc.tracing.values import drawn

#: Scales of random weights to try in turn, until no activation leaves the range of its type.
GAINS = (HE, 1.0, 0.5)


class StandIns:
    """Copies of a model's parameters, buffers and constants on a device; those without storage get random numbers.

    Where ``anew``, floating-point buffers hold other numbers than the model's, as a checkpoint may bring them, but for
    those on which the analysis says that fields lean: what else it says has to hold for any.
    ``wide`` makes all floating-point tensors float64. ``random`` says whether any weight had to be made up. ``weights``
    draws other numbers for the parameters, and ``weigh`` gives them, by name and tensor.
    """

    def __init__(
        self,
        subject: Subject,
        device: torch.device,
        seed: int,
        *,
        gain: float = GAINS[0],
        wide: bool = False,
        anew: bool = True,
        weights: bool = False,
        weigh: Callable[[str, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.subject, self.device, self.wide = subject, device, wide
        self._weigh = weigh
        self._renews = anew
        self._reweighs = weights
        self.random = False
        self._gain = gain
        self._kept = frozenset(subject.leaned_on)
        self.drawn: list[str] = []  #: floating-point buffers whose numbers are others than the model's
        self._generator = torch.Generator().manual_seed(seed)
        self._made: dict[int, torch.Tensor] = {}
        self._keep: list[torch.Tensor] = []
        for prefix, module in subject.model.named_modules():
            for key, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    self._make(f"{prefix}.{key}".strip("."), tensor)

    @contextmanager
    def installed(self) -> Iterator[tuple[Double, dict[int, str]]]:
        """A double on the stand-ins, in the mode to check, and the parameters' names by their stand-ins' id."""
        names: dict[int, str] = {}

        def exchange(name: str, tensor: torch.Tensor) -> torch.Tensor:
            twin = self._make(name, tensor)
            if isinstance(tensor, nn.Parameter):
                names[id(twin)] = name
                return twin
            return twin.clone()  # a buffer may be written by forward; each run starts from the same numbers

        with doubled(self.subject.model, exchange, self.subject.training, self._plain) as double:
            yield double, names

    def _plain(self, tensor: torch.Tensor) -> torch.Tensor:
        """In place of a tensor that is neither parameter nor buffer: what is known of it, where it has no storage."""
        if tensor.is_meta:
            return self._make("", tensor)
        made = tensor.detach().clone()
        return nn.Parameter(made, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made

    def _make(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        made = self._made.get(id(tensor))
        if made is None:
            made = self._copy(name, tensor)
            if self.wide and made.is_floating_point():
                made = made.double()
            made = made.to(self.device)
            if isinstance(tensor, nn.Parameter):
                made = dressed(nn.Parameter(made, requires_grad=tensor.requires_grad), tensor)
            self._made[id(tensor)] = made
            self._keep.append(tensor)  # an id is good for as long as its owner lives
        return made

    def _copy(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        own = isinstance(tensor, nn.Parameter)
        if own and self._weigh is not None and tensor.is_floating_point():
            return self._weigh(name, tensor)
        if not tensor.is_meta:
            if own and self._reweighs and tensor.is_floating_point() and name not in self._kept:
                return invented(name, tensor, self._generator, self._gain)
            held = on_cpu(tensor)
            return held if own else self._anew(name, held)
        constants = self.subject.loaded.constants
        known = constants.of(tensor) if constants is not None else None
        if known is not None and not own:
            return self._anew(name, known.detach().clone())
        self.random = True
        return invented(name, tensor, self._generator, self._gain, wide=self.wide)

    def _anew(self, name: str, held: torch.Tensor) -> torch.Tensor:
        """Other numbers for a floating-point buffer, of the same sign."""
        chosen = self._renews and held.is_floating_point() and name not in self._kept
        other = drawn(held, sign=1) if chosen else None
        if other is None or not held.numel():
            return held
        self.drawn.append(name)
        return other


class Inputs:
    """The inputs of the forward pass with real numbers, and poisoned or changed copies of them."""

    def __init__(self, subject: Subject, device: torch.device, seed: int, *, wide: bool = False) -> None:
        self._subject, self._device = subject, device
        generator = torch.Generator().manual_seed(seed)
        self.values: list[torch.Tensor] = []

        def collect(tensor: torch.Tensor) -> None:
            self.values.append(_real(tensor, generator, wide).to(device))

        map_tensors((subject.args, dict(subject.kwargs)), collect)

    def floating(self, number: int) -> bool:
        """Whether NaN can be written into an input."""
        return self.values[number].is_floating_point() and not self.sparse(number)

    def sparse(self, number: int) -> bool:
        """Whether an input holds some of its elements only: to change the others would make them some of these."""
        return self.values[number].layout is not torch.strided

    def arguments(self, changed: Mapping[int, torch.Tensor] | None = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of forward, with some inputs exchanged."""
        counter = iter(range(len(self.values)))

        def take(_: torch.Tensor) -> torch.Tensor:
            number = next(counter)
            return (changed or {}).get(number, self.values[number]).clone()

        args, kwargs = map_tensors((tuple(self._subject.args), dict(self._subject.kwargs)), take)
        return args, kwargs

    def stacked(self, copies: int) -> dict[int, torch.Tensor]:
        """Every input repeated along its first axis."""
        return {
            number: value.repeat(copies, *[1] * (value.ndim - 1)) if value.ndim and not self.sparse(number) else value
            for number, value in enumerate(self.values)
        }

    def with_rows(self, number: int, axis: int, rows: list[int], value: float | None) -> dict[int, torch.Tensor]:
        """A stack with one copy for each row, in which that row of one input is ``value``, or moved on by 1."""
        stack = self.stacked(len(rows))
        extent = self.values[number].shape[0]
        for copy, row in enumerate(rows):
            part = stack[number][copy * extent : (copy + 1) * extent] if self.values[number].ndim else stack[number]
            _move(part.select(axis, row), value)
        return stack

    def moved(self, number: int, axis: int, row: int, size: float, seed: int) -> dict[int, torch.Tensor]:
        """The inputs with one row of one of them changed by random numbers of that size."""
        value = self.values[number].clone()
        part = value.select(axis, row)
        if value.is_floating_point():
            noise = torch.randn(part.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            part += (size * noise).to(value.dtype).to(value.device)
        else:
            _move(part, None)
        return {number: value}


def _move(part: torch.Tensor, value: float | None) -> None:
    if value is not None:
        part.fill_(value)
    elif part.dtype == torch.bool:
        part.logical_not_()
    else:
        part.copy_(torch.where(part == 0, torch.ones_like(part), torch.zeros_like(part)))


def _real(tensor: torch.Tensor, generator: torch.Generator, wide: bool) -> torch.Tensor:
    if not tensor.is_meta:
        made = on_cpu(tensor)
    elif tensor.is_complex():
        made = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
    elif tensor.is_floating_point():
        made = torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor.dtype)
    else:
        made = torch.zeros(tensor.shape, dtype=tensor.dtype)
    return made.double() if wide and made.is_floating_point() else made
