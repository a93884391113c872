"""``timm:NAME``: any timm model, built without weights and without memory."""

from __future__ import annotations

from rfcalc.errors import LoadError
from rfcalc.sources.arguments import arguments, unknown
from rfcalc.sources.loaded import Loaded

PREFIX = "timm:"


def matches(spec: str) -> bool:
    """Whether the text names a timm model."""
    return spec.startswith(PREFIX)


def load(spec: str) -> Loaded:
    """The model, with the input size of its ``pretrained_cfg``. Raises `UsageError` for an unknown name."""
    name, given = arguments(spec.removeprefix(PREFIX), spec)
    try:
        import timm
    except ImportError:
        raise LoadError(f"{spec} needs timm, which is not installed: pip install 'rfcalc[timm]'") from None
    from rfcalc.tracing.construct import build_on_meta

    if name not in timm.list_models() and not timm.is_model(name):
        raise unknown("timm", name, timm.list_models())
    try:
        model, constants = build_on_meta(lambda: timm.create_model(name, pretrained=False, **given))
    except (TypeError, ValueError) as error:
        raise LoadError(f"{spec}: building the model failed: {error}") from error
    size = getattr(model, "pretrained_cfg", {}).get("input_size")
    return Loaded(model, spec, tuple(size) if size else None, constants)
