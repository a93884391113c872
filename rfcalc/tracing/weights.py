"""What a model holds: its parameters, the weights packed in objects of torch's kernels, its buffers.

A parameter stands for as many elements as the network has, whatever it is stored in: a quantised layer has the weight
and bias of the layer that it was made from. What it takes in bytes is told beside that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from rfcalc.graph import ELEMENT_BYTES, Node, Param
from rfcalc.tracing.making import make_param
from rfcalc.tracing.packed import PackedObject
from rfcalc.tracing.recorder import Recorder
from rfcalc.tracing.standing import all_stands, bytes_of
from rfcalc.tracing.stored import is_stored_plainly, stored_bytes

Modules: TypeAlias = Sequence[tuple[str, nn.Module]]

#: A size of torch's as a plain tuple; equal ones are one object.
_plain = lru_cache(4096)(tuple)


class Weight(NamedTuple):
    """One parameter as the network has it. ``place`` tells which storage it is: those that share one are equal in it.

    ``nbytes`` is None where it takes what elements of its dtype take. ``unknown`` says why ``shape`` is only that of
    what is stored, "" where it is the network's.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool
    dtype: str
    nbytes: int | None
    place: Any
    unknown: str = ""


class Holdings:
    """What the modules of a model hold, as a pass over it showed: ``weights`` at each of their places, ``buffers``.

    A tensor that belongs to a packed weight (scales, zero points) is a part of that, and no weight or buffer.
    """

    def __init__(self, modules: Modules, recorder: Recorder) -> None:
        self._modules, self._packing = modules, recorder.packing
        self._stands = all_stands(modules, recorder.packing, recorder.stands)
        self._parts = {part for stands in self._stands.values() if stands for part in stands.parts}
        self._objects: dict[str, list[Weight]] = {}
        for one in recorder.packed.objects:
            self._objects.setdefault(one.module, []).extend(_of_object(one, one.name in recorder.packed.opaque))
        self.weights = [weight for prefix, module in modules for weight in self._of(prefix, module)]
        self.weights += [_weight(name, tensor) for name, tensor in recorder.frozen.items()]
        self.buffers = self._buffers()

    def _of(self, prefix: str, module: nn.Module) -> Iterator[Weight]:
        for key, tensor in module._parameters.items():
            name = f"{prefix}.{key}" if prefix else key
            if tensor is not None and name not in self._parts:
                yield self._packed(name, tensor) if name in self._packing.main else _weight(name, tensor)
        yield from self._objects.get(prefix, ())
        if self._packing.main:
            for name, held in self._beside(prefix, module):
                yield self._packed(name, held)

    def _beside(self, prefix: str, module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        """The weights of a module that are no parameters: packed ones, and a bias beside them."""
        own = [key for key, home in self._packing.homes.items() if home == prefix]
        for name in own:
            if name in self._stands and name.rpartition(".")[2] not in module._parameters:
                yield name, self._packing.kept[name]
        bias = module._buffers.get("bias")
        if own and bias is not None and id(bias) in self._packing.biases:
            yield self._packing.biases[id(bias)], bias

    def _packed(self, name: str, tensor: torch.Tensor) -> Weight:
        stands = self._stands.get(name)
        dtype, place = dtype_name(tensor.dtype), (storage_of(tensor), name)
        if stands is None:
            why = f"how many elements its {dtype} numbers stand for is not known" if name in self._stands else ""
            return Weight(name, _plain(tensor.shape), False, dtype, stored_bytes(tensor), place, why)
        size = bytes_of(self._packing, (name, *stands.parts))
        return Weight(name, stands.shape, tensor.requires_grad, dtype, size, place)

    def _buffers(self) -> list[Param]:
        seen: set[int] = set()
        rows = []
        taken = {*self._parts, *(weight.name for weight in self.weights)}
        for prefix, module in self._modules:
            for key, tensor in module._buffers.items():
                name = f"{prefix}.{key}" if prefix else key
                if tensor is not None and id(tensor) not in seen and name not in taken:
                    seen.add(id(tensor))
                    rows.append(make_param(name, _plain(tensor.shape), tensor.numel(), False, "", None, "", None, ""))
        return rows


def _of_object(one: PackedObject, opaque: bool) -> list[Weight]:
    """The weights in an object; of one that an op took and torch does not tell of, that."""
    if opaque:
        return [Weight(one.name, (0,), False, "", 0, one.name, f"torch does not tell what a {one.kind} holds")]
    return [Weight(part.name, part.shape, False, part.dtype, part.nbytes, part.name) for part in one.parts.values()]


def _weight(name: str, tensor: torch.Tensor) -> Weight:
    dtype, shape = dtype_name(tensor.dtype), _plain(tensor.shape)
    known = is_stored_plainly(tensor) and dtype in ELEMENT_BYTES
    nbytes = None if known else stored_bytes(tensor)
    return Weight(name, shape, tensor.requires_grad, dtype, nbytes, (storage_of(tensor), shape))


def params_of(weights: Iterable[Weight], nodes: Sequence[Node]) -> list[Param]:
    """The weights as the graph has them: which share a storage, and which node is the first to use each."""
    first_use: dict[str, int] = {}
    for record in nodes:
        for name in record.params:
            first_use.setdefault(name, record.id)
    rows: list[Param] = []
    first_name: dict[Any, str] = {}
    for weight in weights:
        shared = first_name.setdefault(weight.place, weight.name)
        other = shared if shared != weight.name else ""
        used, size = first_use.get(shared), prod(weight.shape)
        name, shape, trainable, dtype, nbytes, _, unknown = weight
        rows.append(make_param(name, shape, size, trainable, other, used, dtype, nbytes, unknown))
    return rows


@lru_cache(256)
def dtype_name(dtype: torch.dtype) -> str:
    """The name of a type without torch's prefix."""
    return str(dtype).removeprefix("torch.")


def storage_of(tensor: torch.Tensor) -> Any:
    """Which storage, and where in it; the tensor itself where it has none of its own."""
    try:
        return tensor.untyped_storage()._cdata, tensor.storage_offset()
    except (RuntimeError, NotImplementedError):
        return id(tensor)
