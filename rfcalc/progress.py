"""How far long work is: said on stderr by commands, where that is a terminal, and by nobody else.

What takes long says what it does by `told`. Outside of `shown` that costs a look at a variable and says nothing.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

#: Seconds of work before anything is shown, and between two lines.
PATIENCE = 1.0
PAUSE = 0.1

_listening: ContextVar[Callable[[str], None] | None] = ContextVar("listening", default=None)


def told(what: str, done: int | None = None, total: int | None = None) -> None:
    """What is being done now; with ``done`` of ``total`` where it is one of several."""
    listener = _listening.get()
    if listener is not None:
        listener(what if total is None else f"{what} {done} of {total}")


@contextmanager
def shown(title: str) -> Iterator[None]:
    """What is told until the end stands in one line of the terminal, which is empty again afterwards."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        yield
        return
    line = _Line(stream, title)
    token = _listening.set(line)
    try:
        yield
    finally:
        _listening.reset(token)
        line.clear()


class _Line:
    """One line of a terminal, written over."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self._stream, self._title = stream, title
        self._next = time.monotonic() + PATIENCE
        self._length = 0

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PAUSE
        self._write(f"{self._title}: {text}"[: max(0, shutil.get_terminal_size().columns - 1)])

    def _write(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._length))
        self._stream.flush()
        self._length = len(text)

    def clear(self) -> None:
        if self._length:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()
