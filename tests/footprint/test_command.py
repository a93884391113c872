"""`rfcalc memory`: what it prints, and what it says of a request that makes no sense."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rfcalc.cli import cli

Invoke = Callable[..., Result]

NET = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

class Frozen(Net):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)

class Fails(Net):
    def forward(self, x):
        raise ValueError("no way")
"""


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Run the command in a directory with a small network."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return lambda *args: CliRunner().invoke(cli, ["memory", *args], prog_name="rfcalc")


def test_the_document(invoke: Invoke) -> None:
    done = invoke("net.py:Net", "--input", "1x5x5", "--training", "--verify", "--format", "json")

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["schema"] == "rfcalc-memory/1"
    assert found["params_bytes"] == 4 * (18 + 2 + 6 + 3)
    assert found["activations"] == {"elements": 18 + 3, "bytes": 84}
    assert found["peak_bytes"] == 116 + 100 + 72 + 8
    assert found["peak_at"] == "mean"
    assert found["training"]["saved_bytes"] == 8  # the mean, for the head's weight
    assert found["training"]["gradients_bytes"] == 116
    assert found["training"]["optimizer_bytes"] == 2 * 116 + 4 * 4
    assert found["training"]["peak_bytes"] == max(found["training"]["phases"].values())
    assert found["kv_cache"] == []
    assert found["verify"]["agree"] is True
    assert sum(found["peak"]["by_role"].values()) == found["peak_bytes"]


def test_the_table(invoke: Invoke) -> None:
    done = invoke("net.py:Net", "--input", "1x5x5", "--batch", "4", "--training")

    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "net.py:Net: memory, input 4x1x5x5"
    assert "parameters   116" in lines
    assert "inputs       400" in lines


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("--optimizer", "rmsprop"), 2, "unknown optimizer 'rmsprop': expected adamw, adam, sgd, momentum, muon"),
        (("--dtype", "int8"), 2, "--dtype 'int8': expected fp32, fp16, bf16 or fp64"),
        (("--autocast", "fp64"), 2, "--autocast 'fp64': expected fp16 or bf16"),
        (("--batch", "0"), 2, "--batch 0: a batch has at least one sample"),
        (
            ("--training", "--checkpoint", "layer*"),
            2,
            "--checkpoint 'layer*' matches no module; at the top there",
        ),
        (("--training", "--freeze", "layer*"), 2, "--freeze 'layer*' matches no module"),
        (("--checkpoint", "conv"), 2, "--checkpoint is about training: ask for it, too (--training)"),
        (("--freeze", "conv"), 2, "--freeze is about training"),
        (("--optimizer", "sgd"), 2, "--optimizer is about training: ask for it, too (--training)"),
        (("--autocast", "int8"), 2, "--autocast 'int8': expected fp16 or bf16"),
        (("--fit-what", "side"), 2, "--fit-what side says what is to grow: say up to how much, too (--fit 24GiB)"),
        (("--fit", "1GiB", "--batch", "2"), 2, "--fit finds the largest batch: leave --batch 2 out"),
        (("--fit", "much"), 2, "--fit 'much': expected so many bytes, like 24GiB"),
        (("--fit", "1GiB", "--fit-what", "length"), 2, "has no length that could grow: its inputs are 1x1x5x5"),
        (("--weights", "3bit"), 2, "unknown --weights '3bit': expected 8bit, 4bit"),
        (("--decode",), 2, "has no length that could grow"),
        (("--symbolic", "N", "--weights", "4bit"), 2, "weights with symbols: these are about numbers"),
        (("--symbolic", "N", "--fit-what", "side"), 2, "--fit-what is about --fit: leave it out of formulas"),
        (("--symbolic", "Q"), 2, "Q"),
        (("--batch", "-3"), 2, "--batch -3: a batch has at least one sample"),
        (("--dtype", "complex64"), 2, "--dtype 'complex64': expected fp32"),
        (("--attention", "fast"), 2, "unknown attention 'fast': expected auto, math, flash"),
        (("--input", "3x5x5"), 3, "layer conv (Conv2d) got 1x3x5x5, needs 1 channels"),
    ],
)
def test_one_line(invoke: Invoke, args: tuple[str, ...], status: int, said: str) -> None:
    done = invoke("net.py:Net", *(() if "--input" in args else ("--input", "1x5x5")), *args)

    assert done.exit_code == status
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_models_that_have_no_answer(invoke: Invoke, tmp_path: Path) -> None:
    frozen = invoke("net.py:Frozen", "--input", "1x5x5", "--training")
    fails = invoke("net.py:Fails", "--input", "1x5x5")
    (tmp_path / "graph.json").write_text(CliRunner().invoke(cli, ["trace", "3x3:1-1", "--input", "1x5x5"]).stdout)
    saved = invoke("graph.json")

    assert (frozen.exit_code, fails.exit_code, saved.exit_code) == (2, 3, 2)
    assert "net.py:Frozen cannot be trained: no result of its forward pass depends on a parameter" in frozen.stderr
    assert "no way" in fails.stderr
    assert (
        saved.stderr == "rfcalc: error: a saved graph has no code that could run: name the model it was traced from\n"
    )


def test_budgets(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.rfcalc]\nlock = false\n[[tool.rfcalc.models]]\nmodel = 'net.py:Net'\ninput = '1x5x5'\n"
        "max_memory = 296\nmax_saved = 7\n"
    )
    done = CliRunner().invoke(cli, ["check"], prog_name="rfcalc")

    assert done.exit_code == 1
    assert "max_saved" in done.output
    assert "max_memory" not in done.output  # which is just what it takes
