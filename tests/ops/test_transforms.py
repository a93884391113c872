"""Rules of padding, rearrangement, Fourier transforms and sampling against poisoned calls."""

import math

import numpy as np
import pytest
import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision

import rfcalc
from rfcalc import reads
from rfcalc.graph import TensorInfo
from rfcalc.ops import Arg, Call, lookup
from tests.ops.oracle import bind, check_call, check_op, effect_of, support

ATEN = torch.ops.aten


def told_of(name, named, outs, which=0):
    """What the rule says output 0 reads of one tensor argument (by its position among the reads' tensors)."""
    effect, masks, tensors = effect_of(name, named, outs)
    told = np.zeros((*outs[0].shape, list(tensors.values())[which].numel()), dtype=bool)
    for arg, steps in effect.reads_of(0):
        if tensors[id(arg)] is list(tensors.values())[which]:
            told |= np.broadcast_to(support(arg.shape, steps, masks), told.shape)
    return effect, told


# --- padding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "widths"),
    [((1, 2, 3, 4), [1, 2, 0, 1]), ((2, 4, 3), [-1, 1]), ((2, 3), [1, 0, -1, -1]), ((1, 2, 3), [0, 0, 0, 0, 1, 1])],
)
def test_constant_pad(shape, widths):
    effect = check_op(ATEN.constant_pad_nd.default, torch.rand(shape), widths, 2.5)

    assert effect.kind == "pad"
    assert effect.attrs["value"] == 2.5
    assert effect.flops == {}


def test_constant_pad_without_a_value_and_whole():
    check_op(ATEN.constant_pad_nd.default, torch.rand(2, 3), [1, 1])
    check_op(ATEN.pad.default, torch.rand(2, 3), [1, 1])
    effect = check_op(ATEN.pad.default, torch.rand(1, 2, 3), [1, 1], "replicate")

    assert effect.attrs == {"padding": [[0, 0], [0, 0], [1, 1]], "mode": "replicate"}


@pytest.mark.parametrize("kind", ["reflection", "replication"])
def test_copying_pads(kind):
    one, two, three = (getattr(ATEN, f"{kind}_pad{d}d").default for d in (1, 2, 3))
    check_op(one, torch.rand(1, 2, 5), [4, 2])
    check_op(one, torch.rand(2, 5), [-1, 2])
    check_op(two, torch.rand(1, 1, 4, 5), [3, 1, 0, 2])
    check_op(two, torch.rand(1, 4, 5), [1, -2, -1, 1])
    check_op(three, torch.rand(1, 1, 2, 3, 2), [1, 0, 2, 1, 1, 1])


@pytest.mark.parametrize("kind", ["reflection", "replication"])
def test_padding_at_one_end_and_cropping_at_the_other(kind):
    one, two = (getattr(ATEN, f"{kind}_pad{d}d").default for d in (1, 2))
    check_op(one, torch.rand(1, 1, 4), [3, -1])
    check_op(one, torch.rand(1, 1, 5), [-2, 3])
    check_op(two, torch.rand(1, 1, 4, 3), [-1, 2, 3, -2])


def test_circular_pad():
    check_op(ATEN._pad_circular.default, torch.rand(1, 2, 3, 4), [2, 1, 3, 0])
    check_op(ATEN.pad.default, torch.rand(1, 2, 4), [2, 3], "circular")


def test_padding_moves_the_known_elements():
    blocked = np.array([[False, True, True]])
    arg = Arg((2, 3), blocked=blocked, zero=blocked)
    effect = lookup("aten.constant_pad_nd")(
        Call("aten.constant_pad_nd", {"self": arg, "pad": [-1, 1, 0, 1], "value": 0}, [TensorInfo((3, 3))])
    )

    np.testing.assert_array_equal(effect.blocked, [[True, True, False]] * 2 + [[False] * 3])
    np.testing.assert_array_equal(effect.zero, [[True, True, True]] * 2 + [[True] * 3])


# --- rearrangements ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "shape", "args"),
    [
        (ATEN.pixel_shuffle.default, (1, 8, 2, 3), (2,)),
        (ATEN.pixel_shuffle.default, (9, 2, 1), (3,)),
        (ATEN.pixel_unshuffle.default, (1, 2, 4, 6), (2,)),
        (ATEN.pixel_unshuffle.default, (2, 1, 2, 3, 3), (3,)),
        (ATEN.channel_shuffle.default, (2, 6, 2), (3,)),
        (ATEN.native_channel_shuffle.default, (1, 6, 2, 2), (2,)),
        (ATEN.unfold.default, (2, 7), (1, 3, 2)),
        (ATEN.unfold.default, (5, 2, 3), (-3, 2, 1)),
        (ATEN.unfold.default, (4,), (0, 4, 3)),
        (ATEN.unfold.default, (), (0, 1, 1)),
        (ATEN.unfold_copy.default, (2, 5), (1, 2, 2)),
        (ATEN.roll.default, (2, 5), ([2], [1])),
        (ATEN.roll.default, (2, 5), ([3],)),
        (ATEN.roll.default, (3, 4), ([1, -1], [0, -1])),
        (ATEN.roll.default, (3, 4), ([1, 1], [1, 1])),
        (ATEN.roll.default, (), ([1],)),
        (ATEN.flip.default, (3, 4), ([0, -1],)),
        (ATEN.flip.default, (3, 4), ([],)),
        *[(ATEN.rot90.default, (2, 3, 4), (k, [2, 0])) for k in range(-1, 4)],
    ],
)
def test_moved_elements(op, shape, args):
    effect = check_op(op, torch.rand(shape), *args)

    assert effect.kind == "reshape"
    assert effect.flops == {}


def test_rolling_and_flipping_move_the_known_elements():
    mask = np.array([[True, False, False], [True, True, False]])
    for op, args in [
        (ATEN.roll, ([1], [1])),
        (ATEN.roll, ([2],)),
        (ATEN.flip, ([1],)),
        (ATEN.rot90, (1, [0, 1])),
    ]:
        expected = op(torch.from_numpy(mask), *args)
        named = bind(op.default, (Arg((2, 3), blocked=mask), *args), {})
        effect = lookup(f"aten.{op.__name__}")(Call(f"aten.{op.__name__}", named, [TensorInfo(tuple(expected.shape))]))

        np.testing.assert_array_equal(effect.blocked, expected.numpy())
        assert effect.zero is None


FOLDS = [
    # kernel, dilation, padding, stride on an extent of 6 x 5
    ([2, 2], [1, 1], [0, 0], [2, 2]),
    ([3, 2], [1, 2], [1, 0], [1, 2]),
    ([2, 3], [2, 1], [2, 1], [3, 1]),
    ([3, 3], [1, 1], [0, 1], [1, 1]),
]


@pytest.mark.parametrize(("kernel", "dilation", "padding", "stride"), FOLDS)
@pytest.mark.parametrize("batch", [(1,), ()])
def test_windows_as_columns_and_back(kernel, dilation, padding, stride, batch):
    x = torch.rand(*batch, 2, 6, 5)
    effect = check_op(ATEN.im2col.default, x, kernel, dilation, padding, stride)
    assert effect.attrs == {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}

    columns = torch.nn.functional.unfold(x, kernel, dilation, padding, stride)
    check_op(ATEN.col2im.default, columns, [6, 5], kernel, dilation, padding, stride)


def test_fold_needs_one_read_for_each_overlapping_window():
    columns = torch.rand(1, 9, 16)
    effect = check_op(ATEN.col2im.default, columns, [6, 6], [3, 3], [1, 1], [0, 0], [1, 1])
    assert len(effect.reads) == 9
    assert effect.flops == {"elementwise": 16 * 9 - 36}

    columns = torch.rand(1, 4, 9)
    effect = check_op(ATEN.col2im.default, columns, [6, 6], [2, 2], [1, 1], [0, 0], [2, 2])
    assert len(effect.reads) == 1
    assert effect.flops == {"elementwise": 0}


def test_a_window_slides_over_what_is_folded():
    """Windows as columns and back: each position sees the windows that it lies in, 2*kernel - 1 rows and columns."""

    class Folded(torch.nn.Module):
        def forward(self, x):
            columns = torch.nn.functional.unfold(x, 3, padding=1) * 2
            return torch.nn.functional.max_pool2d(torch.nn.functional.fold(columns, x.shape[2:], 3, padding=1), 1)

    field = rfcalc.analyze(Folded(), (2, 12, 9)).ops[-1].receptive_field

    assert (field.size, field.stride, field.start) == ((1, 1), (1, 1), (0, 0))  # what went out comes back

    class Mixed(torch.nn.Module):
        def forward(self, x):
            columns = torch.nn.functional.unfold(x, 4, stride=2)
            columns = columns.mean(1, keepdim=True).expand(-1, 2 * 16, -1)
            return torch.nn.functional.fold(columns, x.shape[2:], 4, stride=2)

    field = rfcalc.analyze(Mixed(), (2, 16, 12), axes={"H": 2, "W": 3}).ops[-1].receptive_field

    assert (field.size, field.period, field.stride) == ((6, 6), (2, 2), (1, 1))


# --- Fourier transforms -----------------------------------------------------------------------------------------------


def changed(op, x, *args):
    """Which outputs (real or imaginary part) become NaN when an element (both its parts) does."""
    seen = []
    for i in range(x.numel()):
        flat = x.clone().reshape(-1)
        flat[i] = complex(math.nan, math.nan) if x.is_complex() else math.nan
        seen.append(torch.isnan(op(flat.reshape(x.shape), *args)).numpy())
    return np.stack(seen, axis=-1)


@pytest.mark.parametrize(
    ("op", "x", "args"),
    [
        (ATEN._fft_c2c, torch.randn(2, 3, 4, dtype=torch.complex64), ([1], 0, True)),
        (ATEN._fft_c2c, torch.randn(2, 3, 4, dtype=torch.complex64), ([0, 2], 1, False)),
        (ATEN._fft_r2c, torch.randn(2, 3, 5), ([2], 0, True)),
        (ATEN._fft_r2c, torch.randn(2, 3, 4), ([0, 2], 2, False)),
        (ATEN._fft_c2r, torch.randn(2, 3, 3, dtype=torch.complex64), ([2], 0, 5)),
        (ATEN._fft_c2r, torch.randn(2, 3, 3, dtype=torch.complex64), ([1, 2], 2, 4)),
        (ATEN._fft_c2r, torch.randn(2, 5, dtype=torch.complex64), ([1], 0, 5)),  # its last two columns are not read
    ],
)
def test_fourier_transforms_read_the_whole_axes(op, x, args):
    out = op(x, *args)
    effect, told = told_of(f"aten.{op.__name__}", bind(op.default, (x, *args), {}), [out])

    assert effect.kind == "fft"
    np.testing.assert_array_equal(told, changed(op, x, *args))


def flops_of_fft(op, x, *args):
    effect, _ = told_of(f"aten.{op.__name__}", bind(op.default, (x, *args), {}), [op(x, *args)])
    return effect.flops


def test_operations_of_fourier_transforms():
    line = torch.randn(3, 8, dtype=torch.complex64)
    assert flops_of_fft(ATEN._fft_c2c, line, [1], 0, True) == {"other": 3 * 5 * 8 * 3}
    assert flops_of_fft(ATEN._fft_c2c, line, [1], 1, True) == {"other": 360, "elementwise": 48}
    assert flops_of_fft(ATEN._fft_r2c, torch.randn(3, 8), [1], 0, True) == {"other": 180}
    # 6 is rounded up to 3 levels; two axes: real along W, then complex along H on the 4 columns of the half spectrum.
    assert flops_of_fft(ATEN._fft_r2c, torch.randn(8, 6), [0, 1], 0, True) == {"other": 8 * 45 + 4 * 120}
    spectrum = torch.randn(8, 4, dtype=torch.complex64)
    assert flops_of_fft(ATEN._fft_c2r, spectrum, [0, 1], 2, 6) == {"other": 840, "elementwise": 48}


# --- sampling at computed positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [[2, 3, 3, 4], [1, 1, 2, 1], [2, 1, 3, 2, 5]])
def test_affine_grid_reads_what_its_coordinates_do_not_cancel(size, align):
    axes = len(size) - 2
    theta = torch.rand(size[0], axes, axes + 1, dtype=torch.float64)
    named = {"theta": theta, "size": size, "align_corners": align}
    out = ATEN.affine_grid_generator(theta, size, align)
    effect, told = told_of("aten.affine_grid_generator", named, [out])
    seen = []
    for i in range(theta.numel()):  # finite changes: 0 times NaN would be NaN
        moved = theta.clone()
        moved.view(-1)[i] += 1
        seen.append(((ATEN.affine_grid_generator(moved, size, align) - out).abs() > 1e-9).numpy())

    np.testing.assert_array_equal(told, np.stack(seen, axis=-1))
    assert effect.flops == {"interpolation": 2 * axes * out.numel()}


@pytest.mark.parametrize(("mode", "operations"), [(0, 7), (1, 0), (2, 31)])
def test_grid_sampler_keeps_channels_and_its_own_positions(mode, operations):
    x, grid = torch.rand(2, 2, 3, 4), torch.rand(2, 2, 3, 2) * 2 - 1

    effect = check_op(ATEN.grid_sampler_2d.default, x, grid, mode, 0, True, const=[grid])
    assert effect.inexact == "data-dependent positions"
    assert sum(effect.flops.values()) == operations * 2 * 2 * 6

    named = bind(ATEN.grid_sampler_2d.default, (x, grid, mode, 0, True), {})
    _, told = told_of("aten.grid_sampler_2d", named, [torch.empty(2, 2, 2, 3)], which=1)
    own = np.repeat(np.eye(12, dtype=bool), 2, axis=-1).reshape(2, 1, 2, 3, 24)
    np.testing.assert_array_equal(told, np.broadcast_to(own, told.shape))


def test_grid_sampler_in_three_dimensions():
    x, grid = torch.rand(1, 2, 2, 3, 2), torch.rand(1, 1, 2, 2, 3) * 2 - 1

    effect = check_op(ATEN.grid_sampler_3d.default, x, grid, 0, 1, False, const=[grid])

    assert effect.reads[0][1] == (reads.Reduce((2, 3, 4)),)
    assert effect.flops == {"interpolation": 15 * 2 * 4}
    assert effect.attrs["padding_mode"] == "border"


def vision(name, *args, const=()):
    op = getattr(torch.ops.torchvision, name).default
    return check_call(f"torchvision.{name}", bind(op, args, {}), (op(*args),), lambda: (op(*args),), const)


def deform(filters, channels, groups, offset_groups, use_mask):
    x = torch.rand(1, channels, 4, 5, dtype=torch.float64)
    weight, bias = torch.rand(filters, channels // groups, 2, 2), torch.rand(filters)
    # Fractions well inside: every corner of every sample has a weight, and none of them lies on a border.
    offset = torch.rand(1, 2 * offset_groups * 4, 3, 4, dtype=torch.float64) * 0.1 + 0.1
    mask = torch.rand(1, offset_groups * 4, 3, 4) if use_mask else torch.zeros(1, 1)
    # float64, so that no small change is lost in rounding.
    weight, bias, mask = weight.double(), bias.double(), mask.double()
    return x, weight, offset, mask, bias, 1, 1, 0, 0, 1, 1, groups, offset_groups, use_mask


@pytest.mark.parametrize(("filters", "channels", "groups", "offset_groups"), [(2, 2, 1, 1), (4, 4, 2, 2), (6, 6, 3, 2)])
@pytest.mark.parametrize("use_mask", [True, False])
def test_deformable_convolution(filters, channels, groups, offset_groups, use_mask):
    args = deform(filters, channels, groups, offset_groups, use_mask)
    effect = vision("deform_conv2d", *args, const=[args[2]])
    assert effect.kind == "conv"
    assert effect.inexact == "data-dependent positions"

    # The weight, the offsets and the mask are read exactly, though the input is not.
    op = torch.ops.torchvision.deform_conv2d.default
    names = ["input", "weight", "offset", "mask", "bias"]
    for which in (1, 2, 3, 4) if use_mask else (1, 2, 4):
        _, told = told_of("torchvision.deform_conv2d", bind(op, args, {}), [op(*args)], which)
        seen = []
        for i in range(args[which].numel()):
            moved = [value.clone() if isinstance(value, torch.Tensor) else value for value in args]
            moved[which].view(-1)[i] += 0.05
            seen.append((op(*moved) != op(*args)).numpy())
        np.testing.assert_array_equal(told, np.stack(seen, axis=-1), err_msg=names[which])


def test_cost_of_deformable_convolution():
    args = deform(6, 4, 2, 2, True)
    effect, _ = told_of(
        "torchvision.deform_conv2d",
        bind(torch.ops.torchvision.deform_conv2d.default, args, {}),
        [torch.empty(1, 6, 3, 4)],
    )

    assert effect.macs == 12 * 6 * 4 * 2
    assert effect.formula == "(3x4x6) x (2x2x2)"
    assert effect.flops == {"bias": 72, "interpolation": 8 * 4 * 4 * 12}


def test_suppression_reads_all_boxes():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1.9], [3, 3, 4, 4]])
    op = torch.ops.torchvision.nms.default
    named = bind(op, (boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5), {})
    kept = op(*named.values())
    effect, told = told_of("torchvision.nms", named, [kept])

    assert kept.shape == (2,)
    assert told.all()
    assert effect.inexact == "data-dependent positions"
    assert effect.flops == {"other": 9 + 13 * 3}
