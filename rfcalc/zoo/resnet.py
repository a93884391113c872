"""ResNet and its plain counterparts: He, Zhang, Ren, Sun, "Deep Residual Learning", arXiv:1512.03385.

Blocks carry the names of table 1 (`conv2_1` to `conv5_3`). Shortcuts that change the shape are projections (option B
of section 4.1).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)
"""Maps of conv2_x to conv5_x, table 1; bottlenecks put out four times as many."""

MakeBlock = Callable[[int, int, int], nn.Module]
"""Input channels, width, stride."""


def _units(convs: Sequence[nn.Conv2d]) -> OrderedDict[str, nn.Module]:
    """conv1, bn1, relu1, conv2, bn2, ... with no ReLU after the last: in a residual block that follows the addition."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, conv in enumerate(convs, start=1):
        layers[f"conv{number}"] = conv
        layers[f"bn{number}"] = nn.BatchNorm2d(conv.out_channels)
        if number < len(convs):
            layers[f"relu{number}"] = nn.ReLU()
    return layers


def _basic(channels: int, width: int, stride: int) -> list[nn.Conv2d]:
    """Two 3x3, figure 5 left."""
    return [
        nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
    ]


def _bottleneck(channels: int, width: int, stride: int, stride_on_1x1: bool) -> list[nn.Conv2d]:
    """1x1 down, 3x3, 1x1 up, figure 5 right. The stride is on the 3x3, or on the first 1x1 as in the paper's model."""
    first, second = (stride, 1) if stride_on_1x1 else (1, stride)
    return [
        nn.Conv2d(channels, width, 1, stride=first, bias=False),
        nn.Conv2d(width, width, 3, stride=second, padding=1, bias=False),
        nn.Conv2d(width, 4 * width, 1, bias=False),
    ]


class Residual(nn.Module):
    """Convolutions, plus the input around them, projected by `shortcut` where the shape changes."""

    def __init__(self, convs: Sequence[nn.Conv2d], stride: int) -> None:
        super().__init__()
        channels_in, channels_out = convs[0].in_channels, convs[-1].out_channels
        units = _units(convs)
        self._main = tuple(units)
        for name, layer in units.items():
            self.add_module(name, layer)
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)
            self.shortcut_bn = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """relu(F(x) + x)."""
        y = x
        for name in self._main:
            y = self.get_submodule(name)(y)
        if self.shortcut is not None:
            x = self.shortcut_bn(self.shortcut(x))
        out: Tensor = self.relu(y + x)
        return out


def _network(depths: tuple[int, ...], expansion: int, block: MakeBlock) -> nn.Sequential:
    """Table 1: 7x7 stem, four stages whose first block halves the maps (except conv2_1), mean, one linear layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(64),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, stride=2, padding=1),
    )
    channels = 64
    for stage, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), start=2):
        for number in range(1, depth + 1):
            stride = 2 if number == 1 and stage > 2 else 1
            layers[f"conv{stage}_{number}"] = block(channels, width, stride)
            channels = expansion * width
    layers.update(avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(channels, 1000))
    return nn.Sequential(layers)


def _residual_basic(channels: int, width: int, stride: int) -> Residual:
    return Residual(_basic(channels, width, stride), stride)


def _plain_basic(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(_units(_basic(channels, width, stride)), relu2=nn.ReLU()))


def _resnet_bottleneck(depths: tuple[int, ...], stride_on_1x1: bool) -> nn.Sequential:
    def block(channels: int, width: int, stride: int) -> Residual:
        return Residual(_bottleneck(channels, width, stride, stride_on_1x1), stride)

    return _network(depths, 4, block)


def resnet18() -> nn.Sequential:
    """Table 1, 18 layers."""
    return _network((2, 2, 2, 2), 1, _residual_basic)


def resnet34() -> nn.Sequential:
    """Table 1, 34 layers."""
    return _network((3, 4, 6, 3), 1, _residual_basic)


def resnet50(stride_on_1x1: bool = False) -> nn.Sequential:
    """Table 1, 50 layers: v1.5, or the paper's own v1 with `stride_on_1x1`."""
    return _resnet_bottleneck((3, 4, 6, 3), stride_on_1x1)


def resnet101(stride_on_1x1: bool = False) -> nn.Sequential:
    """Table 1, 101 layers: v1.5, or the paper's own v1 with `stride_on_1x1`."""
    return _resnet_bottleneck((3, 4, 23, 3), stride_on_1x1)


def resnet152(stride_on_1x1: bool = False) -> nn.Sequential:
    """Table 1, 152 layers: v1.5, or the paper's own v1 with `stride_on_1x1`."""
    return _resnet_bottleneck((3, 8, 36, 3), stride_on_1x1)


def plain18() -> nn.Sequential:
    """ResNet-18 without shortcuts, section 4.1."""
    return _network((2, 2, 2, 2), 1, _plain_basic)


def plain34() -> nn.Sequential:
    """ResNet-34 without shortcuts, figure 3 middle."""
    return _network((3, 4, 6, 3), 1, _plain_basic)
