"""Flax's linen: a model is a description, and its variables exist once it has seen an input."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.sources.jax.dtypes import is_key
from rfcalc.sources.jax.functions import Array, Function, Role, by_mode, full_name, signature_of
from rfcalc.sources.jax.marks import marked

SEPARATOR = "/"


def is_model(value: Any) -> bool:
    """Whether it is a module of linen."""
    linen = sys.modules.get("flax.linen")
    return linen is not None and isinstance(value, linen.Module)


def function_of(model: Any, variables: Any = None) -> Function:
    """The model; its ``variables`` are those that ``init`` gives, made by shapes alone where they are not given."""
    own = signature_of(type(model).__call__)
    signature = None if own is None else own.replace(parameters=list(own.parameters.values())[1:])
    kind = {"": full_name(type(model))}

    def initial(args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Function:
        import jax

        classes: dict[str, str] = dict(kind)
        named = {**by_mode(signature, args, kwargs, training), **kwargs}

        def make() -> Any:
            filled, given = _filled((args, named))
            with _marking(classes):
                return model.init(_rngs(), *filled, **given)

        made = jax.eval_shape(make)
        return _with(model, made, signature, classes)

    if variables is not None:
        return _with(model, variables, signature, kind)
    return Function(_not_yet, (), kind, signature, initial)


def _not_yet(*_: Any) -> Any:
    raise RuntimeError("the variables of the model are not known yet")


def _with(model: Any, variables: Any, signature: Any, classes: Mapping[str, str]) -> Function:
    import jax

    leaves, form = jax.tree_util.tree_flatten_with_path(variables)
    arrays = tuple(_array(path, value) for path, value in leaves)
    known = dict(classes)

    def call(held: Sequence[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Any:
        made = jax.tree_util.tree_unflatten(form, list(held))
        named = {**by_mode(signature, args, kwargs, training), **kwargs}
        with _marking(known):
            if not training:
                return model.apply(made, *args, **named)
            others = [name for name in made if name != "params"]
            return model.apply(made, *args, rngs=_rngs(), mutable=others, **named)[0]

    return Function(call, arrays, known, signature)


def _rngs() -> dict[str, Any]:
    import jax

    return {name: jax.random.PRNGKey(0) for name in ("params", "dropout", "droppath", "drop_path", "noise", "sample")}


def _filled(value: Any) -> Any:
    """Arguments with zeros in place of structs, inside a pass by shapes alone."""
    import jax
    import jax.numpy as jnp

    def made(leaf: Any) -> Any:
        return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf

    return jax.tree_util.tree_map(made, value)


def _array(path: tuple[Any, ...], value: Any) -> Array:
    names = [str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry)))) for entry in path]
    names = [name.replace(".", "_") for name in names]
    boxed = names[-1] == "value" and len(names) > 2
    names = names[:-1] if boxed else names  # a variable in a box with names of axes
    collection, module, key = names[0], ".".join(names[1:-1]), names[-1]
    if is_key(value.dtype):
        return Array(module, key, value, Role.HIDDEN)
    return Array(module, key, value, Role.PARAMETER if collection == "params" else Role.BUFFER)


def _marking(classes: dict[str, str]) -> Any:
    """While modules are called, primitives carry their names; their classes are noted."""
    from flax import linen

    def intercept(run: Any, args: Any, kwargs: Any, context: Any) -> Any:
        path = ".".join(str(part).replace(".", "_") for part in context.module.path)
        if context.method_name != "__call__":
            return run(*args, **kwargs)
        classes.setdefault(path, full_name(type(context.module)))
        with marked(path):
            return run(*args, **kwargs)

    return linen.intercept_methods(intercept)
