"""What one forward pass leaves behind: a record for every op, the masks, and where it failed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rfcalc.graph import Read, Ref, TensorInfo
from rfcalc.ops import Effect
from rfcalc.tracing.modules import Scanning, Scope
from rfcalc.tracing.places import NOWHERE, Spot


@dataclass(slots=True)
class Record:
    """One recorded op, before it has a name."""

    op: str
    scope: Scope
    effect: Effect
    inputs: tuple[Ref, ...]
    outputs: tuple[TensorInfo, ...]
    reads: tuple[tuple[Read, ...], ...]
    params: tuple[str, ...]
    known: bool = True
    depends: bool = True  #: on an input (otherwise on parameters alone)
    function: str = ""  #: torch's function that the model called
    spot: Spot = NOWHERE  #: where the model's code called it
    frozen: bool = False  #: it ran where the model's code keeps nothing for gradients
    again: int = 0  #: the checkpointed part in which it ran
    scan: Scanning | None = None  #: the associative scan of which it combines pairs


@dataclass
class Failure:
    """Where the forward pass failed."""

    scope: Scope
    op: str
    shapes: tuple[tuple[int, ...], ...]
    error: Exception | None = None
    refused: bool = False  #: on real tensors of the same shapes, too


@dataclass
class Tape:
    """Everything one forward pass left behind."""

    records: list[Record] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)
    failure: Failure | None = None
    asked: dict[str, None] = field(default_factory=dict)  #: buffers of which forward asked for a number
    located: bool = False  #: whether it asked on which device a tensor is
    unread: dict[str, None] = field(default_factory=dict)  #: buffers of 0 and 1 of which no 0 blocks
    notices: list[str] = field(default_factory=list)  #: what a user should know of the whole pass

    def add(self, record: Record) -> Ref:
        """Append a record; gives its first output."""
        self.records.append(record)
        return Ref(len(self.records) - 1)

    def ends(self) -> list[Ref]:
        """What was computed from the inputs and read by no op."""
        read = {ref.node for record in self.records for ref in record.inputs}
        made = [at for at, record in enumerate(self.records) if record.inputs and record.outputs and record.depends]
        return [Ref(at) for at in made if at not in read]

    def intern(self, mask: np.ndarray) -> int:
        """The key of a mask; equal masks share one."""
        for key, other in enumerate(self.masks):
            if other is mask or (other.shape == mask.shape and np.array_equal(other, mask)):
                return key
        self.masks.append(mask)
        return len(self.masks) - 1
