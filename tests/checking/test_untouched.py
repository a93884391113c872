"""Nothing of the model, of torch's settings or of the random states is changed, whatever happens."""

from __future__ import annotations

import random
import threading
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rfcalc.checking import first_pass, poison, verify
from rfcalc.checking.device import honest
from rfcalc.errors import TraceError


class Stateful(nn.Module):
    """Keeps a buffer, a cache and a counter, draws random numbers, and can be told to fail at the n-th real pass."""

    def __init__(self, fail_at: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("seen", torch.zeros(3))
        self.cache: Tensor | None = None
        self.frozen = nn.Parameter(torch.ones(4, 1, 1), requires_grad=False)
        self.calls = count(1)  # goes on whatever is put back
        self.fail_at = fail_at

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta and next(self.calls) == self.fail_at:
            raise RuntimeError("told to fail")
        self.seen += 1
        self.cache = x
        torch.rand(3)
        random.random()
        np.random.rand()
        return self.norm(self.conv(x)) * self.frozen


def snapshot(model: nn.Module) -> dict[str, Any]:
    state = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        content = tensor.detach().numpy().tobytes()
        state[name] = (id(tensor), tensor.data_ptr(), content, tensor.requires_grad, id(tensor.grad), tensor.device)
    for name, module in model.named_modules():
        state[f"{name}!"] = (module.training, sorted(module.__dict__), len(module._forward_hooks))
    state["cache"] = model.cache  # type: ignore[assignment]
    return state


def settings() -> tuple[Any, ...]:
    """What must be as before; random numbers, too, unless a library has left a thread behind, whose they may be."""
    alone = threading.active_count() == 1
    return (
        torch.get_rng_state().numpy().tobytes() if alone else b"",
        random.getstate() if alone else (),
        np.random.get_state()[1].tobytes() if alone else b"",  # type: ignore[union-attr]
        torch.backends.mkldnn.enabled,
        torch.backends.cudnn.enabled,
        torch.backends.mha.get_fastpath_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        str(torch.get_default_device()),
        torch._C._len_torch_dispatch_stack(),
        torch._C._len_torch_function_stack(),
        len(nn.modules.module._global_forward_hooks),
    )


@pytest.mark.parametrize("training", [False, True])
def test_nothing_changes_after_success(training: bool) -> None:
    model = Stateful().train(not training)
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    before, world = snapshot(model), settings()
    found = verify(model, (2, 2, 9, 9), device="cpu", probes=3, training=training, timing=True)
    assert found.agree
    assert found.weights == "the model's own"
    after = snapshot(model)
    assert after == before
    assert settings() == world


@pytest.mark.parametrize("fail_at", [1, 3, 5])
def test_nothing_changes_after_an_exception_in_forward(fail_at: int) -> None:
    model = Stateful(fail_at).eval()
    before, world = snapshot(model), settings()
    with pytest.raises(TraceError, match="told to fail"):
        verify(model, (2, 9, 9), device="cpu", probes=3, batch=1, timing=False)
    assert snapshot(model) == before
    assert settings() == world


def test_a_failure_of_the_real_pass_is_one_line() -> None:
    with pytest.raises(TraceError, match="was traced, but its forward pass on cpu failed: RuntimeError: told to fail"):
        verify(Stateful(1), (2, 9, 9), device="cpu", timing=False)


def test_settings_are_put_back_after_an_exception() -> None:
    world = settings()
    context = honest()
    context.__enter__()
    assert not torch.backends.mkldnn.enabled
    assert not torch.backends.cudnn.enabled
    assert not context.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert settings() == world


def test_settings_are_put_back_after_blocks_that_overlap() -> None:
    world = settings()
    first, second = honest(), honest()  # of two threads
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not torch.backends.mkldnn.enabled
    second.__exit__(None, None, None)
    assert settings() == world


def _limited(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let memory run out above so many inputs at once; returns the sizes that were tried."""
    tried: list[int] = []
    real = poison.run

    def run(*args: Any, **kwargs: Any) -> None:
        size = kwargs["changed"][0].shape[0]
        tried.append(size)
        if size > most:
            raise torch.OutOfMemoryError("out of memory")
        real(*args, **kwargs)

    monkeypatch.setattr(poison, "run", run)
    return tried


def test_less_memory_means_fewer_probes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = _limited(monkeypatch, 3)
    assert verify("lenet5", device="cpu", probes=8, timing=False).agree
    assert tried[:3] == [8, 4, 2]
    assert set(tried[3:]) == {2}


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    _limited(monkeypatch, 0)
    with pytest.raises(TraceError, match="not even one poisoned input at a time fits into the memory"):
        verify("lenet5", device="cpu", probes=4, timing=False)

    def run(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(first_pass, "run", run)
    with pytest.raises(TraceError, match="lenet5 does not fit into the memory of cpu"):
        verify("lenet5", device="cpu", timing=False)
