"""Rules of convolution against poisoned calls."""

import pytest
import torch

from tests.ops.finite import check_changed
from tests.ops.oracle import check_op

CONV = torch.ops.aten.convolution.default

CASES = [
    ((1, 2, 9), (4, 2, 3), [2], [1], [1], False, [0], 1),
    ((1, 4, 9), (4, 2, 3), [1], [2], [2], False, [0], 2),
    ((2, 2, 5, 6), (3, 2, 3, 2), [2, 1], [1, 0], [1, 2], False, [0, 0], 1),
    ((1, 1, 4, 4, 3), (2, 1, 2, 2, 1), [1, 2, 1], [0, 1, 0], [1, 1, 1], False, [0, 0, 0], 1),
    ((1, 2, 4), (2, 3, 2), [3], [0], [1], True, [0], 1),
    ((1, 2, 4), (2, 3, 3), [2], [1], [2], True, [1], 1),
    ((1, 4, 4), (4, 1, 3), [2], [1], [1], True, [1], 2),
]


@pytest.mark.parametrize(("shape", "weight", "stride", "padding", "dilation", "transposed", "extra", "groups"), CASES)
def test_convolution_reads_its_window(shape, weight, stride, padding, dilation, transposed, extra, groups):
    x, w = torch.rand(shape), torch.rand(weight)
    bias = torch.rand(weight[1] * groups if transposed else weight[0])

    effect = check_op(CONV, x, w, bias, stride, padding, dilation, transposed, extra, groups, const=[w])

    assert effect.inexact == ""


@pytest.mark.parametrize(
    ("shape", "weight", "stride", "padding", "dilation", "groups"),
    [
        ((1, 2, 5), (4, 2, 3), [1], [0], [1], 1),
        ((1, 2, 5), (4, 2, 3), [1], [1], [1], 1),
        ((2, 4, 6), (4, 2, 3), [2], [2], [2], 2),
        ((1, 2, 4), (2, 1, 5), [3], [4], [1], 2),
        ((1, 1, 4, 3), (2, 1, 3, 2), [1, 2], [2, 1], [1, 1], 1),
    ],
)
def test_kernel_computed_from_data(shape, weight, stride, padding, dilation, groups):
    x, w = torch.rand(shape), torch.rand(weight)

    effect = check_changed(CONV, x, w, None, stride, padding, dilation, False, [0] * len(stride), groups, trials=2)

    assert effect.inexact == ""


@pytest.mark.parametrize(("padding", "transposed"), [(3, False), (0, True)])
def test_bound_of_a_kernel_computed_from_data(padding, transposed):
    x, w = torch.rand(1, 2, 5), torch.rand(2, 2, 3)

    effect = check_changed(CONV, x, w, None, [1], [padding], [1], transposed, [0], 1)

    assert "computed from data" in effect.inexact


def test_multiply_adds_and_formula():
    x, w = torch.rand(1, 3, 8, 8), torch.rand(8, 3, 3, 3)

    effect = check_op(CONV, x, w, torch.rand(8), [1, 1], [0, 0], [1, 1], False, [0, 0], 1, const=[w])

    assert effect.macs == 3 * 8 * 9 * 36
    assert effect.formula == "(6x6x8) x (3x3x3)"
    assert effect.flops == {"bias": 8 * 36}
