"""Rules of pooling against poisoned calls."""

import numpy as np
import pytest
import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision

from rfcalc import reads
from tests.ops.oracle import bind, check_call, check_op, effect_of, support

ATEN = torch.ops.aten


def steps_of(effect):
    return [steps for _, steps in effect.reads_of(0)]


MAX2D = [
    # shape, kernel, stride, padding, dilation, ceil_mode
    ((1, 2, 6, 7), [2, 3], [], [0], [1], False),
    ((2, 1, 6, 7), [3], [2], [1], [1], False),
    ((1, 1, 6, 7), [3, 2], [2, 3], [1, 0], [1], True),
    ((1, 1, 8, 6), [3], [1, 2], [1], [2, 1], False),
    ((2, 7, 6), [2], [2], [0], [2], True),
]


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation", "ceil_mode"), MAX2D)
def test_max_pool_reads_its_window(shape, kernel, stride, padding, dilation, ceil_mode):
    effect = check_op(
        ATEN.max_pool2d_with_indices.default, torch.rand(shape), kernel, stride, padding, dilation, ceil_mode
    )

    assert effect.kind == "pool"
    assert effect.macs == 0


def test_indices_of_max_pool_read_what_the_values_read():
    effect = check_op(ATEN.max_pool2d_with_indices.default, torch.rand(1, 1, 4, 4), [2])

    assert list(effect.reads_of(1)) == list(effect.reads_of(0))


def test_max_pool_in_one_and_three_dimensions():
    check_op(ATEN.max_pool1d_with_indices.default, torch.rand(1, 2, 8), [3], [2], [1], [1], True)
    check_op(ATEN.max_pool1d.default, torch.rand(2, 8), [2], [], [0], [2], False)
    check_op(ATEN.max_pool2d.default, torch.rand(1, 1, 5, 5), [2])
    check_op(ATEN.max_pool3d.default, torch.rand(1, 1, 3, 4, 4), [2, 1, 3], [1, 2, 1])
    check_op(ATEN.max_pool3d_with_indices.default, torch.rand(1, 3, 4, 4), [2, 1, 3], [1, 2, 1], [1, 0, 1])


AVG2D = [
    # shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
    ((1, 2, 6, 7), [2, 3], [], [0], False, True, None),
    ((1, 1, 6, 7), [3], [2], [1], True, False, None),
    ((2, 6, 7), [3, 2], [2, 3], [1, 0], True, True, 5),
]


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "ceil_mode", "include", "divisor"), AVG2D)
def test_average_pool_reads_its_window(shape, kernel, stride, padding, ceil_mode, include, divisor):
    effect = check_op(ATEN.avg_pool2d.default, torch.rand(shape), kernel, stride, padding, ceil_mode, include, divisor)

    assert effect.attrs["count_include_pad"] is include
    assert effect.attrs.get("divisor") == divisor


def test_average_pool_in_one_and_three_dimensions():
    check_op(ATEN.avg_pool1d.default, torch.rand(1, 2, 8), [3], [2], [1], True)
    check_op(ATEN.avg_pool3d.default, torch.rand(1, 1, 3, 4, 4), [2, 1, 3], [1, 2, 1], [1, 0, 1], False, False)


def test_pooling_costs_one_operation_for_each_window_element():
    effect = check_op(ATEN.max_pool2d_with_indices.default, torch.rand(1, 2, 6, 6), [3], [2])

    assert effect.flops == {"pooling": 2 * 2 * 2 * 9}
    assert effect.attrs == {
        "kernel": [3, 3], "stride": [2, 2], "padding": [0, 0], "ceil_mode": False, "dilation": [1, 1],
    }  # fmt: skip


ADAPTIVE = [
    ((1, 2, 7, 5), [3, 2]),
    ((1, 1, 6, 4), [3, 4]),
    ((2, 5, 3), [7, 6]),
    ((1, 1, 4, 5), [1, 3]),
    ((1, 1, 4, 6), [6, 4]),
]


@pytest.mark.parametrize(("shape", "size"), ADAPTIVE)
def test_adaptive_pool_reads_its_spans(shape, size):
    check_op(ATEN._adaptive_avg_pool2d.default, torch.rand(shape), size)
    check_op(ATEN.adaptive_max_pool2d.default, torch.rand(shape), size)


def test_adaptive_pool_in_other_dimensions():
    check_op(ATEN.adaptive_avg_pool1d.default, torch.rand(2, 7), [3])
    check_op(ATEN.adaptive_max_pool1d.default, torch.rand(1, 2, 5), [4])
    check_op(ATEN.adaptive_avg_pool2d.default, torch.rand(1, 1, 4, 4), [3, 3])
    check_op(ATEN._adaptive_avg_pool3d.default, torch.rand(1, 1, 2, 3, 5), [1, 2, 3])
    check_op(ATEN.adaptive_avg_pool3d.default, torch.rand(1, 2, 3, 5), [2, 2, 2])
    check_op(ATEN.adaptive_max_pool3d.default, torch.rand(1, 2, 3, 4), [2, 2, 3])


def test_adaptive_pool_has_a_step_for_each_case():
    effect = check_op(ATEN._adaptive_avg_pool2d.default, torch.rand(1, 1, 6, 4), [1, 2])
    assert steps_of(effect) == [(reads.Window(3, 2, 2, 1, 0, 2), reads.Reduce((2,)))]

    effect = check_op(ATEN._adaptive_avg_pool2d.default, torch.rand(1, 1, 4, 4), [1, 1])
    assert steps_of(effect) == [(reads.Reduce((2, 3)),)]
    assert effect.attrs == {"output_size": [1, 1], "global": True}

    effect = check_op(ATEN._adaptive_avg_pool2d.default, torch.rand(1, 1, 4, 6), [4, 4])
    assert steps_of(effect) == [(reads.Spans(3, (0, 1, 3, 4), (1, 2, 4, 5), 2, 3, (0, 1), (1, 2)),)]


def test_adaptive_pool_counts_the_elements_it_reads():
    effect = check_op(ATEN._adaptive_avg_pool2d.default, torch.rand(1, 3, 7, 4), [3, 2])

    assert effect.flops == {"pooling": 3 * (3 + 3 + 3) * (2 + 2)}


def test_the_period_of_adaptive_pool_continues_its_spans():
    for size in range(1, 15):
        for out in range(2, 15):
            effect, _, _ = effect_of("aten.adaptive_avg_pool1d", {"self": torch.rand(1, size)}, [torch.rand(1, out)])
            for step in steps_of(effect)[0]:
                if isinstance(step, reads.Spans):
                    assert_periodic(step)


def assert_periodic(step):
    for u in range(len(step.first)):
        cycle, phase = divmod(u, step.period)
        assert step.first[u] == step.free_first[phase] + cycle * step.shift
        assert step.last[u] == step.free_last[phase] + cycle * step.shift


@pytest.mark.parametrize(("size", "kernel", "out"), [(9, 2, 5), (8, 2, 4), (10, 3, 5), (7, 2, 6), (6, 3, 1)])
def test_fractional_max_pool_reads_every_window_that_samples_choose_and_no_more(size, kernel, out):
    op = ATEN.fractional_max_pool2d.default
    x = torch.rand(1, 1, size, size)
    seen = np.zeros((out, size), dtype=bool)
    for draw in range(20):
        samples = torch.full((1, 1, 2), draw / 20)
        effect = check_op(op, x, [kernel, kernel], [out, out], samples, const=[samples])
        _, indices = op(torch.arange(size * 1.0).expand(1, 1, size, size), [kernel, kernel], [out, out], samples)
        last = (indices % size)[0, 0, 0]
        for u in range(out):
            seen[u, int(last[u]) - kernel + 1 : int(last[u]) + 1] = True
    _, steps = effect.reads_of(0)[0]

    assert "random samples" in effect.inexact
    np.testing.assert_array_equal(support((1, 1, size, 1), (steps[0],))[0, 0, :, 0], seen)
    if steps[0].period:
        assert_periodic(steps[0])


def test_fractional_max_pool_without_a_batch_and_in_three_dimensions():
    samples = torch.rand(1, 2, 3)

    effect = check_op(
        ATEN.fractional_max_pool3d.default, torch.rand(2, 5, 5, 4), [2, 2, 2], [2, 3, 1], samples, const=[samples]
    )

    assert effect.flops == {"pooling": 2 * 6 * 8}


def test_samples_computed_from_data_are_read_by_their_plane():
    samples = torch.rand(2, 3, 2)
    named = {"self": torch.rand(2, 3, 6, 6), "kernel_size": [2, 2], "output_size": [3, 3], "random_samples": samples}
    effect, _, _ = effect_of("aten.fractional_max_pool2d", named, [torch.rand(2, 3, 3, 3)])
    _, steps = effect.reads_of(0)[1]

    expected = np.repeat(np.eye(6, dtype=bool), 2, axis=-1).reshape(2, 3, 1, 1, 12)
    np.testing.assert_array_equal(support((2, 3, 2), steps), expected)


def test_max_unpool_reads_its_channel():
    values, indices = torch.nn.functional.max_pool2d(torch.rand(1, 2, 4, 4), 2, return_indices=True)
    effect = check_op(ATEN.max_unpool2d.default, values, indices, [4, 4])
    assert effect.kind == "upsample"
    assert effect.inexact == "data-dependent positions"
    assert [steps for _, steps in effect.reads] == [(reads.Reduce((2, 3)),)] * 2

    values, indices = torch.nn.functional.max_pool3d(torch.rand(2, 4, 4, 4), 2, return_indices=True)
    effect = check_op(ATEN.max_unpool3d.default, values, indices, [4, 4, 4], [2, 2, 2], [0, 0, 0])
    assert effect.reads[0][1] == (reads.Reduce((1, 2, 3)),)


ROIS = [[0.0, 0.5, 1.0, 3.5, 4.0], [1.0, 0.0, 0.0, 5.0, 3.0], [0.0, 2.0, 2.0, 4.0, 4.5]]


def check_vision(name, *args, const, outputs=None):
    op = getattr(torch.ops.torchvision, name).default

    def again():
        outs = op(*args)
        return outs if isinstance(outs, tuple) else (outs,)

    return check_call(f"torchvision.{name}", bind(op, args, {}), again(), again, const, outputs)


def test_regions_of_interest_keep_their_channels():
    x, rois = torch.rand(2, 2, 5, 6), torch.tensor(ROIS)

    effect = check_vision("roi_align", x, rois, 1.0, 2, 3, 2, True, const=[rois])
    assert effect.inexact == "data-dependent positions"
    assert effect.flops == {"interpolation": 7 * 144, "pooling": 144}  # 3 regions x 2 channels x 2x3 bins x 2x2 samples
    assert effect.notes == ()

    effect = check_vision("roi_pool", x, rois, 1.0, 2, 2, const=[rois])
    assert effect.flops == {"pooling": 24}
    assert "one sample a bin" in effect.notes[0]


def test_each_region_reads_its_own_row_of_boxes():
    rois = torch.tensor(ROIS)
    named = {"input": torch.rand(2, 2, 5, 6), "rois": rois, "spatial_scale": 1.0, "pooled_height": 2, "pooled_width": 2}
    effect, _, _ = effect_of("torchvision.roi_align", named, [torch.rand(3, 2, 2, 2)])
    arg, steps = effect.reads_of(0)[1]

    expected = np.repeat(np.eye(3, dtype=bool), 5, axis=-1).reshape(3, 1, 1, 1, 15)
    np.testing.assert_array_equal(support(arg.shape, steps), expected)


@pytest.mark.parametrize("name", ["ps_roi_align", "ps_roi_pool"])
def test_position_sensitive_bins_read_channels_of_their_own(name):
    x, rois = torch.rand(1, 12, 4, 5), torch.tensor(ROIS[::2])
    sampling = [1] if name == "ps_roi_align" else []

    effect = check_vision(name, x, rois, 1.0, 2, 3, *sampling, const=[rois], outputs=1)

    arg, steps = effect.reads_of(0)[0]
    channels = support(arg.shape, steps).reshape(2, 2, 3, 12, 20).any(axis=-1)
    np.testing.assert_array_equal(channels, np.eye(12, dtype=bool).reshape(2, 2, 3, 12))
    assert effect.reads_of(1) == []
