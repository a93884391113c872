"""What one thread analyses is nothing to the others: they run, train and analyse the same model at the same time."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks

from rfcalc.api import analyze, layer_graph
from rfcalc.graph_json import to_json
from rfcalc.tracing.threads import one_thread


class Block(nn.Module):
    """A block with a buffer that forward writes, a cache, and a method of another module's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.cache: dict[Any, Tensor] = {}
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape not in self.cache:
            self.cache[x.shape] = torch.ones(x.shape[-1], device=x.device)
        return self.drop(self.norm(self.conv(x)).relu()) + self.cache[x.shape]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block(), nn.Flatten(), nn.Linear(4 * 64, 3))


X = (2, 4, 8, 8)


@pytest.fixture(autouse=True)
def _switching() -> Iterator[None]:
    """Threads take turns a hundred times as often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


def state_of(model: nn.Module) -> list[Any]:
    held = [(name, id(one), one.detach().numpy().tobytes()) for name, one in model.state_dict(keep_vars=True).items()]
    return [held, [(dict(vars(module)), dict(module._parameters)) for module in model.modules()]]


def together(*runs: Callable[[], Any]) -> list[Any]:
    start = threading.Barrier(len(runs))

    def begin(run: Callable[[], Any]) -> Any:
        start.wait()
        return run()

    with ThreadPoolExecutor(len(runs)) as pool:
        return list(pool.map(begin, runs))


def test_threads_that_analyse_one_model_say_the_same_and_leave_it() -> None:
    model = network().train()
    expected, before = to_json(layer_graph(model, X)), state_of(model)

    found = together(*[lambda: [to_json(layer_graph(model, X)) for _ in range(8)]] * 4)

    assert all(one == expected for row in found for one in row)
    assert state_of(model) == before
    assert all(module.training for module in model.modules())


def train(model: nn.Module, goes_on: Callable[[int], bool]) -> list[Any]:
    """Losses and weights after some steps; dropout draws from torch's random numbers, the images are numpy's.

    ``goes_on`` is asked after each step, with how many there were.
    """
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    found: list[Any] = []
    while goes_on(len(found)):
        x = torch.from_numpy(np.random.rand(*X).astype(np.float32)) * random.random()
        loss = model(x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append((loss.item(), model.training, torch.get_num_threads()))
    return [*found, *[tensor.numpy().tobytes() for tensor in model.state_dict().values()]]


def test_a_model_that_trains_goes_on_as_if_alone() -> None:
    model, watched, done = network().train(), network().train(), threading.Event()

    def training() -> list[Any]:
        return train(model, lambda steps: not done.is_set() and steps < 2000)

    def analysing() -> set[int | None]:
        try:
            return {analyze(one, X, training=True).totals.macs for one in (model, watched) for _ in range(5)}
        finally:
            done.set()

    trained, macs = together(training, analysing)
    steps = len(trained) - len(model.state_dict())

    assert macs == {2 * 2 * 64 * 4 * 4 * 9 + 2 * 256 * 3}
    assert trained == train(network().train(), lambda number: number < steps)


def test_calls_of_another_threads_model_are_not_in_the_graph() -> None:
    model, other, done = network().eval(), nn.Sequential(nn.ReLU(), nn.Tanh()), threading.Event()

    def calling() -> set[int]:
        hooks = set()
        while not hooks or not done.is_set():
            other(torch.zeros(3))
            hooks.add(len(global_hooks._global_forward_hooks) + len(global_hooks._global_forward_pre_hooks))
        return hooks

    def analysing() -> set[str]:
        try:
            return {call.module for _ in range(10) for call in layer_graph(model, X).calls}
        finally:
            done.set()

    hooks, names = together(calling, analysing)

    assert names == {name for name, _ in model.named_modules()}
    assert hooks == {0}


def test_the_number_of_threads_is_each_threads_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread():
            here = torch.get_num_threads()
            (there,) = together(torch.get_num_threads)
        assert (there, torch.get_num_threads()) == (3, 3)
        assert here == 1 or sys.platform != "linux"
    finally:
        torch.set_num_threads(before)


def test_random_numbers_are_drawn_as_if_there_had_been_no_pass() -> None:
    def forward(x: Tensor) -> Tensor:
        drawn = [torch.rand(3), torch.randn(2, 2), torch.randint(9, (4,)), torch.randperm(5), torch.rand_like(x)]
        drawn += [torch.randn_like(x), torch.randint_like(x, 9), torch.empty(3).uniform_(), torch.bernoulli(x.abs())]
        drawn += [torch.multinomial(torch.ones(5), 2), torch.normal(0.0, 1.0, (3,)), nn.functional.dropout(x)]
        return x + sum(one.sum() for one in drawn)

    class Drawing(nn.Module):
        def __init__(self, asks: bool) -> None:
            super().__init__()
            self.asks = asks

        def forward(self, x: Tensor) -> Tensor:
            return forward(x) * x.sum().item() if self.asks else forward(x)

    world = torch.get_rng_state().clone()
    for asks in (False, True):  # the second time on real numbers
        graphs = [to_json(layer_graph(Drawing(asks), (4, 8), training=True)) for _ in range(2)]
        assert graphs[0] == graphs[1]
        assert torch.equal(torch.get_rng_state(), world)
