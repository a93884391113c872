"""`Analysis`: choosing layers, fields in other layers and of single units, arrays of regions, several inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rfcalc
from rfcalc import Analysis
from rfcalc.errors import UsageError


@pytest.fixture(scope="module")
def vgg() -> Analysis:
    return rfcalc.analyze("vgg16")


class TwoInputs(nn.Module):
    """``left`` at full size, ``right`` at half: upsampled and concatenated; a head of each."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 2, 3, padding=1)
        self.b = nn.Conv2d(2, 3, 5, padding=2)
        self.head = nn.Conv2d(5, 1, 1)
        self.side = nn.Conv2d(3, 1, 1)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        coarse = self.b(right)
        joined = torch.cat([self.a(left), F.interpolate(coarse, scale_factor=2)], dim=1)
        return self.head(joined), self.side(coarse)


@pytest.fixture(scope="module")
def two() -> Analysis:
    return rfcalc.analyze(TwoInputs(), {"left": (1, 8, 8), "right": (2, 4, 4)})


def names(a: Analysis, text: str) -> list[str]:
    return [layer.name for layer in a.select(text)]


# --- choosing layers --------------------------------------------------------------------------------------------------


def test_select_by_number_name_and_glob(vgg):
    assert names(vgg, "1") == ["input"]
    assert names(vgg, "3") == names(vgg, "conv1_2") == ["conv1_2"]
    assert names(vgg, "conv5_*") == ["conv5_1", "conv5_2", "conv5_3"]
    assert names(vgg, "conv[12]_2") == ["conv1_2", "conv2_2"]
    assert names(vgg, "pool?") == ["pool1", "pool2", "pool3", "pool4", "pool5"]
    assert names(vgg, "relu1_1") == ["relu1_1"]  # without a number, but a name
    assert names(vgg, "relu1_*") == ["relu1_1", "relu1_2"]


def test_a_glob_prefers_numbered_layers(vgg):
    assert all(layer.index is not None for layer in vgg.select("*"))
    assert len(vgg.select("*")) == 22


def test_a_module_stands_for_its_last_op():
    a = rfcalc.analyze("resnet18")

    assert names(a, "conv3_1") == ["conv3_1/relu"]
    assert a.select("conv3_1")[0].receptive_field.size == a["conv3_1/add"].receptive_field.size
    assert names(a, "conv3_1/conv1") == ["conv3_1/conv1"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("0", "there is no layer 0: vgg16 has layers 1 (the input) to 22"),
        ("23", "there is no layer 23: vgg16 has layers 1 (the input) to 22"),
        ("conv1", "there is no layer 'conv1' in vgg16; nearest: conv1_1, conv1_2"),
        ("convo3_3", "there is no layer 'convo3_3' in vgg16; nearest: conv3_3"),
        ("fc9", "nearest: fc8, fc7, fc6"),
        ("block*", "there is no layer 'block*' in vgg16; numbers run from 1 to 22"),
    ],
)
def test_unknown_layers_get_the_nearest_names(asked, says, vgg):
    with pytest.raises(UsageError) as caught:
        vgg.select(asked)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_indexing(vgg):
    assert vgg[3] is vgg["conv1_2"]
    assert vgg[1].kind == "input"
    with pytest.raises(KeyError, match="nearest: conv5_3"):
        vgg["conv5_33"]
    with pytest.raises(KeyError, match="names 3 layers: conv5_1, conv5_2, conv5_3"):
        vgg["conv5_*"]
    with pytest.raises(IndexError, match="no layer 40"):
        vgg[40]


# --- in another layer -------------------------------------------------------------------------------------------------


def test_fields_in_an_earlier_layer(vgg):
    field = vgg.receptive_field("pool5", of="conv5_1")

    assert (field.source, field.axes) == ("conv5_1", ("H", "W"))
    assert (field.size, field.stride, field.start) == ((6, 6), (2, 2), (-2, -2))
    # three 3x3 (7), pooled (8), three more at twice the jump (20)
    assert vgg.receptive_field("conv4_3", of="pool2").size == (20, 20)
    assert vgg.receptive_field("conv5_1", of="conv5_1").size == (1, 1)
    assert vgg.receptive_field("conv1_2", of=2) == vgg.receptive_field("conv1_2", of="conv1_1")
    assert vgg.receptive_field("conv1_2", of=2).size == (3, 3)


def test_an_earlier_layer_sees_nothing_of_a_later_one(vgg):
    field = vgg.receptive_field("conv1_1", of="pool5")

    assert field.size == (0, 0)
    assert field.stride is field.start is field.center is None
    assert not field.whole_input


def test_an_analysis_relative_to_a_layer():
    a = rfcalc.analyze("vgg16", of="pool4")

    assert a.of == "pool4"
    assert a["pool4"].receptive_field.size == (1, 1)
    assert a["conv5_3"].receptive_field.size == (7, 7)
    assert a["fc6"].receptive_field.whole_input
    assert a["fc6"].receptive_field.size == (14, 14)


def test_of_must_name_one_layer(vgg):
    with pytest.raises(UsageError, match=r"names 13 layers, it must name one: conv1_1, .* \.\.\.$"):
        vgg.receptive_field("pool5", of="conv*")
    with pytest.raises(UsageError, match="nearest: pool4"):
        vgg.receptive_field("pool5", of="pool44")


# --- of one unit ------------------------------------------------------------------------------------------------------


def test_regions_of_single_units(vgg):
    # Unit u of pool5 reads -90 + 32u to 121 + 32u, of which 0 to 223 exist.
    for unit, region in [(0, (0, 121)), (1, (0, 153)), (2, (0, 185)), (3, (6, 217)), (4, (38, 223)), (6, (102, 223))]:
        assert vgg.receptive_field("pool5", at=(unit, unit)).region == (region, region)
    assert vgg.receptive_field("pool5", at=(0, 3)).region == ((0, 121), (6, 217))
    assert vgg.receptive_field("conv1_1", at=(0, 223)).region == ((0, 1), (222, 223))
    assert vgg.receptive_field("conv5_3", at=(7, 7)).region == ((22, 217), (22, 217))
    assert vgg.receptive_field("pool5", at=(3, 3), of="pool4").region == ((3, 10), (3, 10))
    assert vgg.receptive_field("pool5").region is None


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ((1,), "--at needs 2 numbers for layer pool5 (output 1x512x7x7), got 1"),
        ((0, 1, 2), "got 3"),
        ((7, 0), "--at 7,0 is outside layer pool5: positions run from 0 to 6 along axis 2"),
        ((0, -1), "--at 0,-1 is outside layer pool5: positions run from 0 to 6 along axis 3"),
    ],
)
def test_positions_that_do_not_exist(at, says, vgg):
    with pytest.raises(UsageError) as caught:
        vgg.receptive_field("pool5", at=at)

    assert says in str(caught.value)


def test_units_of_misaligned_joins_on_one_axis():
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fast, self.slow = nn.Conv1d(1, 1, 5, stride=2), nn.Conv1d(1, 1, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            fast, slow = self.fast(x), self.slow(x)[..., :4]
            return fast + slow, torch.cat([fast, slow], dim=1)

    a = rfcalc.analyze(Skip(), torch.rand(1, 1, 11))

    for join in ("add", "cat"):
        field = a.receptive_field(join, at=(3,))
        assert field.region == ((3, 10),)  # 6 to 10 and 3 to 5
        assert field.stride is None
        (clash,) = field.misaligned
        assert (clash.layer, clash.axis, clash.branches) == (join, "L", ((2, 2), (1, 1)))
    assert (a["add"].receptive_field.size, a["add"].receptive_field.size_min) == ((8,), (5,))


def test_regions_as_arrays(vgg):
    rows, columns = vgg.regions("pool5")

    first, last = rows
    assert first.dtype.kind == last.dtype.kind == "i"
    np.testing.assert_array_equal(np.broadcast_to(first, (1, 512, 7, 7))[0, 0, :, 0], [0, 0, 0, 6, 38, 70, 102])
    np.testing.assert_array_equal(np.broadcast_to(last, (1, 512, 7, 7))[0, 9, :, 3], [121, 153, 185, 217, *[223] * 3])
    np.testing.assert_array_equal(first, columns[0].swapaxes(2, 3))
    fc = vgg.regions("fc8")
    assert [(int(lo.min()), int(hi.max())) for lo, hi in fc] == [(0, 223)] * 2
    for lo, _ in fc:
        np.broadcast_to(lo, (1, 1000))


def test_a_tensor_without_elements_sees_nothing():
    class NoPrefix(nn.Module):
        """As vision transformers cut off their class tokens, here none of them."""

        def forward(self, x: Tensor) -> Tensor:
            none, rest = x[..., :0], F.avg_pool1d(x, 3, 1)
            return torch.cat([none * 2, rest], dim=2)

    found = rfcalc.analyze(NoPrefix(), torch.zeros(1, 4, 9), axes={"L": 2})

    first, last = found.regions("cat")[0]
    assert (first.ravel().tolist(), last.ravel().tolist()) == ([0, 1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7, 8])


def test_units_that_see_nothing_have_first_after_last():
    a = rfcalc.analyze(nn.ConvTranspose1d(1, 1, 1, stride=2), torch.rand(1, 1, 3))

    ((first, last),) = a.regions(2)
    np.testing.assert_array_equal((first <= last).ravel(), [True, False, True, False, True])
    field = a.receptive_field(2, at=(1,))
    assert field.region == (None,)
    assert (field.size, field.size_min) == ((1,), (0,))


# --- several inputs ---------------------------------------------------------------------------------------------------


def test_each_input_has_its_own_field(two):
    assert [(item.name, item.shape) for item in two.inputs] == [("left", (1, 1, 8, 8)), ("right", (1, 2, 4, 4))]
    fields = two["cat"].receptive_fields

    assert set(fields) == {"left", "right"}
    assert (fields["left"].size, fields["left"].stride, fields["left"].start) == ((3, 3), (1, 1), (-1, -1))
    assert fields["right"].size == (5, 5)
    assert [str(stride) for stride in fields["right"].stride] == ["1/2", "1/2"]
    assert fields["right"].period == (2, 2)
    assert two["head"].receptive_fields["left"].size == (3, 3)
    assert len(two.layer_graph.outputs) == 2


def test_an_input_that_is_not_seen_has_size_0(two):
    unseen = two["side"].receptive_fields["left"]

    assert (unseen.size, unseen.size_min, unseen.local_size) == ((0, 0),) * 3
    assert unseen.stride is unseen.start is unseen.center is None
    assert not unseen.whole_input
    assert unseen.status == "exact"
    for first, last in two.regions("side", source="left"):
        assert (first > last).all()
    assert two.receptive_field("side", source="left", at=(1, 1)).region == (None, None)
    assert two.receptive_field("side", source="right", at=(1, 1)).region == ((0, 3), (0, 3))


def test_channels_of_a_concatenation_see_other_inputs(two):
    (first, last), _ = two.regions("cat", source="left")
    shape = two["cat"].output_shape
    first, last = np.broadcast_to(first, shape), np.broadcast_to(last, shape)

    np.testing.assert_array_equal((first <= last).all(axis=(0, 2, 3)), [True, True, False, False, False])
    np.testing.assert_array_equal(first[0, 0, :, 0], [0, 0, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(last[0, 1, :, 0], [1, 2, 3, 4, 5, 6, 7, 7])


def test_a_source_must_be_named_where_there_are_several(two):
    assert two.receptive_field("cat", source="right", at=(7, 0)).region == ((1, 3), (0, 2))
    with pytest.raises(ValueError, match=r"ask receptive_fields\[name\]"):
        _ = two["cat"].receptive_field
    for ask in (two.regions, two.receptive_field):
        with pytest.raises(UsageError, match="has several inputs: ask one of left, right"):
            ask("cat")
        with pytest.raises(UsageError, match="there is no source 'middle': ask one of left, right"):
            ask("cat", source="middle")


def test_fields_in_a_layer_have_one_source_whatever_the_inputs(two):
    field = two.receptive_field("head", of="b")

    assert (field.source, field.size) == ("b", (1, 1))


@pytest.mark.parametrize(
    "inputs",
    [
        (torch.rand(1, 1, 8, 8), torch.rand(1, 2, 4, 4)),
        ((1, 8, 8), (2, 4, 4)),
        {"left": torch.rand(1, 1, 8, 8), "right": (1, 2, 4, 4)},
    ],
)
def test_inputs_as_tensors_or_shapes(inputs, two):
    assert rfcalc.analyze(TwoInputs(), inputs).to_dict() == two.to_dict()


# --- what one says and gives ------------------------------------------------------------------------------------------


def test_to_dict_is_the_documents_json(vgg):
    data = vgg.to_dict(vgg.with_region(vgg.select("3"), (0, 5)))

    assert (data["schema"], data["model"]) == ("rfcalc/1", "vgg16")
    assert data["inputs"] == [
        {"name": "input", "shape": [1, 3, 224, 224], "dtype": "float32", "axes": {"H": 2, "W": 3}}
    ]
    (layer,) = data["layers"]
    assert (layer["index"], layer["name"], layer["kind"], layer["module"]) == (3, "conv1_2", "conv", "Conv2d")
    assert (layer["inputs"], layer["output_shape"]) == (["conv1_1"], [1, 64, 224, 224])
    field = layer["receptive_fields"]["input"]
    expected = {
        "status": "exact", "whole_input": False, "size": [5, 5], "size_min": [5, 5], "stride": [1, 1],
        "start": [-2, -2], "center": [0, 0], "samples": [5, 5], "local_size": [5, 5], "context": [],
        "region": [[0, 2], [3, 7]],
    }  # fmt: skip
    assert {key: field[key] for key in expected} == expected


def test_fractions_are_strings_in_json(two):
    field = two["cat"].to_dict()["receptive_fields"]["right"]

    assert field["stride"] == ["1/2", "1/2"]
    assert field["center"] == [0, 0]


def test_repr_names_model_input_and_totals(vgg):
    assert repr(vgg) == (
        "<Analysis of vgg16 on input 1x3x224x224: 22 layers, 138,357,544 parameters,"
        " 15,470,264,320 multiply-adds (complete)>"
    )


def test_axes_can_be_named():
    a = rfcalc.analyze(nn.Conv2d(1, 1, (3, 5)), (1, 9, 9), axes={"freq": 2, "time": 3})

    assert a.layers[1].receptive_field.axes == ("freq", "time")
    assert a.layers[1].receptive_field.size == (3, 5)
    only = rfcalc.analyze(nn.Conv2d(1, 1, (3, 5)), (1, 9, 9), axes={"time": 3})
    assert only.layers[1].receptive_field.size == (5,)
    with pytest.raises(UsageError, match="no axis 4 to call time"):
        rfcalc.analyze(nn.Conv2d(1, 1, 3), (1, 9, 9), axes={"time": 4})
