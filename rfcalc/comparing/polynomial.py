"""Polynomials in symbolic sizes with exact coefficients, found by interpolation; printed and divided by sympy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

from rfcalc.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

Exponents: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Polynomial:
    """A sum of terms, each a coefficient times powers of the symbols.

    ``terms`` gives the coefficient for the exponents of ``symbols`` in their order; coefficients of 0 are left out.
    """

    symbols: tuple[str, ...]
    terms: Mapping[Exponents, Fraction]

    @property
    def constant(self) -> Fraction | None:
        """The value, if it depends on no symbol."""
        return None if any(any(exponents) for exponents in self.terms) else sum(self.terms.values(), Fraction(0))

    def at(self, values: Mapping[str, int]) -> Fraction:
        """The value for these sizes."""
        return sum((factor * self._power(exponents, values) for exponents, factor in self.terms.items()), Fraction(0))

    def degree(self, symbol: str) -> int:
        """The highest power of a symbol."""
        if symbol not in self.symbols:
            return 0
        place = self.symbols.index(symbol)
        return max((exponents[place] for exponents in self.terms), default=0)

    def expression(self) -> Any:
        """The polynomial as a `sympy.Expr`. Raises `UsageError` where sympy is missing."""
        return _expression(self.symbols, self.terms)

    def __str__(self) -> str:
        """As Python and sympy read it: ``49*C**2``."""
        return str(self.expression())

    def _power(self, exponents: Exponents, values: Mapping[str, int]) -> int:
        return prod(values[symbol] ** power for symbol, power in zip(self.symbols, exponents, strict=True))


@dataclass(frozen=True)
class Quotient:
    """One polynomial over another that does not divide it, without common factors."""

    above: Polynomial
    below: Polynomial

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that the quotient depends on."""
        parts = (self.above, self.below)
        return tuple(name for name in self.above.symbols if any(part.degree(name) for part in parts))

    def expression(self) -> Any:
        """The quotient as a `sympy.Expr`."""
        return self.above.expression() / self.below.expression()

    def __str__(self) -> str:
        return str(self.expression())


#: A count: a number, a formula, or None where it is not known.
Count: TypeAlias = int | Polynomial | None
Ratio: TypeAlias = Fraction | Polynomial | Quotient | None


def simplest(found: Polynomial) -> int | Polynomial:
    """The polynomial, or the number that it is."""
    value = found.constant
    return int(value) if value is not None and value.denominator == 1 else found


def ratio(count: Count, reference: Count) -> Ratio:
    """One count over another, exactly; None where one is not known or the reference is 0."""
    if count is None or reference is None or reference == 0:
        return None
    if isinstance(count, int) and isinstance(reference, int):
        return Fraction(count, reference)
    return _cancelled(_polynomial(count), _polynomial(reference))


def interpolate(symbols: Sequence[str], places: Sequence[Sequence[int]], values: Mapping[Exponents, int]) -> Polynomial:
    """The only polynomial of degree below ``len(places[s])`` in each symbol s through all points of a grid.

    ``places`` are the sizes along each symbol, ``values`` the counts by position in the grid.
    """
    found = _interpolated(places, {position: Fraction(value) for position, value in values.items()})
    return Polynomial(tuple(symbols), {exponents: factor for exponents, factor in found.items() if factor})


def _interpolated(places: Sequence[Sequence[int]], values: Mapping[Exponents, Fraction]) -> dict[Exponents, Fraction]:
    """The coefficients, one symbol after the other: Lagrange's basis in the first, its factors in the others."""
    if not places:
        return dict(values)
    found: dict[Exponents, Fraction] = {}
    for at, basis in enumerate(_basis(places[0])):
        inner = _interpolated(places[1:], {key[1:]: value for key, value in values.items() if key[0] == at})
        for rest, factor in inner.items():
            for power, weight in enumerate(basis):
                key = (power, *rest)
                found[key] = found.get(key, Fraction(0)) + weight * factor
    return found


def _basis(places: Sequence[int]) -> list[list[Fraction]]:
    """For each place the coefficients, from the constant up, of the polynomial that is 1 there and 0 at the others."""
    found = []
    for place in places:
        row = [Fraction(1)]
        for other in places:
            if other != place:
                shifted, scaled = [Fraction(0), *row], [*(-other * factor for factor in row), Fraction(0)]
                row = [(up + down) / (place - other) for up, down in zip(shifted, scaled, strict=True)]
        found.append(row)
    return found


# --- sympy ------------------------------------------------------------------------------------------------------------


def require_sympy() -> ModuleType:
    """sympy. Raises `UsageError` with the command that installs it."""
    try:
        import sympy
    except ImportError:
        raise UsageError(
            "symbolic sizes need sympy, which is not installed: pip install 'rfcalc[symbolic]', or give numbers"
        ) from None
    module: ModuleType = sympy
    return module


def _expression(symbols: Sequence[str], terms: Mapping[Exponents, Fraction]) -> Any:
    sympy = require_sympy()
    # Sizes are positive, but a symbol with assumptions would be another one than the user's of the same name.
    letters = [sympy.Symbol(name) for name in symbols]
    parts = []
    for exponents, factor in terms.items():
        powers = [letter**power for letter, power in zip(letters, exponents, strict=True)]
        parts.append(sympy.Mul(sympy.Rational(factor.numerator, factor.denominator), *powers))
    return sympy.Add(*parts)


def _polynomial(count: int | Polynomial) -> Polynomial:
    return count if isinstance(count, Polynomial) else Polynomial((), {(): Fraction(count)} if count else {})


def _cancelled(above: Polynomial, below: Polynomial) -> Fraction | Polynomial | Quotient:
    sympy = require_sympy()
    if below.constant is not None:
        return _over(above, below.constant)
    symbols = tuple(dict.fromkeys((*above.symbols, *below.symbols)))
    numerator, denominator = sympy.fraction(sympy.cancel(above.expression() / below.expression()))
    parts = [_from_sympy(part, symbols) for part in (numerator, denominator)]
    scale = parts[1].constant
    return Quotient(*parts) if scale is None else _over(parts[0], scale)


def _over(above: Polynomial, scale: Fraction) -> Fraction | Polynomial:
    found = Polynomial(above.symbols, {key: factor / scale for key, factor in above.terms.items()})
    return found if found.constant is None else found.constant


def _from_sympy(expression: Any, symbols: tuple[str, ...]) -> Polynomial:
    sympy = require_sympy()
    poly = sympy.Poly(expression, *map(sympy.Symbol, symbols), domain="QQ")
    terms = {key: Fraction(int(factor.p), int(factor.q)) for key, factor in poly.terms() if factor}
    return Polynomial(symbols, terms)
