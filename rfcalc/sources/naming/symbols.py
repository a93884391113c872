"""Sizes that a user leaves open: ``C`` and ``2C`` in a stack, an input or an argument, and the numbers put in later."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from rfcalc.errors import UsageError

#: How a symbol is written: a capital letter, then capitals, digits and underscores (in ``3x3:C-Cd2`` the d is no part).
NAME = r"[A-Z][A-Z0-9_]*"
_SIZE = re.compile(rf"(?P<factor>\d*)(?P<symbol>{NAME})?")


@dataclass(frozen=True, slots=True)
class Multiple:
    """A size that is so many times a symbol; in a user's text the factor is a whole number."""

    factor: int | Fraction
    symbol: str

    def __str__(self) -> str:
        above, below = self.factor.numerator, self.factor.denominator
        return ("" if above == 1 else str(above)) + self.symbol + ("" if below == 1 else f"/{below}")

    def at(self, values: Mapping[str, int]) -> int:
        """The number it is. Raises ValueError for a part of a number that does not come out even."""
        found = Fraction(self.factor) * values[self.symbol]
        if found.denominator != 1:
            raise ValueError(f"{self} is no integer for {self.symbol} = {values[self.symbol]}")
        return int(found)


#: A number, or a multiple of a symbol.
Size: TypeAlias = int | Multiple


def parse_size(text: str) -> Size | None:
    """``64``, ``C`` or ``2C``; None for anything else."""
    found = _SIZE.fullmatch(text)
    if not text or found is None:
        return None
    factor = int(found["factor"] or 1)
    return Multiple(factor, found["symbol"]) if found["symbol"] else factor


def put_in(size: Size, values: Mapping[str, int]) -> Size:
    """The size with a number for its symbol, where there is one."""
    if isinstance(size, Multiple) and size.symbol in values:
        return size.at(values)
    return size


def symbols_of(sizes: Iterable[Size]) -> tuple[str, ...]:
    """The symbols among sizes, each once, in order of appearance."""
    return tuple(dict.fromkeys(size.symbol for size in sizes if isinstance(size, Multiple)))


def argument_symbols(spec: str) -> dict[str, str]:
    """The symbols among the keyword arguments of a name, and the first argument that each stands in.

    ``S`` in ``image_size`` of ``torchvision:vit_b_16(image_size=S)``.
    """
    call = _call(spec)
    found: dict[str, str] = {}
    for item in () if call is None else call.keywords:
        if isinstance(item.value, ast.Name) and re.fullmatch(NAME, item.value.id):
            found.setdefault(item.value.id, item.arg or "**")
    return found


def with_arguments(spec: str, values: Mapping[str, int]) -> str:
    """The name with numbers for the symbols among its keyword arguments."""
    call = _call(spec)
    if call is None:
        return spec
    for item in call.keywords:
        if isinstance(item.value, ast.Name) and item.value.id in values:
            item.value = ast.Constant(values[item.value.id])
    head = spec[: spec.index("(")]
    return f"{head}({', '.join(map(ast.unparse, call.keywords))})"


def refuse(what: str, symbols: Iterable[str]) -> UsageError:
    """The error for symbols where numbers are needed."""
    names = tuple(symbols)
    stand = f"{', '.join(names)} {'are symbols' if len(names) > 1 else 'is a symbol'}"
    return UsageError(
        f"{what}: {stand}, and this needs numbers: write them, or ask rfcalc compare, or rfcalc show --symbolic"
        f" {','.join(names)}, for formulas"
    )


def _call(spec: str) -> ast.Call | None:
    """The call at the end of a name, None where there is none that can be read."""
    _, bracket, rest = spec.partition("(")
    try:
        tree = ast.parse(f"_({rest}", mode="eval").body if bracket else None
    except SyntaxError:
        return None
    return tree if isinstance(tree, ast.Call) and not tree.args else None
