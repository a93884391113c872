"""What goes into the ops of a pass beside the data: constants, parameters and plain numbers.

A graph says what is read of the inputs. Who has to know whether two passes on inputs of different sizes compute the
same (`rfcalc.tiling`) needs the rest, too: a grid of coordinates, a parameter for each position, a number that was
divided by the height. It is noted here, beside the graph, only while somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rfcalc import reads
from rfcalc.ops import Arg, Effect
from rfcalc.tracing.values import Value

if TYPE_CHECKING:
    from rfcalc.tracing.recorder import Recorder

#: Kinds of ops whose plain numbers are part of what they compute; of others they are sizes and places.
_WITH_NUMBERS = frozenset({"elementwise", "activation", "merge"})
#: Arguments that are no numbers to compute with.
_SETTINGS = frozenset({"dim", "dims", "keepdim", "dtype", "layout", "device", "pin_memory", "memory_format"})


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor that no op computed from an input, as one output of an op reads it.

    ``name`` is that of the parameter or buffer, "" for a constant that the code made. ``numbers`` are known ones.
    """

    output: int
    name: str
    shape: tuple[int, ...]
    numbers: np.ndarray | None
    steps: reads.Steps


@dataclass
class Noted:
    """By the number of each node: what it reads beside the data, and the numbers that it computes with."""

    tensors: dict[int, list[Operand]] = field(default_factory=dict)
    numbers: dict[int, tuple[float, ...]] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget a pass that failed."""
        self.tensors.clear()
        self.numbers.clear()

    def node(self, recorder: Recorder, effect: Effect, args: Sequence[tuple[Arg, Value]], outputs: int) -> None:
        """Note what an op reads beside the data, before its record is added; an equal call is noted, too."""
        recorder._unrepeatable()
        ident = len(recorder.tape.records)
        held = {id(arg): value for arg, value in args}
        for output in range(outputs):
            for arg, steps in effect.reads_of(output):
                value = held.get(id(arg))
                if value is None or value.ref is not None:
                    continue
                known = _numbers(value)
                if known is not None and value.anew is not None and known.size and (known == known.flat[0]).all():
                    known = None  # a buffer of equal numbers may come to hold others
                names = value.params or (value.anew.names if value.anew is not None else ())
                name = names[0] if names else ""
                self.tensors.setdefault(ident, []).append(Operand(output, name, arg.shape, known, steps))

    def call(self, ident: int, kind: str, named: Mapping[str, Any]) -> None:
        """Note the plain numbers that an op computes with."""
        if kind in _WITH_NUMBERS:
            given = [value for name, value in named.items() if name not in _SETTINGS]
            found = tuple(float(value) for value in given if type(value) in (int, float))
            if found:
                self.numbers[ident] = found


def _numbers(value: Value) -> np.ndarray | None:
    if value.role == "param" or value.real is None or value.real.layout is not torch.strided:
        return None
    real = value.real.detach()
    if real.device.type == "meta":
        return None
    wide: np.ndarray = (real if real.is_complex() else real.double()).cpu().resolve_conj().numpy()
    return wide


_noted: ContextVar[Noted | None] = ContextVar("noted", default=None)


@contextmanager
def noting() -> Iterator[Noted]:
    """Note what goes into the ops of the passes traced inside of the block; the last pass counts."""
    noted = Noted()
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


class Unnoted:
    """What stands in for `Noted` where nobody asks."""

    def node(self, *_: Any) -> None:
        """Nothing."""

    def call(self, *_: Any) -> None:
        """Nothing."""


_UNNOTED = Unnoted()


def fresh() -> Noted | Unnoted:
    """Where a pass that begins notes what it meets."""
    noted = _noted.get()
    if noted is None:
        return _UNNOTED
    noted.clear()
    return noted
