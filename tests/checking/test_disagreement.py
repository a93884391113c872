"""The cross-check can fail: one rule or one number made wrong, and the layer is named with exit status 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from rfcalc import reads, sources
from rfcalc.checking import Check, Verification, verify
from rfcalc.cli import cli
from rfcalc.graph import TensorInfo
from rfcalc.ops import Call, Effect, registry
from rfcalc.tracing import weights

Change = Callable[[Call, Effect], Effect]


def wrong(monkeypatch: pytest.MonkeyPatch, op: str, change: Change) -> None:
    """Make the rule of an op say something else."""
    found = registry._RULES[op]
    monkeypatch.setitem(registry._RULES, op, replace(found, rule=lambda call: change(call, found.rule(call))))


def run(model: Any, inputs: Any = None) -> Verification:
    found = verify(model, inputs, device="cpu", probes=8, timing=False)
    assert not found.agree
    return found


def layers(found: Check) -> list[str]:
    return [item.layer for item in found.differences]


def _resize(by: int, layer: int = 5) -> Change:
    """Kernels of one size read more or less along W."""

    def change(call: Call, effect: Effect) -> Effect:
        def resized(step: reads.Step) -> reads.Step:
            if isinstance(step, reads.Window) and step.axis == 3 and step.kernel == layer:
                return replace(step, kernel=step.kernel + by)
            return step

        return replace(effect, reads=[(arg, tuple(resized(step) for step in steps)) for arg, steps in effect.reads])

    return change


@pytest.mark.parametrize("by", [1, -1])
def test_a_kernel_of_the_wrong_size_is_seen(monkeypatch: pytest.MonkeyPatch, by: int) -> None:
    wrong(monkeypatch, "aten.convolution", _resize(by, layer=3))
    model = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2))
    found = run(model, (1, 16, 16))
    fields = found.check("receptive_fields")
    assert layers(fields) == ["2", "3"]
    assert "input W" in fields.differences[0].expected
    assert ("does not read" in fields.differences[0].seen) == (by > 0)
    assert any("first layer that differs is 2" in note for note in fields.notes)
    assert not found.check("macs").differences


def test_forgotten_groups_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch, "aten.convolution", lambda call, effect: replace(effect, macs=effect.macs * call["groups"]))
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
    found = run(model, (4, 9, 9))
    macs = found.check("macs")
    assert layers(macs) == ["2", "(total)"]
    assert (macs.differences[0].expected, macs.differences[0].seen) == (8 * 8 * 9 * 25, 8 * 9 * 25)


def test_a_wrong_shape_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    original = sources.traced

    def traced(*args: Any, **kwargs: Any) -> Any:
        graph, *call = original(*args, **kwargs)
        outputs = (TensorInfo((1, 16, 10, 11)),)
        records = {node.id: replace(node, outputs=outputs) if node.name == "C3" else node for node in graph}
        return replace(graph, records=records), *call

    monkeypatch.setattr(sources, "traced", traced)
    found = run("lenet5")
    shapes = found.check("shapes")
    assert layers(shapes) == ["C3"]
    assert (shapes.differences[0].expected, shapes.differences[0].seen) == ([1, 16, 10, 11], [1, 16, 10, 10])
    assert "not compared" in found.check("receptive_fields").notes[0]


def test_a_parameter_counted_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "storage_of", lambda tensor: object())
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    params = run(model, torch.zeros(1, 6)).check("params")
    assert layers(params) == ["2", "(total)", "(trainable)"]
    assert (params.differences[0].expected, params.differences[0].seen) == (42, 6)


def test_an_op_that_ran_and_was_not_traced_is_seen() -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return y.relu().exp() if x.is_meta else y.relu().cos()

    shapes = run(Split(), (1, 9, 9)).check("shapes")
    assert layers(shapes) == ["exp"]
    assert (shapes.differences[0].expected, shapes.differences[0].seen) == ("aten.exp", "aten.cos")


def test_a_region_too_small_is_seen_by_the_second_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask that the rule believes in and the model has not: NaN alone would be put down to weights of 0."""

    def masked(call: Call, effect: Effect) -> Effect:
        key, steps = effect.reads[1]
        off = call.mask(~np.eye(call.out.shape[-2], call.out.shape[-1], dtype=bool)[None])
        return replace(effect, reads=[effect.reads[0], (key, (*steps, reads.Blocked(off)))])

    class Product(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.bmm(x, x.transpose(1, 2))

    wrong(monkeypatch, "aten.bmm", masked)
    fields = verify(Product(), (1, 6, 6), device="cpu", probes=6, timing=False, axes={"T": 1}).check("receptive_fields")
    assert layers(fields) == ["matmul"]


def test_the_command_exits_with_1_and_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch, "aten.convolution", _resize(1))
    result = CliRunner().invoke(cli, ["verify", "lenet5", "--device", "cpu", "--probes", "4", "--no-timing"])
    assert result.exit_code == 1
    assert "C1" in result.stdout
    assert "does not read" in result.stdout
