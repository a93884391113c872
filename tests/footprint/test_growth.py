"""Bytes as formulas in the batch and in sizes: exact, and linear in the batch."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import rfcalc
from rfcalc.cli import cli
from rfcalc.comparing.polynomial import Polynomial
from rfcalc.errors import UsageError

pytest.importorskip("sympy")


def value(formula: Any, **sizes: int) -> int:
    return int(formula.at(sizes)) if isinstance(formula, Polynomial) else formula


class Attends(nn.Module):
    """Attention over a sequence, without a kernel that hides its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return (q @ k.transpose(1, 2)).softmax(-1) @ v


@pytest.mark.parametrize(
    ("model", "shape"),
    [("lenet5", None), (Attends(), (2, 6, 8)), (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8))],
)
def test_all_is_linear_in_the_batch(model: Any, shape: Any) -> None:
    found = rfcalc.memory_growth(model, shape, symbols="N", training=True, optimizer="sgd")

    assert found.irregular == ()
    assert None not in found.formula.values()
    degrees = {name: max(map(sum, one.terms)) for name, one in found.formula.items() if isinstance(one, Polynomial)}
    assert degrees.keys() >= {"inputs_bytes", "peak_bytes", "moved_bytes", "saved_bytes", "backward_peak_bytes"}
    assert set(degrees.values()) == {1}
    direct = rfcalc.memory(model, shape, batch=11, training=True, optimizer="sgd")
    assert direct.training is not None
    assert value(found.formula["peak_bytes"], N=11) == direct.peak_bytes
    assert value(found.formula["moved_bytes"], N=11) == direct.moved_bytes
    assert value(found.formula["saved_bytes"], N=11) == direct.training.saved_bytes
    assert {name: value(found.formula[f"{name}_peak_bytes"], N=11) for name in direct.training.phases} == (
        direct.training.phases
    )


def test_scores_are_quadratic_in_the_length() -> None:
    found = rfcalc.memory_growth(Attends(), (2, "L", 8), symbols="L=50")

    assert str(found.formula["inputs_bytes"]) == "64*L"
    assert str(found.formula["activation_elements"]) == "2*L**2 + 64*L"
    assert found.at == {"peak_bytes": "_softmax"}
    assert value(found.formula["peak_bytes"], L=77) == rfcalc.memory(Attends(), (2, 77, 8)).peak_bytes


def test_a_peak_that_moves_to_another_op_has_no_formula() -> None:
    found = rfcalc.memory_growth(Attends(), (2, "L", 8), symbols="L=6")

    assert found.formula["peak_bytes"] is None
    assert [one.count for one in found.irregular] == ["peak_bytes"]
    assert found.at == {"peak_bytes": None}
    assert "no polynomial in L found for the peak" in str(found._repr_html_())


def test_the_command() -> None:
    asked = ["memory", "3x3:2-4", "--input", "2xHxH", "--symbolic", "H=8", "--format"]
    done = CliRunner().invoke(cli, [*asked, "json"])

    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["schema"] == "rfcalc-memory-growth/1"
    assert document["formula"]["inputs_bytes"] == "8*H**2"
    assert document["at"] == {"peak_bytes": "conv1/convolution"}
    assert "8H²" in CliRunner().invoke(cli, [*asked, "table"]).stdout


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("lenet5", "--symbolic", "N", "--fit", "1GiB"), "fit with symbols"),
        (("lenet5", "--symbolic", "N", "--fit-what", "side"), "--fit-what"),
        (("lenet5", "--symbolic", "Q"), "no size Q"),
        (("lenet5", "--symbolic", ""), "write names"),
        (("lenet5", "--symbolic", "N", "--batch", "2"), "batch with symbols"),
        (("lenet5", "--input", "1xHxH"), "H"),
        (("resnet18", "--symbolic", "N", "--optimizer", "nadam"), "unknown optimizer"),
    ],
)
def test_what_makes_no_sense(args: tuple[str, ...], told: str) -> None:
    done = CliRunner().invoke(cli, ["memory", *args])

    assert done.exit_code == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_no_symbol() -> None:
    with pytest.raises(UsageError, match="no size to follow"):
        rfcalc.memory_growth("lenet5", symbols={})
