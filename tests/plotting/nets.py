"""Networks whose fields can be written down by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Names that mean something to HTML, DOT, Mermaid, matplotlib or XML.
ODD_NAMES = (
    '<img src=x onerror="alert(1)">',
    'a"];b[',
    "$x^2$",
    "`tick` *star*",
    "two\nlines",
    "_hidden",
    "back\\slash\\",
    "#35; %%{init}%% &lt;",
    "--><script>alert(1)</script>",
    "日本",
    "long" * 40,
)


class Named(nn.Module):
    """A convolution for each of the odd names."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.ModuleDict({name: nn.Conv2d(1, 1, 3, padding=1) for name in ODD_NAMES})

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net.values():
            x = layer(x)
        return x


class Excited(nn.Module):
    """A 3x3 convolution times the mean of its output over all places, as in squeeze-and-excite."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * x.mean((2, 3), keepdim=True)


class Tokens(nn.Module):
    """Patches of 8x8 as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 4, 8, 8), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.patch(x).flatten(2).transpose(1, 2))


class Two(nn.Module):
    """Two inputs, of which the second is seen through a 3x3 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.cat([left, self.conv(right)], 1)


class Again(nn.Module):
    """A module that is called before and after another one."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
        self.b = nn.Sequential(nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.a(self.b(self.a(x)))


class Namesake(nn.Module):
    """A module with the name of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.x(x)


class UNet(nn.Module):
    """One step down and up with a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.down = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, 2, 1)
        self.up, self.leave = nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.enter(x)
        return self.leave(torch.cat([fine, self.up(self.down(fine))], 1))


def upsampled() -> nn.Module:
    """Twice the size by repetition, then a 3x3 convolution."""
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1))
