"""Which axes of an input fields are measured along, when nobody says."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from rfcalc.api import layer_graph

IMAGE, VOLUME, AUDIO, TOKENS = (1, 3, 8, 8), (1, 1, 8, 8, 8), (1, 3, 8), (1, 5, 8)
FOUND = {
    "image": (nn.Conv2d(3, 2, 3), IMAGE, {"H": 2, "W": 3}),
    "image without batch": (nn.Conv2d(3, 2, 3), (3, 9, 9), {"H": 1, "W": 2}),
    "volume": (nn.Conv3d(1, 1, 3), VOLUME, {"D": 2, "H": 3, "W": 4}),
    "audio": (nn.Conv1d(3, 2, 3), AUDIO, {"L": 2}),
    "image flattened first": (nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), IMAGE, {"H": 2, "W": 3}),
    "images of a batch flattened": (nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), (2, 3, 8, 8), {"H": 2, "W": 3}),
    "features alone": (nn.Linear(8, 3), (2, 8), {}),
    "tokens": (nn.Linear(8, 3), TOKENS, {"T": 1}),
    "grid of tokens": (nn.Linear(8, 3), (1, 4, 5, 8), {"H": 1, "W": 2}),
    "tokens normalised": (nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3)), TOKENS, {"T": 1}),
    "tokens with features in two axes": (nn.Sequential(nn.Flatten(2), nn.Linear(32, 3)), (1, 5, 4, 8), {"T": 1}),
    "channels-last image": (nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3)), (1, 8, 8, 3), {"H": 1, "W": 2}),
    "image normalised over everything": (nn.LayerNorm([3, 8, 8]), IMAGE, {"H": 2, "W": 3}),
    "image normalised by channel": (nn.Sequential(nn.InstanceNorm2d(3), nn.Conv2d(3, 3, 3)), IMAGE, {"H": 2, "W": 3}),
    "image normalised by group": (nn.Sequential(nn.GroupNorm(1, 3), nn.Conv2d(3, 3, 3)), IMAGE, {"H": 2, "W": 3}),
    "audio normalised by channel": (nn.Sequential(nn.InstanceNorm1d(3), nn.Conv1d(3, 3, 3)), AUDIO, {"L": 2}),
    "attention": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), TOKENS, {"T": 1}),
    "attention on a batch": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8), {"T": 1}),
    "recurrence": (nn.LSTM(8, 3, batch_first=True), (2, 5, 8), {"T": 1}),
    "recurrence over the first axis": (nn.LSTM(8, 3), (5, 2, 8), {"T": 0}),
    "pooled at once": (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)), IMAGE, {"H": 2, "W": 3}),
    "shuffled pixels": (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 3, 3)), IMAGE, {"H": 2, "W": 3}),
}


@pytest.mark.parametrize("name", FOUND)
def test_axes_are_found_from_shape_and_use(name):
    model, shape, axes = FOUND[name]

    (found,) = layer_graph(model, torch.rand(shape)).inputs

    assert dict(found.axes) == axes


def test_ids_of_tokens_are_positions():
    (found,) = layer_graph(nn.Embedding(10, 4), torch.zeros(1, 5).long()).inputs

    assert dict(found.axes) == {"T": 1}


def test_training_statistics_do_not_say_what_the_axes_are():
    model = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(3), conv=nn.Conv2d(3, 3, 3)))

    for training in (False, True):
        (found,) = layer_graph(model, (3, 8, 8), training=training).inputs
        assert dict(found.axes) == {"H": 2, "W": 3}
