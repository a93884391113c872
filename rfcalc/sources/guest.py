"""The user's code as a guest: what it changes in the process is put back, and it does not end the program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rfcalc.errors import LoadError


@contextmanager
def hosting(model: Any) -> Iterator[None]:
    """While code of the user's runs: loading ``model``, tracing it, checking it.

    Afterwards the working directory and torch's default dtype and device, gradient mode, number of threads and random
    numbers are as before. Raises `LoadError` where the code ends the program, or raises what is no `Exception`; an
    interrupt goes through.
    """
    name = model if isinstance(model, str) else type(model).__name__
    put_back = (_directory(), _torch_state())
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


def _directory() -> Callable[[], None]:
    try:
        before = os.getcwd()
    except OSError:  # it is gone
        return lambda: None

    def restore() -> None:
        with suppress(OSError):
            os.chdir(before)

    return restore


def _torch_state() -> Callable[[], None]:
    """torch's state is that of a fresh process where torch is not imported yet."""
    torch = sys.modules.get("torch")
    if torch is None:
        return lambda: _set_torch("float32", "cpu", True)
    before = (
        str(torch.get_default_dtype()).removeprefix("torch."),
        str(torch.get_default_device()),
        bool(torch.is_grad_enabled()),
    )
    threads, numbers = torch.get_num_threads(), torch.get_rng_state()

    def restore() -> None:
        _set_torch(*before)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_rng_state(numbers)

    return restore


def _set_torch(dtype: str, device: str, gradients: bool) -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_default_dtype(getattr(torch, dtype))
        if str(torch.get_default_device()) != device:
            torch.set_default_device(None if device == "cpu" else device)
        torch.set_grad_enabled(gradients)
