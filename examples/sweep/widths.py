"""One network in several widths, for `rfcalc sweep`."""

from functools import partial

from torch import nn


def network(width: int) -> nn.Module:
    layers = [nn.Conv2d(3, width, 3, stride=2), nn.ReLU(), nn.Conv2d(width, 2 * width, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))


def models():
    for width in 16, 32, 64:
        yield f"width {width}", partial(network, width), (3, 65, 65)
    yield "resnet18"
