"""One case of a sweep in one process: what came of it, or why nothing did, within its time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class SlowError(Exception):
    """A case took longer than it may."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise SlowError


@contextmanager
def limited(row: dict[str, Any], seconds: int) -> Iterator[None]:
    """Within so many seconds of the processor; ``row`` gets those that it took, and as ``error`` what ended it."""
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
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
