"""Weights packed in tensors: integers in which several elements share a byte, with scales and zero points beside them.

What such a tensor stands for is seen where it is used: a layer unpacks it, in whatever way, and multiplies by what
comes of that. The operand of the product is the weight of the network. Kernels that take the integers themselves have
rules that say it (`rfcalc.ops.quantized`). Where a pass shows neither, a layer that says how many features it takes
and gives has a weight of that shape, if a whole number of bits is left for each element. Bytes of a layer that says
nothing of the kind, by no name and no features, may be anything, an adjacency or a mask: they are weights where a pass
shows that they are packed ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from rfcalc.ops import Arg, Effect, family_of
from rfcalc.tracing.stored import stored_bytes
from rfcalc.tracing.tensors import place_of
from rfcalc.tracing.values import Value

Modules: TypeAlias = Sequence[tuple[str, nn.Module]]


def _dtypes(names: str) -> frozenset[torch.dtype]:
    """The types of these names that this release of torch has."""
    return frozenset(found for name in names.split() if (found := getattr(torch, name, None)) is not None)


#: What packed weights are kept in. Indices are int64, and masks bool.
_INTEGERS = _dtypes("uint8 int8 uint16 int16 uint32 int32 uint1 uint2 uint3 uint4 uint5 uint6 uint7 int4 int2 int1")
_SMALL_FLOATS = _dtypes("float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2")
_NARROW = _INTEGERS | _SMALL_FLOATS
#: Those in which one number is one element: a network's own.
_ONE_EACH = _dtypes("float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz")
#: Parts of the names that scales, zero points and tables have.
_COMPANIONS = ("scale", "zero", "absmax", "codebook", "lut", "quant")
#: How layers call the features that they take and give.
_FEATURES = (("in_features", "out_features"), ("infeatures", "outfeatures"), ("input_size", "output_size"))
_MOST_BITS = 16


@dataclass(frozen=True)
class Packing:
    """The tensors of a model in which weights may be packed: ``names`` of all that may be a part, by the tensors' id.

    ``main`` are the names of those that hold the weights themselves, each with the others of its module, ``homes``
    their modules; ``kept`` are the tensors by name. ``biases`` are buffers beside them that are parameters of the
    network, by id. ``doubtful`` are those of ``main`` of which only use can tell whether they are weights.
    """

    names: dict[int, str] = field(default_factory=dict)
    main: dict[str, tuple[str, ...]] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    kept: dict[str, torch.Tensor] = field(default_factory=dict)
    biases: dict[int, str] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    _places: dict[Any, str] = field(default_factory=dict)

    def name_of(self, tensor: torch.Tensor) -> str | None:
        """The name of a packed tensor, also where another object shows the same elements."""
        if not self.kept or id(tensor) in self.names or tensor.is_meta:
            return self.names.get(id(tensor))
        if not self._places:
            self._places.update({place_of(one): name for name, one in self.kept.items() if not one.is_meta})
        return self._places.get(place_of(tensor))

    def weights_in(self, names: tuple[str, ...], elements: int, op: str) -> tuple[str, ...]:
        """Of packed tensors that an operand with so many ``elements`` was computed from, those that are weights there.

        One that is in doubt is one where a kernel takes it as it is, where it was unpacked into more elements than it
        has numbers, or where others of its layer scaled it.
        """
        kernel = family_of(op) == "quantized" or op == "aten._int_mm"
        if kernel or len(names) > 1 or not self.doubtful.intersection(names):
            return names
        return names if self.kept[names[0]].numel() < elements else ()


class Stands(NamedTuple):
    """The shape of the weight that a packed tensor stands for, and the tensors that belong to it."""

    shape: tuple[int, ...]
    parts: tuple[str, ...]


def packing_of(modules: Modules) -> Packing:
    """The tensors of a model in which weights may be packed."""
    found = Packing()
    for prefix, module in modules:
        held = _held(module)
        main = [key for key, tensor in held.items() if _is_narrow(key, tensor, module)]
        if any(key in module._parameters for key in main):
            _add(found, prefix, module, held, main)
        elif main and not _has_own_weights(module, held, main):
            sure = _looks_packed(module, held)
            main = main if sure else [key for key in main if held[key].element_size() == 1]
            _add(found, prefix, module, held, main, sure)
    return found


def _add(
    found: Packing,
    prefix: str,
    module: nn.Module,
    held: Mapping[str, torch.Tensor],
    main: Sequence[str],
    sure: bool = True,
) -> None:
    if not main:
        return
    keys = [key for key in held if key in main or _may_be_part(key, module)]
    full = {key: f"{prefix}.{key}" if prefix else key for key in keys}
    for key in keys:
        found.names.setdefault(id(held[key]), full[key])
    found.kept.update({full[key]: held[key] for key in keys})
    for key in main:
        others = tuple(full[other] for other in keys if other != key)
        found.main[full[key]] = others
        found.homes[full[key]] = prefix
    if not sure:
        found.doubtful.update(full[key] for key in main)
        return
    bias = module._buffers.get("bias")
    if bias is not None and bias.is_floating_point():
        found.biases[id(bias)] = f"{prefix}.bias" if prefix else "bias"


def _held(module: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a module: parameters, buffers, plain attributes, and what its dicts hold."""
    own = (*module._parameters.items(), *module._buffers.items())
    found = {key: tensor for key, tensor in own if tensor is not None}
    for key, value in module.__dict__.items():
        if isinstance(value, torch.Tensor):
            found[key] = value
        elif type(value) is dict and not key.startswith("_"):
            found |= {f"{key}.{name}": item for name, item in value.items() if isinstance(item, torch.Tensor)}
    return found


def _is_narrow(key: str, tensor: torch.Tensor, module: nn.Module) -> bool:
    return tensor.dtype in _NARROW and tensor.ndim > 1 and (key in module._parameters or tensor.numel() > 1)


def _has_own_weights(module: nn.Module, held: Mapping[str, torch.Tensor], main: Sequence[str]) -> bool:
    """Whether a layer has weights in floating point: its integers are there for something else."""
    largest = max(held[key].numel() for key in main)
    return any(x is not None and x.is_floating_point() and x.numel() >= largest for x in module._parameters.values())


def _looks_packed(module: nn.Module, held: Mapping[str, torch.Tensor]) -> bool:
    """Whether integers that are no parameters are weights: scales are beside them, or the layer tells its features."""
    beside = any(word in key for key, tensor in held.items() for word in _COMPANIONS if tensor.is_floating_point())
    return beside or _features(module) is not None


def _may_be_part(key: str, module: nn.Module) -> bool:
    """Whether a tensor of a layer with packed weights may belong to them; a bias does not."""
    leaf = key.rpartition(".")[2]
    return (key not in module._parameters or _is_companion(leaf)) and leaf != "bias"


def _features(module: nn.Module) -> tuple[int, int] | None:
    for names in _FEATURES:
        found = [getattr(module, name, None) for name in names]
        if all(isinstance(item, int) and item > 0 for item in found):
            return found[1], found[0]  # type: ignore[return-value]
    return None


# --- what ops show ----------------------------------------------------------------------------------------------------

#: The families of ops that take weights; of the others, embeddings.
_FAMILIES = frozenset({"conv", "linear", "recurrent", "quantized", ""})
_EMBEDDINGS = frozenset({"aten.embedding", "torch.embedding", "aten.embedding_bag", "torch.embedding_bag"})
_KINDS = frozenset({"conv", "conv_transpose", "linear", "matmul", "recurrent", "embedding"})


def takes_weights(op: str) -> bool:
    """Whether an operand of the op may be a weight of the network; one of an op without a rule may be."""
    return op in _EMBEDDINGS or family_of(op) in _FAMILIES


def note_weight(packing: Packing, stands: dict[str, Stands], args: Sequence[tuple[Arg, Value]], effect: Effect) -> None:
    """Note what a packed tensor stands for, where an op took it, or what was unpacked from it, as a weight."""
    packed = [(arg, value.params) for arg, value in args if any(name in packing.main for name in value.params)]
    if not packed or effect.kind not in _KINDS:
        return
    arg, names = max(packed, key=lambda item: item[0].numel)
    name = max((name for name in names if name in packing.main), key=lambda name: _bits(packing.kept[name]))
    beside = [name for _, value in args for name in value.params if name in packing.kept]
    parts = tuple([other for other in dict.fromkeys((*names, *beside)) if other != name])
    stands.setdefault(name, Stands(effect.stands or arg.shape, parts))


# --- what they stand for ----------------------------------------------------------------------------------------------


def all_stands(modules: Modules, packing: Packing, shown: Mapping[str, Stands]) -> dict[str, Stands | None]:
    """What each packed tensor stands for, as the pass showed or its layer says; None where it is not known.

    What belongs to a weight is left out: scales beside it are a part of it, also those that a product is scaled by.
    """
    found: dict[str, Stands | None] = {name: _with_scales(packing, name, stands) for name, stands in shown.items()}
    taken = {part for stands in found.values() if stands is not None for part in stands.parts}
    by_name = dict(modules)
    for name in sorted(packing.main.keys() - packing.doubtful, key=lambda name: -_bits(packing.kept[name])):
        if name not in found and name not in taken:
            stands = _told(by_name.get(packing.homes[name]), packing, name)
            found[name] = stands
            taken |= set(stands.parts) if stands is not None else set()
    return {name: stands for name, stands in found.items() if stands is not None or name not in taken}


def _with_scales(packing: Packing, name: str, stands: Stands) -> Stands:
    scales = [other for other in packing.main[name] if other not in packing.main and _is_companion(other)]
    return Stands(stands.shape, tuple(dict.fromkeys((*stands.parts, *scales))))


def _is_companion(name: str) -> bool:
    return any(word in name.rpartition(".")[2] for word in _COMPANIONS)


def _told(module: nn.Module | None, packing: Packing, name: str) -> Stands | None:
    """What a packed tensor stands for that no product of the pass showed, None where it is not known."""
    tensor, scales = packing.kept[name], f"{name[:-6]}scales"
    if tensor.dtype in _ONE_EACH:
        return _with_scales(packing, name, Stands(tuple(tensor.shape), ()))
    if name.endswith("_blocks") and scales in packing.kept:
        return _of_blocks(tensor, scales)
    return _by_features(module, packing, name)


def _by_features(module: nn.Module | None, packing: Packing, name: str) -> Stands | None:
    """The weight of a layer that tells its features, where this is its largest tensor and its bits come out even."""
    shape, others = None if module is None else _features(module), packing.main[name]
    if shape is None or any(_bits(packing.kept[other]) > _bits(packing.kept[name]) for other in others):
        return None
    bits, rest = divmod(_bits(packing.kept[name]), shape[0] * shape[1])
    return Stands(shape, others) if not rest and 0 < bits <= _MOST_BITS else None


def _bits(tensor: torch.Tensor) -> int:
    return 8 * tensor.numel() * tensor.element_size()


def _of_blocks(tensor: torch.Tensor, scales: str) -> Stands:
    """Microscaling formats (OCP, 2023): blocks of 4-bit numbers, two a byte, with a shared scale for each block."""
    *lead, blocks, width = tensor.shape
    return Stands((*lead, blocks * width * 2), (scales,))


def bytes_of(packing: Packing, names: Sequence[str]) -> int:
    """What the tensors of these names take."""
    return sum(stored_bytes(packing.kept[name]) for name in dict.fromkeys(names))
