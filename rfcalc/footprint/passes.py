"""A forward pass of a model, and in training the way back and the optimizer's steps, under whoever looks on."""

from __future__ import annotations

import fnmatch
import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from rfcalc.checking.subject import map_tensors
from rfcalc.errors import UsageError
from rfcalc.footprint import optimizers
from rfcalc.footprint.cache import CACHES, Kept, cache_in, caches_of, takes
from rfcalc.footprint.settings import Setup
from rfcalc.footprint.watch import Block, Step, Watch
from rfcalc.footprint.worlds import World
from rfcalc.sources.user_code import undrawn
from rfcalc.tracing.arguments import named, tensors_in
from rfcalc.tracing.doubles import Double, doubled
from rfcalc.tracing.leaks import outside
from rfcalc.tracing.modules import ModuleStack
from rfcalc.tracing.placing import Placing
from rfcalc.uncollected import uncollected


class Observer(Protocol):
    """Who looks on at a pass."""

    def declare(self, tensor: torch.Tensor, role: str, name: str) -> None:
        """A tensor that is there before the first op: a parameter, a buffer, an input."""

    def within(self) -> AbstractContextManager[Any]:
        """What is in force while the model runs."""

    def saved(self, tensor: torch.Tensor) -> torch.Tensor:
        """A hook for what autograd saves."""

    def is_own(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is one of the pass's."""

    def given(self, result: Any) -> None:
        """What the model gives in inference."""

    def decoding(self) -> None:
        """The first call is over, and a second one that is given its cache begins."""

    def forward_over(self, loss: torch.Tensor | None) -> None:
        """All that the forward pass gave is let go but for the loss."""

    def backward_over(self, trained: list[nn.Parameter]) -> None:
        """The gradients of these parameters are there."""

    def step_over(self, states: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """The optimizer has taken its first step, and has these states, with their parameters."""


def run(setup: Setup, world: World, observer: Observer, where: list[ModuleStack], *, training: bool) -> None:
    """A forward pass, and in training the way back and two steps of the optimizer.

    The loss is the model's own, or the sum of all floating-point results. The first step of an optimizer makes its
    states, the second is one as all that follow. ``where`` gets the stack of module calls. What the model gives in
    inference is held to the end.
    """
    model = setup.loaded.model
    stack = ModuleStack(model, parts=False)
    where.append(stack)
    with ExitStack() as around:
        around.enter_context(undrawn())  # so that a pass draws the same as the one that it is held against
        around.enter_context(uncollected())
        around.enter_context(_unlogged())
        double = around.enter_context(doubled(model, world.twin, training, world.plain))
        around.enter_context(torch.enable_grad() if training else torch.no_grad())
        _freeze(double.model, setup.freeze)
        stack.follow(double)
        _checkpointed(double.model, setup.checkpoint if training else ())
        calls = _declared(observer, double, setup, world)
        args, kwargs = calls.pop(0)
        around.enter_context(outside(double.modules, observer.is_own))
        around.enter_context(_attention(setup.attention))
        around.enter_context(world.mode())
        around.enter_context(Placing(world.home))
        around.enter_context(observer.within())
        if training:
            _train(setup, double.model, args, kwargs, observer, world.home)
        else:
            with _casting(setup, world.home):
                result = double.model(*args, **kwargs)
            if setup.next_call is not None:
                cache = _cache(setup, result)
                del args, kwargs, result
                observer.decoding()
                args, kwargs = calls.pop(0)
                with _casting(setup, world.home):
                    result = double.model(*args, **kwargs, **cache)
                del cache
            observer.given(result)
            observer.forward_over(None)
            del result
    stack.finish()


def _declared(observer: Observer, double: Double, setup: Setup, world: World) -> list[tuple[Any, Any]]:
    """Tell the observer of all that is there before the pass; the arguments of each call."""
    for prefix, module in double.model.named_modules(remove_duplicate=False):
        for registry, role in ((module._parameters, "parameter"), (module._buffers, "buffer")):
            for key, tensor in registry.items():
                if tensor is not None:
                    observer.declare(tensor, role, f"{prefix}.{key}" if prefix else key)
    calls = [(setup.args, setup.kwargs), *([] if setup.next_call is None else [setup.next_call])]
    found = [_inputs(observer, double, setup, world, call) for call in calls]
    world.forget()
    return found


def _inputs(observer: Observer, double: Double, setup: Setup, world: World, call: Any) -> tuple[Any, Any]:
    """The arguments of a call, each told to the observer."""
    names = iter([name for name, value in named(setup.loaded.model, call[0]) for _ in tensors_in(value)])

    def declare(tensor: torch.Tensor) -> torch.Tensor:
        made = world.input(tensor)
        observer.declare(made, "input", next(names, "input"))
        return made

    return map_tensors((tuple(call[0]), dict(call[1])), declare, double.of)  # type: ignore[no-any-return]


def _cache(setup: Setup, result: Any) -> dict[str, Any]:
    """The cache that a model gives, as the argument by which it takes it. Raises `UsageError` where it does not."""
    found = cache_in(result)
    if found is None:
        raise UsageError(f"--decode: {setup.loaded.name} gives no cache back ({', '.join(CACHES)})")
    if not takes(setup.loaded.model, found[0]):
        raise UsageError(f"--decode: the forward of {setup.loaded.name} takes no {found[0]}, which it gives back")
    return {found[0]: found[1]}


def _casting(setup: Setup, home: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(home.type, setup.autocast) if setup.autocast is not None else nullcontext()


def _train(setup: Setup, model: nn.Module, args: Any, kwargs: Any, observer: Observer, home: torch.device) -> None:
    with _casting(setup, home), saved_tensors_hooks(observer.saved, lambda kept: kept):
        loss = _loss(model(*args, **kwargs))
    if loss is None or not loss.requires_grad:
        raise UsageError(
            f"{setup.loaded.name} cannot be trained: no result of its forward pass depends on a parameter that is"
            " trained; unfreeze one, or ask about inference"
        )
    observer.forward_over(loss)
    loss.backward()  # type: ignore[no-untyped-call]
    del loss
    trained = [one for one in model.parameters() if one.grad is not None]
    observer.backward_over(trained)
    made = optimizers.stepper(setup.optimizer, trained)
    if made is not None:
        made.step()
        observer.step_over(made.states())
        made.step()


def _loss(result: Any) -> torch.Tensor | None:
    """The loss that the model gives, or the sum of all that it gives."""
    given = getattr(result, "loss", None)
    if isinstance(given, torch.Tensor) and given.ndim == 0:
        return given
    found = [one for one in tensors_in(result) if one.requires_grad and one.is_floating_point()]
    if not found:
        return None
    total = found[0].sum()
    for other in found[1:]:
        total = total + other.sum()
    return total


@contextmanager
def _attention(kind: str) -> Iterator[None]:
    """Attention by the kernels that were asked for."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    ways = {"math": [SDPBackend.MATH], "flash": [SDPBackend.FLASH_ATTENTION]}
    with sdpa_kernel(ways[kind]) if kind in ways else nullcontext():
        yield


@contextmanager
def _unlogged() -> Iterator[None]:
    """Torch logs what it raises where an op does not take a fake tensor, with all of its stack."""

    def keep(record: logging.LogRecord) -> bool:
        return record.thread != threading.get_ident()

    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


# --- what if ----------------------------------------------------------------------------------------------------------


def _matching(model: nn.Module, pattern: str, what: str) -> list[tuple[str, nn.Module]]:
    found = [(name, one) for name, one in model.named_modules() if name and fnmatch.fnmatchcase(name, pattern)]
    if not found:
        first = ", ".join([name for name, _ in model.named_children()][:4]) or "none"
        raise UsageError(f"{what} {pattern!r} matches no module; at the top there are {first}")
    return found


def _freeze(model: nn.Module, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        for _, module in _matching(model, pattern, "--freeze"):
            module.requires_grad_(False)


def _checkpointed(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Run the modules of these names again on the way back, in place of keeping what they save."""
    chosen = {name: module for pattern in patterns for name, module in _matching(model, pattern, "--checkpoint")}
    for name, module in chosen.items():
        parts = name.split(".")
        if any(".".join(parts[:depth]) in chosen for depth in range(1, len(parts))):
            continue  # is run again with what it is in
        module.forward = functools.partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False)


# --- the course of a pass ---------------------------------------------------------------------------------------------


@dataclass
class Course:
    """What a pass did: every op and every storage, and what was alive between its parts.

    ``kept`` are the storages that lived when forward was over and its results were let go, other than parameters,
    buffers, inputs and the loss; in inference with its results. ``states`` are bytes of the optimizer's states.
    """

    steps: list[Step] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    kept: list[Block] = field(default_factory=list)
    resting: list[Block] = field(default_factory=list)  #: what lives when the pass, or the way back, is over
    saved_sizes: list[int] = field(default_factory=list)  #: of the storage of each tensor that autograd saves
    gradients: int = 0
    states: int = 0
    known_states: int = 0  #: of an optimizer that no step was made of
    cache: list[Kept] = field(default_factory=list)  #: of keys and values, by layer
    steady: int = 0  #: the number of the first op of the second step of the optimizer

    def alive_after(self, step: int) -> list[Block]:
        """All storages that lived when an op was over."""
        return [one for one in self.blocks if one.born <= step and (one.died is None or one.died > step)]

    def role_bytes(self, role: str) -> int:
        """Bytes of what was declared under that role."""
        return sum(one.nbytes for one in self.blocks if one.role == role and one.born == 0)


class Follower(Watch):  # type: ignore[no-untyped-call]
    """A watch that makes the course of a pass."""

    def __init__(self, where: Callable[[], str], optimizer: str) -> None:
        super().__init__(where)
        self.course = Course()
        self._optimizer = optimizer

    def within(self) -> AbstractContextManager[Any]:
        return self

    def is_own(self, tensor: torch.Tensor) -> bool:
        return self.block_of(tensor) is not None

    def given(self, result: Any) -> None:
        self.course.cache = caches_of(result)

    def decoding(self) -> None:
        self.phase = "decode"

    def forward_over(self, loss: torch.Tensor | None) -> None:
        final = None if loss is None else self.block_of(loss)
        self.course.resting = self.alive()
        self.course.kept = [
            block
            for block in self.alive()
            if block.role not in ("parameter", "buffer", "input") and (block is not final or block.saved_at is not None)
        ]
        self.phase = "backward"

    def backward_over(self, trained: list[nn.Parameter]) -> None:
        for one in trained:
            self._mark_of(one, one.grad, "gradient")
        self.course.gradients = sum(block.nbytes for block in self.alive() if block.role == "gradient")
        self.course.resting = self.alive()
        self.course.known_states = self.course.states = optimizers.known_states(self._optimizer, trained)
        self.phase, self.answers = "step", 1.0

    def _mark_of(self, owner: torch.Tensor, tensor: torch.Tensor | None, role: str) -> None:
        block = self.block_of(owner)
        if tensor is not None:
            self.mark(tensor, role, "" if block is None else block.name)

    def step_over(self, states: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        for owner, state in states:
            self._mark_of(owner, state, "optimizer")
        self.course.states = sum(block.nbytes for block in self.alive() if block.role == "optimizer")
        self.course.steady = len(self.steps)


#: What torch imports when checkpoint is called for the first time.
_IMPORTED = "torch._dynamo"


def followed(setup: Setup, world: World, *, training: bool) -> Course:
    """The course of a pass; of one in which torch imported its compiler on the way, the course of another.

    That import leaves a cycle with all frames that led to it, and so with tensors that they hold, once in a process.
    """
    known = _IMPORTED in sys.modules
    course = _followed(setup, world, training=training)
    return course if known or _IMPORTED not in sys.modules else _followed(setup, world, training=training)


def _followed(setup: Setup, world: World, *, training: bool) -> Course:
    where: list[ModuleStack] = []
    watch = Follower(lambda: where[0].current.name if where else "", setup.optimizer)
    run(setup, world, watch, where, training=training)
    watch.course.steps, watch.course.blocks, watch.course.saved_sizes = watch.steps, watch.blocks, watch.saved_sizes
    return watch.course


__all__ = ["Course", "Observer", "followed", "run"]
