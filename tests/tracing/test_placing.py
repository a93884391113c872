"""Devices that a model names in forward, and layouts that tensors made like others have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.errors import TraceError


class Fn(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.lin = nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        return self.function(self.lin, x)


X = torch.empty(2, 8)


@pytest.mark.parametrize(
    "forward",
    [
        lambda lin, x: lin(x.cuda()),
        lambda lin, x: lin(x.cuda(non_blocking=True)),
        lambda lin, x: lin(x.to("cuda")),
        lambda lin, x: lin(x.to(torch.device("cuda", 0), torch.float32)),
        lambda lin, x: lin(x.to(device="cuda:0")),
        lambda lin, x: lin(x) + torch.zeros(8, device="cuda"),
        lambda lin, x: lin(x) + x.new_zeros(8, device="cuda"),
        lambda lin, x: lin(x) + torch.tensor([1.0], device="cuda"),
        lambda lin, x: lin(x)[:, torch.arange(8, device="cuda")],
        lambda lin, x: lin.cuda()(x),
        lambda lin, x: lin(x[:2].cuda()) if bool(torch.ones(1).cuda().all()) else x,
    ],
)
def test_a_device_that_is_named_is_that_of_the_trace(forward: Any) -> None:
    model = Fn(forward)
    for _ in range(2):  # a call that is replayed is said, too
        a = rfcalc.analyze(model, X)
        assert a.totals.macs == 128
        assert len(a.notices) == 1
        assert a.notices[0].startswith("the model names the device cuda")
    assert model.lin.weight.device.type == "cpu"
    assert rfcalc.verify(model, X, device="cpu").agree


def test_the_cpu_is_named_without_a_word() -> None:
    assert not rfcalc.analyze(Fn(lambda lin, x: lin(x.cpu().to("cpu"))), X).notices


def test_a_device_that_is_none_is_told() -> None:
    with pytest.raises(TraceError, match="nonsense"):
        rfcalc.analyze(Fn(lambda lin, x: lin(x.to("nonsense"))), X)


@pytest.mark.parametrize("make", [torch.zeros_like, torch.ones_like, lambda x: torch.full_like(x, 1), torch.empty_like])
def test_a_tensor_made_like_another_has_its_layout(make: Any) -> None:
    def forward(lin: Any, x: Any) -> Any:
        grid = torch.arange(24.0, device=x.device).view(2, 3, 4).permute(2, 0, 1)
        made = make(grid).fill_(1)
        assert made.stride() == grid.stride()
        like_data = make(x.t()).fill_(1)
        rows = made.permute(1, 2, 0).view(6, 4)  # no copy: torch lets it be viewed so
        return lin(x) * rows.sum().item() + like_data.t().view(-1)[:8]

    a = rfcalc.analyze(Fn(forward), X)
    assert a.totals.macs == 128
    assert not a.notices
