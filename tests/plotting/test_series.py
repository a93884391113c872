"""The numbers of the charts, by hand and from the papers."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

import rfcalc
from rfcalc.errors import UsageError
from rfcalc.plotting.series import Bubble, Cost, Point, Series, bubbles, cost_series, growth_series
from tests.plotting import nets


def test_growth_of_a_stack() -> None:
    (found,) = growth_series([rfcalc.analyze("3x3 3x3 max2/2 3x3")])

    assert found == Series(
        "3x3 3x3 max2/2 3x3",
        32,
        (
            Point(0, 1, "input"),
            Point(1, 3, "conv1"),
            Point(2, 5, "conv2"),
            Point(2, 6, "max3"),
            Point(3, 10, "conv4"),
        ),
    )
    assert found.outline == ((0, 1), (1, 3), (2, 6), (3, 10))


def test_axes_with_other_fields_have_lines_of_their_own() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, (3, 5), padding=(1, 2)))
    found = growth_series([rfcalc.analyze(net, (1, 16, 16))])

    assert [(series.label, series.points[-1].size) for series in found] == [("Sequential H", 3), ("Sequential W", 5)]


def test_inputs_have_lines_of_their_own() -> None:
    found = growth_series([rfcalc.analyze(nets.Two(), {"left": (1, 8, 8), "right": (1, 8, 8)})])

    assert [(series.label, [point.size for point in series.points]) for series in found] == [
        ("Two left", [1, 1]),
        ("Two right", [1, 3, 3]),
    ]


def test_layers_that_see_everything_are_not_on_the_line() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(64, 2))
    (found,) = growth_series([rfcalc.analyze(net, (1, 8, 8))])

    assert [(point.depth, point.size, point.whole) for point in found.points] == [
        (0, 1, False),
        (1, 3, False),
        (2, 8, True),
    ]
    assert found.outline == ((0, 1), (1, 3))


def test_a_field_without_window_is_not_the_whole_input() -> None:
    (found,) = growth_series([rfcalc.analyze(nets.Tokens(), (3, 32, 32))])

    assert [(point.layer, point.size, point.whole) for point in found.points] == [
        ("input", 1, False),
        ("patch", 8, False),
        ("head", 8, False),
    ]


def test_bounds_are_marked(odd: str) -> None:
    (found,) = growth_series([rfcalc.analyze(odd)])

    assert [point.bound for point in found.points] == [False, False, False, True]


def test_growth_has_limits() -> None:
    with pytest.raises(UsageError, match="9 lines cannot be told apart"):
        growth_series([rfcalc.analyze("3x3")] * 9)
    with pytest.raises(UsageError, match="no input of Sequential has an axis"):
        growth_series([rfcalc.analyze(nn.Sequential(nn.Linear(4, 2)), (4,))])


def test_costs_of_a_stack() -> None:
    found = cost_series(rfcalc.analyze("1x1:480-16 5x5:16-48", (480, 14, 14)))

    assert found.layers == (
        Cost(1, "input", 0, 0, 0, 0),
        Cost(2, "conv1", 480 * 16, 196 * 480 * 16, 7_680, 1_505_280),
        Cost(3, "conv2", 25 * 16 * 48, 196 * 25 * 16 * 48, 26_880, 5_268_480),
    )
    assert (found.params, found.macs, found.complete) == (26_880, 5_268_480, True)


def test_an_unknown_cost_is_not_zero(odd: str) -> None:
    found = cost_series(rfcalc.analyze(odd))

    assert [row.macs for row in found.layers] == [0, 8_748, 11_664, None]
    assert (found.macs, found.complete) == (20_412, False)


def test_bubbles_of_published_models(odd: str) -> None:
    found = bubbles([rfcalc.analyze("vgg16"), rfcalc.analyze("resnet50"), rfcalc.analyze(odd)])

    assert found[:2] == (
        Bubble("vgg16", 138_357_544, 15_470_264_320, 212, "212x212", True),
        Bubble("resnet50", 25_557_032, 4_089_184_256, 427, "427x427", True),
    )
    assert (found[2].macs, found[2].complete) == (20_412, False)


def test_a_bubble_without_window_and_one_with_a_local_field() -> None:
    plain = rfcalc.analyze(nn.Sequential(nn.Linear(4, 2)), (4,))
    excited = rfcalc.analyze(nets.Excited(), (1, 8, 8))

    assert [(item.size, item.field) for item in bubbles([plain, excited])] == [
        (0, "no window"),
        (3, "whole (local 3x3)"),
    ]


def test_a_saved_graph_is_as_good(tiny: str, tmp_path: Path) -> None:
    assert [point.size for point in growth_series([rfcalc.analyze(tiny)])[0].points] == [1, 3, 5]
