"""A user's Python file with a function ``models()`` that yields models. Naming it runs its code.

A module may not survive the way to another process: what is sent there is the file and the place in it, and the other
process runs the file again.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rfcalc.errors import LoadError, UsageError
from rfcalc.sources.given import from_object
from rfcalc.sources.python import import_home
from rfcalc.sweeping.row import one_line

if TYPE_CHECKING:
    from rfcalc.tracing.construct import Constants

_FORM = "a spec, a module or a function that makes one, alone or as (name, model) or (name, model, input)"


def names(path: str) -> list[tuple[str, str | None]]:
    """For each model that the file yields, the name of its row, and what is wrong with it already.

    A spec is its own name; a model is called ``path#NAME``, by its class or its function where it was given no name,
    and by its number where it could not be had. Raises `LoadError` where the file does not run, `UsageError` where it
    yields nothing.
    """
    seen: Counter[str] = Counter()
    found = []
    with redirect_stdout(sys.stderr):
        for name, error in _names(path):
            seen[name] += 1
            found.append((name if seen[name] == 1 else f"{name}#{seen[name]}", error))
    if not found:
        raise UsageError(f"models() of {path} yields nothing; yield {_FORM}")
    return found


def _names(path: str) -> Iterator[tuple[str, str | None]]:
    reader = _reader(path)
    for position in itertools.count():
        numbered = f"{path}#{position + 1}"
        try:
            value, _ = reader.take(position)
        except StopIteration:
            return
        except (Exception, SystemExit) as error:  # nothing comes after it: a generator that raised has ended
            yield numbered, one_line(error)
            return
        try:
            label = _label(value)
        except LoadError as error:
            yield numbered, str(error)
            continue
        yield label if isinstance(value, str) else f"{path}#{label}", None


def model_at(path: str, position: int, name: str) -> tuple[Any, Any]:
    """The model that the file yields at a position, counted from 0, called by its row's name, and the input it yields.

    Raises `LoadError` where a function makes something that is no model, or the file yields another model there than
    when it was asked for `names`, and whatever the user's code raises.
    """
    try:
        value, constants = _reader(path).take(position)
        found = _label(value)
    except StopIteration:
        found = "nothing"
    if f"#{found}#" not in f"#{name}#":
        raise LoadError(
            f"{name}: models() yields {found} here, it must yield the same models in the same order every time"
        )
    _, model, inputs = _parts(value)
    if isinstance(model, str):
        return model, inputs
    if constants is not None:
        whole = constants.factory
        constants.factory = lambda: _parts(whole())[1]
    loaded = from_object(model, name, constants)
    if loaded is None:
        made, constants = _built(model)
        loaded = from_object(made, name, constants)
        if loaded is None:
            raise LoadError(f"{name}: the function gave a {type(made).__name__}, expected a model")
    return loaded, inputs


def _label(value: Any) -> str:
    """What is yielded in a word."""
    name, model, _ = _parts(value)
    return name or str(model if isinstance(model, str) else getattr(model, "__name__", type(model).__name__))


def _parts(value: Any) -> tuple[str | None, Any, Any]:
    """Name, model and input of what was yielded; None for what was left out."""
    named = isinstance(value, tuple) and len(value) in (2, 3) and isinstance(value[0], str)
    name, model, inputs = (*value, None)[:3] if named else (None, value, None)
    if not isinstance(model, str) and not callable(model):
        raise LoadError(f"models() yielded a {type(value).__name__}; yield {_FORM}")
    return name, model, inputs


def _reader(path: str) -> _Reader:
    """The reader of a file as it is now: one for all models, so that each is made once by each process."""
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError:
        changed = 0  # importing it says what is wrong
    return _cached_reader(path, changed)


@lru_cache(maxsize=8)
def _cached_reader(path: str, changed: int) -> _Reader:
    return _Reader(path)


def _built(make: Callable[[], Any]) -> tuple[Any, Constants | None]:
    """What the user's code makes, on the meta device where that can be."""
    from rfcalc.sources.keras.backend import on_meta
    from rfcalc.tracing.construct import build_on_meta

    return build_on_meta(make, on_meta)


class _Reader:
    """Runs ``models()`` of a file on the meta device, where models take no memory; gives what it yields in order."""

    def __init__(self, path: str) -> None:
        from rfcalc.sources.keras.backend import torch_by_default

        with torch_by_default():
            home = import_home(path, path)
        models = getattr(home, "models", None)
        if not callable(models):
            raise LoadError(f"{path} has no function models() that yields models; for one of its models, {path}:NAME")
        self._models: Callable[[], Iterable[Any]] = models
        self._iterator: Iterator[Any] | None = None
        self._next = 0

    def take(self, position: int) -> tuple[Any, Constants | None]:
        """What is yielded at a position, and the numbers of its constants; StopIteration after the last one.

        A position before the one that comes next begins anew.
        """
        if self._iterator is None or position < self._next:
            self._iterator = None
            self._next = 0
        while True:
            found = self._step()
            if self._next > position:
                return found

    def _step(self) -> tuple[Any, Constants | None]:
        position, again = self._next, False

        def value() -> Any:
            """The next value; called again, the same one from a new run of ``models()``, on the CPU if it must be."""
            nonlocal again
            if again or self._iterator is None:
                self._iterator = iter(self._models())
                next(itertools.islice(self._iterator, position, position), None)
            again = True
            found = next(self._iterator)
            self._next = position + 1
            return found

        return _built(value)
