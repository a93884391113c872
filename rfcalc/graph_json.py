"""A layer graph as JSON: saved, loaded, and checked while it is loaded."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from rfcalc import reads
from rfcalc.errors import LoadError
from rfcalc.graph import (
    ELEMENT_BYTES,
    InputInfo,
    LayerGraph,
    ModuleCall,
    Node,
    Param,
    Place,
    Read,
    Ref,
    TensorInfo,
    build,
)
from rfcalc.reading import no_number, opened
from rfcalc.writing import write_whole

if TYPE_CHECKING:
    import numpy as np

SCHEMA = "rfcalc-graph/1"

#: Bytes of the largest file that is read: a hundred times what a model of thousands of ops needs.
LARGEST_FILE = 64 << 20
#: Positions of the longest axis that fields of a saved graph are measured along: more than an hour of sound at 16 kHz.
LARGEST_AXIS = 1 << 26
#: Positions of the longest axis of any tensor of a saved graph.
LARGEST_EXTENT = 1 << 40
#: Files of more bytes must begin with the schema, as `dumps` writes them, before all of their text is read.
_SMALL_FILE = 1 << 20
_HEAD = re.compile(rb'\s*\{\s*"schema"\s*:\s*"([^"]{0,80})"')


def to_json(graph: LayerGraph) -> dict[str, Any]:
    """The graph as plain JSON data."""
    return {
        "schema": SCHEMA,
        "model": graph.model,
        "meta": graph.meta,
        "inputs": [asdict(item) for item in graph.inputs],
        "outputs": [[ref.node, ref.output] for ref in graph.outputs],
        "params": [_encode_param(item, "float32") for item in graph.params],
        "buffers": [_encode_param(item, "") for item in graph.buffers],
        "calls": [_encode_call(item) for item in graph.calls],
        "masks": {str(key): _encode_mask(mask) for key, mask in graph.masks.items()},
        "nodes": [_encode_node(record) for record in graph],
    }


def from_json(data: Any, where: str = "graph", *, trusted: bool = False) -> LayerGraph:
    """A graph from what `to_json` made. Raises `LoadError` naming ``where`` and what is wrong.

    A ``trusted`` one is not checked in every field and every read.
    """
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise _foreign(data.get("schema") if isinstance(data, dict) else type(data).__name__, where)
    try:
        graph = build(
            [_decode_node(row) for row in data["nodes"]],
            model=data["model"],
            inputs=[InputInfo(**{**row, "shape": tuple(row["shape"])}) for row in data["inputs"]],
            outputs=[Ref(*row) for row in data["outputs"]],
            params=[_decode_param(row, "float32") for row in data["params"]],
            buffers=[_decode_param(row, "") for row in data["buffers"]],
            calls=[_decode_call(row) for row in data["calls"]],
            masks={int(key): _decode_mask(row) for key, row in data["masks"].items()},
            meta=data["meta"],
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, zlib.error) as error:
        raise LoadError(f"{where} is damaged: {type(error).__name__}: {error}") from error
    if not trusted:
        _check(graph, where)
    return graph


def _foreign(schema: Any, where: str) -> LoadError:
    """The error for a file with another schema than that of graphs, or with none."""
    shown = repr(schema) if len(repr(schema)) < 60 else f"{repr(schema)[:50]}..."
    name, _, version = schema.partition("/") if isinstance(schema, str) else ("", "", "")
    advice = "save one with rfcalc trace MODEL -o graph.json"
    if name == SCHEMA.partition("/")[0] and version.isdecimal() and version > SCHEMA.partition("/")[2]:
        advice = "a newer rfcalc saved it: install that, or trace the model again with this one"
    elif name == "rfcalc":
        advice = f"it is a report, what was printed of a graph; {advice}"
    return LoadError(f"{where} is no rfcalc graph: expected schema {SCHEMA!r}, found {shown}; {advice}")


def _check(graph: LayerGraph, where: str) -> None:
    for problem in chain(_mistyped(graph), _problems(graph)):
        raise LoadError(f"{where} is damaged: {problem}; trace the model again")


def _mistyped(graph: LayerGraph) -> Iterator[str]:
    """Fields that do not hold what they should."""
    for name, hint in (("model", str), ("meta", Mapping[str, Any])):
        if not _fits(getattr(graph, name), hint):
            yield f"{name} is {getattr(graph, name)!r}"
    for table in ("inputs", "outputs", "params", "buffers", "calls"):
        for number, record in enumerate(getattr(graph, table)):
            yield from (f"{problem} of number {number} of {table}" for problem in _wrong_fields(record))
    for number, param in enumerate(graph.params):
        if param.stored is None and param.dtype not in ELEMENT_BYTES:
            yield f"dtype is {param.dtype!r}, of a size that is not told, of number {number} of params"
    for record in graph:
        yield from (f"{problem} of node {record.id!r}" for problem in _wrong_fields(record))


def _wrong_fields(record: Any) -> Iterator[str]:
    kind: type = type(record)
    for name, hint in _hints(kind).items():
        value = getattr(record, name)
        if not _fits(value, hint):
            shown = repr(value)
            yield f"{name} is {shown if len(shown) < 60 else shown[:50] + '...'}"


@cache
def _hints(record: type) -> dict[str, Any]:
    hints = get_type_hints(record)
    names = [item.name for item in fields(record)] if is_dataclass(record) else list(hints)
    return {name: hints[name] for name in names}


def _is_record(hint: Any) -> bool:
    return is_dataclass(hint) or hasattr(hint, "_fields")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type as fields of the records are annotated."""
    if hint is Any:
        return True
    if _is_record(hint):
        return isinstance(value, hint) and not any(_wrong_fields(value))
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        inside = args[:1] * len(value) if args[-1] is Ellipsis else args
        return len(inside) == len(value) and all(map(_fits, value, inside))
    if origin is not None:  # a mapping
        return isinstance(value, dict) and all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in value.items())
    return type(value) is hint


def _problems(graph: LayerGraph) -> Iterator[str]:
    """What the parts of a graph say of each other that cannot be."""
    known: dict[int, int] = {}  # outputs of the nodes so far
    for ident, record in graph.records.items():
        for ref in record.inputs:
            if ref.node not in known:
                yield f"node {ident} reads node {ref.node}, which does not come before it"
            elif not 0 <= ref.output < known[ref.node]:
                yield f"node {ident} reads output {ref.output} of node {ref.node}, which has {known[ref.node]}"
        yield from (f"node {ident} {problem}" for problem in _size_problems(record))
        yield from (f"node {ident} {problem}" for problem in _read_problems(graph, record))
        known[ident] = len(record.outputs)
    for record in graph:
        if record.owner >= 0 and record.owner not in known:
            yield f"node {record.id} is in the row of node {record.owner}, which is not there"
        if record.face is not None and record.face not in known:
            yield f"node {record.id} shows the result of node {record.face}, which is not there"
    begun = {0}
    for call in graph.calls:
        if call.parent not in begun:
            yield f"module call {call.number} is within call {call.parent}, which did not begin before it"
        begun.add(call.number)
        if call.handed_on is not None and not 0 <= call.handed_on.output < known.get(call.handed_on.node, 0):
            yield f"module call {call.number} hands on output {call.handed_on.output} of node {call.handed_on.node}"
    for record in graph:
        if record.call not in begun:
            yield f"node {record.id} ran in module call {record.call}, which is not there"
    for ref in graph.outputs:
        if not 0 <= ref.output < known.get(ref.node, 0):
            yield f"output {ref.output} of node {ref.node} is given back, which is not there"
    for tensor in (*graph.params, *graph.buffers):
        if tensor.numel < 0 or min(tensor.shape, default=0) < 0:
            yield f"{tensor.name!r} has {tensor.numel:,} elements and shape {list(tensor.shape)}"
    for item in graph.inputs:
        if item.node not in known:
            yield f"input {item.name!r} is node {item.node}, which is not there"
        elif not known[item.node] or graph[item.node].shape != item.shape:
            yield f"input {item.name!r} has another shape than its node {item.node}"
        for name, axis in item.axes.items():
            if not 0 <= axis < len(item.shape):
                yield f"input {item.name!r} has no axis {axis} to call {name}"
            elif item.shape[axis] > LARGEST_AXIS:
                yield f"input {item.name!r} has {item.shape[axis]:,} positions along {name}, at most {LARGEST_AXIS:,}"


def _size_problems(record: Node) -> Iterator[str]:
    """Sizes and counts of a node that no network has."""
    extents = [extent for out in record.outputs for extent in out.shape]
    if min(extents, default=0) < 0:
        yield "has an output with a negative extent"
    if max(extents, default=0) > LARGEST_EXTENT:
        yield f"has an axis of {max(extents):,} positions, at most {LARGEST_EXTENT:,} are possible"
    counts = {"multiply-adds": record.macs or 0, **record.flops}
    yield from (f"has {count:,} {name}" for name, count in counts.items() if count < 0)
    if not 0 <= record.closed <= (record.macs or 0):
        yield f"has {record.macs or 0:,} multiply-adds, of which a mask closes {record.closed:,}"
    if record.closing not in ("", "data", "added", "large"):
        yield f"has a mask that is {record.closing!r}"


def _read_problems(graph: LayerGraph, record: Node) -> Iterator[str]:
    """What the reads of a node say that cannot be; its inputs are known to be there."""
    masks = {key: mask.shape for key, mask in graph.masks.items()}
    if len(record.reads) != len(record.outputs):
        yield f"has {len(record.outputs)} outputs and reads of {len(record.reads)}"
    known = range(len(record.inputs))
    yield from (f"reads its input {at} in any case, it has {len(known)}" for at in record.sure if at not in known)
    for rows, out in zip(record.reads, record.outputs, strict=False):
        for read in rows:
            if read.input not in known:
                yield f"reads its input {read.input}, it has {len(known)}"
                continue
            used = {step.mask for step in read.steps if isinstance(step, reads.Blocked | reads.Contract)}
            yield from (f"uses mask {mask}, which is not there" for mask in used - set(masks))
            ref = record.inputs[read.input]
            shape = graph[ref.node].outputs[ref.output].shape
            try:
                for step in read.steps:
                    shape = reads.shape_after(shape, step, masks)
            except ValueError as error:
                yield f"cannot read by {error}"
            if len(shape) != len(out.shape) or any(a not in (1, b) for a, b in zip(shape, out.shape, strict=True)):
                yield f"reads {list(shape)} for an output of {list(out.shape)}"


def save(graph: LayerGraph, path: Path) -> None:
    """Write the graph as JSON, one node a line; the file is whole or as it was. Raises UsageError where that fails."""
    write_whole(path, dumps(graph))


def dumps(graph: LayerGraph) -> str:
    """The graph as JSON text, one node a line, so that versions of it can be compared line by line."""
    data = to_json(graph)
    rows = data.pop("nodes")
    head = json.dumps(data, indent=1)[:-2]
    body = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in rows)
    return f'{head},\n "nodes": [\n{body}\n ]\n}}\n'


def load(path: Path) -> LayerGraph:
    """Read a graph that `save` wrote. Raises `LoadError` for anything else, before all of a large file is read."""
    try:
        with opened(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = _HEAD.match(file.read(1024))
            if size > _SMALL_FILE and (head is None or head[1] != SCHEMA.encode()):
                raise _foreign(head[1].decode("utf-8", "replace") if head else "none at its beginning", str(path))
            if size > LARGEST_FILE:
                raise LoadError(
                    f"{path} has {size:,} bytes, a saved graph at most {LARGEST_FILE:,}: trace a part of the model"
                )
            file.seek(0)
            data = json.loads(file.read().decode("utf-8"), parse_constant=no_number)
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path} is no rfcalc graph: not valid JSON ({error}); trace the model again") from error
    return from_json(data, str(path))


_EMPTY: tuple[Any, ...] = ("", (), {})
_NODE = tuple(item.name for item in fields(Node))


def _encode_node(record: Node) -> dict[str, Any]:
    values = ((key, getattr(record, key)) for key in _NODE)
    row = {key: value for key, value in values if not (value is None or value is False or value in _EMPTY)}
    for name in ("closed", "again"):
        if not row[name]:
            del row[name]
    row["inputs"] = [[ref.node, ref.output] for ref in record.inputs]
    row["outputs"] = [[list(out.shape), out.dtype] for out in record.outputs]
    row["reads"] = [[[read.input, reads.encode(read.steps)] for read in output] for output in record.reads]
    row["macs"] = record.macs
    return row


def _decode_node(row: dict[str, Any]) -> Node:
    known = {"index": None, "scope": "", "module": "", **row}
    known["inputs"] = tuple(Ref(*ref) for ref in row["inputs"])
    known["outputs"] = tuple(TensorInfo(tuple(shape), dtype) for shape, dtype in row["outputs"])
    known["reads"] = tuple(
        tuple(Read(position, reads.decode(steps)) for position, steps in output) for output in row["reads"]
    )
    known["params"] = tuple(row.get("params", ()))
    known["notes"] = tuple(row.get("notes", ()))
    known["leans"] = tuple(row.get("leans", ()))
    known["sure"] = tuple(row.get("sure", ()))
    known["place"] = Place(*row["place"]) if "place" in row else None
    return Node(**known)


def _encode_param(param: Param, dtype: str) -> dict[str, Any]:
    """A parameter or buffer; that it has the usual ``dtype`` goes without saying, and so do its bytes."""
    row = asdict(param)
    usual = {"dtype": dtype, "stored": None, "unknown": ""}
    return {key: value for key, value in row.items() if key not in usual or value != usual[key]}


def _decode_param(row: dict[str, Any], dtype: str) -> Param:
    return Param(**{"dtype": dtype, **row, "shape": tuple(row["shape"])})


def _encode_call(call: ModuleCall) -> list[Any]:
    shapes = ([list(shape) for shape in shapes] for shapes in (call.inputs, call.outputs))
    handed_on = [] if call.handed_on is None else [list(call.handed_on)]
    return [call.number, call.module, list(call.types), call.leaf, call.places, *shapes, call.parent, *handed_on]


def _decode_call(row: list[Any]) -> ModuleCall:
    number, module, types, leaf, places, inputs, outputs, parent, *handed_on = row
    given, returned = (tuple(map(tuple, shapes)) for shapes in (inputs, outputs))
    ref = Ref(*handed_on[0]) if handed_on else None
    return ModuleCall(number, module, tuple(types), leaf, places, given, returned, parent, ref)


def _encode_mask(mask: np.ndarray) -> dict[str, Any]:
    import numpy as np

    packed = zlib.compress(np.packbits(mask).tobytes(), 9)
    return {"shape": list(mask.shape), "bits": base64.b64encode(packed).decode("ascii")}


def _decode_mask(row: dict[str, Any]) -> np.ndarray:
    import numpy as np  # most graphs have no masks, and a command may need no numpy otherwise

    shape = tuple(row["shape"])
    count = math.prod(shape)
    data = zlib.decompressobj().decompress(base64.b64decode(row["bits"]), count // 8 + 1)  # never more than is needed
    if not 0 <= count <= 8 * len(data):
        raise ValueError(f"a mask of shape {list(shape)} has {8 * len(data)} bits")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(bool).reshape(shape)
