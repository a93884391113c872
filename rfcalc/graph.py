"""The layer graph: frozen, torch-free records of one forward pass. `rfcalc.graph_json` saves and loads it.

Its nodes are numbered in execution order. Users get it as a `networkx.DiGraph` with one `Node` under the attribute
``record`` of each node, an edge where a later op reads an output of an earlier one, and everything else in
``graph.graph``. What rfcalc computes itself reads `LayerGraph`, for importing networkx takes longer than an answer.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from rfcalc import reads
from rfcalc.errors import UsageError

if TYPE_CHECKING:
    import networkx as nx
    import numpy as np

#: The kinds of op, and which of them are numbered layers (DESIGN section 5).
NUMBERED_KINDS = frozenset(
    {"input", "conv", "conv_transpose", "pool", "linear", "matmul", "attention", "recurrent", "embedding"}
    | {"upsample", "merge", "fft", "unknown"}
)
FOLDED_KINDS = frozenset(
    {"norm", "activation", "dropout", "elementwise", "reduction", "reshape", "pad", "cast", "copy", "other"}
)


class TensorInfo(NamedTuple):
    """Shape and dtype of one value; dtype is torch's name without the prefix (``float32``)."""

    shape: tuple[int, ...]
    dtype: str = "float32"


class Ref(NamedTuple):
    """Output ``output`` of node ``node``."""

    node: int
    output: int = 0


class Place(NamedTuple):
    """A line of code; ``file`` is below the working directory or a library's folder where it lies there."""

    file: str
    line: int


class Read(NamedTuple):
    """How one output of a node reads one of its inputs (``input`` is a position in `Node.inputs`)."""

    input: int
    steps: reads.Steps


@dataclass(frozen=True, slots=True)
class Node:
    """One op of the forward pass, with what it reads and what it costs.

    ``reads[o]`` lists the reads of output ``o``. ``macs`` is None where the op has no rule. ``flops`` are operations
    other than multiply-adds, by category. ``inexact`` is the reason why the reads are an upper bound, or "". Nodes of a
    graph may share their ``flops`` and ``attrs``, which are to be read and not to be changed.
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
    leans: tuple[str, ...] = ()  #: the buffers whose numbers decide what it reads
    place: Place | None = None  #: the line of the model's code that called it, where there is one
    closed: int = 0  #: of the multiply-adds, those of pairs of a query and a key that a mask closes
    closing: str = ""  #: why a mask may close more: "data" decides it, "added" data may hold one, it is too "large"
    frozen: bool = False  #: whether it ran where the model's code keeps nothing for gradients
    again: int = 0  #: the number of the checkpointed part in which it ran, 0 for none
    sure: tuple[int, ...] = ()  #: if inexact, the inputs of which it reads one of the places told in any case

    @property
    def decided(self) -> bool:
        """Whether a mask, or numbers of a buffer, decide what it reads."""
        return self.masked or bool(self.leans)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.outputs[0].shape if self.outputs else ()


#: How the note of an op begins whose numbers follow from values that were given for inputs.
GIVEN = "depends on the values given for"

#: The note of an op whose rows stand in an order that data decides, and are told in that of what was sorted.
ORDERED = "its rows stand in an order that values decide: each is told at the place that it came from"

#: The attributes of an op that combines pairs in an associative scan: the scan's number, and how many steps it has.
SCAN = ("scan", "steps")

#: Bytes of one element, by torch's name of the dtype.
ELEMENT_BYTES = {
    **dict.fromkeys(("bool", "uint8", "int8", "quint8", "qint8"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32", "qint32", "complex32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter or buffer of the model. ``shared_with`` names the first one with the same storage, or is "".

    ``shape`` and ``numel`` are those that the network has: of a packed weight the elements that it stands for.
    ``stored`` are the bytes that it takes, with scales and zero points, None where elements of ``dtype`` say it.
    """

    name: str
    shape: tuple[int, ...]
    numel: int
    trainable: bool = True
    shared_with: str = ""
    owner: int | None = None  #: node that first uses it, None if the forward pass never does
    dtype: str = "float32"  #: torch's name without the prefix, "" for a buffer
    stored: int | None = None
    unknown: str = ""  #: why it is not known how many elements it stands for; ``numel`` are those that are stored

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return ELEMENT_BYTES[self.dtype] * self.numel if self.stored is None else self.stored


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One call of a module, in the order in which calls began, from number 1 on.

    ``types`` are the full names of the module's class and of those it derives from, `torch.nn.Module` and what is above
    left out; ``leaf`` says that it has no children, ``places`` how often it stands in the tree of modules. ``inputs``
    are the shapes of the tensors given by position, ``outputs`` those of the tensors that came back. ``parent`` is the
    number of the call around this one, 0 for none. ``handed_on`` is what a call gave back that was given to it, as
    Identity does, and Dropout in inference.
    """

    number: int
    module: str
    types: tuple[str, ...]
    leaf: bool
    places: int
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    parent: int = 0
    handed_on: Ref | None = None


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


@dataclass(frozen=True, eq=False)
class LayerGraph:
    """All records of one forward pass: `Node` by number, and what belongs to the whole model.

    ``records`` are in execution order. ``masks`` are the boolean arrays that `Blocked` and `Contract` steps refer to,
    ``meta`` the version of torch, whether the pass was one of training, notices, and the names of the parameters whose
    elements are complex numbers, where there are any.
    """

    records: Mapping[int, Node]
    model: str
    inputs: tuple[InputInfo, ...]
    outputs: tuple[Ref, ...]
    params: tuple[Param, ...]
    buffers: tuple[Param, ...]
    calls: tuple[ModuleCall, ...] = ()
    masks: Mapping[int, np.ndarray] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, ident: int) -> Node:
        """The record of one node."""
        return self.records[ident]

    def __iter__(self) -> Iterator[Node]:
        """All records in execution order."""
        return iter(self.records.values())

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def readers(self) -> Mapping[int, tuple[int, ...]]:
        """The nodes that read each node, in execution order."""
        found: dict[int, dict[int, None]] = {ident: {} for ident in self.records}
        for record in self:
            for ref in record.inputs:
                found[ref.node][record.id] = None
        return {ident: tuple(after) for ident, after in found.items()}

    def ancestors(self, idents: Collection[int]) -> set[int]:
        """The nodes that the given ones depend on."""
        found: set[int] = set()
        ahead = list(idents)
        while ahead:
            fresh = {ref.node for ref in self[ahead.pop()].inputs} - found
            found |= fresh
            ahead += fresh
        return found

    @cached_property
    def digraph(self) -> nx.DiGraph[int]:
        """The same as a `networkx.DiGraph`."""
        import networkx as nx

        whole = {name: getattr(self, name) for name in _WHOLE}
        graph: nx.DiGraph[int] = nx.DiGraph(**whole)
        for record in self:
            graph.add_node(record.id, record=record)
            graph.add_edges_from((ref.node, record.id) for ref in record.inputs)
        return graph


#: What a `networkx.DiGraph` carries of the whole model.
_WHOLE = ("model", "inputs", "outputs", "params", "buffers", "calls", "masks", "meta")


def build(
    records: Sequence[Node],
    *,
    model: str,
    inputs: Sequence[InputInfo],
    outputs: Sequence[Ref],
    params: Sequence[Param],
    buffers: Sequence[Param],
    calls: Sequence[ModuleCall] = (),
    masks: Mapping[int, np.ndarray] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> LayerGraph:
    """A graph of the records, which may come in any order."""
    ordered = {record.id: record for record in sorted(records, key=attrgetter("id"))}
    lists = (tuple(inputs), tuple(outputs), tuple(params), tuple(buffers), tuple(calls))
    return LayerGraph(ordered, model, *lists, dict(masks or {}), dict(meta or {}))


#: A graph as users have it, or as rfcalc reads it.
Graph: TypeAlias = "LayerGraph | nx.DiGraph[int]"


def layered(found: Any) -> LayerGraph | None:
    """The records of a graph, a `networkx.DiGraph` as users have it too; None of anything else.

    Raises `UsageError` for a `networkx.DiGraph` without them.
    """
    networkx = sys.modules.get("networkx")
    if networkx is None or not isinstance(found, networkx.DiGraph):
        return found if isinstance(found, LayerGraph) else None
    try:
        return build(list(nodes(found)), **found.graph)
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"a networkx.DiGraph without {error} is no layer graph: give one that rfcalc.trace made"
        ) from error


def node(graph: nx.DiGraph[int], ident: int) -> Node:
    """The record of one node of a `networkx.DiGraph`."""
    record: Node = graph.nodes[ident]["record"]
    return record


def nodes(graph: nx.DiGraph[int]) -> Iterator[Node]:
    """All records of a `networkx.DiGraph` in execution order."""
    for ident in sorted(graph.nodes):
        yield node(graph, ident)
