"""One thread for a pass that computes little, in the pass's own thread alone.

Torch splits an op on a tensor that is not small over threads, which wait for each other longer than a constant takes.
`torch.set_num_threads` would say so to every thread of the process, and what another one adds up in another order
differs in its last digits. OpenMP keeps the number for each thread, and is asked itself.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

_NAMES = ("libgomp", "libomp", "libiomp")


@contextmanager
def one_thread() -> Iterator[None]:
    """No op of this thread is split in the block, where torch's OpenMP runtime is found; others go on as they are."""
    number = torch.get_num_threads()  # which tells this thread what torch was told
    runtime = _runtime() if number > 1 else None
    if runtime is None:
        yield
        return
    runtime.omp_set_num_threads(1)
    try:
        yield
    finally:
        runtime.omp_set_num_threads(number)


@cache
def _runtime() -> Any:
    """The OpenMP runtime that torch counts its threads by, among those that are loaded; None where there is none."""
    number = torch.get_num_threads()
    for path in _loaded():
        try:
            found = ctypes.CDLL(path)
            before = found.omp_get_max_threads()
            found.omp_set_num_threads(1)
            own = torch.get_num_threads() == 1
            found.omp_set_num_threads(before)
        except (OSError, AttributeError):
            continue
        if own and torch.get_num_threads() == number:
            return found
    return None


def _loaded() -> list[str]:
    if sys.platform == "linux":
        try:
            lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        paths = dict.fromkeys(line.split(maxsplit=5)[-1] for line in lines if ".so" in line)
        return [path for path in paths if Path(path).name.startswith(_NAMES)]
    return [str(path) for path in (Path(torch.__file__).parent / "lib").glob("lib*omp*.dylib")]
