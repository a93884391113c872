"""What ops give without numbers lies in memory as their kernels lay it: strides, and the size of storages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import rfcalc
from rfcalc.footprint.worlds import Fake
from rfcalc.tracing.tensors import tensors_in_args

aten = torch.ops.aten
Asked = tuple[Callable[..., Any], list[tuple[tuple[int, ...], tuple[int, ...]]]]

#: Ops, with shapes and strides of what they are given.
OPS: dict[str, Asked] = {
    "a view of the same shape": (lambda x: x.view(2, 1, 8, 4), [((2, 1, 8, 4), (32, 4, 4, 1))]),
    "a view without an axis": (lambda x: x.view(2, 1, 16), [((2, 1, 1, 16), (16, 7, 5, 1))]),
    "an unsafe view": (lambda x: aten._unsafe_view(x, (2, 1, 16)), [((2, 1, 1, 16), (16, 7, 5, 1))]),
    "a view of another type": (lambda x: x.view(torch.int32), [((2, 1, 4), (4, 4, 1))]),
    "the way back of a norm": (
        lambda grad, x, mean, rstd, weight: aten.native_layer_norm_backward(
            grad, x, [4], mean, rstd, weight, weight, [True, True, True]
        ),
        [*2 * [((2, 3, 4), (12, 1, 3))], *2 * [((2, 3, 1), (3, 1, 1))], ((4,), (1,))],
    ),
    "the way back of a norm that is frozen": (
        lambda grad, x, mean, rstd, weight: aten.native_layer_norm_backward(
            grad, x, [4], mean, rstd, weight, weight, [False, True, True]
        ),
        [((2, 3, 4), (12, 1, 3)), ((2, 3, 4), (12, 4, 1)), *2 * [((2, 3, 1), (3, 1, 1))], ((4,), (1,))],
    ),
    "columns that overlap": (
        lambda x: aten.col2im(x, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1)),
        [((2, 18, 36), (648, 36, 1))],
    ),
    "a loss": (lambda x, y: aten.mse_loss(x, y), [((2, 3), (3, 1)), ((2, 3), (3, 1))]),
    "a loss of each": (lambda x, y: aten.mse_loss(x, y, 0), [((2, 3), (3, 1)), ((3,), (1,))]),
    "a sum of losses": (lambda x, y: aten.smooth_l1_loss(x, y, 2), [((2, 3), (3, 1)), ((3,), (1,))]),
    "a loss of chances": (lambda x, y: aten.binary_cross_entropy(x, y), [((5,), (1,)), ((5,), (1,))]),
    "a loss at a margin": (lambda x, y: aten.soft_margin_loss(x, y), [((5,), (1,)), ((5,), (1,))]),
    "another loss": (lambda x, y: aten.huber_loss(x, y), [((5,), (1,)), ((5,), (1,))]),
    "numbers of one pixel each": (lambda x: x.relu(), [((2, 8, 1, 1), (8, 1, 8, 8))]),
    "a sum of pixels": (lambda x, y: x + y, [((2, 8, 1, 1), (8, 1, 1, 1)), ((2, 8, 1, 1), (8, 1, 8, 8))]),
    "a sum with a number": (lambda x: x + 1, [((2, 8, 1, 1), (8, 1, 8, 8))]),
    "a copy in a format": (
        lambda x: x.contiguous(memory_format=torch.channels_last),
        [((1, 8, 4, 6), (192, 24, 6, 1))],
    ),
    "groups with channels last": (
        lambda x: functional.group_norm(x, 2),
        [((2, 8, 4, 6), (192, 1, 48, 8))],
    ),
    "a norm of what was turned": (
        lambda x: functional.batch_norm(x, None, None, training=True),
        [((2, 8, 4, 6), (192, 24, 1, 4))],
    ),
    "a norm of one sample with channels last": (
        lambda x: functional.batch_norm(x, None, None, training=True),
        [((1, 8, 4, 6), (8, 1, 48, 8))],
    ),
    "a transposed convolution of fewer numbers": (
        lambda x, weight: functional.conv_transpose3d(x, weight),
        [((1, 8, 3, 3, 3), (216, 27, 9, 3, 1)), ((8, 2, 1, 1, 1), (2, 1, 1, 1, 1))],
    ),
    "a transposed convolution of more": (
        lambda x, weight: functional.conv_transpose3d(x, weight, stride=2),
        [((1, 2, 3, 3, 3), (54, 27, 9, 3, 1)), ((2, 2, 2, 2, 2), (16, 8, 4, 2, 1))],
    ),
    "a transposed convolution in groups": (
        lambda x, weight: functional.conv_transpose3d(x, weight, groups=2),
        [((1, 8, 3, 3, 3), (216, 27, 9, 3, 1)), ((8, 1, 1, 1, 1), (1, 1, 1, 1, 1))],
    ),
    "products of groups": (
        lambda x, y: torch._grouped_mm(x, y, offs=torch.tensor([2, 6], dtype=torch.int32)),
        [((6, 8), (8, 1)), ((2, 8, 6), (48, 1, 8))],
    ),
    "a norm whose input needs no gradient": (
        lambda grad, x, weight, mean, std: aten.native_batch_norm_backward(
            grad, x, weight, None, None, mean, std, True, 1e-5, [False, True, True]
        ),
        [*2 * [((2, 4, 3), (12, 3, 1))], *3 * [((4,), (1,))]],
    ),
    "columns with gaps": (lambda x: aten.col2im(x, (6, 6), (1, 1), (1, 1), (0, 0), (2, 2)), [((2, 2, 9), (18, 9, 1))]),
}


def layout(result: Any) -> list[tuple[Any, ...]]:
    return [
        (tuple(one.shape), one.dtype, one.stride(), one.storage_offset(), one.untyped_storage().nbytes())
        for one in tensors_in_args((result,))
    ]


@pytest.mark.parametrize("name", OPS)
def test_without_numbers_as_with_them(name: str) -> None:
    op, given = OPS[name]
    numbers = [torch.empty_strided(shape, strides).fill_(0.5) for shape, strides in given]
    world = Fake(lenient=True)
    stand = [world.input(one) for one in numbers]
    with torch.no_grad(), world.mode():
        found = op(*stand)

    assert layout(found) == layout(op(*numbers))


HALF, FULL = torch.bfloat16, torch.float32
#: Norms of 4 channels, by what they are given: numbers, a weight and moving statistics, each with its type or None.
NORMS: dict[str, Callable[..., Any]] = {
    "batch": lambda x, weight, stats: aten.native_batch_norm(x, weight, weight, stats, stats, True, 0.1, 1e-5),
    "groups": lambda x, weight, stats: aten.native_group_norm(x, weight, weight, 2, 4, 9, 2, 1e-5),
    "layer": lambda x, weight, stats: aten.native_layer_norm(x.mT, [4], weight, weight, 1e-5),
    "weight": lambda x, weight, stats: aten._weight_norm_interface(x, x[:, :1, :1].clone(), 0),
}
#: Their ways back, from what they gave.
BACK: dict[str, Callable[..., Any]] = {
    "batch": lambda x, weight, stats, y, mean, std: aten.native_batch_norm_backward(
        y, x, weight, stats, stats, mean, std, True, 1e-5, [True, True, True]
    ),
    "groups": lambda x, weight, stats, y, mean, std: aten.native_group_norm_backward(
        y, x, mean, std, weight, 2, 4, 9, 2, [True, *2 * [weight is not None]]
    ),
    "layer": lambda x, weight, stats, y, mean, std: aten.native_layer_norm_backward(
        y, x.mT, [4], mean, std, weight, weight, [True, *2 * [weight is not None]]
    ),
}


@pytest.mark.parametrize("kinds", [(HALF, FULL, FULL), (HALF, HALF, HALF), (HALF, None, FULL), (HALF, None, None)])
@pytest.mark.parametrize("norm", NORMS)
def test_statistics_have_the_type_of_the_parameters(norm: str, kinds: tuple[torch.dtype | None, ...]) -> None:
    numbers = torch.rand(2, 4, 9).to(HALF)
    given = [numbers, *(None if kind is None else torch.ones(4, dtype=kind) for kind in kinds[1:])]
    seen = list(NORMS[norm](*given))
    if norm in BACK:
        seen += BACK[norm](*given, *seen)

    world = Fake(lenient=True)
    stand = [None if one is None else world.input(one) for one in given]
    with torch.no_grad(), world.mode():
        found = list(NORMS[norm](*stand))
        if norm in BACK:
            found += BACK[norm](*stand, *found)

    assert layout(found) == layout(seen)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("last", [False, True])
def test_bags_of_rows(mode: str, last: bool) -> None:
    number = ("sum", "mean", "max").index(mode)
    given = [torch.rand(9, 6), torch.zeros(6, dtype=torch.int64), torch.tensor([0, 2, 6])]
    for op in (aten._embedding_bag, aten._embedding_bag_forward_only):
        world = Fake(lenient=True)
        stand = [world.input(one) for one in given]
        with torch.no_grad(), world.mode():
            found = op(*stand, False, number, False, None, last)

        assert [one[-1] for one in layout(found)] == [
            one[-1] for one in layout(op(*given, False, number, False, None, last))
        ]


class Folded(nn.Module):
    """Overlapping patches that are put back, a norm over what was transposed, keys of one token."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear, self.mix = nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = functional.unfold(x, 3, padding=1) * 2
        x = functional.fold(patches, (4, 4), 3, padding=1)
        x = self.norm(x.flatten(2).transpose(1, 2))
        key, value = self.linear(x.mean(1, keepdim=True)).view(2, 1, 2, 1, 4).permute(2, 0, 3, 1, 4)
        x = functional.scaled_dot_product_attention(x[:, None], key, value)
        return self.mix(x.transpose(1, 2).reshape(2, 16, 4))


class Gated(Folded):
    """The same where an in-place op on a view is differentiated, for which ordinary tensors stand."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward(x).clone()
        x[:, 0].mul_(2)
        return x


class Mixed(nn.Module):
    """Norms of 32 bits of what autocast makes of 16, and one of an input that needs no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.norm = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        self.groups = nn.GroupNorm(2, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.groups(self.norm(self.conv(self.first(x))))


@pytest.mark.parametrize("kind", [Folded, Gated, Mixed])
def test_a_network_of_them(kind: type[nn.Module]) -> None:
    found = rfcalc.memory(kind(), (2, 4, 4, 4), training=True, optimizer="sgd", verify=True)

    assert found.witness is not None
    assert [(one.what, one.differences) for one in found.witness.checks if not one.agree] == []
    assert not any("real" in notice for notice in found.notices)
