"""`verify` finds fault only where a number is shown wrong: copies come and go, and constants are free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.checking.alignment import Aligned


class Fn(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.conv, self.lin = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


X = torch.empty(1, 3, 8, 8, device="meta")


def verified(function: Callable[..., Any]) -> Any:
    found = rfcalc.verify(Fn(function), X, device="cpu", timing=False, probes=4)
    assert found.agree, [check.differences for check in found.checks]
    return found


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.lin(m.conv(x.cpu())),
        lambda m, x: m.lin(m.conv(x).to("cpu", copy=False)),
        lambda m, x: m.lin(m.conv(x.to(memory_format=torch.channels_last)).contiguous()),
        lambda m, x: m.lin(m.conv(x) if x.is_meta else m.conv(x).clone()),
        lambda m, x: m.lin(m.conv(x).clone() if x.is_meta else m.conv(x)).relu(),
        lambda m, x: m.lin(m.conv(x)).double().float() if x.is_meta else m.lin(m.conv(x)),
    ],
)
def test_a_copy_that_one_pass_does_not_need_ends_nothing(forward: Any) -> None:
    found = verified(forward)
    notes = [note for check in found.checks for note in check.notes]
    assert not any("other ops ran" in note or "astray" in note or "one poisoned input" in note for note in notes)
    assert found.checks[0].compared >= 3
    assert found.checks[-1].compared >= 3


def test_another_op_is_a_difference() -> None:
    found = rfcalc.verify(
        Fn(lambda m, x: m.lin(m.conv(x)).relu() if x.is_meta else m.lin(m.conv(x)).sigmoid()),
        X,
        device="cpu",
        timing=False,
        probes=2,
    )
    assert not found.agree
    assert [item.seen for item in found.checks[0].differences] == ["aten.sigmoid"]


def test_products_of_constants_are_free_and_said() -> None:
    def forward(m: Any, x: Any) -> Any:
        grid = torch.arange(8.0, device=x.device)[:, None] @ torch.ones(1, 8, device=x.device)
        grid = grid @ torch.eye(8, device=x.device)
        return m.lin(m.conv(x)) + grid

    found = verified(forward)
    notes = [note for check in found.checks for note in check.notes]
    free = 8 * 1 * 8 + 8 * 8 * 8
    assert f"free: {free} multiply-adds of constants, computed from no input and no parameter" in notes
    a = rfcalc.analyze(Fn(forward), X)
    assert (a.totals.macs, a.totals.status) == (64 * 4 * 27 + 4 * 8 * 64, "complete")


def test_products_of_parameters_count() -> None:
    a = rfcalc.analyze(Fn(lambda m, x: m.conv(x) @ (m.lin.weight @ m.lin.weight)), X)
    assert a.totals.macs == 64 * 4 * 27 + 4 * 8 * 64 + 8 * 64
    verified(lambda m, x: m.conv(x) @ (m.lin.weight @ m.lin.weight))


def test_a_rotation_that_leaves_the_first_position_as_it_is() -> None:
    def forward(m: Any, x: Any) -> Any:
        x = m.lin(m.conv(x))
        angle = torch.arange(8.0, device=x.device)[:, None] * torch.tensor([1.0, 0.5], device=x.device).repeat(4)
        turned = torch.cat([-x[..., 4:], x[..., :4]], -1)
        return x * angle.cos() + turned * angle.sin()

    verified(forward)


def test_ops_are_found_by_the_nodes_that_they_stand_for() -> None:
    a = rfcalc.analyze(Fn(lambda m, x: m.lin(m.conv(x)).relu()), X)
    records, told = list(a.layer_graph), []
    aligned = Aligned(records, lambda at, op, outs: told.append((at, op)), None)
    ops = ["input", "aten.clone", "aten.convolution", "torch.linear", "aten._to_copy", "aten.relu"]
    for number, op in enumerate(ops):
        aligned.observe(number, op, [])
    assert told == [(0, "input"), (1, "aten.convolution"), (2, "torch.linear"), (3, "aten.relu")]
