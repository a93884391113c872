"""Equal calls leave equal records: what a call of one of torch's functions did is kept, and done again without it.

Networks repeat their layers. The records that a call leaves, and the tensors that it gives, follow from the function,
the shapes, dtypes and strides of the tensors, the other arguments, and the rules that are in force. They are kept under
these as a `Kept`, written in terms of the call's own arguments, and *replayed* for the next equal call. A call is kept
where everything that it left is explained so: not where it asked for the numbers of a buffer, changed a shape in
place, or wrote into a view. What is known of single elements is a part of the key, and so are the numbers of constants
that the code itself makes, where a call asks for any (`rfcalc.tracing.contents`). All others are traced each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch.overrides import _get_current_function_mode_stack

from rfcalc import recall
from rfcalc.graph import Ref
from rfcalc.ops.registry import changes
from rfcalc.tracing import contents
from rfcalc.tracing.contents import Knowledge
from rfcalc.tracing.kept import Asking, From, Kept, KeptRecord, KeptTensor, Memory, Name
from rfcalc.tracing.tape import Record
from rfcalc.tracing.values import Slot, Value

if TYPE_CHECKING:
    from rfcalc.tracing.recorder import Recorder

#: As many calls are kept; after that the oldest is forgotten for the next.
MOST = 4096
#: As many bytes of what is known of single elements they may hold, together and each.
MOST_BYTES, MOST_OF_ONE = 64 << 20, 4 << 20

_META = torch.device("meta")
_TENSORS = frozenset({torch.Tensor, torch.nn.Parameter})
_LISTS = frozenset({tuple, list, torch.Size})
#: Arguments that are told apart by their type and value.
_ATOMS = frozenset(
    {int, float, bool, complex, str, type(None), type(Ellipsis)}
    | {torch.dtype, torch.device, torch.memory_format, torch.layout}
)

#: Functions that do nothing besides where they give back their argument.
_HANDS_ON = frozenset({torch.nn.functional.dropout, torch.Tensor.contiguous, torch.Tensor.to, torch.Tensor.float})

Key: TypeAlias = tuple[Any, ...]


# --- one call ---------------------------------------------------------------------------------------------------------


class Signature:
    """What the outcome of a call follows from, as a key; its tensors, and what they hold."""

    __slots__ = ("depends", "key", "recorder", "slots", "tensors", "ties")

    def __init__(self, recorder: Recorder, func: Any) -> None:
        self.recorder = recorder
        fused = torch._C._get_flash_sdp_enabled()  # or results of attention lie otherwise
        self.key: list[Any] = [func, torch.get_default_dtype(), fused, changes()]
        self.tensors: list[torch.Tensor] = []
        self.slots: list[Slot] = []
        self.ties: dict[Any, Any] = {}  #: where each content was met first: ``x + x`` is no ``x + y``
        self.depends = False  #: on more than constants

    def add(self, values: Sequence[Any]) -> bool:
        """Take arguments in; False where one is more than a plain value or a tensor of which only the layout counts."""
        key = self.key
        for value in values:
            kind = type(value)
            if kind in _TENSORS:
                slot = self.recorder.settled(value)
                if slot is None:
                    return False
                key += (value.shape, value.dtype, value.stride(), *self._added(slot))
                if not slot.value.is_plain:
                    mark = contents.mark_of(slot.value)
                    if mark is None:
                        return False
                    key.append(mark)
                self.tensors.append(value)
            elif kind in _ATOMS:
                key += (kind, value if value or kind is not float else repr(value))  # 0 has two signs
            elif kind in _LISTS:
                key += (kind, len(value))
                if not self.add(value):
                    return False
            elif kind is slice:
                key.append(slice)
                if not self.add((value.start, value.stop, value.step)):
                    return False
            else:
                return False
        return True

    def _added(self, slot: Slot) -> tuple[Any, ...]:
        """What counts of a tensor's content: its kind, and which arguments before it have the same."""
        held, at, ties = slot.value, len(self.slots), self.ties
        role, ref, names = held.role, held.ref, held.params
        self.slots.append(slot)
        if role != "const":
            self.depends = True
        same: Any = ties.setdefault(ref or names, at)
        if len(names) > 1:
            same = same, *[ties.setdefault((name,), (at, place)) for place, name in enumerate(names)]
        return role, ref is None, held.real is None, ties.setdefault(id(slot), at), same


@lru_cache(4096)
def _is_torchs(func: Any) -> bool:
    """Whether a function is one of torch's own, which do the same each time."""
    return (getattr(func, "__module__", None) or "torch").partition(".")[0] == "torch"


def signature(recorder: Recorder, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Signature | None:
    """The signature of a call; None for a call whose outcome may follow from something else."""
    if recorder.lazy or not _is_torchs(func) or torch.is_grad_enabled() or torch._C._is_any_autocast_enabled():
        return None
    made = Signature(recorder, func)
    if not made.add(args):
        return None
    for name, value in kwargs.items():
        made.key.append(name)
        if not made.add((value,)):
            return None
    if torch._C._len_torch_function_stack():  # a device that is in force decides where tensors are made
        modes = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        made.key.append(tuple([getattr(mode, "device", None) for mode in modes]))
    return made


@dataclass(slots=True)
class Watch:
    """What a call does while it is traced: the tensors that it binds, what it writes, the masks that its rules store,
    that it asks for numbers of constants of the code's own, and that it cannot be kept."""

    bound: list[Slot] = field(default_factory=list)
    written: list[tuple[Slot, Value]] = field(default_factory=list)
    masks: list[tuple[np.ndarray, int]] = field(default_factory=list)
    asks: bool = False
    odd: bool = False


#: The calls that any recorder has traced.
_SHARED: dict[Key, Kept | Asking] = {}
_held = 0  #: bytes that they hold


forget = recall.forget


@recall.forgets
def _forget() -> None:
    """Forget all calls: the next of each kind is traced again."""
    global _held
    _SHARED.clear()
    _held = 0


def _share(key: Key, kept: Kept | Asking) -> None:
    """Keep a call for all recorders, in place of the oldest where there are many, or they hold much."""
    global _held
    before = _SHARED.pop(key, None)
    _held += kept.nbytes - (0 if before is None else before.nbytes)
    while _SHARED and (len(_SHARED) >= MOST or _held > MOST_BYTES):
        gone = _SHARED.pop(next(iter(_SHARED)), None)
        _held -= gone.nbytes if gone is not None else 0
    _SHARED[key] = kept


#: Stands for a call that was not traced before.
_NEW: Any = object()
#: The length of a key with numbers, which no other has.
_ASKED = 2


class Replay:
    """Traces the calls of one recorder, and replays them. Those that hold much are its own."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._own: dict[Key, Kept | None] = {}

    def call(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], trace: Callable[[], Any]) -> Any:
        """What a call gives: replayed where an equal one is kept, otherwise traced, and kept if it can be."""
        found = signature(self._recorder, func, args, kwargs)
        if found is None:
            return trace()
        key: Key = tuple(found.key)
        kept = self._kept(key)
        if type(kept) is Asking:
            numbers = contents.numbers_of([slot.value for slot in found.slots])
            if numbers is None:
                return trace()
            key = key, numbers
            kept = self._kept(key)
        if kept is _NEW:
            return self._first(key, found, trace)
        return self._again(kept, found) if type(kept) is Kept and self._has_masks(kept) else trace()

    def _kept(self, key: Key) -> Any:
        """What is kept of a call, None of one that cannot be, `_NEW` where none was traced before."""
        return _SHARED.get(key) or self._own.get(key, _NEW)

    def _has_masks(self, kept: Kept) -> bool:
        """Whether the masks that a call stores have their numbers on this tape."""
        return not kept.masks or all(self._recorder.stored(mask) == number for mask, number in kept.masks)

    def _first(self, key: Key, found: Signature, trace: Callable[[], Any]) -> Any:
        recorder = self._recorder
        base = len(recorder.tape.records)
        values = [slot.value for slot in found.slots]
        outer, recorder.watch = recorder.watch, Watch()
        try:
            result = trace()
            watch = recorder.watch
        finally:
            recorder.watch = outer
        kept = None if watch.odd else _Keeping(recorder, found, values, base, watch).kept(result)
        if kept is not None and watch.asks and len(key) != _ASKED:
            numbers = contents.numbers_of(values)
            if numbers is None:
                kept = None
            else:
                _share(key, Asking())
                key = key, numbers
        if kept is None or kept.nbytes > MOST_OF_ONE:
            self._own[key] = kept
        else:
            _share(key, kept)
        return result

    def _again(self, kept: Kept, found: Signature) -> Any:
        recorder = self._recorder
        records, scope, spot = recorder.tape.records, recorder.scope, recorder.spot
        base = len(records)
        values = [slot.value for slot in found.slots]
        for op, effect, inputs, outputs, rows, params, known, depends, function in kept.records:
            refs = tuple([item.ref(values, base) for item in inputs])
            names = tuple([values[arg].params[at] for arg, at in params])
            recorder.add(Record(op, scope, effect, refs, outputs, rows, names, known, depends, function, spot))
        made = self._made(kept.tensors, found, values, base) if kept.tensors else ()
        if kept.written is not None:
            at, role, source = kept.written
            recorder.write(found.slots[at], Value(role, source.ref(values, base)))
        if kept.kind is None:
            return _result(kept.results[0], made, found.tensors)
        return kept.kind([_result(number, made, found.tensors) for number in kept.results])

    def _made(
        self, tensors: Sequence[KeptTensor], found: Signature, values: Sequence[Value], base: int
    ) -> list[torch.Tensor]:
        slots: list[Slot] = []
        for kept in tensors:
            tensor, value = _tensor(kept.shape, kept.memory, found.tensors), _value(kept, values, base)
            slot = self._recorder.bind(tensor, value) if kept.given else Slot(tensor, value)
            if kept.parent is not None:
                parent = found.slots[kept.parent] if kept.parent >= 0 else slots[-1 - kept.parent]
                slot.parent, slot.steps = parent, kept.steps
                slot.seen = slot.stamp = parent.stamp
            slots.append(slot)
        return [slot.tensor for slot in slots]


def _tensor(shape: tuple[int, ...], memory: Memory, arguments: Sequence[torch.Tensor]) -> torch.Tensor:
    dtype, strides, at, offset = memory
    with torch._C._DisableTorchDispatch():
        if at < 0:
            return torch.empty_strided(shape, strides, dtype=dtype, device=_META)
        return torch.as_strided(arguments[at], shape, strides, int(arguments[at].storage_offset()) + offset)


def _result(number: int | None, made: Sequence[Any], arguments: Sequence[torch.Tensor]) -> Any:
    if number is None:
        return None
    return made[number] if number >= 0 else arguments[-1 - number]


def _value(kept: KeptTensor, values: Sequence[Value], base: int) -> Value:
    role, source = kept.role, kept.value
    if role == "const":
        with torch._C._DisableTorchDispatch():  # what is written there later is not kept
            return Value(role, real=None if kept.real is None else kept.real.clone())
    if source is None:
        return Value(kept.role or "param", None, tuple([values[arg].params[at] for arg, at in kept.params]))
    if role is None:
        return values[source.arg]
    value = Value(role, source.ref(values, base))
    return value if kept.known is None else contents.known_again(value, kept.known)


# --- what a call left, in terms of its arguments ----------------------------------------------------------------------


class _OddError(Exception):
    """Something that the arguments do not explain."""


class _Keeping:
    """Says what a call left in terms of its arguments, where they explain all of it."""

    def __init__(self, recorder: Recorder, found: Signature, values: Sequence[Value], base: int, watch: Watch) -> None:
        self.recorder, self.found, self.values, self.base, self.watch = recorder, found, values, base, watch
        self.slots: dict[int, int] = {}
        for at, slot in enumerate(found.slots):
            self.slots.setdefault(id(slot), at)
        self.refs: dict[Ref, int] = {}  #: the first argument that holds a node's output
        self.names: dict[str, Name] = {}  #: the first argument that is a parameter, or a view of it
        for at, value in enumerate(values):
            if value.ref is not None:
                self.refs.setdefault(value.ref, at)
            for place, name in enumerate(value.params):
                self.names.setdefault(name, (at, place))

    def kept(self, result: Any) -> Kept | None:
        """What is kept of the call; None where it is not all explained."""
        kind = type(result)
        several = kind in (tuple, list) or kind.__module__ == "torch.return_types"
        parts = list(result) if several else [result]
        outs = [part for part in parts if part is not None]
        if not outs or any(type(out) not in _TENSORS for out in outs):
            return None
        try:
            records = tuple([self._record(record) for record in self.recorder.tape.records[self.base :]])
            tensors, numbers = self._tensors(outs)
            if not records and not tensors and self.found.key[0] not in _HANDS_ON:
                return None  # it gave back its argument, or changed what is not for a recorder to see
            results = tuple([None if part is None else numbers[id(part)] for part in parts])
            written, masks = self._written(len(records)), tuple(self.watch.masks)
            return Kept(records, tensors, written, results, kind if several else None, masks)
        except _OddError:
            return None

    def _from(self, ref: Ref) -> From:
        if ref.node >= self.base:
            return From(-1, ref.node - self.base, ref.output)
        if ref not in self.refs:
            raise _OddError
        return From(self.refs[ref])

    def _names(self, names: Sequence[str]) -> tuple[Name, ...]:
        if any(name not in self.names for name in names):
            raise _OddError
        return tuple([self.names[name] for name in names])

    def _record(self, record: Record) -> KeptRecord:
        return KeptRecord(
            record.op,
            record.effect,
            tuple([self._from(ref) for ref in record.inputs]),
            record.outputs,
            record.reads,
            self._names(record.params),
            record.known,
            record.depends,
            record.function,
        )

    def _tensors(self, outs: Sequence[torch.Tensor]) -> tuple[tuple[KeptTensor, ...], dict[int, int]]:
        """The tensors given back, each after what it is a view of, and the number of each result."""
        results = {id(out): -1 - at for out in outs if (at := _place(out, self.found.tensors)) is not None}
        places = dict(self.slots)
        bound = {id(slot.tensor): slot for slot in self.watch.bound}
        kept: list[KeptTensor] = []
        memory: set[int] = set()
        for out in outs:
            if id(out) in results:
                continue
            slot = bound.get(id(out))
            if slot is None or id(slot) in places:
                raise _OddError
            if _storage(out) in memory:
                raise _OddError
            for one in _chain(slot, places):
                kept.append(self._tensor(one, places, given=one is slot))
                places[id(one)] = -len(kept)
            results[id(out)] = len(kept) - 1
            if kept[-1].memory.base < 0:
                memory.add(_storage(out))
        return tuple(kept), results

    def _tensor(self, slot: Slot, places: Mapping[int, int], *, given: bool) -> KeptTensor:
        content = self._content(slot.value)
        made = slot.value.role == "const" and content[0] is not None
        if made and (slot.parent is not None or not slot.tensor.is_meta):
            raise _OddError
        parent = None if slot.parent is None else places[id(slot.parent)]
        steps = () if parent is None else self.recorder.steps_of(slot)
        shape = tuple(slot.tensor.shape)
        if slot.tensor.requires_grad:
            raise _OddError
        memory = self._memory(slot.tensor, slot)
        known, real = (None, None) if content[0] is None else self._elements(slot.value)
        return KeptTensor(shape, memory, given, *content, parent, steps, known, real)

    def _elements(self, value: Value) -> tuple[Knowledge | None, torch.Tensor | None]:
        """What is kept of single elements: what is known of those of data, or the numbers of a constant."""
        if value.real is None:
            return contents.knowledge_of(value), None
        with torch._C._DisableTorchDispatch():
            return None, value.real.clone()

    def _content(self, value: Value) -> tuple[str | None, From | None, tuple[Name, ...]]:
        for at, held in enumerate(self.values):
            if held is value:
                return None, From(at), ()
        if value.role == "const":
            if not contents.is_made(value) or (value.real is not None and value.real.layout is not torch.strided):
                raise _OddError
            return value.role, None, ()
        if not value.is_plain and contents.mark_of(value) is None:
            raise _OddError
        if value.ref is None:
            return value.role, None, self._names(value.params)
        source = self._from(value.ref)
        if source.arg >= 0:
            raise _OddError
        return value.role, source, ()

    def _memory(self, out: torch.Tensor, slot: Slot) -> Memory:
        root = slot
        while root.parent is not None and id(root) not in self.slots:
            root = root.parent
        at = self.slots.get(id(root), -1)
        if at < 0:
            if out.storage_offset() or _storage(out) in map(_storage, self.found.tensors):
                raise _OddError
            return Memory(out.dtype, out.stride())
        base = self.found.tensors[at]
        if _storage(out) != _storage(base) or out.dtype != base.dtype:
            raise _OddError
        return Memory(out.dtype, out.stride(), at, int(out.storage_offset() - base.storage_offset()))

    def _written(self, records: int) -> tuple[int, str, From] | None:
        if not self.watch.written:
            return None
        (slot, value), *more = self.watch.written
        at = self.slots.get(id(slot))
        if at is None or more or records != 1 or slot.parent is not None:
            raise _OddError
        role, source, _ = self._content(value)
        if role is None or source is None or not value.is_plain:
            raise _OddError
        return at, role, source


def _place(tensor: torch.Tensor, tensors: Sequence[torch.Tensor]) -> int | None:
    """Where a tensor itself stands first, if it is among them."""
    for at, other in enumerate(tensors):
        if other is tensor:
            return at
    return None


def _chain(slot: Slot, known: Mapping[int, int]) -> list[Slot]:
    """What a slot is a view of, the outermost first, down to the slot itself; without what is known already."""
    found = [slot]
    while (parent := found[-1].parent) is not None and id(parent) not in known:
        found.append(parent)
    return found[::-1]


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
