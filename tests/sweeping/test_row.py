"""One model, one flat record: numbers from papers and from torchvision, and every sort of failure."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from rfcalc.sweeping.row import Row, asked, survey

#: model: parameters, multiply-adds, layers, last spatial layer, its size and stride, first layer that sees everything.
#: VGG16, LeNet-5, AlexNet and ResNet-18 as in the lecture's table; torchvision publishes 0.386 G multiply-adds for
#: EfficientNet-B0, of whose fields people quote 851 at the end.
KNOWN = {
    "vgg16": (138_357_544, 15_470_264_320, 22, "pool5", (212, 212), (32, 32), 20, "fc6"),
    "resnet18": (11_689_512, 1_814_073_344, 32, "conv5_2/add", (435, 435), (32, 32), 31, "avgpool"),
    "lenet5": (61_706, 416_520, 8, "S4", (16, 16), (4, 4), 6, "C5"),
    "3x3 3x3 3x3": (27, 27_648, 4, "conv3", (7, 7), (1, 1), None, None),
}


@pytest.mark.parametrize("spec", KNOWN)
def test_known_models(spec: str) -> None:
    row = survey(spec)

    assert row.status == "complete"
    assert row.field_status == "exact"
    assert row.strict
    assert not row.failed
    assert row.axes == ("H", "W")
    found = (row.params, row.macs, row.layers, row.layer, row.size, row.stride, row.whole_index, row.whole_layer)
    assert found == KNOWN[spec]


def test_a_global_context_leaves_a_local_field() -> None:
    row = survey("torchvision:efficientnet_b0")

    assert (row.params, round((row.macs or 0) / 1e9, 3)) == (5_288_548, 0.386)
    assert (row.layer, row.size, row.stride, row.local_size) == ("features.8.0", (224, 224), None, (851, 851))
    assert row.whole_input
    assert row.whole_layer == "features.1.0.block.1.avgpool"


def test_an_input_of_ones_own() -> None:
    row = survey("vgg16", (3, 448, 448))

    assert (row.input, row.inputs) == ("3x448x448", {"input": (1, 3, 448, 448)})
    assert row.macs == 4 * 15_346_630_656 + 123_633_664  # convolutions at four times the positions, fc6 to fc8


def test_an_input_that_does_not_fit() -> None:
    row = survey("alexnet", (3, 224, 224))

    assert (row.status, row.input, row.inputs, row.params) == ("failed", "3x224x224", {}, None)
    assert row.error is not None
    assert row.error.startswith("alexnet cannot run on input 1x3x224x224: layer fc6 (Linear)")


def test_an_op_without_a_rule_is_a_lower_bound(odd: str) -> None:
    row = survey(odd)

    assert row.status == "lower_bound"
    assert row.unknown_ops == {"aten.mystery": 1}
    assert row.field_status == "upper_bound"
    assert row.reasons == ("mystery: no rule for aten.mystery",)
    assert row.notes == ("traced by hand",)
    assert row.layer == "conv2"
    assert not row.strict
    assert not row.failed


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("vgg61", "unknown model 'vgg61'; nearest: vgg19, vgg16, vgg13"),
        ("missing.py:net", "missing.py:net: there is no file missing.py"),
        ("missing.json", "cannot read missing.json"),
    ],
)
def test_a_failure_is_a_row(spec: str, error: str) -> None:
    row = survey(spec)

    assert row.status == "failed"
    assert row.failed
    assert row.params is None
    assert row.error is not None
    assert row.error.startswith(error)
    assert "\n" not in row.error


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("sys.exit(4)", "its code called sys.exit(4); a model must load without"),
        ("raise KeyError('two\\nlines')", "KeyError: 'two\\\\nlines'"),
        ("raise MemoryError", "MemoryError"),
    ],
)
def test_what_the_users_code_raises(body: str, error: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "code.py"
    path.write_text(
        "import sys\nfrom torch import nn\nclass Net(nn.Module):\n"
        f"    def forward(self, x):\n        print('running')\n        {body}\n",
        encoding="utf-8",
    )

    row = survey(f"{path}:Net", (3, 9, 9))

    assert row.failed
    assert row.error is not None
    assert error.replace("\\\\n", "\\n") in row.error
    assert capsys.readouterr().out == ""


def test_an_interrupt_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rfcalc.api.analyze", interrupted)

    with pytest.raises(KeyboardInterrupt):
        survey("vgg16")


@pytest.mark.parametrize(
    ("status", "field_status", "strict", "failed"),
    [
        ("complete", "exact", True, False),
        ("complete", "upper_bound", False, False),
        ("lower_bound", "exact", False, False),
        ("failed", None, False, True),
        ("timed_out", None, False, True),
    ],
)
def test_what_counts_as_exact(status: str, field_status: str | None, strict: bool, failed: bool) -> None:
    row = Row("net", status=status, field_status=field_status)

    assert (row.strict, row.failed) == (strict, failed)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (None, None),
        ((3, 224, 224), "3x224x224"),
        ({"left": (3, 64, 64), "right": (3, 32, 32)}, "left=3x64x64,right=3x32x32"),
    ],
)
def test_the_input_asked_for(inputs: Any, text: str | None) -> None:
    assert asked(inputs) == text


def test_a_row_comes_back_from_its_line() -> None:
    row = Row(
        "net",
        "3x9x9",
        "complete",
        params=10**18 + 1,
        inputs={"input": (1, 3, 9, 9)},
        axes=("H", "W"),
        size=(5, 7),
        stride=(Fraction(1, 2), None),
        reasons=("a: b; c",),
        unknown_ops={"aten.x": 2},
        seconds=0.25,
    )
    values = json.loads(row.line())

    assert list(values)[:3] == ["schema", "model", "input"]
    assert values["schema"] == "rfcalc-sweep/1"
    assert values["stride"] == ["1/2", None]
    assert Row.from_dict(values) == row
    assert "\n" not in row.line()


def test_a_row_with_other_keys_is_none() -> None:
    values = Row("net").to_dict()

    for wrong in ({**values, "extra": 1}, {name: values[name] for name in list(values)[1:]}):
        with pytest.raises(ValueError, match="keys"):
            Row.from_dict(wrong)
