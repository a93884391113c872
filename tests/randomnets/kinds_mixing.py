"""Ops that mix whole axes, with and without masks, and pointwise ones."""

from __future__ import annotations

import math
from random import Random

import torch
from torch import nn
from torch.nn import functional as F

from tests.randomnets.kinds import Fn, axis_of, divisors, kind

# --- norms ------------------------------------------------------------------------------------------------------------


@kind("norm", invariant=True)
def layer_norm(rng: Random, x: torch.Tensor) -> nn.Module | None:
    shape = list(x.shape[rng.randint(1, x.ndim - 1) :])
    return nn.LayerNorm(shape, elementwise_affine=rng.random() < 0.5) if math.prod(shape) > 2 else None


@kind("norm", invariant=True)
def group_norm(rng: Random, x: torch.Tensor) -> nn.Module | None:
    groups = rng.choice(divisors(x.shape[1]))
    return nn.GroupNorm(groups, x.shape[1]) if x[0].numel() // groups > 2 else None


@kind("norm", invariant=True)
def instance_norm(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if not 3 <= x.ndim <= 5 or x[0, 0].numel() < 3:
        return None
    return (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[x.ndim - 3](
        x.shape[1], affine=rng.random() < 0.5, track_running_stats=rng.random() < 0.4
    )


@kind("norm", invariant=True)
def batch_norm(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """With running statistics (at inference it reads one position) or without (it reads its whole channel)."""
    if not 3 <= x.ndim <= 5 or x[:, 0].numel() < 3:
        return None
    return (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[x.ndim - 3](
        x.shape[1], track_running_stats=rng.random() < 0.5
    )


@kind("norm", product=True, invariant=True)
def rms_norm(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return nn.RMSNorm(x.shape[-1]) if x.shape[-1] > 1 else None


@kind("norm", product=True)
def local_response_norm(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return nn.LocalResponseNorm(rng.randint(1, 4), 0.5) if x.ndim >= 3 else None


@kind("norm", hides=True, product=True, invariant=True)
def vector_normalize(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = axis_of(rng, x, 2)
    return None if axis is None else Fn(F.normalize, dim=axis)


@kind("norm", invariant=True)
def spread(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = axis_of(rng, x, 3)
    function = rng.choice([torch.std, torch.var, torch.sum, torch.logsumexp])
    return None if axis is None else Fn(function, axis, keepdim=True)


# --- softmax and attention --------------------------------------------------------------------------------------------


def _bounded(x: torch.Tensor) -> torch.Tensor:
    """Between -1 and 1, so that a finite mask stays a mask whatever the input."""
    return F.softsign(x)


def _mixed(x: torch.Tensor) -> torch.Tensor:
    """Values that read all channels: where only one key is left its weight is 1, whatever the scores that it reads."""
    return x * 0.5 + x.mean(-1, keepdim=True)


def _split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(N, L, C) with any number of leading axes to (N, heads, L, C/heads)."""
    tokens = x.flatten(1, -2) if x.ndim > 3 else x
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def _tokens_ok(x: torch.Tensor, most: int = 40) -> bool:
    return 3 <= x.ndim <= 5 and math.prod(x.shape[1:-1]) <= most


@kind("attention", invariant=True)
def softmax(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axis = axis_of(rng, x, 2)
    if axis is None:
        return None
    return Fn(_softmax, axis, rng.random() < 0.3)


def _softmax(x: torch.Tensor, axis: int, log: bool) -> torch.Tensor:
    return F.log_softmax(_bounded(x), axis) if log else F.softmax(_bounded(x), axis)


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` over the tokens of one tensor."""

    def __init__(self, channels: int, heads: int, causal: bool, batch_first: bool) -> None:
        super().__init__()
        self.settings = (channels, heads, causal, batch_first)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=batch_first)
        self.causal = causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = _bounded(x.flatten(1, -2))
        size = tokens.shape[1] if self.settings[3] else tokens.shape[0]
        mask = nn.Transformer.generate_square_subsequent_mask(size, dtype=x.dtype) if self.causal else None
        made, _ = self.attention(tokens, tokens, tokens, attn_mask=mask, is_causal=self.causal, need_weights=False)
        return made.reshape(x.shape)

    def __repr__(self) -> str:
        return f"SelfAttention{self.settings}"


@kind("attention", product=True, invariant=True)
def self_attention(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if not _tokens_ok(x):
        return None
    return SelfAttention(x.shape[-1], rng.choice(divisors(x.shape[-1])), False, rng.random() < 0.7)


@kind("attention", misleads=True, product=True, invariant=True)
def causal_self_attention(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if not _tokens_ok(x):
        return None
    return SelfAttention(x.shape[-1], rng.choice(divisors(x.shape[-1])), True, rng.random() < 0.7)


def _dot_product(x: torch.Tensor, heads: int, kv_heads: int, mask: torch.Tensor | None, causal: bool) -> torch.Tensor:
    """Scaled dot-product attention of the tokens with themselves turned round; fewer heads for keys: grouped."""
    query = _split_heads(_bounded(x), heads)
    key = _split_heads(_bounded(x.flip(-1)), heads)[:, :kv_heads]
    value = _split_heads(_mixed(x) if causal or mask is not None else x, heads)[:, -kv_heads:]
    made = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=kv_heads != heads
    )
    return made.transpose(1, 2).reshape(x.shape)


def _heads(rng: Random, x: torch.Tensor) -> tuple[int, int]:
    heads = rng.choice(divisors(x.shape[-1]))
    return heads, rng.choice(divisors(heads))


@kind("attention", product=True, invariant=True)
def dot_product(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """Of two tokens at least: a softmax over one does not depend on it, which finite changes see and NaN does not."""
    several = _tokens_ok(x) and math.prod(x.shape[1:-1]) > 1
    return Fn(_dot_product, *_heads(rng, x), None, False) if several else None


@kind("attention", misleads=True, product=True, invariant=True)
def causal(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_dot_product, *_heads(rng, x), None, True) if _tokens_ok(x) else None


def _random_mask(rng: Random, rows: int, columns: int) -> torch.Tensor:
    return torch.tensor([[rng.random() < 0.5 for _ in range(columns)] for _ in range(rows)])


@kind("attention", misleads=True, product=True, invariant=True)
def masked(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """Boolean masks, or -inf or a large number where False; every query may see itself."""
    if not _tokens_ok(x, 16):
        return None
    size = math.prod(x.shape[1:-1])
    open_ = _random_mask(rng, size, size) | torch.eye(size, dtype=torch.bool)
    if rng.random() < 0.5:
        return Fn(_dot_product, *_heads(rng, x), open_, False)
    low = rng.choice([-math.inf, -1000.0])
    return Fn(_dot_product, *_heads(rng, x), torch.zeros(size, size, dtype=x.dtype).masked_fill(~open_, low), False)


def _swin(x: torch.Tensor, window: int, shift: int, low: float) -> torch.Tensor:
    """Attention in windows along the last axis of (N, C, ..., L), shifted with a finite mask as Swin has it."""
    length = x.shape[-1]
    moved = x.roll(-shift, -1)
    tokens = moved.movedim(1, -1).unflatten(-2, (-1, window))  # (N, ..., windows, window, C)
    place = torch.zeros(length, dtype=x.dtype)
    if shift:
        place[-window:-shift] = 1
        place[-shift:] = 2
    place = place.reshape(-1, window)
    mask = (place[:, :, None] != place[:, None, :]).to(x.dtype) * low
    scores = _bounded(tokens) @ _bounded(tokens).transpose(-1, -2) + mask
    made = scores.softmax(-1) @ _mixed(tokens)
    return made.flatten(-3, -2).movedim(-1, 1).roll(shift, -1)


@kind("attention", product=True, invariant=True)
def windows(rng: Random, x: torch.Tensor) -> nn.Module | None:
    sizes = divisors(x.shape[-1], 2)
    return Fn(_swin, rng.choice(sizes), 0, 0.0) if x.ndim >= 3 and x.ndim < 5 and sizes else None


@kind("attention", misleads=True, product=True, invariant=True)
def shifted_windows(rng: Random, x: torch.Tensor) -> nn.Module | None:
    sizes = divisors(x.shape[-1], 2)
    if not 3 <= x.ndim <= 4 or not sizes:
        return None
    window = rng.choice(sizes)
    return Fn(_swin, window, rng.randint(1, window - 1), rng.choice([-100.0, -1000.0]))


def _masked_fill(x: torch.Tensor, low: float, keys: int, step: int) -> torch.Tensor:
    """The weights of attention to a band of keys (two at least: a softmax over one does not depend on it), each key's
    times a number of its own, for the sum of all is 1 whatever they are."""
    tokens = _bounded(x.flatten(1, -2))
    rows = torch.arange(tokens.shape[1])
    hidden = (rows[:, None] + step < rows[None, :]) | (rows[:, None] - rows[None, :] > keys)
    uneven = torch.linspace(0.5, 1.5, tokens.shape[1], dtype=x.dtype)  # equal tokens get unequal weights
    scores = (tokens @ tokens.mT * uneven).masked_fill(hidden, low)
    return scores.softmax(-1) * uneven


@kind("attention", misleads=True, product=True, zeros=True, invariant=True)
def masked_weights(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if not _tokens_ok(x, 12) or math.prod(x.shape[1:-1]) < 2:
        return None
    return Fn(_masked_fill, rng.choice([-math.inf, -1000.0, -1e9]), rng.randint(1, 3), rng.randint(1, 2))


def _where(x: torch.Tensor, every: int, axis: int) -> torch.Tensor:
    keep = torch.arange(x.shape[axis]) % every == 0
    keep = keep.reshape([-1 if k == axis else 1 for k in range(x.ndim)])
    return torch.where(keep, x, x.flip(axis))


@kind("mask")
def where_known(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_where, rng.randint(1, 3), rng.randrange(x.ndim))


def _filled(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return x.masked_fill(mask, 0.25)


@kind("mask")
def masked_fill(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_filled, _random_mask(rng, x.shape[-2], x.shape[-1]))


def _triangle(x: torch.Tensor, upper: bool, diagonal: int) -> torch.Tensor:
    return x.triu(diagonal) if upper else x.tril(diagonal)


@kind("mask", zeros=True)
def triangle(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_triangle, rng.random() < 0.5, rng.randint(-1, 1))


@kind("mask", misleads=True, zeros=True)
def multiplied(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """Known zeros block what they are multiplied with."""
    return Fn(torch.mul, _random_mask(rng, x.shape[-2], x.shape[-1]))


@kind("mask", misleads=True, zeros=True)
def constant_matrix(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """A product with a matrix that forward makes, and that holds zeros."""
    return Fn(_times_made, (_random_mask(rng, x.shape[-1], rng.randint(1, 6)) * 0.7).tolist())


def _times_made(x: torch.Tensor, numbers: list[list[float]]) -> torch.Tensor:
    return x @ torch.tensor(numbers, dtype=x.dtype, device=x.device)


# --- products ---------------------------------------------------------------------------------------------------------


@kind("linear")
def linear_layer(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return nn.Linear(x.shape[-1], rng.randint(1, 6), bias=rng.random() < 0.5)


@kind("linear")
def einsum(rng: Random, x: torch.Tensor) -> nn.Module | None:
    letters = "abcde"[: x.ndim]
    kept = [letter for letter in letters if rng.random() < 0.8]
    rng.shuffle(kept)
    if len(kept) < 2:
        return None
    return Fn(_einsum, f"{letters}->{''.join(kept)}")


def _einsum(x: torch.Tensor, equation: str) -> torch.Tensor:
    return torch.einsum(equation, x)


def _einsum_two(x: torch.Tensor, equation: str, axes: list[int]) -> torch.Tensor:
    return torch.einsum(equation, x, x.flip(axes))


@kind("linear", product=True)
def einsum_product(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """A tensor with itself: contracted, kept and batched axes."""
    if x.ndim > 4 or x.numel() > 400:
        return None
    first, second, out = "abcd"[: x.ndim], "", ""
    for at, letter in enumerate(first):
        role = rng.choice(["batch", "sum", "apart", "batch"])
        second += "wxyz"[at] if role == "apart" else letter
        out += {"batch": letter, "sum": "", "apart": letter + "wxyz"[at]}[role]
    return Fn(_einsum_two, f"{first},{second}->{out}", [x.ndim - 1]) if 2 <= len(out) <= 5 else None


def _gram(x: torch.Tensor, function: str) -> torch.Tensor:
    if function == "matmul":
        return x @ x.mT
    flat = x.flatten(0, -3) if x.ndim > 3 else x
    return torch.bmm(flat, flat.mT) if function == "bmm" else torch.baddbmm(flat @ flat.mT, flat, flat.mT)


@kind("linear", product=True)
def gram(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_gram, rng.choice(["matmul", "bmm", "baddbmm"])) if x.ndim >= 3 else None


class SqueezeExcite(nn.Module):
    """Channels scaled by what the whole map holds."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.down, self.up = nn.Linear(channels, 2), nn.Linear(2, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = x.flatten(2).mean(-1)
        scale = F.softsign(self.up(F.softplus(self.down(seen))))
        return x * scale.reshape(*scale.shape, *(1,) * (x.ndim - 2))

    def __repr__(self) -> str:
        return f"SqueezeExcite({self.channels})"


@kind("linear", product=True)
def squeeze_excite(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return SqueezeExcite(x.shape[1]) if x.ndim >= 3 else None


# --- sequences --------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """A recurrent layer over (N, L, C)."""

    def __init__(self, cell: str, channels: int, hidden: int, layers: int, both: bool, batch_first: bool) -> None:
        super().__init__()
        self.settings = (cell, channels, hidden, layers, both, batch_first)
        made = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
        self.layer = made(channels, hidden, layers, bidirectional=both, batch_first=batch_first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layer(x)[0]
        return made

    def __repr__(self) -> str:
        return f"Recurrent{self.settings}"


@kind("recurrent", hides=True)
def recurrent(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if x.ndim != 3:
        return None
    cell = rng.choice(["lstm", "gru", "rnn"])
    flags = rng.random() < 0.4, rng.random() < 0.6
    return Recurrent(cell, x.shape[-1], rng.randint(1, 3), rng.randint(1, 2), *flags)


class LastState(Recurrent):
    """The hidden state at the end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.layer(x)[1]
        made: torch.Tensor = state[0] if isinstance(state, tuple) else state
        return made

    def __repr__(self) -> str:
        return f"LastState{self.settings}"


@kind("recurrent", hides=True)
def last_state(rng: Random, x: torch.Tensor) -> nn.Module | None:
    if x.ndim != 3:
        return None
    cell = rng.choice(["lstm", "gru", "rnn"])
    flags = rng.random() < 0.4, rng.random() < 0.6
    return LastState(cell, x.shape[-1], rng.randint(1, 3), rng.randint(1, 2), *flags)


def _cumulative(x: torch.Tensor, function: str, axis: int) -> torch.Tensor:
    if function == "cummax":
        return x.cummax(axis)[0]
    made: torch.Tensor = getattr(torch, function)(_bounded(x), axis)
    return made


@kind("cumulative")
def cumsum(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_cumulative, rng.choice(["cumsum", "logcumsumexp"]), rng.randrange(x.ndim))


@kind("cumulative", hides=True, product=True)
def cumprod(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_cumulative, rng.choice(["cumprod", "cummax"]), rng.randrange(x.ndim))


def _reverse_cumsum(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.flip(axis).cumsum(axis).flip(axis)


@kind("cumulative")
def reverse_cumsum(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_reverse_cumsum, rng.randrange(x.ndim))


def _spectrum(x: torch.Tensor, function: str, axes: list[int]) -> torch.Tensor:
    if function == "fftn":
        return torch.view_as_real(torch.fft.fftn(x, dim=axes)).sum(-1)
    return torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * 0.5, [x.shape[axis] for axis in axes], axes)


@kind("fft", hides=True)
def fft(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axes = rng.sample(range(x.ndim), rng.randint(1, 2))
    return Fn(_spectrum, rng.choice(["fftn", "rfftn"]), axes)


# --- pointwise and data-dependent -------------------------------------------------------------------------------------


@kind("pointwise", hides=True)
def hidden_pointwise(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return rng.choice([nn.ReLU(), nn.ReLU(inplace=True), nn.Hardtanh(), nn.Sigmoid(), nn.GELU(), nn.Dropout(0.5)])


@kind("pointwise")
def pointwise(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return rng.choice([nn.LeakyReLU(0.3), nn.Softsign(), nn.PReLU(), nn.Identity(), nn.LeakyReLU(0.3, True)])


@kind("pointwise", product=True)
def glu(rng: Random, x: torch.Tensor) -> nn.Module | None:
    axes = [axis for axis in range(x.ndim) if x.shape[axis] % 2 == 0]
    return Fn(_gated, rng.choice(axes)) if axes else None


def _gated(x: torch.Tensor, axis: int) -> torch.Tensor:
    return F.glu(_bounded(x), axis)


def _sorted(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.sort(axis)[0]


@kind("data", hides=True, inexact=True)
def sort(rng: Random, x: torch.Tensor) -> nn.Module | None:
    """NaN goes to the end, so that it shows only a part of what is read."""
    return Fn(_sorted, rng.randrange(x.ndim))


def _sampled(x: torch.Tensor) -> torch.Tensor:
    grid = torch.stack([F.softsign(x[:, 0]), F.softsign(x[:, -1])], -1)
    return F.grid_sample(x, grid, align_corners=False)


@kind("data", hides=True, inexact=True)
def grid_sample(rng: Random, x: torch.Tensor) -> nn.Module | None:
    return Fn(_sampled) if x.ndim == 4 else None
