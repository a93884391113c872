"""Ops that give back no tensor, several kinds of things, or write into their arguments beside what they give back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import rfcalc
from rfcalc.graph import LayerGraph
from rfcalc.tracing.forward import trace_module

LIBRARY = torch.library.Library("outputs", "FRAGMENT")


def _op(schema: str, run: Callable[..., object]) -> None:
    LIBRARY.define(schema)
    LIBRARY.impl(schema.partition("(")[0], run, "CompositeExplicitAutograd")


def _fill(x: torch.Tensor) -> None:
    x.fill_(1)


def _keep(x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    seen.copy_(x.sum(0))
    return x * 2


_op("nothing(Tensor x) -> ()", lambda x: None)
_op("number(Tensor x) -> int", lambda x: 2)
_op("both(Tensor x, int n) -> (Tensor, int)", lambda x, n: (x * n, n))
_op("listed(Tensor x) -> Tensor[]", lambda x: [x * 1, x * 2])
_op("fill(Tensor(a!) x) -> ()", _fill)
_op("keep(Tensor x, Tensor(a!) seen) -> Tensor", _keep)


class Fn(nn.Module):
    """A linear layer from 4 to 4, and what follows."""

    def __init__(self, after: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.linear(x))


def _graph(after: Callable[[torch.Tensor], torch.Tensor]) -> LayerGraph:
    return trace_module(Fn(after).eval(), (torch.randn(3, 4),))


OPS = torch.ops.outputs


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("nothing", lambda x: (OPS.nothing(x), x.relu())[1]),
        ("number", lambda x: x[:, : OPS.number(x)]),
        ("both", lambda x: OPS.both(x, 2)[0]),
        ("listed", lambda x: sum(OPS.listed(x))),
        ("fill", lambda x: (OPS.fill(x), x.relu())[1]),
        ("keep", lambda x: OPS.keep(x, torch.zeros(4))),
    ],
)
def test_an_op_of_any_results_is_followed_and_named_as_unknown(
    name: str, after: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    totals = rfcalc.analyze(Fn(after).eval(), torch.randn(3, 4)).totals

    assert totals.macs == 3 * 4 * 4
    assert totals.unknown_ops == {f"outputs.{name}": 1}
    assert totals.status == "lower_bound"


def test_what_an_op_writes_beside_its_result_is_another_value() -> None:
    def after(x: torch.Tensor) -> torch.Tensor:
        seen = torch.zeros(4)
        OPS.keep(x, seen)
        return seen.relu()

    graph = _graph(after)
    keep = next(record for record in graph if record.op == "outputs.keep")
    relu = next(record for record in graph if record.op == "aten.relu")

    assert [out.shape for out in keep.outputs] == [(3, 4), (4,)]
    assert [ref.output for ref in relu.inputs] == [1]


def test_running_statistics_are_written_beside_the_result() -> None:
    """Batch norm gives back its result and two statistics, and writes two more."""
    norm = torch.ops.aten._native_batch_norm_legit.default

    def after(x: torch.Tensor) -> torch.Tensor:
        mean, var = torch.zeros(4), torch.ones(4)
        norm(x, None, None, mean, var, True, 0.1, 1e-5)
        return mean.relu()

    graph = _graph(after)
    record = next(record for record in graph if "batch_norm" in record.op)
    relu = next(record for record in graph if record.op == "aten.relu")

    assert [out.shape for out in record.outputs] == [(3, 4), (4,), (4,), (4,), (4,)]
    assert relu.inputs[0].output == 3
    assert relu.outputs[0].shape == (4,)


def test_an_assertion_is_free() -> None:
    graph = _graph(lambda x: (torch._assert_async(x.sum() > 0), x)[1])
    record = next(record for record in graph if record.op == "aten._assert_async")

    assert record.outputs == ()
    assert record.macs == 0
    assert not record.flops


def test_the_errors_of_linear_algebra_are_looked_for_for_free() -> None:
    graph = _graph(lambda x: torch.linalg.inv(x.T @ x))

    assert next(record for record in graph if record.op == "aten._linalg_check_errors").macs == 0
