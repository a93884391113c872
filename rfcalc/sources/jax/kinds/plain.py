"""A function of JAX's alone. The arrays that it holds, or that were given to it before, are its parameters."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rfcalc.sources.jax.dtypes import is_key, same_array
from rfcalc.sources.jax.functions import Array, Function, Role, by_mode, signature_of

SEPARATOR = "."
_CLASSES = {"": "function"}


def is_jitted(value: Any) -> bool:
    """Whether it is a function that `jax.jit` gave."""
    return "jax" in sys.modules and all(hasattr(value, name) for name in ("lower", "trace", "__wrapped__"))


def is_partial(value: Any) -> bool:
    """Whether it is a function that was given arrays before."""
    return isinstance(value, functools.partial) and any(map(_is_array, _leaves((value.args, value.keywords))))


def function_of(function: Any) -> Function:
    """The function.

    What `functools.partial` gave it before are parameters by their places in these arguments. Other arrays that it
    reaches are constants to JAX, found when it is traced, and called after the names by which the function has them.
    """
    if is_partial(function):
        return _of_partial(function)
    signature = signature_of(function)

    def call(_: Sequence[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Any:
        return function(*args, **{**by_mode(signature, args, kwargs, training), **kwargs})

    def initial(args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Function:
        import jax

        leaves, form = jax.tree_util.tree_flatten((args, dict(kwargs)))
        variable = [at for at, leaf in enumerate(leaves) if _is_array(leaf)]

        def run(*given: Any) -> Any:
            filled = list(leaves)
            for at, value in zip(variable, given, strict=True):
                filled[at] = value
            inner, named = jax.tree_util.tree_unflatten(form, filled)
            return call((), inner, named, training)

        closed = jax.make_jaxpr(run)(*(leaves[at] for at in variable))
        return Function(call, tuple(_named(function, _constants(closed))), _CLASSES, signature, closes=True)

    return Function(call, (), _CLASSES, signature, initial)


def _leaves(value: Any) -> list[Any]:
    import jax

    return list(jax.tree_util.tree_leaves(value))


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _of_partial(function: functools.partial[Any]) -> Function:
    import jax

    leaves, form = jax.tree_util.tree_flatten_with_path((function.args, function.keywords))
    at = [number for number, (_, leaf) in enumerate(leaves) if _is_array(leaf)]
    arrays = tuple(_array("", leaves[number][0][2:] or leaves[number][0][1:], leaves[number][1]) for number in at)
    signature = signature_of(function)

    def call(held: Sequence[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool) -> Any:
        values = [leaf for _, leaf in leaves]
        for number, value in zip(at, held, strict=True):
            values[number] = value
        before, named = jax.tree_util.tree_unflatten(form, values)
        mode = by_mode(signature, args, {**named, **kwargs}, training)
        return function.func(*before, *args, **{**named, **mode, **kwargs})

    return Function(call, arrays, _CLASSES, signature)


# --- names ------------------------------------------------------------------------------------------------------------


def _constants(closed: Any) -> Iterator[Any]:
    """The arrays that a program holds, and those of the programs inside it, each once."""
    seen: set[int] = set()
    left = [closed]
    while left:
        program = left.pop(0)
        for constant in getattr(program, "consts", ()):
            if _is_array(constant) and id(constant) not in seen:
                seen.add(id(constant))
                yield constant
        inner = getattr(program, "jaxpr", program)
        for equation in inner.eqns:
            for value in equation.params.values():
                parts = value if isinstance(value, tuple | list) else (value,)
                left += [part for part in parts if hasattr(part, "eqns")]


def _named(function: Any, constants: Iterator[Any]) -> Iterator[Array]:
    """The constants of a function's program that may be weights, by the names under which the function has them."""
    import jax

    known: list[tuple[str, tuple[Any, ...], Any]] = []
    for name, value in _reached(function):
        try:
            leaves = jax.tree_util.tree_flatten_with_path(value)[0]
        except (TypeError, ValueError):  # a dictionary whose keys have no order: none that JAX could take
            continue
        known += [(name, path, leaf) for path, leaf in leaves if _is_array(leaf)]
    for number, constant in enumerate(constants):
        if is_key(constant.dtype) or not _is_floating(constant) or constant.size < 2:
            continue
        same = next((entry for entry in known if same_array(entry[2], constant)), None)
        name, path, _ = same or (f"constant_{number}", (), None)
        yield _array(name, path, constant)


def _reached(function: Any, depth: int = 3) -> Iterator[tuple[str, Any]]:
    """What a function has by name: in its closure and its globals, and what functions in these have."""
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    if code is None or not depth:
        return
    cells = zip(code.co_freevars, getattr(function, "__closure__", None) or (), strict=True)
    held = {name: cell.cell_contents for name, cell in cells}
    held |= {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    for name, value in held.items():
        if hasattr(value, "__code__") or is_jitted(value):
            yield from _reached(value, depth - 1)
        elif not isinstance(value, type(sys)):
            yield name, value
    for constant in code.co_consts:  # functions inside it, as a loop has
        if hasattr(constant, "co_names"):
            inner = {name: function.__globals__[name] for name in constant.co_names if name in function.__globals__}
            yield from ((name, value) for name, value in inner.items() if not isinstance(value, type(sys)))


def _is_floating(leaf: Any) -> bool:
    return str(leaf.dtype).startswith(("float", "bfloat", "complex"))


def _array(name: str, path: tuple[Any, ...], leaf: Any) -> Array:
    parts = [str(getattr(e, "key", getattr(e, "name", getattr(e, "idx", e)))).replace(".", "_") for e in path]
    names = [*filter(None, [name]), *parts] or ["value"]
    module, key = ".".join(names[:-1]), names[-1]
    if is_key(leaf.dtype):
        return Array(module, key, leaf, Role.HIDDEN)
    size = 1
    for extent in leaf.shape:
        size *= extent
    return Array(module, key, leaf, Role.PARAMETER if _is_floating(leaf) and size > 1 else Role.BUFFER)
