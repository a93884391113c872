"""Which rows a table of layers has, and in which order: what ``--filter`` and ``--sort`` mean."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rfcalc.analyses.results import Layer, ReceptiveField
from rfcalc.errors import UsageError
from rfcalc.report.columns import LayerColumn, named, value_of

if TYPE_CHECKING:
    from rfcalc.analyses.analysis import Analysis

_CONDITION = re.compile(r"\s*([\w #-]+?)\s*(<=|>=|!=|<|>|=)\s*(.*?)\s*")
_NUMBER = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]+)?)\s*([kKMGT]|%)?")
_SCALES: dict[str, int | Fraction] = {
    "": 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "%": Fraction(1, 100),
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
}


def filtered(analysis: Analysis, layers: Sequence[Layer], conditions: Sequence[str]) -> tuple[Layer, ...]:
    """The layers that meet all conditions, ``kind=conv``, ``name!=head*``, ``macs>1M``, ``size>=100``.

    Raises `UsageError` for a condition that cannot be read, and where no layer meets them.
    """
    found = tuple(layers)
    for condition in conditions:
        meets = _condition(condition)
        found = tuple(layer for layer in found if meets(analysis, layer))
        if not found:
            raise UsageError(f"--filter {condition}: none of {len(layers)} rows is left")
    return found


def columns_read(conditions: Sequence[str], by: str | None) -> set[str]:
    """The columns that conditions and an order ask about. Raises `UsageError` for one that there is not."""
    parts = [_CONDITION.fullmatch(condition) for condition in conditions]
    words = [found[1] for found in parts if found is not None]
    return {named(word).name for word in [*words, *([by.removeprefix("-")] if by else [])]}


def _condition(condition: str) -> Callable[[Analysis, Layer], bool]:
    parts = _CONDITION.fullmatch(condition)
    if parts is None or not parts[3]:
        raise UsageError(
            f"--filter {condition!r}: write COLUMN=VALUE, with one of = != < <= > >=, as in kind=conv, 'macs>1M',"
            " 'name=layer1.*'"
        )
    column, how, wanted = named(parts[1]), parts[2], parts[3]
    number = _NUMBER.fullmatch(wanted)
    if number is not None:
        limit = Fraction(number[1].replace(",", "").replace("_", "")) * _SCALES[number[2] or ""]
        return lambda analysis, layer: _holds(_number(value_of(column, analysis, layer)), how, limit)
    if how not in ("=", "!="):
        raise UsageError(f"--filter {condition!r}: {wanted!r} is no number to compare with; write 1000, 1.5M or 2G")
    return lambda analysis, layer: (how == "=") == fnmatch.fnmatchcase(_shown(column, analysis, layer), wanted)


def _holds(value: Any, how: str, limit: Fraction) -> bool:
    """Whether it does; what is not known meets no condition."""
    return value is not None and _COMPARE[how](value, limit)


def _shown(column: LayerColumn, analysis: Analysis, layer: Layer) -> str:
    return column.column.show(value_of(column, analysis, layer))


def _number(value: Any) -> int | Fraction | None:
    """A value as a number to compare: of several along axes, as of a field, the largest."""
    if isinstance(value, ReceptiveField):
        value = value.size
    if isinstance(value, tuple | list):
        numbers = [item for item in value if isinstance(item, int | Fraction)]
        return max(numbers, default=None)
    return value if isinstance(value, int | Fraction) else None


def ordered(analysis: Analysis, layers: Sequence[Layer], by: str) -> tuple[Layer, ...]:
    """The layers in ascending order of a column; ``-macs`` in descending order. What is not known comes last.

    Raises `UsageError` for a column that there is not.
    """
    column = named(by.removeprefix("-"))
    known = [(_key(value_of(column, analysis, layer), column), layer) for layer in layers]
    rows = sorted((item for item in known if item[0] is not None), key=lambda item: item[0], reverse=by[:1] == "-")
    return tuple(layer for _, layer in [*rows, *(item for item in known if item[0] is None)])


def _key(value: Any, column: LayerColumn) -> Any:
    if isinstance(value, ReceptiveField):
        sizes = getattr(value, column.name, None)
        if sizes is None or isinstance(sizes, str):
            return None if sizes is None else sizes
        return tuple(-1 if item is None else item for item in sizes)
    return column.column.show(value) if isinstance(value, dict) else value
