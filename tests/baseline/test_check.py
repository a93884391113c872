"""Limits held exactly, what is only a bound told apart, and the exit status of it all."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from rfcalc.baseline import check
from rfcalc.baseline.budgets import Watched, limit
from rfcalc.baseline.check import Checked, exit_status, hold
from rfcalc.baseline.differences import model_field
from rfcalc.baseline.lockfile import Lock
from rfcalc.baseline.record import Entry
from rfcalc.errors import LoadError, TraceError, UsageError
from tests.baseline.hand import field, net

#: 2 x 8 x 8 x 3 x 3 parameters, used 81 times.
PARAMS, MACS = 1152, 93312


def held(key: str, value: Any, new: Entry, old: Entry | None = None) -> list[tuple[Any, bool | None]]:
    return [(item.value, item.ok) for item in hold([limit(key, value, "here")], new, old)]


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_params", PARAMS), ("max_macs", MACS), ("max_flops", 2 * MACS), ("max_activation_bytes", 4 * 81 * 8 * 2 * 2)],
)
def test_a_ceiling_holds_up_to_the_last_one(key: str, value: int) -> None:
    assert held(key, value, net()) == [(value, True)]
    assert held(key, value - 1, net()) == [(value, False)]


def test_a_lower_bound_can_break_a_ceiling_and_cannot_hold_it() -> None:
    bound = net(status="lower_bound")

    assert held("max_macs", MACS - 1, bound) == [(MACS, False)]
    assert held("max_macs", MACS, bound) == [(MACS, None)]
    assert held("max_params", PARAMS, bound) == [(PARAMS, True)]


def test_an_unknown_number_of_bytes_is_not_0() -> None:
    assert held("max_activation_bytes", 10**9, net(activation_bytes=None)) == [(None, None)]


def with_field(**values: Any) -> Entry:
    """The network with another field in its last layer."""
    entry = net()
    last = replace(entry.layers[-1], fields={"input": {**field(5), **values}})
    return replace(entry, layers=(*entry.layers[:-1], last))


@pytest.mark.parametrize(
    ("entry", "floor", "value", "ok"),
    [
        (with_field(), 5, [5, 5], True),
        (with_field(), 6, [5, 5], False),
        (with_field(size=[5, 7]), "5x7", [5, 7], True),
        (with_field(size=[5, 7]), "7x5", [5, 7], False),
        (with_field(size=[8, 8], size_min=[6, 6]), 7, [6, 6], False),
        (with_field(size=[8, 8], size_min=[6, 6]), 6, [6, 6], True),
        (with_field(size=[9, 9], stride=None, start=None, local_size=[51, 51], whole_input=True), 51, [51, 51], True),
        (with_field(size=[9, 9], stride=None, start=None, local_size=[51, 51], whole_input=True), 52, [51, 51], False),
        (with_field(status="upper_bound"), 5, [5, 5], None),
        (with_field(status="upper_bound"), 6, [5, 5], False),
        (replace(net(), spatial=""), 1, None, None),
        (with_field(), {"input": 5}, [5, 5], True),
    ],
)
def test_a_floor_under_the_field(entry: Entry, floor: Any, value: Any, ok: bool | None) -> None:
    assert held("min_field", floor, entry) == [(value, ok)]


def test_a_floor_of_another_shape_or_input_is_refused() -> None:
    with pytest.raises(UsageError, match="has 3 numbers, the field in input has 2"):
        held("min_field", "5x5x5", net())
    with pytest.raises(UsageError, match="names 'left', which is no input"):
        held("min_field", {"left": 5}, net())


def test_a_number_for_the_field_counts_for_the_inputs_that_are_seen() -> None:
    entry = with_field()
    token = replace(entry.inputs[0], name="token")
    both = replace(entry, inputs=(*entry.inputs, token))

    assert model_field(both) == {"input": [5, 5]}
    assert held("min_field", 5, both) == [([5, 5], True)]
    assert held("min_field", {"token": 5}, both) == [(None, None)]


def test_growth_is_that_of_the_total_that_grew_most() -> None:
    old = net(params=1000, macs=1000, flops=2000, activation_bytes=1000)

    new = net(params=990, macs=1010, flops=2010, activation_bytes=1000)
    assert held("max_growth", "1%", new, old) == [(Fraction(1, 100), True)]
    assert held("max_growth", "0.999%", new, old) == [(Fraction(1, 100), False)]
    assert held("max_growth", "1%", old, old) == [(0, True)]


def test_growth_from_nothing_is_more_than_any() -> None:
    assert held("max_growth", "900%", net(), net(macs=0)) == [(None, False)]
    assert held("max_growth", "0%", net(macs=0), net(macs=0)) == [(0, True)]


def test_growth_of_bounds_cannot_be_told() -> None:
    assert held("max_growth", "1%", net(status="lower_bound"), net()) == [(0, None)]
    assert held("max_growth", "1%", net(activation_bytes=None), net()) == [(0, None)]


def test_growth_needs_something_to_grow_from() -> None:
    assert held("max_growth", "1%", net()) == []


# --- whole checks -----------------------------------------------------------------------------------------------------


def run(lock: Lock | None, *watched: Watched, whole: bool = True, **entries: Any) -> list[Checked]:
    """A check of models that are measured as given; an exception is raised."""

    def measure(item: Watched) -> Entry:
        found = entries[item.name]
        if isinstance(found, Exception):
            raise found
        return found

    return check.check(watched or [Watched(name, name) for name in entries], lock, measure, whole=whole)


def statuses(models: list[Checked]) -> dict[str, str]:
    return {model.name: model.status for model in models}


LOCK = Lock({"net": net(), "gone": net("gone"), "tested": net("tested", model=None)})


def test_what_became_of_each_model() -> None:
    models = run(LOCK, net=net(width=9), fresh=net("fresh"), lost=LoadError("no file"))

    assert statuses(models) == {"net": "changed", "fresh": "new", "lost": "failed", "gone": "removed"}
    assert [row.name for row in models[0].difference.rows] == ["a", "b"]
    assert exit_status(models) == 3


def test_some_of_the_models_leave_the_others_alone() -> None:
    assert statuses(run(LOCK, net=net(), whole=False)) == {"net": "same"}


def test_without_a_lock_only_budgets_count() -> None:
    watched = Watched("net", "net", limits=(limit("max_macs", MACS - 1, "x"), limit("max_growth", "1%", "x")))

    (model,) = run(None, watched, net=net())

    assert model.status == "unlocked"
    assert [(item.limit.key, item.ok) for item in model.held] == [("max_macs", False)]
    assert exit_status([model]) == 1


def test_the_name_for_tracing_is_no_part_of_the_model() -> None:
    assert statuses(run(Lock({"net": net()}), net=net(model="elsewhere.py:Net"))) == {"net": "same"}


@pytest.mark.parametrize(
    ("model", "strict", "status"),
    [
        (Checked("x", "same"), False, 0),
        (Checked("x", "same", gaps=("a bound",)), False, 0),
        (Checked("x", "same", gaps=("a bound",)), True, 4),
        (Checked("x", "changed"), False, 1),
        (Checked("x", "changed", accepted=True), False, 0),
        (Checked("x", "new"), False, 1),
        (Checked("x", "removed"), False, 1),
        (Checked("x", "unlocked"), False, 0),
        (Checked("x", "failed", error="e", exit_status=3), False, 3),
        (Checked("x", "failed", error="e", exit_status=2), True, 2),
        (Checked("x", "same", held=tuple(hold([limit("max_macs", 1, "x")], net(), None))), False, 1),
        (Checked("x", "same", held=tuple(hold([limit("max_macs", 10**9, "x")], net(), None))), True, 0),
        (
            Checked("x", "same", held=tuple(hold([limit("max_macs", 10**9, "x")], net(status="lower_bound"), None))),
            False,
            4,
        ),
    ],
)
def test_exit_status(model: Checked, strict: bool, status: int) -> None:
    assert exit_status([model], strict=strict) == status
    assert exit_status([Checked("y", "same"), model], strict=strict) == status


def test_what_could_not_be_traced_comes_before_what_changed() -> None:
    models = run(LOCK, net=net(width=9), bad=TraceError("bad"))

    assert exit_status(models) == 3


def test_gaps_name_the_layers() -> None:
    unknown = replace(net().layers[1], macs=None, fields={"input": field(3, status="upper_bound")})
    entry = replace(net(status="lower_bound"), layers=(net().layers[0], unknown, net().layers[2]))

    assert list(check.gaps(entry)) == ["an op has no rule at a", "the field is an upper bound at a"]
    assert list(check.gaps(net())) == []


def test_accepting_keeps_what_was_not_asked_for() -> None:
    models = run(LOCK, net=net(width=9))

    after = check.accepting(LOCK, models)

    assert sorted(after.models) == ["net", "tested"]
    assert after.models["net"] == net(width=9)


def test_names_that_are_not_there() -> None:
    with pytest.raises(UsageError, match=r"is called 'nte'; did you mean net\?"):
        check.chosen([Watched("net", "net")], ["nte"])


def test_limits_on_memory_are_held_against_what_a_pass_tells() -> None:
    limits = [limit("max_memory", "1KiB", "here"), limit("max_saved", 10, "here")]
    told = replace(net(), footprint={"max_memory": 1024, "max_saved": 11})

    assert [(item.value, item.ok) for item in hold(limits, told, None)] == [(1024, True), (11, False)]
    assert [(item.value, item.ok) for item in hold(limits, net(), None)] == [(None, None), (None, None)]
