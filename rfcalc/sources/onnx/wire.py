"""The description in an ONNX file without the numbers of its weights, which are left where they lie.

A file is a protocol buffer: nested messages of numbered fields. What is large in it are the ``raw_data`` of tensors.
Each of those is replaced by a note of where it lies, written as ONNX writes data that is kept in another file. What is
left is small, and is read by onnx's own parser.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import TypeAlias

#: A message or a part of it that is smaller is copied as it is.
SMALL = 1 << 14
#: Where a tensor's data is noted to lie in the file itself. No file can be called so.
HERE = "\0"

#: The messages inside messages on the way to tensors: kind, field, kind inside.
_INSIDE = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
#: Fields of a tensor whose bytes are those of the numbers in order: float_data, raw_data, double_data.
_DATA = frozenset({4, 9, 10})
_DEPTH = 60

#: The file's bytes.
Bytes: TypeAlias = "bytes | mmap.mmap"


class DamagedError(ValueError):
    """The bytes are no protocol buffer."""


def without_numbers(data: Bytes) -> bytes:
    """The model in these bytes, the numbers of its large tensors replaced by where they lie."""
    found = _message(data, 0, len(data), "model", 0)
    return found if found is not None else data[:]


def _message(data: Bytes, start: int, end: int, kind: str, depth: int) -> bytes | None:
    """A message anew, None for one in which nothing is to be replaced."""
    if depth > _DEPTH:
        raise DamagedError("it is nested too deeply")
    inside = _INSIDE[kind]
    parts: list[bytes] = []
    kept = start  #: where what is not copied yet begins
    for field, first, begin, stop in _fields(data, start, end):
        if stop - begin < SMALL:
            continue
        if kind == "tensor" and field in _DATA:
            made: bytes | None = _note(begin, stop - begin)
        elif field in inside:
            new = _message(data, begin, stop, inside[field], depth + 1)
            made = None if new is None else _number(field << 3 | 2) + _number(len(new)) + new
        else:
            made = None
        if made is not None:
            parts += [data[kept:first], made]
            kept = stop
    if not parts:
        return None
    return b"".join([*parts, data[kept:end]])


def _fields(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message that have a length: number, where they begin, where their content does, where it ends."""
    at = start
    while at < end:
        first = at
        tag, at = _varint(data, at, end)
        field, how = tag >> 3, tag & 7
        if how == 0:
            _, at = _varint(data, at, end)
        elif how == 1:
            at += 8
        elif how == 5:
            at += 4
        elif how == 2:
            length, at = _varint(data, at, end)
            if length > end - at:
                raise DamagedError("it is cut short")
            yield field, first, at, at + length
            at += length
        else:
            raise DamagedError("it is no protocol buffer")
        if not field:
            raise DamagedError("it is no protocol buffer")
    if at != end:
        raise DamagedError("it is cut short")


def _varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= end:
            raise DamagedError("it is cut short")
        if shift > 63:
            raise DamagedError("it is no protocol buffer")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _text(field: int, text: bytes) -> bytes:
    return _number(field << 3 | 2) + _number(len(text)) + text


def _note(offset: int, length: int) -> bytes:
    """``external_data`` and ``data_location`` of a tensor whose data lies there."""
    rows = (("location", HERE), ("offset", str(offset)), ("length", str(length)))
    return b"".join(_text(13, _text(1, key.encode()) + _text(2, value.encode())) for key, value in rows) + b"\x70\x01"
