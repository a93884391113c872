"""What must not matter: the names of the axes, how large the image is, where it begins, and how many there are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rfcalc import analyze
from rfcalc.analyses.results import Layer, ReceptiveField


class Net(nn.Module):
    """A function of an image of 4 channels and of what was done to it before, with a convolution first."""

    def __init__(self, function: Callable[[Tensor], Tensor], before: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 3, padding=1)
        self.function, self.before = function, before

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.stem(self.before(x)))


def pyramid(x: Tensor) -> Tensor:
    """Convolutions with holes side by side, of which one half goes on."""
    weight = torch.ones(4, 4, 3, 3, device=x.device)
    made = torch.cat([functional.conv2d(x, weight, padding=d, dilation=d) for d in (1, 2, 5)], 1)
    return functional.avg_pool2d(made[:, :6], (2, 1))


def unet(x: Tensor) -> Tensor:
    deep = functional.max_pool2d(functional.avg_pool2d(x, 4), 3, 1, 1)
    up = functional.interpolate(deep, scale_factor=4, mode="bilinear")
    return functional.max_pool2d(torch.cat([up, x], 1), 3, 1, 1)


def cut(x: Tensor) -> Tensor:
    """Windows of 4 x 2 pixels: (windows, positions, channels)."""
    _, channels, height, width = x.shape
    parts = x.reshape(1, channels, height // 4, 4, width // 2, 2).permute(0, 2, 4, 3, 5, 1)
    return parts.reshape(-1, 8, channels)


def put_back(x: Tensor, height: int, width: int) -> Tensor:
    parts = x.reshape(1, height // 4, width // 2, 4, 2, -1).permute(0, 5, 1, 3, 2, 4)
    return parts.reshape(1, -1, height, width)


def windows(x: Tensor) -> Tensor:
    """Attention in windows, then a convolution across them."""
    tokens = cut(x)
    made = (tokens @ tokens.transpose(1, 2)).softmax(2) @ tokens
    return functional.max_pool2d(put_back(made, *x.shape[2:]), 3, 1, 1)


def gated(x: Tensor) -> Tensor:
    return functional.max_pool2d(x * x.mean((2, 3), keepdim=True).sigmoid(), 3, 2, 1)


def tokens(x: Tensor) -> Tensor:
    """Patches in one row, as of a transformer, without attention."""
    patches = functional.avg_pool2d(x, (4, 2)).flatten(2).transpose(1, 2)
    return functional.layer_norm(patches, (4,))


def heads(x: Tensor) -> Tensor:
    """Poolings of two sizes, larger than the image, each a head, over positions in one row."""
    near, far = (functional.max_pool2d(gated(x), size, 1, size // 2) for size in (41, 61))
    return torch.cat([near, far], 1).reshape(1, 2, 4, -1)


def upside_down(x: Tensor) -> Tensor:
    return functional.max_pool2d(x.flip(2), (3, 1), (2, 1)) + 1


#: Nets that slide over an image of any size.
SLIDING = {"pyramid": pyramid, "unet": unet, "gated": gated, "windows": windows, "tokens": tokens, "heads": heads}
NETS = SLIDING | {"upside down": upside_down}


def fields_of(net: nn.Module, *shape: int) -> list[ReceptiveField]:
    """The field of every op after the convolution in front."""
    ops: list[Layer] = list(analyze(net.to("meta").eval(), shape).ops)
    first = next(at for at, op in enumerate(ops) if op.kind == "conv")
    return [op.receptive_field for op in ops[first:]]


def along(field: ReceptiveField, axis: int) -> tuple[object, ...]:
    """All that is said of one axis."""
    said = (field.size, field.size_min, field.local_size, field.period)
    windowed = (field.stride, field.start, field.center, field.samples, field.reach)
    return (*[both[axis] for both in said], *[both and both[axis] for both in windowed])


@pytest.mark.parametrize("name", NETS)
def test_axes_that_change_places_change_what_is_said_of_them(name: str) -> None:
    """The same on an image that lies on its side, and is set up again in front of the net."""
    upright = fields_of(Net(NETS[name]), 1, 4, 32, 24)
    lying = fields_of(Net(NETS[name], lambda x: x.transpose(2, 3)), 1, 4, 24, 32)

    assert [(along(field, 0), along(field, 1)) for field in upright] == [
        (along(field, 1), along(field, 0)) for field in lying
    ]
    for field, turned in zip(upright, lying, strict=True):
        assert (field.status, field.whole_input, field.places) == (turned.status, turned.whole_input, turned.places)
        assert len(field.context) == len(turned.context)


@pytest.mark.parametrize("name", SLIDING)
def test_windows_do_not_depend_on_the_size_of_the_image(name: str) -> None:
    """Of an image that is twice as wide. Without a window sizes are cut at the borders; local ones are not."""
    small, wide = (fields_of(Net(NETS[name]), 1, 4, 32, width) for width in (32, 64))

    for field, other in zip(small, wide, strict=True):
        for axis in (0, 1):
            if field.context:
                assert field.local_size[axis] == other.local_size[axis]
            elif field.stride and field.stride[axis] is not None:
                assert along(field, axis) == along(other, axis)


@pytest.mark.parametrize("name", ["pyramid", "unet", "windows"])
@pytest.mark.parametrize("by", [4, -8])
def test_an_image_that_is_moved_is_seen_elsewhere(name: str, by: int) -> None:
    """Every window begins that much earlier; what it spans and reads is as it was."""
    still = fields_of(Net(NETS[name]), 1, 4, 32, 32)
    moved = fields_of(Net(NETS[name], lambda x: functional.pad(x, (0, 0, by, -by))), 1, 4, 32, 32)

    for field, other in zip(still, moved, strict=True):
        assert (field.size, field.stride, field.samples) == (other.size, other.stride, other.samples)
        if field.start is not None and other.start is not None:
            assert other.start == (field.start[0] - by, field.start[1])


@pytest.mark.parametrize("name", ["pyramid", "unet", "gated"])
def test_fields_do_not_depend_on_the_batch(name: str) -> None:
    one, two = (fields_of(Net(NETS[name]), batch, 4, 32, 24) for batch in (1, 2))

    assert one == two
