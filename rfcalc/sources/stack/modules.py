"""The torch modules of a stack expression."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from rfcalc.sources.stack import Layer


def build(layers: Sequence[Layer], widths: Sequence[tuple[int, int]]) -> nn.Module:
    """A sequence of the layers, named ``conv1``, ``max2`` and so on by their place; ``widths`` are their channels."""
    stack = nn.Sequential()
    for number, (layer, channels) in enumerate(zip(layers, widths, strict=True), 1):
        name = f"{layer.pool or 'conv'}{number}"
        before, after = zip(*(_padding(layer, kernel) for kernel in layer.kernel), strict=True)
        if before != after:  # torch pads symmetrically: the uneven rest of "same" is a layer of its own
            stack.add_module(f"pad{number}", nn.ZeroPad2d((before[1], after[1], before[0], after[0])))
            before = (0, 0)
        if layer.pool:
            stack.add_module(name, _pool(layer, before))
            continue
        stack.add_module(name, nn.Conv2d(*channels, layer.kernel, layer.stride, before, layer.dilation, bias=False))
    return stack.eval()


def _pool(layer: Layer, padding: tuple[int, int]) -> nn.Module:
    if layer.pool == "max":
        return nn.MaxPool2d(layer.kernel, layer.stride, padding, layer.dilation)
    return nn.AvgPool2d(layer.kernel, layer.stride, padding)


def _padding(layer: Layer, kernel: int) -> tuple[int, int]:
    if layer.padding is not None:
        return layer.padding, layer.padding
    if layer.pool:
        return 0, 0
    total = layer.dilation * (kernel - 1)
    return total // 2, total - total // 2


__all__ = ["build"]
