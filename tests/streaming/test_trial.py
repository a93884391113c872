"""`--verify`: real numbers agree with what is said, and show it where something wrong is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.streaming import Streaming, trial
from tests.streaming import nets


def tried(model: nn.Module, shape: object = (1, 64), **settings: object) -> Streaming:
    torch.manual_seed(0)
    return rfcalc.stream(model, shape, verify=True, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model",
    [
        nets.Padded(5, 2, 2),
        nets.Padded(8, 4, 0, stride=4),
        nets.Padded(5, 4, 0, "reflect"),
        nn.Sequential(nn.Conv1d(1, 2, 4, 4), nn.ReLU(), nn.ConvTranspose1d(2, 1, 8, 4)),
        nets.Recurrent(padding=1),
        nets.Recurrent(bidirectional=True, channels=4),
        nets.Late(1),
        nets.Gate(),
    ],
)
def test_real_numbers_agree(model: nn.Module) -> None:
    found = tried(model)

    assert found.trial is not None
    assert [probe for probe in found.trial.probes if not probe.agree] == []
    assert found.trial.dtype == "float64"
    assert len(found.trial.probes) >= 2


def test_places_from_the_end_agree() -> None:
    """A chunk of samples is that of the units whose hops it holds, later ones than those of as many indices."""
    found = tried(nn.Sequential(nn.Conv1d(1, 1, 5), nn.Conv1d(1, 1, 8, 4)), (1, 103), align="end")

    assert found.chunk.halo == (8, 0)
    assert found.trial is not None
    assert found.trial.agree
    assert "a chunk with its halo gives what the whole signal gives" in [one.claim for one in found.trial.probes]


def test_an_output_without_order_in_time_is_tried_as_a_whole() -> None:
    found = tried(nn.Sequential(nn.Conv1d(1, 1, 3), nn.AdaptiveAvgPool1d(1))).trial

    assert found is not None
    assert (found.agree, found.notes) == (True, ())
    assert sum(one.tried for one in found.probes) >= 2


def test_an_output_that_hides_its_input_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of outputs without order is held against real numbers, too."""
    right = trial.together
    monkeypatch.setattr(trial, "together", lambda view: (right(view)[0], right(view)[1] - 2))

    assert not tried(nn.Sequential(nn.Conv1d(1, 1, 3), nn.AdaptiveAvgPool1d(1))).trial.agree  # type: ignore[union-attr]


def test_attention_under_a_mask_agrees() -> None:
    found = tried(nets.Attention(fused=False), torch.randn(1, 12, 4), axes={"T": 1})

    assert found.trial is not None
    assert found.trial.agree


@pytest.mark.parametrize(
    ("change", "claim", "seen"),
    [
        ({"last": -1}, "nothing that comes after what a unit reads moves it", "moves with samples from"),
        ({"last": 1}, "a unit moves with the last sample that it reads", "does not move with sample"),
        ({"first": 1}, "nothing that comes before what a unit reads moves it", "moves with samples up to"),
        ({"first": -1}, "a unit moves with the first sample that it reads", "does not move with sample"),
    ],
)
def test_a_wrong_delay_is_seen(monkeypatch: pytest.MonkeyPatch, change: dict[str, int], claim: str, seen: str) -> None:
    """One sample too few or too many, on either side."""
    right = trial.along

    def wrong(view: object, axis: int) -> tuple[np.ndarray, np.ndarray]:
        first, last = right(view, axis)  # type: ignore[arg-type]
        return np.clip(first + change.get("first", 0), 0, 63), np.clip(last + change.get("last", 0), 0, 63)

    monkeypatch.setattr(trial, "along", wrong)
    found = tried(nets.Padded(5, 2, 2)).trial

    assert found is not None
    assert not found.agree
    (probe,) = [probe for probe in found.probes if probe.claim == claim]
    assert seen in probe.seen


def test_a_halo_that_is_too_small_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = trial.measure.stream

    def wrong(*args: object, **settings: object) -> Streaming:
        found = right(*args, **settings)  # type: ignore[arg-type]
        return replace(found, chunk=replace(found.chunk, halo=(2, 1)))

    monkeypatch.setattr(trial.measure, "stream", wrong)
    found = tried(nets.Padded(5, 2, 2)).trial

    assert found is not None
    assert not found.agree
    assert "by themselves differ" in [probe.seen for probe in found.probes][-1]


def test_what_small_weights_hide_is_no_error() -> None:
    """Through 12 convolutions the last sample arrives as 1e-49 of what the shortcut brings."""
    model = nn.Sequential(nets.Deep(12))
    for weight in model.parameters():
        nn.init.normal_(weight, std=1e-4)

    assert tried(model, (1, 96)).trial.agree  # type: ignore[union-attr]


def test_what_one_signal_hides_is_no_error() -> None:
    """A unit that is dead on the signal given, however much a sample is moved."""
    model, signal = nets.Dead(), torch.full((1, 1, 32), -2.0)
    found = tried(model, signal)

    assert (found.outputs[0].look_back, found.outputs[0].look_ahead) == (2, 2)
    assert found.trial is not None
    assert [probe for probe in found.trial.probes if not probe.agree] == []


class ByLength(nn.Module):
    """Divides by how long the signal is, which no unit reads."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / x.shape[-1]


def test_what_came_so_far_is_run_by_itself() -> None:
    found = tried(ByLength()).trial

    assert found is not None
    assert [one.claim for one in found.probes if not one.agree] == [
        "the samples so far by themselves give what is complete",
        "a chunk with its halo gives what the whole signal gives",
    ]
    assert "42 samples by themselves differ by" in " ".join(one.seen for one in found.probes)


@pytest.mark.parametrize("model", [nets.Recurrent(padding=1), nets.Attention(), nets.Late(1)])
def test_what_is_complete_needs_nothing_else(model: nn.Module) -> None:
    shape, axes = ((1, 16, 4), {"T": 1}) if isinstance(model, nets.Attention) else ((1, 1, 64), {"T": 2})
    found = tried(model, torch.randn(shape), axes=axes).trial

    assert found is not None
    (probe,) = [one for one in found.probes if one.claim.startswith("the samples so far by themselves")]
    assert (probe.tried, probe.agree) == (2, True)


def test_numbers_that_are_none_are_no_difference() -> None:
    whole = torch.tensor([1.0, float("nan"), float("inf")], dtype=torch.float64)

    assert trial._apart(whole.clone(), whole) is None
    assert trial._apart(torch.tensor([1.5, float("nan"), float("inf")], dtype=torch.float64), whole) == 0.5


def test_the_model_stays_as_it_is() -> None:
    model = nets.Padded(5, 2, 2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    rfcalc.stream(model, (1, 64), verify=True)

    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
