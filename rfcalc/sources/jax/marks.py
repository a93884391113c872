"""Which module a primitive belongs to: names that JAX keeps with each primitive while a model is traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from itertools import count
from typing import Any

from rfcalc.sources.calling import Place

_SIGN = "rfcalc"
_numbers = count(1)


def marked(path: str) -> AbstractContextManager[Any]:
    """While a call of this module runs, primitives carry its name."""
    import jax

    return jax.named_scope(f"{_SIGN}#{next(_numbers)}#{path}")


def marks(equation: Any) -> tuple[tuple[str, int], ...]:
    """The names of the modules around a primitive, from the outermost on, and the numbers of the calls."""
    found = []
    for entry in equation.source_info.name_stack.stack:
        name = getattr(entry, "name", "")
        if name.startswith(f"{_SIGN}#"):
            _, number, path = name.split("#", 2)
            found.append((path, int(number)))
    return tuple(found)


def place_of(path: str, classes: Mapping[str, str], calls: Mapping[str, int] | None = None) -> Place:
    """The modules around and with that name."""
    parts = path.split(".") if path else []
    names = tuple(".".join(parts[: at + 1]) for at in range(len(parts)))
    kinds = tuple(classes.get(name, "") for name in names)
    return Place(names, kinds, tuple((calls or {}).get(name, 0) for name in names) if calls else ())


# --- objects whose calls are marked -----------------------------------------------------------------------------------

#: The names of the objects under way, by id; they are copies that live as long as the trace.
_PATHS: dict[int, str] = {}


def mark_calls(objects: Mapping[str, Any]) -> Callable[[], None]:
    """Have calls of these objects marked by their names; gives what ends it, and leaves them as they were.

    Each becomes of a subclass of its class that does nothing but that.
    """
    held: list[tuple[Any, Any]] = []
    for path, item in objects.items():
        kind: Any = type(item)
        if "__call__" not in dir(kind):
            continue
        try:
            object.__setattr__(item, "__class__", _marking(kind))
        except (TypeError, AttributeError):  # it cannot be derived from: its parameters name what runs in it
            continue
        _PATHS[id(item)] = path
        held.append((item, kind))

    def end() -> None:
        for item, kind in held:
            _PATHS.pop(id(item), None)
            object.__setattr__(item, "__class__", kind)

    return end


@cache
def _marking(kind: Any) -> Any:
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        path = _PATHS.get(id(self))
        if path is None:
            return kind.__call__(self, *args, **kwargs)
        with marked(path):
            return kind.__call__(self, *args, **kwargs)

    body = {"__call__": __call__, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind)(kind.__name__, (kind,), body)
