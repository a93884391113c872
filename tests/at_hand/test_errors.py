"""Errors that know better: what was meant is named, what was read is said, and what fits is tried."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

import rfcalc
from rfcalc.errors import TraceError, UsageError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("comprae", "vgg16", "resnet50"), "there is no command 'comprae'; nearest: rfcalc compare"),
        (("shwo", "vgg16"), "there is no command 'shwo'; nearest: rfcalc show"),
        (("summary", "vgg16"), "there is no command 'summary'; nearest: rfcalc show"),
        (("vgg16", "resnet50"), "rfcalc show takes one model, got resnet50 besides vgg16; several side by side:"
                                " rfcalc compare vgg16 resnet50"),
        (("trace", "vgg16", "lenet5"), "rfcalc trace takes one model, got lenet5 besides vgg16"),
        (("VGG16",), "unknown model 'VGG16'; did you mean vgg16?"),
        (("vgg16_bn",), "unknown model 'vgg16_bn'; did you mean vgg16-bn?"),
        (("ResNet50",), "unknown model 'ResNet50'; did you mean resnet50?"),
    ],
)  # fmt: skip
def test_what_was_meant_is_named(run, words, said):
    result = run(*words)
    assert result.exit_code == 2
    assert result.output.startswith(f"rfcalc: error: {said}")


def test_a_bare_name_of_an_installed_library_is_found(run):
    pytest.importorskip("torchvision")
    result = run("MobileNet-v2")
    assert result.output == "rfcalc: error: unknown model 'MobileNet-v2'; did you mean torchvision:mobilenet_v2?\n"


def test_a_file_lists_what_it_has(run, folder):
    assert "net.py:ATTRIBUTE; it has net.py:Block, net.py:Net\n" in run("net.py").output
    (folder / "made.py").write_text("from torch import nn\ndef small():\n    return nn.Linear(2, 2)\n")
    assert run("made.py").output.endswith("; it has made.py:small\n")


@pytest.mark.parametrize("name", ["my.ipynb", "my.ipynb:Net"])
def test_a_notebook_is_told_what_to_do(run, folder, name):
    (folder / "my.ipynb").write_text("{}")
    result = run(name)
    assert result.exit_code == 2
    assert "in it, rfcalc.summary(model, input_size) does the same" in result.output
    assert "nbconvert --to script my.ipynb" in result.output


BLOCKS = "from torch import nn\ndef block():\n    return nn.Conv2d(3, 3, 3)\n"
USER = "from {dots}blocks import block\nfrom torch import nn\nNet = lambda: nn.Sequential(block())\n"


def test_relative_imports_run_as_a_package(run, folder):
    inner = folder / "pkg" / "models"
    inner.mkdir(parents=True)
    (inner / "blocks.py").write_text(BLOCKS)
    (inner / "near.py").write_text(USER.format(dots="."))
    (folder / "pkg" / "blocks.py").write_text(BLOCKS)
    (inner / "far.py").write_text(USER.format(dots=".."))
    for name in ("near", "far"):
        result = run(f"pkg/models/{name}.py:Net", "--input", "3x8x8")
        assert result.exit_code == 0, result.output
        assert "parameters     84" in result.output


def test_a_program_that_reads_a_command_line_is_told_so(run, folder):
    head = "import argparse\nfrom torch import nn\np = argparse.ArgumentParser()\n"
    (folder / "lenient.py").write_text(
        head + "p.add_argument('--n', default=3)\nn = p.parse_args().n\nnet = nn.Linear(n, n)\n"
    )
    assert run("lenient.py:net", "--input", "1x3").exit_code == 0
    (folder / "strict.py").write_text(head + "p.add_argument('n')\nn = p.parse_args().n\n")
    result = run("strict.py:net", "--input", "1x3")
    assert result.exit_code == 3
    assert "put parse_args() under if __name__ == '__main__':" in result.output


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)
        self.head = nn.Linear(2 * 32 * 32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).flatten(1))


@pytest.mark.parametrize(
    ("model", "given", "fits"),
    [
        (Classifier(), (1, 32, 32), "3x32x32"),
        (Classifier(), (3, 30, 30), "3x32x32"),
        (Classifier(), (2, 3, 40, 40), "2x3x32x32"),
        (Classifier(), (32, 32, 3), "3x32x32"),
        (nn.Linear(7, 2), (1, 6), "1x7"),
        (nn.Conv1d(5, 2, 3), (4, 20), "5x20"),
        (nn.Conv2d(3, 2, 3), (3, 16), "3x16x16"),
        (nn.Conv2d(3, 2, 3), (16, 20), "3x16x20"),
        (nn.Conv2d(3, 2, 3), (3, 2, 2), "3x4x4"),
        (
            nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.PixelUnshuffle(4)),
            (3, 10, 10),
            "3x8x8 and 3x12x12, multiples of 4",
        ),
    ],
)
def test_a_shape_error_names_a_shape_that_fits(model, given, fits):
    with pytest.raises(TraceError, match=rf"; it runs on {fits}$"):
        rfcalc.analyze(model, given)


class Particular(nn.Module):
    """Takes one size, and says so in words of its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv, self.size, self.seen = nn.Conv2d(3, 2, 3), size, [0]

    def forward(self, x: Tensor) -> Tensor:
        self.seen[0] += 1
        if x.size(-1) != self.size:
            raise KeyError("nope")
        return self.conv(x)


def test_whether_a_failure_is_about_the_shape_is_found_by_trying():
    with pytest.raises(TraceError, match=r"nope.*; it runs on 3x32x32$"):
        rfcalc.analyze(Particular(32), (3, 30, 30))
    with pytest.raises(TraceError, match=r"nope'$"):
        rfcalc.analyze(Particular(7), (3, 30, 30))  # no shape that is tried fits


def test_no_shape_is_tried_for_what_rfcalc_refuses_or_for_tensors(monkeypatch):
    tried = []
    monkeypatch.setattr("rfcalc.sources.inputs.fitting._shapes", lambda *given: tried.append(given) or [])
    with pytest.raises(TraceError):
        rfcalc.analyze(Particular(32), torch.empty(1, 3, 30, 30))
    assert not tried
    with pytest.raises(TraceError):
        rfcalc.analyze(Particular(32), (3, 30, 30))
    assert len(tried) == 1


class UNet(nn.Module):
    """Three poolings, three upsamplings and a skip: sides have to be multiples of 8."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        deep = nn.functional.max_pool2d(self.conv(x), 8)
        return x + nn.functional.interpolate(deep, scale_factor=8)


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ((1, 250, 250), "1x248x248 and 1x256x256"),
        ((2, 1, 64, 90), "2x1x64x88 and 2x1x64x96"),
        ((1, 5, 8), "1x8x8 and 1x16x8"),
    ],
)
def test_a_shape_error_names_the_multiples_that_fit(given, fits):
    with pytest.raises(TraceError, match=rf"; it runs on {fits}, multiples of 8$"):
        rfcalc.analyze(UNet(), given)


def test_how_a_shape_was_read_is_said_where_no_layer_says_it():
    sequence = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    one = rfcalc.analyze(sequence, (1, 40, 8))
    assert one.inputs[0].shape == (1, 1, 40, 8)
    assert one.notices == ("input 1x40x8 was read as one sample, 1x1x40x8: write the batch if it has one",)
    assert rfcalc.analyze(sequence, torch.empty(1, 40, 8)).inputs[0].shape == (1, 40, 8)
    added = rfcalc.analyze(sequence, (40, 8))
    assert added.inputs[0].shape == (1, 40, 8)
    assert added.notices == ("input 40x8 was read as one sample, 1x40x8: write the batch if it has one",)
    assert rfcalc.analyze(nn.Conv2d(3, 3, 3), (3, 8, 8)).notices == ()  # its first line says: batch 1


def test_that_no_axis_was_found_is_said():
    found = str(rfcalc.analyze(nn.Linear(8, 2), (8,)))
    assert "no axis of input 1x8 was found to count positions, so there are no receptive fields: name the axes" in found


class Cropped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[:, :, 2:-2, 2:-2]


def test_a_final_crop_is_a_row_of_its_own():
    found = rfcalc.analyze(Cropped(), (3, 16, 16))
    rows = [line.split() for line in str(found).splitlines()]
    crop = next(row for row in rows if "output" in row[:3] and row[0] != "#")
    assert crop[1:4] == ["output", "1x3x12x12", "3x3"]
    assert len(found.layers) == 2
    assert sum(row.params for row in (*found.layers, *found.outputs)) == found.totals.params
    plain = rfcalc.analyze(nn.Sequential(nn.Conv2d(3, 3, 3), nn.Flatten(), nn.Linear(3 * 36, 2)), (3, 8, 8))
    assert plain.outputs == ()


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(2, 2, 3, dilation=2**at) for at in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = x + conv(nn.functional.pad(x, (2 * conv.dilation[0], 0)))
        return x


def test_a_causal_model_is_not_told_that_its_branches_are_not_aligned():
    found = rfcalc.analyze(Causal(), (2, 64))
    assert "not aligned" not in str(found)
    assert "causal: the branches that meet in 3 layers end at the same index" in str(found)
    assert "not aligned" not in str(found.layers[-1])

    class Spectrogram(nn.Module):
        """Causal along the frames, and not along the frequencies."""

        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(2, 2, 3, dilation=(1, 2**at)) for at in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            for conv in self.convs:
                x = x + conv(nn.functional.pad(x, (2 * conv.dilation[1], 0, 1, 1)))
            return x

    frames = rfcalc.analyze(Spectrogram(), (2, 8, 32))
    assert "not aligned" not in str(frames)
    assert "causal: the branches that meet in 3 layers end at the same index" in str(frames)
    assert "not aligned" not in str(frames.layers[-1])

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, stride=2, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + nn.functional.avg_pool2d(x, 2)

    assert "branches not aligned at" in str(rfcalc.analyze(Shifted(), (3, 16, 16)))


class Idle(nn.Module):
    """Hands on what is not the last result, in a module and in one within another; and has a module that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5, padding=1), nn.Conv2d(4, 2, 3)
        self.drop, self.both, self.unused = nn.Dropout(), nn.Sequential(nn.Dropout2d(), nn.Identity()), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.one(x), self.other(x)
        return self.last(self.drop(one)) + self.both(other).sum()


@pytest.fixture(scope="module")
def idle() -> rfcalc.Analysis:
    return rfcalc.analyze(Idle(), (3, 16, 16))


def test_a_module_that_does_nothing_can_be_asked_for(idle):
    drop = idle["drop"]
    assert (drop.kind, drop.module, drop.inputs, drop.output_shape) == ("identity", "Dropout", ("one",), (1, 4, 14, 14))
    assert (drop.params, drop.macs, drop.flops, drop.receptive_field.size) == (0, 0, 0, (3, 3))
    assert [row.receptive_field.size for row in idle.select("both*")] == [(5, 5)] * 3
    assert idle.receptive_field("drop", at=(0, 1)).region == ((0, 2), (1, 3))
    assert "hands on what it is given; --training traces what only training does" in str(drop)
    assert "both.1" in idle
    assert "unused" not in idle
    with pytest.raises(UsageError, match="there is no layer 'unused'"):
        idle.select("unused")
    trained = rfcalc.analyze(Idle(), (3, 16, 16), training=True)
    assert trained["drop"].kind != "identity"
    assert trained["both.1"].receptive_field.size == (5, 5)


def test_what_hands_on_is_kept_in_a_saved_graph(run, folder):
    (folder / "net.py").write_text(
        "from torch import nn\nnet = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Dropout(), nn.Identity())\n"
    )
    assert run("trace", "net.py:net", "--input", "3x8x8", "-o", "net.json").exit_code == 0
    shown = run("net.json", "--layer", "2", "--layer", "[2]").output
    assert "--layer 2 is number 2 of the table; the layer called 2: --layer '[2]'" in shown
    assert "op: 2 (identity, Identity)" in shown
    assert "field in input  3x3" in shown
    data = json.loads((folder / "net.json").read_text())
    assert data["calls"][-1][-1] == [1, 0]
    data["calls"][-1][-1] = [7, 0]
    (folder / "net.json").write_text(json.dumps(data))
    assert "hands on output 0 of node 7" in run("net.json").output
