"""Every number of the lecture, literally: DESIGN section 5, and the published windows of torchvision's models."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc import Analysis
from rfcalc.errors import TraceError


@cache
def analysed(spec: str, shape: tuple[int, ...] | None = None) -> Analysis:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torchvision announces other initial weights; none are made
        return rfcalc.analyze(spec, shape)


def sizes(a: Analysis, names: str) -> list[int]:
    """Size of the field at each of the named layers, the same along both axes."""
    fields = [a.receptive_field(name).size for name in names.split()]
    assert all(height == width for height, width in fields)
    return [height for height, _ in fields]


# --- small kernels in a row -------------------------------------------------------------------------------------------


def test_two_3x3_see_what_one_5x5_sees_and_three_what_one_7x7_sees():
    two, three = analysed("3x3 3x3"), analysed("3x3 3x3 3x3")

    assert two.layers[-1].receptive_field.size == (5, 5) == analysed("5x5").layers[-1].receptive_field.size
    assert three.layers[-1].receptive_field.size == (7, 7) == analysed("7x7").layers[-1].receptive_field.size
    assert [layer.receptive_field.size for layer in three.layers] == [(1, 1), (3, 3), (5, 5), (7, 7)]
    assert three.layers[-1].receptive_field.start == (-3, -3)


@pytest.mark.parametrize("channels", [1, 8, 64])
def test_three_3x3_cost_27_c_squared_where_one_7x7_costs_49(channels):
    wide = f":{channels}-{channels}"
    one = analysed(f"3x3{wide}")
    three = analysed(" ".join([f"3x3{wide}"] * 3))
    large = analysed(f"7x7{wide}")

    assert one.totals.params == 9 * channels**2
    assert three.totals.params == 27 * channels**2
    assert large.totals.params == 49 * channels**2
    assert round(100 * (1 - three.totals.params / large.totals.params), 1) == 44.9
    assert [layer.params for layer in three.layers] == [0, *[9 * channels**2] * 3]
    positions = 32 * 32
    assert three.totals.macs == positions * three.totals.params
    assert large.totals.macs == positions * large.totals.params


def test_bottleneck_saves_a_factor_of_21():
    direct = analysed("5x5:480-48", (480, 14, 14))
    reduced = analysed("1x1:480-16 5x5:16-48", (480, 14, 14))

    assert direct.totals.macs == (14 * 14 * 48) * (5 * 5 * 480) == 112_896_000
    assert direct.layers[1].formula == "(14x14x48) x (5x5x480)"
    assert [layer.macs for layer in reduced.layers] == [0, 1_505_280, 3_763_200]
    assert [layer.formula for layer in reduced.layers[1:]] == ["(14x14x16) x (1x1x480)", "(14x14x48) x (5x5x16)"]
    assert reduced.totals.macs == 1_505_280 + 3_763_200 == 5_268_480
    assert reduced.layers[-1].output_shape == direct.layers[-1].output_shape == (1, 48, 14, 14)
    assert reduced.layers[-1].receptive_field.size == direct.layers[-1].receptive_field.size == (5, 5)


# --- VGG --------------------------------------------------------------------------------------------------------------


def test_vgg16_costs():
    totals = analysed("vgg16").totals

    assert totals.params == totals.trainable_params == 138_357_544
    assert totals.macs == 15_470_264_320
    assert totals.buffers == 0
    assert totals.status == "complete"
    assert totals.flops_by["multiply-adds"] == 2 * totals.macs


def test_vgg16_fields():
    a = analysed("vgg16")

    assert sizes(a, "conv1_1 conv1_2 pool1 conv2_1 conv2_2 pool2") == [3, 5, 6, 10, 14, 16]
    assert sizes(a, "conv3_1 conv3_2 conv3_3 pool3 conv4_1 conv4_2 conv4_3 pool4") == [24, 32, 40, 44, 60, 76, 92, 100]
    assert sizes(a, "conv5_1 conv5_2 conv5_3 pool5") == [132, 164, 196, 212]
    field = a["pool5"].receptive_field
    assert (field.size, field.size_min, field.samples) == ((212, 212), (212, 212), (212, 212))
    assert (field.stride, field.start, field.center) == ((32, 32), (-90, -90), (15.5, 15.5))
    assert field.status == "exact"
    assert not field.whole_input


@pytest.mark.parametrize("size", [64, 224, 320])
def test_vgg16_window_does_not_depend_on_the_input(size):
    field = analysed("vgg16", (3, size, size)).receptive_field("pool5")

    assert (field.size, field.stride, field.start) == ((212, 212), (32, 32), (-90, -90))


def test_fully_connected_layers_see_the_whole_input():
    field = analysed("vgg16").receptive_field("fc6")

    assert field.whole_input
    assert field.size == (224, 224)
    assert field.stride is field.start is field.center is field.samples is None


def test_layers_are_numbered_from_the_input():
    a = analysed("vgg16")

    assert [layer.index for layer in a.layers] == list(range(1, 23))
    assert [a[number].name for number in (1, 2, 3, 4, 19, 22)] == [
        "input", "conv1_1", "conv1_2", "pool1", "pool5", "fc8",
    ]  # fmt: skip
    assert a[2].receptive_field.size == (3, 3)
    assert a[3].receptive_field.size == (5, 5)
    assert a[3].folded == ("relu1_2",)
    assert a[3].params == 9 * 64 * 64 + 64 == 36_928
    assert a[3].macs == 1_849_688_064
    assert a[3].formula == "(224x224x64) x (3x3x64)"
    assert a[2].formula == "(224x224x64) x (3x3x3)"


def test_one_unit_of_layer_3_uses_3x3_of_layer_2_and_5x5_of_layer_1():
    a = analysed("vgg16")

    (layer,) = a.with_reads(a.select("3"))

    assert layer.reads is not None
    assert [(patch.index, patch.name, patch.size) for patch in layer.reads] == [
        (2, "conv1_1", (3, 3)),
        (1, "input", (5, 5)),
    ]


# --- AlexNet and LeNet ------------------------------------------------------------------------------------------------


def test_alexnet_with_two_towers():
    a = analysed("alexnet")

    assert a.totals.params == 60_965_224
    assert sizes(a, "conv1 pool1 conv2 pool2 conv3 conv4 conv5 pool5") == [11, 19, 51, 67, 99, 131, 163, 195]
    assert a.receptive_field("pool5").stride == (32, 32)
    assert a.receptive_field("pool5").start == (-64, -64)


def test_a_tower_sees_half_of_the_channels():
    a = analysed("alexnet")

    for name, maps, inputs in (("conv2", 128, 48), ("conv4", 192, 192), ("conv5", 128, 192)):
        kernel = 5 if name == "conv2" else 3
        towers = [a[f"{name}/top"], a[f"{name}/bottom"]]
        assert [tower.params for tower in towers] == [maps * (inputs * kernel**2 + 1)] * 2
        assert [tower.attrs["in_channels"] for tower in towers] == [inputs] * 2
        (joined,) = a.select(name)
        assert joined.output_shape[1] == 2 * maps
        assert joined.receptive_field.size == towers[0].receptive_field.size


def test_response_normalisation_has_no_number():
    a = analysed("alexnet")

    assert a["norm1"].index is None
    assert a["norm1"].kind == "norm"
    assert "norm1" in a["conv1"].folded
    assert a["pool1"].index == 3


@pytest.mark.parametrize(("size", "position"), [(224, "54.25"), (226, "54.75")])
def test_alexnet_at_224_names_227(size, position):
    with pytest.raises(TraceError) as caught:
        rfcalc.analyze("alexnet", (3, size, size))

    text = str(caught.value)
    assert f"({size} - 11)/4 + 1 = {position} is no integer" in text
    assert "sizes 223 and 227 divide evenly" in text
    assert "layer fc6 (Linear) got 1x6400, needs 9216 features" in text
    assert "\n" not in text
    assert caught.value.exit_status == 3


def test_alexnet_with_one_tower():
    a = analysed("alexnet-single")

    assert a.totals.params == 61_100_840
    assert a.totals.macs == 714_188_480
    assert sizes(a, "conv1 pool1 conv2 pool2 conv3 conv4 conv5 pool5") == [11, 19, 51, 67, 99, 131, 163, 195]


def test_lenet5():
    a = analysed("lenet5")

    assert a.totals.params == 61_706
    assert [a[name].params for name in ("C1", "S2", "C3", "S4", "C5", "F6")] == [156, 0, 2416, 0, 48_120, 10_164]
    assert sizes(a, "C1 S2 C3 S4 C5") == [5, 6, 14, 16, 32]
    assert a.receptive_field("C5").whole_input


# --- Inception --------------------------------------------------------------------------------------------------------


def test_inception_module_naive_and_with_reductions_side_by_side():
    naive, reduced = analysed("inception-naive"), analysed("inception-reduced")

    assert (naive.totals.params, reduced.totals.params) == (387_296, 163_696)
    assert naive.totals.macs == 28 * 28 * 192 * (64 + 9 * 128 + 25 * 32) == 303_464_448
    reductions = 192 * (64 + 96 + 16 + 32)
    assert reduced.totals.macs == 28 * 28 * (reductions + 9 * 96 * 128 + 25 * 16 * 32) == 128_049_152
    branches = {"1x1": 1, "3x3": 3, "5x5": 5, "pool": 3}
    for a in (naive, reduced):
        assert {name: a.receptive_field(name).size for name in branches} == {n: (k, k) for n, k in branches.items()}
        assert a["cat"].receptive_field.size == (5, 5)
        assert a["cat"].receptive_field.misaligned == ()
    assert naive["cat"].output_shape == (1, 416, 28, 28)  # the naive module grows with every repetition
    assert reduced["cat"].output_shape == (1, 256, 28, 28)


def test_googlenet_of_the_paper():
    a = analysed("googlenet")

    assert a.totals.params == 6_998_552
    assert sizes(a, "conv1 pool1 conv2 pool2 inception3a/5x5 inception3a") == [7, 11, 19, 27, 59, 59]
    assert sizes(a, "inception5b/5x5 inception5b") == [715, 715]


@pytest.mark.parametrize(
    ("name", "shape", "bare", "complete"),
    [("googlenet", (3, 224, 224), 6_624_904, 13_004_888), ("inception_v3", (3, 299, 299), 23_834_568, 27_161_264)],
)
def test_auxiliary_heads_of_torchvisions_models(name, shape, bare, complete):
    models = pytest.importorskip("torchvision").models
    with torch.device("meta"):
        without = models.get_model(name, weights=None, aux_logits=False, init_weights=False)
        built = models.get_model(name, weights=None, aux_logits=True, init_weights=False)

    assert rfcalc.analyze(without, shape).totals.params == bare
    totals = rfcalc.analyze(built, shape).totals
    assert totals.params == complete
    assert all(parameter.lower().startswith("aux") for parameter in totals.unused_params)
    assert sum(totals.unused_params.values()) == complete - bare  # heads run in training only


@pytest.mark.parametrize(("spec", "params"), [("inception_v3", 23_834_568), ("inception_v3-aux", 27_161_264)])
def test_inception_v3(spec, params):
    assert analysed(spec).totals.params == params
    assert analysed(spec).totals.macs == 5_713_216_096


# --- ResNet -----------------------------------------------------------------------------------------------------------

RESNETS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}


@pytest.mark.parametrize("depth", RESNETS)
def test_resnet_parameters(depth):
    assert analysed(f"resnet{depth}").totals.params == RESNETS[depth]


@pytest.mark.parametrize(
    ("spec", "size", "macs"),
    [
        ("resnet50", 427, 4_089_184_256),  # v1.5: stride on the 3x3
        ("resnet50-v1", 483, 3_857_973_248),  # the 2015 paper: stride on the 1x1. Measured; equal to TF-Slim's 483,
        ("resnet101-v1", 1027, 7_570_194_432),  # whose last unit of a block has the stride. Likewise 1027 and 1507.
        ("resnet152-v1", 1507, 11_282_415_616),
    ],
)
def test_stride_on_the_3x3_sees_less_than_on_the_1x1(spec, size, macs):
    a = analysed(spec)

    assert sizes(a, "conv5_3") == [size]
    assert a.receptive_field("conv5_3").stride == (32, 32)
    assert a.receptive_field("conv5_3").start == (-(size // 2), -(size // 2))
    assert a.totals.macs == macs


@pytest.mark.parametrize(("depth", "size"), [(18, 435), (34, 899)])
def test_shortcuts_are_free_but_for_the_projections(depth, size):
    plain, residual = analysed(f"plain{depth}"), analysed(f"resnet{depth}")

    projections = {
        f"conv{stage}_1/shortcut": 2 ** (stage + 3) * 2 ** (stage + 4) * (56 >> (stage - 2)) ** 2 for stage in (3, 4, 5)
    }
    assert {name: residual[name].macs for name in projections} == projections
    assert residual.totals.macs - plain.totals.macs == sum(projections.values()) == 19_267_584
    kept = [layer.macs for layer in residual.layers if layer.macs and layer.name not in projections]
    assert kept == [layer.macs for layer in plain.layers if layer.macs]  # nothing else is different
    merges = [layer for layer in residual.layers if layer.kind == "merge"]
    assert len(merges) == (depth - 2) // 2
    assert {(layer.params, layer.macs) for layer in merges} == {(0, 0)}
    last = "conv5_2" if depth == 18 else "conv5_3"
    assert sizes(residual, last) == sizes(plain, last) == [size]


def test_batch_norm():
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 8, 3, bias=False), norm=nn.BatchNorm2d(8)))

    inference, training = rfcalc.analyze(model, (3, 9, 9)), rfcalc.analyze(model, (3, 9, 9), training=True)

    norm = inference["norm"]
    assert norm.index is None
    assert (norm.params, norm.macs, inference.totals.buffers) == (2 * 8, 0, 2 * 8 + 1)
    assert norm.attrs["foldable"] is True
    assert norm.receptive_field.size == (3, 3)  # it reads one position
    assert not norm.receptive_field.whole_input
    assert inference[2].params == 3 * 8 * 9 + 2 * 8  # its row is the convolution's
    assert inference[2].macs == 3 * 8 * 9 * 49 == inference.totals.macs == training.totals.macs
    trained = training["norm"].receptive_field
    assert trained.whole_input  # every position of the batch
    assert trained.size == (9, 9)
    assert trained.local_size == (3, 3)
    assert trained.context == ("norm",)
    assert "foldable" not in training["norm"].attrs


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    ["lenet5", "alexnet", "vgg16-bn", "googlenet", "inception_v3-aux", "resnet18", "resnet50", "plain34",
     "torchvision:mobilenet_v3_small", "torchvision:vit_b_16", "torchvision:swin_t"],
)  # fmt: skip
def test_columns_add_up_to_the_totals(spec):
    if ":" in spec:
        pytest.importorskip("torchvision")
    a = analysed(spec)
    totals = a.totals

    assert sum(layer.params for layer in a.layers) + sum(totals.unused_params.values()) == totals.params
    assert sum(layer.macs for layer in a.layers) == totals.macs
    assert sum(layer.flops for layer in a.layers) == totals.flops == sum(totals.flops_by.values())
    assert sum(op.macs for op in a.ops) == totals.macs
    assert sum(op.params for op in a.ops) + sum(totals.unused_params.values()) == totals.params
    shown = [name for layer in a.layers for name in (layer.name, *layer.folded)]
    assert sorted(shown) == sorted(op.name for op in a.ops)  # every op in one row


#: Published: Araujo, Norris, Sim (Distill 2019) and DESIGN section 3. Theirs are TF-Slim's models, these torchvision's.
WINDOWS = [
    ("alexnet", "features.12", 195, 32, -66),  # conv1 pads 2: the zoo's two towers, at 227, start at -64
    ("vgg16", "features.30", 212, 32, -90),
    ("resnet18", "layer4.1", 435, 32, -217),
    ("resnet50", "layer4.2", 427, 32, -213),
    ("mobilenet_v2", "features.18.0", 491, 32, -245),
    ("inception_v3", "Mixed_7c", 1311, 32, -618),
    # 11 at jump 4 after the stem, then 6, 12, 24, 16 layers that add 2 jumps each, and 3 transitions that add 1.
    ("densenet121", "features.denseblock4", 11 + 12 * 4 + 4 + 24 * 8 + 8 + 48 * 16 + 16 + 32 * 32, 32, -1021),
    # The published 379 holds for torchvision, whose "5x5" branch is a 3x3; the paper's network has 715 (above).
    ("googlenet", "inception5b", 379, 32, -167),
]  # fmt: skip


@pytest.mark.parametrize(("name", "layer", "size", "stride", "start"), WINDOWS)
def test_published_windows(name, layer, size, stride, start):
    pytest.importorskip("torchvision")

    field = analysed(f"torchvision:{name}").receptive_field(layer)

    assert (field.size, field.stride, field.start) == ((size,) * 2, (stride,) * 2, (start,) * 2)
    assert field.samples == field.size
    assert field.status == "exact"
    assert field.context == ()
    assert field.misaligned == ()


def test_densenet_121_has_2071():
    assert next(size for name, _, size, _, _ in WINDOWS if name == "densenet121") == 2071


def test_efficientnet_b0_sees_851_locally_and_everything_through_squeeze_and_excite():
    pytest.importorskip("torchvision")

    field = analysed("torchvision:efficientnet_b0").receptive_field("features.8")

    assert field.local_size == (851, 851)
    assert field.whole_input
    assert field.size == (224, 224)
    assert field.stride is None
    assert field.context[0] == "features.1.0.block.1.avgpool"
    assert all(name.endswith("avgpool") for name in field.context)
    assert len(field.context) == 16


def test_patchgan_sees_70x70():
    a = analysed("4x4:3-64/2p1 4x4:64-128/2p1 4x4:128-256/2p1 4x4:256-512p1 4x4:512-1p1", (3, 256, 256))

    assert a.layers[-1].receptive_field.size == (70, 70)
    assert a.layers[-1].output_shape == (1, 1, 30, 30)


class UNet(nn.Module):
    """Depth 4, two 3x3 convolutions a level, upsampling by transposed 2x2 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, 2, 2, 2, 2, 2]
        self.down = nn.ModuleList(self._block(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2, 2, 2, stride=2) for _ in range(4))
        self.merge = nn.ModuleList(self._block(4, 2) for _ in range(4))

    def _block(self, a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else torch.max_pool2d(x, 2))
            kept.append(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(kept[:-1]), strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        return x


def test_a_u_net_of_depth_4_sees_188_to_204():
    field = rfcalc.analyze(UNet(), (1, 512, 512)).receptive_field("merge.3")

    assert (field.size, field.size_min, field.period) == ((204, 204), (188, 188), (16, 16))
    assert field.stride == (1, 1)
    assert field.status == "exact"
