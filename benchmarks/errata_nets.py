"""What rows of `errata.py` need besides packages: a method of a model as its pass, and the networks of TF-Slim.

TF-Slim's networks (Silberman and Guadarrama, 2016) are for TensorFlow 1; here are their windows: kernels, strides and
paddings by end-point, one channel wide, branches joined by sums, which leaves receptive fields what they are. They have
one axis or two: along one axis a kernel of 1x7 is one of 7, or of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Through(nn.Module):
    """A module of which a function of it and its input is the pass: a method, or one part of the result."""

    def __init__(self, inner: nn.Module, call: Callable[..., Any] | str) -> None:
        super().__init__()
        self.inner = inner
        self.call = call

    def forward(self, x: Tensor) -> Any:
        return getattr(self.inner, self.call)(x) if isinstance(self.call, str) else self.call(self.inner, x)


class MimiTokens(nn.Module):
    """What Mimi makes of sound before it is quantized: its encoder, its transformer, and half of the rate."""

    def __init__(self, mimi: Any) -> None:
        super().__init__()
        self.encoder, self.transformer, self.downsample = mimi.encoder, mimi.encoder_transformer, mimi.downsample

    def forward(self, x: Tensor) -> Tensor:
        frames = self.transformer(self.encoder(x).transpose(1, 2)).last_hidden_state
        tokens: Tensor = self.downsample(frames.transpose(1, 2))
        return tokens


def i3d(network: Any, last: str, axis: int, leave: str = "") -> nn.Module:
    """The stages of Inception I3D up to ``last``, without ``leave``; its average pooling along one axis alone, so that
    an input may be short along the others."""
    names = [name for name in network.end_points if name not in (leave, "Logits")]
    if last != "avg_pool":
        names = names[: names.index(last) + 1]
    stages = [network.end_points[name] for name in names]
    if last == "avg_pool":
        size = network.avg_pool.kernel_size
        stages.append(nn.AvgPool3d([size[n] if n == axis else 1 for n in range(3)], 1))
    return nn.Sequential(*stages)


class ThinConv(nn.Module):
    """A dense convolution by one channel for all: what it reads is the same, and it costs little."""

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.of = (of,)  # no child: nothing of it runs

    def forward(self, x: Tensor) -> Tensor:
        of: Any = self.of[0]
        dims = len(of.kernel_size)
        padding = of.padding
        run = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
        mean = torch.full((1, 1, *of.kernel_size), 1 / prod(of.kernel_size), dtype=x.dtype)  # sums would overflow
        y = run(x.mean(1, keepdim=True), mean, None, of.stride, padding, of.dilation)
        return y.expand(-1, of.out_channels, *y.shape[2:])


def thinned(module: nn.Module) -> nn.Module:
    """The same module with every dense convolution in it one channel wide; in place."""
    for name, child in list(module.named_children()):
        kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        if isinstance(child, kinds) and child.groups == 1 and child.padding_mode == "zeros":
            setattr(module, name, ThinConv(child))
        else:
            thinned(child)
    return module


# --- TF-Slim ----------------------------------------------------------------------------------------------------------

#: A step: what ("conv", "max", "avg"), its kernel along the rows and the columns, stride, and padding: "same", "valid"
#: or a number on each side.
Step = tuple[str, int, int, int, "str | int"]
Branch = tuple[Step, ...]


class Window(nn.Module):
    """One step along one axis or two, padded as TensorFlow pads: by the size of what comes in."""

    def __init__(self, step: Step, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.what, self.stride, self.padding = step[0], step[3], step[4]
        self.kernel = tuple(step[1 + axis] for axis in axes)
        kind = (nn.Conv1d, nn.Conv2d)[len(axes) - 1]
        self.conv = kind(1, 1, self.kernel, self.stride, bias=False) if self.what == "conv" else None  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel in zip(reversed(x.shape[2:]), reversed(self.kernel), strict=True):
            pads += self._pads(size, kernel)
        if any(pads):
            x = F.pad(x, pads, value=-torch.inf if self.what == "max" else 0.0)
        if self.conv is not None:
            return self.conv(x)  # type: ignore[no-any-return]
        run = {"max": (F.max_pool1d, F.max_pool2d), "avg": (F.avg_pool1d, F.avg_pool2d)}[self.what]
        return run[len(self.kernel) - 1](x, self.kernel, self.stride)  # type: ignore[operator,no-any-return]

    def _pads(self, size: int, kernel: int) -> tuple[int, int]:
        if self.padding == "valid" or kernel == 1:
            return 0, 0
        if self.padding == "same":
            total = max((-(-size // self.stride) - 1) * self.stride + kernel - size, 0)
            return total // 2, total - total // 2
        assert isinstance(self.padding, int)
        return self.padding, self.padding


class Slim(nn.Module):
    """A network of TF-Slim by its name; gives its end-points by name. ``axes``: rows and columns, or one of them."""

    def __init__(self, name: str, axes: tuple[int, ...] = (0, 1)) -> None:
        super().__init__()
        self.names: list[str] = []
        self.stages = nn.ModuleList()
        for end, branches in NETWORKS[name]():
            self.names.append(end)
            self.stages.append(nn.ModuleList([self._branch(branch, axes) for branch in branches]))

    @staticmethod
    def _branch(branch: Branch, axes: tuple[int, ...]) -> nn.Module:
        return nn.Sequential(*[Window(step, axes) for step in branch])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        ends = {}
        for end, branches in zip(self.names, self.stages, strict=True):
            parts = [branch(x) for branch in branches]  # type: ignore[union-attr]
            least = [min(part.shape[axis] for part in parts) for axis in range(2, x.dim())]
            assert all(list(part.shape[2:]) == least for part in parts)
            x = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
            ends[end] = x
        return ends


def conv(rows: int, columns: int | None = None, stride: int = 1, padding: str | int = "same") -> Step:
    return "conv", rows, rows if columns is None else columns, stride, padding


def pool(kernel: int, stride: int = 1, padding: str = "same", what: str = "max") -> Step:
    return what, kernel, kernel, stride, padding


Network = Iterator[tuple[str, Sequence[Branch]]]
ONE = conv(1)


def alexnet_v2() -> Network:
    yield "alexnet_v2/conv1", [(conv(11, stride=4, padding="valid"),)]
    yield "alexnet_v2/pool1", [(pool(3, 2, "valid"),)]
    yield "alexnet_v2/conv2", [(conv(5),)]
    yield "alexnet_v2/conv3", [(pool(3, 2, "valid"), conv(3))]
    yield "alexnet_v2/conv4", [(conv(3),)]
    yield "alexnet_v2/conv5", [(conv(3),)]
    yield "alexnet_v2/pool5", [(pool(3, 2, "valid"),)]


def vgg(name: str, counts: Sequence[int]) -> Network:
    for block, count in enumerate(counts, 1):
        for n in range(1, count + 1):
            yield f"{name}/conv{block}/conv{block}_{n}", [(conv(3),)]
        yield f"{name}/pool{block}", [(pool(2, 2, "valid"),)]


def mobilenet_v1() -> Network:
    yield "Conv2d_0", [(conv(3, stride=2),)]
    for n, stride in enumerate((1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1), 1):
        yield f"Conv2d_{n}_pointwise", [(conv(3, stride=stride), ONE)]


def resnet(name: str, units: Sequence[int]) -> Network:
    """Strides are in the last unit of a block, where the shortcut takes every second position."""
    yield "stem", [(conv(7, stride=2, padding=3), pool(3, 2))]
    for block, count in enumerate(units, 1):
        for n in range(1, count + 1):
            stride = 2 if n == count and block < 4 else 1
            middle = conv(3, stride=stride, padding=1 if stride == 2 else "same")
            end = f"{name}/block{block}" + ("" if n == count else f"/unit_{n}")
            yield end, [(ONE, middle, ONE), (conv(1, stride=stride),)]


def inception_v2() -> Network:
    yield "Conv2d_1a_7x7", [(conv(7, stride=2),)]
    yield "MaxPool_2a_3x3", [(pool(3, 2),)]
    yield "Conv2d_2b_1x1", [(ONE,)]
    yield "Conv2d_2c_3x3", [(conv(3),)]
    yield "MaxPool_3a_3x3", [(pool(3, 2),)]
    usual: Sequence[Branch] = [(ONE,), (ONE, conv(3)), (ONE, conv(3), conv(3)), (pool(3, what="avg"), ONE)]
    smaller: Sequence[Branch] = [(ONE, conv(3, stride=2)), (ONE, conv(3), conv(3, stride=2)), (pool(3, 2),)]
    for end in ("3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b", "5c"):
        yield f"Mixed_{end}", smaller if end in ("4a", "5a") else usual


def _stem_v3() -> Network:
    yield "Conv2d_1a_3x3", [(conv(3, stride=2, padding="valid"),)]
    yield "Conv2d_2a_3x3", [(conv(3, padding="valid"),)]
    yield "Conv2d_2b_3x3", [(conv(3),)]


def _stem_pools(padding: str) -> Network:
    yield "MaxPool_3a_3x3", [(pool(3, 2, padding),)]
    yield "Conv2d_3b_1x1", [(ONE,)]
    yield "Conv2d_4a_3x3", [(conv(3, padding=padding),)]
    yield "MaxPool_5a_3x3", [(pool(3, 2, padding),)]


AVERAGE: Branch = (pool(3, what="avg"), ONE)
#: Factorized into rows and columns; along one axis two kernels of 7 each.
SEVENS: Branch = (ONE, conv(7, 1), conv(1, 7), conv(7, 1), conv(1, 7))


def inception_v3() -> Network:
    yield from _stem_v3()
    yield from _stem_pools("valid")
    for end in ("5b", "5c", "5d"):
        yield f"Mixed_{end}", [(ONE,), (ONE, conv(5)), (ONE, conv(3), conv(3)), AVERAGE]
    down = conv(3, stride=2, padding="valid")
    yield "Mixed_6a", [(down,), (ONE, conv(3), down), (pool(3, 2, "valid"),)]
    for end in ("6b", "6c", "6d", "6e"):
        yield f"Mixed_{end}", [(ONE,), (ONE, conv(1, 7), conv(7, 1)), SEVENS, AVERAGE]
    yield "Mixed_7a", [(ONE, down), (ONE, conv(1, 7), conv(7, 1), down), (pool(3, 2, "valid"),)]
    for end in ("7b", "7c"):
        yield (
            f"Mixed_{end}",
            [
                *[(ONE,), (ONE, conv(1, 3)), (ONE, conv(3, 1))],
                *[(ONE, conv(3), conv(1, 3)), (ONE, conv(3), conv(3, 1)), AVERAGE],
            ],
        )


def inception_v4() -> Network:
    yield from _stem_v3()
    down = conv(3, stride=2, padding="valid")
    yield "Mixed_3a", [(pool(3, 2, "valid"),), (down,)]
    last = conv(3, padding="valid")
    yield "Mixed_4a", [(ONE, last), (ONE, conv(1, 7), conv(7, 1), last)]
    yield "Mixed_5a", [(down,), (pool(3, 2, "valid"),)]
    for end in ("5b", "5c", "5d", "5e"):
        yield f"Mixed_{end}", [(ONE,), (ONE, conv(3)), (ONE, conv(3), conv(3)), AVERAGE]
    yield "Mixed_6a", [(down,), (ONE, conv(3), down), (pool(3, 2, "valid"),)]
    for end in ("6b", "6c", "6d", "6e", "6f", "6g", "6h"):
        yield f"Mixed_{end}", [(ONE,), (ONE, conv(1, 7), conv(7, 1)), SEVENS, AVERAGE]
    yield "Mixed_7a", [(ONE, down), (ONE, conv(1, 7), conv(7, 1), down), (pool(3, 2, "valid"),)]
    deep = (ONE, conv(3, 1), conv(1, 3))
    for end in ("7b", "7c", "7d"):
        yield (
            f"Mixed_{end}",
            [
                *[(ONE,), (ONE, conv(1, 3)), (ONE, conv(3, 1))],
                *[(*deep, conv(1, 3)), (*deep, conv(3, 1)), AVERAGE],
            ],
        )


def inception_resnet_v2(same: bool = False) -> Network:
    """10, 20 and 10 residual modules; ``same``: feature maps aligned, every padding "same"."""
    padding = "same" if same else "valid"
    down = conv(3, stride=2, padding=padding)
    yield "Conv2d_1a_3x3", [(down,)]
    yield "Conv2d_2a_3x3", [(conv(3, padding=padding),)]
    yield "Conv2d_2b_3x3", [(conv(3),)]
    yield from _stem_pools(padding)
    yield "Mixed_5b", [(ONE,), (ONE, conv(5)), (ONE, conv(3), conv(3)), AVERAGE]
    for n in range(10):
        yield f"Repeat/block35_{n + 1}", [(ONE,), (ONE, conv(3), ONE), (ONE, conv(3), conv(3), ONE)]
    yield "Mixed_6a", [(down,), (ONE, conv(3), down), (pool(3, 2, padding),)]
    for n in range(20):
        end = "PreAuxLogits" if n == 19 else f"Repeat_1/block17_{n + 1}"
        yield end, [(ONE,), (ONE, conv(1, 7), conv(7, 1), ONE)]
    yield "Mixed_7a", [(ONE, down), (ONE, down), (ONE, conv(3), down), (pool(3, 2, padding),)]
    for n in range(10):
        yield f"Repeat_2/block8_{n + 1}", [(ONE,), (ONE, conv(1, 3), conv(3, 1), ONE)]
    yield "Conv2d_7b_1x1", [(ONE,)]


NETWORKS: dict[str, Callable[[], Network]] = {
    "alexnet_v2": alexnet_v2,
    "vgg_a": lambda: vgg("vgg_a", (1, 1, 2, 2, 2)),
    "vgg_16": lambda: vgg("vgg_16", (2, 2, 3, 3, 3)),
    "inception_v2": inception_v2,
    "inception_v2-no-separable-conv": inception_v2,
    "inception_v3": inception_v3,
    "inception_v4": inception_v4,
    "inception_resnet_v2": inception_resnet_v2,
    "inception_resnet_v2-same": lambda: inception_resnet_v2(True),
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v1_075": mobilenet_v1,
}
for _version in ("v1", "v2"):
    for _depth, _units in {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}.items():
        _name = f"resnet_{_version}_{_depth}"
        NETWORKS[_name] = lambda name=_name, units=_units: resnet(name, units)  # type: ignore[misc]


def without(module: nn.Module, kind: str) -> nn.Module:
    """The module with every layer of a class left out; in place."""
    for name, child in list(module.named_children()):
        if type(child).__name__ == kind:
            setattr(module, name, nn.Identity())
        else:
            without(child, kind)
    return module
