"""Models side by side: the lecture's comparisons, ratios, what has nothing in common, what makes no sense."""

from __future__ import annotations

from fractions import Fraction

import pytest
from torch import nn

import rfcalc
from rfcalc.errors import TraceError, UsageError
from tests.comparing import nets
from tests.unruled import unruled


def test_three_3x3_against_one_7x7() -> None:
    found = rfcalc.compare(["7x7", "3x3 3x3 3x3"], channels="C")

    large, three = found.rows
    assert {name: str(formula) for name, formula in large.formula().items()}["params"] == "49*C**2"
    assert {name: str(formula) for name, formula in three.formula().items()}["params"] == "27*C**2"
    assert found.ratio(three, "params") == found.ratio(three, "macs") == Fraction(27, 49)
    assert found.ratio(large, "params") == 1
    assert large.fields["input"].size == three.fields["input"].size == (7, 7)
    assert large.fields["input"].stride == three.fields["input"].stride == (1, 1)
    assert [str(term.params) for term in three.terms] == ["9*C**2"] * 3
    assert (large.layers, large.depth, three.layers, three.depth) == (2, 1, 4, 3)
    assert [str(extent) for extent in three.inputs["input"]] == ["1", "C", "32", "32"]


def test_with_64_channels_the_same_in_numbers() -> None:
    large, three = rfcalc.compare(["7x7", "3x3 3x3 3x3"], channels=64).rows

    assert (large.params, three.params) == (49 * 64**2, 27 * 64**2) == (200_704, 110_592)
    assert three.formula() == {}


def test_a_bottleneck_term_by_term() -> None:
    found = rfcalc.compare(["5x5:480-48", "1x1:480-16 5x5:16-48"], (480, 14, 14))

    direct, reduced = found.rows
    assert [(term.formula, term.macs) for term in direct.terms] == [("(14x14x48) x (5x5x480)", 112_896_000)]
    assert [(term.formula, term.macs) for term in reduced.terms] == [
        ("(14x14x16) x (1x1x480)", 1_505_280),
        ("(14x14x48) x (5x5x16)", 3_763_200),
    ]
    assert (direct.macs, reduced.macs) == (112_896_000, 5_268_480)
    assert found.ratio(reduced, "macs") == Fraction(5_268_480, 112_896_000)


def test_the_json_document() -> None:
    data = rfcalc.compare(["7x7", "3x3 3x3 3x3"], channels="C").to_dict()

    assert data["schema"] == "rfcalc-compare/1"
    assert data["relative_to"] == "7x7"
    row = data["rows"][1]
    assert row["model"] == "3x3 3x3 3x3"
    assert (row["params"], row["macs"], row["layers"], row["depth"], row["buffers"]) == (None, None, 4, 3, 0)
    assert row["formula"]["params"] == "27*C**2"
    assert row["formula"]["macs"] == f"{27 * 32 * 32}*C**2"
    assert row["ratio"]["params"] == row["ratio"]["macs"] == "27/49"
    assert row["receptive_field"]["size"] == [7, 7]
    assert row["spatial_layer"] == {"index": 4, "name": "conv3"}
    assert row["inputs"] == [{"name": "input", "shape": [1, "C", 32, 32], "axes": ["H", "W"]}]
    assert row["symbols"][0]["symbol"] == "C"


def test_numbers_are_numbers_in_json() -> None:
    row = rfcalc.compare(["vgg16", "alexnet-single"]).to_dict()["rows"][1]

    assert (row["params"], row["formula"], row["ratio"]["params"]) == (
        61_100_840,
        {},
        str(Fraction(61_100_840, 138_357_544)),
    )
    assert row["whole_input_from"] == {"index": 11, "name": "fc6"}


@pytest.mark.parametrize(
    ("spec", "params"),
    [
        ("3x3:C-2C", "18*C**2"),
        ("1x1:4C-C 3x3:C-C 1x1:C-4C", "17*C**2"),
        ("3x3:C-D max2 3x3:D-10", "9*C*D + 90*D"),
        ("5x5:480-K", "12000*K"),
    ],
)
def test_symbols_among_the_channels(spec: str, params: str) -> None:
    assert str(rfcalc.compare([spec]).rows[0].params) == params


def test_symbols_in_the_input() -> None:
    row = rfcalc.compare(["3x3:3-8"], ("N", 3, "H", "W")).rows[0]

    assert str(row.macs) == "216*H*N*W"
    assert row.params == 216


def test_the_channels_of_an_input_are_those_of_a_stack_that_leaves_its_own_out() -> None:
    assert rfcalc.compare(["3x3 3x3"], (5, 8, 8)).rows[0].params == 2 * 9 * 5**2
    assert str(rfcalc.compare(["3x3 3x3"], ("C", 8, 8)).rows[0].params) == "18*C**2"
    assert str(rfcalc.compare(["max2"], channels="C").rows[0].inputs["input"][1]) == "C"


def test_models_with_usual_sizes_start_there() -> None:
    found = rfcalc.compare(["resnet18", "3x3"], (3, "H", "W"))

    assert str(found.rows[0].macs) == f"{(1_814_073_344 - 512_000) // 224**2}*H*W + 512000"
    assert [item.start for item in found.rows[0].ranges] == [224, 224]
    assert str(found.ratio(found.rows[0], "macs")) == "1"
    assert str(found.ratio(found.rows[1], "params")) == str(Fraction(81, 11_689_512))


def test_axes_of_all_inputs_by_name() -> None:
    found = rfcalc.compare(["resnet18", "plain18"], symbols="H,W")

    assert [str(row.macs) for row in found.rows] == [
        f"{(1_814_073_344 - 512_000) // 224**2}*H*W + 512000",
        f"{(1_794_805_760 - 512_000) // 224**2}*H*W + 512000",
    ]


def test_ratios_to_another_row() -> None:
    by_number = rfcalc.compare(["3x3", "5x5"], relative_to=2)
    by_name = rfcalc.compare(["3x3", "5x5"], relative_to="5x5")

    assert by_number.reference.model == by_name.reference.model == "5x5"
    assert by_name.ratio(by_name.rows[0], "params") == Fraction(9, 25)


def test_a_lower_bound_has_no_ratio() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return unruled(self.linear(x))

    found = rfcalc.compare([rfcalc.analyze(Odd(), (4, 4)), rfcalc.analyze(nn.Linear(4, 4), (4, 4))])

    assert found.rows[0].status == "lower_bound"
    assert found.ratio(found.rows[1], "macs") is None
    assert found.ratio(found.rows[1], "params") == 1


def test_rows_are_sorted_by_numbers_and_by_formulas_of_one_shape() -> None:
    models = ["5x5", "3x3", "7x7", "3x3 3x3"]
    numbers, formulas = (rfcalc.compare(models, channels=channels) for channels in (8, "C"))

    assert [row.model for row in numbers.sorted("params").rows] == ["3x3", "3x3 3x3", "5x5", "7x7"]
    assert [row.model for row in formulas.sorted("-macs").rows] == ["7x7", "5x5", "3x3 3x3", "3x3"]
    assert [row.number for row in formulas.sorted("-macs").rows] == [3, 1, 4, 2]
    assert formulas.sorted("-macs").reference is formulas.reference
    assert [row.model for row in numbers.sorted("model").rows] == sorted(models)


def test_formulas_whose_order_depends_on_the_size_have_none() -> None:
    found = rfcalc.compare(["3x3:C-C", "3x3:C-64"])

    with pytest.raises(UsageError, match="the order of 3x3:C-64 and 3x3:C-C depends on the sizes"):
        found.sorted("params")
    with pytest.raises(UsageError, match="cannot sort by 'field'"):
        found.sorted("field")


def test_a_field_that_depends_on_the_size_is_left_out() -> None:
    class Half(nn.Module):
        """A convolution over half the width."""

        def forward(self, x):
            return nn.functional.avg_pool2d(x, (1, x.shape[-1] // 2), stride=1)

    row = rfcalc.compare([Half()], (3, 8, "W"), symbols="W=16").rows[0]

    assert row.spatial is None
    assert row.varying == ("windows",)


def test_two_models_of_one_name_are_told_apart() -> None:
    found = rfcalc.compare(["3x3", "3x3", nn.Conv2d(1, 1, 3), rfcalc.analyze("3x3"), "3x3"], (1, 8, 8))

    assert [row.model for row in found.rows] == ["3x3", "3x3#2", "Conv2d", "3x3#3", "3x3#4"]


def test_models_of_different_kinds() -> None:
    found = rfcalc.compare([rfcalc.analyze("3x3"), rfcalc.analyze(nets.Gpt(), (16,)), rfcalc.analyze("5x5")])

    assert [row.kind for row in found.rows] == [{"input": ("H", "W")}, {"input": ("T",)}, {"input": ("H", "W")}]
    assert [found.alike(row) for row in found.rows] == [True, False, True]


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ([], {}, "nothing to compare"),
        (["vgg16"], {"channels": "C"}, "--channels C: no model here leaves its channels open"),
        (["3x3:4-4"], {"channels": 8}, "no model here leaves its channels open"),
        (["3x3"], {"channels": "c"}, "--channels 'c': write a number, 64, or a symbol"),
        (["3x3"], {"channels": "0C"}, "--channels '0C'"),
        (["3x3"], {"channels": 0}, "--channels 0"),
        (["3x3", "5x5"], {"relative_to": 3}, "there is no row '3' .* from 1 to 2"),
        (["3x3", "5x5"], {"relative_to": "5x"}, "there is no row '5x' .*nearest name: '5x5'"),
        (["3x3:C-C"], {"symbols": "K=3"}, "no model has a size K"),
        (["3x3:C-2C 5x5:C-4"], {}, "token 2, '5x5:C-4', takes C channels, and token 1, '3x3:C-2C', gives 2C"),
        (["3x3:480-8"], {"inputs": (3, 8, 8)}, "takes 480 channels, and its input has 3"),
        (["3x3:C-8"], {"inputs": ("D", 8, 8)}, "takes C channels, and its input has D"),
        (["3x3", "5x5", "7x7"], {"per_layer": True}, "two models side by side, and 3 are named"),
        (["3x3", "5x5"], {"per_layer": True, "channels": "C"}, "needs numbers, and 3x3 has symbols"),
    ],
)
def test_requests_that_make_no_sense(models, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        rfcalc.compare(models, **options)


def test_a_model_that_cannot_run_on_the_input_is_named() -> None:
    with pytest.raises(TraceError, match="alexnet cannot run on input 1x3x64x64"):
        rfcalc.compare(["3x3", "alexnet"], (3, 64, 64))


def test_it_shows_itself() -> None:
    found = rfcalc.compare(["7x7", "3x3"], channels="C")

    assert repr(found) == "<Comparison of 7x7, 3x3>"
    assert "49C²" in found._repr_html_()
