"""Help lists every form of MODEL, and completion knows models, layers, classes and files, without running code."""

from __future__ import annotations

import json
import sys

import pytest
from click import Context

from rfcalc.cli import cli, complete
from rfcalc.sources import forms, stored


def completed(words: list[str], incomplete: str) -> list[str]:
    """What a shell offers for the last word after these."""
    from click.shell_completion import ShellComplete

    return [item.value for item in ShellComplete(cli, {}, "rfcalc", "_X").get_completions(words, incomplete)]


@pytest.mark.parametrize("command", ["show", "compare", "plot", "report", "trace", "verify", "explain", "erf"])
def test_help_has_every_form(run, command):
    text = run(command, "--help").output
    for form in forms.FORMS:
        assert all(written in text for written in form.written)


def test_models_and_commands():
    assert "vgg16" in completed([], "vgg1")
    assert completed([], "torchv") == ["torchvision:"]
    assert completed(["compare", "vgg16"], "resnet1") == ["resnet18", "resnet101", "resnet152", "resnet101-v1",
                                                         "resnet152-v1"]  # fmt: skip
    assert complete.complete_model(Context(cli), None, "no-such")[0].type == "file"


def test_classes_of_a_file(folder):
    (folder / "ends.py").write_text("import sys\nfrom torch import nn\nsys.exit(3)\nclass Net(nn.Module): ...\n")
    assert completed([], "ends.py:") == ["ends.py:Net"]


def test_layers_of_the_model_on_the_line(folder):
    assert completed(["show", "vgg16", "--layer"], "conv5_") == ["conv5_1", "conv5_2", "conv5_3"]
    assert completed(["vgg16", "--layer"], "conv5_1,fc") == ["conv5_1,fc6", "conv5_1,fc7", "conv5_1,fc8"]
    assert completed(["show", "net.py:Net", "--layer"], "st") == []  # its code does not run for this


def test_names_of_a_library_are_kept_for_the_next_time(tmp_path, monkeypatch):
    monkeypatch.setenv("RFCALC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(stored, "release", lambda name: ["1.0", 7])
    asked = []

    class Library:
        def names(self) -> list[str]:
            asked.append(1)
            return ["mobilenet_v2", "resnet18"]

    monkeypatch.setattr(forms, "listed", lambda: {"torchvision": Library()})
    for _ in range(2):
        assert completed([], "torchvision:mob") == ["torchvision:mobilenet_v2"]
    assert asked == [1]
    kept = json.loads((tmp_path / "names" / "torchvision.json").read_text())
    assert kept == {"release": ["1.0", 7], "names": ["mobilenet_v2", "resnet18"]}


def test_completion_imports_no_torch():
    assert "torch" in sys.modules or completed([], "vgg1")
