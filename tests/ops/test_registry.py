"""Rules of the user's own: registered in Python or by an entry point, in force at once, held to their form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import rfcalc
from rfcalc.cli import cli
from rfcalc.errors import TraceError, UsageError
from rfcalc.ops import Call, Effect, plugins, registry
from rfcalc.reads import Reduce

LIBRARY = torch.library.Library("ruled", "FRAGMENT")
for _name in ("plain", "late", "wrong", "brought"):
    LIBRARY.define(f"{_name}(Tensor x, int n=2) -> Tensor")
    LIBRARY.impl(_name, lambda x, n=2: x * n, "CompositeExplicitAutograd")


class Net(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.op = getattr(torch.ops.ruled, name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.op(self.linear(x))


@pytest.fixture(autouse=True)
def _own_rules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rules that a test registers are gone after it."""
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))
    yield
    registry._changes += 1


def doubled(call: Call) -> Effect:
    """A product by a number."""
    return Effect("elementwise", [(call["x"], ())], flops={"elementwise": call["x"].numel})


def totals(name: str) -> Any:
    return rfcalc.analyze(Net(name).eval(), (3, 4)).totals


def test_a_rule_is_in_force_at_once() -> None:
    """Also after the same call was traced without it, by a function of torch's, which is replayed."""
    for _ in range(2):
        assert totals("late").unknown_ops == {"ruled.late": 1}

    rfcalc.rule("ruled::late")(doubled)

    for _ in range(2):
        assert totals("late").status == "complete"
        assert totals("late").flops_by["elementwise"] == 12

    @rfcalc.rule("ruled::late", replace=True)
    def costlier(call: Call) -> Effect:
        return Effect("elementwise", [(call["x"], ())], flops={"elementwise": 9 * call["x"].numel})

    assert totals("late").flops_by["elementwise"] == 108


def test_arguments_and_defaults_are_given_by_name() -> None:
    seen: list[Any] = []

    @rfcalc.rule("ruled.plain")
    def asked(call: Call) -> Effect:
        seen.append((call["x"].shape, call["n"], call["other"], call.out.shape))
        return Effect("elementwise", [(call["x"], (Reduce((1,)),))])

    assert totals("plain").status == "complete"
    assert seen == [((1, 3, 4), 2, None, (1, 3, 4))]


def test_duplicates_are_refused() -> None:
    rfcalc.rule("ruled::plain")(doubled)

    with pytest.raises(UsageError, match=r"ruled\.plain already has a rule, .*doubled \(pass replace=True"):
        rfcalc.rule("ruled::plain")(lambda call: Effect("other"))
    with pytest.raises(UsageError, match=r"aten\.mm already has a rule, rfcalc\.ops\.linear\.matmul \(rfcalc's own\)"):
        rfcalc.rule("ruled::late", "aten::mm", replace=True)(doubled)
    assert registry.lookup("ruled.late") is None, "all or none"


@pytest.mark.parametrize("name", ["smooth", "a::b::c", "ruled::plain.default", "", "::x"])
def test_names_of_ops_are_checked(name: str) -> None:
    with pytest.raises(UsageError, match="expected one such as 'mylib::smooth'"):
        rfcalc.rule(name)(doubled)


def test_a_rule_without_names_is_refused() -> None:
    with pytest.raises(UsageError, match="needs the names of the ops"):
        rfcalc.rule(doubled)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda call: call["y"].shape, "failed: AttributeError: 'NoneType' object has no attribute 'shape'"),
        (lambda call: None, "gave an object of type NoneType, not an Effect"),
        (lambda call: Effect("thing"), "failed: ValueError: unknown kind 'thing': expected one of activation, "),
        (lambda call: Effect("other", macs=2.5), "gave macs 2.5: expected a whole number"),
        (lambda call: Effect("other", flops={"other": -1}), "gave other -1: expected a whole number"),
        (lambda call: Effect("other", flops=3), "gave flops 3: expected operations by category"),
        (lambda call: Effect("other", [call["x"]]), "expected a tensor of the call and steps"),
        (lambda call: Effect("other", [(call["x"], (Reduce((5,)),))]), "gave steps that cannot be made on x: "),
        (lambda call: Effect("other", [], each=True), r"gave the reads of 0 results: the op has 1"),
    ],
)
def test_what_a_rule_gets_wrong_is_one_line(given: Callable[[Call], Any], told: str) -> None:
    rfcalc.rule("ruled::wrong")(given)

    with pytest.raises(TraceError) as raised:
        totals("wrong")

    message = str(raised.value)
    assert message.startswith("the rule of ruled.wrong, tests.ops.test_registry.<lambda>, ")
    assert told in message
    assert "called with x " in message
    assert "\n" not in message


def test_steps_have_to_lead_to_the_result() -> None:
    @rfcalc.rule("ruled::wrong")
    def narrowed(call: Call) -> Effect:
        from rfcalc.reads import Slice

        return Effect("other", [(call["x"], (Slice(1, 0, 1, 2),))])

    with pytest.raises(TraceError, match=r"lead from x \(1, 3, 4\) to \(1, 2, 4\): .*result's shape \(1, 3, 4\)"):
        totals("wrong")


# --- entry points -----------------------------------------------------------------------------------------------------


def bring() -> None:
    """What an entry point names."""
    rfcalc.rule("ruled::brought")(doubled)


def twice() -> None:
    rfcalc.rule("aten::mm")(doubled)


def _installed(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint(f"number{at}", value, plugins.GROUP) for at, value in enumerate(values)]
    monkeypatch.setattr(plugins, "_lines", None)
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)


def test_an_entry_point_brings_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch, f"{__name__}:bring")
    monkeypatch.delenv("COLUMNS", raising=False)  # columns would be left out: pytest-xdist sets it in its workers

    assert totals("brought").status == "complete"
    shown = CliRunner().invoke(cli, ["ops"])
    assert "ruled.brought" in shown.stdout
    assert "A product by a number." in shown.stdout


def test_what_cannot_be_loaded_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch, "nowhere.at_all", f"{__name__}:twice", f"{__name__}:bring")

    analysis = rfcalc.analyze(Net("brought").eval(), (3, 4))

    assert analysis.totals.status == "complete", "the others are loaded"
    first, second = [notice for notice in analysis.notices if "entry point" in notice]
    assert first == (
        "the rules number0 = nowhere.at_all (entry point rfcalc.ops) cannot be loaded:"
        " ModuleNotFoundError: No module named 'nowhere'"
    )
    assert "UsageError: aten.mm already has a rule" in second
    assert "nowhere.at_all" in CliRunner().invoke(cli, ["ops"]).stderr
