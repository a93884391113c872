"""Haiku: a model is a pair of functions, which make its arrays and apply them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.sources.jax.functions import Array, Function, Role, by_mode, full_name, signature_of
from rfcalc.sources.jax.kinds.linen import _filled, _not_yet
from rfcalc.sources.jax.marks import marked

SEPARATOR = "/"


def is_model(value: Any) -> bool:
    """Whether it is what `haiku.transform` gives."""
    haiku = sys.modules.get("haiku")
    return haiku is not None and isinstance(value, haiku.Transformed | haiku.TransformedWithState)


def function_of(model: Any) -> Function:
    """The transformed function; its arrays are made by shapes alone."""
    import haiku

    stateful = isinstance(model, haiku.TransformedWithState)
    own = signature_of(model.apply)
    before = [] if own is None else [name for name in own.parameters if name in ("params", "state", "rng")]
    signature = None if own is None else own.replace(parameters=list(own.parameters.values())[len(before) :])
    key = "rng" in before
    if signature is not None and _takes_anything(signature):
        signature = _of_wrapped(model.apply) or signature

    def initial(args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Function:
        import jax

        classes: dict[str, str] = {}
        named = {**by_mode(signature, args, kwargs, training), **kwargs}

        def make() -> Any:
            filled, given = _filled((args, named))
            with _marking(classes):
                return model.init(jax.random.PRNGKey(0), *filled, **given)

        return _with(model, jax.eval_shape(make), stateful, key, signature, classes)

    return Function(_not_yet, (), {}, signature, initial)


def _takes_anything(signature: Any) -> bool:
    return all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values())


def _of_wrapped(function: Any) -> Any:
    """The signature of the user's function inside Haiku's."""
    for cell in getattr(function, "__closure__", None) or ():
        held = cell.cell_contents
        if callable(held):
            found = getattr(held, "__wrapped__", None) or _of_wrapped(held)
            if found is not None:
                return found if not callable(found) else signature_of(found)
            if not str(getattr(held, "__module__", "")).startswith("haiku."):
                return signature_of(held)
    return None


def _with(model: Any, made: Any, stateful: bool, key: bool, signature: Any, classes: dict[str, str]) -> Function:
    import jax

    params, state = made if stateful else (made, {})
    leaves, form = jax.tree_util.tree_flatten_with_path((params, state))
    arrays = tuple(_array(path, value) for path, value in leaves)

    def call(held: Sequence[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Any:
        own, kept = jax.tree_util.tree_unflatten(form, list(held))
        named = {**by_mode(signature, args, kwargs, training), **kwargs}
        seeds = (jax.random.PRNGKey(0),) if key else ()
        with _marking(classes):
            if stateful:
                return model.apply(own, kept, *seeds, *args, **named)[0]
            return model.apply(own, *seeds, *args, **named)

    return Function(call, arrays, classes, signature)


def _array(path: tuple[Any, ...], value: Any) -> Array:
    module, key = str(path[1].key), ".".join(str(entry.key) for entry in path[2:])
    role = Role.PARAMETER if path[0].idx == 0 else Role.BUFFER
    return Array(_plain(module), key.replace(".", "_"), value, role)


def _plain(name: str) -> str:
    """A name of Haiku's, ``mlp/~/linear_0``, in parts; ``~`` stands for the constructor and says nothing."""
    return ".".join(part.replace(".", "_") for part in name.split("/") if part != "~")


def _marking(classes: dict[str, str]) -> Any:
    import haiku

    def intercept(run: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name != "__call__":
            return run(*args, **kwargs)
        path = _plain(context.module.module_name)
        classes.setdefault(path, full_name(type(context.module)))
        with marked(path):
            return run(*args, **kwargs)

    return haiku.intercept_methods(intercept)
