"""Calls that are replayed leave what they leave when they are traced, and those that may differ are traced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from rfcalc import graph_json
from rfcalc.api import layer_graph
from rfcalc.graph import LayerGraph
from rfcalc.reads import Slice
from rfcalc.tracing import replay
from tests.tracing.test_view_programs import ALL, LENGTH, Program, instructions

Run = Callable[[nn.Module, Tensor], Any]


class Net(nn.Module):
    """A network that is one function of it and the input."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.register_buffer("numbers", torch.arange(6.0))

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


class Twice(nn.Module):
    """A model that runs twice, so that its second half may repeat the first."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any) -> Any:
        return self.model(*args), self.model(*args)


@contextmanager
def tracing_all() -> Iterator[None]:
    """Every call is traced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "signature", lambda *_: None)
        yield


def both(model: nn.Module, x: Any, **options: Any) -> tuple[str, str]:
    """The graph with replayed calls, of a second trace, in which all are that can be; and without any."""
    replay.forget()
    layer_graph(model, x, **options)
    replayed = graph_json.dumps(layer_graph(model, x, **options))
    with tracing_all():
        return replayed, graph_json.dumps(layer_graph(model, x, **options))


def traced(model: nn.Module, x: Any) -> tuple[LayerGraph, int]:
    """The graph, and how many calls had to be traced."""
    count = 0
    original = replay.Replay._first

    def counting(*args: Any) -> Any:
        nonlocal count
        count += 1
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay.Replay, "_first", counting)
        return layer_graph(model, x), count


# --- the same graph ---------------------------------------------------------------------------------------------------

NAMES = """resnet18 densenet121 mobilenet_v3_small squeezenet1_1 shufflenet_v2_x0_5 efficientnet_b0 convnext_tiny
    vit_b_16 swin_t swin_v2_t maxvit_t"""


@pytest.mark.parametrize("name", NAMES.split())
@pytest.mark.parametrize("training", [False, True])
def test_models_of_torchvision(name: str, training: bool) -> None:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        model, x = models.get_model(name, weights=None), torch.empty(1, 3, 224, 224)

    replayed, all_traced = both(model, x, training=training)

    assert replayed == all_traced


def writes(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    z = y.clone()
    z[:, :2] = y[:, 2:]
    z[:, 0].relu_()
    a, b = z.chunk(2, 1)
    a.add_(b)
    b.mul_(2)
    w = z.view(z.shape[0], -1, 4).transpose(1, 2)
    w[..., 0] += 1
    return z


def moves(net: Any, x: Tensor) -> Tensor:
    y = functional.pad(x, (1, 1, 2, 0))[..., 1:-1].permute(0, 2, 3, 1).contiguous()
    parts = y.split([1, 3], -1)
    z = torch.stack([y, y.flip(1)], 1).flatten(1, 2).unbind(1)
    return torch.cat([*parts, z[0].unsqueeze(1).expand_as(y)], -1).reshape(y.shape[0], -1, 2)


def constants(net: Any, x: Tensor) -> Tensor:
    place = torch.arange(6, device=x.device)
    for turn in range(3):
        score = (x @ x.transpose(-1, -2)).masked_fill(place[None] > place[:, None], float("-inf"))
        x = score.softmax(-1) @ x * torch.tensor(2.0) + net.numbers[turn]
        x = net.first(x[:, :, place.flip(0)]) + net.numbers
    return x


def asks(net: Any, x: Tensor) -> Tensor:
    values, places = x.max(-1)
    top = x.topk(2, -1)
    return values.unsqueeze(-1) + top.values.to(torch.float64).float() + places.unsqueeze(-1)


def attends(net: Any, x: Tensor) -> Tensor:
    for causal in (False, True, True):
        x = functional.scaled_dot_product_attention(x, x, net.first(x), is_causal=causal)
    return x


CASES: dict[str, tuple[Run, tuple[int, ...]]] = {
    "writes": (writes, (1, 4, 8, 8)),
    "moves": (moves, (1, 4, 8, 8)),
    "constants": (constants, (1, 6, 6)),
    "several results": (asks, (1, 6, 6)),
    "causal masks": (attends, (1, 5, 6)),
    "the same twice": (lambda net, x: [x + x, x + net.first(x), x * x, x @ x, x @ net.first(x)], (6, 6)),
    "shared weights": (
        lambda net, x: [
            functional.linear(x, net.first.weight),
            functional.linear(x, net.second.weight, net.first.bias),
        ],
        (6, 6),
    ),
    "joined weights": (
        lambda net, x: [
            functional.linear(x, torch.cat([a.weight, b.weight]), torch.cat([a.bias, net.numbers, b.bias])[3:-3])
            for a, b in ((net.first, net.second), (net.second, net.first), (net.first, net.first))
        ],
        (6, 6),
    ),
    "weights moved": (lambda net, x: [x @ net.first.weight.t(), x @ net.second.weight.t().contiguous()], (6, 6)),
    "a kernel of data": (
        lambda net, x: [functional.conv2d(x, net.conv.weight * x.mean()) for _ in range(2)],
        (1, 4, 8, 8),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_small_models(name: str) -> None:
    run, shape = CASES[name]

    replayed, all_traced = both(Twice(Net(run)), torch.rand(shape))

    assert replayed == all_traced


@settings(max_examples=120)
@given(
    instructions(*ALL),
    st.booleans(),
)
def test_programs_of_views_and_writes(program: Any, twice: bool) -> None:
    model = Program(program)

    replayed, all_traced = both(Twice(model) if twice else model, torch.rand(LENGTH))

    assert replayed == all_traced


# --- which calls are equal --------------------------------------------------------------------------------------------


def sums(run: Run, shape: tuple[int, ...] = (6, 6)) -> int:
    return traced(Net(run), torch.rand(shape))[1]


def test_a_repeated_layer_is_traced_once() -> None:
    model = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(50)))

    graph, count = traced(model, torch.rand(1, 4, 8, 8))

    assert count == 1
    assert [record.params for record in graph][1:] == [(f"{at}.weight", f"{at}.bias") for at in range(50)]
    assert [record.inputs for record in graph][2:] == [((at, 0),) for at in range(1, 50)]


@pytest.mark.parametrize(
    ("run", "count"),
    [
        (lambda net, x: [torch.relu(x), torch.relu(x)], 1),
        (lambda net, x: [torch.relu(x), functional.relu(x)], 2),
        (lambda net, x: [x + 1, x + 1], 1),
        (lambda net, x: [x + 1, x + 1.0], 2),
        (lambda net, x: [x + 1, x + True], 2),
        (lambda net, x: [x + x, x + net.numbers * 0 + x], 4),  # the constant's product is a call, too
        (lambda net, x: [x[0, 1], x[[0, 1]]], 2),
        (lambda net, x: [x[:, 1:], x[:, 2:]], 2),
        (lambda net, x: [torch.relu(x), torch.relu(x.t())], 3),  # other strides: its result has them too
        (lambda net, x: [x.sum(0), x.sum(0, keepdim=True), x.sum(dim=0)], 3),
    ],
)
def test_what_is_told_apart(run: Run, count: int) -> None:
    assert sums(run) == count


def test_numbers_of_constants_are_asked_each_time() -> None:
    graph = layer_graph(Net(lambda net, x: [x[:, torch.tensor([0, 1])], x[:, torch.tensor([4, 2])]]), (6, 6))

    steps = [record.reads[0][0].steps[0] for record in graph if record.op == "aten.index"]
    assert steps == [Slice(1, 0, 1, 2), Slice(1, 4, -2, 2)]


def test_how_many_elements_a_mask_leaves_is_asked_each_time() -> None:
    def run(net: Any, x: Tensor) -> list[Tensor]:
        return [x[:, net.numbers > number] for number in (0, 2, 4)]

    graph = layer_graph(Net(run), (6, 6))

    assert [record.shape for record in graph if record.op == "aten.index"] == [(1, 5, 6), (1, 3, 6), (1, 1, 6)]


def test_another_default_dtype_is_another_call() -> None:
    def run(net: Any, x: Tensor) -> list[Tensor]:
        narrow = x.argmax(-1) / 2
        torch.set_default_dtype(torch.float64)
        try:
            return [narrow, x.argmax(-1) / 2]
        finally:
            torch.set_default_dtype(torch.float32)

    graph = layer_graph(Net(run), (6, 6))

    assert [record.outputs[0].dtype for record in graph if record.op == "aten.div"] == ["float32", "float64"]


def test_autocast_is_traced() -> None:
    def run(net: Any, x: Tensor) -> list[Tensor]:
        wide = x @ x
        with torch.autocast("cpu", torch.bfloat16):
            return [wide, x @ x]

    assert sums(run) == 1


def test_gradients_inside_a_model() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = net.first(x).square().sum()
            return torch.autograd.grad(energy, x)[0]

    replayed, all_traced = both(Net(run), torch.rand(6, 6))

    assert replayed == all_traced
    assert sums(run) == 0


def test_what_a_call_changes_besides_is_changed_each_time() -> None:
    seen: list[bool] = []

    def run(net: Any, x: Tensor) -> Tensor:
        for _ in range(2):
            y = x.detach()
            seen.append(y.requires_grad_().requires_grad)
        return x + 1

    layer_graph(Net(run), (6, 6))

    assert all(seen)


RUNS: list[int] = []  #: not held by the model, of which a pass runs a double


def test_a_function_of_the_users_is_run_each_time() -> None:
    RUNS.clear()

    def own(x: Tensor) -> Tensor:
        if torch.overrides.has_torch_function((x,)):
            return torch.overrides.handle_torch_function(own, (x,), x)
        RUNS.append(1)
        return x * len(RUNS)

    layer_graph(Net(lambda net, x: [own(x), own(x)]), (6, 6))

    assert len(RUNS) == 2


def test_as_many_calls_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST", 3)

    sums(lambda net, x: [x + number for number in range(10)])

    assert len(replay._SHARED) == 3


def test_a_call_that_failed_is_not_kept() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        for _ in range(2):
            try:
                x @ x
            except RuntimeError:
                x = x + 1
        return x

    assert sums(run, (6, 5)) == 3


# --- what is known of elements, and numbers of constants --------------------------------------------------------------


def _decays(net: Net, x: Tensor) -> Tensor:
    """Sums under a triangle, as state-space models write them."""
    seen = torch.tril(torch.ones(6, 6, device=x.device, dtype=torch.bool), diagonal=-1)
    sums = x[..., None].expand(*x.shape, 6).masked_fill(~seen, 0).cumsum(-2)
    lower = torch.tril(torch.ones(6, 6, device=x.device, dtype=torch.bool))
    decays = sums.masked_fill(~lower, -torch.inf).exp()
    return torch.einsum("ncwij,ncwj->ncwi", decays, x) * 2


def _attention(net: Net, x: Tensor) -> Tensor:
    mask = torch.full((6, 6), float("-inf"), device=x.device).triu(1)
    scores = x @ x.transpose(-1, -2) + mask
    return scores.softmax(-1) @ x


def _written(net: Net, x: Tensor) -> Tensor:
    """A constant that is written after it was made, each time with other numbers."""
    found = []
    for at in range(3):
        mask = torch.zeros(6, 6, device=x.device, dtype=torch.bool)
        mask[:, at] = True
        found.append(x.masked_fill(mask, 0) @ x.transpose(-1, -2))
    return torch.stack(found)


def _numbered(net: Net, x: Tensor) -> Tensor:
    """Calls that are equal but for the numbers of a constant."""
    columns = torch.arange(6, device=x.device)
    return torch.stack([x.masked_fill(columns == at, -torch.inf).softmax(-1) @ x for at in (1, 4, 1)])


def _of_a_buffer(net: Net, x: Tensor) -> Tensor:
    return torch.stack([x.masked_fill(net.numbers > at, -torch.inf).softmax(-1) @ x for at in (1, 4, 1)])


MASKED: tuple[Run, ...] = (_decays, _attention, _written, _numbered, _of_a_buffer)


@pytest.mark.parametrize("run", MASKED, ids=lambda run: run.__name__)
def test_calls_on_what_is_known_of_elements_leave_what_they_leave_when_traced(run: Run) -> None:
    replayed, all_traced = both(Twice(Net(run)), torch.zeros(2, 4, 6, 6))

    assert replayed == all_traced


@pytest.mark.parametrize("run", [_decays, _attention], ids=lambda run: run.__name__)
def test_masks_that_the_code_makes_are_worked_out_once(run: Run) -> None:
    net = Twice(Net(run))
    replay.forget()
    _, first = traced(net, torch.zeros(2, 4, 6, 6))
    _, again = traced(net, torch.zeros(2, 4, 6, 6))

    assert first > 5
    assert again <= 3  # views of constants, which share memory with them


def test_a_mask_that_is_another_one_on_the_tape_is_stored_anew() -> None:
    def after_another(net: Net, x: Tensor) -> Tensor:
        other = x.masked_fill(torch.eye(6, device=x.device, dtype=torch.bool), -torch.inf).softmax(-1) @ x
        return _attention(net, other)

    replay.forget()
    layer_graph(Net(_attention), torch.zeros(2, 4, 6, 6))
    found = graph_json.dumps(layer_graph(Net(after_another), torch.zeros(2, 4, 6, 6)))
    with tracing_all():
        assert found == graph_json.dumps(layer_graph(Net(after_another), torch.zeros(2, 4, 6, 6)))


def test_numbers_written_later_are_not_those_that_are_kept() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        first = torch.ones(6, device=x.device).mul(2)
        first.mul_(0)
        second = torch.ones(6, device=x.device).mul(2)
        return x * second + x * first

    replayed, all_traced = both(Net(run), torch.zeros(2, 4, 6, 6))

    assert replayed == all_traced


def test_as_many_bytes_of_what_is_known_are_kept_as_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST_BYTES", 200)
    replay.forget()
    layer_graph(Net(_attention), torch.zeros(2, 4, 6, 6))

    assert 0 < sum(kept.nbytes for kept in replay._SHARED.values()) == replay._held <= 200
