"""Small networks that between them hold what the tools treat in ways of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

Forward = Callable[..., torch.Tensor]


class Function(nn.Module):
    """A module that runs a function, with layers of its own if it is given any."""

    def __init__(self, function: Forward, **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.weight_of_mine = nn.Parameter(torch.ones(1))  # some tools need a parameter to know the device
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def _places() -> nn.Module:
    """One convolution and one ReLU that stand in two blocks each."""
    conv, act = nn.Conv2d(3, 3, 3), nn.ReLU()
    return nn.Sequential(nn.Sequential(conv, act, conv), nn.Sequential(nn.BatchNorm2d(3), conv, act))


def _attend(m: Function, x: torch.Tensor) -> torch.Tensor:
    return m.attention(x, x, x, need_weights=False)[0]


def _attend_weights(m: Function, x: torch.Tensor) -> torch.Tensor:
    return m.attention(x, x, x)[0]


def _heads(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(x.shape[0], x.shape[1], 2, -1).transpose(1, 2)


def _matmuls(m: Function, x: torch.Tensor) -> torch.Tensor:
    scores = x @ x.transpose(-2, -1)
    scores = scores + x.matmul(x.transpose(-2, -1)) + torch.matmul(x, x.transpose(-2, -1))
    return F.softmax(scores, -1) @ x


def _batched(m: Function, x: torch.Tensor) -> torch.Tensor:
    y = torch.bmm(x, x.transpose(1, 2)) + x.bmm(x.transpose(1, 2))
    y = torch.baddbmm(y, x, x.transpose(1, 2))
    z = torch.addmm(y[0], x[0], x[0].t()) + torch.mm(x[0], x[0].t()) + x[0].mm(x[0].t())
    return y + z


def _broadcast(m: Function, x: torch.Tensor) -> torch.Tensor:
    return torch.matmul(x[:, :1], x.transpose(-2, -1)) + x[:, :1].matmul(x.transpose(-2, -1))


def _elementwise(m: Function, x: torch.Tensor) -> torch.Tensor:
    y = torch.mul(x, x) + torch.add(x, x) + x.mul(2) + x.add(1) + x * x
    y *= 2
    y += x
    return y.mean((2, 3)) * 0.5


def _activations(m: Function, x: torch.Tensor) -> torch.Tensor:
    x = F.relu(x) + F.relu6(x) + F.elu(x) + F.gelu(x) + F.silu(x) + F.leaky_relu(x) + F.hardswish(x) + torch.relu(x)
    return torch.softmax(x, 1) + F.softmax(x, 1) + x.softmax(1)


def _pools(m: Function, x: torch.Tensor) -> torch.Tensor:
    x = F.max_pool2d(x, 2) + F.avg_pool2d(x, 2) + F.adaptive_avg_pool2d(x, 6)
    return F.adaptive_max_pool2d(x, 3) + F.adaptive_avg_pool2d(x, 1)


def _resized(m: Function, x: torch.Tensor) -> torch.Tensor:
    y = F.interpolate(x, scale_factor=2.0, mode="nearest") + F.interpolate(x, size=(16, 16), mode="bilinear")
    return y + F.interpolate(x, size=16, mode="bicubic")


def _sequential(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


class Recurrent(nn.Module):
    """A recurrent layer that gives back its outputs alone."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


class TwoInputs(nn.Module):
    """Cross-attention of other widths: queries of 8, keys of 6, values of 10."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=10, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x[:, :3], x[..., :6], torch.cat([x, x[..., :2]], -1))[0]


class _Deformable(nn.Module):
    """A deformable convolution with a mask."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.ops import DeformConv2d

        self.offsets, self.masks = nn.Conv2d(3, 18, 3, padding=1), nn.Conv2d(3, 9, 3, padding=1)
        self.conv = DeformConv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x, self.offsets(x), self.masks(x))


class _Cells(nn.Module):
    """One step of each recurrent cell."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.gru, self.lstm = nn.RNNCell(4, 6), nn.GRUCell(4, 6, bias=False), nn.LSTMCell(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x) + self.gru(x) + self.lstm(x)[0]


class Norms(nn.LayerNorm):
    """A subclass of a class that tools know."""


#: name -> (the network, the shape of its input, batch included)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (
        lambda: _sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 8, 3, groups=4, dilation=2, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Linear(8, 5),
        ),
        (1, 3, 16, 16),
    ),
    "conv1d_conv3d": (
        lambda: _sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.Unflatten(2, (2, 2, 2)), nn.Conv3d(4, 2, 2)),
        (1, 3, 10),
    ),
    "same_padding": (
        lambda: _sequential(nn.Conv2d(3, 4, 4, padding="same"), nn.Conv2d(4, 2, 3, padding="same")),
        (1, 3, 8, 8),
    ),
    "transposed": (
        lambda: _sequential(
            nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1),
            nn.ConvTranspose2d(6, 6, 2, stride=2, bias=False),
        ),
        (1, 4, 5, 5),
    ),
    "transposed_groups": (lambda: _sequential(nn.ConvTranspose2d(4, 8, 3, stride=2, groups=2)), (1, 4, 5, 5)),
    "linear_positions": (lambda: _sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 2, bias=False)), (1, 7, 6)),
    "norms": (
        lambda: _sequential(
            *(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.InstanceNorm2d(4, affine=True)),
            *(nn.LayerNorm([4, 6, 6]), nn.LayerNorm(6, elementwise_affine=False), nn.BatchNorm2d(4, affine=False)),
            Norms(6),
        ),
        (1, 4, 6, 6),
    ),
    "activations": (
        lambda: _sequential(
            *(nn.ReLU(), nn.PReLU(), nn.ELU(), nn.LeakyReLU(), nn.ReLU6(), nn.GELU(), nn.SiLU(), nn.Hardswish()),
            *(nn.Sigmoid(), nn.Softmax(1), nn.LeakyReLU(inplace=True)),
        ),
        (1, 4, 6, 6),
    ),
    "functional_activations": (lambda: Function(_activations), (1, 4, 6, 6)),
    "pools": (
        lambda: _sequential(
            *(nn.AvgPool2d(3, 2, 1), nn.MaxPool2d(2, 1), nn.AdaptiveAvgPool2d((3, 4)), nn.AdaptiveMaxPool2d(2)),
            *(nn.AvgPool2d(2, padding=1, count_include_pad=False), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 1, 1)),
        ),
        (1, 4, 13, 13),
    ),
    "functional_pools": (lambda: Function(_pools), (1, 4, 12, 12)),
    "upsample": (
        lambda: _sequential(
            *(nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(3, 1, 1)),
            *(nn.Upsample(size=(9, 9), mode="bicubic"), nn.UpsamplingNearest2d(scale_factor=2)),
        ),
        (1, 3, 4, 4),
    ),
    "functional_upsample": (lambda: Function(_resized), (1, 3, 8, 8)),
    "multihead": (lambda: Function(_attend, attention=nn.MultiheadAttention(8, 2, batch_first=True)), (1, 5, 8)),
    "multihead_weights": (
        lambda: Function(_attend_weights, attention=nn.MultiheadAttention(8, 2, batch_first=True, bias=False)),
        (1, 5, 8),
    ),
    "multihead_length_first": (lambda: Function(_attend, attention=nn.MultiheadAttention(8, 2)), (5, 1, 8)),
    "multihead_widths": (TwoInputs, (1, 5, 8)),
    "attention": (
        lambda: Function(lambda m, x: F.scaled_dot_product_attention(_heads(x), _heads(x), _heads(x))),
        (1, 5, 8),
    ),
    "matmuls": (lambda: Function(_matmuls), (1, 2, 5, 8)),
    "batched_matmuls": (lambda: Function(_batched), (1, 5, 8)),
    "broadcast_matmul": (lambda: Function(_broadcast), (1, 3, 5, 8)),
    "einsum": (lambda: Function(lambda m, x: torch.einsum("bhid,bhjd->bhij", x, x)), (1, 2, 5, 8)),
    "outer": (lambda: Function(lambda m, x: torch.einsum("bi,bj->bij", x, x)), (1, 5)),
    "functional_linear": (
        lambda: Function(lambda m, x: F.linear(x, m.inner.weight, m.inner.bias), inner=nn.Linear(8, 3)),
        (1, 5, 8),
    ),
    "functional_conv": (
        lambda: Function(lambda m, x: F.conv2d(x, m.inner.weight, m.inner.bias), inner=nn.Conv2d(3, 4, 3)),
        (1, 3, 8, 8),
    ),
    "elementwise": (lambda: Function(_elementwise), (1, 3, 4, 4)),
    "rnn": (lambda: Recurrent(nn.RNN(4, 6, batch_first=True)), (1, 5, 4)),
    "gru": (lambda: Recurrent(nn.GRU(4, 6, num_layers=2, bias=False, batch_first=True)), (1, 5, 4)),
    "lstm": (lambda: Recurrent(nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True)), (1, 5, 4)),
    "lstm_projected": (lambda: Recurrent(nn.LSTM(4, 6, proj_size=3, num_layers=2, batch_first=True)), (1, 5, 4)),
    "embedding": (lambda: _sequential(nn.Embedding(10, 4), nn.Linear(4, 2)), (1, 5)),
    "bilinear": (lambda: Function(lambda m, x: m.inner(x, x), inner=nn.Bilinear(4, 4, 3)), (1, 4)),
    "unused": (
        lambda: Function(lambda m, x: (m.inner(x), m.inner(m.inner(x)).mean(1), F.relu(x))[2], inner=nn.Linear(8, 8)),
        (1, 5, 8),
    ),
    "batch_of_two": (
        lambda: _sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2), nn.LayerNorm(2)),
        (2, 3, 8, 8),
    ),
    "transposed_1d": (lambda: _sequential(nn.ConvTranspose1d(3, 4, 3, stride=2), nn.Conv1d(4, 1, 1)), (1, 3, 7)),
    "transposed_3d": (lambda: _sequential(nn.ConvTranspose3d(2, 4, 2, groups=2), nn.Conv3d(4, 1, 1)), (1, 2, 3, 3, 3)),
    "circular": (lambda: _sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")), (1, 3, 8, 8)),
    "weight_norm": (
        lambda: _sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.Conv2d(4, 1, 1)),
        (1, 3, 8, 8),
    ),
    "deformable": (lambda: _Deformable(), (1, 3, 8, 8)),
    "grid_sample": (
        lambda: Function(lambda m, x: F.grid_sample(x, m.inner(x).permute(0, 2, 3, 1)), inner=nn.Conv2d(3, 2, 1)),
        (1, 3, 8, 8),
    ),
    "encoder": (lambda: _sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)), (1, 5, 8)),
    "multihead_masked": (
        lambda: Function(
            lambda m, x: m.inner(x, x, x, attn_mask=torch.ones(5, 5).triu(1).bool())[0],
            inner=nn.MultiheadAttention(8, 2, batch_first=True),
        ),
        (1, 5, 8),
    ),
    "multihead_odd": (lambda: Function(_attend, attention=nn.MultiheadAttention(9, 3, batch_first=True)), (1, 5, 9)),
    "attention_three_axes": (lambda: Function(lambda m, x: F.scaled_dot_product_attention(x, x, x)), (1, 5, 8)),
    "attention_bias": (
        lambda: Function(
            lambda m, x: F.scaled_dot_product_attention(_heads(x), _heads(x), _heads(x), m.inner.weight),
            inner=nn.Linear(5, 5),
        ),
        (1, 5, 8),
    ),
    "cells": (lambda: _Cells(), (3, 4)),
    "vector": (
        lambda: Function(lambda m, x: x @ m.inner.weight[0] + x.matmul(x[0, 0]), inner=nn.Linear(8, 1)),
        (1, 5, 8),
    ),
    "weight_first": (lambda: Function(lambda m, x: m.inner.weight @ x, inner=nn.Linear(5, 3)), (2, 5, 8)),
    "einsum_of_three": (lambda: Function(lambda m, x: torch.einsum("bi,bj,bk->ijk", x, x, x)), (2, 5)),
    "builtin_sum": (lambda: Function(lambda m, x: sum([m.inner(x), m.inner(x)]), inner=nn.Linear(8, 3)), (1, 8)),
    "shared_places": (lambda: _places(), (1, 3, 8, 8)),
    "shared": (
        lambda: Function(lambda m, x: m.conv(m.act(m.conv(m.act(x)))), conv=nn.Conv2d(3, 3, 3), act=nn.ReLU()),
        (1, 3, 8, 8),
    ),
}


#: Networks of which a tool counts by what no graph has, as its convention says.
EXCEPTED = {("net:same_padding", "fvcore"), ("net:same_padding", "torchprofile")}


def net(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network in inference mode, the same each time, and an input."""
    torch.manual_seed(0)
    make, shape = NETS[name]
    model = make().eval()
    x = torch.zeros(shape, dtype=torch.long) if name == "embedding" else torch.rand(shape)
    return model, x
