"""Networks along time that the tests look at."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Padded(nn.Module):
    """A convolution behind a padding of its own."""

    def __init__(self, kernel: int, before: int, after: int, mode: str = "constant", **settings: Any) -> None:
        super().__init__()
        self.padding, self.mode = (before, after), mode
        self.conv = nn.Conv1d(1, 1, kernel, **settings)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(x, self.padding, mode=self.mode))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """A frame encoder without padding, a recurrence, and a convolution after it."""

    def __init__(self, *, bidirectional: bool = False, padding: int = 0, channels: int | None = None) -> None:
        super().__init__()
        self.enc = nn.Conv1d(1, 4, 4, 4)
        self.rnn = nn.GRU(4, 4, batch_first=True, bidirectional=bidirectional)
        self.out = nn.Conv1d(channels or 4 * (1 + bidirectional), 1, 1 + 2 * padding, padding=padding)
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.rnn(self.enc(x).transpose(1, 2))[0].transpose(1, 2)
        return self.out(found if self.channels is None else found[:, : self.channels])  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Self-attention over frames, written out or torch's, under a mask that sees ``ahead`` frames more than it should.

    ``last``: a frame sees so many frames at most.
    """

    def __init__(self, *, ahead: int | None = 0, fused: bool = True, last: int | None = None) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.ahead, self.fused, self.last = ahead, fused, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        count = x.shape[1]
        if self.ahead is None:
            return F.scaled_dot_product_attention(q, k, v)
        mask = torch.ones(count, count, dtype=torch.bool).tril(self.ahead)
        if self.last is not None:
            mask = mask.triu(1 - self.last)
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        scores = (q @ k.transpose(1, 2)).masked_fill(~mask, float("-inf"))
        return scores.softmax(-1) @ v


class Branches(nn.Module):
    """A convolution that looks ahead beside a shortcut that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 5, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x)  # type: ignore[no-any-return]


class Late(nn.Module):
    """A convolution on both sides whose output is delayed by ``shift``."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 5, padding=2)
        self.shift = shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(self.conv(x), (self.shift, 0))[..., : x.shape[-1]]


class Gate(nn.Module):
    """Squeeze and excitation over time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return x * x.mean(-1, keepdim=True).sigmoid()


class Later(nn.Module):
    """A recurrence over frames that overlap, a causal convolution, and one that reads ``ahead`` frames at the end."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self.enc = nn.Conv1d(1, 4, 8, 4)
        self.rnn = nn.GRU(4, 4, batch_first=True)
        self.mid = nn.Conv1d(4, 4, 3)
        self.row = nn.Conv1d(4, 4, ahead + 1)
        self.ahead = ahead

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.rnn(self.enc(x).transpose(1, 2))[0].transpose(1, 2)
        return self.row(F.pad(self.mid(F.pad(y, (2, 0))), (0, self.ahead)))  # type: ignore[no-any-return]


class Preamble(nn.Module):
    """All units are shifted by the mean of the first ``length`` positions."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x[..., : self.length].mean(-1, keepdim=True)


class First(nn.Module):
    """The first ``length`` positions."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., : self.length]


class Ahead(nn.Module):
    """Each unit is the position so many further on, those of the last ones are zeros."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, (-self.by, self.by)) * 2


class Flip(nn.Module):
    """The end comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).flip(-1)  # type: ignore[no-any-return]


class Encodec(nn.Module):
    """The encoder of EnCodec at 24 kHz (Defossez et al., 2022, section 3.1), all padding before and reflecting."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.end = nn.Conv1d(1, 2, 7), nn.Conv1d(2, 2, 7)
        self.unit = nn.ModuleList([nn.Conv1d(2, 2, 3) for _ in range(4)])
        self.down = nn.ModuleList([nn.Conv1d(2, 2, 2 * step, step) for step in (2, 4, 5, 8)])
        self.rnn = nn.LSTM(2, 2, 2, batch_first=True)

    def _padded(self, conv: nn.Module, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(conv, nn.Conv1d)
        before = conv.kernel_size[0] - conv.stride[0]
        return conv(F.pad(x, (before, 0), mode="reflect"))  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._padded(self.start, x)
        for unit, down in zip(self.unit, self.down, strict=True):
            x = self._padded(down, F.elu(x + self._padded(unit, F.elu(x))))
        x = x + self.rnn(x.transpose(1, 2))[0].transpose(1, 2)
        return self._padded(self.end, F.elu(x))


class Deep(nn.Module):
    """Residual units, each of one convolution that is padded on both sides."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(1, 1, 3, padding=1) for _ in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs:
            x = x + conv(x)
        return x


class Dead(nn.Module):
    """Its second convolution is seen only where what is there is above 0, which its neighbours do not move."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(1, 1, 3, padding=1), nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.two(self.one(x).tanh() * F.relu(x))
