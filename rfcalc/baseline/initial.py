"""The text of ``[tool.rfcalc]`` that a project starts with."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rfcalc.baseline.differences import model_field
from rfcalc.baseline.record import Entry
from rfcalc.errors import UsageError
from rfcalc.reading import read_bytes
from rfcalc.writing import held, write_whole

_HEAD = """\
[tool.rfcalc]
# `rfcalc lock` writes down in rfcalc.lock.json what these models are. Commit it, and let CI run `rfcalc check`:
# it fails if a model changed, or breaks a limit. Limits stand here for all models, or below for one:
#   max_params, max_macs, max_flops, max_activation_bytes   ceilings, like 25_600_000, "4.2G" or "512MiB"
#   min_field                                               what units of the last spatial layer see at least, like 427
#   max_growth                                              over the lock, like "1%"
"""


@dataclass(frozen=True)
class Start:
    """A model to begin with. One that was only found is written as a comment: its input is not known."""

    model: str
    name: str = ""
    inputs: tuple[str, ...] = field(default=())
    entry: Entry | None = None


def write_section(path: Path, starts: Sequence[Start]) -> None:
    """Add the section, or to a file that has one further models. Raises UsageError where that cannot be."""
    with held(path):
        text = _text(path)
        newline = "\r\n" if "\r\n" in text else "\n"
        text = text.replace("\r\n", "\n")
        section = _parsed(text, path).get("tool", {}).get("rfcalc")
        told = [start for start in starts if start.entry is not None]
        if section is not None and not told:
            raise UsageError(f"{path} has a section [tool.rfcalc] already; name a model to add one to it")
        _refuse_twice(section or {}, told, path)
        parts = [text.rstrip("\n")] if text.strip() else []
        parts += [_HEAD.rstrip("\n")] if section is None else []
        parts += [_model(start) for start in (starts if section is None else told)]
        result = "\n\n".join(parts) + "\n"
        _parsed(result, path)
        write_whole(path, result.replace("\n", newline))


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _parsed(text: str, path: Path) -> dict[str, dict[str, dict[str, object]]]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: a section of models cannot be added: {error}") from error


def _refuse_twice(section: dict[str, object], told: Sequence[Start], path: Path) -> None:
    rows = section.get("models", [])
    there = [str(row.get("name", row.get("model"))) for row in rows] if isinstance(rows, list) else []
    for start in told:
        if start.name in there:
            raise UsageError(f"{path} has a model {start.name!r} already; give this one another name with --name")
        there.append(start.name)


def _model(start: Start) -> str:
    if start.entry is None:
        rows = ["[[tool.rfcalc.models]]", f"model = {json.dumps(start.model)}", 'input = "3x224x224"']
        return "\n".join(f"# {row}" for row in rows)
    rows = ["[[tool.rfcalc.models]]", f"name = {json.dumps(start.name)}", f"model = {json.dumps(start.model)}"]
    named = dict(text.split("=", 1) for text in start.inputs if "=" in text)
    if named:
        pairs = ", ".join(f"{_key(name)} = {json.dumps(shape)}" for name, shape in named.items())
        rows.append(f"input = {{ {pairs} }}")
    elif start.inputs:
        rows.append(f"input = {json.dumps(start.inputs[0])}")
    return "\n".join([*rows, "# As it is now:", *(f"# {row}" for row in _limits(start.entry))])


def _limits(entry: Entry) -> list[str]:
    """What the model has now, as limits."""
    rows = [f"max_params = {entry.totals.params:_}", f"max_macs = {entry.totals.macs:_}"]
    if entry.totals.activation_bytes is not None:
        rows.append(f"max_activation_bytes = {entry.totals.activation_bytes:_}")
    fields = {name: json.dumps("x".join(map(str, size))) for name, size in model_field(entry).items()}
    if len(fields) == 1:
        rows.append(f"min_field = {next(iter(fields.values()))}")
    elif fields:
        rows.append(f"min_field = {{ {', '.join(f'{_key(name)} = {size}' for name, size in fields.items())} }}")
    return rows


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").replace("-", "").isalnum() else json.dumps(name)
