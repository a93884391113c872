"""Gradients of convolutions within the box that is not 0, against torch's whole ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rfcalc
from rfcalc.effective import measure, narrow
from rfcalc.effective.narrow import Narrow


def backward(net: nn.Module, x: Tensor, unit: tuple[Any, ...], narrowed: bool) -> Tensor:
    leaf = x.clone().requires_grad_()
    net.requires_grad_(False)
    out = net(leaf)[unit].sum()
    if narrowed:
        with Narrow():
            return torch.autograd.grad(out, leaf)[0]
    return torch.autograd.grad(out, leaf)[0]


@pytest.mark.parametrize("place", [0, 2, -1, slice(1, 3)])
@pytest.mark.parametrize(
    ("axes", "setting"),
    [
        (1, {"padding": 1}),
        (2, {"padding": (2, 0), "stride": (1, 2), "dilation": (2, 1)}),
        (2, {"stride": 3, "groups": 2}),
        (2, {"padding": 2, "padding_mode": "circular"}),
        (2, {"padding": 3, "stride": 4}),
        (3, {"padding": 1, "stride": 2}),
    ],
)
def test_what_comes_back_is_the_same_to_the_last_bit(axes: int, setting: dict[str, Any], place: Any) -> None:
    """On whole numbers, whose sums do not depend on their order."""
    torch.manual_seed(axes)
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    net = nn.Sequential(kind(2, 4, 3, **setting), kind(4, 2, 1)).double()
    for weight in net.parameters():
        weight.data.copy_(torch.randint(-4, 5, weight.shape))
    x = torch.zeros(1, 2, *[13] * axes, dtype=torch.float64)
    unit = (slice(None), slice(None), *[place] * axes)

    assert torch.equal(backward(net, x, unit, True), backward(net, x, unit, False))


def test_no_more_is_worked_out_than_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3)))
    seen: list[tuple[int, ...]] = []
    real = narrow._input_gradient

    def watched(coming: Tensor, *rest: Any) -> Tensor | None:
        box = narrow._box(coming)
        seen.append(tuple(last - first + 1 for first, last in box or ()))
        return real(coming, *rest)

    monkeypatch.setattr(narrow, "_input_gradient", watched)
    found = rfcalc.erf(net, (1, 64, 64), images=1)

    assert seen == [(1, 1), (3, 3), (5, 5)]
    assert found.agree


def test_a_pass_ends_behind_the_unit() -> None:
    class Watched(nn.Module):
        after = 0

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            z = self.second(y)
            Watched.after += 1
            return z

    model = Watched()
    rfcalc.trace(model, (1, 9, 9))
    traced = Watched.after
    rfcalc.erf(model, (1, 9, 9), layer="first", images=4)

    assert Watched.after == 2 * traced  # the trace of erf alone


def test_what_blocks_of_a_kernel_smear_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient outside the field is taken again by the plainest kernels, which have the last word."""
    real, taken = measure.gradient_of, []

    def smeared(*args: Any, plain: bool = False, **kwargs: Any) -> Tensor:
        taken.append(plain)
        found = real(*args, plain=plain, **kwargs)
        return found if plain else found + 1e-9

    monkeypatch.setattr(measure, "gradient_of", smeared)
    found = rfcalc.erf(nn.Conv2d(1, 1, 3), (1, 9, 9), images=1)

    assert taken == [False, True]
    assert found.agree
