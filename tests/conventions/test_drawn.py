"""Random small layers through every tool that is installed: equal to the unit, or as the convention says of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rfcalc.api import layer_graph
from rfcalc.conventions import count
from tests.conventions.nets import Function, Recurrent
from tests.conventions.tools import TOOLS, quiet, unchanged

Drawn = tuple[nn.Module, tuple[int, ...]]
HERE = [tool for tool in TOOLS.values() if tool.fits]
EACH = 2  #: layers of each kind


def _spatial(rng: Random, least: int = 5) -> tuple[int, ...]:
    return tuple(rng.randint(least, 8) for _ in range(rng.randint(1, 3)))


def _batch(rng: Random) -> tuple[int, ...]:
    """A batch of one, two or none."""
    return rng.choice([(1,), (1,), (2,), ()])


def _of(home: Any, name: str, axes: int) -> Any:
    return getattr(home, f"{name}{axes}d")


def conv(rng: Random) -> Drawn:
    axes, groups = _spatial(rng), rng.choice([1, 2])
    settings = {"stride": rng.randint(1, 2), "padding": rng.randint(0, 2), "bias": rng.random() < 0.5}
    layer = _of(nn, "Conv", len(axes))(4, 6, rng.randint(1, 3), groups=groups, dilation=rng.randint(1, 2), **settings)
    return nn.Sequential(layer), (*_batch(rng), 4, *axes)


def conv_transpose(rng: Random) -> Drawn:
    axes = _spatial(rng)
    settings = {"stride": rng.randint(1, 2), "groups": rng.choice([1, 2]), "bias": rng.random() < 0.5}
    layer = _of(nn, "ConvTranspose", len(axes))(4, 6, 3, **settings)
    return nn.Sequential(layer), (rng.randint(1, 2), 4, *axes)


def pool(rng: Random) -> Drawn:
    axes, kind = _spatial(rng), rng.choice(["AvgPool", "MaxPool", "AdaptiveAvgPool", "AdaptiveMaxPool"])
    return nn.Sequential(_of(nn, kind, len(axes))(2)), (*_batch(rng), 4, *axes)


def power_pool(rng: Random) -> Drawn:
    axes = _spatial(rng)
    return nn.Sequential(_of(nn, "LPPool", len(axes))(rng.randint(1, 3), 2)), (rng.randint(1, 2), 4, *axes)


def norm(rng: Random) -> Drawn:
    axes, affine = _spatial(rng), rng.random() < 0.5
    layer = _of(nn, rng.choice(["BatchNorm", "InstanceNorm"]), len(axes))(4, affine=affine)
    return nn.Sequential(layer), (rng.randint(1, 2), 4, *axes)


def other_norm(rng: Random) -> Drawn:
    layer = rng.choice([nn.GroupNorm(2, 4), nn.LayerNorm(8), nn.LayerNorm(8, bias=False), nn.RMSNorm(8)])
    return nn.Sequential(layer), (rng.randint(1, 2), 4, 8)


def response_norm(rng: Random) -> Drawn:
    return nn.Sequential(nn.LocalResponseNorm(rng.randint(1, 5))), (rng.randint(1, 2), 6, *_spatial(rng))


def activation(rng: Random) -> Drawn:
    kinds = (nn.ReLU, nn.PReLU, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Hardswish, nn.Tanh, nn.Softplus, nn.Mish)
    return nn.Sequential(rng.choice(kinds)(), nn.Softmax(1)), (*_batch(rng), 4, *_spatial(rng))


def linear(rng: Random) -> Drawn:
    shape = [rng.randint(1, 3) for _ in range(rng.randint(0, 3))]
    return nn.Sequential(nn.Linear(8, 5, bias=rng.random() < 0.5)), (*shape, 8)


def recurrent(rng: Random) -> Drawn:
    kind = rng.choice([nn.RNN, nn.GRU, nn.LSTM])
    settings: dict[str, Any] = {"bidirectional": rng.random() < 0.5, "bias": rng.random() < 0.5}
    settings.update(num_layers=rng.randint(1, 2), batch_first=True)
    if kind is nn.LSTM and rng.random() < 0.3:
        settings["proj_size"] = 3
    return Recurrent(kind(4, 6, **settings)), (*_batch(rng), 5, 4)


def cell(rng: Random) -> Drawn:
    layer = rng.choice([nn.RNNCell, nn.GRUCell])(4, 6, bias=rng.random() < 0.5)
    return nn.Sequential(layer), (*_batch(rng), 4)


def multihead(rng: Random) -> Drawn:
    first = rng.random() < 0.7
    added = {"add_bias_kv": rng.random() < 0.4, "add_zero_attn": rng.random() < 0.4, "bias": rng.random() < 0.7}
    layer, weights = nn.MultiheadAttention(8, 2, batch_first=first, **added), rng.random() < 0.5
    attend = Function(lambda m, x: m.inner(x, x, x, need_weights=weights)[0], inner=layer)
    return attend, ((1, 5, 8) if first else (5, rng.randint(1, 2), 8))


def attention(rng: Random) -> Drawn:
    shape = (*(rng.randint(1, 3) for _ in range(rng.randint(0, 3))), 5, 8)
    causal = rng.random() < 0.5
    return Function(lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=causal)), shape


#: Products by every name that they have; x has the shape (2, 5, 8), w (3, 8).
_PRODUCTS: tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], ...] = (
    lambda x, w: x[0, 0] @ w.t(),
    lambda x, w: w @ x[0, 0],
    lambda x, w: x @ w[0],
    lambda x, w: torch.matmul(x[0, :, 0], x[0]),
    lambda x, w: x[0].matmul(x[0, 0]),
    lambda x, w: torch.mv(x[0], x[0, 0]),
    lambda x, w: torch.dot(x[0, 0], x[0, 1]),
    lambda x, w: torch.addmv(x[0, :, 0], x[0], x[0, 0]),
    lambda x, w: torch.outer(x[0, 0], x[0, 1]),
    lambda x, w: torch.addmm(w[:, 0], x[0], w.t()),
    lambda x, w: torch.baddbmm(x[:, :5, :5], x, x.mT),
    lambda x, w: x.bmm(x.mT),
    lambda x, w: torch.matmul(x[:1], x.mT),
    lambda x, w: w @ x.mT,
    lambda x, w: x @ w.t(),
    lambda x, w: torch.einsum("bij,bkj->bik", x, x),
    lambda x, w: torch.einsum("bij,kj->bik", x, w),
    lambda x, w: torch.einsum("bi,bj->bij", x[:, 0], x[:, 1]),
    lambda x, w: torch.tensordot(x, x, dims=([2], [2])),
    lambda x, w: F.linear(x, w),
    lambda x, w: F.cosine_similarity(x, x + 1),
)


def product(rng: Random) -> Drawn:
    run = rng.choice(_PRODUCTS)
    return Function(lambda m, x: run(x, m.inner.weight), inner=nn.Linear(8, 3)), (2, 5, 8)


def resized(rng: Random) -> Drawn:
    mode = rng.choice(["nearest", "bilinear", "bicubic"])
    return nn.Sequential(nn.Upsample(scale_factor=rng.randint(2, 3), mode=mode)), (rng.randint(1, 2), 3, 4, 4)


KINDS = (conv, conv_transpose, pool, power_pool, norm, other_norm, response_norm, activation, linear, recurrent, cell)
KINDS += (multihead, attention, product, product, product, resized)


def told(layer: nn.Module, shape: tuple[int, ...]) -> list[str]:
    """The tools whose number is not what their convention says."""
    layer.eval()
    x = torch.rand(shape)
    with quiet():
        graph = layer_graph(layer, (x,))
    wrong = []
    for tool in HERE:
        tally = count(graph, tool.name)
        if "batch of 1" in tally.refused:
            continue
        printed: int | None
        with quiet(), unchanged():
            try:
                printed = tool.run(copy.deepcopy(layer), [x.clone()])
            except Exception:
                printed = None
        if printed != (None if tally.refused else tally.printed):
            wrong.append(f"{tool.name} prints {printed}, explained {tally.printed} {tally.refused}: {layer} of {shape}")
    return wrong


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_every_tool_on_layers_drawn_at_random(number: int) -> None:
    rng = Random(number)

    assert [text for _ in range(EACH) for text in told(*KINDS[number](rng))] == []


def test_a_tool_that_raises_leaves_torch_as_it_was() -> None:
    before = torch.matmul, F.conv2d, torch.Tensor.matmul

    with unchanged():
        torch.matmul, F.conv2d, torch.Tensor.matmul = F.conv2d, torch.matmul, torch.matmul

    assert (torch.matmul, F.conv2d, torch.Tensor.matmul) == before
