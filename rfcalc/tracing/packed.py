"""Weights inside objects of torch's: what quantised layers give to their kernels in place of tensors.

A quantised layer keeps its weight and bias in an object of a class of torch's C++ code (``LinearPackedParamsBase``,
``Conv2dPackedParamsBase``, ``CellParamsBase`` ...), in the order that its kernel wants. No parameter shows them. Each
kind of object gives back the tensors that it was made of, by ``unpack`` or in its state, and that is all that is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from rfcalc.ops import Arg, Packed
from rfcalc.tracing.stored import stored_bytes
from rfcalc.tracing.values import Value

#: The class of all such objects in Python.
ScriptObject: Any = torch.ScriptObject

#: What a convolution's object says besides its weights, by method.
_SETTINGS = ("stride", "padding", "dilation", "groups", "output_padding", "transpose")

Modules: TypeAlias = Sequence[tuple[str, nn.Module]]


class Part(NamedTuple):
    """One tensor that an object stands for. ``nbytes`` is what it takes as it is kept, with scales and zero points."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int


@dataclass(frozen=True, eq=False)
class PackedObject:
    """One object of a model: the module that keeps it, the layer that it belongs to, its tensors by role.

    ``parts`` is empty where torch does not tell what is inside; ``kind`` is the object's class.
    """

    name: str
    kind: str
    module: str
    home: str
    held: Any
    parts: Mapping[str, Part]


def is_packed(value: Any) -> bool:
    """Whether a value is an object of torch's that may hold weights."""
    return isinstance(value, ScriptObject)


def kind_of(held: Any) -> str:
    """The class of an object, ``LinearPackedParamsBase``."""
    return str(held._type()).rpartition(".")[2]


def objects_in(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The objects among a module's own attributes, those in its lists, tuples and dicts too, each with its name."""
    for key, value in module.__dict__.items():
        kind = type(value)
        if isinstance(value, ScriptObject):
            yield key, value
        elif kind in (list, tuple) and any(isinstance(item, ScriptObject) for item in value):
            yield from ((f"{key}_{at}", item) for at, item in enumerate(value) if isinstance(item, ScriptObject))
        elif kind is dict and any(isinstance(item, ScriptObject) for item in value.values()):
            yield from ((f"{key}_{name}", item) for name, item in value.items() if isinstance(item, ScriptObject))


def holds_only_weights(key: str, module: nn.Module | None) -> bool:
    """Whether a module inside another one is nothing but the place of its packed weights."""
    if module is None:
        return True
    if not key.startswith("_") or module._parameters:
        return False
    inside = [child for child in module._modules.values() if child is not None]
    if inside:
        return all(next(objects_in(child), None) is not None for child in inside)
    return next(objects_in(module), None) is not None


# --- what is inside ---------------------------------------------------------------------------------------------------


def tensors_of(held: Any) -> dict[str, torch.Tensor]:
    """The tensors that an object stands for, by their role: ``weight``, ``bias``; ``weight_ih`` ... of a cell.

    Empty where it does not tell.
    """
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        if held._has_method("unpack"):
            made = held.unpack()
            found = made if isinstance(made, tuple) else (made,)
            named = zip(("weight", "bias"), found, strict=False)
            return {role: tensor for role, tensor in named if isinstance(tensor, torch.Tensor)}
        if not held._has_method("__getstate__"):
            return {}
        state = list(_leaves(held.__getstate__()))
    inner = [item for item in state if isinstance(item, ScriptObject)]
    if len(inner) == 2:  # a recurrent layer's: of the input, and of the state
        both = zip(("ih", "hh"), map(tensors_of, inner), strict=True)
        found_here = {f"{role}_{which}": tensor for which, parts in both for role, tensor in parts.items()}
        return dict(sorted(found_here.items(), key=lambda item: item[0].startswith("bias")))
    tensors = [item for item in state if isinstance(item, torch.Tensor)]
    return {f"tensor_{at}": tensor for at, tensor in enumerate(tensors)} if not inner else {}


def _leaves(state: Any) -> Iterator[Any]:
    if isinstance(state, list | tuple):
        for item in state:
            yield from _leaves(item)
    else:
        yield state


def settings_of(held: Any) -> dict[str, Any]:
    """What an object says besides its tensors."""
    return {name: getattr(held, name)() for name in _SETTINGS if held._has_method(name)}


def _nbytes(kind: str, tensor: torch.Tensor) -> int:
    """Bytes of a tensor as the object keeps it: a linear layer's float weight is kept in half precision."""
    if kind == "LinearPackedParamsBase" and tensor.ndim == 2 and tensor.dtype == torch.float32:
        return 2 * tensor.numel()
    return stored_bytes(tensor)


def _inner_kind(kind: str) -> str:
    return "LinearPackedParamsBase" if kind == "CellParamsBase" else kind


# --- the objects of a model -------------------------------------------------------------------------------------------


class PackedWeights:
    """All objects of a model, and which of them is which: torch makes another Python object each time it shows one."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules
        self.opaque: set[str] = set()  #: objects that ops took, of which torch does not tell what is inside

    def as_seen(self, held: Any, scope: str, args: list[tuple[Arg, Value]]) -> Packed:
        """An object as a rule sees it: the parameters that it stands for are noted in ``args``."""
        found = self.find(held, scope)
        tensors: dict[str, Arg] = {}
        for role, part in found.parts.items() if found is not None else ():
            tensors[role] = Arg(part.shape, part.dtype, "param", part.name)
            args.append((tensors[role], Value("param", params=(part.name,))))
        if found is not None and not found.parts:
            self.opaque.add(found.name)
        if found is None:  # made on the way
            tensors = {role: Arg(tuple(made.shape), role="const") for role, made in tensors_of(held).items()}
        return Packed(tensors, settings_of(held))

    @cached_property
    def objects(self) -> list[PackedObject]:
        """Every object once, in the modules' order."""
        named = dict(self._modules)
        found: dict[int, PackedObject] = {}
        for prefix, module in self._modules:
            for key, held in objects_in(module):
                if id(held) not in found:
                    found[id(held)] = _object(prefix, key, held, module, named)
        return list(found.values())

    @cached_property
    def _by_biases(self) -> dict[tuple[str, tuple[int, ...]], PackedObject]:
        return {(one.kind, places): one for one in self.objects if (places := _bias_places(one.held))}

    def find(self, held: Any, scope: str) -> PackedObject | None:
        """Which of the model's objects this is; ``scope`` is the module that runs. None for one made on the way.

        Its biases tell, which it gives back as they are. One without any is compared with those like it.
        """
        kind, places = kind_of(held), _bias_places(held)
        if places:
            return self._by_biases.get((kind, places))
        alike = [one for one in self.objects if one.kind == kind and not _bias_places(one.held)]
        near = [one for one in alike if one.home == scope or one.home.startswith(f"{scope}.")]
        tensors = tensors_of(held)
        return next((one for one in (*near, *alike) if _equal(tensors_of(one.held), tensors)), None)


def _bias_places(held: Any) -> tuple[int, ...]:
    """Where in memory an object's biases are."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        if held._has_method("bias"):
            bias = held.bias()
            return (bias.data_ptr(),) if isinstance(bias, torch.Tensor) else ()
        if held._has_method("unpack") or not held._has_method("__getstate__"):
            return ()
        inner = [item for item in _leaves(held.__getstate__()) if isinstance(item, ScriptObject)]
    return tuple(place for one in inner for place in _bias_places(one))


def _object(prefix: str, key: str, held: Any, module: nn.Module, named: Mapping[str, nn.Module]) -> PackedObject:
    kind = kind_of(held)
    home, name_of = _naming(prefix, key, named)
    tensors = tensors_of(held)
    parts = {}
    for role, tensor in tensors.items():
        shape = _logical(tensor, module)
        dtype = str(tensor.dtype).removeprefix("torch.")
        parts[role] = Part(name_of(role), shape, dtype, _nbytes(_inner_kind(kind), tensor))
    name = f"{prefix}.{key}" if prefix else key
    return PackedObject(name, kind, prefix, home, held, parts)


def _logical(tensor: torch.Tensor, module: nn.Module) -> tuple[int, ...]:
    """The shape of a weight; one of a convolution over one axis is packed with two."""
    shape = tuple(tensor.shape)
    axes = getattr(module, "kernel_size", None)
    if isinstance(axes, tuple) and len(shape) == len(axes) + 3 and shape[2] == 1:
        return (*shape[:2], *shape[3:])
    return shape


def _equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    if {role: tensor.shape for role, tensor in one.items()} != {role: tensor.shape for role, tensor in other.items()}:
        return False
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        return bool(one) and all(torch.equal(_plain(one[role]), _plain(other[role])) for role in one)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.int_repr() if tensor.is_quantized else tensor


# --- names ------------------------------------------------------------------------------------------------------------


def _naming(prefix: str, key: str, named: Mapping[str, nn.Module]) -> tuple[str, Callable[[str], str]]:
    """The layer that an object belongs to, and what its tensors are called: as in the layer that it was made from.

    ``fc._packed_params._packed_params`` holds ``fc.weight`` and ``fc.bias``; an object of a recurrent layer
    ``weight_ih_l0`` and so on, ``_packed_weight_ih`` of a cell ``weight_ih`` and ``bias_ih``.
    """
    path = prefix.split(".") if prefix else []
    depth = next((at for at, item in enumerate(path) if item.startswith("_")), len(path))
    home, inside = ".".join(path[:depth]), path[depth:]
    suffix = _suffix(key)
    number = next((int(item) for item in reversed(inside) if item.isdecimal()), None)
    if number is not None:
        layer = named.get(home)
        ways = 2 if getattr(layer, "bidirectional", False) else 1
        stacked = isinstance(getattr(layer, "num_layers", None), int)
        suffix += f"_l{number // ways}{'_reverse' * (number % ways)}" if stacked else f"_{number}"

    def name_of(role: str) -> str:
        return f"{home}.{role}{suffix}" if home else f"{role}{suffix}"

    return home, name_of


def _suffix(key: str) -> str:
    """What an attribute's name adds to its tensors' names."""
    stem = key.strip("_").removeprefix("packed").strip("_")
    if stem in ("", "param", "params"):
        return ""
    return stem.removeprefix("weight") if stem.startswith("weight") else f"_{stem}"


def linear_width(held: Any, features: int) -> int | None:
    """The features that a linear layer's object gives for so many; None where it takes another number of them."""
    weight = tensors_of(held).get("weight")
    return int(weight.shape[0]) if weight is not None and tuple(weight.shape[1:]) == (features,) else None
