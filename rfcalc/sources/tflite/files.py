"""Reading a TFLite file: its description as records, and the numbers of those tensors that are asked for."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.reading import opened
from rfcalc.sources.files.opening import in_one_line
from rfcalc.sources.onnx.dtypes import TORCH, Numbers, nbytes

ELSE = "name the code that makes the model (file.py:attr), or save the Keras model that it was made from: model.keras"
_MARK = b"TFL3"
#: For each number type of TFLite's that torch has, ONNX's number of it.
_KINDS = {0: 1, 1: 10, 2: 6, 3: 2, 4: 7, 5: 8, 6: 9, 7: 5, 8: 14, 9: 3, 10: 11, 11: 15, 12: 13, 15: 12, 16: 4}
_KINDS |= {17: 22, 18: 16}
#: Types that hold no numbers: resources and variants.
NO_NUMBERS = 0
_CUSTOM = 32
_HUGE = 1 << 60
#: What the reader raises for offsets and texts that are not there.
_DAMAGED = (struct.error, IndexError, ValueError, TypeError, OverflowError, MemoryError, AttributeError)


@dataclass(frozen=True)
class Scale:
    """How whole numbers stand for others: (number - zero) scale, by slices of an axis where there are several."""

    scales: tuple[float, ...]
    zeros: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file. ``data_type`` is ONNX's number of its type; ``where`` are the bytes of a constant."""

    name: str
    dims: tuple[int, ...]
    data_type: int
    label: str = ""  #: its name in the file
    open: tuple[int, ...] = ()  #: axes whose extents are left open
    scale: Scale | None = None
    where: tuple[int, int] | None = None  #: offset and length in the file
    state: bool = False  #: kept from call to call, zeros before the first
    sparse: bool = False  #: the bytes are those of elements that are not zero


@dataclass(frozen=True)
class Operator:
    """One op: its type, the tensors that it reads and gives by their place in the subgraph (-1: left out), settings."""

    type: str
    reads: tuple[int, ...]
    gives: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subgraph:
    """The tensors and ops of one graph; those that it takes and gives, by place."""

    tensors: tuple[Tensor, ...]
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    operators: tuple[Operator, ...]


class File:
    """A TFLite file: ``subgraphs``, of which the first is the model, and the names of its inputs and outputs."""

    def __init__(self, path: Path, spec: str) -> None:
        self.path, self.spec = path, spec
        self.names: dict[int, str] = {}  #: of the model's inputs, by place, where the file has names for them
        self.subgraphs = self._read()

    def _read(self) -> tuple[Subgraph, ...]:
        try:
            with in_one_line(self.spec), opened(self.path) as file:
                size = file.seek(0, 2)
                if not size:
                    raise LoadError(self._no("the file is empty"))
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise LoadError(f"cannot read {self.spec}: {error}") from error
        if data[4:8] != _MARK:
            raise LoadError(self._no(f"it does not say {_MARK.decode()} after 4 bytes"))
        try:
            decoder = _Decoder(data, size)
            found = decoder.subgraphs()
            self.names = decoder.input_names()
        except LoadError:
            raise
        except _DAMAGED as error:
            raise LoadError(f"{self.spec} is damaged: what it points to is not there; copy or save it again") from error
        except DamagedError as error:
            raise LoadError(f"{self.spec} is damaged: {error}; copy or save it again") from error
        if not found or not found[0].operators:
            raise LoadError(self._no("there is no op in it"))
        return found

    def _no(self, why: str) -> str:
        return f"{self.spec} is no TFLite model: {why}; save it again, or {ELSE}"

    def numbers(self, tensor: Tensor) -> Numbers | None:
        """The numbers of a constant, or of a state before the first call; None for those in another form."""
        wanted = nbytes(tensor.data_type, prod(tensor.dims))
        if tensor.where is None:
            return Numbers(tensor.data_type, tensor.dims, bytes(wanted)) if tensor.state else None
        if tensor.sparse:
            return None
        offset, length = tensor.where
        with opened(self.path) as file:
            file.seek(offset)
            return Numbers(tensor.data_type, tensor.dims, file.read(length))

    def is_initializer(self, name: str) -> bool:
        """Whether the tensor lies beside the ops: all do."""
        return True

    def place(self, tensor: Tensor) -> str:
        """The name of another file with the numbers: there is none."""
        return ""


class DamagedError(Exception):
    """The file holds what no model can hold."""


class _Decoder:
    """From the reader's views of the bytes to records."""

    def __init__(self, data: Any, size: int) -> None:
        import tflite

        self._reader: Any = tflite
        self._size = size
        self._model = tflite.Model.GetRootAsModel(data, 0)
        self._codes = [self._code(self._model.OperatorCodes(at)) for at in self._count("OperatorCodes")]
        self._options = {n: name for name, n in vars(tflite.BuiltinOptions).items() if isinstance(n, int) and n}
        self._options2 = {n: name for name, n in vars(tflite.BuiltinOptions2).items() if isinstance(n, int) and n}

    def _count(self, name: str, owner: Any = None) -> range:
        """The places of a vector; each entry takes four bytes at least."""
        count = int(getattr(owner or self._model, f"{name}Length")())
        if not 0 <= count <= self._size // 4:
            raise DamagedError(f"it says that it has {count:,} {name}, which do not fit into it")
        return range(count)

    def _ints(self, owner: Any, name: str) -> tuple[int, ...]:
        self._count(name, owner)
        held = getattr(owner, f"{name}AsNumpy")()
        return () if isinstance(held, int) else tuple(int(number) for number in held)

    def _code(self, code: Any) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number == _CUSTOM:
            return (code.CustomCode() or b"").decode("utf-8", "replace") or "CUSTOM"
        return str(self._reader.BUILTIN_OPCODE2NAME.get(number, f"op {number}"))

    def subgraphs(self) -> tuple[Subgraph, ...]:
        """All graphs of the file."""
        return tuple(self._subgraph(self._model.Subgraphs(at)) for at in self._count("Subgraphs"))

    def _subgraph(self, graph: Any) -> Subgraph:
        operators = [graph.Operators(at) for at in self._count("Operators", graph)]
        takes, gives = self._ints(graph, "Inputs"), self._ints(graph, "Outputs")
        made = {at for op in operators for at in self._ints(op, "Outputs")} | set(takes)
        labels: dict[str, int] = {}
        tensors = []
        for at in self._count("Tensors", graph):
            tensors.append(self._tensor(graph.Tensors(at), at in made, labels))
        found = [self._operator(op, len(tensors)) for op in operators]
        if any(not 0 <= at < len(tensors) for at in (*takes, *gives)):
            raise DamagedError("it takes or gives a tensor that is not in it")
        return Subgraph(tuple(tensors), takes, gives, tuple(found))

    def _tensor(self, held: Any, made: bool, labels: dict[str, int]) -> Tensor:
        label = (held.Name() or b"").decode("utf-8", "replace")
        number = labels[label] = labels.get(label, 0) + 1
        name = f"{label or 'tensor'}\0{number}" if number > 1 or not label else label
        dims, signature = self._ints(held, "Shape"), self._ints(held, "ShapeSignature")
        if any(extent < 0 for extent in dims) or prod(extent or 1 for extent in dims) >= _HUGE:
            raise DamagedError(f"tensor {label!r} has the shape {'x'.join(map(str, dims))}")
        kind = _KINDS.get(held.Type(), NO_NUMBERS)
        where = None if made else self._bytes(held.Buffer())
        if where is None and not made and not prod(dims):
            where = 0, 0
        sparse = held.Sparsity() is not None
        wanted = nbytes(kind, prod(dims)) if kind in TORCH and where is not None and not sparse else None
        if where is not None and wanted is not None and where[1] != wanted:
            shape = "x".join(map(str, dims)) or "one number"
            raise DamagedError(f"tensor {label!r} of shape {shape} needs {wanted:,} bytes, it has {where[1]:,}")
        return Tensor(
            name,
            dims,
            kind,
            label,
            tuple(at for at, extent in enumerate(signature) if extent < 0) if len(signature) == len(dims) else (),
            self._scale(held.Quantization(), dims),
            where,
            bool(held.IsVariable()) and where is None,
            sparse,
        )

    def _bytes(self, at: int) -> tuple[int, int] | None:
        """Where the bytes of a buffer lie, None for an empty one."""
        if not 0 <= at < self._model.BuffersLength():
            raise DamagedError(f"there is no buffer {at} in it")
        buffer = self._model.Buffers(at)
        offset, length = int(buffer.Offset()), int(buffer.Size())
        if length <= 0:  # those of more than 2 GB have them after the description
            length = int(buffer.DataLength())
            offset = buffer._tab.Vector(buffer._tab.Offset(4)) if length else 0
        if not 0 <= offset <= offset + length <= self._size:
            raise DamagedError("the file is cut short")
        return (offset, length) if length else None

    def _scale(self, held: Any, dims: tuple[int, ...]) -> Scale | None:
        if held is None or not held.ScaleLength():
            return None
        count = held.ScaleLength()
        axis = int(held.QuantizedDimension()) if count > 1 else 0
        if count > 1 and not (0 <= axis < len(dims) and dims[axis] == count):
            raise DamagedError(f"a tensor of {'x'.join(map(str, dims))} has {count} scales along axis {axis}")
        scales = tuple(float(number) for number in held.ScaleAsNumpy())
        zeros = self._ints(held, "ZeroPoint")
        return Scale(scales, zeros if len(zeros) == count else (zeros or (0,))[:1] * count, axis)

    def _operator(self, op: Any, count: int) -> Operator:
        at = op.OpcodeIndex()
        if not 0 <= at < len(self._codes):
            raise DamagedError(f"an op is of type {at}, of {len(self._codes)} in it")
        reads, gives = self._ints(op, "Inputs"), self._ints(op, "Outputs")
        if any(not -1 <= place < count for place in (*reads, *gives)):
            raise DamagedError(f"an op {self._codes[at]} reads or gives a tensor that is not in it")
        return Operator(self._codes[at], reads, gives, self._settings(op))

    def _settings(self, op: Any) -> Mapping[str, Any]:
        for options, names, kind in (
            (op.BuiltinOptions(), self._options, op.BuiltinOptionsType()),
            (op.BuiltinOptions2(), self._options2, op.BuiltinOptions2Type()),
        ):
            named: Any = getattr(self._reader, names.get(kind, ""), None)
            if options is not None and named is not None:
                view = named()
                view.Init(options.Bytes, options.Pos)
                return self._fields(view)
        if op.CustomOptionsLength():
            held = self._count("CustomOptions", op) and op.CustomOptionsAsNumpy()
            return {"custom": bytes(held)}
        return {}

    def _fields(self, view: Any) -> dict[str, Any]:
        """All that a record of settings says, by the names of its fields."""
        found: dict[str, Any] = {}
        names = {name for name in dir(type(view)) if name[0].isupper()}
        for name in sorted(names):
            if name == "Init" or "GetRootAs" in name or "HasIdentifier" in name:
                continue
            if f"{name}AsNumpy" in names:
                found[name] = list(self._ints(view, name))
            elif (
                not any(name.endswith(end) for end in ("AsNumpy", "Length", "IsNone")) and f"{name}Length" not in names
            ):
                read: Callable[[], Any] = getattr(view, name)
                value = read()
                if isinstance(value, int | float | bytes | bool):
                    found[name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return found

    def input_names(self) -> dict[int, str]:
        """What the signature of the model calls its inputs, by their places."""
        if not self._model.SignatureDefsLength():
            return {}
        signature = self._model.SignatureDefs(0)
        found = {}
        for at in self._count("Inputs", signature):
            named = signature.Inputs(at)
            found[int(named.TensorIndex())] = (named.Name() or b"").decode("utf-8", "replace")
        return found if signature.SubgraphIndex() == 0 else {}
