"""The zoo against published numbers, against torchvision, and against the papers' formulas."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from rfcalc import zoo

PARAMS = {
    "lenet5": 61_706,
    "alexnet": 60_965_224,
    "alexnet-single": 61_100_840,
    "vgg11": 132_863_336,
    "vgg11-bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13-bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16-bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19-bn": 143_678_248,
    "googlenet": 6_998_552,  # Caffe's bvlc_googlenet, likewise the next
    "googlenet-aux": 13_378_280,
    "inception-naive": (192 * 64 + 64) + (9 * 192 * 128 + 128) + (25 * 192 * 32 + 32),
    "inception-reduced": (
        (192 * 64 + 64)
        + (192 * 96 + 96)
        + (9 * 96 * 128 + 128)
        + (192 * 16 + 16)
        + (25 * 16 * 32 + 32)
        + (192 * 32 + 32)
    ),
    "inception_v3": 23_834_568,
    "inception_v3-aux": 27_161_264,
    "plain18": 11_515_688,
    "plain34": 21_623_848,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet50-v1": 25_557_032,
    "resnet101-v1": 44_549_160,
    "resnet152-v1": 60_192_808,
}

MACS = {
    "lenet5": 416_520,
    "alexnet-single": 714_188_480,
    "vgg16": 15_470_264_320,
    "vgg19-bn": 19_632_062_464,
    "inception_v3": 5_713_216_096,
    "resnet18": 1_814_073_344,
    "resnet50": 4_089_184_256,
    "resnet152": 11_513_626_624,
}

TORCHVISION: dict[str, tuple[str, dict[str, Any]]] = {
    "alexnet-single": ("alexnet", {}),
    "vgg11": ("vgg11", {}),
    "vgg11-bn": ("vgg11_bn", {}),
    "vgg13": ("vgg13", {}),
    "vgg13-bn": ("vgg13_bn", {}),
    "vgg16": ("vgg16", {}),
    "vgg16-bn": ("vgg16_bn", {}),
    "vgg19": ("vgg19", {}),
    "vgg19-bn": ("vgg19_bn", {}),
    "inception_v3": ("inception_v3", {"aux_logits": False, "init_weights": False}),
    "inception_v3-aux": ("inception_v3", {"aux_logits": True, "init_weights": False}),
    "resnet18": ("resnet18", {}),
    "resnet34": ("resnet34", {}),
    "resnet50": ("resnet50", {}),
    "resnet50-v1": ("resnet50", {}),
    "resnet101": ("resnet101", {}),
    "resnet152": ("resnet152", {}),
}

NAMES = {
    "lenet5": "C1 S2 C3 S4 C5 F6 output",
    "alexnet": "conv1 norm1 pool1 conv2 conv2/top conv2/bottom norm2 pool2 conv3 conv4 conv5 pool5 fc6 fc7 fc8",
    "alexnet-single": "conv1 pool1 conv2 pool2 conv3 conv4 conv5 pool5 fc6 fc7 fc8",
    "vgg16": "conv1_1 relu1_1 conv1_2 pool1 conv2_2 pool2 conv3_3 pool3 conv4_3 pool4 conv5_3 pool5 fc6 fc7 fc8",
    "vgg16-bn": "conv1_1 bn1_1 relu1_1",
    "googlenet": "conv1 pool1 conv2_reduce conv2 pool2 inception3a inception3a/1x1 inception3a/3x3_reduce "
    "inception3a/3x3 inception3a/5x5_reduce inception3a/5x5 inception3a/pool inception3a/pool_proj pool3 "
    "inception4e pool4 inception5b pool5 fc",
    "googlenet-aux": "aux1/conv aux2/classifier",
    "inception_v3": "Conv2d_1a_3x3 MaxPool_3a_3x3 Mixed_5b/5x5 Mixed_6a/pool Mixed_6e/7x7dbl_1x7b Mixed_7c/pool fc",
    "inception_v3-aux": "AuxLogits/5x5",
    "resnet18": "conv1 pool1 conv2_1/conv1 conv3_1/shortcut conv5_2/conv2 fc",
    "resnet50": "conv2_1/shortcut conv2_3/conv3 conv4_6/bn2 conv5_3/relu avgpool fc",
    "plain34": "conv2_1/conv1 conv5_3/conv2 fc",
}


def meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def run_on_meta(name: str, model: nn.Module) -> Any:
    return model(torch.empty((1, *zoo.CATALOG[name].input_shape), device="meta"))


def macs(name: str) -> int:
    """Half of torch's own count, which has no blind spot among convolutions and linear layers."""
    model = meta(name)
    with FlopCounterMode(display=False) as counter:
        run_on_meta(name, model)
    return int(counter.get_total_flops()) // 2


def shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return sorted(tuple(tensor.shape) for tensor in model.state_dict().values())


def torchvision_model(name: str) -> nn.Module:
    models = pytest.importorskip("torchvision").models
    builder, kwargs = TORCHVISION[name]
    model: nn.Module = getattr(models, builder)(weights=None, **kwargs)
    return model.eval()


def copy_into(target: nn.Module, source: nn.Module) -> None:
    """Copy parameters and buffers in the order in which they were registered."""
    theirs, ours = list(target.state_dict().values()), list(source.state_dict().values())
    with torch.no_grad():
        for a, b in zip(theirs, ours, strict=True):
            a.copy_(b)


def scramble(model: nn.Module) -> None:
    """Random weights and statistics at a scale that carries the input through to the output."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor, low, high in (
                (module.weight, 0.8, 1.2),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.8, 1.2),
            ):
                nn.init.uniform_(tensor, low, high)


def test_catalog_lists_every_name_once_and_under_its_own_key() -> None:
    assert list(zoo.CATALOG) == [entry.name for entry in zoo._ENTRIES]
    assert set(zoo.CATALOG) == set(PARAMS)
    assert len(zoo._ENTRIES) == len(PARAMS)
    assert all(1998 <= entry.year <= 2015 and entry.title and entry.paper for entry in zoo.CATALOG.values())


@pytest.mark.parametrize("name", PARAMS)
def test_parameters_and_output_shape(name: str) -> None:
    model = meta(name)

    assert count(model) == PARAMS[name]
    assert not any(module.training for module in model.modules())
    expected = {"lenet5": (1, 10), "inception-naive": (1, 416, 28, 28), "inception-reduced": (1, 256, 28, 28)}
    assert tuple(run_on_meta(name, model).shape) == expected.get(name, (1, 1000))


def test_published_inception_module_numbers() -> None:
    assert PARAMS["inception-naive"] == 387_296
    assert PARAMS["inception-reduced"] == 163_696


@pytest.mark.parametrize("name", MACS)
def test_multiply_adds(name: str) -> None:
    assert macs(name) == MACS[name]


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_named_as_in_the_papers(name: str) -> None:
    have = {qualified.replace(".", "/") for qualified, _ in meta(name).named_modules()}

    assert set(NAMES[name].split()) <= have


@pytest.mark.parametrize("name", TORCHVISION)
def test_same_parameters_and_shapes_as_torchvision(name: str) -> None:
    with torch.device("meta"):
        theirs = torchvision_model(name)
    ours = meta(name)

    assert count(ours) == count(theirs)
    assert shapes(ours) == shapes(theirs)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("resnet50", 64), ("inception_v3", 75)])
def test_same_outputs_as_torchvision(name: str, size: int) -> None:
    torch.manual_seed(0)
    theirs, ours = torchvision_model(name), zoo.build(name)
    scramble(ours)
    copy_into(theirs, ours)
    x = torch.randn(2, 3, size, size)

    with torch.no_grad():
        y = ours(x)
        spread = (y[0] - y[1]).std()
        torch.testing.assert_close(y / spread, theirs(x) / spread, rtol=1e-3, atol=1e-3)
    assert spread > 0.01 * y.std()


def test_vgg_same_maps_as_torchvision() -> None:
    vgg = pytest.importorskip("torchvision").models.vgg
    theirs = vgg.make_layers(vgg.cfgs["A"])
    model = meta("vgg11")
    assert isinstance(model, nn.Sequential)
    ours = model[: len(theirs)].to_empty(device="cpu")
    copy_into(ours, theirs)
    x = torch.randn(1, 3, 64, 64)

    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("depth", [18, 34])
def test_plain_network_is_the_residual_one_without_projections(depth: int) -> None:
    plain, residual = meta(f"plain{depth}"), meta(f"resnet{depth}")

    projections = [(64, 128), (128, 256), (256, 512)]
    assert count(residual) - count(plain) == sum(a * b + 2 * b for a, b in projections) == 173_824
    # Each projection writes its b maps on the halved grid: 28x28, 14x14, 7x7.
    saved = sum(a * b * side * side for (a, b), side in zip(projections, (28, 14, 7), strict=True))
    assert macs(f"resnet{depth}") - macs(f"plain{depth}") == saved
    kept = [name for name, _ in residual.named_parameters() if "shortcut" not in name]
    assert kept == [name for name, _ in plain.named_parameters()]


def test_v1_has_the_stride_on_the_first_1x1_and_v1_5_on_the_3x3() -> None:
    def strides(name: str) -> tuple[object, ...]:
        model = meta(name)
        return tuple(model.get_submodule(f"conv3_1.{layer}").stride for layer in ("conv1", "conv2", "shortcut"))

    assert strides("resnet50") == ((1, 1), (2, 2), (2, 2))
    assert strides("resnet50-v1") == ((2, 2), (1, 1), (2, 2))
    assert macs("resnet50-v1") == 3_857_973_248


def test_alexnet_towers_do_not_see_each_other() -> None:
    from rfcalc.zoo.alexnet import Towers

    towers = Towers(6, 8, 3)
    both = nn.Conv2d(6, 8, 3, padding=1, groups=2)
    with torch.no_grad():
        for name, parameter in both.named_parameters():
            halves = (towers.top.get_parameter(name), towers.bottom.get_parameter(name))
            parameter.copy_(torch.cat(halves))
        x = torch.randn(1, 6, 5, 5)

        torch.testing.assert_close(towers(x), both(x))

        x[:, 3:] = torch.nan
        assert towers(x)[:, :4].isfinite().all()
        assert towers(x)[:, 4:].isnan().all()


def test_alexnet_maps_and_towers_as_in_the_paper() -> None:
    model = meta("alexnet")
    weights = {name: tuple(parameter.shape) for name, parameter in model.named_parameters() if "weight" in name}

    assert weights == {
        "conv1.weight": (96, 3, 11, 11),
        "conv2.top.weight": (128, 48, 5, 5),
        "conv2.bottom.weight": (128, 48, 5, 5),
        "conv3.weight": (384, 256, 3, 3),
        "conv4.top.weight": (192, 192, 3, 3),
        "conv4.bottom.weight": (192, 192, 3, 3),
        "conv5.top.weight": (128, 192, 3, 3),
        "conv5.bottom.weight": (128, 192, 3, 3),
        "fc6.weight": (4096, 9216),
        "fc7.weight": (4096, 4096),
        "fc8.weight": (1000, 4096),
    }


def test_alexnet_needs_227() -> None:
    with pytest.raises(RuntimeError, match="6400"):  # 256 maps of 5x5
        meta("alexnet")(torch.empty(1, 3, 224, 224, device="meta"))


def test_alexnet_response_normalisation_is_the_papers() -> None:
    from rfcalc.zoo.alexnet import response_norm

    x = 30 * torch.randn(1, 7, 2, 2)
    squares = F.pad(x, (0, 0, 0, 0, 2, 2)).square()
    total = torch.stack([squares[:, i : i + 5].sum(dim=1) for i in range(7)], dim=1)

    torch.testing.assert_close(response_norm()(x), x / (2 + 1e-4 * total) ** 0.75)


def test_inception_module_is_the_papers_figure() -> None:
    module = zoo.build("inception-reduced")
    x = torch.randn(1, 192, 6, 6)

    def conv(name: str, x: Tensor) -> Tensor:
        weight, bias = module.get_parameter(f"{name}.weight"), module.get_parameter(f"{name}.bias")
        return F.conv2d(x, weight, bias, padding="same").relu()

    with torch.no_grad():
        expected = [
            conv("1x1", x),
            conv("3x3", conv("3x3_reduce", x)),
            conv("5x5", conv("5x5_reduce", x)),
            conv("pool_proj", F.max_pool2d(x, 3, stride=1, padding=1)),
        ]
        torch.testing.assert_close(module(x), torch.cat(expected, dim=1))


def test_googlenet_maps_have_the_sizes_of_table_1() -> None:
    x, seen = torch.empty(1, 3, 224, 224, device="meta"), {}
    for name, layer in meta("googlenet").named_children():
        x = layer(x)
        if name.startswith(("pool", "inception")) or name in ("conv1", "conv2"):
            seen[name] = tuple(x.shape[1:])

    assert seen == {
        "conv1": (64, 112, 112),
        "pool1": (64, 56, 56),
        "conv2": (192, 56, 56),
        "pool2": (192, 28, 28),
        "inception3a": (256, 28, 28),
        "inception3b": (480, 28, 28),
        "pool3": (480, 14, 14),
        "inception4a": (512, 14, 14),
        "inception4b": (512, 14, 14),
        "inception4c": (512, 14, 14),
        "inception4d": (528, 14, 14),
        "inception4e": (832, 14, 14),
        "pool4": (832, 7, 7),
        "inception5a": (832, 7, 7),
        "inception5b": (1024, 7, 7),
        "pool5": (1024, 1, 1),
    }


@pytest.mark.parametrize(("name", "heads"), [("googlenet-aux", 2), ("inception_v3-aux", 1)])
def test_auxiliary_heads_run_in_training_only(name: str, heads: int) -> None:
    model = meta(name)

    assert isinstance(run_on_meta(name, model), Tensor)
    with torch.device("meta"):
        outputs = model.train()(torch.empty(2, *zoo.CATALOG[name].input_shape))
    assert [tuple(output.shape) for output in outputs] == [(2, 1000)] * (1 + heads)


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "googlenet", "inception_v3", "alexnet-single"])
def test_other_input_sizes_pass(name: str) -> None:
    assert tuple(meta(name)(torch.empty(1, 3, 320, 288, device="meta")).shape) == (1, 1000)


def test_vgg_averages_nothing_at_its_own_size() -> None:
    model = meta("vgg16")
    grid = model.get_submodule("avgpool")
    x = torch.empty(1, 512, 7, 7, device="meta")

    assert grid(x) is x


def test_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="vgg17"):
        zoo.build("vgg17")


def test_importing_the_catalog_does_not_import_torch() -> None:
    code = "import sys, rfcalc.zoo; assert len(rfcalc.zoo.CATALOG) > 20; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
