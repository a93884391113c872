"""Quantised networks have the parameters, multiply-adds and fields of the networks that they were made from."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc

quantization = pytest.importorskip("torch.ao.quantization", reason="this release of torch has no torch.ao.quantization")
if not hasattr(quantization, "quantize_dynamic"):
    pytest.skip("this release of torch has no quantize_dynamic", allow_module_level=True)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """torch says of all of it that it will move to torchao."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def needs_engine() -> None:
    """Static quantisation needs a kernel library for this processor."""
    if "x86" not in torch.backends.quantized.supported_engines:
        pytest.skip("torch has no kernels for quantised convolutions here")


def dynamic(model: nn.Module, *kinds: type[nn.Module], dtype: torch.dtype = torch.qint8) -> nn.Module:
    made: nn.Module = quantization.quantize_dynamic(model.eval(), set(kinds) or {nn.Linear}, dtype=dtype)
    return made


def two_linears() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


class Recurrent(nn.Module):
    """Every recurrent kind that torch packs, and two linear layers that only their weights tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, num_layers=2, bidirectional=True)
        self.gru = nn.GRU(32, 8, batch_first=True)
        self.cell = nn.LSTMCell(8, 4)
        self.one = nn.Linear(4, 3, bias=False)
        self.other = nn.Linear(4, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.gru(self.lstm(x)[0])[0]
        h = self.cell(y[-1])[0]
        return self.one(h) + self.other(h)


class Convolutions(nn.Module):
    """Convolutions whose norm and activation fuse, a sum of branches, pooling, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = quantization.QuantStub()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.grouped = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2, bias=False)
        self.sum = torch.ao.nn.quantized.FloatFunctional()
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.last = nn.Linear(2 * 16 * 16, 5)
        self.dequant = quantization.DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.first(self.quant(x))))
        x = self.up(self.pool(self.sum.add(x, self.grouped(x))))
        x = self.sum.cat([x, x], dim=1)[:, :2]
        return self.dequant(self.last(torch.flatten(x, 1)))


def fused() -> nn.Module:
    return quantization.fuse_modules(Convolutions().eval(), [["first", "norm", "relu"]])


def static(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """The model converted to 8-bit integers, eagerly."""
    needs_engine()
    before, torch.backends.quantized.engine = torch.backends.quantized.engine, "fbgemm"
    try:
        model = copy.deepcopy(model)
        model.qconfig = quantization.QConfig(
            activation=quantization.MinMaxObserver.with_args(dtype=torch.quint8),
            weight=quantization.default_weight_observer,
        )
        prepared = quantization.prepare(model)
        prepared(x)
        return quantization.convert(prepared)
    finally:
        torch.backends.quantized.engine = before


IMAGE = torch.randn(2, 3, 16, 16)

Pair = tuple[nn.Module, nn.Module, torch.Tensor]


def dynamic_linear() -> Pair:
    model = two_linears()
    return model, dynamic(model), torch.randn(1, 64)


def dynamic_recurrent() -> Pair:
    model = Recurrent()
    return model, dynamic(model, nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell), torch.randn(5, 2, 8)


def dynamic_half() -> Pair:
    model = two_linears()
    return model, dynamic(model, nn.Linear, dtype=torch.float16), torch.randn(1, 64)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.feed(x)


def dynamic_attention() -> Pair:
    model = Block().eval()
    made = dynamic(model)
    assert not isinstance(made.feed[0], nn.Linear)
    return model, made, torch.randn(1, 6, 16)


def static_eager() -> Pair:
    model = fused()
    return model, static(model, IMAGE), IMAGE


def packed_embedding() -> Pair:
    model = nn.Sequential(nn.Embedding(10, 16), nn.Linear(16, 4)).eval()
    made = copy.deepcopy(model)
    made[0].qconfig = quantization.float_qparams_weight_only_qconfig
    made[0] = torch.ao.nn.quantized.Embedding.from_float(made[0])
    return model, made, torch.zeros(2, 5, dtype=torch.long)


PAIRS: list[Callable[[], Pair]] = [
    dynamic_linear,
    dynamic_recurrent,
    dynamic_half,
    dynamic_attention,
    static_eager,
    packed_embedding,
]


def weighty(analysis: rfcalc.Analysis) -> list[Any]:
    """What each layer with weights is, costs and sees."""
    layers = [layer for layer in analysis.layers if layer.params]
    return [(layer.kind, layer.params, layer.macs, layer.receptive_fields, layer.output_shape) for layer in layers]


@pytest.mark.parametrize("pair", PAIRS)
def test_the_network_that_it_stands_for(pair: Callable[[], Pair]) -> None:
    model, made, x = pair()
    expected, found = rfcalc.analyze(model, x), rfcalc.analyze(made, x)
    assert found.totals.status == expected.totals.status == "complete"
    assert found.totals.params == expected.totals.params == sum(p.numel() for p in model.parameters())
    assert found.totals.macs == expected.totals.macs
    assert not found.totals.unused_params
    assert weighty(found) == weighty(expected)
    names = {param.name for param in expected.layer_graph.params}
    assert {param.name.replace("first.", "first.0.") for param in found.layer_graph.params} in (
        names,
        {name.replace("first.", "first.0.") for name in names},
    )


def test_the_case_of_two_linears() -> None:
    """64 x 128 + 128 x 10 multiply-adds, (64 x 128 + 128) + (128 x 10 + 10) parameters."""
    found = rfcalc.analyze(dynamic(two_linears()), torch.randn(1, 64))
    assert (found.totals.params, found.totals.macs, found.totals.trainable_params) == (9610, 9472, 0)
    assert found.layer_graph.meta["notices"] == []
    assert [layer.name for layer in found.layers] == ["input", "0", "2"]


def test_of_two_alike_the_one_that_runs() -> None:
    """Objects without a bias are told apart by their weights: each is used by its own layer."""
    _, made, x = dynamic_recurrent()
    graph = rfcalc.analyze(made, x).layer_graph
    owners = {param.name: graph[param.owner].name for param in graph.params if param.owner is not None}
    assert owners["one.weight"] == "one"
    assert owners["other.weight"] == "other"
    assert owners["lstm.weight_hh_l1_reverse"] == "lstm"


def test_a_model_traced_in_graph_mode() -> None:
    """torch.fx quantisation: the same numbers as the network fused by hand, with packed weights of its functions."""
    needs_engine()
    from torch.ao.quantization import quantize_fx

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    mapping = quantization.get_default_qconfig_mapping("x86")
    made = quantize_fx.convert_fx(quantize_fx.prepare_fx(copy.deepcopy(model), mapping, (IMAGE,)))
    expected, found = rfcalc.analyze(model, IMAGE), rfcalc.analyze(made, IMAGE)
    assert found.totals.status == "complete"
    assert weighty(found) == weighty(expected)
    assert found.totals.params == 3 * 4 * 9 + 4 + 4 * 2 + 2


def test_training_for_quantisation() -> None:
    """Weights and activations rounded in floating point: the parameters and products of the network itself."""
    needs_engine()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    made = copy.deepcopy(model).train()
    made.qconfig = quantization.get_default_qat_qconfig("x86")
    quantization.prepare_qat(made, inplace=True)
    for training in (True, False):
        expected = rfcalc.analyze(model, IMAGE, training=training)
        found = rfcalc.analyze(made, IMAGE, training=training)
        assert found.totals.status == "complete"
        for what in ("params", "trainable_params", "macs"):
            assert getattr(found.totals, what) == getattr(expected.totals, what)
        last = [analysis.layers[-1].receptive_field.size for analysis in (expected, found)]
        assert last[0] == last[1]


def test_the_model_stays_as_it_was() -> None:
    for pair in (dynamic_linear, dynamic_recurrent):
        _, made, x = pair()
        before = pickle.dumps({key: str(value) for key, value in made.state_dict().items()})
        attributes = {name: sorted(module.__dict__) for name, module in made.named_modules()}
        result = made(x)
        assert rfcalc.analyze(made, x).layers
        assert pickle.dumps({key: str(value) for key, value in made.state_dict().items()}) == before
        assert {name: sorted(module.__dict__) for name, module in made.named_modules()} == attributes
        assert torch.equal(made(x), result)


def test_what_torch_refuses_is_said_in_its_words() -> None:
    with pytest.raises(rfcalc.errors.TraceError, match=r"Sequential cannot run on input 1x63: layer 0"):
        rfcalc.analyze(dynamic(two_linears()), torch.randn(1, 63))


# --- bytes ------------------------------------------------------------------------------------------------------------


def sizes(model: nn.Module, x: torch.Tensor) -> dict[str, int | None]:
    return {param.name: param.nbytes for param in rfcalc.trace(model, x).graph["params"]}


def test_bytes_of_packed_weights() -> None:
    """An integer each, the biases in floating point; half precision takes two bytes."""
    assert sizes(two_linears(), torch.randn(1, 64)) == {
        "0.weight": 4 * 64 * 128, "0.bias": 4 * 128, "2.weight": 4 * 128 * 10, "2.bias": 40
    }  # fmt: skip
    expected = {"0.weight": 64 * 128, "0.bias": 4 * 128, "2.weight": 128 * 10, "2.bias": 40}
    assert sizes(dynamic(two_linears()), torch.randn(1, 64)) == expected
    halves = {name: 2 * size if "weight" in name else size for name, size in expected.items()}
    assert sizes(dynamic(two_linears(), dtype=torch.float16), torch.randn(1, 64)) == halves


def test_bytes_of_scales_of_each_channel() -> None:
    """A scale of 8 bytes and a zero point of 8 for each output channel, as torch keeps and saves them."""
    layer = torch.ao.nn.quantized.Conv2d(3, 4, 3)
    needs_engine()
    scales, zeros = torch.full((4,), 0.1, dtype=torch.float64), torch.zeros(4, dtype=torch.int64)
    weight = torch.quantize_per_channel(torch.randn(4, 3, 3, 3), scales, zeros, 0, torch.qint8)
    before, torch.backends.quantized.engine = torch.backends.quantized.engine, "fbgemm"
    try:
        layer.set_weight_bias(weight, torch.zeros(4))
    finally:
        torch.backends.quantized.engine = before
    model = nn.Sequential(torch.ao.nn.quantized.Quantize(0.1, 0, torch.quint8), layer)
    stored = weight.int_repr().nbytes + weight.q_per_channel_scales().nbytes + weight.q_per_channel_zero_points().nbytes
    assert stored == 108 + 32 + 32
    assert sizes(model, IMAGE) == {"1.weight": stored, "1.bias": 16}


def test_bytes_of_half_a_byte_each() -> None:
    table = nn.EmbeddingBag(10, 16, mode="sum")
    table.qconfig = quantization.float_qparams_weight_only_qconfig_4bit
    made = torch.ao.nn.quantized.EmbeddingBag.from_float(table)
    weight = made.weight()
    assert weight.dtype == torch.quint4x2
    scales = weight.q_per_channel_scales().nbytes + weight.q_per_channel_zero_points().nbytes
    found = rfcalc.analyze(nn.Sequential(made), torch.zeros(2, 5, dtype=torch.long))
    assert [param.nbytes for param in found.layer_graph.params] == [10 * 8 + scales]
    assert (found.totals.params, found.totals.status) == (160, "complete")


def test_a_saved_graph_keeps_them(tmp_path: Any) -> None:
    from rfcalc import graph_json

    graph = rfcalc.analyze(dynamic(two_linears()), torch.randn(1, 64)).layer_graph
    graph_json.save(graph, tmp_path / "graph.json")
    assert graph_json.load(tmp_path / "graph.json").params == graph.params


def test_totals_and_comparisons_tell_the_bytes() -> None:
    """8,192 + 1,280 integers of a byte, 138 biases of 4; torch saves as many bytes of tensors."""
    from rfcalc.report import formats
    from rfcalc.report.comparison import comparison_report
    from rfcalc.report.layers import totals_facts

    model, made, x = dynamic_linear()
    found = rfcalc.analyze(made, x)
    assert found.totals.param_bytes == found.to_dict()["totals"]["param_bytes"] == 8192 + 1280 + 4 * 138
    weights = [tensor for layer in (made[0], made[2]) for tensor in (layer.weight().int_repr(), layer.bias())]
    assert found.totals.param_bytes == sum(tensor.nbytes for tensor in weights)
    assert dict(totals_facts(found.totals))["parameters"].endswith(
        "9,610, of which 0 trainable, stored in 10,024 bytes"
    )
    both = rfcalc.compare([rfcalc.analyze(model, x), found])
    rows = both.to_dict()["rows"]
    assert [row["param_bytes"] for row in rows] == [4 * 9610, 10024]
    assert [row["params"] for row in rows] == [9610, 9610]
    assert "10,024" in formats.render(comparison_report(both), "table")
    assert "bytes of params" not in formats.render(comparison_report(rfcalc.compare(["lenet5"])), "table")


# --- weights packed in tensors ----------------------------------------------------------------------------------------


class Groupwise(nn.Module):
    """4 bits in int32, along the input, with a scale and a zero point for each group of inputs (GPTQ's layout)."""

    def __init__(self, inside: int, out: int, group: int = 16) -> None:
        super().__init__()
        self.group = group
        self.register_buffer("qweight", torch.randint(0, 2**31 - 1, (inside // 8, out), dtype=torch.int32))
        self.register_buffer("qzeros", torch.randint(0, 2**31 - 1, (inside // group, out // 8), dtype=torch.int32))
        self.register_buffer("scales", torch.rand(inside // group, out).half())
        self.register_buffer("g_idx", torch.tensor([k // group for k in range(inside)], dtype=torch.int32))
        self.register_buffer("bias", torch.zeros(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shifts = torch.arange(0, 32, 4, dtype=torch.int32)
        zeros = ((self.qzeros[:, :, None] >> shifts) & 15).reshape(self.scales.shape)
        weight = ((self.qweight[:, None, :] >> shifts[:, None]) & 15).reshape(-1, self.scales.shape[1])
        groups = self.g_idx.long()
        return x @ (self.scales[groups].float() * (weight - zeros[groups])) + self.bias


class Nibbles(nn.Module):
    """Two elements a byte in a parameter, scales in a dict of plain tensors (HQQ's layout)."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.W_q = nn.Parameter(torch.randint(0, 255, (inside * out // 16, 8), dtype=torch.uint8), requires_grad=False)
        rows = inside * out // 8
        self.meta = {"scale": torch.rand(rows, 1), "zero": torch.rand(rows, 1), "shape": (out, inside)}
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = (torch.cat([self.W_q >> 4, self.W_q & 15]).float() - self.meta["zero"]) * self.meta["scale"]
        return nn.functional.linear(x, weight.reshape(self.meta["shape"]), self.bias)


class Blocks(nn.Module):
    """Eight bits of floating point with a scale for each block, both parameters (fine-grained FP8)."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(out, inside).to(torch.float8_e4m3fn), requires_grad=False)
        self.weight_scale_inv = nn.Parameter(torch.rand(out // 8, inside // 8))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.weight_scale_inv.repeat_interleave(8, 0).repeat_interleave(8, 1)
        return nn.functional.linear(x, self.weight.to(x.dtype) * scale, self.bias)


class Rows(nn.Module):
    """Integers of a byte, multiplied first and scaled afterwards, through a kernel or without."""

    def __init__(self, inside: int, out: int, *, kernel: bool = False) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("weight", torch.randint(-127, 127, (out, inside), dtype=torch.int8))
        self.register_buffer("scales", torch.rand(out))
        self.register_buffer("bias", torch.zeros(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kernel:
            half, scales = x.to(torch.bfloat16), self.scales.to(torch.bfloat16)
            return torch.ops.aten._weight_int8pack_mm(half, self.weight, scales).float() + self.bias
        return nn.functional.linear(x, self.weight.to(x.dtype)) * self.scales + self.bias


class InKernelsOrder(nn.Module):
    """4 bits in the order of torch's own kernel, which only the kernel can read."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        pack = torch.ops.aten._convert_weight_to_int4pack_for_cpu
        self.register_buffer("weight", pack(torch.randint(0, 15, (out, inside), dtype=torch.int32), 1))
        self.register_buffer("scales_and_zeros", torch.rand(inside // 32, out, 2, dtype=torch.bfloat16))
        self.register_buffer("bias", torch.zeros(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = torch.ops.aten._weight_int4pack_mm_for_cpu(x.bfloat16(), self.weight, 32, self.scales_and_zeros)
        return made.float() + self.bias


#: make, bytes of a layer from 64 to 32: its elements, then scales, zero points and group indices, then the bias.
PACKED: dict[str, tuple[Callable[[int, int], nn.Module], int]] = {
    "groupwise": (Groupwise, 1024 + 4 * 32 * 2 + 4 * 4 * 4 + 64 * 4 + 128),
    "nibbles": (Nibbles, 1024 + 2 * 256 * 4 + 128),
    "blocks": (Blocks, 2048 + 4 * 8 * 4 + 128),
    "rows": (Rows, 2048 + 32 * 4 + 128),
    "rows in a kernel": (lambda inside, out: Rows(inside, out, kernel=True), 2048 + 32 * 4 + 128),
    "in a kernel's order": (InKernelsOrder, 1024 + 2 * 32 * 2 * 2 + 128),
}


@pytest.mark.parametrize("name", PACKED)
def test_what_packed_tensors_stand_for(name: str) -> None:
    make, nbytes = PACKED[name]
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32))
    x = torch.randn(2, 5, 64) if name in ("nibbles", "blocks", "rows") else torch.randn(10, 64)
    expected, found = rfcalc.analyze(model, x), rfcalc.analyze(nn.Sequential(make(64, 32), nn.ReLU(), make(32, 32)), x)
    assert found.totals.status == "complete"
    assert found.totals.params == expected.totals.params == 64 * 32 + 32 + 32 * 32 + 32
    assert found.totals.macs == expected.totals.macs
    assert [layer.kind for layer in found.layers] == ["input", "linear", "linear"]
    assert [layer.receptive_fields for layer in found.layers] == [layer.receptive_fields for layer in expected.layers]
    assert [layer.params for layer in found.layers] == [0, 2080, 1056]
    assert (found.totals.buffers, dict(found.totals.unused_params)) == (0, {})
    first = [param.nbytes for param in found.layer_graph.params if param.name.startswith("0.")]
    assert sum(first) == nbytes


def test_a_layer_that_no_pass_shows_says_its_features() -> None:
    """An op without a rule takes the packed weight: 8 bits in 2 x 4 numbers, of a layer from 4 to 4."""

    class Layer(nn.Module):
        def __init__(self, features: int) -> None:
            super().__init__()
            self.in_features, self.out_features = 4, features
            self.codes = nn.Parameter(torch.zeros(2, 4, dtype=torch.uint8), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.codes.sum()

    known, odd = (rfcalc.analyze(Layer(features), torch.randn(1, 4)).totals for features in (4, 3))
    assert (known.params, known.param_bytes, known.status) == (16, 8, "complete")
    assert odd.status == "lower_bound"
    assert odd.unknown_params == {"codes": "how many elements its uint8 numbers stand for is not known"}


def test_microscaling_blocks() -> None:
    """Two 4-bit numbers a byte and a scale for each 32 of them: 2 experts of 8 x 64."""

    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up_blocks = nn.Parameter(torch.zeros(2, 8, 2, 16, dtype=torch.uint8), requires_grad=False)
            self.up_scales = nn.Parameter(torch.zeros(2, 8, 2, dtype=torch.uint8), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    totals = rfcalc.analyze(Experts(), torch.randn(1, 4)).totals
    assert (totals.params, totals.param_bytes) == (2 * 8 * 64, 2 * 8 * 32 + 2 * 8 * 2)


def test_integers_beside_weights_are_no_weights() -> None:
    """A mask of bytes on a weight in floating point, indices and observers stay what they are."""

    class Masked(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 4)
            self.register_buffer("mask", torch.ones(4, 8, dtype=torch.uint8))
            self.register_buffer("order", torch.arange(4, dtype=torch.int32).flip(0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.weight * self.mask, self.bias).index_select(1, self.order)

    found = rfcalc.analyze(Masked(), torch.randn(1, 8))
    assert (found.totals.params, found.totals.buffers, found.totals.status) == (36, 36, "complete")
    assert all(field.status == "exact" for field in found.layers[-1].receptive_fields.values())


class Held(nn.Module):
    """Bytes and numbers under names that say nothing, and what forward does with them."""

    def __init__(self, run: Callable[[Any, torch.Tensor], torch.Tensor], **held: torch.Tensor) -> None:
        super().__init__()
        self.run = run
        for key, tensor in held.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(key, tensor)
            else:
                self.register_buffer(key, tensor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def _bits(m: Any, x: torch.Tensor) -> torch.Tensor:
    signs = torch.stack([(m.w >> place) & 1 for place in range(8)], -1).reshape(32, 64).to(x.dtype) * 2 - 1
    return x @ (signs * m.alpha[:, None]).t()


BYTES = torch.zeros(32, 64, dtype=torch.int8)
UNNAMED: dict[str, tuple[nn.Module, torch.Tensor, int, int]] = {
    "bits": (Held(_bits, w=BYTES[:, :8], alpha=nn.Parameter(torch.ones(32))), torch.randn(2, 64), 2080, 4096),
    "scaled": (
        Held(lambda m, x: nn.functional.linear(x, m.w.to(x.dtype) * m.s[:, None]), w=BYTES, s=torch.ones(32)),
        torch.randn(2, 64),
        2048,
        4096,
    ),
    "kernel": (
        Held(lambda m, x: torch._int_mm((10 * x).to(torch.int8), m.w.t()), w=BYTES),
        torch.randn(32, 64),
        2048,
        65536,
    ),
    "adjacency": (
        Held(lambda m, x: m.a.to(x.dtype) @ x, a=torch.ones(20, 20, dtype=torch.int8), other=torch.ones(3)),
        torch.randn(2, 20, 4),
        0,
        3200,
    ),
    "places": (
        Held(
            lambda m, x: torch.einsum("bnd,nmd->bnm", x, m.t[m.i.long()]),
            i=torch.zeros(6, 6, dtype=torch.uint8),
            t=nn.Parameter(torch.randn(11, 8)),
        ),
        torch.randn(2, 6, 8),
        88,
        576,
    ),
}


@pytest.mark.parametrize("name", UNNAMED)
def test_bytes_are_weights_where_a_product_shows_it(name: str) -> None:
    """Unpacked, scaled, taken by a kernel of integers: weights; a matrix of zeros and ones, places in a table: not."""
    model, x, params, macs = UNNAMED[name]
    totals = rfcalc.analyze(model, x).totals
    assert (totals.params, totals.macs, totals.status) == (params, macs, "complete")


def test_bags_of_a_packed_table() -> None:
    """Rows of indices are bags where torch's kernel takes them as they are."""
    needs_engine()
    model = nn.Sequential(nn.EmbeddingBag(100, 16, mode="sum"), nn.Linear(16, 4)).eval()
    packing = {nn.EmbeddingBag: quantization.float_qparams_weight_only_qconfig}
    packed = quantization.quantize_dynamic(model, packing)
    analysis = rfcalc.analyze(packed, torch.randint(0, 100, (2, 5)))
    assert (analysis.totals.params, analysis.totals.macs) == (100 * 16 + 68, 2 * 64)
    assert all(layer.receptive_field.size == (5,) for layer in analysis.layers[1:])


def test_parameters_of_a_class_of_their_own() -> None:
    """A layer asks its parameter for what belongs to it, as bitsandbytes' do; the tensors there count in bytes."""

    class Coded(nn.Parameter):
        table: torch.Tensor

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = Coded(torch.randint(0, 4, (4, 8), dtype=torch.uint8), requires_grad=False)
            self.weight.table = torch.rand(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.weight.table[self.weight.long()])

    model = Layer()
    found = rfcalc.analyze(model, torch.randn(1, 8))
    assert (found.totals.params, found.totals.macs, found.totals.param_bytes) == (32, 32, 32 + 16)
    assert type(model.weight) is Coded


# --- verified ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [dynamic_linear, static_eager, packed_embedding])
def test_a_real_pass_agrees(pair: Callable[[], Pair]) -> None:
    _, made, x = pair()
    found = rfcalc.verify(made, x, device="cpu", probes=2, timing=False)
    assert found.agree
    assert found.check("params").agree > 2
    products = {dynamic_linear: 2, static_eager: 4, packed_embedding: 2}[pair]  # of the last, its total too
    assert found.check("macs").agree == products
    if pair is dynamic_linear:
        assert found.check("receptive_fields").compared == 0
        assert "a scale taken of all its input" in found.check("receptive_fields").notes[0]


def test_packed_tensors_in_a_real_pass() -> None:
    make, _ = PACKED["rows in a kernel"]
    found = rfcalc.verify(nn.Sequential(make(64, 32)), torch.randn(10, 64), device="cpu", probes=2, timing=False)
    assert found.agree
    assert found.check("params").notes == ("not checked, for the layers do not say what they hold packed: 0",)
    assert found.check("macs").agree == 1


def test_a_wrong_number_of_packed_weights_is_found() -> None:
    import dataclasses

    from rfcalc.checking.holdings import check_params
    from rfcalc.checking.subject import resolve

    subject = resolve(dynamic(two_linears()), torch.randn(1, 64), axes=None, training=False)
    first, *others = subject.graph.params
    wrong = dataclasses.replace(first, numel=first.numel // 2)
    graph = dataclasses.replace(subject.graph, params=(wrong, *others))
    found = check_params(dataclasses.replace(subject, graph=graph))
    assert [(item.layer, item.expected, item.seen) for item in found.differences] == [
        ("0", 4096 + 128, 8192 + 128),
        ("(total)", 9610 - 4096, 9610),
    ]


def test_nothing_against_nothing_does_not_agree() -> None:
    found = rfcalc.verify(nn.MaxPool2d(2), torch.randn(1, 3, 8, 8), device="cpu", probes=2, timing=False)
    assert found.check("macs").compared == 0
