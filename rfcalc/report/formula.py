"""Counts that may be formulas, and their ratios, as text for people: ``49C²``, ``44.9 % fewer``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from rfcalc.report import text
from rfcalc.report.document import Math

if TYPE_CHECKING:
    from rfcalc.comparing.formulas import Irregular, Range
    from rfcalc.comparing.polynomial import Count, Polynomial, Ratio

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_VALUES = 4  #: that a note shows of a count without formula
COUNTS = {
    "params": "parameters",
    "trainable_params": "trainable parameters",
    "param_bytes": "bytes of the parameters",
    "buffers": "buffers",
    "macs": "multiply-adds",
    "unmasked_macs": "unmasked multiply-adds",
    "flops": "operations",
}
_BRIEF = (("k", 10**3), ("M", 10**6), ("G", 10**9), ("T", 10**12), ("P", 10**15))


def count(value: Count) -> str:
    """An exact count with thousands separators, a formula, ``-`` where there is neither."""
    if value is None:
        return text.NOTHING
    return text.count(value) if isinstance(value, int) else _math(polynomial(value), value)


def extents(values: Sequence[Count]) -> str:
    """A shape, ``1xCxHxW``."""
    return "x".join(str(value) if isinstance(value, int) else count(value) for value in values)


def polynomial(value: Polynomial) -> str:
    """``81,456H·W + 2,048,000``, the highest degree first."""
    found = ""
    for exponents in sorted(value.terms, key=lambda key: (-sum(key), [-power for power in key])):
        factor = value.terms[exponents]
        term = _term(abs(factor), dict(zip(value.symbols, exponents, strict=True)))
        sign = "-" if factor < 0 else "+"
        found += f" {sign} {term}" if found else term if factor > 0 else f"-{term}"
    return found or "0"


def _term(factor: Fraction, powers: Mapping[str, int]) -> str:
    """A coefficient and powers of symbols, ``1/4H²·N`` as ``H²·N/4``."""
    letters = [name + (str(power).translate(_RAISED) if power > 1 else "") for name, power in powers.items() if power]
    number = text.count(factor.numerator) if factor.numerator != 1 or not letters else ""
    below = "" if factor.denominator == 1 else f"/{text.count(factor.denominator)}"
    return number + "·".join(letters) + below


def brief(value: Count) -> str:
    """A count in one decimal, ``112.9M``; exact below ten thousand, and a formula as it is."""
    if not isinstance(value, int) or value < 10**4:
        return count(value)
    for unit, scale in _BRIEF:
        tenths = round(Fraction(10 * value, scale))
        if tenths < 10 * 1000 or unit == _BRIEF[-1][0]:
            break
    return f"{tenths // 10:,}.{tenths % 10}{unit}"


def relation(value: Ratio) -> str:
    """A ratio in words: ``44.9 % fewer``, ``same``, ``10.0 % more``, ``2.2 times``, ``C/4 times``, ``depends on C``."""
    if value is None:
        return text.NOTHING
    if not isinstance(value, Fraction):
        short = len(getattr(value, "terms", ())) == 1  # anything longer is hard to read, and stands in JSON
        return f"{polynomial(cast('Polynomial', value))} times" if short else f"depends on {', '.join(value.symbols)}"
    if value == 1:
        return "same"
    if value >= 2:
        tenths = round(10 * value)
        return f"{tenths // 10:,}.{tenths % 10} times"
    change = abs(value - 1)
    nearly = Fraction(1, 2000)  # what would round to nothing, or to all
    percent = "<0.1 %" if change < nearly else ">99.9 %" if 1 - nearly < change < 1 else text.share(change)
    return f"{percent} {'fewer' if value < 1 else 'more'}"


def _math(shown: str, value: Polynomial) -> Math:
    """The text, and what sympy writes in LaTeX."""
    from sympy import latex

    return Math(shown, latex(value.expression()))


def ranges(found: Sequence[Range]) -> str:
    """For which sizes formulas were confirmed: ``H, W multiples of 32 from 32 to 704; N from 1 to 8``."""
    rows: dict[str, list[str]] = {}
    for item in found:
        rows.setdefault(_range(item), []).append(item.symbol)
    return "; ".join(f"{', '.join(names)} {words}" for words, names in rows.items())


def _range(item: Range) -> str:
    span = f"from {item.least:,} to {item.largest:,}"
    if item.step == 1:
        return span
    return f"multiples of {item.step:,}{f' and {item.rest:,} more' if item.rest else ''} {span}"


def irregular(found: Sequence[Irregular], over: Sequence[Range], names: Mapping[str, str] = COUNTS) -> Iterator[str]:
    """Which counts are no polynomials: some values, and the layers at fault; ``names`` says what to call them."""
    symbols = ", ".join(item.symbol for item in over)
    for item in found:
        few = item.values if len(item.values) <= _VALUES else (*item.values[:2], *item.values[-2:])
        values = "; ".join(f"{_at(sizes)}: {text.count(value)}" for sizes, value in few)
        layers = f", in {text.listed(item.layers)}" if item.layers else ""
        yield f"no polynomial in {symbols} found for the {names[item.count]}{layers}: {values}"


def _at(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size:,}" for name, size in sizes.items())
