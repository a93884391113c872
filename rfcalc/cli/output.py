"""Where output goes: data to stdout or a file, everything else to stderr, whatever the terminal can do."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import click

from rfcalc.cli.endings import DRAWN
from rfcalc.errors import UsageError
from rfcalc.report import Report, Style, render


class OutputClosedError(Exception):
    """The reader of stdout went away, as in `rfcalc vgg16 | head -1`."""


@dataclass(frozen=True)
class Target:
    """A file, or stdout if ``path`` is None or ``-``."""

    path: str | None = None

    def __post_init__(self) -> None:
        """Refuse a file that can never be written before any work is done."""
        if self.to_file is not None:
            if os.path.isdir(self.to_file):
                raise UsageError(f"cannot write {self.path}: it is a directory; name a file")
            if not os.path.isdir(self.to_file.parent):
                raise UsageError(
                    f"cannot write {self.path}: there is no directory {self.to_file.parent}; make it first"
                )

    @property
    def to_file(self) -> Path | None:
        """The file, None for stdout."""
        return None if self.path in (None, "-") else Path(self.path or "")

    def write(self, text: str) -> None:
        """Write the whole text. Raises UsageError where that fails."""
        if self.to_file is None:
            _print(text)
            return
        self.save(text.encode("utf-8", "backslashreplace"))

    def save(self, data: bytes) -> None:
        """Write to the file, whole or not at all. Raises UsageError where that fails."""
        from rfcalc.writing import write_whole

        path = self.to_file
        if path is None:
            raise UsageError("a picture of bytes cannot go to standard output: name a file with -o")
        try:
            if path.exists() and not path.is_file():  # a device or a pipe, which nothing can replace
                path.write_bytes(data)
            else:
                write_whole(path, data)
        except OSError as error:
            raise UsageError(
                f"cannot write {self.path}: {error.strerror or error}; name another file with -o"
            ) from error

    def style(self) -> Style:
        """How wide a table may be, and whether the terminal shows bold."""
        return Style() if self.to_file is not None else Style(_width(), _bold())


@dataclass(frozen=True)
class Output:
    """A target and the format of what goes there."""

    format: str
    target: Target
    spreadsheet: bool = False

    def __post_init__(self) -> None:
        """Refuse a promise that another format does not keep."""
        if self.spreadsheet and self.format != "csv":
            raise UsageError(f"--spreadsheet is about CSV, got --format {self.format}: add --format csv")

    @property
    def drawn(self) -> bool:
        """Whether the file is to be a picture."""
        return self.format in DRAWN.values()

    def emit(self, report: Report) -> None:
        """Render the report, then write it."""
        self.target.write(render(report, self.format, replace(self.target.style(), spreadsheet=self.spreadsheet)))


def complain(message: str) -> None:
    """One line on stderr, where that can be written."""
    with contextlib.suppress(OSError):  # a full disk or a closed pipe changes no exit status
        click.echo("rfcalc: " + " ".join(message.split()), err=True)


def _print(text: str) -> None:
    stream = sys.stdout
    if stream is None:  # started with stdout closed
        raise UsageError("cannot write standard output: it is closed; name a file with -o")
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        raise unwritten(error) from error


def unwritten(error: OSError) -> Exception:
    """What a failure to write standard output means: its reader went away, or it has no room."""
    _abandon_stdout()
    if isinstance(error, BrokenPipeError):
        return OutputClosedError()
    return UsageError(f"cannot write standard output: {error.strerror or error}")


def _abandon_stdout() -> None:
    """Give what is still buffered somewhere to go, or Python complains when it flushes stdout at its end."""
    with contextlib.suppress(OSError, ValueError):  # a stdout that is no file has nothing to give
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _width() -> int | None:
    """COLUMNS if it is set, else the terminal's width; no limit where stdout is no terminal."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    return shutil.get_terminal_size().columns if _is_terminal() else None


def _bold() -> bool:
    """NO_COLOR turns it off, FORCE_COLOR on; else a terminal has it unless it is dumb."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return _is_terminal() and os.environ.get("TERM") != "dumb"


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()
