"""The witness: the same pass on real tensors on the CPU, counted by other means.

Storages are polled by weak references of torch's own after every op, and what autograd saves is told apart by its
address. Nothing of the watch is used. Where there is a CUDA device, its allocator's peak is stated beside.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree

from rfcalc.checking import device as devices
from rfcalc.errors import RfcalcError, TraceError
from rfcalc.footprint.passes import Course, run
from rfcalc.footprint.results import Counted, Witnessed
from rfcalc.footprint.settings import Setup
from rfcalc.footprint.worlds import Real
from rfcalc.tracing.failing import first_line
from rfcalc.tracing.fallback import free_memory, gibibytes, weight
from rfcalc.tracing.modes import DispatchMode

_CPU = torch.device("cpu")
_SHOWN = 20  #: differences that are listed


def _stored(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """What has a storage of its own: of a sparse tensor, its positions and its numbers."""
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout is torch.sparse_csr:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return (tensor,)


class Counter(DispatchMode):
    """Counts, after every op that makes or changes a tensor, the bytes of all storages that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[str, int]] = []
        self.saved_bytes: list[int] = []  #: of the storage of each tensor that autograd saves, in order
        self.kept = 0
        self.gradients = 0
        self.states = 0
        self._alive: dict[int, tuple[Any, int]] = {}
        self._given: set[int] = set()  #: parameters, buffers and inputs
        self._saved: dict[int, int] = {}

    def declare(self, tensor: torch.Tensor, role: str, name: str) -> None:
        self._meet(tensor)
        self._given.add(tensor.untyped_storage().data_ptr())

    def within(self) -> AbstractContextManager[Any]:
        return self

    def saved(self, tensor: torch.Tensor) -> torch.Tensor:
        for part in _stored(tensor):
            self.saved_bytes.append(part.untyped_storage().nbytes())
            self._meet(part)
        return tensor

    def is_own(self, tensor: torch.Tensor) -> bool:
        return not tensor.is_meta and tensor.untyped_storage()._cdata in self._alive

    def _meet(self, tensor: torch.Tensor) -> bool:
        """Whether its storage is one that was not met; its size is taken anew."""
        storage = tensor.untyped_storage()
        reference: Any = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        known = reference.cdata in self._alive and not self._alive[reference.cdata][0].expired()
        self._alive[reference.cdata] = reference, storage.nbytes()
        return not known

    def _count(self) -> int:
        gone = [key for key, (reference, _) in self._alive.items() if reference.expired()]
        for key in gone:
            del self._alive[key]
        return sum(size for _, size in self._alive.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        found = [leaf for leaf in _pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        writes = [str(one.name) for one in func._schema.arguments if one.alias_info and one.alias_info.is_write]
        fresh = [self._meet(part) for tensor in found for part in _stored(tensor)]
        if True in fresh or writes:
            self.seen.append((func._schema.name.partition("::")[2], self._count()))
        return result

    # --- between the parts of a pass ----------------------------------------------------------------------------------

    def _bytes_of(self, tensors: Iterable[torch.Tensor | None]) -> int:
        stores = [part.untyped_storage() for one in tensors if one is not None for part in _stored(one)]
        return sum({store.data_ptr(): store.nbytes() for store in stores}.values())

    def given(self, result: Any) -> None:
        """Stays as it is."""

    def decoding(self) -> None:
        """Is counted as what was before."""

    def forward_over(self, loss: torch.Tensor | None) -> None:
        self._count()
        with_loss = [] if loss is None else [loss.untyped_storage().data_ptr()]
        kept = 0
        for reference, size in self._alive.values():
            storage = torch.UntypedStorage._new_with_weak_ptr(reference.cdata)
            if storage is not None and storage.data_ptr() not in (*self._given, *with_loss):
                kept += size
        self.kept = kept

    def backward_over(self, trained: list[nn.Parameter]) -> None:
        self.gradients = self._bytes_of(one.grad for one in trained)

    def step_over(self, states: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.states = self._bytes_of(state for _, state in states)


def verified(passes: Sequence[tuple[Setup, Course, bool]]) -> Witnessed:
    """Passes for real, beside what was said of them: what was asked, what came of it, and whether it is training.

    Raises `TraceError` without room for them.
    """
    _room(passes)
    checks: list[Counted] = []
    allocator = on_cuda(passes) if torch.cuda.is_available() else {}
    for setup, course, training in passes:
        word = _word(setup, training)
        counter = Counter()
        real_pass(setup, counter, training=training)
        checks.append(_sequence(f"storages alive in {word}, op by op", course, counter))
        if training:
            checks.append(_saved(course, counter))
            checks.append(Counted("bytes of gradients", course.gradients, counter.gradients, 1))
            if course.steady:
                checks.append(Counted("bytes of the optimizer's states", course.states, counter.states, 1))
        kept = sum(block.nbytes for block in course.kept)
        what = "bytes kept for the way back" if training else f"bytes alive when {word} is over"
        checks.append(Counted(what, kept, counter.kept, 1))
    return Witnessed(
        device=devices.describe(torch.device("cpu")),
        versions=devices.versions(torch.device("cpu")),
        checks=tuple(checks),
        allocator=allocator,
    )


def _word(setup: Setup, training: bool) -> str:
    return "training" if training else "inference" if setup.next_call is None else "decoding"


class Parts:
    """An observer that only looks when a part of a pass begins or is over: forward, backward, step."""

    def begins(self) -> None:
        """The first part is about to begin."""

    def is_over(self) -> None:
        """A part is over."""

    def declare(self, tensor: torch.Tensor, role: str, name: str) -> None:
        """Was there before."""

    def within(self) -> AbstractContextManager[Any]:
        self.begins()
        return nullcontext()

    def saved(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def is_own(self, tensor: torch.Tensor) -> bool:
        return False

    def given(self, result: Any) -> None:
        """Stays as it is."""

    def decoding(self) -> None:
        """Is a part of what was before."""

    def forward_over(self, loss: torch.Tensor | None) -> None:
        self.is_over()

    def backward_over(self, trained: list[nn.Parameter]) -> None:
        self.is_over()

    def step_over(self, states: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.is_over()


class _Untouched(Parts):
    """What CUDA's allocator had given at the peak of each part."""

    def __init__(self) -> None:
        self.peaks: list[int] = []

    def begins(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()

    def is_over(self) -> None:
        torch.cuda.synchronize()
        self.peaks.append(torch.cuda.max_memory_allocated())


def on_cuda(passes: Sequence[tuple[Setup, Course, bool]]) -> dict[str, int]:
    """What CUDA's allocator had given at its peak, beside the bytes of storages: nothing is demanded of either.

    The allocator gives multiples of 512 bytes, and kernels take workspaces (cuBLAS's, cuDNN's) of it. This has not been
    run on a device yet.
    """
    facts: dict[str, int] = {}
    for setup, course, training in passes:
        word, looker = _word(setup, training), _Untouched()
        real_pass(setup, looker, training=training, device=torch.device("cuda"))
        facts[f"CUDA, most given in {word}"] = max(looker.peaks)
        facts[f"CUDA, storages of 512 bytes and more in {word}"] = max(
            sum(-(-block.nbytes // 512) * 512 for block in course.alive_after(number)) for number in _highest(course)
        )
    return facts


def _highest(course: Course) -> list[int]:
    """The ops after which most is alive."""
    most = max(step.alive for step in course.steps)
    return [number for number, step in enumerate(course.steps) if step.alive == most]


def _room(passes: Sequence[tuple[Setup, Course, bool]]) -> None:
    need = max([step.alive for _, course, _ in passes for step in course.steps], default=0)
    setup = passes[0][0]
    need += weight(module for module in setup.loaded.model.modules())
    if need > free_memory():
        raise TraceError(
            f"{setup.loaded.name} takes {gibibytes(need)} when it is run for real, more than this machine has free"
        )


def real_pass(setup: Setup, observer: Any, *, training: bool, device: torch.device = _CPU) -> None:
    """A pass on real tensors that an observer looks at. Raises `TraceError` where it fails."""
    try:
        run(setup, Real(setup.loaded.constants, device), observer, [], training=training)
    except RfcalcError:
        raise
    except Exception as error:
        name = setup.loaded.name
        raise TraceError(f"{name} was followed, but fails on real tensors: {first_line(error)}") from error


def _sequence(what: str, course: Course, counter: Counter) -> Counted:
    """Every op with what was alive after it."""
    told = [(step.op, step.alive) for step in course.steps]
    pairs = itertools.zip_longest(told, counter.seen, fillvalue=("nothing", 0))
    apart = [
        {"op": number, "expected": f"{ours[0]} {ours[1]:,}", "seen": f"{theirs[0]} {theirs[1]:,}"}
        for number, (ours, theirs) in enumerate(pairs)
        if ours != theirs
    ]
    highest = max([alive for _, alive in told], default=0), max([alive for _, alive in counter.seen], default=0)
    return Counted(what, *highest, compared=max(len(told), len(counter.seen)), differences=tuple(apart[:_SHOWN]))


def _saved(course: Course, counter: Counter) -> Counted:
    expected = course.saved_sizes
    pairs = itertools.zip_longest(expected, counter.saved_bytes, fillvalue=-1)
    apart = [
        {"op": number, "expected": str(ours), "seen": str(theirs)}
        for number, (ours, theirs) in enumerate(pairs)
        if ours != theirs
    ]
    return Counted(
        "tensors that autograd saves, one by one",
        sum(expected),
        sum(counter.saved_bytes),
        len(counter.saved_bytes),
        tuple(apart[:_SHOWN]),
    )


__all__ = ["Counter", "real_pass", "verified"]
