"""A model that is there already, as an object of torch's or of Keras's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rfcalc.errors import LoadError
from rfcalc.sources.loaded import Loaded

if TYPE_CHECKING:
    from rfcalc.tracing.construct import Constants


def loaded(model: Any, name: str = "", constants: Constants | None = None) -> Loaded | None:
    """The model ready to be traced, None for an object that is no model. ``name`` is its own, or that of its class.

    Raises `LoadError` for a Keras model that cannot be traced.
    """
    from torch import nn

    if "keras" in sys.modules:
        from rfcalc.sources import keras_modules

        if keras_modules.is_keras(model):
            return keras_modules.loaded(model, name or str(model.name), constants)
        inside = [part for part in model.modules() if keras_modules.is_keras(part)] if isinstance(model, nn.Module) else []
        if inside:
            raise LoadError(
                f"{name or type(model).__name__} is a module of torch's with Keras layers inside ({inside[0].name}),"
                " which are followed in a Keras model only: make it a keras.Model"
            )
    return Loaded(model, name or type(model).__name__, constants=constants) if isinstance(model, nn.Module) else None
