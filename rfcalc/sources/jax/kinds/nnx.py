"""Flax's nnx: a model is an object with variables in its attributes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.sources.jax.dtypes import is_key
from rfcalc.sources.jax.functions import Array, Function, Role, by_mode, full_name, signature_of
from rfcalc.sources.jax.marks import mark_calls

SEPARATOR = "."


def is_model(value: Any) -> bool:
    """Whether it is a module of nnx."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(value, nnx.Module)


def function_of(model: Any) -> Function:
    """The model, in training or not as it is asked for; dropout and batch norms follow."""
    from flax import nnx

    graph, state = nnx.split(model)
    flat = nnx.to_flat_state(state)
    paths = [path for path, _ in flat]
    arrays = tuple(_array(path, variable) for path, variable in flat)
    own = signature_of(type(model).__call__)
    signature = None if own is None else own.replace(parameters=list(own.parameters.values())[1:])
    classes = {name: full_name(type(module)) for name, module in _modules(model).items()}

    def call(held: Sequence[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Any:
        leaves = [_keys(value) for value in held]
        variables = [variable.replace(leaf) for (_, variable), leaf in zip(flat, leaves, strict=True)]
        copy = nnx.merge(graph, nnx.from_flat_state(list(zip(paths, variables, strict=True))))
        copy.train() if training else copy.eval()
        end = mark_calls(_modules(copy))
        try:
            return copy(*args, **{**by_mode(signature, args, kwargs, training), **kwargs})
        finally:
            end()

    return Function(call, arrays, classes, signature)


def _array(path: tuple[Any, ...], variable: Any) -> Array:
    from flax import nnx

    value = variable.get_value() if hasattr(variable, "get_value") else variable.value
    module, key = ".".join(map(str, path[:-1])), str(path[-1])
    if is_key(value.dtype) or isinstance(variable, nnx.RngState):
        return Array(module, key, value, Role.HIDDEN)
    return Array(module, key, value, Role.PARAMETER if isinstance(variable, nnx.Param) else Role.BUFFER)


def _keys(value: Any) -> Any:
    return value


def _modules(model: Any) -> dict[str, Any]:
    """The modules inside a model by their names in its tree, the first of them for one in several places."""
    from flax import nnx

    found: dict[str, Any] = {}
    seen: set[int] = set()
    for path, item in nnx.iter_graph(model):
        if isinstance(item, nnx.Module) and not isinstance(item, nnx.List | nnx.Dict) and id(item) not in seen:
            seen.add(id(item))
            found[".".join(map(str, path))] = item
    return dict(sorted(found.items(), key=lambda entry: entry[0].count(".") + bool(entry[0])))
