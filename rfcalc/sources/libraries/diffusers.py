"""``diffusers:UNet2DModel(sample_size=32)``: a network of diffusers' with the defaults of its constructor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.sources.forms import form, missing
from rfcalc.sources.loaded import Loaded
from rfcalc.sources.naming.arguments import arguments, unknown

PREFIX = form("diffusers").prefix


def load(spec: str) -> Loaded:
    """The network of a class. Raises `UsageError` for an unknown name."""
    name, given = arguments(spec.removeprefix(PREFIX), spec)
    return _built(name, given, spec)


def of_config(data: Mapping[str, Any], spec: str) -> Loaded:
    """The network that a config.json of diffusers' describes."""
    name = str(data["_class_name"])
    given = {key: value for key, value in data.items() if not key.startswith("_")}
    kind = _class(name, spec)
    taken = inspect.signature(kind.__init__).parameters
    return _built(name, {key: value for key, value in given.items() if key in taken}, spec)


def _class(name: str, spec: str) -> Any:
    from torch import nn

    library = _library(spec)
    kind = getattr(library, name, None) if name.isidentifier() else None
    if not isinstance(kind, type) or not issubclass(kind, nn.Module):
        raise unknown("diffusers", name, [one for one in dir(library) if one[:1].isupper() and "Pipeline" not in one])
    return kind


def _built(name: str, given: Mapping[str, Any], spec: str) -> Loaded:
    from rfcalc.tracing.construct import build_on_meta

    kind = _class(name, spec)
    try:
        model, constants = build_on_meta(lambda: kind(**given))
    except Exception as error:
        text = " ".join(str(error).split())
        raise LoadError(f"{spec}: building the network failed: {type(error).__name__}: {text[:200]}") from error
    return Loaded(model.eval(), spec, constants=constants)


def _library(spec: str) -> Any:
    try:
        import diffusers
    except ImportError:
        raise missing("diffusers", spec) from None
    return diffusers
