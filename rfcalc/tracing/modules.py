"""Which module a call belongs to: the calls of a double's modules, and of those that are made during the pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import nn
from torch.nn.modules import module as hooks

from rfcalc.graph import ModuleCall, Ref
from rfcalc.tracing.doubles import Double
from rfcalc.tracing.gradients import Keeping
from rfcalc.tracing.making import make_call
from rfcalc.tracing.places import BEGINS, NOWHERE, OWN, RANKS, Spot, make_spot
from rfcalc.tracing.sharding import CALL, OURS
from rfcalc.tracing.tensors import tensors_in_args
from rfcalc.tracing.tree import StandIn, class_of, distinct, is_leaf, places, tree, types_of

if TYPE_CHECKING:
    from rfcalc.tracing.slots import Slots


class Scope(NamedTuple):
    """One call of one module. ``call`` numbers all module calls of the forward pass."""

    name: str
    module: str
    leaf: bool
    call: int


class Known(NamedTuple):
    """What is known of a module of the model before it is called. ``holder`` has the modules inside it."""

    name: str
    kind: type[nn.Module]
    holder: nn.Module
    places: int


class Scanning(NamedTuple):
    """An associative scan under way: its number, and how many steps it has."""

    number: int
    steps: int


class Entry(NamedTuple):
    """A call that is under way, with what was given; ``frame`` is that of a module which was made during the pass.

    ``again`` is the number of the checkpointed part that it belongs to, ``scan`` the associative scan.
    """

    scope: Scope
    given: Any
    frame: FrameType | None = None
    spot: Spot = NOWHERE  #: where it was called
    again: int = 0
    scan: Scanning | None = None


#: Shapes of several tensors.
Shapes: TypeAlias = tuple[tuple[int, ...], ...]


class ModuleStack:
    """The stack of module calls that are under way, and where the last one failed.

    With ``parts`` it knows in which call of checkpoint, or of a scan, an op is, for which it holds on to the last one
    that it saw, and so to the tensors that were given to it. Without, no tensor lives longer than the model's code lets
    it.
    """

    def __init__(self, model: nn.Module, *, parts: bool = True) -> None:
        self.tree = tree(model)
        self.modules = distinct(self.tree)
        self._places = places(model) if len(self.modules) < len(self.tree) else {}
        self._known: dict[int, Known] = {}  #: by the modules of the double
        self._root = Scope("", class_of(model).__name__, is_leaf(model), 0)
        self._stack: list[Entry] = []
        self.spot = NOWHERE  #: where the model's code called torch, or a module, last
        self._failed: tuple[Scope, Shapes] | None = None
        self._calls: list[tuple[Scope, Any, int, Shapes, int]] = []  #: what is known when they begin
        self._returned: list[Shapes] = []
        self._handed_on: dict[int, Ref] = {}  #: by call, what it gave back that was given to it
        self.recorder: Callable[[], Slots | None] = lambda: None  #: who knows what tensors are, while that is there
        self._met: dict[Any, Shapes] = {}  #: equal shapes are kept once
        self.keeping = Keeping()
        self._marked = _MARKED if parts else {}
        self._part: FrameType | None = None  #: the call of checkpoint that was seen last, and how many were before it
        self._parts = 0
        self._within = 0  #: the checkpointed part that the last look found itself in, below the module call under way
        self._scan: FrameType | None = None  #: the call of a scan that the last look saw, and how many were begun
        self._scans = 0
        self._scanning: Scanning | None = None  #: that which the last look found itself in, as above

    @property
    def current(self) -> Scope:
        return self._stack[-1].scope if self._stack else self._root

    @property
    def again(self) -> int:
        """The number of the checkpointed part under way, which the backward pass runs once more; 0 for none."""
        return self._within or (self._stack[-1].again if self._stack else 0)

    @property
    def scan(self) -> Scanning | None:
        """The associative scan under way, whose pairs are combined."""
        return self._scanning or (self._stack[-1].scan if self._stack else None)

    @property
    def failure(self) -> tuple[Scope, Shapes]:
        """The innermost call that an exception came out of, and the shapes of the tensors that it was given."""
        return self._failed or self._given(self._stack[-1] if self._stack else Entry(self._root, ()))

    def _given(self, entry: Entry) -> tuple[Scope, Shapes]:
        """A call, and the shapes of what was given to it; not the tensors, which it would hold."""
        return entry.scope, self._shapes(entry.given)

    @property
    def calls(self) -> tuple[ModuleCall, ...]:
        """All module calls so far, in the order in which they began."""
        rows = zip(self._calls, self._returned, strict=True)
        return tuple(
            [
                make_call(
                    number, name, types_of(kind), leaf, places, given, returned, around, self._handed_on.get(number)
                )
                for ((name, _, leaf, number), kind, places, given, around), returned in rows
            ]
        )

    @property
    def depth(self) -> tuple[Scope, ...]:
        return tuple([entry.scope for entry in self._stack])

    def _shapes(self, values: Iterable[Any]) -> Shapes:
        """The shapes of those of the values that are tensors; asking for them is no call of the model's."""
        with torch._C.DisableTorchFunction():
            sizes = tuple([value.shape for value in values if isinstance(value, torch.Tensor)])
        known = self._met.get(sizes)
        if known is None:
            known = self._met[sizes] = tuple(map(tuple, sizes))
        return known

    def finish(self) -> None:
        """Let go of the double, and of what its modules were given."""
        self._failed = self._part = None
        self._known.clear()

    # --- the double's modules -----------------------------------------------------------------------------------------

    def follow(self, double: Double) -> None:
        """Hear of all calls of a double's modules, until it is dismantled.

        They are called past torch's own way, which is slower, where they have no hooks. No other module is changed, and
        none of torch's hooks for all modules is set.
        """
        for name, module in self.modules:
            made = double.of(module)
            around = isinstance(module, StandIn)
            for one in (module.original, *module.parts) if isinstance(module, StandIn) else (module,):
                known = Known(name, class_of(one), made, self._places.get(id(one), 1))
                self._known[id(double.of(one))] = known
            if around:
                self._known[id(made)] = Known(name, class_of(module), made, 1)
        for made in double.modules:
            if not isinstance(made, StandIn):  # what it stands for is called next
                made.__dict__[CALL] = MethodType(self._call, made)

    def _call(self, module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        """What takes the place of torch's own way of calling a module."""
        self.look(sys._getframe(1))
        if _is_hooked(module):
            self._listen(module)
            torchs: Any = module._call_impl
            return torchs(*args, **kwargs)
        self._enter(module, args)
        try:
            output = module.forward(*args, **kwargs)
        except Exception:
            self._leave(None)
            raise
        self._leave(output)
        return output

    def _listen(self, module: nn.Module) -> None:
        """Have torch tell of the calls of a module that others hook: first of all, before they change anything."""
        for registry, hook in ((module._forward_pre_hooks, self._before), (module._forward_hooks, self._after)):
            if OURS not in registry:
                others = list(registry.items())
                registry.clear()
                registry.update([(OURS, hook), *others])
        module._forward_hooks_always_called[OURS] = True

    def _before(self, module: nn.Module, args: Any) -> None:
        self._enter(module, args)

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        self._leave(output)

    def _enter(self, module: nn.Module, args: Any, frame: FrameType | None = None) -> None:
        around = self.current
        known = self._known.get(id(module))
        if known is None:  # outside of the model's tree, or made during the forward pass
            kind: Any = type(module)
            known = Known(f"{around.name}.{kind.__name__}".strip("."), kind, module, 1)
        scope = Scope(known.name, known.kind.__name__, is_leaf(known.holder), len(self._calls) + 1)
        self._calls.append((scope, known.kind, known.places, self._shapes(args), around.call))
        self._returned.append(())
        self._failed = None  # if there was one, the model went on
        self._stack.append(Entry(scope, args, frame, self.spot, self.again, self.scan))
        self._within, self._scanning = 0, None

    def _leave(self, output: Any) -> None:
        error = sys.exc_info()[1] if output is None and self._failed is None else None
        entry = self._stack.pop()
        while entry.frame is not None:  # made during the pass, and left without another call
            if error is not None and self._failed is None and _came_through(error, entry.frame):
                self._failed = self._given(entry)
            entry = self._stack.pop()
        came_back = (output,) if isinstance(output, torch.Tensor) else tensors_in_args((output,))
        self._returned[entry.scope.call - 1] = self._shapes(came_back)
        if any(output is one for one in entry.given) and isinstance(output, torch.Tensor):
            recorder = self.recorder()
            ref = None if recorder is None else recorder.ref_of(output)
            if ref is not None:
                self._handed_on[entry.scope.call] = ref
        if error is not None and self._failed is None:
            self._failed = self._given(entry)

    # --- modules made during the pass ---------------------------------------------------------------------------------

    def look(self, frame: FrameType | None) -> None:
        """Find the calls of modules made during the pass, which nothing tells of, among those that led to a frame.

        And where in the model's code that frame was called from: in the call of a module under way, or where that was
        called.
        """
        fresh: list[FrameType] = []
        best, found, inside = 0, None, True
        part: FrameType | None = None
        scan: FrameType | None = None
        while frame is not None:
            code = frame.f_code
            if code is _OWN_CODE:
                break
            if code is _TORCHS_CODE:
                fresh.append(frame)
            elif code.co_name in self._marked and code.co_filename.endswith(self._marked[code.co_name]):
                if code.co_name == "checkpoint":
                    part = frame
                else:
                    scan = frame
            elif inside and best < OWN:
                rank = RANKS[code.co_filename]
                if rank > best:
                    best, found = rank, frame
                inside = rank != BEGINS  # what called for the trace is no part of the model
            frame = frame.f_back
        self._within = 0 if part is None else self._number(part)
        self._scanning = None if scan is None else self._scan_of(scan)
        self._scan = scan  # no longer than it runs: what it holds goes with it
        around = self._stack[-1].spot if self._stack else NOWHERE
        if found is None or around[0] > best:
            self.spot = around
        else:
            self.spot = make_spot((best, found.f_code.co_filename, found.f_lineno))
        if fresh or (self._stack and self._stack[-1].frame is not None):
            self._follow_fresh([one for one in reversed(fresh) if self._is_fresh(one.f_locals["self"])])

    def _number(self, frame: FrameType) -> int:
        """The number of the checkpointed part that a call of checkpoint runs."""
        if frame is not self._part:
            self._part = frame
            self._parts += 1
        return self._parts

    def _scan_of(self, frame: FrameType) -> Scanning:
        """The scan that a call of torch's function for scans does."""
        self._scans += frame is not self._scan
        held = frame.f_locals
        return Scanning(self._scans, int(held["leaves"][0].shape[held["dim"]]))

    def _is_fresh(self, module: nn.Module) -> bool:
        return id(module) not in self._known and CALL not in vars(module)

    def _follow_fresh(self, frames: list[FrameType]) -> None:
        """The calls of fresh modules under way, the outermost first, in place of those that the stack ends with."""
        first = len(self._stack)
        while first and self._stack[first - 1].frame is not None:
            first -= 1
        same = 0
        for entry, frame in zip(self._stack[first:], frames, strict=False):
            if entry.frame is not frame:
                break
            same += 1
        del self._stack[first + same :]
        for frame in frames[same:]:
            held = frame.f_locals
            self._enter(held["self"], held.get("args", ()), frame)


_OWN_CODE = ModuleStack._call.__code__
_TORCHS_CODE = nn.Module._call_impl.__code__
#: Where torch has the function by which a part is run once more in the backward pass, in place of keeping its tensors.
#: Functions of torch's whose calls ops are noted to be in, and their files.
_MARKED = {
    "checkpoint": str(Path("torch", "utils", "checkpoint.py")),
    "generic_associative_scan": str(Path("torch", "_higher_order_ops", "associative_scan.py")),
}


def _came_through(error: BaseException, frame: FrameType) -> bool:
    at = error.__traceback__
    while at is not None:
        if at.tb_frame is frame:
            return True
        at = at.tb_next
    return False


def _is_hooked(module: nn.Module) -> bool:
    """Whether others want to hear of the module's calls: hooks of its own, or hooks for all modules."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or hooks._global_forward_hooks
        or hooks._global_forward_pre_hooks
        or hooks._global_backward_hooks
        or hooks._global_backward_pre_hooks
    )
