"""Files that several programs may read and write at once: written whole or not at all, changed by one at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rfcalc.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

_PATIENCE = 60.0  #: seconds to wait for another writer


def write_whole(path: Path, text: str | bytes) -> None:
    """Replace the file by the text: who reads meanwhile sees the old file or the new one, never a part.

    A symbolic link stays one, and the file keeps its mode. Raises UsageError where it cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _mode(path: Path) -> int:
    """The file's mode; for a new file what the user's mask leaves."""
    try:
        return path.stat().st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """While the file is read, changed and written, no other process does the same; the others wait.

    Raises UsageError where the folder cannot be used, or another writer does not finish.
    """
    target = Path(os.path.realpath(path))
    with _locked_folder(target) if fcntl is not None else _marker(target):
        yield


@contextlib.contextmanager
def _locked_folder(target: Path) -> Iterator[None]:
    """A lock on the folder: it leaves no file behind, and the system gives it back if the process dies."""
    try:
        handle = os.open(target.parent, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _wait(end, target, target.parent)
            except OSError as error:  # some network file systems have no locks
                raise UsageError(f"cannot lock {target.parent}: {error.strerror or error}") from error
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _marker(target: Path) -> Iterator[None]:
    """A file beside the file, which only one process can make."""
    marker = target.with_name(f".{target.name}.writing")
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            _wait(end, target, marker)
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
    try:
        yield
    finally:
        os.unlink(marker)


def _wait(end: float, target: Path, lock: Path) -> None:
    if time.monotonic() > end:
        raise UsageError(f"cannot write {target}: another program has held {lock} for {_PATIENCE:g} s; end it first")
    time.sleep(0.02)
