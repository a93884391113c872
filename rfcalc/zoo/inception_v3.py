"""Inception V3: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567.

The paper's table 1 has no layer names; those here are the authors' own, from TF-Slim (`Conv2d_1a_3x3`, `Mixed_5b`),
with convolutions inside a block named like GoogLeNet's. The widths are those of the released model.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from rfcalc.zoo.blocks import Branches, Chain, SideHead, conv_unit


class Factorized5x5(Branches):
    """Figure 5's pair of 3x3 ("3x3dbl") in place of a 5x5, and the 5x5 branch as well; 35x35 maps."""

    def __init__(self, channels: int, pool_proj: int) -> None:
        super().__init__(channels, batch_norm=True)
        self.add_conv("1x1", 64, 1)
        self.add_conv("5x5_reduce", 48, 1)
        self.add_conv("5x5", 64, 5, after="5x5_reduce")
        self.add_conv("3x3dbl_reduce", 64, 1)
        self.add_conv("3x3dbl_a", 96, 3, after="3x3dbl_reduce")
        self.add_conv("3x3dbl_b", 96, 3, after="3x3dbl_a")
        self.add_pool("pool", nn.AvgPool2d(3, stride=1, padding=1))
        self.add_conv("pool_proj", pool_proj, 1, after="pool")
        self.join("1x1", "5x5", "3x3dbl_b", "pool_proj")


class Factorized7x7(Branches):
    """Figure 6 with n = 7: 1x7 and 7x1 instead of 7x7; 17x17 maps."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, batch_norm=True)
        self.add_conv("1x1", 192, 1)
        self.add_conv("7x7_reduce", width, 1)
        self.add_conv("7x7_1x7", width, (1, 7), after="7x7_reduce")
        self.add_conv("7x7_7x1", 192, (7, 1), after="7x7_1x7")
        self.add_conv("7x7dbl_reduce", width, 1)
        self.add_conv("7x7dbl_7x1a", width, (7, 1), after="7x7dbl_reduce")
        self.add_conv("7x7dbl_1x7a", width, (1, 7), after="7x7dbl_7x1a")
        self.add_conv("7x7dbl_7x1b", width, (7, 1), after="7x7dbl_1x7a")
        self.add_conv("7x7dbl_1x7b", 192, (1, 7), after="7x7dbl_7x1b")
        self.add_pool("pool", nn.AvgPool2d(3, stride=1, padding=1))
        self.add_conv("pool_proj", 192, 1, after="pool")
        self.join("1x1", "7x7_7x1", "7x7dbl_1x7b", "pool_proj")


class Expanded(Branches):
    """Figure 7: 1x3 and 3x1 side by side, for many features on 8x8 maps."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, batch_norm=True)
        self.add_conv("1x1", 320, 1)
        self.add_conv("3x3_reduce", 384, 1)
        self.add_conv("3x3_1x3", 384, (1, 3), after="3x3_reduce")
        self.add_conv("3x3_3x1", 384, (3, 1), after="3x3_reduce")
        self.add_conv("3x3dbl_reduce", 448, 1)
        self.add_conv("3x3dbl", 384, 3, after="3x3dbl_reduce")
        self.add_conv("3x3dbl_1x3", 384, (1, 3), after="3x3dbl")
        self.add_conv("3x3dbl_3x1", 384, (3, 1), after="3x3dbl")
        self.add_pool("pool", nn.AvgPool2d(3, stride=1, padding=1))
        self.add_conv("pool_proj", 192, 1, after="pool")
        self.join("1x1", "3x3_1x3", "3x3_3x1", "3x3dbl_1x3", "3x3dbl_3x1", "pool_proj")


class ReducedTo17(Branches):
    """Figure 10: convolution and pooling with stride 2 in parallel; 35x35 to 17x17 maps."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, batch_norm=True)
        self.add_conv("3x3", 384, 3, stride=2, padding=0)
        self.add_conv("3x3dbl_reduce", 64, 1)
        self.add_conv("3x3dbl_a", 96, 3, after="3x3dbl_reduce")
        self.add_conv("3x3dbl_b", 96, 3, after="3x3dbl_a", stride=2, padding=0)
        self.add_pool("pool", nn.MaxPool2d(3, stride=2))
        self.join("3x3", "3x3dbl_b", "pool")


class ReducedTo8(Branches):
    """Figure 10 once more, with 1x7 and 7x1 before the second stride; 17x17 to 8x8 maps."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, batch_norm=True)
        self.add_conv("3x3_reduce", 192, 1)
        self.add_conv("3x3", 320, 3, after="3x3_reduce", stride=2, padding=0)
        self.add_conv("7x7x3_reduce", 192, 1)
        self.add_conv("7x7x3_1x7", 192, (1, 7), after="7x7x3_reduce")
        self.add_conv("7x7x3_7x1", 192, (7, 1), after="7x7x3_1x7")
        self.add_conv("7x7x3_3x3", 192, 3, after="7x7x3_7x1", stride=2, padding=0)
        self.add_pool("pool", nn.MaxPool2d(3, stride=2))
        self.join("3x3", "7x7x3_3x3", "pool")


def _auxiliary(channels: int) -> SideHead:
    """Figure 8: the classifier on top of the last 17x17 layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        pool=nn.AvgPool2d(5, stride=3),
        **conv_unit("1x1", channels, 128, 1, batch_norm=True),
        **conv_unit("5x5", 128, 768, 5, padding=0, batch_norm=True),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(768, 1000),
    )
    return SideHead(layers)


def inception_v3(aux: bool = False) -> Chain:
    """Table 1, on 299x299. With `aux`, the head `AuxLogits` after Mixed_6e; it runs in training."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        **conv_unit("Conv2d_1a_3x3", 3, 32, 3, stride=2, padding=0, batch_norm=True),
        **conv_unit("Conv2d_2a_3x3", 32, 32, 3, padding=0, batch_norm=True),
        **conv_unit("Conv2d_2b_3x3", 32, 64, 3, batch_norm=True),
        MaxPool_3a_3x3=nn.MaxPool2d(3, stride=2),
        **conv_unit("Conv2d_3b_1x1", 64, 80, 1, batch_norm=True),
        **conv_unit("Conv2d_4a_3x3", 80, 192, 3, padding=0, batch_norm=True),
        MaxPool_5a_3x3=nn.MaxPool2d(3, stride=2),
        Mixed_5b=Factorized5x5(192, pool_proj=32),
        Mixed_5c=Factorized5x5(256, pool_proj=64),
        Mixed_5d=Factorized5x5(288, pool_proj=64),
        Mixed_6a=ReducedTo17(288),
        Mixed_6b=Factorized7x7(768, width=128),
        Mixed_6c=Factorized7x7(768, width=160),
        Mixed_6d=Factorized7x7(768, width=160),
        Mixed_6e=Factorized7x7(768, width=192),
    )
    if aux:
        layers["AuxLogits"] = _auxiliary(768)
    layers.update(
        Mixed_7a=ReducedTo8(768),
        Mixed_7b=Expanded(1280),
        Mixed_7c=Expanded(2048),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        drop=nn.Dropout(),
        fc=nn.Linear(2048, 1000),
    )
    return Chain(layers)
