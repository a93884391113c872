"""Models that give back more than tensors, lazy and scripted ones, and norms that speak to other processes."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributions, nn

import rfcalc
from rfcalc.api import analyze, layer_graph
from rfcalc.errors import LoadError, TraceError
from tests.tracing.transformed import analysed, regions


class Out(nn.Module):
    """What a function makes of a linear layer from 4 to 3."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.linear(x))


Pair = namedtuple("Pair", "first second")


@dataclass
class Record:
    first: Any
    second: Any = None


class Own:
    def __init__(self, first: Any) -> None:
        self.first, self.me = first, self


class Slotted:
    __slots__ = ("first",)

    def __init__(self, first: Any) -> None:
        self.first = first


RESULTS: dict[str, tuple[Callable[[Tensor], Any], tuple[str, ...]]] = {
    "named tuple with None": (lambda h: Pair(h.relu(), None), ("relu",)),
    "dataclass in a dict in a dataclass": (lambda h: Record({"a": Record(None, h.relu())}), ("relu",)),
    "object that holds itself": (lambda h: Own(h.relu()), ("relu",)),
    "object with slots": (lambda h: Slotted(h.relu()), ("relu",)),
    "generator": (lambda h: (part for part in (h.relu(), h.tanh())), ("relu", "tanh")),
    "tensor and array": (lambda h: (h.relu(), np.zeros(3), "text", 4), ("relu",)),
    "distribution": (lambda h: distributions.Normal(h.tanh(), h.exp()), ("tanh", "exp")),
    "distribution in another": (
        lambda h: distributions.Independent(distributions.Normal(h.tanh(), 1.0), 1),
        ("tanh",),
    ),
    "None": (lambda h: (h.relu(), None)[1], ("relu",)),
    "number": (lambda h: float(h.relu().sum()), ("sum",)),
    "array": (lambda h: h.relu().numpy(), ("detach",)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_that_are_no_tensors_are_looked_into(name: str) -> None:
    make, wanted = RESULTS[name]
    graph = layer_graph(Out(make).eval(), torch.randn(2, 4))
    ops = {list(graph)[ref.node].op.rpartition(".")[2] for ref in graph.outputs}

    assert set(wanted) <= ops
    assert rfcalc.analyze(graph).totals.macs == 24
    said = [notice for notice in graph.meta["notices"] if "stands for its results" in notice]
    assert bool(said) == (name in ("None", "number", "array"))


def test_a_model_that_computes_nothing_is_refused() -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> None:
            return None

    with pytest.raises(TraceError, match="returned no tensor that was computed from its inputs, but None"):
        analyze(Nothing(), torch.randn(2, 4))


# --- lazy modules -----------------------------------------------------------------------------------------------------


def _lazy() -> nn.Sequential:
    return nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5), nn.Linear(5, 2)
    )


def test_a_lazy_model_has_the_shapes_that_its_input_gives_and_stays_lazy() -> None:
    model, x = _lazy(), torch.randn(1, 3, 8, 8)
    last = model[5].weight
    before = last.clone()
    found = analyze(model, x)

    assert nn.parameter.is_lazy(model[0].weight)
    assert (type(model[0]), type(model[4])) == (nn.LazyConv2d, nn.LazyLinear)
    assert model[5].weight is last
    assert torch.equal(last, before)
    assert [layer.name for layer in found.layers[1:]] == ["0", "4", "5"]
    again = analyze(model, torch.randn(1, 3, 9, 9))
    model(x)  # what it would have been
    for other in (analyze(model, x), found):
        assert (other.totals.params, other.totals.macs) == (112 + 8 + 725 + 12, 36 * 4 * 27 + 720 + 10)
    assert again.totals.params == 112 + 8 + (4 * 49 * 5 + 5) + 12


def test_a_lazy_model_is_verified() -> None:
    model = _lazy().eval()

    assert rfcalc.verify(model, torch.randn(1, 3, 8, 8), device="cpu", timing=False, probes=2).agree
    assert nn.parameter.is_lazy(model[0].weight)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(5, 3), nn.LazyLinear(2)), "reduction dim|cannot be multiplied"),
        (Out(lambda h: h), "b.weight has no shape yet"),
    ],
)
def test_a_lazy_module_that_gets_no_shape_is_told(model: nn.Module, words: str) -> None:
    if isinstance(model, Out):
        model.b = nn.LazyLinear(3)

    with pytest.raises(LoadError, match=words) as caught:
        analyze(model, torch.randn(2, 4))

    assert "run the model once on an example" in str(caught.value)


# --- programs of TorchScript ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("way", [lambda m, x: torch.jit.trace(m, x), lambda m, x: torch.jit.script(m)])
def test_a_traced_or_scripted_module_counts_as_the_module_does(way: Callable[..., Any]) -> None:
    x = torch.randn(1, 3, 8, 8)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    made = way(plain, x)
    for model, one in ((made, plain), (nn.Sequential(made, nn.Linear(5, 2)), nn.Sequential(plain, nn.Linear(5, 2)))):
        found, wanted = analyze(model, x), analyze(one, x)
        assert (found.totals.params, found.totals.macs) == (wanted.totals.params, wanted.totals.macs)
        assert not found.totals.unused_params


class _Normed(nn.Module):
    """A convolution whose norm a frozen program folds away, and a norm that stays."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.last = nn.Sequential(nn.Flatten(), nn.LayerNorm(4 * 36), nn.Linear(4 * 36, 5))
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_frozen_program_has_the_weights_that_it_keeps_as_constants() -> None:
    frozen = torch.jit.freeze(torch.jit.script(_Normed().eval()))
    found = analyze(nn.Sequential(frozen, nn.Linear(5, 2)), torch.randn(1, 3, 8, 8))
    wanted = analyze(nn.Sequential(_Normed(), nn.Linear(5, 2)), torch.randn(1, 3, 8, 8))

    assert (found.totals.params, found.totals.macs) == (wanted.totals.params - 2 * 4, wanted.totals.macs)
    assert [layer.params for layer in found.layers if layer.macs] == [112 + 2 * 4 * 36, 4 * 36 * 5 + 5, 12]
    assert any("frozen" in notice for notice in found.notices)
    assert not found.totals.unused_params
    verified = rfcalc.verify(frozen, torch.randn(1, 3, 8, 8), device="cpu", timing=False, probes=2)
    assert verified.agree
    assert any("not checked" in note for check in verified.checks for note in check.notes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("setting", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
def test_a_scripted_recurrent_layer_counts_as_the_layer_does(setting: dict[str, Any]) -> None:
    plain = Last(nn.LSTM(4, 5, **setting)).eval()
    x = torch.randn(6, 2, 4)
    found, wanted = analyze(torch.jit.script(plain), x), analyze(plain, x)

    assert (found.totals.macs, found.totals.flops) == (wanted.totals.macs, wanted.totals.flops)
    assert (found.totals.params, found.totals.status) == (wanted.totals.params, "complete")
    checked = rfcalc.verify(torch.jit.script(plain), x, device="cpu", probes=2)  # with times, though nobody can hook it
    assert checked.agree
    assert checked.check("shapes").compared > 4


class Last(nn.Module):
    """The outputs of a recurrent layer, without its states."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


# --- rows of different lengths ----------------------------------------------------------------------------------------


def _jagged(x: torch.Tensor) -> torch.Tensor:
    return torch.nested.nested_tensor([x[0, :3], x[0, 1:6]], layout=torch.jagged)


@pytest.mark.parametrize(
    "forward",
    [
        lambda layer, x: layer(_jagged(x)),
        lambda layer, x: torch.nested.to_padded_tensor(layer(_jagged(x)), 0.0),
        lambda layer, x: layer(torch.nested.nested_tensor_from_jagged(x[0].repeat(2, 1)[:8], torch.tensor([0, 3, 8]))),
    ],
)
def test_a_layer_over_rows_of_different_lengths_counts_for_each_row(forward: Callable[..., Any]) -> None:
    found = analyze(Over(forward), torch.randn(1, 6, 8))

    assert (found.totals.macs, found.totals.params, found.totals.status) == (8 * 8 * 4, 36, "complete")
    assert not found.totals.unused_params


def test_padding_behind_short_rows_sees_nothing() -> None:
    model = Over(lambda layer, x: torch.nested.to_padded_tensor(layer(_jagged(x)), 0.0))
    first, last = regions(analysed(model, torch.randn(1, 6, 8)))[1]

    for row, start, count in ((0, 0, 3), (1, 1, 5)):
        assert first[row, :count, 0].tolist() == last[row, :count, 0].tolist() == [*range(start, start + count)]
    assert (last[0, 3:] < first[0, 3:]).all()


def test_a_nested_tensor_may_be_the_input() -> None:
    rows = torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(5, 8)], layout=torch.jagged)

    assert analyze(Over(lambda layer, x: layer(x)), rows).totals.macs == 8 * 8 * 4


class Attends(nn.Module):
    """Attention of two heads among the elements of each row."""

    def __init__(self, rows: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.rows, self.enter, self.leave = rows, nn.Linear(8, 24), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        parts = [part.unflatten(-1, [2, 4]).transpose(1, 2) for part in self.enter(self.rows(x)).chunk(3, -1)]
        attended = nn.functional.scaled_dot_product_attention(*parts)
        return self.leave(attended.transpose(1, 2).flatten(-2))


@pytest.mark.parametrize("inside", [True, False])
def test_attention_among_the_elements_of_rows_of_different_lengths(inside: bool) -> None:
    x = torch.randn(1, 6, 8)
    found = analyze(Attends(_jagged), x) if inside else analyze(Attends(), _jagged(x))

    products = 2 * (3 * 3 + 5 * 5) * (4 + 4)  # heads, pairs within a row, scores and weighted values
    assert found.totals.macs == 8 * (8 * 24 + 8 * 4) + products
    assert (found.totals.params, found.totals.status) == (24 * 9 + 4 * 9, "complete")
    assert not any("real" in notice for notice in found.notices)


def test_rows_of_different_lengths_do_not_see_each_other() -> None:
    first, last = regions(analyze(Attends(), _jagged(torch.randn(1, 6, 8)), axes={"T": 0}))[0]

    assert first[:, 0].tolist() == [0, 0, 0, 3, 3, 3, 3, 3]
    assert last[:, 0].tolist() == [2, 2, 2, 7, 7, 7, 7, 7]


def test_a_model_of_nested_rows_is_verified() -> None:
    assert rfcalc.verify(Attends(), _jagged(torch.randn(1, 6, 8)), timing=False).agree


def test_nested_tensors_of_the_other_layout_are_refused_by_name() -> None:
    with pytest.raises(TraceError, match=r"layout torch\.strided.*layout=torch\.jagged"):
        analyze(Over(lambda layer, x: layer(torch.nested.nested_tensor([x[0, :3], x[0]]))), torch.randn(1, 6, 8))


class Over(nn.Module):
    """A linear layer, run as a function says."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self.layer, x)


# --- norms over processes ---------------------------------------------------------------------------------------------


def test_a_norm_over_processes_is_that_of_one_in_training(tmp_path: Path) -> None:
    def model(norm: type[nn.Module]) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), norm(4))

    group = torch.distributed
    if not group.is_available() or group.is_initialized():
        pytest.skip("needs a process group of its own")
    group.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        over, alone = (
            analyze(model(norm), torch.randn(2, 3, 8, 8), training=True) for norm in (nn.SyncBatchNorm, nn.BatchNorm2d)
        )
    finally:
        group.destroy_process_group()

    assert over.totals == alone.totals
    assert over.totals.macs == 2 * 36 * 4 * 27
