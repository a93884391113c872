"""What a Keras model takes, whatever it computes with."""

from __future__ import annotations

import re
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.sources.loaded import Expected

#: The name of an input that its author did not name; the number counts the inputs made in a process.
_UNNAMED = re.compile(r"input_layer(_\d+)?")


def demand_built(model: Any, name: str) -> None:
    """Raise `LoadError` for a model that has no weights yet."""
    if not model.built:
        raise LoadError(
            f"{name} is not built, so its layers have no weights yet: give it a keras.Input, call model.build(shape),"
            " or call it once on an example"
        )


def symbolic(model: Any) -> list[Any]:
    """The inputs that a functional or sequential model was built with; none for other models."""
    try:
        return list(model.inputs or ())
    except AttributeError:
        return []


def names_of(inputs: list[Any]) -> list[str]:
    """Keras's names of the inputs; an only input that was given no name is the input."""
    names = [tensor._keras_history.operation.name for tensor in inputs]
    return ["input"] if len(names) == 1 and _UNNAMED.fullmatch(names[0]) else names


def expected(model: Any) -> tuple[Expected, ...]:
    """Its inputs, without batch."""
    inputs = symbolic(model)
    if inputs:
        pairs = zip(names_of(inputs), inputs, strict=True)
        return tuple(Expected(name, tuple(tensor.shape[1:]), str(tensor.dtype)) for name, tensor in pairs)
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    if isinstance(shape, list | tuple) and len(shape) > 1 and all(n is None or isinstance(n, int) for n in shape):
        return (Expected("input", tuple(shape[1:]), str(model.input_dtype)),)
    return ()
