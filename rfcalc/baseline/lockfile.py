"""``rfcalc.lock.json``: what every model was when it was last accepted. One layer a line, so that reviews can read it.

The layout is not part of the format: line ends, order of keys and white space make no difference. What a model's entry
says is guarded by a checksum, so that an edit by hand, or a merge that mixed two versions, is told from a change of the
model.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from rfcalc.baseline.record import CONVENTION, Entry, digest, entry_from, to_data
from rfcalc.errors import UsageError
from rfcalc.reading import no_number, read_bytes
from rfcalc.writing import held, write_whole

FAMILY = "rfcalc-lock/"
VERSION = 1
SCHEMA = f"{FAMILY}{VERSION}"
NAME = "rfcalc.lock.json"

_CONFLICT = re.compile(r"^(<{7}|\|{7}|={7}|>{7})( |$)", re.MULTILINE)
_AGAIN = "restore it with git, or write it anew with rfcalc check --update"


class LockError(UsageError):
    """The lock is there and cannot be used as it is."""


class NoLockError(UsageError):
    """There is no lock."""


@dataclass(frozen=True)
class Lock:
    """The entries by name. ``versions`` says what wrote them, for information."""

    models: Mapping[str, Entry] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    newline: str = "\n"


def read(path: Path) -> Lock:
    """The lock. Raises `NoLockError` where there is none and `LockError` for one that is damaged, edited or newer."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise NoLockError(f"there is no {path}: write it with rfcalc lock") from None
    except OSError as error:
        raise LockError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise LockError(f"{path} is damaged: it is no UTF-8 text; {_AGAIN}") from error
    return loads(text, str(path))


def read_if_lock(path: Path) -> Lock | None:
    """The lock, None for another JSON file. Raises as `read` does."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if not is_lock(json.loads(read_bytes(path))):
            return None
    return read(path)


def loads(text: str, where: str) -> Lock:
    """The lock that a text holds; ``where`` is its name in errors."""
    conflict = _CONFLICT.search(text)
    if conflict:
        line = text.count("\n", 0, conflict.start()) + 1
        raise LockError(f"{where}:{line} has conflict markers: a merge is not finished; {_AGAIN}")
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise LockError(f"{where} is damaged: {error}; {_AGAIN}") from error
    return from_data(data, where, "\r\n" if "\r\n" in text else "\n")


def from_data(data: Any, where: str, newline: str = "\n") -> Lock:
    """The lock that JSON data holds."""
    _check_schema(data, where)
    try:
        models = {name: entry_from(name, entry) for name, entry in data["models"].items()}
        digests = {name: str(entry["digest"]) for name, entry in data["models"].items()}
        versions = {str(name): str(version) for name, version in data.get("versions", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LockError(f"{where} is damaged: {type(error).__name__}: {error}; {_AGAIN}") from error
    for name, entry in models.items():
        if digest(entry) != digests[name]:
            raise LockError(
                f"{where}: the entry of {name} was edited by hand or mixed by a merge:"
                f" its digest does not fit its content; {_AGAIN}"
            )
    return Lock(models, versions, newline)


def is_lock(data: Any) -> bool:
    """Whether JSON data says that it is a lock, of whatever version."""
    return isinstance(data, dict) and str(data.get("schema")).startswith(FAMILY)


def _check_schema(data: Any, where: str) -> None:
    if not is_lock(data):
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise LockError(f"{where} is no lock of rfcalc: expected schema {SCHEMA!r}, found {found!r}; {_AGAIN}")
    version = data["schema"].removeprefix(FAMILY)
    if version != str(VERSION):
        raise LockError(
            f"{where} was written by another rfcalc: its schema is {data['schema']!r}, this one knows {SCHEMA!r};"
            " update rfcalc, or write the lock anew with rfcalc check --update"
        )
    if data.get("convention") != CONVENTION:
        raise LockError(
            f"{where} counts by convention {data.get('convention')!r}, this rfcalc by {CONVENTION} (see its CHANGELOG):"
            " the numbers are no longer comparable; write the lock anew with rfcalc check --update"
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return data


def dumps(lock: Lock) -> str:
    """The lock as text: models by name, a line for each layer."""
    head = {"schema": SCHEMA, "convention": CONVENTION, "versions": dict(sorted(lock.versions.items()))}
    models = ",\n".join(f"  {_text(name)}: {_entry(lock.models[name])}" for name in sorted(lock.models))
    lines = [f" {_text(key)}: {_text(value)},\n" for key, value in head.items()]
    body = f"{{\n{models}\n }}" if models else "{}"
    text = f'{{\n{"".join(lines)} "models": {body}\n}}\n'
    return text.replace("\n", lock.newline)


def _entry(entry: Entry) -> str:
    data = to_data(entry)
    del data["name"]
    lines = ['"digest": ' + _text(digest(entry))]
    for key, value in data.items():
        rows = isinstance(value, list) and key in ("inputs", "layers")
        shown = "[\n" + ",\n".join(f"    {_row(row)}" for row in value) + "\n   ]" if rows else _text(value)
        lines.append(f"{_text(key)}: {shown}")
    return "{\n   " + ",\n   ".join(lines) + "\n  }"


def _row(data: Mapping[str, Any]) -> str:
    """A layer's line: room between what it says of the layer, none within."""
    parts = (f"{_text(key)}: {_text(value, (',', ':'))}" for key, value in data.items())
    return "{" + ", ".join(parts) + "}"


def _text(value: Any, separators: tuple[str, str] = (", ", ": ")) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=separators)


def versions(before: Mapping[str, str], *, with_torch: bool) -> dict[str, str]:
    """What writes a lock: rfcalc, and torch if that is asked for or the lock tells it already.

    Not torch's unless asked: a lock is the same whichever torch traced the model.
    """
    from rfcalc import __version__

    found = {"rfcalc": __version__}
    if with_torch or "torch" in before:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found["torch"] = metadata.version("torch")
    return found


def update(path: Path, change: Callable[[Lock], Lock], *, anew: bool = False) -> Lock:
    """Read, change and write the lock while no other process does; returns what it was.

    Nothing is written if no entry changes and no further version is told. A lock that cannot be used stays as it is and
    raises, unless ``anew``.
    """
    with held(path):
        damaged = False
        try:
            before = read(path)
        except NoLockError:
            before = Lock()
        except LockError:
            if not anew:
                raise
            before, damaged = Lock(), True
        after = change(before)
        changed = after.models != before.models or set(after.versions) != set(before.versions)
        if damaged or changed or not path.exists():
            write_whole(path, dumps(after))
        return before
