"""Models in a few numbers: depth as their papers count it, the field that papers quote, who sees everything first."""

from __future__ import annotations

import pytest
from torch import nn

import rfcalc
from rfcalc.analyses.summary import depth, summary
from rfcalc.api import layer_graph


@pytest.mark.parametrize(
    ("spec", "layers"),
    [
        # The numbers in the names, and those of the papers' tables: 8 for AlexNet, 22 for GoogLeNet.
        ("lenet5", 5),
        ("alexnet", 8),
        ("vgg16", 16),
        ("vgg19-bn", 19),
        ("googlenet", 22),
        ("resnet18", 18),
        ("resnet50", 50),
        ("resnet152", 152),
        ("plain34", 34),
        ("torchvision:densenet121", 121),
        ("inception-reduced", 2),
    ],
)
def test_depth_is_what_the_paper_says(spec: str, layers: int) -> None:
    assert depth(layer_graph(spec)) == layers


def test_depth_counts_each_layer_of_a_recurrent_stack_and_no_product_of_activations() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(8, 8, num_layers=3, batch_first=True)
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            x = self.rnn(x)[0]
            return self.head(x @ x.transpose(1, 2) @ x)

    assert depth(layer_graph(Net(), (5, 8))) == 4


def test_a_product_with_a_parameter_is_a_weight_layer() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(nn.Linear(8, 4).weight.detach().t().clone())

        def forward(self, x):
            return x.unsqueeze(1) @ self.weight

    found = rfcalc.analyze(Net(), (8,))

    assert found.layers[-1].kind in ("matmul", "linear")
    assert depth(found.layer_graph) == 1


@pytest.mark.parametrize(
    ("spec", "name", "size", "stride"),
    [
        ("vgg16", "pool5", 212, 32),  # the windows that papers quote
        ("resnet50", "conv5_3/add", 427, 32),
        ("alexnet", "pool5", 195, 32),
        ("torchvision:densenet121", "features.denseblock4/cat", 2071, 32),
    ],
)
def test_the_last_spatial_layer_has_the_field_that_papers_quote(spec, name, size, stride) -> None:
    layer = summary(rfcalc.analyze(spec)).spatial

    assert layer is not None
    assert layer.name == name
    assert layer.receptive_field.size == (size, size)
    assert layer.receptive_field.stride == (stride, stride)


def test_after_squeeze_and_excite_the_local_field_counts() -> None:
    layer = summary(rfcalc.analyze("torchvision:efficientnet_b0")).spatial

    assert layer is not None
    assert (layer.name, layer.receptive_field.local_size) == ("features.8.0", (851, 851))


def test_the_first_layer_that_sees_the_whole_input() -> None:
    vgg, small = summary(rfcalc.analyze("vgg16")), summary(rfcalc.analyze("3x3 3x3"))

    assert vgg.whole is not None
    assert (vgg.whole.index, vgg.whole.name) == (20, "fc6")
    assert small.whole is None


def test_a_model_without_space_has_no_spatial_layer() -> None:
    found = summary(rfcalc.analyze(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), (8,)))

    assert (found.spatial, found.depth, found.layers, found.params, found.macs) == (None, 2, 3, 46, 40)


def test_the_input_alone_is_no_spatial_layer() -> None:
    found = summary(rfcalc.analyze(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), (3, 8, 8)))

    assert found.spatial is None
    assert found.whole is not None
    assert found.whole.kind == "pool"


def test_a_bound_is_named() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            x = self.conv(x)
            return x[:, :, x[0, 0, :, 0].argsort()]

    found = summary(rfcalc.analyze(nn.Sequential(Net(), nn.Conv2d(4, 4, 3)), (3, 16, 16)))

    assert not found.exact
    assert found.bounds == ("1",)
    assert summary(rfcalc.analyze("3x3")).exact
