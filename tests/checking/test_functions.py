"""Linear algebra and torch.func under `verify`: ops that refuse NaN, give no tensor, or differ by device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, linalg, nn
from torch.func import hessian, jacfwd, jvp, vmap

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
