"""The user's model, torch's settings and the random states are as before, whatever happens."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rfcalc
from rfcalc.errors import RfcalcError
from tests.checking.test_untouched import settings


class Stateful(nn.Module):
    """Keeps a buffer, a cache and running statistics, draws random numbers, and can be told to fail."""

    def __init__(self, fail: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(3))
        self.frozen = nn.Parameter(torch.ones(4, 1, 1), requires_grad=False)
        self.cache: Tensor | None = None
        self.called: list[str] = []
        self.fail = fail

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        self.cache = x
        self.called.append("forward")
        random.random()
        np.random.rand()
        if self.fail and not x.is_meta:
            raise RuntimeError("told to fail")
        return self.norm(self.drop(self.conv(x))) * self.frozen


def snapshot(model: Stateful) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        content = tensor.detach().numpy().tobytes()
        state[name] = (id(tensor), tensor.data_ptr(), content, tensor.requires_grad, id(tensor.grad), tensor._version)
    for name, module in model.named_modules():
        hooks = (module._forward_hooks, module._backward_hooks, module._forward_pre_hooks)
        state[f"{name}!"] = (module.training, sorted(module.__dict__), [list(kind) for kind in hooks])
    return {**state, "cache": model.cache, "called": list(model.called)}


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_nothing_changes(fail: bool, training: bool, given: bool) -> None:
    model = Stateful(fail).train(not training)
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    model.norm.register_forward_hook(lambda *_: None)
    weights = {name: value + 1 for name, value in model.state_dict().items()} if given else None
    image = torch.rand(1, 2, 9, 9, requires_grad=True)
    before, world, pixels = snapshot(model), settings(), image.detach().clone()

    with torch.no_grad():
        inside = torch.is_grad_enabled()
        if fail:
            with pytest.raises(RfcalcError, match="told to fail"):
                rfcalc.erf(model, image, training=training, weights=weights, device="cpu")
        else:
            found = rfcalc.erf(model, image, training=training, weights=weights, device="cpu")
            assert found.agree
            assert found.map.sum() > 0
        assert torch.is_grad_enabled() == inside

    assert snapshot(model) == before
    assert settings() == world
    assert image.grad is None
    assert torch.equal(image, pixels)


def test_parameters_that_do_not_fit_leave_all_as_it_is() -> None:
    model = Stateful()
    before, world = snapshot(model), settings()
    with pytest.raises(RfcalcError, match="do not fit"):
        rfcalc.erf(model, (2, 9, 9), weights={"conv.weight": torch.ones(1)})

    assert snapshot(model) == before
    assert settings() == world


def test_what_drops_out_is_that_of_the_seed() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(1, 1, 5, bias=False))
    maps = [rfcalc.erf(model, (1, 9, 9), training=True, images=1, seed=seed).map for seed in (0, 0, 1)]

    assert np.array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])
