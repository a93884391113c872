"""What can be chosen: the gradient, the scale, the images, the layer, the input, the mode."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rfcalc
from rfcalc.effective import shape
from rfcalc.errors import TraceError, UsageError


def pair(bias: tuple[float, float] = (0, 0)) -> nn.Module:
    """Two channels in and out: 3 of the first and -1 of the second; half of it."""
    conv = nn.Conv2d(2, 2, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[3.0, -1.0], [1.5, -0.5]])[..., None, None])
        conv.bias.copy_(torch.tensor(bias))
    return conv


@pytest.mark.parametrize(
    ("gradient", "bias", "value"),
    [
        ("absolute", (0, 0), 4.5 + 1.5),
        ("signed", (0, 0), 4.5 - 1.5),
        ("relu", (100, 100), 4.5),
        ("relu", (100, -100), 3),
        ("relu", (-100, -100), 0),
    ],
)
def test_gradients(gradient: str, bias: tuple[float, float], value: float) -> None:
    found = rfcalc.erf(pair(bias), (2, 3, 3), gradient=gradient, images=3)

    assert found.map.max() == value
    assert np.count_nonzero(found.map) == (1 if value else 0)


def test_signs_cancel_over_images() -> None:
    """The gradient of x^2 is 2x."""

    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x

    images = torch.tensor([3.0, -1.0]).reshape(2, 1, 1).expand(2, 1, 4)
    means = {name: rfcalc.erf(Square(), (1, 4), gradient=name, images=images).map[2] for name in ("absolute", "signed")}

    assert means == {"absolute": 4, "signed": 2}


def test_nothing_moves_the_unit() -> None:
    found = rfcalc.erf(pair((-100, -100)), (2, 3, 3), gradient="relu")

    assert found.areas == ()
    assert found.gaussian is None
    assert found.agree
    assert "0 everywhere" in found.notices[-1]
    assert "no gradient" in repr(found)
    with pytest.raises(KeyError, match="there is no area"):
        found.area(0.5)


def by_hand(values: np.ndarray, center: tuple[int, ...], share: float) -> tuple[int, int]:
    """The side of the smallest square around the centre with the share, and its pixels, one after the other."""
    for radius in range(max(values.shape)):
        part = values[tuple(slice(max(0, at - radius), at + radius + 1) for at in center)]
        if part.sum() >= share * values.sum():
            return 2 * radius + 1, part.size
    raise AssertionError


@pytest.mark.parametrize("seed", range(5))
def test_squares_are_those_of_a_search(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.random((9, 14)) ** 4
    center = (int(random.integers(9)), int(random.integers(14)))
    found = shape.areas(values, center, ((0, 8), (0, 13)))

    assert [(item.side, item.pixels) for item in found] == [
        by_hand(values, center, share) for share in (0.2, 0.3, 0.5, 0.99)
    ]


def test_the_logarithm_flattens_the_map() -> None:
    """The middle has 9 of 17.0, and log10(1 + 9) = 1 of 1 + 8 * 0.3 = 3.4, which is less than 30 %."""
    values = np.full((3, 3), 10**0.3 - 1)
    values[1, 1] = 9
    sides = {
        scale: [item.side for item in shape.areas(shape.scaled(values, scale), (1, 1), ((0, 2), (0, 2)))]
        for scale in ("linear", "log")
    }

    assert sides == {"linear": [1, 1, 1, 3], "log": [1, 3, 3, 3]}


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_steps_of_ding_et_al(scale: str) -> None:
    """Rectified units, rectified gradients, their mean over images, squares of 3 pixels and more around the middle."""
    model = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 7, padding=3, stride=2))
    images = torch.randn(4, 3, 32, 32, requires_grad=True)
    nn.functional.relu(model(images)[:, :, 8, 8]).sum().backward()
    assert images.grad is not None
    expected = nn.functional.relu(images.grad).sum(dim=1).mean(dim=0).double().numpy()
    measured = np.log10(expected + 1) if scale == "log" else expected
    sides = []
    for share in (0.2, 0.3, 0.5, 0.99):
        parts = [measured[16 - r : 17 + r, 16 - r : 17 + r].sum() / measured.sum() for r in range(1, 16)]
        sides.append(3 + 2 * next(at for at, part in enumerate(parts) if part > share))

    found = rfcalc.erf(model, (3, 32, 32), gradient="relu", scale=scale, images=images)

    assert found.map == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert [item.side for item in found.areas] == sides
    assert found.area(0.99).ratio == Fraction(sides[-1] ** 2, 32 * 32)


class Net(nn.Module):
    """Layers of all sorts, one after the other, all with positive weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.deep = nn.Conv2d(2, 1, 3, padding=1, stride=2)
        self.last = nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        y = self.relu(self.conv(x) - 1e6)
        z = self.deep(x.repeat(1, 2, 1, 1)).sigmoid()
        z.add_(1)
        return torch.relu_(self.last(z.permute(0, 2, 3, 1)) - 1e6) + y.mean()


@pytest.mark.parametrize(
    ("layer", "zero", "size"),
    [
        ("input", False, 1),
        ("mul", False, 1),
        ("conv", False, 3),
        ("sub", False, 3),
        ("relu", True, 3),
        ("deep", False, 3),
        ("sigmoid", False, 3),
        ("add", False, 3),
        ("permute", False, 3),
        ("last", False, 3),
        ("sub#2", False, 3),
        ("relu#2", True, 3),
    ],
)
def test_every_op_of_the_graph_is_a_layer(layer: str, zero: bool, size: int) -> None:
    """What is written into a tensor in place later does not count for the op that made it."""
    found = rfcalc.erf(Net(), (1, 8, 8), layer=layer, images=1)

    assert found.field.size == (size, size)
    assert (found.map.sum() == 0) == zero
    assert found.agree


@pytest.mark.parametrize(("layer", "value"), [("sigmoid", 0.25), ("linear", 0.5), ("mul", 0.125), ("relu", 0)])
def test_the_numbers_are_those_before_something_is_written(layer: str, value: float) -> None:
    """At 0 the slope of a sigmoid is 1/4, whatever becomes of its result; a whole function counts as one op."""

    class Written(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            half = nn.functional.linear(x, torch.tensor([[0.5]])).relu_()
            return x.sigmoid().mul_(0.5) + half

    found = rfcalc.erf(Written(), (2, 1), layer=layer, images=torch.zeros(1, 2, 1), axes={"L": 1})

    assert found.map.max() == value


@pytest.mark.parametrize(("layer", "value"), [("mul", 3 + 3), ("slice", 3), ("mul#2", 6), ("tanh", 3 + 6)])
def test_what_is_written_through_a_view_has_its_layers(layer: str, value: float) -> None:
    """The second of two channels is multiplied again."""

    class Through(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 3
            y[:, 1:].mul_(2)
            return y.tanh()

    found = rfcalc.erf(Through(), (2, 4), layer=layer, images=torch.zeros(1, 2, 4))

    assert found.map.max() == value


def test_the_usual_layer_is_the_last_that_is_not_global() -> None:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))

    assert rfcalc.erf(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), *head), (1, 9, 9), images=1).layer == "1"
    assert rfcalc.erf(nn.Tanh(), (1, 9, 9), images=1).layer == "tanh"


class Two(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(left, 3, 1) + nn.functional.avg_pool2d(right, 2)[:, :, :2, :2]


def test_several_inputs() -> None:
    shapes: dict[str, Any] = {"left": (1, 4, 4), "right": (1, 6, 6)}

    with pytest.raises(UsageError, match="several inputs: choose one with --source, of left, right"):
        rfcalc.erf(Two(), shapes)
    with pytest.raises(UsageError, match=r"no gradient with respect to an input 'top': .* left, right"):
        rfcalc.erf(Two(), shapes, source="top")
    found = rfcalc.erf(Two(), shapes, source="right", at=(0, 1), images=1)
    assert np.argwhere(found.map).tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert rfcalc.erf(Two(), shapes, source="left", at=(0, 1), images=1).field.size == (3, 3)


def test_a_layer_that_does_not_see_the_input() -> None:
    class Apart(Two):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return nn.functional.max_pool2d(right, 2) + nn.functional.max_pool2d(left, 2)

    found = rfcalc.erf(Apart(), {"left": (1, 4, 4), "right": (1, 4, 4)}, layer="max_pool2d", source="left", images=1)

    assert found.map.sum() == 0
    assert found.outside.pixels == 16


def test_training_mode_sees_through_the_statistics() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    nn.init.ones_(model[2].weight)
    model[2].weight.data[0, 1] = 2
    small, wide = (rfcalc.erf(model, (1, 8, 8), at=(0, 0), images=2, training=mode) for mode in (False, True))

    assert (small.field.size, small.outside.pixels) == ((3, 3), 60)
    assert (wide.field.whole_input, wide.outside.pixels) == (True, 0)
    assert np.count_nonzero(small.map) == 4
    assert np.count_nonzero(wide.map) == 64


# --- images -----------------------------------------------------------------------------------------------------------


class Value(nn.Module):
    """The gradient of x^2 / 2 is x: the map shows the image."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * x).mean(1, keepdim=True) * x.shape[1] / 2


def test_given_images() -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4)

    assert rfcalc.erf(Value(), image, at=(2, 1)).map[2, 1] == 9
    assert rfcalc.erf(Value(), (1, 3, 4), images=image.numpy(), at=(2, 1)).map[2, 1] == 9
    two = rfcalc.erf(Value(), (1, 3, 4), images=torch.cat([image, image + 4]), at=(2, 1))
    assert (two.map[2, 1], two.settings.images) == (11, "2 given")
    batches = rfcalc.erf(Value(), (2, 1, 3, 4), images=image.repeat(4, 1, 1, 1), at=(2, 1))
    assert (batches.map[2, 1], batches.settings.images) == (18, "2 given")


def test_random_images_are_those_of_the_seed() -> None:
    maps = [rfcalc.erf(Value(), (1, 3, 4), images=2, seed=seed).map.sum() for seed in (0, 0, 1)]

    assert maps[0] == maps[1] != maps[2]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (0, "at least one image is needed, got 0"),
        (torch.zeros(5, 2, 3, 4), "the images are 5x2x3x4, which holds no input of 1x1x3x4"),
        (object(), "cannot use a object as images: expected a number, a tensor of images, or files"),
    ],
)
def test_images_that_are_none(images: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rfcalc.erf(Value(), (1, 3, 4), images=images)


def test_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "grey.png"
    image.new("RGB", (40, 20), (51, 102, 204)).save(path)

    colour = rfcalc.erf(Value(), (3, 4, 8), images=str(path), at=(1, 1))
    expected = [(0.2 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.8 - 0.406) / 0.225]
    assert colour.map[1, 1] == pytest.approx(sum(map(abs, expected)), rel=1e-5)
    assert colour.settings.images == "grey.png"
    grey = rfcalc.erf(Value(), (1, 4, 8), images=[path, path], at=(1, 1))
    assert grey.map[1, 1] == pytest.approx((0.299 * 51 + 0.587 * 102 + 0.114 * 204) / 255, abs=0.003)

    with pytest.raises(UsageError, match="an image has 1 or 3 channels and two axes, and the input is 1x2x4x8"):
        rfcalc.erf(Value(), (2, 4, 8), images=path)
    with pytest.raises(UsageError, match=r"cannot read the image .*none.png: No such file"):
        rfcalc.erf(Value(), (3, 4, 8), images=tmp_path / "none.png")
    path.write_text("no picture")
    with pytest.raises(UsageError, match=r"grey.png is no image that Pillow knows"):
        rfcalc.erf(Value(), (3, 4, 8), images=path)


# --- requests that make no sense --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gradient": "squared"}, "there is no gradient 'squared': expected absolute, signed, relu"),
        ({"scale": "square"}, "there is no scale 'square': expected linear or log"),
        ({"layer": "conv*"}, r"--layer 'conv\*' names 2 layers \(conv1, conv2, ...\), it must name one"),
        ({"layer": "conv7"}, "there is no layer 'conv7' in 3x3 3x3; nearest"),
        ({"at": (1,)}, "--at needs 2 numbers for layer conv2"),
        ({"at": (1, 32)}, "outside layer conv2: positions run from 0 to 31"),
        ({"device": "abacus"}, "unknown device 'abacus'"),
    ],
)
def test_usage(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rfcalc.erf("3x3 3x3", **settings)


def test_token_ids_have_no_gradient() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))

    with pytest.raises(UsageError, match=r"numbers to differentiate with respect to \(input int64\)"):
        rfcalc.erf(model, (5,))


def test_whole_numbers_have_no_gradient() -> None:
    class Largest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(1, keepdim=True)

    with pytest.raises(UsageError, match="layer argmax gives int64, of which there is no gradient"):
        rfcalc.erf(Largest(), (3, 4, 4), layer="argmax")


def test_a_graph_has_nothing_to_run() -> None:
    with pytest.raises(UsageError, match="a saved graph has no weights and nothing to run"):
        rfcalc.erf(rfcalc.trace("lenet5"))


def test_every_layer_is_global() -> None:
    with pytest.raises(UsageError, match="every layer of Sequential sees everything at once: name one with --layer"):
        rfcalc.erf(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)), (1, 4, 4))


def test_a_gradient_that_is_not_finite() -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 0).sqrt()

    with pytest.raises(TraceError, match="the gradient of sqrt in Root is not finite for image 1 of 8: give --weights"):
        rfcalc.erf(Root(), (1, 3, 3), layer="sqrt")


def test_a_pass_that_goes_another_way() -> None:
    class Turns(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x) if x.is_meta else torch.sin(x)

    with pytest.raises(
        TraceError, match=r"ran otherwise than it was traced.*: at tanh it ran aten.sin in place of aten.tanh"
    ):
        rfcalc.erf(Turns(), (1, 3, 3), layer="tanh")


def test_a_failure_is_one_line() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta:
                raise RuntimeError("told to fail")
            return torch.tanh(x)

    with pytest.raises(TraceError, match="was traced, but its forward pass on cpu failed: RuntimeError: told to fail"):
        rfcalc.erf(Fails(), (1, 3, 3), device="cpu", layer="tanh")


# --- against plain autograd -------------------------------------------------------------------------------------------

#: Models with attention, gates, branches and statistics; a module of each.
NETWORKS = {
    "swin_t": ("features.5.0", (3, 64, 64)),
    "mobilenet_v3_small": ("features.9", (3, 48, 48)),
    "densenet121": ("features.denseblock2.denselayer3", (3, 48, 48)),
}


def by_hook(model: nn.Module, layer: str, image: Tensor, unit: Any) -> np.ndarray:
    """The absolute gradient of a unit of a module's output, added up over the channels of the image."""
    kept: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda _module, _given, out: kept.append(out))
    leaf = image.clone().requires_grad_()
    model(leaf)
    hook.remove()
    (found,) = torch.autograd.grad(kept[0][unit].sum(), leaf)
    return found[0].abs().sum(dim=0).double().numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_that_of_a_module_hook(name: str) -> None:
    models = pytest.importorskip("torchvision").models
    layer, shape = NETWORKS[name]
    model, image = models.get_model(name, weights=None).eval(), torch.randn(1, *shape)
    found = rfcalc.erf(model, image, layer=layer)
    y, x = found.at
    expected = by_hook(model, layer, image, (0, y, x) if "swin" in name else (0, slice(None), y, x))

    assert found.map.max() > 0
    assert found.map == pytest.approx(expected, abs=1e-4 * found.map.max())


@pytest.mark.parametrize(
    "layer", ["conv_proj", *(f"encoder.layers.encoder_layer_{n}.mlp.{m}" for n in (0, 1) for m in (0, 3))]
)
def test_every_layer_of_a_transformer(layer: str) -> None:
    """Whole functions as layers, torch's own attention, and more memory than the pass holds on to."""
    models = pytest.importorskip("torchvision").models
    model, image = models.VisionTransformer(32, 8, 2, 2, hidden_dim=512, mlp_dim=4096).eval(), torch.randn(1, 3, 32, 32)
    found = rfcalc.erf(model, image, layer=layer, at=(1, 2) if layer == "conv_proj" else (3,))
    expected = by_hook(model, layer, image, (0, slice(None), 1, 2) if layer == "conv_proj" else (0, 3))

    assert found.map.max() > 0
    assert found.map == pytest.approx(expected, abs=1e-4 * found.map.max())


def test_a_small_map_is_made_of_means() -> None:
    """Of 5 columns as 2 the first stands for 2 and the second for 3; the largest mean is 1."""
    conv = nn.Conv2d(1, 1, 5, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(25.0).reshape(1, 1, 5, 5))
    found = rfcalc.erf(conv, (1, 5, 5), images=1, layer=2)

    assert found.small(5) == (found.map / 24).tolist()
    assert found.small(2) == pytest.approx(np.array([[3, 5.5], [15.5, 18]]) / 18)
    assert found.small(1) == [[1]]
