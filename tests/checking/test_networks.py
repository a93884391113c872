"""Networks of every kind that people use: exact on every layer, and equal to a real forward pass."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import rfcalc
from tests.checking.slim import slim


def double_conv(given, wanted):
    return nn.Sequential(nn.Conv2d(given, wanted, 3, padding=1), nn.ReLU(), nn.Conv2d(wanted, wanted, 3, padding=1))


class UNet(nn.Module):
    """Depth 2; upsampling by a transposed convolution or bilinear."""

    def __init__(self, bilinear):
        super().__init__()
        self.bilinear = bilinear
        self.down = nn.ModuleList([double_conv(1, 4), double_conv(4, 8)])
        self.middle = double_conv(8, 8)
        self.up = nn.ModuleList(nn.ConvTranspose2d(8, 8, 2, 2) for _ in range(2))
        self.out = nn.ModuleList([double_conv(16, 8), double_conv(12, 4)])

    def forward(self, x):
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.middle(x)
        for up, block in zip(self.up, self.out, strict=True):
            wide = functional.interpolate(x, scale_factor=2, mode="bilinear") if self.bilinear else up(x)
            x = block(torch.cat([skips.pop(), wide], 1))
        return x


class CausalTCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(2, 2, 3, dilation=2**level) for level in range(3))

    def forward(self, x):
        for level, conv in enumerate(self.convs):
            x = x + torch.relu(conv(functional.pad(x, (2 * 2**level, 0))))
        return x


def torchvision_models():
    models = pytest.importorskip("torchvision").models
    small = {"hidden_dim": 16, "mlp_dim": 32}
    blocks = models.convnext.CNBlockConfig
    return {
        "swin": lambda: models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4]),
        "vit": lambda: models.VisionTransformer(32, 8, 2, 2, **small),
        "convnext": lambda: models.ConvNeXt([blocks(16, 32, 2), blocks(32, None, 1)]),
        "maxvit": lambda: models.MaxVit((64, 64), 8, 4, [8, 16], [1, 1], 8, 0.0),
        "fcn_resnet50": lambda: slim(models.segmentation.fcn_resnet50(weights_backbone=None)),
        "deeplabv3_mobilenet_v3_large": lambda: slim(
            models.segmentation.deeplabv3_mobilenet_v3_large(weights_backbone=None)
        ),
    }


def assert_exact(model, shape):
    found = rfcalc.verify(model, shape, device="cpu", probes=6, timing=False)
    layers = rfcalc.analyze(model, shape).ops

    assert found.agree, found
    assert {field.status for layer in layers for field in layer.receptive_fields.values()} == {"exact"}


@pytest.mark.parametrize("bilinear", [False, True])
def test_u_nets(bilinear):
    assert_exact(UNet(bilinear).eval(), (1, 32, 32))


def test_a_causal_tcn_sees_only_the_past():
    model = CausalTCN().eval()

    assert_exact(model, (2, 40))
    field = rfcalc.analyze(model, (2, 40)).layers[-1].receptive_field
    assert (field.size, field.start) == ((15,), (-14,))


@pytest.mark.parametrize("name", ["swin", "vit", "convnext", "maxvit", "fcn_resnet50", "deeplabv3_mobilenet_v3_large"])
def test_torchvision_networks(name):
    size = {"swin": 32, "vit": 32}.get(name, 64)

    assert_exact(torchvision_models()[name]().eval(), (3, size, size))


def test_a_3d_resnet():
    models = pytest.importorskip("torchvision").models

    assert_exact(slim(models.video.r3d_18()).eval(), (1, 3, 4, 24, 24))


def test_border_units_of_swin_do_not_see_the_opposite_border():
    pytest.importorskip("torchvision")
    analysis = rfcalc.analyze("torchvision:swin_t")

    (first, last), _ = analysis.regions("features.1.1/add")  # after the first shifted windows

    assert last[:, 0].max() < 112
    assert first[:, -1].min() >= 112


class ChannelsLast(nn.Module):
    """Pooled to one position in a layout that torch then notes by other strides, an op that moves nothing."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.conv(x).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def test_other_strides_of_the_same_elements_are_no_op():
    found = rfcalc.verify(ChannelsLast().eval(), (3, 8, 8), device="cpu", probes=4, timing=False)

    assert "aten.as_strided_" not in [layer.op for layer in rfcalc.analyze(ChannelsLast(), (3, 8, 8)).ops]
    assert found.agree, found
