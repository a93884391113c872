"""What a source gives: a module ready to be traced, with what is known of its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from rfcalc.tracing.construct import Constants


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model and its default input.

    ``shape`` is the default input's shape without batch, None where the model has none. ``rank`` is the rank of an
    input with batch, None where it is not known. ``separator`` joins the names of nested modules.
    """

    model: nn.Module
    name: str
    shape: tuple[int, ...] | None = None
    constants: Constants | None = None
    separator: str = "."

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape) + 1
