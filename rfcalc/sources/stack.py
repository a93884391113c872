"""Stack expressions: ``"3x3 3x3 3x3"``, ``"1x1:480-16 5x5:16-48"``, ``"7x7:3-64/2p3 max3/2"``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rfcalc.errors import UsageError
from rfcalc.sources.loaded import Loaded

_TOKEN = re.compile(
    r"(?:(?P<h>\d+)x(?P<w>\d+)|(?P<pool>max|avg)(?P<k>\d+))"
    r"(?::(?P<cin>\d+)-(?P<cout>\d+))?(?P<rest>(?:/\d+|d\d+|p\d+)*)"
)
_OPTION = re.compile(r"(/|d|p)(\d+)")
_FORM = "KxK, maxK or avgK, then :IN-OUT channels, /S stride, dD dilation, pP padding"


@dataclass(frozen=True, slots=True)
class Layer:
    """One token. ``padding`` None means "same"; channels None mean "as before"."""

    pool: str
    kernel: tuple[int, int]
    channels: tuple[int, int] | None
    stride: int
    dilation: int
    padding: int | None


def matches(spec: str) -> bool:
    """Whether the text looks like a stack: its first token starts like a layer."""
    first = spec.split()[:1]
    return bool(first) and re.match(r"(\d+x\d+|(max|avg)\d+)(?=$|[:/dp])", first[0]) is not None


def parse(spec: str) -> list[Layer]:
    """The layers of an expression. Raises `UsageError` pointing at a token that is wrong or does not chain."""
    layers = [_layer(token, number, spec) for number, token in enumerate(spec.split(), 1)]
    channels: int | None = None
    for number, layer in enumerate(layers, 1):
        if layer.channels is not None:
            if channels is not None and layer.channels[0] != channels:
                raise UsageError(
                    f"stack {spec!r}: token {number} takes {layer.channels[0]} channels,"
                    f" the layer before gives {channels}"
                )
            channels = layer.channels[1]
    return layers


def _layer(token: str, number: int, spec: str) -> Layer:
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise UsageError(f"stack {spec!r}: token {number}, {token!r}, is no layer; a layer is {_FORM}")
    options: dict[str, int] = {}
    for mark, value in _OPTION.findall(found["rest"]):
        if mark in options:
            raise UsageError(f"stack {spec!r}: token {number}, {token!r}, gives {mark!r} twice")
        options[mark] = int(value)
    pool = found["pool"] or ""
    kernel = (int(found["k"]),) * 2 if pool else (int(found["h"]), int(found["w"]))
    channels = (int(found["cin"]), int(found["cout"])) if found["cin"] else None
    small = [*kernel, options.get("/", 1), options.get("d", 1), *(channels or ())]
    if min(small) < 1:
        raise UsageError(
            f"stack {spec!r}: token {number}, {token!r}: kernel, stride, dilation and channels are at least 1"
        )
    if pool and channels is not None:
        raise UsageError(f"stack {spec!r}: token {number}, {token!r}: pooling keeps its channels, leave :IN-OUT out")
    padding = options.get("p")
    return Layer(pool, (kernel[0], kernel[1]), channels, options.get("/", 1), options.get("d", 1), padding)


def load(spec: str) -> Loaded:
    """The stack as a module of convolutions without bias; channels that are left out are 1."""
    from rfcalc.sources import stack_modules
    from rfcalc.tracing.construct import build_on_meta

    layers = parse(spec)
    first = next((layer.channels[0] for layer in layers if layer.channels is not None), 1)
    model, constants = build_on_meta(lambda: stack_modules.build(layers, first))
    return Loaded(model, spec, (first, 32, 32), constants)
