"""What is said of a file that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rfcalc.errors import LoadError


@contextmanager
def in_one_line(spec: str) -> Iterator[None]:
    """While the file of that name is read: raises `LoadError` in one line where it is not there, or cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise LoadError(f"{spec}: there is no such file") from None
    except IsADirectoryError:
        raise LoadError(f"{spec} is a directory: name a file in it") from None
    except OSError as error:
        raise LoadError(f"cannot read {spec}: {error.strerror or error}") from error
