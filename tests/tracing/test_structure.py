"""Zeros, minus infinity and triangles that a network makes of its data, followed to what reads them.

Each network is held against a finite change of each row of its input, in float64, over several starting points: what
changes is read, and what is read changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rfcalc

ROWS = 8


class Mixer(nn.Module):
    """A function of rows and of three projections of them."""

    def __init__(self, function: Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.project = nn.Linear(4, 12)
        self.rate = nn.Linear(4, 1)
        self.conv = nn.Conv1d(4, 4, 5, padding=2)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose1d(4, 4, 5, stride=2, padding=2, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x, *self.project(x).chunk(3, -1))


def changed(model: nn.Module, size: int) -> np.ndarray:
    """Which rows of the result a change of each row of the input changes: (rows of the result, rows of the input)."""
    before_, model = torch.get_default_dtype(), model.double()
    torch.set_default_dtype(torch.float64)
    try:
        return _changed(model, size)
    finally:
        torch.set_default_dtype(before_)


def _changed(model: nn.Module, size: int) -> np.ndarray:
    found: np.ndarray | None = None
    for seed in range(3):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.data.normal_()
        x = torch.randn(1, size, 4, dtype=torch.float64)
        with torch.no_grad():
            before = model(x)
            rows = []
            for row in range(size):
                other = x.clone()
                other[:, row] += torch.randn(4, dtype=torch.float64)
                rows.append((model(other) - before).abs().amax(-1)[0] > 1e-38)
        seen = torch.stack(rows, -1).numpy()
        found = seen if found is None else found | seen
    assert found is not None
    return found


def told(model: nn.Module, size: int) -> np.ndarray:
    """The same by the analysis, as first and last row."""
    a = rfcalc.analyze(model.float().eval(), torch.zeros(1, size, 4), axes={"T": 1})
    last = a.ops[-1]
    assert last.receptive_field.status == "exact"
    ((first, final),) = a.regions(last.name)
    nothing = first > final
    ends = np.where(nothing, size, first), np.where(nothing, -1, final)
    low, high = (np.broadcast_to(end, last.output_shape)[0] for end in ends)
    return np.stack([low.min(-1), high.max(-1)], -1)


def hull(seen: np.ndarray) -> np.ndarray:
    return np.array([[row.nonzero()[0][0], row.nonzero()[0][-1]] for row in seen])


def later() -> Tensor:
    return torch.ones(ROWS, ROWS, dtype=torch.bool).triu(1)


def decay(m: nn.Module, x: Tensor) -> Tensor:
    """Differences of cumulated rates."""
    total = F.logsigmoid(m.rate(x))[..., 0].cumsum(-1)
    return total[:, :, None] - total[:, None, :]


def segments(m: nn.Module, x: Tensor) -> Tensor:
    """The same, summed piece by piece (Mamba-2, Dao and Gu, 2024, listing 1)."""
    rate = F.logsigmoid(m.rate(x))[..., 0]
    wide = rate[..., None].expand(*rate.shape, ROWS)
    wide = wide.masked_fill(torch.ones(ROWS, ROWS, dtype=torch.bool).triu(0), 0)
    return wide.cumsum(-2).masked_fill(later(), -math.inf)


def chunked(m: nn.Module, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A delta rule by rows of a triangle, each made of those before it."""
    pairs = -(k @ k.transpose(1, 2) * decay(m, x).tril().exp().tril()).masked_fill(later() | torch.eye(ROWS).bool(), 0)
    for i in range(1, ROWS):
        row = pairs[..., i, :i].clone()
        before = pairs[..., :i, :i].clone()
        pairs[..., i, :i] = row + (row.unsqueeze(-1) * before).sum(-2)
    return (pairs + torch.eye(ROWS)) @ v


def by_hand(scores: Tensor) -> Tensor:
    """A softmax with its maximum taken off, written out."""
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True)


def masked_2d(m: nn.Module, x: Tensor) -> Tensor:
    """PixelCNN's: the rows above, and the pixels before this one."""
    mask = torch.ones(3, 3)
    mask[1, 1:] = 0
    mask[2:] = 0
    return F.conv2d(x.transpose(1, 2)[:, :, :, None].expand(-1, -1, -1, 3), m.conv2.weight * mask, padding=1)


def channels(m: nn.Module, x: Tensor) -> Tensor:
    """A tap of its own for each pair of channels."""
    mask = torch.zeros(4, 4, 5)
    for i in range(4):
        mask[i, : i + 1, i] = 1
    return F.conv1d(x.transpose(1, 2), m.conv.weight * mask, padding=2).transpose(1, 2)


def upward(m: nn.Module, x: Tensor) -> Tensor:
    mask = torch.ones(5)
    mask[3:] = 0
    y = F.conv_transpose1d(x.transpose(1, 2), m.up.weight * mask, stride=2, padding=2, groups=2)
    return y.transpose(1, 2)


NETS: dict[str, Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "decay": lambda m, x, q, k, v: (q @ k.transpose(1, 2) * decay(m, x).masked_fill(later(), -math.inf).exp()) @ v,
    "segments": lambda m, x, q, k, v: (segments(m, x).exp()[..., None] * v[:, None]).sum(2),
    "four in one": lambda m, x, q, k, v: torch.einsum("bic,bjc,bij,bjd->bid", q, k, segments(m, x).exp(), v),
    "delta rule": chunked,
    "a triangle times itself": lambda m, x, q, k, v: ((t := (q @ k.transpose(1, 2)).tril()) @ t + t) @ v,
    "sum of triangles": lambda m, x, q, k, v: ((q @ k.transpose(1, 2)).tril() + (k @ q.transpose(1, 2)).tril(-1)) @ v,
    "sigmoid": lambda m, x, q, k, v: (q @ k.transpose(1, 2)).masked_fill(later(), -math.inf).sigmoid() @ v,
    "relu": lambda m, x, q, k, v: (q @ k.transpose(1, 2)).masked_fill(later(), -math.inf).relu() @ v,
    "softmax by hand": lambda m, x, q, k, v: by_hand((q @ k.transpose(1, 2)).masked_fill(later(), -math.inf) / 2) @ v,
    "exp2": lambda m, x, q, k, v: torch.exp2((q @ k.transpose(1, 2)).masked_fill(later(), -math.inf) * 0.1) @ v,
    "cut in two": lambda m, x, q, k, v: (q @ k.transpose(1, 2)).tril().chunk(2, 1)[1] @ v,
    "a block written": lambda m, x, q, k, v: written(q @ k.transpose(1, 2)) @ v,
    "solved": lambda m, x, q, k, v: torch.linalg.solve_triangular(
        (q @ k.transpose(1, 2)).tril(-1) + torch.eye(ROWS), v, upper=False
    ),
    "solved from the end": lambda m, x, q, k, v: torch.linalg.solve_triangular(
        (q @ k.transpose(1, 2)).triu(), v, upper=True, unitriangular=True
    ),
    "solved from the right": lambda m, x, q, k, v: torch.linalg.solve_triangular(
        (q @ k.transpose(1, 2)).tril(), v.transpose(1, 2), upper=False, left=False, unitriangular=True
    ).transpose(1, 2),
    "masked rows of a kernel": lambda m, x, q, k, v: masked_2d(m, x)[..., 1].transpose(1, 2),
    "masked taps by channels": lambda m, x, q, k, v: channels(m, x),
    "masked and transposed": lambda m, x, q, k, v: upward(m, x),
}  # fmt: skip


def written(scores: Tensor) -> Tensor:
    made = scores.tril()
    made[:, 2:4, 2:4] = scores[:, :2, :2] + 1
    return made


@pytest.mark.parametrize("name", NETS)
def test_structure_is_followed(name: str):
    model = Mixer(NETS[name])

    seen = changed(model, ROWS)
    assert np.array_equal(told(model, ROWS), hull(seen))


def test_a_finite_mask_is_none_where_it_could_be_told():
    """1e-38 of exp is nothing; of a ReLU, or of the largest of a row, -100 is a number like any other."""
    for function in (torch.relu, lambda s: s - s.amax(-1, keepdim=True), torch.exp2):
        model = Mixer(lambda m, x, q, k, v, f=function: f(q @ k.transpose(1, 2) - 100.0 * later()) @ v)
        assert told(model, ROWS)[:, 1].tolist() == [ROWS - 1] * ROWS
    causal = Mixer(lambda m, x, q, k, v: (q @ k.transpose(1, 2) - 100.0 * later()).exp() @ v)
    assert told(causal, ROWS)[:, 1].tolist() == list(range(ROWS))


def test_distances_from_zeros_are_read():
    model = Mixer(lambda m, x, q, k, v: torch.cdist(q.tril(), k))

    assert told(model, ROWS)[:, 1].tolist() == [ROWS - 1] * ROWS


def test_taps_of_one_kernel_are_no_branches():
    a = rfcalc.analyze(Mixer(lambda m, x, q, k, v: masked_2d(m, x)), torch.zeros(1, ROWS, 4), axes={"T": 1})

    assert a.ops[-1].receptive_field.misaligned == ()
