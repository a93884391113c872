"""Which module a call belongs to, and a model whose tensors are exchanged for the time of one forward pass."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import MethodType
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn
from torch.nn.modules import module as hooks

from rfcalc.errors import LoadError
from rfcalc.graph import ModuleCall
from rfcalc.tracing.making import make_call
from rfcalc.tracing.tensors import tensors_in_args, without_storage

#: What a module keeps things in; a subclass may not let its content be exchanged.
_CONTAINERS = frozenset({dict, OrderedDict, list, set})
#: The attribute that holds what `torch.nn.Module.__call__` runs instead of torch's own way of calling a module. Torch
#: leaves it out of copies and files.
_CALL = "_compiled_call_impl"


class Scope(NamedTuple):
    """One call of one module. ``call`` numbers all module calls of the forward pass."""

    name: str
    module: str
    leaf: bool
    call: int


#: Shapes of several tensors.
Shapes: TypeAlias = tuple[tuple[int, ...], ...]


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
    inside = module._modules
    return not inside or all(child is None for child in inside.values())


def tree(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """All modules with their names, parents first; one that is shared comes once for each way that leads to it."""
    found: list[tuple[str, nn.Module]] = []
    _add_tree("", model, found)
    return found


def _add_tree(name: str, module: nn.Module, found: list[tuple[str, nn.Module]]) -> None:
    found.append((name, module))
    for key, child in module._modules.items():
        if child is not None:
            _add_tree(f"{name}.{key}" if name else key, child, found)


def distinct(modules: Iterable[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """Each of the modules once, with the first of its names."""
    found: dict[int, tuple[str, nn.Module]] = {}
    for named in modules:
        found.setdefault(id(named[1]), named)
    return list(found.values())


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
        self.tree = tree(model)
        self.modules = distinct(self.tree)
        self._names = {id(module): name for name, module in self.modules}
        self._stand_ins: dict[int, nn.Module] = {}  #: what holds the modules inside a called one
        for name, module in self.modules:
            if isinstance(module, StandIn):
                for part in (module.original, *module.parts):
                    self._names[id(part)] = name
                    self._stand_ins[id(part)] = module
        self._root = Scope("", class_of(model).__name__, _is_leaf(model), 0)
        self._stack: list[Scope] = []
        self._given: list[Any] = []
        self._failed: tuple[Scope, Any] | None = None
        self._calls: list[tuple[Scope, Any, int, Shapes, int]] = []  #: what is known when they begin
        self._returned: list[Shapes] = []
        self._met: dict[Any, Shapes] = {}  #: equal shapes are kept once
        self._places: Counter[int] = Counter()
        if len(self.modules) < len(self.tree):
            _count_places(model, self._places)

    @property
    def current(self) -> Scope:
        return self._stack[-1] if self._stack else self._root

    @property
    def failure(self) -> tuple[Scope, Shapes]:
        """The innermost call that an exception came out of, and the shapes of the tensors that it was given."""
        scope, args = self._failed or (self.current, self._given[-1] if self._given else ())
        return scope, self._shapes(args)

    @property
    def calls(self) -> tuple[ModuleCall, ...]:
        """All module calls so far, in the order in which they began."""
        rows = zip(self._calls, self._returned, strict=True)
        return tuple(
            [
                make_call(number, name, types_of(kind), leaf, places, given, returned, around)
                for ((name, _, leaf, number), kind, places, given, around), returned in rows
            ]
        )

    @property
    def depth(self) -> tuple[Scope, ...]:
        return tuple(self._stack)

    def _shapes(self, values: Iterable[Any]) -> Shapes:
        """The shapes of those of the values that are tensors; asking for them is no call of the model's."""
        with torch._C.DisableTorchFunction():
            sizes = tuple([value.shape for value in values if isinstance(value, torch.Tensor)])
        known = self._met.get(sizes)
        if known is None:
            known = self._met[sizes] = tuple(map(tuple, sizes))
        return known

    # --- calls --------------------------------------------------------------------------------------------------------

    def _before(self, module: nn.Module, args: Any) -> None:
        if not isinstance(module, StandIn):  # what it stands for is called next
            self._enter(module, args)

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if not isinstance(module, StandIn):
            self._leave(output)

    def _enter(self, module: nn.Module, args: Any) -> None:
        kind: Any = type(module)
        ident, around = id(module), self.current
        name = self._names.get(ident)
        if name is None:  # made during the forward pass
            name = f"{around.name}.{kind.__name__}".strip(".")
        leaf = _is_leaf(self._stand_ins.get(ident, module))
        scope = Scope(name, kind.__name__, leaf, len(self._calls) + 1)
        self._calls.append((scope, kind, self._places.get(ident, 1), self._shapes(args), around.call))
        self._returned.append(())
        self._failed = None  # if there was one, the model went on
        self._stack.append(scope)
        self._given.append(args)

    def _leave(self, output: Any) -> None:
        left = self._stack.pop(), self._given.pop()
        came_back = (output,) if isinstance(output, torch.Tensor) else tensors_in_args((output,))
        self._returned[left[0].call - 1] = self._shapes(came_back)
        if output is None and self._failed is None and sys.exc_info()[0] is not None:
            self._failed = left

    def _call(self, module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        """What takes the place of torch's own way of calling a module."""
        if _is_hooked(module):
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

    @contextmanager
    def tracking(self) -> Iterator[None]:
        """Follow module calls until the end of the block; nothing stays registered.

        Torch's hooks for all modules see every call, and make each of them slow. A module of the model that nobody else
        hooks is called past them; those that others hook and those made during the pass are not.
        """
        handles = (
            hooks.register_module_forward_pre_hook(self._before),
            hooks.register_module_forward_hook(self._after, always_call=True),
        )
        own = [module for _, module in self.modules if not isinstance(module, StandIn)]
        lent = [(module.__dict__, MethodType(self._call, module)) for module in own]
        lent = [(attributes, call) for attributes, call in lent if attributes.setdefault(_CALL, call) is call]
        try:
            yield
        finally:
            for attributes, call in lent:
                if attributes.get(_CALL) is call:
                    del attributes[_CALL]
            for handle in handles:
                handle.remove()


def _is_hooked(module: nn.Module) -> bool:
    """Whether others want to hear of the module's calls: hooks of its own, or hooks for all modules besides a trace's.

    A trace within a trace has hooks besides those of the one around it.
    """
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or len(hooks._global_forward_hooks) != 1
        or len(hooks._global_forward_pre_hooks) != 1
        or hooks._global_backward_hooks
        or hooks._global_backward_pre_hooks
    )


# --- a model for the time of a pass -----------------------------------------------------------------------------------


@contextmanager
def borrowed(
    modules: Iterable[tuple[str, nn.Module]],
    exchange: Callable[[str, torch.Tensor], torch.Tensor] | None,
    training: bool,
) -> Iterator[None]:
    """Have a model in the given mode with its parameters and buffers exchanged; everything is put back afterwards.

    ``modules`` are the model's as its ``named_modules()`` gives them. What forward stores in their attributes (caches
    of grids, counters) is undone too. ``exchange`` takes the qualified name and the tensor; tensors that are shared are
    exchanged once. None leaves the tensors as they are.
    """
    made: dict[int, torch.Tensor] = {}
    modules = list(modules)
    with kept([module for _, module in modules]):
        for prefix, module in modules:
            module.__dict__["training"] = training
            if exchange is not None:
                _exchange(module._parameters, prefix, exchange, made)
                _exchange(module._buffers, prefix, exchange, made)
        yield


def _exchange(
    registry: dict[str, Any],
    prefix: str,
    exchange: Callable[[str, torch.Tensor], torch.Tensor],
    made: dict[int, torch.Tensor],
) -> None:
    """Exchange a module's parameters or buffers, where another tensor is to stand for one."""
    for key, tensor in registry.items():
        if tensor is not None:
            other = made.get(id(tensor))
            if other is None:
                other = made[id(tensor)] = exchange(f"{prefix}.{key}" if prefix else key, tensor)
            if tensor is not other:
                registry[key] = other


@contextmanager
def kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Put back, at the end of the block, the modules' attributes, and what is in their dicts, lists and sets now.

    Among those dicts are parameters, buffers, submodules and hooks.
    """
    saved = [(module.__dict__, module.__dict__.copy()) for module in modules]
    inside = [value for _, attributes in saved for value in attributes.values() if type(value) in _CONTAINERS]
    filled = [(container, container.copy()) for container in inside if container]
    try:
        yield
    finally:
        for attributes, before in saved:
            attributes.update(before)  # with the same names it goes on sharing them with the dicts of other instances
            if len(attributes) > len(before):
                _fill(attributes, before)
        for container, content in filled:
            _fill(container, content)
        known = {id(container) for container, _ in filled}
        for container in [container for container in inside if container]:
            if id(container) not in known:
                container.clear()


def _fill(container: Any, content: Any) -> None:
    """Give a container the content that it had."""
    container.clear()
    (container.extend if isinstance(container, list) else container.update)(content)


def meta_twin(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor like the given one, without storage. Raises LoadError for a parameter that has no shape yet."""
    if nn.parameter.is_lazy(tensor):
        raise LoadError(
            f"parameter {name} has no shape yet (a lazy module): run the model once on an example, then ask again"
        )
    twin = without_storage(tensor)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(twin, requires_grad=tensor.requires_grad)
    return twin
