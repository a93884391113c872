"""The picture of a stream: its data, and that it is drawn."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

import rfcalc
from rfcalc import plotting
from rfcalc.errors import UsageError
from tests.streaming import nets


def test_what_is_drawn() -> None:
    found = plotting.dependence(rfcalc.analyze(nets.Padded(5, 2, 2), (1, 8)))

    assert (found.extent, found.count, found.causal) == (8, 8, False)
    assert [(unit.first, unit.last, unit.end) for unit in found.units][:4] == [
        (0, 2, 0),
        (0, 3, 1),
        (0, 4, 2),
        (1, 5, 3),
    ]
    assert plotting.dependence(rfcalc.analyze(nets.Padded(5, 4, 0), (1, 8))).causal


def test_places_from_the_end_are_drawn() -> None:
    found = plotting.dependence(rfcalc.analyze(nn.Conv1d(1, 1, 5), (1, 8)), align="end")

    assert [(unit.first, unit.last, unit.begin, unit.end) for unit in found.units][:2] == [(0, 4, 4, 4), (1, 5, 5, 5)]
    assert found.causal
    with pytest.raises(UsageError, match="align start or end, not 'middle'"):
        plotting.dependence(rfcalc.analyze(nn.Conv1d(1, 1, 5), (1, 8)), align="middle")


def test_of_very_many_units_some_are_drawn() -> None:
    found = plotting.dependence(rfcalc.analyze(nets.Padded(5, 4, 0), (1, 5000)))

    assert (found.count, len(found.units), found.units[-1].number) == (5000, 1200, 4999)


def test_it_is_drawn() -> None:
    pytest.importorskip("matplotlib")
    figure = plotting.draw(rfcalc.analyze(nets.Padded(5, 2, 2), (1, 64)), "stream")

    assert plotting.render(figure, "svg").startswith(b"<?xml")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "reads",
        "reads ahead of its hop",
        "end of its own hop",
    ]


def test_each_unit_is_a_bar() -> None:
    """Unit 0 reads 0 to 2, which ends at 3 for all of its row, and unit 1 reads one more."""
    pytest.importorskip("matplotlib")
    figure = plotting.draw(rfcalc.analyze(nets.Padded(5, 2, 2), (1, 8)), "stream")
    reads, ahead = (list(shape.get_paths()) for shape in figure.axes[0].collections)

    def covered(paths: list[Any], x: float, row: float) -> bool:
        return any(path.contains_point((x, row)) for path in paths)

    assert [covered(ahead, x, 0.4) for x in (0.9, 1.1, 2.9, 3.1)] == [False, True, True, False]
    assert [covered(reads, x, -0.4) for x in (0.1, 0.9, 1.1)] == [True, True, False]
    assert [covered(ahead, x, 0.6) for x in (1.9, 2.1, 3.9, 4.1)] == [False, True, True, False]
    assert covered(reads, 7.9, 7.4)


def test_a_unit_may_read_nothing_or_only_what_comes_later() -> None:
    pytest.importorskip("matplotlib")
    figure = plotting.draw(rfcalc.analyze(nets.Ahead(3), (1, 8)), "stream")
    reads, ahead = (shape.get_paths() for shape in figure.axes[0].collections)

    assert not reads
    assert len(ahead) == 1
    assert [ahead[0].contains_point((x, 0)) for x in (2.5, 3.5)] == [False, True]
    assert not any(path.contains_point((6.5, 5.2)) for path in ahead)  # units 5 to 7 are of padding


def test_a_layer_without_order_in_time() -> None:
    with pytest.raises(UsageError, match="follow no order in time"):
        plotting.dependence(rfcalc.analyze(nn.Sequential(nn.Conv1d(1, 1, 1), nn.AdaptiveAvgPool1d(1)), (1, 64)))
