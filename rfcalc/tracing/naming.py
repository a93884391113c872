"""From records to a graph: names, numbers, the row each op folds into, and the owner of each parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from rfcalc.graph import NUMBERED_KINDS, SCAN, Node, Ref
from rfcalc.ops import Effect
from rfcalc.tracing.making import make_node
from rfcalc.tracing.notes import remainder_notes
from rfcalc.tracing.places import namer
from rfcalc.tracing.tape import Record

#: What an op is called where its name in the dispatcher says less than the field's term.
_TERMS = {
    "convolution": "conv",
    "addmm": "linear",
    "mm": "matmul",
    "bmm": "matmul",
    "baddbmm": "matmul",
    "max_pool2d_with_indices": "max_pool2d",
    "max_pool3d_with_indices": "max_pool3d",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "native_batch_norm": "batch_norm",
    "safe_softmax": "softmax",
    "unsafe_view": "view",
    "copy_slice": "write",
    "to_copy": "to",
}
#: How torch's own names for the homes of its functions begin, and what users write there.
_HOMES = (
    ("TensorBase.", "torch.Tensor."),
    ("Tensor.", "torch.Tensor."),
    ("_VariableFunctionsClass.", "torch."),
    ("boolean_dispatch.<locals>.fn", "torch.nn.functional."),
)
_MODULES = {"torch._C._nn": "torch.nn.functional", "torch.functional": "torch"}
#: Which op of a leaf module carries the module's own name: the only one of the first of these classes that it has.
_MAIN = {**dict.fromkeys(NUMBERED_KINDS, 0), "norm": 1, "activation": 2}
#: Kinds that leave what a unit sees as it is, position by position.
_TRANSPARENT = frozenset({"activation", "elementwise", "cast", "copy", "dropout"})
#: Kinds that a module may have after its layer to give the result back as it wants it.
_FOLLOWING = _TRANSPARENT | {"reshape", "pad"}
#: Kinds of ops in a module of several that are called after the module whose parameters they use.
_OWNED = NUMBERED_KINDS | {"norm"}
#: Merges that put their inputs beside each other.
_BESIDE = frozenset({"cat", "stack", "copy_slice"})


def build_nodes(records: Sequence[Record], modules: Mapping[str, str], separator: str) -> list[Node]:
    """Nodes of the graph, in execution order. ``modules`` gives the class of every module by name."""
    kinds = _kinds(records)
    names = _names(records, kinds, modules, separator)
    owners = _owners(records, kinds)
    faces = dict(_faces(records, kinds))
    shared: dict[int, tuple[dict[str, int], dict[str, Any]]] = {}  #: like ops share an effect, nodes what it holds
    place_of = namer()
    nodes = []
    index = 0
    for ident, record in enumerate(records):
        kind, effect, scope = kinds[ident], record.effect, record.scope
        numbered = kind in NUMBERED_KINDS
        index += numbered
        name, module = names[ident]
        flops, attrs = shared.get(id(effect)) or shared.setdefault(id(effect), _held(effect))
        if record.scan and (effect.macs or flops):
            attrs = {**attrs, **dict(zip(SCAN, record.scan, strict=True))}
        nodes.append(
            make_node(
                ident,
                record.op,
                name,
                kind,
                index if numbered else None,
                scope.name,
                module,
                record.inputs,
                record.outputs,
                record.reads,
                record.params,
                effect.macs if record.known else None,
                flops,
                effect.formula if effect.macs else "",
                attrs,
                effect.inexact,
                effect.masked,
                (*effect.notes, *remainder_notes(records, record)),
                owners[ident],
                scope.call,
                faces.get(ident),
                record.function,
                effect.leans,
                place_of(record.spot),
                effect.closed,
                effect.closing,
                record.frozen,
                record.again,
                tuple(effect.sure),
            )
        )
    return nodes


def _held(effect: Effect) -> tuple[dict[str, int], dict[str, Any]]:
    """The operations that are any, and the settings."""
    return {key: count for key, count in effect.flops.items() if count}, dict(effect.attrs)


@cache
def name_of(function: Any) -> str:
    """The name by which a user calls a function of torch's, ``torch.nn.functional.relu``; "" for none."""
    if function is None:
        return ""
    qualified, plain = getattr(function, "__qualname__", ""), getattr(function, "__name__", "")
    for start, home in _HOMES:
        if qualified.startswith(start):
            return home + plain
    module = getattr(function, "__module__", None) or ""
    return f"{_MODULES.get(module, module)}.{plain}".strip(".")


def _kinds(records: Sequence[Record]) -> list[str]:
    """Each record's kind; a merge of two pointwise functions of one tensor (``x * sigmoid(x)``) is no merge.

    Nor is one with a statistic over its last axis: that is a norm or a softmax written by hand.
    """
    kinds: list[str] = []
    roots: list[Ref | int | None] = []  #: the op whose only output a result is a function of, or one of several outputs
    for ident, record in enumerate(records):
        kind = record.effect.kind
        root: Ref | int | None = ident if len(record.outputs) == 1 else None
        if kind == "merge" or kind in _TRANSPARENT or (kind == "reduction" and _is_statistic(record)):
            seen = {_root(roots, ref) for ref in record.inputs if records[ref.node].depends}
            if len(seen) == 1:
                if kind == "merge" and _joins(record.op):
                    kind = "elementwise"
                if kind != "merge":
                    root = seen.pop()
        kinds.append(kind)
        roots.append(root)
    return kinds


def _root(roots: Sequence[Ref | int | None], ref: Ref) -> Ref | int:
    root = roots[ref.node]
    return ref if root is None else root


def _joins(op: str) -> bool:
    """Whether a merge puts its inputs together element by element."""
    return "." in op and op.split(".")[1].rstrip("_") not in _BESIDE


def _is_statistic(record: Record) -> bool:
    """Whether a reduction is over the last axis alone, and keeps it: what it is multiplied by stays the same unit."""
    attrs = record.effect.attrs
    return bool(attrs.get("keepdim")) and list(attrs.get("dim", ())) == [len(record.outputs[0].shape) - 1]


def _names(
    records: Sequence[Record], kinds: Sequence[str], modules: Mapping[str, str], separator: str
) -> list[tuple[str, str]]:
    """(unique name, module class) of every record."""
    main = _main(records, kinds)
    counts: dict[str, int] = {}
    result = []
    for ident, record in enumerate(records):
        name, module = _base_name(ident, record, main, modules)
        if separator != ".":
            name = name.replace(".", separator)
        count = counts[name] = counts.get(name, 0) + 1
        result.append((name if count == 1 else f"{name}#{count}", module))
    return result


def _main(records: Sequence[Record], kinds: Sequence[str]) -> dict[int, int]:
    """For each call of a module, the op that carries the module's own name; -1 where several would."""
    found: dict[int, tuple[int, int]] = {}
    for ident, record in enumerate(records):
        rank = _MAIN.get(kinds[ident])
        if rank is not None:
            call = record.scope.call
            best, _ = found.get(call, (len(_MAIN), -1))
            if rank <= best:
                found[call] = rank, ident if rank < best else -1
    return {call: ident for call, (_, ident) in found.items()}


def _base_name(ident: int, record: Record, main: Mapping[int, int], modules: Mapping[str, str]) -> tuple[str, str]:
    name, module, leaf, call = record.scope
    if record.op == "input":
        return name, "Input"
    if leaf and name and main.get(call) == ident:
        return name, module
    if record.params and not (leaf and name):
        owner = record.params[0].rpartition(".")[0]
        inside = owner.startswith(f"{name}." if name else "") and owner != name
        if owner and inside and owner in modules and record.effect.kind in _OWNED:
            return owner, modules[owner]
    term = _term(record.op, record.effect.kind)
    return (f"{name}/{term}" if name else term), ""


def _faces(records: Sequence[Record], kinds: Sequence[str]) -> Iterator[tuple[int, int]]:
    """For a layer whose module moves its result on (to have channels last): the op after which it is given back."""
    scopes = [record.scope for record in records]
    moved = [scopes[ident] for ident, kind in enumerate(kinds) if kind == "reshape"]
    moving = {scope.call for scope in moved if scope.leaf and scope.name}
    layers = [ident for ident, kind in enumerate(kinds) if kind in NUMBERED_KINDS and scopes[ident].call in moving]
    readers = _readers(records) if layers else {}
    for ident in layers:
        passed: list[int] = []
        at = ident
        while (after := _only_reader(records, kinds, at, readers.get(Ref(at), ()))) is not None:
            passed, at = [*passed, after], after
        if any(scopes[reader].call == scopes[ident].call for reader in readers.get(Ref(at), ())):
            # the module goes on with it: where it stood between this op and the next
            shape = records[ident].outputs[0].shape
            passed = [one for one in passed if records[one].outputs[0].shape != shape]
        if any(kinds[one] == "reshape" for one in passed):
            yield ident, passed[-1]


def _readers(records: Sequence[Record]) -> dict[Ref, list[int]]:
    """The records that read each output."""
    found: dict[Ref, list[int]] = {}
    for ident, record in enumerate(records):
        for ref in record.inputs:
            found.setdefault(ref, []).append(ident)
    return found


def _only_reader(records: Sequence[Record], kinds: Sequence[str], at: int, readers: Sequence[int]) -> int | None:
    """The only reader of a result, where it belongs to the same call of a module and reads nothing else."""
    if len(readers) != 1:
        return None
    (ident,) = readers
    record = records[ident]
    folds = kinds[ident] in _FOLLOWING and len(record.inputs) == 1 == len(record.reads[0])
    return ident if folds and record.scope.call == records[at].scope.call else None


@cache
def _term(op: str, kind: str) -> str:
    if kind == "linear":
        return "linear"
    plain = op.partition(".")[2].strip("_") or op
    return _TERMS.get(plain, plain)


def _owners(records: Sequence[Record], kinds: Sequence[str]) -> list[int]:
    """The numbered record whose row each record folds into: the one it follows, or else the one it feeds."""
    owners: list[int] = []
    for ident, record in enumerate(records):
        owner = -1
        if kinds[ident] in NUMBERED_KINDS:
            owner = ident
        else:
            for ref in record.inputs:
                owner = owners[ref.node]
                if owner >= 0:
                    break
        owners.append(owner)
    if -1 in owners:
        for ident in reversed(range(len(records))):
            for ref in records[ident].inputs:
                if owners[ref.node] < 0:
                    owners[ref.node] = owners[ident]
    return owners
