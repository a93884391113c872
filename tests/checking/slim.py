"""Networks with a quarter of their channels, which are most of the work of a real pass and nothing of its structure."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

Model = TypeVar("Model", bound=nn.Module)


def quarter(channels: int) -> int:
    return channels // 4 if channels >= 16 and channels % 4 == 0 else channels


def slim(model: Model) -> Model:
    """The model itself, its convolutions, batch norms and linear layers made anew on the device that is set."""
    for layer in model.modules():
        if isinstance(layer, _ConvNd):
            groups = quarter(layer.groups)
            layer.in_channels, layer.out_channels = quarter(layer.in_channels), quarter(layer.out_channels)
            fan, layer.groups = layer.in_channels // groups, groups
            layer.weight = nn.Parameter(torch.rand(layer.out_channels, fan, *layer.kernel_size) - 0.5)
            layer.bias = None if layer.bias is None else nn.Parameter(torch.rand(layer.out_channels))
        elif isinstance(layer, _BatchNorm):
            layer.__init__(quarter(layer.num_features), layer.eps)  # type: ignore[misc]
        elif isinstance(layer, nn.Linear):
            layer.__init__(quarter(layer.in_features), quarter(layer.out_features))  # type: ignore[misc]
    return model
