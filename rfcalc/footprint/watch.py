"""The storages of a pass: when each is born, when it dies, and what is alive together, op by op.

A storage is followed by a weak reference, so that it lives exactly as long as torch and the model's own Python code
hold it: views and in-place ops keep one storage, autograd holds what it saves, and a local variable of a forward holds
its tensor to the end of the call. The watch itself holds none.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rfcalc.errors import RfcalcError
from rfcalc.tracing.modes import DispatchMode
from rfcalc.tracing.schema import schema_of
from rfcalc.tracing.stored import inner_tensors
from rfcalc.tracing.tensors import tensors_in_args

#: What asks about a tensor and computes nothing.
_QUESTIONS = frozenset({"prim"})
#: Ops that read no element of what they are given, and write none.
_UNTOUCHED = ("empty", "new_empty", "set_", "resize_", "_reshape_alias", "as_strided")


@dataclass(slots=True, eq=False)
class Block:
    """One storage: its bytes, and the ops after which it was alive for the first and no more for the first time.

    ``role`` is parameter, buffer, input, gradient, optimizer, saved (for backward) or other.
    """

    nbytes: int
    born: int
    op: str
    scope: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    phase: str
    name: str = ""
    died: int | None = None
    saved_at: int | None = None  #: the op by which autograd first kept it


@dataclass(slots=True)
class Step:
    """One op that made or changed a storage: what was ``alive`` when it was over, its arguments still there."""

    op: str
    scope: str
    phase: str
    alive: int
    read: int
    written: int


@dataclass(slots=True)
class _Followed:
    reference: weakref.ref[Any]
    block: Block


class Watch(DispatchMode):
    """Follows every storage that ops of a block return, and those that were declared before it.

    ``where`` says in which module an op runs. What ran is in ``steps``, what lived in ``blocks``; ``now`` is how many
    bytes live at present.
    """

    def __init__(self, where: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []
        self.blocks: list[Block] = []
        self.now = 0
        self.phase = "forward"
        self.answers: float | None = None  #: what a tensor without numbers says when it is asked for its number
        self.saved_sizes: list[int] = []  #: bytes of the storage of each tensor that autograd saves, in order
        self._where = where
        self._followed: dict[int, _Followed] = {}
        self._scopes: dict[int, str] = {}  #: of what ran forward, by the number that autograd gave it

    # --- storages -----------------------------------------------------------------------------------------------------

    def declare(self, tensor: torch.Tensor, role: str, name: str) -> None:
        """A tensor that is there before the first op: a parameter, a buffer, an input."""
        for part in _plain_parts(tensor):
            block = self._see(part, "", role)
            if block is not None:
                block.name = name

    def mark(self, tensor: torch.Tensor, role: str, name: str) -> None:
        """Say what became of a tensor: a gradient, a state of an optimizer. Declared ones stay what they are."""
        for part in _plain_parts(tensor):
            block = self.block_of(part)
            if block is not None and block.role in ("other", "saved"):
                block.role = role
                block.name = block.name or name

    def saved(self, tensor: torch.Tensor) -> torch.Tensor:
        """A hook for what autograd saves; the tensor stays as it is."""
        for part in _plain_parts(tensor):
            block = self._see(part, "saved", "other") or self.block_of(part)
            self.saved_sizes.append(_storage(part).nbytes())
            if block is not None and block.saved_at is None:
                block.saved_at = len(self.steps)
                if block.role == "other":
                    block.role = "saved"
        return tensor

    def block_of(self, tensor: torch.Tensor) -> Block | None:
        """The storage of a tensor, None for one that was not met."""
        found = self._followed.get(_storage(tensor)._cdata)
        return None if found is None or found.reference() is None else found.block

    def alive(self) -> list[Block]:
        """All storages that live now."""
        return [held.block for held in self._followed.values()]

    def _see(self, tensor: torch.Tensor, op: str, role: str) -> Block | None:
        """Follow a tensor's storage; its block if it is a new one. One that has grown counts with its new size."""
        storage = _storage(tensor)
        key, nbytes = storage._cdata, storage.nbytes()
        held = self._followed.get(key)
        if held is not None and held.reference() is storage:
            if nbytes != held.block.nbytes:
                self._resized(key, held, nbytes)
            return None
        scope, at = self._where() if op else "", len(self.steps)
        block = Block(nbytes, at, op, scope, role, tuple(tensor.shape), _name(tensor.dtype), self.phase)
        self._follow(key, storage, block)
        return block

    def _follow(self, key: int, storage: Any, block: Block) -> None:
        def died(_: Any) -> None:
            self.now -= block.nbytes
            block.died = len(self.steps)
            held = self._followed.get(key)
            if held is not None and held.block is block:
                del self._followed[key]

        self._followed[key] = _Followed(weakref.ref(storage, died), block)
        self.blocks.append(block)
        self.now += block.nbytes

    def _resized(self, key: int, held: _Followed, nbytes: int) -> None:
        """From here on the storage is one of another size."""
        old, storage = held.block, held.reference()
        self.now -= old.nbytes
        old.died = len(self.steps)
        block = Block(nbytes, old.died, old.op, old.scope, old.role, old.shape, old.dtype, self.phase, old.name)
        self._follow(key, storage, block)

    # --- ops ----------------------------------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = str((getattr(func, "_schema", None) and func._schema.name) or func)
        if name.partition("::")[0] in _QUESTIONS:
            return func(*args, **kwargs)
        if name == "aten::_local_scalar_dense" and self.answers is not None:
            return self.answers
        place = self._place()
        result = func(*args, **kwargs)
        self._note(func, name, args, kwargs, result, place)
        return result

    def _place(self) -> str:
        """The module in which an op runs; of an op on the way back, that of the op which it belongs to."""
        if self.phase == "forward":
            scope = self._where()
            if torch.is_grad_enabled():
                self._scopes.setdefault(_next_number() - 1, scope)  # of the first op that is seen after it
            return scope
        node = torch._C._current_autograd_node() if self.phase == "backward" else None
        if node is None:
            return self._where()
        return self._scopes.get(node._sequence_nr(), "")

    def _note(
        self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, place: str
    ) -> None:
        outs = tensors_in_args((result,))
        given = tensors_in_args((*args, *kwargs.values()))
        short = name.partition("::")[2] or name
        fresh: list[torch.Tensor] = []
        for tensor in outs:
            for part in _plain_parts(tensor):
                block = self._see(part, short, "other")
                if block is not None:
                    block.scope = place
                    fresh.append(part)
        changed = tensors_in_args(schema_of(func).written(args, kwargs)) if hasattr(func, "_schema") else []
        for tensor in changed:  # an op may give a storage room
            for part in _plain_parts(tensor):
                self._see(part, short, "other")
        if not fresh and not changed:
            return  # a view, or a number
        read, written = _traffic(short, given, fresh, changed)
        self.steps.append(Step(short, place, self.phase, self.now, read, written))


def _traffic(
    op: str, given: Sequence[torch.Tensor], fresh: Sequence[torch.Tensor], changed: Sequence[torch.Tensor]
) -> tuple[int, int]:
    """Bytes that an op reads and writes, each tensor once; a view touches nothing."""
    if (not fresh and not changed) or op in _UNTOUCHED:
        return 0, 0
    parts = [part for one in given for part in _plain_parts(one)]
    read = {(_storage(one)._cdata, one.storage_offset(), one.shape, one.stride()): _touched(one) for one in parts}
    return sum(read.values()), sum(map(_touched, fresh)) + sum(map(_touched, changed))


def _touched(tensor: torch.Tensor) -> int:
    """Bytes of the elements of a tensor; what is expanded lies in memory once."""
    if tensor.layout is not torch.strided:
        return sum(map(_touched, _plain_parts(tensor)))
    elements = 1
    for extent, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= extent if stride or not extent else 1
    return elements * tensor.element_size()


def _plain_parts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors with a storage of their own that one is made of: values and indices of a sparse one."""
    if isinstance(tensor, torch._subclasses.FakeTensor):
        inside: list[torch.Tensor] = []
    else:
        inside = inner_tensors(tensor)
    if inside:
        for one in inside:
            yield from _plain_parts(one)
    elif tensor.layout is torch.strided or tensor.layout is getattr(torch, "jagged", None):
        yield tensor
    elif tensor.layout is torch.sparse_coo:
        yield from (tensor._indices(), tensor._values())
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        yield from (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        yield from (tensor.ccol_indices(), tensor.row_indices(), tensor.values())
    else:
        raise RfcalcError(f"cannot tell what a tensor of layout {tensor.layout} takes")


def _storage(tensor: torch.Tensor) -> Any:
    with torch._C.DisableTorchFunction():
        return tensor.untyped_storage()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _next_number() -> int:
    """The number that autograd gives to what runs next."""
    return int(torch._C._autograd._get_sequence_nr())


__all__ = ["Block", "Step", "Watch"]
