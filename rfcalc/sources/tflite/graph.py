"""The plan of a TFLite file: its ops as steps, each a layer called after the tensor that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rfcalc.errors import LoadError
from rfcalc.sources.calling import Place, nested
from rfcalc.sources.onnx.graph import Body, Step, freeing
from rfcalc.sources.onnx.network import Network
from rfcalc.sources.parts import part
from rfcalc.sources.tflite.files import ELSE, File, Operator, Subgraph, Tensor
from rfcalc.sources.tflite.rules import GRAPHS, Op, find
from rfcalc.sources.tflite.weights import TABLES

#: Ops whose results are sizes: they run where they stand, in whichever module is under way.
_SIZES = frozenset({"SHAPE", "RANK", "RANGE", "FILL", "BROADCAST_ARGS"})
#: Ops that only prepare a constant.
_PREPARING = frozenset({"DEQUANTIZE", "DENSIFY"})
_DEEPEST = 40
_SHOWN = 4  #: op types without a rule that an error names


def network_of(file: File, *, real: bool = False) -> Network:
    """The network that a file describes. ``real`` reads its weights; without, they have shapes and no numbers.

    Raises `LoadError` for a file that cannot be run.
    """
    planner = _Planner(file)
    body = planner.plan()
    made = part("Network", Network)
    assert isinstance(made, Network)
    made.take_over(file, body, planner.tensors, real, TABLES)
    return made


class _Planner:
    """Plans the graphs of one file. ``tensors`` are the constants and states that it holds, by name.

    Names in a graph other than the first get that graph's number before them.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self.tensors: dict[str, Tensor] = {}
        self._missing: dict[str, str] = {}
        self._bodies: dict[int, Body] = {}
        self._under_way: list[int] = []
        self._used: set[str] = set()
        self._variables: dict[str, str] = {}  #: the value of each variable, by the name of the variable

    def plan(self) -> Body:
        """The model. Raises `LoadError` for a graph that cannot run, and for ops that have no rule."""
        body = self._body(0)
        if self._missing:
            shown = [f"{kind} ({where})" for kind, where in list(self._missing.items())[:_SHOWN]]
            more = f" and {len(self._missing) - _SHOWN} more" if len(self._missing) > _SHOWN else ""
            raise LoadError(f"{self._file.spec}: there is no rule for the op {', '.join(shown)}{more}; {ELSE}")
        return body

    def _body(self, number: int) -> Body:
        if number in self._bodies:
            return self._bodies[number]
        if not 0 <= number < len(self._file.subgraphs):
            raise LoadError(f"{self._file.spec} is damaged: an op runs graph {number}, which is not in it")
        if number in self._under_way or len(self._under_way) > _DEEPEST:
            raise LoadError(f"{self._file.spec} is refused: its graphs call themselves")
        self._under_way.append(number)
        graph = self._file.subgraphs[number]
        names = self._names(graph, number)
        steps = self._steps(graph, names, number)
        takes = tuple(names[at] for at in graph.takes)
        gives = tuple(names[at] for at in graph.gives)
        held = {name for at, name in enumerate(names) if graph.tensors[at].where is not None or graph.tensors[at].state}
        self._check(graph, names, steps, {*takes, *held, *self._variables.values()}, gives)
        self.tensors.update({name: graph.tensors[at] for at, name in enumerate(names) if name in held})
        ordered = freeing(steps, gives)
        call = nested(ordered, gives, {*held, *self._variables.values()}, lambda step: step.op.type in _SIZES)
        self._under_way.pop()
        self._bodies[number] = Body(takes, gives, call, tuple(ordered), ())
        return self._bodies[number]

    def _names(self, graph: Subgraph, number: int) -> list[str]:
        names = [f"{number}\0{tensor.name}" if number else tensor.name for tensor in graph.tensors]
        if number:
            return names
        for at in graph.takes:
            wanted = self._file.names.get(at) or _plain(graph.tensors[at].label)
            if wanted and wanted not in names:
                names[at] = wanted
        return names

    def _check(
        self, graph: Subgraph, names: Sequence[str], steps: Sequence[Step], there: set[str], gives: Sequence[str]
    ) -> None:
        known = set(there)
        for step in steps:
            for name in step.needs:
                if name not in known:
                    raise LoadError(
                        f"{self._file.spec} is damaged: {step.label} reads {_shown(name)!r}, which no op before it,"
                        " input or constant gives"
                    )
            known.update(step.gives)
        for name in gives:
            if name not in known:
                raise LoadError(f"{self._file.spec} is damaged: nothing gives its output {_shown(name)!r}")

    # --- ops ----------------------------------------------------------------------------------------------------------

    def _steps(self, graph: Subgraph, names: Sequence[str], number: int) -> list[Step]:
        constants = {names[at] for at, tensor in enumerate(graph.tensors) if tensor.where is not None}
        handles: dict[str, str] = {}  #: the variable that a handle is of
        values = dict(self._variables)
        renamed: dict[str, str] = {}
        steps: list[Step] = []
        for place, operator in enumerate(graph.operators):
            reads = tuple(renamed.get(names[at], names[at]) if at >= 0 else "" for at in operator.reads)
            gives = tuple(names[at] if at >= 0 else "" for at in operator.gives)
            if operator.type == "VAR_HANDLE":
                handles[gives[0]] = f"{operator.settings.get('Container')}/{operator.settings.get('SharedName')}"
            elif operator.type == "ASSIGN_VARIABLE" and reads[0] in handles:
                values[handles[reads[0]]] = reads[1]
            elif operator.type == "READ_VARIABLE" and reads[0] in handles:
                tensor = graph.tensors[operator.gives[0]]
                renamed[gives[0]] = values.get(handles[reads[0]]) or self._fresh(tensor, handles[reads[0]])
                values.setdefault(handles[reads[0]], renamed[gives[0]])
            elif operator.type == "CALL_ONCE":
                values.update(self._initial(int(operator.settings.get("InitSubgraphIndex", 0))))
            else:
                tensors = tuple(graph.tensors[at] if at >= 0 else None for at in operator.reads)
                results = tuple(graph.tensors[at] for at in operator.gives if at >= 0)
                prepares = operator.type in _PREPARING and all(name in constants for name in reads)
                if prepares:
                    constants.update(gives)
                steps.append(self._step(operator, place, reads, gives, tensors, results, number, prepares))
        ends = [name for name in (names[at] for at in graph.gives) if name in renamed]
        for name in ends:  # a state that is given as it was read
            tensor = next(held for at, held in enumerate(graph.tensors) if names[at] == name)
            again = Operator("READ_VARIABLE", (), ())
            steps.append(self._step(again, -1, (renamed[name],), (name,), (tensor,), (tensor,), number, True))
        return steps

    def _fresh(self, tensor: Tensor, variable: str) -> str:
        """A state of zeros for a variable that nothing set."""
        name = f"state\0{variable}"
        self.tensors[name] = Tensor(name, tensor.dims, tensor.data_type, tensor.label, state=True, scale=tensor.scale)
        self._variables[variable] = name
        return name

    def _initial(self, number: int) -> Mapping[str, str]:
        """The values that a graph, run once, gives to variables: constants alone are followed."""
        if not 0 < number < len(self._file.subgraphs):
            raise LoadError(f"{self._file.spec} is damaged: an op runs graph {number}, which is not in it")
        graph = self._file.subgraphs[number]
        handles: dict[int, str] = {}
        for operator in graph.operators:
            if operator.type == "VAR_HANDLE":
                handles[operator.gives[0]] = (
                    f"{operator.settings.get('Container')}/{operator.settings.get('SharedName')}"
                )
            elif operator.type == "ASSIGN_VARIABLE" and operator.reads[0] in handles:
                held = graph.tensors[operator.reads[1]]
                if held.where is not None:
                    name = f"state\0{handles[operator.reads[0]]}"
                    self.tensors[name] = Tensor(
                        name, held.dims, held.data_type, held.label, scale=held.scale, where=held.where, state=True
                    )
                    self._variables[handles[operator.reads[0]]] = name
        return self._variables

    def _step(
        self,
        operator: Operator,
        place: int,
        reads: tuple[str, ...],
        gives: tuple[str, ...],
        tensors: tuple[Tensor | None, ...],
        results: tuple[Tensor, ...],
        number: int,
        prepares: bool,
    ) -> Step:
        kind = operator.type
        settings = {
            key: self._body(int(operator.settings[key])) if key in GRAPHS.get(kind, ()) else value
            for key, value in operator.settings.items()
        }
        op = Op(kind, 99, settings, len(gives), tensors, results)
        label = f"node {_shown(gives[0]) if gives else place} ({kind})"
        rule = find(kind)
        if rule is None:
            self._missing.setdefault(kind, f"op {place}" if not number else f"op {place} of graph {number}")
        home = None
        if not number and not prepares and kind not in _SIZES:
            name = self._layer(results[0].label if results else "", kind)
            home = Place((name,), (kind,))
        return Step(op, rule, reads, gives, label, home, kind in GRAPHS)

    def _layer(self, label: str, kind: str) -> str:
        """What an op's layer is called, once: as the first of the ops that a converter put into it."""
        wanted = found = _plain(label.split(";")[0]) or kind.lower()
        count = 1
        while found in self._used:
            count += 1
            found = f"{wanted}_{count}"
        self._used.add(found)
        return found


def _plain(label: str) -> str:
    """A name without what converters put around it: the number of an output, and their own prefixes."""
    head, _, tail = label.rpartition(":")
    label = head if head and tail.isdigit() else label
    return label.removeprefix("serving_default_")


def _shown(name: str) -> str:
    return name.rpartition("\0")[2] if name.startswith("state\0") else name.partition("\0")[0] or name.strip("\0")
