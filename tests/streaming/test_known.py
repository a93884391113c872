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
def papers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The networks that benchmarks/stream_models.py looks at, written as papers say."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module("stream_papers")


@pytest.fixture
def leaks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Those that are meant to be causal and are not, and mended."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module("stream_leaks")


def test_frame_0_of_encodec_waits_for_its_reflect_padding() -> None:
    """2,240 samples, 0 to 2239, where a steady frame has a hop of 320 and looks no further."""
    (found,) = rfcalc.stream(nets.Encodec(), (1, 9600), rate=24000).outputs

    assert (found.first, found.look_ahead, str(found.hop), found.delay) == (2240, 0, "320", 320)
    assert not found.causal
    assert {one.reason.split(" (")[0] for one in found.breaks} == {"reflect padding at the start"}


def test_demucs_looks_37_milliseconds_ahead(papers: Any) -> None:
    (found,) = rfcalc.stream(papers.Demucs(), (1, 2048), rate=16000).outputs

    assert found.delay == papers.Demucs().valid(1) == 597
    assert found.to_dict(16000)["milliseconds"]["delay"] == pytest.approx(37.3125)


def test_wavenet_and_conv_tasnet(papers: Any) -> None:
    wavenet = rfcalc.stream(papers.WaveNet(6, 2), (1, 256)).outputs[0]
    tasnet = rfcalc.stream(papers.ConvTasNet(True), (1, 256), rate=8000).outputs[0]
    whole = rfcalc.stream(papers.ConvTasNet(False), (1, 256), rate=8000).outputs[0]

    assert (wavenet.look_back, wavenet.causal) == (1 + 2 * 63, True)
    assert (tasnet.delay, tasnet.look_back) == (16, None)  # 2 ms
    assert (whole.look_ahead, next(one.layer for one in whole.breaks if one.amount is None)) == (None, "norm")


def test_the_leak_of_open_retina(leaks: Any) -> None:
    """Up to 5 frames in the future, by the temporal padding of the second convolution; the first one has none."""
    leaky, mended = (
        rfcalc.stream(leaks.Retina(padding), (1, 1, 40, 8, 8), axes={"T": 2}, align="end").outputs[0]
        for padding in (5, 0)
    )

    assert [(one.layer, one.amount) for one in leaky.breaks] == [("two", 5)]
    assert leaky.breaks[0].reason.startswith("padding on both sides (5 before, 5 after")
    assert (leaky.look_ahead, mended.causal) == (5, True)


def test_the_leak_of_magvit2(leaks: Any) -> None:
    """Frames come as one, and pairs after it: a code of a pair reads the frame after it, mended it does not."""
    leaky, mended = (
        rfcalc.stream(leaks.VideoTokenizer(*pads), (1, 3, 17, 2, 2), axes={"T": 2}, align="end")
        for pads in ((1, 1), (2, 0))
    )

    assert (leaky["down"].look_ahead, leaky["down"].causal, leaky.outputs[0].look_ahead) == (1, False, 2)
    assert leaky["down"].breaks[0].layer == "down"
    assert (mended["down"].causal, mended.outputs[0].look_ahead) == (True, 1)  # of a pair, one waits for the other
    assert (leaky.outputs[0].first, mended.outputs[0].first) == (2, 1)


@pytest.mark.parametrize(
    ("make", "shape", "axis", "layer", "why", "ahead"),
    [
        (lambda leaks: leaks.Summaries(recurrent=False), (1, 64, 8), 1, "view#2", "a reshape", 15),
        (lambda leaks: leaks.Summaries(recurrent=True), (1, 64, 8), 1, "view#2", "a reshape", 15),
        (lambda leaks: leaks.Spectral(one_sided=False), (1, 64, 8), 1, "fft_r2c", "", None),
        (lambda leaks: leaks.Mixer(transposed=False), (1, 64, 4), 1, "view#8", "a reshape of 1x4x8x8 to 1x4x64", 49),
        (lambda leaks: leaks.CausalVideo(True), (1, 3, 12, 4, 4), 2, "norm", "normalisation over time", None),
        (lambda leaks: leaks.Leak("same"), (1, 8, 32), 2, "conv", "padding on both sides (1 before, 1 after", 1),
        (lambda leaks: leaks.Leak("mask"), (1, 8, 32), 2, "scaled_dot_product_attention", "attention whose mask", 1),
        (lambda leaks: leaks.Leak("norm"), (1, 8, 32), 2, "norm", "normalisation over time", None),
    ],
)
def test_leaks_are_found(
    leaks: ModuleType,
    make: Callable[[ModuleType], Any],
    shape: tuple[int, ...],
    axis: int,
    layer: str,
    why: str,
    ahead: int | None,
) -> None:
    """Those that were published of nanochat, Olmax and magvit2 (benchmarks/stream_leaks.py), and others."""
    (found,) = rfcalc.stream(make(leaks), shape, axes={"T": axis}).outputs

    assert (found.causal, found.look_ahead) == (False, ahead)
    assert (found.breaks[-1].layer, found.breaks[-1].reason[: len(why)]) == (layer, why)


def test_what_leaks_are_mended_to_is_causal(leaks: Any) -> None:
    for model, shape, axis in (
        (leaks.Summaries(recurrent=True, previous=True), (1, 64, 8), 1),
        (leaks.Spectral(one_sided=True), (1, 64, 8), 1),
        (leaks.Mixer(transposed=True), (1, 64, 4), 1),
        (leaks.CausalVideo(), (1, 3, 12, 4, 4), 2),
        (leaks.Leak(""), (1, 8, 32), 2),
    ):
        assert rfcalc.stream(model, shape, axes={"T": axis}).causal
