"""What is kept of a call: its records and tensors, in terms of its own arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from rfcalc import reads
from rfcalc.graph import Read, Ref, TensorInfo
from rfcalc.ops import Effect
from rfcalc.tracing import contents
from rfcalc.tracing.contents import Knowledge
from rfcalc.tracing.values import Value


class From(NamedTuple):
    """Where a value comes from: argument ``arg`` of the call, or, where that is -1, a record that the call left."""

    arg: int
    record: int = 0
    output: int = 0

    def ref(self, values: Sequence[Value], base: int) -> Ref:
        """The node output in a call of these arguments whose first record has the number ``base``."""
        if self.arg < 0:
            return Ref(base + self.record, self.output)
        found = values[self.arg].ref
        assert found is not None
        return found


#: The name of a parameter: of those that argument (first number) is or is a view of, the one at a place (second).
Name: TypeAlias = tuple[int, int]


class KeptRecord(NamedTuple):
    """A record, its inputs by where they come from, its parameters as names."""

    op: str
    effect: Effect
    inputs: tuple[From, ...]
    outputs: tuple[TensorInfo, ...]
    reads: tuple[tuple[Read, ...], ...]
    params: tuple[Name, ...]
    known: bool
    depends: bool
    function: str


class Memory(NamedTuple):
    """How a result lies in the memory of argument ``base``, from its first element on; in its own where that is -1."""

    dtype: torch.dtype
    strides: tuple[int, ...]
    base: int = -1
    offset: int = 0


class KeptTensor(NamedTuple):
    """A tensor that the call made, and what it holds.

    ``role`` is None where it holds just what an argument does; ``value`` is None for a view of ``params``.
    ``parent`` is what it is a view of: an argument, or from -1 down an earlier tensor of the call. One that is not
    ``given`` back is there for the views of it.
    """

    shape: tuple[int, ...]
    memory: Memory
    given: bool
    role: str | None
    value: From | None
    params: tuple[Name, ...]
    parent: int | None
    steps: reads.Steps
    known: Knowledge | None = None  #: of single elements
    real: torch.Tensor | None = None  #: the numbers of a constant


@dataclass(slots=True)
class Kept:
    """What a call left: records, tensors, a value written into an argument, and what it gave back.

    ``results`` are numbers of tensors, or -1 - n for argument n, or None as it is; in a sequence of ``kind``, or one
    without.
    """

    records: tuple[KeptRecord, ...]
    tensors: tuple[KeptTensor, ...]
    written: tuple[int, str, From] | None
    results: tuple[int | None, ...]
    kind: Any
    masks: tuple[tuple[np.ndarray, int], ...] = ()  #: those that its rules stored, with their numbers on the tape

    @property
    def nbytes(self) -> int:
        """Bytes of what it holds of single elements."""
        of = self.tensors
        return contents.weight([mask for mask, _ in self.masks], [one.known for one in of], [one.real for one in of])


class Asking(NamedTuple):
    """Stands for calls of which the numbers of constants decide: they are kept under these as well."""

    nbytes: int = 0
