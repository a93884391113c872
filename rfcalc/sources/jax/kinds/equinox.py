"""Equinox: a model is a tree of arrays that can be called, for one sample if its author did not say otherwise."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.sources.jax.dtypes import is_key
from rfcalc.sources.jax.functions import Array, Function, Role, by_mode, full_name, signature_of
from rfcalc.sources.jax.marks import mark_calls

SEPARATOR = "."


def is_model(value: Any) -> bool:
    """Whether it is a module of Equinox that can be called."""
    equinox = sys.modules.get("equinox")
    return equinox is not None and isinstance(value, equinox.Module) and callable(value)


def is_state(value: Any) -> bool:
    """Whether it is what Equinox keeps the state of layers in."""
    equinox = sys.modules.get("equinox")
    return equinox is not None and isinstance(value, equinox.nn.State)


def function_of(model: Any, state: Any = None) -> Function:
    """The model; with a ``state``, it is called with it as the last argument, and what it gives of it is left out."""
    import equinox
    import jax

    leaves, form = jax.tree_util.tree_flatten_with_path((model, state))
    at = [number for number, (_, leaf) in enumerate(leaves) if _is_array(leaf)]
    arrays = tuple(_array(leaves[number][0], leaves[number][1]) for number in at)
    signature = signature_of(type(model).__call__)
    if signature is not None:
        names = list(signature.parameters.values())[1:]
        names = [p for p in names if state is None or p.name != "state"]
        signature = signature.replace(parameters=names)
    classes = {name: full_name(type(module)) for name, module in _modules(model).items()}

    def call(held: Sequence[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Any:
        values = [leaf for _, leaf in leaves]
        for number, value in zip(at, held, strict=True):
            values[number] = value
        copy, kept = jax.tree_util.tree_unflatten(form, values)
        copy = equinox.nn.inference_mode(copy, value=not training)
        end = mark_calls(_modules(copy))
        named = {**by_mode(signature, args, kwargs, training), **kwargs}
        try:
            if state is None:
                return copy(*args, **named)
            found = copy(*args, state=kept, **named)
            return found[0] if isinstance(found, tuple) and len(found) == 2 else found
        finally:
            end()

    return Function(call, arrays, classes, signature)


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _array(path: tuple[Any, ...], value: Any) -> Array:
    names = [_text(entry) for entry in path[1:]]
    module, key = ".".join(names[:-1]), names[-1] if names else "value"
    if path[0].idx == 1:  # of the state
        return Array("", f"state_{'_'.join(names)}".replace(".", "_"), value, Role.BUFFER)
    if is_key(value.dtype):
        return Array(module, key, value, Role.HIDDEN)
    floating = str(value.dtype).startswith(("float", "bfloat", "complex"))
    return Array(module, key, value, Role.PARAMETER if floating else Role.BUFFER)


def _text(entry: Any) -> str:
    for name in ("name", "key", "idx"):
        if hasattr(entry, name):
            return str(getattr(entry, name)).replace(".", "_")
    return str(entry).strip(".[]'")


def _modules(model: Any) -> dict[str, Any]:
    """The modules inside a model by their names in its tree."""
    import equinox
    import jax

    found: dict[str, Any] = {"": model}
    left: list[tuple[str, Any]] = [("", model)]
    while left:
        name, item = left.pop(0)
        inside = jax.tree_util.tree_flatten_with_path(
            item, is_leaf=lambda part, item=item: part is not item and isinstance(part, equinox.Module)
        )[0]
        for path, part in inside:
            if isinstance(part, equinox.Module):
                full = ".".join(filter(None, [name, *map(_text, path)]))
                if full not in found:
                    found[full] = part
                    left.append((full, part))
    return found
