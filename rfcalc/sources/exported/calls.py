"""The graph of an exported program, run op by op inside the module calls that it was recorded in.

torch.export writes a model down as one flat list of ops, and beside each op the modules that were being called. The
classes of those modules are not needed to run it: a `Part` (`rfcalc.sources.parts`) stands for each of them, has its
name, its class's name and its parameters, and is called where the original was.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import fx, nn

from rfcalc.sources.exported import ops as exported_ops

#: The module of a name.
Find: TypeAlias = Callable[[str], nn.Module]


def refusal(module: fx.GraphModule) -> str:
    """Why a program cannot be run, "" for one that can."""
    return next(filter(None, (exported_ops.refusal(node) for graph in _graphs(module) for node in graph.nodes)), "")


def classes(module: fx.GraphModule) -> dict[str, str]:
    """The full names of the classes of the original's modules, by the modules' names, as far as they were called."""
    found: dict[str, str] = {}
    for graph in _graphs(module):
        for node in graph.nodes:
            found.update((name, kind) for _, name, kind in _stack(node) or ())
    return found


def _graphs(module: fx.GraphModule) -> Iterator[fx.Graph]:
    yield from (inside.graph for inside in module.modules() if isinstance(inside, fx.GraphModule))


@dataclass
class Call:
    """The ops of one call of one module, and the calls inside it, in order."""

    module: nn.Module
    key: str = ""
    steps: list[fx.Node | Call] = field(default_factory=list)
    reads: tuple[fx.Node, ...] = ()
    gives: tuple[fx.Node, ...] = ()


class Body:
    """A graph of the program: the whole of it, or a branch inside it that runs within the calls ``around``."""

    def __init__(
        self,
        module: fx.GraphModule,
        root: nn.Module,
        find: Find,
        weights: Collection[str] = (),
        around: Sequence[str] = (),
    ) -> None:
        nodes = list(module.graph.nodes)
        self._takes = [node for node in nodes if node.op == "placeholder"]
        self._output = nodes[-1].args[0]
        self._last = _last_uses(nodes)
        self._held: dict[fx.Node, Any] = {}
        for node in nodes:
            if node.op == "get_attr":
                held = operator.attrgetter(node.target)(module)
                inside = [key for key, _, _ in _stack(node) or ()]
                branch = isinstance(held, fx.GraphModule)
                self._held[node] = Body(held, root, find, weights, inside) if branch else held
        self._call = _calls(nodes, root, find, around)
        _connect(self._call, frozenset(node for node in self._takes if node.name in weights))

    def run(self, given: Sequence[Any], device: torch.device) -> Any:
        """What the graph makes of the values of its placeholders; new tensors are made on the device."""
        values = dict(zip(self._takes, given, strict=True))
        self._run(self._call, values, device)
        return fx.map_arg(self._output, values.__getitem__)

    def _run(self, call: Call, values: dict[fx.Node, Any], device: torch.device) -> tuple[Any, ...]:
        for step in call.steps:
            if isinstance(step, Call):
                step.module(lambda inner=step: self._run(inner, values, device), *(values[n] for n in step.reads))
                continue
            values[step] = self._value(step, values, device)
            for node in self._last[step]:
                del values[node]
        return tuple(values[node] for node in call.gives)

    def _value(self, node: fx.Node, values: Mapping[fx.Node, Any], device: torch.device) -> Any:
        if node.op == "get_attr":
            return self._held[node]
        args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
        return exported_ops.run(node.target, args, kwargs, device)


def _calls(nodes: Sequence[fx.Node], root: nn.Module, find: Find, around: Sequence[str]) -> Call:
    """The ops in the calls of modules that they were recorded in, as far as those are not under way already."""
    under_way = [Call(root)]
    for node in nodes:
        if node.op not in ("call_function", "get_attr") or exported_ops.only_checks(node):
            continue
        stack = _stack(node)
        if stack is not None:  # sizes have none: they belong where they stand
            inner = [row for row in stack if row[0] and row[1] and row[0] not in around]
            depth = 0
            while depth < min(len(inner), len(under_way) - 1) and under_way[depth + 1].key == inner[depth][0]:
                depth += 1
            del under_way[depth + 1 :]
            for key, name, _ in inner[depth:]:
                call = Call(find(name), key)
                under_way[-1].steps.append(call)
                under_way.append(call)
        under_way[-1].steps.append(node)
    return under_way[0]


def _stack(node: fx.Node) -> list[tuple[str, str, str]] | None:
    """The calls that an op was recorded in, from that of the whole model on: (key, name, class); None where unknown."""
    recorded = node.meta.get("nn_module_stack") or {}
    rows = [(key, name, kind) for key, (name, kind) in recorded.items() if name != key]
    return rows or None


def _connect(call: Call, weights: Collection[fx.Node]) -> list[fx.Node]:
    """Fill in what the calls read of each other; returns all ops of this one."""
    read: list[fx.Node] = []
    made: list[fx.Node] = []
    for step in call.steps:
        made += _connect(step, weights) if isinstance(step, Call) else [step]
        read += step.reads if isinstance(step, Call) else step.all_input_nodes
    inside = set(made)
    call.reads = tuple(dict.fromkeys(node for node in read if node not in inside and node not in weights))
    call.gives = tuple(node for node in made if any(_runs_outside(user, inside) for user in node.users))
    return made


def _runs_outside(node: fx.Node, inside: Collection[fx.Node]) -> bool:
    return node not in inside and not exported_ops.only_checks(node)


def _last_uses(nodes: Sequence[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
    """After each op, the values that no later one needs."""
    seen: set[fx.Node] = set()
    last: dict[fx.Node, list[fx.Node]] = {}
    for node in reversed(nodes):
        last[node] = [read for read in node.all_input_nodes if read not in seen]
        seen.update(last[node])
    return last
