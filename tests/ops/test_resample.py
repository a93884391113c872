"""Rules of interpolation against the real ops: nearest by poison, weighted modes by finite changes.

A weight of exactly 0 times NaN is NaN, so poison over-reports where a weight is 0. `check_weights` adds 1 to one
element at a time instead, in float64, and counts a change above 1e-9: the smallest true weights here are about 1e-4,
rounding is 1e-15.
"""

import numpy as np
import pytest
import torch

from rfcalc import reads
from tests.ops.oracle import bind, check_op, effect_of, support

ATEN = torch.ops.aten
SCALES = [1 / 3, 0.5, 2 / 3, 0.7, 1.04, 1.2, 1.5, 1.7, 2.0, 2.1, 2.5, 3.0, 3.3, 4.0, 5.0, 6.0, 7.0, 8.0, np.pi]
SIZES = [(size, out, None) for size in range(1, 12) for out in range(1, 24)]
SCALED = [(size, int(size * scale), float(scale)) for size in range(1, 26, 2) for scale in SCALES if size * scale >= 1]


def told_and_seen(op, args):
    """What the rule says is read and what changes, both of the output's shape + (elements of the input,)."""
    x = args[0]
    out = op(*args)
    effect, _, _ = effect_of("aten." + op._schema.name.removeprefix("aten::"), bind(op, args, {}), [out])
    told = np.zeros((*out.shape, x.numel()), dtype=bool)
    for _, steps in effect.reads:
        told |= np.broadcast_to(support(x.shape, steps), told.shape)
    flat = x.view(-1)
    seen = []
    for i in range(x.numel()):
        flat[i] += 1
        seen.append(((op(*args) - out).abs() > 1e-9).numpy())
        flat[i] -= 1
    return effect, told, np.stack(seen, axis=-1)


def check_weights(op, shape, *args):
    """Hold the rule of an interpolation against finite changes of every element; returns the effect."""
    effect, told, seen = told_and_seen(op, (torch.rand(shape, dtype=torch.float64), *args))
    np.testing.assert_array_equal(told, seen)
    return effect


def spans(effect, axis):
    return [step for _, steps in effect.reads for step in steps if step.axis == axis]


def check_period(effect):
    """Away from the borders, the one-period pattern continues what the positions read."""
    for _, steps in effect.reads:
        for step in steps:
            for u in range(len(step.first) if step.period else 0):
                cycle, phase = divmod(u, step.period)
                first, last = (free[phase] + cycle * step.shift for free in (step.free_first, step.free_last))
                size = max(step.last) + 1
                if first >= 0 and last < size:
                    assert (step.first[u], step.last[u]) == (first, last)


# --- nearest ----------------------------------------------------------------------------------------------------------


def nearest_indices(name, d, size, out, scale, dtype=torch.float32):
    """The index of the last axis that the rule says each position reads, the one that torch reads, and the effect."""
    op = getattr(ATEN, f"{name}{d}d").default
    row = torch.arange(size, dtype=dtype).repeat(1, 2, *(1,) * (d - 1), 1)
    args = (row, [1] * (d - 1) + [out], *[None] * (d - 1), scale)
    result = op(*args)
    effect, _, _ = effect_of(f"aten.{name}{d}d", bind(op, args, {}), [result])
    ((_, steps),) = effect.reads
    told = list(steps[0].first) if steps else list(range(size))
    return told, result.reshape(-1, out)[0].long().tolist(), effect


NEAREST = [(name, d) for name in ("upsample_nearest", "_upsample_nearest_exact") for d in (1, 2, 3)]


@pytest.mark.parametrize(("name", "d"), NEAREST)
def test_nearest_reads_the_index_that_torch_rounds_to(name, d):
    moved = 0
    for size, out, scale in [
        *((size, out, None) for size in (1, 2, 3, 6, 11, 24, 37) for out in range(1, 84)),
        *SCALED,
    ]:
        told, real, effect = nearest_indices(name, d, size, out, scale)
        assert told == real, (size, out, scale)
        check_period(effect)
        moved += bool(effect.notes)
    assert moved  # the sizes include some where rounding and exact arithmetic differ


@pytest.mark.parametrize("name", ["upsample_nearest", "_upsample_nearest_exact"])
def test_nearest_rounds_float64_less(name):
    for size, out, scale in [*((size, out, None) for size in range(1, 20, 5) for out in range(1, 84)), *SCALED]:
        told, real, effect = nearest_indices(name, 1, size, out, scale, torch.float64)
        assert told == real, (size, out, scale)
        assert not effect.notes


def test_a_nearest_index_moved_by_rounding_is_noted_and_has_no_period():
    told, real, effect = nearest_indices("upsample_nearest", 1, 2, 82, None)

    assert told == real == [0] * 42 + [1] * 40  # exact arithmetic: 41 and 41
    assert effect.notes == ("axis 2: rounding moves 1 of 82 positions to the neighbouring element",)
    assert spans(effect, 2)[0].period == 0


def test_a_scale_beside_the_size_counts_for_one_axis_and_not_for_two():
    """torch's plane kernel copies where the size stays the same; the others follow the scale."""
    assert nearest_indices("upsample_nearest", 1, 4, 4, 1.04)[0] == [0, 0, 1, 2]
    assert nearest_indices("upsample_nearest", 2, 4, 4, 1.04)[0] == [0, 1, 2, 3]
    assert nearest_indices("_upsample_nearest_exact", 2, 4, 4, 1.2)[0] == [0, 1, 2, 2]


@pytest.mark.parametrize("name", ["upsample_nearest", "_upsample_nearest_exact"])
def test_nearest_in_every_number_of_dimensions(name):
    one, two, three = (getattr(ATEN, f"{name}{d}d") for d in (1, 2, 3))
    check_op(one.default, torch.rand(2, 2, 3), [7])
    check_op(two.default, torch.rand(1, 2, 3, 4), [6, 9], 2.0, 2.25)
    check_op(two.default, torch.rand(1, 1, 7, 6), [3, 6])
    check_op(three.default, torch.rand(1, 1, 2, 3, 2), [4, 2, 3])
    check_op(two.vec, torch.rand(1, 2, 3, 4), None, [2.0, 1.5])
    effect = check_op(two.vec, torch.rand(1, 2, 3, 4), [6, 8], None)

    assert effect.kind == "upsample"
    assert effect.flops == {}
    assert effect.attrs["scale"] == [2, 2]


def test_nearest_channels_last_reads_the_same():
    told, real, _ = nearest_indices("upsample_nearest", 2, 5, 11, None)
    row = torch.arange(5.0).repeat(1, 4, 3, 1).contiguous(memory_format=torch.channels_last)

    assert told == real == ATEN.upsample_nearest2d(row, [7, 11])[0, 0, 0].long().tolist()


def test_nearest_by_two_repeats_with_period_two():
    effect = check_op(ATEN.upsample_nearest2d.default, torch.rand(1, 1, 3, 3), [6, 3])

    assert spans(effect, 2) == [reads.Spans(2, (0, 0, 1, 1, 2, 2), (0, 0, 1, 1, 2, 2), 2, 1, (0, 0), (0, 0))]
    assert spans(effect, 3) == []  # the axis keeps its extent


# --- linear, cubic, antialiased ---------------------------------------------------------------------------------------

WEIGHTED = [
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
    # Not in every supported release of torch.
    *(["_upsample_lanczos2d_aa"] if hasattr(ATEN, "_upsample_lanczos2d_aa") else []),
]


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("name", WEIGHTED)
def test_one_axis_reads_the_taps_of_nonzero_weight(name, align):
    op = getattr(ATEN, name).default
    for size, out, scale in SIZES + SCALED:
        # One impulse a batch item shows all weights of one axis at once.
        impulses = torch.eye(size, dtype=torch.float64)
        if name.endswith("1d"):
            args, axis = ([out], align, scale), 2
            weights = op(impulses[:, None], *args)[:, 0]
        else:
            args, axis = ([1, out], align, None, scale), 3
            weights = op(impulses[:, None, None], *args)[:, 0, 0]
        shape = (1,) * axis + (size,)
        x = torch.empty(shape, device="meta")
        effect, _, _ = effect_of(
            f"aten.{name}", bind(op, (x, *args), {}), [torch.empty(*shape[:-1], out, device="meta")]
        )

        told = np.zeros((out, size), dtype=bool)
        for step in [s for _, steps in effect.reads for s in steps if s.axis == axis]:
            told |= support((size,), (reads.Spans(0, step.first, step.last),))
        if not any(s.axis == axis for _, steps in effect.reads for s in steps):
            told = np.eye(size, dtype=bool)
        np.testing.assert_array_equal(told, weights.abs().numpy().T > 1e-9, err_msg=f"{size} to {out} by {scale}")
        check_period(effect)


PLANES = [((1, 2, 3, 4), [6, 4]), ((2, 1, 4, 3), [3, 7]), ((1, 1, 9, 6), [3, 4]), ((1, 1, 4, 5), [1, 10])]


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("name", WEIGHTED[1:])
@pytest.mark.parametrize(("shape", "size"), PLANES)
def test_two_axes(name, align, shape, size):
    check_weights(getattr(ATEN, name).default, shape, size, align)


@pytest.mark.parametrize("name", WEIGHTED[1:])
def test_scale_factors_of_the_user(name):
    check_weights(getattr(ATEN, name).vec, (1, 1, 4, 5), None, False, [1.7, 0.7])
    check_weights(getattr(ATEN, name).default, (1, 1, 4, 5), [6, 3], False, 1.7, 0.7)
    check_weights(getattr(ATEN, name).default, (1, 1, 4, 5), [4, 5], False, 1.2, 1.1)


@pytest.mark.parametrize("align", [False, True])
def test_one_and_three_dimensions(align):
    check_weights(ATEN.upsample_linear1d.default, (2, 2, 3), [6], align)
    check_weights(ATEN.upsample_linear1d.vec, (1, 2, 3), None, align, [3.0])
    check_weights(ATEN.upsample_trilinear3d.default, (1, 1, 2, 3, 2), [4, 3, 5], align)
    check_weights(ATEN.upsample_trilinear3d.vec, (1, 2, 2, 2, 3), None, align, [2.0, 1.5, 1.0])


def test_linear_by_three_reads_one_element_in_its_middle_phase():
    effect = check_weights(ATEN.upsample_linear1d.default, (1, 1, 4), [12], False, 3.0)

    (step,) = spans(effect, 2)
    assert (step.period, step.shift, step.free_first, step.free_last) == (3, 1, (-1, 0, 0), (0, 0, 1))
    assert (step.first[:3], step.last[:3]) == ((0, 0, 0), (0, 0, 1))


def test_aligned_corners_have_the_period_of_their_ratio():
    (step,) = spans(check_weights(ATEN.upsample_linear1d.default, (1, 1, 4), [7], True), 2)
    assert (step.period, step.shift, step.free_first, step.free_last) == (2, 1, (0, 0), (0, 1))

    (step,) = spans(check_weights(ATEN.upsample_linear1d.default, (1, 1, 4), [1], True), 2)
    assert step == reads.Spans(2, (0,), (0,))


def test_cubic_by_two_reads_four_taps():
    (step,) = spans(check_weights(ATEN.upsample_bicubic2d.default, (1, 1, 1, 6), [1, 12], False), 3)

    assert (step.period, step.shift, step.free_first, step.free_last) == (2, 1, (-2, -1), (1, 2))
    assert (step.first[:3], step.last[-3:]) == ((0, 0, 0), (5, 5, 5))


def test_a_hole_in_an_antialiased_kernel_is_no_read():
    effect = check_weights(ATEN._upsample_bicubic2d_aa.default, (1, 1, 1, 18), [1, 6], False)

    # Around the centre 3u+1 the weights at distance 3, a zero of the kernel, vanish.
    left, middle, right = spans(effect, 3)
    assert (left.free_first, left.free_last) == ((-4,), (-3,))
    assert (middle.free_first, middle.free_last) == ((-1,), (3,))
    assert (right.free_first, right.free_last) == ((5,), (6,))
    assert (middle.period, middle.shift) == (1, 3)


def test_float32_gives_tiny_weights_where_exact_arithmetic_gives_zero():
    """Documents the difference: position 137 of 63 to 175 lies exactly on element 49; float32 leaks into it."""
    row = torch.zeros(1, 1, 63)
    row[..., ::2] = 1

    leak = ATEN.upsample_linear1d(row, [175], False)[0, 0, 137] - row[0, 0, 49]

    assert 0 < leak.abs() < 1e-5
    assert spans(check_weights(ATEN.upsample_linear1d.default, (1, 1, 63), [175], False), 2)[0].last[137] == 49


def test_operations():
    assert check_weights(ATEN.upsample_linear1d.default, (1, 2, 3), [6], False).flops == {"interpolation": 12 * 3}
    assert check_weights(ATEN.upsample_bilinear2d.default, (1, 1, 2, 2), [4, 4], False).flops == {
        "interpolation": 16 * 7
    }
    assert check_weights(ATEN.upsample_bicubic2d.default, (1, 1, 2, 2), [4, 4], False).flops == {
        "interpolation": 16 * 31
    }
    # W first: 8 rows x 4 outputs of 3, 4, 4, 3 taps; then H: 4 columns x 2 outputs of 6 taps.
    effect = check_weights(ATEN._upsample_bilinear2d_aa.default, (1, 1, 8, 8), [2, 4], False)
    assert effect.flops == {"interpolation": 8 * (5 + 7 + 7 + 5) + 4 * (11 + 11)}


def test_attributes():
    effect = check_weights(ATEN.upsample_bilinear2d.default, (1, 1, 4, 6), [6, 3], True)

    assert effect.attrs["mode"] == "bilinear"
    assert effect.attrs["scale"] == ["3/2", "1/2"]
    assert effect.attrs["align_corners"] is True
