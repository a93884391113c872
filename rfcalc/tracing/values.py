"""What the tracer knows of every tensor: which value it holds now, through views and in-place writes, and known
constants.

A tensor is one `Slot`. A view's slot points to the slot it was taken from. Writing into a view writes through to its
parents; a view that is read after one of its parents was written is derived anew. This is what makes ``x[:, :2] = y``
and ``relu_`` right without running the model through a functionalising transform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch

from rfcalc import reads
from rfcalc.graph import Ref
from rfcalc.ops import LOWEST

#: A constant with more elements than this is not computed for real.
LARGEST_CONSTANT = 1 << 22


class Anew:
    """A constant's numbers as they would be if the floating-point buffers that it was made of held others.

    The numbers of a buffer are a weight's: a checkpoint may bring others. What is 0 both as it is and anew is so by
    structure. ``tensor`` is None where the others are not known; ``names`` are those of the buffers.
    """

    __slots__ = ("_of", "_tensor", "names")

    def __init__(
        self, names: tuple[str, ...], tensor: torch.Tensor | None = None, of: torch.Tensor | None = None
    ) -> None:
        self.names, self._tensor, self._of = names, tensor, of

    @property
    def tensor(self) -> torch.Tensor | None:
        """The other numbers, drawn when they are asked for first."""
        if self._of is not None:
            self._tensor, self._of = drawn(self._of), None
        return self._tensor


def drawn(real: torch.Tensor, sign: int = -1) -> torch.Tensor | None:
    """Other numbers for a tensor of floating-point ones: none is 0, and none is what it was, but for what blocks.

    A number above 0 becomes one of the given sign. None for a tensor that is too large, or not a plain one.
    """
    if real.numel() > LARGEST_CONSTANT or real.layout is not torch.strided or real.device.type == "meta":
        return None
    try:
        wide = real.detach() if real.is_complex() else real.detach().double()
        generator = torch.Generator().manual_seed(real.numel())
        factor = 0.5 + torch.rand(wide.shape, generator=generator, dtype=torch.float64)
        other = torch.where(wide == 0, factor.to(wide.dtype), sign * wide * factor)
        if not wide.is_complex():
            other = torch.where((wide > LOWEST) & wide.isfinite(), other, wide)
        return other.to(real.dtype)
    except RuntimeError:  # a type of number, or a device, that torch cannot calculate with
        return None


@dataclass(frozen=True, slots=True)
class Ordered:
    """What a tensor has to do with an order that data decides (`rfcalc.tracing.orders`).

    ``sort`` is the node that brought about the order, ``axis`` the one whose positions are rows in it. It ``holds``
    the "key" that was sorted by, the "order" itself, numbers of "rows", how many rows there are of each key ("counts"),
    where those of each end ("ends"), or "", anything else.
    """

    sort: int
    axis: int | None
    holds: str = ""

    @property
    def of_rows(self) -> bool:
        """Whether what it is is for the order to say: positions that are rows, or numbers of rows."""
        return self.axis is not None or self.holds == "rows"


@dataclass(slots=True)
class Value:
    """The content of a tensor at one moment.

    ``role`` as in `rfcalc.ops.Arg`. ``ref`` is the node output that computed it, None for raw parameters and constants.
    ``params`` are the parameters that it is, or is a pure view of. ``real`` holds the numbers of a constant, or of data
    that follow from nothing but inputs that were ``given`` with values, by their names; ``borrowed`` says that they lie
    in memory of the user's, which is never written. ``anew`` is there where floating-point numbers that forward found,
    and did not make, went into them; ``leans`` names the buffers whose numbers decided what is known here. ``packed``
    are the names of the tensors of packed weights that a constant was computed from (`rfcalc.tracing.standing`).
    ``ordered`` says that rows of it, or numbers, are of an order that data decides; numbers that it has besides are
    those of the order in which the tokens came.
    """

    role: str
    ref: Ref | None = None
    params: tuple[str, ...] = ()
    real: torch.Tensor | None = None
    borrowed: bool = False
    blocked: np.ndarray | None = None
    zero: np.ndarray | None = None
    true: np.ndarray | None = None
    rows: bool = False
    finite: int = 0
    given: tuple[str, ...] = ()
    anew: Anew | None = None
    leans: tuple[str, ...] = ()
    packed: tuple[str, ...] = ()
    ordered: Ordered | None = None
    mark: Any = field(default=None, init=False)  #: a key of what is known of elements (`rfcalc.tracing.contents`)
    numbered: Any = field(default=None, init=False)  #: the version of the numbers, and a key of them

    @property
    def is_plain(self) -> bool:
        """Whether nothing is known of single elements."""
        known = self.blocked is not None or self.zero is not None or self.true is not None
        return not (known or self.rows or self.given or self.packed)


@dataclass(slots=True, eq=False)
class Slot:
    """One tensor object and the value it holds now."""

    tensor: torch.Tensor
    value: Value
    parent: Slot | None = None
    steps: reads.Steps = ()  #: how the view reads its parent
    stamp: int = 0  #: when the value was last written
    seen: int = 0  #: the parent's stamp that the value is consistent with
    call: Any = field(default=None)  #: what to repeat to derive the view anew


def packed_of(held: Iterable[Value]) -> tuple[str, ...]:
    """The tensors of packed weights that something is computed from, of all that is held."""
    return tuple(dict.fromkeys([name for value in held for name in value.packed]))


#: What a tensor holds.
Holds: TypeAlias = Callable[[torch.Tensor], Value]


def invert(steps: reads.Steps, shape: tuple[int, ...]) -> tuple[reads.Steps, reads.Steps] | None:
    """How a tensor of that shape reads a new value of its view (first), and what it keeps of itself (second).

    None where the view is no box of the tensor: the caller then takes everything as read.
    """
    box: list[tuple[int, int, int, int]] = []
    back: list[reads.Step] = []
    extents = list(shape)
    for step in steps:
        match step:
            case reads.Reshape(shape_in, shape_out):
                back.append(reads.Reshape(shape_out, shape_in))
                extents = list(shape_out)
            case reads.Permute(axes):
                back.append(reads.Permute(tuple(axes.index(axis) for axis in range(len(axes)))))
                extents = [extents[axis] for axis in axes]
            case reads.Slice(axis, start, stride, out) if stride > 0 and len(back) == len(box):
                back.append(reads.Place(axis, out, start, extents[axis], stride))
                box.append((axis, out, start, stride))
                extents[axis] = out
            case _:
                return None
    keep: reads.Steps = (reads.Erase(shape, tuple(box)),) if box else ()
    return tuple(reversed(back)), keep
