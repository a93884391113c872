"""Networks along time for `stream_models.py`, written as their papers say.

Sizes are small, and what decides how far a unit looks (kernels, strides, dilations, paddings, masks, norms) is that of
the paper.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from stream_case import Case
from torch import nn

KERAS_TCN = (1, 2, 4, 8, 16, 32)  #: keras-tcn's dilations, with kernels of 3


class Tcn(nn.Module):
    """Bai, Kolter and Koltun, 2018, section 3: residual blocks of two dilated causal convolutions, chomped."""

    def __init__(self, kernel: int = 3, dilations: tuple[int, ...] = (1, 2, 4, 8), causal: bool = True) -> None:
        super().__init__()
        self.pads = [(kernel - 1) * d for d in dilations]
        self.causal = causal
        self.one = nn.ModuleList([self._conv(1 if n == 0 else 8, kernel, d) for n, d in enumerate(dilations)])
        self.two = nn.ModuleList([self._conv(8, kernel, d) for d in dilations])
        self.skip = nn.ModuleList([nn.Conv1d(1 if n == 0 else 8, 8, 1) for n in range(len(dilations))])

    def _conv(self, channels: int, kernel: int, dilation: int) -> nn.Conv1d:
        pad = (kernel - 1) * dilation
        return nn.Conv1d(channels, 8, kernel, dilation=dilation, padding=pad if self.causal else pad // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for pad, one, two, skip in zip(self.pads, self.one, self.two, self.skip, strict=True):
            y = x
            for conv in (one, two):
                y = conv(y)
                y = F.relu(y[..., :-pad] if self.causal else y)
            x = F.relu(y + skip(x))
        return x


class WaveNet(nn.Module):
    """van den Oord et al., 2016: gated dilated causal convolutions with kernels of 2, dilations 1 to 2**(depth - 1)."""

    def __init__(self, depth: int = 6, rounds: int = 2) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, 8, 2)
        self.dilations = [2**n for n in range(depth)] * rounds
        self.gated = nn.ModuleList([nn.Conv1d(8, 16, 2, dilation=d) for d in self.dilations])
        self.out = nn.ModuleList([nn.Conv1d(8, 8, 1) for _ in self.dilations])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(F.pad(x, (1, 0)))
        total = torch.zeros_like(x)
        for dilation, gated, out in zip(self.dilations, self.gated, self.out, strict=True):
            a, b = gated(F.pad(x, (dilation, 0))).chunk(2, 1)
            y = out(a.tanh() * b.sigmoid())
            total, x = total + y, x + y
        return total


class CumulativeNorm(nn.Module):
    """Luo and Mesgarani, 2019, section II-C: statistics of what came so far."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype) * x.shape[1]
        mean = x.sum(1, keepdim=True).cumsum(-1) / count
        square = x.pow(2).sum(1, keepdim=True).cumsum(-1) / count
        return (x - mean) / (square - mean.pow(2) + 1e-3).sqrt()


class ConvTasNet(nn.Module):
    """Luo and Mesgarani, 2019: an encoder with L = 16 and hop 8, a masking TCN, a decoder by overlap-add.

    Causal: cumulative norms, and all padding before; the paper's latency is L, 2 ms at 8 kHz.
    """

    def __init__(self, causal: bool, blocks: int = 4) -> None:
        super().__init__()
        self.enc = nn.Conv1d(1, 8, 16, 8, bias=False)
        self.norm = CumulativeNorm() if causal else nn.GroupNorm(1, 8)
        self.causal = causal
        self.dilations = [2**n for n in range(blocks)]
        self.deep = nn.ModuleList([nn.Conv1d(8, 8, 3, dilation=d, groups=8) for d in self.dilations])
        self.norms = nn.ModuleList([CumulativeNorm() if causal else nn.GroupNorm(1, 8) for _ in self.dilations])
        self.point = nn.ModuleList([nn.Conv1d(8, 8, 1) for _ in self.dilations])
        self.dec = nn.ConvTranspose1d(8, 1, 16, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = self.enc(x)
        y = self.norm(code)
        for dilation, deep, norm, point in zip(self.dilations, self.deep, self.norms, self.point, strict=True):
            pad = (2 * dilation, 0) if self.causal else (dilation, dilation)
            y = y + point(norm(F.relu(deep(F.pad(y, pad)))))
        return self.dec(code * y.sigmoid())


class Demucs(nn.Module):
    """Defossez, Synnaeve and Adi, 2020: five levels of kernels of 8 with stride 4, an LSTM, skips; 4 times upsampled.

    By the paper causal with a frame of 37 ms at 16 kHz. ``resample`` repeats and averages in place of the sinc filters.
    """

    def __init__(self, depth: int = 5, resample: int = 4) -> None:
        super().__init__()
        sizes = [1, *[2 + n for n in range(depth)]]
        self.enc = nn.ModuleList([nn.Conv1d(a, b, 8, 4) for a, b in itertools.pairwise(sizes)])
        self.mix = nn.ModuleList([nn.Conv1d(b, 2 * b, 1) for b in sizes[1:]])
        self.rnn = nn.LSTM(sizes[-1], sizes[-1], 2)
        self.unmix = nn.ModuleList([nn.Conv1d(b, 2 * b, 1) for b in sizes[1:]])
        self.dec = nn.ModuleList([nn.ConvTranspose1d(b, a, 8, 4) for a, b in itertools.pairwise(sizes)])
        self.resample = resample

    def valid(self, length: int) -> int:
        """The least length from the given one on that all levels divide."""
        length = math.ceil(length * self.resample)
        for _ in self.enc:
            length = max(math.ceil((length - 8) / 4) + 1, 1)
        for _ in self.enc:
            length = (length - 1) * 4 + 8
        return math.ceil(length / self.resample)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[-1]
        x = F.pad(x, (0, self.valid(length) - length)).repeat_interleave(self.resample, -1)
        skips = []
        for enc, mix in zip(self.enc, self.mix, strict=True):
            x = F.glu(mix(F.relu(enc(x))), 1)
            skips.append(x)
        x = self.rnn(x.permute(2, 0, 1))[0].permute(1, 2, 0)
        for unmix, dec in zip(reversed(self.unmix), reversed(self.dec), strict=True):
            skip = skips.pop()
            x = dec(F.glu(unmix(x + skip[..., : x.shape[-1]]), 1))
        return F.avg_pool1d(x, self.resample)[..., :length]


class SpliceAI(nn.Module):
    """Jaganathan et al., 2019, SpliceAI-400 of 2 groups: residual units with kernels of 11 and dilations 1 and 4."""

    def __init__(self, settings: tuple[tuple[int, int], ...] = ((11, 1),) * 4 + ((11, 4),) * 4) -> None:
        super().__init__()
        self.start = nn.Conv1d(4, 8, 1)
        self.units = nn.ModuleList(
            [
                nn.Sequential(
                    *(nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, k, dilation=d, padding=d * (k - 1) // 2)),
                    *(nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, k, dilation=d, padding=d * (k - 1) // 2)),
                )
                for k, d in settings
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        for unit in self.units:
            x = x + unit(x)
        return x


class Basenji2(nn.Module):
    """Kelley, 2020: convolutions with pooling to bins, then dilated residual layers, dilations growing by 1.5."""

    def __init__(self, pools: int = 3, layers: int = 4) -> None:
        super().__init__()
        tower = [nn.Conv1d(4, 8, 15, padding=7), nn.MaxPool1d(2)]
        for _ in range(pools - 1):
            tower += [nn.GELU(), nn.Conv1d(8, 8, 5, padding=2), nn.MaxPool1d(2)]
        self.tower = nn.Sequential(*tower)
        rates = [round(1.5**n) for n in range(1, layers + 1)]
        self.wide = nn.ModuleList([nn.Conv1d(8, 8, 3, dilation=d, padding=d) for d in rates])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.tower(x)
        for conv in self.wide:
            x = x + conv(F.gelu(x))
        return x


class Enformer(nn.Module):
    """Avsec et al., 2021: Basenji2's tower, then attention over all bins without a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = Basenji2(pools=3, layers=0).tower
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(self.tower(x).transpose(1, 2))  # type: ignore[no-any-return]


class DeepSpeech2(nn.Module):
    """Amodei et al., 2016, section 3: a strided convolution, recurrences, a row convolution of 19 frames ahead."""

    def __init__(self, bidirectional: bool = False, ahead: int = 19) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 11, 2, padding=5)
        self.rnn = nn.GRU(8, 8, batch_first=True, bidirectional=bidirectional)
        self.bidirectional, self.ahead = bidirectional, ahead
        self.row = nn.Conv1d(8, 8, ahead + 1, groups=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.rnn(self.conv(x).transpose(1, 2))[0]
        return y if self.bidirectional else self.row(F.pad(y.transpose(1, 2), (0, self.ahead)))


class Emformer(nn.Module):
    """Attention in chunks with a look at the next frames (Shi et al., 2021), as a mask: chunks of 8, 4 frames ahead."""

    def __init__(self, chunk: int = 8, ahead: int = 4) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.chunk, self.ahead = chunk, ahead

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        at = torch.arange(x.shape[1])
        until = (at // self.chunk + 1) * self.chunk + self.ahead
        allowed = at[None, :] < until[:, None]
        q, k, v = self.qkv(x).chunk(3, -1)
        return x + F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


class Rwkv(nn.Module):
    """RWKV-4 (Peng et al., 2023): token shift and an exponential mean of what came, by cumulative sums."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.rand(8))
        self.kvr = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = F.pad(x, (0, 0, 1, -1))
        k, v, r = self.kvr(x * self.mix + before * (1 - self.mix)).chunk(3, -1)
        k = k.clamp(-5, 5).exp()
        return r.sigmoid() * (k * v).cumsum(1) / k.cumsum(1)


PAPERS = (
    Case("TCN", "Bai 2018", Tcn, (1, 1, 256), 2),
    Case(
        *("TCN, dilations to 32", "keras-tcn, its defaults", lambda: Tcn(dilations=KERAS_TCN), (1, 1, 640), 2),
        known="by its README a field of 1 + 2*(3 - 1)*63 = 253",
    ),
    Case(
        *("TCN, not causal", "keras-tcn, padding same", lambda: Tcn(dilations=KERAS_TCN, causal=False)),
        *((1, 1, 640), 2),
        known="the same field of 253, to both sides",
    ),
    Case(
        "WaveNet, 2 rounds of 6", "van den Oord 2016", WaveNet, (1, 1, 512), 2, 16000, known="reads 1 + 1 + 2*63 = 128"
    ),
    Case("Conv-TasNet, causal", "Luo 2019", lambda: ConvTasNet(True), (1, 1, 512), 2, 8000, known="2 ms"),
    Case(
        "Conv-TasNet",
        "Luo 2019",
        lambda: ConvTasNet(False),
        (1, 1, 512),
        2,
        8000,
        known="the whole signal by its norms",
    ),
    Case("Demucs, causal", "Defossez 2020", Demucs, (1, 1, 4096), 2, 16000, known="37.3 ms"),
    Case("SpliceAI-400", "Jaganathan 2019", SpliceAI, (1, 4, 1024), 2, known="200 on each side"),
    Case("Basenji2", "Kelley 2020", Basenji2, (1, 4, 1024), 2),
    Case("Enformer", "Avsec 2021", Enformer, (1, 4, 1024), 2),
    Case("Deep Speech 2, row convolution", "Amodei 2016", DeepSpeech2, (1, 8, 256), 2, 100),
    Case("Deep Speech 2, both ways", "Amodei 2016", lambda: DeepSpeech2(True), (1, 8, 256), 2, 100),
    Case("attention in chunks of 8, 4 ahead", "Emformer, Shi 2021", Emformer, (1, 96, 8), 1),
    Case("RWKV-4 time mixing", "Peng 2023", Rwkv, (1, 64, 8), 1),
)
