"""Each op of ONNX against the cases that onnx ships for it: by values, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

onnx: Any = pytest.importorskip("onnx")

from rfcalc.sources.onnx.rules import MICROSOFT, op_types  # noqa: E402
from tests.sources import onnx_cases  # noqa: E402

#: Cases of ops that have a rule, but of what is not followed: random numbers, the limits of four bits, and others.
NOT = {
    "test_bernoulli": "random numbers",
    "test_bernoulli_double": "random numbers",
    "test_bernoulli_seed": "random numbers",
    "test_training_dropout": "random numbers",
    "test_training_dropout_default": "random numbers",
    "test_training_dropout_default_mask": "random numbers",
    "test_training_dropout_mask": "random numbers",
    "test_quantizelinear_int4": "a type of four bits is one of eight here",
    "test_castlike_FLOAT_to_UINT4": "a type of four bits is one of eight here",
    "test_castlike_FLOAT16_to_UINT4": "a type of four bits is one of eight here",
    "test_castlike_FLOAT_to_INT4": "a type of four bits is one of eight here",
    "test_castlike_FLOAT16_to_INT4": "a type of four bits is one of eight here",
    "test_roialign_mode_max": "torch has no function for it",
    **dict.fromkeys(
        [
            f"test_{op}_no_saturate_{kind}_to_FLOAT8E4M3FN"
            for op in ("cast", "castlike")
            for kind in ("FLOAT", "FLOAT16")
        ],
        "torch gives the largest number for what is too large",
    ),
}
#: Ops of which onnx has no case by themselves: they stand in cases of others, or have tests of their own below.
WITHOUT = {
    *("ConcatFromSequence", "GlobalLpPool", "MaxRoiPool", "Multinomial", "Optional", "RandomNormal"),
    *("RandomNormalLike", "RandomUniform", "RandomUniformLike", "SequenceAt", "SequenceConstruct", "SequenceEmpty"),
    *("SequenceErase", "SequenceLength", "SimplifiedLayerNormalization"),
}


@pytest.mark.parametrize("op", [name for name in op_types() if name not in WITHOUT])
def test_an_op(op: str) -> None:
    ran = 0
    for case in onnx_cases.cases().get(op, ()):
        if case.name in NOT:
            continue
        try:
            onnx_cases.agree(case)
        except onnx_cases.UnusedError:
            continue
        except Exception as error:
            raise AssertionError(f"{case.name}: {error}") from error
        ran += 1
    assert ran or op in ("Bernoulli",)


def test_as_many_op_types_as_promised() -> None:
    assert len(set(op_types()) - WITHOUT) >= 150


def run(op: str, *inputs: Any, domain: str = "", outputs: int = 1, **attributes: Any) -> Any:
    """What one node gives."""
    names = [f"x{at}" if value is not None else "" for at, value in enumerate(inputs)]
    made = onnx.helper.make_node(op, names, [f"y{at}" for at in range(outputs)], "it", domain=domain, **attributes)
    info = [onnx.helper.make_tensor_value_info(name, 1, None) for name in names if name]
    out = [onnx.helper.make_tensor_value_info(f"y{at}", 1, None) for at in range(outputs)]
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(MICROSOFT, 1)]
    model = onnx.helper.make_model(onnx.helper.make_graph([made], "g", info, out), opset_imports=opsets)
    with torch.no_grad():
        return onnx_cases.network(model)(*(value for value in inputs if value is not None))


def drawn(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_sequences() -> None:
    a, b = torch.ones(2, 3), torch.zeros(2, 3)
    made = run("SequenceConstruct", a, b)

    assert torch.equal(run("SequenceAt", made, torch.tensor(-1)), b)
    assert [x.tolist() for x in run("SequenceErase", made, torch.tensor(0))] == [b.tolist()]
    assert run("ConcatFromSequence", made, axis=1).shape == (2, 6)
    assert run("ConcatFromSequence", made, axis=0, new_axis=1).shape == (2, 2, 3)
    assert int(run("SequenceLength", made)) == 2
    assert run("SequenceEmpty") == []


def test_random_numbers_have_their_shapes_and_ranges() -> None:
    assert run("RandomNormal", shape=[2, 3], mean=100.0).min() > 50
    low = run("RandomUniformLike", torch.zeros(50), low=2.0, high=3.0)
    assert low.min() >= 2
    assert low.max() <= 3
    assert run("RandomUniform", shape=[4]).shape == (4,)
    assert run("RandomNormalLike", torch.zeros(2, 2), dtype=11).dtype == torch.float64
    assert run("Multinomial", torch.tensor([[-100.0, 0.0]]), sample_size=3).tolist() == [[1, 1, 1]]
    assert set(run("Bernoulli", torch.tensor([0.0, 1.0])).tolist()) == {0.0, 1.0}


def test_pools_without_a_case() -> None:
    x = drawn(1, 2, 3, 3)

    assert torch.allclose(run("GlobalLpPool", x, p=2), (x**2).sum((2, 3), keepdim=True).sqrt())
    assert run("MaxRoiPool", x, torch.tensor([[0.0, 0, 0, 2, 2]]), pooled_shape=[1, 1]).flatten()[0] == x[0, 0].max()
    assert run("Optional", x) is x


def test_ops_of_onnxruntime() -> None:
    """Each against the formula of its description, written with other functions."""
    x, y, w = drawn(1, 4, 6), drawn(1, 4, 6) + 1, drawn(6)
    ms = {"domain": MICROSOFT}

    assert torch.allclose(run("BiasGelu", x, w, **ms), (x + w) * 0.5 * (1 + torch.erf((x + w) / 2**0.5)), atol=1e-6)
    assert torch.allclose(run("QuickGelu", x, alpha=2.0, **ms), x / (1 + torch.exp(-2 * x)), atol=1e-6)
    total = x + y
    norm = (total - total.mean(-1, keepdim=True)) / (total.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt() * w
    out, _, _, added = run("SkipLayerNormalization", x, y, w, epsilon=1e-5, outputs=4, **ms)
    assert torch.allclose(out, norm, atol=1e-5)
    assert torch.equal(added, total)
    assert torch.allclose(run("FusedMatMul", x, y, transB=1, alpha=2.0, **ms), 2 * x @ y.mT)
    root = total / (total.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * w
    assert torch.allclose(run("SkipSimplifiedLayerNormalization", x, y, w, epsilon=1e-5, **ms), root, atol=1e-5)


def test_attention_of_onnxruntime() -> None:
    x, w, b = drawn(1, 4, 8), drawn(8, 24), drawn(24)
    q, k, v = (x @ w + b).chunk(3, -1)
    rows = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = q[..., part] @ k[..., part].mT / 2
        scores = scores.masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
        rows.append(scores.softmax(-1) @ v[..., part])
    expected = torch.cat(rows, -1)

    packed = run("Attention", x, w, b, num_heads=2, unidirectional=1, domain=MICROSOFT)
    assert torch.allclose(packed, expected, atol=1e-5)
    several = run("MultiHeadAttention", q, k, v, num_heads=2, unidirectional=1, domain=MICROSOFT)
    assert torch.allclose(several, expected, atol=1e-5)
    grouped = run("GroupQueryAttention", q, k, v, num_heads=2, kv_num_heads=2, domain=MICROSOFT)
    assert torch.allclose(grouped, expected, atol=1e-5)


def test_a_weight_of_four_bits() -> None:
    numbers = np.arange(32, dtype=np.uint8).reshape(2, 16) % 16
    packed = torch.from_numpy(numbers[:, 0::2] | numbers[:, 1::2] << 4).reshape(2, 1, 8)
    x, scales = drawn(3, 16), torch.tensor([0.5, 2.0])
    weight = (torch.from_numpy(numbers).float() - 8) * scales[:, None]

    given = run("MatMulNBits", x, packed, scales, K=16, N=2, bits=4, block_size=16, domain=MICROSOFT)
    assert torch.allclose(given, x @ weight.T, atol=1e-5)


def test_quantised_ops_of_onnxruntime() -> None:
    scale, zero = torch.tensor(0.5), torch.tensor(0, dtype=torch.int8)
    a, b = torch.tensor([4, -6], dtype=torch.int8), torch.tensor([2, 2], dtype=torch.int8)

    added = run("QLinearAdd", a, scale, zero, b, scale, zero, scale, zero, domain=MICROSOFT)
    assert added.tolist() == [6, -4]
    joined = run("QLinearConcat", scale, zero, a, scale, zero, b, scale, zero, axis=0, domain=MICROSOFT)
    assert joined.tolist() == [4, -6, 2, 2]
