"""Which module a call belongs to, and a model whose tensors are exchanged for the time of one forward pass."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.modules import module as hooks

from rfcalc.errors import LoadError
from rfcalc.graph import ModuleCall
from rfcalc.tracing.tensors import tensors_in_args, without_storage

#: What a module keeps things in; a subclass may not let its content be exchanged.
_CONTAINERS = (dict, OrderedDict, list, set)


@dataclass(frozen=True, slots=True)
class Scope:
    """One call of one module. ``call`` numbers all module calls of the forward pass."""

    name: str
    module: str
    leaf: bool
    call: int


#: Shapes of several tensors.
Shapes: TypeAlias = tuple[tuple[int, ...], ...]


def _shapes(values: Iterable[Any]) -> Shapes:
    """The shapes of those of the values that are tensors; asking for them is no call of the model's."""
    with torch._C.DisableTorchFunction():
        return tuple([tuple(value.shape) for value in values if isinstance(value, torch.Tensor)])


class StandIn(nn.Module):
    """Another framework's layer as torch's tools expect a module: parameters, buffers and layers inside it by name.

    The ``original`` is what runs; it reads its numbers from here while it does. ``parts`` are modules inside it that
    have no name of their own: what runs in them runs in it.
    """

    original: nn.Module
    parts: tuple[nn.Module, ...] = ()

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.__dict__["original"] = original  # no module inside this one


def class_of(module: nn.Module) -> type[nn.Module]:
    """The class that a user knows the module by."""
    return type(module.original if isinstance(module, StandIn) else module)


def _is_leaf(module: nn.Module) -> bool:
    """Whether no module is inside; one that could be there may be None."""
    return all(child is None for child in module._modules.values())


def _count_places(module: nn.Module, places: Counter[int]) -> None:
    """How often each module stands in the tree of modules: once for each way that leads to it from the root."""
    places[id(module.original if isinstance(module, StandIn) else module)] += 1
    for child in module.children():
        _count_places(child, places)


@lru_cache(4096)
def types_of(kind: Any) -> tuple[str, ...]:
    """The full names of a module's class and of those it derives from, down to `torch.nn.Module`, which is left out."""
    classes = kind.__mro__[: kind.__mro__.index(nn.Module)]
    return tuple(f"{item.__module__}.{item.__qualname__}" for item in classes)


class ModuleStack:
    """The stack of module calls that are under way, and where the last one failed."""

    def __init__(self, model: nn.Module) -> None:
        self._names: dict[int, str] = {}
        self._stand_ins: dict[int, nn.Module] = {}  #: what holds the modules inside a called one
        for name, module in model.named_modules():
            called = (module.original, *module.parts) if isinstance(module, StandIn) else (module,)
            for part in called:
                self._names[id(part)] = name
                self._stand_ins[id(part)] = module
        self._root = Scope("", class_of(model).__name__, _is_leaf(model), 0)
        self._stack: list[Scope] = []
        self._given: list[Any] = []
        self._failed: tuple[Scope, Any] | None = None
        self._calls: list[tuple[int, str, tuple[str, ...], bool, int, Shapes]] = []  #: what is known when they begin
        self._returned: list[Shapes] = []
        self._around: list[int] = []
        self._places: Counter[int] = Counter()
        _count_places(model, self._places)

    @property
    def current(self) -> Scope:
        return self._stack[-1] if self._stack else self._root

    @property
    def failure(self) -> tuple[Scope, Shapes]:
        """The innermost call that an exception came out of, and the shapes of the tensors that it was given."""
        scope, args = self._failed or (self.current, self._given[-1] if self._given else ())
        return scope, _shapes(args)

    @property
    def calls(self) -> tuple[ModuleCall, ...]:
        """All module calls so far, in the order in which they began."""
        rows = zip(self._calls, self._returned, self._around, strict=True)
        return tuple(ModuleCall(*begun, returned, around) for begun, returned, around in rows)

    @property
    def depth(self) -> tuple[Scope, ...]:
        return tuple(self._stack)

    def _enter(self, module: nn.Module, args: Any) -> None:
        if isinstance(module, StandIn):
            return  # what it stands for is called next
        name = self._names.get(id(module))
        if name is None:  # made during the forward pass
            name = f"{self.current.name}.{type(module).__name__}".strip(".")
        leaf = _is_leaf(self._stand_ins.get(id(module), module))
        number, around = len(self._calls) + 1, self.current.call
        places = max(1, self._places[id(module)])
        kind: Any = type(module)
        self._calls.append((number, name, types_of(kind), leaf, places, _shapes(args)))
        self._returned.append(())
        self._around.append(around)
        self._failed = None  # if there was one, the model went on
        self._stack.append(Scope(name, type(module).__name__, leaf, number))
        self._given.append(args)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(module, StandIn):
            return
        left = self._stack.pop(), self._given.pop()
        self._returned[left[0].call - 1] = _shapes(tensors_in_args((output,)))
        if output is None and self._failed is None and sys.exc_info()[0] is not None:
            self._failed = left

    @contextmanager
    def tracking(self) -> Iterator[None]:
        """Follow module calls until the end of the block; nothing stays registered."""
        handles = (
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def borrowed(
    model: nn.Module,
    exchange: Callable[[str, torch.Tensor], torch.Tensor] | None,
    training: bool,
) -> Iterator[None]:
    """Run the model in the given mode with its parameters and buffers exchanged; everything is put back afterwards.

    What forward stores in a module's attributes (caches of grids, counters) is undone too. ``exchange`` takes the
    qualified name and the tensor; tensors that are shared are exchanged once. None leaves the tensors as they are.
    """
    made: dict[int, torch.Tensor] = {}
    modules = list(model.named_modules())
    with kept([module for _, module in modules]):
        for prefix, module in modules:
            module.__dict__["training"] = training
            if exchange is None:
                continue
            for registry in (module._parameters, module._buffers):
                for key, tensor in registry.items():
                    if tensor is None:
                        continue
                    if id(tensor) not in made:
                        made[id(tensor)] = exchange(f"{prefix}.{key}" if prefix else key, tensor)
                    if registry[key] is not made[id(tensor)]:
                        registry[key] = made[id(tensor)]
        yield


@contextmanager
def kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put back, at the end of the block, the modules' attributes, and what is in their dicts, lists and sets now.

    Among those dicts are parameters, buffers, submodules and hooks.
    """
    saved = []
    for module in modules:
        attributes = module.__dict__.copy()
        containers = [value for value in attributes.values() if type(value) in _CONTAINERS]
        saved.append((module.__dict__, attributes, [(value, value.copy() if value else None) for value in containers]))
    try:
        yield
    finally:
        for now, attributes, contents in saved:
            now.clear()
            now.update(attributes)
            for container, content in contents:
                container.clear()
                if content is not None:
                    (container.extend if isinstance(content, list) else container.update)(content)


def meta_twin(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor like the given one, without storage. Raises LoadError for a parameter that has no shape yet."""
    if nn.parameter.is_lazy(tensor):
        raise LoadError(
            f"parameter {name} has no shape yet (a lazy module): run the model once on an example, then ask again"
        )
    with torch.no_grad():
        twin = without_storage(tensor)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(twin, requires_grad=tensor.requires_grad)
    return twin
