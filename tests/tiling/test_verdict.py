"""Grid, halo, margin, reach: against numbers derived by hand, and against real passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import rfcalc
from tests.tiling.brute import felt, gap
from tests.tiling.nets import Formula, Squeezed, UNet, Windowed, dac_decoder, taesd_decoder


def axis_of(model: nn.Module, shape: tuple[int, ...], axis: str = "H", **settings: Any) -> Any:
    """What is said of the first output along an axis."""
    plan = rfcalc.tile(model, shape, axes={"H": 2} if len(shape) == 3 and axis == "H" else None, **settings)
    assert plan.exact, plan.reasons
    return plan.outputs[0].axes[axis]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(
    ("depth", "reach", "align", "halo", "margin"),
    [(2, 23, 4, 22, 24), (3, 51, 8, 46, 48), (4, 107, 16, 94, 96), (5, 219, 32, 190, 192)],
)
def test_u_nets(depth: int, reach: int, align: int, halo: int, margin: int, strided: bool) -> None:
    """Depth 2: 4 pixels at full size on the way up, 4 at half, 4 at a quarter ... summed by hand in the issue's table;
    each level doubles what is below it: reach(d + 1) = 2 reach(d) + 5, halo(d + 1) = 2 halo(d) + 2."""
    found = axis_of(UNet(depth, strided), (1, 64, 64))

    assert (found.reach, found.align) == ((reach, reach), align)
    assert (found.halo, found.margin) == ((halo, halo), (margin, margin))
    assert (found.scale, found.offset, found.min_tile) == (1, 0, 2 * margin + align)


def test_taesd_decoder() -> None:
    """In latents: (1 + 9) at 1, (1 + 9)/2 ..., so that 19 latents are seen on each side; 8 pixels a latent."""
    found = axis_of(taesd_decoder(), (4, 16, 16))

    assert (found.halo, found.align, found.scale) == ((19, 19), 1, 8)


def test_dac_decoder() -> None:
    """10 frames on each side; 512 samples a frame."""
    plan = rfcalc.tile(dac_decoder(), (2, 32))
    found = next(iter(plan.outputs[0].axes.values()))

    assert plan.exact
    assert (found.halo, found.align, found.scale) == ((10, 10), 1, 512)


def test_the_witness_of_a_halo_is_real() -> None:
    model = UNet(2)
    found = axis_of(model, (1, 64, 64))
    before, after = found.witnesses

    assert (before.cut, before.unit, before.pixel) == (24, 24, 2)
    assert (after.cut, after.pixel) == (4, 25)
    assert felt(model, 96, before.cut, before.pixel, 1)[0]
    assert not felt(model, 96, before.cut, before.pixel - 1, 1)[0]
    assert felt(model, 96, after.cut, after.pixel, 1)[1]
    assert not felt(model, 96, after.cut, after.pixel + 1, 1)[1]


def test_a_stack_without_padding_reads_behind() -> None:
    """Two 3x3 kernels without padding, the second of stride 2: unit u reads 2u to 2u + 4."""
    found = axis_of(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, 2)), (1, 65, 65))

    assert (found.align, found.halo, found.margin) == (2, (0, 3), (0, 4))
    assert (str(found.scale), found.min_tile, found.min_output) == ("1/2", 6, 1)


def test_the_grid_is_found_where_the_window_hides_it() -> None:
    """A 7x7 kernel spans all that the pooled branch reads, so that the window slides evenly; the grid is 2."""

    def hidden(own: Any, x: torch.Tensor) -> torch.Tensor:
        return own.a(own.b(own.a(x))) + F.interpolate(F.avg_pool2d(x, 2), scale_factor=2)

    field = rfcalc.analyze(Formula(hidden), (2, 32, 32)).ops[-1].receptive_field
    found = axis_of(Formula(hidden), (2, 32, 32))

    assert field.period == (1, 1)
    assert (found.align, found.halo, found.margin) == (2, (3, 3), (4, 4))


def test_rows_that_are_cropped_and_padded_again() -> None:
    """What is cut away and padded with zeros is not seen, and still a tile's border spoils it: the halo says so."""

    def cropped(own: Any, x: torch.Tensor) -> torch.Tensor:
        return own.b(own.a(x[:, :, 3:-3]))

    model = Formula(cropped)
    plan = rfcalc.tile(model, (2, 40, 40), tile=20)
    found = plan.outputs[0].axes["H"]

    assert found.halo == found.margin == (2, 8)
    assert found.witnesses[0].border
    assert gap(model, plan, (1, 2, 40, 40)) < 1e-12


def test_windows_that_are_shifted() -> None:
    """Windows of 4 patches of 2 pixels: the grid is 8."""
    model = Windowed()
    plan = rfcalc.tile(model, (1, 64, 64), tile=40)
    found = plan.outputs[0].axes["H"]

    assert plan.exact
    assert found.align == 8
    assert gap(model, plan, (1, 1, 64, 64)) < 1e-12


_LOCAL: dict[str, tuple[Callable[[Any, torch.Tensor], torch.Tensor], str]] = {
    "squeeze": (lambda own, x: own.a(x) * torch.sigmoid(x.mean((2, 3), keepdim=True)), "mean"),
    "instance norm": (lambda own, x: own.b(F.instance_norm(own.a(x))), "norm"),
    "align_corners": (
        lambda own, x: own.b(F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear", align_corners=True)),
        "align_corners",
    ),
    "adaptive": (
        lambda own, x: own.a(x) + F.interpolate(F.adaptive_avg_pool2d(x, 6), size=x.shape[-2:]),
        "cells",
    ),
    "a parameter for each row": (lambda own, x: own.b(own.a(x) + own.place[:, :, : x.shape[2]]), "place"),
    "coordinates": (
        lambda own, x: own.b(own.a(x) + torch.linspace(-1, 1, x.shape[2]).view(1, 1, -1, 1)),
        "made in forward",
    ),
    "a number of the size": (lambda own, x: own.b(own.a(x) / x.shape[2]), "number"),
    "goes round": (lambda own, x: own.a(torch.roll(x, 3, 2)), "roll: rolls H"),
    "circular": (
        lambda own, x: own.a(F.pad(own.b(x), (1, 1, 1, 1), "circular")),
        "pad_circular: pads H with what lies",
    ),
    "reversed": (lambda own, x: own.a(x) + own.b(x.flip(2)), "other places of H"),
    "attention": (
        lambda own, x: (own.a(x).flatten(2).softmax(-1) @ x.flatten(2).transpose(1, 2)).sum(1)[:, :, None, None] + x,
        "whole",
    ),
    "cumulative": (lambda own, x: own.a(x.cumsum(2)), "before it"),
}


@pytest.mark.parametrize("name", _LOCAL)
def test_what_cannot_be_cut_says_why(name: str) -> None:
    formula, why = _LOCAL[name]
    plan = rfcalc.tile(Formula(formula), (2, 32, 32))

    assert not plan.exact
    assert any(why in text for text in plan.reasons), plan.reasons
    assert all(found.halo is None for found in plan.outputs[0].axes.values())


def test_the_halo_without_the_layers_to_blame() -> None:
    plan = rfcalc.tile(Squeezed(), (1, 32, 32))
    found = plan.outputs[0].axes["H"]

    assert not plan.exact
    assert [text.split(":")[0] for text in plan.reasons][:2] == ["mean", "norm"]
    assert (found.local_halo, found.halo) == ((2, 2), None)


def _up(x: torch.Tensor, size: torch.Size, mode: str) -> torch.Tensor:
    return F.interpolate(F.avg_pool2d(x, 3, 2), size=size, mode=mode)


@pytest.mark.parametrize(
    ("formula", "halo"),
    [
        # pooled j has pixels 2j..2j+2; linearly, unit 2k has pooled k-1 and k, unit 2k+1 has k and k+1: one row behind
        # 2k, 2k-2..2k+2, and before it, 2k-1, 2k-2..2k+2
        (lambda own, x: _up(x, x.shape[2:], "bilinear"), (2, 3)),
        # units 2k and 2k+1 have pooled k: pixels 2k..2k+2
        (lambda own, x: _up(x, x.shape[2:], "nearest"), (0, 1)),
        (lambda own, x: own.a(x) + _up(x, x.shape[2:], "nearest-exact"), (1, 1)),
        # three rows down, then a kernel of 3
        (lambda own, x: own.a(torch.roll(x, 3, 2)), (4, 1)),
        # row u of the output has padded rows u..u+4, of which row v is row v-3
        (lambda own, x: own.b(own.a(F.pad(x, (0, 0, 3, 3), mode="circular"))[:, :, 2:-2]), (3, 1)),
    ],
)
def test_the_halo_without_what_depends_on_the_size(formula: Any, halo: tuple[int, int]) -> None:
    """As if the ratio were that of a long axis, 2 here, and what goes round were not there."""
    plan = rfcalc.tile(Formula(formula), (2, 32, 32), axes={"H": 2})

    assert not plan.exact
    assert plan.outputs[0].axes["H"].local_halo == halo


def test_constants_that_are_alike_everywhere_do_no_harm() -> None:
    def zeros(own: Any, x: torch.Tensor) -> torch.Tensor:
        return own.b(own.a(x) + torch.zeros(1, 2, *x.shape[2:]) + torch.ones(x.shape[2], 1))

    assert rfcalc.tile(Formula(zeros), (2, 32, 32)).exact


def test_units_that_see_nothing_hide_no_grid() -> None:
    """Of a transposed kernel of 3 with stride 4 every fourth unit sees nothing, the one in the middle, too."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3, 4, padding=1), nn.ConvTranspose2d(2, 1, 3, 4, output_padding=1))
    plan = rfcalc.tile(model, (1, 32, 32), tile=16)
    found = plan.outputs[0].axes["H"]

    assert (found.align, str(found.scale)) == (4, "1")
    assert gap(model, plan, (1, 1, 32, 32)) < 1e-12


def test_repeated_rows_behind_the_end() -> None:
    """258 units of 256 pixels, in pairs: which one of a pair a tile's unit is, is told where the whole is longer."""
    model = nn.Sequential(nn.Conv1d(1, 1, 2, 2, padding=1), nn.Upsample(scale_factor=2))
    found = next(iter(rfcalc.tile(model, (1, 256)).outputs[0].axes.values()))

    assert (found.align, found.halo) == (2, (1, 0))


def test_features_without_channels_do_no_harm() -> None:
    """Some encoders have a level of no channels, which decoders join all the same."""

    def joined(own: Any, x: torch.Tensor) -> torch.Tensor:
        return own.b(torch.cat([own.a(x), torch.empty(1, 0, *x.shape[2:])], 1))

    plan = rfcalc.tile(Formula(joined), (2, 32, 32))

    assert plan.exact
    assert plan.outputs[0].axes["H"].halo == (2, 2)


def _board(x: torch.Tensor, period: int = 2) -> torch.Tensor:
    """1 on every so manieth diagonal."""
    rows, columns = (torch.arange(extent) for extent in x.shape[2:])
    return ((rows[:, None] + columns) % period == 0).to(x.dtype)


@pytest.mark.parametrize(
    ("formula", "align", "halo"),
    [
        (lambda own, x: own.b(own.a(x) * _board(x)), 2, 2),
        (lambda own, x: own.b(own.a(x) + _board(x, 3)), 3, 2),
        (lambda own, x: x + F.interpolate(F.avg_pool2d(x, 2) * _board(x[:, :, ::2, ::2]), scale_factor=2), 4, 0),
    ],
)
def test_a_checkerboard_is_cut_where_it_repeats(formula: Any, align: int, halo: int) -> None:
    """Masks of context models: numbers for each place that repeat are on the grid of their period."""
    model = Formula(formula)
    plan = rfcalc.tile(model, (2, 48, 48), tile=24)
    found = plan.outputs[0].axes["H"]

    assert plan.exact, plan.reasons
    assert (found.align, found.halo) == (align, (halo, halo))
    assert gap(model, plan, (1, 2, 48, 48)) < 1e-12


@pytest.mark.parametrize("size", [32, 33, 35])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_odd_sizes(size: int, ceil_mode: bool) -> None:
    """Windows of 3 that move by 2, the last one cut at the end: the tiles of an odd image are those of the whole."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(3, 2, ceil_mode=ceil_mode))
    plan = rfcalc.tile(model, (1, 32, 32), tile=14, image=(size, size))
    found = plan.outputs[0].axes["H"]

    assert plan.exact, plan.reasons
    assert (found.align, found.halo) == (2, (1, 2))
    assert gap(model, plan, (1, 1, size, size)) < 1e-12


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_padding_that_copies_is_right_at_borders(mode: str) -> None:
    def padded(own: Any, x: torch.Tensor) -> torch.Tensor:
        for kernel in (own.a, own.b):
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode=mode), kernel.weight)
        return x

    model = Formula(padded)
    plan = rfcalc.tile(model, (2, 30, 30), tile=12)

    assert plan.outputs[0].axes["H"].halo == (2, 2)
    assert gap(model, plan, (1, 2, 30, 30)) < 1e-12


def test_training_statistics_are_those_of_the_whole() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2))

    assert rfcalc.tile(model, (1, 32, 32)).exact
    plan = rfcalc.tile(model, (2, 1, 32, 32), training=True)
    assert not plan.exact
    assert plan.reasons[0].startswith("1: its statistics")


def test_an_inner_layer_can_be_asked() -> None:
    plan = rfcalc.tile("vgg16", layer="conv2_2")
    found = plan.outputs[0].axes["H"]

    assert plan.exact
    assert (found.halo, found.align, str(found.scale)) == ((6, 6), 2, "1/2")


def test_several_outputs_have_verdicts_of_their_own() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(1, 1, 3, padding=1)
            self.b = nn.Conv2d(1, 1, 3, 2, padding=1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.a(x), self.b(x), x.mean((2, 3))

    plan = rfcalc.tile(Two(), (1, 32, 32))

    assert [item.exact for item in plan.outputs] == [True, True, False]
    assert [plan.outputs[at].axes["H"].align for at in (0, 1)] == [1, 2]
    assert not plan.exact


def test_axes_treated_alike_are_looked_at_once_and_no_number_depends_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from rfcalc.tiling import verdict

    looked: list[str] = []
    along = verdict._along

    def counted(sizes: Any, axis: str, *rest: Any) -> Any:
        looked.append(axis)
        return along(sizes, axis, *rest)

    monkeypatch.setattr(verdict, "_along", counted)
    short = rfcalc.tile(UNet(2), (1, 64, 64))
    assert looked == ["H"]
    monkeypatch.setattr(verdict, "alike", lambda *_: False)
    assert rfcalc.tile(UNet(2), (1, 64, 64)).to_dict() == short.to_dict()
    assert looked == ["H", "H", "W"]


@pytest.mark.parametrize(
    "formula",
    [
        lambda own, x: own.a(x) / x.shape[3],
        lambda own, x: own.a(x) * torch.arange(1, 1 + x.shape[3]),
        lambda own, x: F.conv2d(own.a(x), own.b.weight[:, :, :, 1:], padding=(1, 0)),
    ],
)
def test_axes_that_only_look_alike(formula: Any) -> None:
    """What depends on the width alone says so of the width."""
    plan = rfcalc.tile(Formula(formula), (2, 32, 32))
    rows, columns = plan.outputs[0].axes.values()

    if plan.exact:
        assert (rows.halo, columns.halo) == ((2, 2), (1, 2))
    else:
        assert not any(text.endswith("H") for text in plan.reasons)


def test_sizes_that_run_are_part_of_the_grid() -> None:
    """Pixels put into channels and back are where they were, and still a length has to be even."""

    def there_and_back(own: Any, x: torch.Tensor) -> torch.Tensor:
        return F.pixel_shuffle(F.pixel_unshuffle(own.a(x), 2), 2)

    model = Formula(there_and_back)
    plan = rfcalc.tile(model, (2, 32, 32), tile=8)

    assert plan.exact
    assert plan.outputs[0].axes["H"].align == 2
    assert gap(model, plan, (1, 2, 32, 32)) < 1e-12


def test_an_upsampling_by_a_ratio_has_its_grid() -> None:
    """By 3/2 linearly: two pixels are three units, with weights of their own."""

    def wider(own: Any, x: torch.Tensor) -> torch.Tensor:
        return own.a(F.interpolate(x, scale_factor=1.5, mode="bilinear"))

    model = Formula(wider)
    plan = rfcalc.tile(model, (2, 32, 32), tile=12)
    found = plan.outputs[0].axes["H"]

    assert (found.align, str(found.scale)) == (2, "3/2")
    assert gap(model, plan, (1, 2, 32, 32)) < 1e-12


def test_padding_on_one_side() -> None:
    """Two rows before the first: unit u is in the place of pixel u - 2."""
    model = Formula(lambda own, x: own.a(F.pad(x, (0, 3, 2, 0))))
    plan = rfcalc.tile(model, (2, 32, 32), tile=12)
    found = plan.outputs[0].axes["H"]

    assert (found.halo, found.margin) == ((3, 0), (3, 0))
    assert gap(model, plan, (1, 2, 32, 32)) < 1e-12
