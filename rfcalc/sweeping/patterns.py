"""What a sweep's patterns mean: names of a source by glob, names from standard input, a Python file, any other spec."""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rfcalc.errors import UsageError
from rfcalc.sweeping import record
from rfcalc.sweeping.row import Row

_MARKS = "*?["
_NEAR = 0.4  #: how like a name must be to be named as one that may have been meant


@dataclass(frozen=True)
class Item:
    """One model of a sweep, as data that any process can be sent.

    ``name`` is that of its row, and its spec unless it comes from a file: then ``file`` and ``position``, counted from
    0, tell where it is yielded. ``error`` is what went wrong already, ``row`` one that an earlier sweep has filled.
    ``memory`` asks for bytes too.
    """

    name: str
    file: str | None = None
    position: int = 0
    error: str | None = None
    row: Row | None = None
    memory: bool = False


def expand(patterns: Sequence[str], stdin: Callable[[], Iterable[str]]) -> list[Item]:
    """The models that the patterns mean, in their order; ``-`` stands for the lines of ``stdin``.

    Raises `UsageError` for a pattern that means nothing, with the nearest names, and `LoadError` for a file that cannot
    be run.
    """
    return [item for pattern in patterns for item in _items(pattern, stdin)]


def _items(pattern: str, stdin: Callable[[], Iterable[str]]) -> Iterable[Item]:
    if pattern == "-":
        return _from_lines(stdin())
    if pattern.endswith(".jsonl"):
        return _from_rows(Path(pattern))
    if pattern.endswith(".py"):
        from rfcalc.sweeping import userfile

        path = os.path.abspath(pattern)  # workers may be somewhere else
        return [Item(name, path, at, error) for at, (name, error) in enumerate(userfile.names(pattern))]
    if is_glob(pattern):
        return [Item(name) for name in matching(pattern)]
    return [Item(pattern)]


def _from_lines(lines: Iterable[str]) -> Iterator[Item]:
    for line in lines:
        text = line.strip()
        if text and not text.startswith("#"):
            yield from _items(text, tuple)


def _from_rows(path: Path) -> list[Item]:
    if not path.exists():
        raise UsageError(f"there is no file {path}, whose rows the pattern would stand for; to write it, -o {path}")
    return [Item(row.model, row=row) for row in record.read(path).rows.values()]


def is_glob(pattern: str) -> bool:
    """Whether the text is a glob over names; marks inside of arguments, ``attr(sizes=[1, 2])``, do not make it one."""
    return any(mark in pattern.partition("(")[0] for mark in _MARKS)


def matching(pattern: str) -> list[str]:
    """The specs of one source that a glob matches. Raises `UsageError` where there is none, with the nearest names."""
    from rfcalc.sources.forms import listed

    prefix, colon, glob = pattern.rpartition(":")
    sources = listed()
    if prefix not in sources:
        others = [f"'{name}:*'" for name in sources if name]
        raise UsageError(
            f"cannot list the models of {prefix!r} for {pattern!r}: a glob goes over rfcalc's own names ('vgg*'),"
            f" {', '.join(others[:-1])} or {others[-1]}; yield others from models() of a Python file"
        )
    known = sources[prefix].names()
    found = [name for name in known if fnmatch.fnmatchcase(name, glob)]
    if not found:
        letters = "".join(char for char in glob if char not in "*?[]!")
        near = difflib.get_close_matches(letters, known, 3, _NEAR)
        raise UsageError(f"no model of {prefix or 'rfcalc'} matches {pattern!r}; nearest: {', '.join(near) or 'none'}")
    return [f"{prefix}{colon}{name}" for name in found]
