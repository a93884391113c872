"""Drawn programs of views and in-place writes, on data and on constants, against poisoned runs of the same program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.poison import check

#: Length of the input; the tensors that programs work on are 3x4.
LENGTH = 12
#: (instruction, tensor it works on, two numbers that choose the details)
Instruction = tuple[str, int, int, int]


def data_of(x: Tensor, shape: Sequence[int], turn: int) -> Tensor:
    """A tensor of that shape made of single elements of the input."""
    count = int(torch.Size(shape).numel())
    return torch.roll(x, turn).repeat(-(-count // LENGTH))[:count].reshape(shape)


def view(y: Tensor, a: int, b: int) -> Tensor:
    """One of many views of a tensor."""
    axis = b % y.ndim if y.ndim else 0
    if not y.ndim or a == 0:
        return y.unsqueeze(0)
    size = y.shape[axis]
    match a:
        case 1:
            return y.narrow(axis, min(1, size - 1), max(1, size - 1))
        case 2:
            return y[(*(slice(None),) * axis, slice(b % 2, None, 2))] if size > 1 else y
        case 3:
            return y.transpose(0, y.ndim - 1)
        case 4:
            return y.select(axis, b % size)
        case 5:
            return y.view(-1) if y.is_contiguous() else y.unsqueeze(-1)
        case 6:
            return y.chunk(2, axis)[-1]
        case 7:
            return y.detach()
    return y.unbind(axis)[b % size]


class Program(nn.Module):
    """Runs instructions and gives back its input and all its tensors, flat in a row."""

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        super().__init__()
        self.instructions = instructions
        self.token = nn.Parameter(torch.rand(4))

    def forward(self, x: Tensor) -> Tensor:
        pool = [x.clone().view(3, 4), torch.zeros(3, 4), self.token.expand(3, 4).clone()]
        for name, which, a, b in self.instructions:
            y = pool[which % len(pool)]
            match name:
                case "view":
                    pool.append(view(y, a, b))
                case "copy":
                    y.copy_(data_of(x, y.shape, a))
                case "add":
                    y += data_of(x, y.shape, b)
                case "zero":
                    y.zero_()
                case "from":
                    other = pool[a % len(pool)].reshape(-1)
                    y.copy_(other.repeat(-(-y.numel() // other.numel()))[: y.numel()].reshape(y.shape))
                case "relu":
                    y.relu_()
                case "derive":
                    pool.append(y.flip(0) * 2 if y.ndim else y * 2)
                case "face":
                    y.data = data_of(x, y.shape, a)
                case "other face":
                    y.data = pool[a % len(pool)].data
                case "unsqueeze":
                    y.unsqueeze_(a % (y.ndim + 1))
        return torch.cat([x.reshape(-1), *(y.reshape(-1) for y in pool)])


#: All instructions, those that make programs interesting more than once.
ALL = (
    *("view", "view", "view", "copy", "copy", "add", "from", "zero", "relu", "derive", "unsqueeze"),
    *("face", "other face"),
)


def instructions(*names: str) -> Any:
    number = st.integers(0, 8)
    return st.lists(st.tuples(st.sampled_from(names), number, number, number), min_size=2, max_size=9)


@settings(max_examples=120, deadline=None)
@given(instructions(*ALL))
def test_programs_of_views_and_writes(program):
    check(Program(program), torch.rand(LENGTH))
