"""Stack expressions: ``"3x3 3x3 3x3"``, ``"1x1:480-16 5x5:16-48"``, ``"7x7:3-64/2p3 max3/2"``, ``"3x3:C-2C"``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rfcalc.errors import UsageError
from rfcalc.sources.loaded import Loaded, one_input
from rfcalc.sources.naming.symbols import NAME, Size, parse_size, put_in, refuse, symbols_of

_CHANNELS = rf"\d*{NAME}|\d+"
_TOKEN = re.compile(
    r"(?P<what>(?P<h>\d+)x(?P<w>\d+)|(?P<pool>max|avg)(?P<k>\d+))"
    rf"(?::(?P<cin>{_CHANNELS})-(?P<cout>{_CHANNELS}))?(?P<rest>(?:/\d+|d\d+|p\d+)*)"
)
_OPTION = re.compile(r"(/|d|p)(\d+)")
_FORM = "KxK, maxK or avgK, then :IN-OUT channels, /S stride, dD dilation, pP padding"
#: What a token starts with that is meant as a layer. A name with a dot is a file or a module.
_START = re.compile(r"(\d+x\d+|(max|avg)\d+)(?=$|[:/dp])|\d+x\d+[^.]*$")
_DEFAULT_EXTENT = 32

#: The channels that a layer takes and gives.
Channels: TypeAlias = tuple[Size, Size]


@dataclass(frozen=True, slots=True)
class Layer:
    """One token. ``padding`` None means "same"; channels None mean "as before"."""

    pool: str
    kernel: tuple[int, int]
    channels: Channels | None
    stride: int
    dilation: int
    padding: int | None


def matches(spec: str) -> bool:
    """Whether the text looks like a stack: its first token starts like a layer, or one of several does."""
    return any(_START.match(token) is not None for token in spec.split())


def parse(spec: str) -> list[Layer]:
    """The layers of an expression. Raises `UsageError` pointing at a token that is wrong or does not chain."""
    tokens = spec.split()
    layers = [_layer(token, number, spec) for number, token in enumerate(tokens, 1)]
    channels: Size | None = None
    giver = 0
    for number, layer in enumerate(layers, 1):
        if layer.channels is not None:
            if channels is not None and layer.channels[0] != channels:
                raise UsageError(
                    f"stack {spec!r}: token {number}, {tokens[number - 1]!r}, takes {layer.channels[0]} channels, and"
                    f" token {giver}, {tokens[giver - 1]!r}, gives {channels}: make the two numbers equal"
                )
            channels, giver = layer.channels[1], number
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
    channels = _channels(found["cin"], found["cout"])
    small = [*kernel, options.get("/", 1), options.get("d", 1)]
    if min(small) < 1 or 0 in [size if isinstance(size, int) else size.factor for size in channels or ()]:
        raise UsageError(
            f"stack {spec!r}: token {number}, {token!r}: kernel, stride, dilation and channels are at least 1"
        )
    if pool and channels is not None:
        raise UsageError(f"stack {spec!r}: token {number}, {token!r}: pooling keeps its channels, leave :IN-OUT out")
    padding = options.get("p")
    return Layer(pool, (kernel[0], kernel[1]), channels, options.get("/", 1), options.get("d", 1), padding)


def _channels(given: str | None, wanted: str | None) -> Channels | None:
    sizes = parse_size(given or ""), parse_size(wanted or "")
    return None if sizes[0] is None or sizes[1] is None else (sizes[0], sizes[1])


def first_channels(layers: Sequence[Layer]) -> Size | None:
    """The channels that the stack takes; None where no layer says, so that they can be chosen."""
    return next((layer.channels[0] for layer in layers if layer.channels is not None), None)


def open_symbols(layers: Sequence[Layer]) -> tuple[str, ...]:
    """The symbols among the channels, in order of appearance."""
    return symbols_of(size for layer in layers for size in layer.channels or ())


def with_channels(spec: str, channels: Size) -> str:
    """The stack with so many channels in and out of every convolution, if it says nothing of channels itself."""
    if first_channels(parse(spec)) is not None:
        return spec
    return _rewritten(spec, lambda own: (channels, channels))


def with_values(spec: str, values: Mapping[str, int]) -> str:
    """The stack with numbers for the symbols among its channels."""
    return _rewritten(spec, lambda own: None if own is None else (put_in(own[0], values), put_in(own[1], values)))


def _rewritten(spec: str, change: Callable[[Channels | None], Channels | None]) -> str:
    """The stack with other channels in its convolutions."""
    tokens = []
    for token, layer in zip(spec.split(), parse(spec), strict=True):
        channels = None if layer.pool else change(layer.channels)
        if channels is not None:
            token = _TOKEN.sub(rf"\g<what>:{channels[0]}-{channels[1]}\g<rest>", token)
        tokens.append(token)
    return " ".join(tokens)


def load(spec: str) -> Loaded:
    """The stack as a module of convolutions without bias; channels that are left out are 1.

    Raises `UsageError` for channels that are symbols.
    """
    from rfcalc.sources.stack import modules as stack_modules
    from rfcalc.tracing.construct import build_on_meta

    layers = parse(spec)
    widths = _widths(layers)
    if widths is None:
        raise refuse(f"stack {spec!r}", open_symbols(layers))
    model, constants = build_on_meta(lambda: stack_modules.build(layers, widths))
    taken = widths[0][0] if widths else 1
    return Loaded(model, spec, one_input((taken, _DEFAULT_EXTENT, _DEFAULT_EXTENT)), constants=constants)


def _widths(layers: Sequence[Layer]) -> list[tuple[int, int]] | None:
    """The channels in and out of every layer; None where one is a symbol."""
    now: Size = first_channels(layers) or 1
    found: list[tuple[int, int]] = []
    for layer in layers:
        given, now = layer.channels or (now, now)
        if not isinstance(given, int) or not isinstance(now, int):
            return None
        found.append((given, now))
    return found
