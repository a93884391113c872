"""What each primitive of JAX does, in torch's functions: one small rule for each, in the file of its family.

A rule takes the `Op` and the primitive's operands in order, tensors or Python numbers where the program has a literal,
and gives a tensor, or a list of them in the order of its results. Semantics are those of `jax.lax` (StableHLO's, which
its documentation refers to). Whole numbers without sign that torch has no arithmetic for are wider ones with a sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

import torch

#: A tensor, or a Python number.
Value: TypeAlias = Any
Rule: TypeAlias = Callable[..., Any]

_FAMILIES = ("pointwise", "movement", "indexing", "reduction", "windows", "linear", "decompositions", "random")
_RULES: dict[str, Rule] = {}


@dataclass(frozen=True)
class Shaped:
    """What a value is: its extents and torch's type."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Op:
    """One primitive as a rule sees it: its parameters, what comes in and out.

    ``weights`` are the operands that follow from weights alone, ``known`` those that follow from constants alone.
    """

    name: str
    params: dict[str, Any]
    takes: tuple[Shaped, ...]
    gives: tuple[Shaped, ...]
    weights: tuple[bool, ...] = ()
    known: tuple[bool, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    @property
    def out(self) -> Shaped:
        """The only result."""
        return self.gives[0]


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for primitives."""

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return register


def find(name: str) -> Rule | None:
    """The rule of a primitive, None where there is none."""
    _load()
    return _RULES.get(name)


def primitives() -> list[str]:
    """The primitives that have a rule."""
    _load()
    return sorted(_RULES)


def _load() -> None:
    if not _RULES:
        for family in _FAMILIES:
            import_module(f"{__name__}.{family}")


# --- what rules share -------------------------------------------------------------------------------------------------

T = torch.Tensor


def tensor(value: Value, like: Shaped) -> T:
    """The operand as a tensor."""
    return value if isinstance(value, T) else torch.tensor(value, dtype=like.dtype)


def tensors(op: Op, values: Sequence[Value]) -> list[T]:
    """All operands as tensors."""
    return [tensor(value, like) for value, like in zip(values, op.takes, strict=True)]


def ints(values: Sequence[Any]) -> list[int]:
    """Python's whole numbers."""
    return [int(value) for value in values]
