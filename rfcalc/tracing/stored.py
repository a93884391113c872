"""Tensors as they are stored: how many bytes quantised ones take with their scales, packed ones with all parts."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

#: Bits of an element where several share a byte, by name: not every release of torch has all of them.
_BITS = {"quint4x2": 4, "quint2x4": 2}
_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})


def stored_bytes(tensor: torch.Tensor) -> int:
    """The bytes that a tensor's elements take, and what belongs to them: scales and zero points of each channel.

    A tensor that is made of others (a subclass with ``__tensor_flatten__``, as torchao's) takes what they take.
    """
    inner = inner_tensors(tensor)
    if inner:
        return sum(map(stored_bytes, inner))
    if not tensor.is_quantized:
        beside = sum(other.numel() * other.element_size() for other in _beside(tensor))
        return tensor.numel() * tensor.element_size() + beside
    bits = _BITS.get(str(tensor.dtype).removeprefix("torch."), 8 * tensor.element_size())
    rows = prod(tensor.shape[:-1])
    per_row = -(-(tensor.shape[-1] if tensor.ndim else 1) * bits // 8)  # a row begins with a byte of its own
    return rows * per_row + sum(extra.numel() * extra.element_size() for extra in _scales(tensor))


def inner_tensors(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors that one of a subclass is made of; none of an ordinary one.

    A distributed tensor names the mesh of its processes beside them, which holds no numbers.
    """
    if type(tensor) in _PLAIN and not hasattr(tensor, "__tensor_flatten__"):
        return []
    flatten: Any = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        return []
    names, _ = flatten()
    return [inner for name in names if isinstance(inner := getattr(tensor, name), torch.Tensor)]


def _beside(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors that one of a subclass carries as attributes, or in objects among them: its scales."""
    if type(tensor) in _PLAIN:
        return []
    found: dict[int, torch.Tensor] = {}
    ahead, seen = [vars(tensor)], {id(tensor)}
    while ahead:
        for value in ahead.pop().values():
            if isinstance(value, torch.Tensor):
                if value.numel() and value.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr():
                    found[id(value)] = value
            elif id(value) not in seen and type(value).__module__ != "builtins" and hasattr(value, "__dict__"):
                seen.add(id(value))
                ahead += [vars(value)] if not isinstance(value, type | torch.nn.Module) else []
    return list(found.values())


def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU, with memory of its own; what packs weights need not know ``to`` with ``copy``."""
    held = tensor.detach()
    return held.clone() if held.device.type == "cpu" else held.to("cpu")


def dressed(twin: torch.nn.Parameter, tensor: torch.Tensor) -> torch.nn.Parameter:
    """A stand-in for a parameter as one of the same class, with the same attributes: layers ask theirs for them.

    Of a subclass that is made of other tensors the stand-in is an ordinary parameter.
    """
    kind: Any = type(tensor)
    if kind not in _PLAIN and isinstance(tensor, torch.nn.Parameter) and not hasattr(kind, "__tensor_flatten__"):
        try:
            twin.__class__ = kind
        except TypeError:
            return twin
        twin.__dict__.update(tensor.__dict__)
    return twin


def is_stored_plainly(tensor: torch.Tensor) -> bool:
    """Whether a tensor takes as many bytes as elements of its dtype do."""
    return type(tensor) in _PLAIN and not tensor.is_quantized


def _scales(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The scales and zero points of each channel; those of a tensor as a whole are two plain numbers."""
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return []
    return [tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()]
