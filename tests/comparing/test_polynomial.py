"""Polynomials through given points, held against polynomials that are known."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfcalc.comparing.polynomial import Polynomial, Quotient, interpolate, ratio, simplest
from rfcalc.errors import UsageError


def through(count, symbols, places):
    """The polynomial through the values of a function on a grid."""
    grid = product(*(range(len(row)) for row in places))
    values = {at: count(*(row[k] for row, k in zip(places, at, strict=True))) for at in grid}
    return interpolate(symbols, places, values)


def test_three_points_of_a_parabola() -> None:
    found = through(lambda c: 49 * c**2, ("C",), [[2, 3, 7]])

    assert found.terms == {(2,): 49}
    assert (found.degree("C"), found.degree("H"), found.constant) == (2, 0, None)
    assert str(found) == "49*C**2"


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 2), st.integers(0, 1)), st.fractions(-50, 50, max_denominator=16), min_size=1
    ),
    st.lists(st.integers(1, 60), min_size=3, max_size=3, unique=True),
    st.lists(st.integers(1, 60), min_size=2, max_size=2, unique=True),
)
def test_a_polynomial_is_found_again_from_its_values(terms, heights, batches) -> None:
    known = {key: factor for key, factor in terms.items() if factor}

    found = through(
        lambda h, n: sum((factor * h**i * n**j for (i, j), factor in known.items()), Fraction(0)),
        ("H", "N"),
        [heights, batches],
    )

    assert found.terms == known
    assert found.at({"H": 11, "N": 13}) == sum(factor * 11**i * 13**j for (i, j), factor in known.items())


def test_sympy_writes_it() -> None:
    found = Polynomial(("H", "N"), {(2, 1): Fraction(9, 32), (0, 1): Fraction(-2), (0, 0): Fraction(1)})

    assert str(found) == "9*H**2*N/32 - 2*N + 1"
    assert str(Polynomial(("H",), {})) == "0"


def test_a_formula_without_symbols_is_a_number() -> None:
    assert simplest(Polynomial(("C",), {(0,): Fraction(7)})) == 7
    assert simplest(Polynomial(("C",), {})) == 0
    half = Polynomial(("C",), {(0,): Fraction(1, 2)})
    assert simplest(half) is half


def poly(**powers: int) -> Polynomial:
    """A polynomial in C: ``poly(c2=49)`` is 49*C**2."""
    return Polynomial(("C",), {(int(name[1:]),): Fraction(factor) for name, factor in powers.items()})


@pytest.mark.parametrize(
    ("count", "reference", "expected"),
    [
        (27, 49, Fraction(27, 49)),
        (poly(c2=27), poly(c2=49), Fraction(27, 49)),
        (poly(c2=27, c1=3), poly(c2=54, c1=6), Fraction(1, 2)),
        (0, poly(c2=1), Fraction(0)),
        (poly(c2=4), 2, "2*C**2"),
        (poly(c2=4), poly(c1=2), "2*C"),
        (poly(c2=1, c0=-1), poly(c1=1, c0=1), "C - 1"),
        (poly(c1=1), poly(c1=1, c0=1), "C/(C + 1)"),
        (None, 3, None),
        (3, None, None),
        (3, 0, None),
    ],
)
def test_ratios_are_exact(count, reference, expected) -> None:
    found = ratio(count, reference)

    assert (str(found) if isinstance(expected, str) else found) == expected


def test_a_quotient_knows_its_symbols() -> None:
    above = Polynomial(("H", "N"), {(1, 1): Fraction(3)})
    below = Polynomial(("H", "N"), {(1, 1): Fraction(1), (0, 1): Fraction(1)})

    found = ratio(above, below)

    assert isinstance(found, Quotient)
    assert (str(found), found.symbols) == ("3*H/(H + 1)", ("H",))


def test_without_sympy_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sympy", None)

    with pytest.raises(UsageError, match=r"sympy, which is not installed: pip install 'rfcalc\[symbolic\]'"):
        str(poly(c2=1))
