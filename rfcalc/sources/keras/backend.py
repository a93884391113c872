"""Keras 3 on its torch backend: import it, build with it without memory, run it on any device."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rfcalc.errors import LoadError
from rfcalc.sources.forms import install, missing

INSTALL = install("keras")
_VARIABLE = "KERAS_BACKEND"


def keras_for(spec: str) -> Any:
    """The package, imported on its torch backend where it is not there yet.

    Raises `LoadError` where it is not installed, is older than Keras 3, or computes with something else than torch.
    """
    with torch_by_default():
        if importlib.util.find_spec("keras") is None:
            raise missing("keras", spec)
        try:
            keras = importlib.import_module("keras")
        except Exception as error:
            raise LoadError(f"{spec} needs keras, which could not be imported: {error}") from error
    if int(str(keras.__version__).partition(".")[0]) < 3:
        raise LoadError(f"{spec} needs Keras 3, found keras {keras.__version__}: {INSTALL}")
    demand_torch(keras, spec)
    return keras


@contextmanager
def torch_by_default() -> Iterator[None]:
    """Keras computes with torch if it is first imported in this block, whatever the environment says."""
    chosen = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "torch"
    try:
        yield
    finally:
        if chosen is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = chosen


def loaded_keras() -> Any:
    """The Keras 3 of this process, None where it was not imported."""
    keras = sys.modules.get("keras")
    return keras if hasattr(keras, "KerasTensor") else None


def demand_torch(keras: Any, spec: str) -> None:
    """Raise `LoadError` where Keras computes with something else than torch."""
    backend = keras.backend.backend()
    if backend != "torch":
        raise LoadError(f"{spec}: {_wrong(backend)}")


def _wrong(backend: str) -> str:
    return (
        f"Keras is set to compute with {backend} here, and only what torch computes can be followed:"
        f" set {_VARIABLE}=torch in the environment before keras is imported"
    )


# --- contexts ---------------------------------------------------------------------------------------------------------


@contextmanager
def on_meta() -> Iterator[None]:
    """Build Keras layers without memory, and number unnamed ones from the start; nothing of it stays behind.

    Does nothing in a process without Keras.
    """
    keras = loaded_keras()
    if keras is None or keras.backend.backend() != "torch":
        yield
        return
    state = random.getstate()  # layers draw the seeds of their dropout from it
    try:
        with keras.device("meta"), _globally(object_name_uids=None, traceback_filtering=False):
            yield
    finally:
        random.setstate(state)


def rebuilt(config: dict[str, Any]) -> Any:
    """The model of a saved configuration; code in it is not run.

    One without a module was written in the older format, of Keras 2 or for HDF5.
    """
    serialization = importlib.import_module("keras.src.saving.serialization_lib")
    if "class_name" in config and "module" not in config and "registered_name" not in config:
        legacy = importlib.import_module("keras.src.legacy.saving.saving_utils")
        with serialization.SafeModeScope(True):
            return legacy.model_from_config({key: config[key] for key in ("class_name", "config") if key in config})
    with serialization.ObjectSharingScope():
        return serialization.deserialize_keras_object(config, safe_mode=True)


@contextmanager
def running_on(device: torch.device) -> Iterator[None]:
    """Run Keras layers on tensors of a device, meta included, and let errors through as they are.

    Keras takes "meta" for its own inference of shapes, in which results are not connected to what they come from. It
    compares its device with that text and with devices of tensors: as a device, meta is like any other.
    """
    place = device if device.type == "meta" else str(device)
    with _globally(torch_device=place, traceback_filtering=False):
        yield


@contextmanager
def _globally(**attributes: Any) -> Iterator[None]:
    """Keras's own global settings, exchanged for the time of the block."""
    state = importlib.import_module("keras.src.backend.common.global_state")
    before = {name: state.get_global_attribute(name) for name in attributes}
    try:
        for name, value in attributes.items():
            state.set_global_attribute(name, value)
        yield
    finally:
        for name, value in before.items():
            state.set_global_attribute(name, value)
