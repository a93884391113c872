"""The file of rows that a sweep writes as they come, and reads back when it is resumed: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rfcalc.errors import UsageError
from rfcalc.reading import opened, read_bytes
from rfcalc.sweeping.row import SCHEMA, Key, Row

_START = f'{{"schema": "{SCHEMA}"'


@dataclass(frozen=True)
class Kept:
    """What a file holds: the rows, of those with one key the last, and the length of its whole lines in bytes."""

    rows: Mapping[Key, Row] = field(default_factory=dict)
    whole: int = 0
    cut: bool = False  #: whether the last line breaks off, as when the writer was killed


def read(path: Path) -> Kept:
    """The rows of a file; none where there is no file.

    Raises `UsageError` for a file that is not what a sweep writes, so that nothing else is ever written to.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return Kept()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    lines = content.split(b"\n")
    rest = lines.pop()
    if rest and not (rest.startswith(_START.encode()) or _START.encode().startswith(rest)):
        raise _foreign(path, len(lines) + 1)
    rows = {}
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is None:
            raise _foreign(path, number)
        rows[row.key] = row
    return Kept(rows, len(content) - len(rest), bool(rest))


def is_record(path: Path) -> bool:
    """Whether a file begins as a sweep's does."""
    try:
        with opened(path) as file:
            return file.read(len(_START)) == _START.encode()
    except OSError:
        return False


def _row(line: bytes) -> Row | None:
    try:
        values = json.loads(line)
        return Row.from_dict(values) if values.get("schema") == SCHEMA else None
    except (ValueError, TypeError, AttributeError):
        return None


def _foreign(path: Path, number: int) -> UsageError:
    return UsageError(
        f"{path} is there and line {number} of it is no row of a sweep ({SCHEMA}): it is left as it is;"
        " name another file with -o"
    )


class Writer:
    """Appends rows to a file, each in one piece and at once."""

    def __init__(self, path: Path, kept: Kept) -> None:
        """Open the file after its whole lines. Raises `UsageError` where it cannot be written."""
        self._path = path
        try:
            self._file = path.open("ab", buffering=0)
            if kept.cut:
                self._file.truncate(kept.whole)
        except OSError as error:
            raise self._refused(error) from error

    def add(self, row: Row) -> None:
        """Write one row. Raises `UsageError` where that fails."""
        data = f"{row.line()}\n".encode()
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _refused(self, error: OSError) -> UsageError:
        return UsageError(f"cannot write {self._path}: {error.strerror or error}; name another file with -o")
