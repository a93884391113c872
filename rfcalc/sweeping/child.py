"""A process that fills rows for its parent, so that a model which dies or takes too long takes nobody with it.

To interrupt Python from within would leave what it was importing or changing half done for the models that follow, so
a model is stopped by killing its process. The process is a plain one that talks through its standard streams: a thread
can have one, and so can a worker of dask's.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from rfcalc.errors import LoadError
from rfcalc.sweeping.patterns import Item
from rfcalc.sweeping.row import Row, asked
from rfcalc.sweeping.work import fill as fill_here
from rfcalc.sweeping.work import prepare

_CODE = "import sys; sys.path[:] = sys.argv[1:]; from rfcalc.sweeping.child import serve; serve()"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_PATIENCE = 60  #: seconds that a process waits for its next model before it ends

_all: list[_Child] = []
_idle: list[_Child] = []  #: those of them that wait for a model; each thread that needs one takes one


def fill(item: Item, inputs: Any, timeout: float | None, sweep: str) -> Row:
    """The row of one model, which has so many seconds, for the sweep of this name.

    Raises `LoadError` where no process can be started.
    """
    child = _idle.pop() if _idle else _Child()
    child.sweep = sweep
    if not child.takes(item, inputs):  # it has ended while it waited
        child.end()
        child = _Child()
        child.sweep = sweep
        child.takes(item, inputs)
    try:
        row = child.row(timeout)
    except BaseException:
        child.end()
        raise
    if row is None or child.late:
        child.end()
    else:
        _idle.append(child)
    if row is not None:
        return row
    if not child.late:
        error = "the process that ran it died: out of memory, or a crash in native code"
        return Row(item.name, asked(inputs), error=error)
    assert timeout is not None
    return Row(item.name, asked(inputs), "timed_out", seconds=timeout, error=f"not done after {timeout:g} seconds")


@atexit.register
def end(sweep: str | None = None) -> None:
    """End the processes that have last worked for a sweep, or all of them, whatever they do."""
    for child in list(_all):
        if sweep in (None, child.sweep):
            child.end()


class _Child:
    """The process as its parent sees it."""

    def __init__(self) -> None:
        """Start it and wait until it is there."""
        self.late = False
        self.sweep = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},  # there may be one for each core
        )
        _all.append(self)
        if not self._receive():
            self.end()
            raise LoadError("a process for models could not be started; what it printed says why")

    def takes(self, item: Item, inputs: Any) -> bool:
        """Hand a model over; whether it goes to work, everything imported that it needs."""
        assert self._process.stdin is not None
        with suppress(OSError):
            _send(self._process.stdin, (item, inputs))
        return bool(self._receive())

    def row(self, timeout: float | None) -> Row | None:
        """The row of the model that it has; None where it is no more, because it died or because the time was over."""
        with self._limit(timeout):
            found: Row | None = self._receive()
        return found

    def end(self) -> None:
        """Kill the process and clean up after it."""
        self._process.kill()
        with suppress(OSError), self._process:  # closes its streams and waits for it
            pass
        for held in (_all, _idle):
            with suppress(ValueError):
                held.remove(self)

    @contextmanager
    def _limit(self, seconds: float | None) -> Iterator[None]:
        if seconds is None:
            yield
            return
        timer = threading.Timer(seconds, self._kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # it may be killing

    def _kill(self) -> None:
        self.late = True
        self._process.kill()

    def _receive(self) -> Any:
        """What it sent, None where it was killed before it had."""
        assert self._process.stdout is not None
        try:
            return pickle.load(self._process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            return None


# --- the process itself -----------------------------------------------------------------------------------------------


@dataclass
class _State:
    waits_since: float | None  #: None while it works


def serve() -> None:
    """Fill rows until the parent is gone or has none to fill. An interrupt is for the parent, which ends its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    state = _State(time.monotonic())
    threading.Thread(target=_watch, args=(os.getppid(), state), daemon=True).start()
    with os.fdopen(os.dup(1), "wb") as out, suppress(EOFError, BrokenPipeError):
        os.dup2(2, 1)  # what models print, native code included, is not for the parent
        _send(out, True)
        while True:
            item, inputs = pickle.load(sys.stdin.buffer)
            state.waits_since = None
            prepare(item)
            _send(out, True)
            _send(out, fill_here(item, inputs))
            state.waits_since = time.monotonic()


def _watch(parent: int, state: _State) -> None:
    """End the process soon after its parent has died, whatever a model is doing, or when it has waited long."""
    while os.getppid() == parent:
        since = state.waits_since
        if since is not None and time.monotonic() - since > _PATIENCE:
            break
        time.sleep(1)
    os._exit(1)


def _send(stream: IO[bytes], value: Any) -> None:
    pickle.dump(value, stream)
    stream.flush()
