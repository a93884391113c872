"""Linear algebra and torch.func under `verify`: ops that refuse NaN, give no tensor, or differ by device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, linalg, nn
from torch.func import hessian, jacfwd, jvp, vmap
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rfcalc.checking import Verification, verify

LINALG: dict[str, Callable[[Tensor], Tensor]] = {
    "inv, whose check returns nothing": linalg.inv,
    "cholesky": lambda x: linalg.cholesky(x @ x.mT + torch.eye(4)),
    "solve": lambda x: linalg.solve(x, x),
    "lu_factor, with pivots": lambda x: linalg.lu_factor(x)[0],
    "eigh": lambda x: linalg.eigh(x @ x.mT)[0],
    "logdet, whose sign no change moves": lambda x: torch.logdet(x @ x.mT),
    "cond, of singular values that refuse NaN": linalg.cond,
    "matrix_rank, whose comparison swallows all": linalg.matrix_rank,
    "inv of each": lambda x: vmap(linalg.inv)(x),
}


class Of(nn.Module):
    """Any function, of a module."""

    def __init__(self, function: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.children())


def agreed(model: nn.Module, x: Tensor) -> Verification:
    found = verify(model, x, device="cpu", timing=False)
    assert found.agree, [check.differences for check in found.checks if check.differences]
    return found


@pytest.mark.parametrize("name", LINALG)
def test_linear_algebra_agrees(name: str) -> None:
    found = agreed(Of(LINALG[name]), torch.rand(3, 4, 4) + 4 * torch.eye(4))

    assert found.check("receptive_fields").compared


def test_it_is_said_where_an_op_refuses_nan() -> None:
    notes = agreed(Of(linalg.cond), torch.rand(3, 4, 4)).check("receptive_fields").notes

    assert any("linalg_svd cannot stand NaN" in note for note in notes), notes


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize(
    "function",
    [
        lambda x, layer: jvp(layer, (x,), (x,))[1],
        lambda x, layer: jacfwd(layer)(x),
        lambda x, layer: hessian(lambda one: layer(one).tanh().sum())(x),
    ],
    ids=["jvp", "jacfwd", "hessian"],
)
def test_derivatives_in_forward_mode_agree(function: Callable[..., Tensor]) -> None:
    """torch asks the meta device what shape a sum with a tangent of zeros has: no op of the model's."""
    found = agreed(Of(function, layer=nn.Linear(8, 4)), torch.rand(8))

    assert found.check("shapes").compared > 5


def test_statistics_that_nothing_comes_out_of_may_have_another_shape() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    found = agreed(Of(lambda x, net: vmap(net)(x), net=net), torch.rand(5, 2, 3, 8, 8))

    assert "where nothing comes out of it" in found.check("shapes").notes[0]
    assert found.check("receptive_fields").compared == 8


def test_a_target_that_ends_early_is_read_no_further() -> None:
    """Multilabel margin loss reads a row's classes up to the first -1: more is an upper bound."""
    target = torch.tensor([[0, 2, -1, 1, 1]] * 4)
    found = verify(nn.MultiLabelMarginLoss(), (torch.rand(4, 5), target), device="cpu", timing=False)

    assert found.agree, [check.differences for check in found.checks if check.differences]


class Packed(nn.Module):
    """A recurrent layer on sequences of lengths that are given."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)[0]


def test_copies_that_given_lengths_put_in_another_order_are_run_one_by_one() -> None:
    """Thirty examples of three lengths are sorted otherwise than six: equal lengths keep no order."""
    found = verify(Packed(), (torch.rand(3, 10, 4), torch.tensor([10, 4, 7])), device="cpu", timing=False)

    assert found.agree, [check.differences for check in found.checks if check.differences]
    assert found.check("receptive_fields").compared >= 4
