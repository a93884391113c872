"""``hf:PATH``, a folder or a config.json: a network by the description that a library saved of it.

Those of transformers, diffusers, timm and Keras (``model.to_json()``) are told from each other by what stands in them.
No weights are read, and no code that comes with a model is run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.reading import opened, read_bytes
from rfcalc.sources.loaded import Loaded

PREFIX = "hf:"
_NAME = "config.json"
_PIPELINE = "model_index.json"
_LARGEST = 64 << 20
#: What stands near the beginning of such a file, and of no graph of rfcalc's.
_MARKS = (b'"model_type"', b'"architectures"', b'"architecture"', b'"_class_name"', b'"class_name"')


def matches(spec: str) -> bool:
    """Whether the text has the prefix, or names such a file, or a folder with one."""
    if spec.startswith(PREFIX):
        return True
    path = Path(spec)
    try:
        if path.is_dir():
            return (path / _NAME).is_file() or (path / _PIPELINE).is_file()
        if path.suffix.lower() != ".json" or not path.is_file():
            return False
        with opened(path) as file:
            start = file.read(1 << 16)
    except (OSError, ValueError):
        return False
    return b'"rfcalc-graph/' not in start and any(mark in start for mark in _MARKS)


def load(spec: str) -> Loaded:
    """The network without weights. Raises `LoadError` for a file that is none of these."""
    path = Path(spec.removeprefix(PREFIX))
    data = _read(_file(path, spec), spec)
    if "_class_name" in data:
        from rfcalc.sources.libraries import diffusers

        return diffusers.of_config(data, spec)
    if "model_type" in data:
        from rfcalc.sources.libraries import transformers

        return transformers.of_config(data, spec)
    if "architecture" in data:
        from rfcalc.sources.libraries import timm

        return timm.of_config(data, spec)
    if "class_name" in data and "config" in data:
        from rfcalc.sources import keras

        return keras.of_config(data, spec)
    raise LoadError(
        f"{spec} describes no network of transformers (model_type), diffusers (_class_name), timm (architecture) or"
        " Keras (class_name)"
    )


def _file(path: Path, spec: str) -> Path:
    if not path.is_dir():
        return path
    found = path / _NAME
    if found.is_file():
        return found
    inside = sorted(child.name for child in path.iterdir() if (child / _NAME).is_file())
    if inside:
        raise LoadError(f"{spec} is a folder of several networks: name one of them, {path / inside[0]}")
    raise LoadError(f"{spec} is a folder without {_NAME}")


def _read(path: Path, spec: str) -> dict[str, Any]:
    try:
        data = json.loads(read_bytes(path, _LARGEST))
    except FileNotFoundError:
        raise LoadError(f"{spec}: there is no file {path}") from None
    except OSError as error:
        raise LoadError(f"cannot read {spec}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{spec} is damaged: it is not JSON ({' '.join(str(error).split())[:100]})") from error
    if not isinstance(data, dict):
        raise LoadError(f"{spec} is damaged: it holds a {type(data).__name__}, expected an object")
    return data
