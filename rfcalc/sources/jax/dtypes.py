"""The number types of JAX as torch has them, and arrays as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rfcalc.errors import LoadError
from rfcalc.sources.jax.rules import Shaped

_TORCH: dict[str, torch.dtype] = {
    "bool": torch.bool,
    "int2": torch.int8,
    "int4": torch.int8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint2": torch.uint8,
    "uint4": torch.uint8,
    "uint8": torch.uint8,
    "uint16": torch.int32,
    "uint32": torch.int64,
    "uint64": torch.int64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e4m3fnuz": torch.float8_e4m3fnuz,
    "float8_e5m2": torch.float8_e5m2,
    "float8_e5m2fnuz": torch.float8_e5m2fnuz,
    "complex64": torch.complex64,
    "complex128": torch.complex128,
}
#: Bits of whole numbers without sign that lie in a wider type.
_WIDENED = {"uint16": 16, "uint32": 32}


def is_key(dtype: Any) -> bool:
    """Whether it is the type of keys of random numbers."""
    return str(dtype).startswith("key<")


def torch_of(dtype: Any) -> torch.dtype:
    """torch's type for one of JAX's. Raises `LoadError` for one that torch has nothing for."""
    name = "int64" if is_key(dtype) else "bool" if str(dtype) == "float0" else str(np.dtype(dtype))
    if name == "[('float0', 'V')]":
        name = "bool"
    if name not in _TORCH:
        raise LoadError(f"the number type {name} of JAX has no like in torch")
    return _TORCH[name]


def unsigned_bits(dtype: Any) -> int:
    """Bits of a type without sign that lies in a wider one here; 0 for any other."""
    return 0 if is_key(dtype) else _WIDENED.get(str(dtype), 0)


def jax_name(dtype: torch.dtype) -> str:
    """What JAX calls a type of torch's."""
    return str(dtype).removeprefix("torch.")


def shaped(aval: Any) -> Shaped:
    """What a value of a program is."""
    return Shaped(tuple(int(extent) for extent in aval.shape), torch_of(aval.dtype))


def on_meta(array: Any) -> torch.Tensor:
    """A tensor like the array, without storage."""
    return torch.empty(tuple(array.shape), dtype=torch_of(array.dtype), device="meta")


def tensor_of(array: Any) -> torch.Tensor:
    """A new tensor with the array's numbers, on the CPU."""
    held = np.asarray(array)
    dtype = torch_of(held.dtype)
    if held.dtype.kind == "V" or str(held.dtype) == "bfloat16" or str(held.dtype).startswith("float8"):
        bits = {1: np.uint8, 2: np.int16}[held.dtype.itemsize]
        return torch.from_numpy(held.view(bits).copy()).view(dtype)
    if str(held.dtype) in ("uint16", "uint32", "uint64", "int2", "int4", "uint2", "uint4"):
        held = held.astype(jax_name(dtype))
    return torch.from_numpy(np.array(held, copy=True, order="C")).to(dtype)


def same_array(one: Any, other: Any) -> bool:
    """Whether two arrays are one, or equal."""
    if one is other:
        return True
    if tuple(one.shape) != tuple(other.shape) or str(one.dtype) != str(other.dtype) or is_key(one.dtype):
        return False
    return type(one) is not type(other) and bool(np.array_equal(np.asarray(one), np.asarray(other)))


def array_of(tensor: torch.Tensor, dtype: Any) -> Any:
    """A new array of JAX's with the tensor's numbers."""
    import jax

    held = tensor.detach().cpu()
    held = held.float() if held.is_floating_point() and held.dtype.itemsize < 4 else held
    return jax.numpy.asarray(np.array(held.numpy(), copy=True), dtype=dtype)


def own_key(value: Any) -> Any:
    """A key, or a counter: what is there, or one made where there is only a struct."""
    import jax

    if not isinstance(value, jax.ShapeDtypeStruct):
        return value
    if is_key(value.dtype):
        keys = jax.random.split(jax.random.key(0), max(1, int(np.prod(value.shape))))
        return keys[0] if not value.shape else keys.reshape(value.shape)
    return jax.numpy.zeros(value.shape, value.dtype)
