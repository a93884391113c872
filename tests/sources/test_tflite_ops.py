"""What TFLite's ops give, against numpy and loops: the rules need no reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rfcalc.sources.tflite.files import Tensor
from rfcalc.sources.tflite.rules import Op, find, op_types

DOCS = Path(__file__).parent.parent.parent / "docs"
KINDS = {"float32": 1, "int32": 6, "int64": 7, "bool": 9, "uint8": 2, "complex64": 14}
X = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4) - 7.5
SMALL = np.array([[3.0, -1.0, 2.0], [0.5, 4.0, -2.0]], dtype=np.float32)
I32 = np.int32


def given(name: str, *inputs: Any, out: str = "float32", **settings: Any) -> Any:
    """What an op gives for arrays."""
    tensors = [None if x is None else torch.from_numpy(np.array(x)) for x in inputs]
    records = tuple(None if x is None else Tensor("x", x.shape, KINDS[str(np.array(x).dtype)]) for x in inputs)
    rule: Any = find(name)
    found = rule(Op(name, 99, settings, 1, records, (Tensor("out", (), KINDS[out]),)), *tensors)
    several = tuple(x.numpy() for x in found)
    return several[0] if len(several) == 1 else several


def i32(*numbers: Any) -> np.ndarray:
    return np.array(numbers, dtype=I32)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def blocks(x: np.ndarray) -> np.ndarray:
    """2x2 positions of (1, 4, 4, c) as channels."""
    return x.reshape(1, 2, 2, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5).reshape(1, 2, 2, -1)


FOUR = np.arange(48, dtype=np.float32).reshape(1, 4, 4, 3)

CASES: dict[str, tuple[Any, Any]] = {
    "FLOOR_DIV": (given("FLOOR_DIV", i32(7, -7), i32(2, 2), out="int32"), [3, -4]),
    "FLOOR_MOD": (given("FLOOR_MOD", i32(7, -7), i32(3, 3), out="int32"), [1, 2]),
    "SQUARED_DIFFERENCE": (given("SQUARED_DIFFERENCE", SMALL, SMALL[0]), (SMALL - SMALL[0]) ** 2),
    "RSQRT": (given("RSQRT", SMALL**2), 1 / np.abs(SMALL)),
    "NOT_EQUAL": (given("NOT_EQUAL", i32(1, 2), i32(1, 3), out="bool"), [False, True]),
    "PRELU": (given("PRELU", X, SMALL[:, :1].repeat(2, 0).reshape(1, 1, 4)), np.where(X < 0, X * [3, 3, 0.5, 0.5], X)),
    "LEAKY_RELU": (given("LEAKY_RELU", SMALL, Alpha=0.25), np.where(SMALL < 0, SMALL / 4, SMALL)),
    "RELU_N1_TO_1": (given("RELU_N1_TO_1", SMALL), SMALL.clip(-1, 1)),
    "fused RELU6": (given("ADD", SMALL, SMALL, FusedActivationFunction=3), (2 * SMALL).clip(0, 6)),
    "SOFTMAX": (given("SOFTMAX", SMALL, Beta=2.0), softmax(2 * SMALL)),
    "L2_NORMALIZATION": (
        given("L2_NORMALIZATION", SMALL),
        SMALL / np.sqrt((SMALL**2).sum(-1, keepdims=True)),
    ),
    "LOCAL_RESPONSE_NORMALIZATION": (
        given("LOCAL_RESPONSE_NORMALIZATION", X, Radius=1, Bias=2.0, Alpha=0.5, Beta=0.75),
        X / (2 + 0.5 * sum(np.pad(X**2, [(0, 0)] * 3 + [(1, 1)])[..., at : at + 4] for at in range(3))) ** 0.75,
    ),
    "CAST": (given("CAST", SMALL, out="int32"), np.trunc(SMALL)),
    "FAKE_QUANT": (given("FAKE_QUANT", SMALL, Min=-1.0, Max=2.0, NumBits=2), np.round(SMALL.clip(-1, 2) + 1) - 1),
    "RFFT2D": (
        given("RFFT2D", X, i32(2, 4), out="complex64"),
        np.fft.rfft2(X[..., :2, :] if X.shape[-2] > 2 else X, (2, 4)),
    ),
    "BATCH_MATMUL": (given("BATCH_MATMUL", X, X, AdjY=True), X @ X.swapaxes(-1, -2)),
    "FULLY_CONNECTED": (given("FULLY_CONNECTED", X, np.ones((2, 8), np.float32)), X.reshape(3, 8) @ np.ones((8, 2))),
    "FULLY_CONNECTED, axes kept": (
        given("FULLY_CONNECTED", X, np.ones((2, 4), np.float32), KeepNumDims=True),
        X @ np.ones((4, 2)),
    ),
    "RESHAPE": (given("RESHAPE", X, NewShape=[4, -1]), X.reshape(4, 6)),
    "SQUEEZE": (given("SQUEEZE", X, SqueezeDims=[]), X[0]),
    "SHAPE": (given("SHAPE", X, out="int32"), [1, 2, 3, 4]),
    "PACK": (given("PACK", SMALL, SMALL, Axis=1), np.stack([SMALL, SMALL], 1)),
    "UNPACK": (given("UNPACK", SMALL, Axis=1)[2:], [SMALL[:, 2]]),
    "SPLIT_V": (given("SPLIT_V", SMALL, i32(1, -1), np.array(1, I32))[1], SMALL[:, 1:]),
    "SLICE": (given("SLICE", X, i32(0, 1, 0, 1), i32(1, 1, -1, 2)), X[:, 1:, :, 1:3]),
    "STRIDED_SLICE": (
        given("STRIDED_SLICE", X, i32(0, 1, 2, 3), i32(1, 2, -9, 0), i32(1, 1, -2, 1), BeginMask=1, EndMask=8),
        X[:, 1:2, 2:None:-2, 3:],
    ),
    "STRIDED_SLICE, axes that go and come": (
        given("STRIDED_SLICE", X, i32(0, 0, -1), i32(0, 0, 0), i32(1, 1, 1), EllipsisMask=2, ShrinkAxisMask=5),
        X[0, ..., -1],
    ),
    "STRIDED_SLICE, a new axis": (
        given("STRIDED_SLICE", SMALL, i32(0, 0), i32(0, 2), i32(1, 1), NewAxisMask=1, EndMask=0),
        SMALL[None, 0:2],
    ),
    "REVERSE_V2": (given("REVERSE_V2", SMALL, i32(1)), SMALL[:, ::-1]),
    "REVERSE_SEQUENCE": (
        given("REVERSE_SEQUENCE", SMALL, i32(2, 3), SeqDim=1, BatchDim=0),
        [[-1, 3, 2], [-2, 4, 0.5]],
    ),
    "PADV2": (
        given("PADV2", SMALL, i32([1, 0], [0, 2]), np.float32(9)),
        np.pad(SMALL, [(1, 0), (0, 2)], constant_values=9),
    ),
    "MIRROR_PAD": (given("MIRROR_PAD", SMALL, i32([1, 1], [2, 0]), Mode=0), np.pad(SMALL, [(1, 1), (2, 0)], "reflect")),
    "MIRROR_PAD, with the border": (
        given("MIRROR_PAD", SMALL, i32([2, 1], [0, 3]), Mode=1),
        np.pad(SMALL, [(2, 1), (0, 3)], "symmetric"),
    ),
    "SPACE_TO_DEPTH": (given("SPACE_TO_DEPTH", FOUR, BlockSize=2), blocks(FOUR)),
    "DEPTH_TO_SPACE": (given("DEPTH_TO_SPACE", blocks(FOUR), BlockSize=2), FOUR),
    "SPACE_TO_BATCH_ND": (
        given("SPACE_TO_BATCH_ND", FOUR, i32(2, 2), i32([0, 0], [2, 0])),
        np.concatenate([np.pad(FOUR, [(0, 0), (0, 0), (2, 0), (0, 0)])[:, a::2, b::2] for a in (0, 1) for b in (0, 1)]),
    ),
    "GATHER": (given("GATHER", X, i32(2, 0), Axis=2), X[:, :, [2, 0]]),
    "GATHER, with a batch": (
        given("GATHER", SMALL, i32([2], [0]), Axis=1, BatchDims=1),
        np.take_along_axis(SMALL, i32([2], [0]), 1),
    ),
    "SCATTER_ND": (given("SCATTER_ND", i32([1], [1]), SMALL, i32(3, 3)), [[0] * 3, SMALL.sum(0), [0] * 3]),
    "DYNAMIC_UPDATE_SLICE": (
        given("DYNAMIC_UPDATE_SLICE", SMALL, np.full((1, 2), 9, np.float32), i32(1, 7)),
        [[3, -1, 2], [0.5, 9, 9]],
    ),
    "ONE_HOT": (
        given("ONE_HOT", i32(1, 3), np.array(3, I32), np.float32(5), np.float32(2), Axis=-1),
        [[2, 5, 2], [2, 2, 2]],
    ),
    "MATRIX_SET_DIAG": (given("MATRIX_SET_DIAG", SMALL, SMALL[:, 0]), [[3, -1, 2], [0.5, 0.5, -2]]),
    "RANGE": (given("RANGE", np.array(2, I32), np.array(9, I32), np.array(3, I32), out="int32"), [2, 5, 8]),
    "SUM": (given("SUM", X, i32(-1, 1), KeepDims=True), X.sum((1, 3), keepdims=True)),
    "REDUCE_ANY": (given("REDUCE_ANY", SMALL > 3, i32(1), out="bool"), [False, True]),
    "ARG_MAX": (given("ARG_MAX", SMALL, np.array(-1, I32), out="int32"), [0, 1]),
    "CUMSUM": (given("CUMSUM", SMALL, np.array(1, I32), Exclusive=True, Reverse=True), [[1, 2, 0], [2, -2, 0]]),
    "TOPK_V2": (given("TOPK_V2", SMALL, np.array(2, I32))[1], [[0, 2], [1, 0]]),
    "UNIQUE": (given("UNIQUE", i32(5, 2, 5))[1], [0, 1, 0]),
    "UNSORTED_SEGMENT_MAX": (given("UNSORTED_SEGMENT_MAX", SMALL, i32(1, 1), np.array(2, I32))[1], SMALL.max(0)),
    "SEGMENT_SUM": (given("SEGMENT_SUM", SMALL, i32(0, 0)), SMALL.sum(0, keepdims=True)),
    "SELECT": (given("SELECT", np.array([True, False]), SMALL, -SMALL), [SMALL[0], -SMALL[1]]),
    "AVERAGE_POOL_2D, padded": (
        given("AVERAGE_POOL_2D", FOUR, FilterWidth=3, FilterHeight=3, StrideW=2, StrideH=2)[0, 0, 0],
        FOUR[0, :3, :3].mean((0, 1)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    mine, expected = CASES[name]

    np.testing.assert_allclose(mine, np.array(expected), rtol=1e-5, atol=1e-6)


def test_batch_to_space_undoes_space_to_batch() -> None:
    batches = given("SPACE_TO_BATCH_ND", FOUR, i32(2, 2), i32([1, 1], [2, 0]))

    np.testing.assert_array_equal(given("BATCH_TO_SPACE_ND", batches, i32(2, 2), i32([1, 1], [2, 0])), FOUR)


@pytest.mark.parametrize(("padding", "size"), [(0, 6), (1, 7)])
def test_a_transposed_convolution_spreads_what_the_convolution_gathers(padding: int, size: int) -> None:
    """It is the gradient of the convolution: the sum over both sides is the same whichever is run."""
    draw = np.random.default_rng(0)
    weight, wide = draw.standard_normal((2, 3, 3, 4), np.float32), draw.standard_normal((1, size, size, 2), np.float32)
    settings = {"Padding": padding, "StrideW": 2, "StrideH": 2}
    narrow = given("CONV_2D", wide, weight.transpose(3, 1, 2, 0).copy(), **settings)
    other = draw.standard_normal(narrow.shape).astype(np.float32)
    spread = given("TRANSPOSE_CONV", i32(1, size, size, 2), weight, other, **settings)

    np.testing.assert_allclose((spread * wide).sum(), (narrow * other).sum(), rtol=1e-4)


def test_resizing() -> None:
    """Four to seven: corners on corners, centres on centres, or the first element on the first."""
    row = FOUR[:, :1, :, :1]

    def places(how: str, number: int) -> float:
        step = 4 / 7
        return {"corners": number * 3 / 6, "centres": (number + 0.5) * step - 0.5, "first": number * step}[how]

    for how, settings in (("corners", {"AlignCorners": True}), ("centres", {"HalfPixelCenters": True}), ("first", {})):
        wanted = [np.interp(places(how, at), range(4), row[0, 0, :, 0]) for at in range(7)]
        np.testing.assert_allclose(given("RESIZE_BILINEAR", row, i32(1, 7), **settings)[0, 0, :, 0], wanted, rtol=1e-5)
    nearest = given("RESIZE_NEAREST_NEIGHBOR", row, i32(1, 7))[0, 0, :, 0]
    np.testing.assert_array_equal(nearest, row[0, 0, [0, 0, 1, 1, 2, 2, 3], 0])
    nearest = given("RESIZE_NEAREST_NEIGHBOR", row, i32(1, 7), AlignCorners=True)[0, 0, :, 0]
    np.testing.assert_array_equal(nearest, row[0, 0, [0, 1, 1, 2, 2, 3, 3], 0])


def test_a_long_short_term_memory_is_torchs() -> None:
    """TFLite's gates are input, forget, cell and output, each a weight of its own; torch's are in one, cell third."""
    net = torch.nn.LSTM(3, 5, batch_first=True)
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    of_input, of_state, b, c = (
        v.detach().numpy() for v in (net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0, net.bias_hh_l0)
    )
    states = [np.zeros((2, 5), np.float32)] * 2
    weights = [*np.split(of_input, 4), *np.split(of_state, 4), None, None, None, *np.split(b + c, 4), None, None]
    found = given("UNIDIRECTIONAL_SEQUENCE_LSTM", x, *weights, *states, FusedActivationFunction=4)

    np.testing.assert_allclose(found, net(torch.from_numpy(x))[0].detach().numpy(), atol=1e-6)


def test_a_filter_of_features_and_time() -> None:
    """SVDF: each filter weighs what it made of the last inputs; two filters make a unit."""
    draw = np.random.default_rng(0)
    x, features, times = (draw.standard_normal(s).astype(np.float32) for s in ((1, 3), (4, 3), (4, 5)))
    before = draw.standard_normal((1, 20)).astype(np.float32)
    seen = np.concatenate([before.reshape(4, 5)[:, 1:], (features @ x[0])[:, None]], 1)
    wanted = (seen * times).sum(1).reshape(2, 2).sum(1)

    np.testing.assert_allclose(given("SVDF", x, features, times, None, before, Rank=2)[0], wanted, rtol=1e-5)


def test_how_many_ops_have_a_rule() -> None:
    assert f"a rule for each of {len(op_types())} op types" in (DOCS / "sources.md").read_text(encoding="utf-8")
