"""What every kind of JAX model is made into: a function of arrays and inputs, and what its arrays are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


class Role(Enum):
    """What an array is to a network."""

    PARAMETER = auto()
    BUFFER = auto()
    HIDDEN = auto()  #: no number of the network's: a key, a counter


@dataclass(frozen=True)
class Array:
    """An array of a model: the module that has it, its name there, and the array or a struct of its shape and type."""

    module: str
    key: str
    value: Any
    role: Role = Role.PARAMETER


@dataclass(frozen=True)
class Function:
    """A model as a function.

    ``call`` takes the arrays in order, the inputs by position and by name, and whether it is a pass in training; it is
    what JAX traces. ``classes`` are the full names of the classes of modules by their names, parents first, the whole
    under "". ``signature`` is that of the inputs. Where arrays exist only once a
    shape of input is known, ``initial`` makes the function with them of positional and keyword inputs. Where it
    ``closes`` over its arrays, they come back as constants of the program, and ``call`` does without them.
    """

    call: Callable[[Sequence[Any], tuple[Any, ...], Mapping[str, Any], bool], Any]
    arrays: tuple[Array, ...] = ()
    classes: Mapping[str, str] = field(default_factory=dict)
    signature: inspect.Signature | None = None
    initial: Callable[[tuple[Any, ...], Mapping[str, Any], bool], Function] | None = None
    closes: bool = False


def full_name(kind: type) -> str:
    """A class by its module and its name."""
    return f"{kind.__module__}.{kind.__qualname__}"


# --- arguments that say in which mode a pass is -----------------------------------------------------------------------

_TRAINING = frozenset({"train", "training", "is_training", "is_train"})
_INFERENCE = frozenset({"deterministic", "inference", "eval", "use_running_average"})
_KEYS = frozenset({"key", "rng", "prng_key", "rng_key"})


def signature_of(function: Any) -> inspect.Signature | None:
    """The parameters of a function, None where it does not tell."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def tensors_only(signature: inspect.Signature | None) -> inspect.Signature | None:
    """The signature without the parameters that `by_mode` fills."""
    if signature is None:
        return None
    kept = [p for p in signature.parameters.values() if p.name not in _TRAINING | _INFERENCE | _KEYS]
    return signature.replace(parameters=kept)


def by_mode(
    signature: inspect.Signature | None, args: Sequence[Any], kwargs: Mapping[str, Any], training: bool
) -> dict[str, Any]:
    """Arguments by the names under which JAX's libraries ask for the mode, or for a key, where they are not given."""
    if signature is None:
        return {}
    found: dict[str, Any] = {}
    positional = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    given = {p.name for p, _ in zip(positional, args, strict=False)} | set(kwargs)
    for name in signature.parameters:
        if name in given:
            continue
        if name in _TRAINING:
            found[name] = training
        elif name in _INFERENCE:
            found[name] = not training
        elif name in _KEYS:
            import jax

            found[name] = jax.random.PRNGKey(0)
    return found
