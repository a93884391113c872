"""Results known from shapes alone are what torch gives on a CPU."""

from copy import deepcopy

import pytest
import torch
from torch.backends import mkldnn
from torch.nn import functional

from rfcalc.tracing import shapes
from rfcalc.tracing.schema import schema_of


def _meta(value):
    if isinstance(value, torch.Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return type(value)(map(_meta, value)) if isinstance(value, list | tuple) else value


def _same(found, real):
    assert isinstance(found, tuple) == isinstance(real, tuple)
    pairs = zip(found, real, strict=True) if isinstance(found, tuple) else [(found, real)]
    return all((a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride()) and a.is_meta for a, b in pairs)


def _matmul(**named):
    return torch.matmul(named["self"], named["other"])


X = torch.randn(2, 6, 4, 4)
C = torch.ones(6)
NORMS = {
    "torch.layer_norm": (functional.layer_norm, {"input": X, "normalized_shape": (4,), "weight": torch.ones(4)}),
    "torch.layer_norm of another layout": (
        functional.layer_norm,
        {"input": X.permute(0, 2, 3, 1), "normalized_shape": (6,), "weight": C},
    ),
    "torch.rms_norm": (functional.rms_norm, {"input": X, "normalized_shape": (4,), "weight": torch.ones(4)}),
    "torch.rms_norm of two axes": (functional.rms_norm, {"input": X, "normalized_shape": (4, 4)}),
    "torch.group_norm": (functional.group_norm, {"input": X, "num_groups": 3, "weight": C, "bias": C}),
    "torch.batch_norm": (functional.batch_norm, {"input": X, "running_mean": C, "running_var": C, "weight": C}),
    "torch.linear": (functional.linear, {"input": X, "weight": torch.randn(5, 4), "bias": torch.ones(5)}),
    "torch.matmul": (_matmul, {"self": X, "other": torch.randn(2, 6, 4, 3)}),
    "torch.matmul of other layouts": (_matmul, {"self": X.transpose(2, 3), "other": X.permute(0, 1, 3, 2)}),
    "torch.matmul of repeated batches": (_matmul, {"self": X[:1].expand(2, 6, 4, 4), "other": X}),
    "torch.matmul of complex numbers": (_matmul, {"self": X + 1j, "other": X - 1j}),
    "torch.matmul of one batch axis": (_matmul, {"self": X[0], "other": X[1]}),
}


@pytest.mark.parametrize("name", NORMS)
def test_layers_are_as_on_a_cpu(name):
    function, named = NORMS[name]

    found = shapes.composite(name.partition(" ")[0], {key: _meta(value) for key, value in named.items()})

    assert _same(found, function(**named))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("torch.layer_norm", {"normalized_shape": (6,)}),
        ("torch.layer_norm", {"weight": torch.ones(6)}),
        ("torch.layer_norm", {"weight": torch.ones(4, dtype=torch.float64)}),
        ("torch.rms_norm", {"normalized_shape": (5,)}),
        ("torch.rms_norm", {"weight": torch.ones(4, dtype=torch.float64)}),
        ("torch.rms_norm", {"input": X.transpose(1, 3), "normalized_shape": (6,), "weight": C}),
        ("torch.group_norm", {"num_groups": 4}),
        ("torch.group_norm", {"num_groups": 0}),
        ("torch.group_norm", {"weight": torch.ones(5)}),
        ("torch.batch_norm", {"training": True}),
        ("torch.batch_norm", {"running_mean": None, "running_var": None}),
        ("torch.batch_norm", {"running_var": torch.ones(5)}),
        ("torch.linear", {"weight": torch.randn(5, 3)}),
        ("torch.linear", {"bias": torch.ones(4)}),
        ("torch.matmul", {"other": torch.randn(2, 6, 3, 4)}),
        ("torch.matmul", {"other": X.double()}),
        ("torch.matmul", {"self": X > 0, "other": X > 0}),
        ("torch.dropout", {}),
    ],
)
def test_what_is_not_plain_is_left_to_torch(name, change):
    named = {**(NORMS[name][1] if name in NORMS else {"input": X}), **change}

    assert shapes.composite(name, {key: _meta(value) for key, value in named.items()}) is None


@pytest.mark.parametrize("mask", [None, (7, 5), (1, 1, 5), (2, 3, 7, 5)])
def test_attention_is_as_on_a_cpu(mask):
    named = {"query": torch.randn(2, 3, 7, 8), "key": torch.randn(2, 3, 5, 8), "value": torch.randn(2, 3, 5, 6)}
    named["attn_mask"] = None if mask is None else torch.zeros(mask)

    found = shapes.composite("torch.scaled_dot_product_attention", {key: _meta(value) for key, value in named.items()})

    assert _same(found, functional.scaled_dot_product_attention(**named))


@pytest.mark.parametrize(
    "change",
    [
        {"key": torch.randn(2, 3, 5, 7)},
        {"key": torch.randn(2, 3, 4, 8)},
        {"key": torch.randn(2, 1, 5, 8)},
        {"value": torch.randn(2, 3, 5, 6, dtype=torch.float64)},
        {"enable_gqa": True},
        {"attn_mask": torch.zeros(7, 4)},
        {"attn_mask": torch.zeros(2, 2, 3, 7, 5)},
        {"attn_mask": torch.zeros(7, 5, dtype=torch.int64)},
    ],
)
def test_odd_attention_is_left_to_torch(change):
    named = {"query": torch.randn(2, 3, 7, 8), "key": torch.randn(2, 3, 5, 8), "value": torch.randn(2, 3, 5, 6)}

    found = shapes.composite(
        "torch.scaled_dot_product_attention", {k: _meta(v) for k, v in {**named, **change}.items()}
    )

    assert found is None


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    ("kind", "layers", "ways"), [("lstm", 1, 2), ("lstm", 2, 1), ("gru", 2, 2), ("rnn_tanh", 1, 1)]
)
def test_recurrent_layers_are_as_on_a_cpu(kind, layers, ways, batch_first):
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn_tanh": torch.nn.RNN}
    layer = kinds[kind](5, 4, layers, bidirectional=ways == 2, batch_first=batch_first).eval()
    x, state = torch.randn(3, 7, 5), torch.zeros(layers * ways, 3 if batch_first else 7, 4)
    hx = (state, state) if kind == "lstm" else state
    settings = {"num_layers": layers, "bidirectional": ways == 2, "batch_first": batch_first}

    found = shapes.composite(
        f"torch.{kind}", {"input": _meta(x), "hx": _meta(hx), "params": _meta(layer._flat_weights), **settings}
    )
    with torch.no_grad(), mkldnn.flags(enabled=False):
        sequence, last = layer(x, hx)

    assert _same(found, (sequence, *last) if kind == "lstm" else (sequence, last))


def test_a_recurrent_layer_with_other_weights_is_left_to_torch():
    named = {"input": torch.randn(3, 7, 5), "hx": torch.zeros(1, 7, 4), "params": [torch.randn(4, 6)], "num_layers": 1}

    assert shapes.composite("torch.gru", {key: _meta(value) for key, value in named.items()}) is None


A = torch.randn(2, 3, 4, 5)
LAST = A.contiguous(memory_format=torch.channels_last)
MASK = torch.rand(4, 5) > 0.5
CONV = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
ONE = A[:, :1].contiguous()  #: one channel: of both layouts at once
SETTINGS = {"threshold": (0, 0)}
KEEP = {"memory_format": torch.preserve_format}

#: Calls that have a shortcut: overload, arguments, keywords.
CALLS = [
    *((f"{name}.Tensor", (A, other), {}) for name in ("add", "sub", "mul", "div") for other in (
        A + 1, torch.ones(3, 1, 1), torch.ones(5), torch.ones(()), 2, 0.5)),
    *((f"{name}.Tensor", (torch.ones(3, 1, 1), A), {}) for name in ("add", "mul")),
    *(("div.Tensor", pair, {}) for other in (A[:, :1].expand(2, 3, 4, 5), torch.ones(3, 1, 1).expand(3, 4, 5),
        torch.ones(2, 3, 4, 10)[..., ::2]) for pair in ((A, other), (other, A))),
    *((f"{name}.Tensor", (x, torch.ones(3, 1, 1)), {}) for name in ("add", "mul") for x in (
        LAST, A.permute(0, 3, 1, 2)[:, 1:4], torch.randn(2, 4, 3, 5).transpose(1, 2))),
    *((f"{name}.Tensor", (A, torch.ones(5)), {}) for name in ("add_", "sub_", "mul_", "div_")),
    ("mul.Scalar", (A.transpose(1, 2), 0.5), {}),
    *((f"{name}.default", (x,), {}) for name in (
        "relu", "gelu", "silu", "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu"
    ) for x in (A, LAST, A.transpose(1, 3), A[..., ::2], A.half())),
    *((f"{name}_.default", (x,), {}) for name in (
        "relu", "gelu", "silu", "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu"
    ) for x in (A, A.transpose(1, 3))),
    ("fill_.Scalar", (A, 1), {}), ("fill_.Scalar", (MASK, True), {}), ("zero_.default", (A[:, ::2],), {}),
    ("clone.default", (A,), {}), ("clone.default", (A,), KEEP),
    *(("clone.default", (x,), {"memory_format": torch.contiguous_format}) for x in (A, A.transpose(1, 2), LAST)),
    ("_unsafe_view.default", (A, [6, 20]), {}),
    ("new_zeros.default", (A, [7, 2]), {}), ("new_zeros.default", (LAST.half(), [2, 3, 4, 5]), {"pin_memory": False}),
    ("index.Tensor", (A, [torch.tensor([1, 0, 1])]), {}), ("index.Tensor", (A, [torch.ones(4, 5).long()]), {}),
    ("_softmax.default", (A, -1, False), {}), ("_safe_softmax.default", (A, -1), {}),
    *(("mean.dim", (A, axes, keep), {}) for axes in ([2, 3], [-1], [1], [0, 2]) for keep in (True, False)),
    *(("cat.default", ([A, A, A[:, :1].contiguous()], axis), {}) for axis in (1, -3)),
    ("cat.default", ([torch.randn(1, 6, 1, 1), torch.randn(1, 3, 1, 1)], 1), {}), ("cat.default", ([A, A],), {}),
    *(("convolution.default", (A, torch.randn(6, 3, *kernel), bias, *CONV), {}) for kernel in ((3, 3), (1, 1), (2, 4))
      for bias in (None, torch.ones(6))),
    ("convolution.default", (A, torch.randn(6, 1, 3, 3), None, [2], [1], [1], False, [0], 3), {}),
    ("convolution.default", (A, torch.randn(6, 3, 2, 2), None, [2, 1], [0, 2], [1, 3], False, [0, 0], 1), {}),
    ("convolution.default", (A[0], torch.randn(6, 4, 3), None, [1], [1], [1], False, [0], 1), {}),
    ("convolution.default", (A[None], torch.randn(4, 2, 3, 3, 3), None, [1], [1], [1], False, [0], 1), {}),
    ("convolution.default", (A[..., :1, :1].contiguous(), torch.randn(6, 3, 1, 1), None, *CONV), {}),
    *(("max_pool2d_with_indices.default", (A, *rest), {}) for rest in (
        ([2, 2],), ([2], [2]), ([3, 3], [2, 2], [1, 1]), ([3, 3], [2, 2], [1, 1], [1, 1], False))),
    *(("avg_pool2d.default", (A, *rest), {}) for rest in (([2, 2],), ([3, 3], [1, 1], [1, 1]), ([4], [2], [0], False))),
    ("mm.default", (A[0, 0], A[0, 0].t().contiguous()), {}),
    ("mm.default", (A[0, 0], A[0, 0].t()), {}),
    ("bmm.default", (A[0], A[0].transpose(1, 2).contiguous()), {}),
    ("bmm.default", (A[0].transpose(0, 1), A[0].permute(1, 2, 0)), {}),
    ("addmm.default", (torch.ones(4), A[0, 0], torch.randn(5, 4)), {}),
    ("addmm.default", (torch.ones(3), A[0, 0, :, :4].t(), torch.randn(3, 4).t()), {}),
    (
        "_grouped_mm.default",
        (torch.randn(6, 16).bfloat16(), torch.randn(2, 16, 8).bfloat16(), torch.tensor([2, 6], dtype=torch.int32)),
        {},
    ),
    ("roll.default", (A, [1, -2], [2, 3]), {}),
    ("masked_fill.Scalar", (A, MASK, -1.0), {}), ("masked_fill.Scalar", (A, MASK[:1], 0), {}),
    ("upsample_bilinear2d.default", (A, [7, 9], False), {}), ("upsample_bilinear2d.default", (A, [2, 2], True), {}),
    *((f"upsample_nearest{rank}d.default", (x, [7] * rank), {}) for rank, x in ((1, A[0]), (2, A), (3, A[None]))),
    ("upsample_linear1d.default", (A[0], [7], False), {}), ("upsample_bicubic2d.default", (A, [7, 2], False), {}),
    ("upsample_trilinear3d.default", (A[None], [5, 6, 7], False), {}),
    ("upsample_nearest2d.default", (ONE, [2, 3]), {}),
    *((f"_adaptive_avg_pool{rank}d.default", (x, [2] * rank), {}) for rank, x in ((2, A), (3, A[None]), (2, ONE))),
    *((f"adaptive_max_pool{rank}d.default", (x, [2] * rank), {}) for rank, x in ((2, A), (3, A[None]))),
    ("max_pool3d_with_indices.default", (A[None], [2, 2, 3], [1, 2, 2], [1, 0, 1]), {}),
    ("avg_pool3d.default", (A[None], [2, 2, 2]), {}),
    *(("convolution.default", (A, torch.randn(3, 4, *kernel), bias, *rest, groups), {})
      for kernel, groups, rest in (
          ((2, 2), 1, ([2, 2], [0, 0], [1, 1], True, [0, 0])), ((3, 4), 1, ([2, 1], [1, 2], [1, 2], True, [1, 1])),
          ((3, 3), 1, ([2], [1], [1], True, [1])))
      for bias in (None, torch.ones(4))),
    ("convolution.default", (A, torch.randn(3, 2, 3, 3), torch.ones(6), [1], [0], [1], True, [0], 3), {}),
    ("convolution.default", (A[0], torch.randn(4, 2, 4), None, [2], [1], [1], True, [0], 1), {}),
    *((f"{name}.default", (x, *SETTINGS.get(name, ())), {}) for name in (
        "exp", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "abs", "neg", "sin", "cos", "erf", "floor", "round",
        "mish", "softplus", "threshold", "hardshrink") for x in (A, LAST, A.transpose(1, 3), A.half())),
    *((f"{name}.{kind}", (x, other), {}) for name in ("eq", "ne", "lt", "le", "gt", "ge") for kind, x, other in (
        ("Scalar", A, 0), ("Scalar", LAST, 0.5), ("Tensor", A, torch.ones(5)), ("Tensor", torch.ones(5), A))),
    ("rsub.Scalar", (A, 1), {}), ("rsub.Tensor", (A, torch.ones(5)), {}),
    *(("pow.Tensor_Scalar", (x, power), {}) for power in (2, 3, 0.5, -1, 0) for x in (A, LAST, A.half())),
    ("pow.Scalar", (2, A), {}), ("pow.Scalar", (0.5, A.transpose(1, 2)), {}), ("pow.Tensor_Tensor", (A, A), {}),
    ("clamp.default", (A, 0, 1), {}), ("clamp.default", (LAST, None, 0.5), {}), ("clamp_min.default", (A, 0), {}),
    ("clamp_max.default", (A.transpose(1, 2), 0.5), {}),
    *(("where.self", (MASK, *pair), {}) for pair in ((A, A), (A, torch.ones(())), (torch.ones(5), A))),
    ("where.self", (A > 0, torch.ones(5), torch.zeros(4, 1)), {}),
    ("_log_softmax.default", (A, 1, False), {}),
    *((f"{name}", (A, axes, keep), {}) for name in ("sum.dim_IntList", "amax.default", "amin.default")
      for axes in ([2, 3], [-1]) for keep in (True, False)),
    ("mean.default", (A,), {}), ("sum.default", (A,), {}), ("amax.default", (A,), {}), ("amin.default", (A,), {}),
    *((f"{name}", (A, 2, axes, keep), {}) for name in ("linalg_vector_norm.default", "norm.ScalarOpt_dim")
      for axes in ([1], [2, 3]) for keep in (True, False)),
    *(("stack.default", ([A, A + 1], axis), {}) for axis in (0, 2, -1)), ("stack.default", ([A[0, 0, 0]],), {}),
    ("repeat.default", (A, [1, 2, 1, 1]), {}), ("repeat.default", (A, [2, 1, 1, 3, 1]), {}),
    ("gather.default", (A, 1, torch.ones(2, 1, 4, 5).long()), {}),
    ("gather.default", (A, -1, torch.ones(1, 3, 2, 9).long()), {}),
    ("pixel_shuffle.default", (torch.ones(2, 12, 4, 5), 2), {}),
    *((f"{kind}_pad{rank}d.default", (x, [1, 2] * rank), {}) for kind in ("reflection", "replication")
      for rank, x in ((1, A[0]), (2, A), (3, torch.ones(2, 3, 4, 4, 5)))),
]  # fmt: skip


def _overload(name):
    op, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, op, None), overload, None)


def _same_places(found, real):
    """Shapes, dtypes, and strides where an axis has more than one position."""
    pairs = zip(found, real, strict=True) if isinstance(real, tuple | list) else [(found, real)]
    return all(
        (a.shape, a.dtype) == (b.shape, b.dtype)
        and all(one == two for one, two, extent in zip(a.stride(), b.stride(), a.shape, strict=True) if extent > 1)
        for a, b in pairs
    )


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS)
def test_ops_are_as_torch_does_them(name, args, kwargs):
    overload = _overload(name)
    if overload is None:
        pytest.skip("this torch has no such op")
    given = _meta(args)

    found = shapes.result(schema_of(overload), given, kwargs)

    with mkldnn.flags(enabled=False):
        real = overload(*deepcopy(args), **kwargs)  # which keeps strides, and parts what one place held
    assert found is not None
    assert _same_places(found, real)
    assert all(made.is_meta for made in (found if isinstance(found, tuple) else (found,)))


def test_every_shortcut_is_tested():
    called = {f"aten.{name.partition('.')[0]}" for name, _, _ in CALLS}

    assert {name for name in shapes.COVERED if _overload(f"{name.removeprefix('aten.')}.default")} <= called
    assert called <= shapes.COVERED


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("mul.Tensor", (A, torch.ones(2, 1, 3, 4, 5)), {}),
        ("mul.Tensor", (A, A.double()), {}),
        ("mul.Tensor", (A, torch.ones(5, dtype=torch.int64)), {}),
        ("mul.Tensor", (A.permute(0, 2, 3, 1), torch.ones(4, 5, 3)), {}),
        ("mul.Tensor", (A, torch.ones(5, 4).t()), {}),
        ("mul.Tensor", (A, torch.ones(2, 3, 5, 4).mT), {}),
        ("mul.Tensor", (A, 1j), {}),
        ("mul.Tensor", (torch.ones(3, dtype=torch.int64), 0.5), {}),
        ("mul.Tensor", (torch.ones(1, 3, 1).expand(2, 3, 4), 2), {}),
        ("add.Tensor", (A, A), {"alpha": 2}),
        ("relu.default", (torch.ones(3, dtype=torch.int64),), {}),
        ("_unsafe_view.default", (A, [-1]), {}),
        ("index.Tensor", (A, [None, torch.tensor([1])]), {}),
        ("index.Tensor", (A, [torch.tensor([True, False])]), {}),
        ("_softmax.default", (A.transpose(1, 2), -1, False), {}),
        ("mean.dim", (A, None), {}),
        ("mean.dim", (A, [1, 1]), {}),
        ("mean.dim", (A, [4]), {}),
        ("cat.default", ([A, A.double()], 1), {}),
        ("cat.default", ([A, LAST], 1), {}),
        ("cat.default", ([A[0, 0, 0], torch.zeros(0)], 0), {}),
        ("convolution.default", (A, torch.randn(4, 6, 3, 3), None, [1, 1], [1, 1], [1, 1], True, [0, 0], 1), {}),
        ("convolution.default", (A, torch.randn(3, 6, 3, 3), None, [1, 1], [1, 1], [1, 1], True, [1, 1], 1), {}),
        ("convolution.default", (A, torch.randn(3, 6, 1, 1), None, [1, 1], [9, 9], [1, 1], True, [0, 0], 1), {}),
        ("convolution.default", (A, torch.randn(3, 6, 3, 3), torch.ones(3), [1], [1], [1], True, [0], 1), {}),
        ("where.self", (MASK, A, A.double()), {}),
        ("where.self", (MASK, A[:, :1].contiguous(), torch.ones(3, 1, 1)), {}),
        ("pow.Scalar", (2, torch.ones(3, dtype=torch.int64)), {}),
        ("clamp.Tensor", (A, torch.ones(5), None), {}),
        ("amax.default", (A, [1, 1]), {}),
        ("repeat.default", (A, [2, 1]), {}),
        ("stack.default", ([A, ONE],), {}),
        ("gather.default", (A, 1, torch.ones(3, 1, 4, 5).long()), {}),
        ("reflection_pad2d.default", (A, [5, 0, 0, 0]), {}),
        ("upsample_nearest2d.default", (A[0], [7, 7]), {}),
        ("max_pool3d_with_indices.default", (A, [2]), {}),
        ("convolution.default", (LAST, torch.randn(6, 3, 3, 3), None, *CONV), {}),
        ("convolution.default", (A, torch.randn(6, 2, 3, 3), None, *CONV), {}),
        ("convolution.default", (A, torch.randn(6, 3, 3, 3).double(), None, *CONV), {}),
        ("convolution.default", (A, torch.randn(6, 3, 9, 9), None, *CONV), {}),
        ("convolution.default", (A, torch.randn(6, 3, 3, 3), torch.ones(5), *CONV), {}),
        ("max_pool2d_with_indices.default", (A, [2, 2], [2, 2], [0, 0], [1, 1], True), {}),
        ("max_pool2d_with_indices.default", (A, [2, 2], [2, 2], [2, 2]), {}),
        ("max_pool2d_with_indices.default", (A, [2, 2], [2, 2], [0, 0], [2, 2]), {}),
        ("avg_pool2d.default", (A, [2, 2], [2, 2], [0, 0], True), {}),
        ("mm.default", (A[0, 0], A[0, 0]), {}),
        ("addmm.default", (torch.ones(3), A[0, 0], torch.randn(5, 4)), {}),
        ("addmm.default", (torch.ones(4, 4), A[0, 0], torch.randn(5, 4)), {}),
        ("roll.default", (A, [1]), {}),
        ("masked_fill.Scalar", (A, torch.ones(2, 1, 3, 4, 5) > 0, 0), {}),
        ("upsample_bilinear2d.vec", (A, None, False, [2.0, 2.0]), {}),
        ("tan.default", (A,), {}),
    ],
)
def test_what_is_not_certain_is_left_to_torch(name, args, kwargs):
    assert shapes.result(schema_of(_overload(name)), _meta(args), kwargs) is None


@pytest.mark.parametrize(("cut", "axis"), [(A[..., 1:], 1), (A[..., 1:], -3), (A[:, :1], 0), (A[:1], -1)])
def test_what_does_not_fit_together_is_told_as_torch_tells_it(cut, axis):
    parts = [A, cut.contiguous()]
    with pytest.raises(RuntimeError) as own:
        shapes.result(schema_of(_overload("cat.default")), (_meta((parts,))[0], axis), {})
    with pytest.raises(RuntimeError) as theirs:
        torch.cat([part.to("meta") for part in parts], axis)
    assert str(own.value) == str(theirs.value)
