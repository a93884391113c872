"""Networks for `tile_models.py` along time: codecs, vocoders and separation, as their papers write them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

C = 4  #: channels


def conv(a: int, b: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv1d:
    """A convolution that keeps the size but for its stride."""
    return nn.Conv1d(a, b, kernel, stride, dilation * (kernel - 1) // 2, dilation)


class Snake(nn.Module):
    """x + sin(ax)^2 / a (Ziyin et al., 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(1, C, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (self.a + 1e-9).reciprocal() * (self.a * x).sin().pow(2)


class Unit(nn.Module):
    """A residual unit: a dilated kernel and one of 1."""

    def __init__(self, dilation: int, kernel: int = 7, act: type[nn.Module] = Snake) -> None:
        super().__init__()
        self.body = nn.Sequential(act(), conv(C, C, kernel, dilation=dilation), act(), conv(C, C, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def _up(rate: int) -> nn.Module:
    return nn.ConvTranspose1d(C, C, 2 * rate, rate, (rate + 1) // 2, rate % 2)


def _down(rate: int) -> nn.Module:
    return nn.Conv1d(C, C, 2 * rate, rate, (rate + 1) // 2)


def dac_decoder(rates: tuple[int, ...]) -> nn.Module:
    """Kumar et al., 2023, section 3.1: a kernel of 7, for each rate a transposed kernel and units of 1, 3 and 9."""
    levels = [layer for rate in rates for layer in (Snake(), _up(rate), Unit(1), Unit(3), Unit(9))]
    return nn.Sequential(conv(8, C, 7), *levels, Snake(), conv(C, 1, 7), nn.Tanh())


def dac_encoder(rates: tuple[int, ...]) -> nn.Module:
    """The other way: units, then a strided kernel."""
    levels = [layer for rate in rates for layer in (Unit(1), Unit(3), Unit(9), Snake(), _down(rate))]
    return nn.Sequential(conv(1, C, 7), *levels, Snake(), conv(C, 8, 3))


class Causal(nn.Module):
    """A kernel that is padded before alone; transposed ones are cropped behind (SoundStream, section III-B)."""

    def __init__(self, a: int, b: int, kernel: int, stride: int = 1, dilation: int = 1, up: bool = False) -> None:
        super().__init__()
        self.up, self.stride = up, stride
        self.pad = dilation * (kernel - 1) + 1 - stride
        self.conv = nn.ConvTranspose1d(a, b, kernel, stride) if up else nn.Conv1d(a, b, kernel, stride, 0, dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)[..., : x.shape[-1] * self.stride] if self.up else self.conv(F.pad(x, (self.pad, 0)))


class Residual(nn.Module):
    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def _causal_unit(dilation: int) -> nn.Module:
    return Residual(nn.ELU(), Causal(C, C, 7, dilation=dilation), nn.ELU(), Causal(C, C, 1))


def soundstream(encode: bool, rates: tuple[int, ...] = (2, 4, 5)) -> nn.Module:
    """Zeghidour et al., 2021: causal units of dilation 1, 3 and 9."""
    units = [1, 3, 9]
    if encode:
        down = [one for rate in rates for one in (*map(_causal_unit, units), nn.ELU(), Causal(C, C, 2 * rate, rate))]
        return nn.Sequential(Causal(1, C, 7), *down, nn.ELU(), Causal(C, 8, 3))
    up = [one for r in rates for one in (nn.ELU(), Causal(C, C, 2 * r, r, up=True), *map(_causal_unit, units))]
    return nn.Sequential(Causal(8, C, 7), *up, nn.ELU(), Causal(C, 1, 7))


class Recurrent(nn.Module):
    """Two layers of an LSTM and a skip (EnCodec, section 3.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(C, C, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.permute(2, 0, 1)
        return (self.lstm(y)[0] + y).permute(1, 2, 0)


def encodec(rates: tuple[int, ...] = (2, 4)) -> nn.Module:
    """Defossez et al., 2022: units, strided kernels, and an LSTM."""
    down = [layer for rate in rates for layer in (Unit(1, 3, nn.ELU), nn.ELU(), _down(rate))]
    return nn.Sequential(conv(1, C, 7), *down, Recurrent(), nn.ELU(), conv(C, 8, 7))


class Fused(nn.Module):
    """Kong et al., 2020 (HiFi-GAN), section 2.3: the mean of units of several kernels."""

    def __init__(self, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.rows = nn.ModuleList(
            [
                nn.Sequential(
                    *(
                        Residual(nn.LeakyReLU(0.1), conv(C, C, k, dilation=d), nn.LeakyReLU(0.1), conv(C, C, k))
                        for d in (1, 3, 5)
                    )
                )
                for k in kernels
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([row(x) for row in self.rows]).mean(0)


def hifigan(rates: tuple[int, ...], kernels: tuple[int, ...]) -> nn.Module:
    levels: list[nn.Module] = []
    for rate in rates:
        levels += [nn.LeakyReLU(0.1), nn.ConvTranspose1d(C, C, 2 * rate, rate, rate // 2), Fused(kernels)]
    return nn.Sequential(conv(10, C, 7), *levels, nn.LeakyReLU(), conv(C, 1, 7), nn.Tanh())


def melgan(rates: tuple[int, ...] = (8, 4, 2)) -> nn.Module:
    """Kumar et al., 2019: reflected borders, transposed kernels, units of 1, 3 and 9."""

    def unit(dilation: int) -> nn.Module:
        pad = nn.ReflectionPad1d(dilation)
        return Residual(nn.LeakyReLU(0.2), pad, nn.Conv1d(C, C, 3, 1, 0, dilation), nn.LeakyReLU(0.2), conv(C, C, 1))

    levels = [layer for rate in rates for layer in (nn.LeakyReLU(0.2), _up(rate), unit(1), unit(3), unit(9))]
    first = [nn.ReflectionPad1d(3), nn.Conv1d(10, C, 7)]
    return nn.Sequential(*first, *levels, nn.LeakyReLU(0.2), nn.ReflectionPad1d(3), nn.Conv1d(C, 1, 7), nn.Tanh())


class ConvNext(nn.Module):
    """Siuzdak, 2023 (Vocos): a kernel of 7 for each channel, a norm over channels, two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.deep, self.norm = nn.Conv1d(C, C, 7, padding=3, groups=C), nn.LayerNorm(C)
        self.body = nn.Sequential(nn.Linear(C, 2 * C), nn.GELU(), nn.Linear(2 * C, C))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(self.norm(self.deep(x).transpose(1, 2))).transpose(1, 2)


class WaveUNet(nn.Module):
    """Stoller et al., 2018: kernels of 15, every second sample, kernels of 5 on repeated samples, skips."""

    def __init__(self, depth: int, linear: bool = False) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(1 if at == 0 else C, C, 15) for at in range(depth)])
        self.deep = conv(C, C, 15)
        self.up = nn.ModuleList([conv(2 * C, C, 5) for _ in range(depth)])
        self.last = nn.Conv1d(C + 1, 2, 1)
        self.mode = "linear" if linear else "nearest"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, kept = x, []
        for layer in self.down:
            kept.append(F.leaky_relu(layer(y), 0.2))
            y = kept[-1][..., ::2]
        y = F.leaky_relu(self.deep(y), 0.2)
        for layer in self.up:
            y = F.interpolate(y, scale_factor=2, mode=self.mode)
            y = F.leaky_relu(layer(torch.cat([y, kept.pop()], 1)), 0.2)
        return self.last(torch.cat([y, x], 1)).tanh()


class Tasnet(nn.Module):
    """Luo and Mesgarani, 2019: an encoder of 16 and 8, dilated kernels, a mask, overlap-add; ``norm`` over time."""

    def __init__(self, norm: bool, blocks: int = 4) -> None:
        super().__init__()
        self.enc, self.dec = nn.Conv1d(1, C, 16, 8), nn.ConvTranspose1d(C, 1, 16, 8)
        self.body = nn.Sequential(
            *(
                Residual(conv(C, C, 1), nn.PReLU(), nn.GroupNorm(1, C) if norm else nn.BatchNorm1d(C), deep)
                for deep in (conv(C, C, 3, dilation=2**at) for at in range(blocks))
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = self.enc(x)
        return self.dec(code * self.body(code).sigmoid())


class Gated(nn.Module):
    """van den Oord et al., 2016, not causal: gated dilated kernels of 3, and the sum of all skips."""

    def __init__(self, depth: int = 5, rounds: int = 2) -> None:
        super().__init__()
        dilations = [2**at for at in range(depth)] * rounds
        self.first, self.last = conv(1, C, 1), conv(C, 1, 1)
        self.gates = nn.ModuleList([conv(C, 2 * C, 3, dilation=d) for d in dilations])
        self.outs = nn.ModuleList([conv(C, 2 * C, 1) for _ in dilations])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, total = self.first(x), torch.zeros(())
        for gate, out in zip(self.gates, self.outs, strict=True):
            a, b = gate(x).chunk(2, 1)
            more, skip = out(a.tanh() * b.sigmoid()).chunk(2, 1)
            x, total = x + more, total + skip
        return self.last(F.relu(total))


def _transformers(kind: str, part: str, **settings: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        library = importlib.import_module("transformers")
        model = getattr(library, f"{kind}Model")(getattr(library, f"{kind}Config")(**settings))
        made: nn.Module = getattr(model, part)
        return made

    return make


_DAC = {"encoder_hidden_size": 4, "decoder_hidden_size": 16, "hidden_size": 8, "n_codebooks": 1, "codebook_size": 4}
_SEA = {"num_filters": 4, "hidden_size": 8, "upsampling_ratios": [4, 2], "codebook_size": 4, "codebook_dim": 8}


def sounds() -> Iterator[tuple[str, str, Callable[[], nn.Module], tuple[int, ...]]]:
    """Name, paper or package, maker and input of each."""
    yield "DAC decoder 8, 8, 4, 2", "Kumar 2023", lambda: dac_decoder((8, 8, 4, 2)), (8, 32)
    yield "DAC decoder 8, 5, 4, 2", "Kumar 2023", lambda: dac_decoder((8, 5, 4, 2)), (8, 32)
    yield "DAC encoder 2, 4, 8, 8", "Kumar 2023", lambda: dac_encoder((2, 4, 8, 8)), (1, 2048)
    yield "DAC encoder 2, 4, 5, 8", "Kumar 2023", lambda: dac_encoder((2, 4, 5, 8)), (1, 1280)
    yield "SNAC decoder 8, 7, 3", "Siuzdak 2024", lambda: dac_decoder((8, 7, 3)), (8, 32)
    yield "SoundStream encoder", "Zeghidour 2021", lambda: soundstream(True), (1, 640)
    yield "SoundStream decoder", "Zeghidour 2021", lambda: soundstream(False), (8, 32)
    yield "EnCodec encoder with LSTM", "Defossez 2022", encodec, (1, 128)
    yield "HiFi-GAN V1", "Kong 2020", lambda: hifigan((8, 8, 2, 2), (3, 7, 11)), (10, 32)
    yield "HiFi-GAN V3", "Kong 2020", lambda: hifigan((8, 8, 4), (3, 5, 7)), (10, 32)
    yield "MelGAN", "Kumar 2019", melgan, (10, 32)
    yield (
        "Vocos, backbone",
        "Siuzdak 2023",
        lambda: nn.Sequential(conv(10, C, 7), *(ConvNext() for _ in "12345678")),
        (10, 64),
    )
    yield "Wave-U-Net of 4", "Stoller 2018", lambda: WaveUNet(4), (1, 256)
    yield "Wave-U-Net of 6, linear", "Stoller 2018", lambda: WaveUNet(6, True), (1, 512)
    yield "Conv-TasNet", "Luo 2019", lambda: Tasnet(True), (1, 512)
    yield "Conv-TasNet with batch norms", "Luo 2019", lambda: Tasnet(False), (1, 512)
    yield "WaveNet, not causal", "van den Oord 2016", Gated, (1, 256)
    yield "DAC decoder", "transformers", _transformers("Dac", "decoder", **_DAC), (8, 32)
    yield "DAC encoder", "transformers", _transformers("Dac", "encoder", **_DAC), (1, 2048)
    yield "EnCodec decoder", "transformers", _transformers("Encodec", "decoder", **_SEA), (8, 32)
