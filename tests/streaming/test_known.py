"""Figures that papers and code publish, and leaks that were found in models meant to be causal."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rfcalc
from tests.streaming import nets

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def specs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The networks that benchmarks/stream_models.py looks at, written as papers say."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module("stream_specs")


def test_frame_0_of_encodec_waits_for_its_reflect_padding() -> None:
    """2,240 samples, 0 to 2239, where a steady frame has a hop of 320 and looks no further."""
    (found,) = rfcalc.stream(nets.Encodec(), (1, 9600), rate=24000).outputs

    assert (found.first, found.look_ahead, str(found.hop), found.delay) == (2240, 0, "320", 320)
    assert not found.causal
    assert {one.reason.split(" (")[0] for one in found.breaks} == {"reflect padding at the start"}


def test_demucs_looks_37_milliseconds_ahead(specs: Any) -> None:
    (found,) = rfcalc.stream(specs.Demucs(), (1, 2048), rate=16000).outputs

    assert found.delay == specs.Demucs().valid(1) == 597
    assert found.to_dict(16000)["milliseconds"]["delay"] == pytest.approx(37.3125)


def test_wavenet_and_conv_tasnet(specs: Any) -> None:
    wavenet = rfcalc.stream(specs.WaveNet(6, 2), (1, 256)).outputs[0]
    tasnet = rfcalc.stream(specs.ConvTasNet(True), (1, 256), rate=8000).outputs[0]
    whole = rfcalc.stream(specs.ConvTasNet(False), (1, 256), rate=8000).outputs[0]

    assert (wavenet.look_back, wavenet.causal) == (1 + 2 * 63, True)
    assert (tasnet.delay, tasnet.look_back) == (16, None)  # 2 ms
    assert (whole.look_ahead, next(one.layer for one in whole.breaks if one.amount is None)) == (None, "norm")


@pytest.mark.parametrize(
    ("make", "shape", "axis", "layer", "amount"),
    [
        (lambda specs: specs.CausalVideo(True), (1, 3, 12, 4, 4), 2, "norm", None),
        (lambda specs: specs.Leak("same"), (1, 8, 32), 2, "conv", 1),
        (lambda specs: specs.Leak("mask"), (1, 8, 32), 2, "scaled_dot_product_attention", 1),
        (lambda specs: specs.Leak("norm"), (1, 8, 32), 2, "norm", None),
    ],
)
def test_leaks_are_found(
    specs: ModuleType,
    make: Callable[[ModuleType], Any],
    shape: tuple[int, ...],
    axis: int,
    layer: str,
    amount: int | None,
) -> None:
    """A norm over time in a tokenizer, a padding on both sides, a mask off by one, a norm of sequences."""
    (found,) = rfcalc.stream(make(specs), shape, axes={"T": axis}).outputs

    assert not found.causal
    assert (found.breaks[0].layer, found.breaks[0].amount) == (layer, amount)


def test_what_leaks_are_rebuilt_from_is_causal(specs: Any) -> None:
    assert rfcalc.stream(specs.CausalVideo(), (1, 3, 12, 4, 4), axes={"T": 2}).causal
    assert rfcalc.stream(specs.Leak(""), (1, 8, 32), axes={"T": 2}).causal
