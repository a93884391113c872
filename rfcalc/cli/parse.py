"""Reading --input, --axes and --at. A malformed one raises UsageError: what was given, and how to write it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from rfcalc.cli.quoting import quoted
from rfcalc.cli.values import parse_values
from rfcalc.errors import UsageError
from rfcalc.sources.inputs.values import Values

Shape: TypeAlias = tuple[int, ...]
OpenShape: TypeAlias = tuple[int | str, ...]  #: with symbols, as they were typed, in the place of some numbers
Inputs: TypeAlias = Shape | Values | Mapping[str, Shape | Values] | None
OpenInputs: TypeAlias = OpenShape | Values | Mapping[str, OpenShape | Values] | None

_EXTENT = re.compile(r"[0-9]{1,9}")
_SYMBOL = re.compile(r"[0-9]{0,9}[A-Z][A-Z0-9_]*")
_CROSS = re.compile(r"x|(?<=[0-9])X(?=[0-9])")
_INPUT_FORM = "write --input 3x224x224 (a batch may precede: 8x3x224x224), or NAME=SHAPE for one of several inputs"
_AXES_FORM = "write --axes H=2,W=3 (a name and the axis of the input it stands for)"
_RANGE = re.compile(r"([0-9]{1,6})(?:-|\.\.)([0-9]{1,6})")
_LAYER_FORM = "a number, a name, a glob or a range, several with commas: 3,7-9,conv4_*"
_AT_FORM = "Y,X (a position in the layer's output for each axis, counted from 0)"


def parse_inputs(values: Sequence[str]) -> Inputs:
    """All values of --input: nothing, one input, or one for each name; each a shape, or its values."""
    return numbers_only(parse_open_inputs(values))


def numbers_only(shapes: OpenInputs) -> Inputs:
    """The inputs as they are. Raises UsageError if there are symbols among them."""
    if isinstance(shapes, Mapping):
        return {name: _numbers(shape) for name, shape in shapes.items()}
    return None if shapes is None else _numbers(shapes)


def _numbers(shape: OpenShape | Values) -> Shape | Values:
    if isinstance(shape, Values):
        return shape
    for extent in shape:
        if isinstance(extent, str):
            raise UsageError(
                f"--input {'x'.join(map(str, shape))}: {extent} is a symbol, and this needs numbers: write one, or"
                f" ask rfcalc compare, or rfcalc show --symbolic {extent.lstrip('0123456789')}, for formulas"
            )
    return tuple(extent for extent in shape if isinstance(extent, int))


def parse_open_inputs(values: Sequence[str]) -> OpenInputs:
    """As `parse_inputs`, with symbols among the extents of shapes."""
    named = [value.partition("=") for value in values]
    if not named:
        return None
    if len(named) == 1 and not named[0][1]:
        return _parse_one(values[0], values[0])
    shapes: dict[str, OpenShape | Values] = {}
    for value, (name, equals, shape) in zip(values, named, strict=True):
        if not equals or not name.strip():
            raise UsageError(
                f"--input {quoted(value)}: with several inputs each needs its name, as in --input left=3x64x64"
            )
        if name.strip() in shapes:
            raise UsageError(f"--input {quoted(value)}: {name.strip()} was given a shape already; name each input once")
        shapes[name.strip()] = _parse_one(shape, value)
    return shapes


def _parse_one(text: str, whole: str) -> OpenShape | Values:
    """An input by its values or by its shape; ``whole`` is the option's value that the text is a part of."""
    given = parse_values(text, whole, lambda shape: parse_shape(shape, whole))
    return parse_shape(text, whole) if given is None else given


def parse_shape(text: str, whole: str = "") -> OpenShape:
    """``3x224x224`` or ``3xHxW`` as a tuple; ``whole`` is the option's value that it is a part of."""
    parts = _CROSS.split(text.strip())
    for part in parts:
        if _SYMBOL.fullmatch(part):
            continue
        if not _EXTENT.fullmatch(part):
            raise UsageError(
                f"--input {quoted(whole or text)}: {quoted(part, always=True)} is no extent of a shape; {_INPUT_FORM}"
            )
        if int(part) == 0:
            raise UsageError(
                f"--input {quoted(whole or text)}: an extent of 0 leaves nothing to look at; {_INPUT_FORM}"
            )
    return tuple(int(part) if _EXTENT.fullmatch(part) else part for part in parts)


def parse_axes(text: str | None) -> dict[str, int] | None:
    """``H=2,W=3`` as a mapping."""
    if text is None:
        return None
    axes: dict[str, int] = {}
    for part in text.split(","):
        name, _, place = (word.strip() for word in part.partition("="))
        if not name or not _EXTENT.fullmatch(place):
            raise UsageError(f"--axes {quoted(text)}: cannot read {quoted(part.strip(), always=True)}; {_AXES_FORM}")
        if name in axes or int(place) in axes.values():
            raise UsageError(f"--axes {quoted(text)}: {part.strip()} repeats a name or an axis; {_AXES_FORM}")
        axes[name] = int(place)
    return axes


def layer_key(text: str) -> int | str:
    """A layer as `Analysis.select` takes it: a text of digits is a number of the table, everything else a name."""
    return int(text) if _EXTENT.fullmatch(text.strip()) else text


def layer_keys(texts: Sequence[str]) -> list[int | str]:
    """``3,7,conv4_*`` and ``3-7`` as numbers, names and globs, in order; a range counts up to its end.

    Raises UsageError for a range that ends before it begins.
    """
    found: list[int | str] = []
    for part in [part.strip() for text in texts for part in text.split(",")]:
        span = _RANGE.fullmatch(part)
        if not part:
            raise UsageError(f"--layer {quoted(','.join(texts))}: a layer is missing; write {_LAYER_FORM}")
        if span is None:
            found.append(layer_key(part))
            continue
        first, last = int(span[1]), int(span[2])
        if first > last:
            raise UsageError(f"--layer {part}: the range ends before it begins; write {last}-{first}")
        found += range(first, last + 1)
    return list(dict.fromkeys(found))


def parse_position(text: str | None, option: str = "--at") -> tuple[int, ...] | None:
    """``7,7`` as a tuple."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not _EXTENT.fullmatch(part):
            wrong = f"{option} {quoted(text)}: {quoted(part, always=True)} is no position"
            raise UsageError(f"{wrong}; write {option} {_AT_FORM}")
    return tuple(int(part) for part in parts)


def parse_extents(text: str | None, option: str) -> tuple[int, ...] | None:
    """``256`` or ``256x512`` as numbers."""
    if text is None:
        return None
    parts = text.lower().replace(" ", "").split("x")
    for part in parts:
        if not _EXTENT.fullmatch(part) or int(part) == 0:
            raise UsageError(
                f"{option} {quoted(text)}: {quoted(part, always=True)} is no length; write {option} 256, or"
                f" {option} 256x512 with one for each axis"
            )
    return tuple(int(part) for part in parts)
