"""The sweeps of models of packages: the inputs that they derive, and what they hold the numbers against."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of benchmarks/, which finds the one beside it as a program does."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module


# --- inputs -----------------------------------------------------------------------------------------------------------


class Text(nn.Module):
    def forward(self, input_ids: Any = None, attention_mask: Any = None, decoder_input_ids: Any = None) -> None: ...


class Image(nn.Module):
    def forward(self, pixel_values: Any, bool_masked_pos: Any = None) -> None: ...


class Sound(nn.Module):
    def forward(self, input_features: Any, input_features_mask: Any = None) -> None: ...


class Documented(nn.Module):
    def forward(self, hidden_states: Any, places: Any) -> None:
        """
        hidden_states (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`):
            What is told.
        places_mask (`torch.Tensor` of shape `(1, 2)`):
            Another.
        places (`torch.Tensor` of shape `(batch_size, 2 * hidden_size)`):
            Where.
        """


class Session(nn.Module):
    def forward(self, inference_session: Any) -> None: ...


def _config(**settings: Any) -> Any:
    return SimpleNamespace(model_type="none", **settings)


FIRST: dict[str, tuple[nn.Module, Any, dict[str, tuple[int, ...]]]] = {
    "text": (Text(), _config(), {"input_ids": (1, 16), "attention_mask": (1, 16)}),
    "two texts": (
        Text(),
        _config(is_encoder_decoder=True),
        {"input_ids": (1, 16), "attention_mask": (1, 16), "decoder_input_ids": (1, 16)},
    ),
    "image": (Image(), _config(image_size=[32, 48], num_channels=1), {"pixel_values": (1, 1, 32, 48)}),
    "sound": (
        Sound(),
        _config(num_mel_bins=80, num_stacked_frames=7),
        {"input_features": (1, 128, 560), "input_features_mask": (1, 128)},
    ),
    "as documented": (Documented(), _config(hidden_size=8), {"hidden_states": (1, 16, 8), "places": (1, 16)}),
}


@pytest.mark.parametrize("name", FIRST)
def test_the_most_natural_input(benchmark: Callable[[str], Any], name: str) -> None:
    model, config, shapes = FIRST[name]
    found = next(benchmark("transformers_inputs").proposals(model, config))
    assert {key: tuple(value.shape) for key, value in found.items()} == shapes
    assert all(value.all() for key, value in found.items() if key.endswith("mask"))


def test_proposals_differ_and_a_model_of_something_else_has_none(benchmark: Callable[[str], Any]) -> None:
    inputs, examining = benchmark("transformers_inputs"), benchmark("examining")
    shapes = [tuple(one["pixel_values"].shape) for one in inputs.proposals(Image(), _config(image_size=32))]
    assert shapes[0] == (1, 3, 32, 32)
    assert len(set(shapes)) == len(shapes) > 5
    with pytest.raises(examining.NoInputError, match="asks for inference_session"):
        next(inputs.proposals(Session(), _config()))


# --- what torch counts ------------------------------------------------------------------------------------------------


class Grid(nn.Module):
    """Positions that forward makes are multiplied by a buffer, and added to a linear layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("waves", torch.ones(2, 4))
        self.linear = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = torch.ones(5, 2, device=x.device) @ self.waves
        kept = torch.zeros(5, 4, device=x.device)
        kept[:, :2] = x[0, :, :2]
        return self.linear(x) + places + kept @ kept.new_ones(4, 4)


def test_products_of_constants_are_told_apart(benchmark: Callable[[str], Any]) -> None:
    """5 x 2 x 4 of constants alone; 5 x 8 x 4 and 5 x 4 x 4 of the input, the latter by what was written."""
    examining = benchmark("examining")
    with torch.device("meta"):
        counted = examining._counted(Grid(), {"x": torch.empty(1, 5, 8)})
    assert counted == {"macs": 40 + 160 + 80, "constants": 40}


class Squared(nn.Module):
    """A sparse matrix by itself and by a dense one."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x @ y + x @ (x @ x)


def test_of_products_with_sparse_tensors_what_is_stored_is_compared(benchmark: Callable[[str], Any]) -> None:
    """The counter takes 3 products of 2 x 2 by 2 x 2; of the stored elements 2, 2 and 4 pairs meet."""
    matrix = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).to_sparse()  # by itself: its first column, of 1, and its first row
    counted = benchmark("examining")._counted(Squared(), {"x": matrix, "y": torch.ones(2, 2)})
    assert counted["macs"] == 3 * 8
    assert counted["macs"] - counted["constants"] == 2 + 2 + 4


def _row(**other: Any) -> Any:
    said = {"params": 10, "macs": 90, "uncounted": {}, "unknown": {}, "notices": []}
    return said | other


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (_row(), "agrees"),
        (_row(notices=["traced on real CPU tensors, for x"]), "real"),
        (_row(macs=100), "wrong"),
        (_row(params=9), "wrong"),
        (_row(macs=100, uncounted={"aten.x": 10}), "agrees"),
        (_row(macs=80, unknown={"x": 1}), "incomplete"),
        (_row(macs=95, unknown={"x": 1}), "wrong"),
    ],
)
def test_verdicts(benchmark: Callable[[str], Any], said: Any, outcome: str) -> None:
    witness = {"params": 10, "macs": 100, "constants": 10}
    assert benchmark("examining")._compared(said, witness)["outcome"] == outcome


def test_zeros_stand_for_what_would_be_drawn(benchmark: Callable[[str], Any]) -> None:
    with benchmark("examining")._Zeros():
        layer = nn.Linear(8, 4)
        empty = torch.empty(3)
    assert not layer.weight.any()
    assert not empty.any()
    assert nn.Linear(8, 4).weight.any()
