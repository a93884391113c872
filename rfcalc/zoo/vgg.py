"""VGG: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (64, 128, 256, 512, 512)
"""Maps of the five stages, table 1."""


class AveragedGrid(nn.Module):
    """Nothing at the paper's 224x224, where pool5 is 7x7; averages any other grid to 7x7, so that fc6 fits.

    The paper slides the fully connected layers over larger images instead (section 3.2); averaging is torchvision's
    habit.
    """

    def forward(self, x: Tensor) -> Tensor:
        """7x7 in any case."""
        return x if x.shape[-2:] == (7, 7) else F.adaptive_avg_pool2d(x, (7, 7))


def _vgg(depths: tuple[int, ...], batch_norm: bool) -> nn.Sequential:
    """Stages of `depths` 3x3 convolutions, each closed by a 2x2 max pooling, then three fully connected layers."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for stage, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), start=1):
        for number in range(1, depth + 1):
            layers[f"conv{stage}_{number}"] = nn.Conv2d(channels, width, 3, padding=1)
            if batch_norm:
                layers[f"bn{stage}_{number}"] = nn.BatchNorm2d(width)
            layers[f"relu{stage}_{number}"] = nn.ReLU()
            channels = width
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers.update(
        avgpool=AveragedGrid(),
        flatten=nn.Flatten(),
        fc6=nn.Linear(512 * 7 * 7, 4096),
        relu6=nn.ReLU(),
        drop6=nn.Dropout(),
        fc7=nn.Linear(4096, 4096),
        relu7=nn.ReLU(),
        drop7=nn.Dropout(),
        fc8=nn.Linear(4096, 1000),
    )
    return nn.Sequential(layers)


def vgg11(batch_norm: bool = False) -> nn.Sequential:
    """Table 1, configuration A."""
    return _vgg((1, 1, 2, 2, 2), batch_norm)


def vgg13(batch_norm: bool = False) -> nn.Sequential:
    """Table 1, configuration B."""
    return _vgg((2, 2, 2, 2, 2), batch_norm)


def vgg16(batch_norm: bool = False) -> nn.Sequential:
    """Table 1, configuration D."""
    return _vgg((2, 2, 3, 3, 3), batch_norm)


def vgg19(batch_norm: bool = False) -> nn.Sequential:
    """Table 1, configuration E."""
    return _vgg((2, 2, 4, 4, 4), batch_norm)
