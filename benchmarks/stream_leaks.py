"""Leaks for `stream_models.py`: models that are meant to be causal and are not, as they were published, and mended.

Each is written anew from what who found it says, with the sizes that decide how far it looks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from stream_case import Case
from torch import nn

OPEN_RETINA = "open-retina, issue 136"
MAGVIT2 = "magvit2-pytorch, pull request 27"
NANOCHAT = "nanochat, issue 844"
OLMAX = "Olmax, commit 3774d45"


class Retina(nn.Module):
    """Two spatio-temporal convolutions of 21 and 11 frames, the second with a padding in time, then a recurrence.

    The first pads nothing in time, so responses are those of frames from the 21st on.
    """

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.one = nn.Conv3d(1, 4, (21, 5, 5))
        self.two = nn.Conv3d(4, 4, (11, 3, 3), padding=(padding, 1, 1))
        self.rnn = nn.GRU(4, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.elu(self.two(F.elu(self.one(x)))).mean((3, 4))
        return self.rnn(x.transpose(1, 2))[0]  # type: ignore[no-any-return]


class VideoTokenizer(nn.Module):
    """Frames 0, then 1 and 2, then 3 and 4, become codes by kernels of 3 with stride 2, and frames again.

    With a padding of 1 on both sides, in place of 2 before, a code reads the frame after its own.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.pads = before, after
        self.start = nn.Conv3d(3, 8, 3, padding=(0, 1, 1))
        self.down = nn.Conv3d(8, 8, (3, 1, 1), (2, 1, 1))
        self.up = nn.Conv3d(8, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(F.pad(x, (0, 0, 0, 0, 2, 0)))
        y = self.up(self.down(F.pad(F.elu(x), (0, 0, 0, 0, *self.pads))))
        batch, channels, frames, height, width = y.shape
        y = y.view(batch, channels // 2, 2, frames, height, width).transpose(2, 3)
        return y.reshape(batch, channels // 2, 2 * frames, height, width)[:, :, 1:]


class CausalVideo(nn.Module):
    """MAGVIT-v2 (Yu et al., 2024), section 3.2: padding of time before, stride 2, norms of frames or of all."""

    def __init__(self, norm_over_time: bool = False) -> None:
        super().__init__()
        self.one, self.two = nn.Conv3d(3, 8, 3, padding=(0, 1, 1)), nn.Conv3d(8, 8, 3, (2, 1, 1), padding=(0, 1, 1))
        self.norm = nn.GroupNorm(2, 8)
        self.over_time = norm_over_time

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(F.pad(x, (0, 0, 0, 0, 2, 0)))
        if self.over_time:
            x = self.norm(x)
        else:
            frames = x.transpose(1, 2)
            x = self.norm(frames.flatten(0, 1)).view(frames.shape).transpose(1, 2)
        return self.two(F.pad(F.silu(x), (0, 0, 0, 0, 2, 0)))


class Summaries(nn.Module):
    """Causal attention over tokens to each of which a summary of its block of 16 is added: of the ``previous`` one, or
    of its own, in which later tokens are. ``recurrent``: summaries run through a recurrence over blocks."""

    def __init__(self, *, recurrent: bool, previous: bool = False, block: int = 16) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.rnn = nn.GRU(8, 8, batch_first=True) if recurrent else None
        self.block, self.previous = block, previous

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = x.unflatten(1, (-1, self.block)).mean(2)
        if self.rnn is not None:
            means = self.rnn(means)[0]
        if self.previous:
            means = F.pad(means, (0, 0, 1, 0))[:, :-1]
        q, k, v = self.qkv(x + means.repeat_interleave(self.block, 1)).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Spectral(nn.Module):
    """Tokens filtered along time by a response learned in frequency, which wraps around, or by a kernel of the past."""

    def __init__(self, *, one_sided: bool, length: int = 64) -> None:
        super().__init__()
        self.length, self.one_sided = length, one_sided
        self.response = nn.Parameter(torch.randn(length + 1, dtype=torch.cfloat))
        self.kernel = nn.Conv1d(8, 8, 16, groups=8)
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.one_sided:
            y = self.kernel(F.pad(x.transpose(1, 2), (15, 0))).transpose(1, 2)
        else:
            spectrum = torch.fft.rfft(x, n=2 * self.length, dim=1) * self.response[:, None]
            y = torch.fft.irfft(spectrum, n=2 * self.length, dim=1)[:, : self.length]
        q, k, v = self.qkv(y).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Mixer(nn.Module):
    """Positions mixed by triangular matrices within blocks of 8 and then between them, and put back into their order:
    by a transpose and a reshape, or by a reshape alone, which leaves them turned."""

    def __init__(self, *, transposed: bool, block: int = 8) -> None:
        super().__init__()
        self.block, self.transposed = block, transposed
        self.within = nn.Parameter(torch.randn(block, block))
        self.between = nn.Parameter(torch.randn(block, block))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, channels = x.shape
        y = x.transpose(1, 2).reshape(batch, channels, self.block, self.block)
        y = F.relu(y @ self.within.triu()).transpose(2, 3) @ self.between.triu()
        y = y.transpose(2, 3) if self.transposed else y
        return x + y.reshape(batch, channels, length).transpose(1, 2)


class Leak(nn.Module):
    """A convolution, a norm and attention, of which one looks ahead."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv1d(8, 8, 3, padding=1 if kind == "same" else 0)
        self.norm = nn.GroupNorm(1, 8) if kind == "norm" else nn.Identity()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x if self.kind == "same" else F.pad(x, (2, 0)))).transpose(1, 2)
        q, k, v = self.qkv(x).chunk(3, -1)
        allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(1 if self.kind == "mask" else 0)
        return x + F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


_LEAKY = ", leaky"
LEAKS = (
    Case(
        *("retina" + _LEAKY, OPEN_RETINA, lambda: Retina(5), (1, 1, 48, 8, 8), 2, 30),
        known="responses to what is up to 5 frames in the future, by the temporal padding of the second convolution",
        align="end",
    ),
    Case("retina, mended", OPEN_RETINA, lambda: Retina(0), (1, 1, 48, 8, 8), 2, 30, align="end"),
    Case(
        *("video tokenizer" + _LEAKY, MAGVIT2, lambda: VideoTokenizer(1, 1), (1, 3, 17, 4, 4), 2),
        known="its halving in time reads a frame too many for want of padding on the left",
        align="end",
    ),
    Case(
        *("video tokenizer, mended", MAGVIT2, lambda: VideoTokenizer(2, 0), (1, 3, 17, 4, 4), 2),
        known="the first frame of a pair waits for the second, and frame 0 for none",
        align="end",
    ),
    Case(
        *("block summaries" + _LEAKY, NANOCHAT, lambda: Summaries(recurrent=False), (1, 64, 8), 1),
        known="early positions receive what comes later in their block",
    ),
    Case(
        *("summaries through a recurrence" + _LEAKY, NANOCHAT, lambda: Summaries(recurrent=True), (1, 64, 8), 1),
        known="causal between chunks and not within one",
    ),
    Case(
        *("summaries of the block before", NANOCHAT, lambda: Summaries(recurrent=True, previous=True), (1, 64, 8), 1),
    ),
    Case(
        *("spectral filter" + _LEAKY, NANOCHAT, lambda: Spectral(one_sided=False), (1, 64, 8), 1),
        known="a circular convolution, of which what wraps around lets future tokens in",
    ),
    Case("spectral filter, one-sided", NANOCHAT, lambda: Spectral(one_sided=True), (1, 64, 8), 1),
    Case(
        *("mixer" + _LEAKY, OLMAX, lambda: Mixer(transposed=False), (1, 64, 4), 1),
        known="a reshape where a transpose belongs",
    ),
    Case("mixer, mended", OLMAX, lambda: Mixer(transposed=True), (1, 64, 4), 1),
    Case("causal 3D tokenizer", "MAGVIT-v2, Yu 2024", CausalVideo, (1, 3, 24, 8, 8), 2),
    Case("leak: group norm over time", "magvit2-pytorch, issue 41", lambda: CausalVideo(True), (1, 3, 24, 8, 8), 2),
    Case("leak: padding on both sides", "written here", lambda: Leak("same"), (1, 8, 64), 2),
    Case("leak: a mask off by one", "written here", lambda: Leak("mask"), (1, 8, 64), 2),
    Case("leak: a norm over the sequence", "written here", lambda: Leak("norm"), (1, 8, 64), 2),
)
