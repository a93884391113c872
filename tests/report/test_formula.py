"""Formulas and ratios as people read them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rfcalc.comparing.formulas import Irregular, Range
from rfcalc.comparing.polynomial import Polynomial, ratio
from rfcalc.report import formula
from rfcalc.report.growth import patterns


def poly(symbols: str, **terms: int | Fraction) -> Polynomial:
    """``poly("HN", t21=3)`` is 3 H^2 N."""
    return Polynomial(tuple(symbols), {tuple(map(int, name[1:])): Fraction(value) for name, value in terms.items()})


@pytest.mark.parametrize(
    ("count", "text", "latex"),
    [
        (poly("C", t2=49), "49C²", "49 C^{2}"),
        (poly("C", t1=1), "C", "C"),
        (poly("HN", t11=81456, t01=2048000), "81,456H·N + 2,048,000N", "81456 H N + 2048000 N"),
        (poly("S", t4=Fraction(9, 32), t0=-7), "9S⁴/32 - 7", r"\frac{9 S^{4}}{32} - 7"),
        (poly("C", t1=-1, t0=Fraction(1, 2)), "-C + 1/2", r"\frac{1}{2} - C"),
        (Polynomial(("C",), {(12,): Fraction(1)}), "C¹²", "C^{12}"),
        (poly("C"), "0", "0"),
    ],
)
def test_formulas(count, text, latex) -> None:
    shown = formula.count(count)

    assert shown == text
    assert shown.latex == latex


def test_numbers_and_what_is_not_known() -> None:
    assert [formula.count(value) for value in (0, 1234, None)] == ["0", "1,234", "-"]
    assert formula.extents((1, poly("C", t1=2), poly("H", t1=Fraction(1, 4)), 32)) == "1x2CxH/4x32"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(27, 49), "44.9 % fewer"),
        (Fraction(1), "same"),
        (Fraction(11, 10), "10.0 % more"),
        (Fraction(199, 100), "99.0 % more"),
        (Fraction(2), "2.0 times"),
        (Fraction(2141, 100), "21.4 times"),
        (Fraction(99_999, 100_000), "<0.1 % fewer"),
        (Fraction(100_001, 100_000), "<0.1 % more"),
        (Fraction(1, 100_000), ">99.9 % fewer"),
        (Fraction(0), "100.0 % fewer"),
        (None, "-"),
        (poly("C", t1=Fraction(1, 4)), "C/4 times"),
        (poly("C", t1=1, t0=1), "depends on C"),
        (ratio(poly("HN", t11=1), poly("HN", t11=1, t01=1)), "depends on H"),
    ],
)
def test_ratios_in_words(value, text) -> None:
    assert formula.relation(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9_999, "9,999"),
        (19_200, "19.2k"),
        (112_896_000, "112.9M"),
        (1_505_280, "1.5M"),
        (999_960, "1.0M"),
        (15_470_264_320, "15.5G"),
        (poly("C", t2=9), "9C²"),
    ],
)
def test_brief_counts(value, text) -> None:
    assert formula.brief(value) == text


def test_ranges_that_are_the_same_are_told_once() -> None:
    rows = [Range(name, "", 32, 0, 32, 704, 224) for name in "HW"]
    rows += [Range("N", "", 1, 0, 1, 5, 1), Range("L", "", 4, 3, 3, 67, 35)]

    assert formula.ranges(rows) == (
        "H, W multiples of 32 from 32 to 704; N from 1 to 5; L multiples of 4 and 3 more from 3 to 67"
    )


def test_a_count_without_formula_shows_its_first_and_last_values() -> None:
    values = tuple(({"W": size}, size * size.bit_length()) for size in range(14, 20))
    item = Irregular("macs", values, ("conv",))

    (note,) = formula.irregular([item], [Range("W", "", 1, 0, 14, 19, 14)])

    assert note == (
        "no polynomial in W found for the multiply-adds, in conv: W = 14: 56; W = 15: 60; W = 18: 90; W = 19: 95"
    )


def test_names_that_differ_in_numbers_only_are_one_pattern() -> None:
    names = ["conv1", *(f"conv2_{k}/conv{k}" for k in range(5)), "fc", "up", "up#2", "up#3", "x#12", "y1", "y2"]
    names += [f"a.{k}.out" for k in range(3)]

    assert patterns(names) == ["conv1", "conv*_*/conv* (5)", "fc", "up* (3)", "x#12", "y1", "y2", "a.*.out (3)"]
