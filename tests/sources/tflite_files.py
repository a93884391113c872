"""Small TFLite files, written by the builders that the reader has."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

flatbuffers: Any = pytest.importorskip("flatbuffers")
tflite: Any = pytest.importorskip("tflite")

_TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}


@dataclass(frozen=True)
class Tensor:
    """A tensor: its name, shape or numbers, and what its whole numbers stand for."""

    name: str
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    data: np.ndarray | None = None
    scale: tuple[float, ...] = ()
    zero: tuple[int, ...] = ()
    axis: int = 0
    signature: tuple[int, ...] = ()
    state: bool = False
    kind: int | None = None  #: another type by its number


@dataclass(frozen=True)
class Node:
    """An op: its type, the names of what it reads and gives, the class of its settings, and those by field."""

    type: str
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    options: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    custom: bytes = b""


@dataclass(frozen=True)
class Graph:
    """A graph: tensors, nodes, and the names of what it takes and gives."""

    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    takes: tuple[str, ...]
    gives: tuple[str, ...]


def const(name: str, data: Any, dtype: str = "float32", **rest: Any) -> Tensor:
    """A tensor with numbers."""
    array = np.asarray(data, dtype=dtype)
    return Tensor(name, array.shape, dtype, array, **rest)


def saved(path: Path, *graphs: Graph, inputs: dict[str, int] | None = None) -> str:
    """The name of a file with these graphs; ``inputs`` are names of the first one's inputs, by place."""
    builder = flatbuffers.Builder(1024)
    codes: list[str] = []
    buffers: list[bytes | None] = [None]
    made = [_graph(builder, graph, codes, buffers) for graph in graphs]
    made_codes = [_code(builder, name) for name in codes]
    made_buffers = [_buffer(builder, data) for data in buffers]
    signatures = [_signature(builder, inputs)] if inputs else []
    parts = {"OperatorCodes": made_codes, "Subgraphs": made, "Buffers": made_buffers, "SignatureDefs": signatures}
    vectors = {name: _vector(builder, f"ModelStart{name}Vector", held) for name, held in parts.items() if held}
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    for name, vector in vectors.items():
        getattr(tflite, f"ModelAdd{name}")(builder, vector)
    builder.Finish(tflite.ModelEnd(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return str(path)


def _vector(builder: Any, start: str, held: list[int]) -> int:
    getattr(tflite, start)(builder, len(held))
    for item in reversed(held):
        builder.PrependUOffsetTRelative(item)
    return int(builder.EndVector())


def _numbers(builder: Any, held: Any, dtype: str = "int32") -> int:
    return int(builder.CreateNumpyVector(np.asarray(held, dtype=dtype)))


def _code(builder: Any, name: str) -> int:
    number = {known: code for code, known in tflite.BUILTIN_OPCODE2NAME.items()}.get(name, 32)
    text = builder.CreateString(name) if number == 32 else None
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(number, 127))
    tflite.OperatorCodeAddBuiltinCode(builder, number)
    if text is not None:
        tflite.OperatorCodeAddCustomCode(builder, text)
    return int(tflite.OperatorCodeEnd(builder))


def _buffer(builder: Any, data: bytes | None) -> int:
    held = None if data is None else builder.CreateByteVector(data)
    tflite.BufferStart(builder)
    if held is not None:
        tflite.BufferAddData(builder, held)
    return int(tflite.BufferEnd(builder))


def _signature(builder: Any, inputs: dict[str, int]) -> int:
    maps = []
    for name, place in inputs.items():
        text = builder.CreateString(name)
        tflite.TensorMapStart(builder)
        tflite.TensorMapAddName(builder, text)
        tflite.TensorMapAddTensorIndex(builder, place)
        maps.append(tflite.TensorMapEnd(builder))
    vector = _vector(builder, "SignatureDefStartInputsVector", maps)
    tflite.SignatureDefStart(builder)
    tflite.SignatureDefAddInputs(builder, vector)
    return int(tflite.SignatureDefEnd(builder))


def _graph(builder: Any, graph: Graph, codes: list[str], buffers: list[bytes | None]) -> int:
    names = [tensor.name for tensor in graph.tensors]
    tensors = [_tensor(builder, tensor, buffers) for tensor in graph.tensors]
    nodes = [_node(builder, node, names, codes) for node in graph.nodes]
    tensors_at = _vector(builder, "SubGraphStartTensorsVector", tensors)
    nodes_at = _vector(builder, "SubGraphStartOperatorsVector", nodes)
    takes = _numbers(builder, [names.index(name) for name in graph.takes])
    gives = _numbers(builder, [names.index(name) for name in graph.gives])
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors_at)
    tflite.SubGraphAddOperators(builder, nodes_at)
    tflite.SubGraphAddInputs(builder, takes)
    tflite.SubGraphAddOutputs(builder, gives)
    return int(tflite.SubGraphEnd(builder))


def _tensor(builder: Any, tensor: Tensor, buffers: list[bytes | None]) -> int:
    if tensor.data is not None:
        buffers.append(tensor.data.tobytes())
    name = builder.CreateString(tensor.name)
    shape = _numbers(builder, tensor.shape)
    signature = _numbers(builder, tensor.signature) if tensor.signature else None
    scale = None
    if tensor.scale:
        scales = _numbers(builder, tensor.scale, "float32")
        zeros = _numbers(builder, tensor.zero or [0] * len(tensor.scale), "int64")
        tflite.QuantizationParametersStart(builder)
        tflite.QuantizationParametersAddScale(builder, scales)
        tflite.QuantizationParametersAddZeroPoint(builder, zeros)
        tflite.QuantizationParametersAddQuantizedDimension(builder, tensor.axis)
        scale = tflite.QuantizationParametersEnd(builder)
    tflite.TensorStart(builder)
    tflite.TensorAddShape(builder, shape)
    tflite.TensorAddType(builder, _TYPES[tensor.dtype] if tensor.kind is None else tensor.kind)
    tflite.TensorAddBuffer(builder, len(buffers) - 1 if tensor.data is not None else 0)
    tflite.TensorAddName(builder, name)
    tflite.TensorAddIsVariable(builder, tensor.state)
    if signature is not None:
        tflite.TensorAddShapeSignature(builder, signature)
    if scale is not None:
        tflite.TensorAddQuantization(builder, scale)
    return int(tflite.TensorEnd(builder))


def _node(builder: Any, node: Node, names: list[str], codes: list[str]) -> int:
    if node.type not in codes:
        codes.append(node.type)
    reads = _numbers(builder, [names.index(name) if name else -1 for name in node.reads])
    gives = _numbers(builder, [names.index(name) for name in node.gives])
    options = None
    if node.options:
        held = {
            key: builder.CreateString(value) if isinstance(value, str) else _numbers(builder, value)
            for key, value in node.settings.items()
            if isinstance(value, str | list)
        }
        getattr(tflite, f"{node.options}Start")(builder)
        for key, value in {**node.settings, **held}.items():
            getattr(tflite, f"{node.options}Add{key}")(builder, value)
        options = getattr(tflite, f"{node.options}End")(builder)
    custom = builder.CreateByteVector(node.custom) if node.custom else None
    tflite.OperatorStart(builder)
    tflite.OperatorAddOpcodeIndex(builder, codes.index(node.type))
    tflite.OperatorAddInputs(builder, reads)
    tflite.OperatorAddOutputs(builder, gives)
    if options is not None:
        tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, node.options))
        tflite.OperatorAddBuiltinOptions(builder, options)
    if custom is not None:
        tflite.OperatorAddCustomOptions(builder, custom)
    return int(tflite.OperatorEnd(builder))
