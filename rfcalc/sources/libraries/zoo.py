"""Zoo names: the lecture's own architectures."""

from __future__ import annotations

from rfcalc import zoo
from rfcalc.sources.loaded import Loaded, one_input


def matches(spec: str) -> bool:
    """Whether the name is in the zoo's catalog."""
    return spec in zoo.CATALOG


def names() -> list[str]:
    """The names of the catalog."""
    return list(zoo.CATALOG)


def load(spec: str) -> Loaded:
    """The architecture, built without memory; nested layers are named as in the papers, ``inception3a/5x5``."""
    from rfcalc.tracing.construct import build_on_meta

    model, constants = build_on_meta(lambda: zoo.build(spec))
    return Loaded(model, spec, one_input(zoo.CATALOG[spec].input_shape), constants=constants, separator="/")
