"""What the tracer knows of every tensor: which value it holds now, through views and in-place writes, and known
constants.

A tensor is one `Slot`. A view's slot points to the slot it was taken from. Writing into a view writes through to its
parents; a view that is read after one of its parents was written is derived anew. This is what makes ``x[:, :2] = y``
and ``relu_`` right without running the model through a functionalising transform.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcalc import reads
from rfcalc.graph import Ref

if TYPE_CHECKING:
    import torch

#: A constant with more elements than this is not computed for real.
LARGEST_CONSTANT = 1 << 22


@dataclass(slots=True)
class Value:
    """The content of a tensor at one moment.

    ``role`` as in `rfcalc.ops.Arg`. ``ref`` is the node output that computed it, None for raw parameters and constants.
    ``params`` are the parameters that it is, or is a pure view of. ``real`` holds the numbers of a constant, or of data
    that follow from nothing but inputs that were ``given`` with values, by their names; ``borrowed`` says that they lie
    in memory of the user's, which is never written.
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
    given: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether nothing is known of single elements."""
        return not self.given and self.blocked is None and self.zero is None and self.true is None and not self.rows


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
