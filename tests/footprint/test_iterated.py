"""Results of pointwise ops lie as torch's kernels lay them, whatever lies how that they are given."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rfcalc.footprint.worlds import Fake

aten = torch.ops.aten

#: Ops with how many tensors they are given.
OPS: dict[str, tuple[int, Callable[..., Any]]] = {
    "neg": (1, aten.neg),
    "gelu": (1, aten.gelu),
    "leaky_relu": (1, aten.leaky_relu),
    "hardtanh": (1, aten.hardtanh),
    "clamp": (1, lambda x: aten.clamp(x, 0.2, 0.5)),
    "a number": (1, lambda x: x / 2),
    "a comparison": (1, lambda x: x > 0.5),
    "add": (2, aten.add),
    "mul": (2, aten.mul),
    "div": (2, aten.div),
    "maximum": (2, aten.maximum),
    "sigmoid back": (2, aten.sigmoid_backward),
    "relu back": (2, lambda x, y: aten.threshold_backward(x, y, 0)),
    "silu back": (2, aten.silu_backward),
    "types": (2, lambda x, y: x.double() + y),
    "where": (3, lambda x, y, z: torch.where(x > 0.5, y, z)),
    "addcmul": (3, aten.addcmul),
    "lerp": (3, lambda x, y, z: aten.lerp(x, y, z)),
}


def drawn(dice: random.Random, shape: list[int]) -> torch.Tensor:
    """Numbers in some layout: contiguous, channels last, turned, spread, with gaps, or of fewer axes."""
    kind = dice.randrange(6)
    order = dice.sample(range(len(shape)), len(shape))
    back = [order.index(axis) for axis in range(len(shape))]
    if kind == 1 and len(shape) == 4:
        return torch.rand(shape).contiguous(memory_format=torch.channels_last)
    if kind == 2:
        return torch.rand([shape[axis] for axis in order]).permute(back)
    if kind == 3:
        return torch.rand([dice.choice((1, extent)) for extent in shape]).expand(shape)
    if kind == 4:
        wide = torch.rand([2 * shape[axis] for axis in order]).permute(back)
        return wide[tuple(slice(0, extent) for extent in shape)]
    if kind == 5:
        return torch.rand([dice.choice((1, extent)) for extent in shape][dice.choice((0, 1)) :])
    return torch.rand(shape)


@pytest.mark.parametrize("name", OPS)
def test_as_kernels_lay_it(name: str) -> None:
    count, op = OPS[name]
    dice = random.Random(name)
    for _ in range(25):
        shape = [dice.choice((1, 2, 3)) for _ in range(dice.choice((2, 3, 4, 4, 5)))]
        given = [drawn(dice, shape) for _ in range(count)]
        world = Fake(lenient=True)
        stand = [world.input(one) for one in given]
        with torch.no_grad(), world.mode():
            found = op(*stand)

        seen = op(*given)
        told = [(tuple(one.shape), one.stride()) for one in given]
        assert (found.stride(), found.dtype) == (seen.stride(), seen.dtype), told
        assert found.untyped_storage().nbytes() == seen.untyped_storage().nbytes(), told
