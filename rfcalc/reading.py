"""Files of a user's, read with care: regular files of a bounded size, and of an archive no more than it may unpack to.

What is wrong raises `OSError` with a text, so that whoever reads says it as any other failure to read.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from typing import BinaryIO, NoReturn

#: Bytes of the largest text that is read whole; locks, configurations and records of sweeps are far smaller.
LARGEST = 1 << 30
#: What one part of an archive may unpack to, such as the description of a model.
LARGEST_PART = 64 << 20
#: All of an archive may unpack to this, or to a number of times its own size where that is more.
_SMALL_ARCHIVE = 64 << 20
_RATIO = 20

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """The regular file, open for reading bytes. A pipe or a device is refused at once, and not waited for."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
    raise OSError(errno.EINVAL, f"it is {kind}, not a file")


def read_bytes(path: str | os.PathLike[str], most: int = LARGEST) -> bytes:
    """All of a regular file that has at most so many bytes."""
    with opened(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return data


def read_part(archive: zipfile.ZipFile, name: str) -> bytes:
    """One part of an archive, unpacked. Raises `OSError` where it unpacks to more than a description can have."""
    with archive.open(name) as file:
        data = file.read(LARGEST_PART + 1)
    if len(data) > LARGEST_PART:
        raise OSError(errno.EFBIG, f"its {name} unpacks to more than {LARGEST_PART:,} bytes")
    return data


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Raises `OSError` for an archive of that many bytes that unpacks to far more, before anything unpacks it."""
    unpacked = sum(item.file_size for item in archive.infolist())
    if unpacked > max(_SMALL_ARCHIVE, _RATIO * size):
        raise OSError(errno.EFBIG, f"its {size:,} bytes unpack to {unpacked:,}")


def no_number(name: str) -> NoReturn:
    """What `json` is to do with NaN and the infinities, which Python reads and JSON does not have."""
    raise ValueError(f"{name} is no number of JSON")
