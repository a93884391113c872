"""``[tool.rfcalc]`` of pyproject.toml: which models are watched, and how much they may cost.

::

    [tool.rfcalc]
    lock = "rfcalc.lock.json"

    [[tool.rfcalc.models]]
    name = "segmenter"
    model = "package.module:Net(width=32)"
    input = "3x256x256"
    max_macs = "4.2G"
    min_field = 188
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from rfcalc.analyses.results import Number
from rfcalc.baseline import streams
from rfcalc.baseline.lockfile import NAME as LOCK_NAME
from rfcalc.baseline.units import amount, extents, percentage, rate
from rfcalc.errors import UsageError
from rfcalc.reading import read_bytes

#: What a limit is read by. A ceiling on a count of the whole model, a floor under its field, a ceiling on growth.
LIMITS: Mapping[str, Callable[[Any, str], Any]] = {
    "max_params": amount,
    "max_macs": amount,
    "max_unmasked_macs": amount,
    "max_flops": amount,
    "max_activation_bytes": lambda value, where: amount(value, where, of_bytes=True),
    "max_memory": lambda value, where: amount(value, where, of_bytes=True),
    "max_saved": lambda value, where: amount(value, where, of_bytes=True),
    "max_halo": amount,
    "tile_exact": streams.independence,
    "min_field": lambda value, where: _fields(value, where),
    "max_growth": percentage,
    **streams.LIMITS,
}
#: Those about tiles, for which the model is traced at other sizes.
TILES = ("max_halo", "tile_exact")
#: Those that the graph of the model does not tell: a pass that follows storages does, or graphs of other sizes.
FOOTPRINT = ("max_memory", "max_saved", *TILES)
_SETTINGS = ("name", "model", "input", "axes", "training", "rate", "time", "stream", "align")


@dataclass(frozen=True, slots=True)
class Limit:
    """One line of a budget. ``value`` is an int, a Fraction (growth) or sizes by input, "" for any (field)."""

    key: str
    value: Any
    shown: str  #: as it was written
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class Watched:
    """One model of the configuration: how to trace it, and its limits."""

    name: str
    model: str
    inputs: Any = None  #: texts like ``3x224x224``, or by the input's name
    axes: str | None = None
    training: bool = False
    rate: Number | None = None  #: positions of the stream in a second
    time: str | None = None  #: the axis that is time
    stream: str | None = None  #: the input that has it
    align: str = "start"  #: from which end units have their places
    limits: tuple[Limit, ...] = ()
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class Config:
    """The section. ``folder`` is that of the file: paths and models are named from there."""

    file: Path
    models: tuple[Watched, ...] = ()
    lock: Path | None = field(default=None)  #: None if only budgets are held

    @property
    def folder(self) -> Path:
        """Where the configuration lies."""
        return self.file.parent


def find(start: Path) -> Path:
    """The nearest pyproject.toml upward that has the section. Raises UsageError where there is none."""
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if path.is_file() and _section(_parsed(path)[0]) is not None:
            return path
    raise UsageError(f"no pyproject.toml from {start} upward has a section [tool.rfcalc]: write it with rfcalc init")


def if_any(path: Path) -> Config | None:
    """The section of a file, None where there is no such file or section."""
    return load(path) if path.is_file() and _section(_parsed(path)[0]) is not None else None


def load(path: Path, name: str = "") -> Config:
    """The section of a file, which errors and findings call ``name``. Raises UsageError with what is wrong."""
    data, text = _parsed(path)
    section = _section(data)
    name = name or str(path)
    if section is None:
        raise UsageError(f"{name} has no section [tool.rfcalc]: write it with rfcalc init")
    where = f"{name}: [tool.rfcalc]"
    _known(section, ("lock", "models", *LIMITS), where)
    lock = section.get("lock", LOCK_NAME)
    if not (lock is False or (isinstance(lock, str) and lock)):
        raise UsageError(f"{where}: lock is the name of a file, or false to hold budgets only, not {lock!r}")
    places = _Places(text)
    rows = section.get("models", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{where}: models is a list of tables, [[tool.rfcalc.models]]")
    common = {key: section[key] for key in LIMITS if key in section}
    models = tuple(_watched(row, common, number, name, places) for number, row in enumerate(rows))
    _unique([model.name for model in models], where)
    return Config(path, models, path.parent / lock if lock else None)


def _parsed(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n")
        return tomllib.loads(text, parse_float=Decimal), text
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error


def _section(data: Mapping[str, Any]) -> dict[str, Any] | None:
    tool = data.get("tool")
    found = tool.get("rfcalc") if isinstance(tool, dict) else None
    return found if isinstance(found, dict) else None


def _watched(row: Mapping[str, Any], common: Mapping[str, Any], number: int, file: str, places: _Places) -> Watched:
    where = f"{file}: model {row.get('name', row.get('model', number + 1))!r}"
    _known(row, (*_SETTINGS, *LIMITS), where)
    if not isinstance(row.get("model"), str) or not row["model"]:
        raise UsageError(f'{where} has no model: write model = "package.module:attribute", or a name of rfcalc list')
    for key, kind in (("name", str), ("axes", str), ("training", bool), ("time", str), ("stream", str), ("align", str)):
        if not isinstance(row.get(key, kind()), kind):
            raise UsageError(f"{where}: {key} is a {'text' if kind is str else 'true or false'}, not {row[key]!r}")
    wanted = {**common, **{key: row[key] for key in LIMITS if key in row}}
    return Watched(
        name=row.get("name") or row["model"],
        model=row["model"],
        inputs=_inputs(row.get("input"), where),
        axes=row.get("axes"),
        training=row.get("training", False),
        rate=rate(row["rate"], f"{where}: rate") if "rate" in row else None,
        time=row.get("time"),
        stream=row.get("stream"),
        align=row.get("align", "start"),
        limits=tuple(
            limit(key, value, where, file, places.of(number if key in row else None, key))
            for key, value in sorted(wanted.items())
        ),
        file=file,
        line=places.of(number),
    )


def limit(key: str, value: Any, where: str, file: str = "", line: int = 0) -> Limit:
    """One limit from what was written. Raises UsageError naming ``where``, for an unknown key with the nearest."""
    _known({key: value}, tuple(LIMITS), where)
    return Limit(key, LIMITS[key](value, f"{where}: {key}"), _shown(value), file, line)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value)


def _fields(value: Any, where: str) -> dict[str, tuple[int, ...]]:
    if isinstance(value, Mapping):
        return {name: extents(item, f"{where}: {name}") for name, item in value.items()}
    return {"": extents(value, where)}


def _inputs(value: Any, where: str) -> Any:
    texts = list(value.values()) if isinstance(value, dict) else [value]
    if value is not None and not (texts and all(isinstance(item, str) for item in texts)):
        raise UsageError(
            f'{where}: cannot read input {value!r}; write "3x224x224", or {{ left = "3x64x64", right = "3x64x64" }}'
        )
    return value


def _known(row: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    keys = list(keys)
    for key in row:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1, 0.4)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(keys)}"
            raise UsageError(f"{where} has an unknown key {key!r}; {hint}")


def _unique(names: list[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{where} names two models {name!r}: give each a name of its own")


class _Places:
    """The lines on which the keys of a TOML text stand, which its parser does not tell."""

    _HEADER = re.compile(r"\s*\[")
    _MODEL = re.compile(r"\s*\[\[\s*tool\s*\.\s*rfcalc\s*\.\s*models\s*\]\]")
    _OWN = re.compile(r"\s*\[\s*tool\s*\.\s*rfcalc\s*\]")

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.own = self._first(self._OWN)
        self.models = [number for number, line in enumerate(self.lines) if self._MODEL.match(line)]

    def _first(self, pattern: re.Pattern[str]) -> int:
        return next((number for number, line in enumerate(self.lines) if pattern.match(line)), 0)

    def of(self, model: int | None, key: str = "") -> int:
        """The line, counted from 1, of a key of a model (None: of the section), or else of what holds it."""
        start = self.own if model is None or model >= len(self.models) else self.models[model]
        for number in range(start + 1, len(self.lines)):
            if self._HEADER.match(self.lines[number]):
                break
            if key and re.match(rf"\s*[\"']?{key}[\"']?\s*(=|\.)", self.lines[number]):
                return number + 1
        return start + 1
