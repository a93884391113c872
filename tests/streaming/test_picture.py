"""The picture of a stream: its data, and that it is drawn."""

from __future__ import annotations

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


def test_a_layer_without_order_in_time() -> None:
    with pytest.raises(UsageError, match="follow no order in time"):
        plotting.dependence(rfcalc.analyze(nn.Sequential(nn.Conv1d(1, 1, 1), nn.AdaptiveAvgPool1d(1)), (1, 64)))
