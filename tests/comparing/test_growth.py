"""Formulas of whole models: held against the arithmetic of their layers, and against fresh traces at other sizes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rfcalc
from rfcalc.api import layer_graph
from rfcalc.comparing.symbols import family
from rfcalc.errors import LoadError, UsageError
from tests.comparing import nets

FILE = str(Path(nets.__file__))


def value(count, **sizes: int):
    return count if isinstance(count, int) else count.at(sizes)


# --- known formulas ---------------------------------------------------------------------------------------------------


def test_a_resnet_is_linear_in_pixels() -> None:
    found = rfcalc.growth("resnet50", symbols="H,W,N")

    # 4,089,184,256 at 224x224, of which the classifier has 2048 x 1000; the rest is proportional to the pixels.
    assert (4_089_184_256 - 2_048_000) % 224**2 == 0
    pixels = (4_089_184_256 - 2_048_000) // 224**2
    assert str(found.macs) == f"{pixels}*H*N*W + 2048000*N"
    assert found.params == 25_557_032
    assert [(item.symbol, item.step, item.rest) for item in found.ranges] == [("H", 32, 0), ("W", 32, 0), ("N", 1, 0)]
    first, second = found.parts()
    assert (str(first.term), len(first.layers), first.share) == (
        f"{pixels}*H*N*W", 53, Fraction(4_089_184_256 - 2_048_000, 4_089_184_256),
    )  # fmt: skip
    assert (str(second.term), second.layers) == ("2048000*N", ("fc",))


def test_a_vit_has_a_quadratic_part_and_the_layer_that_brings_it_is_named() -> None:
    found = rfcalc.growth(nets.Vit(), (3, 32, 32), symbols="H,W,N")

    # Attention: 2 x tokens^2 x 16 with tokens = HW/64. Else 3 x 64 x 16 a patch, and 12 x 16 x 16 a token.
    quadratic, linear, rest = found.parts()
    assert str(quadratic.term) == "H**2*N*W**2/128"
    assert quadratic.layers == ("block/scaled_dot_product_attention",)
    assert str(linear.term) == "96*H*N*W"
    assert set(linear.layers) == {"patch", "block.qkv", "block.out", "block.up", "block.down"}
    assert (str(rest.term), rest.layers) == ("160*N", ("head",))
    assert sum(part.share for part in found.parts()) == 1


def test_a_sequence_of_tokens() -> None:
    found = rfcalc.growth(nets.Gpt(), (16,), symbols=["T", "N"])

    # Attention 2 x 16 T^2; 12 x 16 x 16 a token in the block and 16 x 50 in the head.
    assert str(found.macs) == "32*N*T**2 + 3872*N*T"
    assert found.params == 50 * 16 + 64 * 16 + (12 * 256 + 9 * 16) + 17 * 50
    assert max(sizes["T"] for sizes in found.confirmed) <= 64


def test_at_its_longest_a_context_can_still_shrink() -> None:
    found = rfcalc.growth(nets.Gpt(), (64,), symbols="T")

    assert str(found.macs) == "32*T**2 + 3872*T"
    assert found.ranges[0].largest == 64


def test_a_recurrent_model_is_linear_in_time() -> None:
    found = rfcalc.growth(nets.Lstm(), (20, 8), symbols="T,N")

    assert str(found.macs) == f"{4 * 16 * (8 + 16) + 4 * 16 * (16 + 16) + 16 * 5}*N*T"


def test_an_argument_of_the_constructor() -> None:
    found = rfcalc.growth(f"{FILE}:UNet(width=C)", (3, 16, 16), symbols="C=4,H")

    # 27C + 18C^2/4 + 36C^2/16 + (2C x 16C)/16 + 36C multiply-adds a pixel.
    assert str(found.macs) == "140*C**2*H + 1008*C*H"
    assert str(found.params) == f"{18 + 36 + 32}*C**2 + {27 + 1 + 2 + 2 + 1 + 36}*C + 2"
    assert found.ranges[0].meaning == "argument width"


def test_two_inputs_grow_together() -> None:
    found = rfcalc.growth(nets.Guided(), {"image": (3, 32, 32), "guide": (1, 8, 8)}, symbols="H,W")

    assert str(found.macs) == f"{Fraction(3 * 16 * 4 + 5 * 9 * 2, 16)}".replace("/", "*H*W/")
    assert [str(extent) for extent in found.inputs["guide"]] == ["1", "1", "H/4", "W/4"]


def test_steps_to_try_come_from_the_strides_and_from_how_the_inputs_belong_together() -> None:
    guided = family(nets.Guided(), {"image": (3, 32, 32), "guide": (1, 8, 8)}, asked=["H", "guide.W"])
    raised = family(nets.Raised(), {"image": (3, 32, 32), "guide": (1, 8, 8)}, asked=["H"])
    resnet = family("resnet18", asked=["H", "N"])

    # Guided strides its image by 4; in Raised nothing strides, but a guide of H/4 rows asks for multiples of 4.
    assert {item.name: item.guess.steps for item in guided.symbols} == {"H": (4,), "W_guide": (1,)}
    assert {item.name: item.guess.steps for item in raised.symbols} == {"H": (4,)}
    assert {item.name: item.guess.steps for item in resnet.symbols} == {"H": (32,), "N": (1,)}
    assert {item.name: item.guess.start for item in resnet.symbols} == {"H": 224, "N": 1}


def test_a_symbol_of_the_model_beside_an_axis_of_its_usual_input() -> None:
    """The usual input follows the model's own symbol; only the axis that is asked for is set."""
    found = rfcalc.growth("3x3:C-2C", symbols="C,W")

    assert str(found.macs) == f"{18 * 32}*C**2*W"
    assert [str(extent) for extent in found.inputs["input"]] == ["1", "C", "32", "W"]


def test_a_symbol_may_stand_in_two_places() -> None:
    found = rfcalc.growth(nets.Square(), (3, "S", "S"), symbols={"S": 32})

    assert str(found.macs) == "216*S**2"


def test_sizes_of_a_batch_that_is_not_first() -> None:
    found = rfcalc.growth(nets.TimeFirst(), ("T", "N", 8), symbols="T=12,N=3")

    assert str(found.macs) == f"{3 * 16 * (8 + 16)}*N*T"


# --- held against fresh traces ----------------------------------------------------------------------------------------

MODELS = {
    "torchvision:resnet50": ("torchvision:resnet50", None, "H,W,N", [(96, 160, 2), (352, 64, 3)]),
    "torchvision:fcn_resnet50": ("torchvision:fcn_resnet50", None, "H,W", [(72, 120), (264, 88)]),
    "torchvision:mobilenet_v3_small": ("torchvision:mobilenet_v3_small", None, "H,W", [(64, 352), (160, 96)]),
    "vit": (nets.Vit(), (3, 32, 32), "H,W,N", [(48, 16, 5), (120, 56, 1)]),
    "unet": (nets.UNet(), (3, 32, 32), "H,W,N", [(20, 44, 3), (8, 100, 1)]),
    "lstm": (nets.Lstm(), (20, 8), "T,N", [(7, 9), (101, 4)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_formula_with_numbers_put_in_is_what_a_fresh_trace_says(name: str) -> None:
    model, inputs, symbols, fresh = MODELS[name]
    found = rfcalc.growth(model, inputs, symbols=symbols)
    seen = [tuple(sizes.values()) for sizes in (*found.fitted, *found.confirmed)]

    for numbers in fresh:
        sizes = dict(zip(symbols.split(","), numbers, strict=True))
        shape = tuple(int(value(extent, **sizes)) for extent in found.inputs["input"])
        traced = rfcalc.analyze(model, shape)
        assert numbers not in seen
        assert value(found.macs, **sizes) == traced.totals.macs
        assert value(found.params, **sizes) == traced.totals.params
        assert value(found.flops, **sizes) == traced.totals.flops
        assert {item.layer.name: value(item.macs, **sizes) for item in found.layers} == {
            layer.name: layer.macs for layer in traced.layers
        }


layers = st.one_of(
    st.builds("{0}x{0}:{{}}-{{}}{1}".format, st.sampled_from([1, 3, 4]), st.sampled_from(["", "/2", "d2", "p0"])),
    st.builds("{}2/2".format, st.sampled_from(["max", "avg"])),
)


@settings(max_examples=15)
@given(st.lists(layers, min_size=1, max_size=4), st.data())
def test_a_stack_with_symbols_agrees_with_the_stack_with_numbers(tokens, data) -> None:
    widths = data.draw(st.lists(st.sampled_from(["C", "2C", "5", "D"]), min_size=9, max_size=9))
    spec, place = [], 0
    for token in tokens:
        if "{}" in token:
            token = token.format(widths[place], widths[place + 1])
            place += 1
        spec.append(token)
    numbers = {"C": data.draw(st.integers(1, 9)), "D": data.draw(st.integers(1, 9))}
    height, batch = 32 * data.draw(st.integers(2, 6)), data.draw(st.integers(1, 4))
    first = widths[0] if place else 3

    row = rfcalc.compare([" ".join(spec)], ("N", first, "H", 64)).rows[0]

    def put(text: str) -> str:
        return text.replace("2C", str(2 * numbers["C"])).replace("C", str(numbers["C"])).replace("D", str(numbers["D"]))

    sizes = {**numbers, "H": height, "N": batch}
    traced = rfcalc.analyze(put(" ".join(spec)), (batch, int(put(str(first))), height, 64))
    assert value(row.macs, **sizes) == traced.totals.macs
    assert value(row.params, **sizes) == traced.totals.params
    window = traced.layers[-1].receptive_field
    assert [(field.size, field.stride) for field in row.fields.values()] == [(window.size, window.stride)]


# --- no formula -------------------------------------------------------------------------------------------------------


def test_growth_that_is_no_polynomial_is_said_with_values() -> None:
    found = rfcalc.growth(nets.Doubling(), (2, 8, 16), symbols="W")

    assert found.macs is None
    assert found.params == 38
    assert "layers" in found.varying
    values = {sizes["W"]: count for sizes, count in found.irregular[0].values}
    assert values[16] == 5 * 36 * 8 * 16
    assert found.to_dict()["irregular"][0]["count"] == "macs"


def test_a_model_for_one_size_says_so_and_takes_the_size_as_an_argument() -> None:
    with pytest.raises(
        UsageError, match=r"runs with H \(H of input\) = 32 only: FixedVit cannot run .*MODEL\(argument=S\)"
    ):
        rfcalc.growth(nets.FixedVit(), (3, 32, 32), symbols="H,W")

    found = rfcalc.growth(f"{FILE}:FixedVit(image_size=S)", (3, "S", "S"), symbols="S=32")

    assert str(found.macs) == "S**4/128 + 96*S**2"
    assert str(found.params) == f"S**2/4 + {16 * 192 + 16 + 12 * 256 + 9 * 16}"
    assert found.ranges[0].step == 8


def test_an_argument_that_a_constructor_refuses_is_an_error_of_one_line() -> None:
    with pytest.raises(LoadError, match="building the model failed: Input shape indivisible by patch size"):
        layer_graph("torchvision:vit_b_16(image_size=225)")


def test_a_published_vit_by_its_constructor() -> None:
    found = rfcalc.growth("torchvision:vit_b_16(image_size=S)", symbols="S=224")

    # 17,563,828,224 at 224 (torchvision's documentation, in GFLOPS 17.56).
    assert found.macs.at({"S": 224}) == found.analysis.totals.macs == 17_563_828_224
    quadratic = found.parts()[0]
    assert str(quadratic.term) == "9*S**4/32"  # 12 layers x 2 x 768 x (S/16)^4
    assert len(quadratic.layers) == 24
    assert all("self_attention/matmul" in name for name in quadratic.layers)
    assert found.params.at({"S": 224}) == 86_567_656
    assert found.ranges[0].step == 16


@pytest.mark.parametrize(
    ("model", "inputs", "symbols", "message"),
    [
        ("vgg16", None, "Q", r"vgg16 has no size Q: its inputs have H, W, N \(the batch\)"),
        ("vgg16", None, "", "--symbolic '': write names"),
        ("vgg16", None, "h", "--symbolic 'h': write names"),
        ("vgg16", None, "H,H", "--symbolic 'H': write names, each once"),
        ("vgg16", None, "H=", "--symbolic 'H=': write names"),
        ("vgg16", None, "H=0", "--symbolic 'H=0': write names"),
        ("vgg16", None, [], "no size to follow"),
        (nets.Square(), (3, "S", "S"), "S", "Square has no usual size S: say where to start, --symbolic S=224"),
        (nets.Square(), (3, "S", "S"), "S=32,H", "H of input is given twice"),
        (nets.Square(), (3, "h", 8), "H", "'h' is no size"),
        (nets.Guided(), {"image": (3, 32, 32), "guide": (1, 8, 8)}, "image.H", "runs with H_image .* = 32 only"),
        (nets.TimeFirst(), (12, 3, 8), "N", "has no size N: its inputs have T"),
        ("vgg16", (3, "H", "W"), "S=3", "vgg16 has no size S"),
    ],
)
def test_requests_that_make_no_sense(model, inputs, symbols, message) -> None:
    with pytest.raises(UsageError, match=message):
        rfcalc.growth(model, inputs, symbols=symbols)


def test_a_saved_graph_has_its_sizes_fixed() -> None:
    with pytest.raises(UsageError, match="is a saved graph, and its sizes are fixed"):
        rfcalc.growth(layer_graph("lenet5"), symbols="N")


def test_layers_are_selected_as_elsewhere() -> None:
    found = rfcalc.growth("3x3:4-4 max2 3x3:4-8", symbols="H")

    assert [item.layer.name for item in found.select("conv*")] == ["conv1", "conv3"]
    assert [str(item.macs) for item in found.select("2")] == ["4608*H"]
    assert [row["name"] for row in found.to_dict(found.select("max2"))["layers"]] == ["max2"]
    with pytest.raises(UsageError, match="there is no layer"):
        found.select("conv9")


def test_only_numbered_layers_have_formulas() -> None:
    found = rfcalc.growth("lenet5", symbols="N")
    folded = next(op.name for op in found.analysis.ops if op.index is None)

    with pytest.raises(UsageError, match="has no row of its own"):
        found.select(folded)


def test_it_shows_itself() -> None:
    found = rfcalc.growth("3x3:4-4", symbols="H,W")

    assert repr(found) == "<Growth of 3x3:4-4: 144 parameters, 144*H*W multiply-adds>"
    assert "144H·W" in found._repr_html_()
