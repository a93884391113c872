"""Keras on its JAX backend: a model is a layer with variables, which hold JAX's arrays, and with layers inside."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.sources.jax.functions import Array, Function, Role, full_name, signature_of, tensors_only
from rfcalc.sources.jax.marks import mark_calls
from rfcalc.sources.keras.backend import loaded_keras
from rfcalc.sources.keras.inputs import demand_built, names_of, symbolic

SEPARATOR = "/"


def is_model(value: Any) -> bool:
    """Whether it is a layer or a model of Keras's that computes with JAX."""
    keras = loaded_keras()
    return keras is not None and keras.backend.backend() == "jax" and isinstance(value, keras.layers.Layer)


def function_of(model: Any, name: str) -> Function:
    """The model. Raises `LoadError` for one that is not built."""
    keras: Any = loaded_keras()
    demand_built(model, name)
    layers = _layers(model)
    held = list(_held(model, layers))
    signature = _signature(model)

    def call(values: Sequence[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Any:
        mapping = [(variable, value) for (variable, _), value in zip(held, values, strict=True)]
        end = mark_calls(layers)
        try:
            with keras.StatelessScope(state_mapping=mapping):
                given, named = _arranged(model, signature, args, kwargs)
                return model(*given, **named, training=training)
        finally:
            end()

    classes = {path: full_name(type(layer)) for path, layer in layers.items()}
    return Function(call, tuple(array for _, array in held), classes, signature)


def _layers(model: Any) -> dict[str, Any]:
    """The layers by their names below the model, parents first; one in several places by the first of them."""
    keras: Any = loaded_keras()
    found, seen, left = {"": model}, {id(model)}, [("", model)]
    while left:
        path, layer = left.pop(0)
        for inner in layer._layers:
            if id(inner) in seen or isinstance(inner, keras.layers.InputLayer):
                continue
            seen.add(id(inner))
            full = _free(f"{path}.{inner.name.replace('.', '_')}".strip("."), found)
            found[full] = inner
            left.append((full, inner))
    return found


def _held(model: Any, layers: Mapping[str, Any]) -> list[tuple[Any, Array]]:
    """The variables, each with the first layer that has it; states of random generators are no numbers of the model."""
    found: dict[int, tuple[Any, Array]] = {}
    for path, layer in layers.items():
        trainable = {id(variable) for variable in layer._trainable_variables}
        taken: dict[str, Any] = {}
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
            if id(variable) in found:
                continue
            key = _free(variable.name.replace(".", "_"), taken)
            taken[key] = variable
            role = Role.PARAMETER if id(variable) in trainable else Role.BUFFER
            found[id(variable)] = variable, Array(path, key, variable.value, role)
    for variable in model.variables:
        if id(variable) not in found:
            found[id(variable)] = variable, Array("", variable.name, variable.value, Role.HIDDEN)
    return list(found.values())


def _free(name: str, taken: Mapping[str, Any]) -> str:
    number, found = 0, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def _signature(model: Any) -> inspect.Signature | None:
    """The inputs by Keras's names, or what ``call`` takes where the model is no functional one."""
    inputs = symbolic(model)
    if not inputs:
        own = signature_of(model.call)
        return tensors_only(own)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = names_of(inputs)
    if not all(name.isidentifier() for name in names):
        return None
    return inspect.Signature([inspect.Parameter(name, kind) for name in names])


def _arranged(
    model: Any, signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs in order or by name as the model takes them: a functional one wants them in one structure."""
    keras: Any = loaded_keras()
    inputs = symbolic(model)
    if not inputs:
        return args, dict(kwargs)
    names = names_of(inputs)
    flat = [*args, *(kwargs[name] for name in names[len(args) :] if name in kwargs)]
    if isinstance(model, keras.Sequential) or len(flat) != len(inputs):
        return tuple(flat), {}
    return (keras.tree.pack_sequence_as(model.input, flat),), {}
