"""Networks for `tile_models.py` as their papers write them: restoration of images, and images from images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from tile_nets import C, Channels, Sum, Windows, chain, conv, repeated, shuffled  # beside this file
from torch import nn


def dncnn(depth: int = 17) -> nn.Module:
    """Zhang et al., 2017: kernels with batch norm, and the noise taken away."""
    inner = [layer for _ in range(depth - 2) for layer in (conv(C, C), nn.BatchNorm2d(C), nn.ReLU())]
    return Sum(conv(3, C), nn.ReLU(), *inner, conv(C, 3), scale=-1.0)


def ircnn() -> nn.Module:
    """Zhang et al., 2017: dilations 1, 2, 3, 4, 3, 2, 1."""
    inner = [layer for d in (2, 3, 4, 3, 2) for layer in (conv(C, C, dilation=d), nn.BatchNorm2d(C), nn.ReLU())]
    return Sum(conv(3, C), nn.ReLU(), *inner, conv(C, 3), scale=-1.0)


def ffdnet() -> nn.Module:
    """Zhang et al., 2018: the image at half size in four times the channels."""
    inner = [layer for _ in range(8) for layer in (conv(C, C), nn.ReLU())]
    return chain(nn.PixelUnshuffle(2), conv(12, C), nn.ReLU(), *inner, shuffled(2))


class Levels(nn.Module):
    """A U-Net of any blocks: ``down`` and ``up`` change the size by 2, skips are added or joined."""

    def __init__(
        self,
        block: Callable[[], nn.Module],
        down: Callable[[], nn.Module],
        up: Callable[[], nn.Module],
        depth: int = 2,
        residual: bool = False,
        joined: bool = False,
    ) -> None:
        super().__init__()
        self.first, self.last = conv(3, C), conv(C, 3)
        self.before = nn.ModuleList([block() for _ in range(depth)])
        self.downs = nn.ModuleList([down() for _ in range(depth)])
        self.deep = block()
        self.ups = nn.ModuleList([up() for _ in range(depth)])
        self.joins = nn.ModuleList([conv(2 * C, C, 1) if joined else nn.Identity() for _ in range(depth)])
        self.after = nn.ModuleList([block() for _ in range(depth)])
        self.residual, self.joined = residual, joined

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, kept = self.first(x), []
        for block, down in zip(self.before, self.downs, strict=True):
            kept.append(block(y))
            y = down(kept[-1])
        y = self.deep(y)
        for up, join, block in zip(self.ups, self.joins, self.after, strict=True):
            y, skip = up(y), kept.pop()
            y = block(join(torch.cat([y, skip], 1)) if self.joined else y + skip)
        return self.last(y) + x if self.residual else self.last(y)


def drunet() -> nn.Module:
    """Zhang et al., 2021: residual blocks, strided 2x2 down and transposed 2x2 up, sums."""

    def blocks() -> nn.Module:
        return repeated(lambda: Sum(conv(C, C), nn.ReLU(), conv(C, C)), 2)

    return Levels(blocks, lambda: nn.Conv2d(C, C, 2, 2), lambda: nn.ConvTranspose2d(C, C, 2, 2), depth=3)


class Naf(nn.Module):
    """Chen et al., 2022 (NAFNet): a gate by halves; ``pooled`` is the paper's simplified channel attention."""

    def __init__(self, pooled: bool = True) -> None:
        super().__init__()
        self.one, self.deep = conv(C, 2 * C, 1), conv(2 * C, 2 * C, groups=2 * C)
        self.gate = chain(nn.AdaptiveAvgPool2d(1), conv(C, C, 1)) if pooled else nn.Identity()
        self.last, self.pooled = conv(C, C, 1), pooled
        self.norm = nn.LayerNorm(C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        a, b = self.deep(self.one(y)).chunk(2, 1)
        y = a * b
        return x + self.last(y * self.gate(y) if self.pooled else y)


def nafnet(pooled: bool) -> nn.Module:
    up = lambda: chain(conv(C, 4 * C, 1), nn.PixelShuffle(2))  # noqa: E731
    return Levels(lambda: Naf(pooled), lambda: nn.Conv2d(C, C, 2, 2), up, residual=True)


class Transposed(nn.Module):
    """Zamir et al., 2022 (Restormer): attention between channels, whose scores are sums over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = chain(conv(C, 3 * C, 1), conv(3 * C, 3 * C, groups=3 * C))
        self.last = conv(C, C, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.flatten(2) for part in self.qkv(x).chunk(3, 1))
        scores = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(1, 2)).softmax(-1)
        return x + self.last((scores @ v).view_as(x))


def restormer() -> nn.Module:
    down = lambda: chain(conv(C, C // 4), nn.PixelUnshuffle(2))  # noqa: E731
    up = lambda: chain(conv(C, 4 * C), nn.PixelShuffle(2))  # noqa: E731
    return Levels(Transposed, down, up, residual=True, joined=True)


def uformer() -> nn.Module:
    """Wang et al., 2022: windows, strided kernels of 4 down, transposed 2x2 up."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = Windows(8), Windows(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)

    return Levels(Block, lambda: nn.Conv2d(C, C, 4, 2, 1), lambda: nn.ConvTranspose2d(C, C, 2, 2), joined=True)


class Half(nn.Module):
    """Chen et al., 2021 (HINet): half of the channels are normalised over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = conv(C, C), conv(C, C), nn.InstanceNorm2d(C // 2, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, two = self.a(x).chunk(2, 1)
        y = torch.cat([self.norm(one), two], 1)
        return x + F.leaky_relu(self.b(F.leaky_relu(y, 0.2)), 0.2)


def noise2noise() -> nn.Module:
    """Lehtinen et al., 2018: a U-Net with pooling and repeated pixels, five levels."""
    block = lambda: chain(conv(C, C), nn.LeakyReLU(0.1))  # noqa: E731
    return Levels(block, lambda: nn.MaxPool2d(2), lambda: nn.Upsample(scale_factor=2), depth=5, joined=True)


class Gate(nn.Module):
    """Zamir et al., 2021 (MPRNet), supervised attention: an image on the way, by which features are gated."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.image, self.gate = conv(C, C), conv(C, 3), conv(3, C)

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        image = self.image(x) + seen
        return self.a(x) * torch.sigmoid(self.gate(image)) + x, image


class Staged(nn.Module):
    """Two stages with a gate between them; both images are outputs. ``attend`` adds MPRNet's channel attention."""

    def __init__(self, attend: bool) -> None:
        super().__init__()

        def body() -> nn.Module:
            return repeated(lambda: Sum(conv(C, C), nn.PReLU(), conv(C, C), *([Channels()] if attend else [])), 2)

        self.one, self.two, self.gate = chain(conv(3, C), body()), conv(3, C), Gate()
        self.join, self.last = chain(conv(2 * C, C), body()), conv(C, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept, image = self.gate(self.one(x), x)
        return self.last(self.join(torch.cat([self.two(x), kept], 1))) + x, image


def generator(norm: type[nn.Module], blocks: int = 6) -> nn.Module:
    """Zhu et al., 2017 (CycleGAN): reflected borders, 7, two strided, residual blocks, two transposed, 7."""

    def block() -> nn.Module:
        pads = [nn.ReflectionPad2d(1), nn.Conv2d(C, C, 3), norm(C)]
        return Sum(*pads, nn.ReLU(), nn.ReflectionPad2d(1), nn.Conv2d(C, C, 3), norm(C))

    down = [layer for _ in "ab" for layer in (conv(C, C, 3, 2), norm(C), nn.ReLU())]
    up = [layer for _ in "ab" for layer in (nn.ConvTranspose2d(C, C, 3, 2, 1, 1), norm(C), nn.ReLU())]
    first = [nn.ReflectionPad2d(3), nn.Conv2d(3, C, 7), norm(C), nn.ReLU()]
    return chain(*first, *down, repeated(block, blocks), *up, nn.ReflectionPad2d(3), nn.Conv2d(C, 3, 7), nn.Tanh())


def patch_gan() -> nn.Module:
    """Isola et al., 2017: 4x4 kernels that see 70 pixels."""
    layers = [layer for _ in "ab" for layer in (nn.Conv2d(C, C, 4, 2, 1), nn.BatchNorm2d(C), nn.LeakyReLU(0.2))]
    wide = [nn.Conv2d(C, C, 4, 1, 1), nn.BatchNorm2d(C), nn.LeakyReLU(0.2), nn.Conv2d(C, 1, 4, 1, 1)]
    return chain(nn.Conv2d(3, C, 4, 2, 1), nn.LeakyReLU(0.2), *layers, *wide)


class Deraining(nn.Module):
    """Ren et al., 2019 (PReNet) without memory: the same stage, 4 times, on the image and the last result."""

    def __init__(self) -> None:
        super().__init__()
        body = repeated(lambda: Sum(conv(C, C), nn.ReLU(), conv(C, C), nn.ReLU()), 3)
        self.stage = chain(conv(6, C), nn.ReLU(), body, conv(C, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for _ in range(4):
            y = self.stage(torch.cat([x, y], 1)) + x
        return y


class Dehazing(nn.Module):
    """Li et al., 2017 (AOD-Net): kernels of 1, 3, 5, 7 and 3 and their joins."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([conv(3, 3, 1), conv(3, 3, 3), conv(6, 3, 5), conv(6, 3, 7), conv(12, 3, 3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = F.relu(self.layers[0](x))
        b = F.relu(self.layers[1](a))
        c = F.relu(self.layers[2](torch.cat([a, b], 1)))
        d = F.relu(self.layers[3](torch.cat([b, c], 1)))
        k = F.relu(self.layers[4](torch.cat([a, b, c, d], 1)))
        return F.relu(k * x - k + 1)


class ZeroDce(nn.Module):
    """Guo et al., 2020: a symmetric column gives curves, by which each pixel is lit eight times."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3 if at == 0 else C, C) for at in range(4)])
        self.up = nn.ModuleList([conv(2 * C, C), conv(2 * C, C), conv(2 * C, 24)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = [x]
        for layer in self.down:
            kept.append(F.relu(layer(kept[-1])))
        y = kept[4]
        for at, layer in enumerate(self.up):
            y = layer(torch.cat([y, kept[3 - at]], 1))
            y = F.relu(y) if at < 2 else torch.tanh(y)
        for curve in y.chunk(8, 1):
            x = x + curve * (x**2 - x)
        return x


class NonLocal(nn.Module):
    """Liu et al., 2018 (NLRN): each pixel attends to a window around it (``window``), or to all."""

    def __init__(self, window: int | None) -> None:
        super().__init__()
        self.q, self.k, self.v, self.last = conv(3, C, 1), conv(3, C, 1), conv(3, C, 1), conv(C, 3)
        self.window = window

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.window is None:
            scores = (q.flatten(2).transpose(1, 2) @ k.flatten(2)).softmax(-1)
            return x + self.last((v.flatten(2) @ scores.transpose(1, 2)).view_as(v))
        size, (n, c, h, w) = self.window, v.shape
        near = [F.unfold(one, size, padding=size // 2).view(n, c, size**2, h, w) for one in (k, v)]
        weights = (q[:, :, None] * near[0]).sum(1, keepdim=True).softmax(2)
        return x + self.last((weights * near[1]).sum(2))


def restoration() -> Iterator[tuple[str, str, Callable[[], nn.Module], tuple[int, ...]]]:
    """Name, paper, maker and input of each."""
    rows: list[tuple[str, str, Callable[[], nn.Module]]] = [
        ("DnCNN", "Zhang 2017", dncnn),
        ("DnCNN of 20", "Zhang 2017", lambda: dncnn(20)),
        ("IRCNN", "Zhang 2017", ircnn),
        ("FFDNet", "Zhang 2018", ffdnet),
        ("DRUNet", "Zhang 2021", drunet),
        ("NAFNet", "Chen 2022", lambda: nafnet(True)),
        ("NAFNet without attention", "Chen 2022", lambda: nafnet(False)),
        ("Restormer", "Zamir 2022", restormer),
        ("Uformer", "Wang 2022", uformer),
        ("HINet", "Chen 2021", lambda: chain(conv(3, C), Half(), Half(), conv(C, 3))),
        ("Noise2Noise", "Lehtinen 2018", noise2noise),
        ("MPRNet", "Zamir 2021", lambda: Staged(True)),
        ("MPRNet without attention", "Zamir 2021", lambda: Staged(False)),
        ("CycleGAN with instance norms", "Zhu 2017", lambda: generator(nn.InstanceNorm2d)),
        ("CycleGAN with batch norms", "Zhu 2017", lambda: generator(nn.BatchNorm2d)),
        ("PatchGAN", "Isola 2017", patch_gan),
        ("PReNet", "Ren 2019", Deraining),
        ("AOD-Net", "Li 2017", Dehazing),
        ("Zero-DCE", "Guo 2020", ZeroDce),
        ("NLRN in windows", "Liu 2018", lambda: NonLocal(15)),
        ("NLRN of all", "Liu 2018", lambda: NonLocal(None)),
    ]
    for name, paper, make in rows:
        yield name, paper, make, (3, *(8 if name == "NLRN of all" else 64,) * 2)
