"""How what is seen moves: digits of positions, networks that read by index, the same network asked in another way."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rfcalc
from rfcalc.analyses.field import motion
from rfcalc.analyses.field.motion import Digit, Motion, Piece, even, unknown
from rfcalc.analyses.results import ReceptiveField
from rfcalc.analyses.summary import last_spatial_layer

# --- digits -----------------------------------------------------------------------------------------------------------


def reshaped(known: dict[int, Motion], before: tuple[int, ...], after: tuple[int, ...]) -> dict[int, Motion]:
    extents = tuple(extent if axis in known else 1 for axis, extent in enumerate(before))
    return motion.after_reshape(extents, known, before, after)


def test_rows_and_columns_of_tokens_are_digits() -> None:
    still = Digit(4, 1, 0, False)

    assert reshaped({0: even(6, 8)}, (6, 4), (24,)) == {0: (Digit(6, 1, 8), still)}
    assert reshaped({1: even(6, 8)}, (4, 6), (24,)) == {0: (still, Digit(6, 1, 8))}
    assert reshaped({0: (Digit(6, 1, 8), still)}, (24,), (6, 4)) == {0: even(6, 8)}


@pytest.mark.parametrize(
    "known", [even(12, 3), (Digit(12, 2, 3),), (Digit(12, 5, 1),), (Digit(12, 12, 7),), unknown(12)]
)
@pytest.mark.parametrize("extents", [(3, 4), (4, 3), (2, 6), (6, 2), (2, 3, 2), (12, 1), (1, 12)])
def test_what_is_split_and_joined_again_is_what_it_was(known: Motion, extents: tuple[int, ...]) -> None:
    apart = reshaped({0: known}, (12,), extents)
    through = reshaped(apart, extents, (12,))

    assert apart.keys() == {axis for axis, extent in enumerate(extents) if extent > 1}
    assert through == {0: known}


def test_a_split_between_digits_keeps_the_pace_of_the_whole() -> None:
    """Eight windows of 7 positions, read as 7 of 8."""
    windows = (Digit(8, 1, 28), Digit(7, 0, 0))

    assert motion.rate_of(windows) == (7, 28)
    made = reshaped({0: windows}, (56,), (7, 8))
    assert [motion.rate_of(made[axis]) for axis in (0, 1)] == [(7, 224), (7, 28)]


def test_two_positions_are_no_proof_of_a_pace() -> None:
    assert motion.picked(unknown(8), [0, 4]) == unknown(2)


@pytest.mark.parametrize(
    ("indices", "made"),
    [
        ([1, 3, 5, 7], even(4, 6)),
        ([7, 5, 3, 1], even(4, -6)),
        ([0, 1, 2, 2, 3, 4, 4, 5, 6], (Digit(3, 1, 6), Digit(3, 1, 3))),
        ([0, 1, 2, 3, 4, 5, 6, 7], even(8, 3)),
        ([4, 5, 6, 7, 0, 1, 2, 3], unknown(8)),  # round about
        ([0, 1, 3, 7], unknown(4)),
        ([-1, 0, 1, 2], unknown(4)),
        ([5], even(1, 3)),
    ],
)
def test_indices_that_are_sums_have_their_digits(indices: list[int], made: Motion) -> None:
    assert motion.picked(even(8, 3), indices) == made


def test_what_was_put_together_is_taken_apart() -> None:
    tokens: Motion = (Digit(3, 1, 8), Digit(4, 1, 0, False))
    joined: Motion = (Digit(13, 0, 0, pieces=(Piece(0, (motion.still(1),)), Piece(1, tokens))),)

    assert motion.picked(joined, range(1, 13)) == tokens
    assert motion.picked(joined, range(1, 5)) == (Digit(4, 1, 0, False),)
    assert motion.picked(joined, range(5)) == unknown(5)


def test_fields_of_one_pace_move_together() -> None:
    assert motion.together([even(8, 1), even(8, 1)], 8) == even(8, 1)
    assert motion.together([(Digit(8, 2, 2),), even(8, 1)], 8) == (Digit(8, 2, 2),)
    assert motion.together([(Digit(12, 2, 2),), (Digit(12, 3, 3),)], 12) == (Digit(12, 6, 6),)
    assert motion.together([even(8, 1), even(8, 2)], 8) == unknown(8)
    assert motion.together([even(8, 1), None], 8) == unknown(8)


# --- networks that read by index --------------------------------------------------------------------------------------


class Net(nn.Module):
    """A function of a signal, and layers that it may use."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def last(function: Callable[[Any, Tensor], Tensor], shape: tuple[int, ...], axes: Any, **layers: nn.Module) -> Any:
    return rfcalc.analyze(Net(function, **layers).eval(), torch.zeros(shape), axes=axes).ops[-1].receptive_field


def spectrum(net: Any, x: Tensor) -> Tensor:
    found = torch.stft(x, 16, 4, window=torch.ones(16, device=x.device), center=False, return_complex=True)
    return net.conv(found.abs())


def centered(net: Any, x: Tensor) -> Tensor:
    found = torch.stft(x, 16, 4, window=torch.ones(16, device=x.device), return_complex=True)
    return net.conv(found.abs())


def table(net: Any, x: Tensor) -> Tensor:
    return net.linear(x[:, torch.arange(13)[:, None] * 4 + torch.arange(16)])


#: Frames of 16 samples, every 4 samples, made in several ways; and where the first one begins.
FRAMES: dict[str, tuple[Callable[[Any, Tensor], Tensor], int]] = {
    "stft": (spectrum, 0),
    "stft, centred": (centered, -8),
    "Tensor.unfold": (lambda net, x: net.linear(x.unfold(-1, 16, 4)), 0),
    "as_strided": (lambda net, x: net.linear(x.as_strided((1, 13, 16), (64, 4, 1))), 0),
    "a table of indices": (table, 0),
    "unfold, reversed": (lambda net, x: net.linear(x.unfold(-1, 16, 4).flip(2)), 0),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_slide(name: str) -> None:
    function, start = FRAMES[name]
    found = last(function, (1, 64), {"T": 1}, conv=nn.Conv1d(9, 4, 1), linear=nn.Linear(16, 4))

    assert (found.size, found.size_min, found.stride, found.start) == ((16,), (16,), (4,), (start,))
    assert (found.period, found.reach, found.status) == ((1,), ((-start, 12 + start),), "exact")


def test_layers_after_frames_go_on() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.conv(net.linear(x.unfold(-1, 16, 4)).transpose(1, 2))

    found = last(forward, (1, 128), {"T": 1}, linear=nn.Linear(16, 4), conv=nn.Conv1d(4, 4, 3, stride=2))

    assert (found.size, found.stride, found.start) == ((24,), (8,), (0,))


@pytest.mark.parametrize("size", [(32, 32), (32, 16)])
def test_unfolded_images_are_convolutions(size: tuple[int, int]) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        columns = functional.unfold(x, 3, padding=1, stride=2)
        return net.linear(columns.transpose(1, 2)).transpose(1, 2).reshape(1, 4, size[0] // 2, size[1] // 2)

    found = last(forward, (1, 1, *size), {"H": 2, "W": 3}, linear=nn.Linear(9, 4))
    plain = last(lambda net, x: net.conv(x), (1, 1, *size), None, conv=nn.Conv2d(1, 4, 3, 2, 1))

    assert (found.size, found.stride, found.start, found.reach) == (plain.size, plain.stride, plain.start, plain.reach)


def test_what_goes_round_slides() -> None:
    conv = nn.Conv1d(1, 1, 3, padding=1)
    there = last(lambda net, x: net.conv(x.roll(3, -1)), (1, 1, 32), None, conv=conv)
    back = last(lambda net, x: net.conv(x.roll(-20, -1)).roll(20, -1), (1, 1, 32), None, conv=conv)

    assert (there.size, there.stride, there.start, there.reach) == ((3,), (1,), (-4,), ((4, 0),))
    assert (back.size, back.stride, back.start, back.reach) == ((3,), (1,), (-1,), ((1, 1),))


def test_interleaved_writes_alternate() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        made = torch.zeros(1, 1, 2 * x.shape[-1], device=x.device)
        made[..., 0::2] = net.conv(x)
        made[..., 1::2] = x
        return made

    found = last(forward, (1, 1, 32), None, conv=nn.Conv1d(1, 1, 5, padding=2))

    assert (found.size, found.size_min, found.stride) == ((5,), (1,), (Fraction(1, 2),))
    assert (found.start, found.period, found.reach) == ((-2,), (2,), ((2, 2),))


def test_patches_that_are_stacked_are_places() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.linear(torch.stack([x[..., at : at + 4] for at in range(0, 32, 4)], 1))

    analysis = rfcalc.analyze(Net(forward, linear=nn.Linear(4, 2)), torch.zeros(1, 1, 32), axes={"T": 2})

    assert analysis.ops[-1].receptive_field.places
    assert analysis.ops[-1].receptive_field.size == (4,)


# --- the same network, asked in another way ---------------------------------------------------------------------------


def windows(x: Tensor, side: int) -> Tensor:
    batch, channels, height, width = x.shape
    cut = x.reshape(batch, channels, height // side, side, width // side, side).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(-1, side * side, channels)


def image(x: Tensor, batch: int, height: int, width: int, side: int) -> Tensor:
    cut = x.reshape(batch, height // side, width // side, side, side, -1).permute(0, 5, 1, 3, 2, 4)
    return cut.reshape(batch, -1, height, width)


def attention(x: Tensor) -> Tensor:
    return (x @ x.transpose(1, 2)).softmax(-1) @ x


def windowed(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    return net.last(image(attention(windows(x, 4)), x.shape[0], *x.shape[2:], 4))


def shifted(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    y = image(attention(windows(x.roll((-2, -2), (2, 3)), 4)), x.shape[0], *x.shape[2:], 4)
    return net.last(y.roll((2, 2), (2, 3)))


def global_tokens(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    tokens = attention(x.flatten(2).transpose(1, 2))
    return net.last(tokens.transpose(1, 2).reshape(x.shape))


def shrunk(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    return net.last(functional.interpolate(functional.max_pool2d(x, 2), scale_factor=2) + x)


NETS = {"windows": windowed, "shifted windows": shifted, "tokens": global_tokens, "down and up": shrunk}


def field_of(name: str, height: int, width: int, batch: int = 1, skip: int = 0) -> ReceptiveField:
    def forward(net: Any, x: Tensor) -> Tensor:
        return NETS[name](net, x[:, :, skip:])

    layers = {"stem": nn.Conv2d(2, 4, 3, 2, 1), "last": nn.Conv2d(4, 4, 3, padding=1)}
    net, given = Net(forward, **layers).eval(), torch.zeros(batch, 2, height + skip, width)
    analysis = rfcalc.analyze(net, given, axes={"H": 2, "W": 3})
    layer = last_spatial_layer(analysis.layers)
    assert layer is not None
    assert layer.name == "last"
    return layer.receptive_field


def said(field: ReceptiveField, axis: int) -> list[Any]:
    """What a field says along one axis."""
    several = (field.stride, field.start, field.center, field.reach)
    own = [None if values is None else values[axis] for values in several]
    assert field.local_size is not None
    return [field.size[axis], field.size_min[axis], field.local_size[axis], field.period[axis], *own]


@pytest.mark.parametrize("name", NETS)
def test_height_and_width_change_places(name: str) -> None:
    tall, wide = field_of(name, 96, 64), field_of(name, 64, 96)

    assert [said(tall, 0), said(tall, 1)] == [said(wide, 1), said(wide, 0)]
    assert tall.context == wide.context


@pytest.mark.parametrize("name", NETS)
def test_a_square_image_says_along_both_axes_what_a_wide_one_says(name: str) -> None:
    square, tall = field_of(name, 64, 64), field_of(name, 96, 64)

    assert said(square, 0) == said(square, 1) == said(tall, 1)


@pytest.mark.parametrize("name", ["windows", "shifted windows", "down and up"])
def test_a_larger_image_has_the_same_window(name: str) -> None:
    assert said(field_of(name, 64, 64), 0) == said(field_of(name, 128, 64), 0)


@pytest.mark.parametrize("name", NETS)
def test_a_batch_of_two_sees_the_same(name: str) -> None:
    one, two = field_of(name, 64, 64), field_of(name, 64, 64, batch=2)

    assert [said(two, axis) for axis in (0, 1)] == [said(one, axis) for axis in (0, 1)]
    assert two.context == one.context


@pytest.mark.parametrize("name", ["windows", "shifted windows", "down and up"])
def test_what_is_cut_off_moves_the_window(name: str) -> None:
    whole, cut = said(field_of(name, 64, 64), 0), said(field_of(name, 64, 64, skip=3), 0)
    *same, _, start, center, _ = cut

    assert same == whole[:4]
    assert (cut[4], start - 3, center - 3) == (whole[4], whole[5], whole[6])
