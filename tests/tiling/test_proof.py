"""What the proof shows of a halo: by numbers, derivatives, positive weights and NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.report.formats import render
from rfcalc.report.tiling import tiling_report
from tests.tiling.nets import Formula, UNet


def proved(model: nn.Module, shape: tuple[int, ...], **settings: Any) -> Any:
    """The proof of a model's tiles."""
    return rfcalc.tile(model, shape, verify=True, device="cpu", **settings).proof


def _closed(own: Any, x: torch.Tensor) -> torch.Tensor:
    return own.b(torch.relu(own.a(x) - 1e9))


def _weightless(own: Any, x: torch.Tensor) -> torch.Tensor:
    return x + own.place[:, :, :1] * own.b(own.a(x))


def _stopped(own: Any, x: torch.Tensor) -> torch.Tensor:
    return x + own.a(x).clamp(0.0, 0.0)


def _stepped(own: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.round(own.b(own.a(x)))


@pytest.mark.parametrize(
    ("formula", "least", "how"),
    [
        (lambda own, x: own.b(own.a(x)), "needed", "derivative"),
        (_stepped, "needed", "numbers"),
        (_weightless, "needed", "positive weights"),
        (_stopped, "not shown", ""),
    ],
)
def test_how_a_halo_is_shown_to_be_least(formula: Callable[..., torch.Tensor], least: str, how: str) -> None:
    torch.manual_seed(0)
    model = Formula(formula)
    torch.nn.init.zeros_(model.place)
    proof = proved(model, (2, 16, 16))

    assert proof.agree
    assert {(side.calm, side.least, side.how) for side in proof.sides} == {(True, least, how)}
    assert proof.not_shown == (4 if least == "not shown" else 0)


def test_what_is_not_shown_is_said_and_is_no_disagreement() -> None:
    plan = rfcalc.tile(Formula(_stopped), (2, 16, 16), verify=True, device="cpu")
    shown = render(tiling_report(plan))

    assert "no number tried shows that 0 is not" in shown
    assert "agrees; 4 halos are not shown to be least" in shown


def test_ways_that_all_relus_close() -> None:
    """Its own weights let nothing through, so that no number shows the halo; positive ones do."""

    class Closed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)
            nn.init.constant_(self.a.bias, -1e9)  # type: ignore[arg-type]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.b(torch.relu(self.a(x)))

    proof = proved(Closed(), (1, 16, 16))

    assert proof.agree
    assert {(side.halo, side.how) for side in proof.sides} == {(2, "positive weights")}


def test_deep_networks_whose_far_pixels_count_too_little_for_rounding() -> None:
    """Of 40 kernels the corner weights multiply to 10^-40, which no sum of float64 shows and a derivative does."""
    model = nn.Sequential(*(nn.Conv1d(1, 1, 3, padding=1) for _ in range(40)))
    proof = proved(model, (1, 64))

    assert proof.agree
    assert [(side.halo, side.least) for side in proof.sides] == [(40, "needed")] * 2


def test_a_large_image_is_cut_along_one_axis_after_the_other() -> None:
    model = nn.Conv2d(1, 1, 3, padding=150, dilation=150)
    proof = proved(model, (1, 16, 16))

    assert proof.agree
    assert [dict(trial.image) for trial in proof.trials] == [{"H": 303, "W": 16}, {"H": 16, "W": 303}]
    assert len(proof.sides) == 4


def test_what_computes_in_a_smaller_type_is_judged_by_it() -> None:
    """Sums in float32 inside a model of float64 differ by more than float64 rounds, where their order is another."""

    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv1d(3, 3, 31, padding=15)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x).float().softmax(1).to(x.dtype)

    class Constant(nn.Conv1d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + torch.ones((), dtype=torch.float32)

    models = nn.Conv1d(3, 3, 31, padding=15), Constant(3, 3, 31, padding=15), Narrow()
    wide, constant, narrow = (proved(one, (3, 64)).trials[0].outputs[0].bound for one in models)

    assert narrow > 1e6 * wide
    assert constant < 100 * wide


def test_a_model_that_cannot_run_in_float64() -> None:
    class Bytes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv1d(1, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a((x.clamp(0, 1) * 255).byte() / 255.0)

    proof = proved(Bytes(), (1, 16))
    assert proof.agree
    assert all(side.needed for side in proof.sides)


def test_the_same_along_two_axes_at_once() -> None:
    proof = proved(UNet(1), (1, 16, 16))

    assert [trial.tiles for trial in proof.trials] == [9]
    assert [(side.axis, side.side, side.least) for side in proof.sides] == [
        (axis, side, "needed") for axis in "HW" for side in ("before", "after")
    ]
