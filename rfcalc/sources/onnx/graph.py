"""The plan of a graph: its nodes as steps in an order in which they can run, inside the module calls they belong to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, prod
from typing import Any, TypeAlias

from rfcalc.errors import LoadError
from rfcalc.sources.calling import Call, Place, nested
from rfcalc.sources.onnx.dtypes import STRING, is_float
from rfcalc.sources.onnx.files import ELSE, File
from rfcalc.sources.onnx.rules import Op, Rule, find, runs_graphs
from rfcalc.sources.onnx.scopes import place_of
from rfcalc.sources.onnx.written import filled, spread

#: Ops whose results are sizes and constants: they run where they stand, in whichever module is under way.
_SIZES = frozenset({"Shape", "Size", "Constant", "ConstantOfShape", "Range"})
_DEEPEST = 40
#: Numbers from here down, before a softmax, are a mask: exp of them is 0 in float32.
BLOCKS = -88
_SHOWN = 4  #: op types without a rule that an error names

#: The tensors of a graph that are there before it runs, by name.
Held: TypeAlias = Mapping[str, Any]
#: Called with each tensor that a graph holds, and where it is read.
Note: TypeAlias = Callable[[str, Any], None]


@dataclass(frozen=True)
class Step:
    """One node. ``body`` is the function that it calls, where it is no op of its own."""

    op: Op
    rule: Rule | None
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    label: str
    place: Place | None
    runs: bool = False
    body: Body | None = None
    outer: tuple[str, ...] = ()  #: what the graphs among the attributes read of the graph around
    frees: tuple[str, ...] = ()  #: what no later step needs

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of all values that have to be there."""
        return tuple(dict.fromkeys(name for name in (*self.reads, *self.outer) if name))


@dataclass(frozen=True)
class Body:
    """A graph, or the function of an op: what it takes and gives, its steps, and the calls that they are in."""

    takes: tuple[str, ...]
    gives: tuple[str, ...]
    call: Call[Step]
    steps: tuple[Step, ...]
    outer: tuple[str, ...]


class Planner:
    """Plans the graphs of one file. ``tensors`` are those that it holds, by name: initializers and constants.

    Names are distinct over a graph and the graphs inside it; those of functions get the function's place before them.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._functions = {(f.domain, f.name): f for f in file.model.functions}
        self._versions = {_domain(entry.domain): entry.version for entry in file.model.opset_import}
        self.tensors: dict[str, Any] = {}
        self.places: dict[str, Place] = {}
        self._missing: dict[str, str] = {}
        self._depth = 0

    def plan(self) -> Body:
        """The whole model. Raises `LoadError` for a graph that cannot run, and for ops that have no rule."""
        graph = self._file.model.graph
        body = self._graph(graph, graph.input, graph.output, {}, self._versions, "")
        if self._missing:
            shown = [f"{kind} ({where})" for kind, where in list(self._missing.items())[:_SHOWN]]
            more = f" and {len(self._missing) - _SHOWN} more" if len(self._missing) > _SHOWN else ""
            raise LoadError(f"{self._file.spec}: there is no rule for the op {', '.join(shown)}{more}; {ELSE}")
        if body.outer:
            user = next(step for step in body.steps if body.outer[0] in step.needs)
            raise LoadError(
                f"{self._file.spec} is damaged: {user.label} reads {body.outer[0]!r}, which no node, input or"
                " initializer gives"
            )
        return body

    # --- graphs -------------------------------------------------------------------------------------------------------

    def _graph(
        self,
        graph: Any,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        bound: Mapping[str, Any],
        versions: Mapping[str, int],
        prefix: str,
    ) -> Body:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise LoadError(f"{self._file.spec} is refused: its functions or graphs call themselves")
        held: dict[str, Any] = {}
        for tensor in getattr(graph, "initializer", ()):
            held[tensor.name] = tensor
        for sparse in getattr(graph, "sparse_initializer", ()):
            name = sparse.values.name
            held[name] = spread(name, sparse, self._file.numbers, self._file.spec)
        names = [value if isinstance(value, str) else value.name for value in inputs]
        takes = tuple(name for name in names if name not in held)
        steps: list[Step] = []
        for number, node in enumerate(graph.node):
            constant = self._constant(node) or self._stand_in(node, held)
            if constant is not None:
                held[node.output[0]] = constant
            else:
                steps.append(self._step(node, number, bound, versions, prefix))
        self.tensors.update({f"{prefix}{name}": tensor for name, tensor in held.items()})
        steps = [_prefixed(step, prefix) for step in steps] if prefix else steps
        takes = tuple(f"{prefix}{name}" for name in takes)
        gives = tuple(f"{prefix}{value if isinstance(value, str) else value.name}" for value in outputs)
        own = {f"{prefix}{name}" for name in held}
        ordered = freeing(self._ordered(steps, {*takes, *own}), gives)
        made = {*takes, *own, *(name for step in ordered for name in step.gives)}
        outer = tuple(dict.fromkeys(n for n in (*(n for s in ordered for n in s.needs), *gives) if n not in made))
        self._depth -= 1
        call = nested(ordered, gives, own, lambda step: step.op.type in _SIZES)
        return Body(takes, gives, call, tuple(ordered), outer)

    def _stand_in(self, node: Any, held: Mapping[str, Any]) -> Any:
        """The weight that a node fills with one number, as files for tests do to be small; None for any other node.

        0, 1 and what blocks a softmax are constants of the network's.
        """
        if node.op_type != "ConstantOfShape" or _domain(node.domain) or node.input[0] not in held:
            return None
        value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if value is None or not is_float(value.data_type):
            return None
        number, dims = self._file.numbers(value), self._file.numbers(held[node.input[0]])
        if number is None or dims is None or number.tensor().numel() != 1:
            return None
        one, shape = float(number.tensor().item()), dims.tensor().tolist()
        if one in (0.0, 1.0) or one <= BLOCKS or prod(shape) < 2 or not isfinite(one):
            return None
        return filled(node.output[0], number, tuple(shape))

    def _constant(self, node: Any) -> Any:
        """The tensor of a node that only holds one."""
        if node.op_type != "Constant" or _domain(node.domain) or len(node.attribute) != 1:
            return None
        (attribute,) = node.attribute
        if attribute.ref_attr_name:
            return None
        if attribute.name == "sparse_value":
            return spread(node.output[0], attribute.sparse_tensor, self._file.numbers, self._file.spec)
        if attribute.name != "value":
            return None
        named = type(attribute.t)()
        named.CopyFrom(attribute.t)
        named.name = node.output[0]
        return named

    def _step(self, node: Any, number: int, bound: Mapping[str, Any], versions: Mapping[str, int], prefix: str) -> Step:
        domain = _domain(node.domain)
        label = f"node {node.name or number} ({node.op_type})"
        outer: list[str] = []
        attributes: dict[str, Any] = {}
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                if attribute.ref_attr_name not in bound:
                    continue
                attributes[attribute.name] = bound[attribute.ref_attr_name]
                continue
            value = self._attribute(attribute, bound, versions, prefix)
            if isinstance(value, Body):
                outer += value.outer
            attributes[attribute.name] = value
        gives = tuple(node.output)
        count = max((at + 1 for at, name in enumerate(gives) if name), default=0)
        op = Op(node.op_type, versions.get(domain, 1), attributes, count)
        place = place_of(node)
        own = self._functions.get((node.domain, node.op_type))
        rule = None if own is not None else find(domain, node.op_type)
        body = None
        if rule is None:
            function = own if own is not None else self._of_schema(domain, node, versions)
            if function is None:
                kind = f"{domain}.{node.op_type}" if domain else node.op_type
                self._missing.setdefault(kind, f"node {node.name or number}")
            else:
                usual = {a.name: self._attribute(a, {}, versions, prefix) for a in function.attribute_proto}
                own_versions = {_domain(entry.domain): entry.version for entry in function.opset_import}
                inner = f"{prefix}{node.output[0]}\0"
                body = self._graph(
                    function, list(function.input), list(function.output), {**usual, **attributes}, own_versions, inner
                )
        return Step(
            op, rule, tuple(node.input), gives, label, place, runs_graphs(domain, node.op_type), body, tuple(outer)
        )

    def _of_schema(self, domain: str, node: Any, versions: Mapping[str, int]) -> Any:
        """The function that the operator's specification says it is, None without one."""
        import onnx

        try:
            schema: Any = onnx.defs.get_schema(node.op_type, versions.get(domain, 1), domain)
        except Exception:  # of onnx's own C++ code: there is no such op
            return None
        return schema.function_body if schema.has_function else None

    def _attribute(self, attribute: Any, bound: Mapping[str, Any], versions: Mapping[str, int], prefix: str) -> Any:
        kind = attribute.type
        if kind == attribute.FLOAT:
            return attribute.f
        if kind == attribute.INT:
            return attribute.i
        if kind == attribute.STRING:
            return attribute.s.decode("utf-8", "replace")
        if kind == attribute.FLOATS:
            return list(attribute.floats)
        if kind == attribute.INTS:
            return list(attribute.ints)
        if kind == attribute.STRINGS:
            return [text.decode("utf-8", "replace") for text in attribute.strings]
        if kind == attribute.TENSOR:
            return None if attribute.t.data_type == STRING else self._file.numbers(attribute.t)
        if kind == attribute.GRAPH:
            graph = attribute.g
            return self._graph(graph, graph.input, graph.output, bound, versions, prefix)
        return None

    def _ordered(self, steps: Sequence[Step], there: Collection[str]) -> list[Step]:
        """The steps so that each comes after those it reads of, as they stand where that is so."""
        makers = {name: at for at, step in enumerate(steps) for name in step.gives if name}
        done: set[int] = set()
        under_way: set[int] = set()
        found: list[Step] = []
        for root in range(len(steps)):
            stack = [(root, False)]
            while stack:
                at, ready = stack.pop()
                if ready:
                    under_way.discard(at)
                    done.add(at)
                    found.append(steps[at])
                    continue
                if at in done:
                    continue
                if at in under_way:
                    raise LoadError(
                        f"{self._file.spec} is damaged: its nodes wait for each other, {steps[at].label} for itself"
                    )
                under_way.add(at)
                stack.append((at, True))
                for name in steps[at].needs:
                    before = makers.get(name)
                    if name in there or before is None or before in done:
                        continue
                    if before in under_way:
                        raise LoadError(
                            f"{self._file.spec} is damaged: its nodes wait for each other, {steps[before].label} and"
                            f" {steps[at].label}"
                        )
                    stack.append((before, False))
        return found


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _prefixed(step: Step, prefix: str) -> Step:
    def named(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{prefix}{name}" if name else "" for name in names)

    return replace(step, reads=named(step.reads), gives=named(step.gives))


def freeing(steps: Sequence[Step], gives: Collection[str]) -> list[Step]:
    """The steps, each with the values that no later one needs."""
    seen = set(gives)
    found: list[Step] = []
    for step in reversed(steps):
        names = dict.fromkeys((*step.needs, *filter(None, step.gives)))
        found.append(replace(step, frees=tuple(name for name in names if name not in seen)))
        seen.update(names)
    return found[::-1]
