"""The user's code: what it changes in the process is put back, and it does not end the program."""

from __future__ import annotations

import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rfcalc.errors import LoadError

#: What is put back at the end.
_Restore = Callable[[], None]


@contextmanager
def restoring(model: Any) -> Iterator[None]:
    """While code of the user's runs: loading ``model``, tracing it, checking it.

    Afterwards the working directory, the environment, the path of imports, the limit of recursion, the filters of
    warnings, torch's defaults, flags and gradient mode, and the random numbers of Python, numpy and torch are as
    before. Random numbers belong to all threads: while there are others, what was drawn stays drawn, for nobody knows
    by whom. Raises `LoadError` where the code ends the program, or raises what is no `Exception`; an interrupt goes
    through.
    """
    name = model if isinstance(model, str) else type(model).__name__
    put_back = [keep() for keep in (_directory, _python, _torch, _numbers)]
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise LoadError(f"{name}: its code called sys.exit({error.code!r}); a model must load without") from error
    except BaseException as error:
        text = " ".join(str(error).split())
        raise LoadError(f"{name}: its code raised {type(error).__name__}{': ' if text else ''}{text}") from error
    finally:
        for restore in put_back:
            restore()


def _directory() -> _Restore:
    try:
        before = os.getcwd()
    except OSError:  # it is gone
        return lambda: None

    def restore() -> None:
        with suppress(OSError):
            os.chdir(before)

    return restore


def _python() -> _Restore:
    """What Python keeps for the whole process. Filters of warnings that a library sets when it is imported stay."""
    environment, path, limit = dict(os.environ), list(sys.path), sys.getrecursionlimit()
    filters, known = list(warnings.filters), "torch" in sys.modules

    def restore() -> None:
        for key in os.environ.keys() - environment.keys():
            os.environ.pop(key, None)
        for key, value in environment.items():
            if os.environ.get(key) != value:
                os.environ[key] = value
        if sys.path != path:
            sys.path[:] = path
        if sys.getrecursionlimit() != limit:
            with suppress(RecursionError):  # deeper already than it was
                sys.setrecursionlimit(limit)
        if known and warnings.filters != filters:
            held: Any = warnings.filters
            held[:] = filters
            touched: Any = getattr(warnings, "_filters_mutated", None) or getattr(
                warnings, "_filters_mutated_lock_held", None
            )
            if touched is not None:
                touched()

    return restore


# --- torch ------------------------------------------------------------------------------------------------------------

#: Flags of torch's, by the path to what has them; `torch.backends.cuda.matmul.allow_tf32` reads as others are set.
_FLAGS = (
    ("backends.cudnn", "enabled"),
    ("backends.cudnn", "benchmark"),
    ("backends.cudnn", "deterministic"),
    ("backends.mkldnn", "enabled"),
)


def _torch() -> _Restore:
    """torch's state is that of a fresh process where torch is not imported yet."""
    torch = sys.modules.get("torch")
    if torch is None:
        return lambda: _set_defaults("float32", "cpu", True)
    before = (
        str(torch.get_default_dtype()).removeprefix("torch."),
        str(torch.get_default_device()),
        bool(torch.is_grad_enabled()),
    )
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    exact = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fast = torch.backends.mha.get_fastpath_enabled()
    flags = [(owner, name, getattr(owner, name)) for owner, name in _owners(torch)]

    def restore() -> None:
        _set_defaults(*before)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        now = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        if now != exact:
            torch.use_deterministic_algorithms(exact[0], warn_only=exact[1])
        if torch.backends.mha.get_fastpath_enabled() != fast:
            torch.backends.mha.set_fastpath_enabled(fast)
        for owner, name, value in flags:
            if getattr(owner, name) != value:
                setattr(owner, name, value)

    return restore


def _owners(torch: Any) -> list[tuple[Any, str]]:
    found = []
    for path, name in _FLAGS:
        owner = torch
        for part in path.split("."):
            owner = getattr(owner, part, None)
        if hasattr(owner, name):
            found.append((owner, name))
    return found


def _set_defaults(dtype: str, device: str, gradients: bool) -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_default_dtype(getattr(torch, dtype))
        if str(torch.get_default_device()) != device:
            torch.set_default_device(None if device == "cpu" else device)
        torch.set_grad_enabled(gradients)


# --- random numbers ---------------------------------------------------------------------------------------------------


@contextmanager
def undrawn() -> Iterator[None]:
    """Random numbers of Python, numpy and torch's CPU go on afterwards where they were, as in `restoring`."""
    restore = _numbers()
    try:
        yield
    finally:
        restore()


def _numbers() -> _Restore:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    python = random.getstate()
    arrays = numpy.random.get_state() if numpy is not None else None
    tensors = torch.get_rng_state() if torch is not None else None

    def restore() -> None:
        if threading.active_count() > 1:
            return
        random.setstate(python)
        if numpy is not None:
            numpy.random.set_state(arrays)
        if torch is not None:
            torch.set_rng_state(tensors)

    return restore
