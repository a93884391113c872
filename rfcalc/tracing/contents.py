"""What is known of single elements of tensors, and the numbers of constants, as keys: equal keys tell the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch

from rfcalc.tracing.values import Value

#: Bytes of a constant, or elements of what is known of a tensor, of which a key is made.
LARGEST = 1 << 20


class Knowledge(NamedTuple):
    """What `Value` says of single elements."""

    blocked: np.ndarray | None
    zero: np.ndarray | None
    true: np.ndarray | None
    rows: bool
    finite: int

    @property
    def nbytes(self) -> int:
        return sum([part.nbytes for part in self[:3] if part is not None])


def knowledge_of(value: Value) -> Knowledge | None:
    """What is known of the elements of data, None where nothing is."""
    return None if value.is_plain else Knowledge(value.blocked, value.zero, value.true, value.rows, value.finite)


def known_again(value: Value, known: Knowledge) -> Value:
    """The value with what is known of another of the same shape."""
    value.blocked, value.zero, value.true, value.rows, value.finite = known
    return value


def mark_of(value: Value) -> Any:
    """A key of what is known of the elements; None where it leans on more than the elements, or is too large."""
    if value.mark is None and not (value.given or value.packed or value.leans or value.ordered or value.anew):
        known = value.blocked, value.zero, value.true
        if sum([part.size for part in known if part is not None]) <= LARGEST:
            value.mark = *map(_digest, known), value.rows, value.finite
    return value.mark


def _digest(part: np.ndarray | None) -> tuple[Any, ...] | None:
    return None if part is None else (part.shape, blake2b(np.packbits(part).tobytes(), digest_size=16).digest())


def is_made(value: Value) -> bool:
    """Whether the value is a constant that the code makes, with nothing in it of a buffer, or of what was given."""
    mixed = value.anew or value.leans or value.packed or value.given or value.ordered or value.borrowed
    return value.role == "const" and not mixed


def numbers_of(values: Iterable[Value]) -> tuple[Any, ...] | None:
    """A key of the numbers of all constants; None where those of one are not of the code's making, or too large."""
    found = []
    for value in values:
        if value.role == "const" and value.real is not None:
            if not is_made(value) or value.real.layout is not torch.strided:
                return None
            found.append(_numbered(value, value.real))
            if found[-1] is None:
                return None
    return tuple(found)


def _numbered(value: Value, real: torch.Tensor) -> Any:
    """A key of numbers, worked out anew where they were written since."""
    if value.numbered is None or value.numbered[0] != real._version:
        if real.numel() * real.element_size() > LARGEST:
            return None
        with torch._C._DisableTorchDispatch():
            whole = real.detach().clone(memory_format=torch.contiguous_format)  # with one place, a stride of 1, too
            held = whole.reshape(-1).view(torch.uint8).numpy()
        digest = blake2b(held.tobytes(), digest_size=16).digest()
        value.numbered = real._version, (real.dtype, tuple(real.shape), real.stride(), digest)
    return value.numbered[1]


def weight(masks: Sequence[np.ndarray], known: Iterable[Knowledge | None], reals: Iterable[torch.Tensor | None]) -> int:
    """Bytes of all that is kept."""
    told = sum([item.nbytes for item in known if item is not None])
    numbers = sum([real.numel() * real.element_size() for real in reals if real is not None])
    return told + numbers + sum([mask.nbytes for mask in masks])
