"""Make a model of JAX's by calling what makes it: by shapes alone where that is possible."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.sources.jax.dtypes import is_key

_RANDOM = frozenset({"key", "rng", "prng_key"})


def is_function(target: Any, given: Mapping[str, Any]) -> bool:
    """Whether a callable is a function of arrays: it needs arguments that nobody gave, and that are no seeds."""
    if isinstance(target, type) or given:
        return False
    needed = _needed(target, given)
    return bool(needed) and not all(name in _RANDOM or name == "rngs" for name in needed)


def _needed(target: Any, given: Mapping[str, Any]) -> list[str]:
    try:
        # A class of Flax's or Equinox's has a metaclass that takes anything.
        maker = getattr(target, "__init__") if isinstance(target, type) else target  # noqa: B009
        parameters = list(inspect.signature(maker).parameters.values())
    except (TypeError, ValueError):
        return []
    parameters = parameters[1:] if isinstance(target, type) else parameters
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty and p.name not in given]


def seeded(target: Any, given: Mapping[str, Any]) -> list[str]:
    """The arguments in which a constructor needs seeds of random numbers; no number of a weight decides here."""
    usual = {*_RANDOM, "rngs"} if "flax" in sys.modules else _RANDOM
    return [name for name in _needed(target, given) if name in usual]


def _seed(name: str) -> Any:
    """A seed, made where it is used: Flax's remember who used them."""
    if name == "rngs":
        from flax import nnx

        return nnx.Rngs(0)
    import jax

    return jax.random.PRNGKey(0)


def built(target: Any, given: Mapping[str, Any], spec: str) -> Any:
    """What calling gives: with shapes and types in place of arrays, or with arrays where their numbers say something.

    Raises `LoadError` where the call fails.
    """
    names = seeded(target, given)

    def make() -> Any:
        return target(**{name: _seed(name) for name in names}, **given)

    for how in _by_shapes():
        try:
            made = how(make)
        except Exception:  # a constructor that looks at numbers, or what is made is no tree of arrays
            continue
        if not _is_whole(made):
            break
        return made
    try:
        return make()
    except Exception as error:
        text = (str(error).splitlines() or [""])[0]
        name = getattr(target, "__name__", "it")
        raise LoadError(f"{spec}: calling {name} failed: {type(error).__name__}: {text}") from error


def _by_shapes() -> list[Callable[[Callable[[], Any]], Any]]:
    """How the libraries that are there make models without numbers."""
    found: list[Callable[[Callable[[], Any]], Any]] = []
    nnx, equinox = sys.modules.get("flax.nnx"), sys.modules.get("equinox")
    if nnx is not None:
        found.append(nnx.eval_shape)
    if equinox is not None:
        found.append(equinox.filter_eval_shape)
    return found


def _is_whole(made: Any) -> bool:
    """Whether a model made by shapes says all: no whole numbers or truth values, as places and masks are, are lost.

    A function keeps what it was made with where nobody looks.
    """
    import jax

    leaves = jax.tree_util.tree_leaves(made)
    if any(callable(leaf) and not hasattr(leaf, "dtype") for leaf in leaves) and len(leaves) == 1:
        return False
    for leaf in leaves:
        dtype = getattr(leaf, "dtype", None)
        if dtype is not None and leaf.shape and not is_key(dtype) and str(dtype).startswith(("int", "bool")):
            return False
    return True
