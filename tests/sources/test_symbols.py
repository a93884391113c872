"""Sizes left open in texts: how they are written, where they may stand, and numbers put in for them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rfcalc.errors import UsageError
from rfcalc.sources import load, stack
from rfcalc.sources.naming.symbols import Multiple, argument_symbols, parse_size, put_in, with_arguments


@pytest.mark.parametrize(
    ("text", "size", "shown"),
    [
        ("64", 64, "64"),
        ("C", Multiple(1, "C"), "C"),
        ("2C", Multiple(2, "C"), "2C"),
        ("12C_IN2", Multiple(12, "C_IN2"), "12C_IN2"),
    ],
)
def test_sizes_are_read_and_written(text, size, shown) -> None:
    assert parse_size(text) == size
    assert str(parse_size(text)) == shown


@pytest.mark.parametrize("text", ["", "c", "C/2", "-3", "2 C", "Cx", "C2c"])
def test_what_is_no_size(text: str) -> None:
    assert parse_size(text) is None


def test_parts_of_a_symbol_come_out_even_or_not_at_all() -> None:
    quarter = Multiple(Fraction(1, 4), "H")

    assert (str(quarter), quarter.at({"H": 64})) == ("H/4", 16)
    assert put_in(Multiple(2, "C"), {"H": 1}) == Multiple(2, "C")
    with pytest.raises(ValueError, match="H/4 is no integer for H = 6"):
        quarter.at({"H": 6})


@pytest.mark.parametrize(
    ("spec", "values", "expected"),
    [
        ("3x3:C-2Cd2", {"C": 8}, "3x3:8-16d2"),
        ("1x1:4C-C max2/2 3x3:C-D/2p1", {"C": 3, "D": 5}, "1x1:12-3 max2/2 3x3:3-5/2p1"),
        ("3x3:C-D", {"C": 3}, "3x3:3-D"),
        ("3x3 avg2", {"C": 3}, "3x3 avg2"),
    ],
)
def test_numbers_for_channels(spec, values, expected) -> None:
    assert stack.with_values(spec, values) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("7x7", "7x7:C-C"),
        ("3x3/2 max2 3x3d2p1", "3x3:C-C/2 max2 3x3:C-Cd2p1"),
        ("3x3 3x3:8-8", "3x3 3x3:8-8"),  # says what it takes
        ("max2", "max2"),
    ],
)
def test_channels_for_a_stack_without(spec, expected) -> None:
    assert stack.with_channels(spec, Multiple(1, "C")) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("3y3 3x3", "token 1, '3y3', is no layer"),
        ("3x3 3y3", "token 2, '3y3', is no layer"),
        ("3x3s2", "token 1, '3x3s2', is no layer"),
        ("3x3:480", "token 1, '3x3:480', is no layer"),
        ("3x3:0C-C", "token 1, '3x3:0C-C': .* at least 1"),
        ("3x3 max2:C-C", "token 2, 'max2:C-C': pooling keeps its channels"),
        ("1x1:480-16 5x5:8-48", "token 2, '5x5:8-48', takes 8 channels, and token 1, '1x1:480-16', gives 16"),
        ("3x3:C-C max2 3x3:2C-C", "token 3, '3x3:2C-C', takes 2C channels, and token 1, '3x3:C-C', gives C"),
        ("3x3:C-2D", "C, D are symbols, and this needs numbers: .*rfcalc compare"),
    ],
)
def test_a_stack_that_is_wrong_points_at_the_token(spec, message) -> None:
    with pytest.raises(UsageError, match=message):
        load(spec)


@pytest.mark.parametrize("spec", ["3x3.json", "nets/3x3.py:Net", "3x3.py:Net", "vgg16", "2022net", ""])
def test_what_is_no_stack(spec: str) -> None:
    assert not stack.matches(spec)


def test_arguments() -> None:
    spec = "torchvision:vit_b_16(image_size=S, num_classes=10, patch_size=S, act=relu)"

    assert argument_symbols(spec) == {"S": "image_size"}
    assert with_arguments(spec, {"S": 32}) == (
        "torchvision:vit_b_16(image_size=32, num_classes=10, patch_size=32, act=relu)"
    )


@pytest.mark.parametrize("spec", ["vgg16", "net.py:Net(", "net.py:Net(3, width=S)", "net.py:Net(width=S"])
def test_texts_without_arguments_to_read_stay_as_they_are(spec: str) -> None:
    assert argument_symbols(spec) == {}
    assert with_arguments(spec, {"S": 1}) == spec
