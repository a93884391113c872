"""The reference files in `tests/data`: multiply-adds by hand, published fields, supports, torchvision's counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rfcalc

DATA = Path(__file__).parent / "data"


def read(name: str) -> dict[str, Any]:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def by_name(cases: Sequence[dict[str, Any]], key: str) -> list[Any]:
    return [pytest.param(case, id=case[key]) for case in cases]


class Fn(nn.Module):
    """A function as a module; it gets the module and the inputs, keyword arguments become parameters or children."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part if isinstance(part, nn.Module) else nn.Parameter(part))

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


# --- multiply-adds ----------------------------------------------------------------------------------------------------


def r(*shape: int) -> Tensor:
    return torch.rand(shape)


def shared_weight() -> nn.Module:
    two = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1, bias=False))
    two[1].weight = two[0].weight
    return two


def mha() -> nn.Module:
    attention = nn.MultiheadAttention(32, 4, batch_first=True)
    return Fn(lambda m, x: m.attention(x, x, x, need_weights=False)[0], attention=attention).eval()


def first_of(rnn: nn.Module) -> nn.Module:
    return Fn(lambda m, x: m.rnn(x)[0], rnn=rnn)


def deform_conv() -> nn.Module:
    ops = pytest.importorskip("torchvision").ops
    return Fn(lambda m, x: ops.deform_conv2d(x, torch.zeros(1, 18, 6, 6), m.w), w=r(8, 3, 3, 3))


IMAGE = (1, 3, 8, 8)
#: name of the case -> (module factory, shapes of the inputs)
MODULES: dict[str, tuple[Callable[[], nn.Module], Sequence[tuple[int, ...]]]] = {
    "vit_like_mha_batch": (mha, [(2, 8, 32)]),
    "conv2d_bias": (lambda: nn.Conv2d(3, 8, 3), [IMAGE]),
    "conv2d_grouped4": (lambda: nn.Conv2d(8, 16, 3, groups=4, bias=False), [(1, 8, 8, 8)]),
    "conv2d_dilated_same": (lambda: nn.Conv2d(3, 8, 3, padding="same", dilation=2, bias=False), [IMAGE]),
    "conv3d": (lambda: nn.Conv3d(3, 8, 3, bias=False), [(1, 3, 8, 8, 8)]),
    "convT2d_s2_bias": (lambda: nn.ConvTranspose2d(4, 8, 3, stride=2), [(1, 4, 8, 8)]),
    "F.conv2d_param": (lambda: Fn(lambda m, x: F.conv2d(x, m.w), w=r(8, 3, 3, 3)), [IMAGE]),
    "linear_3d": (lambda: nn.Linear(8, 16, bias=False), [(2, 5, 8)]),
    "embedding": (lambda: nn.Embedding(100, 16), [(1, 7)]),
    "batchnorm_eval": (lambda: nn.BatchNorm2d(8).eval(), [(1, 8, 8, 8)]),
    "layernorm": (lambda: nn.LayerNorm(8), [(1, 7, 8)]),
    "maxpool": (lambda: nn.MaxPool2d(2), [(1, 8, 8, 8)]),
    "adaptive_avgpool1": (lambda: nn.AdaptiveAvgPool2d(1), [(1, 8, 8, 8)]),
    "shared_weight_two_modules": (shared_weight, [(1, 4, 8, 8)]),
    "unused_submodule": (
        lambda: Fn(lambda m, x: m.used(x), used=nn.Linear(8, 8), unused=nn.Linear(8, 80)),
        [(1, 8)],
    ),
    "raw_parameter": (
        lambda: Fn(lambda m, x: m.linear(x) * m.scale, linear=nn.Linear(8, 8).requires_grad_(False), scale=r(8)),
        [(1, 8)],
    ),
    "torch.matmul": (lambda: Fn(lambda m, a, b: a @ b), [(2, 3, 4), (2, 4, 5)]),
    "matvec": (lambda: Fn(lambda m, a, b: a @ b), [(6, 4), (4,)]),
    "einsum_outer": (lambda: Fn(lambda m, a, b: torch.einsum("i,j->ij", a, b)), [(6,), (7,)]),
    "sdpa_causal": (
        lambda: Fn(lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=True)),
        [(1, 2, 8, 16)],
    ),
    "mha_eval_noweights": (mha, [(1, 8, 32)]),
    "transformer_encoder_layer_eval": (
        lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval(),
        [(1, 8, 32)],
    ),
    "lstm_2l_bi": (
        lambda: first_of(nn.LSTM(10, 20, num_layers=2, bidirectional=True, batch_first=True)),
        [(2, 5, 10)],
    ),
    "gru": (lambda: first_of(nn.GRU(10, 20, batch_first=True)), [(2, 5, 10)]),
    "interp_bilinear_x2": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), [(1, 3, 8, 8)]),
    "deform_conv": (deform_conv, [IMAGE]),
}


@pytest.mark.parametrize("case", by_name(read("multiply_add_cases.json")["cases"], "name"))
def test_multiply_adds(case):
    factory, shapes = MODULES[case["name"]]
    inputs = tuple(torch.randint(0, 9, s) if case["name"] == "embedding" else r(*s) for s in shapes)

    totals = rfcalc.analyze(factory(), inputs).totals

    assert (totals.macs, totals.params, totals.status) == (case["macs"], case["params"], "complete")


# --- published fields -------------------------------------------------------------------------------------------------

FIELDS = read("receptive_field_cases.json")["cases"]
NETWORKS = [case for case in FIELDS if "layers" in case]

#: Cases whose published answer is not what a unit sees, and why.
OTHERWISE = {
    "gr/net3 misaligned": "an error there; the field is the union of both branches, and the join is reported",
    "distill/fig4 misaligned": "as above; the samples that the article counts for two units are exactly ours",
    "bicyclegan/141": "the paper says 140, twice the 70 of the halved image; but the average pooling that halves it"
    " reads 3 pixels at stride 2: 69 * 2 + 3 = 141",
}
#: No padding is stated and the branches would not fit without: kernels are centred, and only sizes are compared.
CENTRED = {"rfa/two branches stride 2", "rfa/tuple kernels and strides"}


def same_padding(extent: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME: as much as makes the output ``ceil(extent / stride)``, the odd one after."""
    total = max((-(-extent // stride) - 1) * stride + dilation * (kernel - 1) + 1 - extent, 0)
    return total // 2, total - total // 2


class Layer(nn.Module):
    """One layer of a description: the sum of its inputs, then padding, then the op."""

    def __init__(self, row: dict[str, Any], rank: int, centred: bool) -> None:
        super().__init__()
        self.op, self.rank, self.centred = row["op"], rank, centred
        self.kernel: list[int] = row.get("kernel") or [1] * rank
        self.stride: list[int] = row.get("stride") or [1] * rank
        self.dilation: list[int] = row.get("dilation") or [1] * rank
        self.padding: Any = row.get("padding") or [[0, 0]] * rank
        if self.op == "conv":
            self.weight = nn.Parameter(torch.rand(1, 1, *self.kernel))

    def _widths(self, x: Tensor) -> list[tuple[int, int]]:
        if self.centred:
            return [(kernel // 2, kernel // 2) for kernel in self.kernel]
        if self.padding == "VALID":
            return [(0, 0)] * self.rank
        if self.padding == "SAME":
            rows = zip(x.shape[2:], self.kernel, self.stride, self.dilation, strict=True)
            return [same_padding(*row) for row in rows]
        return [(before, after) for before, after in self.padding]

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        for other in more:
            x = x + other
        widths = self._widths(x)
        own = [before for before, _ in widths]
        # torch pads both sides alike, and pools by half a kernel at most
        limit = [1 << 30 if self.op == "conv" else kernel // 2 for kernel in self.kernel]
        if self.op == "pad" or any(b != a or b > most for (b, a), most in zip(widths, limit, strict=True)):
            x = F.pad(x, [width for pair in reversed(widths) for width in pair])
            own = [0] * self.rank
        if self.op == "conv":
            conv = (F.conv1d, F.conv2d, F.conv3d)[self.rank - 1]
            return conv(x, self.weight, None, self.stride, own, self.dilation)
        if self.op == "maxpool":
            pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[self.rank - 1]
            return pool(x, self.kernel, self.stride, own, self.dilation)
        if self.op == "avgpool":
            return F.avg_pool2d(x, self.kernel, self.stride, own)
        return x if self.op == "pad" else F.relu(x)


class Network(nn.Module):
    """A described network; layer ``L1`` is the module ``at_L1``. ``without`` cuts edges (from, to)."""

    def __init__(self, case: dict[str, Any], without: set[tuple[str, str]] = frozenset()) -> None:  # type: ignore[assignment]
        super().__init__()
        rank = len(case["dims"])
        self.rows = case["layers"]
        self.inputs = {
            row["name"]: [name for name in row["inputs"] if (name, row["name"]) not in without] for row in self.rows
        }
        for row in self.rows:
            self.add_module(f"at_{row['name']}", Layer(row, rank, case["id"] in CENTRED))
        self.output = case["output"]

    def forward(self, x: Tensor) -> Tensor:
        values = {"input": x}
        for row in self.rows:
            layer = self.get_submodule(f"at_{row['name']}")
            values[row["name"]] = layer(*(values[name] for name in self.inputs[row["name"]]))
        return values[self.output]


def network_analysis(case: dict[str, Any], **options: Any) -> rfcalc.Analysis:
    shape = (1, 1, *case.get("input_resolution", [64] * len(case["dims"])))
    return rfcalc.analyze(Network(case, **options), torch.rand(shape))


def each(value: Any, rank: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,) * rank


@pytest.mark.parametrize("case", by_name([c for c in NETWORKS if "error" not in c["expect"]], "id"))
def test_published_fields(case):
    a, rank, expect = network_analysis(case), len(case["dims"]), case["expect"]
    field = a.receptive_field(f"at_{case['output']}")

    assert field.status == "exact"
    assert field.stride is not None
    assert field.center is not None
    checks = {
        "rf": lambda value: field.size == each(value, rank),
        "stride": lambda value: field.stride == each(value, rank),
        "padding": lambda value: field.start == tuple(-width for width in each(value, rank)),
        "first_centre_halfpixel": lambda value: all(Fraction(c) + Fraction(1, 2) == value for c in field.center or ()),
        "first_centre_pixel0": lambda value: all(c == value for c in field.center or ()),
        "output_size": lambda value: a.layers[-1].output_shape[2:] == each(value, rank),
        "output_sizes": lambda value: {k: a.select(f"at_{k}")[0].output_shape[-1] for k in value} == value,
        "rf_by_layer": lambda value: sizes(a, value) == {k: each(v, rank) for k, v in value.items()},
        "rf_max_by_layer": lambda value: sizes(a, value) == {k: each(v, rank) for k, v in value.items()},
        "rf_reported_by_user": lambda value: field.size == each(value, rank),
    }
    elsewhere = {"rf_min_by_layer", "paper_says", "module_rf_tuple (rf, stride, padding)"}
    assert set(expect) <= set(checks) | elsewhere
    for what in set(expect) & set(checks):
        assert checks[what](expect[what]), (what, expect[what], field)
    if "rf" in expect:
        assert field.misaligned == () or case["id"] in CENTRED


def sizes(a: rfcalc.Analysis, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    return {name: a.receptive_field(f"at_{name}").size for name in names}


@pytest.mark.parametrize("case", by_name([c for c in NETWORKS if "rf_min_by_layer" in c["expect"]], "id"))
def test_smallest_fields_are_those_of_the_shorter_branch(case):
    a = network_analysis(case, without={("conv3", "conv4")})

    published = {name: each(size, 2) for name, size in case["expect"]["rf_min_by_layer"].items()}
    assert sizes(a, list(published)) == published


@pytest.mark.parametrize("case", by_name([c for c in NETWORKS if "error" in c["expect"]], "id"))
def test_misaligned_joins_are_reported_and_their_union_is_exact(case):
    rank, output = len(case["dims"]), f"at_{case['output']}"
    a = network_analysis({**case, "input_resolution": [8] * rank})

    assert case["id"] in OTHERWISE
    assert a.receptive_field(output).status == "exact"
    clashes = a.receptive_field(output).misaligned
    assert [clash.axis for clash in clashes] == list(a.inputs[0].axes)
    assert all(sorted(branch[0] for branch in clash.branches) == [1, 2] for clash in clashes)
    for unit, count in case["expect"].get("samples_used_by_unit", {"1": 6, "2": 5}).items():
        region = a.receptive_field(output, at=(int(unit),) * rank).region
        assert [last - first + 1 for first, last in region] == [count] * rank


def test_bicyclegan_is_not_twice_the_patch_of_the_halved_image():
    (case,) = (case for case in NETWORKS if case["id"] == "bicyclegan/141")

    assert case["id"] in OTHERWISE
    assert case["expect"]["paper_says"] == 140
    assert network_analysis(case).receptive_field("at_5").size == (141, 141) == (69 * 2 + 3,) * 2


@pytest.mark.parametrize("case", by_name([c for c in FIELDS if "input_size" in c], "id"))
def test_padding_that_depends_on_the_input_size(case):
    kernel, stride, mode = case["kernel"], case["stride"], case["padding_mode"].split()[1]
    row = {"name": "m", "op": "conv" if "conv" in case["id"] else "maxpool", "inputs": ["input"]}
    row.update(kernel=[kernel], stride=[stride], padding=mode)

    def padding(extent: int) -> tuple[int, int]:
        """Before and in total, from the window of the first unit and of the last."""
        a = rfcalc.analyze(Network({"id": "", "dims": ["x"], "layers": [row], "output": "m"}), torch.rand(1, 1, extent))
        field, count = a.receptive_field("at_m"), a.layers[-1].output_shape[-1]
        end = field.start[0] + (count - 1) * field.stride[0] + field.size[0]
        return -field.start[0], -field.start[0] + end - extent if mode == "SAME" else 0

    expected = (case["expect"]["pad_before"], case["expect"]["pad_total"])
    if case["input_size"] is not None:
        assert padding(case["input_size"]) == expected
    elif mode == "VALID":
        assert padding(8) == padding(9) == expected
    else:  # not known without the input size: the truth is a fact of each size
        assert expected == (None, None)
        assert padding(4) != padding(5)


class Causal(nn.Module):
    """keras-tcn: residual blocks of two causal convolutions, padded on the left only."""

    def __init__(self, kernel: int, dilations: Sequence[int], stacks: int) -> None:
        super().__init__()
        self.dilations = [d for d in dilations for _ in range(2)] * stacks
        self.convs = nn.ModuleList(nn.Conv1d(2, 2, kernel, dilation=d) for d in self.dilations)
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        for at in range(0, len(self.dilations), 2):
            y = x
            for conv, dilation in zip(self.convs[at : at + 2], self.dilations[at : at + 2], strict=True):
                y = conv(F.pad(y, ((self.kernel - 1) * dilation, 0))).relu()
            x = (x + y).relu()
        return x


@pytest.mark.parametrize("case", by_name([c for c in FIELDS if "dilations" in c], "id"))
def test_causal_networks(case):
    kernel, dilations, stacks = case["kernel"], case["dilations"], case["stacks"]

    field = rfcalc.analyze(Causal(kernel, dilations, stacks), (2, 300)).layers[-1].receptive_field

    assert list(field.size) == case["expect"]["rf"] == [1 + 2 * (kernel - 1) * stacks * sum(dilations)]
    assert list(field.stride) == case["expect"]["stride"]
    assert field.start == (1 - field.size[0],)
    # Skip and branch move alike but have other centres, which is what causal means: every join is reported.
    assert len(field.misaligned) == len(dilations) * stacks
    for clash, dilation in zip(field.misaligned, dilations * stacks, strict=True):
        (skip_stride, skip_center), (stride, center) = sorted(clash.branches, key=lambda branch: -branch[1])
        assert (skip_stride, stride) == (1, 1)
        assert skip_center - center == (kernel - 1) * dilation


def test_every_published_case_is_used():
    kinds = [sum(key in case for key in ("layers", "input_size", "dilations")) for case in FIELDS]

    assert len(FIELDS) == 57
    assert set(kinds) == {1}
    assert set(OTHERWISE) | CENTRED <= {case["id"] for case in FIELDS}


# --- supports by unit -------------------------------------------------------------------------------------------------


def windowed_attention(m: Fn, x: Tensor) -> Tensor:
    tokens = x.transpose(1, 2).reshape(-1, 4, 2)
    scores = tokens @ tokens.transpose(1, 2)
    return (scores.softmax(-1) @ tokens).reshape(1, 16, 2).transpose(1, 2)


def global_attention(m: Fn, x: Tensor) -> Tensor:
    tokens = m.embed(x).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2)


def conv(kernel: int, channels: int = 2, **options: Any) -> nn.Module:
    return nn.Conv1d(channels, 2, kernel, **options)


def skip(m: Fn, x: Tensor) -> Tensor:
    return m.last(torch.cat([m.wide(x), F.interpolate(m.down(x), scale_factor=2, mode="nearest")], dim=1))


SUPPORTS: dict[str, Callable[[], nn.Module]] = {
    "convT k2 s2": lambda: nn.ConvTranspose1d(2, 2, 2, stride=2),
    "convT k4 s2 p1": lambda: nn.ConvTranspose1d(2, 2, 4, stride=2, padding=1),
    "convT k3 s2 d2": lambda: nn.ConvTranspose1d(2, 2, 3, stride=2, dilation=2),
    "up linear x2 ac=False": lambda: nn.Upsample(scale_factor=2, mode="linear", align_corners=False),
    "up nearest x1.5": lambda: nn.Upsample(scale_factor=1.5, mode="nearest"),
    "enc-dec skip": lambda: Fn(
        skip, wide=conv(3, padding=1), down=conv(3, stride=2, padding=1), last=conv(3, padding=1, channels=4)
    ),
    "stride>kernel": lambda: nn.Sequential(conv(1, stride=3), conv(2)),
    "half-pixel residual k2/k1": lambda: Fn(lambda m, x: m.a(x) + m.b(x), a=conv(2, stride=2), b=conv(1, stride=2)),
    "circular pad": lambda: conv(3, padding=1, padding_mode="circular"),
    "maxpool ceil": lambda: nn.MaxPool1d(3, 2, ceil_mode=True),
    "window attention w4": lambda: Fn(windowed_attention),
    "patch-embed + global attention": lambda: Fn(global_attention, embed=conv(4, stride=4)),
    "slice/crop add": lambda: Fn(lambda m, x: x[..., 2:-2] + m.conv(x), conv=conv(5)),
}
#: Units whose poisoned support holds a sample with a weight of exactly 0: (case, unit) -> what is really read.
ZERO_WEIGHTS = {("up linear x2 ac=False", 0): [0]}


@pytest.mark.parametrize("case", by_name(read("receptive_field_support_1d.json")["cases"], "id"))
def test_supports_by_unit(case):
    model = Fn(lambda m, x: m.net(x), net=SUPPORTS[case["id"]]())
    a = rfcalc.analyze(model, torch.rand(1, 2, case["input_size"]))
    (layer,) = a.select("net")
    shape = layer.output_shape
    assert shape == (1, 2, case["output_size"])
    assert layer.receptive_field.status == "exact"

    ((first, last),) = a.regions("net")

    first, last = np.broadcast_to(first, shape)[0], np.broadcast_to(last, shape)[0]
    for unit, published in enumerate(case["support_by_unit"]):
        support = ZERO_WEIGHTS.get((case["id"], unit), published)
        for channel in range(2):
            found = (int(first[channel, unit]), int(last[channel, unit]))
            if support:
                assert found == (min(support), max(support)), (unit, channel)
            else:
                assert found[0] > found[1]
        extent = max(0, int(last[0, unit] - first[0, unit]) + 1)
        assert extent == (1 if (case["id"], unit) in ZERO_WEIGHTS else case["extent_by_unit"][unit])


# --- torchvision ------------------------------------------------------------------------------------------------------

COUNTS = read("torchvision_counts.json")["models"]
#: One fast model of each family; benchmarks/torchvision_models.py holds all models against what is published.
SAMPLE = """
alexnet convnext_tiny densenet121 efficientnet_b0 mnasnet0_5 mobilenet_v2 mobilenet_v3_small r3d_18 regnet_x_800mf
resnet18 shufflenet_v2_x1_0 squeezenet1_1 swin_t vgg11 vit_b_16
"""


@pytest.mark.parametrize("case", by_name([c for c in COUNTS if c["builder"] in SAMPLE.split()], "builder"))
def test_torchvision_counts(case):
    pytest.importorskip("torchvision")

    totals = rfcalc.analyze(f"torchvision:{case['builder']}", tuple(case["input"])).totals

    assert totals.params == case["constructed_params"] == case["published_params"]
    assert totals.status == "complete"
    published = case["published_gmacs"]
    assert abs(totals.macs / 1e9 - published) <= max(0.0011, 0.0005 * published)
