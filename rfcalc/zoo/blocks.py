"""What several architectures share: a convolution unit, parallel branches, a chain with side heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Size = int | tuple[int, int]


def same_padding(kernel: Size) -> Size:
    """Zeros on each side that keep the size at stride 1, for odd kernels."""
    return kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)


def conv_unit(
    name: str,
    channels_in: int,
    channels_out: int,
    kernel: Size,
    *,
    stride: int = 1,
    padding: Size | None = None,
    batch_norm: bool = False,
) -> dict[str, nn.Module]:
    """Convolution `name` and its `relu_name`; with batch normalisation (Inception's eps) `bn_name`, and no bias."""
    pad = same_padding(kernel) if padding is None else padding
    unit: dict[str, nn.Module] = {
        name: nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=pad, bias=not batch_norm)
    }
    if batch_norm:
        unit[f"bn_{name}"] = nn.BatchNorm2d(channels_out, eps=0.001)
    unit[f"relu_{name}"] = nn.ReLU()
    return unit


class Branches(nn.Module):
    """Paths from one input, concatenated over channels: the Inception module in all its forms.

    A subclass adds steps in its constructor; each reads the module's input or, with `after`, an earlier step. The
    steps that `join` names are concatenated in that order.
    """

    def __init__(self, channels: int, *, batch_norm: bool = False) -> None:
        super().__init__()
        self._batch_norm = batch_norm
        self._channels = {"": channels}
        self._steps: list[tuple[str, str, tuple[str, ...]]] = []
        self._joined: tuple[str, ...] = ()

    @property
    def channels_out(self) -> int:
        """Channels after the concatenation."""
        return sum(self._channels[name] for name in self._joined)

    def add_conv(
        self, name: str, channels: int, kernel: Size, *, after: str = "", stride: int = 1, padding: Size | None = None
    ) -> None:
        """A convolution unit; same padding unless told."""
        unit = conv_unit(
            name,
            self._channels[after],
            channels,
            kernel,
            stride=stride,
            padding=padding,
            batch_norm=self._batch_norm,
        )
        self._add(name, after, channels, unit)

    def add_pool(self, name: str, pool: nn.Module, *, after: str = "") -> None:
        """A pooling layer: as many channels as before."""
        self._add(name, after, self._channels[after], {name: pool})

    def join(self, *names: str) -> None:
        """The steps that form the output."""
        self._joined = names

    def _add(self, name: str, after: str, channels: int, unit: dict[str, nn.Module]) -> None:
        for child, module in unit.items():
            self.add_module(child, module)
        self._channels[name] = channels
        self._steps.append((name, after, tuple(unit)))

    def forward(self, x: Tensor) -> Tensor:
        """Every step once, in the order added, then the concatenation."""
        values = {"": x}
        for name, after, unit in self._steps:
            value = values[after]
            for child in unit:
                value = self.get_submodule(child)(value)
            values[name] = value
        return torch.cat([values[name] for name in self._joined], dim=1)


class SideHead(nn.Sequential):
    """An auxiliary classifier: it reads what the chain has at its place and does not change it."""


class Chain(nn.Sequential):
    """Layers in a row, with `SideHead`s among them that run in training only.

    In eval mode the result is the main one alone and the heads are not computed ("at inference time, these auxiliary
    networks are discarded", Szegedy et al. 2014, section 5): their parameters exist and no one uses them. In training
    mode, with heads, the result is a tuple: main first, then the heads in order.
    """

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The main result, in training followed by the side heads' results."""
        aside: list[Tensor] = []
        for layer in self:
            if not isinstance(layer, SideHead):
                x = layer(x)
            elif self.training:
                aside.append(layer(x))
        return (x, *aside) if aside else x
