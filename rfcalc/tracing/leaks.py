"""What code of the model's keeps of a pass outside of the model: tables of its modules and classes, and caches.

A double has its own attributes, but its classes and their modules are the user's. A table that forward made there on
tensors without storage would be met by the next real pass. What was there before is put back, a new entry is taken out,
and a cache of `functools.lru_cache` is emptied; anything else that other threads may have written meanwhile stays.
"""

from __future__ import annotations

import functools
import gc
import operator
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import nn

#: Whether a tensor is one of the pass's.
Ours: TypeAlias = Callable[[torch.Tensor], bool]

_CONTAINERS = (dict, list, set)
#: Containers with more are not looked into, and how deep.
_LARGEST, _DEEPEST = 10_000, 3
_ABSENT: Any = object()
_OTHERS = frozenset({"torch", "rfcalc", "numpy", "keras", "builtins"})


class Outside:
    """What the classes of a model and their modules hold before a pass."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._before: list[tuple[Any, Any]] = []
        self._met: set[int] = set()
        self._caches: list[Any] = []
        self._kinds: dict[type, bool] = {}
        kinds = {kind for module in modules for kind in type(module).__mro__}
        homes: dict[str, None] = {}
        for kind in kinds:
            if kind.__module__.partition(".")[0] not in _OTHERS:
                self._keep(kind, 0)
                homes[kind.__module__] = None
        for name in homes:
            if name in sys.modules and name.partition(".")[0] not in sys.stdlib_module_names:
                self._keep(sys.modules[name], 0)

    def _keep(self, owner: Any, depth: int) -> None:
        """Remember what is held now, and by what is held."""
        if id(owner) in self._met:
            return
        self._met.add(id(owner))
        if isinstance(owner, _CONTAINERS):
            if len(owner) > _LARGEST:
                return
            content: Any = dict(dict.items(owner)) if isinstance(owner, dict) else _inside(owner)
            inside = content.values() if isinstance(owner, dict) else content
        else:
            content = dict(vars(owner))
            inside = content.values()
        self._before.append((owner, content))
        if not any(map(self._leads_on, set(map(type, inside)))):
            return
        for value in inside:
            kind = type(value)
            if kind is functools._lru_cache_wrapper:
                self._caches.append(value)
            elif depth < _DEEPEST and self._leads_on(kind):
                self._keep(value, depth + 1)

    def _leads_on(self, kind: type) -> bool:
        """Whether objects of a class may hold tensors of a pass; most of what modules hold is functions and classes."""
        leads = self._kinds.get(kind)
        if leads is None:
            leads = kind in _CONTAINERS or kind is functools._lru_cache_wrapper or _has_attributes(kind)
            self._kinds[kind] = leads
        return leads

    def undo(self, ours: Ours) -> None:
        """Put back what holds a tensor of the pass now."""
        for owner, before in self._before:
            if isinstance(owner, dict):
                _undo_keys(dict.items(owner), before, ours, owner.__setitem__, owner.pop)
            elif isinstance(owner, list | set):
                now = _inside(owner)
                if _same(now, before):
                    continue
                known = {id(item) for item in before}
                if any(id(item) not in known and _holds(item, ours) for item in now):
                    owner.clear()
                    (owner.extend if isinstance(owner, list) else owner.update)(before)
            else:
                put, take = functools.partial(setattr, owner), functools.partial(delattr, owner)
                _undo_keys(vars(owner).items(), before, ours, put, take)
        for cache in self._caches:
            if cache.cache_info().currsize and any(_holds(held, ours) for held in gc.get_referents(cache)):
                cache.cache_clear()


@contextmanager
def outside(modules: Iterable[nn.Module], ours: Ours) -> Iterator[None]:
    """What the classes of these modules and their homes hold is as before, but for what is none of the pass's."""
    kept = Outside(modules)
    try:
        yield
    finally:
        kept.undo(ours)


def _has_attributes(kind: Any) -> bool:
    """Whether objects of a class of the user's keep things as attributes."""
    if kind.__module__.partition(".")[0] in sys.stdlib_module_names or issubclass(kind, type | nn.Module):
        return False
    return hasattr(kind, "__dict__") and kind.__dictoffset__ != 0 and not kind.__module__.startswith("torch")


def _inside(held: Any) -> list[Any]:
    """What a container holds, by its table alone: a class of the user's may make something when it is asked."""
    if isinstance(held, dict):
        return list(dict.values(held))
    kind = next(kind for kind in (list, set, tuple) if isinstance(held, kind))
    return list(kind.__iter__(held))


def _same(now: Iterable[Any], before: Iterable[Any]) -> bool:
    """Whether two containers hold the same objects in the same order, as nearly all do."""
    one, other = list(now), list(before)
    return len(one) == len(other) and all(map(operator.is_, one, other))


def _undo_keys(items: Iterable[tuple[Any, Any]], before: dict[Any, Any], ours: Ours, put: Any, take: Any) -> None:
    now = list(items)
    if _same((value for _, value in now), before.values()):
        return
    for key, value in now:
        old = before.get(key, _ABSENT)
        if value is not old and _holds(value, ours):
            if old is _ABSENT:
                take(key)
            else:
                put(key, old)


def _holds(value: Any, ours: Ours, depth: int = 0) -> bool:
    """Whether a tensor of the pass is a value, or lies in it."""
    if isinstance(value, torch.Tensor):
        return ours(value)
    if depth > _DEEPEST:
        return False
    if isinstance(value, dict) or (isinstance(value, list | tuple | set) and len(value) <= _LARGEST):
        return any(_holds(item, ours, depth + 1) for item in _inside(value))
    if _has_attributes(type(value)):
        return any(_holds(item, ours, depth + 1) for item in list(vars(value).values()))
    return False


def _gone(alive: Sequence[weakref.ref[torch.Tensor]]) -> bool:
    return all(reference() is None for reference in alive)


# --- elsewhere --------------------------------------------------------------------------------------------------------


def release(alive: Sequence[weakref.ref[torch.Tensor]]) -> tuple[str, ...]:
    """Empty caches that still hold tensors of a pass when it is over; returns what else holds one, which is left.

    For what `Outside` did not know of: caches of other modules, and of objects that are no part of the model.
    """
    if torch._C._len_torch_dispatch_stack() or _gone(alive):
        return ()  # a pass around this one holds what it has met
    gc.collect(0)  # a double whose modules lead to each other; it is younger than the last collection
    if not _gone(alive):
        gc.collect()
    left = [tensor for tensor in [reference() for reference in alive] if tensor is not None]
    stuck: dict[str, None] = {}
    for holder in gc.get_referrers(*left) if left else ():
        if holder is left or isinstance(holder, types.FrameType):
            continue
        if isinstance(holder, functools._lru_cache_wrapper):
            holder.cache_clear()
        elif isinstance(holder, dict):
            for key in [key for key, value in list(holder.items()) if any(value is one for one in left)]:
                del holder[key]
        else:
            kind = type(holder)
            stuck[kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"] = (
                None
            )
    return tuple(stuck)
