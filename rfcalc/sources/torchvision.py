"""``torchvision:NAME``: any registered torchvision model, built without weights and without memory."""

from __future__ import annotations

import warnings
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.sources.arguments import arguments, unknown
from rfcalc.sources.loaded import Loaded

PREFIX = "torchvision:"


def matches(spec: str) -> bool:
    """Whether the text names a torchvision model."""
    return spec.startswith(PREFIX)


def load(spec: str) -> Loaded:
    """The model, with the input its published weights were evaluated on. Raises `UsageError` for an unknown name."""
    name, given = arguments(spec.removeprefix(PREFIX), spec)
    try:
        from torchvision import models
    except ImportError:
        raise LoadError(
            f"{spec} needs torchvision, which is not installed: pip install 'rfcalc[torchvision]'"
        ) from None
    from rfcalc.tracing.construct import build_on_meta

    known = models.list_models()
    if name not in known:
        raise unknown("torchvision", name, known)
    without: dict[str, Any] = {"weights": None}
    if any(part in models.get_model_builder(name).__module__ for part in ("segmentation", "detection")):
        without["weights_backbone"] = None
    try:
        with warnings.catch_warnings():  # GoogLeNet and Inception announce another initialisation; none is kept here
            warnings.simplefilter("ignore", FutureWarning)
            model, constants = build_on_meta(lambda: models.get_model(name, **{**without, **given}))
    except (TypeError, ValueError) as error:
        raise LoadError(f"{spec}: building the model failed: {error}") from error
    built_for = getattr(model, "image_size", None)
    shape = (3, built_for, built_for) if isinstance(built_for, int) else _shape(models.get_model_weights(name))
    return Loaded(model, spec, shape, constants)


def _shape(weights: Any) -> tuple[int, ...] | None:
    """The input of the default weights' preprocessing, without batch; None where it has no fixed size."""
    options = getattr(next(iter(weights)).transforms, "keywords", {}) if len(weights) else {}
    size = options.get("crop_size") or options.get("resize_size")
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    video = "Video" in getattr(next(iter(weights)).transforms.func, "__name__", "")
    return (3, 16, height, width) if video else (3, height, width)
