from __future__ import annotations

from collections.abc import Callable

import pytest

from rfcalc.cli.parse import parse_axes, parse_inputs, parse_position
from rfcalc.errors import UsageError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), None),
        (("3x224x224",), (3, 224, 224)),
        (("8x3x224x224",), (8, 3, 224, 224)),
        (("3X32X32",), (3, 32, 32)),
        (("16000",), (16000,)),
        (("left=3x64x64", "right=3x32x32"), {"left": (3, 64, 64), "right": (3, 32, 32)}),
        (("x=1x28x28",), {"x": (1, 28, 28)}),
    ],
)
def test_inputs(given: tuple[str, ...], expected: object) -> None:
    assert parse_inputs(given) == expected


def test_axes_and_position() -> None:
    assert parse_axes("H=2, W=3") == {"H": 2, "W": 3}
    assert parse_axes(None) is None
    assert parse_position("7,5") == (7, 5)
    assert parse_position("12") == (12,)
    assert parse_position(None) is None


@pytest.mark.parametrize(
    ("parse", "given", "said"),
    [
        (parse_inputs, ("3x",), "--input 3x: '' is no extent of a shape; write --input 3x224x224"),
        (parse_inputs, ("",), "--input '': '' is no extent"),
        (
            parse_inputs,
            ("3,224,224",),
            "--input 3,224,224: '3,224,224' is no extent of a shape; write --input 3x224x224",
        ),
        (parse_inputs, ("3x-1x4",), "'-1' is no extent"),
        (parse_inputs, ("3x0x4",), "an extent of 0 leaves nothing to look at"),
        (parse_inputs, ("3x٣",), "is no extent"),
        (parse_inputs, ("9" * 5000,), "is no extent"),
        (parse_inputs, ("a=3x4", "5x6"), "--input 5x6: with several inputs each needs its name"),
        (parse_inputs, ("3x4", "5x6"), "--input 3x4: with several inputs each needs its name"),
        (parse_inputs, ("=3x4",), "each needs its name"),
        (parse_inputs, ("a=3x4", "a=3x5"), "--input a=3x5: a was given a shape already"),
        (parse_axes, "H", "--axes H: cannot read 'H'; write --axes H=2,W=3"),
        (parse_axes, "", "--axes '': cannot read ''"),
        (parse_axes, "H=x", "cannot read 'H=x'"),
        (parse_axes, "H=2,H=3", "H=3 repeats a name or an axis"),
        (parse_axes, "H=2,W=2", "W=2 repeats a name or an axis"),
        (parse_position, "7,", "--at 7,: '' is no position; write --at Y,X"),
        (parse_position, "-1,0", "'-1' is no position"),
        (parse_position, "a", "'a' is no position"),
    ],
)
def test_malformed_values_say_what_to_write(parse: Callable[..., object], given: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_exit_status_of_a_malformed_value() -> None:
    assert UsageError.exit_status == 2
