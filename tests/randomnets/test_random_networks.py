"""Every position of every tensor of random networks against brute force, and one case for each bug that was found."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.randomnets import kinds_mixing
from tests.randomnets.brute import check
from tests.randomnets.draw import Net, draw
from tests.randomnets.kinds import KINDS, Fn

EXAMPLES = 150


def _agrees(net: Net, inputs: list[torch.Tensor], seed: int = 0) -> None:
    outcome = check(net, inputs, seed)
    text = "\n".join(map(str, outcome.differences))
    assert not outcome.differences, f"inputs {[tuple(x.shape) for x in inputs]}\n{net.describe()}\n{text}"


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(st.randoms(use_true_random=False))
def test_random_networks(rng: Random) -> None:
    net, inputs = draw(rng)
    _agrees(net, inputs)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_of_op(name: str) -> None:
    """Each kind alone, on the first seed that draws it."""
    for seed in range(200):
        net, inputs = draw(Random(seed), must=[name], among=[name], most=1)
        if net.layers:
            break
    assert [kind.name for kind in net.kinds] == [name]
    _agrees(net, inputs)


# --- bugs that random networks found, each as the smallest module that shows it ---------------------------------------


def _net(layer: nn.Module, *shapes: tuple[int, ...], kind: str = "conv") -> tuple[Net, list[torch.Tensor]]:
    net = Net(len(shapes)).double().eval()
    net.add(layer.double().eval(), range(len(shapes)), KINDS[kind])
    return net, [torch.ones(shape, dtype=torch.float64) for shape in shapes]


def test_reflecting_at_one_end_and_cropping_at_the_other() -> None:
    """What is cropped at one end is still reflected at the other."""
    _agrees(*_net(Fn(F.pad, [3, -1], mode="reflect"), (1, 2, 4)))


def test_a_mask_that_only_attention_sees() -> None:
    """A constant tensor that a composite function meets first keeps its numbers."""
    mask = torch.tensor([[True, True, False], [True, True, True], [False, True, True]])
    _agrees(*_net(Fn(kinds_mixing._dot_product, 1, 1, mask, False), (1, 3, 2), kind="masked"))


def _written_through_einsum(x: torch.Tensor) -> torch.Tensor:
    torch.einsum("abc->acb", x)[..., 1:].add_(1.5).mul_(x.sum())
    return x


def test_einsum_of_one_operand_is_a_view() -> None:
    """Writing into it writes into the operand."""
    _agrees(*_net(Fn(_written_through_einsum), (1, 2, 4), kind="in_place"))
