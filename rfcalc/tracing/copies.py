"""A copy of a web of objects, tensors apart, in which everything that is held leads to the copies.

What code stores in a copy, its lists, its hooks or its closures is not stored in the original. Nothing of the user's is
called on the way: objects are made and filled as they are, without ``__init__``, ``__deepcopy__`` or ``__setattr__``.
"""

from __future__ import annotations

import array
import copy
import dis
import enum
import functools
import random
import sys
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from rfcalc.tracing.sharding import CALL, plain_class, plain_hooks

#: What is never copied: it cannot change, or is one for the whole process.
_ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, type, range, slice, type(Ellipsis), types.ModuleType}
    | {torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format}
)
#: What torch keeps of each module, of which it makes no use elsewhere; most are empty.
_TORCHS = frozenset(
    {"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_forward_hooks", "_forward_pre_hooks"}
    | {"_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs"}
    | {"_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks", "_state_dict_pre_hooks"}
    | {"_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"}
)
#: Those that are seldom empty, of what has a name.
_NAMED = frozenset({"_parameters", "_buffers", "_modules"})
#: Classes of Python's own library whose objects belong to one owner; all others are taken to serve the process.
_OWNED = frozenset({"types", "argparse", "collections"})
#: What a class says that has its own idea of a copy, or ends something when an object of it goes.
_PECULIAR = ("__deepcopy__", "__copy__", "__del__")

_Way: TypeAlias = Callable[["Copies", Any], Any]


class Copies:
    """Copies by the object that each was made of. ``plain`` gives what stands for a tensor, None: the tensor itself."""

    def __init__(self, plain: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        self.plain = plain
        self.modules: list[nn.Module] = []  #: all that were copied
        self._made: dict[int, Any] = {}
        self._held: list[Any] = []  # an id is good for as long as its owner lives
        self._todo: list[tuple[_Way, Any, Any]] = []

    def note(self, value: Any, made: Any) -> None:
        """Say what stands for an object."""
        self._held.append(value)
        self._made[id(value)] = made

    def of(self, value: Any) -> Any:
        """The copy of an object, with all that leads from it; the object itself where it is not to be copied."""
        made = self._of(value)
        while self._todo:
            fill, original, empty = self._todo.pop()
            fill(self, (original, empty))
        return made

    def _of(self, value: Any) -> Any:
        made = self._made.get(id(value))
        if made is None:
            kind: Any = type(value)
            way = None if kind in _ATOMS else _way(kind)
            made = value if way is None else way(self, value)
        return made

    def _later(self, value: Any, empty: Any, fill: _Way) -> Any:
        """The copy, empty: what is in it comes later, so that no depth of objects in objects is too much."""
        self.note(value, empty)
        self._todo.append((fill, value, empty))
        return empty

    def all_of(self, values: Iterable[Any]) -> list[Any]:
        return [value if type(value) in _ATOMS else self._of(value) for value in values]


# --- modules ----------------------------------------------------------------------------------------------------------


def _module(copies: Copies, module: nn.Module) -> nn.Module:
    kind: Any = type(module)
    made: nn.Module = object.__new__(plain_class(kind))
    copies.modules.append(made)
    copies.note(module, made)
    copies._todo.append((_fill_module, module, made))
    return made


def _fill_module(copies: Copies, pair: tuple[nn.Module, nn.Module]) -> None:
    module, made = pair
    own = made.__dict__
    own.update(module.__dict__)
    own.pop(CALL, None)  # compiled, or followed by another pass
    of = copies._of
    for key, value in own.items():
        kind = type(value)
        if kind in _ATOMS:
            continue
        if key not in _TORCHS or kind not in _CONTAINERS:
            if kind is not tuple or not _ATOMS.issuperset(map(type, value)):
                own[key] = of(value)
        elif not value:
            own[key] = kind()
        elif key in _NAMED and kind is not set:  # nobody else holds these
            own[key] = kind([(name, of(held)) for name, held in value.copy().items()])
        else:
            own[key] = of(plain_hooks(key, value))
    _fill_slots(copies, pair)


def _script(copies: Copies, module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """A scripted module with attributes of its own, of the same program."""
    made: Any = torch.jit._recursive.wrap_cpp_module(_program(module._c))  # type: ignore[no-untyped-call]
    _note_script(copies, module, made)
    return made  # type: ignore[no-any-return]


def _program(program: Any) -> Any:
    made = program.__copy__()  # which shares the modules inside
    for name, inside in torch._C.ModuleDict(program).items():
        made.setattr(name, _program(inside))
    return made


def _note_script(copies: Copies, module: Any, made: Any) -> None:
    copies.note(module, made)
    copies.modules.append(made)
    for registry in ("_parameters", "_buffers"):
        for name, tensor in getattr(module, registry).items():
            other = copies._made.get(id(tensor))
            if other is not None:
                made._c.setattr(name, other)
    for name, inside in list(module._modules.items()):
        _note_script(copies, inside, made._modules[name])


# --- containers -------------------------------------------------------------------------------------------------------


def _new(kind: Any, basis: Any) -> Any:
    return kind() if kind is basis else basis.__new__(kind)


def _dict(copies: Copies, value: Any) -> Any:
    basis = next(one for one in (OrderedDict, defaultdict, dict) if isinstance(value, one))
    return copies._later(value, _new(type(value), basis), _fill_dict)


def _fill_dict(copies: Copies, pair: tuple[Any, Any]) -> None:
    value, made = pair
    basis = OrderedDict if isinstance(value, OrderedDict) else dict
    for key, held in list(basis.items(value)):
        if type(key) is not str:
            key = _key(copies, key)
        basis.__setitem__(made, key, held if type(held) in _ATOMS else copies._of(held))
    if isinstance(value, defaultdict):
        made.default_factory = copies._of(value.default_factory)
    _fill_attributes(copies, pair)


def _key(copies: Copies, key: Any) -> Any:
    """The key of a copy. One that is found by what is in it has nothing in it yet, and stays."""
    if type(key) is tuple:
        return tuple([_key(copies, part) for part in key])
    own: Any = type(key).__hash__
    return copies._of(key) if own is object.__hash__ or isinstance(key, nn.Module) else key


def _list(copies: Copies, value: Any) -> Any:
    basis = list if isinstance(value, list) else deque
    empty = deque(maxlen=value.maxlen) if type(value) is deque else _new(type(value), basis)
    return copies._later(value, empty, _fill_list)


def _fill_list(copies: Copies, pair: tuple[Any, Any]) -> None:
    value, made = pair
    basis: Any = list if isinstance(value, list) else deque
    basis.extend(made, copies.all_of(list(basis.__iter__(value))))
    _fill_attributes(copies, pair)


def _set(copies: Copies, value: Any) -> Any:
    made = _new(type(value), set)
    copies.note(value, made)
    set.update(made, [_key(copies, item) for item in list(set.__iter__(value))])
    _fill_attributes(copies, (value, made))
    return made


def _tuple(copies: Copies, value: Any) -> Any:
    if _ATOMS.issuperset(map(type, value)):
        return value
    items = copies.all_of(tuple.__iter__(value))
    if all(one is other for one, other in zip(items, tuple.__iter__(value), strict=True)):
        return value
    made = tuple.__new__(type(value), items)
    copies.note(value, made)
    return made


def _frozenset(copies: Copies, value: Any) -> Any:
    items = [_key(copies, item) for item in value]
    return value if all(item in value for item in items) else type(value)(items)


# --- functions --------------------------------------------------------------------------------------------------------


def _function(copies: Copies, value: Any) -> Any:
    """A function that holds what was copied, or writes into what it holds, with copies; others are what they are.

    One that torch compiled is the one that it was made of.
    """
    attributes = value.__dict__
    plain = attributes.get("_torchdynamo_orig_callable")
    if plain is not None and plain is not value:
        return copies._of(plain)
    closure, defaults, named = value.__closure__ or (), value.__defaults__, value.__kwdefaults__ or {}
    if not (closure or defaults or named or attributes):
        return value
    cells = [(cell, copies._made.get(id(cell))) for cell in closure]
    fresh = [(cell, types.CellType()) for cell, made in cells if made is None]
    for cell, empty in fresh:
        copies.note(cell, empty)
    own = tuple([copies._made[id(cell)] for cell in closure])
    made = types.FunctionType(value.__code__, value.__globals__, value.__name__, None, own or None)
    copies.note(value, made)
    for cell, empty in fresh:
        with suppress(ValueError):  # nothing is in it yet
            empty.cell_contents = copies._of(cell.cell_contents)
    made.__defaults__ = copies._of(defaults)
    kept = {key: copies._of(held) for key, held in named.items()}
    more = {key: copies._of(held) for key, held in attributes.items()}
    pairs = [(made.__defaults__, defaults), *((kept[key], named[key]) for key in kept)]
    pairs += [*((more[key], attributes[key]) for key in more), *zip(_contents(own), _contents(closure), strict=True)]
    if all(one is other for one, other in pairs) and not (closure and _WRITES in value.__code__.co_code[::2]):
        copies.note(value, value)
        return value
    made.__kwdefaults__ = kept or None
    made.__dict__.update(more)
    for name in ("__qualname__", "__module__", "__doc__", "__annotations__"):
        setattr(made, name, getattr(value, name))
    return made


#: The instruction with which a function writes a variable of the function around it.
_WRITES = dis.opmap["STORE_DEREF"]


def _contents(cells: Iterable[Any]) -> list[Any]:
    """What is in cells, None where there is nothing yet."""
    found = []
    for cell in cells:
        try:
            found.append(cell.cell_contents)
        except ValueError:
            found.append(None)
    return found


def _method(copies: Copies, value: Any) -> Any:
    owner, function = copies._of(value.__self__), copies._of(value.__func__)
    same = owner is value.__self__ and function is value.__func__
    return value if same else types.MethodType(function, owner)


def _bound(copies: Copies, value: Any) -> Any:
    """A method of a class of C's."""
    owner = copies._of(value.__self__)
    return value if owner is value.__self__ else getattr(owner, value.__name__)


def _partial(copies: Copies, value: Any) -> Any:
    function, args = copies._of(value.func), copies.all_of(value.args)
    named = {key: copies._of(held) for key, held in value.keywords.items()}
    made = type(value)(function, *args, **named)
    copies.note(value, made)
    made.__dict__.update({key: copies._of(held) for key, held in value.__dict__.items()})
    return made


def _cached(copies: Copies, value: Any) -> Any:
    """A function that remembers what it gave, which the copy does for itself."""
    made = lru_cache(**value.cache_parameters())(copies._of(value.__wrapped__))
    copies.note(value, made)
    return made


# --- other objects ----------------------------------------------------------------------------------------------------


def _object(copies: Copies, value: Any) -> Any:
    return copies._later(value, object.__new__(type(value)), _fill_object)


def _fill_object(copies: Copies, pair: tuple[Any, Any]) -> None:
    _fill_attributes(copies, pair)
    _fill_slots(copies, pair)


def _fill_attributes(copies: Copies, pair: tuple[Any, Any]) -> None:
    value, made = pair
    held = getattr(value, "__dict__", None)
    if held:
        own = made.__dict__
        own.update(held)
        for key, item in own.items():
            if type(item) not in _ATOMS:
                own[key] = copies._of(item)


def _fill_slots(copies: Copies, pair: tuple[Any, Any]) -> None:
    value, made = pair
    kind: Any = type(made)
    for slot in _slots(kind):
        with suppress(AttributeError):  # nothing was put there, or nobody may
            slot.__set__(made, copies._of(slot.__get__(value)))


@lru_cache(4096)
def _slots(kind: Any) -> tuple[Any, ...]:
    members = [held for one in kind.__mro__ for held in vars(one).values()]
    return tuple([held for held in members if type(held) is types.MemberDescriptorType])


def _weak(copies: Copies, value: Any) -> Any:
    owner = value()
    made = copies._of(owner)
    if made is owner:
        return value
    copies.note(value, made := weakref.ref(made))
    return made


def _array(copies: Copies, value: Any) -> Any:
    made = value.copy(order="K") if value.flags.writeable else value
    copies.note(value, made)
    return made


def _deep(copies: Copies, value: Any) -> Any:
    made = copy.deepcopy(value)
    copies.note(value, made)
    return made


def _generator(copies: Copies, value: torch.Generator) -> torch.Generator:
    made = torch.Generator(value.device)
    made.set_state(value.get_state())
    copies.note(value, made)
    return made


def _fresh(copies: Copies, value: Any) -> Any:
    """A lock that nobody holds."""
    made = threading.RLock() if type(value).__name__ == "RLock" else threading.Lock()
    copies.note(value, made)
    return made


def _tensor(copies: Copies, value: torch.Tensor) -> torch.Tensor:
    if copies.plain is None:
        return value
    made = copies.plain(value)
    copies.note(value, made)
    return made


_WAYS: dict[type, _Way] = {
    types.FunctionType: _function,
    types.MethodType: _method,
    types.BuiltinMethodType: _bound,
    types.MethodWrapperType: _bound,
    functools._lru_cache_wrapper: _cached,
    weakref.ReferenceType: _weak,
    torch.Generator: _generator,
    np.ndarray: _array,
    np.random.Generator: _deep,
    np.random.RandomState: _deep,
    random.Random: _deep,
    bytearray: _deep,
    array.array: _deep,
}
_BY_BASE: tuple[tuple[type, _Way], ...] = (
    (torch.Tensor, _tensor),
    (torch.jit.ScriptModule, _script),
    (nn.Module, _module),
    (dict, _dict),
    (list, _list),
    (deque, _list),
    (set, _set),
    (tuple, _tuple),
    (frozenset, _frozenset),
    (functools.partial, _partial),
)
_CONTAINERS = frozenset({dict, OrderedDict, set, list})
_LOCKS = frozenset({"lock", "RLock"})


@lru_cache(4096)
def _way(kind: Any) -> _Way | None:
    """How objects of a class are copied; None for those that are not."""
    if kind in _WAYS:
        return _WAYS[kind]
    if kind.__module__ in ("_thread", "threading") and kind.__name__ in _LOCKS:
        return _fresh
    if issubclass(kind, type | types.ModuleType | enum.Enum) or kind.__module__ == "torch._ops":
        return None
    for basis, way in _BY_BASE:
        if issubclass(kind, basis):
            return way
    return _object if _is_plain(kind) else None


def _is_plain(kind: type) -> bool:
    """Whether an object of the class is its attributes, and they its own."""
    home = kind.__module__.partition(".")[0]
    if home in sys.stdlib_module_names and home not in _OWNED:
        return False
    if any(hasattr(kind, name) for name in _PECULIAR):
        return False
    own: Any = kind
    if own.__reduce__ is not object.__reduce__ or own.__reduce_ex__ is not object.__reduce_ex__:
        return False
    try:
        object.__new__(kind)  # Python refuses where a class of C's would be left without its own beginning
    except TypeError:
        return False
    return kind is not object
