"""What the reports of an analysis say, before any format."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rfcalc.analyses.results import Misalignment, Patch
from rfcalc.graph import InputInfo
from rfcalc.report import analysis_html, details, overview
from rfcalc.report.detail import multiply_adds, product
from rfcalc.report.layers import field_notes, title, totals_facts
from tests.report.samples import CONV, CONV2, IMAGE, TOTALS, analysis, field, layer


def test_title_states_the_batch() -> None:
    assert title("vgg16", [replace(IMAGE, shape=(8, 3, 224, 224))]) == "vgg16: input 8x3x224x224 (batch 8)"


def test_title_without_a_batch_axis() -> None:
    assert title("m", [InputInfo("x", 0, (9, 9), "float32", {"H": 0, "W": 1})]) == "m: x 9x9"
    assert title("m", []) == "m: no input"


def test_title_of_two_inputs() -> None:
    left = InputInfo("left", 0, (1, 3, 8, 8), "float32", {"H": 2, "W": 3})
    assert title("m", [left, replace(left, name="right")]) == "m: left 1x3x8x8, right 1x3x8x8 (batch 1)"


def test_overview_has_one_row_a_layer_and_keeps_numbers() -> None:
    given = analysis()
    table = overview(given, given.layers).sections[0].table
    assert table is not None
    assert [column.title for column in table.columns] == [
        "#", "layer", "kind", "output", "field", "stride", "start", "params", "multiply-adds", "share",
    ]  # fmt: skip
    assert table.rows[2][:4] == (3, "conv2", "conv", (1, 8, 9, 9))
    assert table.rows[2][7:9] == (584, 46_656)
    assert sum(row[8] for row in table.rows) == TOTALS.macs


def test_overview_of_two_sources_has_a_field_for_each() -> None:
    two = layer(2, "add", receptive_fields={"left": field(3), "right": field(5)})
    table = overview(analysis(two), [two]).sections[0].table
    assert table is not None
    titles = [column.title for column in table.columns]
    texts = dict(zip(titles, table.texts()[0], strict=True))
    assert (texts["field in left"], texts["field in right"]) == ("3x3", "5x5")


def test_overview_shows_regions_where_they_were_asked_for() -> None:
    asked = layer(2, "conv", receptive_fields={"input": field(3, region=((0, 1), (4, 6)))})
    table = overview(analysis(asked), [asked]).sections[0].table
    assert table is not None
    texts = dict(zip([column.title for column in table.columns], table.texts()[0], strict=True))
    assert texts["region"] == "0..1 x 4..6"


def test_totals_name_units_and_status() -> None:
    assert dict(totals_facts(TOTALS)) == {
        "parameters": "7,298",
        "multiply-adds": "70,632",
        "operations": "142,000: FLOPs, 2 for each multiply-add, and 736 others",
        "status": "complete: every op is counted or declared free",
    }


def test_totals_that_are_a_lower_bound_name_the_ops() -> None:
    facts = dict(totals_facts(replace(TOTALS, status="lower_bound", unknown_ops={"aten.foo": 3, "aten.bar": 1})))
    assert facts["multiply-adds"] == "at least 70,632"
    assert facts["status"] == "lower bound: no rule for aten.foo (3 calls), aten.bar (1 call)"


def test_totals_show_what_is_frozen_buffered_and_unused() -> None:
    totals = replace(TOTALS, trainable_params=298, buffers=17, unused_params={"head.weight": 1000, "head.bias": 10})
    facts = dict(totals_facts(totals))
    assert facts["parameters"] == "7,298, of which 298 trainable"
    assert facts["buffers"] == "17 elements"
    assert facts["unused"] == ("1,010 of the parameters, which the forward pass never uses: head.weight, head.bias")


def test_notes_give_reasons_once() -> None:
    bound = field(9, status="upper_bound", reasons=("aten.foo has no rule",))
    context = field(9, None, whole_input=True, local_size=(3, 3), context=("se1", "se2"))
    apart = field(5, misaligned=(Misalignment("cat", "H", ((1, 0), (2, 0))),))
    layers = [
        layer(place, f"l{place}", receptive_fields={"input": item})
        for place, item in enumerate([bound, bound, context, apart, apart, field(3, masked=True), field(4, None)])
    ]
    assert field_notes(layers) == [
        "largest: no fixed window slides over the source; the size is that of the largest region",
        "local: the field without what comes in through layers that see a whole axis: se1, se2",
        "<= is an upper bound: aten.foo has no rule",
        "branches not aligned at cat, axis H: stride 1, center 0; stride 2, center 0",
        "masked reads left out in l5",
    ]


def test_many_notes_are_counted() -> None:
    apart = [Misalignment(f"cat{place}", "H", ((1, 0), (2, 0))) for place in range(7)]
    notes = field_notes([layer(2, "x", receptive_fields={"input": field(5, misaligned=tuple(apart))})])
    assert len(notes) == 5
    assert notes[-1] == "3 more of the same sort (see the JSON output)"


def test_block_of_a_layer() -> None:
    chosen = replace(CONV2, reads=(Patch(2, "conv1", (3, 3)), Patch(1, "input", (5, 5))))
    section = details(analysis(), [chosen]).sections[0]
    assert section.title == "layer 3: conv2 (conv, Conv2d)"
    assert section.facts == (
        ("op", "aten.convolution"),
        ("settings", "kernel 3x3, groups 1"),
        ("reads", "conv1"),
        ("output", "1x8x9x9"),
        ("field in input", "5x5"),
        ("jump (stride)", "1x1"),
        ("offset (start)", "-2,-2"),
        ("center", "0,0"),
        ("reach", "1,1 before and 2,2 after"),
        ("samples", "5x5, every index"),
        ("status", "exact"),
        ("parameters", "584"),
        ("multiply-adds", "(9x9x8) x (3x3x8) = 46,656"),
        ("operations", "35,640: macs 34,992, bias 648"),
        ("included", "relu1"),
    )
    assert section.table is not None
    assert section.table.rows == (((3, 3), 2, "conv1"), ((5, 5), 1, "input"))


def test_block_says_what_qualifies_a_field() -> None:
    odd = field(
        9,
        size_min=(7, 9),
        samples=(5, 5),
        period=(2, 2),
        region=((0, 8), None),
        status="upper_bound",
        reasons=("aten.foo has no rule", "indices depend on data"),
        context=("se",),
        masked=True,
        misaligned=(Misalignment("cat", "W", ((1, 0), (2, 0))),),
    )
    given = layer(2, "odd", receptive_fields={"input": odd}, trainable_params=0, params=4, notes=("a note",))
    shifted = layer(2, "odd", receptive_fields={"input": replace(odd, size_min=(9, 9))})
    facts = dict(details(analysis(), [given], at=(3, 4)).sections[0].facts)
    assert facts["samples"] == "5x5 of the 9x9 indices are read"
    assert facts["period"] == "2x2: the size varies with the position"
    facts_of_shifts = dict(details(analysis(), [shifted]).sections[0].facts)
    assert facts_of_shifts["period"] == "2x2: the start varies with the position"
    assert facts["region at 3,4"] == "H 0..8 (9), W nothing"
    assert facts["status"] == "upper bound: aten.foo has no rule; indices depend on data"
    assert facts["whole axis by"] == "se"
    assert facts["not aligned"] == "cat, axis W: stride 1, center 0; stride 2, center 0"
    assert facts["parameters"] == "4, of which 0 trainable"
    assert facts["note"] == "a note"


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("(224x224x64) x (3x3x64)", 1_849_688_064),
        ("8 x (14x14x48) x (5x5x480)", 903_168_000),
        ("(2x3) x (4) + 5x6", 54),
        ("seq x dim", None),
    ],
)
def test_what_a_formula_amounts_to(formula: str, expected: int | None) -> None:
    assert product(formula) == expected


def test_a_formula_that_is_only_a_part_is_called_one() -> None:
    assert multiply_adds(replace(CONV, macs=20_000)) == "20,000, of which (9x9x8) x (3x3x3) = 17,496"
    assert multiply_adds(replace(CONV, macs=None)) == "?"
    assert multiply_adds(replace(CONV, formula="")) == "17,496"


def test_block_of_a_layer_without_a_window() -> None:
    given = layer(2, "gather", receptive_fields={"input": field((4, 7), None)}, folded=tuple("abcdefghij"))
    facts = dict(details(analysis(), [given]).sections[0].facts)
    assert facts["field in input"] == "4x7 (largest)"
    assert facts["jump (stride)"].startswith("none: no fixed window")
    assert facts["included"] == "a, b, c, d, e, f, g, h and 2 more"


def test_notebooks_get_a_fragment() -> None:
    text = analysis_html(analysis())
    assert text.startswith("<figure")
    assert "</figure>\n<h1>tiny: input 1x3x9x9 (batch 1)</h1>\n<table>" in text
    assert "17,496" in text
