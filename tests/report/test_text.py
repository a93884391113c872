from __future__ import annotations

from fractions import Fraction

import pytest

from rfcalc.analyses.results import Misalignment
from rfcalc.report import text
from tests.report.samples import WHOLE, field


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, ""),
        (999_999, ""),
        (1_000_000, "1.00 M"),
        (138_357_544, "138.36 M"),
        (999_999_999, "1.00 G"),
        (15_470_264_320, "15.47 G"),
        (10**12, "1.00 T"),
        (123_456 * 10**15, "123,456.00 P"),
    ],
)
def test_short_form(value: int, expected: str) -> None:
    assert text.short(value) == expected


def test_counts_keep_the_exact_number_beside_the_short_one() -> None:
    assert text.count_and_short(15_470_264_320) == "15,470,264,320 (15.47 G)"
    assert text.count_and_short(61_706) == "61,706"
    assert text.count(None) == "?"


def test_share_rounds_to_tenths_of_a_percent() -> None:
    assert text.share(Fraction(1, 3)) == "33.3 %"
    assert text.share(Fraction(1)) == "100.0 %"
    assert text.share(None) == "-"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (field(5), "5x5"),
        (field((7, 5)), "7x5"),
        (field((37,)), "37"),
        (field(()), "-"),
        (None, "-"),
        (WHOLE, "whole"),
        (field(9, None), "9x9 (largest)"),
        (field((9, 7), (2, None), (-1, None), size_min=(9, 1)), "9x7 (largest)"),
        (field(1027, whole_input=True), "1027x1027 (whole)"),
        (field(9, None, whole_input=True, local_size=(5, 5), context=("se",)), "whole (local 5x5)"),
        (field(9, None, whole_input=True, local_size=(9, 9), context=("se",)), "whole"),
        (field(9, None, whole_input=True, local_size=(0, 0), context=("fc",)), "whole"),
        (field((204, 204), size_min=(188, 188), period=(16, 16)), "188-204 x 188-204"),
        (field((204, 5), size_min=(188, 5)), "188-204 x 5"),
        (field((204,), size_min=(188,)), "188-204"),
        (field(7, status="upper_bound"), "<=7x7"),
        (field(9, None, whole_input=True, status="upper_bound"), "<=whole"),
        (field(0, None), "none"),
    ],
)
def test_size_of_a_field(given: object, expected: str) -> None:
    assert text.size(given) == expected  # type: ignore[arg-type]


def test_stride_start_and_region() -> None:
    half = field(3, Fraction(1, 2), -1)
    assert text.stride(half) == "1/2x1/2"
    assert text.start(half) == "-1,-1"
    assert text.stride(WHOLE) == "-"
    assert text.stride(field(3, (2, None))) == "2x-"
    assert text.region(field(region=((0, 4), None))) == "0..4 x nothing"
    assert text.region(WHOLE) == "-"


def test_branches_that_do_not_line_up() -> None:
    item = Misalignment("cat", "H", ((2, Fraction(1, 2)), (4, None)))
    assert text.misaligned(item) == "cat, axis H: stride 2, center 1/2; stride 4, no window"


def test_attributes() -> None:
    given = {"kernel": [3, 3], "ceil_mode": False, "mode": "mean", "sizes": [[1, 2], [3, 4]], "bias": None}
    assert text.attributes(given) == "kernel 3x3, ceil mode no, mode mean, sizes 1x2, 3x4, bias none"


def test_long_lists_of_names_are_counted() -> None:
    assert text.listed(["a", "b"]) == "a, b"
    assert text.listed(list("abcdef")) == "a, b, c, d and 2 more"


def test_control_characters_in_names_become_visible() -> None:
    assert text.clean("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert text.clean("Größe") == "Größe"
