"""Bytes of small networks, counted by hand: float32, a batch of 2 unless said otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.errors import TraceError
from rfcalc.footprint.results import Memory

F = 4  #: bytes of a float32


class Chain(nn.Module):
    """Two linear layers with something between them."""

    def __init__(self, between: nn.Module, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.between = between
        self.last = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.between(self.first(x)))


class Code(nn.Module):
    """A forward of one's own."""

    def __init__(self, code: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.code = code
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> Any:
        return self.code(x * self.weight)


def training(model: nn.Module, shape: tuple[int, ...] = (2, 4), **more: Any) -> Memory:
    return rfcalc.memory(model, shape, training=True, **more)


CHAIN = (4 * 8 + 8 + 8 * 3 + 3) * F  #: parameters of a chain


def test_inference_holds_an_input_of_a_layer_until_its_caller_is_done() -> None:
    found = rfcalc.memory(Chain(nn.Tanh()), (2, 4))

    assert (found.params_bytes, found.buffers_bytes, found.inputs_bytes) == (CHAIN, 0, 2 * 4 * F)
    assert found.activation_elements == 2 * (8 + 3)
    assert found.activation_bytes == 2 * (8 + 3) * F
    assert found.peak_bytes == CHAIN + 2 * 4 * F + 2 * (2 * 8 * F)  # in tanh: its input and its output
    assert found.peak.at == "between/tanh"
    assert found.peak.by_role == {"parameter": CHAIN, "input": 32, "other": 128}


def test_in_place_takes_nothing_more() -> None:
    found = rfcalc.memory(Chain(nn.ReLU(inplace=True)), (2, 4))

    assert found.peak_bytes == CHAIN + 32 + 2 * 8 * F + 2 * 3 * F


@pytest.mark.parametrize(
    ("code", "others"),
    [
        (lambda x: x.t().reshape(2, 4).view(8)[2:], 2),  # the reshape of a transposed tensor is a copy
        (lambda x: x.view(8)[2:], 1),
        (lambda x: x.exp().exp().exp(), 3),  # the argument of the code, and what goes into the last and comes out
        (lambda x: (x.exp_().exp_(), x)[0], 1),
        (lambda x: x.expand(5, 2, 4).sum(0), 2),
        (lambda x: x[None].expand(5, 2, 4).contiguous(), 6),
    ],
)
def test_storages_not_tensors(code: Callable[[torch.Tensor], Any], others: int) -> None:
    found = rfcalc.memory(Code(code), (2, 4))

    assert found.peak.by_role["other"] == others * 2 * 4 * F


@pytest.mark.parametrize(
    ("between", "saved"),
    [
        (nn.Identity(), 2 * 8 * F),  # the last layer's input
        (nn.Tanh(), 2 * 8 * F),  # its output, which the last layer keeps anyway
        (nn.ReLU(), 2 * 8 * F),
        (nn.GELU(), 2 * (2 * 8 * F)),  # its input and, for the last layer, its output
        (nn.Dropout(0.5), 2 * 8 * F + 2 * 8 * F),  # a mask of what is kept, scaled, in float32 on a CPU
        (
            nn.LayerNorm(8),
            2 * 8 * F + 2 * 8 * F + 2 * 2 * F,
        ),  # its input, its output, means and deviations
        (nn.BatchNorm1d(8), 2 * 8 * F + 2 * 8 * F + 2 * 8 * F),  # and of each channel
        (nn.Softmax(-1), 2 * 8 * F),
        (nn.SiLU(inplace=True), 2 * (2 * 8 * F)),  # of a copy
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_what_autograd_saves(between: nn.Module, saved: int) -> None:
    if isinstance(between, nn.SiLU):
        between = nn.SiLU()
    found = training(Chain(between)).training

    assert found is not None
    assert found.saved_bytes == saved


def test_gradients_and_states() -> None:
    states = {}
    for optimizer in ("sgd", "momentum", "adamw", "none", "adam8bit"):
        found = training(Chain(nn.Tanh()), optimizer=optimizer).training
        assert found is not None
        assert found.gradients_bytes == CHAIN
        states[optimizer] = found.optimizer_bytes

    steps = 4 * F  # AdamW counts its steps for each parameter
    assert states == {"sgd": 0, "momentum": CHAIN, "adamw": 2 * CHAIN + steps, "none": 0, "adam8bit": 2 * CHAIN}


def test_eight_bits_for_what_is_large() -> None:
    found = training(nn.Linear(100, 100, bias=False), (1, 100), optimizer="adam8bit").training

    assert found is not None
    assert found.optimizer_bytes == 2 * (10_000 + 4 * 40) + 2048  # a scale for each 256 elements, two tables


def test_a_frozen_layer_saves_nothing_and_gets_nothing() -> None:
    free, frozen = (training(Chain(nn.Tanh()), freeze=pattern).training for pattern in ((), "first"))
    assert free is not None
    assert frozen is not None

    assert frozen.saved_bytes == free.saved_bytes == 64  # what comes in is an input; the last layer keeps its own
    assert frozen.gradients_bytes == (8 * 3 + 3) * F
    model = Chain(nn.GELU())
    model.first.requires_grad_(False)
    kept = training(model).training
    assert kept is not None
    assert kept.saved_bytes == 64  # GELU needs its input no more


def test_checkpointing_keeps_the_input_only() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8)) for _ in range(3)))
    plain, again = (training(model, (2, 8), checkpoint=pattern).training for pattern in ("", "[012]"))
    assert plain is not None
    assert again is not None

    assert plain.saved_bytes == (3 * 2 + 2) * 64  # two for each GELU, and what goes from one part to the next
    assert again.saved_bytes == 2 * 64  # what each part is given, but for the input
    assert again.gradients_bytes == plain.gradients_bytes


def test_growth_in_the_batch_is_linear() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    found = [rfcalc.memory(model, (3, 8, 8), training=True, batch=n) for n in (1, 2, 3, 10)]

    for numbers in zip(*((one.peak_bytes, one.training and one.training.saved_bytes) for one in found), strict=True):
        one, two, three, ten = (int(number or 0) for number in numbers)
        assert (three - two, ten - three) == (two - one, 7 * (two - one))


def test_types() -> None:
    full, half, cast = (
        rfcalc.memory(Chain(nn.Tanh()), (2, 4), training=True, **more)
        for more in ({}, {"dtype": "bf16"}, {"autocast": "bf16"})
    )

    assert (2 * half.params_bytes, 2 * half.peak_bytes) == (full.params_bytes, full.peak_bytes)
    assert (cast.params_bytes, 2 * (cast.activation_bytes or 0)) == (full.params_bytes, full.activation_bytes)
    assert cast.training is not None
    assert cast.training.gradients_bytes == CHAIN  # parameters stay what they are, and their gradients with them
    # as they were cast: the input, what tanh gives, and the last weight, for the gradient of what its layer is given
    assert cast.training.saved_bytes == 2 * (2 * 4 + 2 * 8 + 8 * 3)


def test_tied_weights_are_one_storage() -> None:
    model = Chain(nn.Identity(), width=4)
    model.between = nn.Linear(4, 4)
    model.between.weight = model.first.weight

    assert rfcalc.memory(model, (2, 4)).params_bytes == (16 + 4 + 4 + 12 + 3) * F


def test_nothing_of_the_model_is_changed() -> None:
    model = Chain(nn.BatchNorm1d(8)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    training(model, verify=True)

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert all(one.grad is None and one.requires_grad for one in model.parameters())
    assert "forward" not in vars(model.first)
    assert torch.equal(state, torch.get_rng_state())


def test_muon_keeps_one_buffer_for_a_matrix_and_adamw_two_for_all_else() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    found = training(Chain(nn.Tanh()), optimizer="muon").training

    assert found is not None
    assert found.optimizer_bytes == (4 * 8 + 8 * 3) * F + 2 * (8 + 3) * F + 2 * F  # and two counts of steps


@pytest.mark.parametrize(("optimizer", "states"), [("none", 0), ("adam8bit", 2 * 12 * F)])
def test_a_step_that_is_known_by_formula_holds_what_rests(optimizer: str, states: int) -> None:
    model = nn.Linear(3, 4, bias=False)
    found = rfcalc.memory(model, (2, 3), training=True, optimizer=optimizer).training

    assert found is not None
    assert found.phases["step"] == 2 * 12 * F + 2 * 3 * F + states  # weights and their gradients, and the input


def test_a_model_without_an_op_holds_its_input() -> None:
    found = rfcalc.memory(nn.Identity(), (2, 3), verify=True)

    assert found.agree
    assert (found.peak_bytes, found.peak.at, found.peak.phase) == (2 * 3 * F, "", "forward")


def test_gradients_that_are_sparse() -> None:
    model = nn.Embedding(5, 4, sparse=True)
    found = rfcalc.memory(model, torch.zeros(2, 3, dtype=torch.int64), training=True, optimizer="sgd", verify=True)

    assert found.training is not None
    assert found.agree
    assert found.training.gradients_bytes == 6 * (8 + 4 * 4)  # of 6 rows, their positions and numbers
    with pytest.raises(TraceError, match="cannot be trained: Adam does not support sparse gradients"):
        rfcalc.memory(model, torch.zeros(2, 3, dtype=torch.int64), training=True)


class Draws(nn.Module):
    """As many rows as Python's random numbers say, which differ from one pass to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = random.randrange(1, 10**4)
        return self.linear(x).expand(rows, 4) * (1.0 if x[0, 0].item() < 9 else 2.0)


def test_passes_draw_the_same_numbers() -> None:
    found = rfcalc.memory(Draws(), (1, 4), training=True, optimizer="none", verify=True)

    assert found.agree
    assert any("real" in notice for notice in found.notices)  # others were begun before, which draw, too
