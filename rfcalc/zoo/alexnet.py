"""AlexNet with its two towers (Krizhevsky, Sutskever, Hinton, 2012), and with one (Krizhevsky, 2014)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class Towers(nn.Module):
    """One convolution a tower: the first half of the maps goes through `top`, the second through `bottom`.

    The names are those of figure 2, "one GPU runs the layer-parts at the top of the figure while the other runs the
    layer-parts at the bottom".
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.top = nn.Conv2d(channels_in // 2, channels_out // 2, kernel, padding=kernel // 2)
        self.bottom = nn.Conv2d(channels_in // 2, channels_out // 2, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Neither tower sees the other's maps."""
        top, bottom = torch.chunk(x, 2, dim=1)
        return torch.cat([self.top(top), self.bottom(bottom)], dim=1)


def response_norm() -> nn.LocalResponseNorm:
    """Section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75.

    The paper adds up the squares of n neighbours, torch averages them, hence n times alpha.
    """
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def alexnet() -> nn.Sequential:
    """AlexNet of section 3.5 and figure 2, for 227x227 pixels.

    conv1 (48 maps a tower) sees the whole image and conv3 all the maps of both towers, so each is one convolution;
    conv2, conv4 and conv5 see the maps of their own tower. The paper writes 224x224, but (224 - 11)/4 + 1 is no
    integer; 227 gives its 55x55 maps. norm1 and norm2 normalise over the maps of both towers, as Caffe's model does.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 96, 11, stride=4),
            relu1=nn.ReLU(),
            norm1=response_norm(),
            pool1=nn.MaxPool2d(3, stride=2),
            conv2=Towers(96, 256, 5),
            relu2=nn.ReLU(),
            norm2=response_norm(),
            pool2=nn.MaxPool2d(3, stride=2),
            conv3=nn.Conv2d(256, 384, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=Towers(384, 384, 3),
            relu4=nn.ReLU(),
            conv5=Towers(384, 256, 3),
            relu5=nn.ReLU(),
            pool5=nn.MaxPool2d(3, stride=2),
            flatten=nn.Flatten(),
            fc6=nn.Linear(256 * 6 * 6, 4096),
            relu6=nn.ReLU(),
            drop6=nn.Dropout(),
            fc7=nn.Linear(4096, 4096),
            relu7=nn.ReLU(),
            drop7=nn.Dropout(),
            fc8=nn.Linear(4096, 1000),
        )
    )


def alexnet_single() -> nn.Sequential:
    """The single tower of "One weird trick", section 5, with torchvision's widths, padding and average pooling.

    64, 192, 384, 256, 256 maps, no response normalisation. avgpool changes nothing at 224, where pool5 is 6x6, and
    lets other sizes through.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 64, 11, stride=4, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(3, stride=2),
            conv2=nn.Conv2d(64, 192, 5, padding=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(3, stride=2),
            conv3=nn.Conv2d(192, 384, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(384, 256, 3, padding=1),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(256, 256, 3, padding=1),
            relu5=nn.ReLU(),
            pool5=nn.MaxPool2d(3, stride=2),
            avgpool=nn.AdaptiveAvgPool2d((6, 6)),
            flatten=nn.Flatten(),
            drop6=nn.Dropout(),
            fc6=nn.Linear(256 * 6 * 6, 4096),
            relu6=nn.ReLU(),
            drop7=nn.Dropout(),
            fc7=nn.Linear(4096, 4096),
            relu7=nn.ReLU(),
            fc8=nn.Linear(4096, 1000),
        )
    )
