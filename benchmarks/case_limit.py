"""One case of a sweep in one process: what came of it, or why nothing did, within its time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class SlowError(BaseException):
    """A case took longer than it may: no error, which code that tries what may fail would take for one of its own."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise SlowError


@contextmanager
def limited(row: dict[str, Any], seconds: int) -> Iterator[None]:
    """Within so many seconds of the processor; ``row`` gets those that it took, and as ``error`` what ended it."""
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1)  # again each second, should it be caught all the same
    started = time.process_time()
    try:
        yield
    except SlowError:
        row["error"] = f"took more than {seconds} s of the processor"
    except Exception as error:  # is to be seen in the table
        row["error"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    row["seconds"] = round(time.process_time() - started, 1)
