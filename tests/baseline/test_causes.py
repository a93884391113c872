"""Every kind of change is told by its name, at the layer where it was made; layers behind it follow."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from rfcalc.baseline.causes import Cause
from rfcalc.baseline.differences import Difference, RowChange, compare
from rfcalc.baseline.record import Entry
from tests.baseline.nets import entry

#: All layers behind the pooling that see the same part of the input through both branches.
BEHIND = ("cat", "up", "last", "attention.qkv", "attention/matmul", "attention/matmul#2", "encode", "decode")

#: Name, what is asked of the network, {layer: {what changed: (before, after)}}, and the layers that follow.
CASES: dict[str, tuple[dict[str, Any], dict[str, dict[str, tuple[Any, Any]]], tuple[str, ...]]] = {
    "kernel": (
        {"kernel": 5},
        {"wide": {"kernel": ((3, 3), (5, 5)), "padding": ((1, 1), (2, 2))}},
        ("more.0", "pool", "left", "right", *BEHIND),
    ),
    "stride": (
        {"stride": 2},
        {"wide": {"stride": ((1, 1), (2, 2))}},
        ("more.0", "pool", "left", "right", *BEHIND),
    ),
    "dilation": (
        {"dilation": 2},
        {"wide": {"dilation": ((1, 1), (2, 2)), "padding": ((1, 1), (2, 2))}},
        ("more.0", "pool", "left", "right", *BEHIND),
    ),
    "padding": (
        {"padding": 0},
        {"wide": {"padding": ((1, 1), (0, 0))}},
        ("more.0", "pool", "left", "right", *BEHIND),
    ),
    "groups": ({"groups": 2}, {"wide": {"groups": (1, 2)}}, ()),
    "bias": ({"bias": False}, {"first": {"bias": (True, False)}}, ()),
    "width": (
        {"width": 24},
        {"wide": {"width": (16, 24)}, "more.0": {"width": (16, 24)}},
        ("pool", "left", "right"),
    ),
    "depth": ({"depth": 2}, {"more.1": {"added": (None, None)}}, ("pool", "left", "right", *BEHIND)),
    "depth, taken away": ({"depth": 0}, {"more.0": {"removed": (None, None)}}, ("pool", "left", "right", *BEHIND)),
    "activation": ({"act": nn.GELU}, {"first": {"activation": ("ReLU", "GELU")}}, ()),
    "activation, taken away": ({"act": nn.Identity}, {"first": {"activation": ("ReLU", None)}}, ()),
    "norm, taken away": ({"norm": nn.Identity}, {"first": {"norm": ("BatchNorm2d", None)}}, ()),
    "norm, another": (
        {"norm": nn.InstanceNorm2d},
        {"first": {"norm": ("BatchNorm2d", "InstanceNorm2d")}},
        ("wide", "more.0", "pool", "left", "right", *BEHIND[:-3]),
    ),
    "pooling": ({"pool": nn.AvgPool2d}, {"pool": {"pooling": ("MaxPool2d", "AvgPool2d")}}, ()),
    "branch, added": (
        {"branches": 3},
        {"third": {"added": (None, None)}, "cat": {"inputs": (2, 3)}},
        (),
    ),
    "branches, in another order": ({"reordered": True}, {"left": {"order": (None, None)}}, ()),
    "upsampling factor": ({"factor": 4}, {"up": {"upsampling": ((2, 2), (4, 4))}}, BEHIND[2:]),
    "upsampling mode": ({"mode": "bicubic"}, {"up": {"upsampling": ("nearest", "bicubic")}}, BEHIND[2:]),
    "heads": (
        {"heads": 4},
        {"attention/matmul": {"heads": (2, 4)}, "attention/matmul#2": {"heads": (2, 4)}},
        (),
    ),
    "weight tying": ({"tied": True}, {"decode": {"weight tying": (False, True)}}, ()),
    "frozen": ({"frozen": True}, {"left": {"frozen": ("no", "yes")}}, ()),
    "renamed": ({"called": "final"}, {"final": {"renamed": ("last", "final")}}, ()),
    "input size": (
        {"shape": (3, 24, 24)},
        {"input": {"input": ((1, 3, 16, 16), (1, 3, 24, 24))}},
        ("first", "wide", "more.0", "pool", "left", "right", *BEHIND),
    ),
    "dtype": (
        {"dtype": torch.float64},
        {"input": {"dtype": ("float32", "float64")}},
        ("first", "wide", "more.0", "pool", "left", "right", *BEHIND),
    ),
    "unused parameters": ({"spare": True}, {"": {"unused parameters": (0, 20)}}, ()),
}


@cache
def base() -> Entry:
    return entry()


def told(difference: Difference) -> dict[str, dict[str, tuple[Any, Any]]]:
    """What changed by the layer that it is told of; of the whole model under ""."""
    causes = {row.name or row.old_name: row.causes for row in difference.rows if row.causes}
    if difference.causes:
        causes[""] = difference.causes
    return {name: {cause.what: (cause.old, cause.new) for cause in found} for name, found in causes.items()}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_change_is_told_where_it_was_made(case: str) -> None:
    given, expected, behind = CASES[case]

    difference = compare(base(), entry(**given))

    assert told(difference) == expected
    follows = {row.name: row.follows for row in difference.rows if row.follows}
    assert sorted(follows) == sorted(behind)
    assert {name for names in follows.values() for name in names} <= {name for name in expected if name}


@pytest.mark.parametrize("case", CASES)
def test_the_way_back_tells_the_same_layers(case: str) -> None:
    given, expected, _ = CASES[case]

    difference = compare(entry(**given), base())

    opposite = {"added": "removed", "removed": "added"}
    back = {"final": "last", "left": "right"} if "order" in case or case == "renamed" else {}
    assert {name: {opposite.get(what, what) for what in causes} for name, causes in expected.items()} == {
        next((there for there, here in back.items() if here == name), name): set(causes)
        for name, causes in told(difference).items()
    }


def test_what_did_not_change_is_told_of_nothing() -> None:
    assert not compare(base(), entry())


@pytest.mark.parametrize("part", ["macs", "params", "flops", "activation_bytes", "output", "dtype", "fields"])
def test_numbers_that_change_without_a_cause_say_so(part: str) -> None:
    """Another version of rfcalc or torch counts otherwise: that is no change of the model, and must be seen."""
    odd = {"output": (1, 8, 8, 9), "dtype": "float16", "fields": {}}.get(part, 7)
    rows = tuple(replace(row, **{part: odd}) if row.name == "right" else row for row in base().layers)

    found = compare(base(), replace(base(), layers=rows))

    expected = {"dtype": "dtype", "params": "weight tying"}.get(part, "unknown")
    assert {row.name: [cause.what for cause in row.causes] for row in found.rows} == {"right": [expected]}


# --- several layers ---------------------------------------------------------------------------------------------------


def stack(*layers: nn.Module) -> Entry:
    return entry(nn.Sequential(*layers))


def conv(into: int, out: int, kernel: int = 3) -> nn.Module:
    return nn.Conv2d(into, out, kernel, padding=kernel // 2)


def by_name(difference: Difference) -> dict[str, RowChange]:
    return {row.name or row.old_name: row for row in difference.rows}


def test_a_layer_put_into_a_list_shifts_the_rest_and_changes_nothing_of_it() -> None:
    old = stack(conv(3, 8), conv(8, 8, 1), nn.MaxPool2d(2), conv(8, 4))
    new = stack(conv(3, 8), conv(8, 8, 5), conv(8, 8, 1), nn.MaxPool2d(2), conv(8, 4))

    found = by_name(compare(old, new))

    assert {name: row.how for name, row in found.items()} == {
        "1": "added",
        "2": "changed",
        "3": "changed",
        "4": "changed",
    }
    assert found["2"].causes == (Cause("renumbered", "1", "2"),)
    assert found["4"].follows == ("1",)
    assert {change.what for change in found["4"].changes} == {"size", "start"}


def test_a_renamed_block_with_a_wider_layer_in_it() -> None:
    class Named(nn.Module):
        def __init__(self, name: str, width: int) -> None:
            super().__init__()
            self.name = name
            self.add_module(name, nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), conv(8, width), conv(width, 4)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return getattr(self, self.name)(x)

    found = by_name(compare(entry(Named("body", 8)), entry(Named("trunk", 12))))

    assert {name: row.how for name, row in found.items()} == {
        "trunk.0": "renamed",
        "trunk.2": "changed",
        "trunk.3": "changed",
    }
    assert [cause.what for cause in found["trunk.2"].causes] == ["renamed", "width"]
    assert found["trunk.3"].follows == ("trunk.2",)


def test_a_module_called_again_instead_of_one_more_shares_its_weights() -> None:
    class Twice(nn.Module):
        def __init__(self, again: bool) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.again = again

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.one if self.again else self.two)(self.one(x))

    found = by_name(compare(entry(Twice(False)), entry(Twice(True))))

    assert {name: [cause.what for cause in row.causes] for name, row in found.items()} == {
        "one#2": ["renamed", "weight tying"]
    }


def test_another_input_of_a_layer() -> None:
    class Skipping(nn.Module):
        def __init__(self, skip: bool) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
            self.skip = skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a = self.a(x)
            b = self.b(a)
            return b + self.c(a if self.skip else b)

    found = by_name(compare(entry(Skipping(False)), entry(Skipping(True))))

    assert found["c"].causes == (Cause("inputs", "b", "a"),)
    assert found["add"].follows == ("c",)
