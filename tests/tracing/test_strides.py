"""Tensors of a trace lie as they do on a CPU: it takes what `view` takes there, and copies what is a copy there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from rfcalc.api import layer_graph
from rfcalc.errors import TraceError

Function = Callable[[Tensor], Any]

#: Shapes and strides that `Laid` met last.
MET: list[Any] = []


class Laid(nn.Module):
    """A function, and how what it gives lies."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> list[Tensor]:
        made = self.function(x)
        parts = [made] if isinstance(made, Tensor) else list(made)
        MET[:] = [
            (tuple(part.shape), [step for step, extent in zip(part.stride(), part.shape, strict=True) if extent > 1])
            for part in parts
        ]
        return [part * 1 for part in parts]


def _attended(x: Tensor, **settings: Any) -> Tensor:
    return F.scaled_dot_product_attention(x, x, x, **settings)


def _over_images(name: str) -> Function:
    """A convolution with a kernel of 1 pixel."""

    def run(x: Tensor) -> Tensor:
        rank, channels = x.ndim - 2, x.shape[1]
        shape = (3, channels) if "transpose" not in name else (channels, 3)
        made: Tensor = getattr(F, f"{name}{rank}d")(x, torch.ones(*shape, *[1] * rank))
        return made

    return run


def _fixed(x: Tensor) -> Tensor:
    return F.batch_norm(x, torch.zeros(x.shape[1]), torch.ones(x.shape[1]))


def _padded(mode: str) -> Function:
    return lambda x: F.pad(x, [1, 0] * (x.ndim - 2), mode=mode)


FUNCTIONS: dict[str, Function] = {
    "logsigmoid": F.logsigmoid,
    "rrelu": F.rrelu,
    "relu": F.relu,
    "power of a number": lambda x: 2**x,
    "square": lambda x: x**2,
    "sum of two layouts": lambda x: x + torch.ones(x.shape),
    "batch norm": _fixed,
    "batch norm of the batch": lambda x: F.batch_norm(x, None, None, training=True),
    "group norm": lambda x: F.group_norm(x, 2),
    "instance norm": F.instance_norm,
    "layer norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "response norm": lambda x: F.local_response_norm(x, 2),
    "softmax": lambda x: x.softmax(1),
    "convolution": _over_images("conv"),
    "transposed convolution": _over_images("conv_transpose"),
    "pooling": lambda x: getattr(F, f"max_pool{x.ndim - 2}d")(x, 2),
    "unpooling": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "channel shuffle": lambda x: F.channel_shuffle(x, 2),
    "reflected": _padded("reflect"),
    "replicated": _padded("replicate"),
    "rolled": lambda x: x.roll(1, -1),
    "rolled as one row": lambda x: x.roll(1),
    "filled by index": lambda x: x.index_fill(1, torch.tensor([0]), 0),
    "attention": _attended,
    "attention by heads": lambda x: _attended(x.transpose(1, 2)).transpose(1, 2),
    "causal attention by heads": lambda x: _attended(x.transpose(1, 2), is_causal=True),
    "masked attention by heads": lambda x: _attended(
        x.transpose(1, 2), attn_mask=torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)
    ),
    "grouped attention by heads": lambda x: F.scaled_dot_product_attention(
        (h := x.transpose(1, 2)), h[:, :1], h[:, :1], enable_gqa=True
    ),
    "attention with wider values": lambda x: F.scaled_dot_product_attention(
        (h := x.transpose(1, 2)), h, torch.cat([h, h], -1)
    ),
    "attention with one key for all": lambda x: F.scaled_dot_product_attention((h := x.transpose(1, 2)), h[:1], h[:1]),
    "singular vectors": torch.linalg.svd,
}

LAYOUTS: dict[str, Function] = {
    "contiguous": lambda x: x,
    "last two turned": lambda x: x.transpose(-1, -2),
    "turned": lambda x: x.transpose(1, 2),
    "reversed": lambda x: x.permute(*range(x.ndim - 1, -1, -1)),
    "channels last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "every second": lambda x: x[..., ::2],
    "repeated channels": lambda x: x[:, :1].expand(x.shape),
    "overlapping": lambda x: x.as_strided([4] * x.ndim, [3] * (x.ndim - 1) + [4]),
}


def _shapes() -> Iterator[tuple[int, ...]]:
    yield (2, 8, 6)
    yield (2, 8, 4, 6)
    yield (2, 4, 4, 4, 6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_tensors_lie_as_on_a_cpu(name: str, layout: str) -> None:
    compared = 0
    for shape in _shapes():
        net, x = Laid(lambda x: FUNCTIONS[name](LAYOUTS[layout](x))).eval(), torch.rand(shape)
        if "convolution" in name and x.ndim == 5:
            continue  # of volumes, it depends on how large they are
        try:
            with torch.no_grad():
                net(x)
        except (RuntimeError, ValueError, NotImplementedError):
            continue  # not of tensors of these axes
        real = list(MET)

        layer_graph(net, (x,))

        assert real == MET, shape
        compared += 1
    assert compared or name in ("unpooling", "pixel shuffle", "filled by index")


def test_attention_without_the_fused_kernel_is_contiguous() -> None:
    net, x = Laid(FUNCTIONS["attention by heads"]).eval(), torch.rand(2, 8, 4, 6)
    with sdpa_kernel(SDPBackend.MATH):
        with torch.no_grad():
            net(x)
        real = list(MET)

        layer_graph(net, (x,))

    assert real == MET == [((2, 8, 4, 6), [192, 6, 48, 1])]


def test_attention_is_laid_out_by_the_kernels_of_now_not_of_an_earlier_trace() -> None:
    net, x = Laid(FUNCTIONS["attention by heads"]).eval(), torch.rand(2, 8, 4, 6)
    layer_graph(net, (x,))
    fused = list(MET)
    with sdpa_kernel(SDPBackend.MATH):
        layer_graph(net, (x,))
        plain = list(MET)
    layer_graph(net, (x,))

    assert plain == [((2, 8, 4, 6), [192, 6, 48, 1])] != fused == MET


class Viewed(nn.Module):
    """What ``function`` gives, as one row for each sample."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x).view(x.shape[0], -1) * 2


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.scaled_dot_product_attention(*[x.transpose(1, 2)] * 3).transpose(1, 2),
        lambda x: _fixed(x.transpose(1, 2)),
        lambda x: F.one_hot((x.transpose(1, 2) > 0.5).long(), 2).float(),  # lies otherwise without numbers
    ],
)
def test_a_view_that_a_cpu_takes_is_taken(function: Function) -> None:
    net, x = Viewed(function).eval(), torch.rand(2, 8, 4, 6)
    assert net(x).ndim == 2

    graph = layer_graph(net, (x,))

    assert graph[graph.outputs[0].node].shape[0] == 2


def test_a_view_that_a_cpu_refuses_is_refused() -> None:
    net, x = Viewed(lambda x: x.transpose(1, 2)), torch.rand(2, 8, 4, 6)

    with pytest.raises(TraceError, match="view size is not compatible"):
        layer_graph(net, (x,))
