"""The modules of a model by name, and what a user knows them by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from torch import nn

from rfcalc.tracing.packed import holds_only_weights
from rfcalc.tracing.sharding import plain_class


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
    found: type[nn.Module] = plain_class(type(module.original if isinstance(module, StandIn) else module))
    return found


def is_leaf(module: nn.Module) -> bool:
    """Whether no module is inside; one that could be there may be None, or only keep packed weights."""
    inside = module._modules
    return not inside or all(holds_only_weights(key, child) for key, child in inside.items())


def tree(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """All modules with their names, parents first; one that is shared comes once for each way that leads to it."""
    found: list[tuple[str, nn.Module]] = []
    _add_tree("", model, found)
    return found


def _add_tree(name: str, module: nn.Module, found: list[tuple[str, nn.Module]]) -> None:
    found.append((name, module))
    for key, child in list(module._modules.items()):
        if child is not None:
            _add_tree(f"{name}.{key}" if name else key, child, found)


def distinct(modules: Iterable[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """Each of the modules once, with the first of its names."""
    found: dict[int, tuple[str, nn.Module]] = {}
    for named in modules:
        found.setdefault(id(named[1]), named)
    return list(found.values())


def places(model: nn.Module) -> Counter[int]:
    """How often each module stands in the tree of modules: once for each way that leads to it from the root."""
    found: Counter[int] = Counter()
    left = [model]
    while left:
        module = left.pop()
        found[id(module.original if isinstance(module, StandIn) else module)] += 1
        left += module.children()
    return found


@lru_cache(4096)
def types_of(kind: Any) -> tuple[str, ...]:
    """The full names of a module's class and of those it derives from, down to `torch.nn.Module`, which is left out."""
    classes = kind.__mro__[: kind.__mro__.index(nn.Module)]
    return tuple(f"{item.__module__}.{item.__qualname__}" for item in classes)
