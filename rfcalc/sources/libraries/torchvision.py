"""``torchvision:NAME``: any registered torchvision model, built without weights and without memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rfcalc.errors import LoadError
from rfcalc.sources.forms import form, missing
from rfcalc.sources.loaded import Arguments, Expected, Loaded, in_order, one_input
from rfcalc.sources.naming.arguments import arguments, unknown

if TYPE_CHECKING:
    import torch
    from torch import nn

PREFIX = form("torchvision").prefix

#: Published op counts of optical flow are those of a pair of images of this size (torchvision's get_ops).
_FLOW_SIZE = (3, 512, 512)


def names() -> list[str]:
    """The names of all torchvision models. Raises `LoadError` where torchvision is not installed."""
    found: list[str] = _models(f"{PREFIX}*").list_models()
    return found


def load(spec: str) -> Loaded:
    """The model, with the input its published weights were evaluated on. Raises `UsageError` for an unknown name."""
    name, given = arguments(spec.removeprefix(PREFIX), spec)
    models = _models(spec)
    from rfcalc.tracing.construct import build_on_meta

    known = models.list_models()
    if name not in known:
        raise unknown("torchvision", name, known)
    family = models.get_model_builder(name).__module__.split(".")[2]
    without: dict[str, Any] = {"weights": None}
    if family in ("segmentation", "detection"):
        without["weights_backbone"] = None
    try:
        with warnings.catch_warnings():  # GoogLeNet and Inception announce another initialisation; none is kept here
            warnings.simplefilter("ignore", FutureWarning)
            model, constants = build_on_meta(lambda: models.get_model(name, **{**without, **given}))
    except (AssertionError, TypeError, ValueError) as error:
        raise LoadError(f"{spec}: building the model failed: {error}") from error
    arrange = _list_of_images if family == "detection" else in_order
    inputs = _inputs(family, model, models.get_model_weights(name))
    return Loaded(model, spec, inputs, arrange, constants=constants)


def _models(spec: str) -> Any:
    try:
        from torchvision import models
    except ImportError:
        raise missing("torchvision", spec) from None
    return models


def _list_of_images(images: Sequence[torch.Tensor]) -> Arguments:
    return (list(images),), {}


def _inputs(family: str, model: nn.Module, weights: Any) -> tuple[Expected, ...]:
    """What a model of the family takes."""
    if family == "detection":
        return (Expected("image", _detected_size(model), batched=False),)
    if family == "optical_flow":
        return Expected("image1", _FLOW_SIZE), Expected("image2", _FLOW_SIZE)
    built_for = getattr(model, "image_size", None)
    return one_input((3, built_for, built_for) if isinstance(built_for, int) else _evaluated_size(weights))


def _detected_size(model: Any) -> tuple[int, int, int]:
    """The image that a detector neither enlarges nor shrinks before its backbone sees it."""
    fixed = model.transform.fixed_size
    width, height = fixed if fixed is not None else (model.transform.min_size[-1],) * 2
    return 3, height, width


def _evaluated_size(weights: Any) -> tuple[int, ...] | None:
    """The input of the default weights' preprocessing, without batch; None where it has no fixed size."""
    options = getattr(next(iter(weights)).transforms, "keywords", {}) if len(weights) else {}
    size = options.get("crop_size") or options.get("resize_size")
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    video = "Video" in getattr(next(iter(weights)).transforms.func, "__name__", "")
    return (3, 16, height, width) if video else (3, height, width)
