"""``timm:NAME``: any timm model, built without weights and without memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.errors import LoadError
from rfcalc.sources.forms import form, missing
from rfcalc.sources.loaded import Loaded, one_input
from rfcalc.sources.naming.arguments import arguments, unknown

PREFIX = form("timm").prefix


def names() -> list[str]:
    """The names of all timm models. Raises `LoadError` where timm is not installed."""
    found: list[str] = _timm(f"{PREFIX}*").list_models()
    return found


def load(spec: str) -> Loaded:
    """The model, with the input size of its ``pretrained_cfg``. Raises `UsageError` for an unknown name."""
    name, given = arguments(spec.removeprefix(PREFIX), spec)
    timm = _timm(spec)
    known = timm.list_models()
    if name not in known and not timm.is_model(name):
        raise unknown("timm", name, known)
    return _built(timm, name, given, spec)


def _built(timm: Any, name: str, given: Mapping[str, Any], spec: str, size: Sequence[int] | None = None) -> Loaded:
    from rfcalc.tracing.construct import build_on_meta

    try:
        model, constants = build_on_meta(lambda: timm.create_model(name, pretrained=False, **given))
    except (AssertionError, TypeError, ValueError) as error:
        raise LoadError(f"{spec}: building the model failed: {error}") from error
    size = size or getattr(model, "pretrained_cfg", {}).get("input_size")
    return Loaded(model, spec, one_input(size), constants=constants)


def of_config(data: Mapping[str, Any], spec: str) -> Loaded:
    """The model that a config.json of timm's describes, as the hub keeps it: an architecture and what is changed."""
    name = str(data["architecture"])
    timm = _timm(spec)
    if not timm.is_model(name):
        raise unknown("timm", name, timm.list_models())
    given = dict(data.get("model_args") or {})
    if isinstance(data.get("num_classes"), int):
        given["num_classes"] = data["num_classes"]
    size = (data.get("pretrained_cfg") or {}).get("input_size")
    return _built(timm, name, given, spec, size)


def _timm(spec: str) -> Any:
    try:
        import timm
    except ImportError:
        raise missing("timm", spec) from None
    return timm
