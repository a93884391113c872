"""A model of your own: two inputs, a skip connection, upsampling. Each input has a receptive field of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import rfcalc
from rfcalc.report import overview, render


class GuidedUNet(nn.Module):
    """A small U-Net on an image; a guide of a quarter of the resolution joins at the bottom."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 4, stride=4)
        self.follow = nn.Conv2d(1, 2 * width, 5, padding=2)
        self.bottom = nn.Conv2d(4 * width, 2 * width, 3, padding=1)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, stride=4)
        self.leave = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, image: Tensor, guide: Tensor) -> Tensor:
        """One channel of the image's size."""
        fine = torch.relu(self.enter(image))
        coarse = torch.relu(self.down(fine))
        both = torch.cat([coarse, torch.relu(self.follow(guide))], dim=1)
        up = self.up(torch.relu(self.bottom(both)))
        return self.leave(torch.cat([fine, up], dim=1))


def main() -> None:
    """Print the table of all layers, then what the output sees of each input."""
    analysis = rfcalc.analyze(GuidedUNet(), {"image": (3, 64, 64), "guide": (1, 16, 16)})
    print(render(overview(analysis, analysis.layers)))

    for name, field in analysis["leave"].receptive_fields.items():
        rows, least = field.size[0], field.size_min[0]
        print(f"an output pixel sees {least} to {rows} rows of the {name}, depending on where it is")


if __name__ == "__main__":
    main()
