"""Networks for `tile_models.py` as their papers write them: super-resolution of images.

Channels are few; what decides on tiles (kernels, strides, dilations, paddings, windows, what is averaged over the
image) is that of the papers. Restoration is in `tile_restoration.py`, sound in `tile_sounds.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

C = 8  #: channels


def conv(a: int, b: int, kernel: int = 3, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(a, b, kernel, stride, dilation * (kernel // 2), dilation, groups)


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def repeated(make: Callable[[], nn.Module], count: int) -> nn.Sequential:
    return nn.Sequential(*(make() for _ in range(count)))


class Sum(nn.Module):
    """What comes in, and what a body makes of it."""

    def __init__(self, *body: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.scale * self.body(x)


class Dense(nn.Module):
    """Layers that see all before them, and one that joins all (ESRGAN's dense block, RDN's)."""

    def __init__(self, layers: int, growth: int = 4, slope: float = 0.2) -> None:
        super().__init__()
        self.layers = nn.ModuleList([conv(C + at * growth, growth) for at in range(layers)])
        self.join = conv(C + layers * growth, C)
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = [x]
        for layer in self.layers:
            kept.append(F.leaky_relu(layer(torch.cat(kept, 1)), self.slope))
        return x + 0.2 * self.join(torch.cat(kept, 1))


class Channels(nn.Module):
    """A gate for each channel by its mean over the image (RCAN, section 3.3)."""

    def __init__(self, channels: int = C) -> None:
        super().__init__()
        self.gate = chain(nn.AdaptiveAvgPool2d(1), conv(channels, 2, 1), nn.ReLU(), conv(2, channels, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)


def shuffled(scale: int, channels: int = 3) -> nn.Sequential:
    """Kernels that make pixels of channels (ESPCN, section 3)."""
    return chain(conv(C, channels * scale**2), nn.PixelShuffle(scale))


# --- super-resolution -------------------------------------------------------------------------------------------------


def srcnn() -> nn.Module:
    """Dong et al., 2014: 9-1-5 on an enlarged image."""
    up = nn.Upsample(scale_factor=3, mode="bicubic", align_corners=False)
    return chain(up, conv(3, C, 9), nn.ReLU(), conv(C, 4, 1), nn.ReLU(), conv(4, 3, 5))


def srcnn_wide() -> nn.Module:
    """The same, 9-5-5, of section 4.3, without enlarging."""
    return chain(conv(3, C, 9), nn.ReLU(), conv(C, 4, 5), nn.ReLU(), conv(4, 3, 5))


def vdsr(depth: int = 20) -> nn.Module:
    """Kim et al., 2016: 20 kernels and a skip."""
    inner = [layer for _ in range(depth - 2) for layer in (conv(C, C), nn.ReLU())]
    return Sum(conv(3, C), nn.ReLU(), *inner, conv(C, 3))


def fsrcnn(scale: int = 3) -> nn.Module:
    """Dong et al., 2016: 5, 1, four of 3, 1, and a transposed 9 of the scale's stride."""
    body = [layer for _ in range(4) for layer in (conv(4, 4), nn.PReLU())]
    last = nn.ConvTranspose2d(C, 3, 9, scale, 4, scale - 1)
    return chain(conv(3, C, 5), nn.PReLU(), conv(C, 4, 1), nn.PReLU(), *body, conv(4, C, 1), nn.PReLU(), last)


def espcn(scale: int) -> nn.Module:
    """Shi et al., 2016: 5, 3, 3 and the shuffle."""
    return chain(conv(3, C, 5), nn.Tanh(), conv(C, C), nn.Tanh(), shuffled(scale))


def edsr(scale: int, blocks: int = 8) -> nn.Module:
    """Lim et al., 2017: residual blocks without norms; 4 is twice 2."""
    body = Sum(*(Sum(conv(C, C), nn.ReLU(), conv(C, C), scale=0.1) for _ in range(blocks)), conv(C, C))
    ups = [shuffled(2, C), shuffled(2, C)] if scale == 4 else [shuffled(scale, C)]
    return chain(conv(3, C), body, *ups, conv(C, 3))


def srresnet() -> nn.Module:
    """Ledig et al., 2017: 9, 16 blocks with batch norm, two shuffles, 9."""

    def block() -> nn.Module:
        return Sum(conv(C, C), nn.BatchNorm2d(C), nn.PReLU(), conv(C, C), nn.BatchNorm2d(C))

    body = Sum(repeated(block, 16), conv(C, C), nn.BatchNorm2d(C))
    return chain(conv(3, C, 9), nn.PReLU(), body, shuffled(2, C), nn.PReLU(), shuffled(2, C), conv(C, 3, 9))


def rcan(groups: int = 2, blocks: int = 2) -> nn.Module:
    """Zhang et al., 2018: channel attention."""

    def group() -> nn.Module:
        return Sum(*(Sum(conv(C, C), nn.ReLU(), conv(C, C), Channels()) for _ in range(blocks)), conv(C, C))

    return chain(conv(3, C), Sum(repeated(group, groups), conv(C, C)), shuffled(2, C), conv(C, 3))


class Rdn(nn.Module):
    """Zhang et al., 2018: dense blocks, of which all results are joined."""

    def __init__(self, blocks: int = 4, layers: int = 3) -> None:
        super().__init__()
        self.first, self.second = conv(3, C), conv(C, C)
        self.blocks = nn.ModuleList([Dense(layers, slope=0.0) for _ in range(blocks)])
        self.join = chain(conv(C * blocks, C, 1), conv(C, C))
        self.up = chain(shuffled(2, C), conv(C, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shallow = self.first(x)
        x = self.second(shallow)
        kept = []
        for block in self.blocks:
            x = block(x)
            kept.append(x)
        return self.up(self.join(torch.cat(kept, 1)) + shallow)


class Rrdb(nn.Module):
    """Wang et al., 2018 (ESRGAN): blocks of three dense blocks, enlarged by repeating; ``unshuffle`` for 2 and 1."""

    def __init__(self, blocks: int = 3, unshuffle: int = 1) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        self.first = conv(3 * unshuffle**2, C)
        self.body = chain(repeated(lambda: Sum(Dense(4), Dense(4), Dense(4), scale=0.2), blocks), conv(C, C))
        self.ups = nn.ModuleList([conv(C, C), conv(C, C)])
        self.last = chain(conv(C, C), nn.LeakyReLU(0.2), conv(C, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(F.pixel_unshuffle(x, self.unshuffle) if self.unshuffle > 1 else x)
        x = x + self.body(x)
        for up in self.ups:
            x = F.leaky_relu(up(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.last(x)


class Compact(nn.Module):
    """Wang et al., 2021 (Real-ESRGAN's small network): kernels, a shuffle, and the input repeated."""

    def __init__(self, depth: int = 16, scale: int = 4) -> None:
        super().__init__()
        layers = [layer for _ in range(depth) for layer in (conv(C, C), nn.PReLU(C))]
        self.body = chain(conv(3, C), nn.PReLU(C), *layers, shuffled(scale))
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


class Carn(nn.Module):
    """Ahn et al., 2018: blocks that cascade."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv(3, C)
        self.blocks = nn.ModuleList([Sum(conv(C, C), nn.ReLU(), conv(C, C)) for _ in range(3)])
        self.joins = nn.ModuleList([conv(C * (at + 2), C, 1) for at in range(3)])
        self.up = chain(shuffled(2, C), nn.ReLU(), conv(C, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        kept = [x]
        for block, join in zip(self.blocks, self.joins, strict=True):
            kept.append(block(x))
            x = join(torch.cat(kept, 1))
        return self.up(x)


class Distilled(nn.Module):
    """Hui et al., 2019 (IMDN): a quarter is kept at each step; ``contrast`` gates by statistics of the image."""

    def __init__(self, contrast: bool) -> None:
        super().__init__()
        self.steps = nn.ModuleList([conv(C if at == 0 else 6, C if at < 3 else 2) for at in range(4)])
        self.join = conv(C, C, 1)
        self.gate = Channels() if contrast else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, rest = [], x
        for step in self.steps:
            rest = F.leaky_relu(step(rest), 0.05)
            kept.append(rest[:, :2])
            rest = rest[:, 2:]
        return x + self.join(self.gate(torch.cat(kept, 1)))


def imdn(contrast: bool) -> nn.Module:
    return chain(conv(3, C), Sum(repeated(lambda: Distilled(contrast), 4), conv(C, C)), shuffled(4))


class Esa(nn.Module):
    """Liu et al., 2020 (RFDN), enhanced spatial attention: a strided kernel, a pool of 7 by 3, and back to size."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.down, self.deep, self.last = conv(C, 4, 1), nn.Conv2d(4, 4, 3, 2), conv(4, 4), conv(4, C, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.deep(F.max_pool2d(self.down(self.one(x)), 7, 3))
        y = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.last(y))


def rfdn() -> nn.Module:
    block = [layer for _ in range(3) for layer in (Sum(conv(C, C)), nn.LeakyReLU(0.05))]
    return chain(conv(3, C), Sum(*block, Esa(), conv(C, C)), shuffled(4))


class LapSrn(nn.Module):
    """Lai et al., 2017: residuals at 2 and 4 times the size, by transposed kernels of 4; two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv(3, C)
        self.levels = nn.ModuleList(
            [chain(*[conv(C, C), nn.LeakyReLU(0.2)] * 1, conv(C, C), nn.ConvTranspose2d(C, C, 4, 2, 1)) for _ in "ab"]
        )
        self.images = nn.ModuleList([nn.ConvTranspose2d(3, 3, 4, 2, 1) for _ in "ab"])
        self.last = nn.ModuleList([conv(C, 3) for _ in "ab"])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        y, found = self.first(x), []
        for level, image, last in zip(self.levels, self.images, self.last, strict=True):
            y = level(y)
            x = image(x) + last(y)
            found.append(x)
        return found


def drrn() -> nn.Module:
    """Tai et al., 2017: one recursive block, 9 times, from the same start."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.a, self.b, self.last = conv(3, C), conv(C, C), conv(C, C), conv(C, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            start = y = self.first(x)
            for _ in range(9):
                y = start + self.b(F.relu(self.a(F.relu(y))))
            return x + self.last(F.relu(y))

    return Net()


class Dbpn(nn.Module):
    """Haris et al., 2018: projections up and down and back (kernel 6, stride 2, padding 2)."""

    def __init__(self, stages: int = 2) -> None:
        super().__init__()
        self.first = conv(3, C)
        self.ups = nn.ModuleList([nn.ConvTranspose2d(C, C, 6, 2, 2) for _ in range(3 * stages)])
        self.downs = nn.ModuleList([nn.Conv2d(C, C, 6, 2, 2) for _ in range(3 * stages)])
        self.last = conv(C, 3)
        self.stages = stages

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.first(x)
        for at in range(self.stages):
            up, down = self.ups[3 * at : 3 * at + 3], self.downs[3 * at : 3 * at + 3]
            high = up[0](low)
            high = high + up[1](down[0](high) - low)
            low = down[1](high)
            low = low + down[2](up[2](low) - high)
        return self.last(up[0](low))


class Pan(nn.Module):
    """Zhao et al., 2020: attention for each pixel, which a 1x1 kernel gives."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body, self.gate = conv(3, C), repeated(lambda: Sum(conv(C, C)), 4), conv(C, C, 1)
        self.up, self.last = conv(C, C), conv(C, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(self.first(x))
        y = y * torch.sigmoid(self.gate(y))
        y = self.up(F.interpolate(y, scale_factor=2, mode="nearest"))
        return self.last(y) + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Windows(nn.Module):
    """Attention in windows, the second time shifted, with a mask where it goes round (Liang et al., 2021, SwinIR)."""

    def __init__(self, window: int = 8, shift: int = 0, masked: bool = True) -> None:
        super().__init__()
        self.window, self.shift, self.masked = window, shift, masked
        self.qkv, self.last = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.bias = nn.Parameter(torch.randn(window**2, window**2) * 0.02)
        self.mlp = chain(nn.LayerNorm(C), nn.Linear(C, 2 * C), nn.GELU(), nn.Linear(2 * C, C))
        self.norm = nn.LayerNorm(C)

    def cells(self, x: torch.Tensor) -> torch.Tensor:
        n, h, w, c = x.shape
        size = self.window
        return x.view(n, h // size, size, w // size, size, c).transpose(2, 3).reshape(-1, size * size, c)

    def mask(self, h: int, w: int) -> torch.Tensor:
        marks = torch.zeros(1, h, w, 1)
        parts = (slice(0, -self.window), slice(-self.window, -self.shift), slice(-self.shift, None))
        for at, (rows, columns) in enumerate((a, b) for a in parts for b in parts):
            marks[:, rows, columns] = at
        cells = self.cells(marks)[..., 0]
        return torch.where(cells[:, None] == cells[:, :, None], 0.0, -100.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, h, w, c = x.shape
        y = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2)) if self.shift else self.norm(x)
        q, k, v = self.qkv(self.cells(y)).chunk(3, -1)
        scores = q @ k.transpose(1, 2) + self.bias
        if self.shift and self.masked:
            scores = scores + self.mask(h, w).to(scores.dtype).repeat(n, 1, 1)
        y = self.last(scores.softmax(-1) @ v)
        size = self.window
        y = y.view(n, h // size, w // size, size, size, c).transpose(2, 3).reshape(n, h, w, c)
        x = x + (torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y)
        return x + self.mlp(x)


class SwinIr(nn.Module):
    """Liang et al., 2021: groups of shifted windows with a kernel behind each; ``masked`` as the paper has it."""

    def __init__(self, groups: int = 2, scale: int = 2, masked: bool = True, window: int = 8) -> None:
        super().__init__()
        self.first, self.after = conv(3, C), conv(C, C)
        self.groups = nn.ModuleList(
            [nn.ModuleList([Windows(window), Windows(window, window // 2, masked), conv(C, C)]) for _ in range(groups)]
        )
        self.up = shuffled(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = x
        for a, b, kernel in self.groups:  # type: ignore[misc]
            y = y + kernel(b(a(y.permute(0, 2, 3, 1))).permute(0, 3, 1, 2))
        return self.up(x + self.after(y))


def super_resolution() -> Iterator[tuple[str, str, Callable[[], nn.Module], tuple[int, ...]]]:
    """Name, paper, maker and input of each."""
    rows: list[tuple[str, str, Callable[[], nn.Module]]] = [
        ("SRCNN 9-1-5, x3", "Dong 2014", srcnn),
        ("SRCNN 9-5-5", "Dong 2014", srcnn_wide),
        ("VDSR", "Kim 2016", vdsr),
        *((f"FSRCNN x{s}", "Dong 2016", lambda s=s: fsrcnn(s)) for s in (2, 3, 4)),
        *((f"ESPCN x{s}", "Shi 2016", lambda s=s: espcn(s)) for s in (2, 3)),
        *((f"EDSR x{s}", "Lim 2017", lambda s=s: edsr(s)) for s in (2, 3, 4)),
        ("SRResNet", "Ledig 2017", srresnet),
        ("RCAN", "Zhang 2018", rcan),
        ("RDN", "Zhang 2018", Rdn),
        *((f"ESRGAN x{4 // u}", "Wang 2018", lambda u=u: Rrdb(unshuffle=u)) for u in (1, 2, 4)),
        *((f"Real-ESRGAN compact x{s}", "Wang 2021", lambda s=s: Compact(scale=s)) for s in (2, 4)),
        ("CARN", "Ahn 2018", Carn),
        ("IMDN", "Hui 2019", lambda: imdn(True)),
        ("IMDN without attention", "Hui 2019", lambda: imdn(False)),
        ("RFDN", "Liu 2020", rfdn),
        ("LapSRN", "Lai 2017", LapSrn),
        ("DRRN", "Tai 2017", drrn),
        ("DBPN", "Haris 2018", Dbpn),
        ("PAN (pixel attention)", "Zhao 2020", Pan),
        *((f"SwinIR x{s}", "Liang 2021", lambda s=s: SwinIr(scale=s)) for s in (2, 3, 4)),
        ("SwinIR, windows of 7", "Liang 2021", lambda: SwinIr(window=7)),
        ("SwinIR without masks", "Liang 2021", lambda: SwinIr(masked=False)),
    ]
    for name, paper, make in rows:
        side = 56 if "of 7" in name else 64
        yield name, paper, make, (3, side, side)
