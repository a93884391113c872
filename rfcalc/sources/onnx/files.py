"""Reading an ONNX file: its description, and the numbers of those tensors that are asked for."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from rfcalc.errors import LoadError
from rfcalc.reading import opened
from rfcalc.sources.files.opening import in_one_line
from rfcalc.sources.onnx.dtypes import PACKED, STRING, TORCH, Numbers, nbytes
from rfcalc.sources.onnx.wire import HERE, DamagedError, without_numbers
from rfcalc.sources.onnx.written import Written

ELSE = "name the code that makes the model (file.py:attr), or export it with torch.export"
#: Constants of more elements are not read.
LARGEST = 1 << 22


class File:
    """An ONNX file. ``model`` is what it describes, the numbers of large tensors left out."""

    def __init__(self, path: Path, spec: str) -> None:
        self.path, self.spec = path, spec
        self.model = self._read()

    def _read(self) -> Any:
        import onnx

        try:
            with in_one_line(self.spec), opened(self.path) as file:
                if not file.seek(0, 2):
                    raise LoadError(self._no("the file is empty"))
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    text = without_numbers(data)
        except DamagedError as error:
            raise LoadError(self._no(str(error))) from error
        except ValueError as error:
            raise LoadError(f"cannot read {self.spec}: {error}") from error
        model = onnx.ModelProto()
        try:
            model.ParseFromString(text)
        except Exception as error:  # of protobuf's, in whichever version
            raise LoadError(self._no("it is no protocol buffer, or cut short")) from error
        if not model.graph.node:
            raise LoadError(self._no("there is no node in it"))
        return model

    def _no(self, why: str) -> str:
        return f"{self.spec} is no ONNX model: {why}; save it again, or {ELSE}"

    def is_initializer(self, name: str) -> bool:
        """Whether the file has the tensor beside its nodes, where weights are, and not in one of them."""
        return any(tensor.name == name for tensor in self.model.graph.initializer)

    def numbers(self, tensor: Any) -> Numbers | None:
        """The numbers of a tensor; None for those in another file that is not there.

        Raises `LoadError` for a tensor of texts, or of fewer numbers than its shape says.
        """
        shape = shape_of(tensor, self.spec)
        if isinstance(tensor, Written):
            return tensor.make()
        raw = self._raw(tensor)
        if raw is None:
            return None
        wanted = nbytes(tensor.data_type, prod(shape))
        if len(raw) != wanted:
            raise LoadError(
                f"{self.spec} is damaged: tensor {tensor.name!r} of shape {'x'.join(map(str, shape)) or 'one number'}"
                f" needs {wanted:,} bytes, it has {len(raw):,}"
            )
        return Numbers(tensor.data_type, shape, raw)

    def _raw(self, tensor: Any) -> bytes | None:
        if tensor.data_location == 1:
            where = {entry.key: entry.value for entry in tensor.external_data}
            if not where.get("location"):
                raise LoadError(f"{self.spec} is damaged: it does not say in which file tensor {tensor.name!r} is")
            return self._from_file(where)
        if tensor.HasField("raw_data"):
            return bytes(tensor.raw_data)
        kind = tensor.data_type
        if kind in PACKED:
            return np.array(tensor.int32_data, dtype=np.int64).astype(np.uint8).tobytes()
        size = TORCH[kind].itemsize
        if tensor.float_data:
            return np.array(tensor.float_data, dtype=np.float32).tobytes()
        if tensor.double_data:
            return np.array(tensor.double_data, dtype=np.float64).tobytes()
        if tensor.int64_data:
            return np.array(tensor.int64_data, dtype=np.int64).tobytes()
        if tensor.uint64_data:
            return np.array(tensor.uint64_data, dtype=np.uint64).astype(f"u{size}").tobytes()
        return np.array(tensor.int32_data, dtype=np.int64).astype(f"i{size}").tobytes()

    def _from_file(self, where: Mapping[str, str]) -> bytes | None:
        name = where["location"]
        path = self.path if name == HERE else self.path.parent / name
        home = self.path.parent.resolve()
        if name != HERE and home not in path.resolve().parents:
            raise LoadError(f"{self.spec} is refused: it keeps numbers outside of its folder, in {name!r}")
        try:
            offset = int(where.get("offset") or 0)
            with opened(path) as file:
                file.seek(offset)
                return file.read(int(where["length"])) if where.get("length") else file.read(LARGEST << 3)
        except (OSError, ValueError):
            return None

    def place(self, tensor: Any) -> str:
        """The name of the other file in which a tensor's numbers are."""
        return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def shape_of(tensor: Any, spec: str) -> tuple[int, ...]:
    """The shape of a tensor of the file. Raises `LoadError` for one that no tensor can have, and for texts."""
    shape = tuple(tensor.dims)
    if tensor.data_type == STRING:
        raise LoadError(f"{spec}: tensor {tensor.name!r} holds texts, which are not followed")
    if tensor.data_type not in TORCH:
        raise LoadError(f"{spec}: tensor {tensor.name!r} holds numbers of type {tensor.data_type}, which torch has not")
    if any(extent < 0 for extent in shape) or prod(extent or 1 for extent in shape) >= 1 << 60:
        raise LoadError(f"{spec} is damaged: tensor {tensor.name!r} has the shape {'x'.join(map(str, shape))}")
    return shape
