"""Models that are there as TorchScript, as an exported program, with an example, or as a library's description."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.api import layer_graph
from rfcalc.errors import LoadError, UsageError

MACS = (14 * 14 * 8) * 27 + (12 * 12 * 4) * 72


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()


def refused(spec: Any, **more: Any) -> str:
    with pytest.raises((LoadError, UsageError)) as caught:
        layer_graph(spec, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- TorchScript ------------------------------------------------------------------------------------------------------


def scripted(path: Path, traced: bool) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Any = torch.jit.trace(network(), torch.zeros(1, 3, 16, 16)) if traced else torch.jit.script(network())
        torch.jit.save(made, path)
    return str(path)


@pytest.mark.parametrize("name", ["net.pt", "net.torchscript", "net.pth", "net"])
@pytest.mark.parametrize("traced", [True, False])
def test_a_torchscript_program(tmp_path: Path, name: str, traced: bool) -> None:
    a = rfcalc.analyze(scripted(tmp_path / name, traced), (3, 16, 16))

    assert (a.totals.params, a.totals.macs) == (224 + 292, MACS)
    assert [layer.name for layer in a.layers] == ["input", "0", "2"]
    assert a.layers[-1].receptive_field.size == (5, 5)


def test_a_torchscript_program_has_no_usual_input(tmp_path: Path) -> None:
    assert "has no default input" in refused(scripted(tmp_path / "net.pt", False))


def test_a_damaged_torchscript_program(tmp_path: Path) -> None:
    path = Path(scripted(tmp_path / "net.pt", False))
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w") as other:
        for name, data in parts.items():
            other.writestr(name, b"f@rward(" if name.endswith(".py") else data)

    assert f"{path}: torch {torch.__version__} cannot load this TorchScript program: " in refused(str(path))
    assert "there is no such file" in refused(str(tmp_path / "gone.torchscript"))


# --- pickles ----------------------------------------------------------------------------------------------------------


class Detector(nn.Module):
    """Stands for a class of a package that is not installed where the file is read."""


def test_a_pickled_module_in_a_dict_is_told_as_one(tmp_path: Path) -> None:
    """As ultralytics saves: {"model": a module, "epoch": ...}; this is no dict of weights."""
    torch.save({"epoch": 3, "model": Detector()}, tmp_path / "best.pt")

    line = refused(str(tmp_path / "best.pt"))
    assert "among other things a pickled tests.sources.test_described.Detector" in line
    assert "loading a pickle can run any code" in line
    assert "weights_only=False" in line


def test_a_checkpoint_is_told_as_one(tmp_path: Path) -> None:
    optimizer = torch.optim.Adam(network().parameters())
    held = {"state_dict": network().state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(held, tmp_path / "last.ckpt")
    torch.save({**held, "pytorch-lightning_version": "2.5"}, tmp_path / "lightning.ckpt")

    assert "it is a checkpoint (torch.save): weights by name" in refused(str(tmp_path / "last.ckpt"))
    assert "it is a checkpoint of Lightning's: weights by name" in refused(str(tmp_path / "lightning.ckpt"))


# --- objects ----------------------------------------------------------------------------------------------------------


def test_an_exported_program_that_is_there() -> None:
    program = torch.export.export(network(), (torch.zeros(1, 3, 16, 16),))
    a = rfcalc.analyze(program)

    assert (a.totals.params, a.totals.macs) == (224 + 292, MACS)
    assert [layer.name for layer in a.layers] == ["input", "0", "2"]


SAMPLE = torch.zeros(1, 3, 16, 16)


@pytest.mark.parametrize("example", [SAMPLE, (SAMPLE,), {"x": SAMPLE}])
def test_the_example_of_a_module(example: Any) -> None:
    class Lit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()
            self.example_input_array = example

        def forward(self, x: torch.Tensor) -> Any:
            return self.net(x)

    a = rfcalc.analyze(Lit())
    assert a.totals.macs == MACS
    assert a.layer_graph.inputs[0].shape == (1, 3, 16, 16)
    assert rfcalc.analyze(Lit(), (3, 8, 8)).layer_graph.inputs[0].shape == (1, 3, 8, 8)


# --- descriptions -----------------------------------------------------------------------------------------------------


def written(path: Path, data: Any) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


def test_files_that_describe_no_network(tmp_path: Path) -> None:
    assert "describes no network" in refused(f"hf:{written(tmp_path / 'a.json', {'a': 1})}")
    assert "holds a list" in refused(f"hf:{written(tmp_path / 'b.json', [1])}")
    (tmp_path / "c.json").write_text("{", encoding="utf-8")
    assert "is not JSON" in refused(f"hf:{tmp_path / 'c.json'}")
    assert "there is no file" in refused(f"hf:{tmp_path / 'd.json'}")
    assert "without config.json" in refused(f"hf:{tmp_path}")
    written(tmp_path / "unet" / "config.json", {"_class_name": "UNet2DModel"})
    written(tmp_path / "model_index.json", {"_class_name": "DDPMPipeline"})
    assert f"name one of them, {tmp_path / 'unet'}" in refused(str(tmp_path))


def test_timm_as_the_hub_keeps_it(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    data = {"architecture": "resnet18", "num_classes": 10, "pretrained_cfg": {"input_size": [3, 96, 96]}}
    a = rfcalc.analyze(written(tmp_path / "config.json", data))

    assert a.layer_graph.inputs[0].shape == (1, 3, 96, 96)
    assert a.totals.params == 11_689_512 - 990 * 513
    wrong = written(tmp_path / "no.json", {**data, "architecture": "resnet81"})
    assert "timm has no model 'resnet81'" in refused(wrong)


TINY = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 50}


def test_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    data = {**TINY, "model_type": "bert", "architectures": ["BertForMaskedLM"]}
    folder = tmp_path / "bert"
    written(folder / "config.json", data)
    spec = f"transformers:BertModel({', '.join(f'{key}={value}' for key, value in TINY.items())})"
    by_class = rfcalc.analyze(spec, (16,))
    by_file = rfcalc.analyze(str(folder), (16,))

    layer = 4 * 32 * 32 + 2 * 32 * 64
    attended = 2 * 2 * 16 * 16 * 32
    assert by_class.totals.macs == 2 * 16 * layer + attended + 32 * 32
    assert by_class.layer_graph.inputs[0].shape == (1, 16)
    assert by_file.totals.macs == 2 * 16 * layer + attended + 16 * (32 * 32 + 32 * 50)
    assert by_file.totals.macs == rfcalc.analyze(f"hf:{folder / 'config.json'}", (16,)).totals.macs
    assert "leaves the size of its input input_ids open" in refused(spec)
    assert "nearest: " in refused("transformers:BertModle")
    assert "BertConfig has no 'layers'" in refused("transformers:BertModel(layers=2)")
    own = {**data, "architectures": ["MyNet"], "auto_map": {"AutoModel": "code.MyNet"}}
    assert "code that comes with a model is not run" in refused(written(tmp_path / "own.json", own))
    assert "no models of type 'mine'" in refused(written(tmp_path / "mine.json", {"model_type": "mine"}))


def test_diffusers(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    given = {"block_out_channels": [32], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    inputs = {"sample": (1, 3, 16, 16), "timestep": torch.tensor(1)}
    spec = f"diffusers:UNet2DModel({', '.join(f'{key}={value}' for key, value in given.items())})"
    one = rfcalc.analyze(spec, inputs)
    other = rfcalc.analyze(written(tmp_path / "config.json", {"_class_name": "UNet2DModel", **given}), inputs)

    assert one.totals == other.totals
    assert one.totals.macs > 0
    assert "diffusers has no model 'UNet3D'" in refused("diffusers:UNet3D")
