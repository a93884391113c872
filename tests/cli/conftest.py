"""Graphs made by hand and saved, so that the command line is tested from end to end without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rfcalc import graph, graph_json
from rfcalc.cli import cli
from rfcalc.graph import InputInfo, Node, Param, Read, Ref, TensorInfo
from rfcalc.reads import Reduce, Window

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run the command line in this process."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return lambda *args: CliRunner().invoke(cli, list(args), prog_name="rfcalc")


def _conv(ident: int, channels: int, name: str) -> Node:
    steps = (Window(2, 3, 1, 1, 1, 9), Window(3, 3, 1, 1, 1, 9), Reduce((1,)))
    return Node(
        id=ident,
        op="aten.convolution",
        name=name,
        kind="conv",
        index=ident + 1,
        scope="",
        module="Conv2d",
        inputs=(Ref(ident - 1),),
        outputs=(TensorInfo((1, 4, 9, 9)),),
        reads=((Read(0, steps),),),
        params=(f"{name}.weight",),
        macs=81 * 4 * 9 * channels,
        formula=f"(9x9x4) x (3x3x{channels})",
        attrs={"kernel": [3, 3]},
        owner=ident,
    )


def _records() -> list[Node]:
    image = replace(_conv(0, 0, "input"), op="input", kind="input", module="", inputs=(), reads=((),), params=())
    image = replace(image, outputs=(TensorInfo((1, 3, 9, 9)),), macs=0, formula="", attrs={})
    relu = replace(
        _conv(3, 0, "relu"), op="aten.relu", kind="activation", index=None, module="ReLU", params=(), owner=2
    )
    relu = replace(relu, reads=((Read(0, ()),),), macs=0, flops={"activation": 324}, formula="", attrs={})
    return [image, _conv(1, 3, "conv1"), _conv(2, 4, "conv2"), relu]


def _save(records: list[Node], path: Path) -> str:
    params = [Param("conv1.weight", (4, 3, 3, 3), 108, owner=1), Param("conv2.weight", (4, 4, 3, 3), 144, owner=2)]
    built = graph.build(
        records,
        model="tiny",
        inputs=[InputInfo("input", 0, (1, 3, 9, 9), "float32", {"H": 2, "W": 3})],
        outputs=[Ref(records[-1].id)],
        params=params,
        buffers=[],
        meta={"notices": ["traced by hand"]},
    )
    graph_json.save(built, path)
    return str(path)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """Two convolutions of 3x3 and a ReLU."""
    return _save(_records(), tmp_path / "tiny.json")


@pytest.fixture
def odd(tmp_path: Path) -> str:
    """The same, and an op without a rule."""
    everything = (Reduce((0, 1, 2, 3)),)
    mystery = replace(
        _records()[3], id=4, op="aten.mystery", name="mystery", kind="unknown", index=4, inputs=(Ref(3),), owner=4
    )
    mystery = replace(
        mystery, reads=((Read(0, everything),),), macs=None, flops={}, inexact="no rule for aten.mystery", module=""
    )
    return _save([*_records(), mystery], tmp_path / "odd.json")
