"""Reading --input NAME=VALUES: an input given by its values. What is malformed raises UsageError."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import PurePath

from rfcalc.cli.quoting import quoted
from rfcalc.errors import UsageError
from rfcalc.sources.inputs.values import SUFFIXES, Values

_WORDS: dict[str, bool | int | None] = {"ones": 1, "zeros": 0, "true": True, "false": False, "arange": None}
_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?(e[+-]?\d{1,3})?", re.ASCII)
_FORM = (
    "write ones:1x24, zeros:1x24, true:1x24, 7:1x24 or arange:1x24 (a value and a shape), [[1,4,4]] (all values),"
    " or a file that ends in .npy or .pt"
)


def parse_values(text: str, whole: str, shape_of: Callable[[str], tuple[int | str, ...]]) -> Values | None:
    """The values that a text gives, None for a shape. ``whole`` is the option's value that it is a part of."""
    text = text.strip()
    if text.startswith("["):
        return Values(whole, listed=_listed(text, whole))
    if PurePath(text).suffix in SUFFIXES:
        return Values(whole, path=text)
    word, colon, shape = text.partition(":")
    if not colon:
        if word in _WORDS:
            raise UsageError(f"--input {quoted(whole)}: {word} of what shape? {_FORM}")
        return None
    if word not in _WORDS and not _NUMBER.fullmatch(word):
        raise UsageError(f"--input {quoted(whole)}: {quoted(word, always=True)} is no value; {_FORM}")
    extents = shape_of(shape)
    if not all(isinstance(extent, int) for extent in extents):
        raise UsageError(f"--input {quoted(whole)}: a symbol has no values; write numbers, or the shape alone")
    numbers = tuple(extent for extent in extents if isinstance(extent, int))
    return Values(whole, numbers, _WORDS[word] if word in _WORDS else _number(word))


def _number(word: str) -> int | float:
    return float(word) if "." in word or "e" in word else int(word)


def _listed(text: str, whole: str) -> object:
    """Numbers in nested lists, all of one shape."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise UsageError(f"--input {quoted(whole)}: cannot read the list of values; {_FORM}") from None
    if _shape(found) is None:
        raise UsageError(f"--input {quoted(whole)}: no numbers in rows of equal length; {_FORM}")
    return found


def _shape(value: object) -> tuple[int, ...] | None:
    """The shape of numbers in nested lists; None where rows differ, are empty, or hold something else."""
    if not isinstance(value, list):
        return () if isinstance(value, int | float) else None
    shapes = {_shape(item) for item in value}
    inner = shapes.pop() if len(shapes) == 1 else None
    return None if inner is None else (len(value), *inner)
