"""``keras:NAME``, a model of keras.applications, and ``model.keras``, one that Keras saved. No weights are read."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from typing import Any

from rfcalc.errors import LoadError, UsageError
from rfcalc.reading import opened, read_part
from rfcalc.sources.forms import form, missing
from rfcalc.sources.loaded import Loaded
from rfcalc.sources.naming.arguments import arguments, unknown

PREFIX = form("keras").prefix

_UNKNOWN = re.compile(r"Could not locate (?:class|function|object) '([^']+)'")


def names() -> list[str]:
    """The names in keras.applications. Raises `LoadError` where Keras is not installed."""
    from rfcalc.sources.keras.backend import keras_for

    return _names(keras_for(f"{PREFIX}*"))


def _names(keras: Any) -> list[str]:
    return sorted(name for name, value in vars(keras.applications).items() if name[:1].isupper() and callable(value))


def load(spec: str) -> Loaded:
    """The model, with Keras's names and inputs.

    Raises `UsageError` for an unknown name, `LoadError` for a file that is damaged or needs code that is not in it.
    """
    if spec.startswith(PREFIX):
        return _application(spec)
    return of_config(_config_of_h5(spec) if spec.lower().endswith((".h5", ".hdf5")) else _config(spec), spec)


def _application(spec: str) -> Loaded:
    from rfcalc.sources.keras import modules as keras_modules
    from rfcalc.sources.keras.backend import keras_for, on_meta
    from rfcalc.tracing.construct import build_on_meta

    name, given = arguments(spec.removeprefix(PREFIX), spec)
    if given.get("weights") is not None:
        raise UsageError(f"{spec}: no weights are loaded and nothing is downloaded: leave weights out")
    keras = keras_for(spec)
    known = _names(keras)
    if name not in known:
        raise unknown("keras.applications", name, known)
    make = getattr(keras.applications, name)
    try:
        model, constants = build_on_meta(lambda: make(**{**given, "weights": None}), on_meta)
    except (TypeError, ValueError) as error:
        raise LoadError(f"{spec}: building the model failed: {_line(error)}") from error
    return keras_modules.loaded(model, spec, constants)


# --- files ------------------------------------------------------------------------------------------------------------


def of_config(config: dict[str, Any], spec: str) -> Loaded:
    """The model of a configuration, as a file of Keras's or ``model.to_json()`` has it. No code in it is run."""
    from rfcalc.sources.keras import modules as keras_modules
    from rfcalc.sources.keras.backend import keras_for, on_meta, rebuilt
    from rfcalc.tracing.construct import build_on_meta

    keras_for(spec)
    try:
        model, constants = build_on_meta(lambda: rebuilt({**config, "compile_config": None}), on_meta)
    except Exception as error:  # what a configuration makes Keras do is open
        raise LoadError(f"{spec}: {_reason(error)}") from error
    if not keras_modules.is_keras(model):
        raise LoadError(f"{spec} holds a {type(model).__name__}, expected a Keras model")
    return keras_modules.loaded(model, spec, constants)


def _config(spec: str) -> dict[str, Any]:
    """What a saved file says of its model. Raises `LoadError` for anything but such a file."""
    try:
        with opened(spec) as file, zipfile.ZipFile(file) as archive:
            config = json.loads(read_part(archive, "config.json"))
    except OSError as error:
        raise LoadError(f"cannot read {spec}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise LoadError(
            f"{spec} is no whole file of Keras's, which is a zip archive: {_line(error)}; save the model again"
        ) from error
    except KeyError:
        raise LoadError(
            f"{spec} is a zip archive without config.json, so no model that Keras saved: model.save('m.keras') does it"
        ) from None
    except ValueError as error:
        raise LoadError(f"{spec} is damaged: its config.json is not JSON ({_line(error)}); save it again") from error
    if not isinstance(config, dict):
        raise LoadError(f"{spec} is damaged: its config.json holds a {type(config).__name__}, expected an object")
    return config


def _config_of_h5(spec: str) -> dict[str, Any]:
    """The same of a file in Keras's older format, HDF5; its weights are not read."""
    try:
        import h5py
    except ImportError:
        raise missing("keras", spec) from None
    try:
        opened(spec).close()
        with h5py.File(spec, "r") as file:
            text = file.attrs.get("model_config")
    except FileNotFoundError:
        raise LoadError(f"{spec}: there is no such file") from None
    except IsADirectoryError:
        raise LoadError(f"{spec} is a directory: name a file in it") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise LoadError(f"{spec} is no whole HDF5 file: {_line(error)}; save the model again") from error
    if text is None:
        raise LoadError(f"{spec} is an HDF5 file of weights alone, without a configuration: model.save has both")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise LoadError(f"{spec} is damaged: its model_config is not JSON ({_line(error)}); save it again") from error
    if not isinstance(config, dict):
        raise LoadError(f"{spec} is damaged: its model_config holds a {type(config).__name__}, expected an object")
    return config


def _reason(error: BaseException) -> str:
    text = str(error)
    found = _UNKNOWN.search(text)
    if found is not None:
        return (
            f"it needs {found[1]}, which is code of its author's and not in the file: name the code that makes the"
            " model, file.py:attr"
        )
    if "safe_mode" in text:
        return (
            "it holds code, as a Lambda layer does, and code in a file is not run: name the code that makes the model,"
            " file.py:attr"
        )
    return f"Keras could not build what its config.json says: {_line(error)}"


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
