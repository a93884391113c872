"""``module:fn`` where that is JAX's: a function, or a module of Flax (nnx and linen), Equinox, Haiku or Keras.

JAX traces it on shapes alone, and its primitives are run one by one. ``jax:module:fn`` says that a function is meant
and no callable that makes a model; where the code around it uses JAX, a function that needs its arguments is taken so.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from rfcalc.sources import forms
from rfcalc.sources.loaded import Loaded

PREFIX = "jax:"
_LIBRARIES = frozenset({"jax", "flax", "equinox", "haiku"})


def load(spec: str) -> Loaded:
    """The function or the module. Raises `LoadError` where JAX is not installed, and what ``module:attr`` raises."""
    from rfcalc.sources import python

    if importlib.util.find_spec("jax") is None:
        raise forms.missing("jax", spec)
    import jax  # noqa: F401

    return python.load(spec.removeprefix(PREFIX), shown=spec, with_jax=True)


def is_used_by(home: ModuleType) -> bool:
    """Whether code uses JAX or one of its libraries."""
    if "jax" not in sys.modules:
        return False
    for value in vars(home).values():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if str(name).partition(".")[0] in _LIBRARIES:
            return True
        if isinstance(value, type) and any(base.__module__.partition(".")[0] in _LIBRARIES for base in value.__mro__):
            return True
    return False


def of_object(model: Any, name: str) -> Loaded | None:
    """A model of JAX's that is there already; None for anything else. A pair of one and its state is one, too."""
    if "jax" not in sys.modules:
        return None
    from rfcalc.sources.jax.kinds import equinox, haiku, keras, linen, nnx, plain

    if keras.is_model(model):
        from rfcalc.sources.keras.inputs import expected

        shown = name or str(model.name)
        return replace(_loaded(keras.function_of(model, shown), model, shown, keras.SEPARATOR), inputs=expected(model))
    if nnx.is_model(model):
        return _loaded(nnx.function_of(model), model, name, nnx.SEPARATOR)
    if haiku.is_model(model):
        return _loaded(haiku.function_of(model), None, name or "the transformed function", haiku.SEPARATOR)
    if isinstance(model, tuple) and len(model) == 2:
        first, second = model
        if equinox.is_model(first) and equinox.is_state(second):
            return _loaded(equinox.function_of(first, second), first, name, equinox.SEPARATOR)
        if linen.is_model(first):
            return _loaded(linen.function_of(first, second), first, name, linen.SEPARATOR)
    if equinox.is_model(model):
        return _loaded(equinox.function_of(model), model, name, equinox.SEPARATOR)
    if linen.is_model(model):
        return _loaded(linen.function_of(model), model, name, linen.SEPARATOR)
    if plain.is_jitted(model) or plain.is_partial(model):
        return of_function(model, name)
    return None


def of_function(function: Any, name: str) -> Loaded:
    """A function that JAX can trace."""
    from rfcalc.sources.jax.kinds import plain

    own = getattr(function, "__name__", "function")
    return _loaded(plain.function_of(function), None, name or own, plain.SEPARATOR)


def is_function(target: Any, given: Mapping[str, Any]) -> bool:
    """Whether a callable is a function of arrays, and none that makes a model."""
    from rfcalc.sources.jax import building

    return building.is_function(target, given)


def seeded(target: Any, given: Mapping[str, Any]) -> list[str]:
    """The arguments in which a constructor asks for a seed of random numbers, and nobody gave one."""
    from rfcalc.sources.jax import building

    return building.seeded(target, given)


def of_target(target: Any, given: Mapping[str, Any], spec: str) -> Loaded | None:
    """The model that calling an attribute of code that uses JAX gives; None where it gives none of JAX's."""
    from torch import nn

    from rfcalc.sources.jax.building import built

    made = built(target, given, spec)
    found = of_object(made, spec)
    if found is not None or not callable(made) or isinstance(made, type | nn.Module):
        return found
    return of_function(made, spec)


def _loaded(function: Any, model: Any, name: str, separator: str) -> Loaded:
    from rfcalc.sources.jax.network import network_of

    shown = name or type(model).__name__
    return Loaded(network_of(function, shown), shown, separator=separator, ids=True)
