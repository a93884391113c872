"""A network of an ONNX file as a module: its parameters in the modules of its nodes, which run when they are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import nn

from rfcalc.errors import LoadError, UsageError
from rfcalc.sources.calling import Call, by_name, classes_of, modules_of
from rfcalc.sources.onnx.dtypes import Numbers, is_float
from rfcalc.sources.onnx.files import LARGEST, File
from rfcalc.sources.onnx.graph import Body, Planner, Step
from rfcalc.sources.onnx.rules import Op
from rfcalc.sources.onnx.scopes import root_class
from rfcalc.sources.onnx.weights import (
    ONNX,
    Role,
    Source,
    Tables,
    Use,
    Uses,
    free_key,
    key_of,
    on_meta,
    role_of,
)
from rfcalc.sources.parts import part

#: Where the value of a tensor of the file is found: a module and a key in it, its numbers, or why there are none.
Found: TypeAlias = "tuple[str, str] | Numbers | str"
#: Errors that a rule may raise for inputs that do not fit.
_OWN = (KeyError, IndexError, TypeError, AttributeError, ZeroDivisionError, AssertionError, OverflowError)


@dataclass(frozen=True)
class Plan:
    """How a network runs: its graph, and where the tensors of the file are found. It never changes."""

    spec: str
    body: Body
    found: Mapping[str, Found]

    def __deepcopy__(self, memo: Any) -> Plan:
        return self


def network_of(file: File, *, real: bool = False) -> Network:
    """The network that a file describes. ``real`` reads its weights; without, they have shapes and no numbers.

    Raises `LoadError` for a file that cannot be run.
    """
    planner = Planner(file)
    body = planner.plan()
    made = part(root_class(file.model.graph.node) or "Network", Network)
    assert isinstance(made, Network)
    made.take_over(file, body, planner.tensors, real, ONNX)
    return made


class Network(nn.Module):
    """Its forward takes the graph's inputs in order, or by name."""

    def take_over(self, file: Source, body: Body, tensors: Mapping[str, Any], real: bool, tables: Tables) -> None:
        """Make the modules and hold the tensors of the file. ``tables`` say what they are to the ops of its format."""
        self._found: dict[str, Found] = {}
        parts = modules_of(self, classes_of([(step.place, step.op.type) for step in body.steps]))
        uses = Uses(body, tables)
        for name, tensor in tensors.items():
            self._hold(file, name, tensor, uses.of(name), parts, real, tables)
        self._plan = Plan(file.spec, body, self.__dict__.pop("_found"))

    def _hold(
        self,
        file: Source,
        name: str,
        tensor: Any,
        uses: Sequence[Use],
        parts: Mapping[str, nn.Module],
        real: bool,
        tables: Tables,
    ) -> None:
        role = role_of(tensor, uses, file, tables)
        use = uses[0] if uses else None
        home = use.step.place.names[-1] if use is not None and use.step.place and use.step.place.names else ""
        home = home if home in parts else ""
        if role is Role.CONSTANT:
            known = file.numbers(tensor) if real or on_meta(tensor, file.spec).numel() <= LARGEST else None
            if known is not None and not (len(known.shape) > 1 and is_float(known.kind)):
                self._found[name] = known
                return
            if known is None and not on_meta(tensor, file.spec).is_floating_point():
                where = file.place(tensor)
                why = f"are in {where}, which is not there" if where else "are too many to be read"
                self._found[name] = f"the numbers of {name!r} {why}"
                return
            held = known.tensor() if known is not None else on_meta(tensor, file.spec)
        else:
            numbers = file.numbers(tensor) if real else None
            held = on_meta(tensor, file.spec) if numbers is None else numbers.tensor()
        module = parts[home]
        registry: dict[str, Any] = module._parameters if role is Role.PARAMETER else module._buffers
        key = free_key(key_of(name, home, use, tables), {**module._parameters, **module._buffers, **module._modules})
        registry[key] = nn.Parameter(held, held.is_floating_point()) if role is Role.PARAMETER else held
        self._found[name] = (home, key)

    @property
    def takes(self) -> tuple[str, ...]:
        """The names of its inputs in order."""
        return self._plan.body.takes

    # --- running ------------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the graph gives, in order. Raises `UsageError` for inputs that it does not take."""
        takes = self.takes
        unknown = [name for name in kwargs if name not in takes]
        if unknown or len(args) > len(takes):
            wrong = f"no input {unknown[0]!r}" if unknown else f"{len(takes)} inputs, not {len(args)}"
            raise UsageError(f"{self._plan.spec} has {wrong}; it takes {', '.join(takes) or 'nothing'}")
        values: dict[str, Any] = {"": None, **dict(zip(takes, args, strict=False)), **kwargs}
        missing = [name for name in takes if name not in values]
        if missing:
            raise UsageError(f"{self._plan.spec} needs its input {missing[0]!r}: it takes {', '.join(takes)}")
        tensors = [value for value in values.values() if isinstance(value, torch.Tensor)]
        away = next((x.device for x in tensors if x.device.type not in ("cpu", "meta")), None)
        run = _Run(self, away)
        values.update(run.held())
        found = run.graph(self._plan.body, values)
        return found[0] if len(found) == 1 else tuple(found)


class _Run:
    """One pass. ``device`` is where constants go, None where they stay."""

    def __init__(self, network: Network, device: torch.device | None) -> None:
        self._network = network
        self._device = device
        self._parts = by_name(network)

    def held(self) -> dict[str, Any]:
        """The tensors of the file by name."""
        return {name: self._value(found) for name, found in self._network._plan.found.items()}

    def _value(self, found: Found) -> Any:
        if isinstance(found, str):
            return _Missing(found)
        if isinstance(found, Numbers):
            made = found.tensor()
            return made if self._device is None else made.to(self._device)
        home, key = found
        module = self._parts[home]
        held = module._parameters.get(key)
        return module._buffers[key] if held is None else held

    def graph(self, body: Body, values: dict[str, Any]) -> list[Any]:
        """What a graph gives for values that hold what it takes, and what is around it."""
        self._call(body.call, values)
        return [values[name] for name in body.gives]

    def _call(self, call: Call[Step], values: dict[str, Any]) -> tuple[Any, ...]:
        for step in call.steps:
            if isinstance(step, Call):
                module = self._parts.get(step.name)
                if module is None:  # in a graph inside another, or a function: there is no module for it
                    self._call(step, values)
                else:
                    module(lambda inner=step: self._call(inner, values), *(values.get(n) for n in step.reads))
                continue
            self._step(step, values)
            for name in step.frees:
                values.pop(name, None)
        return tuple(values.get(name) for name in call.gives)

    def _step(self, step: Step, values: dict[str, Any]) -> None:
        inputs = [values[name] if name else None for name in step.reads]
        for value in inputs:
            if isinstance(value, _Missing):
                raise LoadError(f"{self._network._plan.spec}: {step.label} cannot run: {value.why}")
        found = self._function(step, inputs, values) if step.body is not None else self._op(step, inputs, values)
        for name, value in zip(step.gives, found, strict=False):
            if name:
                values[name] = value

    def _function(self, step: Step, inputs: Sequence[Any], values: Mapping[str, Any]) -> Sequence[Any]:
        assert step.body is not None
        inside = {**values, **dict.fromkeys(step.body.takes), **dict(zip(step.body.takes, inputs, strict=False))}
        return self.graph(step.body, inside)

    def _op(self, step: Step, inputs: Sequence[Any], values: Mapping[str, Any]) -> Sequence[Any]:
        assert step.rule is not None
        op = _with_tensors(step.op)
        if self._device is not None:
            inputs = [_moved(value, self._device) for value in inputs]
        try:
            given = (self._inner(values), op, *inputs) if step.runs else (op, *inputs)
            found = step.rule(*given)
        except (RuntimeError, ValueError) as error:
            if error.args and isinstance(error.args[0], str) and not error.args[0].startswith("node "):
                error.args = (f"{step.label} of {_shapes(inputs)}: {error.args[0]}", *error.args[1:])
            raise
        except _OWN as error:
            raise ValueError(f"{step.label} of {_shapes(inputs)}: {type(error).__name__}: {error}") from error
        return found if isinstance(found, tuple) else (found,)

    def _inner(self, values: Mapping[str, Any]) -> Callable[[Body, Sequence[Any]], list[Any]]:
        def run(body: Body, inputs: Sequence[Any]) -> list[Any]:
            return self.graph(body, {**values, **dict(zip(body.takes, inputs, strict=False))})

        return run


class _Missing:
    """Stands for a tensor whose numbers cannot be had."""

    def __init__(self, why: str) -> None:
        self.why = why


def _with_tensors(op: Op) -> Op:
    held = {name: value.tensor() for name, value in op.attributes.items() if isinstance(value, Numbers)}
    return replace(op, attributes={**op.attributes, **held}) if held else op


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return value.to(device) if isinstance(value, torch.Tensor) and value.device != device else value


def _shapes(inputs: Sequence[Any]) -> str:
    shapes = [
        "x".join(map(str, value.shape)) or "a scalar" if isinstance(value, torch.Tensor) else "a list"
        for value in inputs
        if value is not None
    ]
    return ", ".join(shapes) or "nothing"
