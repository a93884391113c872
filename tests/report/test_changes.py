"""The report of a check in every format: what stands in it, how it is escaped, and that it never grows too long."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from rfcalc.baseline.budgets import limit
from rfcalc.baseline.check import Checked, between, hold
from rfcalc.baseline.record import Entry
from rfcalc.report.changes import changes_report, percent
from rfcalc.report.findings import Case, CheckReport, Finding, Metric
from rfcalc.report.formats import CHECK_FORMATS, COMMENT_LIMIT, FORMATS, render_check
from tests.baseline.hand import net, row


def changed(old: Entry, new: Entry, **more: Any) -> Checked:
    """One model that became another."""
    return replace(between({old.name: old}, {new.name: new})[0], **more)


WIDER = changed(net(), net(width=9))


def over(value: str = "93k") -> Checked:
    """A model as locked and over its budget."""
    limits = [limit("max_macs", value, "x", "pyproject.toml", 12), limit("min_field", 7, "x", "pyproject.toml", 13)]
    return Checked("net", "same", new=net(), held=tuple(hold(limits, net(), None)), file="pyproject.toml", line=10)


def shown(*models: Checked, form: str = "table", rows: int | None = None) -> str:
    return render_check(changes_report(models, rows=rows), form)


# --- what it says -----------------------------------------------------------------------------------------------------


def test_nothing_to_say() -> None:
    assert shown(Checked("net", "same"), Checked("other", "same")) == "2 models: 2 as locked\n"
    assert shown() == "0 models: nothing to check\n"


def test_only_what_changed_with_its_cause() -> None:
    lines = [line.split() for line in shown(WIDER).splitlines() if line]

    assert ["1", "model:", "1", "changed"] in lines
    assert ["whole", "model", "parameters", "1,152", "1,224", "+72", "+6.2", "%"] in lines
    assert ["a", "parameters", "576", "648", "+72", "+12.5", "%", "width", "8", "->", "9"] in lines
    assert ["a", "multiply-adds", "46,656", "52,488", "+5,832", "+12.5", "%"] in lines
    assert not any(line[0] == "input" for line in lines)


def test_consequences_come_after_what_caused_them() -> None:
    seen = changed(net(), replace(net(width=9), layers=(*net(width=9).layers[:-1], row("b", 9, 7, ("a",)))))
    again = replace(seen.difference.rows[1], causes=(), follows=("a",))
    text = shown(replace(seen, difference=replace(seen.difference, rows=(seen.difference.rows[0], again))))

    first, second = text.index("net: layers that changed"), text.index("net: layers that follow from these")
    assert text.index("width 8 -> 9") < second
    assert first < second < text.index("follows a")


def test_a_terminal_is_not_flooded_with_consequences() -> None:
    rows = tuple(replace(WIDER.difference.rows[1], name=f"layer{number}", follows=("a",)) for number in range(300))
    many = replace(WIDER, difference=replace(WIDER.difference, rows=(WIDER.difference.rows[0], *rows)))

    assert "layer19" in shown(many, rows=20)
    assert "layer20" not in shown(many, rows=20)
    assert "280 rows; see --format json" in shown(many, rows=20)
    assert "layer299" in shown(many)
    assert len(json.loads(shown(many, form="json", rows=20))["models"][0]["layers"]) == 301


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (100, 108, "+8.0 %"),
        (427, 395, "-7.5 %"),
        (0, 5, ""),
        (3, 3, "+0.0 %"),
        (10**6, 10**6 + 100, "+0.010 %"),
        (10**9, 10**9 + 1, "<0.000001 %"),
        (10**9, 10**9 - 1, ">-0.000001 %"),
        (1, 2001, "+200,000.0 %"),
    ],
)
def test_a_difference_is_never_shown_as_none(old: int, new: int, text: str) -> None:
    assert percent(old, new) == text


def test_added_removed_and_renamed_layers() -> None:
    old = net()
    added = replace(old, layers=(*old.layers, row("c", 4, 7, ("b",))))
    renamed = replace(old, layers=(old.layers[0], replace(old.layers[1], name="z"), old.layers[2]))

    for before, after, line in (
        (old, added, ["c", "parameters", "-", "288", "added"]),
        (added, old, ["c", "parameters", "288", "-", "removed"]),
        (old, renamed, ["renamed", "a", "->", "z"]),
    ):
        assert line in [words.split() for words in shown(changed(before, after)).splitlines()]


def test_limits_that_are_broken_or_unknown() -> None:
    unknown = replace(over(), held=tuple(hold([limit("max_macs", "1G", "x")], net(status="lower_bound"), None)))
    lines = [line.split() for line in shown(over(), unknown).splitlines()]

    assert ["net", "max_macs", "93k", "93,312", "broken"] in lines
    assert ["net", "min_field", "7", "5x5", "broken"] in lines
    assert ["net", "max_macs", "1G", "93,312", "unknown"] in lines
    assert "1 over budget" in shown(over())
    assert shown(replace(over(), held=tuple(hold([limit("max_macs", "1G", "x")], net(), None)))) == (
        "1 model: 1 as locked, 1 limit held\n"
    )


def test_growth_is_told_in_per_cent_of_what_grew() -> None:
    held = tuple(hold([limit("max_growth", "1%", "x")], net(width=9), net()))

    assert "12.5%" not in shown(replace(WIDER, held=held))
    assert "6.25% (parameters)" in shown(replace(WIDER, held=held))


def test_growth_beyond_a_limit_is_never_shown_as_the_limit() -> None:
    old, new = net(params=10**12), net(params=10**12 + 10**10 + 1)
    held = tuple(hold([limit("max_growth", "1%", "x")], new, old))

    assert held[0].ok is False
    assert "more than 1% (parameters)" in shown(replace(WIDER, held=held))


# --- programs ---------------------------------------------------------------------------------------------------------


def test_json() -> None:
    (model,) = json.loads(shown(replace(WIDER, held=over().held), form="json"))["models"]

    assert (model["name"], model["status"], model["accepted"], model["error"]) == ("net", "changed", False, None)
    assert {"what": "macs", "old": 93312, "new": 99144} in model["totals"]
    first = model["layers"][0]
    assert (first["how"], first["old_name"], first["name"], first["kind"]) == ("changed", "a", "a", "conv")
    assert first["causes"] == [{"what": "width", "old": 8, "new": 9}]
    assert {"what": "params", "old": 576, "new": 648} in first["changes"]
    assert model["layers"][1]["follows"] == ["a"]
    assert model["budgets"][0] == {
        "limit": "max_macs",
        "allowed": "93k",
        "found": 93312,
        "of": None,
        "ok": False,
        "file": "pyproject.toml",
        "line": 12,
    }


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(shown(WIDER, form="csv"))))

    assert {"layer": "a", "what": "macs", "old": "46656", "new": "52488", "cause": "width 8 -> 9"}.items() <= next(
        row for row in rows if row["layer"] == "a" and row["what"] == "macs"
    ).items()
    assert rows[0]["layer"] == ""


def test_annotations_point_to_the_budget() -> None:
    lines = shown(over(), form="github").splitlines()

    assert lines == [
        "::error file=pyproject.toml,line=12,title=net is over budget::max_macs: found 93,312, allowed 93k",
        "::error file=pyproject.toml,line=13,title=net is over budget::min_field in input: found 5x5, wanted 7",
    ]


def test_one_annotation_a_model_names_the_layer() -> None:
    (line,) = shown(replace(WIDER, file="pyproject.toml", line=4), form="github").splitlines()

    assert line.startswith("::error file=pyproject.toml,line=4,title=net changed::whole model: parameters 1,152 -> ")
    assert "%0Aa: parameters 576 -> 648 (+12.5 %25); width 8 -> 9" in line


def test_no_annotation_is_a_notice() -> None:
    assert shown(Checked("net", "same"), form="github") == "::notice title=rfcalc::1 model: 1 as locked\n"


def test_nothing_in_a_name_becomes_a_command() -> None:
    finding = Finding("a,b:c%.toml", 3, "x::y,z\n::error::", "one\r\n::stop-commands::token\n100%")

    text = CHECK_FORMATS["github"](CheckReport("", (), findings=[finding]), None)  # type: ignore[arg-type]

    assert text == (
        "::error file=a%2Cb%3Ac%25.toml,line=3,title=x%3A%3Ay%2Cz%0A%3A%3Aerror%3A%3A"
        "::one%0D%0A::stop-commands::token%0A100%25\n"
    )


def test_junit() -> None:
    failed = Checked("bad", "failed", error='cannot <run> "it" & more', exit_status=3)
    unknown = replace(over(), name="odd", held=tuple(hold([limit("max_macs", "1G", "x")], net(status="x"), None)))
    root = ElementTree.fromstring(shown(WIDER, over("1G"), unknown, failed, form="junit"))

    suite = root.find("testsuite")
    assert suite is not None
    assert suite.attrib == {"name": "rfcalc", "tests": "7", "failures": "2", "errors": "1", "skipped": "1"}
    cases = {(case.get("classname"), case.get("name")): [child.tag for child in case] for case in suite}
    assert cases == {
        ("net", "lock"): [],
        ("net", "max_macs"): [],
        ("net", "min_field in input"): ["failure"],
        ("odd", "lock"): [],
        ("odd", "max_macs"): ["skipped"],
        ("bad", "trace"): ["error"],
    }
    assert suite[-1][0].get("message") == 'cannot <run> "it" & more'


@pytest.mark.parametrize("text", ["a\x00b", "\x1b[1m", "]]>", "\ud800", "\ufffe"])
def test_what_xml_cannot_hold_is_replaced(text: str) -> None:
    report = CheckReport("", (), cases=[Case(text, text, failure=f"{text}\n<second> line")])

    case = ElementTree.fromstring(CHECK_FORMATS["junit"](report, None))[0][0]  # type: ignore[arg-type]

    assert case.get("name") == re.sub("[\x00\x1b\ud800\ufffe]", "?", text)
    assert (case[0].text or "").endswith("\n<second> line")


def test_what_github_action_benchmark_draws() -> None:
    assert json.loads(shown(WIDER, form="benchmark")) == [
        {"name": "net: parameters", "unit": "parameters", "value": 1224},
        {"name": "net: multiply-adds", "unit": "multiply-adds", "value": 99144},
        {"name": "net: activation bytes", "unit": "bytes", "value": 11016},
    ]
    assert json.loads(shown(Checked("x", "failed", error="e", exit_status=3), form="benchmark")) == []
    assert CheckReport("", (), metrics=[Metric("a", "b", 2**70)]).metrics[0].value == 2**70


# --- Markdown within GitHub's limit -----------------------------------------------------------------------------------


def long(layers: int, name: str = "net") -> Checked:
    """A model of which so many layers got wider."""
    old = replace(net(name), layers=tuple(row(f"block.{n}.conv", 8, 3, ("input",)) for n in range(layers)))
    new = replace(net(name), layers=tuple(row(f"block.{n}.conv", 9, 3, ("input",)) for n in range(layers)))
    return changed(old, new)


def test_long_tables_are_folded_and_short_ones_are_not() -> None:
    assert "<details>" not in shown(WIDER, form="markdown")
    text = shown(long(50), form="markdown")
    assert text.count("<details><summary>net: layers that changed</summary>\n\n|") == 1
    assert text.count("</details>") == 1


@pytest.mark.parametrize("layers", [100, 400, 5000])
def test_a_comment_stays_below_the_limit(layers: int) -> None:
    text = shown(long(layers), form="markdown")

    assert len(text) < COMMENT_LIMIT == 65536
    kept = text.count("| block.")
    if kept < 2 * layers:
        assert f"the last {2 * layers - kept:,} of {2 * layers:,} rows of this table" in text
        assert len(text) > COMMENT_LIMIT - 1000
    assert text.count("<details>") == text.count("</details>") == 1


def test_a_comment_on_too_many_models_is_cut() -> None:
    models = [replace(long(1), name=f"a model with quite a long name, number {number}") for number in range(900)]

    text = shown(*models, form="markdown")

    assert len(text) < COMMENT_LIMIT
    assert text.endswith("(the rest is left out: it is too long)\n")


def test_every_format_of_other_reports_is_one_of_checks() -> None:
    assert set(FORMATS) < set(CHECK_FORMATS)
    assert set(CHECK_FORMATS) - set(FORMATS) == {"github", "junit", "benchmark"}
    for name in CHECK_FORMATS:
        assert shown(WIDER, over(), form=name).endswith("\n")


def test_layers_that_were_only_shifted_are_told_in_a_line() -> None:
    old = replace(net(), layers=tuple(row(f"f.{n}", n + 2, 3, ("input",)) for n in range(12)))
    new = replace(net(), layers=tuple(row(f"f.{n + 1}", n + 2, 3, ("input",)) for n in range(12)))

    text = shown(changed(old, new))

    assert "renumbered  f.0 -> f.1, f.1 -> f.2, " in text
    assert "f.7 -> f.8 and 4 more" in text
    assert "layers that changed" not in text
