"""From records to a graph: names, numbers, the row each op folds into, and the owner of each parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from rfcalc.graph import NUMBERED_KINDS, Node, Ref
from rfcalc.tracing.notes import remainder_notes
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
_MAIN = (NUMBERED_KINDS, frozenset({"norm"}), frozenset({"activation"}))
#: Kinds that leave what a unit sees as it is, position by position.
_TRANSPARENT = frozenset({"activation", "elementwise", "cast", "copy", "dropout"})


def build_nodes(records: Sequence[Record], modules: Mapping[str, str], separator: str) -> list[Node]:
    """Nodes of the graph, in execution order. ``modules`` gives the class of every module by name."""
    kinds = _kinds(records)
    names = _names(records, kinds, modules, separator)
    owners = _owners(records, kinds)
    faces = dict(_faces(records, kinds))
    nodes = []
    index = 0
    for ident, record in enumerate(records):
        numbered = kinds[ident] in NUMBERED_KINDS
        index += numbered
        name, module = names[ident]
        effect = record.effect
        nodes.append(
            Node(
                id=ident,
                op=record.op,
                name=name,
                kind=kinds[ident],
                index=index if numbered else None,
                scope=record.scope.name,
                module=module,
                inputs=record.inputs,
                outputs=record.outputs,
                reads=record.reads,
                params=record.params,
                macs=effect.macs if record.known else None,
                flops={key: count for key, count in effect.flops.items() if count},
                formula=effect.formula if effect.macs else "",
                attrs=dict(effect.attrs),
                inexact=effect.inexact,
                masked=effect.masked,
                notes=(*effect.notes, *remainder_notes(records, record)),
                owner=owners[ident],
                face=faces.get(ident),
                call=record.scope.call,
                function=record.function,
            )
        )
    return nodes


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
    roots: list[Ref | None] = []
    for ident, record in enumerate(records):
        kind = record.effect.kind
        seen = {roots[ref.node] or ref for ref in record.inputs if records[ref.node].depends}
        joins = record.op.split(".")[1].rstrip("_") not in ("cat", "stack", "copy_slice") if "." in record.op else False
        if kind == "merge" and joins and len(seen) == 1:
            kind = "elementwise"
        kinds.append(kind)
        through = (kind in _TRANSPARENT or _is_statistic(record)) and len(seen) == 1
        roots.append(next(iter(seen)) if through else (Ref(ident) if len(record.outputs) == 1 else None))
    return kinds


def _is_statistic(record: Record) -> bool:
    """Whether an op reduces the last axis alone, and keeps it: what its result is multiplied by stays the same unit."""
    attrs = record.effect.attrs
    last = [len(record.outputs[0].shape) - 1]
    return record.effect.kind == "reduction" and bool(attrs.get("keepdim")) and list(attrs.get("dim", ())) == last


def _names(
    records: Sequence[Record], kinds: Sequence[str], modules: Mapping[str, str], separator: str
) -> list[tuple[str, str]]:
    """(unique name, module class) of every record."""
    calls: dict[int, list[int]] = defaultdict(list)
    for ident, record in enumerate(records):
        calls[record.scope.call].append(ident)
    main: dict[int, int] = {}
    for call, idents in calls.items():
        for kindset in _MAIN:
            found = [ident for ident in idents if kinds[ident] in kindset]
            if len(found) == 1:
                main[call] = found[0]
            if found:
                break
    counts: dict[str, int] = defaultdict(int)
    result = []
    for ident, record in enumerate(records):
        name, module = _base_name(ident, record, main, modules)
        name = name.replace(".", separator) if separator != "." else name
        counts[name] += 1
        result.append((name if counts[name] == 1 else f"{name}#{counts[name]}", module))
    return result


def _base_name(ident: int, record: Record, main: Mapping[int, int], modules: Mapping[str, str]) -> tuple[str, str]:
    scope = record.scope
    if record.op == "input":
        return scope.name, "Input"
    term = _term(record)
    if scope.leaf and scope.name and main.get(scope.call) == ident:
        return scope.name, scope.module
    if not scope.leaf or not scope.name:
        owner = record.params[0].rpartition(".")[0] if record.params else ""
        inside = owner.startswith(f"{scope.name}." if scope.name else "") and owner != scope.name
        if owner and inside and owner in modules and record.effect.kind in NUMBERED_KINDS | {"norm"}:
            return owner, modules[owner]
    return (f"{scope.name}/{term}" if scope.name else term), ""


def _faces(records: Sequence[Record], kinds: Sequence[str]) -> Iterator[tuple[int, int]]:
    """For a layer whose module moves its result on (to have channels last): the op after which it is given back."""
    readers: dict[Ref, list[int]] = defaultdict(list)
    for ident, record in enumerate(records):
        for ref in record.inputs:
            readers[ref].append(ident)
    for ident, record in enumerate(records):
        if kinds[ident] not in NUMBERED_KINDS or not record.scope.leaf or not record.scope.name:
            continue
        passed: list[int] = []
        at = ident
        while (after := _only_reader(records, kinds, at, readers[Ref(at)])) is not None:
            passed, at = [*passed, after], after
        if any(records[reader].scope.call == record.scope.call for reader in readers[Ref(at)]):
            # the module goes on with it: where it stood between this op and the next
            passed = [one for one in passed if records[one].outputs[0].shape != record.outputs[0].shape]
        if any(kinds[one] == "reshape" for one in passed):
            yield ident, passed[-1]


def _only_reader(records: Sequence[Record], kinds: Sequence[str], at: int, readers: Sequence[int]) -> int | None:
    """The only reader of a result, where it belongs to the same call of a module and reads nothing else."""
    if len(readers) != 1:
        return None
    (ident,) = readers
    record = records[ident]
    folds = kinds[ident] in _TRANSPARENT | {"reshape", "pad"} and len(record.inputs) == 1 == len(record.reads[0])
    return ident if folds and record.scope.call == records[at].scope.call else None


def _term(record: Record) -> str:
    plain = record.op.partition(".")[2].strip("_") or record.op
    term = _TERMS.get(plain, plain)
    return "linear" if record.effect.kind == "linear" else term


def _owners(records: Sequence[Record], kinds: Sequence[str]) -> list[int]:
    """The numbered record whose row each record folds into: the one it follows, or else the one it feeds."""
    owners = [-1] * len(records)
    for ident, record in enumerate(records):
        if kinds[ident] in NUMBERED_KINDS:
            owners[ident] = ident
            continue
        owners[ident] = next((owners[ref.node] for ref in record.inputs if owners[ref.node] >= 0), -1)
    for ident in reversed(range(len(records))):
        for ref in records[ident].inputs:
            if owners[ref.node] < 0:
                owners[ref.node] = owners[ident]
    return owners
