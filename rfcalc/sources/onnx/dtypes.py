"""The number types of ONNX as torch has them, and tensors made of the bytes of a file."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

#: Types of torch's by the numbers of ONNX's. Numbers of 2 and 4 bits take a byte each here.
TORCH: dict[int, torch.dtype] = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    12: torch.uint32,
    13: torch.uint64,
    14: torch.complex64,
    15: torch.complex128,
    16: torch.bfloat16,
    17: torch.float8_e4m3fn,
    18: torch.float8_e4m3fnuz,
    19: torch.float8_e5m2,
    20: torch.float8_e5m2fnuz,
    21: torch.uint8,
    22: torch.int8,
}
#: Bits of the types that are packed, several to a byte, and whether they have a sign.
PACKED = {21: (4, False), 22: (4, True)}
STRING = 8
#: Unsigned types on which torch has little arithmetic; it is done on int64.
NARROW = frozenset({torch.uint16, torch.uint32, torch.uint64})


@dataclass(frozen=True)
class Numbers:
    """The numbers of a tensor of the file, as bytes: nothing of torch's is held."""

    kind: int
    shape: tuple[int, ...]
    raw: bytes

    def tensor(self) -> torch.Tensor:
        """A new tensor on the CPU."""
        dtype = TORCH[self.kind]
        if self.kind in PACKED:
            return _unpacked(self.raw, prod(self.shape), *PACKED[self.kind]).to(dtype).reshape(self.shape)
        if not self.raw:
            return torch.empty(self.shape, dtype=dtype)
        return torch.frombuffer(bytearray(self.raw), dtype=dtype).reshape(self.shape)


def _unpacked(raw: bytes, count: int, bits: int, signed: bool) -> torch.Tensor:
    held = torch.frombuffer(bytearray(raw), dtype=torch.uint8).to(torch.int16) if raw else torch.empty(0).short()
    parts = torch.stack([(held >> shift) % (1 << bits) for shift in range(0, 8, bits)], 1).flatten()[:count]
    return torch.where(parts >= 1 << (bits - 1), parts - (1 << bits), parts) if signed else parts


def nbytes(kind: int, count: int) -> int:
    """The bytes that so many numbers take in a file."""
    bits = PACKED[kind][0] if kind in PACKED else 8 * TORCH[kind].itemsize
    return -(-bits * count // 8)


def is_float(kind: int) -> bool:
    """Whether numbers of this type have a fraction."""
    return kind in TORCH and (TORCH[kind].is_floating_point or TORCH[kind].is_complex)
