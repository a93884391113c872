"""Look-ahead, look-back, delay, causality and who breaks it. Expected numbers follow from kernels and paddings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.errors import UsageError
from rfcalc.streaming import Stream
from tests.streaming import nets


def only(model: nn.Module, shape: Any = (1, 64), **settings: Any) -> Stream:
    """The only output of a model."""
    (found,) = rfcalc.stream(model, shape, **settings).outputs
    return found


def lengths(found: Stream) -> tuple[Any, ...]:
    return found.look_back, found.look_ahead, str(found.hop), found.delay, found.causal, found.chunk


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nets.Padded(5, 2, 2), (2, 2, "1", 3, False, None)),
        (nets.Padded(5, 4, 0), (4, 0, "1", 1, True, 1)),
        (nets.Padded(5, 4, 0, dilation=1, stride=2), (4, 0, "2", 1, True, 2)),
        (nets.Padded(3, 8, 0, dilation=4), (8, 0, "1", 1, True, 1)),
        (nets.Padded(3, 4, 4, dilation=4), (4, 4, "1", 5, False, None)),
        (nets.Padded(1, 0, 0), (0, 0, "1", 1, True, 1)),
        (nn.Sequential(nn.Conv1d(1, 1, 4, 4), nn.ConvTranspose1d(1, 1, 8, 4)), (7, 3, "1", 4, False, 4)),
        (nn.Sequential(nn.MaxPool1d(2), nn.Upsample(scale_factor=2)), (1, 1, "1", 2, False, 2)),
        (nets.Late(2), (4, 0, "1", 1, True, 1)),
        (nets.Late(1), (3, 1, "1", 2, False, None)),
        (nets.Late(6), (8, 0, "1", 0, True, 1)),
        (nets.Recurrent(), (None, 0, "4", 4, True, 4)),
        (nets.Recurrent(padding=1), (None, 4, "4", 8, False, None)),
        (nets.Recurrent(bidirectional=True), (None, None, "None", None, False, None)),
        (nets.Recurrent(bidirectional=True, channels=4), (None, 0, "4", 4, True, 4)),
        (nets.Gate(), (None, None, "1", None, False, None)),
        (nets.Later(3), (None, 16, "4", 20, False, None)),
    ],
)
def test_how_far_units_look(model: nn.Module, expected: tuple[Any, ...]) -> None:
    assert lengths(only(model)) == expected


@pytest.mark.parametrize(
    ("model", "length", "expected", "offset"),
    [
        (nn.Conv1d(1, 1, 5), 64, (4, 0, "1", 1, True, 1), 4),
        (nn.Conv1d(1, 1, 8, 4), 64, (4, 0, "4", 4, True, 4), 4),
        (nn.Conv1d(1, 1, 8, 4), 67, (4, 0, "4", 4, True, 4), 4),  # the last 3 are never read
        (nn.Sequential(nn.Conv1d(1, 1, 5), nn.Conv1d(1, 1, 8, 4)), 64, (8, 0, "4", 4, True, 4), 8),
        (nn.Sequential(nn.Conv1d(1, 1, 21), nn.Conv1d(1, 1, 11, padding=5)), 64, (25, 5, "1", 6, False, None), 20),
        (nn.Conv1d(1, 1, 3, 2, padding=1), 17, (0, 1, "2", 3, False, None), -1),  # units are of 0, of 1 and 2, ...
        (nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(1, 1, 3, 2)), 17, (1, 0, "2", 2, True, None), -1),
        (nets.Padded(5, 2, 2), 64, (2, 2, "1", 3, False, None), 0),
        (nets.Recurrent(), 66, (None, 0, "4", 4, True, 4), 0),
    ],
)
def test_places_from_the_end(model: nn.Module, length: int, expected: tuple[Any, ...], offset: int) -> None:
    """Without padding a unit is complete with its own hop if the last one ends with what is read."""
    found = only(model, (1, length), align="end")

    assert (lengths(found), found.offset) == (expected, offset)
    assert found.to_dict()["offset"] == offset


def test_who_looks_ahead_of_places_from_the_end() -> None:
    """The first convolution, which pads nothing, does not."""
    model = nn.Sequential(nn.Conv1d(1, 1, 21), nn.Conv1d(1, 1, 11, padding=5))
    start, end = (only(model, (1, 64), align=align) for align in ("start", "end"))

    assert [(one.layer, one.amount) for one in start.breaks] == [("0", 20), ("1", 5)]
    assert [(one.layer, one.amount) for one in end.breaks] == [("1", 5)]
    assert rfcalc.stream(model, (1, 64), align="end").state == rfcalc.stream(model, (1, 64)).state


def test_places_have_two_ends() -> None:
    with pytest.raises(UsageError, match="align start or end, not 'middle'"):
        rfcalc.stream(nn.Conv1d(1, 1, 3), (1, 8), align="middle")


def test_a_statistic_behind_which_all_is_padded_is_the_only_one_to_blame() -> None:
    """Units of padding see nothing, and what pads what is already whole adds nothing."""
    model = nn.Sequential(nn.GroupNorm(1, 1), nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(1, 1, 3, 2))

    assert [one.layer for one in only(model, (1, 12)).breaks] == ["0"]


@pytest.mark.parametrize("length", [64, 67])
@pytest.mark.parametrize("more", [[], [nn.Conv1d(1, 1, 3, padding=1)], [nn.AdaptiveAvgPool1d(1)]])
def test_what_a_stride_leaves_over_is_no_bound(length: int, more: list[nn.Module]) -> None:
    """Of 67 samples a stride of 4 never reads the last 3: a statistic of all its outputs is one of all that come."""
    found = only(nn.Sequential(nn.Conv1d(1, 1, 8, 4), nn.GroupNorm(1, 1), *more), (1, length))

    assert (found.look_ahead, found.breaks[-1].layer, found.breaks[-1].amount) == (None, "1", None)


def test_a_statistic_of_what_comes_first_is_bounded() -> None:
    found = only(nets.Preamble(16))

    assert (found.look_ahead, found.worst_look_ahead, found.causal) == (0, 15, False)


def test_what_is_told_of_the_first_positions_stays_so() -> None:
    """16 of 64 are all that the mean needs, and whatever is made of it."""
    found = only(nn.Sequential(nets.First(16), nn.AdaptiveAvgPool1d(1), nn.Conv1d(1, 1, 1), nn.Tanh()))

    assert (found.look_ahead, found.delay, found.first, found.sized) == (0, 16, 16, True)


@pytest.mark.parametrize("align", ["start", "end"])
def test_what_was_delayed_adds_nothing_to_what_sees_everything(align: str) -> None:
    """Copies of the first sample see it from places before it, and the convolution behind them does not."""
    model = nn.Sequential(nn.ReplicationPad1d((2, 0)), nn.Conv1d(1, 1, 3), nn.GroupNorm(1, 1))

    assert [one.layer for one in only(model, align=align).breaks] == ["2"]


def test_time_may_be_named_by_its_letter_where_it_is_clear() -> None:
    """The first of the three axes of a video is its frames."""
    found = rfcalc.stream(nn.Conv3d(1, 1, 3, padding=1), (1, 1, 8, 6, 4), axis="T")

    assert (found.axis, found.extent) == ("T", 8)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("ahead", "last", "expected"),
    [
        (0, None, (None, 0, "1", 1, True, 1)),
        (2, None, (None, 2, "1", 3, False, None)),
        (0, 5, (4, 0, "1", 1, True, 1)),
    ],
)
def test_masks(fused: bool, ahead: int, last: int | None, expected: tuple[Any, ...]) -> None:
    model = nets.Attention(ahead=ahead, fused=fused, last=last)

    assert lengths(only(model, torch.empty(1, 24, 4, device="meta"), axes={"T": 1})) == expected


@pytest.mark.parametrize(
    ("model", "blamed"),
    [
        (nets.Padded(5, 2, 2), [("conv", 2, "padding on both sides (2 before, 2 after")]),
        (nets.Padded(5, 4, 0), []),
        (nets.Padded(5, 0, 4), [("conv", 4, "no padding before its kernel, which spans 5")]),
        (nets.Padded(5, 4, 0, "reflect"), [("reflection_pad1d", 4, "reflect padding at the start")]),
        (nn.Sequential(nn.Conv1d(1, 1, 5, padding=2), nn.Conv1d(1, 1, 3, padding=1)), [("0", 2, ""), ("1", 1, "")]),
        (
            nn.Sequential(nn.Conv1d(1, 1, 5, padding=2), nn.ZeroPad1d((2, 0)), nn.Conv1d(1, 1, 3)),
            [("0", 2, "padding on both sides")],
        ),
        (nets.Recurrent(bidirectional=True), [("rnn", None, "bidirectional recurrence")]),
        (nets.Recurrent(bidirectional=True, channels=4), []),
        (nn.GroupNorm(1, 1), [("group_norm", None, "normalisation over time")]),
        (nn.InstanceNorm1d(1), [("instance_norm", None, "normalisation over time")]),
        (nets.Gate(), [("mean", None, "mean over all positions")]),
        (nets.Flip(), [("flip", None, "turned round")]),
        # the causal convolution has its padding before, and adds nothing to what the frames look ahead
        (nets.Later(3), [("enc", 4, "no padding before its kernel"), ("row", 12, "no padding before its kernel")]),
        (nets.Late(2), []),
        (nets.Late(1), [("conv", 2, "padding on both sides")]),
        (nn.Sequential(nn.MaxPool1d(2), nn.Upsample(scale_factor=2)), [("1", 1, "upsampling")]),
    ],
)
def test_who_looks_ahead(model: nn.Module, blamed: list[tuple[str, int | None, str]]) -> None:
    root = nn.Sequential() if isinstance(model, nn.GroupNorm | nn.InstanceNorm1d) else None
    if root is not None:
        root.add_module("conv", nn.Conv1d(1, 1, 1))
        root.add_module(type(model).__name__.replace("1d", "").replace("Norm", "_norm").lower(), model)
    found = only(root or model).breaks

    assert [(one.layer, one.amount) for one in found] == [(name, amount) for name, amount, _ in blamed]
    assert all(why in one.reason for one, (_, _, why) in zip(found, blamed, strict=True))


def test_attention_without_mask_is_named() -> None:
    (one,) = only(nets.Attention(ahead=None), torch.empty(1, 24, 4, device="meta"), axes={"T": 1}).breaks

    assert (one.amount, one.reason) == (None, "attention without a causal mask")


def test_a_mask_that_is_off_by_one_is_named() -> None:
    model = nets.Attention(ahead=1, fused=False)
    (one,) = only(model, torch.empty(1, 24, 4, device="meta"), axes={"T": 1}).breaks

    assert (one.amount, one.reason) == (1, "attention whose mask lets queries see later keys")


def test_borders_are_told_apart() -> None:
    """Reflecting 4 positions, unit 0 reads position 4; from unit 2 on nothing later than its own place is read."""
    found = only(nets.Padded(5, 4, 0, "reflect"))

    assert (found.look_ahead, found.worst_look_ahead, found.causal) == (0, 4, False)
    assert [(edge.side, edge.units, edge.look_ahead) for edge in found.borders] == [("start", 2, 4)]
    assert found.first == 5


def test_what_is_complete_after_so_many_samples() -> None:
    found = only(nets.Padded(8, 4, 0, stride=4))

    assert [found.complete_after(n) for n in (0, 3, 4, 7, 8, 64, 1000)] == [0, 0, 1, 1, 2, 16, 16]


def test_samples_frames_and_milliseconds() -> None:
    row = rfcalc.stream(nets.Recurrent(padding=1), (1, 64), rate=8000).to_dict()["outputs"][0]

    assert row["frames"] == {"look_ahead": 1, "look_back": None, "delay": 2}
    assert row["milliseconds"] == {"look_ahead": 0.5, "look_back": None, "hop": 0.5, "delay": 1.0, "first": 1.0}


def test_state_of_layers() -> None:
    """A kernel of 5 with dilation 3 keeps 12 positions, a stride is taken off; a GRU keeps its 4 numbers."""
    conv = rfcalc.stream(nn.Sequential(nn.Conv1d(2, 3, 5, dilation=3), nn.Conv1d(3, 1, 8, stride=4)), (2, 64))
    rnn = rfcalc.stream(nets.Recurrent(padding=1), (1, 64))

    assert [(one.layer, one.positions, one.elements, one.bytes) for one in conv.state] == [
        ("0", 12, 24, 96),
        ("1", 4, 12, 48),
    ]
    assert [(one.layer, one.kind, one.elements) for one in rnn.state] == [
        ("rnn", "recurrence", 4),
        ("out", "window", 8),
    ]
    assert rnn.totals == {"elements": 12, "bytes": 48}


@pytest.mark.parametrize("fused", [True, False])
def test_keys_and_values_grow_unless_a_mask_lets_go_of_them(fused: bool) -> None:
    shape = torch.empty(1, 24, 4, device="meta")
    grown = rfcalc.stream(nets.Attention(fused=fused), shape, axes={"T": 1})
    kept = rfcalc.stream(nets.Attention(fused=fused, last=5), shape, axes={"T": 1})

    assert [(one.kind, one.elements, one.growth) for one in grown.state] == [("keys and values", None, 4)] * 2
    assert [(one.kind, one.positions, one.elements) for one in kept.state] == [("keys and values", 4, 16)] * 2


def test_a_branch_waits_for_its_sibling() -> None:
    (one,) = rfcalc.stream(nets.Branches(), (1, 64)).delays

    assert (one.layer, one.branch, one.sibling, one.samples, one.elements) == ("add", "input", "conv", 2, 2)


def test_chunks() -> None:
    codec = nn.Sequential(nn.Conv1d(1, 1, 4, 4), nn.Conv1d(1, 1, 3, padding=1), nn.ConvTranspose1d(1, 1, 4, 4))
    fits, wrong = (rfcalc.stream(codec, (1, 64), chunk=size).chunk for size in (8, 6))

    # frame f reads frames f - 1 to f + 1, so that a chunk of two frames reads one frame before itself and one after
    assert (fits.least, fits.works, fits.units, fits.latency, fits.halo) == (4, True, (8,), 12, (4, 4))
    assert not wrong.works


def test_along_frames_of_a_video_and_rows_of_tokens() -> None:
    class Tokens(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(2).transpose(1, 2)

    causal = nn.Sequential(nn.ConstantPad3d((0, 0, 0, 0, 2, 0), 0), nn.Conv3d(3, 4, 3, padding=(0, 1, 1)))
    video = only(causal, (3, 8, 6, 6))
    tokens = only(nn.Sequential(*causal, Tokens()), (3, 8, 6, 6))

    assert lengths(video) == (2, 0, "1", 1, True, 1)
    assert lengths(tokens) == (2, 0, "1/36", 1, True, 1)


def test_the_only_axis_is_called_as_the_user_calls_it() -> None:
    assert rfcalc.stream(nets.Padded(5, 2, 2), (1, 64), axis="T").axis == "T"


def test_json() -> None:
    found = rfcalc.stream(nets.Padded(5, 2, 2), (1, 64)).to_dict()

    assert (found["schema"], found["axis"], found["extent"]) == ("rfcalc-stream/1", "L", 64)
    row = found["outputs"][0]
    assert {key: row[key] for key in ("layer", "causal", "look_ahead", "look_back", "hop", "delay")} == {
        "layer": "conv",
        "causal": False,
        "look_ahead": 2,
        "look_back": 2,
        "hop": "1",
        "delay": 3,
    }
    assert row["breaks"][0]["layer"] == "conv"
    assert found["state"] == [
        {
            "layer": "conv",
            "kind": "window",
            "of": "constant_pad_nd",
            "positions": 4,
            "elements": 4,
            "bytes": 16,
            "growth": 0,
        }
    ]
