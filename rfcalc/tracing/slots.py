"""Which value every tensor of a pass holds now: those that ops made, the user's own, and other faces of both."""

from __future__ import annotations

import sys
import weakref
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from rfcalc import reads
from rfcalc.graph import Ref
from rfcalc.tracing.contents import is_made
from rfcalc.tracing.replay import Watch
from rfcalc.tracing.standing import Packing
from rfcalc.tracing.stored import on_cpu
from rfcalc.tracing.tensors import SEQUENCES, elements_of, place_of, tensors_in_args, without_storage
from rfcalc.tracing.values import Slot, Value

#: Real tensors that nobody needs any more are let go after this many bytes of new ones.
SWEEP_BYTES = 64 << 20


class Slots(ABC):
    """The slots of all tensors of one pass. ``meta``: tensors without storage take the place of real ones."""

    def __init__(self, *, meta: bool) -> None:
        self.meta = meta
        self.watch: Watch | None = None  #: what follows the call under way
        self.lazy = False  #: whether tensors may be conjugated or negated without their layout showing it
        self._slots: dict[int, Slot] = {}
        self._places: dict[Any, Slot] = {}
        self._unplaced: list[Slot] = []
        self._twins: dict[int, torch.Tensor] = {}
        self._adopted: set[int] = set()  #: tensors that are the user's
        self._fresh = 0  #: bytes of real tensors since the last `tidy`
        self.packing = Packing()  #: the tensors in which weights are packed

    @abstractmethod
    def steps_of(self, slot: Slot) -> reads.Steps:
        """How a view reads its parent."""

    @abstractmethod
    def found(self, tensor: torch.Tensor, real: torch.Tensor | None) -> Value:
        """What a constant holds that no op of the pass made."""

    def knows(self, tensor: torch.Tensor) -> bool:
        """Whether the pass has met a tensor."""
        return id(tensor) in self._slots

    @abstractmethod
    def _rederive(self, slot: Slot, parent: Slot) -> Value:
        """What a view holds after its parent was written."""

    def bind(self, tensor: torch.Tensor, value: Value) -> Slot:
        """Say what a tensor holds."""
        slot = Slot(tensor, value)
        if not self.meta:
            self._fresh += tensor.numel() * tensor.element_size()
        if self.watch is not None:
            self.watch.bound.append(slot)
        self._slots[id(tensor)] = slot
        self._unplaced.append(slot)
        return slot

    def is_own(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor without storage is one that the pass made, and none that it was given."""
        slot = self._slots.get(id(tensor))
        return slot is not None and slot.tensor is tensor and tensor.is_meta and id(tensor) not in self._adopted

    def let_go(self, given: int) -> list[weakref.ref[torch.Tensor]]:
        """Forget all tensors; returns those of the pass's own, which nobody should hold any more.

        ``given`` is how many there were when it began. What a model without storage holds besides is the user's.
        """
        met = islice(self._slots.items(), given, None)
        own = [weakref.ref(slot.tensor) for key, slot in met if slot.tensor.is_meta and key not in self._adopted]
        self._slots.clear()
        self._places.clear()
        self._unplaced.clear()
        self._twins.clear()
        return own

    def _placed(self) -> dict[Any, Slot]:
        """Which slot is where in memory: worked out late, for few tensors are ever looked for by that.

        What changes where a tensor is asks for this before it does.
        """
        for slot in self._unplaced:
            self._places[place_of(slot.tensor)] = slot
        self._unplaced.clear()
        return self._places

    def _moved(self, slot: Slot) -> None:
        """A tensor shows what it did in another way, which is where it is to be found from now on."""
        self._unplaced.append(slot)

    def _relabel(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A tensor gets other strides and shows what it did: torch notes a memory format so after it has pooled."""
        slot = self._slot(args[0])
        result = func(*args, **kwargs)
        self._moved(slot)
        return result

    def value_of(self, tensor: torch.Tensor) -> Value:
        """What the tensor holds now."""
        slot = self._slot(tensor)
        return slot.value if slot.parent is None else self._current(slot).value

    def ref_of(self, tensor: torch.Tensor) -> Ref | None:
        """The op's output that a tensor is; None for one that this pass has not met, or that is to be derived anew."""
        slot = own = self._slots.get(id(tensor))
        while slot is not None and slot.parent is not None:
            if slot.parent.stamp > slot.seen:
                return None
            slot = slot.parent
        return None if own is None else own.value.ref

    def weight_of(self, tensor: torch.Tensor, op: str) -> Value:
        """What the tensor holds for an op that takes weights: what was unpacked before is a parameter."""
        held = self.value_of(tensor)
        names = self.packing.weights_in(held.packed, elements_of(tensor), op) if held.packed else ()
        return Value("param", held.ref, names) if names else held

    def settled(self, tensor: torch.Tensor) -> Slot | None:
        """The slot of a tensor without storage, with what it holds now; None for one that this pass has not met."""
        slot = self._slots.get(id(tensor))
        if slot is None or not tensor.is_meta:
            return None
        return slot if slot.parent is None else self._current(slot)

    def _unrepeatable(self) -> None:
        """The call under way does what an equal one may do differently."""
        if self.watch is not None:
            self.watch.odd = True

    def _asks(self, held: Iterable[Value]) -> None:
        """The call under way asks for numbers of these: an equal one on other numbers may do something else."""
        if self.watch is not None:
            if all(value.real is None or is_made(value) for value in held):
                self.watch.asks = True
            else:
                self.watch.odd = True

    def _slot(self, tensor: torch.Tensor) -> Slot:
        if self._twins:
            tensor = self._twins.get(id(tensor), tensor)
        slot = self._slots.get(id(tensor))
        if slot is None:
            slot = self._adopt(tensor)
        return slot

    def _adopt(self, tensor: torch.Tensor) -> Slot:
        """A tensor that no recorded op made: another face of a known one (``.data``), or a constant of the user's."""
        self._unrepeatable()
        known = self._placed().get(place_of(tensor))
        if known is not None and known.tensor.shape == tensor.shape:
            return self._face(tensor, known)
        name = self.packing.name_of(tensor)
        role = "param" if isinstance(tensor, torch.nn.Parameter) and name is None else "const"
        real = None if tensor.device.type == "meta" or role == "param" else tensor  # any op on it might be recorded
        self._adopted.add(id(tensor))
        value = Value(role) if role == "param" else self.found(tensor, real)
        return self.bind(tensor, replace(value, packed=() if name is None else (name,)))

    def _face(self, tensor: torch.Tensor, of: Slot) -> Slot:
        """The slot of a tensor that shows the same elements as another."""
        slot = Slot(tensor, of.value, parent=of, stamp=of.stamp, seen=of.stamp)
        self._slots[id(tensor)] = slot
        return slot

    def take_over(self, tensor: torch.Tensor, other: torch.Tensor) -> None:
        """``tensor.data = other``: it shows what the other one does, and what was a view of it stays as it is.

        Views hold on to the slot that they were taken from, so the tensor gets another one.
        """
        self._unrepeatable()
        self.value_of(other)
        shown = self._slot(other)
        before = self._slot(tensor)
        self._settle_views(before)
        if self._placed().get(place := place_of(tensor)) is before:
            del self._placed()[place]  # another tensor may get the memory
        with torch._C._DisableTorchDispatch():  # what was a view of it is one of what it showed, in the shape of that
            before.tensor = tensor.detach()
        tensor.data = other
        self._face(tensor, shown)

    def _current(self, slot: Slot) -> Slot:
        """The slot, derived anew if something it is a view of was written since."""
        if slot.parent is None:
            return slot
        parent = self._current(slot.parent)
        if parent.stamp > slot.seen:
            slot.value = self._rederive(slot, parent)
            slot.stamp = slot.seen = parent.stamp
        return slot

    def depends(self, tensors: Iterable[torch.Tensor]) -> bool:
        """Whether any of the tensors depends on an input or a parameter."""
        return any(self.value_of(tensor).role != "const" for tensor in tensors)

    def _settle_views(self, slot: Slot) -> None:
        """Find how a tensor and the views of it are read while the tensor is still what they were taken from."""
        for other in list(self._slots.values()):
            if other is slot or other.parent is slot:
                self.steps_of(other)

    # --- memory -------------------------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Let go of real tensors that nothing but this recorder holds, now and then.

        A view's base is kept as long as the view.
        """
        if self.meta or self._fresh < SWEEP_BYTES:
            return
        self._fresh = 0
        for slot in self._slots.values():
            self.steps_of(slot)  # how it reads its base is worked out from tensors
        children = Counter(id(slot.parent) for slot in self._slots.values() if slot.parent is not None)
        places = {id(slot): place for place, slot in self._placed().items()}
        for key in reversed(list(self._slots)):
            slot = self._slots[key]
            own = slot.value.real is slot.tensor and sys.getrefcount(slot.value) <= _VALUE_HELD_ONCE
            held = sys.getrefcount(slot.tensor) - own
            if children[id(slot)] or held > _HELD_ONCE or _uses(slot.tensor) > 1:
                continue
            if slot.parent is not None:
                children[id(slot.parent)] -= 1
            del self._slots[key]
            self._adopted.discard(key)  # another tensor may get the id
            self._twins.pop(key, None)
            place = places.get(id(slot))
            if place is not None and self._placed().get(place) is slot:
                del self._placed()[place]

    # --- the user's own tensors ---------------------------------------------------------------------------------------

    def twinned(self, value: Any) -> Any:
        """The arguments with tensors of the pass in place of the user's own, whose numbers are known constants."""
        if isinstance(value, torch.Tensor):
            return self._twin(value) if self._foreign(value) else value
        if isinstance(value, SEQUENCES):
            return type(value)(self.twinned(item) for item in value)
        return value

    def any_foreign(self, values: Iterable[Any]) -> bool:
        """Whether `twinned` would change any of the arguments."""
        tensors = tensors_in_args(values)
        if self.meta:
            return not all(tensor.is_meta for tensor in tensors)
        return any(self._foreign(tensor) for tensor in tensors)

    def _foreign(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is not one of this pass: a real one among meta tensors, or one that no op of it made."""
        if self.meta:
            return not tensor.is_meta
        known = id(tensor) in self._slots or place_of(tensor) in self._placed()
        return id(tensor) in self._adopted or not known

    def _twin(self, tensor: torch.Tensor) -> torch.Tensor:
        self._unrepeatable()
        twin = self._twins.get(id(tensor))
        if twin is None:
            value = self._slot(tensor).value
            if self.meta:
                twin = without_storage(tensor)
            else:  # what the pass writes into it is not for the user to see
                twin = on_cpu(tensor)
                value = replace(value, real=twin if value.real is not None else None, borrowed=False)
            self._twins[id(tensor)] = twin
            self.bind(twin, value)
        return twin


def _uses(tensor: torch.Tensor) -> int:
    """How often torch itself holds a tensor."""
    held: Any = tensor  # not every release of torch declares the method
    count: int = held._use_count()
    return count


def _held_once() -> tuple[int, int]:
    slot = Slot(torch.empty(0), Value("const"))
    return sys.getrefcount(slot.tensor), sys.getrefcount(slot.value)


#: What `sys.getrefcount` says of a tensor and of a value that only a slot holds.
_HELD_ONCE, _VALUE_HELD_ONCE = _held_once()
