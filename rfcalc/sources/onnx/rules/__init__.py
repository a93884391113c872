"""What each op of ONNX does, in torch's functions: one small rule for each op type, in the file of its family.

A rule takes the `Op` and its inputs in order, None for those that are left out, and gives a tensor, or a tuple of them
in the order of the op's outputs. What it asks of the numbers of a tensor (a shape to reshape to, axes) it asks by
`ints`: constants of the file and sizes know them. Semantics are those of the operator specification of ONNX; where they
changed, `Op.version` is the version of the operator set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

import torch

#: A tensor, a list of them where ONNX has a sequence, None for what is left out or empty.
Value: TypeAlias = Any
Rule: TypeAlias = Callable[..., Any]

MICROSOFT = "com.microsoft"
#: Domains whose ops are those of the default one.
_SAME = frozenset({"", "ai.onnx", "ai.onnx.preview"})
_FAMILIES = (
    *("pointwise", "activation", "reduction", "movement", "indexing", "conv", "pool", "linear", "norm", "resample"),
    *("recurrent", "control", "sequences", "quantized", "signal", "losses", "random", "boxes", "contrib", "attention"),
)

_RULES: dict[tuple[str, str], Rule] = {}
#: Ops whose rule runs the graphs among its attributes.
_RUNNING: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Op:
    """One node as a rule sees it: its attributes decoded, its opset's version, how many outputs are asked for."""

    type: str
    version: int = 99
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or what the specification says where it is left out."""
        return self.attributes.get(name, default)


def rule(*names: str, domain: str = "", runs: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule for op types. With ``runs`` it takes, first, a function that runs a graph on values."""

    def register(function: Rule) -> Rule:
        for name in names:
            _RULES[domain, name] = function
            if runs:
                _RUNNING.add((domain, name))
        return function

    return register


def find(domain: str, name: str) -> Rule | None:
    """The rule of an op type, None where there is none."""
    _load()
    return _RULES.get(("" if domain in _SAME else domain, name))


def runs_graphs(domain: str, name: str) -> bool:
    """Whether the op's rule runs graphs."""
    return ("" if domain in _SAME else domain, name) in _RUNNING


def op_types(domain: str = "") -> list[str]:
    """The op types of a domain that have a rule."""
    _load()
    return sorted(name for home, name in _RULES if home == domain)


@cache
def _load() -> None:
    for family in _FAMILIES:
        import_module(f"{__name__}.{family}")


# --- what rules share -------------------------------------------------------------------------------------------------


def ints(value: Value) -> list[int]:
    """The numbers of a tensor, or of an attribute, as whole numbers in order."""
    if isinstance(value, torch.Tensor):
        return [int(number) for number in value.flatten().tolist()]
    return [int(number) for number in value]


def floats(value: Value) -> list[float]:
    """The numbers of a tensor, or of an attribute, in order."""
    if isinstance(value, torch.Tensor):
        return [float(number) for number in value.flatten().tolist()]
    return [float(number) for number in value]


def one(value: Value) -> Any:
    """The only number of a tensor."""
    return value.flatten()[0].item() if isinstance(value, torch.Tensor) else value


def axes_of(op: Op, given: Value, name: str = "axes") -> list[int] | None:
    """Axes that newer operator sets take as an input, and older ones as an attribute."""
    if given is not None:
        return ints(given)
    return ints(op.get(name)) if op.get(name) is not None else None


def forward_axes(axes: Sequence[int], rank: int) -> list[int]:
    """The axes counted from the front. Raises ValueError for one that is not there."""
    if any(not -rank <= axis < rank for axis in axes):
        raise ValueError(f"axes {list(axes)} of a tensor with {rank}")
    return [axis % rank for axis in axes]
