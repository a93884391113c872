"""GoogLeNet (Inception v1): Szegedy et al., "Going Deeper with Convolutions", arXiv:1409.4842.

The 2014 network: 5x5 branches, biases, local response normalisation, no batch normalisation. What the paper leaves
open (normalisation constants, pooling sizes rounded up) follows Caffe's bvlc_googlenet.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from rfcalc.zoo.blocks import Branches, Chain, SideHead, conv_unit

TABLE_1 = {
    # 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
"""The paper's table 1, row by row."""

POOLED_AFTER = {"inception3b": "pool3", "inception4e": "pool4"}
HEAD_AFTER = {"inception4a": "aux1", "inception4d": "aux2"}


class InceptionReduced(Branches):
    """Figure 2(b): 1x1 convolutions reduce the channels before 3x3 and 5x5, and after the pooling."""

    def __init__(
        self, channels: int, n1x1: int, n3x3_reduce: int, n3x3: int, n5x5_reduce: int, n5x5: int, pool_proj: int
    ) -> None:
        super().__init__(channels)
        self.add_conv("1x1", n1x1, 1)
        self.add_conv("3x3_reduce", n3x3_reduce, 1)
        self.add_conv("3x3", n3x3, 3, after="3x3_reduce")
        self.add_conv("5x5_reduce", n5x5_reduce, 1)
        self.add_conv("5x5", n5x5, 5, after="5x5_reduce")
        self.add_pool("pool", nn.MaxPool2d(3, stride=1, padding=1))
        self.add_conv("pool_proj", pool_proj, 1, after="pool")
        self.join("1x1", "3x3", "5x5", "pool_proj")


class InceptionNaive(Branches):
    """Figure 2(a): 1x1, 3x3, 5x5 and the pooling side by side, each on all the channels."""

    def __init__(self, channels: int, n1x1: int, n3x3: int, n5x5: int) -> None:
        super().__init__(channels)
        self.add_conv("1x1", n1x1, 1)
        self.add_conv("3x3", n3x3, 3)
        self.add_conv("5x5", n5x5, 5)
        self.add_pool("pool", nn.MaxPool2d(3, stride=1, padding=1))
        self.join("1x1", "3x3", "5x5", "pool")


def _halve() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _auxiliary(channels: int) -> SideHead:
    """Section 5: 5x5 average pooling with stride 3 (4x4 at 224), 1x1 convolution, two linear layers, 70 % dropout."""
    return SideHead(
        OrderedDict(
            pool=nn.AvgPool2d(5, stride=3),
            conv=nn.Conv2d(channels, 128, 1),
            relu_conv=nn.ReLU(),
            flatten=nn.Flatten(),
            fc=nn.Linear(128 * 4 * 4, 1024),
            relu_fc=nn.ReLU(),
            drop=nn.Dropout(0.7),
            classifier=nn.Linear(1024, 1000),
        )
    )


def googlenet(aux: bool = False) -> Chain:
    """Table 1. With `aux`, the heads `aux1` after inception4a and `aux2` after inception4d; they run in training.

    pool5 is the 7x7 average pooling of the table at 224x224, written as a mean over whatever size there is.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3),
        relu_conv1=nn.ReLU(),
        pool1=_halve(),
        norm1=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75),
        **conv_unit("conv2_reduce", 64, 64, 1),
        **conv_unit("conv2", 64, 192, 3),
        norm2=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75),
        pool2=_halve(),
    )
    channels = 192
    for name, widths in TABLE_1.items():
        block = InceptionReduced(channels, *widths)
        layers[name] = block
        channels = block.channels_out
        if name in POOLED_AFTER:
            layers[POOLED_AFTER[name]] = _halve()
        if aux and name in HEAD_AFTER:
            layers[HEAD_AFTER[name]] = _auxiliary(channels)
    layers.update(pool5=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), drop=nn.Dropout(0.4), fc=nn.Linear(1024, 1000))
    return Chain(layers)


def inception_reduced() -> InceptionReduced:
    """inception3a alone, on 192 maps of 28x28."""
    return InceptionReduced(192, *TABLE_1["inception3a"])


def inception_naive() -> InceptionNaive:
    """What inception3a would be without 1x1 reductions, on 192 maps of 28x28: 416 maps come out instead of 256."""
    n1x1, _, n3x3, _, n5x5, _ = TABLE_1["inception3a"]
    return InceptionNaive(192, n1x1, n3x3, n5x5)
