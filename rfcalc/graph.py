"""The layer graph: a `networkx.DiGraph` of frozen, torch-free records, saved and loaded as JSON.

Nodes are integers in execution order, each with one `Node` under the attribute ``record``; an edge says that the later
op reads an output of the earlier one. ``graph.graph`` holds the model's name, its inputs, outputs, parameters, buffers,
module calls and the boolean masks that `Blocked` and `Contract` steps refer to.
"""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import networkx as nx
import numpy as np

from rfcalc import reads
from rfcalc.errors import LoadError

SCHEMA = "rfcalc-graph/1"

#: Bytes of the largest file that is read: a hundred times what a model of thousands of ops needs.
LARGEST_FILE = 64 << 20
#: Files of more bytes must begin with the schema, as `dumps` writes them, before all of their text is read.
_SMALL_FILE = 1 << 20
_HEAD = re.compile(rb'\s*\{\s*"schema"\s*:\s*"([^"]{0,80})"')

#: The kinds of op, and which of them are numbered layers (DESIGN section 5).
NUMBERED_KINDS = frozenset(
    {"input", "conv", "conv_transpose", "pool", "linear", "matmul", "attention", "recurrent", "embedding"}
    | {"upsample", "merge", "fft", "unknown"}
)
FOLDED_KINDS = frozenset(
    {"norm", "activation", "dropout", "elementwise", "reduction", "reshape", "pad", "cast", "copy", "other"}
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and dtype of one value; dtype is torch's name without the prefix (``float32``)."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Ref:
    """Output ``output`` of node ``node``."""

    node: int
    output: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """How one output of a node reads one of its inputs (``input`` is a position in `Node.inputs`)."""

    input: int
    steps: reads.Steps


@dataclass(frozen=True)
class Node:
    """One op of the forward pass, with what it reads and what it costs.

    ``reads[o]`` lists the reads of output ``o``. ``macs`` is None where the op has no rule. ``flops`` are operations
    other than multiply-adds, by category. ``inexact`` is the reason why the reads are an upper bound, or "".
    """

    id: int
    op: str
    name: str
    kind: str
    index: int | None
    scope: str
    module: str
    inputs: tuple[Ref, ...]
    outputs: tuple[TensorInfo, ...]
    reads: tuple[tuple[Read, ...], ...]
    params: tuple[str, ...] = ()
    macs: int | None = 0
    flops: Mapping[str, int] = field(default_factory=dict)
    formula: str = ""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    inexact: str = ""
    masked: bool = False
    notes: tuple[str, ...] = ()
    owner: int = -1  #: the numbered node whose row this one folds into (itself if numbered)
    call: int = 0  #: number of the innermost module call in which it ran (`ModuleCall.number`), 0 for none
    face: int | None = None  #: the node that has this layer's result with its axes as the module gives it back
    function: str = ""  #: torch's function that the model called, ``torch.matmul``, ``torch.Tensor.add_``

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.outputs[0].shape if self.outputs else ()


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter or buffer of the model. ``shared_with`` names the first one with the same storage, or is ""."""

    name: str
    shape: tuple[int, ...]
    numel: int
    trainable: bool = True
    shared_with: str = ""
    owner: int | None = None  #: node that first uses it, None if the forward pass never does


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One call of a module, in the order in which calls began, from number 1 on.

    ``types`` are the full names of the module's class and of those it derives from, `torch.nn.Module` and what is above
    left out; ``leaf`` says that it has no children, ``places`` how often it stands in the tree of modules. ``inputs``
    are the shapes of the tensors given by position, ``outputs`` those of the tensors that came back. ``parent`` is the
    number of the call around this one, 0 for none.
    """

    number: int
    module: str
    types: tuple[str, ...]
    leaf: bool
    places: int
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    parent: int = 0


@dataclass(frozen=True, slots=True)
class InputInfo:
    """An input of the model: the node that stands for it and the axes along which fields are measured.

    ``batched`` is False for a single sample, one of a list that the model takes.
    """

    name: str
    node: int
    shape: tuple[int, ...]
    dtype: str
    axes: Mapping[str, int]
    batched: bool = True

    @property
    def batch(self) -> int | None:
        """How many samples its first axis holds, None where that axis is another one."""
        return self.shape[0] if self.batched and len(self.shape) > 1 and 0 not in self.axes.values() else None


def node(graph: nx.DiGraph[int], ident: int) -> Node:
    """The record of one node."""
    record: Node = graph.nodes[ident]["record"]
    return record


def nodes(graph: nx.DiGraph[int]) -> Iterator[Node]:
    """All records in execution order."""
    for ident in sorted(graph.nodes):
        yield node(graph, ident)


def build(
    records: list[Node],
    *,
    model: str,
    inputs: list[InputInfo],
    outputs: list[Ref],
    params: list[Param],
    buffers: list[Param],
    calls: Sequence[ModuleCall] = (),
    masks: Mapping[int, np.ndarray] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> nx.DiGraph[int]:
    """A graph of the records; edges follow from their inputs."""
    graph: nx.DiGraph[int] = nx.DiGraph(
        model=model,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        params=tuple(params),
        buffers=tuple(buffers),
        calls=tuple(calls),
        masks=dict(masks or {}),
        meta=dict(meta or {}),
    )
    for record in records:
        graph.add_node(record.id, record=record)
        graph.add_edges_from((ref.node, record.id) for ref in record.inputs)
    return graph


# --- JSON -------------------------------------------------------------------------------------------------------------


def to_json(graph: nx.DiGraph[int]) -> dict[str, Any]:
    """The graph as plain JSON data."""
    return {
        "schema": SCHEMA,
        "model": graph.graph["model"],
        "meta": graph.graph["meta"],
        "inputs": [asdict(item) for item in graph.graph["inputs"]],
        "outputs": [[ref.node, ref.output] for ref in graph.graph["outputs"]],
        "params": [asdict(item) for item in graph.graph["params"]],
        "buffers": [asdict(item) for item in graph.graph["buffers"]],
        "calls": [_encode_call(item) for item in graph.graph["calls"]],
        "masks": {str(key): _encode_mask(mask) for key, mask in graph.graph["masks"].items()},
        "nodes": [_encode_node(record) for record in nodes(graph)],
    }


def from_json(data: Any, where: str = "graph") -> nx.DiGraph[int]:
    """A graph from what `to_json` made. Raises `LoadError` naming ``where`` and what is wrong."""
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise _foreign(data.get("schema") if isinstance(data, dict) else type(data).__name__, where)
    try:
        graph = build(
            [_decode_node(row) for row in data["nodes"]],
            model=data["model"],
            inputs=[InputInfo(**{**row, "shape": tuple(row["shape"])}) for row in data["inputs"]],
            outputs=[Ref(*row) for row in data["outputs"]],
            params=[Param(**{**row, "shape": tuple(row["shape"])}) for row in data["params"]],
            buffers=[Param(**{**row, "shape": tuple(row["shape"])}) for row in data["buffers"]],
            calls=[_decode_call(row) for row in data["calls"]],
            masks={int(key): _decode_mask(row) for key, row in data["masks"].items()},
            meta=data["meta"],
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, zlib.error) as error:
        raise LoadError(f"{where} is damaged: {type(error).__name__}: {error}") from error
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


def _check(graph: nx.DiGraph[int], where: str) -> None:
    for problem in chain(_mistyped(graph), _problems(graph)):
        raise LoadError(f"{where} is damaged: {problem}; trace the model again")


def _mistyped(graph: nx.DiGraph[int]) -> Iterator[str]:
    """Fields that do not hold what they should."""
    whole = graph.graph
    for name, hint in (("model", str), ("meta", Mapping[str, Any])):
        if not _fits(whole[name], hint):
            yield f"{name} is {whole[name]!r}"
    for table in ("inputs", "outputs", "params", "buffers", "calls"):
        for number, record in enumerate(whole[table]):
            yield from (f"{problem} of number {number} of {table}" for problem in _wrong_fields(record))
    for record in (data.get("record") for _, data in graph.nodes(data=True)):
        if record is not None:
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
    return {item.name: hints[item.name] for item in fields(record)}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type as fields of the records are annotated."""
    if hint is Any:
        return True
    if is_dataclass(hint):
        return isinstance(value, hint) and not any(_wrong_fields(value))  # type: ignore[arg-type]
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


def _problems(graph: nx.DiGraph[int]) -> Iterator[str]:
    """What the parts of a graph say of each other that cannot be."""
    known: dict[int, int] = {}  # outputs of the nodes so far
    for ident in sorted(graph.nodes):
        if "record" not in graph.nodes[ident]:
            yield f"node {ident} is read but not defined"
            return
        record = node(graph, ident)
        for ref in record.inputs:
            if ref.node not in known:
                yield f"node {ident} reads node {ref.node}, which does not come before it"
            elif not 0 <= ref.output < known[ref.node]:
                yield f"node {ident} reads output {ref.output} of node {ref.node}, which has {known[ref.node]}"
        yield from (f"node {ident} {problem}" for problem in _read_problems(graph, record))
        if min((extent for out in record.outputs for extent in out.shape), default=0) < 0:
            yield f"node {ident} has an output with a negative extent"
        known[ident] = len(record.outputs)
    for record in nodes(graph):
        if record.owner >= 0 and record.owner not in known:
            yield f"node {record.id} is in the row of node {record.owner}, which is not there"
        if record.face is not None and record.face not in known:
            yield f"node {record.id} shows the result of node {record.face}, which is not there"
    begun = {0}
    for call in graph.graph["calls"]:
        if call.parent not in begun:
            yield f"module call {call.number} is within call {call.parent}, which did not begin before it"
        begun.add(call.number)
    for record in nodes(graph):
        if record.call not in begun:
            yield f"node {record.id} ran in module call {record.call}, which is not there"
    for ref in graph.graph["outputs"]:
        if not 0 <= ref.output < known.get(ref.node, 0):
            yield f"output {ref.output} of node {ref.node} is given back, which is not there"
    for item in graph.graph["inputs"]:
        if item.node not in known:
            yield f"input {item.name!r} is node {item.node}, which is not there"
        elif not known[item.node] or node(graph, item.node).shape != item.shape:
            yield f"input {item.name!r} has another shape than its node {item.node}"
        for name, axis in item.axes.items():
            if not 0 <= axis < len(item.shape):
                yield f"input {item.name!r} has no axis {axis} to call {name}"


def _read_problems(graph: nx.DiGraph[int], record: Node) -> Iterator[str]:
    """What the reads of a node say that cannot be; its inputs are known to be there."""
    masks = {key: mask.shape for key, mask in graph.graph["masks"].items()}
    if len(record.reads) != len(record.outputs):
        yield f"has {len(record.outputs)} outputs and reads of {len(record.reads)}"
    for rows, out in zip(record.reads, record.outputs, strict=False):
        for read in rows:
            if not 0 <= read.input < len(record.inputs):
                yield f"reads its input {read.input}, it has {len(record.inputs)}"
                continue
            used = {step.mask for step in read.steps if isinstance(step, reads.Blocked | reads.Contract)}
            yield from (f"uses mask {mask}, which is not there" for mask in used - set(masks))
            ref = record.inputs[read.input]
            shape = node(graph, ref.node).outputs[ref.output].shape
            try:
                for step in read.steps:
                    shape = reads.shape_after(shape, step, masks)
            except ValueError as error:
                yield f"cannot read by {error}"
            if len(shape) != len(out.shape) or any(a not in (1, b) for a, b in zip(shape, out.shape, strict=True)):
                yield f"reads {list(shape)} for an output of {list(out.shape)}"


def save(graph: nx.DiGraph[int], path: Path) -> None:
    """Write the graph as JSON, one node a line."""
    path.write_text(dumps(graph), encoding="utf-8")


def dumps(graph: nx.DiGraph[int]) -> str:
    """The graph as JSON text, one node a line, so that versions of it can be compared line by line."""
    data = to_json(graph)
    rows = data.pop("nodes")
    head = json.dumps(data, indent=1)[:-2]
    body = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in rows)
    return f'{head},\n "nodes": [\n{body}\n ]\n}}\n'


def load(path: Path) -> nx.DiGraph[int]:
    """Read a graph that `save` wrote. Raises `LoadError` for anything else, before all of a large file is read."""
    try:
        with path.open("rb") as file:
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
            data = json.loads(file.read().decode("utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path} is no rfcalc graph: not valid JSON ({error}); trace the model again") from error
    return from_json(data, str(path))


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


_EMPTY: tuple[Any, ...] = ("", (), {})


def _encode_node(record: Node) -> dict[str, Any]:
    row = {
        key: value for key, value in vars(record).items() if not (value is None or value is False or value in _EMPTY)
    }
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
    return Node(**known)


def _encode_call(call: ModuleCall) -> list[Any]:
    shapes = ([list(shape) for shape in shapes] for shapes in (call.inputs, call.outputs))
    return [call.number, call.module, list(call.types), call.leaf, call.places, *shapes, call.parent]


def _decode_call(row: list[Any]) -> ModuleCall:
    number, module, types, leaf, places, inputs, outputs, parent = row
    given, returned = (tuple(map(tuple, shapes)) for shapes in (inputs, outputs))
    return ModuleCall(number, module, tuple(types), leaf, places, given, returned, parent)


def _encode_mask(mask: np.ndarray) -> dict[str, Any]:
    packed = zlib.compress(np.packbits(mask).tobytes(), 9)
    return {"shape": list(mask.shape), "bits": base64.b64encode(packed).decode("ascii")}


def _decode_mask(row: dict[str, Any]) -> np.ndarray:
    shape = tuple(row["shape"])
    count = math.prod(shape)
    data = zlib.decompressobj().decompress(base64.b64decode(row["bits"]), count // 8 + 1)  # never more than is needed
    if not 0 <= count <= 8 * len(data):
        raise ValueError(f"a mask of shape {list(shape)} has {8 * len(data)} bits")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(bool).reshape(shape)
