"""What a source gives: a module ready to be traced, with what is known of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rfcalc.tracing.construct import Constants

#: Positional and keyword arguments of a model's forward.
Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Expected:
    """A tensor that a model takes.

    ``shape`` is the usual one without batch; None stands for an extent that the model leaves open. ``dtype`` is None
    for that of the model's weights. A model that takes a list of samples has tensors without batch: ``batched`` is
    False, and a shape with one more axis in front asks for so many samples.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str | None = None
    batched: bool = True

    @property
    def text(self) -> str:
        """The usual shape as it is written in ``--input``."""
        return "x".join("?" if extent is None else str(extent) for extent in self.shape)


def in_order(tensors: Sequence[torch.Tensor]) -> Arguments:
    """Each tensor is an argument of its own."""
    return tuple(tensors), {}


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model and its inputs.

    ``inputs`` are the tensors it takes, empty where they are not known, and ``arrange`` makes the arguments of forward
    out of them. ``example`` is a call that is known to work, given by the source itself. ``separator`` joins the names
    of nested modules. ``ids`` is true where inputs may be whole numbers though no embedding of torch's says so.
    """

    model: nn.Module
    name: str
    inputs: tuple[Expected, ...] = ()
    arrange: Callable[[Sequence[torch.Tensor]], Arguments] = in_order
    example: Arguments | None = None
    constants: Constants | None = None
    separator: str = "."
    ids: bool = False


def one_input(shape: Sequence[int] | None) -> tuple[Expected, ...]:
    """The inputs of a model with a single one of this shape without batch; none for a shape that is not known."""
    return () if shape is None else (Expected("input", tuple(shape)),)
