"""An exported program as a module: its parameters and buffers by their names, and its ops run on what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, InputSpec, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from rfcalc.errors import LoadError, UsageError
from rfcalc.sources.exported.calls import Body, classes, refusal
from rfcalc.sources.exported.inputs import Sizes, example_leaves, taken
from rfcalc.sources.parts import part


@dataclass(frozen=True)
class _Held:
    """Where the value of a placeholder lies."""

    registry: Mapping[str, Any]
    key: str

    def value(self, device: torch.device) -> Any:
        """The value; a constant of the program is brought to the device."""
        value = self.registry[self.key]
        away = isinstance(value, torch.Tensor) and not value.is_meta and value.device != device
        return value.to(device) if away else value


def module_of(program: ExportedProgram, name: str) -> Program:
    """The program as a module of the original's class, by name; ``name`` is that of the program in messages.

    Raises `LoadError` for a program that cannot be run here.
    """
    refused = refusal(program.graph_module)
    if refused:
        raise LoadError(f"{name} cannot be run: {refused}; name the code that makes the model (file.py:attr)")
    made = part(classes(program.graph_module).get("", ""), Program)
    assert isinstance(made, Program)
    made.take_over(program, name)
    return made


class Program(nn.Module):
    """An exported program. Its forward takes its tensors in order, or nested as the original took them."""

    def take_over(self, program: ExportedProgram, name: str) -> None:
        """Hold what the program holds. Raises `LoadError` for what cannot be run here."""
        signature = program.graph_signature
        self._spec = name
        self._classes = classes(program.graph_module)
        self._parts: dict[str, nn.Module] = {"": self}
        self._tensors: dict[Any, torch.Tensor] = {}
        self._constants: dict[str, Any] = {}
        arguments = iter(example_leaves(program))
        self._held = [self._hold(program, spec, arguments) for spec in signature.input_specs]
        self._results = [at for at, spec in enumerate(signature.output_specs) if spec.kind == OutputKind.USER_OUTPUT]
        weights = frozenset(spec.arg.name for spec in signature.input_specs if spec.kind != InputKind.USER_INPUT)
        self._body = Body(program.graph_module, self, self._part, weights)
        self.takes = taken(program)
        self._sizes = Sizes(self.takes, program.range_constraints)

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What the program gives back, in order. Raises `UsageError` or `TraceError` for inputs it cannot take."""
        if self.training:
            raise UsageError(f"{self._spec} runs as it was exported, in training or in inference: leave --training out")
        tensors = self._in_order(args, kwargs)
        self._sizes.check(self._spec, tensors)
        device = next((tensor.device for tensor in tensors if not tensor.is_meta), torch.device("cpu"))
        given = iter(tensors)
        values = [next(given) if held is None else held.value(device) for held in self._held]
        returned = self._body.run(values, device)
        return tuple(returned[at] for at in self._results)

    def _in_order(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
        """The tensors among the arguments, as the program takes them."""
        names = [one.name for one in self.takes]
        parameters = list(dict.fromkeys(name.partition(".")[0] for name in names))
        unknown = [name for name in kwargs if name not in parameters]
        if unknown:
            raise UsageError(f"{self._spec} has no input {unknown[0]!r}; it takes {', '.join(names) or 'no tensor'}")
        nested = [*args, *(kwargs[name] for name in parameters if name in kwargs)]
        tensors = [leaf for leaf in pytree.tree_leaves(nested) if isinstance(leaf, torch.Tensor)]
        if len(tensors) != len(names):
            raise UsageError(
                f"{self._spec} takes {len(names)} tensors ({', '.join(names) or 'none'}), it was given {len(tensors)}"
            )
        return tensors

    # --- what the program holds ---------------------------------------------------------------------------------------

    def _hold(self, program: ExportedProgram, spec: InputSpec, arguments: Any) -> _Held | None:
        """Where the value of a placeholder is found when the program runs; None for a tensor that it takes."""
        target = spec.target or spec.arg.name
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            home, _, leaf = target.rpartition(".")
            module = self._part(home)
            kept = program.state_dict if target in program.state_dict else program.constants
            registry: dict[str, Any] = module._buffers if spec.kind == InputKind.BUFFER else module._parameters
            registry[leaf] = self._once(kept[target], spec.kind == InputKind.PARAMETER)
            return _Held(registry, leaf)
        if spec.kind == InputKind.USER_INPUT:
            example = next(arguments)
            if isinstance(spec.arg, TensorArgument):
                return None
            self._constants[target] = spec.arg.value if isinstance(spec.arg, ConstantArgument) else example
        elif spec.kind == InputKind.CONSTANT_TENSOR:
            self._constants[target] = program.constants[target]
        else:
            raise LoadError(f"{self._spec} holds a {spec.kind.name} ({target}), which cannot be run here")
        return _Held(self._constants, target)

    def _once(self, tensor: torch.Tensor, parameter: bool) -> torch.Tensor:
        """One object for all that show the same memory: before it was saved they were one."""
        made = nn.Parameter(tensor, tensor.requires_grad) if parameter else tensor
        key = (parameter, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        return self._tensors.setdefault(key, made) if tensor.numel() else made

    def _part(self, name: str) -> nn.Module:
        """The module of that name, made with all that are around it where they are not there yet."""
        known = self._parts.get(name)
        if known is None:
            around, _, leaf = name.rpartition(".")
            known = self._parts[name] = part(self._classes.get(name, ""))
            self._part(around)._modules[leaf] = known
        return known
