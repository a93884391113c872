"""``transformers:BertModel(num_hidden_layers=2)``: a class of transformers' with the defaults of its configuration.

Built without weights and without memory; nothing is downloaded, and no code outside of the library is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rfcalc.errors import LoadError, UsageError
from rfcalc.sources.forms import form, missing
from rfcalc.sources.loaded import Arguments, Expected, Loaded
from rfcalc.sources.naming.arguments import arguments, unknown

PREFIX = form("transformers").prefix


def load(spec: str) -> Loaded:
    """The model of a class, its arguments those of its configuration. Raises `UsageError` for an unknown name."""
    name, given = arguments(spec.removeprefix(PREFIX), spec)
    library = _library(spec)
    kind = getattr(library, name, None) if name.isidentifier() else None
    config_class = getattr(kind, "config_class", None)
    if config_class is None or not hasattr(kind, "forward"):
        if name not in library.CONFIG_MAPPING:
            raise unknown("transformers", name, _names(library))
        kind, config_class = library.AutoModel, library.CONFIG_MAPPING[name]
    wrong = set(given) - set(config_class().to_dict())
    if wrong:
        raise UsageError(f"{spec}: {config_class.__name__} has no {min(wrong)!r}")
    return _built(library, kind, _config(config_class, given, spec), spec)


def of_config(data: Mapping[str, Any], spec: str) -> Loaded:
    """The model that a config.json of transformers' describes: its class by ``architectures``, or that of its type."""
    library = _library(spec)
    kind = data.get("model_type")
    if kind not in library.CONFIG_MAPPING:
        raise LoadError(f"{spec}: this transformers has no models of type {kind!r}{_own_code(data)}")
    config = _config(library.CONFIG_MAPPING[kind], data, spec)
    for name in data.get("architectures") or ():
        known = getattr(library, str(name), None)
        if known is not None:
            return _built(library, known, config, spec)
        raise LoadError(f"{spec}: this transformers has no class {name}{_own_code(data)}")
    return _built(library, library.AutoModel, config, spec)


def _own_code(data: Mapping[str, Any]) -> str:
    if "auto_map" in data:
        return ", and code that comes with a model is not run: name the code that makes it (file.py:attr)"
    return ": install a release that has it, or name the code that makes it (file.py:attr)"


def _config(kind: Any, given: Mapping[str, Any], spec: str) -> Any:
    try:
        return kind.from_dict(dict(given))
    except Exception as error:  # what a configuration checks is open
        raise LoadError(f"{spec}: {kind.__name__} does not take this: {_line(error)}") from error


def _built(library: Any, kind: Any, config: Any, spec: str) -> Loaded:
    from rfcalc.tracing.construct import build_on_meta

    make = kind.from_config if kind is library.AutoModel else getattr(kind, "_from_config", kind)
    try:
        model, constants = build_on_meta(lambda: make(config))
    except Exception as error:
        raise LoadError(f"{spec}: building the model failed: {_line(error)}") from error
    inputs, arrange = _inputs(model, config)
    return Loaded(model.eval(), spec, inputs, arrange, constants=constants)


def _inputs(model: Any, config: Any) -> tuple[tuple[Expected, ...], Any]:
    """The model's main input: token ids of a length that is left open, or an image of the configuration's size."""
    name = getattr(model, "main_input_name", "")

    def arrange(tensors: Sequence[Any]) -> Arguments:
        return (), {name: tensors[0]}

    if name == "input_ids":
        return (Expected(name, (None,), "int64"),), arrange
    if name == "pixel_values":
        size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", None)
        extents = (size, size) if isinstance(size, int) else tuple(size or ())
        if len(extents) == 2 and isinstance(channels, int):
            return (Expected(name, (channels, *extents)),), arrange
    from rfcalc.sources.loaded import in_order

    return (), in_order


def _names(library: Any) -> list[str]:
    """The base classes of models, by which the others are called too."""
    found = [name for name in dir(library) if name.endswith("Model") or "For" in name]
    return [name for name in found if name[:1].isupper() and not name.startswith(("TF", "Flax", "Auto"))]


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}".rstrip(" .:")


def _library(spec: str) -> Any:
    try:
        import transformers
    except ImportError:
        raise missing("transformers", spec) from None
    return transformers
